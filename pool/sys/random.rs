//! Numbers that nobody else has.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Returns a random number. Each comes from the keys that std draws for a hash map.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
