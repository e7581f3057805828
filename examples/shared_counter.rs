//! Counts hits from many processes: under a lock, and without one.
//!
//!     cargo run --release --example shared_counter
//!     cargo run --release --example shared_counter -- --size 1000000 --workers 8
//!     cargo run --release --example shared_counter -- --wrong
//!
//! A `Value` can be changed under its lock only, so that no hit is lost. A `RawValue` has no lock: its `fetch_add` is one step,
//! and the cheapest way. To read it, add, and write it back are two steps, between which others may write: `--wrong` shows
//! how many hits that loses.

use multiproc::{Process, RawValue, Value, join_all};
use std::time::{Duration, Instant};

fn locked(counter: Value<u64>, hits: u64) -> multiproc::Result<()> {
    for _ in 0..hits {
        *counter.lock()? += 1;
    }
    Ok(())
}

fn atomic(counter: RawValue<u64>, hits: u64) -> multiproc::Result<()> {
    for _ in 0..hits {
        counter.fetch_add(1);
    }
    Ok(())
}

fn wrong(counter: RawValue<u64>, hits: u64) -> multiproc::Result<()> {
    for _ in 0..hits {
        counter.set(counter.get() + 1);
    }
    Ok(())
}

/// How long it takes until all of them have ended.
fn run(start: impl Fn() -> multiproc::Result<Process<()>>, workers: u64) -> multiproc::Result<Duration> {
    let begin = Instant::now();
    join_all((0..workers).map(|_| start()).collect::<Result<Vec<_>, _>>()?)?;
    Ok(begin.elapsed())
}

fn flag(name: &str, default: u64) -> u64 {
    let Some(text) = std::env::args().skip_while(|it| it != name).nth(1) else { return default };
    text.parse().unwrap_or_else(|_| {
        eprintln!("shared_counter: {name} needs a number, not `{text}`");
        std::process::exit(1)
    })
}

fn main() -> multiproc::Result<()> {
    let (hits, workers) = (flag("--size", 200_000), flag("--workers", 4));

    let counter = Value::new(0);
    let took = run(|| Process::try_spawn(locked, (counter.clone(), hits)), workers)?;
    let count = counter.get()?;
    assert_eq!(count, workers * hits);
    println!("under a lock: {count} of {}, {took:.1?}", workers * hits);

    let counter = RawValue::new(0);
    let took = run(|| Process::try_spawn(atomic, (counter.clone(), hits)), workers)?;
    let count = counter.get();
    assert_eq!(count, workers * hits);
    println!("without a lock: {count} of {}, {took:.1?}", workers * hits);

    if std::env::args().any(|it| it == "--wrong") {
        let counter = RawValue::new(0);
        let took = run(|| Process::try_spawn(wrong, (counter.clone(), hits)), workers)?;
        println!("by a read and a write: {} of {}, {took:.1?}", counter.get(), workers * hits);
    }
    Ok(())
}
