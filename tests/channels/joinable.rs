//! Queues of tasks, and waiting until all are done.

use super::common::proc::kill;
use super::common::watchdog::watchdog;
use multiproc::{JoinableQueue, Process, RawValue, SimpleQueue, join_all};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_task_is_open_until_its_guard_is_dropped() {
    let _watchdog = watchdog(60);
    let queue = JoinableQueue::bounded(3);
    queue.join().unwrap();
    queue.put_many(["a".to_owned(), "b".to_owned()]).unwrap();
    queue.try_put("c".to_owned()).unwrap();
    assert!(queue.is_full() && queue.put_timeout("d".to_owned(), Duration::ZERO).unwrap_err().is_full());
    let mut task = queue.get().unwrap();
    task.push('!');
    assert_eq!((&**task, format!("{task:?}")), ("a!", "OpenTask(\"a!\")".to_owned()));
    let second = queue.try_get().unwrap().unwrap();
    assert_eq!(queue.get_timeout(SOON).unwrap().unwrap().done(), "c");
    assert!(queue.is_empty() && queue.try_get().unwrap().is_none());
    let soon = Duration::from_millis(20);
    assert!(!queue.join_timeout(soon).unwrap());
    drop(task);
    assert!(!queue.join_timeout(soon).unwrap());
    // On another thread.
    std::thread::scope(|scope| _ = scope.spawn(move || drop(second)));
    assert!(queue.join_timeout(SOON).unwrap());
}

#[test]
fn one_task_done_too_many() {
    let queue = JoinableQueue::new();
    assert!(queue.task_done().unwrap_err().is_too_many_done());
    queue.put(1).unwrap();
    let task = queue.get().unwrap();
    // What a guard stands for nobody else can declare done.
    assert!(queue.task_done().unwrap_err().is_too_many_done());
    assert_eq!(task.leave_open(), 1);
    assert!(!queue.join_timeout(Duration::ZERO).unwrap());
    queue.task_done().unwrap();
    queue.join().unwrap();
    let error = queue.task_done().unwrap_err().to_string();
    assert!(error.starts_with("task_done() called too many times: ") && error.contains("`leave_open()`"), "{error}");
}

#[test]
fn tasks_of_a_killed_process_are_done() {
    let _watchdog = watchdog(60);
    let mut taken: Vec<Duration> = Vec::new();
    for _ in 0..5 {
        let (queue, ready) = (JoinableQueue::new(), RawValue::new(0));
        queue.put_many(0..5).unwrap();
        let hold = |queue: JoinableQueue<u64>, ready: RawValue<u32>| {
            let _tasks = [queue.get().unwrap(), queue.get().unwrap()];
            ready.set(1);
            std::thread::sleep(Duration::from_secs(1000));
        };
        let holder = Process::spawn(hold, (queue.clone(), ready.clone())).unwrap();
        while ready.get() == 0 {
            std::thread::yield_now();
        }
        (0..3).for_each(|_| drop(queue.get().unwrap()));
        assert!(!queue.join_timeout(Duration::from_millis(30)).unwrap());
        let start = Instant::now();
        kill(holder.pid());
        assert!(queue.join_timeout(SOON).unwrap());
        taken.push(start.elapsed());
    }
    taken.sort();
    println!("after {:?}: who joins, of tasks of the killed", taken[2]);
    assert!(taken[2] < Duration::from_millis(100), "{taken:?}");
}

#[test]
fn join_waits_for_tasks_that_tasks_bring() {
    let _watchdog = watchdog(60);
    let (queue, sum) = (JoinableQueue::<u64>::new(), RawValue::new(0_u64));
    // Each number brings the two halves of itself.
    let work = |queue: JoinableQueue<u64>, sum: RawValue<u64>| {
        while let Ok(task) = queue.get() {
            sum.fetch_add(1);
            if *task > 1 {
                queue.put_many([*task / 2, *task - *task / 2]).unwrap();
            }
        }
    };
    let crew: Vec<_> = (0..3).map(|_| Process::spawn(work, (queue.clone(), sum.clone())).unwrap()).collect();
    for round in 1..=20 {
        queue.put(64).unwrap();
        queue.join().unwrap();
        assert_eq!(sum.get(), round * 127);
    }
    queue.close().unwrap();
    join_all(crew).unwrap();
}

#[test]
fn a_simple_queue_puts_and_gets() {
    let _watchdog = watchdog(60);
    let queue = SimpleQueue::new();
    let other = Process::spawn(|queue: SimpleQueue<Vec<u64>>| queue.put(vec![1, 2]).unwrap(), (queue.clone(),));
    assert_eq!(queue.get().unwrap(), [1, 2]);
    other.unwrap().join().unwrap();
    assert!(queue.is_empty());
    queue.close().unwrap();
    assert!(queue.get().unwrap_err().is_closed());
}

#[test]
fn tasks_that_found_no_room_come_back_and_are_not_waited_for() {
    let queue = JoinableQueue::bounded(2);
    let rest = queue.try_put_many(1..=4).unwrap_err();
    assert!(rest.is_full());
    assert_eq!(rest.into_inner(), [3, 4]);
    assert_eq!(queue.put_many_timeout([5], Duration::from_millis(1)).unwrap_err().into_inner(), [5]);
    for number in 1..=2 {
        assert_eq!(*queue.get().unwrap(), number);
    }
    assert!(queue.join_timeout(Duration::ZERO).unwrap());
}
