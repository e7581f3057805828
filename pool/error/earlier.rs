//! How a task has failed before.

use super::TaskError;
use serde::{Deserialize, Serialize};

/// So many earlier runs have their errors kept: a task may be run again for ever, and the error of a crash has its stack.
const KEPT: usize = 100;

/// How the runs of a task before its last one have failed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Earlier {
    runs: u64,
    /// Those of the first [`KEPT`] runs.
    errors: Vec<TaskError>,
}

impl Earlier {
    /// One more run has failed.
    pub(crate) fn add(&mut self, error: TaskError) {
        self.runs += 1;
        if self.errors.len() < KEPT {
            self.errors.push(error);
        }
    }

    pub(crate) fn runs(&self) -> u64 {
        self.runs
    }

    pub(crate) fn errors(&self) -> &[TaskError] {
        &self.errors
    }
}
