//! Calls that say where, when and after what their tasks run, and tasks that give values while they run.

use crate::Soak;
use crate::later::accepted;
use crate::orders::{Dice, FAIL, HANG, Order, answer_to, is_calm, try_work, work, work_apart};
use crate::tally::May;
use multiproc::{Emit, Pool, Retry, current_task, worker_number};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The answer, and which worker has given it.
fn work_at(order: Order) -> (u64, usize) {
    (work(order), worker_number().unwrap_or(usize::MAX))
}

/// Tasks with keys: each comes home, and in a calm those of one key from one worker.
pub(crate) fn keyed(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    let orders = dice.orders(2_000);
    let keys = 1 + dice.throw(20);
    soak.tally.submit(orders.len());
    let calm = is_calm();
    let call = pool.tasks(work_at, orders.iter().copied()).keyed(|order| order.1 % keys);
    let call = if dice.chance(2) { call.priority(dice.throw(5) as i8 - 2) } else { call };
    let results = if dice.chance(2) {
        call.each()
    } else {
        // Taken one by one, and all of it.
        let mut results: Vec<_> = call.iter().collect();
        let refused =
            results.first().is_some_and(|it| it.as_ref().is_err_and(|it| it.is_terminated() || it.is_not_running()));
        if refused && results.len() < orders.len() {
            let error = results[0].as_ref().unwrap_err().clone();
            results.resize_with(orders.len(), || Err(error.clone()));
        }
        results
    };
    if results.len() != orders.len() {
        // The stream has ended with its pool: what is missing was cancelled by that.
        let missing = orders.len().saturating_sub(results.len());
        soak.tally.cancelled.fetch_add(missing as u64, Relaxed);
    }
    let mut places: BTreeMap<u64, usize> = BTreeMap::new();
    for (order, result) in orders.iter().zip(&results) {
        soak.tally.check(*order, result.as_ref().map(|(value, _)| *value), May::default());
        if let Ok((_, at)) = result {
            let home = *places.entry(order.1 % keys).or_insert(*at);
            if home != *at && calm && is_calm() {
                soak.tally.wrong(format_args!("a key was at the workers {home} and {at}"));
            }
        }
    }
}

/// A chain of calls, each with the results of two others.
pub(crate) fn after(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    let (a, b) = (dice.orders(4), dice.orders(4));
    let (Some(a), Some(b)) = (a.first().copied(), b.first().copied()) else { return };
    soak.tally.submit(1);
    let start = |order: Order| accepted(soak, 0, pool.apply_async(work_apart, order));
    let both = start(a).zip(start(b));
    let Some(both) = both else {
        soak.tally.errors.fetch_add(1, Relaxed);
        return;
    };
    let sum = |a: u64, b: u64| a.wrapping_add(b);
    let Some(sum) = accepted(soak, 1, pool.task_after(sum, both).submit()) else { return };
    let mut may = May::default();
    if dice.chance(5) {
        if dice.chance(2) {
            drop(sum);
            soak.tally.cancelled.fetch_add(1, Relaxed);
            return;
        }
        may.cancel = sum.cancel();
    }
    match sum.get() {
        Ok(value) => {
            soak.tally.values.fetch_add(1, Relaxed);
            if value != answer_to(a.1).wrapping_add(answer_to(b.1)) {
                soak.tally.wrong(format_args!("a sum of two results is {value}"));
            }
        }
        Err(error) => {
            soak.tally.errors.fetch_add(1, Relaxed);
            soak.tally.check_error(None, &error, may);
        }
    }
}

/// Tasks that give several values each, to a consumer that may have enough before the end.
pub(crate) fn generate(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    let orders = dice.orders(100);
    soak.tally.submit(orders.len());
    let each = 3;
    let give = |order: Order, emit: &Emit<(u64, u64)>| {
        (0..3).try_for_each(|step| emit.send((order.1, work(order) + step))).unwrap_or_default();
    };
    let most = if dice.chance(2) { usize::MAX } else { dice.throw(orders.len() as u64 + 1) as usize };
    let mut steps: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut values, mut failed) = (0, 0u64);
    for result in pool.generate(give, orders.iter().copied()).unordered().take(most) {
        match result {
            Ok((number, value)) => {
                let step = steps.entry(number).or_default();
                // Those of one task in their order; two tasks may have one number, but hardly.
                if value != answer_to(number) + *step % each {
                    soak.tally.wrong(format_args!("the value {step} of a task is {value}"));
                }
                *step += 1;
                values += 1;
            }
            Err(error) => {
                failed += 1;
                soak.tally.check_error(None, &error, May::default());
            }
        }
    }
    let whole = steps.values().map(|steps| steps / each).sum::<u64>();
    let failed = failed.min(orders.len() as u64 - whole);
    soak.tally.values.fetch_add(whole, Relaxed);
    soak.tally.errors.fetch_add(failed, Relaxed);
    let left = orders.len() as u64 - whole - failed;
    soak.tally.cancelled.fetch_add(left, Relaxed);
    if most == usize::MAX && failed == 0 && (left > 0 || values != each * orders.len() as u64) {
        soak.tally.wrong(format_args!("{} tasks have given {values} values", orders.len()));
    }
}

/// Calls of several priorities at once, some of which are run again by a policy.
pub(crate) fn priorities(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    let mut pending = Vec::new();
    for _ in 0..1 + dice.throw(4) {
        let orders = dice.orders(300);
        soak.tally.submit(orders.len());
        let policy = Retry::new(1 + dice.throw(2) as u32).backoff(Duration::from_micros(dice.throw(2_000)));
        let policy = policy.only(|error| error.is_worker_lost() || error.is_error());
        let call = pool.tasks(try_work, orders.clone()).fallible().priority(dice.throw(11) as i8 - 5).retry(policy);
        pending.extend(accepted(soak, orders.len(), call.submit()).map(|result| (orders, result)));
    }
    for (orders, result) in pending {
        soak.tally.check_all(&orders, result.get(), May::default());
    }
}

/// Tasks that end when they are told.
pub(crate) fn soft_timeout(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    let mut orders = dice.orders(20);
    for order in orders.iter_mut().filter(|order| order.0 < FAIL) {
        if dice.chance(5) {
            order.0 = HANG;
        }
    }
    soak.tally.submit(orders.len());
    let until_told = |(deed, number): Order| {
        if deed == HANG {
            current_task().iter().for_each(|task| task.cancelled());
            return work((0, number));
        }
        work((deed, number))
    };
    let limit = Duration::from_millis(1 + dice.throw(20));
    let results = pool.tasks(until_told, orders.iter().copied()).soft_timeout(limit).each();
    for ((deed, number), result) in orders.iter().zip(&results) {
        let deed = if *deed == HANG { 0 } else { *deed };
        soak.tally.check((deed, *number), result.as_ref().copied(), May::default());
    }
}

/// Once in every worker, whoever dies, comes or goes.
pub(crate) fn on_each_worker(soak: &Soak, pool: &Pool, _: &mut Dice) {
    soak.tally.submit(1);
    match pool.on_each_worker(worker_number, ()).each() {
        Ok(results) => {
            soak.tally.values.fetch_add(1, Relaxed);
            for (number, result) in results {
                match result {
                    Ok(at) if at == Some(number) => {}
                    Ok(at) => soak.tally.wrong(format_args!("worker {number} says that it is {at:?}")),
                    // Places may go.
                    Err(error) => soak.tally.check_error(None, &error, May { cancel: true, ..May::default() }),
                }
            }
        }
        Err(error) => {
            soak.tally.errors.fetch_add(1, Relaxed);
            if !error.is_terminated() && !error.is_not_running() && error.task().is_none_or(|it| !it.is_terminated()) {
                soak.tally.wrong(error);
            }
        }
    }
}
