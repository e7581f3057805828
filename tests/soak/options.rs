//! Calls with options, and pools with options.

use crate::later::{accepted, bring_home};
use crate::orders::{Dice, HANG, Order, is_calm, work};
use crate::tally::May;
use crate::{PATIENCE, Soak};
use multiproc::{LinkKind, Pool};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

pub(crate) fn timeout(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    let mut orders = dice.orders(30);
    for order in &mut orders {
        if dice.chance(15) && !is_calm() {
            order.0 = HANG;
        }
    }
    soak.tally.submit(orders.len());
    let limit = Duration::from_millis(5 + dice.throw(50));
    let results = pool.tasks(work, orders.iter().copied()).timeout(limit).each();
    for (order, result) in orders.iter().zip(&results) {
        soak.tally.check(*order, result.as_ref().copied(), May { time_out: true, ..May::default() });
    }
}

pub(crate) fn retries(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    let orders = dice.orders(1_000);
    soak.tally.submit(orders.len());
    let call = pool.tasks(work, orders.iter().copied()).retries(1 + dice.throw(3) as u32);
    let results = call.fail_fast(dice.chance(4)).each();
    for (order, result) in orders.iter().zip(&results) {
        soak.tally.check(*order, result.as_ref().copied(), May { cancel: true, ..May::default() });
    }
}

/// In a pool whose workers keep a count, and are made again after each panic.
pub(crate) fn state(soak: &Soak, _pool: &Pool, dice: &mut Dice) {
    let orders = dice.orders(1_000);
    soak.tally.submit(orders.len());
    soak.tally.pools.fetch_add(1, Relaxed);
    let built = Pool::builder().processes(1 + dice.throw(3) as usize).state(|| 0u64, ()).finalizer(|| (), ()).build();
    let own = match built {
        Ok(own) => own,
        Err(error) => return soak.tally.wrong(format_args!("a pool with state could not be made: {error}")),
    };
    let count = |count: &mut u64, order: Order| {
        *count += 1;
        if *count == 0 { 0 } else { work(order) }
    };
    let results = own.on_state().tasks(count, orders.iter().copied()).each();
    for (order, result) in orders.iter().zip(&results) {
        soak.tally.check(*order, result.as_ref().copied(), May::default());
    }
    if dice.chance(2) {
        own.close();
        if own.join_timeout(PATIENCE).is_none_or(|end| end.is_err()) {
            soak.tally.wrong("a closed pool with a finalizer does not end");
        }
    }
}

/// Looks at the statistics in between, and listens to the progress.
pub(crate) fn insight(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    let orders = dice.orders(5_000);
    soak.tally.submit(orders.len());
    let done = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&done);
    let call = pool.tasks(work, orders.iter().copied());
    let call = call.progress(move |progress| told.store(progress.done, Relaxed));
    let before = pool.stats();
    let outcome = call.run();
    let after = pool.stats();
    if outcome.is_ok() && done.load(Relaxed) != orders.len() as u64 {
        soak.tally.wrong(format_args!("the last report of {} tasks says {done:?}", orders.len()));
    }
    if after.tasks < before.tasks || outcome.is_ok() && after.tasks < before.tasks + orders.len() as u64 {
        soak.tally.wrong(format_args!("{} tasks became {}", before.tasks, after.tasks));
    }
    soak.tally.check_call(&orders, outcome, May::default());
}

/// A pool of this thread's, which ends while calls are under way; also one inside of a worker.
pub(crate) fn own_pool(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    let orders = dice.orders(2_000);
    soak.tally.submit(orders.len());
    if dice.chance(4) {
        let inner = |orders: Vec<Order>| {
            let pool = Pool::new(1).unwrap();
            let answers = pool.map_each(work, orders);
            answers.into_iter().map(Result::ok).collect::<Vec<_>>()
        };
        match pool.apply(inner, (orders.clone(),)) {
            Ok(answers) if answers.len() == orders.len() => {
                soak.tally.values.fetch_add(orders.len() as u64, Relaxed);
            }
            Ok(answers) => soak.tally.wrong(format_args!("{} of {} answers", answers.len(), orders.len())),
            Err(error) => {
                soak.tally.check_call(&orders, Err(error), May::default());
            }
        }
        return;
    }
    let own = new_pool(soak, dice);
    let Some(result) = accepted(soak, orders.len(), own.map_async(work, orders.iter().copied())) else { return };
    match dice.throw(3) {
        0 => drop(own),
        1 => own.terminate(),
        _ => {
            own.close();
            if own.join_timeout(PATIENCE).is_none_or(|end| end.is_err()) {
                soak.tally.wrong("a closed pool does not end");
            }
        }
    }
    bring_home(soak, dice, result, &orders, |values| values);
}

pub(crate) fn new_pool(soak: &Soak, dice: &mut Dice) -> Pool {
    soak.tally.pools.fetch_add(1, Relaxed);
    let mut builder = Pool::builder().processes(1 + dice.throw(4) as usize).grace(Duration::from_millis(200));
    if dice.chance(5) {
        builder = builder.link(LinkKind::Channel);
    }
    if dice.chance(4) {
        builder = builder.max_tasks_per_child(500 + dice.throw(5_000) as usize);
    }
    if dice.chance(4) {
        builder = builder.initializer(|number: u64| assert_eq!(number, 1), (1,));
    }
    if dice.chance(5) {
        builder = builder.idle_timeout(Duration::from_millis(1 + dice.throw(50)));
    }
    if dice.chance(5) {
        builder = builder.max_memory_per_child(4 << 20);
    }
    if dice.chance(6) {
        builder = builder.on_output(|_| ());
    }
    if dice.chance(6) {
        builder = builder.trace_to("/dev/null");
    }
    match builder.build() {
        Ok(pool) => pool,
        Err(error) => {
            eprintln!("soak: a pool could not be made: {error}");
            std::process::exit(1);
        }
    }
}
