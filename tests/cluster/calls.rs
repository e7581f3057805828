//! Calls that go to other nodes, as long as nothing goes wrong there.

use crate::common::watchdog::watchdog;
use multiproc::Pool;
use multiproc::cluster::Command;

/// A pool of two agents on this machine, with a worker each.
fn two() -> Pool {
    Pool::builder().on(Command::new("{agent}").nodes(2).workers(1)).at_least(2).build().unwrap()
}

#[test]
fn calls_are_what_they_are_on_one_machine() {
    let _watchdog = watchdog(180);
    let pool = two();
    assert_eq!(pool.processes(), 2);
    assert_eq!(pool.apply(u64::pow, (2, 10)).unwrap(), 1024);
    assert_eq!(pool.map(|x: u64| x * x, 0..10_000).unwrap(), (0..10_000).map(|x| x * x).collect::<Vec<u64>>());
}
