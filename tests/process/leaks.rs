//! Nothing stays behind while the program runs. What stays when it ends is tested in tests/exits.rs.

use super::common::alone::alone;
use super::common::proc::{eventually, holdings};
use super::common::watchdog::watchdog;
use multiproc::Process;
use std::time::Duration;

#[test]
fn two_hundred_processes_leave_nothing_behind() {
    if !alone("leaks::two_hundred_processes_leave_nothing_behind") {
        return;
    }
    let _watchdog = watchdog(120);
    let first = holdings();
    // The first one makes what a process has once: its reactor.
    Process::spawn(|| (), ()).unwrap().join().unwrap();
    // That lets go of the control socket a moment after the process has ended.
    assert!(eventually(Duration::from_secs(20), || holdings().has_no_children_since(&first)), "{:?}", holdings());
    let before = holdings();
    for round in 0..200u64 {
        match round % 5 {
            0 => assert_eq!(Process::spawn(|x: u64| x, (round,)).unwrap().join().unwrap(), round),
            1 => {
                let large = Process::spawn(|x: Vec<u8>| x, (vec![1; 100_000],)).unwrap();
                assert_eq!(large.join().unwrap().len(), 100_000);
            }
            2 => assert!(Process::spawn(|| -> () { std::process::abort() }, ()).unwrap().join().is_err()),
            3 => {
                let process = Process::spawn(|| std::thread::sleep(Duration::from_secs(1000)), ()).unwrap();
                process.kill();
            }
            // Detached; its large result is read by nobody.
            _ => drop(Process::spawn(|| vec![1u8; 100_000], ()).unwrap()),
        }
    }
    assert!(eventually(Duration::from_secs(20), || holdings() == before), "{:?}\n{before:?}", holdings());
}

#[test]
fn a_child_sees_nothing_of_its_siblings() {
    if !alone("leaks::a_child_sees_nothing_of_its_siblings") {
        return;
    }
    let _watchdog = watchdog(60);
    let open = || {
        let names =
            std::fs::read_dir("/proc/self/fd").unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    let alone = Process::spawn(open, ()).unwrap().join().unwrap();
    let sleep = || std::thread::sleep(Duration::from_secs(1000));
    let siblings: Vec<_> = (0..5).map(|_| Process::spawn(sleep, ()).unwrap()).collect();
    assert_eq!(Process::spawn(open, ()).unwrap().join().unwrap(), alone);
    siblings.iter().for_each(|it| it.kill());
}
