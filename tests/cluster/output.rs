//! What workers on other machines write and log arrives in this program, with the names of the machines.

use crate::common::proc::eventually;
use crate::common::watchdog::watchdog;
use multiproc::cluster::Command;
use multiproc::{OutputLine, Pool, PoolBuilder};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

fn two() -> PoolBuilder {
    Pool::builder().on(Command::new("{agent}").nodes(2).workers(1)).at_least(2).name("crew")
}

/// What this machine calls itself, as agents on it do.
fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}

#[test]
fn lines_of_workers_arrive_with_the_name_of_their_machine() {
    let _watchdog = watchdog(180);
    let lines = Arc::<Mutex<Vec<OutputLine>>>::default();
    let heard = Arc::clone(&lines);
    let pool = two().on_output(move |line| heard.lock().unwrap().push(line.clone())).build().unwrap();
    let write = |x: u64| {
        println!("out {x}");
        eprintln!("err {x}");
    };
    pool.map(write, 0..20).unwrap();
    assert!(eventually(SOON, || lines.lock().unwrap().len() == 40), "{lines:?}");
    for line in lines.lock().unwrap().iter() {
        let (kind, number) = line.text().split_once(' ').unwrap();
        assert!(
            number.parse::<u64>().unwrap() < 20 && ["out", "err"][usize::from(line.is_stderr())] == kind,
            "{line:?}"
        );
        assert_eq!(line.host(), Some(host().as_str()));
        assert_eq!(line.to_string(), format!("[{} on {}] {}", line.worker(), host(), line.text()));
        assert!(["crew-1", "crew-2"].contains(&line.worker()), "{line:?}");
    }
    // Far more than may wait anywhere: nothing is lost as long as somebody takes it, and calls go on beside it.
    lines.lock().unwrap().clear();
    let much = |x: u64| (0..20_000).for_each(|line| println!("{x} {line} {}", "-".repeat(1_000)));
    pool.map(much, 0..2).unwrap();
    assert!(eventually(SOON, || lines.lock().unwrap().len() >= 40_000), "{}", lines.lock().unwrap().len());
}

/// Keeps the texts of records.
#[cfg(feature = "log")]
struct Notes(Mutex<Vec<String>>);

#[cfg(feature = "log")]
impl log::Log for Notes {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let place = record.line().is_some() && record.target() == "work";
        self.0.lock().unwrap().push(format!("{} {place} {}", record.level(), record.args()));
    }

    fn flush(&self) {}
}

#[cfg(feature = "log")]
#[test]
fn records_of_workers_arrive_with_the_name_of_their_machine() {
    static NOTES: Notes = Notes(Mutex::new(Vec::new()));
    let _watchdog = watchdog(180);
    log::set_logger(&NOTES).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    let pool = two().build().unwrap();
    let work = |x: u64| {
        log::info!(target: "work", "task {x}");
        log::debug!(target: "work", "not wanted");
        if x == 7 {
            log::error!(target: "work", "about to die");
            std::process::abort();
        }
    };
    pool.map_each(work, 0..10);
    let has = |text: &str| NOTES.0.lock().unwrap().iter().any(|note| note == text);
    let said = |level: &str, text: &str| {
        (1..=2).any(|worker| has(&format!("{level} true [crew-{worker} on {}] {text}", host())))
    };
    for x in 0..10 {
        assert!(eventually(SOON, || said("INFO", &format!("task {x}"))), "{:?}", NOTES.0.lock().unwrap());
    }
    assert!(eventually(SOON, || said("ERROR", "about to die")), "{:?}", NOTES.0.lock().unwrap());
    assert!(!NOTES.0.lock().unwrap().iter().any(|note| note.contains("not wanted")));
}
