//! Faults in workers whose initializer has arranged for signals: what it has arranged goes on as if nobody else watched.

use super::common::crash::{
    errno_around_a_fault, faults_and_mends, forbidden_page, goes_on, mends, mends_any, mends_last, names_in_order,
    on_sigsegv, on_sigsegv_with, outer, puts_back, read_page, reads_on_threads, reads_on_two_threads,
    reads_with_two_faults, says_so, says_so_once,
};
use super::common::signals;
use super::common::watchdog::watchdog;
use multiproc::{Pool, PoolBuilder, TaskError};
use rustix::process::{Resource, Rlimit, Signal};

fn builder() -> PoolBuilder {
    Pool::builder().processes(1).capture_output(true)
}

/// The error of a task whose worker has died of SIGSEGV.
fn fault<R: std::fmt::Debug>(result: multiproc::Result<R>) -> TaskError {
    let error = result.unwrap_err().task().unwrap().clone();
    assert!(error.is_worker_lost() && error.signal() == Some(11), "{error}");
    error
}

#[test]
fn a_handler_for_one_fault_is_called_once() {
    let _watchdog = watchdog(60);
    let first = || on_sigsegv_with(libc::SA_RESETHAND, says_so_once);
    let pool = builder().initializer(first, ()).build().unwrap();
    let error = fault(pool.apply(outer, (1,)));
    assert_eq!(error.output().unwrap().matches("the handler of the program").count(), 1, "{error}");
    assert!(names_in_order(&error.to_string(), &["inner", "middle", "outer"]), "{error}");
    // It mends one fault, and no second one, whose own functions the error names.
    let pool = builder().initializer(|| on_sigsegv_with(libc::SA_RESETHAND, mends_any), ()).build().unwrap();
    assert_eq!(pool.apply(reads_on_threads, (1, 1)).unwrap(), 0);
    let error = fault(pool.apply(outer, (1,)));
    assert!(names_in_order(&error.to_string(), &["inner", "middle", "outer"]), "{error}");
}

#[test]
fn a_handler_may_have_a_fault_that_it_mends() {
    let _watchdog = watchdog(60);
    let first = || on_sigsegv_with(libc::SA_NODEFER, faults_and_mends);
    let pool = builder().initializer(first, ()).build().unwrap();
    for _ in 0..3 {
        assert_eq!(pool.apply(reads_with_two_faults, ()).unwrap(), 0);
    }
}

#[test]
fn a_handler_may_go_on_to_the_one_before_it() {
    let _watchdog = watchdog(60);
    for which in 0..3_usize {
        let first = |which: usize| match which {
            0 => on_sigsegv_with(0, goes_on),
            1 => on_sigsegv_with(libc::SA_NODEFER, goes_on),
            _ => on_sigsegv_with(libc::SA_NODEFER, puts_back),
        };
        let pool = builder().initializer(first, (which,)).build().unwrap();
        let error = fault(pool.apply(outer, (1,)));
        assert_eq!(error.output().unwrap().matches("the handler of the program").count(), 1, "{which}: {error}");
        let text = error.to_string();
        assert!(text.contains("; a bad memory access, at address 0x10, in `"), "{which}: {text}");
        assert!(names_in_order(&text, &["inner", "middle", "outer"]), "{which}: {text}");
    }
}

#[cfg(target_env = "gnu")]
#[test]
fn a_handler_may_be_left_by_a_jump() {
    use super::common::crash::{faults_and_is_left, jumps};
    let _watchdog = watchdog(60);
    let pool = builder().initializer(|| on_sigsegv_with(0, jumps), ()).build().unwrap();
    for _ in 0..3 {
        pool.apply(faults_and_is_left, ()).unwrap();
        // On another thread, which has no stack for handlers.
        pool.apply(|| std::thread::spawn(faults_and_is_left).join().unwrap(), ()).unwrap();
    }
    // What was left is not what it dies of.
    let error = fault(pool.apply(outer, (1,)));
    assert!(names_in_order(&error.to_string(), &["inner", "middle", "outer"]), "{error}");
}

#[test]
fn an_ignored_signal_stays_ignored() {
    let _watchdog = watchdog(60);
    let pool = builder().initializer(|| signals::ignore(&[Signal::TRAP]), ()).build().unwrap();
    pool.apply(|| signals::raise(Signal::TRAP), ()).unwrap();
}

#[test]
fn faults_of_several_threads_are_all_mended() {
    let _watchdog = watchdog(120);
    let pool = builder().initializer(|| on_sigsegv_with(0, mends_last), ()).build().unwrap();
    assert_eq!(pool.apply(reads_on_two_threads, ()).unwrap(), 0);
    assert_eq!(pool.apply(reads_on_threads, (4, 200)).unwrap(), 0);
}

#[test]
fn a_fault_that_is_mended_does_not_touch_errno() {
    let _watchdog = watchdog(60);
    let pool = builder().initializer(|| on_sigsegv_with(0, mends_any), ()).build().unwrap();
    let task = || {
        // Without descriptors the note is a poor one, and its system calls fail.
        let limit = rustix::process::getrlimit(Resource::Nofile);
        rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..limit }).unwrap();
        let errno = errno_around_a_fault();
        rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
        errno
    };
    assert_eq!(pool.apply(task, ()).unwrap(), 7);
}

#[test]
fn a_fault_that_was_mended_is_not_taken_for_the_cause_of_death() {
    let _watchdog = watchdog(60);
    let pool = builder().initializer(|| on_sigsegv(mends), ()).build().unwrap();
    let task = || {
        let read = read_page(forbidden_page());
        // From now on nobody notes a fault.
        on_sigsegv(says_so);
        outer(read.into())
    };
    let error = fault(pool.apply(task, ()));
    assert_eq!(error.backtrace(), None, "{error}");
}
