//! What is known of a call before its items: the pool, the context and the options.

use crate::codec::{self, Packed};
use crate::engine::call::job::Options;
use crate::engine::core::state::Engine;
use crate::error::{Error, Result};
use crate::process::context::ByRef;
use std::sync::Arc;

/// A serialised context, or why it could not be serialised.
pub(super) type Shipped = Result<Arc<Packed>>;

/// Serialises what all tasks of a call are to see.
pub(super) fn ship<C: ByRef + ?Sized>(context: &C) -> Shipped {
    match codec::pack(|out| codec::encode(context, out)) {
        Ok(packed) => Ok(Arc::new(packed)),
        Err(error) => Err(Error::context(error.0)),
    }
}

/// The pool, the serialised context and the options of a call.
pub(super) type Parts<'p> = (&'p Arc<Engine>, Option<Arc<Packed>>, Options);

/// What is known of a call before its items: the pool, the context and the options.
#[derive(Clone, Debug)]
pub(super) struct Described<'p> {
    engine: &'p Arc<Engine>,
    context: Option<Shipped>,
    pub(super) options: Options,
}

impl<'p> Described<'p> {
    pub(super) fn new(engine: &'p Arc<Engine>, context: Option<Shipped>) -> Described<'p> {
        Described { engine, context, options: Options::default() }
    }

    /// What the engine takes; an error if the context could not be serialised.
    pub(super) fn parts(self) -> Result<Parts<'p>> {
        Ok((self.engine, self.context.transpose()?, self.options))
    }
}
