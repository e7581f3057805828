//! Every combination of what is called, in which context, with what result, and how it is delivered: 136 of them.

use crate::common::links::on_each_link;
use crate::common::watchdog::watchdog;
use multiproc::{Pool, TaskError, ThreadPool};

/// The item that makes a task fail, and where it stands among the items.
const BAD: u64 = 77;
const AT: usize = 13;

const SHARED: u64 = 100;
const STATE: u64 = 1000;

/// What each worker keeps. Threads keep nothing, which is the state `()`.
trait State: 'static {
    /// A number that is not the same unless the function was given the state itself, and may change it.
    fn touch(&mut self) -> u64;
}

impl State for Vec<u64> {
    fn touch(&mut self) -> u64 {
        self.push(0);
        self[0]
    }
}

impl State for () {
    fn touch(&mut self) -> u64 {
        STATE
    }
}

fn plain(added: u64, x: u64) -> u64 {
    assert!(x != BAD, "bad");
    x + added
}

fn fallible(added: u64, x: u64) -> Result<u64, String> {
    if x == BAD { Err("bad".to_owned()) } else { Ok(x + added) }
}

fn good() -> Vec<u64> {
    (0..20).collect()
}

fn bad() -> Vec<u64> {
    let mut items = good();
    items[AT] = BAD;
    items
}

fn expected(added: u64) -> Vec<u64> {
    good().into_iter().map(|x| x + added).collect()
}

/// One result a task, all good but the one of the bad item.
fn check_each(added: u64, fails: fn(&TaskError) -> bool, results: Vec<Result<u64, TaskError>>) {
    let expected = expected(added);
    assert_eq!(results.len(), expected.len());
    for (at, (result, expected)) in results.into_iter().zip(expected).enumerate() {
        match result {
            Ok(value) => assert!(at != AT && value == expected, "{at}: {value}"),
            Err(error) => assert!(at == AT && error.index() == AT as u64 && fails(&error), "{at}: {error}"),
        }
    }
}

/// The five deliveries of a call of many tasks. `$call` is a description with the items `$items`.
macro_rules! deliver_many {
    ($count:ident, $what:expr, $added:expr, $fails:expr, $items:ident => $call:expr) => {{
        println!("{}", $what);
        let (added, fails): (u64, fn(&TaskError) -> bool) = ($added, $fails);
        let (good, bad) = (good(), bad());
        macro_rules! call {
            ($given:expr) => {{
                let $items = &$given;
                $call
            }};
        }
        // run
        assert_eq!(call!(good).run().unwrap(), expected(added));
        let error = call!(bad).run().unwrap_err();
        assert!(error.task().is_some_and(|it| it.index() == AT as u64 && fails(it)), "{error}");
        $count += 1;
        // each
        check_each(added, fails, call!(bad).each());
        $count += 1;
        // submit
        assert_eq!(call!(good).submit().unwrap().get().unwrap(), expected(added));
        assert!(fails(&call!(bad).submit().unwrap().get().unwrap_err()));
        $count += 1;
        // iter, also by `for`
        check_each(added, fails, call!(bad).iter().collect());
        let mut looped = Vec::new();
        for result in call!(bad) {
            looped.push(result);
        }
        check_each(added, fails, looped);
        $count += 1;
        // unordered
        let mut values: Vec<u64> = call!(good).unordered().collect::<Result<_, _>>().unwrap();
        values.sort();
        assert_eq!(values, expected(added));
        let failed: Vec<_> = call!(bad).unordered().filter_map(Result::err).collect();
        assert!(failed.len() == 1 && fails(&failed[0]), "{failed:?}");
        $count += 1;
    }};
}

/// The two deliveries of a call of one task. `$call` is a description with the argument `$item`.
macro_rules! deliver_one {
    ($count:ident, $what:expr, $added:expr, $fails:expr, $item:ident => $call:expr) => {{
        println!("{}", $what);
        let fails: fn(&TaskError) -> bool = $fails;
        macro_rules! call {
            ($given:expr) => {{
                let $item = $given;
                $call
            }};
        }
        // run
        assert_eq!(call!(7).run().unwrap(), 7 + $added);
        assert!(call!(BAD).run().unwrap_err().task().is_some_and(fails));
        $count += 1;
        // submit
        assert_eq!(call!(7).submit().unwrap().get().unwrap(), 7 + $added);
        assert!(fails(&call!(BAD).submit().unwrap().get().unwrap_err()));
        $count += 1;
    }};
}

/// One shape in the four contexts, plain and fallible. The function gets its own parameters behind those of the context,
/// and makes of them the number `$value`.
macro_rules! in_each_context {
    (
        $deliver:ident, $count:ident, $pool:ident, $state:ty,
        $method:ident(|$($x:ident: $t:ty),*| $value:expr, $items:ident => $input:expr)
    ) => {
        in_each_context!(@ $deliver, $count, $pool, $state, $method, ($($x: $t),*), $value, $items, $input,
            plain, TaskError::is_panic, []);
        in_each_context!(@ $deliver, $count, $pool, $state, $method, ($($x: $t),*), $value, $items, $input,
            fallible, TaskError::is_error, [.fallible()]);
    };
    (
        @ $deliver:ident, $count:ident, $pool:ident, $state:ty, $method:ident, ($($x:ident: $t:ty),*), $value:expr,
        $items:ident, $input:expr, $f:ident, $fails:expr, [$($result:tt)*]
    ) => {
        let named = |context: &str| format!("{} {} {context}", stringify!($method), stringify!($f));
        $deliver!($count, named("bare"), 0, $fails, $items =>
            $pool.$method(|$($x: $t),*| $f(0, $value), $input)$($result)*);
        $deliver!($count, named("with"), SHARED, $fails, $items =>
            $pool.with(&SHARED).$method(|shared: &u64, $($x: $t),*| $f(*shared, $value), $input)$($result)*);
        $deliver!($count, named("on_state"), STATE, $fails, $items =>
            $pool.on_state().$method(|state: &mut $state, $($x: $t),*| $f(state.touch(), $value), $input)$($result)*);
        $deliver!($count, named("with, on_state"), SHARED + STATE, $fails, $items =>
            $pool.with(&SHARED).on_state().$method(
                |(shared, state): (&u64, &mut $state), $($x: $t),*| $f(*shared + state.touch(), $value),
                $input
            )$($result)*);
    };
}

fn all_combinations<S: State>(pool: &Pool<S>) {
    let mut count = 0;
    in_each_context!(deliver_many, count, pool, S, tasks(|x: u64| x, items => items.clone()));
    in_each_context!(deliver_many, count, pool, S, ref_tasks(|x: &u64| *x, items => items.iter()));
    in_each_context!(deliver_many, count, pool, S,
        star_tasks(|x: u64, zero: u8| x + u64::from(zero), items => items.iter().map(|x| (*x, 0)).collect::<Vec<_>>()));
    in_each_context!(deliver_one, count, pool, S, task(|x: u64, zero: u8| x + u64::from(zero), item => (item, 0)));
    assert_eq!(count, 136);
}

#[test]
fn all_combinations_work_on_both_links() {
    on_each_link(120, |builder| {
        all_combinations(&builder().processes(2).state(|base: u64| vec![base], (STATE,)).build().unwrap());
    });
}

#[test]
fn all_combinations_work_on_threads() {
    let _watchdog = watchdog(120);
    all_combinations::<()>(&ThreadPool::new(2).unwrap());
    all_combinations(&Pool::builder().processes(2).state(|base: u64| vec![base], (STATE,)).build_threads().unwrap());
}

#[test]
fn all_combinations_work_on_the_thread_that_waits() {
    let _watchdog = watchdog(120);
    all_combinations::<()>(&Pool::builder().inline().build().unwrap());
    all_combinations(&Pool::builder().inline().state(|base: u64| vec![base], (STATE,)).build().unwrap());
}
