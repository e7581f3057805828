//! Nothing stays behind.

use super::common::alone::{alone, before, is_program, program};
use super::common::links::on_each_link;
use super::common::proc::{self, Holdings, children_of, descendants_of, eventually, holdings, own_pid};
use super::common::watchdog::watchdog;
use multiproc::{Pool, PoolBuilder, StartMethod};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What this process holds behind its first pool, which makes what a process has once: its reactor.
fn after_the_first_pool(builder: &dyn Fn() -> PoolBuilder) -> Holdings {
    let first = holdings();
    drop(builder().processes(1).build().unwrap());
    // The pool's own thread and the reactor let go of the last pieces a moment after the pool is gone.
    assert!(eventually(Duration::from_secs(10), || holdings().has_no_children_since(&first)), "{:?}", holdings());
    holdings()
}

#[test]
fn a_pool_leaves_nothing_behind() {
    if !alone("leaks::a_pool_leaves_nothing_behind") {
        return;
    }
    on_each_link(120, |builder| {
        let before = after_the_first_pool(builder);
        for round in 0..10 {
            let pool = builder().processes(3).build().unwrap();
            pool.map(|x: u64| x, 0..100).unwrap();
            pool.apply(|bytes: Vec<u8>| bytes, (vec![1; 80 << 20],)).unwrap();
            let lost = pool.map_each(
                |x: u64| {
                    if x % 4 == 1 {
                        std::process::abort()
                    }
                },
                0..8,
            );
            assert_eq!(lost.iter().filter(|it| it.is_err()).count(), 2);
            match round % 3 {
                0 => drop(pool),
                1 => {
                    pool.close();
                    pool.join().unwrap();
                }
                _ => {
                    pool.terminate();
                    assert!(pool.join_timeout(Duration::from_secs(20)).is_some_and(|end| end.is_ok()));
                }
            }
        }
        assert!(builder().processes(2).initializer(|| -> () { panic!("no") }, ()).build().is_err());
        assert!(eventually(Duration::from_secs(10), || holdings() == before), "{:?}\n{before:?}", holdings());
    });
}

/// The kernel copies the table of descriptors for each process that is started.
#[test]
fn a_worker_takes_four_descriptors_of_its_pool() {
    if !alone("leaks::a_worker_takes_four_descriptors_of_its_pool") {
        return;
    }
    let _watchdog = watchdog(120);
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    for method in [StartMethod::Spawn, StartMethod::Template] {
        let mut pools = Vec::new();
        // The first pool makes what a process has once.
        let [_, few, many] = [1, 1, 41].map(|workers| {
            let before = open();
            pools.push(Pool::builder().processes(workers).start_method(method).build().unwrap());
            open() - before
        });
        assert!(many - few <= 40 * 4, "{method:?}: {few} {many}");
        pools.iter().for_each(|pool| assert!(pool.map(|x: u64| x, 0..100).is_ok()));
    }
}

#[test]
fn a_pool_of_which_no_worker_starts_leaves_nothing_behind_however_many_it_was_to_have() {
    if !alone("leaks::a_pool_of_which_no_worker_starts_leaves_nothing_behind_however_many_it_was_to_have") {
        return;
    }
    on_each_link(120, |builder| {
        let before = after_the_first_pool(builder);
        let error = builder().processes(150).initializer(|| -> () { std::process::exit(3) }, ()).build().unwrap_err();
        assert!(error.is_start(), "{error}");
        assert!(eventually(Duration::from_secs(20), || holdings() == before), "{:?}\n{before:?}", holdings());
    });
}

#[test]
fn a_pool_that_is_resized_while_its_workers_die_leaves_no_process_behind() {
    if !alone("leaks::a_pool_that_is_resized_while_its_workers_die_leaves_no_process_behind") {
        return;
    }
    on_each_link(120, |builder| {
        let pool = builder().processes(3).build().unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    pool.resize(3).unwrap();
                }
            });
            let each = pool.tasks(|_: u32| std::process::abort(), 0..200).chunksize(1).each();
            over.store(true, Ordering::Relaxed);
            assert!(each.iter().all(|it: &Result<(), _>| it.as_ref().unwrap_err().is_worker_lost()));
        });
        pool.close();
        pool.join().unwrap();
        // Nor do agents stay.
        let is_left_alone = || children_of(own_pid()).is_empty() && descendants_of(own_pid()).is_empty();
        assert!(eventually(Duration::from_secs(10), is_left_alone), "a worker was forgotten");
        drop(pool);
    });
}

/// Starts this binary for the test `name`, and waits until it has printed a line with the pids of its workers.
fn busy_program(name: &str) -> (Child, Vec<i32>) {
    use std::os::unix::process::CommandExt;
    // Whoever runs the tests in the background may have SIGINT ignored, and that is inherited.
    let mut env = std::process::Command::new("env");
    env.arg("--default-signal=INT");
    let mut env = before(env, &program(name));
    let mut child = env.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.find_map(|line| Some(line.unwrap().split_once("workers: ")?.1.to_owned())).unwrap();
    let pids = line.split(' ').map(|pid| pid.parse().unwrap()).collect();
    // The rest of what it prints goes nowhere, but must not make it stop.
    std::thread::spawn(move || lines.for_each(drop));
    (child, pids)
}

/// A program with a busy pool, whose workers have children of their own.
fn be_busy() {
    let pool = Pool::new(2).unwrap();
    let pids = pool.map(
        |_: u32| {
            // Without our output: it outlives the test, and whoever reads that would wait for it.
            let mut command = std::process::Command::new("sleep");
            let child = command.arg("60").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let nested = Pool::new(1).unwrap();
            let inner = nested.worker_pids()[0];
            std::mem::forget(nested);
            drop(child);
            (std::process::id(), inner)
        },
        0..2,
    );
    let pids = pids.unwrap().into_iter().flat_map(|(outer, inner)| [outer as i32, inner]);
    let text: Vec<String> = pids.map(|pid| pid.to_string()).collect();
    println!("workers: {}", text.join(" "));
    pool.map(|_: u32| std::thread::sleep(Duration::from_secs(1000)), 0..4).unwrap();
}

fn ends_with_its_parent(name: &str, end: impl Fn(&Child)) {
    if is_program(name) {
        return be_busy();
    }
    let _watchdog = watchdog(60);
    let (mut child, pids) = busy_program(name);
    assert!(pids.iter().all(|pid| proc::is_alive(*pid)));
    end(&child);
    child.wait().unwrap();
    let gone = || pids.iter().all(|pid| !proc::is_alive(*pid));
    assert!(eventually(Duration::from_secs(10), gone), "workers live on");
}

#[test]
fn workers_and_their_workers_end_with_a_killed_parent() {
    ends_with_its_parent("leaks::workers_and_their_workers_end_with_a_killed_parent", |child| {
        assert!(proc::kill(child.id() as i32));
    });
}

#[test]
fn ctrl_c_ends_a_busy_program_and_all_its_workers() {
    ends_with_its_parent("leaks::ctrl_c_ends_a_busy_program_and_all_its_workers", |child| {
        let group = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
        rustix::process::kill_process_group(group, rustix::process::Signal::INT).unwrap();
    });
}

#[test]
fn sigterm_ends_a_busy_program_and_all_its_workers() {
    ends_with_its_parent("leaks::sigterm_ends_a_busy_program_and_all_its_workers", |child| {
        assert!(proc::send_signal(child.id() as i32, rustix::process::Signal::TERM));
    });
}
