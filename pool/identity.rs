//! Function identity: how one process names a function to another that runs the same executable.
//!
//! What travels is the distance from the start of the executable to a read-only descriptor of the function, never the
//! address of code. The receiver looks whether the place lies inside the executable's own read-only segments and
//! carries the right marks, and only then follows the pointers that it finds there. So the worst that wrong bytes can
//! do is to select another descriptor that the compiler has put there.

use crate::error::Error;
use crate::sys::executable;
use serde::{Deserialize, Serialize};
#[cfg(feature = "cluster")]
use std::ops::Range;

/// "mproc fn" in ASCII, and a random number that depends on the version: no other read-only data starts like this. A program
/// may contain several versions of this library, whose descriptors differ.
const MAGIC: [u64; 2] = [u64::from_be_bytes(*b"mproc fn"), 0x9c1d_73e5_a0b4_62f7 ^ hash(env!("CARGO_PKG_VERSION"))];

/// A type of function pointer that a descriptor can hold.
pub(crate) trait Callable: Copy + 'static {
    /// Tells it from the others.
    const TAG: u64;
}

/// The descriptor of a function; lives in read-only memory of the executable.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Entry<C> {
    magic: [u64; 2],
    tag: u64,
    name: fn() -> &'static str,
    call: C,
}

impl<C: Callable> Entry<C> {
    pub(crate) const fn new(name: fn() -> &'static str, call: C) -> Entry<C> {
        Entry { magic: MAGIC, tag: C::TAG, name, call }
    }

    /// The function's name, for people.
    pub(crate) fn name(&self) -> &'static str {
        (self.name)()
    }

    pub(crate) fn call(&self) -> C {
        self.call
    }
}

/// A function, as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FnRef {
    /// In the same build: the distance of its descriptor from the start of the executable, and a hash of its name.
    Offset { delta: u64, signature: u64 },
    /// In another build: its registered name and a hash of its signature. Reserved.
    Name { name: String, signature: u64 },
}

impl FnRef {
    /// The offset and the signature of a function of this executable, for a process that runs the same one.
    ///
    /// # Errors
    ///
    /// As [`FnRef::of`]; and if this library is not part of the executable.
    pub(crate) fn place_of<C: Callable>(entry: &'static Entry<C>) -> Result<(u64, u64), Error> {
        match FnRef::of(entry)? {
            FnRef::Offset { delta, signature } => Ok((delta, signature)),
            FnRef::Name { .. } => Err(Error::foreign_host()),
        }
    }

    /// Names a function of this executable.
    ///
    /// # Errors
    ///
    /// The function was compiled into another executable or a library that was loaded at run time: a worker, which
    /// runs this executable alone, does not have it.
    pub(crate) fn of<C: Callable>(entry: &'static Entry<C>) -> Result<FnRef, Error> {
        let address = std::ptr::from_ref(entry) as usize;
        let delta = executable::offset_of(address);
        if executable::read_only_address(delta, size_of::<Entry<C>>(), align_of::<Entry<C>>()).is_none() {
            let name = entry.name();
            if executable::contains(address) {
                return Err(Error::invalid_argument(format!(
                    "the descriptor of `{name}` lies in memory of the executable that can be written, so that no worker would \
                     believe it: link the program with relocation read-only, as rustc does unless `-C relro-level` says otherwise"
                )));
            }
            return Err(Error::invalid_argument(format!(
                "`{name}` is not part of the running executable (it comes from a library loaded at run time), so that no \
                 worker could call it"
            )));
        }
        Ok(FnRef::Offset { delta, signature: hash(entry.name()) })
    }

    /// Finds the function that was named.
    ///
    /// # Errors
    ///
    /// There is no such descriptor in this executable; the text says what is wrong.
    pub(crate) fn resolve<C: Callable>(&self) -> Result<&'static Entry<C>, String> {
        let (delta, signature) = match self {
            FnRef::Offset { delta, signature } => (*delta, *signature),
            FnRef::Name { name, .. } => return Err(format!("functions by name (`{name}`) are not supported yet")),
        };
        let entry = entry_at::<C>(delta)?;
        if hash(entry.name()) != signature {
            return Err(format!("the function reference points to another function, `{}`", entry.name()));
        }
        Ok(entry)
    }
}

/// The descriptor at that distance from the start of the executable.
///
/// # Errors
///
/// There is none of this kind.
fn entry_at<C: Callable>(delta: u64) -> Result<&'static Entry<C>, &'static str> {
    let at = executable::read_only_address(delta, size_of::<Entry<C>>(), align_of::<Entry<C>>())
        .ok_or("the function reference points outside of the executable's read-only data")?;
    let [first, second, tag] = [0, 1, 2].map(|number| {
        let word = at.cast::<u64>().wrapping_add(number);
        // SAFETY: the word lies inside a segment of this executable that can be read and not written, and is aligned (just
        // checked); any bytes are a valid u64. Volatile, since a spoiled reference may lead between two statics, where the
        // linker has put bytes that belong to no value of the program (AddressSanitizer says so of what is read there).
        unsafe { word.read_volatile() }
    });
    if [first, second] != MAGIC || tag != C::TAG {
        return Err("the function reference points to something that is no function descriptor");
    }
    // SAFETY: whole, aligned and read-only for the life of the process (just checked). The 192 bits of magic and
    // tag occur in descriptors alone, which `Entry::new` made for this very `C`, so the function pointers in it
    // are genuine.
    Ok(unsafe { &*at.cast::<Entry<C>>() })
}

/// The first descriptor of this kind in the executable: for a process that another build has called, which cannot say where its
/// own is. Reads all that is read-only.
#[cfg(feature = "cluster")]
pub(crate) fn first<C: Callable>() -> Option<&'static Entry<C>> {
    let words = |it: Range<u64>| (it.start.next_multiple_of(8)..it.end).step_by(8);
    executable::read_only_ranges().into_iter().flat_map(words).find_map(|delta| entry_at(delta).ok())
}

/// FNV-1a, 64 bits: to tell two functions apart, not against forgery.
const fn hash(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let (mut hash, mut at) = (0xcbf2_9ce4_8422_2325, 0);
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Callable for fn(i32) -> i32 {
        const TAG: u64 = 1000;
    }
    impl Callable for fn(i64) -> i64 {
        const TAG: u64 = 1001;
    }

    fn name() -> &'static str {
        "double"
    }
    fn other_name() -> &'static str {
        "other"
    }
    fn double(x: i32) -> i32 {
        2 * x
    }
    static DOUBLE: Entry<fn(i32) -> i32> = Entry::new(name, double);
    static OTHER: Entry<fn(i32) -> i32> = Entry::new(other_name, double);

    #[test]
    fn a_function_is_found_again() {
        let reference = FnRef::of(&DOUBLE).unwrap();
        let entry = reference.resolve::<fn(i32) -> i32>().unwrap();
        assert_eq!((entry.name(), entry.call()(21)), ("double", 42));
    }

    #[test]
    fn wrong_references_select_nothing() {
        let FnRef::Offset { delta, signature } = FnRef::of(&DOUBLE).unwrap() else { unreachable!() };
        let resolve = |delta, signature| FnRef::Offset { delta, signature }.resolve::<fn(i32) -> i32>();
        assert!(resolve(delta + 8, signature).is_err());
        assert!(resolve(delta + 1, signature).is_err());
        assert!(resolve(u64::MAX - 7, signature).is_err());
        assert!(resolve(0, signature).is_err());
        assert!(resolve(delta, signature + 1).unwrap_err().contains("another function"));
        assert!(FnRef::Offset { delta, signature }.resolve::<fn(i64) -> i64>().is_err());
        let FnRef::Offset { delta: other, .. } = FnRef::of(&OTHER).unwrap() else { unreachable!() };
        assert!(resolve(other, signature).is_err());
    }

    /// Wherever a spoiled reference leads, nothing is read outside of what can be read, and nothing but a descriptor is found.
    #[test]
    fn every_place_of_the_executable_can_be_looked_at() {
        let FnRef::Offset { delta: genuine, signature } = FnRef::of(&DOUBLE).unwrap() else { unreachable!() };
        for range in executable::read_only_ranges() {
            // All of the ends, and so many places in between that it takes no longer than it should.
            let len = range.end - range.start;
            let stride = (len / 100_000).next_multiple_of(8).max(8) as usize;
            let ends = (range.start..range.start + len.min(4096)).chain(range.end - len.min(4096)..range.end);
            for delta in ends.chain((range.start..range.end).step_by(stride)).chain([genuine]) {
                let found = FnRef::Offset { delta, signature }.resolve::<fn(i32) -> i32>();
                assert_eq!(found.is_ok(), delta == genuine, "{delta:x}");
            }
        }
    }

    #[test]
    fn a_descriptor_outside_the_executable_is_refused() {
        let leaked: &'static Entry<fn(i32) -> i32> = Box::leak(Box::new(Entry::new(name, double as fn(i32) -> i32)));
        assert!(FnRef::of(leaked).unwrap_err().to_string().contains("`double` is not part of the running executable"));
    }
}
