//! Runs the examples, with small inputs, and looks at what they print.
//!
//!     cargo test --test examples

mod common;
#[path = "common/twins.rs"]
mod twins;

use common::scratch::Scratch;
use common::watchdog::watchdog;
use std::path::PathBuf;
use std::process::{Command, Output};
use twins::TWINS;

/// Runs an example. `cargo test` has built it beside this test; a test picked by name builds it itself, also when it is older
/// than its source.
fn example(name: &str, arguments: &[&str]) -> Output {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let path = path.join("examples").join(name);
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).with_extension("rs");
    let changed = |path: &PathBuf| std::fs::metadata(path).and_then(|it| it.modified());
    if changed(&path).map_or(true, |built| changed(&source).is_ok_and(|changed| changed > built)) {
        let release = if cfg!(debug_assertions) { &[][..] } else { &["--release"] };
        // Those of this test, so that the library is built already.
        let all = cfg!(all(feature = "cluster", feature = "sandbox", feature = "tracing"));
        let features = if all { &["--all-features"][..] } else { &[] };
        let mut build = Command::new(env!("CARGO"));
        // What cargo tells this test of its package would have it build dependencies again that look at such variables.
        let told = std::env::vars_os().filter(|(name, _)| {
            ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|it| name.to_string_lossy().starts_with(it))
        });
        for (name, _) in told {
            build.env_remove(name);
        }
        let built = build.args(["build", "--quiet", "--example", name]).args(release).args(features).status();
        assert!(built.unwrap().success(), "{name} does not build");
    }
    Command::new(path).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

/// A port that nobody uses at the moment.
fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

fn printed_by(name: &str, arguments: &[&str]) -> String {
    let output = example(name, arguments);
    let [out, error] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{name}: {}\n{error}", output.status);
    assert_eq!(error, "", "{name} complains");
    out
}

#[test]
fn hello() {
    let out = printed_by("hello", &[]);
    assert_eq!(out, "the first ten: [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]\ntheir sum: 332833500\n");
}

#[test]
fn primes() {
    let out = printed_by("primes", &["1000000", "2"]);
    assert_eq!(out.matches("78498 primes below 1000000").count(), 2, "{out}");
    assert!(example("primes", &["many"]).status.code() == Some(1));
}

#[test]
fn resume() {
    let out = printed_by("resume", &["400", "2"]);
    assert_eq!(out.matches("killed, after ").count(), 2, "{out}");
    assert!(out.ends_with("the longest way of a number up to 400 has 143 steps\n"), "{out}");
    assert_eq!(example("resume", &["many"]).status.code(), Some(1));
}

#[test]
fn inline() {
    let out = printed_by("inline", &[]);
    let place = |elsewhere, here| {
        format!("{elsewhere} tasks in other processes, {here} on the thread that calls; the sum is 328350\n")
    };
    let [processes, threads, inline] = [place(100, 0), place(0, 0), place(0, 100)];
    assert_eq!(out, format!("processes: {processes}threads: {threads}inline: {inline}"));
}

#[test]
fn first_of() {
    let out = printed_by("first_of", &[]);
    let expected = "1000036000099 = 1000003 * 1000033\n1000006000009 has the factor 1000003\n\
                    29999999901 has the factor 3\n77 has the factor 7\n";
    assert_eq!(out, expected);
}

#[test]
fn process() {
    let out = printed_by("process", &[]);
    let expected = "Process-1, started by MainProcess: hello, bob\nProcess-1 ended with exit code 0\n\
                    its result: 3\nProcess-2 ended with exit code 3\n";
    assert_eq!(out, expected);
}

#[test]
fn crash() {
    let out = printed_by("crash", &[]);
    let sum: u64 = (0..100u64).filter(|x| *x != 42).map(|x| x * x).sum();
    assert!(out.starts_with(&format!("99 results, their sum is {sum}\n")), "{out}");
    let error = out.lines().nth(1).unwrap();
    assert!(error.starts_with("error: task 42 of `crash::work` lost its worker: process "), "{out}");
    assert!(error.contains("was killed by signal 9 (SIGKILL)"), "{out}");
    assert!(out.ends_with("the pool goes on: [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]\n"), "{out}");
    assert_eq!(out.lines().count(), 3, "{out}");
}

#[test]
fn filter() {
    assert_eq!(printed_by("filter", &[]), "13 words, 10 different ones\n");
}

#[cfg(feature = "cluster")]
#[test]
fn cluster() {
    let out = printed_by("cluster", &[]);
    assert!(out.contains("77031 takes 350 steps\ntasks per host: {") && out.contains(" lost its worker: "), "{out}");
}

#[cfg(feature = "sandbox")]
#[test]
fn sandbox() {
    let out = printed_by("sandbox", &[]);
    assert!(out.contains("\ncompute: done\nread a file: "), "{out}");
    // Refused by the filter of system calls, which any kernel has.
    assert!(out.contains("\nconnect: permission denied\nstart a program: permission denied\n"), "{out}");
}

#[cfg(feature = "tracing")]
#[test]
fn tracing() {
    let out = printed_by("tracing", &[]);
    let spans = |index: u32| format!("task{{function=\"tracing::load\" index={index} attempt=1 worker=\"loader-");
    let line = |end: &str| out.lines().find(|line| line.ends_with(end)).unwrap_or_else(|| panic!("no {end}: {out}"));
    let loaded = line("load{size=2000}: tracing: loaded sum=1999000");
    assert!(loaded.contains(&spans(1)) && loaded.contains("request{id=7}:"), "{out}");
    assert!(line("load{size=3000}: tracing: about to die").contains(&spans(2)), "{out}");
    line("no result index=2 lost=true");
}

#[test]
fn post_mortem() {
    // What a task that overflows its stack says itself.
    let said = "\nmultiproc: a task has overflowed its stack\n";
    let output = example("post_mortem", &[]);
    let [out, error] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success() && error == said, "{}\n{error}", output.status);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((lines[0], lines[lines.len() - 2]), ("2", "4"), "{out}");
    assert!(lines[1].starts_with("error: task 1 of `post_mortem::parse` lost its worker: process "), "{out}");
    assert!(lines[1].contains("was killed by signal 6 (SIGABRT); it called abort"), "{out}");
    assert!(lines[lines.len() - 1].contains("was killed by signal 11 (SIGSEGV); a stack overflow"), "{out}");
    if cfg!(feature = "backtrace") {
        assert!(lines[1].contains(", in `post_mortem::"), "{out}");
        assert!(lines[2..lines.len() - 2].iter().any(|line| line.contains("post_mortem::number")), "{out}");
        assert!(lines[lines.len() - 1].contains(", in `post_mortem::depth` ("), "{out}");
    }
}

#[test]
fn word_count() {
    // Its own check compares with the count without workers.
    let out = printed_by("word_count", &[]);
    assert_eq!(out.lines().count(), 14, "{out}");
    assert!(out.lines().next().unwrap().ends_with("  the"), "{out}");
    let text = Scratch::new("word_count.txt");
    std::fs::write(&text, "b a b\nB, c!\n".repeat(100_000)).unwrap();
    let out = printed_by("word_count", &["--workers", "3", text.text()]);
    let first: Vec<&str> = out.lines().take(3).map(str::trim).collect();
    assert_eq!(first, ["300000  b", "100000  a", "100000  c"], "{out}");
    let output = example("word_count", &["/no such file"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("word_count: /no such file: "));
}

/// The lines of a run of `lock` or `value`, checked: each once, and the two blocks one behind the other.
fn blocks(name: &str) -> [Vec<String>; 2] {
    let out = printed_by(name, &["--step-ms", "10"]);
    let (main, rest): (Vec<&str>, Vec<&str>) = out.lines().partition(|line| *line == "main end");
    assert_eq!((main.len(), rest.len()), (1, 12), "{out}");
    let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    [owned(&rest[..6]), owned(&rest[6..])]
}

fn block(name: &str, from: u32, by: u32) -> Vec<String> {
    let first = format!("init {name} number = {from}");
    std::iter::once(first).chain((1..=5).map(|step| format!("{name} number = {}", from + by * step))).collect()
}

/// A hundred runs, a few at a time.
fn a_hundred_times(check: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..25).for_each(|_| check()));
        }
    });
}

#[test]
fn lock() {
    a_hundred_times(|| {
        let mut blocks = blocks("lock");
        blocks.sort();
        assert_eq!(blocks, [block("add1", 0, 1), block("plus3", 0, 3)]);
    });
}

#[test]
fn value() {
    a_hundred_times(|| {
        let blocks = blocks("value");
        let orders = [[block("add1", 0, 1), block("add3", 5, 3)], [block("add3", 0, 3), block("add1", 15, 1)]];
        assert!(orders.contains(&blocks), "{blocks:?}");
    });
}

#[test]
fn bank() {
    let out = printed_by("bank", &["20000"]);
    assert!(out.starts_with("Process-1 ended with exit code -9\n"), "{out}");
    assert!(out.ends_with("half transfers undone: 1\ntotal: 8000, as at the start\n"), "{out}");
    let out = printed_by("bank", &["--without-locks", "1000000"]);
    assert!(out.ends_with(", which is wrong\n"), "{out}");
}

/// The last line, without the figures of time before it.
fn verdict(out: &str) -> &str {
    out.lines().last().unwrap()
}

#[test]
fn pi_monte_carlo() {
    let out = printed_by("pi_monte_carlo", &["--size", "2000000", "--workers", "3"]);
    assert!(verdict(&out).starts_with("pi is about 3.14"), "{out}");
    assert!(verdict(&out).ends_with(" of 2000000 points, counted alike each time"), "{out}");
    assert_eq!(out.lines().count(), 4, "{out}");
    assert_eq!(example("pi_monte_carlo", &["--size", "many"]).status.code(), Some(1));
}

#[test]
fn mandelbrot() {
    let file = Scratch::new("mandelbrot.pgm");
    let out = printed_by("mandelbrot", &["--size", "200", "--workers", "3", "--out", file.text()]);
    assert!(verdict(&out).starts_with("200 rows, the same image each time: "), "{out}");
    let image = std::fs::read(&file).unwrap();
    let pixels = image.strip_prefix(b"P5 200 200 255\n").unwrap();
    assert_eq!(pixels.len(), 200 * 200);
    // The middle of the set, and a corner far from it.
    assert!(pixels[100 * 200 + 140] == 0 && pixels[0] > 250);
    assert_eq!(example("mandelbrot", &["--out", "/no such folder/image"]).status.code(), Some(1));
}

#[test]
fn thumbnails() {
    let out = printed_by("thumbnails", &["--size", "12", "--workers", "3"]);
    assert_eq!(out.matches("\n11 thumbnails, 1 errors\n").count(), 2, "{out}");
    let error = "error: image-0007.pgm: 153592 pixels instead of 307200\n";
    assert_eq!(out.matches(error).count(), 2, "{out}");
}

#[test]
fn progress_bar() {
    let out = printed_by("progress_bar", &["--size", "100000", "--workers", "3"]);
    let (by_results, by_counter) = out.split_once("by a counter:\n").unwrap();
    let tenths: String = (1..=10).map(|tenth| format!("{tenth}0 %\n")).collect();
    assert_eq!(by_results, format!("by its results:\n{tenths}"));
    assert_eq!(by_counter, format!("{tenths}below 100000, the number 77031 needs the most steps: 350\n"));
}

#[test]
fn dir_hash() {
    let out = printed_by("dir_hash", &[]);
    assert!(verdict(&out).ends_with(" files") && !out.contains("error"), "{out}");
    let folder = Scratch::new("dir_hash");
    let path = folder.text();
    std::fs::create_dir_all(folder.join("a/b")).unwrap();
    for number in 0..100 {
        std::fs::write(folder.join(format!("a/b/{number}")), number.to_string().repeat(1000)).unwrap();
    }
    std::os::unix::fs::symlink("nowhere", folder.join("a/broken")).unwrap();
    let out = printed_by("dir_hash", &["--workers", "3", path]);
    assert!(verdict(&out).ends_with("  100 files"), "{out}");
    assert!(out.contains(&format!("error: {path}/a/broken: No such file or directory")), "{out}");
    assert_eq!(example("dir_hash", &["/no such folder"]).status.code(), Some(1));
}

#[test]
fn timeouts() {
    let out = printed_by("timeouts", &["--size", "20", "--workers", "3"]);
    assert!(out.contains("task 1: stopped at its time limit\ntask 2: lost its worker\n"), "{out}");
    assert!(out.contains("task 3: failed: number 3 is not for me\n"), "{out}");
    assert!(out.contains("of 20 tasks: 8 done, 4 timed out, 4 crashed, 4 failed\n"), "{out}");
    assert!(out.ends_with("20 flaky tasks worked, each at its third try\n"), "{out}");
}

#[test]
fn commands() {
    let out = printed_by("commands", &["--size", "6", "--workers", "3"]);
    let text = "of 6 scripts 2 hung, and were stopped with all that they had started\n0 of 4 helpers still run\n";
    assert_eq!(out, text);
}

#[test]
fn stream_out() {
    let out = printed_by("stream_out", &["--size", "8", "--workers", "2"]);
    assert_eq!(out, "the last of the first 8 twin primes: 17 19, 29 31, 41 43, 59 61, 71 73\n");
}

#[test]
fn soft_limit() {
    let out = printed_by("soft_limit", &["--size", "3", "--workers", "2", "--milliseconds", "100"]);
    assert!(out.starts_with("3 searches of 100ms have tried "), "{out}");
}

#[test]
fn churn() {
    let out = printed_by("churn", &["--millions", "0.1"]);
    assert!(out.contains(" kills\n") && out.ends_with(" 0 complaints\n"), "{out}");
}

#[test]
fn queue_hello() {
    assert_eq!(printed_by("queue_hello", &[]), "(42, None, \"hello\")\n");
}

#[test]
fn manager_hello() {
    let out = printed_by("manager_hello", &[]);
    assert_eq!(out, "[(\"1\", \"one\"), (\"2\", \"two\")]\n[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]\n");
}

#[test]
fn crawler() {
    // Each page but the last ones has the four links, of which those beyond the last page are none.
    let out = printed_by("crawler", &["--pages", "60", "--crawlers", "3"]);
    let links: usize = (0..60).map(|page| 2 + [2 * page + 1, 2 * page + 2].iter().filter(|it| **it < 60).count()).sum();
    assert!(out.starts_with(&format!("60 pages with {links} links, ")), "{out}");
    let shallow = printed_by("crawler", &["--pages", "60", "--depth", "1"]);
    assert!(shallow.ends_with("the deepest at 1\n"), "{shallow}");
}

#[test]
fn producer_consumer() {
    let out = printed_by("producer_consumer", &["--items", "10000", "--producers", "3", "--consumers", "2"]);
    assert!(out.starts_with("3 producers, 2 consumers: 9999 items, their sum is 49985001\n"), "{out}");
}

#[test]
fn listener_client() {
    let expected = "2.25 None junk\nhello\n[42, 1729]\n";
    assert_eq!(printed_by("listener_client", &[]), expected);
    // The other side in Python.
    let ports = [free_port(), free_port()];
    let [ours, theirs] = ports.each_ref().map(String::as_str);
    let python = |program: &str, port: &str| {
        let mut command = Command::new("python3");
        command.args([
            "-c",
            &format!("import sys, time; from array import array; port = int(sys.argv[1]); {program}"),
            port,
        ]);
        command.stdout(std::process::Stdio::piped()).spawn().ok()
    };
    // As the example waits for it, this waits for the example.
    let client = "from multiprocessing.connection import Client
for _ in range(400):
    try: conn = Client(('localhost', port), authkey=b'secret password'); break
    except ConnectionRefusedError: time.sleep(0.05)
print(conn.recv(), conn.recv_bytes(), array('i', conn.recv_bytes()).tolist())";
    let Some(client) = python(client, ours) else { return };
    let expected_here = format!("listening at 127.0.0.1:{ours}\n");
    assert_eq!(printed_by("listener_client", &["listen", ours, "allow-md5"]), expected_here);
    let printed = String::from_utf8(client.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(printed, "(2.25, None, 'junk') b'hello' [42, 1729]\n");
    let listener = "from multiprocessing.connection import Listener
with Listener(('localhost', port), authkey=b'secret password') as listener:
    print('ready', flush=True)
    with listener.accept() as conn:
        conn.send([2.25, None, 'junk']); conn.send_bytes(b'hello'); conn.send_bytes(array('i', [42, 1729]))";
    let mut listener = python(listener, theirs).unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(listener.stdout.as_mut().unwrap(), &mut ready).unwrap();
    assert_eq!(printed_by("listener_client", &["connect", theirs, "allow-md5"]), expected);
    assert!(listener.wait().unwrap().success());
}

/// The two clients of the documentation's example in Python.
const QUEUE_CLIENT: &str = "import sys, time
from multiprocessing.managers import BaseManager
class QueueManager(BaseManager): pass
QueueManager.register('get_queue')
m = QueueManager(address=('localhost', int(sys.argv[1])), authkey=b'abracadabra')
for _ in range(400):
    try: m.connect(); break
    except ConnectionRefusedError: time.sleep(0.05)
queue = m.get_queue()
if sys.argv[2] == 'get': print(queue.get())
else: queue.put(sys.argv[2])";

/// Its server.
const QUEUE_SERVER: &str = "import sys, queue
from multiprocessing.managers import BaseManager
queue = queue.Queue()
class QueueManager(BaseManager): pass
QueueManager.register('get_queue', callable=lambda: queue)
m = QueueManager(address=('localhost', int(sys.argv[1])), authkey=b'abracadabra')
s = m.get_server()
print('ready', flush=True)
s.serve_forever()";

#[test]
fn remote_manager() {
    assert_eq!(printed_by("remote_manager", &[]), "hello\n");
    let python = |program: &str, arguments: &[&str]| {
        let mut command = Command::new("python3");
        command.args(["-c", program]).args(arguments).stdout(std::process::Stdio::piped()).spawn().ok()
    };
    // The server here, the clients in Python.
    let ports = [free_port(), free_port()];
    let [ours, theirs] = ports.each_ref().map(String::as_str);
    let Some(putter) = python(QUEUE_CLIENT, &[ours, "from python"]) else { return };
    let getter = python(QUEUE_CLIENT, &[ours, "get"]).unwrap();
    let port = ours.to_owned();
    let server = std::thread::spawn(move || example("remote_manager", &["serve", &port, "allow-md5"]));
    assert!(putter.wait_with_output().unwrap().status.success());
    assert_eq!(getter.wait_with_output().unwrap().stdout, b"from python\n");
    let stop = "import sys
from multiprocessing.connection import Client
conn = Client(('localhost', int(sys.argv[1])), authkey=b'abracadabra')
conn.send((None, 'shutdown', (), {})); print(conn.recv())";
    assert_eq!(python(stop, &[ours]).unwrap().wait_with_output().unwrap().stdout, b"('#RETURN', None)\n");
    let output = server.join().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, format!("serving at 127.0.0.1:{ours}\n").into_bytes());
    // The other way round.
    let mut server = python(QUEUE_SERVER, &[theirs]).unwrap();
    std::io::Read::read_exact(server.stdout.as_mut().unwrap(), &mut [0; 6]).unwrap();
    assert_eq!(printed_by("remote_manager", &["put", theirs, "from rust", "allow-md5"]), "");
    assert_eq!(printed_by("remote_manager", &["get", theirs, "allow-md5"]), "from rust\n");
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn pipe_hello() {
    assert_eq!(printed_by("pipe_hello", &[]), "(42, None, \"hello\")\n");
}

#[test]
fn pipeline() {
    let out = printed_by("pipeline", &["--lines", "3000", "--workers", "3"]);
    assert!(out.starts_with("3000 lines through 3 workers, in order; the last gives 10954219\n"), "{out}");
}

#[test]
fn philosophers() {
    let out = printed_by("philosophers", &["--philosophers", "4", "--meals", "50"]);
    for way in ["LowerForkFirst", "Waiter", "PutBack"] {
        assert!(out.contains(&format!("{way}: 4 philosophers have eaten 50 times each\n")), "{out}");
    }
}

#[test]
fn lock_hello() {
    let out = printed_by("lock_hello", &[]);
    assert!((0..10).all(|number| out.contains(&format!("hello world {number}\n"))), "{out}");
}

#[test]
fn value_array_hello() {
    assert_eq!(printed_by("value_array_hello", &[]), "1.25\n[0, -1, -2, -3, -4, -5, -6, -7, -8, -9]\n");
}

#[test]
fn task_queue() {
    let out = printed_by("task_queue", &["--workers", "3"]);
    assert_eq!(out.lines().count(), 30, "{out}");
    assert!(out.contains("multiply(19, 7) = 133\n") && out.contains("add(9, 8) = 17\n"), "{out}");
}

#[test]
fn pool_demo() {
    let out = printed_by("pool_demo", &[]);
    assert!(out.contains("imap: 9 results and 1 error\n") && out.ends_with("terminated\n"), "{out}");
}

#[test]
fn matmul_shared() {
    let out = printed_by("matmul_shared", &["--size", "60", "--workers", "3"]);
    assert!(verdict(&out).starts_with("60 x 60, the same product each time"), "{out}");
    assert_eq!(example("matmul_shared", &["--size", "many"]).status.code(), Some(1));
}

#[test]
fn log_parse() {
    let out = printed_by("log_parse", &["--size", "20000", "--workers", "3"]);
    assert!(verdict(&out).starts_with("20000 lines, ") && verdict(&out).ends_with(" errors, 1 unreadable"), "{out}");
}

#[test]
fn heat_barrier() {
    let out = printed_by("heat_barrier", &["--size", "1000", "--steps", "100", "--workers", "3"]);
    assert!(out.contains("100 steps, bit for bit the same; at place 5 there are "), "{out}");
    assert_eq!(verdict(&out), "one gives up half way: 2 find the barrier broken");
}

#[test]
fn shared_counter() {
    let out = printed_by("shared_counter", &["--size", "20000", "--workers", "3"]);
    assert_eq!(out.matches(": 60000 of 60000, ").count(), 2, "{out}");
    let out = printed_by("shared_counter", &["--wrong"]);
    assert!(verdict(&out).starts_with("by a read and a write: "), "{out}");
}

#[test]
fn grid_search() {
    let out = printed_by("grid_search", &["--size", "100", "--workers", "3"]);
    assert!(verdict(&out).starts_with("best of 48: degree 7, penalty 0.01, "), "{out}");
}

#[test]
fn kmeans_shm() {
    let out = printed_by("kmeans_shm", &["--size", "2000", "--workers", "3"]);
    assert_eq!(out.matches("centre ").count(), 5, "{out}");
}

#[test]
fn life() {
    // The R-pentomino has 121 cells after 100 generations.
    let out = printed_by("life", &["--size", "150", "--generations", "100", "--workers", "3"]);
    assert_eq!(verdict(&out), "121 cells live in generation 100");
}

#[test]
fn watch() {
    let report = Scratch::new("watch.html");
    let out = printed_by("watch", &["--tasks", "80", "--report", report.text()]);
    // Two find nothing, and one takes its worker with it.
    assert!(out.starts_with("77 of 80 tasks have a result, 20 sums\n"), "{out}");
    let page = std::fs::read_to_string(&report).unwrap();
    assert!(page.contains("nothing to be found in item") && page.contains("<code>watch::summarise</code>"), "{page}");
}

#[test]
fn twins_in_python_print_the_same() {
    let _watch = watchdog(600);
    if let Err(error) = Command::new("python3").arg("--version").output() {
        println!("skipped: there is no python3 here ({error})");
        return;
    }
    for twin in TWINS {
        let output = twin.in_python(twin.small).unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}.py: {}\n{complaint}", twin.name, output.status);
        let ours = printed_by(twin.name, &twin.small.split_whitespace().collect::<Vec<_>>());
        assert_eq!(twin.lines(ours.as_bytes()), twin.lines(&output.stdout), "{} and its twin", twin.name);
    }
}

#[test]
fn every_python_program_is_a_twin() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/python");
    let mut programs: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".py").map(str::to_owned))
        .collect();
    programs.sort();
    let mut twins: Vec<&str> = TWINS.iter().map(|twin| twin.name).collect();
    twins.sort();
    assert_eq!(programs, twins);
}
