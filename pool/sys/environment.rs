//! The environment of this process.

use std::ffi::{CString, OsString};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Takes a variable that came with `exec` out of the environment, for this process and all that it starts.
///
/// `unsetenv(3)` moves the table of variables, which is undefined behaviour beside a `getenv(3)` in another thread. This
/// stores one byte: the entry becomes an empty text, in which no name is found. Nothing moves and nothing is freed.
pub(crate) fn hide(name: &str) {
    // No variable has a name with a NUL in it.
    let Ok(text) = CString::new(name) else { return };
    // SAFETY: the text ends with a NUL. Other threads may read the environment. One that changes it meanwhile breaks the
    // condition of `std::env::set_var`, that nobody else may be reading: this is called before `main`, or first in it.
    let value = unsafe { libc::getenv(text.as_ptr()) };
    if value.is_null() {
        return;
    }
    let entry = value.wrapping_sub(name.len() + 1);
    // SAFETY: `getenv` returns a place inside of `NAME=value`, so that the name begins there. The kernel has put the text on
    // the stack of the main thread, or somebody has copied it with `setenv`: it is writable, and stays. A thread that reads
    // it at this moment finds the old byte or the new one, and a NUL at the end in both cases.
    let first = unsafe { AtomicU8::from_ptr(entry.cast()) };
    first.store(0, Relaxed);
}

/// Sets variables, which have such names and values as an environment can have, in a process that has one thread.
pub(crate) fn set(variables: &[(OsString, OsString)]) {
    for (key, value) in variables {
        // SAFETY: there is no other thread that could read the environment: this is called by the only one of a new process.
        unsafe { std::env::set_var(key, value) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_variable_is_gone_here_and_in_what_is_started() {
        const NAME: &str = "MULTIPROC_TEST_HIDDEN";
        const TEST: &str = "sys::environment::tests::a_hidden_variable_is_gone_here_and_in_what_is_started";
        let run = |command: &mut std::process::Command| {
            let output = command.output().unwrap();
            (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        if std::env::var_os(NAME).is_none() {
            let mut this = std::process::Command::new(std::env::current_exe().unwrap());
            let (success, text) = run(this.args(["--exact", TEST, "--nocapture"]).env(NAME, "here"));
            assert!(success && text.contains("1 passed"), "{text}");
            return;
        }
        let shell = || run(std::process::Command::new("sh").args(["-c", &format!("echo ${{{NAME}-gone}}")]));
        assert_eq!(shell().1, "here\n");
        hide(NAME);
        hide("MULTIPROC_TEST_NONE");
        assert_eq!(std::env::var_os(NAME), None);
        assert!(std::env::vars_os().all(|(name, _)| name != NAME) && std::env::vars_os().count() > 1);
        assert_eq!(shell().1, "gone\n");
        // In a copy of the environment, too.
        let mut command = std::process::Command::new("sh");
        assert_eq!(run(command.args(["-c", &format!("echo ${{{NAME}-gone}}")]).env("ANOTHER", "1")).1, "gone\n");
    }
}
