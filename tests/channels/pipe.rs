//! Pipes: two ends that send to each other, and the end of one.

use super::common::proc::kill;
use super::common::watchdog::watchdog;
use multiproc::{Connection, Process, Queue, Receiver, Sender, pipe, pipe_oneway};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn values_and_bytes_go_both_ways() {
    let _watchdog = watchdog(60);
    let (ours, theirs) = pipe::<(u32, String)>();
    let echo = |connection: Connection<(u32, String)>| {
        while let Ok((number, text)) = connection.recv() {
            connection.send((number + 1, text)).unwrap();
            let bytes = connection.recv_bytes(1 << 30).unwrap();
            connection.send_bytes(&bytes).unwrap();
        }
    };
    let other = Process::spawn(echo, (theirs,)).unwrap();
    for number in 0..100 {
        let text = "x".repeat(number as usize * 10);
        ours.send((number, text.clone())).unwrap();
        assert_eq!(ours.recv().unwrap(), (number + 1, text));
        let bytes = vec![number as u8; number as usize * number as usize * 100];
        ours.send_bytes(&bytes).unwrap();
        assert_eq!(ours.recv_bytes(bytes.len()).unwrap(), bytes);
    }
    assert!(!ours.poll(Duration::ZERO).unwrap());
    assert_eq!(ours.recv_timeout(Duration::from_millis(10)).unwrap(), None);
    drop(ours);
    other.join().unwrap();
}

#[test]
fn a_message_that_is_too_long_leaves_the_connection_in_step() {
    let (a, b) = pipe::<u64>();
    for len in [9_usize, 100, 100_000] {
        a.send_bytes(&vec![1; len]).unwrap();
        a.send(7).unwrap();
        let error = b.recv_bytes(len - 1).unwrap_err();
        assert!(error.is_too_long(), "{error}");
        assert_eq!(error.to_string(), format!("the message has {len} bytes, and {} were allowed", len - 1));
        assert_eq!(b.recv().unwrap(), 7);
    }
    a.send_bytes(b"").unwrap();
    assert_eq!(b.recv_bytes(0).unwrap(), b"");
    a.send_bytes(b"no number").unwrap();
    assert!(b.recv().unwrap_err().is_decode());
    assert!(!b.poll(Duration::ZERO).unwrap());
}

#[test]
fn the_other_end_is_gone_with_its_last_copy() {
    let _watchdog = watchdog(60);
    let (a, b) = pipe::<u64>();
    let copy = b.clone();
    b.send(1).unwrap();
    drop(b);
    assert!(a.send(2).is_ok() && a.recv_timeout(SOON).unwrap() == Some(1));
    let kept = Queue::new();
    kept.put(copy).unwrap();
    // It lies in a queue.
    assert_eq!(a.recv_timeout(Duration::from_millis(10)).unwrap(), None);
    drop(kept);
    assert!(a.poll(SOON).unwrap());
    assert!(a.recv().unwrap_err().is_disconnected());
    let error = a.send(3).unwrap_err();
    assert!(error.is_disconnected() && error.into_inner() == 3);
    assert!(a.send_bytes(b"x").unwrap_err().is_disconnected());
    let (reader, writer): (Receiver<u64>, Sender<u64>) = pipe_oneway();
    writer.send(1).unwrap();
    drop(writer);
    assert_eq!(reader.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_killed_end_is_noticed() {
    let _watchdog = watchdog(60);
    let mut taken: Vec<Duration> = Vec::new();
    for _ in 0..5 {
        let (a, b) = pipe::<u64>();
        let hold = |connection: Connection<u64>| {
            connection.send(1).unwrap();
            std::thread::sleep(Duration::from_secs(1000));
        };
        let holder = Process::spawn(hold, (b,)).unwrap();
        assert_eq!(a.recv().unwrap(), 1);
        std::thread::scope(|scope| {
            let (poller, receiver) = (scope.spawn(|| a.poll(SOON).unwrap()), scope.spawn(|| a.recv().unwrap_err()));
            std::thread::sleep(Duration::from_millis(60));
            let start = Instant::now();
            kill(holder.pid());
            assert!(receiver.join().unwrap().is_disconnected());
            assert!(poller.join().unwrap());
            taken.push(start.elapsed());
        });
    }
    taken.sort();
    println!("after {:?}: who receives from a killed process", taken[2]);
    assert!(taken[2] < Duration::from_millis(100), "{taken:?}");
}

#[test]
fn who_polls_keeps_no_message_from_others() {
    let _watchdog = watchdog(60);
    for _ in 0..50 {
        let (a, b) = pipe::<u64>();
        std::thread::scope(|scope| {
            let pollers = [0, 1].map(|_| scope.spawn(|| b.poll(SOON).unwrap()));
            let receiver = scope.spawn(|| b.recv().unwrap());
            std::thread::sleep(Duration::from_millis(1));
            a.send_bytes(&1_u64.to_le_bytes()).unwrap();
            assert_eq!(receiver.join().unwrap(), 1);
            // For those that have come too late.
            a.send(2).unwrap();
            pollers.into_iter().for_each(|poller| assert!(poller.join().unwrap()));
        });
    }
}

#[test]
fn forms_that_do_not_wait_say_what_there_is() {
    let (a, b) = pipe::<u64>();
    assert_eq!(b.try_recv().unwrap(), None);
    let sent = (0..).take_while(|number| a.try_send(*number).map_err(|error| assert!(error.is_full())).is_ok()).count();
    assert_eq!(sent, 1024);
    assert_eq!(a.try_send(7).unwrap_err().into_inner(), 7);
    assert_eq!(b.try_recv().unwrap(), Some(0));
    a.try_send(1024).unwrap();
    for number in 1..=1024 {
        assert_eq!(b.try_recv().unwrap(), Some(number));
    }
    drop(a);
    assert!(b.try_recv().unwrap_err().is_disconnected());
    assert!(b.try_send(1).unwrap_err().is_disconnected());
}
