//! Tests that need a process of their own: they count what the process holds, or end it.

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
    let mut command = program(name);
    if let [starter, arguments @ ..] = starter {
        let mut outer = Command::new(starter);
        outer.args(arguments).arg(command.get_program()).args(command.get_args()).env(VARIABLE, name);
        command = outer;
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{name} failed in its own process ({}):\n{}\n{}", output.status, text[0], text[1]);
    // Shown with `--nocapture`.
    print!("{}", text[0]);
    assert!(text[0].contains("1 passed"), "{name} is not the name of a test:\n{}", text[0]);
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
