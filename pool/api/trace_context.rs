//! The trace that a call belongs to: it travels with the call, and its tasks can ask for it.

use crate::api::builder::PoolBuilder;
use crate::api::call::Call;
use crate::api::one::One;
use crate::engine::call::traceparent::TraceSource;
use crate::engine::worker::work::Shape;
#[cfg(doc)]
use crate::error::Error;
use std::sync::Arc;

impl PoolBuilder {
    /// Has `f` asked, for each call of the pool and on the thread that makes it, which trace the call belongs to: the W3C header
    /// `traceparent` of the span that is current there, or `None`. Tasks ask for it by
    /// [`CurrentTask::traceparent`](crate::CurrentTask::traceparent), and make spans below it.
    ///
    /// With OpenTelemetry `f` injects the current context by its `TraceContextPropagator`. Default: no call belongs to a trace.
    ///
    /// ```
    /// use multiproc::{Pool, current_task};
    /// use std::cell::RefCell;
    ///
    /// thread_local! {
    ///     static SPAN: RefCell<Option<String>> = const { RefCell::new(None) };
    /// }
    ///
    /// let pool = Pool::builder().processes(1).traceparent(|| SPAN.with_borrow(Clone::clone)).build()?;
    /// let ask = || current_task().unwrap().traceparent().map(str::to_owned);
    /// assert_eq!(pool.apply(ask, ())?, None);
    ///
    /// let span = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    /// SPAN.set(Some(span.to_owned()));
    /// assert_eq!(pool.apply(ask, ())?.as_deref(), Some(span));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// A panic of `f` goes through to who makes a call.
    pub fn traceparent(mut self, f: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        self.options.traceparent = Some(TraceSource(Arc::new(f)));
        self
    }
}

impl<K, I, J> Call<'_, K, I, J> {
    /// Says which trace the call belongs to, by the W3C header `traceparent`; otherwise as
    /// [`PoolBuilder::traceparent`](crate::PoolBuilder::traceparent), which says it for all calls. A text that is no such header is
    /// the error of the delivery: [`Error::is_invalid_argument`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let ask = |_: u32| multiproc::current_task().unwrap().traceparent().map(str::to_owned);
    /// let span = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    /// assert_eq!(pool.tasks(ask, [1]).traceparent(span).run()?, [Some(span.to_owned())]);
    /// assert_eq!(pool.tasks(ask, [1]).run()?, [None]);
    /// assert!(pool.tasks(ask, [1]).traceparent("?").run().unwrap_err().is_invalid_argument());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn traceparent(mut self, header: &str) -> Self {
        self.described.options.traceparent = Some(header.into());
        self
    }
}

impl<K: Shape, J> One<'_, K, J> {
    /// Says which trace the call belongs to; see [`Call::traceparent`].
    pub fn traceparent(self, header: &str) -> Self {
        One { call: self.call.traceparent(header) }
    }
}
