//! Calls whose results are kept in a file: programs that are killed and go on, files that are torn, damaged, or of others.

use super::common::alone::{alone, is_program, program};
use super::common::journal::{Journal, Pen};
use super::common::links::{HANDLES, on_nodes, on_processes_and_threads};
use super::common::proc::eventually;
use super::common::scratch::Scratch;
use super::common::watchdog::watchdog;
use multiproc::{Error, Pool, RawValue, TaskError};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// What tasks and programs write into the journal.
const RUN: u32 = 1;
const SEEN: u32 = 2;

const TASKS: u64 = 300;

/// A task with an effect.
fn effect(journal: String, x: u64) -> String {
    // Long enough for a kill to come in between.
    std::thread::sleep(Duration::from_micros(500));
    Pen::open(&journal).write(RUN, x);
    format!("{x}²={}", x * x)
}

/// The program that is killed: it runs the call, and writes down which results it has seen.
fn run_to_the_end(file: &str, journal: &str, delivery: u32) {
    let pen = Pen::open(journal);
    let pool = Pool::new(3).unwrap();
    let items = (0..TASKS).map(|x| (journal.to_owned(), x));
    let call = pool.star_tasks(effect, items).chunksize(1 + delivery as usize % 2).checkpoint(file);
    let right = |x: u64, value: &str| assert_eq!(value, format!("{x}²={}", x * x));
    let see = |x: u64, value: Result<String, TaskError>| {
        right(x, &value.unwrap());
        pen.write(SEEN, x);
    };
    match delivery % 4 {
        0 => (0..).zip(call.run().unwrap()).for_each(|(x, value)| see(x, Ok(value))),
        1 => (0..).zip(call.iter()).for_each(|(x, value)| see(x, value)),
        2 => call.unordered().for_each(|value| {
            let text = value.unwrap();
            let x = text.split('²').next().unwrap().parse().unwrap();
            see(x, Ok(text));
        }),
        _ => (0..).zip(call.submit().unwrap().get().unwrap()).for_each(|(x, value)| see(x, Ok(value))),
    }
}

#[test]
fn a_program_that_is_killed_fifty_times_runs_no_recorded_task_again() {
    const NAME: &str = "checkpoints::a_program_that_is_killed_fifty_times_runs_no_recorded_task_again";
    if is_program(NAME) {
        let [file, journal, delivery] =
            ["FILE", "JOURNAL", "DELIVERY"].map(|name| std::env::var(format!("MULTIPROC_TEST_{name}")).unwrap());
        return run_to_the_end(&file, &journal, delivery.parse().unwrap());
    }
    let _watchdog = watchdog(300);
    let (file, journal) = (Scratch::new("checkpoint"), Journal::new());
    let start = |delivery: u32| {
        let mut command = program(NAME);
        command.env("MULTIPROC_TEST_FILE", &*file).env("MULTIPROC_TEST_JOURNAL", journal.path());
        command.env("MULTIPROC_TEST_DELIVERY", delivery.to_string()).stdin(Stdio::null()).stdout(Stdio::null());
        command.spawn().unwrap()
    };
    let runs = |what| {
        let mut runs = vec![0; TASKS as usize];
        journal.read().iter().filter(|entry| entry.what == what).for_each(|entry| runs[entry.task as usize] += 1);
        runs
    };
    let mut random = 4711u64;
    let (mut seen_before, mut runs_before) = (runs(SEEN), runs(RUN));
    let mut kills = 0;
    while kills < 50 {
        let mut child = start(kills);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // It is killed after a few more effects, so that it gets on; sometimes before any.
        let more = (random >> 33) % 12;
        let enough = journal.read().len() as u64 + more;
        let ended = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if journal.read().len() as u64 >= enough {
                child.kill().unwrap();
                break None;
            }
            std::thread::yield_now();
        };
        assert!(ended.is_none_or(|status| status.success()), "{ended:?}");
        child.wait().unwrap();
        // Its workers end a moment later; what they write until then is an effect like any other.
        assert!(eventually(Duration::from_secs(20), || {
            let before = journal.read().len();
            std::thread::sleep(Duration::from_millis(5));
            journal.read().len() == before
        }));
        let now = runs(RUN);
        for x in 0..TASKS as usize {
            assert!(
                seen_before[x] == 0 || now[x] == runs_before[x],
                "task {x} was run again though its result was kept"
            );
        }
        (seen_before, runs_before) = (runs(SEEN), now);
        kills += 1;
    }
    assert!(start(0).wait().unwrap().success());
    let all = runs(RUN);
    assert!(all.iter().all(|runs| *runs >= 1), "{all:?}");
    // A kill costs what runs, and what has run and was not brought home yet: about one task. Without a file it is some ten.
    let repeated: i32 = all.iter().map(|runs| runs - 1).sum();
    assert!(repeated <= 50 * 5, "{repeated} runs too many");
    println!("{repeated} tasks were run again after 50 kills");
    // Everything is there now.
    assert!(start(1).wait().unwrap().success());
    assert_eq!(runs(RUN), all);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Report {
    name: String,
    parts: Vec<Option<u8>>,
}

/// A task that fails for every third number as long as there is no file `flag`.
fn flaky(flag: String, x: u64) -> Report {
    assert!(x % 3 != 1 || Path::new(&flag).exists(), "not yet");
    Report { name: "r".repeat(x as usize % 50), parts: vec![None, Some(x as u8)] }
}

fn flaky_number(flag: String, x: u64) -> u64 {
    flaky(flag, x);
    x * x
}

/// Runs the same call twice, in each delivery; in the second run no task fails any more.
fn twice<R: multiproc::Payload + PartialEq + std::fmt::Debug + Send>(
    pool: &Pool,
    task: impl Fn(String, u64) -> R + multiproc::Portable,
    expected: impl Fn(u64) -> R,
) {
    const COUNT: u64 = 100;
    for delivery in ["run", "each", "iter", "buffered", "unordered", "submit"] {
        let (file, flag) = (Scratch::new("checkpoint"), Scratch::new("checkpoint"));
        let flag_path = flag.text().to_owned();
        let call = || pool.star_tasks(task, (0..COUNT).map(|x| (flag_path.clone(), x))).checkpoint(&file);
        let deliver = || -> Result<Vec<R>, Error> {
            match delivery {
                "run" => call().run(),
                "each" => Ok(call().each().into_iter().collect::<Result<_, _>>()?),
                "iter" => Ok(call().iter().collect::<Vec<_>>().into_iter().collect::<Result<_, _>>()?),
                "buffered" => {
                    Ok(call().buffersize(3).iter().collect::<Vec<_>>().into_iter().collect::<Result<_, _>>()?)
                }
                "unordered" => {
                    let all: Vec<Result<R, TaskError>> = call().unordered().collect();
                    all.into_iter().collect::<Result<Vec<R>, TaskError>>().map_err(Error::from)
                }
                _ => Ok(call().submit()?.get()?),
            }
        };
        assert!(deliver().unwrap_err().task().unwrap().is_panic(), "{delivery}");
        fs::write(&flag, "").unwrap();
        let before = pool.stats().tasks;
        let values = deliver().unwrap();
        assert_eq!(pool.stats().tasks - before, (0..COUNT).filter(|x| x % 3 == 1).count() as u64, "{delivery}");
        assert_eq!(values.len(), COUNT as usize, "{delivery}");
        if delivery == "unordered" {
            assert!((0..COUNT).map(&expected).all(|value| values.contains(&value)));
        } else {
            assert!(values.into_iter().eq((0..COUNT).map(&expected)), "{delivery}");
        }
        // Nothing is left to be run, and more items may come.
        let before = pool.stats().tasks;
        deliver().unwrap();
        assert_eq!(pool.stats().tasks, before, "{delivery}");
        let more = pool.star_tasks(task, (0..COUNT + 5).map(|x| (flag_path.clone(), x))).checkpoint(&file).run();
        assert_eq!((more.unwrap().len() as u64, pool.stats().tasks - before), (COUNT + 5, 5));
        let fewer = pool.star_tasks(task, (0..7).map(|x| (flag_path.clone(), x))).checkpoint(&file).run();
        assert_eq!(fewer.unwrap().len(), 7);
    }
}

#[test]
fn what_has_failed_runs_again_and_nothing_else() {
    on_processes_and_threads(2, 120, |pool| {
        twice(pool, flaky, |x| flaky(env!("CARGO_MANIFEST_DIR").to_owned(), x));
        twice(pool, flaky_number, |x| x * x);
        twice(pool, |flag: String, x: u64| drop(flaky(flag, x)), |_| ());
        let large = |flag: String, x: u64| {
            flaky(flag, x);
            vec![x as u8; 200_000]
        };
        twice(pool, large, |x| vec![x as u8; 200_000]);
    });
}

#[test]
fn a_result_that_nobody_asks_for_is_written_as_it_comes() {
    on_processes_and_threads(2, 60, |pool| {
        let (file, go) = (Scratch::new("checkpoint"), Scratch::new("checkpoint"));
        let wait = |go: String, x: u64| {
            // The last one ends when the others have long been written.
            while x == 9 && !Path::new(&go).exists() {
                std::thread::yield_now();
            }
            x
        };
        let go_path = go.text().to_owned();
        let call = || pool.star_tasks(wait, (0..10).map(|x| (go_path.clone(), x))).chunksize(1).checkpoint(&file);
        let (tell, told) = std::sync::mpsc::channel();
        let later = call().submit().unwrap().callback(move |values| tell.send(values.clone()).unwrap());
        let header = eventually(Duration::from_secs(20), || fs::metadata(&file).unwrap().len() >= 9 * 48);
        assert!(header && !later.ready());
        fs::write(&go, "").unwrap();
        assert_eq!(told.recv_timeout(Duration::from_secs(20)).unwrap(), (0..10).collect::<Vec<_>>());
        assert_eq!(later.get().unwrap(), (0..10).collect::<Vec<_>>());
        // Detached, and cancelled, with nobody who waits.
        fs::remove_file(&file).unwrap();
        call().submit().unwrap().detach();
        let before = pool.stats().tasks;
        assert!(eventually(Duration::from_secs(20), || call().run().is_ok() && pool.stats().tasks - before <= 10));
        fs::remove_file(&go).unwrap();
        fs::remove_file(&file).unwrap();
        let later = call().submit().unwrap();
        drop(later);
        fs::write(&go, "").unwrap();
        assert_eq!(call().run().unwrap().len(), 10);
    });
}

fn square(x: u64) -> u64 {
    x * x
}

fn text(x: u64) -> String {
    x.to_string()
}

/// What the error says of a call of [`square`] with the file.
fn refusal(pool: &Pool, file: &Path) -> String {
    let errors: [Error; 3] = [
        pool.tasks(square, 0..10).checkpoint(file).run().unwrap_err(),
        pool.tasks(square, 0..10).checkpoint(file).each().remove(3).unwrap_err().into(),
        pool.tasks(square, 0..10).checkpoint(file).iter().find_map(Result::err).unwrap().into(),
    ];
    assert!(errors.iter().all(Error::is_checkpoint), "{errors:?}");
    let [text, each, _] = errors.map(|error| error.to_string());
    assert!(text.contains(file.to_str().unwrap()) && each.contains(&text), "{text} {each}");
    text
}

#[test]
fn a_file_that_is_not_of_this_call_is_refused_and_left_alone() {
    on_processes_and_threads(1, 60, |pool| {
        let refuse = |bytes: &[u8], why: &str| {
            let file = Scratch::new("checkpoint");
            fs::write(&file, bytes).unwrap();
            let said = refusal(pool, &file);
            assert!(said.contains(why), "{said}");
            assert!(fs::read(&file).unwrap() == bytes, "{why}: the file was changed");
        };
        refuse(b"name,value\n1,2\n", "is no checkpoint");
        refuse(&b"a long letter to somebody else".repeat(100), "is no checkpoint");

        let (file, other) = (Scratch::new("checkpoint"), Scratch::new("checkpoint"));
        pool.tasks(square, 0..10).checkpoint(&file).run().unwrap();
        let good = fs::read(&file).unwrap();
        pool.tasks(text, 0..10).checkpoint(&other).run().unwrap();
        refuse(&fs::read(&other).unwrap(), "checkpoints::text`, and not of `");
        fs::remove_file(&other).unwrap();
        pool.with(&7u64).tasks(|_, x| square(x), 0..10).checkpoint(&other).run().unwrap();
        let error = pool.with(&8u64).tasks(|_, x| square(x), 0..10).checkpoint(&other).run().unwrap_err();
        // The closures are two functions of one name.
        assert!(error.is_checkpoint() && error.to_string().contains("with another context"), "{error}");
        let error = pool.tasks(square, 5..9).checkpoint(&file).run().unwrap_err();
        assert!(error.to_string().contains("has the result of task 0 for another item"), "{error}");

        let spoiled = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        refuse(&spoiled(8, 9), "has version 9 of the format, and this library writes version 1");
        refuse(&spoiled(20, 0xee), "has a damaged header");
        refuse(&spoiled(good.len() - 60, 0xee), "is damaged at byte ");
        refuse(
            &good[..good.len() - 48].iter().chain(&good[good.len() - 96..]).copied().collect::<Vec<_>>(),
            "two results",
        );

        let folder = env!("CARGO_TARGET_TMPDIR");
        let said = refusal(pool, Path::new(folder));
        assert!(said.contains("cannot be opened: "), "{said}");
        assert!(refusal(pool, Path::new("/no/such/folder/file")).contains("cannot be opened: "));
        assert!(refusal(pool, Path::new("/dev/full")).contains("is no regular file"));

        // In use: by a call that is not at its end.
        let mut first = pool.tasks(square, 0..10).checkpoint(&file).iter();
        assert_eq!(first.next().unwrap().unwrap(), 0);
        let error = pool.tasks(square, 0..10).checkpoint(&file).run().unwrap_err();
        assert!(error.to_string().contains("is in use by another call or program"), "{error}");
        drop(first);
        assert_eq!(pool.tasks(square, 0..10).checkpoint(&file).run().unwrap().len(), 10);
    });
}

#[test]
fn a_torn_end_is_cut_off() {
    on_processes_and_threads(1, 60, |pool| {
        let file = Scratch::new("checkpoint");
        let run = || pool.tasks(square, 0..10).chunksize(1).checkpoint(&file).run().unwrap();
        let all = run();
        let good = fs::read(&file).unwrap();
        for len in (0..good.len()).step_by(7) {
            fs::write(&file, &good[..len]).unwrap();
            assert_eq!(run(), all, "cut at {len}");
            assert_eq!(fs::metadata(&file).unwrap().len(), good.len() as u64, "cut at {len}");
            let mut zeros = good[..len].to_vec();
            zeros.resize(len + 1000, 0);
            fs::write(&file, zeros).unwrap();
            assert_eq!(run(), all, "zeros from {len} on");
        }
    });
}

#[test]
fn what_ends_with_the_program_cannot_be_kept() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(1, 60, |pool| {
        let file = Scratch::new("checkpoint");
        let shared = RawValue::new(5u32);
        let items = [shared.clone(), shared.clone()];
        let error = pool.tasks(|it: RawValue<u32>| it.get(), items.clone()).checkpoint(&file).run().unwrap_err();
        assert!(error.is_checkpoint() && error.to_string().contains("the item of task 0 refers to"), "{error}");
        let _ = fs::remove_file(&file);
        let give = |_: u32| RawValue::new(1u32);
        let results = pool.tasks(give, 0..3).checkpoint(&file).each();
        let error = results.into_iter().find_map(Result::err).unwrap();
        assert!(error.is_checkpoint() && error.to_string().contains("refers to shared memory"), "{error}");
        let _ = fs::remove_file(&file);
        // A context may: it is not compared.
        let count = |all: &RawValue<u32>, x: u32| {
            all.fetch_add(1);
            x
        };
        assert_eq!(pool.with(&shared).tasks(count, 0..3).checkpoint(&file).run().unwrap(), [0, 1, 2]);
        let other = RawValue::new(0u32);
        assert_eq!(pool.with(&other).tasks(count, 0..4).checkpoint(&file).run().unwrap(), [0, 1, 2, 3]);
        assert_eq!((shared.get(), other.get()), (8, 1));
    });
}

#[test]
fn a_full_disk_ends_the_call_and_costs_no_result_before() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    if !alone("checkpoints::a_full_disk_ends_the_call_and_costs_no_result_before") {
        return;
    }
    let _watchdog = watchdog(60);
    let pool = Pool::new(2).unwrap();
    let file = Scratch::new("checkpoint");
    let run = || pool.tasks(text, 0..1000).chunksize(1).checkpoint(&file).run();
    // The signal would end the program; without it the write fails.
    super::common::signals::ignore(&[rustix::process::Signal::XFSZ]);
    let limit = |bytes| setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
    limit(Some(5000));
    let error = run().unwrap_err();
    assert!(error.is_checkpoint() && error.to_string().contains("cannot be written: "), "{error}");
    limit(None);
    let before = pool.stats().tasks;
    assert_eq!(run().unwrap().len(), 1000);
    let again = pool.stats().tasks - before;
    assert!((900..1000).contains(&again), "{again} tasks were run again");

    // Nobody has seen a result that was not kept.
    let file = Scratch::new("checkpoint");
    let call = || pool.tasks(text, 0..1000).chunksize(1).checkpoint(&file);
    limit(Some(5000));
    let seen = call().each().iter().filter(|result| result.is_ok()).count() as u64;
    limit(None);
    let before = pool.stats().tasks;
    assert_eq!(call().run().unwrap().len(), 1000);
    assert_eq!(pool.stats().tasks - before, 1000 - seen);

    // What was handed in whole is not run to its end, and gives the file back.
    let file = Scratch::new("checkpoint");
    let slow = |x: u64| {
        std::thread::sleep(Duration::from_millis(1));
        text(x)
    };
    let call = || pool.tasks(slow, 0..100_000).chunksize(1).checkpoint(&file);
    limit(Some(5000));
    assert!(call().submit().unwrap().get().unwrap_err().is_checkpoint());
    limit(None);
    assert!(call().iter().take(1).all(|result| result.is_ok()));
}
