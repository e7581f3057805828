//! What an agent has: its workers, what is to be sent, and whether it is to end.

use crate::codec;
use crate::engine::launch::launcher::News;
use crate::engine::launch::spawn::Spawn;
use crate::ipc::control::Reply;
use crate::nodes::agent_worker::Worker;
use crate::nodes::messages::Ended;
use crate::nodes::wire::{Kind, Outbox, Slot};
use crate::sys::time::Deadline;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Answers stay with the workers while so many bytes of others are not sent.
pub(super) const MOST_UNSENT: usize = 8 << 20;

/// What stands behind the agent's lock.
#[derive(Default)]
pub(super) struct State {
    pub(super) outbox: Outbox,
    pub(super) spawn: Option<Spawn>,
    pub(super) weighed: bool,
    pub(super) workers: BTreeMap<Slot, Worker>,
    /// What headers say, once for all workers.
    pub(super) contexts: HashMap<u64, Arc<Vec<u8>>>,
    /// Workers that have ended, and were not reported: their answers are on their way already.
    pub(super) ended: Vec<(Slot, Ended)>,
    /// So many ends of workers are being written down.
    pub(super) telling: usize,
    /// What has become of workers: told on the reactor's thread.
    pub(super) news: VecDeque<(Slot, News)>,
    /// How long workers have when this process is told to end, and until when, once it was; `NEVER` again when they are killed.
    pub(super) grace: Duration,
    pub(super) drain: Option<Deadline>,
}

impl State {
    pub(super) fn has_work(&self) -> bool {
        let is_wanted = self.outbox.len() < MOST_UNSENT;
        !self.news.is_empty()
            || self.outbox.len() > 0
            || is_wanted && self.workers.values().any(|it| it.condemned.is_none() && it.link.has_answer())
    }

    /// Whether it was told to end, and has nothing to do any more.
    pub(super) fn is_drained(&self) -> bool {
        self.drain.is_some()
            && self.workers.is_empty()
            && self.ended.is_empty()
            && self.telling == 0
            && self.news.is_empty()
            && self.outbox.len() == 0
    }

    /// Kills workers that have not left in time. Returns when that will be.
    pub(super) fn enforce_drain(&mut self) -> Deadline {
        let Some(until) = &mut self.drain else { return Deadline::NEVER };
        if until.passed() {
            *until = Deadline::NEVER;
            self.workers.values().for_each(Worker::kill);
        }
        *until
    }

    /// Hears of workers, and takes their answers.
    pub(super) fn turn(&mut self) {
        while let Some((slot, news)) = self.news.pop_front() {
            self.hear(slot, news);
        }
        for (slot, worker) in &mut self.workers {
            worker.collect(*slot, &mut self.outbox, self.weighed, MOST_UNSENT);
        }
        self.hand_on();
    }

    /// Hands frames to workers that have room for them.
    pub(super) fn hand_on(&mut self) {
        self.workers.values_mut().for_each(Worker::hand_on);
    }

    /// Hears one piece of news of a worker.
    fn hear(&mut self, slot: Slot, news: News) {
        let Some(worker) = self.workers.get_mut(&slot) else { return };
        match news {
            News::Started(body) => {
                let pid = body.pid().and_then(|pid| u64::try_from(pid).ok()).unwrap_or(0);
                worker.body = Some(body);
                self.outbox.put(Kind::Started, slot, &[pid], &[]);
            }
            News::Replied(reply) => self.outbox.put(Kind::Reply, slot, &[], &codec::to_bytes(&reply)),
            News::Silent => {
                let reply = Reply::Refused("it did not become ready in time and was killed".to_owned());
                self.outbox.put(Kind::Reply, slot, &[], &codec::to_bytes(&reply));
            }
            News::Impossible(error) => {
                self.workers.remove(&slot);
                self.outbox.put(Kind::Refused, slot, &[], &codec::to_bytes(&error));
            }
            News::Exited(death, held) => {
                let Some(mut worker) = self.workers.remove(&slot) else { return };
                worker.link.ended();
                worker.collect(slot, &mut self.outbox, false, usize::MAX);
                worker.salvage(slot, &mut self.outbox);
                self.ended.push((slot, worker.end(death)));
                // All that it has said was read.
                drop(held);
            }
            News::Room | News::Draining => {}
        }
    }

    /// Tells the pool what can be seen of the workers.
    pub(super) fn watch_workers(&mut self) {
        for (slot, worker) in &self.workers {
            worker.tell_watched(*slot, &mut self.outbox);
        }
    }
}
