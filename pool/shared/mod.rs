//! Data that processes share: values and arrays, with and without a lock, and bytes that other programs may share.

pub(crate) mod array;
pub(crate) mod element;
pub(crate) mod item;
pub(crate) mod raw;
pub(crate) mod raw_array;
pub(crate) mod shareable_list;
pub(crate) mod shared_memory;
pub(crate) mod shared_memory_manager;
pub(crate) mod value;
