//! Workers that die, at every point of their lives.

use super::common::journal::{self, Journal};
use super::common::links::{on_each_link, on_each_link_spawned, on_each_pool};
use super::common::proc;
use super::common::watchdog::watchdog;
use multiproc::{Pool, TaskError};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

fn die() {
    proc::kill(proc::own_pid());
    // The signal is on its way to this very process.
    loop {
        std::thread::park();
    }
}

fn overflow(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 256]);
    if depth == u64::MAX { 0 } else { overflow(depth + 1) + room[7] }
}

#[test]
fn one_of_a_hundred_dies() {
    on_each_pool(2, 60, |pool| {
        for chunksize in [None, Some(1), Some(7), Some(100)] {
            let work = |x: u64| {
                if x == 42 {
                    die();
                }
                x * x
            };
            let call = pool.tasks(work, 0..100);
            let results = match chunksize {
                Some(n) => call.chunksize(n).each(),
                None => call.each(),
            };
            for (index, result) in results.iter().enumerate() {
                match result {
                    Ok(value) => assert_eq!(*value, (index * index) as u64),
                    Err(error) => {
                        assert_eq!(index, 42, "{error}");
                        assert!(error.is_worker_lost() && error.signal() == Some(9) && error.index() == 42, "{error}");
                        assert!(error.to_string().contains("killed by signal 9 (SIGKILL)"), "{error}");
                    }
                }
            }
            assert!(results[42].is_err());
            assert_eq!(pool.map(|x: u64| x + 1, 0..10).unwrap(), (1..11).collect::<Vec<_>>());
        }
    });
}

#[test]
fn every_way_to_end_a_process_is_told_apart() {
    on_each_pool(2, 60, |pool| {
        let lost = |error: multiproc::Error| -> TaskError {
            let task = error.task().unwrap().clone();
            assert!(task.is_worker_lost(), "{task}");
            task
        };
        for code in [0, 1, 77] {
            let error = lost(pool.apply(|code: i32| -> () { std::process::exit(code) }, (code,)).unwrap_err());
            assert_eq!(error.exit_code(), Some(code), "{error}");
        }
        let error = lost(pool.apply(|| -> () { std::process::abort() }, ()).unwrap_err());
        assert_eq!(error.signal(), Some(6), "{error}");
        let error = lost(pool.apply(overflow, (0,)).unwrap_err());
        assert_eq!(error.signal(), Some(11), "{error}");
        assert!(error.to_string().contains("stack overflow"), "{error}");
        assert_eq!(pool.apply(|| 5, ()).unwrap(), 5);
    });
}

#[test]
fn a_worker_that_dies_idle_is_replaced_and_costs_nothing() {
    on_each_pool(2, 60, |pool| {
        for _ in 0..5 {
            let before = pool.worker_pids();
            for pid in &before {
                assert!(proc::kill(*pid));
            }
            let replaced = || {
                let now = pool.worker_pids();
                now.len() == 2 && now.iter().all(|pid| !before.contains(pid))
            };
            assert!(proc::eventually(Duration::from_secs(20), replaced), "not replaced");
            assert_eq!(pool.map(|x: u64| x, 0..100).unwrap(), (0..100).collect::<Vec<_>>());
        }
    });
}

#[test]
fn an_initializer_that_fails_fails_the_pool() {
    on_each_link(60, |builder| {
        let error = builder().processes(2).initializer(|| -> () { panic!("not today") }, ()).build().unwrap_err();
        assert!(error.is_initializer(), "{error}");
        assert!(error.to_string().contains("not today"), "{error}");
        let error = builder().processes(2).initializer(|| -> () { std::process::exit(3) }, ()).build().unwrap_err();
        assert!(error.is_start() && error.to_string().contains("exited with code 3"), "{error}");
        let error = builder().processes(2).initializer(die, ()).build().unwrap_err();
        assert!(error.is_start() && error.to_string().contains("SIGKILL"), "{error}");
    });
}

/// An initializer that succeeds as often as the file is long, then fails.
fn limited(path: String) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(b"x").unwrap();
    assert!(file.metadata().unwrap().len() <= 2, "no more workers");
}

#[test]
fn a_pool_whose_workers_cannot_be_replaced_breaks_and_says_so() {
    on_each_link_spawned(60, |builder| {
        let journal = Journal::new();
        let pool = builder().processes(2).initializer(limited, (journal.path(),)).build().unwrap();
        let error = pool
            .map(
                |x: u64| {
                    if x % 2 == 0 {
                        die()
                    }
                },
                0..100,
            )
            .unwrap_err();
        assert!(error.is_broken() || error.task().is_some_and(TaskError::is_worker_lost), "{error}");
        let broken =
            || pool.apply(|| 1, ()).is_err_and(|error| error.is_broken() && error.to_string().contains("no more"));
        assert!(proc::eventually(Duration::from_secs(20), broken));
    });
}

/// Writes words into the memory of this worker's link, in the order given: each with its place.
pub(super) fn write_into_link(words: impl IntoIterator<Item = (u64, u64)>) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.contains("memfd:multiproc-link")).expect("a link is mapped");
    let start = u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
    let memory = std::fs::OpenOptions::new().write(true).open("/proc/self/mem").unwrap();
    for (at, word) in words {
        std::os::unix::fs::FileExt::write_all_at(&memory, &word.to_ne_bytes(), start + at).unwrap();
    }
}

/// Writes garbage over the memory of this worker's link: the first page (the heads), or slots and lengths.
fn scribble(seed: u64) {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    write_into_link((0..64).map(|_| {
        // Heads and slots lie in the first ten pages.
        let at = next() % (10 * 4096 / 8) * 8;
        let word = match next() % 4 {
            0 => u64::MAX,
            1 => next() % 1024,
            2 => 0,
            _ => next(),
        };
        (at, word)
    }));
}

#[test]
fn a_worker_that_writes_garbage_into_its_link_harms_itself_alone() {
    let _watchdog = watchdog(120);
    let pool = Pool::new(2).unwrap();
    for seed in 0..40u64 {
        let work = move |(seed, x): (u64, u64)| {
            if x == 20 {
                scribble(seed);
            }
            x
        };
        let results = pool.tasks(work, (0..50).map(|x| (seed, x))).chunksize(1 + seed as usize % 5).each();
        assert_eq!(results.len(), 50);
        for (index, result) in results.iter().enumerate() {
            // Values of the worker that lied may be lies; what it had in hand may be lost. Nothing else may be.
            if let Err(error) = result {
                assert!(error.is_worker_lost() || error.is_decode(), "seed {seed}, task {index}: {error}");
            }
        }
    }
    // What a worker wrote where neither side has come to yet shows later. With fresh workers all is as before.
    pool.worker_pids().into_iter().for_each(|pid| _ = proc::kill(pid));
    let is_whole = || pool.map(|x: u64| x + 1, 0..1000).is_ok_and(|values| values == (1..=1000).collect::<Vec<_>>());
    assert!(proc::eventually(Duration::from_secs(20), is_whole));
}

/// An answer that no worker of ours writes to the first frame of four tasks, and the reason that the pool gives: the words
/// of the slot, which are the state, the kind with the place and length of the payload, the frame, the tasks, the time, and
/// the payload.
const FORGERIES: [(&str, [u64; 8]); 18] = [
    ("an answer of an unknown kind", forgery(9, FRAME, 0, 1)),
    ("a failure of several tasks at once", forgery(FAILURE, FRAME, 0, 2)),
    ("an answer with damaged handles", forgery(HANDLES, FRAME, 0, 1)),
    ("handles of several tasks at once", forgery(HANDLES, FRAME, 0, 2)),
    ("an answer with too many attached descriptors", forgery(HANDLES | 2 << 32, FRAME, 0, 1)),
    // It brings nothing on the control socket.
    ("", forgery(HANDLES | 1 << 32, FRAME, 0, 1)),
    ("", forgery(VALUES | 2 << 8, FRAME, 0, 1)),
    ("an answer to tasks that it does not have", forgery(VALUES, FRAME, 0, 0)),
    ("an answer to tasks that it does not have", forgery(VALUES, FRAME, 0, 5)),
    ("an answer to tasks that it does not have", forgery(VALUES, FRAME, 1, 1)),
    ("an answer to tasks that it does not have", forgery(VALUES, FRAME, 0xffff_ffff, 0xffff_ffff)),
    ("an answer to tasks that it does not have", forgery(TAKEN, FRAME, 1, 1)),
    ("an answer to a frame that it does not have", forgery(VALUES, FRAME + 1, 0, 1)),
    ("an answer to a frame that it does not have", forgery(VALUES, u64::MAX, 0, 1)),
    ("an answer with an impossible length", forgery(VALUES | 25 << 16, FRAME, 0, 1)),
    ("an answer with an impossible length", [1, VALUES | 1 << 8, FRAME, 1 << 32, 0, u64::MAX, 1, 0]),
    ("an answer with an impossible length", forgery(VALUES | 3 << 8, FRAME, 0, 1)),
    ("an answer slot in an impossible state", [7, VALUES, FRAME, 1 << 32, 0, 0, 0, 0]),
];
const VALUES: u64 = 0;
const FAILURE: u64 = 1;
const HANDLES: u64 = 2;
const TAKEN: u64 = 3;

/// The first frame with tasks; frame 0 says which function.
const FRAME: u64 = 1;

/// The first slot for answers: behind the page of the heads, and 256 slots for frames.
pub(super) const FIRST_ANSWER: u64 = 4096 + 256 * 64;

const fn forgery(kind: u64, frame: u64, first: u64, count: u64) -> [u64; 8] {
    [1, kind, frame, count << 32 | first, 0, 0, 0, 0]
}

#[test]
fn a_forged_answer_costs_the_task_that_forged_it_and_no_other() {
    let _watchdog = watchdog(120);
    for (case, (reason, _)) in FORGERIES.iter().enumerate() {
        let pool = Pool::new(1).unwrap();
        let work = |(case, x): (usize, u64)| {
            if x == 0 {
                // The state last: it publishes the rest.
                let words = FORGERIES[case].1.into_iter().enumerate();
                write_into_link(words.rev().map(|(at, word)| (FIRST_ANSWER + 8 * at as u64, word)));
                // The pool will kill this process for it.
                loop {
                    std::thread::park();
                }
            }
            x
        };
        let results = pool.tasks(work, (0..8).map(|x| (case, x))).chunksize(4).each();
        let error = results[0].as_ref().unwrap_err();
        assert!(error.is_worker_lost() && error.to_string().contains(reason), "case {case}: {error}");
        for (index, result) in results.iter().enumerate().skip(1) {
            assert_eq!(result.as_ref().ok(), Some(&(index as u64)), "case {case}, {result:?}");
        }
        assert_eq!(pool.apply(|| 5, ()).unwrap(), 5);
    }
}

const STARTED: u32 = 1;
const DONE: u32 = 2;

fn recorded(task: u64) -> u64 {
    journal::write(STARTED, task);
    let value = task * 3;
    journal::write(DONE, task);
    value
}

/// Kills random workers every `pause` until the flag is set; how many.
fn storm(pool: &Pool, pause: Duration, over: &AtomicBool) -> usize {
    let mut random = 88_172_645_463_325_252u64;
    let mut killed = 0;
    let mut next = Instant::now();
    while !over.load(Relaxed) {
        next += pause;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let pids = pool.worker_pids();
        if !pids.is_empty() {
            killed += usize::from(proc::kill(pids[random as usize % pids.len()]));
        }
    }
    killed
}

fn weather(tasks: u64, chunksize: Option<usize>, builder: &dyn Fn() -> multiproc::PoolBuilder) {
    let journal = Journal::new();
    let pool = builder().processes(3).initializer(journal::open_in_worker, (journal.path(),)).build().unwrap();
    let over = AtomicBool::new(false);
    let (results, killed) = std::thread::scope(|scope| {
        let storm = scope.spawn(|| storm(&pool, Duration::from_millis(20), &over));
        let call = pool.tasks(recorded, 0..tasks);
        let results = match chunksize {
            Some(n) => call.chunksize(n).each(),
            None => call.each(),
        };
        over.store(true, Relaxed);
        (results, storm.join().unwrap())
    });
    // Exactly one outcome each: one is in its place for every task.
    assert_eq!(results.len() as u64, tasks);
    let mut starts: HashMap<u64, u32> = HashMap::new();
    let mut ends = 0u64;
    for entry in journal.read() {
        match entry.what {
            STARTED => *starts.entry(entry.task).or_default() += 1,
            _ => ends += 1,
        }
    }
    assert!(starts.values().all(|count| *count == 1), "a task was started twice");
    let mut errors = 0;
    for (task, result) in (0..).zip(&results) {
        match result {
            Ok(value) => {
                assert_eq!(*value, task * 3);
                assert!(starts.contains_key(&task), "task {task} has a result and was not run");
            }
            Err(error) => {
                assert!(error.is_worker_lost(), "{error}");
                // The library marks a task as started right before it calls the function, which writes its entry. So a
                // lost task without an entry died between the two; these are told apart below.
                errors += 1;
            }
        }
    }
    // Each kill costs at most the one task that was running; a task with a result was not lost, and a started task
    // without a result is an error: no other way is left.
    assert!(errors <= killed, "{errors} errors, {killed} kills");
    let started = starts.len() as u64;
    let good = tasks - errors as u64;
    assert!(started >= good && started <= tasks, "{started} started, {good} results");
    assert!(ends >= good, "{ends} ended, {good} results");
    let lost_after_start = starts.keys().filter(|task| results[**task as usize].is_err()).count();
    let lost_before_entry = errors - lost_after_start;
    println!("{tasks} tasks, {killed} kills, {errors} errors, {lost_before_entry} of them before their first line ran");
    assert_eq!(started, good + lost_after_start as u64);
}

#[test]
fn a_storm_of_kills_loses_exactly_the_running_tasks() {
    on_each_link(300, |builder| weather(200_000, None, builder));
}

#[test]
fn a_storm_of_kills_over_chunks_of_all_sizes() {
    on_each_link(300, |builder| {
        for chunksize in [1, 10, 1000] {
            weather(20_000, Some(chunksize), builder);
        }
    });
}
