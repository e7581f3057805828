//! How this program gets to another machine: it is there, or it is copied over the stream on which the agent will speak.
//!
//! A line of POSIX `sh` looks for the copy, and asks for the bytes with a mark if there is none. They are written under another
//! name, counted, and renamed: so there is never half a program under the name that counts, whoever dies meanwhile. One that has
//! another length after all, as after a loss of power, is copied anew.

use crate::error::Error;
use crate::nodes::starters::agent_command::{AgentCommand, word};
use crate::process::enlist::Hex;
use crate::sys::{executable, random};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// What the shell on the other machine says to have the bytes of the program.
pub(in crate::nodes) const WANT: [u8; 12] = *b"\x93mproc-want\x1a";

/// How this program gets to a node, see [`Ssh::program`](crate::cluster::Ssh::program).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ship {
    /// It is there already, at this absolute path. It must be the same build; an agent of another one refuses, and says why.
    At(PathBuf),
    /// It is copied to `~/.cache/multiproc/` (or below `$XDG_CACHE_HOME`), under the SHA-256 of its bytes, and stays there: the
    /// next agent of the same build finds it. Old copies may be deleted at any time.
    ///
    /// The machine must have the same kind of processor, and shared libraries that suit the program.
    Copy,
}

/// What is known of the executable file of this process, which is to be copied.
#[derive(Debug)]
pub(in crate::nodes) struct Cargo {
    len: u64,
    digest: Vec<u8>,
}

impl Cargo {
    /// That of this process, which is read once.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    fn own() -> Result<Arc<Cargo>, Error> {
        static OWN: OnceLock<Arc<Cargo>> = OnceLock::new();
        if let Some(cargo) = OWN.get() {
            return Ok(Arc::clone(cargo));
        }
        if executable::is_loaded_by_hand() {
            return Err(Error::start("a program that is an argument of the dynamic loader cannot be copied"));
        }
        let digest = executable::digest();
        let (digest, len) = digest.map_err(|error| Error::start(format!("this program cannot be read: {error}")))?;
        Ok(Arc::clone(OWN.get_or_init(|| Arc::new(Cargo { len, digest }))))
    }
}

/// The bytes of the program on their way.
#[derive(Debug)]
pub(in crate::nodes) struct Delivery {
    file: File,
    len: u64,
    at: u64,
}

impl Delivery {
    /// # Errors
    ///
    /// The file cannot be opened.
    pub(in crate::nodes) fn new(cargo: &Cargo) -> io::Result<Delivery> {
        Ok(Delivery { file: executable::file()?, len: cargo.len, at: 0 })
    }

    /// The bytes that are to be sent next; none once all were sent.
    ///
    /// # Errors
    ///
    /// The file cannot be read any more, or has become shorter.
    pub(in crate::nodes) fn next<'a>(&self, piece: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let left = usize::try_from(self.len - self.at).unwrap_or(usize::MAX);
        let most = piece.len().min(left);
        let read = self.file.read_at(&mut piece[..most], self.at)?;
        if read == 0 && left > 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(&piece[..read]) }
    }

    /// So many bytes of it were sent.
    pub(in crate::nodes) fn sent(&mut self, len: usize) {
        self.at = self.len.min(self.at.saturating_add(len as u64));
    }

    pub(in crate::nodes) fn is_over(&self) -> bool {
        self.at == self.len
    }
}

impl Ship {
    /// What is to be copied if the other machine asks for it.
    ///
    /// # Errors
    ///
    /// This program cannot be read.
    pub(super) fn cargo(&self) -> Result<Option<Arc<Cargo>>, Error> {
        match self {
            Ship::At(_) => Ok(None),
            Ship::Copy => Cargo::own().map(Some),
        }
    }

    /// The line of `sh` that becomes an agent which is called with `call`.
    ///
    /// # Errors
    ///
    /// This program cannot be read, or something in the line cannot be written as a command.
    pub(super) fn line(&self, call: &str, agent: &AgentCommand) -> Result<String, Error> {
        match self {
            Ship::At(path) if path.is_absolute() => Ok(format!("exec {}", agent.line(call, &word(path.as_os_str())?)?)),
            Ship::At(path) => Err(Error::invalid_argument(format!(
                "{path:?} is no absolute path, and the folder that agents start in is not this one"
            ))),
            Ship::Copy => {
                let cargo = Cargo::own()?;
                let agent = agent.line(call, r#""$p""#)?;
                Ok(fetch(&Hex(&cargo.digest).to_string(), cargo.len) + "; exec " + &agent)
            }
        }
    }
}

/// The part of the line after which `$p` is the path of the copy. There is no line break and no single quote in it, which some
/// shells that people log in with would not pass on.
fn fetch(name: &str, len: u64) -> String {
    // Several machines may have one home folder, so that the number of a process is no name.
    let nonce = random::random();
    [
        &format!("d=${{XDG_CACHE_HOME:-$HOME/.cache}}/multiproc; p=$d/{name}; t=$d/.{name}.{nonce:016x}"),
        r#"fail() { echo "multiproc: $1" >&2; exit 73; }"#,
        // What runs programs of other kinds of machines is set up with care, and then it has a copy of its own.
        &format!(
            r#"[ -x "$p" ] && [ "$(wc -c <"$p")" -eq {len} ] || {{ m=$(uname -s -m); case $m in {}) ;; *) fail "this is $m, {FOREIGN}";; esac"#,
            kind()
        ),
        "umask 077",
        r#"mkdir -p "$d" || fail "the folder $d for a copy of the program cannot be made""#,
        r#"trap "rm -f \"\$t\"" 0; trap "exit 73" 1 2 13 15"#,
        r#"printf "\223mproc-want\032""#,
        &format!(r#"head -c {len} >"$t" && [ "$(wc -c <"$t")" -eq {len} ] || fail "the program was not copied to $d""#),
        r#"chmod 700 "$t" && mv -f "$t" "$p" || fail "the copy of the program cannot be named $p""#,
        // Now, as `exec` runs no traps.
        r#"trap - 0 1 2 13 15"#,
        r#"[ -x "$p" ] || fail "no program may be run in the folder $d, which may be mounted with noexec"; }"#,
    ]
    .join("; ")
}

/// What is said of a machine for which this program is not; see `diagnosis.rs`.
const FOREIGN: &str = "and the program is for another kind of machine";

/// What `uname -s -m` says on machines that can run this program, as a pattern of `sh`.
fn kind() -> String {
    match std::env::consts::ARCH {
        arch @ ("x86_64" | "aarch64" | "riscv64" | "s390x") => format!("\"Linux {arch}\""),
        // There are many names for these.
        _ => "Linux*".to_owned(),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::path::Path;
    use std::process::{Command, Output, Stdio};

    /// A home folder of its own, which is deleted when dropped.
    struct Home(PathBuf);

    impl Home {
        fn new() -> Home {
            let name = format!("multiproc-ship-{}-{:x}", std::process::id(), random::random());
            let home = std::env::temp_dir().join(name);
            std::fs::create_dir(&home).unwrap();
            Home(home)
        }

        /// Runs the line and what stands behind it, gives it `bytes` if it asks for them, and returns what it says then.
        fn run(&self, line: &str, bytes: &[u8]) -> (bool, Output) {
            let mut command = Command::new("sh");
            command.arg("-c").arg(line).env("HOME", &self.0).env_remove("XDG_CACHE_HOME");
            let mut child =
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut first = [0; WANT.len()];
            let asked = child.stdout.as_mut().unwrap().read_exact(&mut first).is_ok() && first == WANT;
            // It may have ended, with an error that is to be seen.
            let _ = child.stdin.take().unwrap().write_all(if asked { bytes } else { &[] });
            (asked, child.wait_with_output().unwrap())
        }

        fn files(&self) -> Vec<String> {
            let folder = std::fs::read_dir(self.0.join(".cache/multiproc")).into_iter().flatten();
            let mut names: Vec<String> = folder.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Home {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    const PROGRAM: &[u8] = b"#!/bin/sh\necho it runs, and says who it is\n";

    fn line() -> String {
        fetch("0123", PROGRAM.len() as u64) + r#"; exec "$p""#
    }

    #[test]
    fn a_program_is_copied_once() {
        use std::os::unix::fs::PermissionsExt;
        let home = Home::new();
        let (asked, output) = home.run(&line(), PROGRAM);
        assert!(asked && output.status.success(), "{output:?}");
        assert_eq!(output.stdout, b"it runs, and says who it is\n");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let folder = home.0.join(".cache/multiproc");
        assert_eq!((home.files(), mode(&folder), mode(&folder.join("0123"))), (vec!["0123".to_owned()], 0o700, 0o700));
        let (asked, output) = home.run(&line(), &[]);
        assert!(!asked && output.status.success(), "{output:?}");
    }

    #[test]
    fn half_a_program_never_gets_the_name() {
        let home = Home::new();
        let (asked, output) = home.run(&line(), &PROGRAM[..9]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(asked && said.contains("the program was not copied to"), "{said}");
        assert_eq!((output.status.code(), home.files()), (Some(73), vec![]));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let home = Home::new();
        std::fs::write(home.0.join(".cache"), "a file").unwrap();
        let (asked, output) = home.run(&line(), PROGRAM);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!asked && said.contains("/.cache/multiproc for a copy of the program cannot be made"), "{said}");
        assert_eq!(output.status.code(), Some(73));
    }

    #[test]
    fn a_machine_of_another_kind_is_not_even_sent_the_program() {
        let home = Home::new();
        let (asked, output) = home.run(&format!("uname() {{ echo Linux pdp11; }}; {}", line()), PROGRAM);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!asked && said.contains(&format!("this is Linux pdp11, {FOREIGN}")), "{said}");
        assert_eq!(home.files(), [""; 0]);
    }

    #[test]
    fn the_line_passes_shells_of_all_kinds() {
        assert!(!fetch("0123", 5).contains(['\'', '\n', '!']));
    }
}
