//! [`Failure`]: why a pickle cannot be read or written, as a text.

use std::fmt;

/// Why a pickle cannot be read or written.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    #[cold]
    pub(crate) fn new(text: impl Into<String>) -> Failure {
        Failure(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl serde::ser::Error for Failure {
    fn custom<T: fmt::Display>(text: T) -> Failure {
        Failure::new(text.to_string())
    }
}

impl serde::de::Error for Failure {
    fn custom<T: fmt::Display>(text: T) -> Failure {
        Failure::new(text.to_string())
    }
}
