//! Agents that are told to end by SIGTERM: what runs there is finished, and the rest goes elsewhere.

use crate::common::journal::{self, Journal};
use crate::common::proc::{is_alive, send_signal};
use crate::common::watchdog::watchdog;
use crate::faults::{agents, nodes, wait_until};
use multiproc::PoolBuilder;
use multiproc::cluster::{NodeEvent, NodeEventKind};
use rustix::process::Signal;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What finalizers write.
const FINALIZED: u32 = 7;

/// A pool of two agents that writes a journal, and what has happened to its nodes.
fn watched(journal: &Journal) -> (PoolBuilder, Arc<Mutex<Vec<NodeEvent>>>) {
    let events = Arc::<Mutex<Vec<NodeEvent>>>::default();
    let heard = Arc::clone(&events);
    let builder = nodes("{agent}")
        .initializer(journal::open_in_worker, (journal.path(),))
        .finalizer(|| journal::write(FINALIZED, 0), ())
        .on_node(move |event| heard.lock().unwrap().push(event.clone()));
    (builder, events)
}

/// What has happened, without the start.
fn kinds(events: &Mutex<Vec<NodeEvent>>) -> Vec<NodeEventKind> {
    let events = events.lock().unwrap();
    events.iter().map(NodeEvent::kind).filter(|kind| *kind != NodeEventKind::Joined).collect()
}

#[test]
fn an_agent_that_is_told_to_end_loses_nothing() {
    let _watchdog = watchdog(180);
    for chunk in [1, 10] {
        let journal = Journal::new();
        let (builder, events) = watched(&journal);
        let pool = builder.grace(Duration::from_secs(30)).build().unwrap();
        let (worker, agent) = agents(&pool).into_iter().next().unwrap();
        let results = std::thread::scope(|scope| {
            let work = |x: u64| {
                std::thread::sleep(Duration::from_millis(5));
                journal::write(0, x);
                x
            };
            let pool = &pool;
            let call = scope.spawn(move || pool.tasks(work, 0..300u64).chunksize(chunk).each());
            wait_until("the first tasks are done", || journal.read().len() > 20);
            assert!(send_signal(agent, Signal::TERM));
            call.join().unwrap()
        });
        assert_eq!(results.iter().map(|it| *it.as_ref().unwrap()).collect::<Vec<_>>(), (0..300).collect::<Vec<_>>());
        wait_until("the agent has ended", || !is_alive(agent) && !is_alive(worker as i32));
        let entries = journal.read();
        let finalized: Vec<i32> = entries.iter().filter(|it| it.what == FINALIZED).map(|it| it.pid).collect();
        assert_eq!((finalized, entries.len()), (vec![worker as i32], 301), "something was run twice, or no finalizer");
        wait_until("that was told", || kinds(&events) == [NodeEventKind::Draining, NodeEventKind::Left]);
        assert_eq!(agents(&pool).len(), 1);
    }
}

#[test]
fn what_is_not_finished_in_time_is_lost_alone() {
    let _watchdog = watchdog(180);
    let journal = Journal::new();
    let (builder, events) = watched(&journal);
    let pool = builder.grace(Duration::from_millis(300)).build().unwrap();
    // The parent of the worker that has a task without an end is told to end.
    let work = |x: u64| {
        journal::write(0, x);
        if x == 0 {
            journal::write(1, u64::from(std::os::unix::process::parent_id()));
            std::thread::sleep(Duration::from_secs(3600));
        }
        std::thread::sleep(Duration::from_millis(5));
        x
    };
    let results = std::thread::scope(|scope| {
        let pool = &pool;
        let call = scope.spawn(move || pool.tasks(work, 0..100u64).chunksize(1).each());
        let agent = || journal.read().iter().find(|entry| entry.what == 1).map(|entry| entry.task as i32);
        wait_until("the long task has begun", || agent().is_some());
        assert!(send_signal(agent().unwrap(), Signal::TERM));
        call.join().unwrap()
    });
    let lost: Vec<u64> = (0..).zip(&results).filter(|(_, result)| result.is_err()).map(|(x, _)| x).collect();
    assert_eq!(lost, [0]);
    let error = results[0].as_ref().unwrap_err();
    assert_eq!((error.signal(), error.host().is_some()), (Some(9), true), "{error}");
    assert!(error.to_string().contains("since its node was to end"), "{error}");
    let begun = journal.read().into_iter().filter(|entry| entry.what == 0).count();
    assert_eq!(begun, 100);
    wait_until("that was told", || kinds(&events) == [NodeEventKind::Draining, NodeEventKind::Left]);
}

#[test]
fn an_agent_that_has_nothing_to_do_ends_at_once() {
    let _watchdog = watchdog(180);
    let journal = Journal::new();
    let (builder, events) = watched(&journal);
    let pool = builder.grace(Duration::from_secs(3600)).build().unwrap();
    let both = agents(&pool);
    for agent in both.values() {
        assert!(send_signal(*agent, Signal::TERM));
    }
    wait_until("both have ended", || both.values().all(|agent| !is_alive(*agent)));
    wait_until("that was told", || kinds(&events).iter().filter(|kind| **kind == NodeEventKind::Left).count() == 2);
    assert!(!kinds(&events).contains(&NodeEventKind::Lost), "{events:?}");
    let entries = journal.read();
    assert_eq!(entries.iter().filter(|entry| entry.what == FINALIZED).count(), 2, "{entries:?}");
}
