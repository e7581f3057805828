//! Why serde's code stopped in the middle of a value.

use super::CodecError;
use std::fmt;

/// How many elements without bytes, such as `()`, a value may have, all its sequences together. A few bytes can announce any
/// number of them, and each takes the reader a moment.
pub(super) const FREE_ELEMENTS: usize = 1 << 20;

/// A [`CodecError`] of one word, so that the steps of reading and writing return it at no cost.
#[derive(Debug)]
pub(super) struct SerdeError(Box<CodecError>);

impl SerdeError {
    #[cold]
    fn new(text: String) -> SerdeError {
        SerdeError(Box::new(CodecError(text)))
    }

    pub(super) fn into_error(self) -> CodecError {
        *self.0
    }

    /// The value is nested deeper than this thread's stack allows.
    #[cold]
    pub(super) fn too_deep() -> SerdeError {
        SerdeError::new("it is nested too deeply for the stack of this thread".to_owned())
    }

    /// See [`FREE_ELEMENTS`]; or the length is a lie.
    #[cold]
    pub(super) fn too_many() -> SerdeError {
        SerdeError::new(format!("it has more elements than bytes, and more than {FREE_ELEMENTS} without any"))
    }

    #[cold]
    pub(super) fn cut_short() -> SerdeError {
        SerdeError::new("the data ends too early".to_owned())
    }
}

impl fmt::Display for SerdeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.0)
    }
}

impl std::error::Error for SerdeError {}

impl serde::ser::Error for SerdeError {
    fn custom<T: fmt::Display>(text: T) -> SerdeError {
        SerdeError::new(text.to_string())
    }
}

impl serde::de::Error for SerdeError {
    fn custom<T: fmt::Display>(text: T) -> SerdeError {
        SerdeError::new(text.to_string())
    }
}
