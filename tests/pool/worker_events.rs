//! What the program is told of its workers.

use super::common::links::{on_each_link, on_each_link_spawned};
use super::common::proc::{eventually, kill};
use super::common::watchdog::watchdog;
use multiproc::{Pool, PoolBuilder, WorkerEvent};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn listen<S>(builder: PoolBuilder<S>) -> (PoolBuilder<S>, Receiver<WorkerEvent>) {
    let (tell, told) = channel();
    (builder.on_worker(move |event| drop(tell.send(event.clone()))), told)
}

/// The next events of this worker up to the first that is wanted, which is the result.
fn until(told: &Receiver<WorkerEvent>, wanted: impl Fn(&WorkerEvent) -> bool) -> (Vec<WorkerEvent>, WorkerEvent) {
    let mut before = Vec::new();
    loop {
        let event = told.recv_timeout(SOON).unwrap();
        if wanted(&event) {
            return (before, event);
        }
        before.push(event);
    }
}

#[test]
fn the_life_of_a_worker_is_told_in_order() {
    on_each_link(60, |builder| {
        let (builder, told) = listen(builder().processes(1));
        let pool = builder.build().unwrap();
        for _ in 0..5 {
            let pid = pool.worker_pids()[0];
            assert!(matches!(told.recv_timeout(SOON).unwrap(),
                WorkerEvent::Started { worker: 0, pid: Some(its), .. } if its == pid));
            assert!(matches!(told.recv_timeout(SOON).unwrap(),
                WorkerEvent::Ready { worker: 0, pid: Some(its), startup, .. } if its == pid && !startup.is_zero()));
            if let Ok(event) = told.recv_timeout(Duration::ZERO) {
                assert!(
                    matches!(event, WorkerEvent::Replaced { worker: 0, pid: Some(its), .. } if its == pid),
                    "{event}"
                );
            }
            assert!(kill(pid));
            let (before, died) = until(&told, |event| matches!(event, WorkerEvent::Died { .. }));
            // Behind `Ready`, a moment later than the look above.
            assert!(before.iter().all(|event| matches!(event, WorkerEvent::Replaced { .. })), "{before:?}");
            let WorkerEvent::Died { worker, pid: its, exit_code, signal, cause, .. } = &died else { unreachable!() };
            assert_eq!((*worker, *its, *exit_code, *signal), (0, Some(pid), None, Some(9)));
            assert_eq!(cause, "was killed by signal 9 (SIGKILL)");
            assert_eq!(died.to_string(), format!("worker 0 (process {pid}) has died: {cause}"));
            assert!(eventually(SOON, || !pool.worker_pids().is_empty() && pool.worker_pids()[0] != pid));
        }
    });
}

#[test]
fn who_is_replaced_by_whom_is_told() {
    on_each_link(60, |builder| {
        let (builder, told) = listen(builder().processes(2));
        let pool = builder.build().unwrap();
        let error = pool.apply(|| -> () { std::process::exit(3) }, ()).unwrap_err();
        let lost = error.task().unwrap().worker().unwrap();
        let (_, died) = until(&told, |event| matches!(event, WorkerEvent::Died { .. }));
        assert!(matches!(&died, WorkerEvent::Died { exit_code: Some(3), signal: None, .. }), "{died}");
        assert_eq!(died.pid(), Some(lost));
        let (_, replaced) = until(&told, |event| matches!(event, WorkerEvent::Replaced { .. }));
        let WorkerEvent::Replaced { worker, pid, before, .. } = replaced else { unreachable!() };
        assert_eq!((worker, before), (died.worker(), lost));
        assert!(eventually(SOON, || pool.worker_pids().contains(&pid.unwrap())));
    });
}

#[test]
fn why_a_worker_was_told_to_leave_is_told() {
    on_each_link(60, |builder| {
        let left = |told: &Receiver<WorkerEvent>| {
            let (_, event) = until(told, |event| matches!(event, WorkerEvent::Left { .. } | WorkerEvent::Died { .. }));
            event.to_string().split(": ").last().unwrap().to_owned()
        };
        let (one, told) = listen(builder().processes(1).max_tasks_per_child(1));
        let pool = one.build().unwrap();
        pool.apply(|| (), ()).unwrap();
        assert_eq!(left(&told), "it has had its share of tasks");
        let (two, told) = listen(builder().processes(2));
        let pool = two.build().unwrap();
        pool.resize(1).unwrap();
        assert_eq!(left(&told), "the pool has become smaller");
        pool.close();
        assert_eq!(left(&told), "the pool was closed");
        let (three, told) = listen(builder().processes(1));
        drop(three.build().unwrap());
        assert_eq!(left(&told), "the pool was terminated");
        let (four, told) = listen(builder().processes(2).idle_timeout(Duration::from_millis(1)));
        let pool = four.build().unwrap();
        assert_eq!(left(&told), "it had nothing to do");
        drop(pool);
        let (five, told) = listen(builder().processes(1));
        let pool = five.build().unwrap();
        let limit = Duration::from_millis(50);
        let error = pool.task(|| std::thread::sleep(SOON), ()).timeout(limit).run().unwrap_err();
        assert!(error.task().unwrap().is_timeout());
        let cause = left(&told);
        assert!(cause.ends_with("since its task was over the time limit of 50ms"), "{cause}");
    });
}

#[test]
fn a_start_that_fails_is_told_with_its_reason() {
    on_each_link_spawned(60, |builder| {
        let (builder, told) = listen(builder().processes(1).initializer(|| Err::<(), _>("no licence"), ()));
        assert!(builder.build().unwrap_err().is_initializer());
        let (before, died) = until(&told, |event| matches!(event, WorkerEvent::Died { .. } | WorkerEvent::Left { .. }));
        assert!(matches!(before[..], [WorkerEvent::Started { .. }]), "{before:?}");
        assert!(died.to_string().contains("no licence"), "{died}");
    });
}

#[test]
fn a_hook_may_panic_and_may_use_the_pool() {
    let _watchdog = watchdog(60);
    let pool: Arc<Mutex<Option<Pool>>> = Arc::default();
    let (tell, told) = channel();
    let of_hook = Arc::clone(&pool);
    let hook = move |event: &WorkerEvent| {
        if let WorkerEvent::Died { .. } = event {
            panic!("of the hook");
        }
        if let WorkerEvent::Replaced { .. } = event {
            let pool = of_hook.lock().unwrap().take().unwrap();
            tell.send(pool.apply(|x: u32| x + 1, (1,)).unwrap()).unwrap();
        }
    };
    let made = Pool::builder().processes(1).on_worker(hook).build().unwrap();
    let pid = made.worker_pids()[0];
    *pool.lock().unwrap() = Some(made);
    assert!(kill(pid));
    // It has dropped the pool as well.
    assert_eq!(told.recv_timeout(SOON), Ok(2));
}

#[test]
fn threads_have_no_process() {
    let _watchdog = watchdog(60);
    let (builder, told) = listen(Pool::builder().processes(2));
    drop(builder.build_threads().unwrap());
    let events: Vec<WorkerEvent> = (0..6).map(|_| told.recv_timeout(SOON).unwrap()).collect();
    for worker in 0..2 {
        let its: Vec<&WorkerEvent> = events.iter().filter(|event| event.worker() == worker).collect();
        let [WorkerEvent::Started { .. }, WorkerEvent::Ready { .. }, WorkerEvent::Left { .. }] = its[..] else {
            panic!("{events:?}")
        };
    }
    assert!(events.iter().all(|event| event.pid().is_none()));
}
