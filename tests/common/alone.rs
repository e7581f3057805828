//! Programs that tests run: this test binary again, for tests that count what a process holds, or end it, and others.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Names the test that this process was started for.
const VARIABLE: &str = "MULTIPROC_TEST_ALONE";

/// Whether this process was started for the test `name` alone. If not, runs it in such a process and checks that it
/// passes there.
pub(crate) fn alone(name: &str) -> bool {
    alone_by(&[], name)
}

/// The same in a process that this command starts, with what there is to be run behind it.
pub(crate) fn alone_by(starter: &[&str], name: &str) -> bool {
    if is_program(name) {
        return true;
    }
    let program = program(name);
    let program = match starter {
        [] => program,
        [starter, arguments @ ..] => {
            let mut outer = Command::new(starter);
            outer.args(arguments);
            before(outer, &program)
        }
    };
    passes(name, program);
    false
}

/// Whether this process was started by [`program`] for the test `name`.
pub(crate) fn is_program(name: &str) -> bool {
    std::env::var_os(VARIABLE).is_some_and(|it| it == name)
}

/// This test binary, to be run again for the test `name` and nothing else.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1", "--include-ignored"]).env(VARIABLE, name);
    command
}

/// The command, and behind its arguments the program with all of its own.
pub(crate) fn before(mut command: Command, program: &Command) -> Command {
    command.arg(program.get_program()).args(program.get_args());
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

/// Runs a program that was made by [`program`] and checks that its test passes.
pub(crate) fn passes(name: &str, mut program: Command) {
    let output = program.stdin(Stdio::null()).output().unwrap();
    let [out, error] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    // Shown with `--nocapture`.
    print!("{out}");
    assert!(output.status.success(), "{name} failed in its own process ({}):\n{out}\n{error}", output.status);
    assert!(out.contains("1 passed"), "{name} is not the name of a test:\n{out}");
}

/// Writes a program that is executed later.
///
/// Another process does the writing: a child that another thread starts meanwhile would inherit the open file, and nobody can
/// execute what somebody has open to write (`ETXTBSY`).
pub(crate) fn write_program(path: &Path, bytes: &[u8]) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "cat > \"$0\" && chmod 700 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut writer = shell.spawn().unwrap();
    writer.stdin.take().unwrap().write_all(bytes).unwrap();
    assert!(writer.wait().unwrap().success());
}
