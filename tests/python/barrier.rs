//! Python's own test cases of barriers, under their names.

use super::common::watchdog::watchdog;
use multiproc::{Barrier, Lock, Process, RawArray, RawValue, join_all};
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;
use std::time::Duration;

const PARTIES: usize = 5;

/// What the parties share.
#[derive(Clone, Serialize, Deserialize)]
struct Shared {
    barrier: Barrier,
    other: Barrier,
    /// Counters, all zero.
    counts: RawArray<u64>,
}

impl Shared {
    fn new() -> Shared {
        Shared { barrier: Barrier::new(PARTIES), other: Barrier::new(PARTIES), counts: RawArray::new(4) }
    }

    /// Adds one to a counter; what it was.
    fn count(&self, which: usize) -> u64 {
        self.counts.fetch_add(which, 1)
    }

    fn counted(&self, which: usize) -> u64 {
        self.counts.get(which)
    }
}

/// Runs `party` in four processes and here; what all gave.
fn run(
    shared: &Shared,
    party: fn(&Shared) -> u64,
    process: impl Fn(Shared) -> u64 + Copy + Send + 'static,
) -> Vec<u64> {
    let crew: Vec<Process<u64>> = (1..PARTIES).map(|_| Process::spawn(process, (shared.clone(),)).unwrap()).collect();
    let mut all = vec![party(shared)];
    all.extend(join_all(crew).unwrap());
    all
}

/// Calls [`run`] with a function as such, and as one that processes can call.
macro_rules! run {
    ($shared:expr, $party:ident) => {
        run($shared, $party, |shared: Shared| $party(&shared))
    };
}

fn passes(shared: &Shared, rounds: u64) -> u64 {
    for round in 0..rounds {
        shared.count(0);
        shared.barrier.wait().unwrap();
        assert_eq!(shared.counted(0), (round + 1) * PARTIES as u64);
        shared.barrier.wait().unwrap();
        shared.count(1);
        shared.barrier.wait().unwrap();
        assert_eq!(shared.counted(1), (round + 1) * PARTIES as u64);
        shared.barrier.wait().unwrap();
    }
    0
}

#[test]
fn test_barrier() {
    let _watchdog = watchdog(60);
    fn party(shared: &Shared) -> u64 {
        passes(shared, 1)
    }
    let shared = Shared::new();
    run!(&shared, party);
    assert_eq!((shared.barrier.n_waiting(), shared.barrier.broken()), (0, false));
    assert_eq!(format!("{:?}", shared.barrier), "Barrier(parties=5, waiting=0)");
}

#[test]
fn test_barrier_10() {
    let _watchdog = watchdog(60);
    fn party(shared: &Shared) -> u64 {
        passes(shared, 10)
    }
    let shared = Shared::new();
    run!(&shared, party);
    assert_eq!((shared.barrier.n_waiting(), shared.barrier.broken()), (0, false));
}

#[test]
fn test_wait_return() {
    let _watchdog = watchdog(60);
    fn party(shared: &Shared) -> u64 {
        shared.barrier.wait().unwrap() as u64
    }
    let mut indices = run!(&Shared::new(), party);
    indices.sort();
    assert_eq!(indices, [0, 1, 2, 3, 4]);
}

/// What the action counts with: it captures nothing, so each process sets it for itself.
static ACTIONS: OnceLock<RawValue<u32>> = OnceLock::new();

#[test]
fn test_action() {
    let _watchdog = watchdog(60);
    fn party(barrier: Barrier, actions: RawValue<u32>) -> u32 {
        let actions = ACTIONS.get_or_init(|| actions);
        barrier.wait().unwrap();
        actions.get()
    }
    let actions = RawValue::new(0);
    let barrier = Barrier::with_action(PARTIES, || _ = ACTIONS.get().unwrap().fetch_add(1));
    let spawn = |_| Process::spawn(party, (barrier.clone(), actions.clone())).unwrap();
    let crew: Vec<_> = (1..PARTIES).map(spawn).collect();
    let mut seen = vec![party(barrier, actions)];
    seen.extend(join_all(crew).unwrap());
    assert_eq!(seen, [1; PARTIES]);
}

#[test]
fn test_abort() {
    let _watchdog = watchdog(60);
    fn party(shared: &Shared) -> u64 {
        if shared.barrier.wait().unwrap() == PARTIES / 2 {
            shared.barrier.abort().unwrap();
            return 0;
        }
        shared.barrier.wait().unwrap_err();
        1
    }
    let shared = Shared::new();
    assert_eq!(run!(&shared, party).iter().sum::<u64>(), 4);
    assert!(shared.barrier.broken());
    assert_eq!(format!("{:?}", shared.barrier), "Barrier(parties=5, broken)");
}

#[test]
fn test_reset() {
    let _watchdog = watchdog(60);
    fn party(shared: &Shared) -> u64 {
        let mut refused = 0;
        if shared.barrier.wait().unwrap() == PARTIES / 2 {
            while shared.barrier.n_waiting() < PARTIES - 1 {
                std::thread::sleep(Duration::from_millis(1));
            }
            shared.barrier.reset().unwrap();
        } else {
            shared.barrier.wait().unwrap_err();
            refused = 1;
        }
        shared.barrier.wait().unwrap();
        refused
    }
    assert_eq!(run!(&Shared::new(), party).iter().sum::<u64>(), 4);
}

#[test]
fn test_abort_and_reset() {
    let _watchdog = watchdog(60);
    fn party(shared: &Shared) -> u64 {
        let mut refused = 0;
        if shared.barrier.wait().unwrap() == PARTIES / 2 {
            shared.barrier.abort().unwrap();
        } else {
            shared.barrier.wait().unwrap_err();
            refused = 1;
        }
        if shared.other.wait().unwrap() == PARTIES / 2 {
            shared.barrier.reset().unwrap();
        }
        shared.other.wait().unwrap();
        shared.barrier.wait().unwrap();
        refused
    }
    assert_eq!(run!(&Shared::new(), party).iter().sum::<u64>(), 4);
}

#[test]
fn test_timeout() {
    let _watchdog = watchdog(60);
    fn party(shared: &Shared) -> u64 {
        if shared.barrier.wait().unwrap() == PARTIES / 2 {
            std::thread::sleep(Duration::from_millis(600));
        }
        shared.barrier.wait_timeout(Duration::from_millis(200)).unwrap_err();
        1
    }
    assert_eq!(run!(&Shared::new(), party).iter().sum::<u64>(), 5);
}

#[test]
fn test_default_timeout() {
    let _watchdog = watchdog(60);
    fn party(shared: &Shared) -> u64 {
        // The processes come up at different times, so they meet elsewhere first.
        if shared.other.wait().unwrap() == PARTIES / 2 {
            std::thread::sleep(Duration::from_millis(600));
        }
        shared.barrier.wait().unwrap_err();
        1
    }
    let mut shared = Shared::new();
    shared.barrier = shared.barrier.with_timeout(Duration::from_millis(200));
    assert_eq!(run!(&shared, party).iter().sum::<u64>(), 5);
}

#[test]
fn test_single_thread() {
    let barrier = Barrier::new(1);
    assert_eq!((barrier.wait().unwrap(), barrier.wait().unwrap()), (0, 0));
}

#[test]
fn test_thousand() {
    let _watchdog = watchdog(120);
    const PASSES: u64 = 1000;
    /// Writes its round behind all that were written before.
    fn party(barrier: Barrier, lock: Lock, written: RawArray<u64>, next: RawValue<usize>) {
        for round in 0..PASSES {
            barrier.wait().unwrap();
            let _held = lock.lock().unwrap();
            let at = next.get();
            written.set(at, round);
            next.set(at + 1);
        }
    }
    let all = PASSES as usize * PARTIES;
    let (barrier, lock, written, next) =
        (Barrier::new(PARTIES), Lock::new(), RawArray::new(all), RawValue::new(0usize));
    let args = (barrier, lock, written.clone(), next.clone());
    let crew: Vec<_> = (0..PARTIES).map(|_| Process::spawn(party, args.clone()).unwrap()).collect();
    join_all(crew).unwrap();
    assert_eq!(next.get(), all);
    // Nobody is a whole round ahead of another; a party may write round n + 1 only when all have written round n.
    let rounds = written.read(..);
    let expected: Vec<u64> = (0..PASSES).flat_map(|round| [round; PARTIES]).collect();
    assert_eq!(rounds, expected);
}
