//! A program that closes all descriptors from 3 on, as daemons do, or opens something else at their numbers: those of the library
//! are among them. All that was begun ends with an error, and nothing hangs.

use super::common::alone::{is_program, program};
use super::common::descriptors::{close_from, replace_from};
use super::common::proc::{children_of, eventually, own_pid};
use super::common::watchdog::watchdog;
use multiproc::{LinkKind, Lock, Pool, PoolBuilder, Process, Queue, StartMethod};
use std::process::Stdio;
use std::time::Duration;

/// What was under way, and what is begun later, ends; and what needs no descriptors goes on.
fn all_ends(builder: PoolBuilder, maim: fn(u32)) {
    let _watchdog = watchdog(60);
    let pool = builder.processes(2).build().unwrap();
    let (lock, queue) = (Lock::new(), Queue::<u32>::new());
    let sleep = |ms: u64| std::thread::sleep(Duration::from_millis(ms));
    let process = Process::spawn(sleep, (1_000_000,)).unwrap();
    let under_way = pool.map_async(sleep, [2_000; 4]).unwrap();
    maim(3);
    // Tasks are lost; or run by workers that have taken the place of others, as far as nobody could say any more that they began.
    match under_way.get() {
        Ok(slept) => assert_eq!(slept.len(), 4),
        Err(error) => assert!(error.is_worker_lost() || error.is_broken(), "{error}"),
    }
    println!("process: {}", process.join().unwrap_err());
    // In the end the pool works, or is broken, and says why.
    let has_settled = || match pool.map(|x: u64| x, 0..4) {
        Ok(values) => values == [0, 1, 2, 3],
        Err(error) => error.is_broken(),
    };
    assert!(eventually(Duration::from_secs(30), has_settled), "{:?}", pool.map(|x: u64| x, 0..4));
    println!("later: {:?}", pool.apply(|| (), ()));
    drop(pool);
    // These may work or not: they say so.
    println!("{:?}", Pool::builder().processes(1).build().and_then(|pool| pool.apply(|| 7, ())));
    println!("{:?}", Process::spawn(|| 7, ()).map(Process::join));
    drop(lock.lock().unwrap());
    queue.put(7).unwrap();
    assert_eq!(queue.get().unwrap(), 7);
    assert!(eventually(Duration::from_secs(20), || children_of(own_pid()).is_empty()));
}

/// Each of these in a program of its own.
fn in_a_program(name: &str, builder: PoolBuilder, maim: fn(u32)) {
    if is_program(name) {
        return all_ends(builder, maim);
    }
    let output = program(name).stdin(Stdio::null()).output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    print!("{}", text[0]);
    // Without optimisation the standard library itself ends a program that closes a descriptor which is not its own.
    let is_ended_by_std = cfg!(debug_assertions) && text[1].contains("IO Safety violation");
    let has_passed = output.status.success() && text[0].contains("1 passed");
    assert!(has_passed || is_ended_by_std, "{}:\n{}\n{}", output.status, text[0], text[1]);
}

#[test]
fn over_a_ring() {
    in_a_program("closed::over_a_ring", Pool::builder(), close_from);
}

#[test]
fn over_a_channel() {
    in_a_program("closed::over_a_channel", Pool::builder().link(LinkKind::Channel), close_from);
}

#[test]
fn with_a_template() {
    in_a_program("closed::with_a_template", Pool::builder().start_method(StartMethod::Template), close_from);
}

#[test]
fn with_output_that_is_read() {
    in_a_program("closed::with_output_that_is_read", Pool::builder().capture_output(true), close_from);
}

#[test]
fn others_over_a_ring() {
    in_a_program("closed::others_over_a_ring", Pool::builder(), replace_from);
}

#[test]
fn others_over_a_channel() {
    in_a_program("closed::others_over_a_channel", Pool::builder().link(LinkKind::Channel), replace_from);
}

#[test]
fn others_with_a_template() {
    in_a_program("closed::others_with_a_template", Pool::builder().start_method(StartMethod::Template), replace_from);
}

#[test]
fn others_with_output_that_is_read() {
    in_a_program("closed::others_with_output_that_is_read", Pool::builder().capture_output(true), replace_from);
}
