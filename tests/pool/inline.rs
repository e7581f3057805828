//! Pools without workers of their own: tasks run on the thread that waits for them.

use super::common::watchdog::watchdog;
use multiproc::{Error, Pool, PoolBuilder, worker_number};
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread::{ThreadId, current};
use std::time::Duration;

fn inline() -> PoolBuilder {
    Pool::builder().inline()
}

static SEEN: Mutex<Vec<ThreadId>> = Mutex::new(Vec::new());

/// A task that notes its thread.
fn note(x: u64) -> u64 {
    SEEN.lock().unwrap().push(current().id());
    assert_eq!(worker_number(), Some(0));
    x * x
}

#[test]
fn tasks_run_on_the_thread_that_waits_for_them() {
    let _watchdog = watchdog(60);
    let pool = inline().build().unwrap();
    let squares: Vec<u64> = (0..100).map(|x| x * x).collect();
    assert_eq!(pool.map(note, 0..100).unwrap(), squares);
    assert_eq!(pool.imap(note, 0..100).collect::<Result<Vec<_>, _>>().unwrap(), squares);
    assert_eq!(pool.tasks(note, 0..100).unordered().map(Result::unwrap).sum::<u64>(), squares.iter().sum::<u64>());
    assert_eq!(pool.apply(note, (7,)).unwrap(), 49);
    let later = pool.map_async(note, 0..100).unwrap();
    // It was run before `map_async` has returned.
    assert!(later.ready());
    assert_eq!(later.get().unwrap(), squares);
    let seen = std::mem::take(&mut *SEEN.lock().unwrap());
    assert_eq!(seen.len(), 401);
    assert!(seen.iter().all(|thread| *thread == current().id()));
    assert_eq!(worker_number(), None);
    assert!(pool.worker_pids().is_empty());
    assert_eq!(pool.processes(), 1);
    // Results that fill any ring many times over.
    let large = pool.map(|x: u64| vec![x as u8; 1 << 20], 0..100).unwrap();
    assert!((0..).zip(&large).all(|(x, bytes)| bytes.len() == 1 << 20 && bytes[5] == x));
    let many = pool.tasks(|x: u64| x.to_string(), 0..100_000).chunksize(50_000).run().unwrap();
    assert!((0..100_000u64).map(|x| x.to_string()).eq(many));
    pool.close();
    pool.join().unwrap();
    assert!(pool.map(note, 0..3).unwrap_err().is_not_running());
}

#[test]
fn what_fails_fails_as_it_does_in_a_process() {
    let _watchdog = watchdog(60);
    let pool = inline().build().unwrap();
    let results = pool.map_each(|x: i32| 12 / x, [3, 0, 4]);
    assert!(*results[0].as_ref().unwrap() == 4 && *results[2].as_ref().unwrap() == 3);
    assert_eq!(results[1].as_ref().unwrap_err().message(), Some("attempt to divide by zero"));
    let tries = AtomicU32::new(0);
    let flaky = |tries: multiproc::RawValue<u32>| assert!(tries.fetch_add(1) == 2, "not yet");
    let counted = multiproc::RawValue::new(0u32);
    pool.task(flaky, (counted.clone(),)).retries(2).run().unwrap();
    counted.set(0);
    let retry = multiproc::Retry::new(2).backoff(Duration::from_millis(1)).only(|error| error.is_panic());
    pool.task(flaky, (counted.clone(),)).retry(retry.clone()).submit().unwrap().get().unwrap();
    // With nobody who waits: a callback is called all the same.
    counted.set(0);
    let (tell, told) = std::sync::mpsc::channel();
    let _kept = pool.task(flaky, (counted,)).retry(retry).submit().unwrap().callback(move |()| tell.send(()).unwrap());
    told.recv_timeout(Duration::from_secs(30)).unwrap();
    let later = pool.tasks(|x: u32| assert!(x != 3), 0..1000).fail_fast(true).chunksize(1).submit().unwrap();
    assert!(later.get().unwrap_err().is_panic());
    tries.fetch_add(1, Relaxed);
    // A limit that only a process can have has no effect: a program runs under a debugger as it is.
    assert_eq!(pool.tasks(|x: u32| x, 0..3).timeout(Duration::from_nanos(1)).run().unwrap(), [0, 1, 2]);
    let odd = inline().processes(8).env("A", "B").memory_limit(1 << 30).capture_output(true).build().unwrap();
    assert_eq!(odd.map(|x: u32| x + 1, 0..3).unwrap(), [1, 2, 3]);
    odd.resize(5).unwrap();
    assert_eq!((odd.processes(), odd.map(|x: u32| x + 1, 0..3).unwrap()), (1, vec![1, 2, 3]));
}

fn count(calls: &AtomicU32) {
    calls.fetch_add(1, Relaxed);
}

#[test]
fn each_thread_has_a_state_of_its_own() {
    let _watchdog = watchdog(60);
    static INITIALIZED: AtomicU32 = AtomicU32::new(0);
    static FINISHED: AtomicU32 = AtomicU32::new(0);
    // It can be sent to no other thread.
    let state = |start: u32| (std::rc::Rc::new(Cell::new(start)), current().id());
    let pool = inline()
        .initializer(|| count(&INITIALIZED), ())
        .finalizer(|| count(&FINISHED), ())
        .state(state, (10,))
        .build()
        .unwrap();
    let add = |offset: &u32, (count, made_on): &mut (std::rc::Rc<Cell<u32>>, ThreadId), x: u32| {
        assert_eq!(*made_on, current().id());
        count.set(count.get() + x + offset);
        count.get()
    };
    let add = move |(offset, state): (&u32, &mut (std::rc::Rc<Cell<u32>>, ThreadId)), x: u32| add(offset, state, x);
    let run = || pool.with(&100).on_state().tasks(add, [1, 2]).run().unwrap();
    assert_eq!((run(), run()), (vec![111, 213], vec![314, 416]));
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..2).map(|_| scope.spawn(run)).collect();
        for other in others {
            // Whoever waits may run what the other one waits for.
            assert_eq!(other.join().unwrap().len(), 2);
        }
    });
    assert_eq!(run().len(), 2);
    assert!((1..=3).contains(&INITIALIZED.load(Relaxed)));
    pool.close();
    pool.join().unwrap();
    assert_eq!(FINISHED.load(Relaxed), 1);
}

#[test]
fn a_worker_leaves_and_another_one_comes() {
    let _watchdog = watchdog(60);
    let pool = inline().max_tasks_per_child(3).state(|| 0u32, ()).build().unwrap();
    let count = |seen: &mut u32, _: u32| {
        *seen += 1;
        *seen
    };
    assert_eq!(pool.on_state().tasks(count, 0..7).chunksize(1).run().unwrap(), [1, 2, 3, 1, 2, 3, 1]);
    let fail = || -> Result<(), &'static str> { Err("no") };
    let error = inline().initializer(fail, ()).build().unwrap_err();
    assert!(error.is_initializer(), "{error}");
}

#[test]
fn a_pool_ends_with_tasks_that_were_not_run() {
    let _watchdog = watchdog(60);
    let pool = inline().build().unwrap();
    let mut squares = pool.imap(note_nothing, 0..);
    assert_eq!(squares.next().unwrap().unwrap(), 0);
    drop(squares);
    // What was taken back is in nobody's way.
    assert_eq!(pool.map(note_nothing, 0..1000).unwrap().len(), 1000);
    let waiting = pool.imap(note_nothing, 0..);
    pool.terminate();
    pool.join().unwrap();
    drop(waiting);
    // While another thread runs a task.
    let pool = inline().build().unwrap();
    std::thread::scope(|scope| {
        let (begun, has_begun) = std::sync::mpsc::channel();
        *BEGUN.lock().unwrap() = Some(begun);
        let caller = scope.spawn(|| pool.apply(begin_and_wait, ()));
        has_begun.recv().unwrap();
        pool.terminate();
        GO.store(1, Relaxed);
        pool.join().unwrap();
        // Its task had begun, and may have ended before the call has heard of the end of the pool.
        if let Err(error) = caller.join().unwrap() {
            assert!(error.is_terminated(), "{error}");
        }
    });
}

fn note_nothing(x: u64) -> u64 {
    x
}

static BEGUN: Mutex<Option<std::sync::mpsc::Sender<()>>> = Mutex::new(None);
static GO: AtomicU32 = AtomicU32::new(0);

fn begin_and_wait() {
    BEGUN.lock().unwrap().take().unwrap().send(()).unwrap();
    while GO.load(Relaxed) == 0 {
        std::thread::yield_now();
    }
}

#[test]
fn a_task_that_waits_for_its_own_pool_is_an_error_and_no_hang() {
    let _watchdog = watchdog(60);
    static POOL: std::sync::OnceLock<Pool> = std::sync::OnceLock::new();
    let pool = POOL.get_or_init(|| inline().build().unwrap());
    let nested = || POOL.get().unwrap().map(|x: u32| x, 0..3).map_err(|error| error.to_string());
    let error = pool.apply(nested, ()).unwrap().unwrap_err();
    assert!(error.contains("waits for the same pool"), "{error}");
    // Another one may be used.
    let other = || inline().build().unwrap().map(|x: u32| x + 1, 0..3).unwrap();
    assert_eq!(pool.apply(other, ()).unwrap(), [1, 2, 3]);
}

#[test]
fn the_environment_sets_the_number_of_workers_and_brings_tasks_here() {
    use super::common::alone::{is_program, program};
    const NAME: &str = "inline::the_environment_sets_the_number_of_workers_and_brings_tasks_here";
    if is_program(NAME) {
        let pool = Pool::builder().build().map_err(|error: Error| assert!(error.is_invalid_argument(), "{error}"));
        let Ok(pool) = pool else { return println!("refused") };
        let here = pool.apply(std::process::id, ()).unwrap() == std::process::id();
        println!("{} workers, {}", pool.processes(), if here { "here" } else { "elsewhere" });
        assert_eq!(Pool::new(2).unwrap().processes(), if here { 1 } else { 2 });
        return;
    }
    let _watchdog = watchdog(120);
    for (variables, expected) in [
        (&[("MULTIPROC_WORKERS", "3")][..], "3 workers, elsewhere"),
        (&[("MULTIPROC_WORKERS", "3"), ("MULTIPROC_INLINE", "0")], "3 workers, elsewhere"),
        (&[("MULTIPROC_WORKERS", "3"), ("MULTIPROC_INLINE", "1")], "1 workers, here"),
        (&[("MULTIPROC_WORKERS", "many")], "refused"),
        (&[("MULTIPROC_WORKERS", "0")], "refused"),
    ] {
        let output = program(NAME).envs(variables.iter().copied()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains(expected), "{variables:?}: {text}");
    }
}
