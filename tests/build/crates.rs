//! The crates that the tests build: one workspace below `target/tmp`, so that dependencies are built once per profile.

use crate::run::{Ran, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, PoisonError};

/// Variables that cargo reads and that may stay: where it gets packages from. All others describe the build that this
/// test is part of.
const KEPT: &[&str] = &["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_SOURCE_"];

/// Variables of other tools, which would change what is built or how it behaves.
const REMOVED: &[&str] =
    &["RUSTFLAGS", "RUSTDOCFLAGS", "RUST_BACKTRACE", "RUST_TEST_", "NEXTEST", "MULTIPROC_", "LLVM_"];

/// Profiles that are quick to build. Where functions are inlined and merged, the programs are optimised, with what they make of
/// the library's generic code, the library itself a little, and no more.
const PROFILES: &str = r#"
[profile.dev]
debug = 0
incremental = false

[profile.release]
opt-level = 2
debug = 0

[profile.release.package."*"]
opt-level = 0

[profile.release.package.multiproc]
opt-level = 1

[profile.lto]
inherits = "release"
lto = "fat"
"#;

/// A file of the workspace: its path, and its text.
type File = (&'static str, &'static str);

const CRATES: &[&[File]] = &[
    crate::refused::CRATE,
    crate::modes::CRATES,
    crate::hosts::CRATES,
    crate::harnesses::CRATE,
    crate::coverage::CRATE,
    crate::versions::CRATE,
];

/// The folder of the workspace, written.
static WORKSPACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crates");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut members = Vec::new();
    for (path, text) in CRATES.iter().copied().flatten() {
        if let Some(member) = path.strip_suffix("/Cargo.toml") {
            members.push(member);
        }
        write(&folder.join(path), text);
    }
    write(&folder.join("newer/Cargo.toml"), &crate::versions::newer_manifest(root));
    let multiproc = format!("[workspace.dependencies]\nmultiproc = {{ path = {root:?}, default-features = false }}\n");
    let workspace = format!("[workspace]\nresolver = \"2\"\nmembers = {members:?}\n{multiproc}{PROFILES}");
    write(&folder.join("Cargo.toml"), &workspace);
    // The same versions as this build, which are there already.
    let (lock, ours) = (folder.join("Cargo.lock"), root.join("Cargo.lock"));
    let is_newer =
        |ours: &Path| Some(fs::metadata(ours).ok()?.modified().ok()? > fs::metadata(&lock).ok()?.modified().ok()?);
    if ours.exists() && (!lock.exists() || is_newer(&ours) == Some(true)) {
        write(&lock, &fs::read_to_string(ours).unwrap());
    }
    folder
});

/// Writes a file, unless it stands there already: an older file need not be built again. Another process may be doing
/// the same, so that the file appears as a whole.
fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|it| it == text) {
        return;
    }
    let folder = path.parent().unwrap();
    fs::create_dir_all(folder).unwrap();
    let new = folder.join(unique("new"));
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

/// A file name that nobody else uses.
fn unique(name: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed))
}

/// A command in an environment like a user's, not like that of a test.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let starts = |list: &[&str]| list.iter().any(|it| text.starts_with(it));
        if (text.starts_with("CARGO") && !starts(KEPT)) || starts(REMOVED) {
            command.env_remove(&name);
        }
    }
    command
}

/// The turn of those who build: a build can replace what another has just made.
static TURN: Mutex<()> = Mutex::new(());

/// Runs cargo in the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Ran {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    cargo_now(arguments)
}

fn cargo_now(arguments: &[&str]) -> Ran {
    let run = |offline: &str| {
        let mut cargo = command(env!("CARGO"));
        cargo.current_dir(&*WORKSPACE).args(arguments).env("CARGO_TERM_COLOR", "never");
        run(cargo.env("CARGO_TARGET_DIR", WORKSPACE.join("target")).env("CARGO_NET_OFFLINE", offline))
    };
    // What this build has fetched is enough, as a rule.
    let ran = run("true");
    if !ran.status.success() && ran.err.contains("offline") { run("false") } else { ran }
}

/// What a build has made, under a name that no later build touches; deleted when dropped.
pub(crate) struct Built {
    pub(crate) path: PathBuf,
}

/// Runs cargo and keeps the file that it has made: `product` is its place below the target folder.
pub(crate) fn built(product: &str, arguments: &[&str]) -> Built {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    cargo_now(arguments).good();
    let target = WORKSPACE.join("target");
    let path = target.join(unique(Path::new(product).file_name().unwrap().to_str().unwrap()));
    // A second name instead of a copy: who writes an executable while another thread forks cannot execute it.
    fs::hard_link(target.join(product), &path).unwrap();
    Built { path }
}

impl Drop for Built {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
