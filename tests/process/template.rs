//! Processes that are copies of a template.

use super::common::alone::alone;
use super::common::descriptors::hoard;
use super::common::proc::{self, children_of, eventually, kill, own_pid};
use super::common::watchdog::watchdog;
use multiproc::{Process, ProcessBuilder, StartMethod, Value, current_process, parent_process};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn copied() -> ProcessBuilder {
    Process::builder().start_method(StartMethod::Template)
}

/// The only child of this process that stays.
fn template() -> Option<i32> {
    children_of(own_pid()).into_iter().find(|pid| proc::name_of(*pid).is_some_and(|name| name == "multiproc-tmpl"))
}

#[test]
fn two_hundred_copies_leave_one_template_behind() {
    if !alone("template::two_hundred_copies_leave_one_template_behind") {
        return;
    }
    let _watchdog = watchdog(120);
    let sum = Value::new(0u64);
    for round in 0..20u64 {
        let add = |sum: Value<u64>, n: u64| *sum.lock().unwrap() += n;
        let crew: Vec<Process<()>> = (0..10).map(|n| copied().spawn(add, (sum.clone(), n)).unwrap()).collect();
        crew.into_iter().for_each(|process| process.join().unwrap());
        assert_eq!(sum.get().unwrap(), 45 * (round + 1));
        // Another one is made when it is needed.
        if round % 5 == 4 {
            let pid = template().unwrap();
            assert!(kill(pid) && eventually(SOON, || !children_of(own_pid()).contains(&pid)));
        }
    }
    copied().spawn(|| (), ()).unwrap().join().unwrap();
    assert!(eventually(SOON, || children_of(own_pid()) == template().into_iter().collect::<Vec<_>>()));
    assert!(proc::books_are_in_order());
}

#[test]
fn a_copy_may_have_copies() {
    if !alone("template::a_copy_may_have_copies") {
        return;
    }
    let _watchdog = watchdog(60);
    let inner = || (parent_process().unwrap().pid(), current_process().name().to_owned());
    let outer = move || (std::process::id() as i32, copied().spawn(inner, ()).unwrap().join().unwrap());
    let (pid, (parent, name)) = copied().spawn(outer, ()).unwrap().join().unwrap();
    assert_eq!((parent, name.as_str()), (pid, "Process-1:1"));
}

#[test]
fn a_copy_ends_with_its_parent_and_not_with_its_template() {
    if !alone("template::a_copy_ends_with_its_parent_and_not_with_its_template") {
        return;
    }
    let _watchdog = watchdog(60);
    let sleep = || std::thread::sleep(Duration::from_secs(1000));
    let sleeper = copied().name("sleeper").spawn(sleep, ()).unwrap();
    assert!(kill(template().unwrap()) && eventually(SOON, || template().is_none()));
    assert!(sleeper.is_alive());
    let parent = move || {
        let sleeper = copied().daemon(true).spawn(sleep, ()).unwrap();
        let pid = sleeper.pid();
        std::mem::forget(sleeper);
        (pid, template().unwrap())
    };
    let (copy, template) = copied().spawn(parent, ()).unwrap().join().unwrap();
    assert!(eventually(SOON, || !proc::is_alive(copy) && !proc::is_alive(template)));
    sleeper.kill();
    assert_eq!(sleeper.join().unwrap_err().signal(), Some(9));
}

#[test]
fn without_descriptors_it_is_an_error_and_passes_for_copies_too() {
    if !alone("template::without_descriptors_it_is_an_error_and_passes_for_copies_too") {
        return;
    }
    let _watchdog = watchdog(60);
    copied().spawn(|| (), ()).unwrap().join().unwrap();
    // From none at all to as many as a start needs.
    for left in 0..16 {
        let mut hoard = hoard();
        hoard.truncate(hoard.len() - left);
        let started = copied().spawn(|| 7, ());
        drop(hoard);
        match started {
            Ok(process) => assert!(process.join().is_ok_and(|it| it == 7) || left < 15),
            Err(error) => assert!(error.is_start(), "{error}"),
        }
    }
    assert_eq!(copied().spawn(|| 7, ()).unwrap().join().unwrap(), 7);
    assert!(eventually(SOON, || children_of(own_pid()).len() == 1), "{:?}", children_of(own_pid()));
}

#[test]
fn what_only_an_executed_process_can_have_is_refused() {
    let error = copied().current_dir("/").spawn(|| (), ()).unwrap_err();
    assert!(error.is_invalid_argument() && error.to_string().contains("StartMethod::Spawn"), "{error}");
}
