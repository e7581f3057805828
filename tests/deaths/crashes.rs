//! Workers that crash: the error names the functions that led there.

use super::common::crash::{
    calls_nothing, forbidden_page, gives_up, mends, names_in_order, on_sigsegv, outer, read_page, recurses, says_so,
};
use super::common::links::{on_each_link, on_each_pool, on_ring_pool};
use super::common::proc::{kill, own_pid};
use super::common::watchdog::watchdog;
use super::lost;
use multiproc::{Event, Pool, Process, StartMethod, TaskError};
use std::time::Duration;

#[test]
fn a_bad_access_names_the_functions_that_led_there() {
    on_each_pool(1, 120, |pool| {
        let error = lost(pool.apply(outer, (1,)));
        assert_eq!(error.signal(), Some(11), "{error}");
        let text = error.to_string();
        assert!(text.contains("a bad memory access, at address 0x10, in `"), "{text}");
        assert!(names_in_order(&text, &["inner", "middle", "outer"]), "{text}");
        assert!(text.contains("common/crash.rs:"), "{text}");
        let backtrace = error.backtrace().unwrap();
        assert!(names_in_order(backtrace, &["inner", "middle", "outer"]), "{backtrace}");
        // What stands around the task is in the whole backtrace alone.
        assert!(backtrace.contains("multiproc::") && !text.contains("multiproc::"), "{text}\n{backtrace}");
        assert_eq!(pool.apply(|| 5, ()).unwrap(), 5);
    });
}

#[test]
fn an_initializer_that_crashes_names_them_too() {
    let crash = || assert!(outer(1) > 0);
    on_each_link(120, |builder| {
        for method in [StartMethod::Spawn, StartMethod::Template] {
            let error = builder().processes(1).start_method(method).initializer(crash, ()).build().unwrap_err();
            assert!(error.is_start() && error.to_string().contains("before it was ready; a bad memory"), "{error}");
            assert!(names_in_order(&error.to_string(), &["inner", "middle", "outer"]), "{error}");
        }
    });
    let error = Process::builder().initializer(crash, ()).spawn(|| (), ()).unwrap_err();
    assert!(error.is_start() && names_in_order(&error.to_string(), &["inner", "middle", "outer"]), "{error}");
}

#[test]
fn a_copy_of_a_template_names_them_too() {
    on_each_link(120, |builder| {
        let pool = builder().processes(1).start_method(StartMethod::Template).build().unwrap();
        for _ in 0..2 {
            let error = lost(pool.apply(outer, (1,)));
            assert!(names_in_order(&error.to_string(), &["inner", "middle", "outer"]), "{error}");
            let error = lost(pool.apply(recurses, (1,)));
            assert!(error.to_string().contains("; a stack overflow, in `"), "{error}");
        }
    });
}

#[test]
fn abort_and_overflow_name_their_functions() {
    on_each_pool(1, 120, |pool| {
        let error = lost(pool.apply(gives_up, (1,)));
        assert_eq!(error.signal(), Some(6), "{error}");
        let text = error.to_string();
        assert!(text.contains("; it called abort, in `") && names_in_order(&text, &["aborts", "gives_up"]), "{text}");
        let error = lost(pool.apply(recurses, (1,)));
        assert_eq!(error.signal(), Some(11), "{error}");
        let text = error.to_string();
        assert!(text.contains("; a stack overflow, in `") && names_in_order(&text, &["recurses"]), "{text}");
        let backtrace = error.backtrace().unwrap();
        assert!(backtrace.matches("crash::recurses").count() > 20, "{backtrace}");
        let error = lost(pool.apply(calls_nothing, (1,)));
        assert!(names_in_order(&error.to_string(), &["calls_nothing"]), "{error}");
    });
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_processor_refuses() {
    use super::common::crash::{divides, executes_nonsense};
    on_ring_pool(1, 120, |pool| {
        let error = lost(pool.apply(divides, (1,)));
        assert!(error.signal() == Some(8) && names_in_order(&error.to_string(), &["divides"]), "{error}");
        let error = lost(pool.apply(executes_nonsense, (1,)));
        assert!(error.signal() == Some(4) && names_in_order(&error.to_string(), &["executes_nonsense"]), "{error}");
    });
}

#[test]
fn any_thread_of_a_worker_may_crash() {
    on_ring_pool(1, 120, |pool| {
        let task = || std::thread::spawn(|| outer(1)).join().unwrap();
        let error = lost(pool.apply(task, ()));
        assert!(names_in_order(&error.to_string(), &["inner", "middle", "outer"]), "{error}");
    });
}

#[test]
fn a_process_names_them_too() {
    let _watchdog = watchdog(120);
    let error = Process::spawn(outer, (1,)).unwrap().join().unwrap_err();
    assert!(names_in_order(&error.to_string(), &["inner", "middle", "outer"]), "{error}");
    assert!(names_in_order(error.backtrace().unwrap(), &["inner", "middle", "outer"]));
    // A pool in a process: the error goes on to another one as text.
    let nested = || {
        let pool = Pool::new(1).unwrap();
        pool.apply(outer, (1,)).unwrap_err()
    };
    let error = Process::spawn(nested, ()).unwrap().join().unwrap();
    let task = error.task().unwrap();
    assert!(names_in_order(&task.to_string(), &["inner", "middle", "outer"]), "{task}");
    assert!(names_in_order(task.backtrace().unwrap(), &["inner", "middle", "outer"]), "{task}");
}

#[test]
fn handlers_of_the_program_run_as_well() {
    on_each_link(120, |builder| {
        let builder = || builder().processes(1).capture_output(true);
        // Installed before the tasks, and in one of them.
        let pool = builder().initializer(|| on_sigsegv(says_so), ()).build().unwrap();
        let error = lost(pool.apply(outer, (1,)));
        assert!(error.output().unwrap().contains("the handler of the program"), "{error}");
        assert!(names_in_order(&error.to_string(), &["inner", "middle", "outer"]), "{error}");
        let pool = builder().build().unwrap();
        let task = || {
            on_sigsegv(says_so);
            outer(1)
        };
        let error = lost(pool.apply(task, ()));
        assert!(error.output().unwrap().contains("the handler of the program"), "{error}");
        assert_eq!((error.signal(), error.backtrace()), (Some(11), None), "{error}");
    });
}

#[test]
fn a_fault_that_the_program_mends_is_no_crash() {
    on_ring_pool(1, 120, |_| {
        let pool = Pool::builder().processes(1).initializer(|| on_sigsegv(mends), ()).build().unwrap();
        let read = || read_page(forbidden_page());
        assert_eq!(pool.tasks(|_: u32| 0, 0..3).run().unwrap(), [0; 3]);
        for _ in 0..3 {
            assert_eq!(pool.apply(read, ()).unwrap(), 0);
        }
        // What was mended is not what it dies of.
        let error = lost(pool.apply(gives_up, (1,)));
        assert!(names_in_order(&error.to_string(), &["aborts", "gives_up"]), "{error}");
        let error = lost(pool.apply(|| assert!(kill(own_pid())), ()));
        assert_eq!((error.signal(), error.backtrace()), (Some(9), None), "{error}");
    });
}

#[test]
fn a_signal_that_was_sent_says_by_whom() {
    on_ring_pool(1, 120, |pool| {
        let pid = pool.worker_pids()[0];
        let asleep = Event::new();
        let sleep = |asleep: Event| {
            asleep.set();
            std::thread::sleep(Duration::from_secs(1000));
        };
        let result = pool.apply_async(sleep, (asleep.clone(),)).unwrap();
        asleep.wait();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::BUS).unwrap();
        let error = result.get().unwrap_err();
        assert!(error.is_worker_lost() && error.signal() == Some(7), "{error}");
        let sender = format!("; process {} sent the signal", std::process::id());
        assert!(error.to_string().contains(&sender), "{error}");
    });
}

#[test]
fn an_error_that_was_written_down_keeps_the_names() {
    on_ring_pool(1, 120, |pool| {
        let error = lost(pool.apply(outer, (1,)));
        let text = serde_json::to_string(&error).unwrap();
        let read: TaskError = serde_json::from_str(&text).unwrap();
        assert_eq!((read.to_string(), read.backtrace()), (error.to_string(), error.backtrace()));
    });
}

#[test]
fn a_worker_that_lies_about_its_crash_is_survived() {
    on_ring_pool(1, 300, |pool| {
        for round in 0..40u64 {
            let error = lost(pool.apply(lies, (round,)));
            assert_eq!(error.signal(), Some(9), "{error}");
            let _ = (error.to_string(), error.backtrace().map(str::len));
        }
        assert_eq!(pool.apply(|| 5, ()).unwrap(), 5);
    });
}

/// Writes into the memory for crashes what no crash does, and dies.
fn lies(round: u64) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.contains("memfd:multiproc-crash")).unwrap();
    let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
    let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
    let memory = std::fs::OpenOptions::new().write(true).open("/proc/self/mem").unwrap();
    let write = |at: u64, bytes: &[u8]| std::os::unix::fs::FileExt::write_all_at(&memory, bytes, start + at).unwrap();
    // Random words, then a list of mappings that has this program in it, or whatever.
    let mut word = round;
    for at in (0..end - start).step_by(8) {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        write(at, &(word >> (8 * (round % 8))).to_ne_bytes());
    }
    if round % 2 == 0 {
        write(4096, maps.as_bytes());
    }
    let code = lies as *const () as u64;
    let values = [1, 9, 9, round % 3, 16, 7, 0, round % 2, 1, code, end, start, code, end, u64::MAX, u64::MAX];
    for (at, value) in values.into_iter().enumerate() {
        write(8 * at as u64, &value.to_ne_bytes());
    }
    assert!(kill(own_pid()));
}
