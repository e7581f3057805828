//! Values to bytes and back.
//!
//! A value takes one of two forms. Plain numbers, `bool` and `()` are *fixed*: their bytes, little-endian, and nothing
//! else. Everything else has a *body* behind its length in 8 bytes, so that a value that does not decode does not take
//! its neighbours with it: vectors and slices of plain numbers move as they are, at the speed of memory; all other
//! types go through serde, in the format of `codec/write.rs`. Which form a type takes is decided by its `TypeId`, which folds at
//! compile time. The format depends on neither pointer width nor byte order.
//!
//! A body in which there are ends of ipc-channel has *attached descriptors*: they travel beside the message. A bit
//! of its length says so.

use crate::attached_fds::{self, Packing};
use crate::heap::scope::{self, Pins};
use crate::sys::any::{into_same_type, same_type, same_type_mut};
use crate::sys::large_vec::{self, Used};
use reader::{Bytes, cut_short};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use reader::Reader;

/// What can travel between processes: every type that implements serde's `Serialize` and `DeserializeOwned` and borrows
/// nothing. Implemented for all of them.
///
/// ```
/// fn travels<T: multiproc::Payload>() {}
/// travels::<(u64, String, Vec<f64>, Result<bool, String>)>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel to another process",
    label = "not `Serialize + DeserializeOwned + 'static`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, and let it own its data: `String` instead of `&str`",
    note = "a function that returns a `Result` whose error does not travel is called by `try_map`, or `tasks(..).fallible()`"
)]
pub trait Payload: Serialize + DeserializeOwned + 'static {}

// So that the compiler names the value, and what to do, rather than what is missing in the middle of it.
#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + 'static> Payload for T {}

/// Why a value could not be written or read; the text is serde's or ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecError(pub(crate) String);

type Result<T> = std::result::Result<T, CodecError>;

impl CodecError {
    /// There is no memory for so many bytes.
    #[cold]
    pub(crate) fn no_memory(len: usize) -> CodecError {
        CodecError(format!("there is no memory for its {len} bytes"))
    }

    /// Why `len` bytes did not arrive.
    #[cold]
    pub(crate) fn missing(len: usize, error: &std::io::Error) -> CodecError {
        match error.kind() {
            std::io::ErrorKind::OutOfMemory => CodecError::no_memory(len),
            std::io::ErrorKind::UnexpectedEof => cut_short(),
            _ => CodecError(error.to_string()),
        }
    }
}

/// The length in front of a body, in bytes.
const PREFIX: usize = 8;

/// Set in the length of a body that has attached descriptors.
const HAS_FDS: u64 = 1 << 63;

/// Runs `$body` with `$number` standing for each plain number type.
macro_rules! for_each_number {
    ($number:ident => $body:block) => {
        for_each_number!(@ $number $body u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 f32 f64)
    };
    (@ $number:ident $body:block $($type:ty)*) => { $({ type $number = $type; $body })* };
}

/// The number of bytes of a fixed type; `None` for a type with a body.
#[inline]
pub(crate) fn fixed_size<T: ?Sized + 'static>() -> Option<usize> {
    let id = std::any::TypeId::of::<T>();
    let is = |other| id == other;
    for_each_number!(N => {
        if is(std::any::TypeId::of::<N>()) {
            return Some(size_of::<N>());
        }
    });
    if is(std::any::TypeId::of::<usize>()) || is(std::any::TypeId::of::<isize>()) {
        return Some(8);
    }
    if is(std::any::TypeId::of::<bool>()) {
        return Some(1);
    }
    is(std::any::TypeId::of::<()>()).then_some(0)
}

/// Whether a type is a plain number, of which any bytes are a value.
#[inline]
pub(crate) fn is_number<T: 'static>() -> bool {
    for_each_number!(N => {
        if is_same::<T, N>() {
            return true;
        }
    });
    is_same::<T, usize>() && cfg!(target_pointer_width = "64")
}

/// Whether reading a value of this type runs code of the user's.
#[inline]
pub(crate) fn runs_user_code<T: 'static>() -> bool {
    fixed_size::<T>().is_none() && !is_bulk::<T>()
}

/// Whether a type is a vector of plain numbers.
#[inline]
fn is_bulk<T: 'static>() -> bool {
    for_each_number!(N => {
        if std::any::TypeId::of::<T>() == std::any::TypeId::of::<Vec<N>>() {
            return true;
        }
    });
    false
}

/// The bytes of a vector or slice of plain numbers; `None` for every other type.
///
/// On a big-endian machine these types take serde's way, which has the same meaning but another format; both ends of
/// today's links are one machine.
#[inline]
pub(crate) fn bulk<T: ?Sized + 'static>(value: &T) -> Option<&[u8]> {
    if cfg!(target_endian = "big") {
        return None;
    }
    for_each_number!(N => {
        if let Some(vector) = same_type::<T, Vec<N>>(value) {
            return Some(bytemuck::cast_slice(vector));
        }
        if let Some(slice) = same_type::<T, [N]>(value) {
            return Some(bytemuck::cast_slice(slice));
        }
    });
    None
}

/// The memory of a large vector of plain numbers that is not needed any more, if `R` is the same type; see [`large_vec`].
pub(crate) fn used<T: 'static, R: 'static>(mut value: T) -> Option<Used> {
    for_each_number!(N => {
        if is_same::<R, Vec<N>>() {
            return same_type_mut::<T, Vec<N>>(&mut value).and_then(|vector| large_vec::used(std::mem::take(vector)));
        }
    });
    None
}

/// Appends a value. On an error `out` is as it was before.
#[inline]
pub(crate) fn encode<T: Serialize + ?Sized + 'static>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    if let Some((bytes, len)) = fixed(value) {
        out.extend_from_slice(&bytes[..len]);
        return Ok(());
    }
    let at = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    let mut mark = 0;
    if let Some(bytes) = bulk(value) {
        out.extend_from_slice(bytes);
    } else {
        match encode_with_fds(value, out) {
            Ok(false) => {}
            Ok(true) => mark = HAS_FDS,
            Err(error) => {
                out.truncate(at);
                return Err(error);
            }
        }
    }
    let len = (out.len() - at - PREFIX) as u64 | mark;
    out[at..at + PREFIX].copy_from_slice(&len.to_le_bytes());
    Ok(())
}

/// Appends a body; returns whether it has attached descriptors.
#[inline]
fn encode_with_fds<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<bool> {
    let packing = attached_fds::packing(std::any::type_name::<T>());
    if packing != Packing::Nothing {
        ends::before(packing)?;
    }
    let before = scope::carried();
    let written = encode_body(value, out);
    if packing == Packing::Nothing && scope::carried() == before {
        return written.map(|()| false);
    }
    ends::behind(packing, scope::carried() != before, written)
}

/// The bytes of a fixed value, and how many they are; `None` for a value with a body. A number cannot refuse, and refers to
/// nothing.
#[inline]
pub(crate) fn fixed<T: ?Sized + 'static>(value: &T) -> Option<([u8; 16], usize)> {
    let mut bytes = [0; 16];
    for_each_number!(N => {
        if let Some(number) = same_type::<T, N>(value) {
            bytes[..size_of::<N>()].copy_from_slice(&number.to_le_bytes());
            return Some((bytes, size_of::<N>()));
        }
    });
    if let Some(number) = same_type::<T, usize>(value) {
        bytes[..8].copy_from_slice(&(*number as u64).to_le_bytes());
        return Some((bytes, 8));
    }
    if let Some(number) = same_type::<T, isize>(value) {
        bytes[..8].copy_from_slice(&(*number as i64).to_le_bytes());
        return Some((bytes, 8));
    }
    if let Some(value) = same_type::<T, bool>(value) {
        bytes[0] = u8::from(*value);
        return Some((bytes, 1));
    }
    same_type::<T, ()>(value).map(|()| (bytes, 0))
}

/// The prefix of a body of `len` bytes.
pub(crate) fn prefix(len: usize) -> [u8; PREFIX] {
    (len as u64).to_le_bytes()
}

fn encode_body<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    scope::within(|| write::write(value, out))
}

/// Reads a value. A value whose body does not decode is an error, and the reader stands behind it.
#[inline]
pub(crate) fn decode<T: DeserializeOwned + 'static>(reader: &mut Reader<'_>) -> Result<T> {
    for_each_number!(N => {
        if is_same::<T, N>() {
            return same(N::from_le_bytes(reader.array()?));
        }
    });
    if is_same::<T, usize>() {
        let number = u64::from_le_bytes(reader.array()?);
        return same(usize::try_from(number).map_err(|_| CodecError(format!("{number} does not fit a usize")))?);
    }
    if is_same::<T, isize>() {
        let number = i64::from_le_bytes(reader.array()?);
        return same(isize::try_from(number).map_err(|_| CodecError(format!("{number} does not fit an isize")))?);
    }
    if is_same::<T, bool>() {
        return match reader.array()? {
            [0] => same(false),
            [1] => same(true),
            [other] => Err(CodecError(format!("{other} is not a bool"))),
        };
    }
    if is_same::<T, ()>() {
        return same(());
    }
    let body = reader.body()?;
    if cfg!(target_endian = "little") {
        for_each_number!(N => {
            if is_same::<T, Vec<N>>() {
                return same(body.to_vec::<N>()?);
            }
        });
    }
    let bytes = body.bytes()?;
    if body.has_fds {
        return ends::decode(bytes.into_owned());
    }
    decode_body(&bytes)
}

#[inline]
fn decode_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    scope::within(|| read::read(bytes))
}

/// Reads `count` values and appends them; plain numbers move as a whole. On an error those before it were appended.
pub(crate) fn decode_all<T: DeserializeOwned + 'static>(
    reader: &mut Reader<'_>,
    count: u32,
    out: &mut Vec<T>,
) -> Result<()> {
    for_each_number!(N => {
        if let Some(out) = same_type_mut::<Vec<T>, Vec<N>>(out) {
            return decode_numbers(reader, count, out, N::from_le_bytes);
        }
    });
    #[cfg(target_pointer_width = "64")]
    if let Some(out) = same_type_mut::<Vec<T>, Vec<usize>>(out) {
        return decode_numbers(reader, count, out, usize::from_le_bytes);
    }
    for _ in 0..count {
        out.push(decode(reader)?);
    }
    Ok(())
}

fn decode_numbers<N: bytemuck::Pod, const SIZE: usize>(
    reader: &mut Reader<'_>,
    count: u32,
    out: &mut Vec<N>,
    read: impl Fn([u8; SIZE]) -> N,
) -> Result<()> {
    let whole = usize::try_from(count).unwrap_or(usize::MAX).min((reader.len() - reader.at) / SIZE);
    let at = reader.advance(whole * SIZE)?;
    let end = at + whole * SIZE;
    let mut append = |bytes: &[u8]| {
        out.extend(bytes.chunks_exact(SIZE).map(|it| read(it.try_into().unwrap_or([0; SIZE]))));
    };
    match reader.bytes {
        Bytes::Own(bytes) => append(&bytes[at..end]),
        Bytes::Shared(bytes) => {
            let mut copy = Vec::new();
            let piece = bytes.slice(at, end - at).ok_or_else(cut_short)?;
            piece.append_to(&mut copy).map_err(|_| CodecError::no_memory(end - at))?;
            append(&copy);
        }
        Bytes::Arriving(whole, from, _) => {
            append(&whole.to_vec(from + at, end - at).map_err(|error| CodecError::missing(end - at, &error))?);
        }
    }
    if whole < count as usize { Err(cut_short()) } else { Ok(()) }
}

/// Steps over a value without decoding it.
#[inline]
pub(crate) fn skip<T: ?Sized + 'static>(reader: &mut Reader<'_>) -> Result<()> {
    match fixed_size::<T>() {
        Some(size) => reader.advance(size).map(drop),
        None => reader.body().map(drop),
    }
}

#[inline]
fn is_same<T: 'static, N: 'static>() -> bool {
    std::any::TypeId::of::<T>() == std::any::TypeId::of::<N>()
}

#[inline]
fn same<A: 'static, B: 'static>(value: A) -> Result<B> {
    into_same_type(value).map_err(|_| CodecError("two types of one id differ".to_owned()))
}

/// Serialised values that are kept for later, with what they refer to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packed {
    pub(crate) bytes: Vec<u8>,
    /// Shared memory whose handles are among the values: kept as long as somebody may read them.
    pub(crate) pins: Pins,
}

/// Writes values that are kept for later.
pub(crate) fn pack(write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<Packed> {
    let mut bytes = Vec::new();
    let (written, pins) = scope::collect(|| write(&mut bytes));
    written.map(|()| Packed { bytes, pins })
}

/// Writes a value of the library's own, for control messages.
pub(crate) fn to_bytes<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    // Own types consist of numbers, strings and vectors: they always serialise.
    let written = encode_body(value, &mut out);
    debug_assert!(written.is_ok(), "{written:?}");
    out
}

/// Reads a value of the library's own from a control message.
pub(crate) fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    read::read(bytes)
}

pub(crate) mod bytes;
mod ends;
#[cfg(all(test, not(loom)))]
mod fuzz;
mod read;
mod reader;
mod serde_error;
#[cfg(test)]
mod tests;
pub(crate) mod whole;
mod write;
