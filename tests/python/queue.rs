//! Python's own test cases of queues, under their names.
//!
//! `test_queue_feeder_on_queue_feeder_error`, `test_no_import_lock_contention` and `test_closed_queue_empty_exceptions` are
//! about Python's feeder thread, its imports, and its pipe's state after `close()`; there are no such things here.
//! `test_get` with negative timeouts: a `Duration` is never negative.

use super::common::watchdog::watchdog;
use super::sync::takes;
use multiproc::{JoinableQueue, Process, Queue, SimpleQueue, join_all};
use serde::{Deserialize, Serialize, Serializer};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_millis(120);
const SOON: Duration = Duration::from_secs(30);

#[test]
fn test_put() {
    let _watchdog = watchdog(60);
    let queue = Queue::bounded(6);
    let (start, done) = (Queue::<()>::new(), Queue::<()>::new());
    let child = |queue: Queue<u32>, start: Queue<()>, done: Queue<()>| {
        start.get().unwrap();
        (0..6).for_each(|_| _ = queue.get().unwrap());
        done.put(()).unwrap();
    };
    let process = Process::spawn(child, (queue.clone(), start.clone(), done.clone())).unwrap();
    assert!(queue.is_empty() && !queue.is_full());
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    queue.put_timeout(3, SOON).unwrap();
    queue.try_put(4).unwrap();
    queue.try_put(5).unwrap();
    queue.put_many([6]).unwrap();
    assert!(!queue.is_empty() && queue.is_full());
    assert!(takes(Duration::ZERO, || queue.try_put(7)).unwrap_err().is_full());
    assert!(takes(TIMEOUT, || queue.put_timeout(7, TIMEOUT)).unwrap_err().is_full());
    assert!(takes(Duration::ZERO, || queue.put_timeout(7, Duration::ZERO)).unwrap_err().is_full());
    start.put(()).unwrap();
    done.get().unwrap();
    assert!(queue.is_empty() && !queue.is_full());
    process.join().unwrap();
}

#[test]
fn test_get() {
    let _watchdog = watchdog(60);
    let queue = Queue::new();
    let child = |queue: Queue<u32>| (2..=5).for_each(|item| queue.put(item).unwrap());
    let process = Process::spawn(child, (queue.clone(),)).unwrap();
    process.join().unwrap();
    assert!(!queue.is_empty());
    assert_eq!(queue.get().unwrap(), 2);
    assert_eq!(queue.get_timeout(SOON).unwrap(), Some(3));
    assert_eq!(queue.try_get().unwrap(), Some(4));
    assert_eq!(queue.get_many(1).unwrap().pop().unwrap().unwrap(), 5);
    assert!(queue.is_empty());
    assert_eq!(takes(Duration::ZERO, || queue.try_get()).unwrap(), None);
    assert_eq!(takes(TIMEOUT, || queue.get_timeout(TIMEOUT)).unwrap(), None);
    assert_eq!(takes(Duration::ZERO, || queue.get_timeout(Duration::ZERO)).unwrap(), None);
}

#[test]
fn test_fork() {
    let _watchdog = watchdog(60);
    let queue = Queue::new();
    queue.put_many(0..10).unwrap();
    let child = |queue: Queue<u32>| (10..20).for_each(|item| queue.put(item).unwrap());
    let process = Process::spawn(child, (queue.clone(),)).unwrap();
    for expected in 0..20 {
        assert_eq!(queue.get().unwrap(), expected);
    }
    assert_eq!(queue.try_get().unwrap(), None);
    process.join().unwrap();
}

#[test]
fn test_qsize() {
    let queue = Queue::new();
    assert_eq!(queue.len(), 0);
    queue.put(1).unwrap();
    assert_eq!(queue.len(), 1);
    queue.put(5).unwrap();
    assert_eq!(queue.len(), 2);
    queue.get().unwrap();
    assert_eq!(queue.len(), 1);
    queue.get().unwrap();
    assert_eq!(queue.len(), 0);
}

#[test]
fn test_task_done() {
    let _watchdog = watchdog(60);
    let queue = JoinableQueue::<Option<u64>>::new();
    let work = |queue: JoinableQueue<Option<u64>>| {
        while let Some(millis) = *queue.get().unwrap() {
            std::thread::sleep(Duration::from_millis(millis));
        }
    };
    let workers: Vec<_> = (0..4).map(|_| Process::spawn(work, (queue.clone(),)).unwrap()).collect();
    (0..10).for_each(|_| queue.put(Some(5)).unwrap());
    queue.join().unwrap();
    assert!(queue.is_empty());
    workers.iter().for_each(|_| queue.put(None).unwrap());
    join_all(workers).unwrap();
    queue.join().unwrap();
}

/// Refuses to be serialised if told so.
#[derive(Debug, Deserialize)]
struct Picky(bool);

impl Serialize for Picky {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 { Err(serde::ser::Error::custom("as a test")) } else { self.0.serialize(serializer) }
    }
}

#[test]
fn test_queue_feeder_donot_stop_onexc() {
    let queue = Queue::bounded(1);
    // Here the error comes out of `put`.
    assert!(queue.put(Picky(true)).unwrap_err().is_encode());
    assert_eq!(queue.len(), 0);
    queue.put(Picky(false)).unwrap();
    assert!(!queue.get_timeout(SOON).unwrap().unwrap().0);
    assert!(queue.is_empty());
}

#[test]
fn test_closed_queue_put_get_exceptions() {
    let queue = Queue::new();
    queue.close().unwrap();
    assert!(queue.put(1).unwrap_err().is_closed());
    assert!(queue.get().unwrap_err().is_closed());
    let queue = JoinableQueue::new();
    queue.close().unwrap();
    assert!(queue.put(1).unwrap_err().is_closed());
    assert!(queue.get().unwrap_err().is_closed());
}

#[test]
fn test_empty() {
    let _watchdog = watchdog(60);
    let queue = SimpleQueue::new();
    assert!(queue.is_empty());
    let child = |queue: SimpleQueue<bool>| {
        let was_empty = queue.is_empty();
        queue.put(true).unwrap();
        queue.put(false).unwrap();
        was_empty
    };
    assert!(Process::spawn(child, (queue.clone(),)).unwrap().join().unwrap());
    assert!(!queue.is_empty());
    assert!(queue.get().unwrap());
    assert!(!queue.get().unwrap());
    assert!(queue.is_empty());
}

#[test]
fn test_close() {
    let queue = SimpleQueue::<u32>::new();
    queue.close().unwrap();
    // Closing twice does no harm.
    queue.close().unwrap();
}

#[test]
fn test_closed() {
    let queue = SimpleQueue::<u32>::new();
    queue.close().unwrap();
    assert!(queue.put(1).unwrap_err().is_closed() && queue.get().unwrap_err().is_closed());
}

#[test]
fn test_empty_exceptions() {
    // Python's `empty()` of a closed queue is an error, since its pipe is gone. Here the queue is there, and it is empty.
    let queue = SimpleQueue::<u32>::new();
    queue.close().unwrap();
    assert!(queue.is_empty());
}

/// `TestStdinBadfiledescriptor.test_queue_in_process`: a queue that a process makes for itself.
#[test]
fn test_queue_in_process() {
    let _watchdog = watchdog(60);
    let child = || {
        let queue = Queue::new();
        queue.put(1).unwrap();
        queue.get().unwrap()
    };
    assert_eq!(Process::spawn(child, ()).unwrap().join().unwrap(), 1);
}

/// What hangs in Python: a process that has put more than a pipe holds is joined before anybody reads it.
#[test]
fn join_before_get() {
    let _watchdog = watchdog(60);
    let queue = Queue::new();
    let child = |queue: Queue<Vec<u8>>| queue.put(vec![1; 100 << 20]).unwrap();
    Process::spawn(child, (queue.clone(),)).unwrap().join().unwrap();
    assert_eq!(queue.get().unwrap().len(), 100 << 20);
}
