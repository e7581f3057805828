//! How many calls that nobody waits in may be under way.

use crate::engine::call::job::Job;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;

/// Lets so many calls be under way at a time.
#[derive(Debug)]
pub(crate) struct Gate {
    most: usize,
    state: Mutex<State>,
    /// Waits with the state: for a call to end, or the gate to be given up.
    room: Condvar,
}

#[derive(Debug)]
struct State {
    under_way: usize,
    /// The pool takes no more calls: nobody is to wait, and the pool itself refuses them.
    given_up: bool,
}

/// The right of one call to be under way; given back when it is dropped. Of a pool without a gate it is nothing.
#[derive(Debug)]
#[must_use = "it is given back when it is dropped"]
pub(crate) struct Claim(Option<Arc<Gate>>);

impl Gate {
    pub(crate) fn new(most: usize) -> Gate {
        Gate { most, state: Mutex::new(State { under_way: 0, given_up: false }), room: Condvar::new() }
    }

    /// Takes the right for one call more, if there is room for it.
    pub(crate) fn try_claim(self: &Arc<Self>) -> Option<Claim> {
        let mut state = self.state.lock();
        if state.under_way >= self.most && !state.given_up {
            return None;
        }
        state.under_way += 1;
        Some(Claim(Some(Arc::clone(self))))
    }

    /// Takes it whether there is room or not.
    pub(crate) fn exceed(self: &Arc<Self>) -> Claim {
        self.state.lock().under_way += 1;
        Claim(Some(Arc::clone(self)))
    }

    /// Waits until there is room, and takes it.
    pub(crate) fn claim(self: &Arc<Self>) -> Claim {
        let mut state = self.state.lock();
        while state.under_way >= self.most && !state.given_up {
            self.room.wait(&mut state);
        }
        state.under_way += 1;
        Claim(Some(Arc::clone(self)))
    }

    /// Lets nobody wait any more.
    pub(crate) fn give_up(&self) {
        self.state.lock().given_up = true;
        self.room.notify_all();
    }
}

impl Claim {
    /// Of a pool without a gate.
    pub(crate) const NONE: Claim = Claim(None);

    /// Keeps it until the call is complete.
    pub(crate) fn keep_for(self, job: &Job) {
        if self.0.is_some() {
            // If it is complete already, the claim is dropped with what is given back.
            let _ = job.when_complete(Box::new(move || drop(self)));
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(gate) = &self.0 {
            gate.state.lock().under_way -= 1;
            gate.room.notify_one();
        }
    }
}
