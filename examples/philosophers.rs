//! The dining philosophers, whose forks are queues: a fork lies on the table as the one item of its queue.
//!
//!     cargo run --release --example philosophers
//!
//! `-- --philosophers 5 --meals 200` are the defaults. Each philosopher is a process, and needs the forks on both sides. If all
//! took the left one first, each could wait for the right one for ever. Three ways out, one after the other: take the fork
//! with the lower number first; have a waiter admit all but one to the table; put the fork back if the other does not come.

use multiproc::{Process, Queue, RawArray, join_all};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
enum Way {
    LowerForkFirst,
    Waiter,
    PutBack,
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Table {
    forks: Vec<Queue<()>>,
    /// Tokens of those who may sit down: one fewer than there are philosophers.
    seats: Queue<()>,
    meals: RawArray<u64>,
}

fn dine(table: Table, who: usize, meals: u64, way: Way) -> multiproc::Result<()> {
    let count = table.forks.len();
    let (left, right) = (&table.forks[who], &table.forks[(who + 1) % count]);
    for _ in 0..meals {
        match way {
            Way::LowerForkFirst => {
                // The last philosopher's right fork is number 0.
                let (first, second) = if who + 1 == count { (right, left) } else { (left, right) };
                first.get()?;
                second.get()?;
            }
            Way::Waiter => {
                table.seats.get()?;
                left.get()?;
                right.get()?;
            }
            Way::PutBack => loop {
                left.get()?;
                if right.get_timeout(Duration::from_micros(200 + 100 * who as u64))?.is_some() {
                    break;
                }
                left.put(())?;
            },
        }
        table.meals.set(who, table.meals.get(who) + 1);
        left.put(())?;
        right.put(())?;
        if matches!(way, Way::Waiter) {
            table.seats.put(())?;
        }
    }
    Ok(())
}

fn main() -> multiproc::Result<()> {
    let (philosophers, meals) = (argument("--philosophers", 5), argument("--meals", 200));
    for way in [Way::LowerForkFirst, Way::Waiter, Way::PutBack] {
        let start = Instant::now();
        let forks: Result<Vec<_>, _> = (0..philosophers).map(|_| Queue::try_bounded(1)).collect();
        let seats = Queue::try_bounded(philosophers)?;
        let table = Table { forks: forks?, seats, meals: RawArray::try_new(philosophers)? };
        table.forks.iter().try_for_each(|fork| fork.put(()))?;
        table.seats.put_many(vec![(); philosophers - 1])?;
        let crew: Result<Vec<_>, _> =
            (0..philosophers).map(|who| Process::try_spawn(dine, (table.clone(), who, meals as u64, way))).collect();
        join_all(crew?)?;
        assert_eq!(table.meals.read(..), vec![meals as u64; philosophers], "somebody went hungry");
        assert!(table.forks.iter().all(Queue::is_full), "a fork is gone");
        println!("{way:?}: {philosophers} philosophers have eaten {meals} times each");
        println!("{:.1?}", start.elapsed());
    }
    Ok(())
}

/// The number behind an argument.
fn argument(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().and_then(|value| value.parse().ok()).unwrap_or(default)
}
