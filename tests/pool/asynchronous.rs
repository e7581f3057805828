//! Several results at once, and results for tasks of a runtime.

use super::common::links::{HANDLES, on_each_pool, on_nodes, on_processes_and_threads};
use super::common::proc::{kill, own_pid};
use multiproc::{AsyncResult, Event, Pool, as_completed, wait_any, wait_any_timeout};
use std::sync::mpsc::channel;
use std::task::Poll;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

/// A task that ends when it is told to.
fn wait_for(go: Event, x: u32) -> u32 {
    go.wait();
    x
}

fn gated(pool: &Pool, count: u32) -> (Vec<Event>, Vec<AsyncResult<u32>>) {
    let gates: Vec<Event> = (0..count).map(|_| Event::new()).collect();
    let start = |(x, go): (u32, &Event)| pool.apply_async(wait_for, (go.clone(), x)).unwrap();
    let results = (0..count).zip(&gates).map(start).collect();
    (gates, results)
}

#[test]
fn the_first_of_several() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(3, 60, |pool| {
        let none: [AsyncResult<u32>; 0] = [];
        assert_eq!((wait_any(&none), wait_any_timeout(&none, LONG)), (None, None));
        let (gates, results) = gated(pool, 3);
        assert_eq!(wait_any_timeout(&results, Duration::from_millis(5)), None);
        gates[1].set();
        assert_eq!((wait_any(&results), wait_any_timeout(&results, Duration::ZERO)), (Some(1), Some(1)));
        gates[0].set();
        results[0].wait();
        // Of those that are there the first.
        assert_eq!(wait_any(&results), Some(0));
        assert_eq!(wait_any(results[1..].iter().rev()), Some(1));
        gates[2].set();
        assert_eq!(results.into_iter().map(|result| result.get().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    });
}

#[test]
fn each_as_it_comes() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(3, 60, |pool| {
        let (gates, results) = gated(pool, 3);
        let mut completed = as_completed(results);
        assert!(completed.next_timeout(Duration::from_millis(5)).is_pending());
        for place in [2, 0, 1] {
            gates[place].set();
            assert_eq!(completed.size_hint().1, Some(completed.size_hint().0));
            let (which, result) = completed.next().unwrap();
            assert_eq!((which, result.unwrap()), (place, place as u32));
        }
        assert!(completed.next().is_none() && matches!(completed.next_timeout(LONG), Poll::Ready(None)));
        // With callbacks, which run before a result is there.
        let (gates, results) = gated(pool, 3);
        let (tell, told) = channel();
        let with_callback = |result: AsyncResult<u32>| {
            let tell = tell.clone();
            result.callback(move |x| tell.send(*x).unwrap())
        };
        let mut completed = as_completed(results.into_iter().map(with_callback));
        for place in [1, 2, 0] {
            gates[place].set();
            assert_eq!(completed.next().unwrap().1.unwrap(), place as u32);
            assert_eq!(told.try_recv(), Ok(place as u32));
        }
    });
}

#[test]
fn on_the_thread_where_callbacks_run() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(3, 60, |pool| {
        let (gates, mut results) = gated(pool, 3);
        let last = results.pop().unwrap();
        let (tell, told) = channel();
        gates[1].set();
        let outer = pool.apply_async(|| (), ()).unwrap().callback(move |()| {
            let first = wait_any(&results);
            gates.iter().for_each(Event::set);
            let mut all: Vec<_> = as_completed(results).map(|(_, result)| result.unwrap()).collect();
            all.sort_unstable();
            tell.send((first, all)).unwrap();
        });
        let (first, all) = told.recv_timeout(LONG).unwrap();
        assert!(first.is_some());
        assert_eq!(all, [0, 1]);
        outer.get().unwrap();
        assert_eq!(last.get().unwrap(), 2);
    });
}

#[test]
fn a_dead_worker_and_the_end_of_a_pool_are_ends_of_waits() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(2, 60, |pool| {
        let (gates, mut results) = gated(pool, 1);
        results.push(pool.apply_async(|| -> u32 { kill(own_pid()).into() }, ()).unwrap());
        assert_eq!(wait_any(&results), Some(1));
        let mut completed = as_completed(results);
        assert!(completed.next().unwrap().1.unwrap_err().is_worker_lost());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| completed.next().unwrap());
            pool.terminate();
            assert!(waiting.join().unwrap().1.unwrap_err().is_terminated());
        });
        drop(gates);
    });
}

#[cfg(feature = "stream")]
mod stream {
    use super::*;
    use futures_core::Stream;
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
        poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
    }

    /// The next item; `act` is called once the task waits for it.
    async fn next_after<S: Stream + Unpin>(stream: &mut S, act: impl FnOnce()) -> Option<S::Item> {
        let mut act = Some(act);
        poll_fn(|context| {
            let next = Pin::new(&mut *stream).poll_next(context);
            if next.is_pending() {
                act.take().into_iter().for_each(|act| act());
            }
            next
        })
        .await
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(LONG, future).await.expect("the task was not woken") })
    }

    fn on_every_kind_of_pool(workers: usize, test: impl Fn(&Pool)) {
        on_processes_and_threads(workers, 90, &test);
        println!("inline");
        test(&Pool::builder().inline().build().unwrap());
    }

    #[test]
    fn results_in_order_and_as_they_come() {
        on_every_kind_of_pool(2, |pool| {
            block_on(async {
                let mut squares = pool.tasks(|x: u64| (x, vec![x; 3]), 0..2000).iter();
                for x in 0..2000 {
                    assert_eq!(next(&mut squares).await.unwrap().unwrap(), (x, vec![x; 3]));
                }
                assert!(next(&mut squares).await.is_none());
                // An endless input, of which two are under way.
                let mut squares = pool.tasks(|x: u64| x * x, 0..).buffersize(2).unordered();
                let mut seen = Vec::new();
                for _ in 0..100 {
                    seen.push(next(&mut squares).await.unwrap().unwrap());
                }
                seen.sort_unstable();
                seen.dedup();
                assert!(seen.len() == 100 && seen.iter().all(|square| square.isqrt().pow(2) == *square), "{seen:?}");
            });
        });
    }

    #[test]
    fn a_task_waits_and_is_woken_whatever_happens() {
        if on_nodes(HANDLES) {
            return;
        }
        on_each_pool(2, 90, |pool| {
            let gate = Event::new();
            let wait = |go: Event, x: u32| {
                if x == 3 {
                    kill(own_pid());
                }
                go.wait();
                x
            };
            block_on(async {
                let mut results = pool.star_tasks(wait, (0..6).map(|x| (gate.clone(), x))).chunksize(1).iter();
                let pending =
                    poll_fn(|context| Poll::Ready(Pin::new(&mut results).poll_next(context).is_pending())).await;
                assert!(pending);
                gate.set();
                for x in 0..6 {
                    let result = next(&mut results).await.unwrap();
                    assert_eq!(result.is_err(), x == 3, "{result:?}");
                }
                // All workers are taken by another call: it is woken when there is room.
                gate.clear();
                let taken = pool.star_tasks(wait, (10..12).map(|x| (gate.clone(), x))).chunksize(1).submit().unwrap();
                let mut late = pool.imap(|x: u32| x, 0..3);
                assert_eq!(next_after(&mut late, || gate.set()).await.unwrap().unwrap(), 0);
                assert_eq!(taken.get().unwrap(), [10, 11]);
                assert_eq!(next(&mut late).await.unwrap().unwrap(), 1);
                assert_eq!(next(&mut late).await.unwrap().unwrap(), 2);
                assert!(next(&mut late).await.is_none());
                // The pool ends.
                gate.clear();
                let mut last = pool.star_tasks(wait, [(gate.clone(), 20)]).iter();
                poll_fn(|context| {
                    assert!(Pin::new(&mut last).poll_next(context).is_pending());
                    context.waker().wake_by_ref();
                    if pool.stats().running == 1 { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                let result = next_after(&mut last, || pool.terminate()).await;
                assert!(result.unwrap().unwrap_err().is_terminated());
            });
        });
    }

    #[test]
    fn a_repetition_wakes_who_waits() {
        if on_nodes(HANDLES) {
            return;
        }
        on_every_kind_of_pool(1, |pool| {
            let tries = multiproc::RawValue::new(0u32);
            let flaky = |tries: multiproc::RawValue<u32>| assert!(tries.fetch_add(1) == 2, "not yet");
            let retry = multiproc::Retry::new(2).backoff(Duration::from_millis(5)).only(|error| error.is_panic());
            block_on(async {
                let mut results = pool.tasks(flaky, [tries.clone()]).retry(retry).iter();
                next(&mut results).await.unwrap().unwrap();
                assert!(next(&mut results).await.is_none());
            });
        });
    }

    #[test]
    fn many_streams_on_many_threads() {
        on_every_kind_of_pool(2, |pool| {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            COUNT.store(0, Relaxed);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        block_on(async {
                            let mut results = pool.tasks(|x: u32| x, 0..500).unordered();
                            while let Some(result) = next(&mut results).await {
                                result.unwrap();
                                COUNT.fetch_add(1, Relaxed);
                            }
                        });
                    });
                }
            });
            assert_eq!(COUNT.load(Relaxed), 2000);
        });
    }

    #[test]
    fn completed_results_are_a_stream() {
        if on_nodes(HANDLES) {
            return;
        }
        on_processes_and_threads(3, 60, |pool| {
            let (gates, results) = gated(pool, 3);
            block_on(async {
                let mut completed = as_completed(results);
                for place in [2, 0, 1] {
                    let (done, _) = next_after(&mut completed, || gates[place].set()).await.unwrap();
                    assert_eq!(done, place);
                }
                assert!(next(&mut completed).await.is_none());
            });
        });
    }
}
