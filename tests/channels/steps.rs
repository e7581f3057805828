//! A real process is run instruction by instruction through each operation of a queue, and killed with SIGKILL at every step:
//! see `tests/common/victim.rs`. The survivors find all that was in the queue, but for the one item that was being put or
//! taken.

use super::common::victim::at_every_step;
use multiproc::{Connection, JoinableQueue, Queue, Receiver, Sender, Value, channel, pipe, wait};
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

/// Whoever joins comes back, and the count is that of nobody: one more that is done is one too many.
fn all_done(tasks: &JoinableQueue<u64>) {
    while !tasks.is_empty() {
        drop(tasks.get_timeout(LONG).unwrap().expect("getters hang"));
    }
    assert!(tasks.join_timeout(LONG).unwrap(), "who joins hangs");
    assert!(tasks.task_done().unwrap_err().is_too_many_done());
}

#[test]
fn task_put() {
    fn work(tasks: &JoinableQueue<u64>) {
        tasks.put(2).unwrap();
    }
    let make = || {
        let tasks = JoinableQueue::bounded(8);
        tasks.put(1).unwrap();
        tasks
    };
    let check = |tasks: &JoinableQueue<u64>, lived: bool| {
        assert!(tasks.len() == 2 || !lived && tasks.len() == 1);
        assert!(!tasks.join_timeout(Duration::ZERO).unwrap());
        all_done(tasks);
    };
    at_every_step!("task_put", JoinableQueue<u64>, make, work, no_help, check);
}

#[test]
fn task_taken_and_done() {
    fn work(tasks: &JoinableQueue<u64>) {
        assert_eq!(tasks.get().unwrap().done(), 1);
        assert_eq!(tasks.get().unwrap().leave_open(), 2);
        tasks.task_done().unwrap();
    }
    let make = || {
        let tasks = JoinableQueue::bounded(8);
        tasks.put_many(1..=3).unwrap();
        tasks
    };
    let check = |tasks: &JoinableQueue<u64>, lived: bool| {
        let left = tasks.len();
        assert!((1..=3).contains(&left) && (!lived || left == 1), "{left}");
        while let Some(task) = tasks.try_get().unwrap() {
            drop(task);
        }
        // One that was left open belongs to nobody: it stays open if who should have closed it died, as in Python.
        if !tasks.join_timeout(Duration::from_millis(300)).unwrap() {
            assert!(!lived);
            tasks.task_done().unwrap();
        }
        all_done(tasks);
    };
    at_every_step!("task_taken_and_done", JoinableQueue<u64>, make, work, no_help, check);
}

#[test]
fn tasks_joined() {
    fn work(tasks: &JoinableQueue<u64>) {
        tasks.join().unwrap();
    }
    let make = || {
        let tasks = JoinableQueue::bounded(8);
        tasks.put(1).unwrap();
        tasks
    };
    let help = |tasks: &JoinableQueue<u64>| drop(tasks.get().unwrap());
    let check = |tasks: &JoinableQueue<u64>, _: bool| all_done(tasks);
    at_every_step!("tasks_joined", JoinableQueue<u64>, make, work, help, check);
}

type Ends = (Sender<u64>, Receiver<u64>);

#[test]
fn values_sent_and_received() {
    fn work((sender, receiver): &Ends) {
        sender.send(2).unwrap();
        assert_eq!(receiver.recv().unwrap(), 1);
    }
    let make = || {
        let ends = channel(8);
        ends.0.send(1).unwrap();
        ends
    };
    let check = |(sender, receiver): &Ends, lived: bool| {
        sender.send_timeout(3, LONG).expect("senders hang");
        let mut values = Vec::new();
        while values.last() != Some(&3) {
            values.push(receiver.recv_timeout(LONG).unwrap().expect("receivers hang"));
        }
        assert!(values == [2, 3] || !lived && [&[1, 3][..], &[1, 2, 3]].contains(&&values[..]), "{values:?}");
    };
    at_every_step!("values_sent_and_received", Ends, make, work, no_help, check);
}

/// What the victim takes out of the queue is the last sender, or the last receiver.
type LastOf<E, O> = (Queue<E>, O);

#[test]
fn last_sender_taken_used_and_dropped() {
    fn work((kept, _): &LastOf<Sender<u64>, Receiver<u64>>) {
        let sender = kept.get().unwrap();
        sender.send(7).unwrap();
    }
    let make = || {
        let ((sender, receiver), kept) = (channel(8), Queue::bounded(1));
        kept.put(sender).unwrap();
        (kept, receiver)
    };
    let check = |(kept, receiver): &LastOf<Sender<u64>, Receiver<u64>>, lived: bool| {
        // It may be there still, and is dropped then. Otherwise nobody ever comes to that queue again.
        drop((!kept.is_empty()).then(|| kept.get().unwrap()));
        assert_eq!(wait(&[receiver], LONG).unwrap(), [0], "who waits hangs");
        let values: Vec<u64> = receiver.iter().map(Result::unwrap).collect();
        assert!(values == [7] || !lived && values.is_empty(), "{values:?}");
        assert!(receiver.is_disconnected());
    };
    at_every_step!(
        "last_sender_taken_used_and_dropped",
        LastOf<Sender<u64>, Receiver<u64>>,
        make,
        work,
        no_help,
        check
    );
}

#[test]
fn last_receiver_taken_used_and_dropped() {
    if !is_long() {
        return;
    }
    fn work((kept, _): &LastOf<Receiver<u64>, Sender<u64>>) {
        assert_eq!(kept.get().unwrap().recv().unwrap(), 7);
    }
    let make = || {
        let ((sender, receiver), kept) = (channel(1), Queue::bounded(1));
        sender.send(7).unwrap();
        kept.put(receiver).unwrap();
        (kept, sender)
    };
    let check = |(kept, sender): &LastOf<Receiver<u64>, Sender<u64>>, _: bool| {
        drop((!kept.is_empty()).then(|| kept.get().unwrap()));
        // There may be room for one until the last receiver is known to be gone.
        let error = (0..3).find_map(|value| sender.send_timeout(value, LONG).err()).expect("it is not noticed");
        assert!(error.is_disconnected(), "{error}");
    };
    at_every_step!(
        "last_receiver_taken_used_and_dropped",
        LastOf<Receiver<u64>, Sender<u64>>,
        make,
        work,
        no_help,
        check
    );
}

type Pipe = (Connection<u64>, Connection<u64>);

#[test]
fn messages_through_a_pipe() {
    fn work((a, b): &Pipe) {
        a.send(2).unwrap();
        assert_eq!(b.recv().unwrap(), 1);
        b.send_bytes(b"bytes").unwrap();
        assert_eq!(a.recv_bytes(5).unwrap(), b"bytes");
    }
    let make = || {
        let pipe = pipe();
        pipe.0.send(1).unwrap();
        pipe
    };
    let check = |(a, b): &Pipe, lived: bool| {
        a.send_timeout(3, LONG).expect("senders hang");
        let mut values = Vec::new();
        while values.last() != Some(&3) {
            values.push(b.recv_timeout(LONG).unwrap().expect("receivers hang"));
        }
        assert!(values == [2, 3] || !lived && [&[1, 3][..], &[1, 2, 3]].contains(&&values[..]), "{values:?}");
        // The other direction knows nothing of this one.
        let is_there = a.poll(Duration::ZERO).unwrap();
        assert!(!is_there || !lived && a.recv_bytes(5).unwrap() == b"bytes");
        b.send_timeout(4, LONG).expect("senders hang");
        assert_eq!(a.recv_timeout(LONG).unwrap(), Some(4));
    };
    at_every_step!("messages_through_a_pipe", Pipe, make, work, no_help, check);
}

#[test]
fn one_of_two_queues_awaited() {
    fn work((a, b): &(Queue<u64>, Queue<u64>)) {
        assert_eq!(wait(&[a, b], None).unwrap(), [1]);
    }
    let make = || (Queue::bounded(8), Queue::bounded(8));
    let help = |(_, b): &(Queue<u64>, Queue<u64>)| b.put(1).unwrap();
    let check = |(a, b): &(Queue<u64>, Queue<u64>), lived: bool| {
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| wait(&[a, b], LONG).unwrap());
            let place = usize::from(!b.is_empty());
            [a, b][place].put(2).unwrap();
            assert_eq!(waiter.join().unwrap(), [place], "who waits hangs");
        });
        assert!(b.len() == 2 || !lived && a.len() == 1 && b.is_empty());
    };
    at_every_step!("one_of_two_queues_awaited", (Queue<u64>, Queue<u64>), make, work, help, check);
}
