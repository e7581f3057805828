//! Queues travel, and handles travel in their items.

use super::common::watchdog::watchdog;
use multiproc::ipc_channel::ipc::{self, IpcSender};
use multiproc::{Ipc, Lock, Pool, Process, Queue, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    number: u32,
    sum: Value<u64>,
    locks: BTreeMap<String, Lock>,
    answers: Queue<(u32, u64)>,
}

#[test]
fn in_arguments_contexts_results_and_items() {
    let _watchdog = watchdog(60);
    let (orders, answers) = (Queue::<Order>::bounded(4), Queue::new());
    let serve = |orders: Queue<Order>| {
        while let Ok(order) = orders.get() {
            let _held = order.locks["first"].lock().unwrap();
            let sum = order.sum.update(|sum| {
                *sum += u64::from(order.number);
                *sum
            });
            order.answers.put((order.number, sum.unwrap())).unwrap();
        }
    };
    let server = Process::spawn(serve, (orders.clone(),)).unwrap();
    for number in 0..50 {
        // All but the queue is gone here before the other side has looked at it.
        let locks = BTreeMap::from([("first".to_owned(), Lock::new())]);
        let order = Order { number, sum: Value::new(1000), locks, answers: answers.clone() };
        orders.put(order).unwrap();
    }
    for number in 0..50 {
        assert_eq!(answers.get().unwrap(), (number, 1000 + u64::from(number)));
    }
    orders.close().unwrap();
    server.join().unwrap();
    let pool = Pool::new(2).unwrap();
    let queue = pool.apply(|queue: Queue<(u32, u64)>| queue.put((1, 2)).map(|()| queue), (answers.clone(),)).unwrap();
    assert_eq!((queue.unwrap().len(), answers.len()), (1, 1));
    let made = pool.apply(|| Queue::<String>::bounded(1), ()).unwrap();
    drop(pool);
    made.put("from a worker that is gone".to_owned()).unwrap();
}

#[test]
fn not_outside_of_messages() {
    let text = serde_json::to_string(&Queue::<u64>::new()).unwrap_err().to_string();
    assert!(text.contains("can only travel in arguments"), "{text}");
}

#[test]
fn an_end_of_ipc_channel_is_refused_and_given_back() {
    let _watchdog = watchdog(60);
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let queue = Queue::<Ipc<IpcSender<u32>>>::new();
    let error = queue.put(Ipc(sender.clone())).unwrap_err();
    assert!(error.is_encode() && error.to_string().contains("ipc-channel"), "{error}");
    error.into_inner().send(1).unwrap();
    assert_eq!(receiver.recv().unwrap(), 1);
    let queue = Queue::<IpcSender<u32>>::new();
    queue.put_many([sender]).unwrap_err().into_inner()[0].send(2).unwrap();
    assert_eq!((receiver.recv().unwrap(), queue.len()), (2, 0));
}
