//! Results one by one.

use crate::Soak;
use crate::orders::{ANSWER, Dice, Order, work_at_length};
use crate::tally::May;
use multiproc::Pool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

pub(crate) fn imap(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    stream(soak, pool, dice, true);
}

pub(crate) fn imap_unordered(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    stream(soak, pool, dice, false);
}

/// A stream, to its end or not, from an input that may be endless.
fn stream(soak: &Soak, pool: &Pool, dice: &mut Dice, ordered: bool) {
    let orders = dice.orders(5_000);
    let endless = !orders.is_empty() && dice.chance(3);
    let most = if dice.chance(2) || endless { dice.throw(orders.len() as u64 + 1) as usize } else { usize::MAX };
    let slow = orders.len() < 500 && dice.chance(3);
    let buffersize = dice.chance(3).then(|| 1 + dice.throw(50) as usize);
    soak.tally.submit(0);
    let mut pulled = 0;
    let source: Box<dyn Iterator<Item = &Order>> =
        if endless { Box::new(orders.iter().cycle()) } else { Box::new(orders.iter()) };
    let items = source.inspect(|_| pulled += 1).map(|order| (*order, order.1));
    // The number comes back with the answer: an unordered stream does not tell otherwise whose it is.
    let (mut taken, mut refused) = (0, 0);
    let echo = |((deed, number), _): (Order, u64)| (number, work_at_length((deed, number)));
    let mut call = pool.tasks(echo, items);
    if let Some(n) = buffersize {
        call = call.buffersize(n);
    }
    let mut results = if ordered { call.iter() } else { call.unordered() };
    while taken < most {
        let next = match dice.chance(50) {
            true => match results.next_timeout(Duration::from_micros(100)) {
                Poll::Ready(next) => next,
                Poll::Pending => continue,
            },
            false => results.next(),
        };
        match next {
            None => break,
            Some(Ok((number, text))) => {
                let order = if ordered { orders[taken % orders.len()] } else { (ANSWER, number) };
                soak.tally.check(order, Ok(text.trim().parse().unwrap_or_default()), May::default());
            }
            Some(Err(error)) => {
                soak.tally.errors.fetch_add(1, Relaxed);
                soak.tally.check_error(None, &error, May::default());
                // A pool that takes no calls says so once, and reads nothing.
                refused += usize::from(error.is_not_running() || error.is_terminated());
            }
        }
        taken += 1;
        if slow {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    let ended = taken < most;
    drop(results);
    let refused_all = pulled == 0 && taken == 1 && refused == 1;
    soak.tally.submitted.fetch_add(pulled.max(taken) as u64, Relaxed);
    // In a pool that has ended, the item behind those that were pulled may have said so, too.
    let most_taken = pulled + refused.min(1);
    if !refused_all && (taken > most_taken || ended && taken < pulled) {
        soak.tally.wrong(format_args!("a stream has {taken} results of {pulled} tasks"));
    }
    soak.tally.cancelled.fetch_add(pulled.saturating_sub(taken) as u64, Relaxed);
}
