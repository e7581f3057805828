//! Records of workers, by the crate `log`: `cargo test --features log --test pool logs`.

use super::common::links::on_each_link;
use super::common::proc::eventually;
use multiproc::Pool;
use std::sync::Mutex;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// Keeps what it is told.
struct Notes;

/// Level, target, text and line of a record.
type Note = (log::Level, String, String, Option<u32>);

static NOTES: Mutex<Vec<Note>> = Mutex::new(Vec::new());

impl log::Log for Notes {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let note = (record.level(), record.target().to_owned(), record.args().to_string(), record.line());
        NOTES.lock().unwrap().push(note);
    }

    fn flush(&self) {}
}

fn work(x: u64) -> u64 {
    log::info!(target: "work", "task {x}");
    log::debug!("not wanted");
    if x == 3 {
        log::error!("about to die");
        std::process::abort();
    }
    x
}

/// How many times it was said.
fn count(text: &str) -> usize {
    NOTES.lock().unwrap().iter().filter(|(_, _, said, _)| said.ends_with(text)).count()
}

#[test]
fn records_of_workers_come_to_the_logger_of_the_pool() {
    static LOGGER: Notes = Notes;
    log::set_logger(&LOGGER).unwrap();
    // A program that logs nothing hears nothing.
    let silent = Pool::new(1).unwrap();
    silent.map(work, [0]).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    on_each_link(60, |builder| {
        NOTES.lock().unwrap().clear();
        let pool = builder().processes(2).name("crew").build().unwrap();
        pool.map_each(work, 1..=4);
        assert!(eventually(SOON, || count("] task 4") == 1 && count("] about to die") == 1));
        let notes = NOTES.lock().unwrap().clone();
        assert!((1..=4).all(|x| notes.iter().any(|(level, target, text, line)| {
            // On other machines these are named behind the worker.
            let names_a_worker = ["[crew-1", "[crew-2"].iter().any(|worker| {
                text.strip_prefix(worker).is_some_and(|rest| rest.starts_with("] ") || rest.starts_with(" on "))
            });
            *level == log::Level::Info
                && target == "work"
                && names_a_worker
                && line.is_some()
                && text.ends_with(&format!("task {x}"))
        })));
        assert_eq!((count("not wanted"), count("task 0")), (0, 0));
        // More than is waited for: some are dropped, and nobody waits.
        let long = |_: u32| (0..20_000).for_each(|x| log::info!("{x} {}", "-".repeat(100)));
        pool.map(long, 0..2).unwrap();
        pool.apply(|| log::info!("{}", "x".repeat(1 << 20)), ()).unwrap();
        pool.apply(|| log::info!("the end"), ()).unwrap();
        // An initializer may install another logger.
        let other = || {
            static OTHER: Notes = Notes;
            log::set_logger(&OTHER).unwrap();
            log::set_max_level(log::LevelFilter::Trace);
        };
        let pool = builder().processes(1).initializer(other, ()).build().unwrap();
        let in_worker = pool
            .apply(
                || {
                    log::trace!("here");
                    NOTES.lock().unwrap().len()
                },
                (),
            )
            .unwrap();
        assert_eq!(in_worker, 1);
    });
}
