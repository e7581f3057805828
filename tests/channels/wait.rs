//! Waiting for one of several things, descriptors that stand for queues, and streams.

use super::common::alone::alone;
use super::common::fork::in_fork;
use super::common::proc::{eventually, holdings, kill};
use super::common::seccomp::refuse;
use super::common::watchdog::watchdog;
use multiproc::{
    Connection, JoinableQueue, Process, Queue, RawValue, Readiness, Receiver, Sender, SimpleQueue, Waitable, channel,
    pipe, wait,
};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const NOW: Duration = Duration::ZERO;
const SOON: Duration = Duration::from_secs(20);

fn as_sources<W: Waitable>(all: &[W]) -> Vec<&dyn Waitable> {
    all.iter().map(|it| it as &dyn Waitable).collect()
}

#[test]
fn everything_that_can_be_ready_is_told_in_its_place() {
    let _watchdog = watchdog(60);
    let (queue, tasks, simple) = (Queue::<u64>::new(), JoinableQueue::<u64>::new(), SimpleQueue::<u64>::new());
    let (sender, receiver) = channel::<u64>(4);
    let (ours, theirs) = pipe::<u64>();
    let (mut writer, mut reader) = UnixStream::pair().unwrap();
    let (go, gone) = channel::<()>(1);
    let process = Process::spawn(|gone: Receiver<()>| drop(gone.recv()), (gone,)).unwrap();
    let sources: [&dyn Waitable; 7] =
        [&queue, &reader.try_clone().unwrap(), &tasks, &simple, &receiver, &ours, &process];
    let ready = || wait(&sources, NOW).unwrap();
    assert!(ready().is_empty());
    queue.put(1).unwrap();
    assert_eq!(
        (ready(), wait(&sources, None).unwrap(), wait(&sources[..1], SOON).unwrap()),
        (vec![0], vec![0], vec![0])
    );
    writer.write_all(b"x").unwrap();
    tasks.put(1).unwrap();
    simple.put(1).unwrap();
    assert_eq!(ready(), [0, 1, 2, 3]);
    sender.send(1).unwrap();
    theirs.send(1).unwrap();
    drop(go);
    assert_eq!(wait(&sources[6..], SOON).unwrap(), [0]);
    assert_eq!(ready(), [0, 1, 2, 3, 4, 5, 6]);
    // Nothing was taken.
    assert_eq!((queue.get().unwrap(), *tasks.get().unwrap(), simple.get().unwrap()), (1, 1, 1));
    reader.read_exact(&mut [0]).unwrap();
    assert_eq!((receiver.recv().unwrap(), ours.recv().unwrap()), (1, 1));
    assert_eq!(ready(), [6]);
    // The end is something to be told of, too.
    drop((sender, theirs, writer));
    queue.close().unwrap();
    assert_eq!(ready(), [0, 1, 4, 5, 6]);
}

#[test]
fn the_timeout_ends_the_wait() {
    let _watchdog = watchdog(60);
    let (queue, (_writer, reader)) = (Queue::<u64>::new(), UnixStream::pair().unwrap());
    let timeout = Duration::from_millis(60);
    let kinds: [&[&dyn Waitable]; 3] = [&[&queue, &queue], &[&reader], &[&reader, &queue]];
    for sources in kinds {
        let start = Instant::now();
        assert!(wait(sources, timeout).unwrap().is_empty());
        assert!(start.elapsed() >= timeout);
    }
    assert!(wait(&[], None).unwrap().is_empty());
}

/// Each of several things becomes ready while one waits for all.
fn each_wakes(sources: &[&dyn Waitable], change: &(dyn Fn(usize) + Sync), undo: &dyn Fn(usize)) {
    for place in (0..sources.len()).cycle().take(100) {
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // So that some sleep, and some still look.
                std::thread::sleep(Duration::from_micros(place as u64 % 3 * 300));
                change(place);
            });
            assert_eq!(wait(sources, SOON).unwrap(), [place]);
        });
        undo(place);
    }
}

#[test]
fn each_of_several_queues_wakes() {
    let _watchdog = watchdog(60);
    let queues: Vec<_> = (0..10).map(|_| Queue::<u64>::new()).collect();
    each_wakes(&as_sources(&queues), &|at| queues[at].put(1).unwrap(), &|at| assert_eq!(queues[at].get().unwrap(), 1));
}

#[test]
fn queues_and_descriptors_wake_together() {
    let _watchdog = watchdog(60);
    let pipes: Vec<_> = (0..3).map(|_| UnixStream::pair().unwrap()).collect();
    let queues: Vec<_> = (0..3).map(|_| Queue::<u64>::new()).collect();
    let mut sources = as_sources(&queues);
    sources.extend(pipes.iter().map(|(reader, _)| reader as &dyn Waitable));
    let change = |at: usize| match at.checked_sub(3) {
        Some(at) => (&pipes[at].1).write_all(b"x").unwrap(),
        None => queues[at].put(1).unwrap(),
    };
    let undo = |at: usize| match at.checked_sub(3) {
        Some(at) => (&pipes[at].0).read_exact(&mut [0]).unwrap(),
        None => assert_eq!(queues[at].get().unwrap(), 1),
    };
    each_wakes(&sources, &change, &undo);
}

#[test]
fn more_queues_than_the_kernel_waits_for() {
    let _watchdog = watchdog(60);
    let queues: Vec<_> = (0..300).map(|_| Queue::<u64>::bounded(1)).collect();
    let (_writer, reader) = UnixStream::pair().unwrap();
    let mut sources = as_sources(&queues);
    for descriptors in 0..2 {
        for at in [0, 127, 128, 299] {
            std::thread::scope(|scope| {
                scope.spawn(|| queues[at].put(1).unwrap());
                assert_eq!(wait(&sources, SOON).unwrap(), [at]);
            });
            assert_eq!((queues[at].get().unwrap(), descriptors), (1, sources.len() - 300));
        }
        sources.push(&reader);
    }
}

#[test]
fn a_kernel_that_cannot_wait_at_several_words() {
    if alone("wait::a_kernel_that_cannot_wait_at_several_words") {
        let _watchdog = watchdog(60);
        refuse(&[libc::SYS_futex_waitv], libc::ENOSYS);
        each_of_several_queues_wakes();
        queues_and_descriptors_wake_together();
        whoever_waits_keeps_no_item_from_others();
    }
}

#[test]
fn the_end_of_the_last_sender_is_noticed() {
    let _watchdog = watchdog(60);
    let (_writer, reader) = UnixStream::pair().unwrap();
    let other = Queue::<u64>::new();
    for is_mixed in [false, true] {
        let mut taken: Vec<Duration> = Vec::new();
        for _ in 0..5 {
            let (sender, receiver) = channel::<u64>(4);
            let hold = |sender: Sender<u64>| {
                sender.send(1).unwrap();
                std::thread::sleep(Duration::from_secs(1000));
            };
            let holder = Process::spawn(hold, (sender,)).unwrap();
            assert_eq!(receiver.recv().unwrap(), 1);
            let wait = || {
                let mut sources: Vec<&dyn Waitable> = vec![&other, &receiver];
                if is_mixed {
                    sources.push(&reader);
                }
                wait(&sources, SOON).unwrap()
            };
            std::thread::scope(|scope| {
                let waiter = scope.spawn(wait);
                std::thread::sleep(Duration::from_millis(60));
                let start = Instant::now();
                kill(holder.pid());
                assert_eq!(waiter.join().unwrap(), [1]);
                taken.push(start.elapsed());
            });
            assert!(receiver.recv().unwrap_err().is_disconnected());
        }
        taken.sort();
        println!("after {:?}: who waits, of the last sender; descriptors: {is_mixed}", taken[2]);
        assert!(taken[2] < Duration::from_millis(100), "{taken:?}");
    }
}

#[test]
fn whoever_waits_keeps_no_item_from_others() {
    let _watchdog = watchdog(60);
    let (_writer, reader) = UnixStream::pair().unwrap();
    for _ in 0..50 {
        let (queue, other) = (Queue::<u64>::new(), Queue::<u64>::new());
        let readiness = queue.readiness().unwrap();
        std::thread::scope(|scope| {
            let waiters = [
                scope.spawn(|| wait(&[&queue, &other], SOON).unwrap()),
                scope.spawn(|| wait(&[&queue, &reader], SOON).unwrap()),
                scope.spawn(|| wait(&[&readiness], SOON).unwrap()),
            ];
            let getters = [0, 1].map(|_| scope.spawn(|| queue.get_timeout(SOON).unwrap()));
            std::thread::sleep(Duration::from_millis(1));
            queue.put_many([1, 1]).unwrap();
            getters.into_iter().for_each(|getter| assert_eq!(getter.join().unwrap(), Some(1)));
            // For those that have come too late.
            queue.put(2).unwrap();
            waiters.into_iter().for_each(|waiter| assert_eq!(waiter.join().unwrap(), [0]));
        });
    }
}

/// Some are killed while they sleep, with wake-ups that were meant for others.
#[test]
fn whoever_dies_waiting_takes_nothing_along() {
    let _watchdog = watchdog(120);
    fn consume(queues: Vec<Queue<u64>>, sum: RawValue<u64>) {
        let mut open = queues.len();
        while open > 0 {
            for place in wait(&as_sources(&queues), None).unwrap() {
                match queues[place].try_get() {
                    Ok(number) => _ = sum.fetch_add(number.unwrap_or(0)),
                    Err(_) => open = queues.iter().filter(|queue| !queue.is_closed() || !queue.is_empty()).count(),
                }
            }
        }
    }
    fn look(queues: Vec<Queue<u64>>) {
        loop {
            wait(&as_sources(&queues), None).unwrap();
        }
    }
    let (queues, sum) = ((0..5).map(|_| Queue::bounded(4)).collect::<Vec<_>>(), RawValue::new(0));
    let consumers: Vec<_> = (0..2).map(|_| Process::spawn(consume, (queues.clone(), sum.clone())).unwrap()).collect();
    let mut victims: Vec<_> = (0..2).map(|_| Process::spawn(look, (queues.clone(),)).unwrap()).collect();
    for number in 1..=2000_u64 {
        queues[number as usize % 5].put_timeout(number, SOON).expect("all hang");
        if number % 100 == 0 {
            let victim = victims.remove(0);
            kill(victim.pid());
            victim.wait();
            victims.push(Process::spawn(look, (queues.clone(),)).unwrap());
        }
    }
    assert!(eventually(SOON, || sum.get() == 2000 * 2001 / 2), "{}", sum.get());
    queues.iter().for_each(|queue| queue.close().unwrap());
    multiproc::join_all(consumers).unwrap();
    assert!(victims.iter().all(|victim| kill(victim.pid())));
}

#[test]
fn a_thousand_queues_take_no_descriptor() {
    if alone("wait::a_thousand_queues_take_no_descriptor") {
        let _watchdog = watchdog(60);
        drop(Queue::<u64>::new());
        let before = holdings();
        let queues: Vec<_> = (0..1000).map(|_| Queue::<u64>::new()).collect();
        let pipes: Vec<_> = (0..100).map(|_| pipe::<String>()).collect();
        queues.iter().for_each(|queue| queue.put(1).unwrap());
        pipes.iter().for_each(|(a, _)| a.send("x".repeat(1000)).unwrap());
        assert_eq!(wait(&as_sources(&queues), None).unwrap().len(), 1000);
        assert_eq!(holdings(), before);
    }
}

fn is_readable(readiness: &Readiness, timeout: Duration) -> bool {
    // It is a descriptor, and nothing else.
    !wait(&[readiness], timeout).unwrap().is_empty()
}

#[test]
fn a_descriptor_tells_what_can_be_received() {
    let _watchdog = watchdog(60);
    let (sender, receiver) = channel::<u64>(4);
    let readiness = receiver.readiness().unwrap();
    assert!(!is_readable(&readiness, Duration::from_millis(10)) && !readiness.is_ready().unwrap());
    for _ in 0..100 {
        sender.send(1).unwrap();
        assert!(is_readable(&readiness, SOON) && readiness.is_ready().unwrap() && is_readable(&readiness, NOW));
        assert_eq!(receiver.try_recv().unwrap(), Some(1));
        assert!(!readiness.is_ready().unwrap() && !is_readable(&readiness, NOW));
    }
    // It was there before the descriptor.
    sender.send(2).unwrap();
    let second = receiver.readiness().unwrap();
    assert!(is_readable(&second, NOW) && is_readable(&readiness, SOON));
    receiver.recv().unwrap();
    assert!(!readiness.is_ready().unwrap() && !second.is_ready().unwrap());
    drop(sender);
    assert!(is_readable(&readiness, SOON) && readiness.is_ready().unwrap() && second.is_ready().unwrap());
}

#[test]
fn a_descriptor_is_no_receiver() {
    let (sender, receiver) = channel::<u64>(4);
    let readiness = receiver.readiness().unwrap();
    drop(receiver);
    assert!(sender.is_disconnected() && sender.send(1).unwrap_err().is_disconnected());
    assert!(!readiness.is_ready().unwrap());
}

#[test]
fn a_fork_is_told_and_does_not_hang() {
    if alone("wait::a_fork_is_told_and_does_not_hang") {
        let _watchdog = watchdog(60);
        let (a, b) = (Queue::<u64>::new(), Queue::<u64>::new());
        let readiness = a.readiness().unwrap();
        assert!(!readiness.is_ready().unwrap());
        let code = in_fork(false, move || {
            let refused = [wait(&[&a, &b], SOON).map(drop), readiness.is_ready().map(drop), a.readiness().map(drop)];
            drop(readiness);
            i32::from(!refused.iter().all(|it| it.as_ref().is_err_and(multiproc::Error::is_shared_memory)))
        });
        assert_eq!(code, 0);
    }
}

/// Tasks of a runtime receive what processes send, over descriptors.
#[test]
fn a_runtime_is_woken() {
    use tokio::io::unix::AsyncFd;
    let _watchdog = watchdog(60);
    async fn sum(receiver: Receiver<u64>) -> u64 {
        #[allow(deprecated, reason = "what replaces it is unsafe, and only in newer versions")]
        let readiness = AsyncFd::new(receiver.readiness().unwrap()).unwrap();
        let mut sum = 0;
        loop {
            let mut ready = readiness.readable().await.unwrap();
            if !readiness.get_ref().is_ready().unwrap() {
                ready.clear_ready();
                continue;
            }
            match receiver.try_recv() {
                Ok(number) => sum += number.unwrap_or(0),
                Err(error) => return if error.is_disconnected() { sum } else { 0 },
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    assert_eq!(runtime.block_on(async { sums(sum).await }), [SUM; 20]);
}

/// What each of [`sums`] receives: 1 + .. + 100.
const SUM: u64 = 5050;

/// What 20 tasks make of 20 channels, into which one process sends.
async fn sums<F: Future<Output = u64> + 'static>(sum: fn(Receiver<u64>) -> F) -> Vec<u64> {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..20).map(|_| channel::<u64>(3)).unzip();
    let send = |senders: Vec<Sender<u64>>| {
        (1..=100).for_each(|number| senders.iter().for_each(|sender| sender.send(number).unwrap()));
    };
    let process = Process::spawn(send, (senders,)).unwrap();
    let local = tokio::task::LocalSet::new();
    let tasks: Vec<_> = receivers.into_iter().map(|receiver| local.spawn_local(sum(receiver))).collect();
    local.await;
    process.join().unwrap();
    let mut sums = Vec::new();
    for task in tasks {
        sums.push(task.await.unwrap());
    }
    sums
}

#[cfg(feature = "stream")]
mod stream {
    use super::*;
    use futures_core::Stream;
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::task::{Context, Poll, Wake, Waker};

    async fn next(receiver: &mut Receiver<u64>) -> Option<Result<u64, multiproc::GetError>> {
        poll_fn(|context| Pin::new(&mut *receiver).poll_next(context)).await
    }

    #[test]
    fn tasks_receive_what_processes_send() {
        let _watchdog = watchdog(60);
        async fn sum(mut receiver: Receiver<u64>) -> u64 {
            let mut sum = 0;
            while let Some(number) = next(&mut receiver).await {
                sum += number.unwrap();
            }
            assert!(next(&mut receiver).await.is_none());
            sum
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(async { sums(sum).await }), [SUM; 20]);
    }

    /// A waker that panics, as no runtime's does.
    struct Broken;

    impl Wake for Broken {
        fn wake(self: std::sync::Arc<Broken>) {
            panic!("on purpose");
        }
    }

    #[test]
    fn a_waker_that_panics_is_alone() {
        let _watchdog = watchdog(60);
        let (sender, mut receiver) = channel::<u64>(4);
        let waker = Waker::from(std::sync::Arc::new(Broken));
        let poll = Pin::new(&mut receiver).poll_next(&mut Context::from_waker(&waker));
        assert!(matches!(poll, Poll::Pending));
        sender.send(1).unwrap();
        assert_eq!(receiver.recv().unwrap(), 1);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let sent = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            sender.send(2).unwrap();
        });
        assert_eq!(runtime.block_on(next(&mut receiver)).unwrap().unwrap(), 2);
        sent.join().unwrap();
        assert!(runtime.block_on(next(&mut receiver)).is_none());
    }

    #[test]
    fn the_end_of_a_killed_sender_wakes_the_task() {
        let _watchdog = watchdog(60);
        let (sender, mut receiver) = channel::<u64>(4);
        let hold = |sender: Sender<u64>| {
            sender.send(1).unwrap();
            std::thread::sleep(Duration::from_secs(1000));
        };
        let holder = Process::spawn(hold, (sender,)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(next(&mut receiver)).unwrap().unwrap(), 1);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            kill(holder.pid());
        });
        assert!(runtime.block_on(next(&mut receiver)).is_none());
        killer.join().unwrap();
    }
}

/// Answers whoever asks first, as a server of many connections does.
#[test]
fn a_server_of_many_connections() {
    let _watchdog = watchdog(60);
    fn ask(connection: Connection<u64>, number: u64) {
        for step in 0..50 {
            connection.send(number * 100 + step).unwrap();
            assert_eq!(connection.recv().unwrap(), number * 100 + step + 1);
        }
    }
    let (mut ours, mut clients) = (Vec::new(), Vec::new());
    for number in 0..6 {
        let (our, their) = pipe::<u64>();
        clients.push(Process::spawn(ask, (their, number)).unwrap());
        ours.push(our);
    }
    let mut answered = 0;
    while !ours.is_empty() {
        for place in wait(&as_sources(&ours), None).unwrap().into_iter().rev() {
            match ours[place].recv() {
                Ok(number) => {
                    ours[place].send(number + 1).unwrap();
                    answered += 1;
                }
                Err(error) => {
                    assert!(error.is_disconnected(), "{error}");
                    ours.remove(place);
                }
            }
        }
    }
    assert_eq!(answered, 6 * 50);
    multiproc::join_all(clients).unwrap();
}
