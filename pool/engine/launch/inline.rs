//! A worker that is no thread of its own: whoever waits for results runs its tasks meanwhile. For debuggers and profilers, which
//! then see a task where it was called from. Everything else is as with processes: link, ledger, values that travel as bytes.

use crate::attached_fds::AttachedFds;
use crate::engine::launch::body::Body;
use crate::engine::launch::launcher::{Launched, Launcher, News, Tell};
use crate::engine::worker::current_task;
use crate::engine::worker::kept_state::Keeper;
use crate::engine::worker::main_loop::Bench;
use crate::engine::worker::number;
use crate::engine::worker::routines::Routines;
use crate::error::{Error, Exit};
use crate::heap::scope::Pins;
use crate::ipc::bell::Bell;
use crate::ipc::control::{Control, Reply};
use crate::ipc::link::{FrameKind, Payload, WorkerLink};
use crate::ipc::result_limit::ResultLimit;
use crate::ipc::ring;
use crate::ipc::ring_worker::RingWorker;
use crate::ipc::worker_end::WorkerEnd;
use crate::process::panic;
use crate::process::start::{HeldByChild, control_pair};
use parking_lot::Mutex;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The numbers of pools and workers.
static NEXT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// What this thread keeps for each pool whose tasks it runs: a state and a context never leave their thread.
    static LOCALS: RefCell<HashMap<u64, Local>> = RefCell::default();
    /// The pools whose worker this thread is at the moment, the innermost last.
    static RUNNING: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Has its worker at hand.
#[derive(Debug)]
pub(crate) struct Inline {
    bell: Bell,
    routines: Routines,
    limit: ResultLimit,
    /// What the arguments of the routines refer to.
    #[expect(dead_code, reason = "held, not read")]
    pins: Pins,
    number: u64,
    /// A worker that was launched, and that no thread has been yet.
    launched: Mutex<Option<Worker>>,
    /// Held by the thread that is the worker at the moment. Nobody waits for it.
    current: Mutex<Option<Worker>>,
}

/// A worker, as far as it is the same on each thread.
struct Worker {
    number: u64,
    link: WorkerEnd,
    /// The headers that it was told, for threads that run a task of them later.
    headers: HashMap<u64, (Payload, Vec<Arc<AttachedFds>>)>,
    is_ready: bool,
    tell: Tell,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("number", &self.number).finish_non_exhaustive()
    }
}

/// What a thread keeps for the worker that it is now and then.
struct Local {
    worker: u64,
    keeper: Keeper,
    bench: Bench,
}

/// What a thread has done as the worker.
enum Turn {
    Nothing,
    Something,
    /// The worker leaves, with this exit code.
    Left(i32),
}

impl Inline {
    pub(crate) fn new(bell: Bell, routines: Routines, limit: ResultLimit, pins: Pins) -> Inline {
        let number = NEXT.fetch_add(1, Relaxed);
        Inline { bell, routines, limit, pins, number, launched: Mutex::default(), current: Mutex::default() }
    }

    /// One turn of this thread as the worker.
    fn turn(&self, worker: &mut Worker) -> Turn {
        if worker.is_ready && !worker.link.poll() {
            return Turn::Nothing;
        }
        let kept = LOCALS.with_borrow_mut(|locals| locals.remove(&self.number));
        let mut local = match kept.filter(|local| local.worker == worker.number) {
            Some(local) => local,
            // Each thread runs the initializer and makes a state, as each worker does.
            None => match Keeper::start(&self.routines) {
                Ok(keeper) => Local { worker: worker.number, keeper, bench: Bench::default() },
                Err(error) => {
                    (worker.tell)(News::Replied(Reply::Initializer(error)));
                    return Turn::Left(1);
                }
            },
        };
        if !worker.is_ready {
            worker.is_ready = true;
            (worker.tell)(News::Started(Body::Thread));
            (worker.tell)(News::Replied(Reply::Ready));
        } else {
            match self.take_frame(worker, &mut local) {
                Ok(true) => {}
                Ok(false) => {
                    local.keeper.finish(&self.routines);
                    return Turn::Left(0);
                }
                // The link is damaged, or the state could not be made again.
                Err(_) => return Turn::Left(1),
            }
        }
        LOCALS.with_borrow_mut(|locals| locals.insert(self.number, local));
        Turn::Something
    }

    /// Takes the next frame, which is there. Returns false when there will be no more.
    fn take_frame(&self, worker: &mut Worker, local: &mut Local) -> io::Result<bool> {
        let Worker { link, headers, .. } = worker;
        let incoming = link.next()?;
        let header = incoming.frame.header;
        match incoming.frame.kind {
            FrameKind::Header => {
                let payload = incoming.payload.into_own().map_err(|error| io::Error::other(error.0))?;
                headers.insert(header, (payload, incoming.attached));
            }
            FrameKind::Forget => {
                headers.remove(&header);
                local.bench.forget(header);
            }
            FrameKind::Stop => return Ok(false),
            FrameKind::Tasks => {
                if let Some((payload, attached)) = headers.get(&header).filter(|_| !local.bench.knows(header)) {
                    let payload = payload.to_vec().map_err(|error| io::Error::other(error.0))?;
                    local.bench.learn(header, Payload::Own(payload), attached.clone());
                }
                current_task::within(link, |link| local.bench.run(link, incoming, &mut local.keeper))?;
                link.flush();
            }
        }
        Ok(true)
    }
}

impl Launcher for Inline {
    fn launch(&self, place: usize, tell: Tell) -> Result<Option<Launched>, Error> {
        panic::note();
        let (control, socket) = control_pair()?;
        let (link, [shared, tasks]) = ring::create(control, self.limit)?;
        let control = Control::new(Arc::new(socket));
        let end = RingWorker::new([&shared, &tasks], control, self.bell.of_party(place + 1), self.limit)?;
        let number = NEXT.fetch_add(1, Relaxed);
        let worker = Worker { number, link: WorkerEnd::ring(end), headers: HashMap::new(), is_ready: false, tell };
        *self.launched.lock() = Some(worker);
        Ok(Some(Launched { link: Box::new(link), output: None }))
    }

    fn starts_processes(&self) -> bool {
        false
    }

    fn runs_here(&self) -> bool {
        true
    }

    fn step(&self) -> bool {
        // If another thread is the worker its answers are what there is to wait for.
        let Some(mut current) = self.current.try_lock() else { return false };
        if let Some(launched) = self.launched.lock().take() {
            *current = Some(launched);
        }
        let Some(worker) = &mut *current else { return false };
        RUNNING.with_borrow_mut(|running| running.push(self.number));
        // A panic of user code that nobody has foreseen ends the worker, and not the thread.
        let turn = number::within(0, || panic::contain(|| self.turn(worker))).unwrap_or(Turn::Left(1));
        RUNNING.with_borrow_mut(|running| running.pop());
        match turn {
            Turn::Nothing => false,
            Turn::Something => true,
            Turn::Left(code) => {
                if let Some(gone) = current.take() {
                    (gone.tell)(News::Exited(Exit::Code(code).into(), HeldByChild::nothing()));
                }
                true
            }
        }
    }

    fn is_running_here(&self) -> bool {
        RUNNING.with_borrow(|running| running.contains(&self.number))
    }
}
