//! The agent's end: what an agent does with its state.

use crate::codec;
use crate::engine::launch::body::Body;
use crate::engine::launch::launcher::News;
use crate::error::{Error, Exit};
use crate::ipc::control::Reply;
use crate::nodes::agent_state::State;
use crate::nodes::agent_worker::Worker;
use crate::nodes::fuzz::sim::{Sim, Tasks, ToSim};
use crate::nodes::wire::{Kind, Message, Slot};
use crate::process::start::HeldByChild;
use crate::sys::fuzz::Random;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An agent.
#[derive(Default)]
pub(super) struct Agent {
    pub(super) state: State,
    /// Its workers that live.
    pub(super) sims: BTreeMap<Slot, Arc<Mutex<Sim>>>,
    /// Those that have not said that they are ready.
    starting: Vec<Slot>,
}

impl Agent {
    pub(super) fn hear(&mut self, message: Message<'_>, tasks: &Tasks, lies: bool, random: &mut Random) {
        let Message { kind, slot, .. } = message;
        if kind != Kind::Start {
            return self.state.obey(message).expect("a sound message");
        }
        if random.once_in(16) {
            return self.state.outbox.put(Kind::Refused, slot, &[], &codec::to_bytes(&Error::start("not here")));
        }
        let sim = Sim::new(Random::new(random.next()), lies, Arc::clone(tasks));
        let sim = Arc::new(Mutex::new(sim));
        let to_sim = ToSim(Arc::clone(&sim));
        assert!(self.state.workers.insert(slot, Worker::new(Box::new(to_sim.clone()), None)).is_none());
        self.state.news.push_back((slot, News::Started(Body::Remote(Arc::new(to_sim)))));
        self.sims.insert(slot, sim);
        self.starting.push(slot);
    }

    pub(super) fn turn(&mut self) -> bool {
        let before = self.state.outbox.len();
        for slot in self.starting.drain(..) {
            self.state.news.push_back((slot, News::Replied(Reply::Ready)));
        }
        let State { news, .. } = &mut self.state;
        self.sims.retain(|slot, sim| {
            let is_dead = sim.lock().is_dead;
            if is_dead {
                news.push_back((*slot, News::Exited(Exit::Signal(9).into(), HeldByChild::nothing())));
            }
            !is_dead
        });
        self.state.turn();
        for (slot, ended) in std::mem::take(&mut self.state.ended) {
            self.state.outbox.put(Kind::Exited, slot, &[], &codec::to_bytes(&ended));
        }
        self.state.outbox.len() > before
    }

    pub(super) fn any_sim(&self, random: &mut Random) -> Option<&Arc<Mutex<Sim>>> {
        self.sims.values().nth(random.below(self.sims.len().max(1)))
    }
}
