//! Events and spans of workers, by the crate `tracing`: `cargo test --features tracing --test pool tracing_events`.

use super::common::alone::alone;
use super::common::fork::in_fork;
use super::common::links::{on_each_link, on_nodes};
use super::common::proc::{eventually, kill};
use super::common::watchdog::watchdog;
use multiproc::Pool;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::subscriber::with_default;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};
use tracing_core::span::{Attributes, Current, Id, Record};

const SOON: Duration = Duration::from_secs(20);

/// The values of fields, as text.
#[derive(Clone, Debug, Default, PartialEq)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), format!("text {value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.insert(field.name().to_owned(), format!("error {value}"));
    }
}

impl Fields {
    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

#[derive(Clone, Debug)]
struct Span {
    name: &'static str,
    meta: &'static Metadata<'static>,
    parent: Option<u64>,
    fields: Fields,
    handles: usize,
    follows: Vec<u64>,
}

#[derive(Clone, Debug)]
struct Heard {
    level: Level,
    target: &'static str,
    line: Option<u32>,
    fields: Fields,
    parent: Option<u64>,
}

impl Heard {
    fn text(&self) -> &str {
        self.fields.get("message")
    }
}

/// Keeps what it is told.
#[derive(Default)]
struct Notes {
    spans: Mutex<BTreeMap<u64, Span>>,
    heard: Mutex<Vec<Heard>>,
    next: AtomicU64,
    is_slow: AtomicBool,
}

/// A subscriber for [`Level::INFO`].
#[derive(Clone, Default)]
struct Collector(Arc<Notes>);

thread_local! {
    static ENTERED: std::cell::RefCell<Vec<u64>> = const { std::cell::RefCell::new(Vec::new()) };
}

impl Collector {
    fn parent(explicit: Option<&Id>, is_root: bool) -> Option<u64> {
        match explicit {
            Some(id) => Some(id.into_u64()),
            None if is_root => None,
            None => ENTERED.with_borrow(|entered| entered.last().copied()),
        }
    }

    fn heard(&self, text: &str) -> Vec<Heard> {
        self.0.heard.lock().unwrap().iter().filter(|heard| heard.text() == text).cloned().collect()
    }

    fn waits_for(&self, text: &str, times: usize) {
        assert!(eventually(SOON, || self.heard(text).len() == times), "{text}: {}", self.heard(text).len());
    }

    /// The spans around an event, from the inside.
    fn around(&self, heard: &Heard) -> Vec<Span> {
        let spans = self.0.spans.lock().unwrap();
        let first = heard.parent.map(|id| spans[&id].clone());
        std::iter::successors(first, |span| span.parent.map(|id| spans[&id].clone())).collect()
    }

    fn open(&self) -> Vec<Span> {
        self.0.spans.lock().unwrap().values().filter(|span| span.handles > 0).cloned().collect()
    }
}

impl Subscriber for Collector {
    fn enabled(&self, meta: &Metadata<'_>) -> bool {
        *meta.level() <= Level::INFO
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::INFO)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let parent = Collector::parent(attributes.parent(), attributes.is_root());
        let (meta, id) = (attributes.metadata(), self.0.next.fetch_add(1, Relaxed) + 1);
        let mut spans = self.0.spans.lock().unwrap();
        // As those of `tracing_subscriber` do.
        let name = meta.name();
        assert!(parent.is_none_or(|parent| spans[&parent].handles > 0), "{name} is part of a span that is over");
        spans.insert(id, Span { name, meta, parent, fields, handles: 1, follows: Vec::new() });
        Id::from_u64(id)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        values.record(&mut self.0.spans.lock().unwrap().get_mut(&id.into_u64()).unwrap().fields);
    }

    fn record_follows_from(&self, id: &Id, before: &Id) {
        self.0.spans.lock().unwrap().get_mut(&id.into_u64()).unwrap().follows.push(before.into_u64());
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let parent = Collector::parent(event.parent(), event.is_root());
        let meta = event.metadata();
        let heard = Heard { level: *meta.level(), target: meta.target(), line: meta.line(), fields, parent };
        self.0.heard.lock().unwrap().push(heard);
        if self.0.is_slow.load(Relaxed) {
            // Callbacks of other tests wait for it as well.
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn enter(&self, id: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(id.into_u64()));
    }

    fn exit(&self, _: &Id) {
        ENTERED.with_borrow_mut(|entered| _ = entered.pop());
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.0.spans.lock().unwrap().get_mut(&id.into_u64()).unwrap().handles += 1;
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let mut spans = self.0.spans.lock().unwrap();
        let span = spans.get_mut(&id.into_u64()).unwrap();
        span.handles = span.handles.checked_sub(1).expect("a span that is closed twice");
        span.handles == 0
    }

    fn current_span(&self) -> Current {
        let id = ENTERED.with_borrow(|entered| entered.last().copied());
        let meta = |id: &u64| self.0.spans.lock().unwrap()[id].meta;
        id.map_or_else(Current::none, |id| Current::new(Id::from_u64(id), meta(&id)))
    }
}

/// Nobody else has anything to say while one test says too much, which is lost then whoever has said it.
static FLOOD: RwLock<()> = RwLock::new(());

fn no_flood() -> RwLockReadGuard<'static, ()> {
    FLOOD.read().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a test with a subscriber of its own.
fn with_collector<R>(test: impl FnOnce(&Collector) -> R) -> R {
    let _no_flood = no_flood();
    let collector = Collector::default();
    with_default(collector.clone(), || test(&collector))
}

fn work(x: u64) -> u64 {
    let span = tracing::info_span!("load", file = "a.txt", size = tracing::field::Empty);
    span.record("size", 7);
    let _entered = span.enter();
    let error = std::io::Error::other("broken");
    let error: &(dyn std::error::Error + 'static) = &error;
    tracing::info!(target: "work", x, minus = -1, ratio = 0.5, big = u128::MAX, ok = true, word = "w", error, "task {x}");
    tracing::debug!("not wanted");
    if x == 3 {
        tracing::error!("about to die");
        std::process::abort();
    }
    x
}

#[test]
fn events_of_tasks_come_with_what_they_belong_to() {
    if on_nodes("an event may come when its call has ended, and is then no part of that call's span") {
        return;
    }
    on_each_link(180, |builder| {
        with_collector(|collector| {
            let pool = builder().processes(2).name("crew").build().unwrap();
            let request = tracing::info_span!("request", id = 7);
            let results = request.in_scope(|| pool.tasks(work, 1..=4).chunksize(2).each());
            assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1);
            for x in 1..=4 {
                let text = format!("task {x}");
                collector.waits_for(&text, 1);
                let heard = &collector.heard(&text)[0];
                assert_eq!((heard.level, heard.target, heard.line.is_some()), (Level::INFO, "work", true));
                let names = ["x", "minus", "ratio", "big", "ok", "word", "error"];
                let big = u128::MAX.to_string();
                let values = [x.to_string().leak(), "-1", "0.5", &big, "true", "text w", "error broken"];
                assert_eq!(names.map(|name| heard.fields.get(name).to_owned()), values.map(str::to_owned));
                let around = collector.around(heard);
                assert_eq!(around.iter().map(|span| span.name).collect::<Vec<_>>(), ["load", "task", "request"]);
                assert_eq!((around[0].fields.get("file"), around[0].fields.get("size")), ("text a.txt", "7"));
                let task = &around[1].fields;
                assert!(task.get("function").ends_with("tracing_events::work"), "{task:?}");
                assert_eq!((task.get("index"), task.get("attempt")), ((x - 1).to_string().as_str(), "1"));
                assert!(task.get("worker").starts_with("text crew-"), "{task:?}");
                assert!(task.get("pid").parse::<u32>().unwrap() > 1);
                assert_eq!(around[2].fields.get("id"), "7");
            }
            collector.waits_for("about to die", 1);
            assert!(collector.heard("not wanted").is_empty());
            drop(request);
            // Also those of the worker that has died.
            assert!(eventually(SOON, || collector.open().is_empty()), "{:?}", collector.open());
        });
    });
}

#[test]
fn a_worker_that_is_killed_has_sent_what_it_has_said() {
    with_collector(|collector| {
        let _watchdog = watchdog(60);
        let pool = Pool::new(1).unwrap();
        let say = || {
            // As many as there is room for, whether or not anybody reads meanwhile.
            (0..50).for_each(|x| tracing::info!(x, "before the end"));
            assert!(kill(std::process::id() as i32));
        };
        let error = pool.apply(say, ()).unwrap_err();
        assert!(error.task().unwrap().is_worker_lost(), "{error}");
        collector.waits_for("before the end", 50);
    });
}

#[test]
fn a_fork_of_a_worker_is_not_heard() {
    with_collector(|collector| {
        let _watchdog = watchdog(60);
        let pool = Pool::new(1).unwrap();
        let forks = || {
            let span = tracing::info_span!("around", size = tracing::field::Empty);
            let _entered = span.clone().entered();
            let said = in_fork(false, || {
                tracing::info_span!("of the fork").in_scope(|| tracing::info!("from the fork"));
                span.record("size", 7);
                drop(span);
                0
            });
            tracing::info!("from the worker");
            said
        };
        assert_eq!(pool.apply(forks, ()).unwrap(), 0);
        collector.waits_for("from the worker", 1);
        let around = collector.around(&collector.heard("from the worker")[0]);
        assert_eq!(around.iter().map(|span| span.name).collect::<Vec<_>>(), ["around", "task"]);
        assert_eq!(around[0].fields.get("size"), "");
        assert!(collector.heard("from the fork").is_empty());
    });
}

#[test]
fn a_task_that_says_too_much_does_not_wait() {
    let _flood = FLOOD.write().unwrap_or_else(PoisonError::into_inner);
    let _watchdog = watchdog(120);
    let collector = Collector::default();
    collector.0.is_slow.store(true, Relaxed);
    with_default(collector.clone(), || {
        let pool = Pool::new(2).unwrap();
        let flood = |_: u32| {
            (0..20_000).for_each(|x| tracing::info_span!("part", x).in_scope(|| tracing::info!("{}", "-".repeat(100))))
        };
        pool.tasks(flood, 0..2).run().unwrap();
        // If they had waited for the subscriber, nothing would have been dropped.
        let has_lost = |heard: &Heard| heard.target == "multiproc" && heard.text().contains("were dropped");
        assert!(eventually(SOON, || collector.0.heard.lock().unwrap().iter().any(has_lost)));
        collector.0.is_slow.store(false, Relaxed);
        // One that is too long for a message is cut.
        let is_cut = |heard: &Heard| (10_000..1 << 20).contains(&heard.text().len());
        assert!(eventually(SOON, || {
            pool.apply(|| tracing::info!("{}", "x".repeat(1 << 20)), ()).unwrap();
            collector.0.heard.lock().unwrap().iter().any(is_cut)
        }));
        assert!(eventually(SOON, || collector.open().is_empty()), "{:?}", collector.open().len());
    });
}

#[test]
fn a_span_that_is_lost_changes_no_other() {
    if !alone("tracing_events::a_span_that_is_lost_changes_no_other") {
        return;
    }
    with_collector(|collector| {
        let _watchdog = watchdog(120);
        collector.0.is_slow.store(true, Relaxed);
        let pool = Pool::new(2).unwrap();
        let flood = |_: u32| {
            for _ in 0..10_000 {
                let span = tracing::info_span!("part", size = tracing::field::Empty);
                span.in_scope(|| tracing::info!("said"));
                span.record("size", 7);
            }
        };
        pool.tasks(flood, 0..2).run().unwrap();
        collector.0.is_slow.store(false, Relaxed);
        assert!(eventually(SOON, || collector.open().is_empty()), "{:?}", collector.open().len());
        let spans = collector.0.spans.lock().unwrap();
        let functions: Vec<_> = spans.values().filter_map(|span| span.fields.0.get("function")).collect();
        assert!(functions.len() == 2 && functions.iter().all(|it| it.contains("a_span_that_is_lost")), "{functions:?}");
    });
}

#[test]
fn what_was_said_is_heard_when_the_pool_is_over() {
    // Others keep the thread busy where callbacks run, for which a pool does not wait long.
    if !alone("tracing_events::what_was_said_is_heard_when_the_pool_is_over") {
        return;
    }
    with_collector(|collector| {
        let _watchdog = watchdog(60);
        // So that some of it waits when the call has its result.
        collector.0.is_slow.store(true, Relaxed);
        let pool = Pool::new(1).unwrap();
        pool.apply(|| (0..100).for_each(|x| tracing::info!(x, "one of many")), ()).unwrap();
        drop(pool);
        assert_eq!(collector.heard("one of many").len(), 100);
    });
}

#[test]
fn what_belongs_to_no_task_names_its_worker() {
    if !alone("tracing_events::what_belongs_to_no_task_names_its_worker") {
        return;
    }
    let _watchdog = watchdog(60);
    // Such an event is for the subscriber of the program.
    static GLOBAL: std::sync::LazyLock<Collector> = std::sync::LazyLock::new(Collector::default);
    tracing::dispatcher::set_global_default(Dispatch::new(GLOBAL.clone())).unwrap();
    let pool = Pool::builder().processes(1).name("alone").build().unwrap();
    let say = || {
        std::thread::spawn(|| tracing::warn!("from a thread")).join().unwrap();
        tracing::info!(parent: None, "of nothing");
    };
    pool.apply(say, ()).unwrap();
    GLOBAL.waits_for("from a thread", 1);
    let around = GLOBAL.around(&GLOBAL.heard("from a thread")[0]);
    assert_eq!((around.len(), around[0].name, around[0].fields.get("worker")), (1, "worker", "text alone-1"));
    GLOBAL.waits_for("of nothing", 1);
    assert!(GLOBAL.around(&GLOBAL.heard("of nothing")[0]).is_empty());
    drop(pool);
    let is_of_pool = |span: &Span| span.fields.get("worker") == "text alone-1";
    assert!(eventually(SOON, || !GLOBAL.open().iter().any(is_of_pool)));
}

#[test]
fn a_span_may_be_handed_to_threads_and_nested_pools() {
    fn inner(x: u32) -> u32 {
        tracing::info!("inside");
        x
    }
    fn outer(x: u32) -> u32 {
        let span = tracing::Span::current();
        let other = tracing::info_span!("other");
        other.follows_from(&span);
        std::thread::spawn(move || other.in_scope(|| tracing::info!("beside"))).join().unwrap();
        tracing::info_span!("within").in_scope(|| Pool::new(1).unwrap().map(inner, [x]).unwrap()[0])
    }
    with_collector(|collector| {
        let _watchdog = watchdog(60);
        let pool = Pool::new(1).unwrap();
        assert_eq!(pool.map(outer, [1]).unwrap(), [1]);
        collector.waits_for("beside", 1);
        let around = collector.around(&collector.heard("beside")[0]);
        assert_eq!(around.iter().map(|span| span.name).collect::<Vec<_>>(), ["other", "task"]);
        assert_eq!(around[0].follows, [around[0].parent.unwrap()]);
        collector.waits_for("inside", 1);
        let around = collector.around(&collector.heard("inside")[0]);
        assert_eq!(around.iter().map(|span| span.name).collect::<Vec<_>>(), ["task", "within", "task"]);
        assert!(around[0].fields.get("function").ends_with("inner"));
    });
}

#[test]
fn a_worker_may_have_a_subscriber_of_its_own() {
    with_collector(|collector| {
        let _watchdog = watchdog(60);
        let other = || tracing::subscriber::set_global_default(Collector::default()).unwrap();
        let pool = Pool::builder().processes(1).initializer(other, ()).build().unwrap();
        pool.apply(|| tracing::info!("kept"), ()).unwrap();
        let plain = Pool::new(1).unwrap();
        plain.apply(|| tracing::info!("sent"), ()).unwrap();
        collector.waits_for("sent", 1);
        assert!(collector.heard("kept").is_empty());
    });
}

#[test]
fn each_call_speaks_to_the_subscriber_where_it_was_made() {
    let (_no_flood, _watchdog) = (no_flood(), watchdog(60));
    // Both share the workers.
    let [one, two] = [Collector::default(), Collector::default()];
    let pool = with_default(one.clone(), || Pool::new(1).unwrap());
    let say = |x: u32| tracing::info!("said {x}");
    with_default(one.clone(), || pool.map(say, [1]).unwrap());
    let submitted = with_default(two.clone(), || pool.task(say, (2,)).submit().unwrap());
    submitted.get().unwrap();
    one.waits_for("said 1", 1);
    two.waits_for("said 2", 1);
    assert!(one.heard("said 2").is_empty() && two.heard("said 1").is_empty());
}
