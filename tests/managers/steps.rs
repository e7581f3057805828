//! A client of a manager, and the server, are run instruction by instruction through a call, and killed with SIGKILL at every
//! step: see `tests/common/victim.rs`. Whoever is left goes on, or is told.

use super::common::alone::alone;
use super::common::victim::{at_every_step, pin, run_thread_to};
use super::common::watchdog::watchdog;
use super::deaths::HEARD;
use multiproc::{DictProxy, Manager, ManagerHandle, ValueProxy};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(20);

fn no_help<T>(_: &T) {}

/// Whether tests run that take some minutes: with MULTIPROC_LONG=1.
fn is_long() -> bool {
    std::env::var_os("MULTIPROC_LONG").is_some()
}

type Client = (ManagerHandle, ValueProxy<u64>);

/// The calls of others go on, within the time that a caller waits at most.
fn others_go_on(value: &ValueProxy<u64>) -> u64 {
    let value = value.with_timeout(LONG);
    let before = value.get().expect("the server hangs");
    value.update(|value| *value += 1000).expect("the server hangs");
    before
}

/// The first call of a thread, which comes in by the door of the server, and one more.
#[test]
fn client_in_its_first_calls() {
    if !is_long() {
        return;
    }
    fn work((_, value): &Client) {
        value.update(|value| *value += 1).unwrap();
        assert_eq!(value.get().unwrap() % 1000, 1);
    }
    let manager = Manager::new().unwrap();
    let make = || (manager.handle(), manager.value(0).unwrap());
    let check = |(_, value): &Client, lived: bool| {
        let before = others_go_on(value);
        assert!(before == 1 || !lived && before == 0, "{before}");
    };
    at_every_step!("client_in_its_first_calls", Client, make, work, no_help, check);
}

/// An object that is made, whose only proxy goes with the one who has made it.
#[test]
fn client_that_makes_an_object() {
    if !is_long() {
        return;
    }
    fn work((manager, _): &Client) {
        let _: DictProxy<u32, u32> = manager.dict([(1, 2)]).unwrap();
    }
    let manager = Manager::new().unwrap();
    let make = || (manager.handle(), manager.value(0).unwrap());
    let check = |(_, value): &Client, _: bool| assert_eq!(others_go_on(value), 0);
    at_every_step!("client_that_makes_an_object", Client, make, work, no_help, check);
}

/// The server is killed at every step of a call that it carries out.
#[test]
fn server_in_a_call() {
    if !alone("steps::server_in_a_call") {
        return;
    }
    let _watchdog = watchdog(900);
    pin(std::process::id());
    let (mut heard, mut steps) = (Vec::new(), 0);
    for step in 0.. {
        let manager = Manager::new().unwrap();
        let value = manager.value(0u64).unwrap();
        let (tell, told) = mpsc::channel();
        let (go, may_go) = mpsc::channel::<()>();
        let caller = {
            let value = value.clone();
            std::thread::spawn(move || {
                // Which thread of the server carries out what this one asks.
                let thread = |_: &mut u64| rustix::thread::gettid().as_raw_nonzero().get();
                tell.send(value.call(thread, ()).unwrap()).unwrap();
                may_go.recv().unwrap();
                (value.update(|value| *value += 1), Instant::now())
            })
        };
        let thread = told.recv().unwrap();
        let begin = || go.send(()).unwrap();
        let killed = match run_thread_to(step, thread, manager.pid(), begin, || caller.is_finished(), || ()) {
            Ok(killed) => killed,
            Err(error) => {
                println!("not tested, since ptrace is not allowed here: {error}");
                go.send(()).unwrap();
                return;
            }
        };
        let (outcome, at) = caller.join().unwrap();
        let Some(killed) = killed else {
            assert_eq!(value.get().unwrap(), 1);
            break;
        };
        // Otherwise its answer was there before it died.
        if let Err(error) = outcome {
            assert!(error.is_gone() && error.to_string().contains(&manager.pid().to_string()), "{error}");
        }
        let late = at.saturating_duration_since(killed);
        assert!(late < HEARD, "step {step}: {late:?}");
        let error = value.with_timeout(LONG).get().unwrap_err();
        assert!(error.is_gone(), "{error}");
        heard.push(late);
        steps = step + 1;
    }
    heard.sort();
    assert!(steps >= 5, "{steps}");
    // For the table in docs/reliability.md.
    println!("killed at {steps} steps: server_in_a_call, callers after {:?} at most", heard[heard.len() - 1]);
    assert!(heard[heard.len() / 2] < Duration::from_millis(100), "{heard:?}");
}
