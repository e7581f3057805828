//! Ends of ipc-channel in arguments, items, contexts and results.

use super::common::alone::alone;
use super::common::links::{HANDLES, on_each_link_spawned, on_each_pool, on_nodes};
use super::common::proc::{self, eventually};
use super::common::watchdog::watchdog;
use ipc_channel::ipc::{self, IpcBytesReceiver, IpcBytesSender, IpcReceiver, IpcSender, IpcSharedMemory};
use multiproc::{Ipc, Pool, Process, StartMethod, ThreadPool};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Serialize, Deserialize)]
struct Order {
    number: u32,
    answers: Vec<Ipc<(u32, IpcSender<u32>)>>,
    text: Option<Ipc<IpcSharedMemory>>,
}

/// Without `Ipc`.
#[derive(Serialize, Deserialize)]
struct Careless {
    sender: Option<IpcSender<u32>>,
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Whether the other ends of a channel are closed.
fn is_over<T: for<'de> Deserialize<'de> + Serialize>(receiver: &IpcReceiver<T>) -> bool {
    let is_over = || match receiver.try_recv() {
        Err(ipc_channel::TryRecvError::IpcError(ipc_channel::IpcError::Disconnected)) => true,
        Err(ipc_channel::TryRecvError::Empty) => false,
        _ => panic!("neither nothing nor the end"),
    };
    eventually(Duration::from_secs(10), is_over)
}

#[test]
fn a_task_answers_over_a_sender_that_it_was_given() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(2, 60, |pool| {
        let (sender, receiver) = ipc::channel::<String>().unwrap();
        let answer = |sender: IpcSender<String>, text: String| sender.send(format!("{text}!")).unwrap();
        pool.apply(answer, (sender.clone(), "apply".to_owned())).unwrap();
        assert_eq!(receiver.recv().unwrap(), "apply!");
        pool.apply_async(answer, (sender.clone(), "later".to_owned())).unwrap().get().unwrap();
        assert_eq!(receiver.recv().unwrap(), "later!");
        let senders = (0..20).map(|at| (sender.clone(), at.to_string()));
        pool.starmap(answer, senders.clone()).unwrap();
        pool.starmap_async(answer, senders.clone()).unwrap().get().unwrap();
        let mut texts: Vec<String> = (0..40).map(|_| receiver.recv().unwrap()).collect();
        texts.sort();
        assert_eq!((&*texts[0], &*texts[39]), ("0!", "9!"));
        for done in pool.imap(|(sender, text): (IpcSender<String>, String)| sender.send(text).unwrap(), senders) {
            done.unwrap();
        }
        assert_eq!((0..20).map(|_| receiver.recv().unwrap()).filter(|text| text.len() == 1).count(), 10);
        drop(sender);
        assert!(is_over(&receiver));
    });
}

#[test]
fn a_task_reads_from_a_receiver_while_it_runs() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(1, 60, |pool| {
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let sum = pool
            .apply_async(|receiver: IpcReceiver<u32>| std::iter::from_fn(|| receiver.recv().ok()).sum(), (receiver,));
        (0..100).for_each(|number| sender.send(number).unwrap());
        drop(sender);
        let sum: u32 = sum.unwrap().get().unwrap();
        assert_eq!(sum, 4950);
        let (sender, receiver) = ipc::bytes_channel().unwrap();
        sender.send(b"bytes").unwrap();
        let back =
            pool.apply(|it: IpcBytesReceiver, other: IpcBytesSender| (it.recv().unwrap(), other), (receiver, sender));
        assert_eq!(back.unwrap().0, b"bytes");
    });
}

#[test]
fn whoever_waits_notices_that_a_task_has_dropped_its_end() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(1, 60, |pool| {
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let (go_on, wait) = ipc::channel::<()>().unwrap();
        let task = |sender: IpcSender<u32>, wait: IpcReceiver<()>| {
            sender.send(7).unwrap();
            drop(sender);
            wait.recv().unwrap();
        };
        let running = pool.apply_async(task, (sender, wait)).unwrap();
        assert_eq!(receiver.recv().unwrap(), 7);
        // The task goes on after this only.
        assert!(is_over(&receiver));
        go_on.send(()).unwrap();
        running.get().unwrap();
    });
}

#[test]
fn shared_memory_goes_in_and_out() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(2, 60, |pool| {
        let memory = IpcSharedMemory::from_bytes(&[7; 100_000]);
        let double = |memory: IpcSharedMemory| {
            IpcSharedMemory::from_bytes(&memory.iter().map(|byte| byte * 2).collect::<Vec<u8>>())
        };
        let out: IpcSharedMemory = pool.apply(double, (memory.clone(),)).unwrap();
        assert_eq!(&*out, [14; 100_000]);
        let all: Vec<IpcSharedMemory> = pool.map(double, vec![memory, out]).unwrap();
        assert_eq!((&*all[0], &*all[1]), (&[14; 100_000][..], &[28; 100_000][..]));
        assert!(pool.apply(|| IpcSharedMemory::from_bytes(&[]), ()).unwrap().is_empty());
    });
}

#[test]
fn ends_are_found_in_whatever_they_are_in() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(2, 60, |pool| {
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        type Nest = (u8, Option<Vec<(String, IpcSender<u32>)>>, [Option<IpcSharedMemory>; 2]);
        let nest: Nest = (
            1,
            Some(vec![("a".to_owned(), sender.clone()), ("b".to_owned(), sender.clone())]),
            [None, Some(IpcSharedMemory::from_bytes(b"three"))],
        );
        let back: Nest = pool
            .apply(
                |nest: Nest| {
                    nest.1.iter().flatten().zip(1..).for_each(|((_, sender), number)| sender.send(number).unwrap());
                    nest
                },
                (nest,),
            )
            .unwrap();
        back.1.unwrap()[1].1.send(3).unwrap();
        assert_eq!(back.2[1].as_deref(), Some(&b"three"[..]));
        assert_eq!([1, 2, 3].map(|_| receiver.recv().unwrap()), [1, 2, 3]);
        let order = |number: u32| Order {
            number,
            answers: (0..number).map(|at| Ipc((at, sender.clone()))).collect(),
            text: (number % 2 == 0).then(|| IpcSharedMemory::from_bytes(&number.to_le_bytes()).into()),
        };
        let serve = |order: Order| {
            order.answers.iter().for_each(|Ipc((at, sender))| sender.send(*at).unwrap());
            assert_eq!(
                order.text.as_ref().is_some_and(|it| ***it == order.number.to_le_bytes()),
                order.number % 2 == 0
            );
            order
        };
        for (order, number) in pool.map(serve, (0..10).map(order)).unwrap().into_iter().zip(0..) {
            assert_eq!((order.number, order.answers.len()), (number, number as usize));
            (0..number).for_each(|_| assert!(receiver.recv().unwrap() < number));
        }
    });
}

#[test]
fn a_context_goes_to_every_worker() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(2, 60, |pool| {
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let context = (sender, 10);
        for _ in 0..2 {
            let tell = |(sender, base): &(IpcSender<u32>, u32), x: u32| {
                std::thread::sleep(Duration::from_millis(5));
                sender.send(base + x).unwrap();
            };
            pool.with(&context).tasks(tell, 0..8).run().unwrap();
            let mut told: Vec<u32> = (0..8).map(|_| receiver.recv().unwrap()).collect();
            told.sort_unstable();
            assert_eq!(told, (10..18).collect::<Vec<_>>());
        }
        drop(context);
        assert!(is_over(&receiver));
    });
}

#[test]
fn an_initializer_has_them_too() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link_spawned(60, |builder| {
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let hello = |sender: IpcSender<u32>| sender.send(std::process::id()).unwrap();
        let pool = builder().processes(2).initializer(hello, (sender,)).build().unwrap();
        let mut pids = [(); 2].map(|()| receiver.recv().unwrap() as i32);
        let mut expected = pool.worker_pids();
        pids.sort_unstable();
        expected.sort_unstable();
        assert_eq!(pids[..], expected[..]);
    });
    let _watchdog = watchdog(60);
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let hello = |sender: IpcSender<u32>| sender.send(std::process::id()).unwrap();
    let template = Pool::builder().processes(2).start_method(StartMethod::Template).initializer(hello, (sender,));
    let pool = template.build().unwrap();
    let pid = receiver.recv().unwrap() as i32;
    // The pool keeps the sender for the next template, and no worker has it.
    assert!(!pool.worker_pids().contains(&pid) && receiver.try_recv().is_err());
}

#[test]
fn threads_have_them_too() {
    let _watchdog = watchdog(60);
    let pool = ThreadPool::new(2).unwrap();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let back =
        pool.map(|(sender, x): (IpcSender<u32>, u32)| sender.send(x).map(|()| sender).unwrap(), vec![(sender, 5)]);
    assert_eq!(receiver.recv().unwrap(), 5);
    back.unwrap()[0].send(6).unwrap();
    assert_eq!(receiver.recv().unwrap(), 6);
}

#[test]
fn a_process_has_them_and_gives_them_back() {
    let _watchdog = watchdog(60);
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let (orders, incoming) = ipc::channel::<u32>().unwrap();
    let serve = |sender: IpcSender<u32>, incoming: IpcReceiver<u32>, memory: Ipc<IpcSharedMemory>| {
        while let Ok(order) = incoming.recv() {
            sender.send(order * 2).unwrap();
        }
        (sender, memory)
    };
    let memory = Ipc(IpcSharedMemory::from_bytes(b"memory"));
    let process = Process::spawn(serve, (sender, incoming, memory)).unwrap();
    for order in 0..10 {
        orders.send(order).unwrap();
        assert_eq!(receiver.recv().unwrap(), order * 2);
    }
    drop(orders);
    let (sender, memory) = process.join().unwrap();
    sender.send(99).unwrap();
    assert_eq!((receiver.recv().unwrap(), &**memory), (99, &b"memory"[..]));
    drop(sender);
    assert!(is_over(&receiver));
}

#[test]
fn many_in_a_row_leave_no_descriptor_behind() {
    if on_nodes(HANDLES) {
        return;
    }
    if !alone("ipc_channel::many_in_a_row_leave_no_descriptor_behind") {
        return;
    }
    on_each_pool(2, 120, |pool| {
        let round = |count: u32| {
            let (sender, receiver) = ipc::channel::<u32>().unwrap();
            let memory = IpcSharedMemory::from_bytes(b"memory");
            let items = (0..count).map(|x| ((x, sender.clone()), memory.clone()));
            let task = |(x, sender): (u32, IpcSender<u32>), memory: IpcSharedMemory| {
                sender.send(x).unwrap();
                (memory, sender)
            };
            let later = pool.starmap_async(task, items.clone()).unwrap();
            assert_eq!(pool.starmap(task, items).unwrap().len(), count as usize);
            assert_eq!(later.get().unwrap().len(), count as usize);
            // Nobody decodes its result.
            drop(pool.apply_async(task, ((0, sender.clone()), memory)).unwrap());
            assert!(pool.apply(|_: IpcSender<u32>| -> () { panic!("as a test") }, (sender,)).is_err());
            // The last one need not have begun before it was dropped.
            let told = std::iter::from_fn(|| receiver.recv().ok()).count();
            assert!([0, 1].contains(&(told - 2 * count as usize)), "{told} of {count}");
        };
        // Each makes what it has once.
        (0..5).for_each(|_| round(10));
        let theirs = |pid: &i32| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        let count = || (open_descriptors(), pool.worker_pids().iter().map(theirs).collect::<Vec<_>>());
        let settled = || {
            std::thread::sleep(Duration::from_millis(100));
            count()
        };
        let before = settled();
        (0..10).for_each(|_| round(30));
        assert!(eventually(Duration::from_secs(10), || count() == before), "{:?} {before:?}", count());
    });
}

#[test]
fn a_worker_that_dies_with_an_end_costs_its_task_and_closes_the_end() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(1, 60, |pool| {
        let (sender, receiver) = ipc::channel::<i32>().unwrap();
        let say_and_wait = |sender: IpcSender<i32>| {
            sender.send(std::process::id() as i32).unwrap();
            std::thread::sleep(Duration::from_secs(100));
        };
        let running = pool.apply_async(say_and_wait, (sender.clone(),)).unwrap();
        let waiting = pool.apply_async(|sender: IpcSender<i32>| sender.send(-1).unwrap(), (sender,)).unwrap();
        assert!(proc::kill(receiver.recv().unwrap()));
        assert!(running.get().unwrap_err().is_worker_lost());
        // The one behind it was not begun, and goes to the next worker.
        waiting.get().unwrap();
        assert_eq!(receiver.recv().unwrap(), -1);
        assert!(is_over(&receiver));
    });
}

#[test]
fn what_is_cancelled_closes_its_ends() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(1, 60, |pool| {
        let (go_on, wait) = ipc::channel::<()>().unwrap();
        let busy = pool.apply_async(|wait: IpcReceiver<()>| wait.recv().unwrap(), (wait,)).unwrap();
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let task = |sender: IpcSender<u32>| sender.send(1).unwrap();
        let one = pool.apply_async(task, (sender.clone(),)).unwrap();
        let many = pool.map_async(task, vec![sender; 10]).unwrap();
        assert!(one.cancel() && many.cancel());
        // The worker is busy all the time.
        assert!(is_over(&receiver));
        go_on.send(()).unwrap();
        busy.get().unwrap();
    });
}

#[test]
fn a_task_that_is_run_again_has_its_ends_again() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(1, 60, |pool| {
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let (more, numbers) = ipc::channel::<u32>().unwrap();
        (0..3).for_each(|number| more.send(number).unwrap());
        let task = |sender: IpcSender<u32>, numbers: IpcReceiver<u32>| {
            let number = numbers.recv().unwrap();
            sender.send(number).unwrap();
            if number < 2 {
                std::process::abort();
            }
        };
        pool.task(task, (sender, numbers)).retries(2).run().unwrap();
        assert_eq!([(); 3].map(|()| receiver.recv().unwrap()), [0, 1, 2]);
        assert!(is_over(&receiver));
    });
}

#[test]
fn an_end_in_the_wrong_place_is_an_error_of_its_task() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(1, 60, |pool| {
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let careless = || Careless { sender: Some(sender.clone()) };
        let error = pool.apply(|it: Careless| it.sender.is_some(), (careless(),)).unwrap_err();
        assert!(error.to_string().contains("is not in a `multiproc::Ipc`"), "{error}");
        let error = pool.apply_async(|it: Careless| it.sender.is_some(), (careless(),)).unwrap().get().unwrap_err();
        assert!(error.to_string().contains("is not in a `multiproc::Ipc`"), "{error}");
        let make = |sender: IpcSender<u32>| Careless { sender: Some(sender) };
        let error = pool.apply(make, (sender.clone(),)).err().unwrap();
        assert!(error.to_string().contains("is not in a `multiproc::Ipc`"), "{error}");
        let many = vec![sender.clone(); 65];
        let error = pool.apply(|many: Vec<IpcSender<u32>>| many.len(), (many.clone(),)).unwrap_err();
        assert!(error.to_string().contains("more than 64"), "{error}");
        assert_eq!(pool.apply(|many: Vec<IpcSender<u32>>| many.len(), (many[1..].to_vec(),)).unwrap(), 64);
        drop(many);
        let error = serde_json::to_string(&Ipc(sender.clone())).unwrap_err();
        assert!(error.to_string().contains("can only travel in"), "{error}");
        // Nothing of all that is left anywhere.
        drop(sender);
        assert!(is_over(&receiver));
    });
}

#[test]
fn a_worker_of_a_pool_passes_them_on() {
    let _watchdog = watchdog(60);
    let pool = Pool::new(1).unwrap();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let inner = |sender: IpcSender<u32>| {
        let pool = Pool::new(1).unwrap();
        pool.apply(|sender: IpcSender<u32>| sender.send(1).map(|()| sender).unwrap(), (sender,)).unwrap()
    };
    pool.apply(inner, (sender,)).unwrap().send(2).unwrap();
    assert_eq!([(); 2].map(|()| receiver.recv().unwrap()), [1, 2]);
}
