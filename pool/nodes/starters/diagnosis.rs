//! What it means that an agent did not come to life, by what has started it: in words that say what to do.

/// What ssh, the shell, the loader of programs, or the agent itself say, and what that means. The first that is there counts.
const KNOWN: &[(&str, &str)] = &[
    ("is another build of the program", "it has another build of the program"),
    ("no program may be run in the folder", "its cache folder may be mounted with noexec"),
    ("No space left on device", "its disk is full"),
    ("Disk quota exceeded", "its disk is full"),
    (
        "Could not resolve hostname",
        "the host is unknown: no such name is in ssh's configuration, in /etc/hosts or in the DNS",
    ),
    (
        "Host key verification failed",
        "the host's key is unknown to ssh, or another one than before: connect once by hand, or use \
         `.ssh_option(\"StrictHostKeyChecking=accept-new\")`",
    ),
    (
        "Permission denied (",
        "permission is denied: the host accepts no key that ssh has, and nobody can be asked for a password \
         (`ssh-copy-id` installs a key)",
    ),
    ("Connection refused", "nothing listens at its port"),
    ("Connection timed out", "it does not answer"),
    ("No route to host", "it does not answer"),
    ("Network is unreachable", "it does not answer"),
    (
        "version `GLIBC_",
        "its C library (glibc) is too old for this program: build it on the oldest of the machines, or for a target with musl",
    ),
    ("Exec format error", FOREIGN),
    ("and the program is for another kind of machine", FOREIGN),
    // What cannot be executed some shells take for a script.
    ("yntax error", FOREIGN),
    ("error while loading shared libraries", "a shared library that the program needs is not there"),
];

const FOREIGN: &str = "the program is for another kind of processor or system";

/// Whether a shell says that it does not know a command in a file that was no script: what the system does not execute some
/// shells take for one.
fn is_script(line: &str) -> bool {
    line.starts_with('/') && line.ends_with("not found")
}

/// What the end of a starter means: by its exit code, and the last lines that it wrote.
pub(super) fn explain(code: Option<i32>, lines: &str) -> Option<&'static str> {
    let known = KNOWN.iter().find(|(sign, _)| lines.contains(sign)).map(|(_, meaning)| *meaning);
    known.or(match code {
        // What shells and `env` say by it.
        Some(126) => Some("the program cannot be executed there"),
        Some(127) if lines.lines().any(is_script) => Some(FOREIGN),
        Some(127) if lines.lines().any(|line| line.starts_with("sh: ")) => {
            Some("there is no such command on this machine")
        }
        Some(127) => Some("the program is not there"),
        _ => None,
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_explained() {
        let has = |code, lines, words: &str| {
            assert!(explain(code, lines).is_some_and(|it| it.contains(words)), "{lines}");
        };
        has(Some(255), "ssh: Could not resolve hostname nope: Name or service not known", "the host is unknown");
        has(Some(255), "me@node: Permission denied (publickey,password).", "permission is denied");
        has(Some(255), "Host key verification failed.", "accept-new");
        has(Some(1), "/x: /lib/libc.so.6: version `GLIBC_2.34' not found (required by /x)", "too old");
        has(Some(126), "env: '/x': Permission denied", "cannot be executed");
        has(Some(2), "/x: 1: Syntax error: \")\" unexpected", "another kind of processor");
        has(Some(127), "env: '/x': No such file or directory", "not there");
        has(Some(127), "/shared/arm: 1: ELF: not found", "another kind of processor");
        has(Some(127), "sh: 1: nosuchtool: not found", "no such command on this machine");
        has(Some(73), "head: error writing 'standard output': No space left on device", "disk is full");
        assert_eq!(explain(Some(1), "mkdir: cannot create directory: Permission denied"), None);
        assert_eq!(explain(None, ""), None);
    }
}
