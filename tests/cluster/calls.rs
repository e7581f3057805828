//! Calls that go to other nodes, as long as nothing goes wrong there.

use crate::common::journal::{self, Journal};
use crate::common::proc::eventually;
use crate::common::watchdog::watchdog;
use multiproc::cluster::Command;
use multiproc::{Error, Event, Pool, RawValue, SharedMemory, TaskError, current_task};
use std::time::Duration;

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

#[test]
fn a_task_knows_how_often_it_was_begun_and_whether_anybody_waits_for_it() {
    let _watchdog = watchdog(180);
    let pool = two();
    let third = |x: u64| {
        let attempt = current_task().unwrap().attempt();
        assert!(x % 10 != 7 || attempt == 3, "not yet");
        attempt
    };
    for chunk in [1, 7] {
        let seen = pool.tasks(third, 0..50u64).chunksize(chunk).retries(2).run().unwrap();
        assert_eq!(seen, (0..50).map(|x| if x % 10 == 7 { 3 } else { 1 }).collect::<Vec<u32>>());
    }
    // A soft limit.
    let until_told = |x: u64| (x, current_task().unwrap().cancelled_within(Duration::from_secs(1000)));
    let told = pool.tasks(until_told, 0..4u64).soft_timeout(Duration::from_millis(20)).run().unwrap();
    assert_eq!(told, [(0, true), (1, true), (2, true), (3, true)]);
    // It is over while the context is still on its way.
    let context = vec![7u8; 32 << 20];
    let until_told = |context: &Vec<u8>, _: u64| {
        context.len() == 32 << 20 && current_task().unwrap().cancelled_within(Duration::from_secs(1000))
    };
    let call = pool.with(&context).tasks(until_told, 0..2u64).soft_timeout(Duration::from_millis(1));
    assert_eq!(call.run().unwrap(), [true; 2]);
    assert_eq!(pool.map(|_: u64| current_task().unwrap().is_cancelled(), 0..8).unwrap(), [false; 8]);
    // A call that is given up: its workers are free again. What the pool takes for begun may still be on its way.
    let journal = Journal::new();
    let on = Command::new("{agent}").nodes(2).workers(1);
    let pool =
        Pool::builder().on(on).at_least(2).initializer(journal::open_in_worker, (journal.path(),)).build().unwrap();
    let tell = |x: u64| {
        journal::write(0, x);
        current_task().unwrap().cancelled();
    };
    let given_up = pool.map_async(tell, 0..2u64).unwrap();
    assert!(eventually(Duration::from_secs(20), || journal.read().len() == 2));
    drop(given_up);
    assert_eq!(pool.map(|x: u64| x + 1, 0..8).unwrap(), (1..9).collect::<Vec<u64>>());
}

#[test]
fn what_means_something_on_one_machine_alone_is_refused_by_calls_of_every_kind() {
    let _watchdog = watchdog(180);
    let pool = two();
    let (event, number) = (Event::new(), RawValue::new(0u64));
    let named = SharedMemory::create(None, 64).unwrap();
    let set = |event: Event| event.set();
    let look = |memory: SharedMemory| memory.size();
    let check = |error: Error| {
        let is_encode = error.task().is_none_or(TaskError::is_encode);
        assert!(is_encode && error.to_string().contains("another machine"), "{error}");
    };
    check(pool.apply(set, (event.clone(),)).unwrap_err());
    check(pool.map(look, [named.clone()]).unwrap_err());
    check(pool.map_async(set, [event.clone()]).unwrap().get().unwrap_err().into());
    check(pool.with(&number).tasks(|number: &RawValue<u64>, x: u64| number.get() + x, [1u64]).run().unwrap_err());
    check(pool.on_each_worker(set, (event.clone(),)).run().unwrap_err());
    check(pool.on_each_worker(look, (named,)).run().unwrap_err());
    assert!(!event.is_set());
}
