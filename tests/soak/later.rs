//! Calls whose results are asked for later.

use crate::orders::{Dice, NAP, Order, work, work_apart};
use crate::tally::May;
use crate::{PATIENCE, Soak};
use multiproc::{AsyncResult, Pool};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

/// Brings the result of a call home in one of several ways.
pub(crate) fn bring_home<T: Send + 'static>(
    soak: &Soak,
    dice: &mut Dice,
    mut result: AsyncResult<T>,
    orders: &[Order],
    values: impl Fn(T) -> Vec<u64>,
) {
    let mut may = May::default();
    match dice.throw(12) {
        0 => {
            drop(result);
            soak.tally.cancelled.fetch_add(orders.len() as u64, Relaxed);
            return;
        }
        1 => {
            result.detach();
            soak.tally.cancelled.fetch_add(orders.len() as u64, Relaxed);
            return;
        }
        2 => may.cancel = result.cancel(),
        3 => {
            std::thread::sleep(Duration::from_micros(dice.throw(500)));
            result.kill();
            may.cancel = true;
        }
        4 => {
            result.wait();
            if !result.ready() || result.successful().is_none() {
                soak.tally.wrong("a result that was waited for is not ready");
            }
        }
        5 => {
            if let Some(outcome) = result.get_timeout(Duration::from_micros(dice.throw(2_000))) {
                return soak.tally.check_all(orders, outcome.map(values), may);
            }
        }
        _ => {}
    }
    soak.tally.check_all(orders, result.get().map(values), may);
}

/// The handle of a call, unless the pool takes none.
pub(crate) fn accepted<T>(soak: &Soak, tasks: usize, call: multiproc::Result<T>) -> Option<T> {
    match call {
        Ok(handle) => Some(handle),
        Err(error) => {
            soak.tally.errors.fetch_add(tasks as u64, Relaxed);
            if !error.is_terminated() && !error.is_not_running() {
                soak.tally.wrong(error);
            }
            None
        }
    }
}

pub(crate) fn apply_async(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    let mut pending = Vec::new();
    for (deed, number) in dice.orders(60) {
        soak.tally.submit(1);
        let call = pool.apply_async(work_apart, (deed, number));
        pending.extend(accepted(soak, 1, call).map(|result| ((deed, number), result)));
    }
    while !pending.is_empty() {
        let (order, result) = pending.swap_remove(dice.throw(pending.len() as u64) as usize);
        bring_home(soak, dice, result, &[order], |value| vec![value]);
    }
}

pub(crate) fn map_async(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    let orders = dice.orders(10_000);
    soak.tally.submit(orders.len());
    let Some(result) = accepted(soak, orders.len(), pool.map_async(work, orders.iter().copied())) else { return };
    if dice.chance(2) {
        return bring_home(soak, dice, result, &orders, |values| values);
    }
    let (tell, told) = mpsc::channel();
    let tell_error = tell.clone();
    let result = result.callback(move |_| tell.send(true).unwrap_or_default());
    let result = result.error_callback(move |_| tell_error.send(false).unwrap_or_default());
    let called = told.recv_timeout(PATIENCE);
    let outcome = result.get();
    if called != Ok(outcome.is_ok()) {
        soak.tally.wrong(format_args!("the callback says {called:?}, and the result {outcome:?}"));
    }
    soak.tally.check_all(&orders, outcome, May::default());
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

pub(crate) fn future(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    let orders = dice.orders(500);
    soak.tally.submit(orders.len() + 1);
    let many = accepted(soak, orders.len(), pool.map_async(work, orders.iter().copied()));
    let one = accepted(soak, 1, pool.apply_async(work_apart, (NAP, 5)));
    block_on(async {
        if let Some(one) = one {
            soak.tally.check_all(&[(NAP, 5)], one.await.map(|value| vec![value]), May::default());
        }
        if let Some(many) = many {
            soak.tally.check_all(&orders, many.await, May::default());
        }
    });
}
