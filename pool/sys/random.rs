//! Numbers that nobody else has, and bytes that nobody can foretell.

use crate::sys::refusal::named;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;

/// Returns a random number. Each comes from the keys that std draws for a hash map.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Returns random bytes that nobody can foretell. `getrandom(2)`.
///
/// # Errors
///
/// The system gives none.
#[cfg_attr(
    not(feature = "remote"),
    allow(dead_code, reason = "without other programs nobody proves anything to anybody")
)]
pub(crate) fn secret<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    // So few bytes come all at once, once the system has any.
    let len = rustix::io::retry_on_intr(|| {
        rustix::rand::getrandom(bytes.as_mut_slice(), rustix::rand::GetRandomFlags::empty())
    });
    match named("getrandom", len)? == N {
        true => Ok(bytes),
        false => Err(io::Error::other("getrandom: too few random bytes")),
    }
}
