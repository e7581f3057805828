//! Two versions of the library in one program, as cargo allows it.

use crate::crates::{built, command};
use crate::run::run;
use std::path::Path;

/// The program. It has this version, and through `newer` another one.
pub(crate) const CRATE: &[(&str, &str)] = &[
    (
        "two/Cargo.toml",
        r#"
[package]
name = "two"
version = "0.0.0"
edition = "2024"

[dependencies]
multiproc = { workspace = true, features = ["auto"] }
newer = { package = "multiproc", path = "../newer", default-features = false, features = ["auto"] }
"#,
    ),
    (
        "two/src/main.rs",
        r#"
fn name_here() -> String {
    multiproc::current_process().name().to_owned()
}

fn name_there() -> String {
    newer::current_process().name().to_owned()
}

fn main() {
    let lock = multiproc::Lock::new();
    let look = |lock: multiproc::Lock| (lock.locked(), name_here(), name_there());
    println!("{:?}", multiproc::Process::spawn(look, (lock,)).unwrap().join().map_err(|error| error.to_string()));
    let lock = newer::Lock::new();
    let look = |lock: newer::Lock| (lock.locked(), name_here(), name_there());
    println!("{:?}", newer::Process::spawn(look, (lock,)).unwrap().join().map_err(|error| error.to_string()));
    println!("{:?}", multiproc::Pool::new(2).unwrap().map(|x: u64| x + 1, 0..3).unwrap());
    println!("{:?}", newer::Pool::new(2).unwrap().map(|x: u64| x + 2, 0..3).unwrap());
    // One inside of the other, three deep.
    let inner = || multiproc::Pool::new(1).unwrap().map(|x: u64| x + 3, 0..3).unwrap();
    let middle = move || newer::Process::spawn(inner, ()).unwrap().join().unwrap();
    println!("{:?}", multiproc::Pool::new(1).unwrap().apply(middle, ()).unwrap());
}
"#,
    ),
];

/// The manifest of the same library under another version: its features and dependencies, and no targets but the library.
pub(crate) fn newer_manifest(root: &Path) -> String {
    let ours = include_str!("../../Cargo.toml");
    let package = &ours[ours.find("[package]").unwrap()..ours.find("\n[[").unwrap()];
    let version = format!("version = {:?}", env!("CARGO_PKG_VERSION"));
    let manifest = package.replacen(&version, "version = \"9.9.9\"", 1);
    let library = root.join("pool/lib.rs");
    let manifest = manifest.replacen("path = \"pool/lib.rs\"", &format!("path = {library:?}"), 1);
    assert!(manifest.contains("9.9.9") && manifest.contains(library.to_str().unwrap()), "{manifest}");
    // Which do not hold in a workspace of others.
    manifest.replace("readme = \"README.md\"\n", "").replace("[profile.release]\ndebug = 1\n", "")
}

#[test]
fn each_version_recognises_its_own_children() {
    let program = built("debug/two", &["build", "--quiet", "--package", "two"]);
    let out = run(&mut command(&program.path)).good();
    let expected = r#"Ok((false, "Process-1", "MainProcess"))
Ok((false, "MainProcess", "Process-1"))
[1, 2, 3]
[2, 3, 4]
[3, 4, 5]
"#;
    assert_eq!(out, expected);
}
