//! Long vectors of numbers as arguments: they are not serialised, but copied from the item to where the worker reads them.

use crate::common::links::{HANDLES, on_each_link, on_each_pool, on_nodes, on_processes_and_threads, on_ring_pool};
use crate::common::proc::kill;
use multiproc::{Pool, Value, current_task, worker_number};
use std::cell::Cell;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A vector with so many bytes fills a frame by itself.
const LONG: usize = 64 * 1024;

/// The data area of a ring.
const RING: usize = 72 << 20;

/// Numbers of which each is another one, and another for each seed.
fn numbers(seed: u64, len: usize) -> Vec<u64> {
    (0..len as u64).map(|at| (at << 16 | seed).wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect()
}

/// Few numbers that no other vector has: its length, its first and last one, and all of them in one.
fn digest(numbers: &[u64]) -> (usize, Option<u64>, Option<u64>, u64) {
    let all = numbers.iter().fold(0, |all: u64, number| all.rotate_left(5) ^ number);
    (numbers.len(), numbers.first().copied(), numbers.last().copied(), all)
}

fn digest_of(numbers: Vec<u64>) -> (usize, Option<u64>, Option<u64>, u64) {
    digest(&numbers)
}

/// Lengths in numbers, of short vectors and long ones.
const LENGTHS: [usize; 9] = [LONG / 8, 0, LONG / 8 - 1, LONG / 8 + 1, 3 * LONG / 8, 1, LONG / 4, LONG / 8, 100_000];

fn vectors() -> impl Iterator<Item = Vec<u64>> {
    (0..).zip(LENGTHS).map(|(seed, len)| numbers(seed, len))
}

#[test]
fn they_arrive_as_they_are_by_every_kind_of_call() {
    on_processes_and_threads(2, 120, |pool| {
        let expected: Vec<_> = vectors().map(digest_of).collect();
        for chunksize in [1, 2, 4, 100] {
            let call = || pool.tasks(digest_of, vectors()).chunksize(chunksize);
            assert_eq!(call().run().unwrap(), expected);
            assert_eq!(call().submit().unwrap().get().unwrap(), expected);
            assert_eq!(call().iter().map(Result::unwrap).collect::<Vec<_>>(), expected);
            assert_eq!(call().keyed(Vec::len).run().unwrap(), expected);
            let owned: Vec<_> = vectors().collect();
            assert_eq!(
                pool.ref_tasks(|it: &Vec<u64>| digest(it), &owned).chunksize(chunksize).run().unwrap(),
                expected
            );
            let slices = owned.iter().map(|it| &it[..]);
            assert_eq!(pool.ref_tasks(digest, slices).keyed(|it| it.len()).run().unwrap(), expected);
            let add = |more: &Vec<u64>, numbers: Vec<u64>| (more.len(), digest_of(numbers));
            let with = pool.with(&owned[0]).tasks(add, vectors()).chunksize(chunksize).run().unwrap();
            assert!(with.iter().all(|(more, _)| *more == LENGTHS[0]));
            assert_eq!(with.into_iter().map(|(_, digest)| digest).collect::<Vec<_>>(), expected);
        }
        for (vector, expected) in vectors().zip(expected) {
            assert_eq!(pool.apply(digest_of, (vector,)).unwrap(), expected);
        }
    });
}

#[test]
fn a_chunk_has_as_many_of_them_as_it_is_told() {
    on_each_pool(2, 120, |pool| {
        let at = |_: Vec<u64>| worker_number().unwrap();
        for chunksize in [2, 3] {
            let vectors = || (0..6).map(|seed| numbers(seed, LONG));
            let runs = pool.tasks(at, vectors()).chunksize(chunksize);
            let runs: [Vec<usize>; 2] = [
                runs.run().unwrap(),
                pool.tasks(at, vectors()).chunksize(chunksize).iter().map(Result::unwrap).collect(),
            ];
            // One chunk is run by one worker.
            for run in runs {
                assert!(run.chunks(chunksize).all(|chunk| chunk.iter().all(|at| *at == chunk[0])), "{run:?}");
            }
        }
    });
}

#[test]
fn they_stand_beside_other_arguments() {
    on_processes_and_threads(2, 120, |pool| {
        let rows = || (0..).zip(vectors());
        let last = |seed: u64, text: String, vector: Vec<u64>| (seed, text, digest_of(vector));
        let first = |vector: Vec<u64>, text: String, seed: u64| (seed, text, digest_of(vector));
        let expected: Vec<_> =
            rows().map(|(seed, vector)| (seed, "x".repeat(seed as usize), digest_of(vector))).collect();
        for chunksize in [1, 3, 100] {
            let args = rows().map(|(seed, vector)| (seed, "x".repeat(seed as usize), vector));
            assert_eq!(pool.star_tasks(last, args).chunksize(chunksize).run().unwrap(), expected);
            let args = rows().map(|(seed, vector)| (vector, "x".repeat(seed as usize), seed));
            assert_eq!(pool.star_tasks(first, args).chunksize(chunksize).run().unwrap(), expected);
        }
        let two = |one: Vec<u64>, other: Vec<u64>| (digest_of(one), digest_of(other));
        let (one, other) = (numbers(1, LONG), numbers(2, 2 * LONG));
        assert_eq!(pool.apply(two, (one.clone(), other.clone())).unwrap(), (digest(&one), digest(&other)));
    });
}

#[test]
fn every_type_of_number_is_meant() {
    on_each_pool(1, 120, |pool| {
        macro_rules! check {
            ($($number:ty)*) => { $({
                let vector: Vec<$number> = (0..LONG).map(|at| at as u8 as $number).collect();
                let back = pool.apply(|vector: Vec<$number>| (vector.len(), vector[255], vector[257]), (vector,));
                assert_eq!(back.unwrap(), (LONG, 255_u8 as $number, 1 as $number));
            })* };
        }
        check!(u8 i16 u32 i64 u64 i128 f32 f64 usize);
    });
}

#[test]
fn the_size_of_the_ring_is_no_border() {
    on_each_pool(1, 300, |pool| {
        // A prefix has 8 bytes.
        for len in [RING - 9, RING - 8, RING - 7, RING + 1, LONG, RING] {
            let vector = vec![len as u8; len];
            let look = |vector: Vec<u8>| (vector.len(), vector.iter().all(|byte| *byte == vector.len() as u8));
            assert_eq!(pool.map(look, [vector]).unwrap(), [(len, true)]);
        }
    });
}

/// More than the links have room for: frames wait outside of them, and are kept whole.
#[test]
fn they_wait_for_room() {
    on_each_pool(2, 300, |pool| {
        let vectors = || (0..24).map(|seed| numbers(seed, 1 << 20));
        let expected: Vec<_> = vectors().map(digest_of).collect();
        assert_eq!(pool.tasks(digest_of, vectors()).keyed(|_| 1).run().unwrap(), expected);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| assert_eq!(pool.tasks(digest_of, vectors()).chunksize(1).run().unwrap(), expected));
            }
        });
    });
}

fn die_at_first((dies, vector): (bool, Vec<u64>)) -> (usize, Option<u64>, Option<u64>, u64) {
    if dies && current_task().unwrap().attempt() == 1 {
        kill(std::process::id() as i32);
    }
    digest_of(vector)
}

/// The vector is read back from the link of the worker that has died.
#[test]
fn a_retry_after_a_kill_has_the_same_vector() {
    on_each_link(300, |builder| {
        let pool = builder().processes(2).build().unwrap();
        for len in [LONG / 8, 100_000, RING / 8 + 1] {
            let rows = || (0..4).map(|seed| (seed % 2 == 0, numbers(seed, len)));
            let task = |dies: bool, vector: Vec<u64>| die_at_first((dies, vector));
            let expected: Vec<_> = rows().map(|(_, vector)| digest_of(vector)).collect();
            let results = pool.star_tasks(task, rows()).chunksize(1).retries(5).run().unwrap();
            assert_eq!(results, expected);
        }
    });
}

#[test]
fn a_worker_with_few_tasks_left_hands_on_the_rest() {
    on_each_link(300, |builder| {
        let pool = builder().processes(1).max_tasks_per_child(3).build().unwrap();
        let expected: Vec<_> = vectors().map(digest_of).collect();
        for chunksize in [1, 2, 5] {
            assert_eq!(pool.tasks(digest_of, vectors()).chunksize(chunksize).run().unwrap(), expected);
        }
    });
}

#[test]
fn the_state_of_a_worker_comes_first() {
    on_each_link(120, |builder| {
        let pool = builder().processes(1).state(|| 0usize, ()).build().unwrap();
        let add = |total: &mut usize, vector: Vec<u64>| {
            *total += vector.len();
            *total
        };
        let totals = pool.on_state().tasks(add, vectors()).run().unwrap();
        assert_eq!(totals.last().copied(), Some(LENGTHS.iter().sum()));
    });
}

#[test]
fn handles_travel_beside_them() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(2, 120, |pool| {
        let total = Value::new(0u64);
        let add = |total: Value<u64>, vector: Vec<u64>| {
            total
                .update(|total| *total = total.wrapping_add(vector.iter().fold(0, |a, b| a.wrapping_add(*b))))
                .unwrap();
        };
        let expected = vectors().flatten().fold(0, u64::wrapping_add);
        pool.starmap(add, vectors().map(|vector| (total.clone(), vector))).unwrap();
        assert_eq!(total.get().unwrap(), expected);
    });
}

/// An item that is spoilt when it is dropped, and asks the pool for something then.
struct Watched<'a> {
    numbers: Vec<u64>,
    pool: &'a Pool,
    dropped: &'a AtomicUsize,
}

impl Deref for Watched<'_> {
    type Target = [u64];
    fn deref(&self) -> &[u64] {
        &self.numbers
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.numbers.fill(0);
        self.dropped.fetch_add(1, Relaxed);
        assert!(!self.pool.stats().workers.is_empty());
    }
}

#[test]
fn an_item_is_dropped_once_and_when_it_was_sent() {
    on_processes_and_threads(2, 120, |pool| {
        let dropped = AtomicUsize::new(0);
        let items = || vectors().map(|numbers| Watched { numbers, pool, dropped: &dropped });
        let expected: Vec<_> = vectors().map(digest_of).collect();
        let check = |results: Vec<_>| {
            assert_eq!(results, expected);
            assert_eq!(dropped.swap(0, Relaxed), expected.len());
        };
        check(pool.ref_tasks(digest, items()).run().unwrap());
        check(pool.ref_tasks(digest, items()).chunksize(3).run().unwrap());
        check(pool.ref_tasks(digest, items()).keyed(|item| item.len()).run().unwrap());
        check(pool.ref_tasks(digest, items()).iter().map(Result::unwrap).collect());
        check(pool.ref_tasks(digest, items()).submit().unwrap().get().unwrap());
        // Not all of them are asked for.
        drop(pool.ref_tasks(digest, items()).iter().take(1).collect::<Vec<_>>());
        assert!(dropped.load(Relaxed) > 0);
    });
}

/// Lends other numbers whenever it is asked, or panics at last.
struct Fickle {
    numbers: Vec<u64>,
    asked: Cell<usize>,
    panics_at: usize,
}

impl Fickle {
    fn new(panics_at: usize) -> Fickle {
        Fickle { numbers: numbers(7, 2 * LONG), asked: Cell::new(0), panics_at }
    }
}

impl Deref for Fickle {
    type Target = [u64];
    fn deref(&self) -> &[u64] {
        self.asked.set(self.asked.get() + 1);
        assert!(self.asked.get() != self.panics_at, "asked too often");
        &self.numbers[self.asked.get() * 1000..]
    }
}

#[test]
fn an_item_that_lends_other_numbers_each_time_mixes_nothing_up() {
    on_each_pool(1, 120, |pool| {
        let items = [usize::MAX; 3].map(Fickle::new);
        let is_one_of_them =
            |seen: &[u64]| (seen.len() % 1000, digest(seen) == digest(&numbers(7, 2 * LONG)[2 * LONG - seen.len()..]));
        let results = pool.ref_tasks(is_one_of_them, items).run().unwrap();
        assert_eq!(results, [(2 * LONG % 1000, true); 3]);
    });
}

#[test]
fn an_item_that_panics_when_it_is_asked_again_goes_to_the_caller() {
    on_each_pool(2, 120, |pool| {
        let before: Vec<_> = (1..5).map(|seed| digest(&numbers(seed, LONG))).collect();
        for panics_at in [1, 2] {
            let items = || {
                let good = (1..5).map(|seed| Box::new(numbers(seed, LONG)) as Box<dyn Deref<Target = [u64]>>);
                good.chain([Box::new(Fickle::new(panics_at)) as _])
            };
            let run =
                catch_unwind(AssertUnwindSafe(|| pool.ref_tasks(|it: &[u64]| digest(it), items().map(Again)).run()));
            assert_eq!(*run.unwrap_err().downcast::<&str>().unwrap(), "asked too often");
            let mut seen = Vec::new();
            let streamed = catch_unwind(AssertUnwindSafe(|| {
                pool.ref_tasks(|it: &[u64]| digest(it), items().map(Again))
                    .iter()
                    .for_each(|it| seen.push(it.unwrap()));
            }));
            assert_eq!(*streamed.unwrap_err().downcast::<&str>().unwrap(), "asked too often");
            assert_eq!(seen, before);
        }
        assert_eq!(pool.map(digest_of, vectors()).unwrap(), vectors().map(digest_of).collect::<Vec<_>>());
    });
}

struct Again(Box<dyn Deref<Target = [u64]>>);

impl Deref for Again {
    type Target = [u64];
    fn deref(&self) -> &[u64] {
        &self.0
    }
}

/// Its iterator is asked for no more than there is room for, however long each vector is.
#[test]
fn a_stream_of_them_stays_lazy() {
    on_ring_pool(1, 120, |pool| {
        let made = Cell::new(0);
        let endless = (0..).map(|seed| {
            made.set(made.get() + 1);
            numbers(seed, LONG)
        });
        let first: Vec<_> = pool.imap(digest_of, endless).take(50).map(Result::unwrap).collect();
        assert_eq!(first, (0..50).map(|seed| digest(&numbers(seed, LONG))).collect::<Vec<_>>());
        // So much may be under way.
        assert!(made.get() < 50 + 2 * (RING / LONG / 8), "{}", made.get());
    });
}
