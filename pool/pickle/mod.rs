//! Values of Python as its `pickle` writes them, of plain data alone: reading calls nothing.

mod convert;
mod de;
pub(crate) mod failure;
#[cfg(all(test, not(loom)))]
pub(crate) mod fuzz;
mod raw_text;
pub(crate) mod read;
mod ser;
mod show;
pub(crate) mod tree;
pub(crate) mod value;
pub(crate) mod write;
