//! A program built to measure coverage: what runs in its workers counts.

use crate::crates::{built, command};
use crate::run::run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A function that runs in workers alone. The library itself is built as ever, like every dependency of such a program.
pub(crate) const CRATE: &[(&str, &str)] = &[
    (
        "measured/Cargo.toml",
        r#"
[package]
name = "measured"
version = "0.0.0"
edition = "2024"

[dependencies]
multiproc = { workspace = true, features = ["auto"] }
"#,
    ),
    (
        "measured/src/main.rs",
        r#"
use multiproc::{Pool, Process};

fn only_in_children() -> u32 {
    std::process::id()
}

fn main() -> multiproc::Result<()> {
    let pool = Pool::new(1)?;
    println!("closed {}", pool.apply(only_in_children, ())?);
    pool.close();
    pool.join()?;

    let pool = Pool::new(1)?;
    println!("dropped {}", pool.apply(only_in_children, ())?);
    drop(pool);

    println!("process {}", Process::spawn(only_in_children, ())?.join().unwrap());

    let process = Process::spawn(|| std::thread::sleep(std::time::Duration::from_secs(60)), ())?;
    println!("terminated {}", process.pid());
    process.terminate();
    process.wait();
    println!("exit code {:?}", process.exitcode());
    Ok(())
}
"#,
    ),
];

/// One of LLVM's tools, if rustup's component `llvm-tools` is installed.
fn tool(name: &str) -> Option<PathBuf> {
    let sysroot = run(Command::new("rustc").args(["--print", "sysroot"])).good();
    let host = format!("lib/rustlib/{}-unknown-linux-gnu/bin", std::env::consts::ARCH);
    Some(Path::new(sysroot.trim()).join(host).join(name)).filter(|path| path.exists())
}

#[test]
fn what_runs_in_workers_counts() {
    let program = built(
        "debug/measured",
        &["rustc", "--quiet", "--package", "measured", "--bin", "measured", "--", "-C", "instrument-coverage"],
    );
    let folder = program.path.with_extension("profiles");
    fs::create_dir_all(&folder).unwrap();
    let out = run(command(&program.path).env("LLVM_PROFILE_FILE", folder.join("%p"))).good();
    let lines: Vec<(&str, &str)> = out.lines().map(|line| line.rsplit_once(' ').unwrap()).collect();
    assert_eq!(lines.len(), 5, "{out}");
    assert_eq!(lines[4], ("exit code", "Some(-15)"));
    for (how, pid) in &lines[..4] {
        let written = folder.join(pid);
        assert!(fs::metadata(&written).is_ok_and(|it| it.len() > 0), "a child that was {how} has written no counters");
        let Some(profdata) = tool("llvm-profdata") else { continue };
        let merged = folder.join("merged");
        run(Command::new(&profdata).args(["merge", "--sparse", "-o"]).args([&merged, &written])).good();
        let shown = run(Command::new(profdata).args(["show", "--function=only_in_children"]).arg(&merged)).good();
        let expected = if *how == "terminated" { "Functions shown: 0" } else { "Functions shown: 1" };
        assert!(shown.contains(expected), "a child that was {how}: {shown}");
    }
    fs::remove_dir_all(folder).unwrap();
}
