//! What a queue promises while nobody dies.

use super::common::alone::alone;
use super::common::proc::{books_are_in_order, eventually};
use super::common::watchdog::watchdog;
use multiproc::{GetError, Pool, Process, Queue, join_all, shared_memory_report};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn all<T>(items: Vec<Result<T, GetError>>) -> Vec<T> {
    items.into_iter().map(Result::unwrap).collect()
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Nothing,
    Circle { radius: f64 },
    Polygon(Vec<(i32, i32)>),
    Named(String, Box<Shape>),
}

#[test]
fn values_of_all_kinds_and_sizes_come_out_as_they_went_in() {
    fn through<T: multiproc::Payload + PartialEq + std::fmt::Debug + Clone>(values: Vec<T>) {
        for queue in [Queue::new(), Queue::bounded(values.len().max(1))] {
            let echo = |from: Queue<T>, to: Queue<T>| {
                while let Ok(value) = from.get() {
                    to.put(value).unwrap();
                }
            };
            let back = Queue::new();
            let other = Process::spawn(echo, (queue.clone(), back.clone())).unwrap();
            for value in &values {
                queue.put(value.clone()).unwrap();
            }
            queue.close().unwrap();
            other.join().unwrap();
            assert_eq!(back.len(), values.len());
            assert_eq!(all(back.try_get_many(values.len()).unwrap()), values);
        }
    }
    let _watchdog = watchdog(120);
    through((0..3000).collect::<Vec<u64>>());
    through(vec![i128::MIN, -1, i128::MAX]);
    through(vec![(), ()]);
    through(vec![true, false, true]);
    through(vec!['a', '\u{10ffff}']);
    through((0..200).map(|len| "x".repeat(len)).collect());
    through((0..30).map(|size| vec![size as u8; 1 << (size % 21)]).collect::<Vec<_>>());
    through(vec![vec![1.5f32; 3], Vec::new(), vec![f32::MIN; 100_000]]);
    let named = Shape::Named("big".repeat(40_000), Box::new(Shape::Polygon(vec![(1, -1); 9])));
    through(vec![
        Shape::Nothing,
        Shape::Circle { radius: 0.5 },
        Shape::Polygon(vec![(1, 2); 3]),
        named,
        Shape::Nothing,
    ]);
    through(vec![(1u8, Some("text".to_owned()), [1u64; 20])]);
}

#[test]
fn first_in_first_out_and_exact() {
    let _watchdog = watchdog(60);
    let queue = Queue::bounded(3);
    assert!(queue.is_empty() && !queue.is_full());
    for len in 1..=3 {
        queue.put(len).unwrap();
        assert_eq!((queue.len(), queue.is_full()), (len, len == 3));
    }
    let error = queue.try_put(4).unwrap_err();
    assert!(error.is_full());
    assert_eq!((error.into_inner(), queue.capacity()), (4, 3));
    let start = Instant::now();
    assert!(queue.put_timeout(4, millis(60)).unwrap_err().is_full());
    assert!(start.elapsed() >= millis(60));
    let rest = queue.try_put_many([4, 5]).unwrap_err();
    assert!(rest.is_full());
    assert_eq!(rest.into_inner(), [4, 5]);
    assert_eq!(queue.get().unwrap(), 1);
    assert_eq!(queue.put_many_timeout([4, 5], millis(1)).unwrap_err().into_inner(), [5]);
    assert_eq!(all(queue.get_many(2).unwrap()), [2, 3]);
    assert_eq!(queue.get_timeout(millis(1)).unwrap(), Some(4));
    assert_eq!(queue.try_get().unwrap(), None);
    let start = Instant::now();
    assert_eq!(queue.get_timeout(millis(60)).unwrap(), None);
    assert!(queue.get_many_timeout(9, millis(60)).unwrap().is_empty());
    assert!(start.elapsed() >= millis(120));
    assert!(queue.try_get_many(9).unwrap().is_empty() && queue.get_many(0).unwrap().is_empty());
    assert_eq!(format!("{queue:?}"), "Queue(len=0, closed=false)");
}

#[test]
fn a_queue_without_room_is_refused() {
    assert!(Queue::<u64>::try_bounded(0).unwrap_err().is_invalid_argument());
    assert!(Queue::<u64>::try_bounded(usize::MAX).unwrap_err().is_shared_memory());
    assert!(Queue::<u64>::try_bounded(1 << 50).unwrap_err().is_shared_memory());
}

#[test]
fn what_was_put_outlives_its_process() {
    let _watchdog = watchdog(60);
    let queue = Queue::<(u32, Vec<u8>, Queue<String>)>::new();
    let make = |queue: Queue<(u32, Vec<u8>, Queue<String>)>| {
        for at in 0..20 {
            let inner = Queue::bounded(2);
            inner.put(format!("in {at}")).unwrap();
            inner.put("long ".repeat(1000)).unwrap();
            queue.put((at, vec![at as u8; 100_000], inner)).unwrap();
        }
    };
    // Python would wait here for ever, since nobody takes what the child has put.
    Process::spawn(make, (queue.clone(),)).unwrap().join().unwrap();
    for expected in 0..20 {
        let (at, bytes, inner) = queue.get().unwrap();
        assert_eq!((at, bytes.len(), bytes[99_999]), (expected, 100_000, expected as u8));
        assert_eq!(inner.get().unwrap(), format!("in {at}"));
        assert_eq!(inner.get().unwrap().len(), 5000);
    }
}

#[test]
fn who_waits_is_woken() {
    let _watchdog = watchdog(60);
    let (there, back) = (Queue::<u64>::bounded(1), Queue::<u64>::new());
    let echo = |there: Queue<u64>, back: Queue<u64>| {
        while let Ok(item) = there.get() {
            back.put(item).unwrap();
        }
    };
    let other = Process::spawn(echo, (there.clone(), back.clone())).unwrap();
    for item in 0..200 {
        if item % 50 == 0 {
            // Long enough that the other side sleeps.
            std::thread::sleep(millis(5));
        }
        there.put(item).unwrap();
        assert_eq!(back.get().unwrap(), item);
    }
    there.close().unwrap();
    other.join().unwrap();
}

#[test]
fn many_producers_and_consumers() {
    const EACH: u64 = 2000;
    let _watchdog = watchdog(120);
    for queue in [Queue::<(u32, u64)>::bounded(7), Queue::new()] {
        let sums = Queue::<(u64, u64)>::new();
        let produce = |queue: Queue<(u32, u64)>, who: u32| (0..EACH).for_each(|it| queue.put((who, it)).unwrap());
        let consume = |queue: Queue<(u32, u64)>, sums: Queue<(u64, u64)>| {
            let (mut sum, mut count, mut last) = (0, 0, [None; 4]);
            while let Ok((who, it)) = queue.get() {
                assert!(last[who as usize].is_none_or(|last| last < it), "out of order");
                last[who as usize] = Some(it);
                sum += it;
                count += 1;
            }
            sums.put((count, sum)).unwrap();
        };
        let producers: Vec<_> = (0..4).map(|who| Process::spawn(produce, (queue.clone(), who)).unwrap()).collect();
        let consumers: Vec<_> =
            (0..4).map(|_| Process::spawn(consume, (queue.clone(), sums.clone())).unwrap()).collect();
        join_all(producers).unwrap();
        queue.close().unwrap();
        join_all(consumers).unwrap();
        let sums = all(sums.get_many(4).unwrap());
        let all = sums.iter().fold((0, 0), |all, it| (all.0 + it.0, all.1 + it.1));
        assert_eq!(all, (4 * EACH, 4 * EACH * (EACH - 1) / 2));
    }
}

#[test]
fn closing_wakes_all_who_wait() {
    let _watchdog = watchdog(60);
    let (empty, full) = (Queue::<u64>::new(), Queue::<u64>::bounded(1));
    full.put(1).unwrap();
    let get = |queue: Queue<u64>| queue.get().unwrap_err().is_closed();
    let put = |queue: Queue<u64>| queue.put(2).unwrap_err().is_closed();
    let getters: Vec<_> = (0..2).map(|_| Process::spawn(get, (empty.clone(),)).unwrap()).collect();
    let putters: Vec<_> = (0..2).map(|_| Process::spawn(put, (full.clone(),)).unwrap()).collect();
    std::thread::sleep(millis(50));
    empty.close().unwrap();
    full.close().unwrap();
    full.close().unwrap();
    for process in getters.into_iter().chain(putters) {
        assert!(process.join().unwrap());
    }
    assert!(full.is_closed() && full.try_put(3).unwrap_err().is_closed());
    assert_eq!(full.get().unwrap(), 1);
    assert!(full.try_get().unwrap_err().is_closed());
}

/// The memory that the shared heap takes, in bytes.
fn memory() -> i64 {
    let is_heap = |entry: &std::fs::DirEntry| {
        std::fs::read_link(entry.path()).is_ok_and(|it| it.to_string_lossy().contains("multiproc-heap"))
    };
    let heap = std::fs::read_dir("/proc/self/fd").unwrap().map(Result::unwrap).find(is_heap).unwrap();
    std::fs::metadata(heap.path()).unwrap().blocks() as i64 * 512
}

#[test]
fn memory_comes_and_goes_with_the_items() {
    if !alone("queue::memory_comes_and_goes_with_the_items") {
        return;
    }
    let _watchdog = watchdog(120);
    let queue = Queue::<u64>::new();
    let before = memory();
    for round in 0..2 {
        (0..300_000).for_each(|item| queue.put(item).unwrap());
        let grown = memory() - before;
        assert!((4_800_000..6_500_000).contains(&grown), "round {round}: {grown}");
        for item in 0..300_000 {
            assert_eq!(queue.get().unwrap(), item);
        }
        let left = memory() - before;
        assert!(left < 1_000_000, "round {round}: {left}");
    }
    let large = Queue::<Vec<u8>>::new();
    (0..100).for_each(|_| large.put(vec![1; 1 << 20]).unwrap());
    assert!(memory() - before > 100 << 20);
    // Some of it waits for the next items, as long as the queues are there.
    large.get_many(100).unwrap();
    assert!(memory() - before < 40 << 20, "what lay in the queue is still there");
    (0..100).for_each(|_| large.put(vec![1; 1 << 20]).unwrap());
    drop((queue, large));
    assert!(memory() - before < 1 << 20, "what lay in the queue is still there");
}

#[test]
fn a_thousand_queues_take_no_descriptors_and_little_memory() {
    if !alone("queue::a_thousand_queues_take_no_descriptors_and_little_memory") {
        return;
    }
    let first = Queue::<String>::new();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = (descriptors(), memory());
    let queues: Vec<_> = (0..1000).map(|_| Queue::<String>::new()).collect();
    for queue in &queues {
        queue.put("hello".to_owned()).unwrap();
    }
    assert_eq!(descriptors(), before.0);
    let each = (memory() - before.1) / 1000;
    assert!(each <= 16 << 10, "{each} bytes each");
    drop((first, queues));
}

#[test]
fn the_books_come_out_when_all_is_gone() {
    if !alone("queue::the_books_come_out_when_all_is_gone") {
        return;
    }
    let _watchdog = watchdog(120);
    let pool = Pool::new(2).unwrap();
    let quiet = |pool: &Pool| {
        pool.map(|_: u32| (), 0..8).unwrap();
        shared_memory_report().unwrap()
    };
    let before = quiet(&pool);
    for _ in 0..5 {
        let queue = Queue::<Queue<Vec<u64>>>::new();
        let fill = |queue: Queue<Queue<Vec<u64>>>| {
            let inner = Queue::new();
            inner.put(vec![1; 1000]).unwrap();
            inner.put(vec![1; 100_000]).unwrap();
            queue.put(inner).unwrap();
        };
        (0..10).for_each(|_| pool.apply(fill, (queue.clone(),)).unwrap());
        let inner = queue.get().unwrap();
        assert_eq!(inner.get().unwrap().len(), 1000);
        // The rest goes with the queue, and with what lies in it.
        assert_eq!(queue.len(), 9);
    }
    let is_as_before = || {
        let now = quiet(&pool);
        now.damage.is_empty() && (now.blocks, now.bytes, now.lost) == (before.blocks, before.bytes, before.lost)
    };
    assert!(eventually(Duration::from_secs(20), is_as_before), "{before:?} {:?}", quiet(&pool));
    assert!(books_are_in_order());
}
