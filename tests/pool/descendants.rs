//! What tasks have started ends with their worker.

use super::common::proc::{eventually, is_alive, kill};
use super::common::signals::ignore_sigterm;
use super::common::watchdog::watchdog;
use multiproc::{DescendantControl, Pool, PoolBuilder, Queue};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Ways to start a `sleep`, which write its process id.
const WAYS: [&str; 4] = [
    "sleep 1000 & echo $!; wait",
    // A daemon: two forks, and a session of its own.
    "(setsid sh -c 'sleep 1000 & echo $!; exec >&- 2>&-; wait' &)",
    // A daemon whose parents have ended.
    "(setsid sh -c 'sleep 1000 & echo $!' &)",
    // A tree.
    "sh -c 'sh -c \"sleep 1000 & echo \\$!; wait\" & wait'",
];

/// In a task: starts a process, and returns its id. It lives on.
fn start(way: &str) -> i32 {
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", way]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut line = String::new();
    BufReader::new(shell.spawn().unwrap().stdout.take().unwrap()).read_line(&mut line).unwrap();
    line.trim().parse().unwrap()
}

/// A task that never ends by itself.
fn start_and_hang(pids: &Queue<i32>, way: String) {
    pids.put(start(&way)).unwrap();
    std::thread::sleep(Duration::from_secs(1000));
}

fn builder() -> PoolBuilder {
    Pool::builder().processes(1)
}

/// A process that is watched.
struct Watched {
    pid: i32,
    pidfd: OwnedFd,
}

impl Watched {
    fn new(pid: i32) -> Watched {
        Watched { pid, pidfd: pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap() }
    }

    fn has_ended_within(&self, seconds: i64) -> bool {
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&time)).unwrap() == 1
    }
}

#[test]
fn they_end_when_their_worker_is_killed() {
    let _watchdog = watchdog(120);
    for way in WAYS {
        let (pool, pids) = (builder().build().unwrap(), Queue::new());
        let worker = pool.worker_pids()[0];
        let task = pool.with(&pids).task(start_and_hang, (way.to_owned(),)).submit().unwrap();
        let started = Watched::new(pids.get().unwrap());
        assert!(!started.has_ended_within(0));
        assert!(kill(worker));
        assert!(started.has_ended_within(1), "{way}: {} lives", started.pid);
        let error = task.get().unwrap_err();
        assert!(error.is_worker_lost(), "{error}");
        // The pool goes on.
        assert_eq!(pool.apply(|| 7, ()).unwrap(), 7);
    }
}

#[test]
fn they_have_ended_when_a_time_limit_is_told() {
    let _watchdog = watchdog(120);
    let pool = builder().grace(Duration::from_millis(100)).build().unwrap();
    for way in WAYS {
        for is_stubborn in [false, true] {
            let pids = Queue::new();
            let hang = |pids: &Queue<i32>, way: String, is_stubborn: bool| {
                if is_stubborn {
                    ignore_sigterm();
                }
                start_and_hang(pids, way);
            };
            let task = pool.with(&pids).task(hang, (way.to_owned(), is_stubborn)).timeout(Duration::from_millis(300));
            let task = task.submit().unwrap();
            let started = Watched::new(pids.get().unwrap());
            assert!(task.get().unwrap_err().is_timeout());
            assert!(started.has_ended_within(0), "{way}: {} lives", started.pid);
        }
    }
}

#[test]
fn they_have_ended_when_the_pool_is_dropped() {
    let _watchdog = watchdog(120);
    for way in WAYS {
        // The worker is busy, or has nothing to do.
        let (pool, pids) = (builder().build().unwrap(), Queue::new());
        let task = pool.with(&pids).task(start_and_hang, (way.to_owned(),)).submit().unwrap();
        let started = Watched::new(pids.get().unwrap());
        drop(pool);
        assert!(started.has_ended_within(0), "{way}: {} lives", started.pid);
        assert!(task.get().unwrap_err().is_terminated());

        let pool = builder().build().unwrap();
        let started = Watched::new(pool.apply(|way: String| start(&way), (way.to_owned(),)).unwrap());
        assert!(!started.has_ended_within(0));
        drop(pool);
        assert!(started.has_ended_within(0), "{way}: {} lives", started.pid);
    }
}

#[test]
fn they_have_ended_when_their_worker_has_left() {
    let _watchdog = watchdog(120);
    let leave = |pool: Pool| {
        pool.close();
        pool.join().unwrap();
    };
    // Even if they have emptied their environment.
    for way in WAYS.into_iter().chain(["(env -i setsid sh -c 'sleep 1000 & echo $!' &)"]) {
        let pool = builder().build().unwrap();
        let started = Watched::new(pool.apply(|way: String| start(&way), (way.to_owned(),)).unwrap());
        leave(pool);
        assert!(started.has_ended_within(0), "{way}: {} lives", started.pid);

        // Or if a task has called `exit`.
        let (pool, pids) = (builder().build().unwrap(), Queue::new());
        let exit = |pids: &Queue<i32>, way: String| -> () {
            pids.put(start(&way)).unwrap();
            std::process::exit(0)
        };
        let error = pool.with(&pids).task(exit, (way.to_owned(),)).run().unwrap_err();
        let started = pids.get().unwrap();
        assert!(error.task().unwrap().is_worker_lost() && !is_alive(started), "{error}");
    }
}

#[test]
fn one_that_dies_takes_nothing_of_others_along() {
    let _watchdog = watchdog(60);
    let pool = Pool::builder().processes(2).build().unwrap();
    let (pids, way) = (Queue::new(), WAYS[1].to_owned());
    let hang = |pids: &Queue<(u32, i32)>, way: String| {
        pids.put((std::process::id(), start(&way))).unwrap();
        std::thread::sleep(Duration::from_secs(1000));
    };
    let _tasks = pool.with(&pids).tasks(hang, [way.clone(), way]).chunksize(1).submit().unwrap();
    let ((worker, first), (_, second)) = (pids.get().unwrap(), pids.get().unwrap());
    // And one that this process has started.
    let [first, second, own] = [first, second, start(WAYS[1])].map(Watched::new);
    assert!(kill(worker as i32) && first.has_ended_within(1) && !second.has_ended_within(0));
    drop(pool);
    assert!(second.has_ended_within(0) && !own.has_ended_within(0) && kill(own.pid));
}

#[test]
fn those_of_a_pool_in_a_worker_end_with_it() {
    let _watchdog = watchdog(60);
    let (pool, pids) = (builder().build().unwrap(), Queue::new());
    let nested = |pids: &Queue<i32>, way: String| {
        let pool = builder().build().unwrap();
        pool.with(pids).task(start_and_hang, (way,)).run().unwrap();
    };
    let worker = pool.worker_pids()[0];
    let _task = pool.with(&pids).task(nested, (WAYS[2].to_owned(),)).submit().unwrap();
    let started = Watched::new(pids.get().unwrap());
    assert!(kill(worker));
    assert!(started.has_ended_within(1));
}

#[test]
fn orphans_are_reaped_and_children_of_tasks_are_not() {
    let _watchdog = watchdog(60);
    let pool = builder().build().unwrap();
    let work = || {
        let mut child = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        let orphan = start("(sh -c 'echo $$; exec >&-; sleep 0.1' &)");
        // The worker looks for orphans twice a second.
        assert!(eventually(Duration::from_secs(20), || !std::fs::exists(format!("/proc/{orphan}")).unwrap()));
        child.wait().unwrap().code()
    };
    assert_eq!(pool.apply(work, ()).unwrap(), Some(7));
}

#[test]
fn they_stay_if_that_is_wanted() {
    let _watchdog = watchdog(60);
    let pool = builder().end_descendants(false).build().unwrap();
    assert_eq!(pool.stats().descendants, DescendantControl::Off);
    let started = Watched::new(pool.apply(|way: String| start(&way), (WAYS[2].to_owned(),)).unwrap());
    drop(pool);
    assert!(!started.has_ended_within(0) && kill(started.pid));

    let error = builder().end_descendants(false).build_threads().unwrap_err();
    assert!(error.is_invalid_argument() && error.to_string().contains("end_descendants"), "{error}");
    assert_eq!(builder().build().unwrap().stats().descendants, DescendantControl::Walk);
}

#[test]
fn they_end_when_the_last_task_of_their_worker_ends_it() {
    let _watchdog = watchdog(120);
    let (pool, pids) = (builder().max_tasks_per_child(1).build().unwrap(), Queue::new());
    let start_and_exit = |pids: &Queue<i32>, way: String| {
        pids.put(start(&way)).unwrap();
        // As if there were nothing left to do, and without exit handlers.
        let _ = Command::new("true").exec();
    };
    for way in WAYS {
        let error = pool.with(&pids).task(start_and_exit, (way.to_owned(),)).run().unwrap_err();
        assert!(error.to_string().contains("exited with code 0"), "{error}");
        let pid = pids.get().unwrap();
        assert!(!is_alive(pid), "{way}: {pid} lives");
    }
}
