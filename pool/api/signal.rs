//! What hears which of several results are there.

use crate::sys::time::Deadline;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::task::Waker;

/// Hears which of several results are there.
#[derive(Default)]
pub(super) struct Signal {
    heard: Mutex<Heard>,
    changed: Condvar,
}

#[derive(Default)]
struct Heard {
    places: VecDeque<usize>,
    waker: Option<Waker>,
}

impl Signal {
    /// The result at a place is there. Runs user code, if a task waits.
    pub(super) fn tell(&self, place: usize) {
        let mut heard = self.heard.lock();
        heard.places.push_back(place);
        let waker = heard.waker.take();
        drop(heard);
        self.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The place that was told first and was not taken yet.
    pub(super) fn next(&self, until: Deadline) -> Option<usize> {
        let mut heard = self.heard.lock();
        loop {
            match heard.places.pop_front() {
                None if until.passed() => return None,
                None => until.wait(&self.changed, &mut heard),
                place => return place,
            }
        }
    }

    #[cfg(feature = "stream")]
    pub(super) fn wake_later(&self, waker: &Waker) {
        // The one before is code of a runtime's, and is dropped when the lock is free again.
        let _before = self.heard.lock().waker.replace(waker.clone());
    }
}
