//! Where `unsafe` stands, and who names the operating system.

use crate::code::{code_of, has_word};
use crate::repository::{expect_none, library, root, sources};

/// Where `unsafe` may stand: folders, and single files with the reason.
const UNSAFE: &[(&str, &str)] = &[
    ("pool/sys/", "the operating system"),
    ("pool/heap/", "memory that a tree of processes shares"),
    ("pool/sync/algorithm/layout.rs", "promises that its headers consist of atomics"),
    ("pool/sync/slice.rs", "lends the elements of an array while their lock is held"),
    ("pool/ipc/lane.rs", "promises that its slots consist of atomics"),
    ("pool/ipc/bell.rs", "promises that its memory consists of atomics"),
    ("pool/ipc/desk.rs", "promises that its words consist of atomics"),
    ("pool/ipc/head.rs", "promises that it consists of atomics"),
    ("tests/common/crash.rs", "crashes, as broken code does"),
    ("tests/common/descriptors.rs", "closes descriptors of the whole process"),
    ("tests/common/evil.rs", "maims its own process, as broken code does"),
    ("tests/common/fork.rs", "forks, as foreign code does"),
    ("tests/common/seccomp.rs", "filters system calls"),
    ("tests/common/signals.rs", "ignores and handles signals, and handles exit"),
    ("tests/common/stepper.rs", "steps through another process"),
    ("benches/common/robust.rs", "calls the C library's robust mutex"),
    ("pool/identity.rs", "follows a checked reference to a function"),
    ("pool/process/bootstrap.rs", "runs before `main`"),
];

#[test]
fn unsafe_code_stands_where_it_may() {
    let allowed = |path: &str| {
        UNSAFE.iter().any(|(place, _)| path == *place || (place.ends_with('/') && path.starts_with(place)))
    };
    let mut complaints = Vec::new();
    for source in sources(&["pool", "examples", "tests", "benches"], &["rs"]) {
        // Crates that tests build are programs of others, so to say.
        if source.is_in("tests/crates/") || allowed(&source.path) {
            continue;
        }
        for (number, line) in (1..).zip(code_of(&source.text).lines()) {
            if has_word(line, "unsafe") {
                complaints.push(format!(
                    "{}:{number}: `unsafe` outside of the modules listed in tests/tidy/system.rs; use a safe wrapper of `sys`",
                    source.path
                ));
            }
        }
    }
    for (place, _) in UNSAFE {
        if !place.ends_with('/') && !root().join(place).is_file() {
            complaints.push(format!(
                "{place} does not exist; take it off the list of unsafe modules in tests/tidy/system.rs"
            ));
        }
    }
    expect_none(complaints);
}

#[test]
fn only_sys_names_the_system_and_only_ipc_the_channels() {
    let mut complaints = Vec::new();
    let homes: [(&str, &[&str]); 4] = [
        ("libc", &["sys"]),
        ("rustix", &["sys"]),
        ("memmap2", &["sys"]),
        // The last re-exports it.
        ("ipc_channel", &["ipc", "attached_fds", "lib"]),
    ];
    for source in library() {
        for (number, line) in (1..).zip(code_of(&source.text).lines()) {
            for (name, homes) in homes {
                if has_word(line, name) && !source.layer().is_some_and(|layer| homes.contains(&layer)) {
                    complaints.push(format!("{}:{number}: only `{}` names `{name}`", source.path, homes[0]));
                }
            }
        }
    }
    expect_none(complaints);
}
