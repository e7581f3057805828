//! [`RemoteError`]: an error of user code that has crossed into another process.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An error that user code returned in another process: its text and the texts of its causes.
///
/// The error's own type stays behind in the worker; what crosses is plain data that always arrives.
///
/// ```
/// use multiproc::Pool;
/// use std::error::Error;
///
/// let read = |path: String| std::fs::read(path).map(|bytes| bytes.len());
/// let error = Pool::new(1)?.try_map(read, ["/no such file".to_owned()]).unwrap_err();
/// let task = error.task().unwrap(); // Which task it was, and below it the error of the function.
/// assert!(task.is_error() && task.source().unwrap().to_string().contains("No such file"));
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct RemoteError {
    text: String,
    source: Option<Box<RemoteError>>,
}

impl RemoteError {
    /// Longest chain of causes that is kept; a cycle or an endless chain ends here.
    const MAX_DEPTH: usize = 32;

    pub(crate) fn new(error: &(dyn std::error::Error + 'static)) -> RemoteError {
        let mut texts = vec![error.to_string()];
        let mut next = error.source();
        while let Some(cause) = next.filter(|_| texts.len() < Self::MAX_DEPTH) {
            texts.push(cause.to_string());
            next = cause.source();
        }
        texts.into()
    }

    /// The text of the error itself, without its causes.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The texts, the outermost first.
    fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self), |it| it.source.as_deref()).map(|it| it.text.as_str())
    }
}

// On the wire it is a flat list, so that no bytes from a worker can nest deeper than the parent's stack.
impl From<Vec<String>> for RemoteError {
    fn from(mut texts: Vec<String>) -> RemoteError {
        texts.truncate(Self::MAX_DEPTH);
        let last = RemoteError { text: texts.pop().unwrap_or_default(), source: None };
        texts.into_iter().rev().fold(last, |cause, text| RemoteError { text, source: Some(Box::new(cause)) })
    }
}

impl From<RemoteError> for Vec<String> {
    fn from(error: RemoteError) -> Vec<String> {
        error.texts().map(str::to_owned).collect()
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteError({})", self.texts().collect::<Vec<_>>().join(": "))
    }
}

impl std::error::Error for RemoteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|cause| cause as _)
    }
}
