//! What workers are given: environment, CPUs, and who reads what they write.

use crate::common::alone::{alone, is_program, program};
use crate::common::links::{on_each_link, on_nodes};
use crate::common::proc::{eventually, holdings};
use crate::common::watchdog::watchdog;
use multiproc::{OutputLine, Pool, PoolBuilder, worker_number};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[test]
fn workers_have_the_environment_they_are_given() {
    on_each_link(60, |builder| {
        let builder = builder().processes(2).env("LIFE", "first").thread_env(3).env("LIFE", "last");
        let pool = builder.env("RAYON_NUM_THREADS", "4").env("PATH", "/nowhere").build().unwrap();
        let look = |key: String| std::env::var(key).ok();
        let keys = ["LIFE", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "PATH"];
        let values = pool.map(look, keys.map(String::from)).unwrap();
        let expected = ["last", "3", "3", "3", "4", "/nowhere"].map(|it| Some(it.to_owned()));
        assert_eq!(values, expected);
        assert_eq!(std::env::var("LIFE").ok(), None);
        for (key, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0")] {
            let error = Pool::builder().env(key, value).build().unwrap_err();
            assert!(error.is_invalid_argument(), "{error}");
        }
        // The variable that makes a process a worker stays ours.
        let pool = Pool::builder().processes(1).env("MULTIPROC_CHILD", "1:1:ff:fd:0").build().unwrap();
        assert_eq!(pool.apply(look, ("MULTIPROC_CHILD".to_owned(),)).unwrap(), None);
    });
}

/// The CPUs that a process may run on, as /proc has it: a list of numbers and ranges.
fn allowed(pid: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.unwrap().trim().to_owned()
}

#[test]
fn workers_are_pinned_to_cpus() {
    if on_nodes("a list of CPUs is refused there") {
        return;
    }
    on_each_link(60, |builder| {
        let first: usize = allowed(std::process::id()).split([',', '-']).next().unwrap().parse().unwrap();
        // A thread of its own inherits it.
        let look = || std::thread::spawn(|| (multiproc::cpu_count(), allowed(std::process::id()))).join().unwrap();
        let pool = builder().processes(2).cpu_affinity([first]).build().unwrap();
        for _ in 0..10 {
            assert_eq!(pool.apply(look, ()).unwrap(), (1, first.to_string()));
        }
        assert_eq!(allowed(u32::try_from(pool.worker_pids()[0]).unwrap()), first.to_string());
        let pool = builder().processes(3).cpu_affinity(true).build().unwrap();
        let mut seen: Vec<String> =
            pool.worker_pids().iter().map(|pid| allowed(u32::try_from(*pid).unwrap())).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), multiproc::cpu_count().min(3), "{seen:?}");
        let pool = builder().processes(1).cpu_affinity(false).build().unwrap();
        assert_eq!(pool.apply(look, ()).unwrap(), (multiproc::cpu_count(), allowed(std::process::id())));
        for wrong in [vec![], vec![first, 100_000]] {
            let error = builder().processes(1).cpu_affinity(wrong).build().unwrap_err();
            assert!(error.is_invalid_argument(), "{error}");
        }
    });
}

/// A pool whose output is gathered, and what was gathered.
fn gathering(builder: PoolBuilder) -> (Pool, Arc<Mutex<Vec<OutputLine>>>) {
    let lines: Arc<Mutex<Vec<OutputLine>>> = Arc::default();
    let gathered = Arc::clone(&lines);
    let pool = builder.on_output(move |line| gathered.lock().unwrap().push(line.clone())).build().unwrap();
    (pool, lines)
}

#[test]
fn all_lines_of_workers_arrive_in_order() {
    if on_nodes("the last lines of a node may come when the pool is over") {
        return;
    }
    on_each_link(60, |builder| {
        let (pool, lines) = gathering(builder().processes(3).name("talk"));
        // Each worker counts its own.
        let say = |_: u32| {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Relaxed);
            println!("out {count}");
            eprintln!("err {count}");
        };
        pool.map(say, 0..3000).unwrap();
        // In a child of a worker, without a last line end, and no text at all.
        let shell = || {
            let script = "echo child; printf 'a\\377b\\r\\nno end' >&2";
            assert!(Command::new("sh").args(["-c", script]).status().unwrap().success());
        };
        pool.apply(shell, ()).unwrap();
        pool.apply(|| println!("{}", "x".repeat(100_000)), ()).unwrap();
        pool.close();
        pool.join().unwrap();
        let lines = lines.lock().unwrap();
        for stream in ["out", "err"] {
            let mut total = 0;
            for worker in (1..=3).map(|n| format!("talk-{n}")) {
                let own = lines.iter().filter(|line| line.worker() == worker && line.text().starts_with(stream));
                let numbers: Vec<u32> = own.clone().map(|line| line.text()[4..].parse().unwrap()).collect();
                assert!(numbers.iter().copied().eq(0..numbers.len() as u32), "{numbers:?}");
                assert!(own.clone().all(|line| line.is_stderr() == (stream == "err")));
                total += numbers.len();
            }
            assert_eq!(total, 3000);
        }
        let has = |text: &str| lines.iter().any(|line| line.text() == text);
        assert!(has("child") && has("a\u{fffd}b") && has("no end"));
        let long: usize = lines.iter().filter(|line| line.text().starts_with("xx")).map(|line| line.text().len()).sum();
        assert_eq!(long, 100_000);
    });
}

#[test]
fn the_last_lines_of_a_lost_worker_are_in_the_error() {
    on_each_link(60, |builder| {
        let (pool, lines) = gathering(builder().processes(2));
        let die = |how: u32| {
            for n in 0..100 {
                eprintln!("line {n} of {how}");
            }
            print!("on stdout, with no end");
            eprint!("last of {how}");
            match how {
                0 => std::process::exit(1),
                1 => std::process::abort(),
                _ => panic!("a panic loses no worker"),
            }
        };
        let results: Vec<_> = pool
            .tasks(die, [0, 1, 2])
            .chunksize(1)
            .each()
            .into_iter()
            .map(|it: Result<(), _>| it.unwrap_err())
            .collect();
        for (how, error) in results.iter().take(2).enumerate() {
            let output = error.output().unwrap();
            assert_eq!(output.lines().count(), 20);
            assert!(output.starts_with(&format!("line 81 of {how}\n")), "{output}");
            assert!(output.ends_with(&format!("\nlast of {how}")), "{output}");
        }
        assert_eq!(results[2].output(), None);
        drop(pool);
        let lines = lines.lock().unwrap();
        assert_eq!(lines.iter().filter(|line| line.text().starts_with("line ")).count(), 300);
        // Without the option there is nothing to tell.
        let error = builder().processes(1).build().unwrap().apply(|| std::process::exit(1), ());
        assert_eq!(error.map(|(): ()| ()).unwrap_err().task().unwrap().output(), None);
        // A start that fails says so, too.
        let fail = || -> () {
            eprintln!("no disk");
            std::process::exit(1);
        };
        let error = builder().processes(1).on_output(|_| ()).initializer(fail, ()).build().unwrap_err();
        assert!(error.to_string().ends_with("exited with code 1 before it was ready: no disk"), "{error}");
    });
}

#[test]
fn nobody_who_does_not_listen_stops_a_worker_for_ever() {
    let _watchdog = watchdog(60);
    // For as long as the callback hangs.
    let open = Arc::new(AtomicBool::new(false));
    let (gate, seen) = (Arc::clone(&open), Arc::new(Mutex::new(Vec::new())));
    let gathered = Arc::clone(&seen);
    let pool = Pool::builder().processes(2).on_output(move |line| {
        gathered.lock().unwrap().push(line.text().to_owned());
        while !gate.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let pool = pool.build().unwrap();
    let start = Instant::now();
    // Far more than pipe and queue hold.
    pool.map(|x: u32| println!("{x} {}", "x".repeat(200)), 0..20_000).unwrap();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(seen.lock().unwrap().len(), 1);
    open.store(true, Relaxed);
    assert!(eventually(Duration::from_secs(20), || {
        pool.apply(|| println!("once more"), ()).unwrap();
        let seen = seen.lock().unwrap();
        seen.iter().any(|text| text == "once more") && seen.iter().any(|text| text.contains("lines were dropped"))
    }));
    // One that panics only loses its line.
    let pool = Pool::builder().processes(1).on_output(|line| assert!(line.text().is_empty(), "not empty")).build();
    let pool = pool.unwrap();
    assert_eq!(pool.map(|x: u32| println!("{x}"), 0..3).unwrap().len(), 3);
    pool.close();
    pool.join().unwrap();
}

const FORWARDS: &str = "worker_env::output_is_forwarded_with_names";

#[test]
fn output_is_forwarded_with_names() {
    if is_program(FORWARDS) {
        let pool = Pool::builder().processes(1).name("w").capture_output(true).build().unwrap();
        pool.map(|x: u32| (println!("to stdout {x}"), eprintln!("to stderr {x}")).0, 0..2).unwrap();
        return;
    }
    let output = program(FORWARDS).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(stdout.contains("[w-1] to stdout 0\n[w-1] to stdout 1\n"), "{stdout}");
    assert!(stderr.contains("[w-1] to stderr 0\n[w-1] to stderr 1\n"), "{stderr}");
}

#[test]
fn reading_output_leaves_nothing_behind() {
    if !alone("worker_env::reading_output_leaves_nothing_behind") {
        return;
    }
    let round = || {
        let (pool, _) = gathering(Pool::builder().processes(2).max_tasks_per_child(3));
        pool.map(|x: u32| println!("{x}"), 0..30).unwrap();
    };
    round();
    // What belongs to the last workers goes a moment after their pool.
    std::thread::sleep(Duration::from_millis(300));
    let before = holdings();
    (0..5).for_each(|_| round());
    assert!(eventually(Duration::from_secs(10), || holdings() == before), "{before:?} {:?}", holdings());
}

/// The number of the worker, what `env_each` has set, and the process.
fn place(_: u32) -> (usize, String, u32) {
    (worker_number().unwrap(), std::env::var("PLACE").unwrap(), std::process::id())
}

#[test]
fn a_number_belongs_to_a_place_and_passes_to_the_replacement() {
    on_each_link(60, |builder| {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let ask = Arc::clone(&asked);
        let each = move |number: usize| {
            ask.lock().unwrap().push(number);
            [("PLACE", format!("place {number}")), ("COMMON", "mine".to_owned())]
        };
        let pool = builder().processes(2).env("COMMON", "all").env_each(each).build().unwrap();
        assert_eq!(*asked.lock().unwrap(), [0, 1]);
        assert_eq!(pool.apply(|| std::env::var("COMMON").unwrap(), ()).unwrap(), "mine");
        let mut pids: [Vec<u32>; 3] = Default::default();
        for round in 0..30 {
            if round == 20 {
                pool.resize(3).unwrap();
                assert_eq!(*asked.lock().unwrap(), [0, 1, 2]);
            }
            for (number, name, pid) in pool.map(place, 0..8).unwrap() {
                assert_eq!(name, format!("place {number}"));
                if pids[number].last() != Some(&pid) {
                    pids[number].push(pid);
                }
            }
            // Kills whoever takes it: the next worker at that place has the number.
            assert!(pool.apply(|| -> () { std::process::abort() }, ()).unwrap_err().task().unwrap().is_worker_lost());
        }
        let all: std::collections::HashSet<u32> = pids.iter().flatten().copied().collect();
        assert_eq!(all.len(), pids.iter().map(Vec::len).sum::<usize>(), "a process had two numbers: {pids:?}");
        assert!(pids[0].len() + pids[1].len() > 2, "{pids:?}");
        assert_eq!(worker_number(), None);
    });
}

#[test]
fn a_number_is_there_in_routines_and_on_threads_and_nowhere_else() {
    let _watchdog = watchdog(60);
    let pool = Pool::builder().processes(2).state(|| worker_number().unwrap(), ()).build().unwrap();
    let look = |made: &mut usize, _: u32| {
        let there = std::thread::spawn(worker_number).join().unwrap();
        let inner = Pool::new(1).unwrap().apply(worker_number, ()).unwrap();
        let process = multiproc::Process::spawn(worker_number, ()).unwrap().join().unwrap();
        (*made, worker_number(), there, inner, process)
    };
    for (made, own, there, inner, process) in pool.on_state().tasks(look, 0..6).run().unwrap() {
        assert_eq!((own, there, inner, process), (Some(made), Some(made), Some(0), None));
    }
    let threads = Pool::builder().processes(2).state(worker_number, ()).build_threads().unwrap();
    for (made, own) in threads.on_state().tasks(|made, _: u32| (*made, worker_number()), 0..6).run().unwrap() {
        assert!(made == own && own.is_some_and(|number| number < 2));
    }
}

#[test]
fn variables_of_each_that_make_no_sense_are_refused_where_they_are_needed() {
    let _watchdog = watchdog(60);
    let wrong = |number: usize| [(if number < 2 { "FINE" } else { "A=B" }, "x")];
    let error = Pool::builder().processes(3).env_each(wrong).build().unwrap_err();
    assert!(error.is_invalid_argument(), "{error}");
    let pool = Pool::builder().processes(2).env_each(wrong).build().unwrap();
    assert!(pool.resize(3).unwrap_err().is_invalid_argument());
    assert_eq!((pool.processes(), pool.apply(|| 1, ()).unwrap()), (2, 1));
    let error = Pool::builder().env_each(wrong).build_threads().unwrap_err();
    assert!(error.is_invalid_argument() && error.to_string().contains("env_each"), "{error}");
}
