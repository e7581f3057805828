//! A pool of one worker whose link says whatever it is told to.

use crate::attached_fds::AttachedFds;
use crate::engine::core::observers::{Observers, Watchers};
use crate::engine::core::state::{Core, Engine};
use crate::engine::core::worker_slot::{State, WorkerSlot};
use crate::engine::core::workforce::RecyclePolicy;
use crate::engine::launch::launcher::{Launched, Launcher, Tell};
use crate::engine::worker::work::Run;
use crate::error::Error;
use crate::heap::scope::Reach;
use crate::identity::Entry;
use crate::ipc::bell::Bell;
use crate::ipc::link::{Answer, Frame, Link, Parts, Progress, Revoked, Unsent};
use crate::sys::fork::fork_generation;
use crate::sys::memory;
use parking_lot::{Condvar, Mutex};
use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

thread_local! {
    /// How often this thread has asked for the depth of the link, which is once for each call that it looks for room for.
    pub(super) static ASKED: Cell<u64> = const { Cell::new(0) };
}

pub(super) static ENTRY: Entry<Run> = Entry::new(|| "f", |_| Ok(()));

/// A link to nobody: gives the answers it was made with, and the progress.
#[derive(Debug)]
struct Told {
    answers: VecDeque<Answer>,
    progress: Progress,
    sent: u64,
}

impl Link for Told {
    fn depth(&self) -> usize {
        ASKED.set(ASKED.get() + 1);
        8
    }
    fn send(&mut self, _: &Frame, _: &Parts<'_>, _: &[Arc<AttachedFds>]) -> Result<Option<u64>, Unsent> {
        self.sent += 1;
        Ok(Some(self.sent - 1))
    }
    fn sent(&self) -> u64 {
        self.sent
    }
    fn has_answer(&self) -> bool {
        !self.answers.is_empty()
    }
    fn receive(&mut self) -> io::Result<Option<Answer>> {
        Ok(self.answers.pop_front())
    }
    fn progress(&self) -> Progress {
        self.progress
    }
    fn revoke(&mut self, _: u64) -> Revoked {
        Revoked::Asked
    }
    fn payload(&self, _: u64) -> Vec<u8> {
        Vec::new()
    }
    fn release_below(&mut self, _: u64) {}
}

/// Starts nothing.
#[derive(Debug)]
struct NoLauncher;

impl Launcher for NoLauncher {
    fn launch(&self, _: usize, _: Tell) -> Result<Option<Launched>, Error> {
        Err(Error::start("this pool has started as many workers as it can"))
    }
}

/// A link that gives these answers, and was sent so many frames.
pub(super) fn link(answers: Vec<Answer>, progress: Progress, sent: u64) -> Box<dyn Link> {
    Box::new(Told { answers: answers.into(), progress, sent })
}

/// A pool of one worker that gives these answers, and says that it has come so far.
pub(super) fn engine(answers: Vec<Answer>, progress: Progress) -> Arc<Engine> {
    let mut core = Core::new(1, RecyclePolicy::default(), Observers::new(Watchers::default()));
    core.workers[0] = WorkerSlot::new(1, State::Ready);
    core.workers[0].link = Some(link(answers, progress, 0));
    Arc::new(Engine {
        core: Mutex::new(core),
        bell: Bell::new(Arc::new(memory::private(Bell::LEN).unwrap()), 0),
        runs_here: false,
        launcher: Box::new(NoLauncher),
        background: Condvar::new(),
        workforce: Condvar::new(),
        grace: Duration::from_secs(1),
        gate: None,
        traceparent: None,
        capture: None,
        reach: Reach::Here,
        generation: fork_generation(),
    })
}
