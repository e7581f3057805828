//! A pool that others of this user look at, through its socket.

use super::common::alone::{is_program, passes, program};
use super::common::links::{HANDLES, on_each_link, on_nodes};
use super::common::proc::{self, eventually};
use super::common::scratch::Scratch;
use super::common::seccomp;
use super::common::watchdog::watchdog;
use multiproc::{Event, Pool, PoolBuilder, current_task};
use serde_json::Value as Json;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

const RUNTIME_FOLDER: &str = "XDG_RUNTIME_DIR";

/// Whether this process was started for the test `name` alone, with a runtime folder of its own. If not, runs it in such a
/// process and checks that it passes there.
fn alone_with_runtime_folder(name: &str) -> bool {
    if is_program(name) {
        return true;
    }
    let folder = Scratch::short("view");
    std::fs::create_dir(&folder).unwrap();
    let mut program = program(name);
    program.env(RUNTIME_FOLDER, &*folder);
    passes(name, program);
    false
}

/// Where the library has its sockets.
fn folder() -> PathBuf {
    PathBuf::from(std::env::var_os(RUNTIME_FOLDER).unwrap()).join("multiproc")
}

/// The sockets of a process.
fn sockets_of(pid: i32) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder()) else { return Vec::new() };
    let is_its = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&format!("{pid}-"));
    entries.map(|entry| entry.unwrap().path()).filter(is_its).collect()
}

struct Client(BufReader<UnixStream>);

impl Client {
    fn connect(path: &Path) -> Client {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Client(BufReader::new(stream))
    }

    fn ask(&mut self, request: &str) -> Json {
        writeln!(self.0.get_mut(), "{request}").unwrap();
        let mut answer = String::new();
        self.0.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }

    /// The number of the pool with this name.
    fn pool(&mut self, name: &str) -> u64 {
        let pools = self.ask("pools");
        let mut of_name = pools["pools"].as_array().unwrap().iter().filter(|pool| pool["name"] == name);
        of_name.next_back().unwrap_or_else(|| panic!("{pools}"))["pool"].as_u64().unwrap()
    }
}

/// A client of this process, which must have one socket.
fn client() -> Client {
    let sockets = sockets_of(proc::own_pid());
    assert_eq!(sockets.len(), 1, "{sockets:?}");
    Client::connect(&sockets[0])
}

fn build(builder: PoolBuilder, name: &str) -> (Pool, Client, u64) {
    let pool = builder.processes(2).name(name).view().build().unwrap();
    let mut client = client();
    let number = client.pool(name);
    (pool, client, number)
}

fn wait_for(begun: &Event) {
    assert!(begun.wait_timeout(SOON));
}

fn linger(begun: Event) {
    current_task().unwrap().progress(3, 7);
    begun.set();
    // Which nobody opens.
    deep_inside(&Event::new());
}

#[inline(never)]
fn deep_inside(gate: &Event) {
    gate.wait();
    // So that the call above is no last one, which leaves no frame.
    std::hint::black_box(gate);
}

#[test]
fn who_looks_sees_what_the_pool_does() {
    if on_nodes(HANDLES) {
        return;
    }
    if !alone_with_runtime_folder("view::who_looks_sees_what_the_pool_does") {
        return;
    }
    on_each_link(60, |builder| {
        let (pool, mut client, number) = build(builder(), "seen");
        pool.map_each(|x: u32| assert!(x != 3), 0..100);
        let begun = Event::new();
        let result = pool.apply_async(linger, (begun.clone(),)).unwrap();
        let _more = pool.tasks(|_: u32| (), 0..10).chunksize(1).run().unwrap();
        wait_for(&begun);
        let shown = client.ask(&format!("show {number}"));
        assert_eq!(
            (&shown["tasks"], &shown["failed"], &shown["running"]),
            (&110.into(), &1.into(), &1.into()),
            "{shown}"
        );
        assert_eq!((&shown["state"], &shown["target"]), (&"running".into(), &2.into()));
        assert!(shown["run"]["count"].as_u64() >= Some(100) && shown["run"]["p50"].is_f64(), "{shown}");
        assert!(shown["wait"]["count"].as_u64() >= Some(100) && shown["wait"]["p99"].is_f64(), "{shown}");
        let workers = shown["workers"].as_array().unwrap();
        let mut pids: Vec<i64> = workers.iter().map(|it| it["pid"].as_i64().unwrap()).collect();
        let mut expected: Vec<i64> = pool.worker_pids().into_iter().map(i64::from).collect();
        pids.sort();
        expected.sort();
        assert_eq!(pids, expected);
        let busy: Vec<&Json> = workers.iter().filter(|worker| worker["state"] == "busy").collect();
        assert_eq!(busy.len(), 1, "{shown}");
        let at = &busy[0]["at"];
        assert!(at["function"].as_str().unwrap().ends_with("view::linger") && at["task"] == 0, "{shown}");
        assert_eq!((&at["done"], &at["of"]), (&3.into(), &7.into()), "{shown}");
        let calls = shown["calls"].as_array().unwrap();
        let under_way: Vec<&Json> = calls.iter().filter(|call| call["ended"] == false).collect();
        assert_eq!((under_way.len(), &under_way[0]["waiting"]), (1, &1.into()), "{shown}");
        drop(pool);
        drop(result);
    });
}

#[cfg(feature = "backtrace")]
#[test]
fn the_stack_of_a_worker_is_shown_and_it_goes_on() {
    if on_nodes(HANDLES) {
        return;
    }
    if !alone_with_runtime_folder("view::the_stack_of_a_worker_is_shown_and_it_goes_on") {
        return;
    }
    on_each_link(60, |builder| {
        let (pool, mut client, number) = build(builder(), "stack");
        let (begun, go_on) = (Event::new(), Event::new());
        let work = |begun: Event, go_on: Event| {
            begun.set();
            deep_inside(&go_on);
            7
        };
        let result = pool.apply_async(work, (begun.clone(), go_on.clone())).unwrap();
        wait_for(&begun);
        let at = |client: &mut Client| {
            let shown = client.ask(&format!("show {number}"));
            let workers = shown["workers"].as_array().unwrap();
            workers.iter().position(|worker| worker["state"] == "busy")
        };
        let place = at(&mut client).unwrap();
        let mut last = Json::Null;
        // The task may have said so a moment before it waits.
        let is_inside = eventually(SOON, || {
            last = client.ask(&format!("stack {number} {place}"));
            last["stack"].as_str().unwrap_or_default().contains("view::deep_inside")
        });
        assert!(is_inside && last["stack"].as_str().unwrap().contains("tests/pool/view.rs:"), "{last}");
        go_on.set();
        assert_eq!(result.get().unwrap(), 7, "it has gone on");
        // One that is killed while it is looked at is an error, and no hang.
        let begun = Event::new();
        let lost = pool.apply_async(linger, (begun.clone(),)).unwrap();
        wait_for(&begun);
        let place = at(&mut client).unwrap();
        let pid = pool.stats().workers[place].pid.unwrap();
        let killer = std::thread::spawn(move || proc::kill(pid));
        let answer = client.ask(&format!("stack {number} {place}"));
        assert!(answer["stack"].is_string() || answer["error"].is_string(), "{answer}");
        assert!(killer.join().unwrap() && lost.get().unwrap_err().is_worker_lost());
        assert!(eventually(SOON, || pool.worker_pids().len() == 2));
        assert_eq!(pool.map(|x: u64| x, 0..9).unwrap().len(), 9);
    });
}

#[test]
fn who_looks_can_end_a_task_and_resize_the_pool() {
    if on_nodes(HANDLES) {
        return;
    }
    if !alone_with_runtime_folder("view::who_looks_can_end_a_task_and_resize_the_pool") {
        return;
    }
    on_each_link(60, |builder| {
        let (pool, mut client, number) = build(builder(), "commands");
        let begun = Event::new();
        let result = pool.apply_async(linger, (begun.clone(),)).unwrap();
        wait_for(&begun);
        let stats = pool.stats();
        let place = stats.workers.iter().position(|worker| worker.current.is_some()).unwrap();
        let pid = stats.workers[place].pid.unwrap();
        for wrong in [format!("{} 0", pid + 1), format!("{pid} 1")] {
            let answer = client.ask(&format!("end {number} {place} {wrong}"));
            assert!(answer["error"].is_string(), "{answer}");
        }
        let answer = client.ask(&format!("end {number} {} {pid} 0", 1 - place));
        assert!(answer["error"].is_string(), "{answer}");
        let answer = client.ask(&format!("end {number} {place} {pid} 0"));
        assert_eq!(answer["done"], true, "{answer}");
        let error = result.get().unwrap_err();
        assert!(error.is_worker_lost() && error.signal() == Some(9), "{error}");

        assert_eq!(client.ask(&format!("resize {number} 3"))["done"], true);
        assert!(eventually(SOON, || pool.worker_pids().len() == 3));
        for refused in [0, 1u64 << 40] {
            let answer = client.ask(&format!("resize {number} {refused}"));
            assert!(answer["error"].is_string() && pool.processes() == 3, "{answer}");
        }
        pool.close();
        pool.join().unwrap();
        assert!(client.ask(&format!("resize {number} 4"))["error"].as_str().unwrap().contains("closed"));
    });
}

#[test]
fn what_is_no_request_is_an_error_and_disturbs_nobody() {
    if !alone_with_runtime_folder("view::what_is_no_request_is_an_error_and_disturbs_nobody") {
        return;
    }
    let _watchdog = watchdog(60);
    let (pool, mut client, number) = build(Pool::builder(), "hostile");
    for wrong in [
        "",
        " ",
        "x",
        "show",
        "show -1",
        "show 99999999999999999999999",
        "show 4000000000",
        "pools 1",
        "stack 0",
        "\u{0}\u{1}",
        "resize",
        "SHOW 0",
        "show \u{e9}",
    ] {
        assert!(client.ask(wrong)["error"].is_string(), "{wrong:?}");
    }
    for wrong in [
        format!("nonsense {number}"),
        format!("stack {number} 77"),
        format!("end {number} 0 0"),
        format!("show {number} 1"),
    ] {
        assert!(client.ask(&wrong)["error"].is_string(), "{wrong:?}");
    }
    client.0.get_mut().write_all(b"\xff\xfe\n").unwrap();
    let mut answer = String::new();
    client.0.read_line(&mut answer).unwrap();
    assert!(answer.contains("error"), "{answer}");
    // One that is too long costs the connection.
    let _ = client.0.get_mut().write_all(&vec![b'x'; 100_000]);
    answer.clear();
    let _ = client.0.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.contains("256 bytes"), "{answer}");
    drop(client);

    // Clients that say nothing, half a line, or read nothing, as many as they like.
    let path = &sockets_of(proc::own_pid())[0];
    let mut quiet: Vec<UnixStream> = (0..20).map(|_| UnixStream::connect(path).unwrap()).collect();
    for stream in &mut quiet {
        stream.set_nonblocking(true).unwrap();
        let _ = stream.write_all(format!("show {number}\n").repeat(200).as_bytes());
        let _ = stream.write_all(b"sho");
    }
    for round in 0..20u64 {
        assert_eq!(pool.map(|x: u64| x + 1, 0..100).unwrap().len(), 100, "{round}");
    }
    drop(quiet);
    // There is room again once they are gone.
    let asked = || {
        let mut stream = UnixStream::connect(path).unwrap();
        let mut answer = String::new();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let _ = stream.write_all(b"pools\n");
        BufReader::new(stream).read_line(&mut answer).is_ok_and(|_| answer.contains("hostile"))
    };
    assert!(eventually(SOON, asked));
}

#[test]
fn a_socket_goes_with_the_last_pool_and_is_this_users_alone() {
    if !alone_with_runtime_folder("view::a_socket_goes_with_the_last_pool_and_is_this_users_alone") {
        return;
    }
    let _watchdog = watchdog(60);
    let live = |begun: Event, go_on: Event, kept: bool| {
        let pool = Pool::builder().processes(1).view().build().unwrap();
        let second = Pool::builder().processes(1).name("second").view().build().unwrap();
        drop(pool);
        begun.set();
        go_on.wait();
        if kept {
            std::process::abort();
        }
        drop(second);
    };
    let (begun, go_on) = (Event::new(), Event::new());
    let process = multiproc::Process::spawn(live, (begun.clone(), go_on.clone(), false)).unwrap();
    wait_for(&begun);
    let sockets = sockets_of(process.pid());
    assert_eq!(sockets.len(), 1);
    assert_eq!(std::fs::metadata(folder()).unwrap().permissions().mode() & 0o777, 0o700);
    let mut client = Client::connect(&sockets[0]);
    let pools = client.ask("pools");
    assert_eq!((pools["pools"].as_array().unwrap().len(), &pools["pid"]), (1, &process.pid().into()), "{pools}");
    go_on.set();
    let pid = process.pid();
    process.join().unwrap();
    assert!(sockets_of(pid).is_empty());
    assert_eq!(client.0.read(&mut [0; 8]).unwrap(), 0, "who looks is told that it is over");

    // Of one that was killed the name stays until the next one comes.
    let (begun, go_on) = (Event::new(), Event::new());
    let process = multiproc::Process::spawn(live, (begun.clone(), go_on.clone(), true)).unwrap();
    wait_for(&begun);
    let left = sockets_of(process.pid());
    go_on.set();
    process.wait();
    assert_eq!(sockets_of(process.pid()), left);
    let (begun, go_on) = (Event::new(), Event::new());
    let next = multiproc::Process::spawn(live, (begun.clone(), go_on.clone(), false)).unwrap();
    wait_for(&begun);
    assert!(sockets_of(process.pid()).is_empty());
    go_on.set();
    next.join().unwrap();
}

#[test]
fn there_is_no_thread_while_nobody_looks() {
    if !alone_with_runtime_folder("view::there_is_no_thread_while_nobody_looks") {
        return;
    }
    let _watchdog = watchdog(60);
    let look = |begun: Event, go_on: Event| {
        let _pool = Pool::builder().processes(1).view().build().unwrap();
        begun.set();
        go_on.wait();
    };
    let (begun, go_on) = (Event::new(), Event::new());
    let process = multiproc::Process::spawn(look, (begun.clone(), go_on.clone())).unwrap();
    wait_for(&begun);
    let threads = || {
        let entries = std::fs::read_dir(format!("/proc/{}/task", process.pid())).unwrap();
        let name = |path: PathBuf| std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        entries.filter(|entry| name(entry.as_ref().unwrap().path()).trim_end() == "multiproc-view").count()
    };
    assert_eq!(threads(), 0);
    let mut client = Client::connect(&sockets_of(process.pid())[0]);
    client.ask("pools");
    assert_eq!(threads(), 1);
    drop(client);
    assert!(eventually(SOON, || threads() == 0));
    go_on.set();
    process.join().unwrap();
}

#[test]
fn no_socket_is_left_by_a_pool_that_cannot_be_looked_at() {
    if !alone_with_runtime_folder("view::no_socket_is_left_by_a_pool_that_cannot_be_looked_at") {
        return;
    }
    let _watchdog = watchdog(60);
    // Without it nobody waits for those who come.
    seccomp::refuse(&[libc::SYS_epoll_create1], libc::EMFILE);
    let error = Pool::builder().processes(1).view().build_threads().unwrap_err();
    assert!(error.to_string().contains("epoll_create1"), "{error}");
    assert_eq!(sockets_of(proc::own_pid()), <[PathBuf; 0]>::default());
}
