//! Synchronisation between processes: one algorithm per file, on plain structs of atomics that live in shared memory.

#[allow(unsafe_code)]
pub(crate) mod layout;
#[cfg(test)]
mod testing;
pub(crate) mod word;
