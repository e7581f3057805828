//! `ThreadPool`: the same calls on threads.

use super::common::watchdog::watchdog;
use multiproc::{Pool, ThreadPool};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

#[test]
fn one_program_runs_on_either() {
    fn program(pool: &Pool) -> (Vec<u64>, Vec<String>, u64, Vec<bool>, Vec<u64>) {
        let squares = pool.map(|x: u64| x * x, 0..1000).unwrap();
        let words = pool.starmap(|word: String, n: usize| word.repeat(n), [("a".to_owned(), 3)]).unwrap();
        let sum = pool.with(&7).task(|seven: &u64, x: u64| seven + x, (1,)).run().unwrap();
        let each = pool.map_each(|x: u32| assert!(x != 3), 0..5).into_iter().map(|it| it.is_ok()).collect();
        let later = pool.map_async(|x: u64| x + 1, 0..100).unwrap();
        let streamed: Vec<u64> = pool.imap(|x: u64| x * 2, 0..).take(50).map(Result::unwrap).collect();
        assert_eq!(later.get().unwrap(), (1..=100).collect::<Vec<_>>());
        assert_eq!(pool.apply(|bytes: Vec<u8>| bytes.len(), (vec![1; 80 << 20],)).unwrap(), 80 << 20);
        (squares, words, sum, each, streamed)
    }
    let _watchdog = watchdog(120);
    assert_eq!(program(&ThreadPool::new(2).unwrap()), program(&Pool::new(2).unwrap()));
}

#[test]
fn tasks_run_on_several_threads_of_this_process() {
    static SEEN: AtomicU32 = AtomicU32::new(0);
    let _watchdog = watchdog(60);
    let pool = ThreadPool::new(3).unwrap();
    let task = |_: u32| {
        SEEN.fetch_add(1, SeqCst);
        std::thread::sleep(Duration::from_millis(5));
        (std::process::id(), format!("{:?}", std::thread::current().id()))
    };
    let seen = pool.tasks(task, 0..60).chunksize(1).run().unwrap();
    assert_eq!(SEEN.load(SeqCst), 60);
    assert!(seen.iter().all(|(pid, _)| *pid == std::process::id()));
    assert_eq!(seen.iter().map(|(_, thread)| thread).collect::<HashSet<_>>().len(), 3);
    assert!(pool.worker_pids().is_empty());
    pool.close();
    pool.join().unwrap();
}

#[test]
fn a_panic_is_an_error_of_its_task() {
    let _watchdog = watchdog(60);
    let pool = ThreadPool::new(2).unwrap();
    let error = pool.apply(|x: u32| assert_eq!(x, 1, "not one"), (2,)).unwrap_err();
    let task = error.task().unwrap();
    assert!(task.is_panic() && task.message().unwrap().contains("not one") && task.location().is_some());
    assert_eq!(pool.map(|x: u32| x, 0..3).unwrap(), [0, 1, 2]);
}

#[test]
fn a_time_limit_is_refused() {
    let _watchdog = watchdog(60);
    let pool = ThreadPool::new(1).unwrap();
    let error = pool.tasks(|x: u32| x, 0..3).timeout(Duration::from_secs(1)).run().unwrap_err();
    assert!(error.is_invalid_argument() && error.to_string().contains("a thread cannot be stopped"), "{error}");
}

#[test]
fn the_end_waits_for_what_runs_and_drops_the_rest() {
    static RAN: AtomicU32 = AtomicU32::new(0);
    static ENDS: AtomicBool = AtomicBool::new(false);
    static ENDED: AtomicBool = AtomicBool::new(false);
    let _watchdog = watchdog(60);
    let pool = ThreadPool::new(1).unwrap();
    let slow = || {
        RAN.fetch_add(1, SeqCst);
        while !ENDS.load(SeqCst) {
            std::thread::yield_now();
        }
        // Until the pool waits for it, most likely.
        std::thread::sleep(Duration::from_millis(300));
        ENDED.store(true, SeqCst);
    };
    let all: Vec<_> = (0..20).map(|_| pool.apply_async(slow, ()).unwrap()).collect();
    while RAN.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
    ENDS.store(true, SeqCst);
    drop(pool);
    assert!(ENDED.load(SeqCst));
    // On a busy machine the pool may come to its end behind some more of them.
    let ran = RAN.load(SeqCst) as usize;
    assert!(ran < 20, "all tasks ran");
    // What was running has ended, and its result was there in time or was not.
    for result in all.into_iter().skip(ran) {
        assert!(result.get().unwrap_err().is_terminated());
    }
}

/// Frames that were taken back keep their room in the link until the thread passes over them, which it does behind its task.
#[test]
fn the_end_comes_behind_any_number_of_tasks_that_were_cancelled() {
    static RUNS: AtomicBool = AtomicBool::new(false);
    static MAY_END: AtomicBool = AtomicBool::new(false);
    let _watchdog = watchdog(60);
    let pool = Pool::builder().processes(1).grace(Duration::from_secs(1000)).build_threads().unwrap();
    let task = || {
        RUNS.store(true, SeqCst);
        while !MAY_END.load(SeqCst) {
            std::thread::yield_now();
        }
    };
    let running = pool.apply_async(task, ()).unwrap();
    while !RUNS.load(SeqCst) {
        std::thread::yield_now();
    }
    for _ in 0..600 {
        pool.apply_async(|| (), ()).unwrap().cancel();
    }
    pool.terminate();
    MAY_END.store(true, SeqCst);
    pool.join().unwrap();
    let _ = running.get();
}

#[test]
fn a_thread_may_use_its_own_pool_and_others() {
    let _watchdog = watchdog(60);
    let nested = |x: u64| {
        let inner = ThreadPool::new(2).unwrap();
        let processes = Pool::new(1).unwrap();
        inner.map(|x: u64| x + 1, 0..x).unwrap().len() as u64 + processes.apply(|x: u64| x, (x,)).unwrap()
    };
    let pool = ThreadPool::new(2).unwrap();
    assert_eq!(pool.map(nested, 0..6).unwrap(), (0..6).map(|x| 2 * x).collect::<Vec<_>>());
}

#[test]
fn threads_have_initializers_states_and_finalizers() {
    static READY: AtomicU32 = AtomicU32::new(0);
    static LEFT: AtomicU32 = AtomicU32::new(0);
    let _watchdog = watchdog(60);
    let pool = Pool::builder()
        .processes(2)
        .name("counter")
        .initializer(|n: u32| _ = READY.fetch_add(n, SeqCst), (10,))
        .state(|start: u64| vec![start], (7,))
        .finalizer(|| _ = LEFT.fetch_add(1, SeqCst), ())
        .build_threads()
        .unwrap();
    assert_eq!(READY.load(SeqCst), 20);
    let name = || std::thread::current().name().map(str::to_owned);
    assert!(pool.apply(name, ()).unwrap().unwrap().starts_with("counter-"));
    let grown = pool
        .on_state()
        .tasks(
            |seen, x| {
                seen.push(x);
                seen.len()
            },
            0..10u64,
        )
        .run()
        .unwrap();
    assert!(grown.iter().all(|len| (2..=11).contains(len)));
    // A state that was left half changed is made again.
    pool.on_state().task(|seen: &mut Vec<u64>| seen[99], ()).run().unwrap_err();
    pool.close();
    pool.join().unwrap();
    assert_eq!(LEFT.load(SeqCst), 2);
    let error = Pool::builder().processes(1).initializer(|| Err::<(), _>("no"), ()).build_threads().unwrap_err();
    assert!(error.is_initializer(), "{error}");
}

#[test]
fn what_only_processes_can_have_is_refused() {
    let builder = || Pool::builder().processes(1);
    let refused = [
        builder().env("A", "b").build_threads(),
        builder().thread_env(1).build_threads(),
        builder().cpu_affinity(true).build_threads(),
        builder().capture_output(true).build_threads(),
        builder().max_memory_per_child(1 << 20).build_threads(),
        builder().memory_limit(1 << 20).build_threads(),
        builder().link(multiproc::LinkKind::Channel).build_threads(),
    ];
    for error in refused.map(Result::unwrap_err) {
        assert!(
            error.is_invalid_argument() && error.to_string().ends_with("needs workers that are processes"),
            "{error}"
        );
    }
}
