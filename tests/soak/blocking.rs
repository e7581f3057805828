//! Calls that block.

use crate::Soak;
use crate::orders::{Dice, Order, try_work, work, work_apart, work_at_length, work_marked};
use crate::tally::May;
use multiproc::{Pool, RawArray};

pub(crate) fn apply(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    for (deed, number) in dice.orders(40) {
        soak.tally.submit(1);
        let outcome = match dice.throw(2) {
            0 => pool.apply(work_apart, (deed, number)),
            _ => pool.task(try_work, ((deed, number),)).fallible().run(),
        };
        soak.tally.check_call(&[(deed, number)], outcome.map(|value| vec![value]), May::default());
    }
}

pub(crate) fn map(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    let orders = dice.orders(10_000);
    soak.tally.submit(orders.len());
    let fail_fast = dice.chance(4);
    let chunksize = dice.chance(3).then(|| 1 + dice.throw(100) as usize);
    let may = May { cancel: fail_fast, ..May::default() };
    let outcome = match dice.throw(3) {
        0 => {
            let call = pool.tasks(work_at_length, orders.iter().copied()).fail_fast(fail_fast);
            chunked(call, chunksize)
                .run()
                .map(|texts| texts.iter().map(|text| text.trim().parse().unwrap_or_default()).collect())
        }
        1 => chunked(pool.ref_tasks(|order: &Order| work(*order), &orders).fail_fast(fail_fast), chunksize).run(),
        _ => chunked(pool.tasks(work, orders.iter().copied()).fail_fast(fail_fast), chunksize).run(),
    };
    soak.tally.check_call(&orders, outcome, may);
}

fn chunked<K, I, J>(call: multiproc::Call<'_, K, I, J>, chunksize: Option<usize>) -> multiproc::Call<'_, K, I, J> {
    match chunksize {
        Some(n) => call.chunksize(n),
        None => call,
    }
}

pub(crate) fn map_each(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    let orders = dice.orders(10_000);
    soak.tally.submit(orders.len());
    let fail_fast = dice.chance(4);
    let results = pool.tasks(work, orders.iter().copied()).fail_fast(fail_fast).each();
    if results.len() != orders.len() {
        soak.tally.wrong(format_args!("map_each has {} results of {} tasks", results.len(), orders.len()));
    }
    for (order, result) in orders.iter().zip(&results) {
        soak.tally.check(*order, result.as_ref().copied(), May { cancel: fail_fast, ..May::default() });
    }
}

pub(crate) fn starmap(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    let orders = dice.orders(5_000);
    soak.tally.submit(orders.len());
    let outcome = match dice.throw(2) {
        0 => pool.starmap(work_apart, orders.iter().copied()),
        _ => pool.star_tasks(|deed: u8, number: u64| try_work((deed, number)), orders.iter().copied()).fallible().run(),
    };
    soak.tally.check_call(&orders, outcome, May::default());
}

pub(crate) fn try_map(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    let orders = dice.orders(5_000);
    soak.tally.submit(orders.len());
    soak.tally.check_call(&orders, pool.try_map(try_work, orders.iter().copied()), May::default());
}

/// With a handle to shared memory in the context, which tells whether any task was started twice.
pub(crate) fn with(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    let orders = dice.orders(2_000);
    soak.tally.submit(orders.len());
    let marks = RawArray::<u32>::new(orders.len().max(1));
    let results = pool.with(&marks).tasks(work_marked, (0..).zip(orders.iter().copied())).each();
    for (at, (order, result)) in orders.iter().zip(&results).enumerate() {
        soak.tally.check(*order, result.as_ref().copied(), May::default());
        let started = marks.get(at);
        if started > 1 || result.is_ok() && started != 1 {
            soak.tally.wrong(format_args!("a task was started {started} times, with the outcome {result:?}"));
        }
    }
}
