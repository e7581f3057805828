//! The library in builds of its own: programs that the compiler must refuse, profiles, feature sets, hosts and harnesses.
//!
//!     cargo test --test build
//!
//! Each test writes small crates below `target/tmp/crates` and builds them there; `crates.rs` knows how.

mod coverage;
mod crates;
mod harnesses;
mod hosts;
mod modes;
mod moved;
mod refused;
mod run;
mod versions;
