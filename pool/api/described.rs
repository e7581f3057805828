//! What is known of a call before its items: the pool, the context and the options.

use crate::codec::{self, Packed, Payload};
use crate::engine::call::checkpoint::{Checkpoint, Skip};
use crate::engine::call::job::Options;
use crate::engine::call::traceparent::TraceSource;
use crate::engine::core::state::Engine;
use crate::engine::watch::records::CallSpan;
use crate::engine::worker::work::Shape;
use crate::error::{Error, Result};
use crate::heap::scope::{self, Reach};
use crate::process::context::ByRef;
use std::any::type_name;
use std::path::PathBuf;
use std::sync::Arc;

/// A serialised context, or why it could not be serialised.
pub(super) type Shipped = Result<Arc<Packed>>;

/// Serialises what all tasks of a call are to see.
pub(super) fn ship<C: ByRef + ?Sized>(context: &C, reach: Reach) -> Shipped {
    let mut bytes = Vec::new();
    let (written, pins) = scope::collect_for(reach, || codec::encode(context, &mut bytes));
    written.map_err(|error| Error::context(error.0))?;
    Ok(Arc::new(Packed { bytes, pins }))
}

/// The pool, the serialised context and the options of a call.
pub(super) type Parts<'p> = (&'p Arc<Engine>, Option<Arc<Packed>>, Options);

/// What is known of a call before its items: the pool, the context and the options.
#[derive(Clone, Debug)]
pub(super) struct Described<'p> {
    engine: &'p Arc<Engine>,
    context: Option<Shipped>,
    pub(super) options: Options,
    /// The file of a call with a checkpoint.
    pub(super) checkpoint: Option<PathBuf>,
}

impl<'p> Described<'p> {
    pub(super) fn new(engine: &'p Arc<Engine>, context: Option<Shipped>) -> Described<'p> {
        Described { engine, context, options: Options::default(), checkpoint: None }
    }

    pub(super) fn engine(&self) -> &'p Arc<Engine> {
        self.engine
    }

    /// What the engine takes, for a call of `K` whose tasks give a `V` each.
    ///
    /// # Errors
    ///
    /// The context could not be serialised, or the file of the call cannot be used.
    pub(super) fn parts<K: Shape, V: Payload>(self) -> Result<Parts<'p>> {
        self.parts_of(K::name(), type_name::<V>(), codec::skip::<V>)
    }

    /// What is the same for calls of all types, and compiled once.
    fn parts_of(self, function: &str, value: &str, skip: Skip) -> Result<Parts<'p>> {
        let (context, mut options) = (self.context.transpose()?, self.options);
        if let Some(path) = self.checkpoint {
            let opened = Checkpoint::open(&path, function, value, context.as_deref(), skip);
            options.checkpoint = Some(Arc::new(opened.map_err(Error::checkpoint)?));
        }
        if let Some(TraceSource(source)) = self.engine.traceparent.as_ref().filter(|_| options.traceparent.is_none()) {
            options.traceparent = source().map(Into::into);
        }
        // Threads of this process have its subscriber themselves.
        if self.engine.launcher.starts_processes() {
            options.span = CallSpan::current().map(Arc::new);
        }
        Ok((self.engine, context, options))
    }
}
