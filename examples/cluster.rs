//! One pool on several nodes, what it says of them, and what happens when one is lost.
//!
//!     cargo run --release --example cluster --features cluster
//!     MULTIPROC_CLUSTER="command:ssh -T node1 {agent}" cargo run --release --example cluster --features cluster

use multiproc::cluster::{self, Command};
use multiproc::{Error, Pool};
use std::collections::BTreeMap;

/// How many steps the Collatz sequence of a number takes.
fn steps(start: u64) -> u32 {
    let (mut number, mut steps) = (start, 0);
    while number != 1 {
        number = if number % 2 == 0 { number / 2 } else { 3 * number + 1 };
        steps += 1;
    }
    steps
}

fn main() -> Result<(), Error> {
    // Without the variable: two agents on this machine.
    let nodes = match std::env::var_os("MULTIPROC_CLUSTER") {
        Some(_) => cluster::from_env()?,
        None => Command::new("{agent}").nodes(2).workers(1).into(),
    };
    let pool = Pool::builder().on(nodes).on_node(|event| println!("node: {event}")).build()?;

    let all = pool.map(steps, 1..100_000)?;
    let (longest, count) = all.iter().enumerate().max_by_key(|(_, count)| **count).expect("there are some");
    println!("{} takes {count} steps", longest + 1);
    assert_eq!((longest + 1, *count), (77_031, 350));

    let mut per_host = BTreeMap::new();
    for worker in pool.stats().workers {
        *per_host.entry(worker.host.unwrap_or_default()).or_insert(0) += worker.tasks;
    }
    println!("tasks per host: {per_host:?}");

    let error = pool.apply(|| std::process::abort(), ()).map(|(): ()| ()).unwrap_err();
    let task = error.task().expect("it is the failure of a task");
    println!("{task}");
    assert!(task.is_worker_lost() && task.may_have_run() && task.host().is_some());
    Ok(())
}
