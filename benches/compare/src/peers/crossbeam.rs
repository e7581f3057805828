//! Threads at the ends of two channels of crossbeam: the least that a pool of threads can be.

use crate::plan::{Plan, Sampler};
use crate::work::{WORKERS, burn, increment};
use ::crossbeam::channel::{Receiver, Sender, unbounded};
use std::time::Duration;

/// The threads end with the sender.
struct Crew {
    tasks: Sender<u64>,
    results: Receiver<u64>,
}

impl Crew {
    fn new(f: fn(u64) -> u64) -> Crew {
        let ((tasks, received), (answers, results)) = (unbounded(), unbounded());
        for _ in 0..WORKERS {
            let (received, answers) = (received.clone(), answers.clone());
            std::thread::spawn(move || received.into_iter().try_for_each(|x| answers.send(f(x))));
        }
        Crew { tasks, results }
    }

    fn each(&self, items: impl ExactSizeIterator<Item = u64>) {
        let count = items.len();
        items.for_each(|x| self.tasks.send(x).expect("the threads live"));
        assert_eq!(self.results.iter().take(count).count(), count);
    }

    fn call(&self, x: u64) -> u64 {
        self.tasks.send(x).expect("the threads live");
        self.results.recv().expect("a result")
    }
}

pub(super) fn sampler(plan: &Plan) -> Option<Sampler> {
    let crew = Crew::new(if plan.task > 0.0 { burn } else { increment });
    Some(match &*plan.measure {
        "map_chunksize_1" => plan.rate(move |count| crew.each((0..count as usize).map(|x| x as u64))),
        "apply" => plan.latency(Duration::ZERO, move |x| crew.call(x)),
        "apply_from_sleep" => plan.latency(Duration::from_millis(2), move |x| crew.call(x)),
        "tasks_5ms" | "tasks_20us" => {
            plan.efficiency(move |count, steps| crew.each(std::iter::repeat_n(steps, count as usize)))
        }
        "first_result" => plan.latency(Duration::ZERO, |x| {
            let crew = Crew::new(increment);
            assert_eq!(crew.call(x), x + 1);
            crew
        }),
        _ => return None,
    })
}
