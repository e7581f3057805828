//! Results that are asked for later: `apply_async`, `map_async`, callbacks, futures, cancelling.

use super::common::links::{HANDLES, on_each_link, on_each_pool, on_nodes, on_ring_pool};
use super::common::proc::eventually;
use super::common::signals::stop_self;
use multiproc::{AsyncResult, Event, Pool, RawValue};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

fn sleep(ms: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    ms
}

const SOON: Duration = Duration::from_secs(30);

#[test]
fn results_come_later_in_any_order() {
    on_each_pool(2, 60, |pool| {
        let mut results: Vec<_> = (0..500u64).map(|x| (x, pool.apply_async(|x: u64| x * x, (x,)).unwrap())).collect();
        let many = pool.map_async(|x: u64| x + 1, 0..10_000).unwrap();
        while let Some((x, result)) = results.pop() {
            assert_eq!(result.get().unwrap(), x * x);
        }
        assert_eq!(many.get().unwrap(), (1..=10_000).collect::<Vec<_>>());
        let words = pool.starmap_async(|a: String, n: usize| a.repeat(n), [("a".to_owned(), 1), ("b".to_owned(), 2)]);
        assert_eq!(words.unwrap().get().unwrap(), ["a", "bb"]);
        let empty = pool.map_async(|x: u64| x, []).unwrap();
        assert!(empty.ready());
        assert!(empty.get().unwrap().is_empty());
        let with = pool.with(&10).tasks(|ten: &i32, x: i32| ten * x, 0..3).submit().unwrap();
        assert_eq!(with.get().unwrap(), [0, 10, 20]);
        let error = pool.task(|x: i32| if x > 0 { Ok(x) } else { Err("no") }, (0,)).fallible().submit().unwrap().get();
        assert!(error.unwrap_err().is_error());
    });
}

#[test]
fn waiting_has_three_forms() {
    on_each_pool(1, 60, |pool| {
        let mut result = pool.apply_async(sleep, (300,)).unwrap();
        assert!(!result.ready() && result.successful().is_none());
        assert!(!result.wait_timeout(Duration::from_millis(1)));
        assert!(result.get_timeout(Duration::from_millis(1)).is_none());
        result.wait();
        assert!(result.ready() && result.successful() == Some(true));
        assert_eq!(result.get_timeout(Duration::ZERO).unwrap().unwrap(), 300);
        let failed = pool.apply_async(|x: i32| assert!(x > 0), (0,)).unwrap();
        failed.wait();
        assert_eq!(failed.successful(), Some(false));
        assert!(failed.get().unwrap_err().is_panic());
    });
}

#[test]
fn a_blocking_call_is_not_starved_by_a_long_one_in_the_background() {
    on_ring_pool(2, 60, |pool| {
        let long = pool.map_async(|_: u32| sleep(2), 0..2000).unwrap();
        assert_eq!(pool.map(|x: u64| x, 0..20).unwrap().len(), 20);
        assert!(!long.ready(), "it has waited for all of them");
        assert_eq!(long.get().unwrap().len(), 2000);
    });
}

#[test]
fn callbacks_come_before_ready_and_a_panic_in_one_hurts_nobody() {
    on_each_pool(1, 60, |pool| {
        let (tell, told) = mpsc::channel();
        let tell_too = tell.clone();
        let result = pool.apply_async(|x: i32| x + 1, (1,)).unwrap();
        let result = result.callback(|_| panic!("a callback that panics, on purpose"));
        let result = result.callback(move |value| tell.send(*value).unwrap()).error_callback(|_| unreachable!());
        assert_eq!(told.recv_timeout(SOON).unwrap(), 2);
        assert_eq!(result.get().unwrap(), 2);
        let failed = pool.apply_async(|x: i32| assert!(x > 0), (0,)).unwrap();
        let failed = failed.callback(|()| unreachable!()).error_callback(move |error| {
            tell_too.send(if error.is_panic() { 7 } else { 8 }).unwrap();
        });
        assert_eq!(told.recv_timeout(SOON).unwrap(), 7);
        assert!(failed.get().unwrap_err().is_panic());
        // Set after the end, it is called as well.
        let late = pool.apply_async(|| 5, ()).unwrap();
        late.wait();
        let (tell, told) = mpsc::channel();
        drop(late.callback(move |value| tell.send(*value).unwrap()));
        assert_eq!(told.recv_timeout(SOON).unwrap(), 5);
    });
}

#[test]
fn a_result_is_a_future() {
    struct Flag(std::thread::Thread);
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    fn block_on<F: Future>(future: F) -> F::Output {
        let mut future = Box::pin(future);
        let waker = Waker::from(Arc::new(Flag(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(value) => return value,
                Poll::Pending => std::thread::park_timeout(SOON),
            }
        }
    }
    on_each_pool(2, 60, |pool| {
        let (a, b) = (pool.apply_async(sleep, (30,)).unwrap(), pool.map_async(sleep, [1, 2, 3]).unwrap());
        assert_eq!(block_on(async { (a.await.unwrap(), b.await.unwrap()) }), (30, vec![1, 2, 3]));
        let called = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&called);
        let c = pool.apply_async(sleep, (20,)).unwrap().callback(move |_| assert!(count.fetch_add(1, SeqCst) < 9));
        assert_eq!((block_on(c).unwrap(), called.load(SeqCst)), (20, 1));
        let lost = pool.apply_async(|| -> () { std::process::abort() }, ()).unwrap();
        assert!(block_on(lost).unwrap_err().is_worker_lost());
    });
}

// tokio does not build for the model checker without a switch of its own.
#[cfg(not(loom))]
#[test]
fn a_result_is_a_future_under_tokio() {
    on_each_pool(2, 60, |pool| {
        let current = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        for runtime in [current, threads] {
            let sum = runtime.block_on(async {
                let later = |ms| pool.apply_async(sleep, (ms,)).unwrap();
                let spawned: Vec<_> = (1..20).map(|ms| tokio::spawn(later(ms))).collect();
                let mut sum = 0;
                for task in spawned {
                    sum += task.await.unwrap().unwrap();
                }
                // A future that loses against the clock is dropped, and its task cancelled or left alone.
                let slow = tokio::time::timeout(Duration::from_millis(1), later(200)).await;
                assert!(slow.is_err());
                sum + later(5).await.unwrap()
            });
            assert_eq!(sum, (1..20).sum::<u64>() + 5);
        }
    });
}

#[test]
fn what_has_not_begun_can_be_cancelled() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(1, 60, |pool| {
        let started = RawValue::new(0u32);
        let hold = |started: RawValue<u32>| {
            started.fetch_add(1);
            sleep(300)
        };
        let running = pool.apply_async(hold, (started.clone(),)).unwrap();
        let queued = pool.apply_async(hold, (started.clone(),)).unwrap();
        assert!(eventually(SOON, || started.get() == 1));
        assert!(!running.cancel());
        assert!(queued.cancel());
        assert!(!queued.cancel());
        assert!(queued.get().unwrap_err().is_cancelled());
        let dropped = pool.apply_async(hold, (started.clone(),)).unwrap();
        drop(dropped);
        let many = pool.map_async(|started: RawValue<u32>| started.fetch_add(1), vec![started.clone(); 1000]).unwrap();
        assert!(many.cancel());
        assert!(many.get().unwrap_err().is_cancelled());
        assert_eq!(running.get().unwrap(), 300);
        assert_eq!(pool.apply(|x: u32| x, (1,)).unwrap(), 1);
        assert_eq!(started.get(), 1);
    });
}

#[test]
fn a_detached_call_runs_on() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(1, 60, |pool| {
        let count = RawValue::new(0u32);
        let add = |count: RawValue<u32>| count.fetch_add(1);
        pool.apply_async(add, (count.clone(),)).unwrap().detach();
        pool.map_async(add, vec![count.clone(); 100]).unwrap().detach();
        assert!(eventually(SOON, || count.get() == 101));
    });
}

#[test]
fn a_running_task_can_be_killed_and_nobody_else() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(2, 60, |pool| {
        let started = RawValue::new(0u32);
        let hang = |started: RawValue<u32>| {
            started.fetch_add(1);
            sleep(1_000_000)
        };
        for round in 0..5 {
            let hanging = pool.apply_async(hang, (started.clone(),)).unwrap();
            let others: Vec<_> = (0..20).map(|_| pool.apply_async(sleep, (1,)).unwrap()).collect();
            assert!(eventually(SOON, || started.get() == round + 1));
            hanging.kill();
            assert!(hanging.get().unwrap_err().is_cancelled());
            for other in others {
                assert_eq!(other.get().unwrap(), 1);
            }
        }
        assert_eq!(pool.map(sleep, [1; 20]).unwrap(), [1; 20]);
    });
}

#[test]
fn every_handle_resolves_when_the_pool_ends() {
    on_each_link(60, |builder| {
        let pool = builder().processes(1).build().unwrap();
        let mut all: Vec<_> = (0..20).map(|_| pool.apply_async(sleep, (100_000,)).unwrap()).collect();
        let (tell, told) = mpsc::channel();
        let last = all.pop().unwrap().error_callback(move |error| tell.send(error.is_terminated()).unwrap());
        pool.terminate();
        for result in all {
            assert!(result.get().unwrap_err().is_terminated());
        }
        assert!(told.recv_timeout(SOON).unwrap());
        assert!(last.get().unwrap_err().is_terminated());
        assert!(pool.apply_async(sleep, (1,)).unwrap_err().is_terminated());
        // Closing lets them all end.
        let pool = builder().processes(2).build().unwrap();
        let many = pool.map_async(sleep, [1; 200]).unwrap();
        pool.close();
        assert!(pool.apply_async(sleep, (1,)).unwrap_err().is_not_running());
        pool.join().unwrap();
        assert!(many.ready());
        assert_eq!(many.get().unwrap(), [1; 200]);
    });
}

#[test]
fn a_lost_worker_fails_one_task_of_many_in_the_background() {
    on_each_pool(2, 60, |pool| {
        let many: Vec<_> = (0..100u32)
            .map(|x| pool.apply_async(|x: u32| if x == 42 { std::process::abort() } else { x }, (x,)).unwrap())
            .collect();
        let errors: Vec<_> = many.into_iter().filter_map(|it| it.get().err()).collect();
        assert_eq!(errors.len(), 1);
        assert!(errors[0].is_worker_lost());
    });
}

#[test]
fn threads_share_a_pool() {
    on_ring_pool(2, 60, |pool: &Pool| {
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                scope.spawn(move || {
                    for round in 0..50 {
                        let later = pool.map_async(|x: u64| x + 1, 0..100).unwrap();
                        assert_eq!(pool.apply(|x: u64| x, (thread,)).unwrap(), thread);
                        let streamed: Vec<u64> = pool.imap(|x: u64| x * 2, 0..50).map(Result::unwrap).collect();
                        assert_eq!(streamed, (0..50).map(|x| x * 2).collect::<Vec<_>>(), "{round}");
                        assert_eq!(later.get().unwrap(), (1..=100).collect::<Vec<_>>());
                    }
                });
            }
        });
    });
}

#[test]
fn a_stopped_task_can_be_killed() {
    on_each_pool(1, 60, |pool| {
        let stop_and_hang = || {
            stop_self();
            sleep(1_000_000)
        };
        for _ in 0..5 {
            assert!(eventually(SOON, || pool.worker_pids().len() == 1));
            let pid = pool.worker_pids()[0];
            let stopped = pool.apply_async(stop_and_hang, ()).unwrap();
            let is_stopped = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ");
            assert!(eventually(SOON, is_stopped));
            let behind = pool.apply_async(sleep, (2,)).unwrap();
            stopped.kill();
            assert!(stopped.get().unwrap_err().is_cancelled());
            assert_eq!(behind.get().unwrap(), 2);
        }
    });
}

#[test]
fn a_callback_may_wait_for_a_result_that_has_callbacks() {
    on_each_pool(2, 60, |pool| {
        for (first, second) in [(1, 100), (100, 1)] {
            let (tell, told) = mpsc::channel();
            let note = tell.clone();
            let inner = pool.apply_async(sleep, (second,)).unwrap().callback(move |ms| note.send(*ms).unwrap());
            let wait = move |ms: &u64| tell.send(1_000 + *ms + inner.get().unwrap()).unwrap();
            let outer = pool.apply_async(sleep, (first,)).unwrap().callback(wait);
            assert_eq!(outer.get().unwrap(), first);
            let order: Vec<_> = told.into_iter().collect();
            assert_eq!(order, [second, 1_101]);
        }
    });
}

#[test]
fn a_callback_cannot_wait_for_the_result_that_waits_for_it() {
    on_each_pool(2, 60, |pool| {
        type Slot = Arc<Mutex<Option<AsyncResult<u64>>>>;
        // Directly, and behind another result whose callback runs while the first one's waits.
        for detour in [false, true] {
            let (tell, told) = mpsc::channel();
            let slot = Slot::default();
            let own = Arc::clone(&slot);
            let get = move || own.lock().unwrap().take().unwrap().get();
            // No callback goes on before it is filled.
            let mut filled = slot.lock().unwrap();
            let outer = pool.apply_async(sleep, (1,)).unwrap();
            *filled = Some(if detour {
                let inner = pool.apply_async(sleep, (300,)).unwrap();
                let inner = inner.callback(move |_| tell.send(get().unwrap_err()).unwrap());
                outer.callback(move |_| assert_eq!(inner.get().unwrap(), 300))
            } else {
                outer.callback(move |_| tell.send(get().unwrap_err()).unwrap())
            });
            drop(filled);
            let error = told.recv_timeout(SOON).unwrap();
            assert!(error.is_deadlock() && error.to_string().contains("callback"), "{error}");
        }
        // A wait without a result to return is a panic, which stays in its callback.
        let (tell, told) = mpsc::channel();
        let slot = Arc::new(Mutex::new(None));
        let own = Arc::clone(&slot);
        let wait = move |_: &u64| {
            let own: AsyncResult<u64> = own.lock().unwrap().take().unwrap();
            assert!(!own.ready() && own.successful().is_none());
            assert!(!own.wait_timeout(Duration::from_millis(10)));
            tell.send(catch_unwind(AssertUnwindSafe(|| own.wait())).is_err()).unwrap();
        };
        let mut filled = slot.lock().unwrap();
        *filled = Some(pool.apply_async(sleep, (1,)).unwrap().callback(wait));
        drop(filled);
        assert!(told.recv_timeout(SOON).unwrap());
        assert_eq!(pool.apply(sleep, (1,)).unwrap(), 1);
    });
}

#[test]
fn nobody_waits_for_a_result_that_was_taken() {
    on_each_pool(1, 60, |pool| {
        let mut result = pool.apply_async(sleep, (1,)).unwrap();
        assert_eq!(result.get_timeout(SOON).unwrap().unwrap(), 1);
        result.wait();
        assert!(result.ready() && result.wait_timeout(SOON) && result.successful().is_none());
    });
}

#[test]
fn many_calls_may_wait_for_few_workers() {
    on_each_pool(2, 120, |pool| {
        // What one more costs must not grow with their number: then this takes minutes.
        let hold = pool.map_async(sleep, [300; 4]).unwrap();
        let mut later: Vec<_> = (0..30_000u64).map(|x| pool.apply_async(|x: u64| x, (x,)).unwrap()).collect();
        // In their order, if one of them is left out now and then.
        let given_up: Vec<_> = (0..10_000).map(|at| later.remove(20_000 - at * 2)).collect();
        drop(given_up);
        let values: Vec<_> = later.into_iter().map(|it| it.get().unwrap()).collect();
        assert!(values.len() == 20_000 && values.is_sorted());
        assert_eq!(hold.get().unwrap(), [300; 4]);
        assert_eq!(pool.map(|x: u64| x, 0..100).unwrap(), (0..100).collect::<Vec<_>>());
    });
}

/// A chain of so many boxes.
#[derive(Serialize, Deserialize)]
pub(super) struct Chain(Option<Box<Chain>>);

impl Drop for Chain {
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(mut link) = next {
            next = link.0.take();
        }
    }
}

pub(super) fn chain(links: u64) -> Chain {
    (0..links).fold(Chain(None), |chain, _| Chain(Some(Box::new(chain))))
}

#[test]
fn a_result_with_a_callback_may_nest_as_deep_as_any() {
    on_each_pool(1, 60, |pool| {
        // More than fits on the stack of a thread that nobody gave more to.
        let (tell, told) = mpsc::channel();
        let deep = pool.apply_async(chain, (8_000,)).unwrap().callback(move |_| tell.send(()).unwrap());
        assert!(deep.get().is_ok());
        told.recv_timeout(SOON).unwrap();
        // Too deep for this thread: an error of its task, and nothing else.
        let error = pool.task(chain, (40_000,)).run().err().unwrap();
        assert!(error.task().unwrap().is_decode() || error.task().unwrap().is_encode(), "{error}");
        assert_eq!(pool.apply(sleep, (1,)).unwrap(), 1);
    });
}

#[test]
fn what_is_killed_before_it_has_begun_is_not_run() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(1, 120, |pool| {
        for round in 0..200 {
            let gate = Event::new();
            let doomed = pool.apply_async(|gate: Event| gate.wait(), (gate.clone(),)).unwrap();
            for _ in 0..round * 20 {
                std::hint::spin_loop();
            }
            doomed.kill();
            assert!(doomed.get().unwrap_err().is_cancelled());
            // Would wait behind it for ever.
            assert_eq!(pool.apply(|| 1, ()).unwrap(), 1);
        }
    });
}
