//! A real process is run instruction by instruction through each operation of a queue, and killed with SIGKILL at every step:
//! see `tests/common/victim.rs`. The survivors find all that was in the queue, but for the one item that was being put or
//! taken.

use super::common::victim::at_every_step;
use multiproc::{Queue, Value};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

fn no_help<T>(_: &T) {}

/// What is in the queue, in front of an item that this puts: so both ends work.
fn drain<T: multiproc::Payload>(queue: &Queue<T>, last: T) -> Vec<T> {
    queue.put_timeout(last, LONG).expect("putters hang");
    let mut items = Vec::new();
    loop {
        let len = queue.len();
        items.push(queue.get_timeout(LONG).unwrap().expect("getters hang"));
        if len <= 1 {
            items.pop();
            return items;
        }
    }
}

#[test]
fn numbers_put() {
    fn work(queue: &Queue<u64>) {
        queue.put(3).unwrap();
        queue.put_many([4, 5]).unwrap();
    }
    let make = || {
        let queue = Queue::bounded(8);
        queue.put_many([1, 2]).unwrap();
        queue
    };
    let check = |queue: &Queue<u64>, lived: bool| {
        let items = drain(queue, 9);
        assert!([2, 3, 5].contains(&items.len()) && (!lived || items.len() == 5), "{items:?}");
        assert_eq!(items, (1..=items.len() as u64).collect::<Vec<_>>());
    };
    at_every_step!("numbers_put", Queue<u64>, make, work, no_help, check);
}

#[test]
fn numbers_got() {
    fn work(queue: &Queue<u64>) {
        assert_eq!(queue.get().unwrap(), 1);
        assert_eq!(queue.get_many(2).unwrap().len(), 2);
    }
    let make = || {
        let queue = Queue::bounded(8);
        queue.put_many(1..=4).unwrap();
        queue
    };
    let check = |queue: &Queue<u64>, lived: bool| {
        let items = drain(queue, 9);
        assert!([4, 3, 1].contains(&items.len()) && (!lived || items.len() == 1), "{items:?}");
        assert_eq!(items, (5 - items.len() as u64..=4).collect::<Vec<_>>());
    };
    at_every_step!("numbers_got", Queue<u64>, make, work, no_help, check);
}

/// With something in it that lies in a block, and refers to another.
type Large = (u64, Value<u64>);

fn large(number: u64) -> Large {
    (number, Value::new(number))
}

fn numbers(items: &[Large]) -> Vec<u64> {
    items.iter().map(|(number, value)| if value.get().unwrap() == *number { *number } else { 0 }).collect()
}

/// Whether tests run that take some minutes: with MULTIPROC_LONG=1.
fn is_long() -> bool {
    std::env::var_os("MULTIPROC_LONG").is_some()
}

#[test]
fn large_items_put() {
    if !is_long() {
        return;
    }
    fn work(queue: &Queue<Large>) {
        queue.put(large(3)).unwrap();
    }
    let make = || {
        let queue = Queue::bounded(8);
        queue.put_many([large(1), large(2)]).unwrap();
        queue
    };
    let check = |queue: &Queue<Large>, lived: bool| {
        let items = numbers(&drain(queue, large(9)));
        assert!((2..=3).contains(&items.len()) && (!lived || items.len() == 3), "{items:?}");
        assert_eq!(items, (1..=items.len() as u64).collect::<Vec<_>>());
    };
    at_every_step!("large_items_put", Queue<Large>, make, work, no_help, check);
}

#[test]
fn large_items_got() {
    if !is_long() {
        return;
    }
    fn work(queue: &Queue<Large>) {
        assert_eq!(queue.get().unwrap().1.get().unwrap(), 1);
    }
    let make = || {
        let queue = Queue::bounded(8);
        queue.put_many((1..=3).map(large)).unwrap();
        queue
    };
    let check = |queue: &Queue<Large>, lived: bool| {
        let items = numbers(&drain(queue, large(9)));
        assert!((2..=3).contains(&items.len()) && (!lived || items.len() == 2), "{items:?}");
        assert_eq!(items, (4 - items.len() as u64..=3).collect::<Vec<_>>());
    };
    at_every_step!("large_items_got", Queue<Large>, make, work, no_help, check);
}

#[test]
fn item_awaited() {
    fn work(queue: &Queue<u64>) {
        assert_eq!(queue.get().unwrap(), 1);
    }
    let help = |queue: &Queue<u64>| queue.put(1).unwrap();
    let check = |queue: &Queue<u64>, lived: bool| {
        let items = drain(queue, 9);
        assert!(items.is_empty() || !lived && items == [1], "{items:?}");
    };
    at_every_step!("item_awaited", Queue<u64>, || Queue::bounded(8), work, help, check);
}

#[test]
fn room_awaited() {
    fn work(queue: &Queue<u64>) {
        queue.put(2).unwrap();
    }
    let make = || {
        let queue = Queue::bounded(1);
        queue.put(1).unwrap();
        queue
    };
    let help = |queue: &Queue<u64>| assert_eq!(queue.get().unwrap(), 1);
    let check = |queue: &Queue<u64>, lived: bool| {
        let items = queue.try_get_many(9).unwrap().into_iter().map(Result::unwrap).collect::<Vec<_>>();
        assert!(items == [2] || !lived && (items.is_empty() || items == [1]), "{items:?}");
        assert!(drain(queue, 9).is_empty());
    };
    at_every_step!("room_awaited", Queue<u64>, make, work, help, check);
}

#[test]
fn queue_closed() {
    fn work(queue: &Queue<u64>) {
        queue.close().unwrap()
    }
    let check = |queue: &Queue<u64>, lived: bool| {
        let put = queue.put_timeout(1, LONG);
        assert!(put.is_ok() && !lived || put.is_err_and(|error| error.is_closed()));
        queue.close().unwrap();
        assert!(queue.try_put(2).unwrap_err().is_closed());
    };
    at_every_step!("queue_closed", Queue<u64>, || Queue::bounded(8), work, no_help, check);
}
