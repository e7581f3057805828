//! How large the result of one task may be.

use crate::sys::usage;
use serde::{Deserialize, Serialize};

/// A bound for the bytes of one result, which both ends of a link keep to: the worker fails the task, and the pool does not
/// believe a worker that goes beyond it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResultLimit(pub(crate) Option<u64>);

impl ResultLimit {
    /// Up to this many bytes nobody looks how much memory there is.
    const SMALL: u64 = 32 << 20;

    /// # Errors
    ///
    /// A result of `len` bytes is too large; why.
    #[inline]
    pub(crate) fn check(self, len: usize) -> Result<(), String> {
        let len = len as u64;
        match self.0 {
            Some(most) if len <= most => Ok(()),
            None if len <= Self::SMALL => Ok(()),
            _ => self.look(len),
        }
    }

    #[cold]
    fn look(self, len: u64) -> Result<(), String> {
        match (self.0, usage::half_of_memory()) {
            (Some(most), _) => Err(format!("it has {len} bytes, and the pool's `max_result_bytes` is {most}")),
            (None, half) if len <= half => Ok(()),
            (None, half) => Err(format!(
                "it has {len} bytes, and without `max_result_bytes` the limit is half of the memory, {half} bytes"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_pools_or_half_of_the_memory() {
        let small = ResultLimit(Some(10));
        assert!(small.check(10).is_ok() && small.check(11).unwrap_err().contains("`max_result_bytes` is 10"));
        let default = ResultLimit::default();
        assert!(default.check(1 << 20).is_ok() && default.check(ResultLimit::SMALL as usize).is_ok());
        assert!(default.check(1 << 50).unwrap_err().contains("half of the memory"));
    }
}
