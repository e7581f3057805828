//! What a client asks of a server: a function, which travels by name, its arguments, and the object that it is for.

use crate::codec::{self, Packed, Payload, Reader};
use crate::error::ManagerKind;
use crate::identity::{Callable, Entry, FnRef};
use crate::managers::objects::{Object, Objects};
use crate::process::args::{Args, Task};
use crate::process::context::OnState;
use crate::process::panic::{self, guarded};
use crate::process::returns::Returns;
use crate::sys::any::conjure;
use std::any::type_name;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One request, where it is carried out.
pub(crate) struct Call<'a> {
    pub(crate) objects: &'a Objects,
    /// The object that it is for.
    pub(crate) object: u64,
    /// Whether nobody waits for the reply any more.
    pub(crate) is_abandoned: &'a dyn Fn() -> bool,
}

/// Carries out a request: reads the arguments, and writes the reply.
pub(crate) type Serve = fn(&Call<'_>, &mut Reader<'_>) -> Result<Packed, ManagerKind>;

impl Callable for Serve {
    const TAG: u64 = 7;
}

/// The descriptor of a function that makes an object.
pub(crate) fn create_entry<F: Task<A, Output: Send>, A: Args>() -> &'static Entry<Serve> {
    const { &Entry::new(type_name::<F>, create::<F, A>) }
}

fn create<F: Task<A, Output: Send>, A: Args>(call: &Call<'_>, reader: &mut Reader<'_>) -> Result<Packed, ManagerKind> {
    let args = A::decode(reader).map_err(damaged)?;
    let object = Object::new(conjure::<F>().call(&(), &mut (), args));
    call.objects.insert(call.object, object);
    reply(&())
}

/// The descriptor of a function that is called on an object that is a `T`; `J` says what its return value means.
pub(crate) fn call_entry<F, A, T, J>() -> &'static Entry<Serve>
where
    F: Task<A, OnState<T>>,
    A: Args,
    T: 'static,
    J: Returns<F::Output>,
{
    const { &Entry::new(type_name::<F>, call_object::<F, A, T, J>) }
}

fn call_object<F, A, T, J>(call: &Call<'_>, reader: &mut Reader<'_>) -> Result<Packed, ManagerKind>
where
    F: Task<A, OnState<T>>,
    A: Args,
    T: 'static,
    J: Returns<F::Output>,
{
    // The user's `Deserialize` and `Serialize` run while nobody waits for the object because of them.
    let args = A::decode(reader).map_err(damaged)?;
    let object = call.objects.find(call.object)?;
    let returned = object.with(call.is_abandoned, |object: &mut T| conjure::<F>().call(&(), object, args))?;
    drop(object);
    reply(&J::into_outcome(returned).map_err(|source| ManagerKind::Failed { source })?)
}

/// The descriptor of a function that makes no object and is called on none.
pub(crate) fn run_entry<F: Task<A, Output: Payload>, A: Args>() -> &'static Entry<Serve> {
    const { &Entry::new(type_name::<F>, run::<F, A>) }
}

fn run<F: Task<A, Output: Payload>, A: Args>(_: &Call<'_>, reader: &mut Reader<'_>) -> Result<Packed, ManagerKind> {
    let args = A::decode(reader).map_err(damaged)?;
    reply(&conjure::<F>().call(&(), &mut (), args))
}

/// The descriptor of what tells of the objects of a server.
pub(crate) fn list_entry() -> &'static Entry<Serve> {
    const ENTRY: &Entry<Serve> = &Entry::new(|| "multiproc::ManagerHandle::objects", list);
    ENTRY
}

fn list(call: &Call<'_>, _: &mut Reader<'_>) -> Result<Packed, ManagerKind> {
    let names = call.objects.list().into_iter().map(str::to_owned);
    reply(&names.collect::<Vec<String>>())
}

/// Writes a request.
///
/// # Errors
///
/// An argument refuses to be serialised, or the function is not part of this executable.
pub(crate) fn write<A: Args>(object: u64, entry: &'static Entry<Serve>, args: &A) -> Result<Packed, ManagerKind> {
    let (delta, signature) = match FnRef::of(entry) {
        Ok(FnRef::Offset { delta, signature }) => (delta, signature),
        Ok(FnRef::Name { name, .. }) => return Err(ManagerKind::Encode { text: format!("`{name}` has no place") }),
        Err(error) => return Err(ManagerKind::Encode { text: error.to_string() }),
    };
    let packed = codec::pack(|out| {
        [object, delta, signature].iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        args.encode(out)
    });
    packed.map_err(|error| ManagerKind::Encode { text: error.0 })
}

/// Carries out a request, and writes the reply.
pub(crate) fn carry_out(objects: &Objects, reader: &mut Reader<'_>, is_abandoned: &dyn Fn() -> bool) -> Packed {
    let outcome = guarded(|| catch_unwind(AssertUnwindSafe(|| try_carry_out(objects, reader, is_abandoned))));
    let outcome = outcome.unwrap_or_else(|payload| Err(ManagerKind::Panicked(panic::describe(payload))));
    outcome.unwrap_or_else(|kind| failure(&kind))
}

fn try_carry_out(
    objects: &Objects,
    reader: &mut Reader<'_>,
    is_abandoned: &dyn Fn() -> bool,
) -> Result<Packed, ManagerKind> {
    let mut word = || codec::decode(reader).map_err(damaged);
    let (object, delta, signature) = (word()?, word()?, word()?);
    let entry = FnRef::Offset { delta, signature }.resolve::<Serve>();
    let entry = entry.map_err(|text| ManagerKind::Decode { text })?;
    entry.call()(&Call { objects, object, is_abandoned }, reader)
}

/// What a reply begins with.
const DONE: u8 = 0;
const FAILED: u8 = 1;

fn reply<R: Payload>(value: &R) -> Result<Packed, ManagerKind> {
    let packed = codec::pack(|out| {
        out.push(DONE);
        codec::encode(value, out)
    });
    packed.map_err(|error| ManagerKind::Encode { text: error.0 })
}

/// A reply that tells of a failure.
pub(crate) fn failure(kind: &ManagerKind) -> Packed {
    let packed = codec::pack(|out| {
        out.push(FAILED);
        codec::encode(kind, out)
    });
    // It consists of numbers and text, and always serialises.
    packed.unwrap_or_default()
}

#[cold]
fn damaged(error: codec::CodecError) -> ManagerKind {
    ManagerKind::Decode { text: error.0 }
}

/// Reads a reply.
///
/// # Errors
///
/// What it tells of, or that it is none of this type.
pub(crate) fn read<R: Payload>(reader: &mut Reader<'_>) -> Result<R, ManagerKind> {
    match codec::decode::<u8>(reader).map_err(damaged)? {
        DONE => panic::decode(reader).map_err(damaged),
        _ => Err(codec::decode(reader).unwrap_or_else(damaged)),
    }
}
