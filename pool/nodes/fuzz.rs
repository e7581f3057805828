//! Both ends of a stream, and workers that may do anything: each task that was sent there has one outcome, and the right one.
//!
//! The pool's end is a node, its links and the ledger; the agent's is its state. Messages go from one to the other as bytes, a
//! few at a time. A worker does what a ring and a process do, and notes what was run.

use crate::codec;
use crate::error::Exit;
use crate::ipc::control::Reply;
use crate::nodes::fuzz::agent::Agent;
use crate::nodes::fuzz::pool::{Bench, Pool, Waiting};
use crate::nodes::fuzz::sim::CAPACITY;
use crate::nodes::messages::Ended;
use crate::nodes::wire::{Body, Inbox, Kind, Message, Outbox, SEGMENT, Slot, put_number};
use crate::sys::fuzz::{Random, fuzz, within};
use std::collections::BTreeSet;
use std::sync::Arc;

mod agent;
mod pool;
mod sim;

/// Brings up to `most` bytes from one end to the other.
fn carry(outbox: &mut Outbox, inbox: &mut Inbox, most: usize, mut hear: impl FnMut(Message<'_>)) -> bool {
    let mut left = most;
    while left > 0 {
        let ready = outbox.next();
        let room = inbox.room();
        let len = ready.len().min(room.len()).min(left);
        if len == 0 {
            break;
        }
        room[..len].copy_from_slice(&ready[..len]);
        inbox.has_read(len);
        outbox.sent(len);
        left -= len;
        while let Some(message) = inbox.next().expect("a sound stream") {
            hear(message);
        }
    }
    left < most
}

/// Some turns of a pool, its agent and the workers there, in any order.
fn play(bench: &mut Bench, random: &mut Random, lies: bool) {
    let (mut pool, mut agent) = (Pool::new(bench, lies), Agent::default());
    let tasks = Arc::clone(&pool.tasks);
    pool.start();
    for _ in 0..10 + random.below(80) {
        let some = if random.once_in(3) { 1 + random.below(40) } else { 8 * SEGMENT };
        match random.below(12) {
            0..4 => pool.act(random),
            4 | 5 => {
                let mut state = pool.node.state.lock();
                carry(&mut state.outbox, &mut bench.to_agent, some, |it| agent.hear(it, &tasks, lies, random));
            }
            6 => _ = agent.turn(),
            7 => {
                let mut node = pool.node.state.lock();
                carry(&mut agent.state.outbox, &mut bench.to_pool, some, |it| node.hear(it).unwrap());
            }
            8 => {
                (0..pool.places.len()).for_each(|at| _ = pool.collect(at));
                pool.hear();
            }
            9 | 10 => (0..4).for_each(|_| _ = agent.any_sim(random).map(|sim| sim.lock().step())),
            _ if random.once_in(8) => agent.any_sim(random).into_iter().for_each(|sim| sim.lock().is_dead = true),
            _ => {}
        }
    }
    if random.once_in(16) {
        pool.node.lose("the way there is cut");
    }
    // All that was begun comes to its end.
    for round in 0.. {
        assert!(round < 10_000, "it does not come to an end");
        let mut any = carry(&mut pool.node.state.lock().outbox, &mut bench.to_agent, usize::MAX, |message| {
            agent.hear(message, &tasks, lies, random);
        });
        any |= agent.sims.values().any(|sim| sim.lock().step());
        any |= agent.turn();
        let mut node = pool.node.state.lock();
        any |= carry(&mut agent.state.outbox, &mut bench.to_pool, usize::MAX, |message| {
            // Of one that is lost nothing is read.
            if node.lost.is_none() {
                node.hear(message).unwrap();
            }
        });
        drop(node);
        any |= (0..pool.places.len()).fold(false, |any, at| pool.collect(at) | any);
        any |= pool.hear();
        let is_quiet = agent.sims.values().map(|sim| sim.lock()).all(|sim| sim.frames.is_empty() && !sim.is_dead);
        let is_sent = agent.state.workers.values().all(|worker| worker.queue.is_empty());
        if !any && is_quiet && is_sent {
            if !lies || agent.sims.is_empty() {
                break;
            }
            // Some may have said that they had done less than they have.
            agent.sims.values().for_each(|sim| sim.lock().is_dead = true);
        }
    }
    check_outcomes(&pool);
    if pool.node.end().is_none() {
        let headers: BTreeSet<u64> = pool.node.state.lock().contexts.keys().copied().collect();
        let kept: BTreeSet<u64> = agent.state.contexts.keys().copied().collect();
        assert_eq!(headers, kept, "the contexts that the pool takes to be there, and those that are");
    }
    pool.check_books();
}

/// Each task has an outcome, or waits for another worker.
fn check_outcomes(pool: &Pool) {
    let waits: Vec<u64> = pool
        .waiting
        .iter()
        .flat_map(|Waiting { range, .. }| range.index(range.next)..range.index(range.count))
        .collect();
    for (task, it) in (0..).zip(&*pool.tasks.lock()) {
        let times = waits.iter().filter(|waiting| **waiting == task).count();
        assert_eq!(times + usize::from(it.outcome.is_some()), 1, "task {task}: {it:?}");
    }
}

#[test]
fn each_task_that_was_sent_to_a_node_has_the_one_outcome_that_is_true() {
    fuzz(Bench::new, |bench, random| play(bench, random, false));
}

#[test]
fn a_worker_that_lies_costs_no_node() {
    fuzz(Bench::new, |bench, random| play(bench, random, true));
}

/// A message of an agent, as it could be at this moment or nearly so.
fn any_message(random: &mut Random, pool: &Pool) -> (Kind, Slot, Vec<u8>) {
    const KINDS: [Kind; 10] = [
        Kind::Started,
        Kind::Reply,
        Kind::Answer,
        Kind::Answer,
        Kind::Answer,
        Kind::Returned,
        Kind::Watched,
        Kind::Exited,
        Kind::Echo,
        Kind::Line,
    ];
    let kind = if random.once_in(40) { *random.pick(&Kind::ALL) } else { *random.pick(&KINDS) };
    let slot = if random.once_in(40) { random.number() as Slot } else { random.below(CAPACITY) as Slot };
    let open = pool.places.iter().rev().find(|place| place.process.slot == slot).and_then(|it| it.window.front());
    let (seq, next, left) = open.map_or((0, 0, 1), |(seq, range)| (seq, range.next, range.left()));
    let mut numbers = vec![u64::from(random.once_in(4)), seq, next.into(), 1 + random.below(left as usize) as u64, 9];
    let mut bytes = Vec::new();
    match kind {
        Kind::Answer => {}
        Kind::Returned => numbers = vec![seq + u64::from(random.once_in(2))],
        Kind::Reply => {
            numbers.clear();
            let reply = if random.once_in(9) { Reply::Refused(random.text(9)) } else { Reply::Ready };
            bytes = codec::to_bytes(&reply);
        }
        Kind::Exited => {
            numbers.clear();
            let progress = (seq, next, next);
            let ended = Ended { death: Exit::Code(1).into(), progress, condemned: None, output: Some(random.text(9)) };
            bytes = codec::to_bytes(&ended);
        }
        _ => numbers.truncate(random.below(3)),
    }
    if random.once_in(16) {
        for number in &mut numbers {
            *number = if random.once_in(2) { random.number() } else { *number };
        }
    }
    let mut body = Vec::new();
    numbers.iter().for_each(|number| put_number(&mut body, *number));
    if kind == Kind::Answer {
        body.extend((0..8 * random.below(5)).map(|_| 1));
    }
    body.extend_from_slice(&bytes);
    if random.once_in(16) {
        random.spoil(&mut body);
    }
    (kind, slot, body)
}

#[test]
fn a_node_that_lies_costs_nothing_but_itself() {
    fuzz(Bench::new, |bench, random| {
        let mut pool = Pool::new(bench, true);
        pool.start();
        for _ in 0..10 + random.below(40) {
            if random.once_in(3) {
                pool.act(random);
                let len = pool.node.state.lock().outbox.next().len();
                pool.node.state.lock().outbox.sent(len);
                continue;
            }
            let (kind, slot, body) = any_message(random, &pool);
            let message = Message { kind, slot, body: Body::Here(&body) };
            let mut state = pool.node.state.lock();
            let heard = within(16 * body.len() + (8 << 10), &(kind, slot, &body), || state.hear(message));
            drop(state);
            if let Err(cause) = heard {
                pool.node.lose(cause);
                break;
            }
            if random.once_in(2) {
                (0..pool.places.len()).for_each(|at| _ = pool.collect(at));
                pool.hear();
            }
        }
        pool.node.lose("its pool is over");
        (0..pool.places.len()).for_each(|at| _ = pool.collect(at));
        pool.hear();
        // Whatever was said.
        assert!(pool.places.iter().all(|place| place.is_over));
        check_outcomes(&pool);
        pool.check_books();
    });
}
