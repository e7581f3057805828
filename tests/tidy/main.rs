//! The repository tests itself: layers, sizes, unsafe code, examples, documents, labels. Reads files, starts nothing.
//!
//!     cargo test --test tidy

mod circles;
mod code;
mod documents;
mod form;
mod layers;
mod ordering;
mod repository;
mod system;
