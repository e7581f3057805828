//! Answers over a link that says whatever it is told to: every malformed one, whichever kind of link it comes by.

use super::*;
use crate::codec;
use crate::engine::call::home::Home;
use crate::engine::call::job::Options;
use crate::engine::call::results::Results;
use crate::engine::core::stamp::Stamp;
use crate::engine::core::testing::{ENTRY, engine, link};
use crate::engine::launch::launcher::News;
use crate::error::Exit;
use crate::ipc::link::Progress;
use crate::process::start::HeldByChild;

fn answer(kind: AnswerKind, seq: u64, first: u32, count: u32, payload: Vec<u8>) -> Answer {
    Answer { kind, seq, first, count, nanos: 0, payload: Payload::Own(payload), attached: Vec::new() }
}

/// Each malformed answer to frame 1, of which `next` tasks have been answered before out of four.
fn malformed(next: u32) -> Vec<(&'static str, Answer)> {
    let strange_frame = "an answer to a frame that it does not have";
    let strange_tasks = "an answer to tasks that it does not have";
    let left = 4 - next;
    let mut all = vec![
        ("a failure of several tasks at once", answer(AnswerKind::Failure, 1, next, 2, Vec::new())),
        ("a failure of several tasks at once", answer(AnswerKind::Failure, 1, next, left, vec![0xff; 9])),
        ("handles of several tasks at once", answer(AnswerKind::Handles, 1, next, 2, vec![0; 8])),
        ("an answer with damaged handles", answer(AnswerKind::Handles, 1, next, 1, Vec::new())),
        ("an answer with damaged handles", answer(AnswerKind::Handles, 1, next, 1, vec![0xff; 20])),
    ];
    for kind in [AnswerKind::Values, AnswerKind::Failure, AnswerKind::Handles, AnswerKind::Taken] {
        for seq in [0, 2, u64::MAX] {
            all.push((strange_frame, answer(kind, seq, next, 1, Vec::new())));
        }
        for (first, count) in [(next, 0), (next, left + 1), (next, u32::MAX), (next + 1, 1), (u32::MAX, 1)] {
            all.push((strange_tasks, answer(kind, 1, first, count, Vec::new())));
        }
    }
    all
}

/// Has a frame of four tasks answered like this by a worker that then dies: the reason that was found against it, what
/// has become of the tasks, and how many of them go to another worker.
fn outcomes(answers: Vec<Answer>, started: u32) -> (Option<String>, Vec<Result<u64, TaskError>>, u32) {
    // It has started so many tasks of frame 1, which is the first with tasks.
    let engine = engine(answers, Progress { seq: 1, started, done: 0 });
    let job = engine.enter(&ENTRY, None, Options::default(), None).unwrap();
    let mut results = Results::<u64>::new();
    let mut driver = Driver::new(&engine, Some(Own::new(&job, &mut results)));
    job.add_outstanding(4);
    driver.core.submit(
        TaskRange {
            job: Some(Arc::clone(&job)),
            first: 0,
            count: 4,
            next: 0,
            pins: None,
            home: Home::ANYWHERE,
            since: Stamp::NONE,
        },
        &[],
    );
    driver.drive_by();
    let reason = driver.core.workers[0].condemned.clone();
    driver.core.seat.tell((0, 1, News::Exited(Exit::Signal(9).into(), HeldByChild::nothing())));
    driver.drive_by();
    let waiting: u32 = driver.core.queue.waiting().map(|queued| queued.range.left()).sum();
    assert_eq!(job.outstanding(), u64::from(waiting), "tasks that nobody has in his books");
    drop(driver);
    let missing = |index| job.error(TaskKind::Cancelled, index, None);
    (reason, results.each(4, missing), waiting)
}

#[test]
fn a_malformed_answer_costs_what_its_worker_runs_and_nothing_else() {
    for (wanted, answer) in malformed(0) {
        let shown = format!("{answer:?}");
        let (reason, results, waiting) = outcomes(vec![answer], 1);
        assert_eq!(reason.as_deref(), Some(wanted), "{shown}");
        let error = results[0].as_ref().unwrap_err();
        assert!(error.is_worker_lost() && error.to_string().contains(wanted), "{shown}: {error}");
        assert_eq!(waiting, 3, "{shown}");
    }
}

#[test]
fn what_was_answered_before_a_malformed_answer_counts() {
    for (wanted, malformed) in malformed(2) {
        let shown = format!("{malformed:?}");
        let mut values = Vec::new();
        [7u64, 8].iter().for_each(|value| codec::encode(value, &mut values).unwrap());
        let (reason, results, waiting) = outcomes(vec![answer(AnswerKind::Values, 1, 0, 2, values), malformed], 3);
        assert_eq!(reason.as_deref(), Some(wanted), "{shown}");
        assert_eq!((results[0].as_ref().ok(), results[1].as_ref().ok()), (Some(&7), Some(&8)), "{shown}");
        assert!(results[2].as_ref().is_err_and(TaskError::is_worker_lost), "{shown}");
        assert_eq!(waiting, 1, "{shown}");
    }
}

#[test]
fn a_failure_that_does_not_read_is_the_failure_of_its_task() {
    let failures = (0..4).map(|at| answer(AnswerKind::Failure, 1, at, 1, vec![0xff; 9])).collect();
    let (reason, results, waiting) = outcomes(failures, 4);
    assert_eq!((reason, waiting), (None, 0));
    assert!(results.iter().all(|it| it.as_ref().is_err_and(TaskError::is_decode)), "{results:?}");
}

/// Has frames of one task each sent to a worker far away, and some of them asked for: the tasks that wait to go elsewhere
/// after these answers, and the frames that the worker has left.
fn returned(answers: Vec<Answer>, asked: &[u64]) -> (Vec<u64>, Vec<u64>) {
    let engine = engine(answers, Progress { seq: 1, started: 0, done: 0 });
    let job = engine.enter(&ENTRY, None, Options::default(), None).unwrap();
    // So many frames may wait at a worker only if their tasks are known to be short.
    job.header.set_nanos(1000.0);
    let mut results = Results::<u64>::new();
    let mut driver = Driver::new(&engine, Some(Own::new(&job, &mut results)));
    job.add_outstanding(4);
    for first in 0..4 {
        let job = Some(Arc::clone(&job));
        driver.core.submit(
            TaskRange { job, first, count: 1, next: 0, pins: None, home: Home::ANYWHERE, since: Stamp::NONE },
            &[],
        );
    }
    assert!(!driver.core.take_back(0, asked.to_vec()), "what is asked for is not taken yet");
    assert_eq!(driver.core.workers[0].window.len(), 4);
    while driver.collect(0) {}
    let waiting = driver.core.queue.waiting().map(|queued| queued.range.first).collect();
    let mut left = driver.core.workers[0].window.all();
    left.reverse();
    drop(driver);
    (waiting, left)
}

/// What a worker far away has begun its pool does not know: the oldest task that was sent there counts as begun.
#[test]
fn a_task_that_was_on_its_way_when_its_call_was_cancelled_runs_nowhere() {
    let not_begun = answer(AnswerKind::Returned, 1, 0, 1, Vec::new());
    for answers in [vec![not_begun], Vec::new()] {
        let is_returned = !answers.is_empty();
        let engine = engine(Vec::new(), Progress { seq: 1, started: 1, done: 0 });
        let job = engine.enter(&ENTRY, None, Options::default(), None).unwrap();
        let mut results = Results::<u64>::new();
        let mut driver = Driver::new(&engine, Some(Own::new(&job, &mut results)));
        job.add_outstanding(1);
        let range = TaskRange {
            job: Some(Arc::clone(&job)),
            first: 0,
            count: 1,
            next: 0,
            pins: None,
            home: Home::ANYWHERE,
            since: Stamp::NONE,
        };
        driver.core.submit(range, &[]);
        assert!(!driver.core.cancel(&job), "its task counts as begun");
        driver.core.workers[0].link = Some(link(answers, Progress { seq: 1, started: 0, done: 0 }, 2));
        if is_returned {
            driver.collect(0);
        } else {
            driver.core.seat.tell((0, 1, News::Exited(Exit::Signal(9).into(), HeldByChild::nothing())));
            driver.drive_by();
        }
        assert_eq!((job.outstanding(), driver.core.queue.waiting().count()), (0, 0));
        drop(driver);
        let Delivery::Failure { error, .. } = job.take_deliveries().pop().unwrap() else { panic!("a value") };
        assert!(error.is_cancelled(), "{error}");
    }
}

#[test]
fn a_frame_that_was_asked_for_goes_elsewhere_once_it_is_returned() {
    let back = |seq| answer(AnswerKind::Returned, seq, 0, 1, Vec::new());
    assert_eq!(returned(vec![], &[4, 3]), (vec![], vec![1, 2, 3, 4]));
    assert_eq!(returned(vec![back(4), back(3)], &[4, 3]), (vec![2, 3], vec![1, 2]));
    // The oldest, and one of which the worker has begun the frame behind: its own answer comes.
    let mut seven = Vec::new();
    codec::encode(&7u64, &mut seven).unwrap();
    let answers = vec![back(1), answer(AnswerKind::Values, 2, 0, 1, seven)];
    assert_eq!(returned(answers, &[2, 1]), (vec![0], vec![3, 4]));
}
