//! Values that do not fit a ring, and what is left of them.

use crate::common::alone::alone;
use crate::common::links::{on_each_link, on_each_pool};
use crate::common::proc::{descendants_of, eventually, kill, own_pid, send_signal, stop};
use crate::common::seccomp::refuse;
use crate::common::watchdog::watchdog;
use multiproc::{Pool, Process};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

const MIB: usize = 1 << 20;

/// The data area of a ring.
const RING: usize = 72 * MIB;

const SOON: Duration = Duration::from_secs(60);

/// Bytes of which each page is another one, and another for each seed.
fn value(seed: u64, len: usize) -> Vec<u8> {
    let page: Vec<u8> = (0..4096_u64).map(|at| ((at * (2 * seed + 1)) >> 3) as u8).collect();
    let mut bytes = vec![0; len];
    for (number, part) in (seed << 32..).zip(bytes.chunks_mut(page.len())) {
        part.copy_from_slice(&page[..part.len()]);
        let mark = number.to_le_bytes();
        let marked = part.len().min(mark.len());
        part[..marked].copy_from_slice(&mark[..marked]);
    }
    bytes
}

/// Returns bytes as they came, if they are those that were meant.
fn check(seed: u64, bytes: Vec<u8>) -> Vec<u8> {
    assert!(bytes == value(seed, bytes.len()), "other bytes have come");
    bytes
}

#[test]
fn values_of_all_sizes_follow_one_another_in_one_file() {
    on_each_pool(1, 300, |pool| {
        // Each prefix has 8 bytes, and the number as well.
        for (seed, len) in (0..).zip([RING - 16, RING + 12_345, 3, RING - 15, RING]) {
            let bytes = pool.apply(check, (seed, value(seed, len))).unwrap();
            assert!(bytes == value(seed, len), "{len} bytes have come as others");
        }
    });
}

#[test]
fn results_that_wait_are_not_written_over() {
    on_each_link(300, |builder| {
        let pool = builder().processes(1).build().unwrap();
        let sizes = [RING + 4097, RING + 1, RING];
        let calls: Vec<_> = (0..).zip(sizes).map(|(seed, len)| pool.apply_async(value, (seed, len)).unwrap()).collect();
        for ((seed, len), call) in (0..).zip(sizes).zip(calls) {
            assert!(call.get().unwrap() == value(seed, len), "result {seed} has come as another");
        }
    });
}

#[test]
fn a_large_context_reaches_each_worker() {
    on_each_pool(2, 300, |pool| {
        let context = value(5, RING + 100);
        let look = |bytes: &Vec<u8>, at: usize| bytes[at];
        let looks = pool.with(&context).tasks(look, [0, 4096, RING, RING + 99]).chunksize(1).run().unwrap();
        assert_eq!(looks, [0, 4096, RING, RING + 99].map(|at| context[at]));
    });
}

#[test]
fn large_arguments_and_results_of_a_process() {
    let _watchdog = watchdog(120);
    let process = Process::spawn(check, (9, value(9, 20 * MIB + 3))).unwrap();
    assert!(process.join().unwrap() == value(9, 20 * MIB + 3));
}

/// A kill while a large answer is written, or just before or behind that, costs one task.
#[test]
fn a_kill_in_the_middle_of_a_large_answer_costs_one_task() {
    let _watchdog = watchdog(300);
    let pool = Pool::new(1).unwrap();
    for round in 0..4 {
        let [before, killed, behind] = [1, 2, 3].map(|seed| pool.apply_async(value, (seed, RING + 8)).unwrap());
        assert!(before.get().unwrap() == value(1, RING + 8));
        // Any moment will do.
        std::thread::sleep(Duration::from_millis(23 * round));
        pool.worker_pids().into_iter().for_each(|pid| _ = kill(pid));
        for (seed, call) in [(2, killed), (3, behind)] {
            match call.get() {
                Ok(bytes) => assert!(bytes == value(seed, RING + 8), "task {seed} has another result"),
                Err(error) => assert!(error.is_worker_lost(), "{error}"),
            }
        }
    }
    assert_eq!(pool.map(|x: u64| x + 1, 0..10).unwrap(), (1..11).collect::<Vec<_>>());
}

/// A kill while a large argument is on its way, or just before or behind that, costs one task.
#[test]
fn a_kill_in_the_middle_of_a_large_argument_costs_one_task() {
    let _watchdog = watchdog(300);
    let pool = Pool::new(1).unwrap();
    let argument = value(1, 2 * RING);
    for round in 0..12 {
        let argument = argument.clone();
        let pid = pool.worker_pids()[0];
        let killer = std::thread::spawn(move || {
            // Any moment will do.
            std::thread::sleep(Duration::from_millis(7 * round));
            kill(pid);
        });
        match pool.apply(|bytes: Vec<u8>| bytes == value(1, bytes.len()), (argument,)) {
            Ok(is_whole) => assert!(is_whole),
            Err(error) => assert!(error.task().unwrap().is_worker_lost(), "{error}"),
        }
        killer.join().unwrap();
        assert!(eventually(SOON, || pool.worker_pids().first().is_some_and(|next| *next != pid)));
    }
}

/// A large argument of a worker that does not read it holds up nobody else.
#[test]
fn a_large_argument_of_a_worker_that_was_stopped() {
    let _watchdog = watchdog(300);
    let pool = Pool::new(2).unwrap();
    let [stopped, _] = pool.worker_pids()[..] else { panic!("there are not two workers") };
    stop(stopped);
    std::thread::scope(|scope| {
        let calls = [3, 4].map(|seed| {
            let pool = &pool;
            scope.spawn(move || pool.apply(check, (seed, value(seed, 2 * RING))).unwrap() == value(seed, 2 * RING))
        });
        // Each call has its worker, or both the one that runs.
        assert!(eventually(SOON, || pool.stats().running > 0));
        assert_eq!(pool.map(|x: u64| x + 1, 0..10).unwrap(), (1..11).collect::<Vec<_>>());
        assert!(send_signal(stopped, Signal::CONT));
        assert!(calls.into_iter().all(|call| call.join().unwrap()));
    });
}

/// How much memory the files have that a process holds beside those of rings and heap.
fn in_files(pid: u32) -> u64 {
    let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let files = open.filter_map(|entry| Some(entry.ok()?.path()));
    let files = files.filter(|it| std::fs::read_link(it).is_ok_and(|to| to.to_string_lossy().contains("multiproc")));
    // A file that is open twice counts twice: nothing is twice nothing.
    files.filter_map(|it| std::fs::metadata(it).ok()).map(|it| it.blocks() * 512).sum()
}

/// What a process has in use, and its part of what it shares.
fn in_use(pid: u32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    pss.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn the_memory_of_a_burst_is_given_back() {
    if !alone("large::the_memory_of_a_burst_is_given_back") {
        return;
    }
    on_each_link(300, |builder| {
        let pool = builder().processes(2).build().unwrap();
        let text = |len: usize| "x".repeat(len);
        pool.map(text, [1, 2]).unwrap();
        // The workers, and what has the other ends of their links: this process, or agents.
        let processes = || {
            let own = own_pid();
            std::iter::once(own).chain(descendants_of(own)).map(|pid| pid as u32)
        };
        let before: Vec<u64> = processes().collect::<Vec<_>>().into_iter().map(in_use).collect();
        for _ in 0..2 {
            pool.starmap(check, [(1, value(1, RING + 1)), (2, value(2, RING + 1))]).unwrap();
            assert_eq!(pool.map(text, [RING + 5, 40 * MIB]).unwrap()[1].len(), 40 * MIB);
        }
        // What is in use belongs to a result that waits.
        let waiting = pool.apply_async(value, (4, RING + 1)).unwrap();
        waiting.wait();
        drop(waiting);
        for (pid, before) in processes().collect::<Vec<_>>().into_iter().zip(before) {
            let is_small = || in_use(pid) < before + 8 * MIB as u64 && in_files(pid) < 8 * MIB as u64;
            assert!(eventually(SOON, is_small), "{pid}: {before} bytes before, {} now, {}", in_use(pid), in_files(pid));
        }
    });
}

/// A limit on files makes a value that is too large an error of its task: no worker is to blame, and none is lost.
#[test]
fn what_cannot_be_sent_is_the_error_of_its_task() {
    let _watchdog = watchdog(120);
    let limited = || {
        let pool = Pool::new(2).unwrap();
        let pids = pool.worker_pids();
        setrlimit(Resource::Fsize, Rlimit { current: Some(RING as u64), maximum: None }).unwrap();
        let len = |bytes: Vec<u8>| bytes.len();
        let refused = |error: &multiproc::TaskError| {
            assert!(error.is_encode() && error.to_string().contains("cannot be sent"), "{error}");
        };
        refused(pool.apply(len, (vec![7; RING + 1],)).unwrap_err().task().unwrap());
        refused(&pool.apply_async(len, (vec![7; RING + 1],)).unwrap().get().unwrap_err());
        refused(
            pool.with(&vec![7u8; RING + 1]).tasks(|_: &Vec<u8>, x: u64| x, 0..3).run().unwrap_err().task().unwrap(),
        );
        // Also if nobody waits for it, and nothing else is under way.
        let (tell, told) = std::sync::mpsc::channel();
        let result = pool.apply_async(len, (vec![7; RING + 1],)).unwrap();
        result.error_callback(move |error| tell.send(error.is_encode()).unwrap()).detach();
        assert_eq!(told.recv_timeout(SOON), Ok(true));
        let each = pool.map_each(len, [vec![7; 1], vec![7; RING + 1], vec![7; 2]]);
        assert!(matches!(each[0], Ok(1)) && each[1].as_ref().unwrap_err().is_encode() && matches!(each[2], Ok(2)));
        pids == pool.worker_pids()
    };
    assert!(Process::spawn(limited, ()).unwrap().join().unwrap());
}

/// Where no file can be made for a value, that is the error of its task: another worker would not get it either.
#[test]
fn a_value_for_which_no_file_can_be_made_costs_no_worker() {
    let _watchdog = watchdog(120);
    let filtered = || {
        let pool = Pool::new(2).unwrap();
        let pids = pool.worker_pids();
        refuse(&[libc::SYS_memfd_create], libc::EPERM);
        let error = pool.apply(|bytes: Vec<u8>| bytes.len(), (vec![7; RING + 1],)).unwrap_err();
        assert!(error.task().unwrap().is_encode(), "{error}");
        pool.apply(|bytes: Vec<u8>| bytes.len(), (vec![7; 5],)).unwrap() == 5 && pids == pool.worker_pids()
    };
    assert!(Process::spawn(filtered, ()).unwrap().join().unwrap());
}

/// A filter that forbids to read and write files leaves the way by mapped memory.
#[test]
fn large_values_where_files_cannot_be_written() {
    let _watchdog = watchdog(120);
    let filtered = || refuse(&[libc::SYS_pwritev, libc::SYS_pread64], libc::EPERM);
    let pool = Pool::builder().processes(1).initializer(filtered, ()).build().unwrap();
    assert!(pool.apply(check, (6, value(6, RING + 1))).unwrap() == value(6, RING + 1));
    let without = || {
        let pool = Pool::new(1).unwrap();
        refuse(&[libc::SYS_pwritev, libc::SYS_pread64], libc::EPERM);
        pool.apply(check, (7, value(7, RING + 1))).unwrap() == value(7, RING + 1)
    };
    assert!(Process::spawn(without, ()).unwrap().join().unwrap());
}

/// How many pages a process has touched for the first time.
fn first_touches(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, behind_name) = stat.rsplit_once(')').unwrap();
    behind_name.split_whitespace().nth(7).unwrap().parse().unwrap()
}

/// More than gets large pages.
const IN_PAGES: usize = 144 * MIB;

#[test]
fn the_memory_of_an_argument_is_used_for_the_result() {
    if !alone("large::the_memory_of_an_argument_is_used_for_the_result") {
        return;
    }
    let _watchdog = watchdog(300);
    let pool = Pool::new(1).unwrap();
    let flip = |mut bytes: Vec<u8>| {
        bytes[7] ^= 1;
        bytes
    };
    let many = (IN_PAGES / 4096 / 2) as u64;
    let bytes = value(1, IN_PAGES);
    let before = first_touches(std::process::id());
    let mut bytes = pool.apply(flip, (bytes,)).unwrap();
    assert!(first_touches(std::process::id()) - before < many, "the result has come in fresh memory");
    // The worker uses the memory of a result for the next argument, unless that takes too long.
    let worker = pool.worker_pids()[0] as u32;
    let is_used_again = || {
        let before = first_touches(worker);
        bytes = pool.apply(flip, (std::mem::take(&mut bytes),)).unwrap();
        first_touches(worker) - before < many
    };
    assert!(eventually(SOON, is_used_again), "the argument has come in fresh memory");
    // A result of another length, and one of another type, get their own.
    let shorter = pool.apply(|bytes: Vec<u8>| bytes[MIB..].to_vec(), (bytes,)).unwrap();
    assert_eq!((shorter.len(), shorter.capacity()), (IN_PAGES - MIB, IN_PAGES));
    let half = pool.apply(|bytes: Vec<u8>| bytes[..bytes.len() / 2].to_vec(), (shorter,)).unwrap();
    assert!(half.capacity() == half.len() && half.len() == (IN_PAGES - MIB) / 2);
    let numbers = pool.apply(|bytes: Vec<u8>| vec![bytes[0]; 40 * MIB], (half,)).unwrap();
    assert_eq!((numbers.len(), numbers.capacity()), (40 * MIB, 40 * MIB));
}
