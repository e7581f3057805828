//! Which process is a child: one that was started as a child never runs the program, whatever is wrong with it.

use super::common::alone::{before, is_program, program};
use super::common::proc::own_pid;
use super::common::seccomp;
use super::common::watchdog::watchdog;
use multiproc::{Pool, Process};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Names the file in which programs note that they run.
const MAINS: &str = "MULTIPROC_TEST_MAINS";

/// More runs of `main` than this are a fork bomb, which the test stops.
const MOST: usize = 8;

/// Notes that the program runs in this process.
fn note_main() {
    let path = std::env::var_os(MAINS).unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"main\n").unwrap();
    let runs = fs::read(path).unwrap().len() / 5;
    if runs > MOST {
        eprintln!("the program has run {runs} times");
        std::process::abort();
    }
}

/// A folder that every user may use, deleted when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", own_pid()));
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        Folder(path)
    }

    /// The file in which programs note that they run, empty.
    fn mains(&self) -> PathBuf {
        let path = self.0.join("mains");
        File::create(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        path
    }

    /// How often the program has run.
    fn runs(&self) -> usize {
        fs::read(self.0.join("mains")).unwrap().len() / 5
    }

    /// A copy of this test binary. Another process writes it: a fork of this one, made by another test meanwhile, would have the
    /// file open for writing, and nobody could execute it.
    fn copy(&self) -> PathBuf {
        let path = self.0.join("program");
        assert!(Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&path).status().unwrap().success());
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The test `name`, run by the file `path` as somebody who is not root.
fn by_nobody(path: &Path, name: &str, folder: &Folder) -> Command {
    let program = program(name);
    let mut command = Command::new(path);
    command.args(program.get_args()).envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env(MAINS, folder.mains()).uid(65534).gid(65534);
    command
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: only root can give a program more rights");
    }
    root
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

#[test]
fn a_program_with_more_rights_than_its_caller_has_no_children() {
    const NAME: &str = "boot::a_program_with_more_rights_than_its_caller_has_no_children";
    if is_program(NAME) {
        note_main();
        let error = Pool::new(2).unwrap_err();
        assert!(error.is_start() && error.to_string().contains("more rights than its caller"), "{error}");
        let error = Process::spawn(|| 1, ()).unwrap_err();
        assert!(error.is_start() && error.to_string().contains("more rights than its caller"), "{error}");
        return;
    }
    let _watchdog = watchdog(60);
    if !is_root() {
        return;
    }
    let folder = Folder::new("secure");
    let copy = folder.copy();
    // As with file capabilities, the kernel says AT_SECURE.
    fs::set_permissions(&copy, Permissions::from_mode(0o4755)).unwrap();
    let output = by_nobody(&copy, NAME, &folder).output().unwrap();
    assert!(output.status.success() && folder.runs() == 1, "{} runs\n{}", folder.runs(), text(&output));
}

#[test]
fn a_child_with_more_rights_than_its_parent_refuses_and_is_not_the_program() {
    const NAME: &str = "boot::a_child_with_more_rights_than_its_parent_refuses_and_is_not_the_program";
    if is_program(NAME) {
        note_main();
        println!("waits");
        std::io::stdin().read_exact(&mut [0]).unwrap();
        let error = Pool::new(2).unwrap_err();
        assert!(error.is_start() && error.to_string().contains("more rights than its parent"), "{error}");
        let error = Process::spawn(|| 1, ()).unwrap_err();
        assert!(error.is_start() && error.to_string().contains("more rights than its parent"), "{error}");
        return;
    }
    let _watchdog = watchdog(60);
    if !is_root() {
        return;
    }
    let folder = Folder::new("secure-child");
    let copy = folder.copy();
    let mut command = by_nobody(&copy, NAME, &folder);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    while !said.contains("waits") {
        assert!(out.read_line(&mut said).unwrap() > 0, "{said}");
    }
    fs::set_permissions(&copy, Permissions::from_mode(0o4755)).unwrap();
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let output = child.wait_with_output().unwrap();
    out.read_to_string(&mut said).unwrap();
    assert!(output.status.success() && folder.runs() == 1, "{} runs\n{said}{}", folder.runs(), text(&output));
    // The user is told, too.
    assert!(text(&output).contains("more rights than its parent"), "{}", text(&output));
}

#[test]
fn a_program_that_the_loader_was_told_to_run_has_no_children() {
    const NAME: &str = "boot::a_program_that_the_loader_was_told_to_run_has_no_children";
    if is_program(NAME) {
        note_main();
        for error in [Pool::new(2).unwrap_err(), Process::spawn(|| 1, ()).unwrap_err()] {
            assert!(error.is_start() && error.to_string().contains("the dynamic loader"), "{error}");
        }
        return;
    }
    let _watchdog = watchdog(60);
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut paths = maps.lines().filter_map(|line| Some(&line[line.find('/')?..]));
    let Some(loader) = paths.find(|path| path.rsplit('/').next().is_some_and(|name| name.starts_with("ld-"))) else {
        return println!("skipped: no loader is at work here");
    };
    let folder = Folder::new("loader");
    // What the loader would be started with again: its first argument is a program.
    let output = before(Command::new(loader), &program(NAME)).env(MAINS, folder.mains()).output().unwrap();
    assert!(output.status.success() && folder.runs() == 1, "{} runs\n{}", folder.runs(), text(&output));
}

#[test]
fn children_need_no_getsockopt() {
    const NAME: &str = "boot::children_need_no_getsockopt";
    if is_program(NAME) {
        note_main();
        seccomp::refuse(&[libc::SYS_getsockopt], libc::EPERM);
        assert_eq!(Pool::new(2).unwrap().map(|x: u64| x + 1, 0..3).unwrap(), [1, 2, 3]);
        assert_eq!(Process::spawn(|| 1, ()).unwrap().join().unwrap(), 1);
        return;
    }
    let _watchdog = watchdog(60);
    let folder = Folder::new("getsockopt");
    let output = program(NAME).env(MAINS, folder.mains()).output().unwrap();
    assert!(output.status.success() && folder.runs() == 1, "{} runs\n{}", folder.runs(), text(&output));
}

/// The parts of the variable that makes a process a child, of a real one: they stay in its memory, without the first letter
/// of their name.
fn variable_of_a_child() -> Vec<String> {
    let process = Process::spawn(|| std::thread::sleep(Duration::from_secs(1000)), ()).unwrap();
    let environment = fs::read(format!("/proc/{}/environ", process.pid())).unwrap();
    process.kill();
    process.wait();
    let entries: Vec<_> = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    assert!(!entries.iter().any(|entry| entry.starts_with("MULTIPROC_CHILD=")), "{entries:?}");
    let value = entries.iter().find_map(|entry| entry.strip_prefix("ULTIPROC_CHILD=")).unwrap();
    let parts: Vec<String> = value.split(':').map(str::to_owned).collect();
    assert_eq!((&*parts[0], &*parts[2], &*parts[4]), ("2", &*own_pid().to_string(), "0"), "{value}");
    parts
}

#[test]
fn a_program_that_carries_the_variable_of_its_parent_does_not_run() {
    const NAME: &str = "boot::a_program_that_carries_the_variable_of_its_parent_does_not_run";
    let _watchdog = watchdog(60);
    if is_program(NAME) {
        note_main();
        match Pool::new(2) {
            Ok(pool) => println!("children: {:?}", pool.map(|x: u64| x, 0..2).unwrap()),
            Err(error) => println!("no children: {error}"),
        }
        return;
    }
    let folder = Folder::new("forged");
    let parts = variable_of_a_child();
    let forge = |parent: i32, strays: u32, stdin: Stdio| {
        let mut parts = parts.clone();
        (parts[2], parts[4]) = (parent.to_string(), strays.to_string());
        let mut command = program(NAME);
        let output = command.env("MULTIPROC_CHILD", parts.join(":")).env(MAINS, folder.mains()).stdin(stdin).output();
        text(&output.unwrap())
    };
    let said = forge(own_pid(), 0, Stdio::null());
    assert!(folder.runs() == 0 && said.contains("its standard input is not the socket of its parent"), "{said}");
    // With a socket it may be a child whose parent has died a moment ago.
    let (socket, _other) = UnixStream::pair().unwrap();
    let said = forge(1, 0, Stdio::from(OwnedFd::from(socket)));
    assert!(folder.runs() == 0, "{said}");
    // Somebody has passed on the variable of another process. Its children are children.
    let said = forge(1, 0, Stdio::null());
    assert!(folder.runs() == 1 && said.contains("children: [0, 1]"), "{said}");
    // If that was a child which has not recognised itself, it does not go on like this.
    let said = forge(1, 1, Stdio::null());
    assert!(folder.runs() == 1 && said.contains("no children: this process was itself started as a child"), "{said}");
}
