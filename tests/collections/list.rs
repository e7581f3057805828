//! Lists: what they do, and what may be in them.

use super::common::watchdog::watchdog;
use multiproc::{Pool, Process, SharedList, Value};

#[test]
fn it_does_what_a_vector_does() {
    let (list, mut model) = (SharedList::<String>::new(), Vec::<String>::new());
    let mut random: u64 = 7;
    for round in 0..20_000_u32 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (random >> 33) as usize % 200;
        let item = "x".repeat((random >> 50) as usize % 60);
        match round % 8 {
            0 => {
                list.push(item.clone()).unwrap();
                model.push(item);
            }
            1 => {
                list.extend([item.clone(), "second".to_owned()]).unwrap();
                model.extend([item, "second".to_owned()]);
            }
            2 => {
                list.insert(at, item.clone()).unwrap();
                model.insert(at.min(model.len()), item);
            }
            3 => assert_eq!(list.pop().unwrap(), model.pop()),
            4 => assert_eq!(list.remove(at).unwrap(), (at < model.len()).then(|| model.remove(at))),
            5 => assert_eq!(list.set(at, item.clone()).unwrap(), model.get_mut(at).map(|it| *it = item).is_some()),
            6 => {
                let len = list.update(at, |item| {
                    item.push('y');
                    item.len()
                });
                assert_eq!(
                    len.unwrap(),
                    model.get_mut(at).map(|item| {
                        item.push('y');
                        item.len()
                    })
                );
            }
            _ if round % 200 == 7 => {
                list.remove_range(at..at + 60).unwrap();
                model.drain(at.min(model.len())..(at + 60).min(model.len()));
            }
            _ => assert_eq!(list.get(at).unwrap(), model.get(at).cloned()),
        }
    }
    assert!(model.len() > 50);
    assert_eq!(list.len().unwrap(), model.len());
    assert_eq!(list.iter().unwrap().collect::<Vec<_>>(), model);
    list.clear().unwrap();
    assert!(list.is_empty().unwrap() && list.pop().unwrap().is_none() && list.get(0).unwrap().is_none());
}

#[test]
fn others_see_it() {
    let _watchdog = watchdog(60);
    let list = SharedList::<(u64, Value<u64>)>::new();
    let pool = Pool::new(3).unwrap();
    let add = |list: &SharedList<(u64, Value<u64>)>, n: u64| list.push((n, Value::new(n))).unwrap();
    pool.with(&list).tasks(add, 0..300).run().unwrap();
    drop(pool);
    let mut numbers: Vec<u64> =
        list.iter().unwrap().map(|(n, value)| n * u64::from(value.get().unwrap() == n)).collect();
    numbers.sort();
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
    let last = |list: SharedList<(u64, Value<u64>)>| list.pop().unwrap().map(|last| last.1.get().unwrap());
    assert!(Process::spawn(last, (list.clone(),)).unwrap().join().unwrap().is_some());
    assert_eq!(list.len().unwrap(), 299);
}

#[test]
fn a_change_that_panics_or_asks_the_same_list_changes_nothing() {
    let list = SharedList::<u32>::new();
    list.push(1).unwrap();
    let panics = || list.update(0, |_| -> () { panic!("on purpose") });
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
    assert!(list.update(0, |_| list.push(2)).unwrap().unwrap().unwrap_err().is_would_deadlock());
    assert_eq!(list.iter().unwrap().collect::<Vec<_>>(), [1]);
}
