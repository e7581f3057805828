//! Maps: what they do, whose keys are the same, and what may be in them.

use super::common::alone::alone;
use super::common::proc::{books_are_in_order, eventually};
use super::common::watchdog::watchdog;
use multiproc::ipc_channel::ipc;
use multiproc::{Event, Ipc, Lock, Pool, Process, Queue, SharedDict, SharedList, Value, shared_memory_report};
use std::collections::HashMap;
use std::time::{Duration, Instant};

#[test]
fn it_does_what_a_hash_map_does() {
    let _watchdog = watchdog(60);
    let (map, mut model) = (SharedDict::<u32, String>::new(), HashMap::new());
    let mut random: u64 = 7;
    for round in 0..30_000_u32 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = (random >> 33) as u32 % 3000;
        // Some lie in the slot, some in a block.
        let value = "x".repeat((random >> 50) as usize % 60);
        match round % 8 {
            0..4 => assert_eq!(map.insert(key, value.clone()).unwrap(), model.insert(key, value)),
            4 => assert_eq!(map.remove(&key).unwrap(), model.remove(&key)),
            5 => assert_eq!(map.get(&key).unwrap(), model.get(&key).cloned()),
            6 => assert_eq!(map.contains_key(&key).unwrap(), model.contains_key(&key)),
            _ => {
                let change = |value: &mut Option<String>| match value {
                    Some(text) if text.len() % 2 == 0 => *value = None,
                    Some(text) => text.push('y'),
                    None => *value = Some("new".to_owned()),
                };
                map.update(&key, change).unwrap();
                let mut value = model.remove(&key);
                change(&mut value);
                model.extend(value.map(|value| (key, value)));
            }
        }
    }
    assert!(model.len() > 1000);
    assert_eq!(map.len().unwrap(), model.len());
    assert_eq!(map.iter().unwrap().collect::<HashMap<_, _>>(), model);
    let mut keys: Vec<u32> = map.keys().unwrap().collect();
    keys.sort();
    assert!(keys.is_sorted_by(|a, b| a < b) && keys.iter().all(|key| model.contains_key(key)));
    assert_eq!(map.values().unwrap().len(), model.len());
    map.clear().unwrap();
    assert!(map.is_empty().unwrap() && map.get(&keys[0]).unwrap().is_none());
    map.extend(model.clone()).unwrap();
    assert_eq!(map.iter().unwrap().collect::<HashMap<_, _>>(), model);
}

#[test]
fn keys_are_asked_for_as_in_a_hash_map() {
    let map = SharedDict::<String, u8>::new();
    map.insert("short".to_owned(), 1).unwrap();
    map.insert("long".repeat(30), 2).unwrap();
    assert_eq!((map.get("short").unwrap(), map.get(&"short".to_owned()).unwrap()), (Some(1), Some(1)));
    assert_eq!(map.get(&*"long".repeat(30)).unwrap(), Some(2));
    assert_eq!((map.get("shor").unwrap(), map.get("").unwrap()), (None, None));
    let bytes = SharedDict::<Vec<u8>, u8>::new();
    bytes.insert(vec![1, 2], 3).unwrap();
    assert_eq!(bytes.get(&[1_u8, 2][..]).unwrap(), Some(3));
    assert_eq!(bytes.get(&[1_u8][..]).unwrap(), None);
    let pairs = SharedDict::<(u32, Option<char>), ()>::new();
    pairs.insert((1, Some('a')), ()).unwrap();
    assert_eq!((pairs.get(&(1, Some('a'))).unwrap(), pairs.get(&(1, None)).unwrap()), (Some(()), None));
}

#[test]
fn others_see_it() {
    let _watchdog = watchdog(60);
    let map = SharedDict::<u64, u64>::new();
    let pool = Pool::new(3).unwrap();
    let add = |map: &SharedDict<u64, u64>, n: u64| map.update(&(n % 10), |sum| *sum.get_or_insert(0) += n).unwrap();
    pool.with(&map).tasks(add, 0..1000).run().unwrap();
    assert_eq!(map.values().unwrap().sum::<u64>(), 499_500);
    let made = Process::spawn(
        || {
            let made = SharedDict::<String, SharedList<u32>>::new();
            let list = SharedList::new();
            list.push(5).unwrap();
            made.insert("list".to_owned(), list).unwrap();
            made
        },
        (),
    );
    let made = made.unwrap().join().unwrap();
    assert_eq!(made.get("list").unwrap().unwrap().get(0).unwrap(), Some(5));
}

#[test]
fn handles_may_be_values_and_go_with_them() {
    if !alone("dict::handles_may_be_values_and_go_with_them") {
        return;
    }
    let blocks = || shared_memory_report().unwrap().blocks;
    let map = SharedDict::<u32, (Value<u32>, Lock)>::new();
    let before = blocks();
    for key in 0..100 {
        map.insert(key, (Value::new(key), Lock::new())).unwrap();
    }
    assert_eq!(blocks(), before + 300);
    assert_eq!(map.get(&42).unwrap().unwrap().0.get().unwrap(), 42);
    map.insert(42, (Value::new(0), Lock::new())).unwrap();
    map.remove(&43).unwrap();
    assert_eq!(blocks(), before + 297);
    let nested = SharedDict::<u32, SharedDict<u32, (Value<u32>, Lock)>>::new();
    nested.insert(1, map).unwrap();
    assert_eq!(nested.get(&1).unwrap().unwrap().len().unwrap(), 99);
    drop(nested);
    assert_eq!(blocks(), before - 1);
    assert!(books_are_in_order());
}

#[test]
fn what_cannot_be_stored_is_an_error() {
    let map = SharedDict::<u32, Ipc<ipc::IpcSender<u8>>>::new();
    let (sender, _receiver) = ipc::channel().unwrap();
    assert!(map.insert(1, Ipc(sender)).unwrap_err().is_encode());
    assert_eq!(map.len().unwrap(), 0);
    let keys = SharedDict::<Value<u32>, u32>::new();
    let error = keys.insert(Value::new(1), 1).unwrap_err();
    assert!(error.is_encode() && error.to_string().contains("a key cannot contain a handle"), "{error}");
    let error = serde_json::to_string(&map).unwrap_err();
    assert!(error.to_string().contains("can only travel in arguments"), "{error}");
}

#[test]
fn a_change_that_panics_or_asks_the_same_map_changes_nothing() {
    let map = SharedDict::<u32, u32>::new();
    map.insert(1, 1).unwrap();
    let panics = || map.update(&1, |value| *value = if value.is_some() { panic!("on purpose") } else { None });
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
    assert_eq!(map.get(&1).unwrap(), Some(1));
    // Whether the key has the same lock or another.
    for key in 0..40 {
        let inside = map.update(&1, |_| map.insert(key, 0)).unwrap();
        assert!(inside.unwrap_err().is_would_deadlock());
    }
    assert!(map.update(&1, |_| map.len()).unwrap().unwrap_err().is_would_deadlock());
    // Another map may be asked, also by a clone.
    let other = SharedDict::<u32, u32>::new();
    assert_eq!(map.update(&1, |value| other.insert(2, value.unwrap())).unwrap().unwrap(), None);
    assert_eq!(map.len().unwrap(), 1);
}

#[test]
fn only_who_needs_the_same_lock_waits_and_no_longer_than_it_says() {
    let _watchdog = watchdog(60);
    let map = SharedDict::<u32, u32>::new();
    let (begun, go_on) = (Event::new(), Event::new());
    let hold = |map: SharedDict<u32, u32>, begun: Event, go_on: Event| {
        let change = |value: &mut Option<u32>| {
            begun.set();
            go_on.wait();
            *value = Some(1);
        };
        map.update(&0, change).unwrap();
    };
    let holder = Process::spawn(hold, (map.clone(), begun.clone(), go_on.clone())).unwrap();
    begun.wait();
    let hasty = map.with_timeout(Duration::from_millis(20));
    let start = Instant::now();
    assert!(hasty.get(&0).unwrap_err().is_timed_out());
    assert!(hasty.len().unwrap_err().is_timed_out());
    assert!(start.elapsed() >= Duration::from_millis(40));
    let free = (1..100).filter(|key| hasty.insert(*key, 0).is_ok()).count();
    assert!(free > 50 && free < 99, "{free}");
    go_on.set();
    holder.join().unwrap();
    assert_eq!(hasty.get(&0).unwrap(), Some(1));
}

#[test]
fn a_snapshot_is_of_one_moment() {
    let _watchdog = watchdog(60);
    let map = SharedDict::<u32, u64>::new();
    let stop = Event::new();
    // Two entries in turn: the first is never behind the second, nor more than one ahead.
    map.extend([(1, 0), (2, 0)]).unwrap();
    let write = |map: SharedDict<u32, u64>, stop: Event| {
        for number in 1.. {
            map.insert(1, number).unwrap();
            map.insert(2, number).unwrap();
            if stop.is_set() {
                return;
            }
        }
    };
    let writer = Process::spawn(write, (map.clone(), stop.clone())).unwrap();
    let mut last = 0;
    assert!(eventually(Duration::from_secs(20), || map.get(&1).unwrap() > Some(0)));
    for _ in 0..2000 {
        let all: HashMap<u32, u64> = map.iter().unwrap().collect();
        assert!(all[&1] - all[&2] <= 1 && all[&1] >= last, "{all:?}");
        last = all[&1];
    }
    stop.set();
    writer.join().unwrap();
}

#[test]
fn many_maps_take_little() {
    let maps: Vec<SharedDict<u32, u32>> = (0..100).map(|_| SharedDict::new()).collect();
    for (at, map) in maps.iter().enumerate() {
        map.insert(at as u32, 1).unwrap();
    }
    let queue = Queue::new();
    queue.put_many(maps).unwrap();
    for at in 0..100 {
        assert_eq!(queue.get().unwrap().get(&at).unwrap(), Some(1));
    }
}
