//! What the typed proxies do.

use super::common::watchdog::watchdog;
use multiproc::{DictProxy, ListProxy, Manager, NamespaceProxy, Process};
use std::collections::HashMap;

#[test]
fn a_map() {
    let _watchdog = watchdog(60);
    let manager = Manager::new().unwrap();
    let map: DictProxy<String, u64> = manager.dict([]).unwrap();
    let key = |name: &str| name.to_owned();
    assert!(map.is_empty().unwrap());
    assert_eq!(map.insert(key("a"), 1).unwrap(), None);
    assert_eq!(map.insert(key("a"), 2).unwrap(), Some(1));
    assert_eq!(map.get_or_insert(key("a"), 9).unwrap(), 2);
    assert_eq!(map.get_or_insert(key("b"), 9).unwrap(), 9);
    map.extend([(key("c"), 3), (key("d"), 4)]).unwrap();
    assert_eq!(map.len().unwrap(), 4);
    assert_eq!(map.get("c").unwrap(), Some(3));
    assert_eq!(map.get("x").unwrap(), None);
    assert!(map.contains_key("d").unwrap());
    assert_eq!(map.remove("d").unwrap(), Some(4));
    assert_eq!(map.remove("d").unwrap(), None);
    map.update("e", |value| *value += 5).unwrap();
    let double = |value: &mut u64| {
        *value *= 2;
        *value
    };
    assert_eq!(map.update("e", double).unwrap(), 10);
    let whole = map.to_map().unwrap();
    assert_eq!(whole, HashMap::from([(key("a"), 2), (key("b"), 9), (key("c"), 3), (key("e"), 10)]));
    let (mut keys, mut values) = (map.keys().unwrap(), map.values().unwrap());
    keys.sort();
    values.sort();
    assert_eq!((keys, values), (vec![key("a"), key("b"), key("c"), key("e")], vec![2, 3, 9, 10]));
    let (name, value) = map.pop().unwrap().unwrap();
    assert_eq!(whole[&name], value);
    map.clear().unwrap();
    assert_eq!(map.pop().unwrap(), None);
}

#[test]
fn a_list() {
    let _watchdog = watchdog(60);
    let manager = Manager::new().unwrap();
    let list = manager.list([3, 1]).unwrap();
    list.push(2).unwrap();
    list.extend([5, 4]).unwrap();
    assert_eq!(list.to_vec().unwrap(), [3, 1, 2, 5, 4]);
    list.sort().unwrap();
    list.reverse().unwrap();
    assert_eq!(list.to_vec().unwrap(), [5, 4, 3, 2, 1]);
    assert_eq!((list.get(4).unwrap(), list.get(5).unwrap()), (Some(1), None));
    assert_eq!((list.set(0, 50).unwrap(), list.set(5, 0).unwrap()), (Some(5), None));
    assert_eq!((list.remove(1).unwrap(), list.remove(4).unwrap()), (Some(4), None));
    list.insert(1, 7).unwrap();
    list.insert(100, 8).unwrap();
    assert_eq!(list.to_vec().unwrap(), [50, 7, 3, 2, 1, 8]);
    assert_eq!(list.update(0, |item| *item += 1).unwrap(), Some(()));
    assert_eq!(list.update(6, |item| *item += 1).unwrap(), None);
    assert_eq!((list.contains(&51).unwrap(), list.contains(&50).unwrap()), (true, false));
    assert_eq!((list.pop().unwrap(), list.len().unwrap()), (Some(8), 5));
    list.clear().unwrap();
    assert!(list.is_empty().unwrap());
    assert_eq!(list.pop().unwrap(), None);
}

#[test]
fn a_namespace_in_another_process() {
    let _watchdog = watchdog(60);
    let manager = Manager::new().unwrap();
    let space = manager.namespace().unwrap();
    space.set("x", 10u32).unwrap();
    let change = |space: NamespaceProxy| {
        space.set("y", space.get::<u32>("x").unwrap().unwrap() as f64 / 4.0).unwrap();
        assert!(space.remove("x").unwrap() && !space.remove("x").unwrap());
    };
    Process::spawn(change, (space.clone(),)).unwrap().join().unwrap();
    assert_eq!(space.names().unwrap(), ["y"]);
    assert_eq!(space.get::<f64>("y").unwrap(), Some(2.5));
    let error = space.get::<u32>("y").unwrap_err();
    assert!(error.to_string().contains("`y` is a `f64`, not a `u32`"), "{error}");
}

#[test]
fn lists_in_a_list_are_no_copies() {
    let _watchdog = watchdog(60);
    let manager = Manager::new().unwrap();
    let (first, second) = (manager.list([1]).unwrap(), manager.list([2]).unwrap());
    let outer: ListProxy<ListProxy<i32>> = manager.list([first.clone(), second]).unwrap();
    first.push(10).unwrap();
    outer.get(1).unwrap().unwrap().push(20).unwrap();
    let all: Vec<Vec<i32>> = outer.to_vec().unwrap().iter().map(|list| list.to_vec().unwrap()).collect();
    assert_eq!(all, [[1, 10], [2, 20]]);
    // The second list has no proxy but the one in the outer list.
    assert_eq!(manager.objects().unwrap().len(), 3);
    outer.clear().unwrap();
    assert_eq!(manager.objects().unwrap().len(), 2);
}
