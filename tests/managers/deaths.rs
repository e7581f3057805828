//! Clients and servers that are killed, and managers that end in order.

use super::common::alone::alone;
use super::common::proc::{books_are_in_order, eventually, kill};
use super::common::watchdog::watchdog;
use multiproc::{DictProxy, Event, Manager, Process, Queue, Value, ValueProxy, active_children, shared_memory_report};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

/// How soon a caller must hear that the server is gone; the rest is for a machine that has other things to do.
pub(super) const HEARD: Duration = Duration::from_millis(100 + 2000);

#[test]
fn a_server_that_is_killed_ends_all_calls() {
    let _watchdog = watchdog(60);
    let manager = Manager::new().unwrap();
    let (value, begun) = (manager.value(1).unwrap(), Queue::<()>::new());
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let (value, begun) = (value.clone(), begun.clone());
            std::thread::spawn(move || {
                let sleep = |_: &mut i32, begun: Queue<()>| {
                    begun.put(()).unwrap();
                    std::thread::sleep(Duration::from_secs(1000));
                };
                let error = value.call(sleep, (begun,)).unwrap_err();
                (error, Instant::now())
            })
        })
        .collect();
    // One of them is in its call, the others wait for the object.
    begun.get().unwrap();
    let elsewhere = Process::spawn(
        |value: ValueProxy<i32>, begun: Queue<()>| {
            begun.put(()).unwrap();
            let error = value.get().unwrap_err();
            (error.is_gone(), error.to_string())
        },
        (value.clone(), begun.clone()),
    );
    begun.get().unwrap();
    let killed = Instant::now();
    kill(manager.pid());
    for caller in callers {
        let (error, heard) = caller.join().unwrap();
        assert!(error.is_gone() && error.to_string().contains(&manager.pid().to_string()), "{error}");
        assert!(heard - killed < HEARD, "{:?}", heard - killed);
    }
    let (is_gone, text) = elsewhere.unwrap().join().unwrap();
    assert!(is_gone, "{text}");
    // So do those that begin later, at once.
    let start = Instant::now();
    assert!(value.get().unwrap_err().is_gone());
    assert!(manager.list([1]).unwrap_err().is_gone());
    assert!(start.elapsed() < HEARD);
    assert!(!manager.is_alive());
}

#[test]
fn a_function_may_end_the_server() {
    let _watchdog = watchdog(60);
    let manager = Manager::new().unwrap();
    let value = manager.value(1).unwrap();
    let error = value.call(|_: &mut i32| -> () { std::process::exit(3) }, ()).unwrap_err();
    assert!(error.is_gone(), "{error}");
    let error = multiproc::Error::from(error);
    assert!(error.manager().unwrap().is_gone());
}

#[test]
fn a_client_that_is_killed_in_a_call_hurts_nobody() {
    let _watchdog = watchdog(60);
    let manager = Manager::new().unwrap();
    let (value, begun, go_on) = (manager.value(0u64).unwrap(), Queue::<u32>::new(), Event::new());
    let slow = |value: ValueProxy<u64>, begun: Queue<u32>, go_on: Event| {
        let add = |value: &mut u64, begun: Queue<u32>, go_on: Event| {
            begun.put(1).unwrap();
            go_on.wait();
            *value += 1;
        };
        value.call(add, (begun, go_on)).unwrap();
    };
    let wait = |value: ValueProxy<u64>, begun: Queue<u32>| {
        begun.put(2).unwrap();
        value.update(|value| *value += 100).unwrap();
    };
    let first = Process::spawn(slow, (value.clone(), begun.clone(), go_on.clone())).unwrap();
    assert_eq!(begun.get().unwrap(), 1);
    let second = Process::spawn(wait, (value.clone(), begun.clone())).unwrap();
    assert_eq!(begun.get().unwrap(), 2);
    for process in [&first, &second] {
        kill(process.pid());
        process.wait();
    }
    go_on.set();
    // What had begun comes to its end; what had not may have been on its way, or not.
    let ended = || value.get().unwrap() % 100 == 1;
    assert!(eventually(SOON, ended), "{:?}", value.get());
    assert!(books_are_in_order());
}

#[test]
fn dropping_a_manager_ends_its_server_after_the_calls_that_have_begun() {
    if !alone("deaths::dropping_a_manager_ends_its_server_after_the_calls_that_have_begun") {
        return;
    }
    let _watchdog = watchdog(60);
    struct Note(Value<u32>);
    impl Drop for Note {
        fn drop(&mut self) {
            self.0.update(|count| *count += 1).unwrap();
        }
    }
    let (dropped, begun) = (Value::new(0), Queue::<()>::new());
    let manager = Manager::builder().name("ends").grace(Duration::from_secs(30)).start().unwrap();
    assert_eq!(active_children().iter().map(|it| it.name().to_owned()).collect::<Vec<_>>(), ["ends"]);
    let note = manager.create(Note, (dropped.clone(),)).unwrap();
    let _other = manager.create(Note, (dropped.clone(),)).unwrap();
    let (called, called_begun) = (note.clone(), begun.clone());
    let caller = std::thread::spawn(move || {
        let slow = |note: &mut Note, begun: Queue<()>| {
            begun.put(()).unwrap();
            std::thread::sleep(Duration::from_millis(200));
            note.0.get().unwrap()
        };
        called.call(slow, (called_begun,))
    });
    begun.get().unwrap();
    manager.shutdown();
    assert!(active_children().is_empty());
    assert_eq!(caller.join().unwrap().unwrap(), 0);
    assert_eq!(dropped.get().unwrap(), 2);
    assert!(note.call(|_: &mut Note| (), ()).unwrap_err().is_gone());
}

#[test]
fn a_server_that_does_not_end_is_killed() {
    let _watchdog = watchdog(60);
    let manager = Manager::builder().grace(Duration::from_millis(100)).start().unwrap();
    let (value, begun) = (manager.value(0).unwrap(), Queue::<()>::new());
    let (held, held_begun) = (value.clone(), begun.clone());
    let caller = std::thread::spawn(move || {
        let forever = |_: &mut i32, begun: Queue<()>| {
            begun.put(()).unwrap();
            std::thread::sleep(Duration::from_secs(1000));
        };
        held.call(forever, (held_begun,)).unwrap_err().is_gone()
    });
    begun.get().unwrap();
    let start = Instant::now();
    manager.shutdown();
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(caller.join().unwrap());
}

#[test]
fn a_server_ends_with_its_owner_and_every_client_hears_of_it() {
    let _watchdog = watchdog(60);
    let out = Queue::<(i32, DictProxy<u32, u32>)>::new();
    let own = |out: Queue<(i32, DictProxy<u32, u32>)>| {
        let manager = Manager::new().unwrap();
        out.put((manager.pid(), manager.dict([(1, 2)]).unwrap())).unwrap();
        std::thread::sleep(Duration::from_secs(1000));
    };
    let owner = Process::spawn(own, (out.clone(),)).unwrap();
    let (_, dict) = out.get().unwrap();
    assert_eq!(dict.get(&1).unwrap(), Some(2));
    let sleep = |_: &mut std::collections::HashMap<u32, u32>| std::thread::sleep(Duration::from_secs(1000));
    let waiting = dict.clone();
    let caller = std::thread::spawn(move || (waiting.call(sleep, ()).unwrap_err(), Instant::now()));
    // It is in the call, or on its way: both end.
    let killed = Instant::now();
    kill(owner.pid());
    let (error, heard) = caller.join().unwrap();
    assert!(error.is_gone(), "{error}");
    assert!(heard - killed < HEARD, "{:?}", heard - killed);
    assert!(dict.get(&1).unwrap_err().is_gone());
    owner.wait();
}

#[test]
fn interrupts_do_not_end_a_server() {
    let _watchdog = watchdog(60);
    let manager = Manager::new().unwrap();
    let value = manager.value(1).unwrap();
    super::common::proc::send_signal(manager.pid(), rustix::process::Signal::INT);
    for _ in 0..10 {
        assert_eq!(value.get().unwrap(), 1);
    }
}

#[test]
fn clients_that_are_killed_all_the_time() {
    if !alone("deaths::clients_that_are_killed_all_the_time") {
        return;
    }
    let _watchdog = watchdog(120);
    let manager = Manager::new().unwrap();
    let counts = manager.dict::<u32, u64>([]).unwrap();
    let work = |counts: DictProxy<u32, u64>, who: u32| -> () {
        loop {
            counts.update(&who, |count| *count += 1).unwrap();
            let made = counts.manager().list([who]).unwrap();
            assert_eq!(made.get(0).unwrap(), Some(who));
        }
    };
    let spawn = |who: u32| Process::spawn(work, (counts.clone(), who)).unwrap();
    let mut crew: Vec<_> = (0..4).map(spawn).collect();
    let start = Instant::now();
    let limit = Duration::from_secs(if std::env::var_os("MULTIPROC_LONG").is_some() { 60 } else { 3 });
    let mut kills = 0;
    while start.elapsed() < limit {
        let who = kills % crew.len();
        let before = counts.get(&(who as u32)).unwrap().unwrap_or(0);
        let goes_on = || counts.get(&(who as u32)).unwrap().unwrap_or(0) > before;
        assert!(eventually(SOON, goes_on), "{who} hangs");
        kill(crew[who].pid());
        crew[who].wait();
        assert_eq!(crew[who].exitcode(), Some(-9));
        crew[who] = spawn(who as u32);
        kills += 1;
    }
    for process in &crew {
        kill(process.pid());
        process.wait();
    }
    println!("{kills} clients killed, {} calls", counts.values().unwrap().iter().sum::<u64>());
    assert!(kills > 5);
    // All that they had made goes, but for proxies that were just being taken or dropped; and the server has no more threads
    // for them.
    let only_counts = || manager.objects().unwrap().len() <= 1 + shared_memory_report().unwrap().lost;
    assert!(eventually(SOON, only_counts), "{:?}", manager.objects());
    let threads = || std::fs::read_dir(format!("/proc/{}/task", manager.pid())).unwrap().count();
    assert!(eventually(SOON, || threads() <= 6), "{} threads", threads());
    manager.shutdown();
    assert!(books_are_in_order());
}
