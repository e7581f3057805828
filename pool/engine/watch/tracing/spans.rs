//! What a worker says, handed on to the subscriber: on the thread where callbacks run, in the order in which it was said.

use crate::engine::callbacks;
use crate::engine::watch::tracing::sites::{MOST_BYTES, Site};
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

/// A span of the subscriber, which is closed when this is dropped: where callbacks run.
struct Open {
    dispatch: Dispatch,
    /// Of which it is a part.
    parent: Option<Arc<Open>>,
    /// The number of the call whose subscriber that is; that of the program if of none.
    call: Option<u64>,
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
        let call = parent.as_ref().and_then(|parent| parent.call);
        Arc::new(Open { dispatch, parent, call, span: OnceLock::new() })
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

/// The subscriber of the program.
fn global() -> Dispatch {
    dispatcher::get_default(Clone::clone)
}

/// A callsite of a worker. It is made when something from there is handed on.
#[derive(Debug)]
struct LateSite {
    site: Site,
    made: OnceLock<Option<&'static Metadata<'static>>>,
}

impl LateSite {
    fn meta(&self) -> Option<&'static Metadata<'static>> {
        *self.made.get_or_init(|| self.site.clone().make())
    }
}

/// The callsites and spans of one worker, to which refers what it says.
///
/// It hears on a thread that never runs code of the user's. So it lets a span go where callbacks run, and asks whether there is
/// room for something before it takes hold of what that is part of.
#[derive(Debug)]
pub(crate) struct Spans {
    worker: Arc<str>,
    pid: u32,
    /// The span of what belongs to no task.
    own: Option<Arc<Open>>,
    sites: HashMap<u32, Arc<LateSite>>,
    /// So many bytes have their descriptions.
    site_bytes: usize,
    open: HashMap<u64, Arc<Open>>,
}

impl Spans {
    pub(crate) fn new(worker: Arc<str>) -> Spans {
        Spans { worker, pid: 0, own: None, sites: HashMap::new(), site_bytes: 0, open: HashMap::new() }
    }

    pub(crate) fn take(&mut self, told: Told) {
        match told {
            Told::Begun { pid } => {
                // Another worker was at this place before.
                *self = Spans::new(Arc::clone(&self.worker));
                self.pid = pid;
            }
            Told::Site { number, site } => {
                // Events and spans of more are dropped.
                if !self.sites.contains_key(&number) && self.site_bytes + site.len() <= MOST_BYTES {
                    self.site_bytes += site.len();
                    self.sites.insert(number, Arc::new(LateSite { site, made: OnceLock::new() }));
                }
            }
            Told::Task(task) => self.begin(task),
            Told::Span { span, site, parent, values } => {
                let Some(site) = self.sites.get(&site).cloned() else { return QUEUE.lose(1) };
                self.open(span, |own| own.place(parent), move || Some((site.meta()?, values)));
            }
            Told::Values { span, values } => {
                let Some(open) = self.open.get(&span) else { return };
                let Some(room) = QUEUE.room() else { return };
                let open = Arc::clone(open);
                room.hand_on(move || {
                    if let Some((id, meta)) = open.span.get() {
                        within(&open.dispatch, |it| values.show(meta, |set| it.record(id, &Record::new(set))));
                    }
                });
            }
            Told::Follows { span, before } => {
                let [Some(open), Some(before)] = [span, before].map(|span| self.open.get(&span)) else { return };
                if open.call != before.call {
                    // Their subscribers may be two, each of which knows its own spans.
                    return;
                }
                let Some(room) = QUEUE.room() else { return };
                let (open, before) = (Arc::clone(open), Arc::clone(before));
                room.hand_on(move || {
                    if let (Some((id, _)), Some((before, _))) = (open.span.get(), before.span.get()) {
                        within(&open.dispatch, |dispatch| dispatch.record_follows_from(id, before));
                    }
                });
            }
            Told::Closed { span } => {
                if let Some(open) = self.open.remove(&span) {
                    callbacks::post(move || drop(open));
                }
            }
            Told::Event { site, parent, values } => {
                let Some(site) = self.sites.get(&site).cloned() else { return QUEUE.lose(1) };
                let Some(room) = QUEUE.room() else { return };
                let (dispatch, parent) = self.place(parent);
                room.hand_on(move || {
                    within(&dispatch, |dispatch| {
                        tell_lost(dispatch);
                        match site.meta() {
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
            Parent::Span(span) => self.open.get(&span).cloned(),
        };
        let open = open.unwrap_or_else(|| self.own());
        (open.dispatch.clone(), Some(open))
    }

    fn own(&mut self) -> Arc<Open> {
        let (worker, pid) = (&self.worker, self.pid);
        let own = self.own.get_or_insert_with(|| {
            let open = Open::new(global(), None);
            let (made, worker) = (Arc::clone(&open), Arc::clone(worker));
            callbacks::post(move || {
                let values = Values::default().and(0, &*worker).and(1, u64::from(pid));
                Site::own("worker", &["worker", "pid"]).make().into_iter().for_each(|meta| made.make(meta, &values));
            });
            open
        });
        Arc::clone(own)
    }

    /// A task has something to say.
    fn begin(&mut self, Task { span, call, function, index, attempt }: Task) {
        let (worker, pid) = (Arc::clone(&self.worker), self.pid);
        let describe = move || {
            let fields = ["function", "index", "attempt", "worker", "pid"];
            let values = Values::default().and(0, &*function).and(1, index).and(2, u64::from(attempt));
            Some((Site::own("task", &fields).make()?, values.and(3, &*worker).and(4, u64::from(pid))))
        };
        let place = |_: &mut Spans| {
            let call = call.and_then(|number| CALLS.lock().as_ref()?.get(&number).cloned());
            (call.as_ref().map_or_else(global, |call| call.dispatch.clone()), call)
        };
        self.open(span, place, describe);
    }

    /// A span, unless there are too many: what is part of that is shown as part of the worker.
    fn open(
        &mut self,
        span: u64,
        place: impl FnOnce(&mut Spans) -> (Dispatch, Option<Arc<Open>>),
        describe: impl FnOnce() -> Option<(&'static Metadata<'static>, Values)> + Send + 'static,
    ) {
        if self.open.len() >= MOST_OPEN || self.open.contains_key(&span) {
            return QUEUE.lose(1);
        }
        let Some(room) = QUEUE.room() else { return };
        let (dispatch, parent) = place(self);
        let open = Open::new(dispatch, parent);
        self.open.insert(span, Arc::clone(&open));
        room.hand_on(move || describe().into_iter().for_each(|(meta, values)| open.make(meta, &values)));
    }
}

impl Drop for Spans {
    fn drop(&mut self) {
        let (open, own) = (std::mem::take(&mut self.open), self.own.take());
        if own.is_some() || !open.is_empty() {
            callbacks::post(move || drop((open, own)));
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
        let number = NUMBERS.fetch_add(1, Relaxed);
        let open = dispatcher::get_default(|dispatch| {
            let span = OnceLock::new();
            if let Some((id, meta)) = dispatch.current_span().into_inner() {
                let _ = span.set((dispatch.clone_span(&id), meta));
            }
            Arc::new(Open { dispatch: dispatch.clone(), parent: None, call: Some(number), span })
        });
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

/// Tells the subscriber how much was lost since it was last told.
fn tell_lost(dispatch: &Dispatch) {
    let Some(text) = QUEUE.take_lost() else { return };
    let site = Site { is_span: false, level: 2, ..Site::own("lost", &["message"]) };
    let Some(meta) = site.make() else { return };
    if dispatch.enabled(meta) {
        let values = Values::default().and(0, &*text);
        values.show(meta, |values| dispatch.event(&Event::new_child_of(None, meta, values)));
    }
}

/// What tells the subscriber of this thread, where callbacks run, how much was lost since it was last told.
pub(crate) fn say_lost() -> impl FnOnce() + Send + 'static {
    let dispatch = global();
    move || within(&dispatch, tell_lost)
}
