//! Who drives when: every thread that leaves the driver's seat leaves somebody in it if anything is under way.

use super::common::links::{on_each_link, on_each_pool, on_ring_pool};
use super::common::proc::{eventually, is_alive};
use multiproc::Pool;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::RefCell;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

fn sleep(ms: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    ms
}

const SOON: Duration = Duration::from_secs(10);

/// Makes a call on another thread, which comes second to the seat, and checks that it ends.
fn while_another_waits(pool: &Pool, ms: u64, first: impl FnOnce()) {
    std::thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            tell.send(pool.apply(sleep, (ms,)).unwrap()).unwrap();
        });
        first();
        assert_eq!(told.recv_timeout(SOON), Ok(ms), "nobody drives");
    });
}

#[test]
fn a_wait_that_times_out_hands_over() {
    on_each_pool(2, 60, |pool| {
        let mut long = pool.apply_async(sleep, (600,)).unwrap();
        while_another_waits(pool, 300, || assert!(long.get_timeout(Duration::from_millis(100)).is_none()));
        let mut stream = pool.imap(sleep, [600, 0]);
        while_another_waits(pool, 300, || assert!(stream.next_timeout(Duration::from_millis(100)).is_pending()));
        assert_eq!(stream.next().unwrap().unwrap(), 600);
        long.wait();
    });
}

#[test]
fn a_call_that_has_ended_hands_over() {
    on_each_pool(2, 60, |pool| {
        let (tell, told) = mpsc::channel();
        let slow = pool.apply_async(sleep, (300,)).unwrap().callback(move |ms| tell.send(*ms).unwrap());
        assert_eq!(pool.apply_async(sleep, (50,)).unwrap().get().unwrap(), 50);
        assert_eq!(told.recv_timeout(SOON), Ok(300), "nobody drives");
        drop(slow);

        let (tell, told) = mpsc::channel();
        let slow = pool.apply_async(sleep, (300,)).unwrap().callback(move |ms| tell.send(*ms).unwrap());
        let mut stream = pool.imap(sleep, [50]);
        assert_eq!(stream.next().unwrap().unwrap(), 50);
        assert_eq!(told.recv_timeout(SOON), Ok(300), "nobody drives");
        drop(slow);
    });
}

/// Takes its time when it is read, with the pool's lock released.
#[derive(Debug, PartialEq)]
struct Slow(u64);

impl Serialize for Slow {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(out)
    }
}

impl<'de> Deserialize<'de> for Slow {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Slow, D::Error> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(50) {
            std::thread::yield_now();
        }
        u64::deserialize(input).map(Slow)
    }
}

#[test]
fn a_stream_that_is_topped_up_holds_the_seat() {
    on_ring_pool(2, 120, |pool| {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for (at, result) in (0..).zip(pool.tasks(|x: u64| Slow(x), 0..3_000).buffersize(8).iter()) {
                        assert_eq!(result.unwrap(), Slow(at));
                    }
                });
            }
        });
    });
}

/// Runs what [`ON_READ`] holds when it is read on this thread.
#[derive(Debug, PartialEq)]
struct Acting(u64);

type Action = Box<dyn FnOnce(&Pool) -> u64>;

thread_local! {
    static ON_READ: RefCell<Option<(Arc<Pool>, Action)>> = const { RefCell::new(None) };
}

impl Serialize for Acting {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(out)
    }
}

impl<'de> Deserialize<'de> for Acting {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Acting, D::Error> {
        let number = u64::deserialize(input)?;
        let action = ON_READ.take();
        Ok(Acting(action.map_or(number, |(pool, act)| act(&pool))))
    }
}

/// Reads results on this thread, and acts while it reads the first of them.
fn acting(pool: &Arc<Pool>, act: impl FnOnce(&Pool) -> u64 + 'static) -> u64 {
    ON_READ.set(Some((Arc::clone(pool), Box::new(act))));
    let results = pool.map(Acting, [1; 20]).unwrap();
    results.into_iter().map(|it| it.0).max().unwrap()
}

#[test]
fn reading_a_result_may_wait_for_the_pool_that_it_comes_from() {
    on_each_link(60, |builder| {
        let pool = Arc::new(builder().processes(2).build().unwrap());
        let earlier = pool.apply_async(sleep, (100,)).unwrap();
        assert_eq!(acting(&pool, |_| earlier.get().unwrap()), 100, "a result that was asked for earlier");
        assert_eq!(acting(&pool, |pool| pool.map(sleep, [5, 7]).unwrap()[1]), 7, "a call");
        let stream = |pool: &Pool| pool.imap(sleep, 0..50).map(Result::unwrap).max().unwrap();
        assert_eq!(acting(&pool, stream), 49, "a stream");
        let other = Arc::clone(&pool);
        let thread = move |_: &Pool| std::thread::spawn(move || other.apply(sleep, (9,)).unwrap()).join().unwrap();
        assert_eq!(acting(&pool, thread), 9, "another thread's call");
        let ending = |pool: &Pool| {
            pool.close();
            // The call that is being read has ended, or goes on meanwhile.
            pool.terminate();
            pool.join().unwrap();
            3
        };
        ON_READ.set(Some((Arc::clone(&pool), Box::new(ending))));
        let results = pool.map_each(Acting, [1; 20]);
        assert!(results.iter().any(|it| it.as_ref().is_ok_and(|it| it.0 == 3)), "the end of the pool");
    });
}

/// The last handle of a pool goes while a result is read on behalf of it: the wait for its workers is that of any thread.
#[test]
fn reading_a_result_may_drop_the_pool_that_it_comes_from() {
    on_each_link(60, |builder| {
        for _ in 0..5 {
            let pool = Arc::new(builder().processes(2).build().unwrap());
            let pids = pool.worker_pids();
            let later = pool.tasks(Acting, [1; 20]).submit().unwrap();
            let behind = pool.apply_async(sleep, (1,)).unwrap();
            let callback = pool.apply_async(Acting, (1,)).unwrap().callback(|_| ());
            assert!(eventually(SOON, || later.ready() && behind.ready() && callback.ready()));
            ON_READ.set(Some((pool, Box::new(|_| 3))));
            let results = later.get().unwrap();
            assert_eq!(results.into_iter().map(|it| it.0).max(), Some(3));
            assert!(eventually(SOON, || !pids.iter().any(|pid| is_alive(*pid))));
            // What has no pool any more has an outcome all the same.
            assert_eq!(behind.get().unwrap(), 1);
            assert_eq!(callback.get().unwrap(), Acting(1));
        }
    });
}

#[test]
fn reading_a_result_slowly_stops_nobody() {
    on_each_link(60, |builder| {
        let pool = Arc::new(builder().processes(2).build().unwrap());
        let (tell, told) = mpsc::channel();
        // Handed in before, and nobody waits in it.
        let notify = move |ms: &u64| tell.send(*ms).unwrap();
        let later = pool.apply_async(sleep, (200,)).unwrap().callback(notify);
        let other = Arc::clone(&pool);
        let act = move |_: &Pool| {
            let limit = Duration::from_millis(100);
            let limited = move || other.task(sleep, (1_000_000,)).timeout(limit).run().unwrap_err();
            let error = std::thread::spawn(limited).join().unwrap();
            assert!(error.task().unwrap().is_timeout(), "{error}");
            told.recv_timeout(SOON).expect("a callback")
        };
        assert_eq!(acting(&pool, act), 200);
        drop(later);
    });
}

/// Uses a pool when it is dropped.
struct Last(Pool, mpsc::Sender<Vec<u64>>);

impl Drop for Last {
    fn drop(&mut self) {
        let values = self.0.map(|x: u64| x + 1, 0..100).unwrap();
        self.1.send(values).unwrap();
    }
}

thread_local! {
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

/// What a thread keeps of its own, here and in this library, goes in any order when the thread ends.
#[test]
fn a_pool_may_be_used_while_thread_locals_are_dropped() {
    on_each_link(60, |builder| {
        for is_used_before in [false, true] {
            let pool = builder().processes(2).build().unwrap();
            let (tell, told) = mpsc::channel();
            let thread = std::thread::spawn(move || {
                if is_used_before {
                    assert_eq!(pool.apply(sleep, (0,)).unwrap(), 0);
                }
                LAST.set(Some(Last(pool, tell)));
            });
            thread.join().unwrap();
            assert_eq!(told.recv().unwrap(), (1..=100).collect::<Vec<_>>());
        }
    });
}
