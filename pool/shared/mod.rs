//! Data that processes share: values and arrays, with and without a lock.

pub(crate) mod array;
pub(crate) mod element;
pub(crate) mod raw;
pub(crate) mod raw_array;
pub(crate) mod value;
