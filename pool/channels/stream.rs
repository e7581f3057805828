//! How a task waits for what is received.

use super::watcher::{Bell, Inlet, Watch};
use crate::error::{Error, GetError, QueueKind};
use parking_lot::Mutex;
use std::task::{Poll, Waker};

/// How far a receiver is as a stream.
#[derive(Default)]
pub(super) struct Streaming {
    /// Made when the task first has to wait.
    watch: Option<Watch>,
    has_ended: bool,
}

impl Streaming {
    /// What becomes of what `receive` gives, which does not wait.
    pub(super) fn poll<T>(
        &mut self,
        task: &Waker,
        inlet: impl FnOnce() -> Inlet,
        receive: impl FnOnce() -> Result<Option<T>, GetError>,
    ) -> Poll<Option<Result<T, GetError>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let received = match receive() {
            // Whatever is sent from here on wakes the task.
            Ok(None) => self.wake_later(task, inlet).map(|()| None).map_err(no_wait),
            received => received,
        };
        self.has_ended = received.as_ref().is_err_and(|error| !error.is_decode());
        match received {
            Ok(None) => Poll::Pending,
            Err(error) if error.is_disconnected() => Poll::Ready(None),
            received => Poll::Ready(received.transpose()),
        }
    }

    /// Wakes the task once when something can be received, or will never be: at once if that is so already.
    fn wake_later(&mut self, task: &Waker, inlet: impl FnOnce() -> Inlet) -> Result<(), Error> {
        let watch = match &mut self.watch {
            Some(watch) => watch,
            none => none.insert(Watch::new(inlet(), Bell::Task(Mutex::default()))?),
        };
        if let Bell::Task(place) = watch.bell() {
            // The one before is code of a runtime's, and is dropped when the lock is free again.
            let _before = place.lock().replace(task.clone());
        }
        watch.arm()
    }
}

fn no_wait(error: Error) -> GetError {
    GetError::new(QueueKind::SharedMemory { text: format!("the task cannot be woken: {error}") })
}
