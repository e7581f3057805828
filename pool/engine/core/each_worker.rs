//! A call that runs once in every worker.

use crate::codec::Packed;
use crate::engine::call::feed::Feed;
use crate::engine::call::gate::Claim;
use crate::engine::call::home::Home;
use crate::engine::call::job::{Delivery, Job, Options};
use crate::engine::call::submission::{Serialised, serialise_all};
use crate::engine::callbacks;
use crate::engine::core::ledger::TaskRange;
use crate::engine::core::state::{Core, Engine};
use crate::engine::core::worker_slot::{Dismissal, State};
use crate::engine::worker::work::Run;
use crate::error::{Error, Failure};
use crate::heap::scope;
use crate::identity::Entry;
use std::sync::Arc;
use std::time::Instant;

impl Engine {
    /// Hands in one task for each worker, all with the only input of `feed`, and returns. The number of a task in the job is
    /// that of its worker. Returns these numbers as well.
    ///
    /// # Errors
    ///
    /// The pool takes no calls; nothing was run then.
    pub(crate) fn submit_to_each(
        self: &Arc<Self>,
        entry: &'static Entry<Run>,
        context: Option<Arc<Packed>>,
        options: Options,
        feed: &mut dyn Feed,
        claim: Claim,
    ) -> Result<(Arc<Job>, Vec<usize>), Error> {
        callbacks::start()?;
        let (serialised, mut pins) = scope::collect_for(self.reach, || serialise_all(feed));
        let Serialised { mut submission, failed, .. } = serialised.map_err(Error::checkpoint)?;
        let piece = submission.cut(1, usize::MAX);
        let (bytes, attached) = piece.map_or((Vec::new(), None), |piece| (piece.bytes.to_vec(), piece.pins));
        pins.extend(attached.iter().flat_map(|pins| pins.iter().cloned()));
        let pins = (!pins.is_empty()).then(|| Arc::new(pins));
        // With a submission, of which nothing is left: nobody waits in this call.
        let job = self.enter(entry, context, options, Some(submission))?;
        claim.keep_for(&job);
        let mut core = self.core.lock();
        if let Some(halt) = job.halted() {
            // The pool has ended since the call was entered.
            core.finish(&job);
            return Err(halt.error());
        }
        let places = core.places();
        job.add_outstanding(places.len() as u64);
        *job.submission.lock() = None;
        for &at in &places {
            let (first, home) = (at as u64, Home::place(at));
            if let Some((_, text)) = failed.first() {
                let error = job.error(Failure::Encode { text: text.clone() }.into(), first, None);
                job.deliver(Delivery::Failure { index: first, error });
                core.settle(&job, 1);
            } else {
                let (job, since) = (Some(Arc::clone(&job)), core.observers.stamp(Instant::now));
                core.submit(TaskRange { job, first, count: 1, next: 0, pins: pins.clone(), home, since }, &bytes);
            }
        }
        if places.is_empty() {
            core.finish(&job);
        }
        self.handed_in(&mut core);
        Ok((job, places))
    }
}

impl Core {
    /// The places that have a worker, or will have one without any need for it.
    fn places(&self) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.workers.target()).collect();
        if self.workers.recycle().idle.is_some() && !self.workers.is_pausing() {
            // What has left for want of work comes back only if there is some.
            places.retain(|at| {
                let worker = &self.workers[*at];
                worker.state != State::Vacant && worker.dismissed != Some(Dismissal::Idle)
            });
        }
        places
    }
}
