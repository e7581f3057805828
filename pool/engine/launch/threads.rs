//! Workers that are threads of this process, for comparison and debugging. Everything else is as with processes: links,
//! ledger, scheduling; and values travel as bytes.

use crate::engine::launch::body::Body;
use crate::engine::launch::launcher::{Launched, Launcher, News, Tell};
use crate::engine::worker::kept_state::Keeper;
use crate::engine::worker::main_loop;
use crate::engine::worker::number;
use crate::engine::worker::routines::Routines;
use crate::error::Error;
use crate::error::Exit;
use crate::heap::scope::Pins;
use crate::ipc::bell::Bell;
use crate::ipc::control::{Control, Reply};
use crate::ipc::result_limit::ResultLimit;
use crate::ipc::ring;
use crate::ipc::ring_worker::RingWorker;
use crate::ipc::worker_end::WorkerEnd;
use crate::process::panic;
use crate::process::start::{HeldByChild, control_pair};
use std::sync::Arc;

/// Starts workers as threads.
#[derive(Debug)]
pub(crate) struct Threads {
    pub(crate) bell: Bell,
    pub(crate) name: String,
    pub(crate) routines: Routines,
    /// The bytes of one result.
    pub(crate) limit: ResultLimit,
    /// What the arguments of the routines refer to.
    #[expect(dead_code, reason = "held, not read")]
    pub(crate) pins: Pins,
}

impl Launcher for Threads {
    fn launch(&self, place: usize, tell: Tell) -> Result<Option<Launched>, Error> {
        panic::note();
        let (control, socket) = control_pair()?;
        let (link, [shared, tasks]) = ring::create(control, self.limit)?;
        let end = RingWorker::new(
            [&shared, &tasks],
            Control::new(Arc::new(socket)),
            self.bell.of_party(place + 1),
            self.limit,
        )?;
        let routines = self.routines.clone();
        let thread = std::thread::Builder::new().name(format!("{}-{}", self.name, place + 1));
        thread.spawn(move || {
            number::set_of_thread(place);
            tell(News::Started(Body::Thread));
            // A panic of user code that nobody has foreseen must not keep the pool waiting for this thread.
            let code = panic::contain(|| live(&mut WorkerEnd::ring(end), &routines, &*tell)).unwrap_or(1);
            tell(News::Exited(Exit::Code(code).into(), HeldByChild::nothing()));
        })?;
        Ok(Some(Launched { link: Box::new(link), output: None }))
    }

    fn starts_processes(&self) -> bool {
        false
    }
}

fn live(link: &mut WorkerEnd, routines: &Routines, tell: &dyn Fn(News)) -> i32 {
    let mut keeper = match Keeper::start(routines) {
        Ok(keeper) => keeper,
        Err(error) => {
            tell(News::Replied(Reply::Initializer(error)));
            return 1;
        }
    };
    tell(News::Replied(Reply::Ready));
    if main_loop::work(link, &mut keeper).is_err() {
        return 1;
    }
    keeper.finish(routines);
    0
}
