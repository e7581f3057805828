//! What a worker says, handed on to the subscriber: on the thread where callbacks run, in the order in which it was said.

use crate::engine::callbacks;
use crate::engine::watch::tracing::sites::Site;
use crate::engine::watch::tracing::values::Values;
use crate::engine::watch::tracing::{Parent, QUEUE, Task, Told};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Dispatch, Event, LevelFilter, Metadata, dispatcher};

/// So many spans of a worker may be open; of more the events are shown without them.
const MOST_OPEN: usize = 4096;

/// So many callsites of a worker are known; events and spans of more are dropped.
const MOST_SITES: usize = 1 << 16;

/// A span of the subscriber, which is closed when this is dropped: where callbacks run.
struct Open {
    dispatch: Dispatch,
    /// Of which it is a part.
    parent: Option<Arc<Open>>,
    /// Empty if the subscriber does not want it.
    span: OnceLock<(Id, &'static Metadata<'static>)>,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").field("span", &self.span).finish_non_exhaustive()
    }
}

impl Open {
    fn new(dispatch: Dispatch, parent: Option<Arc<Open>>) -> Arc<Open> {
        Arc::new(Open { dispatch, parent, span: OnceLock::new() })
    }

    /// Makes the span, if the subscriber wants it.
    fn make(&self, meta: &'static Metadata<'static>, values: &Values) {
        within(&self.dispatch, |dispatch| {
            if dispatch.enabled(meta) {
                values.show(meta, |values| {
                    let attributes = match self.parent.as_ref().and_then(Open::id) {
                        Some(parent) => Attributes::child_of(parent, meta, values),
                        None => Attributes::new_root(meta, values),
                    };
                    let _ = self.span.set((dispatch.new_span(&attributes), meta));
                });
            }
        });
    }

    /// The span, or the nearest one around it that there is.
    fn id(self: &Arc<Open>) -> Option<Id> {
        let mut open = self;
        loop {
            match open.span.get() {
                Some((id, _)) => return Some(id.clone()),
                None => open = open.parent.as_ref()?,
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some((id, _)) = self.span.take() {
            within(&self.dispatch, |dispatch| dispatch.try_close(id));
        }
        // One after the other, however many there are.
        let mut parent = self.parent.take();
        while let Some(mut open) = parent.and_then(Arc::into_inner) {
            parent = open.parent.take();
        }
    }
}

/// Runs what asks a subscriber: some find themselves as the current one only.
fn within<R>(dispatch: &Dispatch, ask: impl FnOnce(&Dispatch) -> R) -> R {
    dispatcher::with_default(dispatch, || ask(dispatch))
}

/// Has it done where callbacks run, whatever waits there.
fn later(work: impl FnOnce() + Send + 'static) {
    callbacks::send([Box::new(work) as callbacks::Callback]);
}

/// The subscriber of the program.
fn global() -> Dispatch {
    dispatcher::get_default(Clone::clone)
}

/// What was heard from one worker, as far as what follows refers to it.
#[derive(Debug)]
pub(crate) struct Heard {
    worker: Arc<str>,
    pid: u32,
    /// The span of what belongs to no task.
    own: Option<Arc<Open>>,
    sites: HashMap<u32, Arc<OnceLock<&'static Metadata<'static>>>>,
    spans: HashMap<u64, Arc<Open>>,
}

impl Heard {
    pub(crate) fn new(worker: Arc<str>) -> Heard {
        Heard { worker, pid: 0, own: None, sites: HashMap::new(), spans: HashMap::new() }
    }

    pub(crate) fn take(&mut self, told: Told) {
        match told {
            Told::Begun { pid } => {
                // Another worker was at this place before.
                *self = Heard::new(Arc::clone(&self.worker));
                self.pid = pid;
            }
            Told::Site { number, site } => {
                if self.sites.len() < MOST_SITES {
                    let made = Arc::new(OnceLock::new());
                    self.sites.insert(number, Arc::clone(&made));
                    later(move || _ = site.make().map(|meta| made.set(meta)));
                }
            }
            Told::Task(task) => self.begin(task),
            Told::Span { span, site, parent, values } => {
                let Some(site) = self.sites.get(&site).cloned() else { return QUEUE.lose(1) };
                let (dispatch, parent) = self.place(parent);
                self.open(span, dispatch, parent, move || Some((*site.get()?, values)));
            }
            Told::Values { span, values } => {
                let Some(open) = self.spans.get(&span).cloned() else { return };
                QUEUE.hand_on(move || {
                    if let Some((id, meta)) = open.span.get() {
                        within(&open.dispatch, |it| values.show(meta, |set| it.record(id, &Record::new(set))));
                    }
                });
            }
            Told::Follows { span, before } => {
                let [open, before] = [span, before].map(|span| self.spans.get(&span).cloned());
                let (Some(open), Some(before)) = (open, before) else { return };
                QUEUE.hand_on(move || {
                    if let (Some((id, _)), Some((before, _))) = (open.span.get(), before.span.get()) {
                        within(&open.dispatch, |dispatch| dispatch.record_follows_from(id, before));
                    }
                });
            }
            Told::Closed { span } => {
                if let Some(open) = self.spans.remove(&span) {
                    later(move || drop(open));
                }
            }
            Told::Event { site, parent, values } => {
                let Some(site) = self.sites.get(&site).cloned() else { return QUEUE.lose(1) };
                let (dispatch, parent) = self.place(parent);
                QUEUE.hand_on(move || {
                    within(&dispatch, |dispatch| {
                        if let Some(text) = QUEUE.take_lost() {
                            warn(dispatch, &text);
                        }
                        match site.get() {
                            Some(meta) if dispatch.enabled(meta) => values.show(meta, |values| {
                                let parent = parent.as_ref().and_then(Open::id);
                                dispatch.event(&Event::new_child_of(parent, meta, values));
                            }),
                            Some(_) => {}
                            None => QUEUE.lose(1),
                        }
                    });
                });
            }
        }
    }

    /// The subscriber for what is part of a span, and that span.
    fn place(&mut self, parent: Parent) -> (Dispatch, Option<Arc<Open>>) {
        let open = match parent {
            Parent::Nothing => return (global(), None),
            Parent::Worker => None,
            Parent::Span(span) => self.spans.get(&span).cloned(),
        };
        let open = open.unwrap_or_else(|| self.own());
        (open.dispatch.clone(), Some(open))
    }

    fn own(&mut self) -> Arc<Open> {
        let (worker, pid) = (&self.worker, self.pid);
        let own = self.own.get_or_insert_with(|| {
            let open = Open::new(global(), None);
            let (made, worker) = (Arc::clone(&open), Arc::clone(worker));
            later(move || {
                let values = Values::default().and(0, &*worker).and(1, u64::from(pid));
                Site::own("worker", &["worker", "pid"]).make().into_iter().for_each(|meta| made.make(meta, &values));
            });
            open
        });
        Arc::clone(own)
    }

    /// A task has something to say.
    fn begin(&mut self, task: Task) {
        let call = task.call.and_then(|number| CALLS.lock().as_ref()?.get(&number).cloned());
        let dispatch = call.as_ref().map_or_else(global, |call| call.dispatch.clone());
        let (worker, pid) = (Arc::clone(&self.worker), self.pid);
        let describe = move || {
            let fields = ["function", "index", "attempt", "worker", "pid"];
            let values = Values::default().and(0, &*task.function).and(1, task.index).and(2, u64::from(task.attempt));
            Some((Site::own("task", &fields).make()?, values.and(3, &*worker).and(4, u64::from(pid))))
        };
        self.open(task.span, dispatch, call, describe);
    }

    /// A span, unless there are too many.
    fn open(
        &mut self,
        span: u64,
        dispatch: Dispatch,
        parent: Option<Arc<Open>>,
        describe: impl FnOnce() -> Option<(&'static Metadata<'static>, Values)> + Send + 'static,
    ) {
        if self.spans.len() >= MOST_OPEN || self.spans.contains_key(&span) {
            return QUEUE.lose(1);
        }
        let open = Open::new(dispatch, parent);
        let made = Arc::clone(&open);
        if QUEUE.hand_on(move || describe().into_iter().for_each(|(meta, values)| made.make(meta, &values))) {
            self.spans.insert(span, open);
        } else if let Some(parent) = &open.parent {
            self.spans.insert(span, Arc::clone(parent));
        }
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        let (spans, own) = (std::mem::take(&mut self.spans), self.own.take());
        if own.is_some() || !spans.is_empty() {
            later(move || drop((spans, own)));
        }
    }
}

/// Calls under way.
static CALLS: Mutex<Option<HashMap<u64, Arc<Open>>>> = Mutex::new(None);

/// The span in which a call was made, and its subscriber. It is to be dropped where callbacks run.
#[derive(Debug)]
pub(crate) struct OfCall(u64);

impl OfCall {
    /// That of a call that this thread makes now, if there is a subscriber.
    pub(crate) fn current() -> Option<OfCall> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        if LevelFilter::current() == LevelFilter::OFF {
            return None;
        }
        let open = dispatcher::get_default(|dispatch| {
            let open = Open::new(dispatch.clone(), None);
            if let Some((id, meta)) = dispatch.current_span().into_inner() {
                let _ = open.span.set((dispatch.clone_span(&id), meta));
            }
            open
        });
        let number = NUMBERS.fetch_add(1, Relaxed);
        CALLS.lock().get_or_insert_with(HashMap::new).insert(number, open);
        Some(OfCall(number))
    }

    pub(crate) fn number(&self) -> u64 {
        self.0
    }
}

impl Drop for OfCall {
    fn drop(&mut self) {
        let open = CALLS.lock().as_mut().and_then(|calls| calls.remove(&self.0));
        drop(open);
    }
}

/// Says that something was lost.
fn warn(dispatch: &Dispatch, text: &str) {
    let site = Site { is_span: false, level: 2, ..Site::own("lost", &["message"]) };
    let Some(meta) = site.make() else { return };
    if dispatch.enabled(meta) {
        let values = Values::default().and(0, text);
        values.show(meta, |values| dispatch.event(&Event::new_child_of(None, meta, values)));
    }
}
