//! What tasks do: orders, some of which do harm, and the dice that chooses them.

use multiproc::RawArray;
use rustix::process::{Signal, getpid, kill_process};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Whether there is a calm now.
pub(crate) static IS_CALM: AtomicBool = AtomicBool::new(false);

pub(crate) fn is_calm() -> bool {
    IS_CALM.load(Relaxed)
}

// What a task does, as the first part of its order.
pub(crate) const ANSWER: u8 = 0;
pub(crate) const SPIN: u8 = 1;
pub(crate) const NAP: u8 = 2;
pub(crate) const FAIL: u8 = 3;
pub(crate) const PANIC: u8 = 4;
pub(crate) const CRASH: u8 = 5;
pub(crate) const EXIT: u8 = 6;
pub(crate) const HANG: u8 = 7;

/// A task: what to do, and a number.
pub(crate) type Order = (u8, u64);

pub(crate) fn answer_to(number: u64) -> u64 {
    number.wrapping_mul(31) + 7
}

pub(crate) fn work(order: Order) -> u64 {
    let (deed, number) = order;
    match deed {
        SPIN => {
            let start = Instant::now();
            while start.elapsed() < Duration::from_micros(number % 10) {}
        }
        NAP => std::thread::sleep(Duration::from_micros(100 + number % 1_000)),
        FAIL | PANIC => panic!("task {number} panics"),
        CRASH => drop(kill_process(getpid(), Signal::KILL)),
        EXIT => std::process::exit(3),
        HANG => std::thread::sleep(Duration::from_secs(3_600)),
        _ => {}
    }
    answer_to(number)
}

pub(crate) fn try_work(order: Order) -> Result<u64, String> {
    if order.0 == FAIL { Err(format!("task {} fails", order.1)) } else { Ok(work(order)) }
}

/// Its result is read by code that may take long and run outside of the pool's lock, as that of any `Deserialize`.
pub(crate) fn work_at_length(order: Order) -> String {
    let length = if order.1 % 200 == 0 { 20_000 } else { 10 };
    format!("{:>length$}", work(order))
}

pub(crate) fn work_apart(deed: u8, number: u64) -> u64 {
    work((deed, number))
}

/// Marks that it was started.
pub(crate) fn work_marked(marks: &RawArray<u32>, (at, order): (u32, Order)) -> u64 {
    marks.fetch_add(at as usize, 1);
    work(order)
}

/// Random numbers, the same ones for the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    pub(crate) fn chance(&mut self, one_in: u64) -> bool {
        self.throw(one_in) == 0
    }

    /// Orders of a call: how many is uneven, and few do harm.
    pub(crate) fn orders(&mut self, most: u64) -> Vec<Order> {
        let count = match self.throw(4) {
            0 => self.throw(4),
            1 => self.throw(most / 20 + 1),
            _ => self.throw(most),
        };
        let harmful = self.chance(3) && !is_calm();
        let harm_one_in = 100.max(count / 5);
        let kind = self.throw(8);
        let order = |_| {
            let deed = match kind {
                0 => SPIN,
                1 if count < 200 => NAP,
                _ => ANSWER,
            };
            let deed = if harmful && self.chance(harm_one_in) { FAIL + self.throw(4) as u8 } else { deed };
            (deed, self.throw(1 << 40))
        };
        (0..count).map(order).collect()
    }
}
