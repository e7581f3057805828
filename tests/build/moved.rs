//! A program whose file is deleted or replaced while it runs: workers run what the program runs.

use crate::crates::{Built, command};
use crate::modes::{build, expected};
use crate::run::{Running, start};
use std::fs;
use std::io::Write;
use std::process::{ChildStdin, Stdio};

/// Starts a program and waits until its `main` has begun, but no pool exists.
fn waiting(program: &Built) -> (Running, ChildStdin) {
    let mut running = start(command(&program.path).arg("--wait").stdin(Stdio::piped()));
    let input = running.child.stdin.take().unwrap();
    running.await_output("main\nwaits\n");
    (running, input)
}

/// Lets it go on, and looks at what it does under the name that the kernel has for its file now.
fn goes_on((running, mut input): (Running, ChildStdin), program: &Built) {
    input.write_all(b"\nlast\n").unwrap();
    drop(input);
    let name = format!("{} (deleted)", program.path.display());
    let expected = format!("goes on as {name:?}\n{}", expected("panic", r#"["--wait"]"#, "\nlast\n"));
    // The sub-process of a task is started by the same inode as well.
    let ran = running.end();
    assert!(ran.status.success() && ran.out == expected, "expected\n{expected}\n{ran}");
}

#[test]
fn a_deleted_program_still_has_workers() {
    for how in [&[][..], &["--", "-C", "link-arg=-Wl,--build-id=none"]] {
        let program = build("debug", how);
        let running = waiting(&program);
        fs::remove_file(&program.path).unwrap();
        goes_on(running, &program);
    }
}

#[test]
fn a_rebuilt_program_has_workers_of_its_own_build() {
    let program = build("debug", &[]);
    let rebuilt = build("debug", &["--", "-C", "link-dead-code=yes"]);
    let running = waiting(&program);
    // As a linker or an installation does it: a new file under the old name.
    fs::rename(&rebuilt.path, &program.path).unwrap();
    goes_on(running, &program);
}
