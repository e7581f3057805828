//! What a worker keeps between tasks and lends to them: how it is made, and when it is made again.

use crate::engine::worker::routines::{Routine, Routines};
use crate::error::TaskError;
use crate::process::panic;
use std::any::{Any, TypeId};
use std::io;

/// What it is called in reports.
const WHAT: &str = "a worker's state";

/// The state of a worker; `()` in a pool without one.
#[derive(Debug)]
pub(crate) struct Keeper {
    maker: Option<Routine>,
    value: Box<dyn Any>,
}

impl Keeper {
    /// Runs the initializer, and makes the state.
    ///
    /// # Errors
    ///
    /// One of them has panicked or failed.
    pub(crate) fn start(routines: &Routines) -> Result<Keeper, TaskError> {
        if let Some(initializer) = &routines.initializer {
            initializer.run(Routine::proceed)?;
        }
        let value = match &routines.state {
            Some(maker) => maker.run(Routine::make)?,
            None => Box::new(()),
        };
        Ok(Keeper { maker: routines.state.clone(), value })
    }

    /// The state for a task that takes an `S`; every task may take the state `()`, which is none.
    pub(crate) fn lend<'a, S: 'static>(&'a mut self, none: &'a mut dyn Any) -> Option<&'a mut S> {
        if is_none::<S>() { none.downcast_mut() } else { self.value.downcast_mut() }
    }

    /// After a panic of a task that had it: makes the state again. Called inside of a guard.
    ///
    /// # Errors
    ///
    /// It cannot be made; what then is there is not fit for use.
    pub(crate) fn renew<S: 'static>(&mut self) -> io::Result<()> {
        let Some(maker) = self.maker.as_ref().filter(|_| !is_none::<S>()) else { return Ok(()) };
        let last = std::mem::replace(&mut self.value, Box::new(()));
        panic::discard(WHAT, last);
        self.value = maker.make().map_err(|kind| {
            let error = maker.error(kind);
            panic::say(format_args!("a worker leaves, since its state could not be made again: {error}"));
            io::Error::other(error)
        })?;
        Ok(())
    }

    /// Drops the state and runs the finalizer: what a worker does last when it leaves in order.
    pub(crate) fn finish(self, routines: &Routines) {
        drop(self);
        if let Some(Err(error)) = routines.finalizer.as_ref().map(|it| it.run(Routine::proceed)) {
            panic::say(format_args!("the finalizer of a worker failed: {error}"));
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        panic::discard(WHAT, std::mem::replace(&mut self.value, Box::new(())));
    }
}

fn is_none<S: 'static>() -> bool {
    TypeId::of::<S>() == TypeId::of::<()>()
}
