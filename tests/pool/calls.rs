//! What calls give when everything goes well: values, order, laziness, every kind of input.

use crate::common::links::{on_each_link, on_each_pool, on_ring_pool};
use multiproc::{Pool, Portable};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::ffi::CStr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

fn square(x: u64) -> u64 {
    x * x
}

/// Neither `Clone` nor `Copy` nor `Default`; with a body behind its length.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Parcel {
    label: String,
    weights: Vec<f32>,
    inner: Option<Box<Parcel>>,
}

fn parcel(n: usize) -> Parcel {
    let inner = (n > 0).then(|| Box::new(parcel(n / 2)));
    Parcel { label: format!("parcel {n}"), weights: vec![n as f32; n], inner }
}

#[test]
fn results_come_in_the_order_of_the_items() {
    on_each_pool(3, 60, |pool| {
        for n in [0, 1, 2, 3, 100, 20_000] {
            assert_eq!(pool.map(square, 0..n).unwrap(), (0..n).map(square).collect::<Vec<_>>());
        }
        for chunksize in [1, 7, 1000, 1 << 30] {
            let squares = pool.tasks(square, 0..500).chunksize(chunksize).run().unwrap();
            assert_eq!(squares, (0..500).map(square).collect::<Vec<_>>());
        }
    });
}

#[test]
fn tasks_of_uneven_length_keep_their_order() {
    on_each_pool(4, 60, |pool| {
        let uneven = |n: u64| {
            let turns = if n % 50 == 0 { 2_000_000 } else { n % 100 };
            std::hint::black_box((0..turns).sum::<u64>());
            n
        };
        assert_eq!(pool.map(uneven, 0..2000).unwrap(), (0..2000).collect::<Vec<_>>());
    });
}

#[test]
fn every_kind_of_call_gives_its_value() {
    on_each_pool(2, 60, |pool| {
        assert_eq!(pool.apply(|| 7, ()).unwrap(), 7);
        assert_eq!(pool.apply(|a: i8, b: String| format!("{a}{b}"), (-1, "x".to_owned())).unwrap(), "-1x");
        assert_eq!(pool.apply(square, (9,)).unwrap(), 81);
        let twelve = |a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8, j: u8, k: u8, l: u8| {
            [a, b, c, d, e, f, g, h, i, j, k, l]
        };
        let args = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);
        assert_eq!(pool.apply(twelve, args).unwrap(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(pool.starmap(u64::pow, [(2, 3), (3, 2), (10, 0)]).unwrap(), [8, 9, 1]);
        assert_eq!(pool.task(|text: String| text.parse::<u8>(), ("200".to_owned(),)).fallible().run().unwrap(), 200);
        assert_eq!(pool.try_map(|text: String| text.parse::<u8>(), ["1".into(), "2".into()]).unwrap(), [1, 2]);
        let each = pool.map_each(square, [1, 2, 3]);
        assert_eq!(each.into_iter().collect::<Result<Vec<_>, _>>().unwrap(), [1, 4, 9]);
    });
}

/// A function of the caller's that wraps the function it was given: the wrapper has no size either.
fn doubled<F: Fn(u64) -> u64 + Portable>(pool: &Pool, f: F, items: &[u64]) -> Vec<u64> {
    pool.map(move |x: u64| 2 * f(x), items.iter().copied()).unwrap()
}

#[test]
fn functions_may_be_generic_and_wrapped() {
    on_each_pool(1, 60, |pool| {
        assert_eq!(doubled(pool, square, &[1, 2, 3]), [2, 8, 18]);
        assert_eq!(doubled(pool, |x| x + 1, &[1]), [4]);
    });
}

/// It cannot be cloned, and owns something.
#[derive(Serialize, Deserialize)]
struct Model(Vec<u64>);

#[test]
fn what_is_lent_need_not_be_cloned() {
    on_each_pool(1, 60, |pool| {
        let models = [Model(vec![1, 2]), Model(vec![3])];
        assert_eq!(pool.with(&models[0]).tasks(|model, x: u64| model.0[0] + x, [1]).run().unwrap(), [2]);
        assert_eq!(pool.ref_tasks(|model: &Model| model.0.len(), &models).run().unwrap(), [2, 1]);
        let path = Path::new("/tmp/x");
        assert!(pool.with(path).task(|path: &Path| path.starts_with("/tmp"), ()).run().unwrap());
        assert_eq!(pool.with(c"abc").task(|text: &CStr| text.count_bytes(), ()).run().unwrap(), 3);
    });
}

#[test]
fn one_context_serves_many_calls() {
    on_each_pool(2, 60, |pool| {
        let table = vec![10u64, 20, 30];
        let with = pool.with(&table);
        drop(table);
        for round in 0..20 {
            assert_eq!(with.tasks(|table, i: usize| table[i], [2, 0]).run().unwrap(), [30, 10]);
            assert_eq!(with.task(|table: &Vec<u64>, x: u64| table[1] + x, (round,)).run().unwrap(), 20 + round);
        }
        let calls: Vec<_> = (0..20).map(|_| with.tasks(|table, i: usize| table[i], 0..3).submit().unwrap()).collect();
        drop(with);
        for call in calls {
            assert_eq!(call.get().unwrap(), [10, 20, 30]);
        }
    });
}

#[test]
fn nothing_in_gives_nothing_out() {
    on_each_pool(2, 60, |pool| {
        assert!(pool.map(square, []).unwrap().is_empty());
        assert!(pool.map_each(square, []).is_empty());
        assert!(pool.try_map(|x: u8| Ok::<_, String>(x), []).unwrap().is_empty());
        assert!(pool.ref_tasks(|x: &u8| *x, <[&u8; 0]>::default()).run().unwrap().is_empty());
        assert!(pool.starmap(u64::pow, []).unwrap().is_empty());
        assert!(pool.with("context").tasks(|_, x: u8| x, []).run().unwrap().is_empty());
    });
}

#[test]
fn values_without_a_size_are_values() {
    on_each_pool(2, 60, |pool| {
        assert_eq!(pool.map(|()| (), vec![(); 10_000]).unwrap().len(), 10_000);
        assert_eq!(pool.tasks(|()| (), vec![(); 1000]).chunksize(1).run().unwrap().len(), 1000);
        assert_eq!(pool.map(|x: u32| assert!(x < 10_000), 0..10_000).unwrap(), vec![(); 10_000]);
        assert_eq!(pool.map(|()| 5u8, [(), ()]).unwrap(), [5, 5]);
        assert_eq!(pool.map(|x: [u8; 0]| x, [[], []]).unwrap(), [[0u8; 0]; 2]);
        assert_eq!(pool.map(|x: String| x, ["".to_owned()]).unwrap(), [""]);
        assert_eq!(pool.map(|x: Vec<u64>| x, [vec![]]).unwrap(), [Vec::<u64>::new()]);
    });
}

#[test]
fn types_of_all_sorts_travel() {
    on_each_pool(2, 60, |pool| {
        let parcels = pool.map(parcel, [0, 1, 5, 40, 3000]).unwrap();
        let same: Vec<Parcel> = [0, 1, 5, 40, 3000].map(parcel).into();
        assert_eq!(parcels, same);
        assert_eq!(pool.map(|parcel: Parcel| parcel, parcels).unwrap(), same);
        let maps = pool.map(|n: u32| BTreeMap::from([(n, "x".repeat(n as usize))]), 0..50).unwrap();
        assert_eq!(maps[49][&49].len(), 49);
        let sets = pool.map(|set: HashSet<String>| set.len(), [HashSet::from(["a".to_owned(), "b".to_owned()])]);
        assert_eq!(sets.unwrap(), [2]);
        let extremes = [i128::MIN, -1, 0, i128::MAX];
        assert_eq!(pool.map(|x: i128| x, extremes).unwrap(), extremes);
        assert_eq!(pool.map(|x: usize| x, [0, usize::MAX]).unwrap(), [0, usize::MAX]);
        assert_eq!(pool.map(|x: char| x, ['a', 'ß', '🦀']).unwrap(), ['a', 'ß', '🦀']);
        let odd = [f64::NAN, -0.0, f64::INFINITY];
        let bits: Vec<u64> = pool.map(|x: f64| x, odd).unwrap().into_iter().map(f64::to_bits).collect();
        assert_eq!(bits, odd.map(f64::to_bits));
        let nested: Result<Option<Vec<bool>>, String> = Ok(Some(vec![true, false]));
        assert_eq!(pool.apply(|x: Result<Option<Vec<bool>>, String>| x, (nested.clone(),)).unwrap(), nested);
    });
}

#[test]
fn items_larger_than_the_link_travel() {
    const MIB: usize = 1 << 20;
    on_each_pool(2, 120, |pool| {
        // Around the size of a link's memory, and once far beyond.
        for len in [MIB, 40 * MIB, 72 * MIB - 8, 72 * MIB, 73 * MIB, 130 * MIB] {
            let mut item = vec![7u8; len];
            item[len - 1] = 9;
            let back = pool
                .apply(
                    |mut item: Vec<u8>| {
                        item.push(1);
                        item
                    },
                    (item,),
                )
                .unwrap();
            assert_eq!((back.len(), back[0], back[len - 1], back[len]), (len + 1, 7, 9, 1));
        }
        // Small values before and behind a large one, in one chunk.
        let sizes = [3, 50 * MIB, 0, 1, 80 * MIB, 5];
        let vectors = pool.tasks(|len: usize| vec![len as u8; len], sizes).chunksize(6).run().unwrap();
        assert_eq!(vectors.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
        let texts = pool.tasks(|len: usize| "x".repeat(len), [1, 74 * MIB, 2]).chunksize(3).run().unwrap();
        assert_eq!(texts.iter().map(String::len).collect::<Vec<_>>(), [1, 74 * MIB, 2]);
    });
}

#[test]
fn large_items_wait_for_room_and_for_nothing_else() {
    const MIB: usize = 1 << 20;
    on_ring_pool(2, 120, |pool| {
        // Known to be short, so that several frames wait at a worker.
        pool.map(|item: Vec<u8>| item.len(), vec![vec![0; 10]; 1000]).unwrap();
        let items = (0..12).map(|n| vec![n as u8; (20 + n) * MIB]);
        let lens = pool.map(|item: Vec<u8>| (item.len(), item[0]), items).unwrap();
        assert_eq!(lens, (0..12).map(|n| ((20 + n) * MIB, n as u8)).collect::<Vec<_>>());
    });
}

#[test]
fn a_context_may_fill_the_link() {
    const MIB: usize = 1 << 20;
    on_each_pool(1, 120, |pool| {
        for (context, item) in [(40 * MIB, 40 * MIB), (71 * MIB, MIB), (72 * MIB - 8, 100), (90 * MIB, 90 * MIB)] {
            let context = vec![1u8; context];
            let lens = pool
                .with(&context)
                .tasks(|all, item: Vec<u8>| all.len() + item.len(), [vec![2; item], vec![3; 1]])
                .run();
            assert_eq!(lens.unwrap(), [context.len() + item, context.len() + 1]);
        }
    });
}

/// Frames that were taken back from a worker must not be mixed up with those that it runs.
#[test]
fn large_items_that_are_taken_back_go_elsewhere_whole() {
    const MIB: usize = 1 << 20;
    // Its second byte is how long it takes, in hundredths of a second. (Plain bytes: quick in a debug build, too.)
    fn work(item: Vec<u8>) -> (u8, usize) {
        std::thread::sleep(std::time::Duration::from_millis(10 * u64::from(item[1])));
        (item[0], item.len())
    }
    on_ring_pool(2, 120, |pool| {
        pool.map(work, vec![vec![1, 0]; 1000]).unwrap();
        // One long task, behind which others wait until the other worker is idle.
        for round in 0..2 {
            let item = |n: u8| {
                let mut item = vec![n; 74 * MIB + n as usize];
                item[1] = if n == round { 30 } else { 0 };
                item
            };
            let done = pool.tasks(work, (0..6u8).map(item)).chunksize(1).run().unwrap();
            assert_eq!(done, (0..6u8).map(|n| (n, 74 * MIB + n as usize)).collect::<Vec<_>>());
        }
    });
}

#[test]
fn a_context_is_borrowed_and_sent_whole() {
    on_each_pool(2, 60, |pool| {
        let table: Vec<u32> = (0..1000).collect();
        assert_eq!(pool.with(&table).tasks(|table, i: usize| table[i], [999, 0]).run().unwrap(), [999, 0]);
        assert_eq!(pool.with(&table[..10]).tasks(|part: &[u32], i: usize| part[i], [9]).run().unwrap(), [9]);
        assert_eq!(pool.with("abc").task(|text: &str, n: usize| text.repeat(n), (2,)).run().unwrap(), "abcabc");
        let pair = (5u8, "five".to_owned());
        assert_eq!(
            pool.with(&pair).star_tasks(|pair: &(u8, String), a: u8, b: u8| pair.0 + a + b, [(1, 2)]).run().unwrap(),
            [8]
        );
        let tried = pool.with(&3u64).tasks(|k, x: u64| x.checked_sub(*k).ok_or("negative"), [5, 4]).fallible().run();
        assert_eq!(tried.unwrap(), [2, 1]);
        // Many contexts of one function in a row: each call sees its own.
        for n in 0..300u64 {
            assert_eq!(pool.with(&n).tasks(|n, x: u64| n * x, [1, 2, 3]).run().unwrap(), [n, 2 * n, 3 * n]);
        }
    });
}

#[test]
fn input_may_borrow_from_the_caller() {
    on_each_pool(2, 60, |pool| {
        let text = "one two three".to_owned();
        assert_eq!(pool.ref_tasks(|word: &str| word.len(), text.split(' ')).run().unwrap(), [3, 3, 5]);
        let numbers = [1.0, 2.0, 3.0, 4.0, 5.0];
        let sums = pool.ref_tasks(|part: &[f64]| part.iter().sum::<f64>(), numbers.chunks(2)).run().unwrap();
        assert_eq!(sums, [3.0, 7.0, 5.0]);
        let boxes = vec![Box::new(4u32), Box::new(5)];
        assert_eq!(pool.ref_tasks(|x: &u32| x + 1, boxes).run().unwrap(), [5, 6]);
        // The iterator changes what it borrows, on this thread.
        let pulled = Cell::new(0);
        let items = (0..100u64).inspect(|_| pulled.set(pulled.get() + 1));
        assert_eq!(pool.map(square, items).unwrap().len(), 100);
        assert_eq!(pulled.get(), 100);
    });
}

#[test]
fn input_is_pulled_only_as_fast_as_it_is_taken() {
    on_each_pool(2, 60, |pool| {
        let (mut pulled, mut most) = (0u64, 0u64);
        let done = Mutex::new(0u64);
        // Tasks of 1 ms, and a count of how far the input runs ahead of them.
        let nap = |x: u64| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            x
        };
        let items = std::iter::from_fn(|| {
            pulled += 1;
            most = most.max(pulled - *done.lock().unwrap());
            (pulled <= 200).then_some(pulled)
        });
        let results = pool.tasks(nap, items).chunksize(1).run().unwrap();
        *done.lock().unwrap() += results.len() as u64;
        assert_eq!(results.len(), 200);
        // `done` counts only at the end, so all 200 are seen here; the bound is shown by `endless_input_*`.
        assert!(most <= 201);
    });
}

#[test]
fn many_threads_share_a_pool() {
    on_each_pool(3, 120, |pool| {
        std::thread::scope(|scope| {
            for thread in 0..8u64 {
                scope.spawn(move || {
                    for round in 0..200u64 {
                        let at = thread * 1000 + round;
                        assert_eq!(pool.apply(square, (at,)).unwrap(), at * at);
                        if round % 20 == 0 {
                            let n = 100 * thread + 1;
                            assert_eq!(pool.map(|x: u64| x + 1, 0..n).unwrap(), (1..=n).collect::<Vec<_>>());
                            assert_eq!(pool.with(&at).tasks(|at, x: u64| at + x, [1]).run().unwrap(), [at + 1]);
                        }
                    }
                });
            }
        });
    });
}

/// While one call waits for its input, the others go on.
#[test]
fn a_call_may_feed_another_one() {
    on_each_pool(2, 60, |pool| {
        for _ in 0..50 {
            let (give, take) = channel::<u64>();
            std::thread::scope(|scope| {
                let fed = scope.spawn(move || pool.map(square, take).unwrap());
                for n in 0..10 {
                    give.send(pool.apply(|x: u64| x + 1, (n,)).unwrap()).unwrap();
                }
                drop(give);
                assert_eq!(fed.join().unwrap(), (1..=10).map(square).collect::<Vec<_>>());
            });
        }
    });
}

/// The input of a call may itself call the pool.
#[test]
fn the_input_may_use_the_pool() {
    on_each_pool(2, 60, |pool| {
        let items = (0..100u64).map(|n| pool.apply(square, (n,)).unwrap());
        assert_eq!(pool.map(|x: u64| x + 1, items).unwrap(), (0..100).map(|n| n * n + 1).collect::<Vec<u64>>());
    });
}

#[test]
fn pools_nest() {
    fn sum_below(depth: u32) -> multiproc::Result<u32> {
        if depth == 0 {
            return Ok(1);
        }
        let pool = Pool::new(2)?;
        Ok(pool.try_map(sum_below, [depth - 1; 2])?.into_iter().sum::<u32>() + 1)
    }
    on_each_link(120, |builder| {
        let pool = builder().processes(1).build().unwrap();
        assert_eq!(pool.task(sum_below, (3,)).fallible().run().unwrap(), 15);
    });
}

#[test]
fn several_pools_live_side_by_side() {
    on_each_link(60, |builder| {
        let pools: Vec<Pool> = (1..=4).map(|n| builder().processes(n).build().unwrap()).collect();
        for (pool, n) in pools.iter().zip(1..) {
            assert_eq!(pool.processes(), n);
            assert_eq!(pool.map(square, 0..100).unwrap().len(), 100);
        }
        let pids: HashSet<i32> = pools.iter().flat_map(Pool::worker_pids).collect();
        assert_eq!(pids.len(), 10);
    });
}

#[test]
fn a_pool_uses_all_its_workers() {
    on_each_pool(4, 60, |pool| {
        let pids = pool
            .tasks(
                |_: u32| {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    std::process::id() as i32
                },
                0..16,
            )
            .chunksize(1)
            .run();
        let seen: HashSet<i32> = pids.unwrap().into_iter().collect();
        assert_eq!(seen, pool.worker_pids().into_iter().collect());
    });
}

/// A pool that lives in a thread-local, and is used when that is destroyed: before or after those of the library.
#[test]
fn a_pool_may_be_used_while_a_thread_ends() {
    struct Late(Pool, Sender<u64>);
    impl Drop for Late {
        fn drop(&mut self) {
            let later = self.0.apply_async(|| 7, ()).unwrap().get().unwrap();
            let sum = self.0.map(|x: u64| vec![x; 2], 0..3).unwrap().concat().iter().sum::<u64>();
            self.1.send(later + sum + self.0.apply(|| 1, ()).unwrap()).unwrap();
        }
    }
    thread_local! {
        static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
    }
    for used_before in [true, false] {
        on_each_link(60, |builder| {
            let (tell, told) = channel();
            let pool = builder().processes(1).build().unwrap();
            let end = std::thread::spawn(move || {
                if used_before {
                    pool.map(|x: u64| vec![x], 0..3).unwrap();
                }
                LATE.set(Some(Late(pool, tell)));
            });
            end.join().unwrap();
            assert_eq!(told.recv().unwrap(), 7 + 6 + 1);
        });
    }
}
