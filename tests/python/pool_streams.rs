//! `_TestPool`: `imap` and `imap_unordered`.
//!
//! - `test_imap_handle_iterable_exception`: where Python loses the whole chunk in which the input fails, every result before
//!   the fault arrives, whatever the chunk size. The fault is a panic of the input, and comes out of `next` in its place.

use super::common::links::on_processes_and_threads;
use multiproc::Imap;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn sqr(x: u64) -> u64 {
    x * x
}

#[test]
fn test_imap() {
    on_processes_and_threads(2, 60, |pool| {
        let all: Vec<u64> = pool.imap(sqr, 0..10).map(Result::unwrap).collect();
        assert_eq!(all, (0..10).map(sqr).collect::<Vec<_>>());
        let mut results = pool.imap(sqr, 0..10);
        for x in 0..10 {
            assert_eq!(results.next().unwrap().unwrap(), x * x);
        }
        assert!(results.next().is_none() && results.next().is_none());
        let mut results = pool.tasks(sqr, 0..1000).chunksize(100).iter();
        for x in 0..1000 {
            assert_eq!(results.next().unwrap().unwrap(), x * x);
        }
        assert!(results.next().is_none());
    });
}

/// 0, 1, 2 .. and a panic in the place of `fault`.
fn faulty(fault: u64) -> impl Iterator<Item = u64> {
    (0..20).inspect(move |x| assert!(*x != fault, "the input, on purpose"))
}

/// Whether the next result is the panic of the input.
fn is_fault(results: &mut Imap<'_, u64>) -> bool {
    let Err(payload) = catch_unwind(AssertUnwindSafe(|| results.next())) else { return false };
    payload.downcast_ref::<String>().is_some_and(|it| it.contains("the input, on purpose"))
        || payload.downcast_ref::<&str>().is_some_and(|it| it.contains("the input, on purpose"))
}

#[test]
fn test_imap_handle_iterable_exception() {
    on_processes_and_threads(2, 60, |pool| {
        for (fault, chunk) in [(0, 1), (3, 1), (7, 2), (7, 4)] {
            let mut results = pool.tasks(sqr, faulty(fault)).chunksize(chunk).iter();
            for x in 0..fault {
                assert_eq!(results.next().unwrap().unwrap(), x * x, "chunks of {chunk}");
            }
            assert!(is_fault(&mut results), "fault at {fault}, chunks of {chunk}");
            assert!(results.next().is_none());
        }
        assert_eq!(pool.imap(sqr, 0..10).flatten().sum::<u64>(), 285);
    });
}

#[test]
fn test_imap_unordered() {
    on_processes_and_threads(2, 60, |pool| {
        for chunk in [1, 100] {
            let mut all: Vec<u64> = pool.tasks(sqr, 0..1000).chunksize(chunk).unordered().map(Result::unwrap).collect();
            all.sort();
            assert_eq!(all, (0..1000).map(sqr).collect::<Vec<_>>());
        }
    });
}

#[test]
fn test_imap_unordered_handle_iterable_exception() {
    on_processes_and_threads(2, 60, |pool| {
        for (fault, chunk) in [(0, 1), (3, 1), (7, 2), (7, 4)] {
            let mut expected: HashSet<u64> = (0..fault).map(sqr).collect();
            let mut results = pool.tasks(sqr, faulty(fault)).chunksize(chunk).unordered();
            for _ in 0..fault {
                let value = results.next().unwrap().unwrap();
                assert!(expected.remove(&value), "{value} is wrong or came twice");
            }
            assert!(is_fault(&mut results), "fault at {fault}, chunks of {chunk}");
            assert!(results.next().is_none());
        }
    });
}
