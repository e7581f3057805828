//! A real process is run instruction by instruction through the operations of a map and a list, and killed with SIGKILL at every
//! step: see `tests/common/victim.rs`. What it was doing is done as a whole or not at all.

use super::common::victim::at_every_step;
use multiproc::{SharedDict, SharedList};
use std::collections::BTreeMap;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

fn no_help<T>(_: &T) {}

#[test]
fn map_changed() {
    fn work(map: &SharedDict<u32, u64>) {
        map.insert(3, 3).unwrap();
        map.update(&2, |value| *value = value.map(|value| value * 10)).unwrap();
        map.remove(&1).unwrap();
    }
    let make = || {
        let map = SharedDict::new();
        map.extend([(1, 1), (2, 2)]).unwrap();
        map
    };
    let check = |map: &SharedDict<u32, u64>, lived: bool| {
        let all: BTreeMap<u32, u64> = map.with_timeout(LONG).iter().expect("others hang").collect();
        let states: [&[(u32, u64)]; 4] =
            [&[(1, 1), (2, 2)], &[(1, 1), (2, 2), (3, 3)], &[(1, 1), (2, 20), (3, 3)], &[(2, 20), (3, 3)]];
        let all: Vec<_> = all.into_iter().collect();
        assert!(states.contains(&&all[..]) && (!lived || all == states[3]), "{all:?}");
        assert_eq!(map.len().unwrap(), all.len());
        map.insert(4, 4).unwrap();
        assert_eq!(map.get(&4).unwrap(), Some(4));
    };
    at_every_step!("map_changed", SharedDict<u32, u64>, make, work, no_help, check);
}

/// Whether tests run that take some minutes: with MULTIPROC_LONG=1.
fn is_long() -> bool {
    std::env::var_os("MULTIPROC_LONG").is_some()
}

#[test]
fn large_entries_of_a_map() {
    if !is_long() {
        return;
    }
    fn work(map: &SharedDict<u32, String>) {
        map.insert(1, "b".repeat(100)).unwrap();
        map.remove(&1).unwrap();
    }
    let make = || {
        let map = SharedDict::new();
        map.insert(1, "a".repeat(100)).unwrap();
        map
    };
    let check = |map: &SharedDict<u32, String>, lived: bool| {
        let now = map.with_timeout(LONG).get(&1).expect("others hang");
        assert!(now.is_none() || !lived && ["a", "b"].iter().any(|it| now == Some(it.repeat(100))), "{now:?}");
    };
    at_every_step!("large_entries_of_a_map", SharedDict<u32, String>, make, work, no_help, check);
}

#[test]
fn list_changed() {
    fn work(list: &SharedList<u32>) {
        list.insert(0, 0).unwrap();
        list.set(1, 10).unwrap();
        list.pop().unwrap();
    }
    let make = || {
        let list = SharedList::new();
        list.extend([1, 2]).unwrap();
        list
    };
    let check = |list: &SharedList<u32>, lived: bool| {
        let all: Vec<u32> = list.with_timeout(LONG).iter().expect("others hang").collect();
        let states: [&[u32]; 4] = [&[1, 2], &[0, 1, 2], &[0, 10, 2], &[0, 10]];
        assert!(states.contains(&&all[..]) && (!lived || all == states[3]), "{all:?}");
        list.push(4).unwrap();
        assert_eq!(list.pop().unwrap(), Some(4));
    };
    at_every_step!("list_changed", SharedList<u32>, make, work, no_help, check);
}
