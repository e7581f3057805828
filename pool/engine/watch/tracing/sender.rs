//! The subscriber of a worker, which sends what it hears to the pool's process.

use crate::engine::watch::outlet::{Kind, Level, Outlet};
use crate::engine::watch::tracing::sites::{LEVELS, Site};
use crate::engine::watch::tracing::values::Values;
use crate::engine::watch::tracing::{Parent, Task, Told};
use crate::ipc::control::Control;
use parking_lot::{Mutex, MutexGuard};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tracing_core::callsite::Identifier;
use tracing_core::field::FieldSet;
use tracing_core::metadata::Kind as SiteKind;
use tracing_core::span::{Attributes, Current, Id, Record};
use tracing_core::{Dispatch, Event, Interest, Level as Verbosity, LevelFilter, Metadata, Subscriber, dispatcher};

/// The subscriber of this worker.
static SENDER: OnceLock<&'static Sender> = OnceLock::new();

thread_local! {
    /// The spans that this thread has entered.
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    /// The frame that this thread runs.
    static FRAME: Cell<Option<Frame>> = const { Cell::new(None) };
    /// The task of which there is a span, and the span.
    static TASK: Cell<Option<((u64, u32), u64)>> = const { Cell::new(None) };
}

/// A frame whose tasks may say something.
#[derive(Clone, Copy)]
struct Frame {
    function: &'static str,
    call: Option<u64>,
    running: fn() -> Option<Running>,
}

/// The task that runs on this thread.
pub(crate) struct Running {
    key: (u64, u32),
    index: u64,
    attempt: u32,
}

impl Running {
    /// The task that `key` tells from all others of this thread.
    pub(crate) fn new(key: (u64, u32), index: u64, attempt: u32) -> Running {
        Running { key, index, attempt }
    }
}

/// What this thread says is said by the tasks of a frame, until this is dropped.
pub(crate) struct InFrame(Option<Frame>, Option<((u64, u32), u64)>);

impl InFrame {
    /// For a frame of a function, and of a call that has this number at the pool's process.
    #[inline]
    pub(crate) fn new(function: &'static str, call: Option<u64>, running: fn() -> Option<Running>) -> Option<InFrame> {
        SENDER.get()?;
        Some(InFrame(FRAME.replace(Some(Frame { function, call, running })), TASK.take()))
    }
}

impl Drop for InFrame {
    fn drop(&mut self) {
        FRAME.set(self.0);
        leave_task(self.1);
    }
}

/// Looks at the spans that this thread has entered; not if it is about to end.
fn entered<R>(look: impl FnOnce(&mut Vec<u64>) -> R) -> Option<R> {
    ENTERED.try_with(|entered| look(&mut entered.borrow_mut())).ok()
}

/// The span of the last task of this thread is over.
fn leave_task(next: Option<((u64, u32), u64)>) {
    if let (Some((_, span)), Some(sender)) = (TASK.replace(next), SENDER.get()) {
        sender.release(span);
    }
}

/// A span that is open.
struct Open {
    meta: &'static Metadata<'static>,
    /// By so many handles.
    handles: usize,
    /// How others refer to it: as what is around it, if it could not be sent.
    shown: Parent,
}

#[derive(Default)]
struct State {
    sites: HashMap<Identifier, u32>,
    open: HashMap<u64, Open>,
    /// Spans that are over, which could not be sent.
    closed: Vec<u64>,
    has_begun: bool,
}

/// Sends events and spans.
struct Sender {
    outlet: Outlet,
    most: LevelFilter,
    next: AtomicU64,
    state: Mutex<State>,
}

impl Sender {
    /// What is known; nothing in a fork of the worker, where another thread may have held the lock for ever.
    fn state(&self) -> Option<MutexGuard<'_, State>> {
        self.outlet.is_here().then(|| self.state.lock())
    }

    /// Sends what must come before anything else. Returns whether it could.
    fn prepare(&self, state: &mut State) -> bool {
        state.has_begun = state.has_begun || self.outlet.send(&Told::Begun { pid: std::process::id() }, true);
        while let Some(&span) = state.closed.last() {
            if !self.outlet.send(&Told::Closed { span }, true) {
                return false;
            }
            state.closed.pop();
        }
        state.has_begun
    }

    /// The number of a callsite, which is sent before.
    fn site(&self, state: &mut State, meta: &'static Metadata<'static>) -> Option<u32> {
        if let Some(number) = state.sites.get(&meta.callsite()) {
            return Some(*number);
        }
        let number = u32::try_from(state.sites.len()).ok()?;
        let sent = self.prepare(state) && self.outlet.send(&Told::Site { number, site: Site::of(meta) }, true);
        sent.then(|| {
            state.sites.insert(meta.callsite(), number);
            number
        })
    }

    /// The span of the task that runs on this thread, made if there is none yet.
    fn task(&self) -> Option<u64> {
        let frame = FRAME.get()?;
        let running = (frame.running)()?;
        match TASK.get() {
            Some((key, span)) if key == running.key => return Some(span),
            _ => leave_task(None),
        }
        let span = self.next.fetch_add(1, Relaxed);
        let Frame { function, call, .. } = frame;
        let Running { key, index, attempt } = running;
        let task = Told::Task(Task { span, call, function: function.to_owned(), index, attempt });
        let mut state = self.state()?;
        let was_sent = self.prepare(&mut state) && self.outlet.send(&task, true);
        let shown = if was_sent { Parent::Span(span) } else { Parent::Worker };
        state.open.insert(span, Open { meta: task_meta(), handles: 1, shown });
        drop(state);
        TASK.set(Some((key, span)));
        Some(span)
    }

    /// The span that this thread is in.
    fn current(&self) -> Option<u64> {
        entered(|entered| entered.last().copied()).flatten().or_else(|| self.task())
    }

    /// Of what an event or a span is a part.
    fn parent(&self, parent: Option<&Id>, is_root: bool) -> Option<u64> {
        match parent {
            Some(id) => Some(id.into_u64()),
            None if is_root => None,
            None => self.current(),
        }
    }

    fn shown(state: &State, parent: Option<u64>, is_root: bool) -> Parent {
        match parent.and_then(|span| state.open.get(&span)) {
            Some(open) => open.shown,
            None if is_root => Parent::Nothing,
            None => Parent::Worker,
        }
    }

    /// A handle to a span is gone. Returns whether it was the last one.
    fn release(&self, span: u64) -> bool {
        let Some(mut state) = self.state() else { return false };
        let Some(open) = state.open.get_mut(&span) else { return false };
        open.handles -= 1;
        if open.handles > 0 {
            return false;
        }
        if state.open.remove(&span).is_some_and(|open| open.shown == Parent::Span(span)) {
            state.closed.push(span);
            self.prepare(&mut state);
        }
        true
    }
}

impl Subscriber for &'static Sender {
    fn register_callsite(&self, meta: &'static Metadata<'static>) -> Interest {
        if self.enabled(meta) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, meta: &Metadata<'_>) -> bool {
        *meta.level() <= self.most
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.most)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let (meta, is_root) = (attributes.metadata(), attributes.is_root());
        let values = Values::of(|visitor| attributes.record(visitor));
        let around = self.parent(attributes.parent(), is_root);
        let span = self.next.fetch_add(1, Relaxed);
        let Some(mut state) = self.state() else { return Id::from_u64(span) };
        let parent = Sender::shown(&state, around, is_root);
        let site = self.site(&mut state, meta);
        let was_sent = self.prepare(&mut state)
            && site.is_some_and(|site| self.outlet.send(&Told::Span { span, site, parent, values }, true));
        state.open.insert(span, Open { meta, handles: 1, shown: if was_sent { Parent::Span(span) } else { parent } });
        Id::from_u64(span)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        let (span, values) = (id.into_u64(), Values::of(|visitor| values.record(visitor)));
        let Some(state) = self.state() else { return };
        if state.open.get(&span).is_some_and(|open| open.shown == Parent::Span(span)) {
            self.outlet.send(&Told::Values { span, values }, false);
        }
    }

    fn record_follows_from(&self, id: &Id, before: &Id) {
        let (span, before) = (id.into_u64(), before.into_u64());
        let Some(state) = self.state() else { return };
        if [span, before].iter().all(|it| state.open.get(it).is_some_and(|open| open.shown == Parent::Span(*it))) {
            self.outlet.send(&Told::Follows { span, before }, false);
        }
    }

    fn event(&self, event: &Event<'_>) {
        let is_root = event.is_root();
        // The user's code, which may have something to say itself.
        let values = Values::of(|visitor| event.record(visitor));
        let around = self.parent(event.parent(), is_root);
        let Some(mut state) = self.state() else { return };
        let parent = Sender::shown(&state, around, is_root);
        match self.site(&mut state, event.metadata()) {
            Some(site) if self.prepare(&mut state) => {
                self.outlet.send(&Told::Event { site, parent, values }, false);
            }
            _ => self.outlet.lose(),
        }
    }

    fn enter(&self, id: &Id) {
        entered(|entered| entered.push(id.into_u64()));
    }

    fn exit(&self, id: &Id) {
        entered(|entered| {
            if let Some(at) = entered.iter().rposition(|span| *span == id.into_u64()) {
                entered.remove(at);
            }
        });
    }

    fn clone_span(&self, id: &Id) -> Id {
        if let Some(open) = self.state().as_mut().and_then(|state| state.open.get_mut(&id.into_u64())) {
            open.handles += 1;
        }
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        self.release(id.into_u64())
    }

    fn current_span(&self) -> Current {
        let current = self.current().and_then(|span| Some((span, self.state()?.open.get(&span)?.meta)));
        current.map_or_else(Current::none, |(span, meta)| Current::new(Id::from_u64(span), meta))
    }
}

/// What the code of a worker sees of the span of a task.
fn task_meta() -> &'static Metadata<'static> {
    struct Callsite;
    impl tracing_core::Callsite for Callsite {
        fn set_interest(&self, _: Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            &META
        }
    }
    static CALLSITE: Callsite = Callsite;
    static META: Metadata<'static> = Metadata::new(
        "task",
        "multiproc",
        Verbosity::INFO,
        None,
        None,
        Some("multiproc"),
        FieldSet::new(&[], Identifier(&CALLSITE)),
        SiteKind::SPAN,
    );
    &META
}

/// From now on sends what the code of this worker says up to a level, unless it has installed a subscriber.
pub(crate) fn forward(level: Level, control: Control) {
    let Some(&level) = usize::from(level).checked_sub(1).and_then(|at| LEVELS.get(at)) else { return };
    let (outlet, most) = (Outlet::new(Kind::Tracing, control), LevelFilter::from_level(level));
    let sender = Sender { outlet, most, next: AtomicU64::new(1), state: Mutex::default() };
    let sender: &'static Sender = Box::leak(Box::new(sender));
    if dispatcher::set_global_default(Dispatch::new(sender)).is_ok() {
        let _ = SENDER.set(sender);
    }
}
