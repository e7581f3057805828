//! A process that is run one instruction at a time, and killed at a given step.

use super::proc::kill;
use super::stepper::{Next, Stepper};
use multiproc::{Lock, Process, RawValue};
use rustix::fs::SeekFrom;
use rustix::thread::CpuSet;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, Instant};

/// Between the victim and whoever steps it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Marks {
    thread: RawValue<i32>,
    /// 0 = it comes up, 1 = it is ready, 2 = it may begin, 3 = it has lived to the end.
    phase: RawValue<u32>,
    /// The process that steps it.
    stepped_by: RawValue<u32>,
}

impl Marks {
    pub(crate) fn new() -> Marks {
        let stepped_by = RawValue::new(std::process::id());
        Marks { thread: RawValue::new(0), phase: RawValue::new(0), stepped_by }
    }

    /// In the victim: does the work between the marks.
    pub(crate) fn perform(&self, work: impl FnOnce()) {
        // Beside whoever steps it, which makes a step ten times as fast; and with one CPU there is no spinning.
        pin(self.stepped_by.get());
        // What a process finds out once, it has found out before.
        let lock = Lock::new();
        lock.acquire().unwrap();
        assert!(!lock.acquire_timeout(Duration::from_millis(1)).unwrap());
        self.thread.set(rustix::thread::gettid().as_raw_nonzero().get());
        self.phase.set(1);
        while self.phase.get() == 1 {
            std::hint::spin_loop();
        }
        work();
        self.phase.set(3);
        std::thread::sleep(Duration::from_secs(1000));
    }
}

/// From now on this thread runs on one CPU: the same for all who name the same process.
pub(crate) fn pin(process: u32) {
    let allowed = rustix::thread::sched_getaffinity(None).unwrap();
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).cycle();
    let mut only = CpuSet::new();
    only.set(cpus.nth(process as usize % allowed.count() as usize).unwrap());
    rustix::thread::sched_setaffinity(None, &only).unwrap();
}

/// What the processes share, as bytes.
struct Shared {
    file: File,
    /// How much of the file there is. It is mostly hole, until somebody touches it.
    blocks: u64,
    extents: Vec<(u64, usize)>,
    seen: Vec<u8>,
    now: Vec<u8>,
}

impl Shared {
    fn open() -> Shared {
        let is_heap = |entry: &std::fs::DirEntry| {
            std::fs::read_link(entry.path()).is_ok_and(|it| it.to_string_lossy().contains("multiproc-heap"))
        };
        let entry = std::fs::read_dir("/proc/self/fd").unwrap().map(Result::unwrap).find(is_heap).unwrap();
        let file = File::open(entry.path()).unwrap();
        let mut shared = Shared { file, blocks: 0, extents: Vec::new(), seen: Vec::new(), now: Vec::new() };
        shared.has_changed();
        shared
    }

    /// Whether anything is different from the last look.
    fn has_changed(&mut self) -> bool {
        let blocks = self.file.metadata().unwrap().blocks();
        if blocks != self.blocks {
            self.blocks = blocks;
            self.find_extents();
        }
        let mut rest = &mut self.now[..];
        for (start, len) in &self.extents {
            let (part, behind) = rest.split_at_mut(*len);
            self.file.read_exact_at(part, *start).unwrap();
            rest = behind;
        }
        std::mem::swap(&mut self.now, &mut self.seen);
        self.now.resize(self.seen.len(), 0);
        self.now != self.seen
    }

    fn find_extents(&mut self) {
        self.extents.clear();
        let mut at = 0;
        while let Ok(start) = rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
            at = rustix::fs::seek(&self.file, SeekFrom::Hole(start)).unwrap();
            self.extents.push((start, (at - start) as usize));
        }
        self.now.resize(self.extents.iter().map(|extent| extent.1).sum(), 0);
    }
}

/// Steps the victim to its end, or kills it at this step, and says when. `help` is called when it is about to sleep for the
/// first time.
///
/// # Errors
///
/// The system does not allow it.
pub(crate) fn run_to(
    step: u32,
    victim: &Process<()>,
    marks: &Marks,
    help: impl FnOnce(),
) -> io::Result<Option<Instant>> {
    while marks.phase.get() != 1 {
        std::thread::yield_now();
    }
    run_thread_to(step, marks.thread.get(), victim.pid(), || marks.phase.set(2), || marks.phase.get() == 3, help)
}

/// Steps a thread of another process, from when it stands still and `begin` was called until `is_over`; or kills its process at
/// this step, and says when.
///
/// # Errors
///
/// The system does not allow it.
pub(crate) fn run_thread_to(
    step: u32,
    thread: i32,
    process: i32,
    begin: impl FnOnce(),
    is_over: impl Fn() -> bool,
    help: impl FnOnce(),
) -> io::Result<Option<Instant>> {
    let mut stepper = Stepper::seize(thread)?;
    begin();
    let mut shared = Shared::open();
    let (mut steps, mut help) = (0, Some(help));
    // Whether it is here that it has to die.
    let mut is_here = || {
        steps += 1;
        steps > step
    };
    let dies = loop {
        if is_over() {
            break false;
        }
        let next = stepper.next();
        if let Next::SystemCall(number @ (libc::SYS_futex | libc::SYS_futex_waitv | libc::SYS_membarrier)) = next {
            if is_here() {
                break true;
            }
            if let Some(help) = help.take_if(|_| number != libc::SYS_membarrier) {
                help();
                shared.has_changed();
            }
        }
        stepper.step();
        if shared.has_changed() && !is_over() && is_here() {
            break true;
        }
    };
    if !dies {
        stepper.let_go();
        return Ok(None);
    }
    let killed = Instant::now();
    assert!(kill(process));
    stepper.bury();
    Ok(Some(killed))
}

/// Kills a victim at every step of `$work`, which is done to what `$make` makes. `$help`: what is done when the victim is
/// about to sleep. `$check`: what the survivors must be able to do then.
macro_rules! at_every_step {
    ($test:literal, $type:ty, $make:expr, $work:expr, $help:expr, $check:expr) => {{
        if $crate::common::alone::alone(concat!("steps::", $test)) {
            let _watchdog = $crate::common::watchdog::watchdog(900);
            $crate::common::victim::pin(std::process::id());
            let mut taken = Vec::new();
            let (mut steps, mut lived) = (0, 0);
            // How many steps there are may differ, so it must live to the end twice in a row.
            for step in 0.. {
                let shared: $type = ($make)();
                let marks = $crate::common::victim::Marks::new();
                let role = |marks: $crate::common::victim::Marks, shared: $type| marks.perform(|| ($work)(&shared));
                let victim = multiproc::Process::spawn(role, (marks.clone(), shared.clone())).unwrap();
                let killed = match $crate::common::victim::run_to(step, &victim, &marks, || ($help)(&shared)) {
                    Ok(killed) => killed,
                    Err(error) => {
                        println!("not tested, since ptrace is not allowed here: {error}");
                        victim.kill();
                        return;
                    }
                };
                ($check)(&shared, killed.is_none());
                if let Some(killed) = killed {
                    taken.push(killed.elapsed());
                    (steps, lived) = (step + 1, 0);
                } else {
                    victim.kill();
                    lived += 1;
                }
                victim.wait();
                if lived == 2 {
                    break;
                }
            }
            taken.sort();
            assert!(steps >= 2, "{steps}");
            // For the table in docs/reliability.md.
            println!("killed at {steps} steps: {}, survivors after {:?} at most", $test, taken[taken.len() - 1]);
            // A machine under load may stop anything for a while, but not all the time.
            assert!(taken[taken.len() / 2] < std::time::Duration::from_millis(100), "{taken:?}");
        }
    }};
}
pub(crate) use at_every_step;
