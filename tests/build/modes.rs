//! One program in builds of many kinds: how functions are named and workers recognised depends on what the linker does.

use crate::crates::{Built, built, command};
use crate::run::start;
use std::io::Write;
use std::process::{Command, Stdio};

/// The program, and the library between it and multiproc.
pub(crate) const CRATES: &[(&str, &str)] = &[
    (
        "between/Cargo.toml",
        r#"
[package]
name = "between"
version = "0.0.0"
edition = "2024"

[dependencies]
multiproc = { workspace = true, features = ["auto"] }
"#,
    ),
    ("between/src/lib.rs", include_str!("../crates/between.rs")),
    (
        "program/Cargo.toml",
        r#"
[package]
name = "program"
version = "0.0.0"
edition = "2024"

[dependencies]
between = { path = "../between" }
multiproc = { workspace = true, features = ["auto"] }
"#,
    ),
    ("program/src/main.rs", include_str!("../crates/program.rs")),
];

/// What the program prints in every build. A panic is `panic`, or `lost` where it aborts.
pub(crate) fn expected(panic: &str, arguments: &str, line: &str) -> String {
    format!(
        r#"closure [1, 2, 3, 4]
function [0, 1, 4, 9]
its twin [0, 1, 4, 9]
library [0, 3, 6, 9] [0, 4, 8, 12]
generic [0, 1, 4, 9] [0.25, 2.25]
std 1024
apply "abab"
with [11, 21, 31]
many 333283335000
library's pool 285
nested pool 285
process 49 0.25
process with a pool 285
panics ["0", "1", "{panic}", "3"]
aborts ["0", "1", "lost", "3"]
process {panic}
registry [1, 1, 1, 0] here, [1, 1, 1, 1] in a worker
variable None
arguments {arguments}
stdin ("/dev/null", 0)
sub-process "main\nNone [0, 1, 4]\n"
same file true
read {line:?}
waited for
"#
    )
}

/// Builds the program; `how` is what cargo, and behind `--` the compiler of the program itself, are told.
pub(crate) fn build(folder: &str, how: &[&str]) -> Built {
    let arguments = [&["rustc", "--quiet", "--package", "program", "--bin", "program"], how].concat();
    built(&format!("{folder}/program"), &arguments)
}

/// Builds and runs the program, and compares what it prints.
fn check(panic: &str, folder: &str, how: &[&str]) {
    let program = build(folder, how);
    let mut command = command(&program.path);
    // A variable that has leaked makes nobody a worker.
    command.env("MULTIPROC_CHILD", "1:1:ff:fd:0");
    let mut running = start(command.stdin(Stdio::piped()));
    running.child.stdin.take().unwrap().write_all(b"for the program alone\n").unwrap();
    let ran = running.end();
    let expected = format!("main\n{}", expected(panic, "[]", "for the program alone\n"));
    assert!(ran.status.success() && ran.out == expected, "built with {how:?}, expected\n{expected}\n{ran}");
}

#[test]
fn dev() {
    check("panic", "debug", &[]);
}

#[test]
fn release() {
    check("panic", "release", &["--release"]);
}

#[test]
fn fat_lto() {
    check("panic", "lto", &["--profile", "lto"]);
}

/// Here a panic aborts, and is a lost worker. The objects are those of the other kind of LTO.
#[test]
fn thin_lto_stripped_and_without_unwinding() {
    let told = ["lto=thin", "codegen-units=4", "strip=symbols", "panic=abort"].map(|it| ["-C", it]).concat();
    check("lost", "lto", &[&["--profile", "lto", "--"], &told[..]].concat());
}

/// Whether the C library can be linked in: not every system has it in that form.
fn has_static_libc() -> bool {
    let asked = Command::new("cc").arg("-print-file-name=libc.a").output();
    // What it does not find it repeats without a folder.
    asked.is_ok_and(|it| it.stdout.contains(&b'/'))
}

/// Whether the linker that the compiler uses can fold identical functions: lld can, that of GNU cannot.
fn folds_functions() -> bool {
    let folder = std::env::temp_dir().join(format!("multiproc-icf-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut compiler = Command::new("rustc");
    compiler.args(["-", "-o", "empty", "-C", "link-arg=-Wl,--icf=all"]).current_dir(&folder).stdin(Stdio::piped());
    let mut running = start(&mut compiler);
    running.child.stdin.take().unwrap().write_all(b"fn main() {}").unwrap();
    let folds = running.end().status.success();
    std::fs::remove_dir_all(folder).unwrap();
    folds
}

/// The same objects, put together in other ways.
#[test]
fn other_ways_to_link() {
    // At a fixed address, and without a build id: the file itself tells builds apart.
    check("panic", "debug", &["--", "-C", "relocation-model=static", "-C", "link-arg=-Wl,--build-id=none"]);
    // Nothing that is unused is left out, and others may look up symbols.
    check("panic", "debug", &["--", "-C", "link-dead-code=yes", "-C", "link-arg=-rdynamic"]);
    if folds_functions() {
        // Functions with the same instructions are one.
        check("panic", "debug", &["--", "-C", "link-arg=-Wl,--icf=all"]);
    } else {
        println!("skipped: this linker folds no functions");
    }
    if has_static_libc() {
        check("panic", "debug", &["--", "-C", "target-feature=+crt-static"]);
    } else {
        println!("skipped: there is no libc.a");
    }
}
