//! Shared memory under fire: processes take and drop blocks at random while some of them are killed; then the books of the
//! heap are checked.
//!
//!     cargo run --release --example churn
//!     cargo run --release --example churn -- --millions 10
//!
//! Ends with exit code 1 if anything is wrong: more than one block lost per kill, or damage in the tables.

use multiproc::{Array, Lock, Process, RawArray, RawValue, SharedMemoryReport, Value, shared_memory_report};
use std::time::{Duration, Instant};

const PROCESSES: usize = 4;

/// Takes and drops blocks of all sizes at random until all processes together have done so `goal` times.
fn churn(done: RawValue<u64>, goal: u64, seed: u64) {
    let mut random = seed;
    let mut below = |limit: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % limit
    };
    let (mut locks, mut values, mut arrays): (Vec<Lock>, Vec<Value<u64>>, Vec<RawArray<u8>>) = Default::default();
    loop {
        for _ in 0..100 {
            match below(8) {
                0 | 1 => locks.push(Lock::new()),
                2 => values.push(Value::new(below(1000))),
                3 => arrays.push(RawArray::new(1 + below(20_000) as usize)),
                4 => drop(locks.pop()),
                5 => drop(values.pop()),
                6 => drop(arrays.pop()),
                _ if below(20) == 0 => drop(Array::<u64>::new(1 + below(100_000) as usize)),
                _ => drop(Lock::new().lock().expect("a new lock")),
            }
        }
        locks.truncate(300);
        values.truncate(300);
        arrays.truncate(50);
        if done.fetch_add(100) >= goal {
            return;
        }
    }
}

fn main() -> multiproc::Result<()> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--millions").skip(1);
    let millions: f64 = arguments.next().and_then(|value| value.parse().ok()).unwrap_or(1.0);
    let goal = (millions * 1e6) as u64;
    let done = RawValue::new(0u64);
    let before = shared_memory_report()?;
    let start = Instant::now();
    let mut seed = 0;
    let mut spawn = || {
        seed += 1;
        Process::spawn(churn, (done.clone(), goal, seed))
    };
    let mut crew = (0..PROCESSES).map(|_| spawn()).collect::<Result<Vec<_>, _>>()?;
    let mut kills = 0;
    while done.get() < goal {
        std::thread::sleep(Duration::from_millis(20));
        let victim = kills % PROCESSES;
        crew[victim].kill();
        kills += 1;
        let fresh = spawn()?;
        // A process that was killed has no result; one that had just finished has.
        let _ = std::mem::replace(&mut crew[victim], fresh).join();
    }
    multiproc::join_all(crew)?;
    // What a process held is released a moment after its end.
    let settled = Instant::now() + Duration::from_secs(10);
    let in_order = |after: &SharedMemoryReport| after.lost <= before.lost + kills && after.blocks <= before.blocks;
    let mut after = shared_memory_report()?;
    while !in_order(&after) && Instant::now() < settled {
        std::thread::sleep(Duration::from_millis(10));
        after = shared_memory_report()?;
    }
    println!("{} blocks taken and dropped in {:.1} s, {kills} kills", done.get(), start.elapsed().as_secs_f64());
    println!("{} blocks lost, {} held, {} complaints", after.lost, after.blocks, after.damage.len());
    if !in_order(&after) || !after.damage.is_empty() {
        eprintln!("the books are not in order: {after:?}, before: {before:?}");
        std::process::exit(1);
    }
    Ok(())
}
