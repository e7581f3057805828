//! Who is who: names, parents, daemons.

use super::common::alone::alone;
use super::common::proc;
use super::common::starts::starting;
use super::common::watchdog::watchdog;
use multiproc::{Pool, active_children, current_process, parent_process};
use std::time::Duration;

#[test]
fn names_are_numbered_as_in_python() {
    if !alone("names::names_are_numbered_as_in_python") {
        return;
    }
    let _watchdog = watchdog(60);
    let main = current_process();
    assert_eq!((main.name(), main.pid(), main.daemon()), ("MainProcess", proc::own_pid(), false));
    assert!(parent_process().is_none());
    let tell = || {
        let (own, parent) = (current_process(), parent_process().unwrap());
        let inner = || (current_process().name().to_owned(), parent_process().unwrap().name().to_owned());
        let inner = [(); 2].map(|()| starting().spawn(inner, ()).unwrap().join().unwrap());
        (own.name().to_owned(), own.pid(), own.daemon(), parent.name().to_owned(), parent.pid(), inner)
    };
    for number in 1..3 {
        let process = starting().spawn(tell, ()).unwrap();
        let name = format!("Process-{number}");
        assert_eq!(process.name(), name);
        let pid = process.pid();
        let inner = [1, 2].map(|inner| (format!("{name}:{inner}"), name.clone()));
        let expected = (name, pid, false, "MainProcess".to_owned(), main.pid(), inner);
        assert_eq!(process.join().unwrap(), expected);
    }
    // A given name counts as well.
    let process = starting().name("reader").spawn(|| current_process().name().to_owned(), ()).unwrap();
    assert_eq!(process.join().unwrap(), "reader");
    assert_eq!(starting().spawn(|| (), ()).unwrap().name(), "Process-4");
}

#[test]
fn ps_and_threads_show_the_name() {
    let _watchdog = watchdog(60);
    let name = || {
        let thread = std::thread::current().name().unwrap().to_owned();
        (thread, std::fs::read_to_string("/proc/self/comm").unwrap().trim().to_owned())
    };
    let process = starting().name("indexer").spawn(name, ()).unwrap();
    assert_eq!(process.join().unwrap(), ("indexer".to_owned(), "indexer".to_owned()));
    let error = starting().name("a\0b").spawn(|| (), ()).unwrap_err();
    assert!(error.is_invalid_argument(), "{error}");
}

#[test]
fn a_daemonic_process_has_no_children() {
    let _watchdog = watchdog(60);
    let try_both = || {
        let process = starting().spawn(|| (), ()).map(drop).unwrap_err();
        let pool = Pool::new(1).map(drop).unwrap_err();
        (process, pool, current_process().daemon())
    };
    let process = starting().daemon(true).spawn(try_both, ()).unwrap();
    assert!(process.daemon());
    let (process, pool, daemon) = process.join().unwrap();
    assert!(process.is_daemonic() && pool.is_daemonic() && daemon);
    assert_eq!(process.to_string(), "daemonic processes are not allowed to have children");
}

#[test]
fn active_children_are_those_between_start_and_end() {
    if !alone("names::active_children_are_those_between_start_and_end") {
        return;
    }
    let _watchdog = watchdog(60);
    let names = || active_children().iter().map(|it| it.name().to_owned()).collect::<Vec<_>>();
    assert!(names().is_empty());
    let sleep = || std::thread::sleep(Duration::from_secs(1000));
    let first = starting().name("first").spawn(sleep, ()).unwrap();
    drop(starting().name("detached").spawn(sleep, ()).unwrap());
    let third = starting().name("third").spawn(|| (), ()).unwrap();
    third.wait();
    assert_eq!(names(), ["first", "detached"]);
    // Its workers are the pool's own business.
    let pool = Pool::new(1).unwrap();
    assert_eq!(names(), ["first", "detached"]);
    drop(pool);
    // A handle without the result can do everything else.
    let detached = active_children().into_iter().find(|it| it.name() == "detached").unwrap();
    assert!(format!("{detached:?}").contains("state: running"), "{detached:?}");
    detached.kill();
    detached.wait();
    assert_eq!(detached.exitcode(), Some(-9));
    assert!(format!("{detached:?}").contains("killed by signal 9"), "{detached:?}");
    assert_eq!(names(), ["first"]);
    first.terminate();
    assert!(first.join().is_err());
    assert!(names().is_empty());
}

#[test]
fn a_child_can_watch_its_parent() {
    let _watchdog = watchdog(60);
    let watch = || {
        let parent = parent_process().unwrap();
        let over = parent.wait_timeout(Duration::from_millis(10)).unwrap();
        (parent.is_alive(), over, parent.sentinel().is_ok(), format!("{parent:?}"))
    };
    let (alive, over, sentinel, text) = starting().spawn(watch, ()).unwrap().join().unwrap();
    assert!(alive && !over && sentinel);
    assert!(text.contains("MainProcess"), "{text}");
}

#[test]
fn processes_and_pools_nest() {
    let _watchdog = watchdog(60);
    let in_pool = |x: u64| {
        let process = starting().spawn(|x: u64| x + 1, (x,)).unwrap();
        (process.join().unwrap(), parent_process().unwrap().name().to_owned())
    };
    let pool = Pool::new(2).unwrap();
    let results = pool.map(in_pool, 0..4).unwrap();
    assert_eq!(results, (1..5).map(|x| (x, "MainProcess".to_owned())).collect::<Vec<_>>());
    let sum = || Pool::new(2).unwrap().map(|x: u64| x * x, 0..100).unwrap().iter().sum::<u64>();
    assert_eq!(starting().spawn(sum, ()).unwrap().join().unwrap(), 328_350);
}
