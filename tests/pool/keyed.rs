//! Calls whose items have keys: the same key, the same worker.

use super::common::links::{HANDLES, on_each_link, on_nodes, on_processes_and_threads};
use super::common::proc::{eventually, kill};
use super::common::scratch::Scratch;
use super::common::watchdog::watchdog;
use multiproc::{Event, Pool, PoolBuilder, RawValue, Semaphore, worker_number};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// What a worker keeps: the numbers that it has seen for each key.
type Seen = HashMap<u32, Vec<u32>>;

/// Says which worker this is.
fn at(_: u32) -> usize {
    worker_number().unwrap()
}

/// The worker of each key: the same for each of its items.
fn places(keys: impl IntoIterator<Item = u32>, workers: impl IntoIterator<Item = usize>) -> BTreeMap<u32, usize> {
    let mut places = BTreeMap::new();
    for (key, worker) in keys.into_iter().zip(workers) {
        assert_eq!(*places.entry(key).or_insert(worker), worker, "key {key}");
    }
    places
}

#[test]
fn a_key_has_one_worker_whatever_is_called_and_however_it_is_delivered() {
    on_processes_and_threads(3, 60, |pool| {
        let keys = || (0..120u32).map(|x| x % 12);
        let of = |key: &u32| *key;
        let run = places(keys(), pool.tasks(at, keys()).keyed(of).run().unwrap());
        // Some for each worker, of so many keys.
        assert_eq!(run.values().collect::<BTreeSet<_>>().len(), 3, "{run:?}");

        let each = pool.tasks(at, keys()).keyed(of).chunksize(7).each();
        assert_eq!(places(keys(), each.into_iter().map(Result::unwrap)), run);
        let submitted = pool.tasks(at, keys()).keyed(of).submit().unwrap();
        assert_eq!(places(keys(), submitted.get().unwrap()), run);
        let submitted = pool.tasks(at, keys()).priority(3).keyed(of).try_submit().unwrap();
        assert_eq!(places(keys(), submitted.get().unwrap()), run);
        assert_eq!(places(keys(), pool.tasks(at, keys()).keyed(of).iter().map(Result::unwrap)), run);
        let both = |key: u32| (key, worker_number().unwrap());
        let (seen, workers): (Vec<_>, Vec<_>) =
            pool.tasks(both, keys()).keyed(of).unordered().map(Result::unwrap).unzip();
        assert_eq!((seen.len(), places(seen, workers)), (120, run.clone()));

        let pair = |key: u32, by: u32| Ok::<_, String>((key * by, worker_number().unwrap()));
        let pairs = pool.star_tasks(pair, keys().map(|key| (key, 2))).keyed(|(key, _)| *key).fallible().run().unwrap();
        assert_eq!(places(keys(), pairs.into_iter().map(|(_, worker)| worker)), run);
        let words: Vec<String> = keys().map(|key| key.to_string()).collect();
        let word = |_: &str| worker_number().unwrap();
        let words_at = pool
            .ref_tasks(word, words.iter().map(String::as_str))
            .keyed(|word| word.parse::<u32>().unwrap())
            .run()
            .unwrap();
        assert_eq!(places(keys(), words_at), run);
        let with = |add: &usize, _: u32| worker_number().unwrap() + add;
        assert_eq!(places(keys(), pool.with(&0usize).tasks(with, keys()).keyed(of).run().unwrap()), run);
    });
}

#[test]
fn tasks_of_a_key_run_one_after_the_other_in_the_order_of_the_input() {
    on_each_link(60, |builder| {
        let pool = builder().processes(3).state(Seen::new, ()).max_tasks_per_child(500).build().unwrap();
        let note = |seen: &mut Seen, (key, number): (u32, u32)| {
            let before = seen.entry(key).or_default();
            before.push(number);
            before.len() > 1 && before[before.len() - 2] >= number
        };
        let items = || (0..3000u32).map(|number| (number * 7 % 10, number));
        for round in 0..3 {
            let wrong = match round {
                0 => pool.on_state().tasks(note, items()).keyed(|(key, _)| *key).run().unwrap(),
                1 => pool.on_state().tasks(note, items()).keyed(|(key, _)| *key).submit().unwrap().get().unwrap(),
                _ => pool.on_state().tasks(note, items()).keyed(|(key, _)| *key).iter().map(Result::unwrap).collect(),
            };
            assert_eq!((wrong.len(), wrong.iter().filter(|wrong| **wrong).count()), (3000, 0));
            // For the next round.
            pool.on_state().on_each_worker(|seen: &mut Seen| seen.clear(), ()).run().unwrap();
        }
    });
}

/// Keys of which each belongs to another worker, by the number of the worker.
fn key_of_each(pool: &Pool, workers: usize) -> Vec<u32> {
    let keys = 0..100u32;
    let places = places(keys.clone(), pool.tasks(at, keys).keyed(|key| *key).run().unwrap());
    (0..workers).map(|worker| places.iter().find(|(_, at)| **at == worker).map(|(key, _)| *key).unwrap()).collect()
}

/// Waits for the gate if its key is the one.
fn wait_if((key, held, gate): (u32, u32, Event)) -> u32 {
    if key == held {
        gate.wait();
    }
    key
}

#[test]
fn a_worker_that_is_busy_holds_up_no_other_key() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(2, 60, |pool| {
        let keys = key_of_each(pool, 2);
        let gate = Event::new();
        let items = |gate: &Event| {
            let (keys, gate) = (keys.clone(), gate.clone());
            (0..100).map(move |number| (keys[number % 2], keys[0], gate.clone()))
        };
        let done = RawValue::new(0u32);
        let counted = |done: &RawValue<u32>, item: (u32, u32, Event)| {
            let key = wait_if(item);
            done.fetch_add(1);
            key
        };
        let submitted = pool.with(&done).tasks(counted, items(&gate)).keyed(|(key, ..)| *key).submit().unwrap();
        // Also in a call that hands its input in by and by.
        std::thread::scope(|scope| {
            let mut results = pool.tasks(wait_if, items(&gate)).keyed(|(key, ..)| *key).unordered();
            let others: Vec<u32> = (0..50).map(|_| results.next().unwrap().unwrap()).collect();
            assert_eq!(others, vec![keys[1]; 50]);
            assert!(eventually(SOON, || done.get() == 50), "{}", done.get());
            // Plain tasks go to the one that is free.
            let free = pool.map(|_: u32| worker_number().unwrap(), 0..20).unwrap();
            assert_eq!(free, vec![1; 20]);
            scope.spawn(|| gate.set());
            assert_eq!(results.map(Result::unwrap).collect::<Vec<_>>(), vec![keys[0]; 50]);
        });
        assert_eq!(submitted.get().unwrap().len(), 100);
    });
}

#[test]
fn as_much_input_is_read_as_there_is_room_for() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(2, 60, |pool| {
        let key = key_of_each(pool, 2)[0];
        let gate = Event::new();
        let read = Rc::new(Cell::new(0));
        let (counted, held) = (Rc::clone(&read), gate.clone());
        let endless = (0..).map(move |number: u32| {
            counted.set(counted.get() + 1);
            (number.min(1), 0, held.clone())
        });
        // All of one key, and the first of them waits.
        let mut results = pool.tasks(wait_if, endless).keyed(|_| key).buffersize(1_000_000).iter();
        while read.get() < 100 {
            assert!(results.next_timeout(Duration::from_millis(10)).is_pending());
        }
        assert!(results.next_timeout(Duration::from_millis(200)).is_pending());
        assert!(read.get() < 1000, "{}", read.get());
        drop(results);
        gate.set();
    });
}

#[test]
fn who_takes_the_place_of_a_dead_worker_has_its_keys() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(60, |builder| {
        let pool = builder().processes(2).build().unwrap();
        let keys = key_of_each(&pool, 2);
        for round in 0..6 {
            let (inside, gate) = (Semaphore::new(0), Event::new());
            let hold = |(inside, gate, number): (Semaphore, Event, u32)| {
                if number == 0 {
                    inside.release(1).unwrap();
                    gate.wait();
                }
                (number, worker_number().unwrap(), std::process::id())
            };
            let place = round % 2;
            let items = (0..80).map(|number| (inside.clone(), gate.clone(), number));
            let mut call = pool.tasks(hold, items).keyed(|_| keys[place]).unordered();
            let mut results = vec![];
            // The call hands its tasks in while it is waited for.
            while !inside.try_acquire().unwrap() {
                assert!(call.next_timeout(Duration::from_millis(10)).is_pending());
            }
            let before = pool.stats().workers[place].pid;
            assert!(kill(before.unwrap()));
            let lost = call.next().unwrap().unwrap_err();
            assert!(lost.is_worker_lost() && lost.index() == 0, "{lost}");
            results.extend(call.map(Result::unwrap));
            let numbers: Vec<u32> = results.iter().map(|(number, ..)| *number).collect();
            assert_eq!(numbers, (1..80).collect::<Vec<_>>());
            let pids: BTreeSet<u32> = results.iter().map(|(.., pid)| *pid).collect();
            assert!(results.iter().all(|(_, at, _)| *at == place) && pids.len() == 1, "{results:?}");
            gate.set();
        }
    });
}

#[test]
fn a_resize_moves_no_more_keys_than_it_has_to_and_loses_no_task() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(2, 60, |pool| {
        let keys = || 0..200u32;
        let look = |pool: &Pool| places(keys(), pool.tasks(at, keys()).keyed(|key| *key).run().unwrap());
        let two = look(pool);
        pool.resize(4).unwrap();
        let four = look(pool);
        assert!(four.iter().all(|(key, at)| *at == two[key] || *at >= 2), "{two:?} {four:?}");
        assert!(four.values().filter(|at| **at >= 2).count() > 50);
        // While tasks wait for workers that go.
        let (inside, gate) = (Semaphore::new(0), Event::new());
        let hold = |(inside, gate): (Semaphore, Event)| {
            inside.release(1).unwrap();
            gate.wait();
        };
        let held: Vec<_> = (0..4).map(|_| pool.apply_async(hold, ((inside.clone(), gate.clone()),)).unwrap()).collect();
        (0..4).for_each(|_| inside.acquire().unwrap());
        let later = pool.tasks(at, keys()).keyed(|key| *key).submit().unwrap();
        assert!(pool.stats().queued > 0);
        pool.resize(2).unwrap();
        gate.set();
        assert_eq!(places(keys(), later.get().unwrap()), two);
        held.into_iter().for_each(|held| held.get().unwrap());
        assert_eq!(look(pool), two);
    });
}

#[test]
fn what_ends_a_call_ends_its_tasks_that_wait_for_their_worker() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(2, 60, |pool| {
        let runs = RawValue::new(0u32);
        let (inside, gate) = (Semaphore::new(0), Event::new());
        let hold = |(inside, gate, runs): (Semaphore, Event, RawValue<u32>)| {
            inside.release(1).unwrap();
            gate.wait();
            runs.fetch_add(1);
        };
        let item = || (inside.clone(), gate.clone(), runs.clone());
        let cancelled = pool.tasks(hold, (0..10).map(|_| item())).keyed(|_| 0).submit().unwrap();
        inside.acquire().unwrap();
        assert!(cancelled.cancel());
        assert!(cancelled.get().unwrap_err().is_cancelled());
        let dropped = pool.tasks(hold, (0..10).map(|_| item())).keyed(|_| 0).submit().unwrap();
        drop(dropped);
        drop(pool.tasks(hold, (0..10).map(|_| item())).keyed(|_| 0).iter());
        gate.set();
        assert_eq!(pool.tasks(at, [1, 2]).keyed(|_| 0).run().unwrap().len(), 2);
        assert_eq!(runs.get(), 1);
        assert!(eventually(SOON, || pool.stats().queued == 0), "{}", pool.stats());
    });
    on_each_link(60, |builder| {
        let pool = builder().processes(2).build().unwrap();
        let waiting = pool.tasks(|gate: Event| gate.wait(), (0..10).map(|_| Event::new())).keyed(|_| 0).submit();
        let waiting = waiting.unwrap();
        pool.terminate();
        assert!(waiting.get().unwrap_err().is_terminated());
    });
}

#[test]
fn other_options_hold_for_tasks_with_keys() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(60, |builder| {
        let pool = builder().processes(2).build().unwrap();
        let sleep = |ms: u64| {
            std::thread::sleep(Duration::from_millis(ms));
            worker_number().unwrap()
        };
        let limited = pool.tasks(sleep, [0, 60_000, 0, 0]).keyed(|_| "a").timeout(Duration::from_millis(200)).each();
        assert!(limited[1].as_ref().unwrap_err().is_timeout());
        let rest: BTreeSet<usize> = [0, 2, 3].iter().map(|at| *limited[*at].as_ref().unwrap()).collect();
        assert_eq!(rest.len(), 1);

        let tries = RawValue::new(0u32);
        let flaky = |tries: &RawValue<u32>, _: u32| {
            assert!(tries.fetch_add(1) >= 2, "not yet");
            worker_number().unwrap()
        };
        let retried = pool.with(&tries).tasks(flaky, [1, 2, 3]).keyed(|_| 5).retries(2).run().unwrap();
        assert_eq!(retried.iter().collect::<BTreeSet<_>>().len(), 1);

        // Those behind an item that does not serialise have their own keys.
        let bad: Vec<Option<u32>> = vec![Some(0), None, Some(1), Some(2), Some(0)];
        let numbers =
            pool.tasks(|item: Picky| item.0.map(|_| worker_number().unwrap()), bad.iter().map(|it| Picky(*it)));
        let each = numbers.keyed(|item| item.0).submit().unwrap().get();
        assert_eq!(each.unwrap_err().index(), 1);

        let path = Scratch::new("keyed.checkpoint");
        let run = |n: u32| pool.tasks(at, 0..n).keyed(|key| *key).checkpoint(&path).run().unwrap();
        let (first, before) = (run(20), pool.stats().tasks);
        let second = run(30);
        assert_eq!((&second[..20], pool.stats().tasks - before), (&first[..], 10));

        let fast = pool.tasks(|x: u32| assert!(x != 3), 0..100_000).keyed(|x| *x).fail_fast(true).each();
        assert!(fast[3].as_ref().unwrap_err().is_panic() && fast[99_999].as_ref().unwrap_err().is_cancelled());
    });
}

/// An item that does not always serialise.
struct Picky(Option<u32>);

impl serde::Serialize for Picky {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.ok_or_else(|| serde::ser::Error::custom("nothing"))?.serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Picky {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Picky, D::Error> {
        u32::deserialize(deserializer).map(|number| Picky(Some(number)))
    }
}

#[test]
fn calls_with_and_without_keys_go_on_beside_each_other() {
    on_processes_and_threads(2, 120, |pool| {
        let rounds = 5;
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                scope.spawn(move || {
                    for _ in 0..rounds {
                        let items = || (0..3000u64).map(|x| x + thread);
                        let sum: u64 = match thread {
                            0 => pool.tasks(|x: u64| x, items()).run().unwrap().iter().sum(),
                            1 => pool.tasks(|x: u64| x, items()).keyed(|x| x % 7).run().unwrap().iter().sum(),
                            2 => pool
                                .tasks(|x: u64| x, items())
                                .keyed(|x| x % 7)
                                .submit()
                                .unwrap()
                                .get()
                                .unwrap()
                                .iter()
                                .sum(),
                            _ => pool
                                .tasks(|x: u64| x, items())
                                .keyed(|x| *x)
                                .priority(1)
                                .iter()
                                .map(Result::unwrap)
                                .sum(),
                        };
                        assert_eq!(sum, items().sum::<u64>());
                    }
                });
            }
        });
    });
}

#[test]
fn a_worker_that_has_left_for_want_of_work_comes_back_for_its_keys() {
    let _watchdog = watchdog(60);
    let builder: PoolBuilder = Pool::builder().processes(3).idle_timeout(Duration::from_millis(1));
    let pool = builder.build().unwrap();
    let keys = key_of_each(&pool, 3);
    for round in 0..6 {
        assert!(eventually(SOON, || pool.worker_pids().len() == 1));
        let place = round % 3;
        assert_eq!(pool.tasks(at, [0, 0]).keyed(|_| keys[place]).run().unwrap(), [place; 2]);
    }
}

#[test]
fn workers_that_came_back_for_their_keys_while_they_were_leaving_leave_again() {
    if on_nodes(HANDLES) {
        return;
    }
    let _watchdog = watchdog(60);
    let gate = Event::new();
    let builder: PoolBuilder = Pool::builder().processes(3).idle_timeout(Duration::from_millis(1));
    let pool = builder.finalizer(|gate: Event| gate.wait(), (gate.clone(),)).build().unwrap();
    assert!(eventually(SOON, || pool.worker_pids().len() == 1));
    // The others have been told to leave, and cannot before their keys have been seen.
    let keys = (0..100u32).inspect(|key| {
        if *key == 99 {
            gate.set();
        }
    });
    let ran = places(0..100, pool.tasks(at, keys).keyed(|key| *key).run().unwrap());
    assert_eq!(ran.into_values().collect::<BTreeSet<_>>().len(), 3);
    assert!(eventually(SOON, || pool.worker_pids().len() == 1), "{}", pool.stats());
}
