//! Stores: maps, lists, deaths.

use super::dict::Chains;
use super::list::Row;
use super::testing::Fixture;
use super::{Refusal, Store};
use crate::sync::algorithm::testing::{Crowd, Party, kill};
use crate::sys::time::Deadline;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

/// A map whose keys are their hashes, so that different keys are on one chain.
impl Fixture {
    fn put(&self, party: &Party<'_>, key: u32, number: u32) -> Result<(), Refusal> {
        let open = self.open::<Chains>(party);
        self.entry(key, number, |entry| open.put(&self.memory, &entry, |_| Ok(true), |_| Ok(())).map(drop))
    }

    fn get(&self, party: &Party<'_>, key: u32) -> Option<u32> {
        let open = self.open::<Chains>(party);
        open.find(key, |_| Ok(true)).unwrap().map(|found| self.number(found).unwrap())
    }

    fn take(&self, party: &Party<'_>, key: u32) -> bool {
        self.open::<Chains>(party).take(&self.memory, key, |_| Ok(true), |_| Ok(())).unwrap().is_some()
    }

    fn all(&self, party: &Party<'_>) -> BTreeMap<u32, u32> {
        let open = self.open::<Chains>(party);
        let mut all = BTreeMap::new();
        let mut add = |found: super::Found<'_>| {
            assert_eq!(all.insert(found.tag(), self.number(found)?), None, "an entry is there twice");
            Ok(())
        };
        open.each(&mut add).unwrap();
        assert_eq!(open.count(), all.len() as u64);
        all
    }

    fn push(&self, party: &Party<'_>, numbers: &[u32]) -> Result<(), Refusal> {
        let open = self.open::<Row>(party);
        let blocks: Vec<u32> = numbers.iter().map(|number| number % super::testing::BLOCKS).collect();
        let entries = numbers.iter().zip(&blocks).map(|(number, block)| {
            let item = self.entry(0, *number, |entry| matches!(entry.item, super::Item::Block(_)));
            let item = if item { super::Item::Block(block) } else { super::Item::Number([(*number).into(), 0], 8) };
            super::Entry { tag: 0, item }
        });
        open.append(&self.memory, &entries.collect::<Vec<_>>())
    }

    fn row(&self, party: &Party<'_>) -> Vec<u32> {
        let open = self.open::<Row>(party);
        (0..open.len()).map(|at| self.number(open.at(at).unwrap().unwrap()).unwrap()).collect()
    }
}

#[test]
fn a_map_does_what_a_map_does() {
    let crowd = Crowd::new();
    let party = crowd.party(1, 1);
    let (map, mut model) = (Fixture::new(200, true), BTreeMap::new());
    let mut random: u64 = 1;
    for round in 0..20_000_u32 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Many of the same place in small tables.
        let key = ((random >> 33) % 190) as u32 * 8;
        match random >> 60 {
            0..8 => {
                map.put(&party, key, round % 64).unwrap();
                model.insert(key, round % 64);
            }
            8..15 => assert_eq!(map.take(&party, key), model.remove(&key).is_some()),
            _ if round % 50 == 0 => {
                map.open::<Chains>(&party).clear_all(&map.memory);
                model.clear();
            }
            _ => assert_eq!(map.get(&party, key), model.get(&key).copied()),
        }
    }
    assert_eq!(map.all(&party), model);
    assert_eq!(map.memory.held() as usize, model.values().filter(|number| *number % 2 == 1).count());
    map.open::<Chains>(&party).clear_all(&map.memory);
    assert_eq!((map.all(&party).len(), map.memory.held()), (0, 0));
}

#[test]
fn a_full_map_refuses_and_keeps_what_it_has() {
    let crowd = Crowd::new();
    let party = crowd.party(1, 1);
    let map = Fixture::new(20, false);
    for key in 0..20 {
        map.put(&party, key, key).unwrap();
    }
    assert_eq!(map.put(&party, 20, 20), Err(Refusal::Full));
    assert_eq!(map.all(&party).len(), 20);
    assert!(map.take(&party, 7));
    map.put(&party, 20, 20).unwrap();
    assert_eq!((map.get(&party, 7), map.get(&party, 20)), (None, Some(20)));
}

#[test]
fn a_list_does_what_a_list_does() {
    let crowd = Crowd::new();
    let party = crowd.party(1, 1);
    let (list, mut model) = (Fixture::new(100, true), Vec::new());
    let mut random: u64 = 1;
    for round in 0..20_000_u32 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (number, at) = (round % 64, (random >> 33) as usize % 110);
        let open = list.open::<Row>(&party);
        match random >> 60 {
            0..3 if model.len() < 98 => {
                drop(open);
                list.push(&party, &[number, number]).unwrap();
                model.extend([number, number]);
            }
            3..6 if model.len() < 99 => {
                list.entry(0, number, |entry| open.put_before(&list.memory, at, entry)).unwrap();
                model.insert(at.min(model.len()), number);
            }
            6..10 => {
                let end = at + (random >> 40) as usize % 4;
                open.take_out(&list.memory, at..end);
                model.drain(at.min(model.len())..end.min(model.len()));
            }
            10..15 => {
                let replaced = list.entry(0, number, |entry| open.replace(&list.memory, at, &entry)).unwrap();
                assert_eq!(replaced, model.get_mut(at).map(|place| *place = number).is_some());
            }
            _ => assert_eq!(open.len(), model.len()),
        }
    }
    assert!(!model.is_empty());
    assert_eq!(list.row(&party), model);
    assert_eq!(list.memory.held() as usize, model.iter().filter(|number| *number % 2 == 1).count());
    let all: Vec<u32> = (0..101).collect();
    assert_eq!(list.push(&party, &all), Err(Refusal::Full));
    assert_eq!(list.row(&party), model);
    list.open::<Row>(&party).take_out(&list.memory, 0..1000);
    assert_eq!(list.memory.held(), 0);
}

#[test]
fn who_has_it_locked_is_told_and_others_wait_as_long_as_they_say() {
    let crowd = Crowd::new();
    let (party, other) = (crowd.party(1, 1), crowd.party(2, 1));
    let map = Fixture::new(8, false);
    let open = map.open::<Chains>(&party);
    let again = |party: &Party<'_>| {
        map.store().open::<Chains, _>(party, &map.memory, Deadline::after(Duration::from_millis(10))).map(drop)
    };
    assert_eq!(again(&party), Err(Refusal::WouldDeadlock));
    assert_eq!(again(&other), Err(Refusal::TimedOut));
    drop(open);
    assert_eq!(again(&other), Ok(()));
}

#[test]
fn garbage_is_an_error_and_no_endless_search() {
    let crowd = Crowd::new();
    let party = crowd.party(1, 1);
    // 8 slots: the tables have 8 words each, and slots begin at 16.
    let make = || {
        let map = Fixture::new(8, false);
        (0..3).for_each(|key| map.put(&party, key * 8, 1).unwrap());
        map
    };
    for garbage in [1, 9, u64::MAX, u64::from(u32::MAX), 1 << 32] {
        for at in [0, 16, 24, 32] {
            let map = make();
            map.memory.scribble(at, garbage);
            let open = map.open::<Chains>(&party);
            let _ = open.find(800, |_| Ok(false)).map(|_| ());
            let _ = open.each(|_| Ok(()));
            drop(open);
            let _ = map.put(&party, 1, 1);
            map.open::<Chains>(&party).clear_all(&map.memory);
        }
        for word in [&make().head.free, &make().head.used, &make().head.table] {
            word.store(garbage, std::sync::atomic::Ordering::Relaxed);
        }
        let map = make();
        map.head.table.store(garbage, std::sync::atomic::Ordering::Relaxed);
        let open = map.open::<Chains>(&party);
        let _ = open.find(8, |_| Ok(true)).map(|_| ());
        drop(open);
        let _ = map.open::<Row>(&party).at(3).map(|_| ());
        map.head.free.store(garbage, std::sync::atomic::Ordering::Relaxed);
        map.head.used.store(garbage, std::sync::atomic::Ordering::Relaxed);
        let _ = map.put(&party, 1, 1);
    }
}

/// The victim does `work` on a fixture that `make` makes; then somebody looks at what is there, which `check` is told, and
/// whether the victim lived. Nothing may be lost but one block.
fn killed<T: PartialEq + std::fmt::Debug + 'static>(
    make: impl Fn() -> Fixture,
    work: impl Fn(&Fixture, &Party<'_>) + Copy + Send + 'static,
    look: impl Fn(&Fixture, &Party<'_>) -> T + Copy,
    states: &[T],
    odd: impl Fn(&T) -> u32,
) -> u32 {
    let seen = RefCell::new(Vec::new());
    let steps = kill::at_every_step(make, |crowd, fixture, victim| {
        let was_killed = victim.run(move |party| work(fixture, party)).wait();
        let party = crowd.party(2, 1);
        let now = look(fixture, &party);
        let place = states.iter().position(|state| *state == now);
        assert!(place.is_some(), "{now:?}");
        assert!(was_killed || now == states[states.len() - 1], "{now:?}");
        let lost = fixture.memory.held() - odd(&now);
        assert!(lost <= u32::from(was_killed), "{lost} blocks lost");
        seen.borrow_mut().extend(place);
        was_killed
    });
    let seen = seen.into_inner();
    assert!(seen.iter().copied().max() == Some(states.len() - 1) && seen.first() == Some(&0));
    steps
}

/// How many slots are free.
fn free_slots(store: Store<'_>) -> usize {
    let (mut number, mut count) = (store.head.free.load(std::sync::atomic::Ordering::Relaxed), 0);
    while let Some(slot) = store.slot(number) {
        count += 1;
        assert!(count <= store.capacity, "the free slots form a circle");
        number = slot[super::LINKS].load(std::sync::atomic::Ordering::Relaxed);
    }
    count + store.capacity - store.used() as usize
}

fn odd(map: &BTreeMap<u32, u32>) -> u32 {
    map.values().filter(|number| *number % 2 == 1).count() as u32
}

#[test]
fn map_killed_at_every_step() {
    let make = || {
        let map = Fixture::new(32, true);
        let crowd = Crowd::new();
        // The next one makes the table larger.
        (0..8).for_each(|key| map.put(&crowd.party(1, 1), key * 8, key).unwrap());
        map
    };
    let work = |map: &Fixture, party: &Party<'_>| {
        map.put(party, 64, 9).unwrap();
        map.put(party, 8, 11).unwrap();
        map.put(party, 16, 2).unwrap();
        assert!(map.take(party, 24));
        assert!(map.take(party, 64));
        map.open::<Chains>(party).clear_all(&map.memory);
    };
    let look = |map: &Fixture, party: &Party<'_>| {
        let all = map.all(party);
        assert_eq!(free_slots(map.store()) + all.len(), 32, "slots are lost");
        all
    };
    let first: BTreeMap<u32, u32> = (0..8).map(|key| (key * 8, key)).collect();
    let mut states = vec![first];
    let mut then = |change: &dyn Fn(&mut BTreeMap<u32, u32>)| {
        let mut next = states[states.len() - 1].clone();
        change(&mut next);
        states.push(next);
    };
    then(&|map| _ = map.insert(64, 9));
    then(&|map| _ = map.insert(8, 11));
    then(&|map| _ = map.remove(&24));
    then(&|map| _ = map.remove(&64));
    then(&|map| map.clear());
    assert!(killed(make, work, look, &states, odd) > 30);
}

#[test]
fn list_killed_at_every_step() {
    let make = || {
        let list = Fixture::new(32, true);
        list.push(&Crowd::new().party(1, 1), &[1, 2, 3]).unwrap();
        list
    };
    let work = |list: &Fixture, party: &Party<'_>| {
        list.push(party, &[4, 5]).unwrap();
        let open = list.open::<Row>(party);
        list.entry(0, 7, |entry| open.put_before(&list.memory, 1, entry)).unwrap();
        list.entry(0, 9, |entry| open.replace(&list.memory, 0, &entry)).unwrap();
        open.take_out(&list.memory, 1..3);
        open.take_out(&list.memory, 3..4);
    };
    let look = |list: &Fixture, party: &Party<'_>| {
        let row = list.row(party);
        assert_eq!(free_slots(list.store()) + row.len(), 32, "slots are lost");
        row
    };
    let states = [
        vec![1, 2, 3],
        vec![1, 2, 3, 4, 5],
        vec![1, 7, 2, 3, 4, 5],
        vec![9, 7, 2, 3, 4, 5],
        vec![9, 3, 4, 5],
        vec![9, 3, 4],
    ];
    let odd = |row: &Vec<u32>| row.iter().filter(|number| *number % 2 == 1).count() as u32;
    assert!(killed(make, work, look, &states, odd) > 30);
}
