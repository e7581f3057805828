//! Limits and filters of system calls that the program is put under, before its first child or later.

use super::common::alone::alone;
use super::common::proc::eventually;
use super::common::seccomp;
use super::common::watchdog::watchdog;
use multiproc::{Pool, Process, active_children};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::Duration;

/// A task that ends its process, if it is number 5.
fn abort_at_5(x: u64) -> u64 {
    if x == 5 { std::process::abort() } else { x }
}

/// A pool notices the death of a worker, and so does everybody who looks at a process.
fn deaths_are_noticed(pool: &Pool) {
    let results = pool.tasks(abort_at_5, 0..10).chunksize(1).each();
    assert!(results[5].as_ref().unwrap_err().is_worker_lost(), "{results:?}");
}

/// The CPU time that this process has used.
fn cpu_time() -> Duration {
    Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime)).unwrap()
}

#[test]
fn a_lower_limit_on_open_files_hides_no_death() {
    if !alone("sandbox::a_lower_limit_on_open_files_hides_no_death") {
        return;
    }
    let _watchdog = watchdog(60);
    let pool = Pool::new(6).unwrap();
    let process = Process::builder().daemon(true).spawn(|| std::thread::sleep(Duration::from_secs(1000)), ()).unwrap();
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), ..before }).unwrap();
    // Waiting costs nothing.
    let before_waiting = cpu_time();
    std::thread::sleep(Duration::from_millis(500));
    let used = cpu_time() - before_waiting;
    assert!(used < Duration::from_millis(200), "{used:?}");
    process.kill();
    process.wait();
    assert!(eventually(Duration::from_secs(20), || active_children().is_empty()));
    // What was running is lost. Without descriptors there may be no other worker for the rest.
    let results = pool.tasks(abort_at_5, 0..10).chunksize(1).each();
    assert!(results[5].is_err(), "{results:?}");
    setrlimit(Resource::Nofile, before).unwrap();
}

#[test]
fn a_filter_may_refuse_to_poll() {
    if !alone("sandbox::a_filter_may_refuse_to_poll") {
        return;
    }
    let _watchdog = watchdog(60);
    seccomp::refuse(
        &[
            libc::SYS_ppoll,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_poll,
        ],
        libc::EPERM,
    );
    let pool = Pool::new(2).unwrap();
    deaths_are_noticed(&pool);
    let process = Process::spawn(|| 5, ()).unwrap();
    assert!(process.wait_timeout(Duration::from_secs(30)));
    assert_eq!(process.join().unwrap(), 5);
}

#[test]
fn where_nothing_waits_for_descriptors_the_error_names_the_call() {
    if !alone("sandbox::where_nothing_waits_for_descriptors_the_error_names_the_call") {
        return;
    }
    let _watchdog = watchdog(120);
    let refused = [libc::SYS_epoll_create1, libc::SYS_epoll_pwait];
    seccomp::refuse(&refused, libc::ENOSYS);
    let error = Pool::new(2).unwrap_err();
    assert!(error.to_string().contains("epoll_create1: "), "{error}");
    let error = Process::spawn(|| 5, ()).unwrap_err();
    assert!(error.to_string().contains("epoll_create1: "), "{error}");
}

/// Ends the thread that runs this, and not its process.
fn end_thread() -> u64 {
    seccomp::filter(&[libc::SYS_getppid], libc::SECCOMP_RET_KILL_THREAD);
    u64::from(rustix::process::getppid().is_some())
}

#[test]
fn a_thread_that_ends_without_its_process_is_noticed() {
    let _watchdog = watchdog(60);
    let error = Process::builder().daemon(true).spawn(end_thread, ()).unwrap().join().unwrap_err();
    assert!(error.is_lost() && error.exit_code() == Some(1), "{error}");
    let pool = Pool::new(1).unwrap();
    assert!(pool.apply(end_thread, ()).unwrap_err().task().unwrap().is_worker_lost());
    assert_eq!(pool.apply(|| 5, ()).unwrap(), 5);
}

#[test]
fn a_filter_may_refuse_signals_by_descriptor() {
    if !alone("sandbox::a_filter_may_refuse_signals_by_descriptor") {
        return;
    }
    let _watchdog = watchdog(60);
    seccomp::refuse(&[libc::SYS_pidfd_send_signal], libc::ENOSYS);
    let sleep = || std::thread::sleep(Duration::from_secs(1000));
    let process = Process::builder().daemon(true).spawn(sleep, ()).unwrap();
    process.terminate();
    process.wait();
    assert_eq!(process.exitcode(), Some(-15));
    process.kill();
    let pool = Pool::new(1).unwrap();
    let error = pool.task(sleep, ()).timeout(Duration::from_millis(100)).run().unwrap_err();
    assert!(error.task().unwrap().is_timeout(), "{error}");
}
