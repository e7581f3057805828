//! Everything at once, for as long as you like: all kinds of calls from several threads, while workers are killed, tasks
//! panic, hang and crash, calls are cancelled, and pools are dropped and made again. At the end it counts.
//!
//!     cargo run --release --example soak -- --seconds 60
//!     cargo run --release --example soak -- --seconds 60 --seed 7
//!
//! It ends with exit code 1 if a task has no outcome or a wrong one, if anything hangs, if a process, a descriptor or a
//! block of shared memory stays behind, or if memory grows.

use multiproc::{AsyncResult, LinkKind, Pool, RawArray, TaskError, shared_memory_report};
use rustix::process::{Pid, Signal, getpid, kill_process};
use std::fs;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Threads that make calls.
const CALLERS: usize = 5;

/// No call here takes nearly as long; one that does has hung.
const PATIENCE: Duration = Duration::from_secs(30);

/// A storm, in which workers are killed, pools replaced, and tasks do harm, and a calm follow each other, in seconds.
/// The calm is for what a storm hides: the end of a worker wakes the whole pool, also one that slept by mistake.
const STORM: u64 = 15;
const CALM: u64 = 45;

/// Whether there is a calm now.
static IS_CALM: AtomicBool = AtomicBool::new(false);

fn is_calm() -> bool {
    IS_CALM.load(Relaxed)
}

// What a task does, as the first part of its order.
const ANSWER: u8 = 0;
const SPIN: u8 = 1;
const NAP: u8 = 2;
const FAIL: u8 = 3;
const PANIC: u8 = 4;
const CRASH: u8 = 5;
const EXIT: u8 = 6;
const HANG: u8 = 7;

/// A task: what to do, and a number.
type Order = (u8, u64);

fn answer_to(number: u64) -> u64 {
    number.wrapping_mul(31) + 7
}

fn work(order: Order) -> u64 {
    let (deed, number) = order;
    match deed {
        SPIN => {
            let start = Instant::now();
            while start.elapsed() < Duration::from_micros(number % 10) {}
        }
        NAP => std::thread::sleep(Duration::from_micros(100 + number % 1_000)),
        FAIL | PANIC => panic!("task {number} panics"),
        CRASH => drop(kill_process(getpid(), Signal::KILL)),
        EXIT => std::process::exit(3),
        HANG => std::thread::sleep(Duration::from_secs(3_600)),
        _ => {}
    }
    answer_to(number)
}

fn try_work(order: Order) -> Result<u64, String> {
    if order.0 == FAIL { Err(format!("task {} fails", order.1)) } else { Ok(work(order)) }
}

/// Its result is read by code that may take long and run outside of the pool's lock, as that of any `Deserialize`.
fn work_at_length(order: Order) -> String {
    let length = if order.1 % 200 == 0 { 20_000 } else { 10 };
    format!("{:>length$}", work(order))
}

fn work_apart(deed: u8, number: u64) -> u64 {
    work((deed, number))
}

/// Marks that it was started.
fn work_marked(marks: &RawArray<u32>, (at, order): (u32, Order)) -> u64 {
    marks.fetch_add(at as usize, 1);
    work(order)
}

/// What may happen to the tasks of a call, beside what they do themselves and what is done to their workers.
#[derive(Clone, Copy, Default)]
struct May {
    cancel: bool,
    time_out: bool,
}

/// What has happened so far.
#[derive(Default)]
struct Tally {
    calls: AtomicU64,
    submitted: AtomicU64,
    values: AtomicU64,
    errors: AtomicU64,
    cancelled: AtomicU64,
    kills: AtomicU64,
    pools: AtomicU64,
    wrong: AtomicU64,
}

impl Tally {
    fn submit(&self, tasks: usize) {
        self.calls.fetch_add(1, Relaxed);
        self.submitted.fetch_add(tasks as u64, Relaxed);
    }

    fn outcomes(&self) -> u64 {
        self.values.load(Relaxed) + self.errors.load(Relaxed) + self.cancelled.load(Relaxed)
    }

    fn wrong(&self, what: impl std::fmt::Display) {
        if self.wrong.fetch_add(1, Relaxed) < 20 {
            eprintln!("soak: wrong: {what}");
        }
    }

    /// Counts and checks the outcome of one task.
    fn check(&self, (deed, number): Order, outcome: Result<u64, &TaskError>, may: May) {
        match outcome {
            Ok(value) => {
                self.values.fetch_add(1, Relaxed);
                if deed > NAP || value != answer_to(number) {
                    self.wrong(format_args!("task {number}, deed {deed}, has the result {value}"));
                }
            }
            Err(error) => {
                self.errors.fetch_add(1, Relaxed);
                self.check_error(Some(deed), error, may);
            }
        }
    }

    fn check_error(&self, deed: Option<u8>, error: &TaskError, may: May) {
        let does = |which: &[u8]| deed.is_none_or(|deed| which.contains(&deed));
        let by_code = error.exit_code() == Some(3) && does(&[EXIT]);
        // By us, by itself, or since its pool has ended; and not by the library for what it wrote.
        let by_signal = matches!(error.signal(), Some(9 | 15)) && !error.to_string().contains("garbage");
        let fine = error.is_worker_lost() && (by_code || by_signal)
            || error.is_panic() && does(&[FAIL, PANIC])
            || error.is_error() && does(&[FAIL])
            || error.is_timeout() && may.time_out
            || error.is_cancelled() && may.cancel
            || error.is_terminated()
            || error.is_not_running();
        if !fine {
            self.wrong(format_args!("{error} (deed {deed:?})"));
        }
    }

    /// Counts and checks the outcomes of a call that has one result for all its tasks.
    fn check_all(&self, orders: &[Order], outcome: Result<Vec<u64>, TaskError>, may: May) {
        match outcome {
            Ok(values) if values.len() == orders.len() => {
                orders.iter().zip(values).for_each(|(order, value)| self.check(*order, Ok(value), may));
            }
            Ok(values) => self.wrong(format_args!("{} results of {} tasks", values.len(), orders.len())),
            Err(error) => {
                self.errors.fetch_add(orders.len() as u64, Relaxed);
                // Without an index that says whose it is.
                let deed = orders.get(error.index() as usize).map(|order| order.0);
                let refused = error.is_terminated() || error.is_not_running();
                self.check_error(if refused { None } else { deed }, &error, may);
            }
        }
    }

    /// As `check_all`, for calls that block: a pool that takes no calls has an error of its own.
    fn check_call(&self, orders: &[Order], outcome: multiproc::Result<Vec<u64>>, may: May) {
        match outcome {
            Ok(values) => self.check_all(orders, Ok(values), may),
            Err(error) if error.is_terminated() || error.is_not_running() => {
                self.errors.fetch_add(orders.len() as u64, Relaxed);
            }
            Err(error) => match error.task() {
                Some(error) => self.check_all(orders, Err(error.clone()), may),
                None => self.wrong(error),
            },
        }
    }
}

/// Random numbers, the same ones for the same seed.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.throw(one_in) == 0
    }

    /// Orders of a call: how many is uneven, and few do harm.
    fn orders(&mut self, most: u64) -> Vec<Order> {
        let count = match self.throw(4) {
            0 => self.throw(4),
            1 => self.throw(most / 20 + 1),
            _ => self.throw(most),
        };
        let harmful = self.chance(3) && !is_calm();
        let harm_one_in = 100.max(count / 5);
        let kind = self.throw(8);
        let order = |_| {
            let deed = match kind {
                0 => SPIN,
                1 if count < 200 => NAP,
                _ => ANSWER,
            };
            let deed = if harmful && self.chance(harm_one_in) { FAIL + self.throw(4) as u8 } else { deed };
            (deed, self.throw(1 << 40))
        };
        (0..count).map(order).collect()
    }
}

/// One thread that makes calls, as the watchdog sees it.
#[derive(Default)]
struct Post {
    /// What it does, and since when.
    doing: Mutex<Option<(&'static str, Instant)>>,
}

/// What all threads share.
struct Soak {
    tally: Tally,
    /// The pool of the moment.
    pool: Mutex<Arc<Pool>>,
    over: AtomicBool,
    posts: Vec<Post>,
    /// For each kind of call how often it was made, and the longest time in microseconds.
    kinds: [(AtomicU32, AtomicU64); KINDS.len()],
}

type Call = fn(&Soak, &Pool, &mut Dice);

const KINDS: [(&str, Call); 16] = [
    ("apply", apply),
    ("map", map),
    ("map_each", map_each),
    ("starmap", starmap),
    ("try_map", try_map),
    ("with", with),
    ("apply_async", apply_async),
    ("map_async", map_async),
    ("future", future),
    ("imap", imap),
    ("imap_unordered", imap_unordered),
    ("timeout", timeout),
    ("retries", retries),
    ("state", state),
    ("insight", insight),
    ("own pool", own_pool),
];

fn apply(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    for (deed, number) in dice.orders(40) {
        soak.tally.submit(1);
        let outcome = match dice.throw(2) {
            0 => pool.apply(work_apart, (deed, number)),
            _ => pool.task(try_work, ((deed, number),)).fallible().run(),
        };
        soak.tally.check_call(&[(deed, number)], outcome.map(|value| vec![value]), May::default());
    }
}

fn map(soak: &Soak, pool: &Pool, dice: &mut Dice) {
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

fn map_each(soak: &Soak, pool: &Pool, dice: &mut Dice) {
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

fn starmap(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    let orders = dice.orders(5_000);
    soak.tally.submit(orders.len());
    let outcome = match dice.throw(2) {
        0 => pool.starmap(work_apart, orders.iter().copied()),
        _ => pool.star_tasks(|deed: u8, number: u64| try_work((deed, number)), orders.iter().copied()).fallible().run(),
    };
    soak.tally.check_call(&orders, outcome, May::default());
}

fn try_map(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    let orders = dice.orders(5_000);
    soak.tally.submit(orders.len());
    soak.tally.check_call(&orders, pool.try_map(try_work, orders.iter().copied()), May::default());
}

/// With a handle to shared memory in the context, which tells whether any task was started twice.
fn with(soak: &Soak, pool: &Pool, dice: &mut Dice) {
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

/// Brings the result of a call home in one of several ways.
fn bring_home<T: Send + 'static>(
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
fn accepted<T>(soak: &Soak, tasks: usize, call: multiproc::Result<T>) -> Option<T> {
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

fn apply_async(soak: &Soak, pool: &Pool, dice: &mut Dice) {
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

fn map_async(soak: &Soak, pool: &Pool, dice: &mut Dice) {
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

fn future(soak: &Soak, pool: &Pool, dice: &mut Dice) {
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

fn imap(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    stream(soak, pool, dice, true);
}

fn imap_unordered(soak: &Soak, pool: &Pool, dice: &mut Dice) {
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
    if ended && taken != pulled && !refused_all || taken > pulled && !refused_all {
        soak.tally.wrong(format_args!("a stream has {taken} results of {pulled} tasks"));
    }
    soak.tally.cancelled.fetch_add(pulled.saturating_sub(taken) as u64, Relaxed);
}

fn timeout(soak: &Soak, pool: &Pool, dice: &mut Dice) {
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

fn retries(soak: &Soak, pool: &Pool, dice: &mut Dice) {
    let orders = dice.orders(1_000);
    soak.tally.submit(orders.len());
    let call = pool.tasks(work, orders.iter().copied()).retries(1 + dice.throw(3) as u32);
    let results = call.fail_fast(dice.chance(4)).each();
    for (order, result) in orders.iter().zip(&results) {
        soak.tally.check(*order, result.as_ref().copied(), May { cancel: true, ..May::default() });
    }
}

/// In a pool whose workers keep a count, and are made again after each panic.
fn state(soak: &Soak, _pool: &Pool, dice: &mut Dice) {
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
fn insight(soak: &Soak, pool: &Pool, dice: &mut Dice) {
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
fn own_pool(soak: &Soak, pool: &Pool, dice: &mut Dice) {
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

fn new_pool(soak: &Soak, dice: &mut Dice) -> Pool {
    soak.tally.pools.fetch_add(1, Relaxed);
    let mut builder = Pool::builder().processes(1 + dice.throw(4) as usize).grace(Duration::from_millis(200));
    if dice.chance(5) {
        builder = builder.link(LinkKind::Channel);
    }
    if dice.chance(4) {
        builder = builder.max_tasks_per_child(500 + dice.throw(5_000) as usize);
    }
    if dice.chance(4) {
        builder = builder.initializer(|number: u64| number + 1, (1,));
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

/// Makes calls until it is over.
fn call_again_and_again(soak: &Soak, post: &Post, seed: u64) {
    let mut dice = Dice(seed);
    while !soak.over.load(Relaxed) {
        let kind = dice.throw(KINDS.len() as u64) as usize;
        let (name, call) = KINDS[kind];
        let start = Instant::now();
        *post.doing.lock().unwrap() = Some((name, start));
        let pool = Arc::clone(&soak.pool.lock().unwrap());
        call(soak, &pool, &mut dice);
        soak.kinds[kind].1.fetch_max(start.elapsed().as_micros() as u64, Relaxed);
        // The last one ends the pool.
        drop(pool);
        *post.doing.lock().unwrap() = None;
        soak.kinds[kind].0.fetch_add(1, Relaxed);
    }
}

/// Kills workers until it is over.
fn kill_again_and_again(soak: &Soak, seed: u64) {
    let mut dice = Dice(seed);
    while !soak.over.load(Relaxed) {
        std::thread::sleep(Duration::from_millis(2 + dice.throw(40)));
        if is_calm() {
            continue;
        }
        let pool = Arc::clone(&soak.pool.lock().unwrap());
        if dice.chance(10) {
            // A pool that takes no calls cannot be resized.
            let _ = pool.resize(1 + dice.throw(4) as usize);
        }
        let pids = pool.worker_pids();
        if pids.is_empty() {
            continue;
        }
        let pid = pids[dice.throw(pids.len() as u64) as usize];
        let killed = Pid::from_raw(pid).is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok());
        soak.tally.kills.fetch_add(u64::from(killed), Relaxed);
    }
}

/// Puts another pool in the place of the one that all use, until it is over.
fn replace_again_and_again(soak: &Soak, post: &Post, seed: u64) {
    let mut dice = Dice(seed);
    while !soak.over.load(Relaxed) {
        std::thread::sleep(Duration::from_millis(100 + dice.throw(1_000)));
        if is_calm() {
            continue;
        }
        *post.doing.lock().unwrap() = Some(("replace", Instant::now()));
        let new = Arc::new(new_pool(soak, &mut dice));
        let old = std::mem::replace(&mut *soak.pool.lock().unwrap(), new);
        match dice.throw(4) {
            0 => old.terminate(),
            1 => {
                old.close();
                if old.join_timeout(PATIENCE).is_none_or(|end| end.is_err()) {
                    soak.tally.wrong("a closed pool does not end");
                }
            }
            _ => {}
        }
        drop(old);
        *post.doing.lock().unwrap() = None;
    }
}

/// What this process holds: children, descriptors, threads.
fn holdings() -> [usize; 3] {
    let entries = |path: &str| fs::read_dir(path).map_or(0, Iterator::count);
    let own = std::process::id();
    let is_child = |entry: fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()?;
        (parent == own).then_some(())
    };
    let children = fs::read_dir("/proc").map_or(0, |all| all.flatten().filter_map(is_child).count());
    [children, entries("/proc/self/fd"), entries("/proc/self/task")]
}

/// The children and descriptors of this process, for people.
fn list_holdings() {
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)).unwrap_or_default();
        if parent == std::process::id().to_string() {
            eprintln!("soak: a child: {}", stat.chars().take(80).collect::<String>());
        }
    }
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        eprintln!("soak: a descriptor: {:?}", fs::read_link(entry.path()).unwrap_or_default());
    }
}

/// Resident memory of this process in MiB.
fn memory() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / 1024.0
}

/// Lets every part of the library that stays for good come to life.
fn warm_up() {
    for link in [LinkKind::Ring, LinkKind::Channel] {
        let pool = Pool::builder().processes(1).link(link).build().expect("a pool");
        pool.apply_async(work_apart, (ANSWER, 1)).expect("a call").get().expect("an answer");
        pool.with(&RawArray::<u32>::new(1)).tasks(|_: &RawArray<u32>, _: u32| (), [1]).run().expect("an answer");
    }
}

fn argument(name: &str) -> Option<u64> {
    let mut arguments = std::env::args().skip_while(|it| it != name);
    arguments.nth(1).map(|value| {
        value.parse().unwrap_or_else(|_| {
            eprintln!("soak: {name} must be a number, not {value}");
            std::process::exit(1);
        })
    })
}

fn main() {
    let seconds = argument("--seconds").unwrap_or(60);
    let seed = argument("--seed").unwrap_or(42).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    warm_up();
    std::thread::sleep(Duration::from_millis(300));
    let before = holdings();
    let first = Pool::new(2).expect("a pool");
    let soak = Soak {
        tally: Tally::default(),
        pool: Mutex::new(Arc::new(first)),
        over: AtomicBool::new(false),
        posts: (0..=CALLERS).map(|_| Post::default()).collect(),
        kinds: Default::default(),
    };
    let start = Instant::now();
    let mut early = 0.0;
    std::thread::scope(|scope| {
        let soak = &soak;
        let mut threads = Vec::new();
        for (number, post) in (1..).zip(&soak.posts[1..]) {
            threads.push(scope.spawn(move || call_again_and_again(soak, post, seed.wrapping_mul(2 * number + 1))));
        }
        threads.push(scope.spawn(move || kill_again_and_again(soak, seed.rotate_left(7))));
        threads.push(scope.spawn(move || replace_again_and_again(soak, &soak.posts[0], seed.rotate_left(13))));
        // This thread is the watchdog.
        while !threads.iter().all(|thread| thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(50));
            let elapsed = start.elapsed();
            if early == 0.0 && elapsed > Duration::from_secs(seconds) / 3 {
                early = memory();
            }
            IS_CALM.store(elapsed.as_secs() % (STORM + CALM) >= STORM, Relaxed);
            soak.over.store(elapsed > Duration::from_secs(seconds), Relaxed);
            for post in &soak.posts {
                let doing = *post.doing.lock().unwrap();
                if let Some((name, _)) = doing.filter(|(_, since)| since.elapsed() > PATIENCE) {
                    eprintln!("soak: 1 hang: {name} has not returned for {} s", PATIENCE.as_secs());
                    std::process::exit(1);
                }
            }
        }
    });
    let Soak { tally, pool, kinds, .. } = soak;
    drop(pool);
    let late = memory();
    let settled = Instant::now();
    while holdings() != before && settled.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
    for ((name, _), (count, longest)) in KINDS.iter().zip(&kinds) {
        println!("{:>8} x {name}, in up to {} ms", count.load(Relaxed), longest.load(Relaxed) / 1_000);
    }
    let after = holdings();
    let [processes, descriptors, threads] = [0, 1, 2].map(|at| after[at].saturating_sub(before[at]));
    let memory = shared_memory_report().expect("a report");
    let count = |counter: &AtomicU64| counter.load(Relaxed);
    let (submitted, outcomes, kills) = (count(&tally.submitted), tally.outcomes(), count(&tally.kills));
    println!(
        "soak: {} s, {} calls, {submitted} tasks submitted, {outcomes} outcomes ({} values, {} errors, {} dropped by \
         their callers), {} wrong, {kills} workers killed, {} pools, 0 hangs; left behind: {processes} processes, \
         {descriptors} descriptors, {threads} threads, {} blocks of shared memory; resident memory {early:.1} MiB early, \
         {late:.1} MiB late",
        start.elapsed().as_secs(),
        count(&tally.calls),
        count(&tally.values),
        count(&tally.errors),
        count(&tally.cancelled),
        count(&tally.wrong),
        count(&tally.pools),
        memory.blocks,
    );
    let flat = late < early * 1.25 + 16.0;
    // Killing a process in the middle of taking or leaving a block may lose that block.
    let blocks = memory.blocks == 0 && memory.lost as u64 <= kills && memory.damage.is_empty();
    let left = processes + descriptors + threads;
    if submitted != outcomes || count(&tally.wrong) > 0 || left > 0 || !flat || !blocks {
        eprintln!("soak: something is wrong: {memory:?}");
        if left > 0 {
            list_holdings();
        }
        std::process::exit(1);
    }
}
