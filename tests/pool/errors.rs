//! What calls give when user code fails: panics, values that do not travel, wrong arguments.

use crate::common::links::{on_each_link, on_each_pool};
use multiproc::call::{Accepts, Plain, Returns};
use multiproc::{Call, Pool};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::error::Error as _;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::time::Duration;

/// A value that misbehaves on its way, at the place and in the manner that its text says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fickle(String);

pub(crate) fn fickle(text: &str) -> Fickle {
    Fickle(text.to_owned())
}

/// Whether this process is a worker.
fn in_worker() -> bool {
    std::thread::current().name().is_some_and(|name| name.starts_with("fickle"))
}

impl Serialize for Fickle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_str() {
            "refuse to leave" => Err(S::Error::custom("no")),
            "panic on leaving" => panic!("on leaving"),
            text => text.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Fickle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fickle, D::Error> {
        let text = String::deserialize(deserializer)?;
        match (text.as_str(), in_worker()) {
            ("refuse in worker", true) | ("refuse at home", false) => Err(D::Error::custom("no")),
            ("panic in worker", true) | ("panic at home", false) => panic!("on arrival"),
            ("bomb in worker", true) | ("bomb at home", false) => panic_any(Bomb),
            ("abort in worker", true) => std::process::abort(),
            _ => Ok(Fickle(text)),
        }
    }
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("a bomb was dropped");
        }
    }
}

/// A result, or a context, whose destructor panics in the worker.
#[derive(Clone, Serialize, Deserialize)]
struct Explosive(u32);

impl Drop for Explosive {
    fn drop(&mut self) {
        if in_worker() && self.0 % 2 == 1 && !std::thread::panicking() {
            panic!("explosive {}", self.0);
        }
    }
}

fn on_each_fickle_pool(test: impl Fn(&Pool)) {
    on_each_link(60, |builder| test(&builder().processes(2).name("fickle").build().unwrap()));
}

/// The pool works, and none of its workers was lost.
fn assert_whole(pool: &Pool, pids: &[i32]) {
    assert_eq!(pool.map(|x: u64| x + 1, 0..1000).unwrap(), (1..=1000).collect::<Vec<_>>());
    let mut now = pool.worker_pids();
    let mut before = pids.to_vec();
    now.sort();
    before.sort();
    assert_eq!(now, before, "a worker was lost");
}

#[test]
fn a_name_with_a_nul_is_refused() {
    on_each_link(60, |builder| {
        let error = builder().processes(1).name("a\0b").build().unwrap_err();
        assert!(error.is_invalid_argument(), "{error}");
    });
}

#[test]
fn a_panic_is_the_error_of_its_task() {
    on_each_pool(2, 60, |pool| {
        let pids = pool.worker_pids();
        let picky = |x: u32| {
            assert!(x % 10 != 3, "{x} is refused");
            x
        };
        for chunksize in [1, 4, 100] {
            let each = pool.tasks(picky, 0..100).chunksize(chunksize).each();
            assert_eq!(each.len(), 100);
            for (index, result) in each.into_iter().enumerate() {
                match result {
                    Ok(value) => assert!(value as usize == index && index % 10 != 3),
                    Err(error) => {
                        assert!(error.is_panic() && index % 10 == 3, "{error}");
                        assert_eq!(error.index(), index as u64);
                        assert_eq!(error.message(), Some(format!("{index} is refused").as_str()));
                        assert!(error.location().unwrap().contains("errors.rs:"), "{error}");
                        assert!(error.function().contains("a_panic_is_the_error_of_its_task"), "{error}");
                        assert!(pids.contains(&error.worker().unwrap()));
                    }
                }
            }
            let error = pool.tasks(picky, 0..100).chunksize(chunksize).run().unwrap_err();
            assert_eq!(error.task().unwrap().index(), 3);
        }
        assert_whole(pool, &pids);
    });
}

#[test]
fn panics_with_any_value_are_reported() {
    on_each_pool(1, 60, |pool| {
        let pids = pool.worker_pids();
        let kinds = |n: u32| -> u32 {
            match n {
                0 => panic!("a literal"),
                1 => panic!("formatted {n}"),
                2 => panic_any(17u8),
                3 => panic_any(Bomb),
                _ => panic_any("x".repeat(200_000)),
            }
        };
        let each = pool.map_each(kinds, 0..5);
        let messages: Vec<&str> = each.iter().map(|it| it.as_ref().unwrap_err().message().unwrap()).collect();
        assert_eq!(messages[..4], ["a literal", "formatted 1", "a value that is no text", "a value that is no text"]);
        assert_eq!(messages[4].len(), 200_000);
        assert_whole(pool, &pids);
    });
}

#[test]
fn an_err_of_a_fallible_task_has_its_causes() {
    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);
    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the line is no number")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    on_each_pool(2, 60, |pool| {
        let error =
            pool.try_map(|text: String| text.parse::<u8>().map_err(Outer), ["1".into(), "x".into()]).unwrap_err();
        let task = error.task().unwrap();
        assert!(task.is_error() && task.index() == 1, "{error}");
        let source = error.source().unwrap();
        assert_eq!(source.to_string(), "the line is no number");
        assert_eq!(source.source().unwrap().to_string(), "invalid digit found in string");
        // Under a plain call it is a value like any other.
        let results = pool.map(|text: String| text.parse::<u8>().map_err(|it| it.to_string()), ["y".into()]).unwrap();
        assert!(results[0].is_err());
        let error = pool.task(|| Err::<u8, _>("no"), ()).fallible().run().unwrap_err();
        assert!(error.to_string().ends_with("failed: no"), "{error}");
    });
}

#[test]
fn an_argument_that_does_not_serialise_fails_alone() {
    on_each_fickle_pool(|pool| {
        let pids = pool.worker_pids();
        for chunksize in [1, 2, 100] {
            let items = ["a", "refuse to leave", "b", "refuse to leave", "refuse to leave", "c"].map(fickle);
            let each = pool.tasks(|item: Fickle| item.0, items).chunksize(chunksize).each();
            let texts: Vec<Option<&str>> = each.iter().map(|it| it.as_deref().ok()).collect();
            assert_eq!(texts, [Some("a"), None, Some("b"), None, None, Some("c")]);
            assert!(each.iter().flat_map(|it| it.as_ref().err()).all(|error| error.is_encode()));
            assert_eq!(each[3].as_ref().unwrap_err().index(), 3);
        }
        // A stream reads its whole input before the first result is asked for.
        for input in [&["a", "refuse to leave"][..], &["refuse to leave"], &["refuse to leave", "refuse to leave"]] {
            let each: Vec<_> = pool.imap(|item: Fickle| item.0, input.iter().copied().map(fickle)).collect();
            let is_refused: Vec<bool> = each.iter().map(|it| it.as_ref().is_err_and(|it| it.is_encode())).collect();
            assert_eq!(is_refused, input.iter().map(|text| *text != "a").collect::<Vec<_>>());
        }
        assert!(
            pool.apply(|item: Fickle| item.0, (fickle("refuse to leave"),)).unwrap_err().task().unwrap().is_encode()
        );
        assert_whole(pool, &pids);
    });
}

#[test]
fn a_second_argument_that_does_not_serialise_takes_the_first_with_it() {
    on_each_fickle_pool(|pool| {
        for chunksize in [1, 2, 100] {
            let rows = [(1u64, "a"), (2, "refuse to leave"), (3, "b"), (4, "refuse to leave"), (5, "c")];
            let rows = rows.map(|(n, text)| (n, fickle(text), n as u8));
            let error = pool.star_tasks(|n: u64, text: Fickle, m: u8| (n, text, m), rows).chunksize(chunksize).run();
            assert!(error.unwrap_err().task().unwrap().is_encode());
            // The good ones before and behind it arrive as they are: each checks its own arguments.
            let rows = [(1u64, "a"), (2, "refuse to leave"), (3, "b")].map(|(n, text)| (n, fickle(text), n as u8));
            let checked = |n: u64, text: Fickle, m: u8| {
                assert!(n == u64::from(m) && text.0.len() == 1, "mixed up: {n} {text:?} {m}");
            };
            let error = pool.star_tasks(checked, rows).chunksize(chunksize).run().unwrap_err();
            assert!(error.task().unwrap().is_encode() && error.task().unwrap().index() == 1, "{error}");
            let rows = [(2u64, "refuse to leave"), (3, "b"), (4, "c")].map(|(n, text)| (n, fickle(text), n as u8));
            let error = pool.star_tasks(checked, rows).chunksize(chunksize).run().unwrap_err();
            assert!(error.task().unwrap().is_encode() && error.task().unwrap().index() == 0, "{error}");
            // Nothing of the one that is refused is read as a part of the next one.
            let rows = || [(1u64, "a"), (2, "refuse to leave"), (3, "b"), (4, "c")].map(|(n, text)| (n, fickle(text)));
            let call = || pool.star_tasks(|n: u64, text: Fickle| (n, text.0), rows()).chunksize(chunksize);
            let streamed: Vec<_> = call().iter().collect();
            for results in [call().each(), streamed] {
                let good: Vec<_> = results.into_iter().flatten().collect();
                assert_eq!(good, [(1, "a".to_owned()), (3, "b".to_owned()), (4, "c".to_owned())]);
            }
        }
    });
}

#[test]
fn a_panic_of_an_argument_goes_to_the_caller() {
    on_each_fickle_pool(|pool| {
        let pids = pool.worker_pids();
        for at in [0, 1, 50, 999] {
            let items = (0..1000).map(|n| fickle(if n == at { "panic on leaving" } else { "a" }));
            let outcome = catch_unwind(AssertUnwindSafe(|| pool.map(|item: Fickle| item.0, items)));
            assert_eq!(*outcome.unwrap_err().downcast::<&str>().unwrap(), "on leaving");
            assert_whole(pool, &pids);
        }
    });
}

#[test]
fn a_panic_of_the_input_goes_to_the_caller() {
    on_each_pool(2, 60, |pool| {
        let pids = pool.worker_pids();
        for at in [0, 1, 500, 100_000] {
            let items = (0..).inspect(|n| assert!(*n != at, "the input ends here"));
            let outcome = catch_unwind(AssertUnwindSafe(|| pool.map(|x: u64| x, items)));
            assert_eq!(*outcome.unwrap_err().downcast::<&str>().unwrap(), "the input ends here");
            assert_whole(pool, &pids);
        }
    });
}

#[test]
fn an_argument_that_does_not_deserialise_fails_alone() {
    on_each_fickle_pool(|pool| {
        let pids = pool.worker_pids();
        for chunksize in [1, 2, 100] {
            let items = ["a", "refuse in worker", "b", "panic in worker", "c", "refuse in worker"].map(fickle);
            let each = pool.tasks(|item: Fickle| item.0, items).chunksize(chunksize).each();
            let texts: Vec<Option<&str>> = each.iter().map(|it| it.as_deref().ok()).collect();
            assert_eq!(texts, [Some("a"), None, Some("b"), None, Some("c"), None], "chunks of {chunksize}");
            assert!(each[1].as_ref().unwrap_err().is_decode());
            assert_eq!(each[3].as_ref().unwrap_err().message(), Some("on arrival"));
        }
        assert_whole(pool, &pids);
    });
}

#[test]
fn a_bad_argument_does_not_shift_its_neighbours() {
    on_each_fickle_pool(|pool| {
        for bad in ["refuse in worker", "panic in worker"] {
            for chunksize in [1, 100] {
                let rows = (0..20u64).map(|n| (fickle(if n % 5 == 2 { bad } else { "a" }), n, fickle("b"), n));
                let check = |a: Fickle, n: u64, b: Fickle, m: u64| {
                    assert!(a.0 == "a" && b.0 == "b" && n == m, "mixed up: {a:?} {n} {b:?} {m}");
                };
                let error = pool.star_tasks(check, rows).chunksize(chunksize).run().unwrap_err();
                let task = error.task().unwrap();
                assert_eq!(task.index(), 2, "{error}");
                // The others were in order, or their error would name the mix-up; look at each by its own call.
                let rows = (0..20u64).map(|n| (fickle(if n == 0 { bad } else { "a" }), n, fickle("b"), n));
                let lens = pool
                    .star_tasks(
                        |a: Fickle, n: u64, b: Fickle, m: u64| assert!(a.0 == "a" && b.0 == "b" && n == m, "mixed up"),
                        rows,
                    )
                    .chunksize(chunksize)
                    .run();
                assert_eq!(lens.unwrap_err().task().unwrap().index(), 0);
            }
        }
    });
}

#[test]
fn a_result_that_does_not_travel_fails_alone() {
    on_each_fickle_pool(|pool| {
        let pids = pool.worker_pids();
        let back = |text: String| Fickle(text);
        let texts = [
            "a",
            "refuse to leave",
            "b",
            "panic on leaving",
            "c",
            "refuse at home",
            "d",
            "panic at home",
            "bomb at home",
        ];
        for chunksize in [1, 2, 100] {
            let each = pool.tasks(back, texts.map(str::to_owned)).chunksize(chunksize).each();
            let good: Vec<Option<&str>> = each.iter().map(|it| it.as_ref().ok().map(|it| it.0.as_str())).collect();
            let expected = [Some("a"), None, Some("b"), None, Some("c"), None, Some("d"), None, None];
            assert_eq!(good, expected, "chunks of {chunksize}");
            assert!(each[1].as_ref().unwrap_err().is_encode());
            assert_eq!(each[3].as_ref().unwrap_err().message(), Some("on leaving"));
            assert!([5, 7, 8].iter().all(|at| each[*at].as_ref().unwrap_err().is_decode()));
        }
        assert!(pool.apply(back, ("refuse to leave".to_owned(),)).unwrap_err().task().unwrap().is_encode());
        assert!(pool.apply(back, ("refuse at home".to_owned(),)).unwrap_err().task().unwrap().is_decode());
        assert_whole(pool, &pids);
    });
}

#[test]
fn a_result_whose_destructor_panics_is_a_panic_of_its_task() {
    on_each_fickle_pool(|pool| {
        let pids = pool.worker_pids();
        for chunksize in [1, 3, 100] {
            let each = pool.tasks(Explosive, 0..20).chunksize(chunksize).each();
            for (n, result) in each.iter().enumerate() {
                match result {
                    Ok(value) => assert!(value.0 as usize == n && n % 2 == 0),
                    Err(error) => assert_eq!(error.message(), Some(format!("explosive {n}").as_str()), "{error}"),
                }
            }
        }
        assert_whole(pool, &pids);
    });
}

#[test]
fn a_context_that_does_not_travel_is_an_error_of_the_call() {
    on_each_fickle_pool(|pool| {
        let pids = pool.worker_pids();
        let error = pool.with(&("refuse to leave".to_owned(), 1u8)).tasks(|_, x: u8| x, [1]).run();
        assert_eq!(error.unwrap(), [1]);
        #[derive(Clone, Serialize, Deserialize)]
        struct Holder(std::cell::RefCell<u8>);
        // A cell that is mutably borrowed does not serialise.
        let holder = Holder(Default::default());
        let guard = holder.0.borrow_mut();
        let error = pool.with(&holder).tasks(|_, x: u8| x, [1, 2]).run().unwrap_err();
        assert!(error.is_invalid_argument(), "{error}");
        let each = pool.with(&holder).tasks(|_, x: u8| x, [1, 2]).each();
        assert!(each.iter().all(|it| it.as_ref().unwrap_err().is_encode()) && each.len() == 2);
        drop(guard);
        assert_whole(pool, &pids);
    });
}

#[test]
fn a_context_that_does_not_arrive_fails_the_tasks_and_costs_no_worker() {
    on_each_fickle_pool(|pool| {
        let pids = pool.worker_pids();
        for (text, wanted) in [
            ("refuse in worker", "no"),
            ("panic in worker", "its `Deserialize` implementation panicked"),
            ("bomb in worker", "its `Deserialize` implementation panicked"),
        ] {
            let error = pool.with(&fickle(text)).tasks(|_: &Fickle, x: u8| x, [1, 2]).run().unwrap_err();
            assert!(error.task().unwrap().is_decode(), "{error}");
            assert!(error.to_string().contains(&format!("the context of `with`: {wanted}")), "{error}");
        }
        assert_whole(pool, &pids);
    });
}

#[test]
fn a_context_that_ends_its_reader_fails_the_tasks_one_by_one() {
    on_each_fickle_pool(|pool| {
        let each = pool.with(&fickle("abort in worker")).tasks(|_: &Fickle, x: u8| x, [1, 2, 3]).each();
        assert_eq!(each.len(), 3);
        assert!(each.iter().all(|it| it.as_ref().unwrap_err().is_worker_lost()), "{each:?}");
        assert_eq!(pool.map(|x: u64| x + 1, 0..10).unwrap(), (1..=10).collect::<Vec<_>>());
    });
}

#[test]
fn a_context_whose_destructor_panics_costs_no_worker() {
    on_each_fickle_pool(|pool| {
        let pids = pool.worker_pids();
        for _ in 0..3 {
            let each = pool.with(&Explosive(1)).tasks(|context: &Explosive, x: u32| context.0 + x, 0..10).run();
            assert_eq!(each.unwrap(), (1..11).collect::<Vec<_>>());
            assert_whole(pool, &pids);
        }
        // The last one is dropped when a worker leaves.
        pool.with(&Explosive(1)).tasks(|context: &Explosive, x: u32| context.0 + x, 0..10).run().unwrap();
        pool.close();
        assert!(pool.join_timeout(Duration::from_secs(20)).is_some_and(|end| end.is_ok()));
    });
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<u8>,
    n: u8,
    data: Vec<u8>,
}

#[test]
fn a_value_arrives_as_it_was_or_not_at_all() {
    on_each_pool(1, 60, |pool| {
        let row = |note| Row { note, n: 1, data: vec![9, 0] };
        assert_eq!(pool.apply(|row: Row| row, (row(Some(7)),)).unwrap(), row(Some(7)));
        let error = pool.apply(|row: Row| row, (row(None),)).unwrap_err();
        assert!(error.to_string().contains("the field `note` of `Row`"), "{error}");
        assert!(error.to_string().contains("take the attribute off"), "{error}");
        let error = pool.apply(|| Row { note: None, n: 1, data: vec![] }, ()).unwrap_err();
        assert!(error.task().unwrap().is_encode() && error.to_string().contains("the field `note`"), "{error}");
    });
}

/// Every delivery gives the same refusal, and nothing is run.
fn refused_everywhere<'p, K, I>(call: &dyn Fn() -> Call<'p, K, I>, text: &str)
where
    I: Iterator + 'p,
    K: Accepts<I::Item>,
    Plain: Returns<K::Output, Value: std::fmt::Debug + Send>,
{
    let error = call().run().unwrap_err();
    assert!(error.is_invalid_argument() && error.to_string().contains(text), "{error}");
    assert!(call().submit().unwrap_err().is_invalid_argument());
    let each = call().each();
    assert_eq!(each.len(), 3);
    let streams = call().iter().chain(call().unordered()).chain(call()).collect::<Vec<_>>();
    assert_eq!(streams.len(), 3, "the refusal is the only result");
    for error in each.into_iter().chain(streams).map(Result::unwrap_err) {
        assert!(error.is_invalid_argument() && error.to_string().contains(text), "{error}");
    }
}

#[test]
fn wrong_arguments_are_errors_at_once() {
    let error = Pool::new(0).unwrap_err();
    assert!(error.is_invalid_argument());
    assert_eq!(error.to_string(), "a pool needs at least 1 process, not 0");
    let pool = Pool::new(1).unwrap();
    for too_many in [usize::MAX, 1 << 44, (1 << 16) + 1] {
        let error = Pool::new(too_many).unwrap_err();
        assert!(error.is_invalid_argument(), "{error}");
        assert_eq!(error.to_string(), format!("a pool has at most 65536 processes, not {too_many}"));
        assert!(pool.resize(too_many).unwrap_err().is_invalid_argument());
    }
    assert!(pool.resize(0).unwrap_err().is_invalid_argument());
    for absurd in [0, (1 << 30) + 1, usize::MAX] {
        refused_everywhere(&|| pool.tasks(|x: u32| x, 0..3).chunksize(absurd), "the chunk size must be");
    }
    refused_everywhere(&|| pool.tasks(|x: u32| x, 0..3).buffersize(0), "the buffer must hold");
    for builder in [
        Pool::builder().max_tasks_per_child(0),
        Pool::builder().max_tasks_per_child(usize::MAX),
        Pool::builder().thread_env(0),
        Pool::builder().cpu_affinity([]),
        Pool::builder().name("\0"),
        Pool::builder().processes(0),
    ] {
        let error = builder.build().unwrap_err();
        assert!(error.is_invalid_argument(), "{error}");
    }
    assert_eq!(pool.apply(|| 1, ()).unwrap(), 1);
}

#[test]
fn errors_are_plain_data() {
    on_each_pool(1, 60, |pool| {
        let error = pool.apply(|| panic!("inside") as u8, ()).unwrap_err();
        // A task returns the error of another task.
        let (text, back) = pool.apply(|error: multiproc::Error| (error.to_string(), error), (error.clone(),)).unwrap();
        assert_eq!(text, error.to_string());
        assert_eq!(back.task().unwrap().message(), Some("inside"));
        assert_eq!(format!("{back:?}"), format!("{error:?}"));
    });
}
