//! Who drives when: every thread that leaves the driver's seat leaves somebody in it if anything is under way.

use super::common::links::{on_each_pool, on_ring_pool};
use multiproc::Pool;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::mpsc;
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
