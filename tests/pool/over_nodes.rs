//! The tests of pools once more, with their workers on nodes: two agents on this machine.

use crate::common::links::is_on_nodes;
use std::process::{Command, Stdio};

/// Modules that make pools of their own, whatever they are told.
const OTHERS: [&str; 6] = ["closed", "descendants", "forged", "inline", "template", "threads"];

#[test]
fn all_tests_pass_there_or_say_why_they_cannot() {
    if is_on_nodes() {
        return;
    }
    let mut tests = Command::new(std::env::current_exe().unwrap());
    for module in OTHERS {
        tests.arg("--skip").arg(format!("{module}::"));
    }
    let ran = tests.env("MULTIPROC_TEST_LINK", "nodes").stdin(Stdio::null()).output().unwrap();
    let [out, error] = [&ran.stdout, &ran.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(ran.status.success(), "{out}\n{error}");
}
