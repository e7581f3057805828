//! A job: one call of the pool, from its first task to its last result.

use crate::codec::Packed;
use crate::engine::work::Run;
use crate::error::{Error, TaskError, TaskKind};
use crate::heap::scope::Pins;
use crate::ipc::link::Payload;
use crate::process::identity::{Entry, FnRef};
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a worker must know to run the tasks of a job: which function, and its context.
///
/// Calls of one function without context share one header; it then also collects what is known of the function's speed.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) id: u64,
    pub(crate) function: FnRef,
    pub(crate) name: &'static str,
    pub(crate) context: Option<Packed>,
    /// The estimated time of one task in nanoseconds, as the bits of an `f64`; 0 = unknown. Changed under the core's
    /// lock only.
    nanos: AtomicU64,
}

impl Header {
    pub(crate) fn new(id: u64, entry: &'static Entry<Run>, context: Option<Packed>) -> Result<Header, Error> {
        Ok(Header { id, function: FnRef::of(entry)?, name: entry.name(), context, nanos: AtomicU64::new(0) })
    }

    pub(crate) fn nanos(&self) -> Option<f64> {
        match self.nanos.load(Relaxed) {
            0 => None,
            bits => Some(f64::from_bits(bits)),
        }
    }

    pub(crate) fn set_nanos(&self, nanos: f64) {
        self.nanos.store(nanos.to_bits(), Relaxed);
    }
}

/// Why a job ends before all its tasks have ended.
#[derive(Clone, Debug)]
pub(crate) enum Halt {
    Terminated,
    Broken(String),
}

impl Halt {
    pub(crate) fn task_kind(&self) -> TaskKind {
        match self {
            Halt::Terminated => TaskKind::Terminated,
            Halt::Broken(cause) => TaskKind::Broken { cause: cause.clone() },
        }
    }

    pub(crate) fn error(&self) -> Error {
        match self {
            Halt::Terminated => Error::terminated(),
            Halt::Broken(cause) => Error::broken(cause),
        }
    }
}

/// What arrived for a job while another thread was collecting: decoded by the job's own thread.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// With what the values refer to, kept until they were read.
    Values {
        first: u64,
        count: u32,
        payload: Payload,
        pins: Pins,
    },
    Failure {
        index: u64,
        error: TaskError,
    },
}

/// One call of the pool.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) header: std::sync::Arc<Header>,
    /// Tasks that were handed in and have no outcome yet. Changed under the core's lock only.
    outstanding: AtomicU64,
    inbox: Mutex<Vec<Delivery>>,
    halted: Mutex<Option<Halt>>,
    /// Waits with the core's lock: for an outcome, for room for more input, or for the driver's seat.
    pub(crate) changed: Condvar,
}

impl Job {
    pub(crate) fn new(header: std::sync::Arc<Header>) -> Job {
        Job {
            header,
            outstanding: AtomicU64::new(0),
            inbox: Mutex::default(),
            halted: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn outstanding(&self) -> u64 {
        self.outstanding.load(Relaxed)
    }

    pub(crate) fn add_outstanding(&self, count: u64) {
        self.outstanding.fetch_add(count, Relaxed);
    }

    /// Counts `count` tasks as ended; whether these were the last.
    pub(crate) fn settle(&self, count: u64) -> bool {
        let left = self.outstanding().saturating_sub(count);
        self.outstanding.store(left, Relaxed);
        left == 0
    }

    pub(crate) fn deliver(&self, delivery: Delivery) {
        self.inbox.lock().push(delivery);
    }

    pub(crate) fn take_deliveries(&self) -> Vec<Delivery> {
        std::mem::take(&mut *self.inbox.lock())
    }

    pub(crate) fn halt(&self, halt: Halt) {
        self.halted.lock().get_or_insert(halt);
        self.changed.notify_all();
    }

    pub(crate) fn halted(&self) -> Option<Halt> {
        self.halted.lock().clone()
    }

    pub(crate) fn error(&self, kind: TaskKind, index: u64, worker: Option<i32>) -> TaskError {
        TaskError::new(kind, self.header.name, index, worker)
    }
}
