//! Several producers, several consumers, and a queue between them that never holds more than a few items.
//!
//!     cargo run --release --example producer_consumer
//!
//! `-- --producers 4 --consumers 4 --items 50000 --bound 10` are the defaults. Each producer makes its share of the items,
//! each consumer adds up what it gets; when all is put the queue is closed, which is how the consumers learn that nothing
//! more will come. The sum tells whether an item was lost, or came out twice.

use multiproc::{Process, Queue, join_all};
use std::time::Instant;

/// What a consumer has seen: how many items, their sum, and the most that were in the queue.
type Seen = (u64, u64, usize);

fn produce(queue: Queue<u64>, first: u64, count: u64) -> multiproc::Result<()> {
    for item in first..first + count {
        queue.put(item)?;
    }
    Ok(())
}

fn consume(queue: Queue<u64>) -> multiproc::Result<Seen> {
    let mut seen = (0, 0, 0);
    loop {
        match queue.get() {
            Ok(item) => seen = (seen.0 + 1, seen.1 + item, queue.len().max(seen.2)),
            Err(error) if error.is_closed() => return Ok(seen),
            Err(error) => return Err(error.into()),
        }
    }
}

fn main() -> multiproc::Result<()> {
    let (producers, consumers) = (argument("--producers", 4), argument("--consumers", 4));
    let (items, bound) = (argument("--items", 50_000), argument("--bound", 10));
    let share = items / producers;
    let start = Instant::now();
    let queue = Queue::try_bounded(bound as usize)?;
    let put: Result<Vec<_>, _> =
        (0..producers).map(|it| Process::try_spawn(produce, (queue.clone(), it * share, share))).collect();
    let got: Result<Vec<_>, _> = (0..consumers).map(|_| Process::try_spawn(consume, (queue.clone(),))).collect();
    join_all(put?)?;
    queue.close()?;
    let seen = join_all(got?)?;
    let count: u64 = seen.iter().map(|it| it.0).sum();
    let sum: u64 = seen.iter().map(|it| it.1).sum();
    let most = seen.iter().map(|it| it.2).max().unwrap_or(0);
    let all = producers * share;
    assert_eq!((count, sum), (all, all * (all - 1) / 2), "an item was lost, or came out twice");
    assert!(most <= bound as usize, "{most} items were in the queue");
    println!("{producers} producers, {consumers} consumers: {count} items, their sum is {sum}");
    println!("{:.1?}, and never more than {bound} items in the queue", start.elapsed());
    Ok(())
}

/// The number behind an argument.
fn argument(name: &str, default: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().and_then(|value| value.parse().ok()).unwrap_or(default)
}
