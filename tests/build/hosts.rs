//! Programs that do not recognise their workers by themselves, and hosts that cannot.

use crate::crates::{built, command};
use crate::run::run;
use std::fs;
use std::process::Command;

/// Programs without the feature `auto`, and a library for a host that is not ours.
pub(crate) const CRATES: &[(&str, &str)] = &[
    (
        "plain/Cargo.toml",
        r#"
[package]
name = "plain"
version = "0.0.0"
edition = "2024"

[dependencies]
multiproc = { workspace = true }
"#,
    ),
    (
        "plain/src/bin/with_init.rs",
        r#"
fn main() -> multiproc::Result<()> {
    println!("started");
    multiproc::init();
    println!("main");
    let pool = multiproc::Pool::new(2)?;
    println!("{:?}", pool.map(|x: u64| x * x, 0..5)?);
    println!("{:?}", pool.apply(|| std::env::var("MULTIPROC_CHILD").ok(), ())?);
    Ok(())
}
"#,
    ),
    (
        "plain/src/bin/without_init.rs",
        r#"
fn main() {
    println!("main");
    let error = multiproc::Pool::new(2).unwrap_err();
    assert!(error.is_not_initialized());
    println!("{error}");
    // Neither a child nor the thread that starts and watches them.
    println!("{} thread", std::fs::read_dir("/proc/self/task").unwrap().count());
}
"#,
    ),
    (
        "plugin/Cargo.toml",
        r#"
[package]
name = "plugin"
version = "0.0.0"
edition = "2024"

[lib]
crate-type = ["cdylib"]

[dependencies]
multiproc = { workspace = true, features = ["auto"] }
"#,
    ),
    (
        "plugin/src/lib.rs",
        r#"
#[unsafe(no_mangle)]
pub extern "C" fn start() -> i32 {
    match multiproc::Pool::new(1) {
        Ok(_) => 1,
        Err(error) => {
            println!("{error}");
            if error.is_foreign_host() { 2 } else { 3 }
        }
    }
}
"#,
    ),
];

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn without_auto_a_line_in_main_recognises_workers() {
    let program = built("debug/with_init", &["build", "--quiet", "--package", "plain", "--bin", "with_init"]);
    let out = run(&mut command(&program.path)).good();
    // What stands in front of the line is done by workers as well.
    assert_eq!(out.matches("started\n").count(), 3, "{out}");
    assert_eq!(lines(&out.replace("started\n", "")), ["main", "[0, 1, 4, 9, 16]", "None"]);
}

#[test]
fn without_auto_and_without_that_line_nothing_is_started() {
    let program = built("debug/without_init", &["build", "--quiet", "--package", "plain", "--bin", "without_init"]);
    let out = run(&mut command(&program.path)).good();
    let error = "this program cannot recognise its own workers: call `multiproc::init()` first in `main`, or switch the \
                 feature `auto` on; and start no process before `main`";
    assert_eq!(lines(&out), ["main", error, "1 thread"]);
}

#[test]
fn a_python_extension_is_told_that_its_host_is_foreign() {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: there is no python3");
        return;
    }
    let plugin = built("debug/libplugin.so", &["build", "--quiet", "--package", "plugin"]);
    let script = plugin.path.with_extension("py");
    let text = format!(
        "print('script', flush=True)\nimport ctypes\nplugin = ctypes.CDLL({:?})\n\
         print('returned', plugin.start(), flush=True)\n",
        plugin.path
    );
    fs::write(&script, text).unwrap();
    let error = "this library was loaded by a program that it is not linked into (a Python extension or a plugin); that \
                 program cannot be started again as a worker";
    // Neither an ordinary environment nor one in which a worker's variable has leaked runs the script again.
    for variable in [None, Some("1:1:ff:fd:0")] {
        let mut python = command("python3");
        let ran = run(python.arg(&script).envs(variable.map(|it| ("MULTIPROC_CHILD", it))));
        assert_eq!(lines(&ran.good()), ["script", error, "returned 2"]);
    }
    fs::remove_file(script).unwrap();
}

#[test]
fn without_relocation_read_only_it_is_said_what_is_missing() {
    let how = ["rustc", "--quiet", "--package", "plain", "--bin", "with_init", "--", "-C", "relro-level=off"];
    let program = built("debug/with_init", &how);
    let ran = run(&mut command(&program.path));
    assert!(!ran.status.success() && lines(&ran.out) == ["started", "main"], "{ran}");
    assert!(ran.err.contains("lies in memory of the executable that can be written"), "{ran}");
}
