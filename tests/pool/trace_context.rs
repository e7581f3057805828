//! The trace that a call belongs to, as its tasks see it.

use super::common::links::{on_each_link, on_processes_and_threads};
use super::common::watchdog::watchdog;
use multiproc::{Pool, current_task};
use std::cell::RefCell;

fn span(number: u64) -> String {
    format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{:016x}-01", number + 1)
}

/// What a task sees.
fn look() -> Option<String> {
    current_task().unwrap().traceparent().map(str::to_owned)
}

#[test]
fn each_call_has_its_own_whoever_runs_beside_it() {
    on_processes_and_threads(2, 60, |pool| {
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                scope.spawn(move || {
                    for round in 0..20 {
                        let own = (thread > 0).then(|| span(100 * thread + round));
                        let call = pool.tasks(|_: u32| look(), 0..50);
                        let call = if let Some(own) = &own { call.traceparent(own) } else { call };
                        let seen = match round % 3 {
                            0 => call.run().unwrap(),
                            1 => call.submit().unwrap().get().unwrap(),
                            _ => call.iter().map(Result::unwrap).collect(),
                        };
                        assert_eq!(seen, vec![own; 50]);
                    }
                });
            }
        });
        // Another thread of the task, with a context, and in a task that is run again.
        let thread = |add: &u32, _: u32| {
            let task = current_task().unwrap();
            assert!(task.attempt() > 1, "not yet");
            std::thread::spawn(move || task.traceparent().map(str::len)).join().unwrap().unwrap() as u32 + add
        };
        let call = pool.with(&1u32).tasks(thread, [1, 2]).retries(1).traceparent(&span(1));
        assert_eq!(call.run().unwrap(), [56, 56]);
        assert_eq!(pool.apply(look, ()).unwrap(), None);
    });
}

#[test]
fn a_pool_asks_on_the_thread_that_calls() {
    thread_local! {
        static SPAN: RefCell<Option<String>> = const { RefCell::new(None) };
    }
    on_each_link(60, |builder| {
        let pool = builder().processes(2).traceparent(|| SPAN.with_borrow(Clone::clone)).build().unwrap();
        let ask = |_: u32| look();
        SPAN.set(Some(span(7)));
        let other = std::thread::scope(|scope| scope.spawn(|| pool.apply(look, ()).unwrap()).join().unwrap());
        assert_eq!((pool.map(ask, [1, 2]).unwrap(), other), (vec![Some(span(7)); 2], None));
        // What the call says itself comes first; calls of all kinds have it.
        assert_eq!(pool.task(look, ()).traceparent(&span(8)).run().unwrap(), Some(span(8)));
        let each = pool.on_each_worker(look, ()).run().unwrap();
        assert!(each.iter().all(|(_, seen)| *seen == Some(span(7))), "{each:?}");
        let first = pool.apply_async(look, ()).unwrap();
        let after = pool.task_after(|first: Option<String>| (first, look()), first).submit().unwrap();
        SPAN.set(None);
        assert_eq!(after.get().unwrap(), (Some(span(7)), Some(span(7))));
        assert_eq!(pool.map(ask, [1]).unwrap(), [None]);
        // What is none is refused, and nothing is run.
        SPAN.set(Some("nonsense".to_owned()));
        assert!(pool.map(ask, [1]).unwrap_err().is_invalid_argument());
        SPAN.set(None);
    });
}

#[test]
fn a_call_within_a_task_on_the_same_thread_has_its_own() {
    let _watchdog = watchdog(60);
    let pool = Pool::builder().inline().build().unwrap();
    let nested = || {
        let inner = Pool::builder().inline().build().unwrap();
        let within = inner.apply(look, ()).unwrap();
        (look(), within, inner.task(look, ()).traceparent(&span(2)).run().unwrap(), look())
    };
    let seen = pool.task(nested, ()).traceparent(&span(1)).run().unwrap();
    assert_eq!(seen, (Some(span(1)), None, Some(span(2)), Some(span(1))));
}
