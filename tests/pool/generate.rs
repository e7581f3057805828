//! Values that tasks give while they run.

use super::common::links::{HANDLES, on_each_link, on_each_pool, on_nodes, on_processes_and_threads};
use super::common::proc::eventually;
use super::common::watchdog::watchdog;
use multiproc::{Emit, Pool, RawValue, Result, TaskError, current_task};
use std::collections::HashMap;
use std::time::Duration;

fn count(to: u64, emit: &Emit<u64>) -> Result<()> {
    (0..to).try_for_each(|x| emit.send(x))
}

fn values(results: impl Iterator<Item = std::result::Result<u64, TaskError>>) -> Vec<u64> {
    results.collect::<std::result::Result<_, _>>().unwrap()
}

#[test]
fn values_come_in_the_order_of_the_items() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(2, 60, |pool| {
        for buffer in [1, 3, 64] {
            let items = [3, 0, 200, 1, 0, 50, 7];
            let expected: Vec<u64> = items.iter().flat_map(|to| 0..*to).collect();
            assert_eq!(values(pool.generate(count, items).buffer(buffer).iter()), expected);
        }
        assert!(values(pool.generate(count, []).iter()).is_empty());
        // Values of any type, and a `for` loop.
        let words =
            |text: String, emit: &Emit<String>| text.split(' ').for_each(|word| emit.send(word.to_owned()).unwrap());
        let mut all = Vec::new();
        for word in pool.generate(words, ["a b".to_owned(), "c".to_owned()]) {
            all.push(word.unwrap());
        }
        assert_eq!(all, ["a", "b", "c"]);
    });
}

#[test]
fn functions_get_their_context() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(60, |builder| {
        let pool = builder().processes(1).state(|| 100u64, ()).build().unwrap();
        let table = vec![5u64, 7, 9];
        let from_table =
            |table: &Vec<u64>, to: usize, emit: &Emit<u64>| table[..to].iter().try_for_each(|value| emit.send(*value));
        let with = pool.with(&table);
        assert_eq!(values(with.generate(from_table, [2, 0, 3]).iter()), [5, 7, 5, 7, 9]);
        // A context may have no size, and a function may return nothing.
        let letters = |text: &str, at: usize, emit: &Emit<char>| emit.send(text.chars().nth(at).unwrap()).unwrap();
        let all: String = pool.with("text").generate(letters, [3, 1]).iter().map(std::result::Result::unwrap).collect();
        assert_eq!(all, "te");
        // The state stays from task to task, and from call to call.
        let count = |state: &mut u64, by: u64, emit: &Emit<u64>| -> Result<()> {
            for _ in 0..2 {
                *state += by;
                emit.send(*state)?;
            }
            Ok(())
        };
        assert_eq!(values(pool.on_state().generate(count, [1, 10]).iter()), [101, 102, 112, 122]);
        let both = |(table, state): (&Vec<u64>, &mut u64), at: usize, emit: &Emit<u64>| {
            *state += table[at];
            emit.send(*state)
        };
        let call = pool.with(&table).on_state().generate(both, [0, 2]).priority(3).buffer(1);
        assert_eq!(values(call.iter()), [127, 136]);
        assert_eq!(pool.on_state().tasks(|state, ()| *state, [()]).run().unwrap(), [136]);
    });
}

#[test]
fn a_buffer_that_nothing_can_hold_is_refused_and_costs_the_pool_nothing() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(1, 60, |pool| {
        let ask = || pool.generate(count, [1]).buffer(usize::MAX).iter().next().map(|_| ());
        let refusal = std::panic::catch_unwind(std::panic::AssertUnwindSafe(ask)).unwrap_err();
        let text = refusal.downcast_ref::<String>().unwrap();
        assert!(text.contains("so large a queue does not fit into shared memory"), "{text}");
        assert_eq!(values(pool.generate(count, [2]).iter()), [0, 1]);
    });
}

#[test]
fn values_come_as_they_arrive_and_those_of_a_task_in_order() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(2, 60, |pool| {
        let tell = |task: u64, emit: &Emit<(u64, u64)>| (0..100).try_for_each(|x| emit.send((task, x)));
        for buffer in [1, 10] {
            let mut next = HashMap::new();
            for value in pool.generate(tell, 0..20).buffer(buffer).unordered() {
                let (task, x) = value.unwrap();
                let expected = next.entry(task).or_insert(0);
                assert_eq!(x, *expected);
                *expected += 1;
            }
            assert!(next.len() == 20 && next.values().all(|count| *count == 100), "{next:?}");
        }
        // One that has a value now is not held up by one that has none yet.
        let gate = RawValue::new(0u32);
        let wait = |(gate, waits): (RawValue<u32>, bool), emit: &Emit<bool>| {
            while waits && gate.get() == 0 {
                std::thread::yield_now();
            }
            emit.send(waits)
        };
        let mut values = pool.generate(wait, [(gate.clone(), true), (gate.clone(), false)]).unordered();
        assert!(!values.next().unwrap().unwrap());
        gate.set(1);
        assert!(values.next().unwrap().unwrap() && values.next().is_none());
    });
}

#[test]
fn a_worker_that_dies_gives_what_it_has_given_and_then_an_error() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(2, 60, |pool| {
        let die = |x: u64, emit: &Emit<u64>| {
            for value in 0..10 {
                if x == 1 && value == 5 {
                    std::process::abort();
                }
                emit.send(100 * x + value).unwrap();
            }
            assert!(x != 2, "on purpose");
            if x == 3 { Err("not three") } else { Ok(()) }
        };
        for ordered in [true, false] {
            let call = pool.generate(die, 0..5);
            let results: Vec<_> = if ordered { call.iter().collect() } else { call.unordered().collect() };
            for x in 0..5u64 {
                let of = |result: &std::result::Result<u64, TaskError>| match result {
                    Ok(value) => value / 100 == x,
                    Err(error) => error.index() == x,
                };
                let own: Vec<_> = results.iter().filter(|result| of(result)).collect();
                let given = own.iter().filter(|result| result.is_ok()).count();
                assert_eq!(given, if x == 1 { 5 } else { 10 }, "{results:?}");
                // Its error is the last that is heard of a task.
                let error = own.last().unwrap().as_ref().err();
                let kind = error.map(|error| (error.is_worker_lost(), error.is_panic(), error.is_error()));
                let expected =
                    [None, Some((true, false, false)), Some((false, true, false)), Some((false, false, true)), None];
                assert_eq!(kind, expected[x as usize], "{results:?}");
                assert_eq!(own.len(), given + usize::from(kind.is_some()));
            }
        }
    });
}

#[test]
fn a_slow_consumer_holds_the_tasks_up() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(1, 60, |pool| {
        let given = RawValue::new(0u64);
        let tell = |given: RawValue<u64>, emit: &Emit<u64>| {
            (0..1000).try_for_each(|x| {
                given.set(x);
                emit.send(x)
            })
        };
        let mut values = pool.generate(tell, [given.clone()]).buffer(4).iter();
        assert_eq!(values.next().unwrap().unwrap(), 0);
        // It stops where the buffer is full.
        assert!(eventually(Duration::from_secs(20), || given.get() >= 4));
        assert!(!eventually(Duration::from_millis(200), || given.get() > 8));
        assert_eq!(values.map(|value| value.unwrap()).sum::<u64>(), 999 * 1000 / 2);
    });
}

#[test]
fn an_iterator_that_is_dropped_ends_the_tasks() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(2, 60, |pool| {
        let ended = RawValue::new(0u32);
        let tell = |(ended, listens): (RawValue<u32>, bool), emit: &Emit<u64>| {
            let task = current_task().unwrap();
            // Either sees it.
            while if listens { !task.is_cancelled() } else { emit.send(7).is_ok() } {}
            assert!(emit.is_disconnected() || task.cancelled_within(Duration::from_secs(20)));
            ended.fetch_add(1);
        };
        let mut values = pool.generate(tell, [(ended.clone(), false), (ended.clone(), true)]).iter();
        for _ in 0..100 {
            assert_eq!(values.next().unwrap().unwrap(), 7);
        }
        drop(values);
        // The workers are free again.
        assert_eq!(pool.map(|x: u64| x, 0..10).unwrap().len(), 10);
        assert!(eventually(Duration::from_secs(20), || ended.get() >= 1));
    });
}

#[test]
fn time_limits_and_the_end_of_a_pool_are_errors() {
    let _watchdog = watchdog(60);
    let pool = Pool::new(1).unwrap();
    let hang = |x: u64, emit: &Emit<u64>| {
        emit.send(x).unwrap();
        std::thread::sleep(Duration::from_secs(1000));
    };
    let results: Vec<_> = pool.generate(hang, [1, 2]).timeout(Duration::from_millis(100)).iter().collect();
    let seen: Vec<_> = results.iter().map(|result| result.as_ref().map_err(|error| error.is_timeout())).collect();
    assert_eq!(seen, [Ok(&1), Err(true), Ok(&2), Err(true)]);

    let soft = |x: u64, emit: &Emit<u64>| {
        current_task().unwrap().cancelled();
        emit.send(x)
    };
    assert_eq!(values(pool.generate(soft, [1, 2]).soft_timeout(Duration::from_millis(20)).iter()), [1, 2]);

    let mut results = pool.generate(hang, [1]).iter();
    assert_eq!(results.next().unwrap().unwrap(), 1);
    pool.terminate();
    assert!(results.next().unwrap().unwrap_err().is_terminated() && results.next().is_none());
    let mut refused = pool.generate(hang, [1]).iter();
    assert!(refused.next().unwrap().is_err() && refused.next().is_none());
}

#[test]
fn a_pool_that_becomes_smaller_goes_on() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(4, 120, |pool| {
        let slow = |x: u64, emit: &Emit<u64>| {
            for value in 0..20 {
                emit.send(100 * x + value).unwrap();
            }
        };
        let mut results = pool.generate(slow, 0..30).buffer(1).iter();
        let mut seen = Vec::new();
        for result in results.by_ref() {
            seen.push(result.unwrap());
            if seen.len() % 50 == 10 {
                pool.resize(1 + seen.len() / 50 % 4).unwrap();
            }
        }
        let expected: Vec<u64> = (0..30).flat_map(|x| (0..20).map(move |value| 100 * x + value)).collect();
        assert_eq!(seen, expected);
    });
}
