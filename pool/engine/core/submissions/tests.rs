//! What many calls that nobody waits in cost: counted, not timed.

use super::*;
use crate::codec;
use crate::engine::call::feed::{Behind, Feed, Filled, Limits};
use crate::engine::call::job::Options;
use crate::engine::call::submission::{Serialised, serialise_all};
use crate::engine::core::state::Engine;
use crate::engine::core::testing::{ASKED, ENTRY, engine};
use crate::ipc::link::Progress;

/// So many numbers.
struct Numbers(u64);

impl Feed for Numbers {
    fn fill(&mut self, out: &mut Vec<u8>, _: Limits) -> Filled {
        let count = u32::from(self.0 > 0);
        if count > 0 {
            self.0 -= 1;
            codec::encode(&self.0, out).unwrap();
        }
        Filled::anywhere(count, if count == 0 { Behind::End } else { Behind::More })
    }

    fn left(&self) -> Option<u64> {
        Some(self.0)
    }

    fn has_more(&self) -> bool {
        self.left() != Some(0)
    }
}

/// A pool whose worker answers nothing, and calls of one task that nobody waits in.
fn pending(calls: usize) -> (Arc<Engine>, Vec<Arc<Job>>) {
    let engine = engine(Vec::new(), Progress { seq: 0, started: 0, done: 0 });
    let jobs = (0..calls).map(|_| submit(&engine)).collect();
    (engine, jobs)
}

fn submit(engine: &Arc<Engine>) -> Arc<Job> {
    let Serialised { submission, .. } = serialise_all(&mut Numbers(1)).unwrap();
    let job = engine.enter(&ENTRY, None, Options::default(), Some(submission)).unwrap();
    engine.core.lock().queue.line_up(Arc::clone(&job));
    job
}

/// How often room is looked for when the frames that wait are handed out.
fn looks(calls: usize) -> u64 {
    let (engine, _jobs) = pending(calls);
    let mut core = engine.core.lock();
    core.submit_waiting(0, usize::MAX);
    ASKED.set(0);
    core.submit_waiting(0, usize::MAX);
    ASKED.get()
}

#[test]
fn a_turn_without_room_costs_the_same_however_many_calls_wait() {
    assert_eq!(looks(100), looks(10_000));
}

#[test]
fn calls_are_handed_out_as_they_were_made_and_all_are() {
    let (engine, jobs) = pending(1000);
    let mut core = engine.core.lock();
    // Of a function of unknown speed one frame at a time is at the worker.
    for job in &jobs {
        assert!(core.submit_waiting(0, usize::MAX));
        assert!(core.workers[0].window.waiting().is_empty() && job.outstanding() == 1);
        for seq in core.workers[0].window.of(job) {
            core.workers[0].window.unload(seq);
        }
    }
    assert!(!core.submit_waiting(0, usize::MAX) && !core.queue.has_tasks());
}

#[test]
fn who_leaves_the_line_leaves_nothing_behind() {
    let (engine, jobs) = pending(10_000);
    let mut core = engine.core.lock();
    // In an order that has nothing to do with that in which they came: 7919 is a prime.
    let mut left: Vec<usize> = (0..jobs.len()).map(|at| at * 7919 % jobs.len()).collect();
    let stays = left.pop().unwrap();
    for at in left {
        core.give_up(&jobs[at]);
        assert!(core.queue.submitted().count() <= 2 * core.queue.jobs().len() + 64 + 1);
    }
    assert!(core.queue.jobs().iter().map(Arc::as_ptr).eq([Arc::as_ptr(&jobs[stays])]));
    assert!(core.submit_waiting(0, usize::MAX) && jobs[stays].outstanding() == 1);
    assert!(!core.queue.has_tasks() && core.queue.submitted().next().is_none());
}
