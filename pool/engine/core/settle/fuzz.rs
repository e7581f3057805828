//! Answers of every kind to frames of every kind, and a worker that dies: each task has one outcome, and the right one.

use super::*;
use crate::engine::call::home::Home;
use crate::engine::call::job::Options;
use crate::engine::core::stamp::Stamp;
use crate::engine::core::testing::{ENTRY, engine, link};
use crate::engine::launch::launcher::News;
use crate::error::Exit;
use crate::error::TaskKind;
use crate::ipc::link::Progress;
use crate::process::start::HeldByChild;
use crate::sys::fuzz::{Random, fuzz};

/// What has come to the call, by task.
#[derive(Default)]
struct Told(Vec<Vec<Result<u64, TaskError>>>);

impl Sink for Told {
    fn values(
        &mut self,
        first: u64,
        count: u32,
        reader: &mut codec::Reader<'_>,
        error: &dyn Fn(u64, TaskKind) -> TaskError,
    ) {
        for index in first..first + u64::from(count) {
            let value = codec::decode(reader);
            self.0[index as usize]
                .push(value.map_err(|CodecError(text)| error(index, Failure::Decode { text }.into())));
        }
    }

    fn failure(&mut self, index: u64, error: TaskError) {
        self.0[index as usize].push(Err(error));
    }

    fn runs_user_code(&self) -> bool {
        false
    }
}

/// What should become of a task.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Value(u64),
    Failed,
    /// With its worker.
    Lost,
    /// It goes to another worker.
    Waits,
}

/// The number of the first frame with tasks, behind the header.
const FIRST: u64 = 1;

/// An answer to the next tasks of one of these frames, more or less as it should be; the values are the numbers of the tasks.
fn any_answer(random: &mut Random, frames: &[u32], fates: &[Option<Fate>]) -> Answer {
    let starts: Vec<u64> =
        frames.iter().scan(0, |at, count| Some(std::mem::replace(at, *at + u64::from(*count)))).collect();
    let open = |at: usize| (0..frames[at]).find(|task| fates[(starts[at] + u64::from(*task)) as usize].is_none());
    let oldest = (0..frames.len()).find(|at| open(*at).is_some()).unwrap_or(0);
    let mut first = open(oldest).unwrap_or(0);
    let mut count = 1 + random.below((frames[oldest] - first).max(1) as usize) as u32;
    let mut seq = FIRST + oldest as u64;
    let kind = *random.pick(&[
        AnswerKind::Values,
        AnswerKind::Values,
        AnswerKind::Failure,
        AnswerKind::Handles,
        AnswerKind::Taken,
    ]);
    if kind != AnswerKind::Values && !random.once_in(8) {
        count = 1;
    }
    match random.below(40) {
        0 => seq = random.number(),
        1 => seq += 1,
        2 => first = random.number() as u32,
        3 => count = random.number() as u32,
        _ => {}
    }
    let mut bytes = Vec::new();
    let index = starts[oldest] + u64::from(first);
    match kind {
        AnswerKind::Values | AnswerKind::Handles => {
            (0..count.min(9)).for_each(|task| codec::encode(&(index + u64::from(task)), &mut bytes).unwrap());
        }
        AnswerKind::Failure => bytes = codec::to_bytes(&Failure::Decode { text: random.text(9) }),
        AnswerKind::Taken | AnswerKind::Returned => {}
    }
    if kind == AnswerKind::Handles {
        handles::append(&mut bytes, &Pins::new());
    }
    if random.once_in(8) {
        random.spoil(&mut bytes);
    }
    let nanos = if random.once_in(2) { 0 } else { random.number() };
    Answer { kind, seq, first, count, nanos, payload: Payload::Own(bytes), attached: Vec::new() }
}

/// What an answer makes of the tasks, said once more in another way; false = it is none that a worker may give.
fn expect(answer: &Answer, frames: &[u32], fates: &mut [Option<Fate>]) -> bool {
    let mut start = 0;
    for (at, frame) in frames.iter().enumerate() {
        let tasks = &mut fates[start..start + *frame as usize];
        start += *frame as usize;
        let Some(next) = tasks.iter().position(Option::is_none) else { continue };
        let fits = answer.seq == FIRST + at as u64
            && answer.first as usize == next
            && (1..=tasks.len() - next).contains(&(answer.count as usize));
        let bytes = answer.payload.to_vec().unwrap();
        let is_sound = match answer.kind {
            AnswerKind::Values | AnswerKind::Taken => true,
            AnswerKind::Failure => answer.count == 1,
            AnswerKind::Handles => answer.count == 1 && handles::take_off(bytes.clone()).is_some(),
            AnswerKind::Returned => unreachable!("not among these answers"),
        };
        if !fits || !is_sound {
            return false;
        }
        for (task, fate) in tasks[next..next + answer.count as usize].iter_mut().enumerate() {
            *fate = match answer.kind {
                AnswerKind::Taken | AnswerKind::Returned => None,
                AnswerKind::Failure => Some(Fate::Failed),
                AnswerKind::Values | AnswerKind::Handles => {
                    let end = if answer.kind == AnswerKind::Handles {
                        handles::take_off(bytes.clone()).map_or(0, |(value, _)| value.len())
                    } else {
                        bytes.len()
                    };
                    let value = bytes[..end].get(8 * task..8 * task + 8).and_then(|word| word.try_into().ok());
                    Some(value.map_or(Fate::Failed, |word| Fate::Value(u64::from_le_bytes(word))))
                }
            };
        }
        return true;
    }
    false
}

#[test]
fn each_task_has_one_outcome_whatever_its_worker_answers() {
    fuzz(
        || (),
        |(), random| {
            let frames: Vec<u32> = (0..1 + random.below(4)).map(|_| 1 + random.below(4) as u32).collect();
            let total: u32 = frames.iter().sum();
            let at = FIRST + random.below(4) as u64;
            let progress = if random.once_in(4) {
                Progress { seq: random.number(), started: random.number() as u32, done: random.number() as u32 }
            } else {
                Progress { seq: at, started: random.below(5) as u32, done: random.below(5) as u32 }
            };
            let engine = engine(Vec::new(), progress);
            let job = engine.enter(&ENTRY, None, Options::default(), None).unwrap();
            if random.once_in(2) {
                // Tasks of which something is known: more than one frame of them goes to the worker.
                job.header.set_nanos(random.number() as f64);
            }
            let mut told = Told((0..total).map(|_| Vec::new()).collect());
            let mut driver = Driver::new(&engine, Some(Own::new(&job, &mut told)));
            job.add_outstanding(u64::from(total));
            let mut first = 0;
            for count in &frames {
                let job = Some(Arc::clone(&job));
                driver.core.submit(
                    TaskRange {
                        job,
                        first,
                        count: *count,
                        next: 0,
                        pins: None,
                        home: Home::ANYWHERE,
                        since: Stamp::NONE,
                    },
                    &[],
                );
                first += u64::from(*count);
            }
            let sent = driver.core.workers[0].window.len();

            let mut fates = vec![None; total as usize];
            let mut answers = Vec::new();
            let mut is_sound = true;
            for _ in 0..random.below(8) {
                let answer = any_answer(random, &frames[..sent], &fates);
                is_sound = is_sound && expect(&answer, &frames[..sent], &mut fates);
                answers.push(answer);
            }
            let shown = format!("{frames:?} {sent} {answers:?} {progress:?}");
            driver.core.workers[0].link = Some(link(answers, progress, FIRST + sent as u64));
            driver.drive_by();
            assert_eq!(driver.core.workers[0].condemned.is_some(), !is_sound, "{shown}");
            // The others, as far as these have made room.
            let sent = driver.core.workers[0].link.as_ref().map_or(0, |link| link.sent() - FIRST);
            driver.core.seat.tell((0, 1, News::Exited(Exit::Signal(9).into(), HeldByChild::nothing())));
            driver.drive_by();
            let waiting = driver.core.queue.waiting().flat_map(|queued| {
                let range = &queued.range;
                (range.next..range.count).map(|at| range.index(at))
            });
            let waiting: Vec<u64> = waiting.collect();
            assert_eq!(job.outstanding(), waiting.len() as u64, "tasks that nobody has in the books: {shown}");
            drop(driver);

            // Tasks without an answer are lost if their worker has begun them, as it says.
            let mut start = 0;
            for (seq, count) in (FIRST..).zip(&frames) {
                for task in 0..*count {
                    let is_begun = seq < progress.seq || seq == progress.seq && task < progress.started;
                    let is_lost = seq < FIRST + sent && is_begun;
                    fates[start + task as usize].get_or_insert(if is_lost { Fate::Lost } else { Fate::Waits });
                }
                start += *count as usize;
            }
            for (index, (fate, outcomes)) in (0..).zip(fates.iter().zip(&told.0)) {
                let seen = match &outcomes[..] {
                    [] if waiting.iter().filter(|it| **it == index).count() == 1 => Fate::Waits,
                    [Ok(value)] => Fate::Value(*value),
                    [Err(error)] if error.is_worker_lost() => Fate::Lost,
                    [Err(_)] => Fate::Failed,
                    other => panic!("task {index} has the outcomes {other:?}: {shown}"),
                };
                assert!(outcomes.is_empty() || !waiting.contains(&index), "task {index} may run twice: {shown}");
                assert_eq!(Some(seen), *fate, "task {index}: {shown}");
            }
        },
    );
}
