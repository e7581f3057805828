//! A pool: what its threads share, and the state behind its one lock.
//!
//! No user code ever runs under this lock.

use crate::engine::call::gate::Gate;
use crate::engine::call::job::Halt;
use crate::engine::call::traceparent::TraceSource;
use crate::engine::core::ledger::TaskRange;
use crate::engine::core::observers::Observers;
use crate::engine::core::queue::Queue;
use crate::engine::core::seat::Seat;
use crate::engine::core::worker_slot::State;
use crate::engine::core::workforce::{RecyclePolicy, Workforce};
use crate::engine::launch::launcher::Launcher;
use crate::engine::watch::output::Capture;
use crate::engine::watch::trace::Trace;
use crate::error::Error;
use crate::heap::scope::Reach;
use crate::ipc::bell::Bell;
use crate::sys::fork::fork_generation;
use crate::sys::time::Deadline;
use parking_lot::{Condvar, Mutex};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Payloads above this many bytes leave memory in use that is worth giving back.
const LARGE: usize = 256 * 1024;

/// How long that memory is kept for the next large payload: fresh pages cost far more than used ones.
const KEEP_FOR: Duration = Duration::from_secs(1);

/// A pool's machinery, shared by its handle, the threads that wait in it, and its own background thread.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) core: Mutex<Core>,
    pub(crate) bell: Bell,
    pub(crate) launcher: Box<dyn Launcher>,
    /// The worker is no thread of its own, see `core/here.rs`.
    pub(crate) runs_here: bool,
    /// The background thread waits here while others drive or there is nothing to do.
    pub(crate) background: Condvar,
    /// Whoever waits for workers to come or go waits here.
    pub(crate) workforce: Condvar,
    /// How long a worker may take to end after SIGTERM.
    pub(crate) grace: Duration,
    /// Bounds the calls that nobody waits in, if the pool is to.
    pub(crate) gate: Option<Arc<Gate>>,
    /// Who says which trace a call belongs to.
    pub(crate) traceparent: Option<TraceSource>,
    /// What workers write, if the pool reads that.
    pub(crate) capture: Option<Arc<Capture>>,
    /// Where its workers are.
    pub(crate) reach: Reach,
    /// The fork generation of the process that made it.
    pub(crate) generation: u32,
}

/// What stands behind the pool's lock.
#[derive(Debug)]
pub(crate) struct Core {
    pub(super) phase: Phase,
    pub(super) workers: Workforce,
    pub(super) queue: Queue,
    pub(super) seat: Seat,
    pub(super) observers: Observers,
    /// How many threads are about to run what they have handed in, in a pool whose worker is no thread of its own.
    pub(super) submitting: usize,
    /// A task with a time limit was handed out, and the background thread does not know.
    pub(super) new_deadline: bool,
    /// Room for copies of small payloads.
    pub(super) scratch: Vec<u8>,
    /// Tasks that this process had no memory to send, and why.
    pub(super) refused: Vec<(TaskRange, io::Error)>,
    /// Room in which the next call makes its frames.
    pub(super) input_room: Vec<u8>,
    /// When something was last used that was not given back since: room for something large, or the context of a call.
    large_at: Option<Instant>,
}

/// The life of a pool.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// It takes calls.
    Running,
    /// It takes no new calls; workers leave when the last call has ended, or if it is `draining`, when their current tasks
    /// have.
    Closing { draining: bool },
    /// Workers were told to end; those that still live at the deadline are killed.
    Ending { halt: Halt, kill_at: Deadline },
}

impl Engine {
    /// The process ids of the workers that are ready.
    pub(crate) fn worker_pids(&self) -> Vec<i32> {
        let core = self.core.lock();
        core.workers.iter().filter(|worker| worker.state == State::Ready).filter_map(|worker| worker.pid).collect()
    }

    /// Whether this is the process that made the pool. A fork of it has no part in its calls and workers: it takes no answer,
    /// sends nothing, and does not even wait for the core's lock, which a thread may hold that it does not have.
    pub(crate) fn is_original(&self) -> bool {
        self.generation == fork_generation()
    }

    /// Whether this process may use the pool.
    ///
    /// # Errors
    ///
    /// It is a fork of the one that made it.
    pub(crate) fn check_generation(&self) -> Result<(), Error> {
        if self.is_original() {
            return Ok(());
        }
        Err(io::Error::other("this process was forked from the one that made the pool: make a pool here").into())
    }

    /// The phase and the number of workers, for people.
    pub(crate) fn describe(&self) -> (&'static str, usize) {
        let core = self.core.lock();
        let phase = match core.phase {
            Phase::Running => "running",
            Phase::Closing { .. } => "closing",
            Phase::Ending { .. } => "ended",
        };
        (phase, core.workers.target())
    }

    /// Ends the trace: it is complete once the result is dropped.
    pub(crate) fn take_trace(&self) -> Option<Trace> {
        self.core.lock().observers.take_trace()
    }

    /// Offers the driver's seat to the next thread that can use it.
    pub(crate) fn hand_over(&self, core: &mut Core) {
        if core.seat.is_taken() {
            return;
        }
        match core.seat.first_in_line() {
            Some(job) => {
                job.changed.notify_all();
            }
            None if core.seat.has_news() || core.is_busy() || core.large_at.is_some() || core.queue.is_paused() => {
                self.background.notify_one();
            }
            None => {}
        }
    }

    /// After frames were handed out: the thread that minds time limits looks at them anew.
    #[inline]
    pub(crate) fn dispatched(&self, core: &mut Core) {
        if std::mem::take(&mut core.new_deadline) {
            self.background.notify_one();
        }
    }
}

impl Core {
    pub(crate) fn new(workers: usize, recycle: RecyclePolicy, observers: Observers) -> Core {
        Core {
            phase: Phase::Running,
            workers: Workforce::new(workers, recycle),
            queue: Queue::new(),
            seat: Seat::new(),
            observers,
            submitting: 0,
            new_deadline: false,
            scratch: Vec::new(),
            refused: Vec::new(),
            input_room: Vec::new(),
            large_at: None,
        }
    }

    /// Whether the pool takes calls.
    ///
    /// # Errors
    ///
    /// It was closed, or is at its end.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        match &self.phase {
            Phase::Running => Ok(()),
            Phase::Closing { .. } => Err(Error::not_running()),
            Phase::Ending { halt, .. } => Err(halt.error()),
        }
    }

    /// Whether workers may be needed: the pool is open, or calls are under way.
    pub(super) fn needs_workers(&self) -> bool {
        match self.phase {
            Phase::Running => true,
            // Workers that left since they were idle come back for what is under way.
            Phase::Closing { draining: false } => !self.queue.jobs().is_empty(),
            Phase::Closing { draining: true } | Phase::Ending { .. } => false,
        }
    }

    /// Whether only tasks that have begun are still to be run.
    #[inline]
    pub(super) fn is_draining(&self) -> bool {
        matches!(self.phase, Phase::Closing { draining: true })
    }

    /// Whether anything is under way or waits to be.
    #[inline]
    pub(super) fn is_busy(&self) -> bool {
        self.queue.has_tasks() || self.workers.has_frames() || !self.refused.is_empty()
    }

    /// Whether tasks wait that another worker could begin.
    #[inline]
    pub(super) fn is_work_waiting(&self) -> bool {
        self.queue.is_work_waiting() || self.workers.is_stacked()
    }

    /// Whether a driver has something to do.
    #[inline]
    pub(super) fn has_work(&self) -> bool {
        self.seat.has_news() || self.workers.has_answer()
    }

    /// Notes that a payload of `len` bytes went through a link.
    #[inline]
    pub(super) fn note_size(&mut self, len: usize) {
        if len > LARGE {
            self.note_use();
        }
    }

    /// Notes that something was used that should be given back after a while.
    pub(super) fn note_use(&mut self) {
        self.large_at = Some(Instant::now());
    }

    /// When links should give back what a burst has used.
    pub(super) fn trim_at(&self) -> Deadline {
        self.large_at.map_or(Deadline::NEVER, |at| Deadline::at(at + KEEP_FOR))
    }

    /// Keeps the room in which a call has made its frames for the next call.
    #[inline]
    pub(super) fn keep_input_room(&mut self, room: Vec<u8>) {
        if room.capacity() > self.input_room.capacity() {
            self.input_room = room;
        }
    }

    /// Lets links give back what a burst has used, if that was long enough ago.
    pub(super) fn trim(&mut self) {
        if self.trim_at().passed() && !self.is_busy() {
            self.large_at = None;
            if self.input_room.capacity() > LARGE {
                self.input_room = Vec::new();
            }
            for worker in self.workers.iter_mut().filter(|worker| worker.state == State::Ready) {
                if let Some(link) = &mut worker.link {
                    link.trim();
                }
                // The context of the last call may hold shared memory, or a lot of its own.
                worker.send_forgets();
            }
        }
    }
}
