//! The same processes with either start method.

use multiproc::{Process, ProcessBuilder, StartMethod};

/// A builder of processes that are executed, or copies of a template if `MULTIPROC_TEST_START=template` says so.
pub(crate) fn starting() -> ProcessBuilder {
    let is_template = std::env::var("MULTIPROC_TEST_START").is_ok_and(|start| start == "template");
    Process::builder().start_method(if is_template { StartMethod::Template } else { StartMethod::Spawn })
}
