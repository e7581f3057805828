//! What a process runs in: the options of its builder.

use super::common::watchdog::watchdog;
use multiproc::{Error, Event, Lock, Process, Stdio, cpu_count};
use std::io::{Read, Seek, Write};
use std::path::PathBuf;

/// What the environment has under these names.
fn variables(names: Vec<String>) -> Vec<Option<String>> {
    names.iter().map(|name| std::env::var(name).ok()).collect()
}

#[test]
fn the_environment_is_as_the_builder_says() {
    let _watchdog = watchdog(60);
    let names = || (["HOME", "A", "MULTIPROC_TEST_B"].map(str::to_owned).to_vec(),);
    let home = std::env::var("HOME").ok();
    let builder = || Process::builder().env("A", "1").env("MULTIPROC_TEST_B", "x=y");
    let seen = builder().env("A", "2").spawn(variables, names()).unwrap().join().unwrap();
    assert_eq!(seen, [home, Some("2".to_owned()), Some("x=y".to_owned())]);
    let seen = builder().env_remove("HOME").env_remove("A").spawn(variables, names()).unwrap().join().unwrap();
    assert_eq!(seen, [None, None, Some("x=y".to_owned())]);
    let seen = builder().env_clear().env("A", "3").spawn(variables, names()).unwrap().join().unwrap();
    assert_eq!(seen, [None, Some("3".to_owned()), None]);
    for (key, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "\0")] {
        let error = Process::builder().env(key, value).spawn(|| (), ()).unwrap_err();
        assert!(error.is_invalid_argument() && error.to_string().contains("environment variable"), "{error}");
    }
}

#[test]
fn it_runs_in_the_folder_that_was_set() {
    let _watchdog = watchdog(60);
    let folder = std::fs::canonicalize(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let here = || std::env::current_dir().unwrap();
    let seen: PathBuf = Process::builder().current_dir(&folder).spawn(here, ()).unwrap().join().unwrap();
    assert_eq!(seen, folder);
    for wrong in ["/no/such/folder", "/dev/null"] {
        let error = Process::builder().current_dir(wrong).spawn(here, ()).unwrap_err();
        assert!(error.is_invalid_argument() && error.to_string().contains(wrong), "{error}");
    }
}

/// Copies stdin to stdout, and says on stderr how much that was.
fn copy() {
    let text = std::io::read_to_string(std::io::stdin()).unwrap();
    print!("{text}");
    eprint!("{} bytes", text.len());
}

#[test]
fn its_streams_are_pipes_files_or_nothing() {
    let _watchdog = watchdog(60);
    let piped = Process::builder().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let process = piped.spawn(copy, ()).unwrap();
    process.take_stdin().unwrap().write_all(b"one\ntwo\n").unwrap();
    assert!(process.take_stdin().is_none());
    let out = std::io::read_to_string(process.take_stdout().unwrap()).unwrap();
    let err = std::io::read_to_string(process.take_stderr().unwrap()).unwrap();
    assert_eq!((&*out, &*err), ("one\ntwo\n", "8 bytes"));
    process.join().unwrap();
    // Two processes in a row, and a file at the end.
    let first = Process::builder().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn(copy, ());
    let first = first.unwrap();
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("settings-{}", std::process::id()));
    let mut file = std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let second = Process::builder()
        .stdin(first.take_stdout().unwrap())
        .stdout(file.try_clone().unwrap())
        .stderr(Stdio::null())
        .spawn(copy, ())
        .unwrap();
    first.take_stdin().unwrap().write_all(b"through both").unwrap();
    first.join().unwrap();
    second.join().unwrap();
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "through both");
    // If nothing is said there is nothing to read, also with large arguments.
    let read = |large: Vec<u8>| (large.len(), std::io::read_to_string(std::io::stdin()).unwrap());
    assert_eq!(Process::spawn(read, (vec![1; 100_000],)).unwrap().join().unwrap(), (100_000, String::new()));
    let process = Process::builder().stdin(Stdio::piped()).spawn(read, (vec![1; 100_000],)).unwrap();
    process.take_stdin().unwrap().write_all(b"x").unwrap();
    assert_eq!(process.join().unwrap(), (100_000, "x".to_owned()));
}

#[test]
fn a_process_that_writes_into_a_pipe_that_is_closed_goes_on() {
    let _watchdog = watchdog(60);
    let process = Process::builder()
        .stdout(Stdio::piped())
        .spawn(|| std::io::stdout().write_all(&vec![b'x'; 1 << 20]).map_err(|error| error.to_string()), ())
        .unwrap();
    drop(process.take_stdout());
    assert!(process.join().unwrap().unwrap_err().contains("Broken pipe"));
}

#[test]
fn it_has_a_group_of_its_own() {
    let _watchdog = watchdog(60);
    let groups = || (rustix::process::getpgrp().as_raw_pid(), std::process::id() as i32);
    let (group, pid) = Process::builder().process_group(0).spawn(groups, ()).unwrap().join().unwrap();
    assert_eq!(group, pid);
    let (group, _) = Process::spawn(groups, ()).unwrap().join().unwrap();
    assert_eq!(group, rustix::process::getpgrp().as_raw_pid());
}

#[test]
fn what_it_may_use_is_limited() {
    let _watchdog = watchdog(60);
    assert_eq!(Process::builder().cpu_affinity([0]).spawn(cpu_count, ()).unwrap().join().unwrap(), 1);
    let error = Process::builder().cpu_affinity([1 << 40]).spawn(cpu_count, ()).unwrap_err();
    assert!(error.is_start() && error.to_string().contains("CPUs"), "{error}");
    // Also on threads that it starts.
    let nice = || std::thread::spawn(|| rustix::process::getpriority_process(None).unwrap()).join().unwrap();
    let own = nice();
    assert_eq!(Process::builder().nice(3).spawn(nice, ()).unwrap().join().unwrap(), (own + 3).min(19));
    let take = |bytes: usize| std::hint::black_box(vec![1u8; bytes]).len();
    let limited = || Process::builder().memory_limit(64 << 20).stderr(Stdio::null());
    assert_eq!(limited().spawn(take, (1 << 20,)).unwrap().join().unwrap(), 1 << 20);
    let error = limited().spawn(take, (200 << 20,)).unwrap().join().unwrap_err();
    assert_eq!(error.signal(), Some(6), "{error}");
    if cfg!(feature = "backtrace") {
        assert!(error.is_out_of_memory() && error.to_string().contains("that it may have"), "{error}");
    }
}

static SET: std::sync::OnceLock<(String, Lock)> = std::sync::OnceLock::new();

#[test]
fn its_initializer_runs_before_its_function() {
    let _watchdog = watchdog(60);
    let lock = Lock::new();
    let set = |text: String, lock: Lock| SET.set((text, lock)).map_err(|_| "twice");
    let builder = Process::builder().initializer(set, ("hello".to_owned(), lock.clone()));
    let held = lock.lock().unwrap();
    let ask = |ready: Event| {
        let (text, lock) = SET.get().unwrap();
        ready.set();
        (text.clone(), lock.locked())
    };
    // Handles in the arguments of both.
    let process = builder.spawn(ask, (Event::new(),)).unwrap();
    assert_eq!(process.join().unwrap(), ("hello".to_owned(), true));
    drop(held);
    let fails: [Error; 2] = [
        Process::builder().initializer(|| Err::<(), _>("no license"), ()).spawn(|| (), ()).unwrap_err(),
        Process::builder()
            .initializer(|| assert!(SET.get().is_some(), "nothing set"), ())
            .spawn(|| (), ())
            .unwrap_err(),
    ];
    for (error, why) in fails.iter().zip(["no license", "nothing set"]) {
        assert!(error.is_initializer() && error.to_string().contains(why), "{error}");
    }
    let error = Process::builder().initializer(|| -> () { std::process::exit(3) }, ()).spawn(|| (), ()).unwrap_err();
    assert!(error.is_start() && error.to_string().contains("exited with code 3"), "{error}");
}
