//! Channels: whoever waits is told when the last one at the other end is gone, however it went.

use super::common::proc::kill;
use super::common::watchdog::watchdog;
use multiproc::{Pool, Process, Queue, RawValue, Receiver, Sender, channel, join_all, try_channel};
use std::time::{Duration, Instant};

#[test]
fn what_was_sent_is_received_and_then_it_is_over() {
    let _watchdog = watchdog(60);
    let (sender, receiver) = channel::<String>(4);
    let again = sender.clone();
    assert!(!receiver.is_disconnected() && receiver.is_empty());
    sender.send("a".to_owned()).unwrap();
    drop(sender);
    again.send_many(["b".to_owned(), "c".repeat(1000)]).unwrap();
    assert_eq!((receiver.len(), receiver.try_recv().unwrap().unwrap()), (3, "a".to_owned()));
    drop(again);
    assert!(receiver.is_disconnected());
    assert_eq!(receiver.recv().unwrap(), "b");
    assert_eq!(receiver.recv_many(9).unwrap().len(), 1);
    for error in [receiver.recv().unwrap_err(), receiver.try_recv().unwrap_err()] {
        assert!(error.is_disconnected(), "{error}");
    }
    assert!(receiver.recv_timeout(Duration::from_secs(10)).unwrap_err().is_disconnected());
}

#[test]
fn without_a_receiver_values_come_back() {
    let (sender, receiver) = channel::<u64>(1);
    sender.send(1).unwrap();
    let error = sender.try_send(2).unwrap_err();
    assert!(error.is_full() && sender.is_full() && sender.capacity() == 1);
    assert!(sender.send_timeout(2, Duration::from_millis(5)).unwrap_err().is_full());
    drop(receiver);
    assert!(sender.is_disconnected());
    for error in [sender.send(3).unwrap_err(), sender.try_send(3).unwrap_err()] {
        assert!(error.is_disconnected());
        assert_eq!(error.into_inner(), 3);
    }
    assert_eq!(sender.send_many([4, 5]).unwrap_err().into_inner(), [4, 5]);
    assert!(try_channel::<u64>(0).unwrap_err().is_invalid_argument());
    assert!(channel::<u64>(None).0.capacity() > 1 << 20);
}

#[test]
fn an_end_that_travels_is_not_gone() {
    let _watchdog = watchdog(60);
    let (sender, receiver) = channel::<u64>(None);
    let ends = Queue::<(Sender<u64>, Vec<Receiver<u64>>)>::new();
    ends.put((sender, Vec::new())).unwrap();
    // It lies in a queue, and nobody has it.
    assert!(!receiver.is_disconnected());
    let (sender, _) = ends.get().unwrap();
    let pool = Pool::new(2).unwrap();
    let sums = pool.map(
        |(sender, number): (Sender<u64>, u64)| sender.send(number).map(|()| number).unwrap(),
        (0..50).map(|number| (sender.clone(), number)),
    );
    assert_eq!(sums.unwrap().len(), 50);
    let same = pool.apply(|sender: Sender<u64>| sender, (sender,)).unwrap();
    same.send(100).unwrap();
    drop((same, pool));
    let all: u64 = receiver.iter().map(Result::unwrap).sum();
    assert_eq!(all, 50 * 49 / 2 + 100);
    // An end is not taken for the other.
    let text = serde_json::to_string(&receiver).unwrap_err().to_string();
    assert!(text.contains("can only travel in arguments"), "{text}");
}

#[test]
fn a_crew_ends_by_itself() {
    let _watchdog = watchdog(60);
    let (sender, receiver) = channel::<(u32, u64)>(8);
    let (results, sums) = channel::<u64>(None);
    let produce = |sender: Sender<(u32, u64)>, who: u32| (1..=500).for_each(|it| sender.send((who, it)).unwrap());
    let consume = |receiver: Receiver<(u32, u64)>, results: Sender<u64>| {
        results.send(receiver.into_iter().map(|it| it.unwrap().1).sum()).unwrap();
    };
    let producers: Vec<_> = (0..3).map(|who| Process::spawn(produce, (sender.clone(), who)).unwrap()).collect();
    let consumers: Vec<_> =
        (0..3).map(|_| Process::spawn(consume, (receiver.clone(), results.clone())).unwrap()).collect();
    drop((sender, receiver, results));
    assert_eq!(sums.into_iter().map(Result::unwrap).sum::<u64>(), 3 * 500 * 501 / 2);
    join_all(producers).unwrap();
    join_all(consumers).unwrap();
}

/// The median over some rounds of what `round` takes from a kill to its consequence.
fn median(mut round: impl FnMut() -> Duration) -> Duration {
    let mut taken: Vec<Duration> = (0..5).map(|_| round()).collect();
    taken.sort();
    taken[taken.len() / 2]
}

#[test]
fn a_receiver_is_told_that_the_last_sender_was_killed() {
    let _watchdog = watchdog(60);
    let taken = median(|| {
        let (sender, receiver) = channel::<u64>(4);
        let hold = |sender: Sender<u64>| {
            sender.send(1).unwrap();
            std::thread::sleep(Duration::from_secs(1000));
        };
        let holder = Process::spawn(hold, (sender,)).unwrap();
        assert_eq!(receiver.recv().unwrap(), 1);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| receiver.recv().unwrap_err());
            std::thread::sleep(Duration::from_millis(60));
            let start = Instant::now();
            kill(holder.pid());
            assert!(waiter.join().unwrap().is_disconnected());
            start.elapsed()
        })
    });
    println!("after {taken:?}: a receiver, of the last sender");
    assert!(taken < Duration::from_millis(100), "{taken:?}");
}

/// Its parent was killed, and nobody else is told that it has ended with it.
#[test]
fn a_receiver_is_told_that_the_last_sender_died_with_its_parent() {
    let _watchdog = watchdog(60);
    fn hold(sender: Sender<u64>) {
        sender.send(1).unwrap();
        std::thread::sleep(Duration::from_secs(1000));
    }
    fn start_one_that_holds(sender: Sender<u64>) {
        Process::spawn(hold, (sender,)).unwrap().wait();
    }
    let taken = median(|| {
        let (sender, receiver) = channel::<u64>(4);
        let parent = Process::spawn(start_one_that_holds, (sender,)).unwrap();
        assert_eq!(receiver.recv().unwrap(), 1);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| receiver.recv_timeout(Duration::from_secs(20)).unwrap_err());
            std::thread::sleep(Duration::from_millis(60));
            let start = Instant::now();
            kill(parent.pid());
            assert!(waiter.join().unwrap().is_disconnected());
            start.elapsed()
        })
    });
    println!("after {taken:?}: a receiver, of the last sender, whose parent was killed");
    assert!(taken < Duration::from_millis(100), "{taken:?}");
}

#[test]
fn a_sender_is_told_that_the_last_receiver_was_killed() {
    let _watchdog = watchdog(60);
    let taken = median(|| {
        let (sender, receiver) = channel::<u64>(1);
        let ready = RawValue::new(0);
        let hold = |_receiver: Receiver<u64>, ready: RawValue<u32>| {
            ready.set(1);
            std::thread::sleep(Duration::from_secs(1000));
        };
        let holder = Process::spawn(hold, (receiver, ready.clone())).unwrap();
        sender.send(1).unwrap();
        while ready.get() == 0 {
            std::thread::yield_now();
        }
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| sender.send(2).unwrap_err());
            std::thread::sleep(Duration::from_millis(60));
            let start = Instant::now();
            kill(holder.pid());
            let error = waiter.join().unwrap();
            assert!(error.is_disconnected() && error.into_inner() == 2);
            start.elapsed()
        })
    });
    println!("after {taken:?}: a sender, of the last receiver");
    assert!(taken < Duration::from_millis(100), "{taken:?}");
}

#[test]
fn whoever_waits_is_woken_by_the_last_drop() {
    let _watchdog = watchdog(60);
    // Many times, and each far below the length of a slice on average.
    let start = Instant::now();
    for _ in 0..100 {
        let (sender, receiver) = channel::<u64>(1);
        let waiter = std::thread::spawn(move || receiver.recv().unwrap_err());
        std::thread::sleep(Duration::from_millis(1));
        drop(sender);
        assert!(waiter.join().unwrap().is_disconnected());
    }
    println!("100 disconnections: {:?}", start.elapsed());
}

#[test]
fn batches_wait_or_do_not() {
    let (sender, receiver) = channel::<u64>(3);
    assert!(receiver.try_recv_many(5).unwrap().is_empty());
    assert!(receiver.recv_many_timeout(5, Duration::from_millis(1)).unwrap().is_empty());
    let rest = sender.try_send_many(1..=5).unwrap_err();
    assert!(rest.is_full());
    assert_eq!(rest.into_inner(), [4, 5]);
    assert_eq!(sender.send_many_timeout([6], Duration::from_millis(1)).unwrap_err().into_inner(), [6]);
    let all: Result<Vec<_>, _> = receiver.recv_many_timeout(2, Duration::from_secs(20)).unwrap().into_iter().collect();
    assert_eq!(all.unwrap(), [1, 2]);
    let all: Result<Vec<_>, _> = receiver.try_recv_many(5).unwrap().into_iter().collect();
    assert_eq!(all.unwrap(), [3]);
    drop(sender);
    assert!(receiver.try_recv_many(5).unwrap_err().is_disconnected());
}
