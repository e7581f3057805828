//! What a driver is asked for, what it answers, and how it takes a sample.
//!
//! A driver is a process that has one peer do the work of one measure. It reads a [`Plan`], sets everything up, and
//! answers [`Answer::Ready`]; then it takes one sample for every further line. All lines are JSON; `driver.py` is the
//! driver of the peers in Python.

use crate::work::{KILLED_AMONG, WORKERS, seconds};
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

/// The sizes of one measure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) measure: String,
    /// The most items of a sample; a peer that would need longer than `seconds` for them gets fewer.
    pub(crate) items: u64,
    /// How long a sample lasts, about.
    pub(crate) seconds: f64,
    /// The bytes of an item.
    pub(crate) bytes: usize,
    /// The seconds that a task works.
    pub(crate) task: f64,
    /// The steps of such a task, in the language of the driver.
    pub(crate) steps: u64,
}

/// What a driver says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Answer {
    Ready,
    /// The peer has nothing to do this with.
    Unsupported,
    Sample(Sample),
    Failed {
        note: String,
    },
}

/// One figure in base units (seconds, bytes, items per second); none if the peer does not do what is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) value: Option<f64>,
    #[serde(default)]
    pub(crate) note: String,
}

impl From<f64> for Sample {
    fn from(value: f64) -> Sample {
        Sample { value: Some(value), note: String::new() }
    }
}

impl Sample {
    /// The time is a figure only if nothing was lost but the one task.
    pub(crate) fn of_a_kill(took: f64, results: u64, errors: u64) -> Sample {
        let value = (results + 1 == KILLED_AMONG && errors == 1).then_some(took);
        Sample { value, note: format!("{results} results, {errors} lost") }
    }
}

/// Takes one sample per call.
pub(crate) type Sampler = Box<dyn FnMut() -> Sample>;

pub(crate) fn sampler(mut sample: impl FnMut() -> f64 + 'static) -> Sampler {
    Box::new(move || sample().into())
}

impl Plan {
    /// Items per second of `run`, which is told how many.
    pub(crate) fn rate(&self, run: impl FnMut(u64) + 'static) -> Sampler {
        self.rate_of(|count| count, run)
    }

    /// Items per second of `run`; what `make` does is not counted.
    fn rate_of<T: 'static>(&self, make: impl Fn(u64) -> T + 'static, mut run: impl FnMut(T) + 'static) -> Sampler {
        let mut once = move |count| {
            let items = make(count);
            count as f64 / seconds(|| run(items))
        };
        let count = self.fit(&mut once);
        sampler(move || once(count))
    }

    /// As many items as `once`, which returns their rate, manages in the time of a sample. Warms up meanwhile.
    fn fit(&self, mut once: impl FnMut(u64) -> f64) -> u64 {
        let mut count = (self.items / 1024).max(1);
        loop {
            let rate = once(count);
            if count == self.items || count as f64 / rate > self.seconds / 4.0 {
                return ((rate * self.seconds) as u64).clamp(1, self.items);
            }
            count = (count * 4).min(self.items);
        }
    }

    /// Bytes per second, each item counted once, whatever way it goes.
    pub(crate) fn bandwidth<T: Clone + 'static>(
        &self,
        item: impl Fn(u64, usize) -> T,
        run: impl FnMut(Vec<T>) + 'static,
    ) -> Sampler {
        let bytes = self.bytes;
        let items: Vec<T> = (0..self.items).map(|at| item(at, bytes)).collect();
        scaled(bytes as f64, self.rate_of(move |count| items[..count as usize].to_vec(), run))
    }

    /// The useful work per second and worker: 1 is perfect. `run` is told how many tasks of how many steps.
    pub(crate) fn efficiency(&self, mut run: impl FnMut(u64, u64) + 'static) -> Sampler {
        let steps = self.steps;
        scaled(self.task / WORKERS as f64, self.rate(move |count| run(count, steps)))
    }

    /// The median time of a call. What it returns is dropped outside of that time.
    pub(crate) fn latency<R>(&self, pause: Duration, mut call: impl FnMut(u64) -> R + 'static) -> Sampler {
        let (most, lasts) = (self.items, Duration::from_secs_f64(self.seconds));
        sampler(move || {
            let (start, mut times) = (Instant::now(), Vec::new());
            while times.is_empty() || ((times.len() as u64) < most && start.elapsed() < lasts) {
                std::thread::sleep(pause);
                let (called, at) = (Instant::now(), times.len() as u64);
                let result = black_box(call(at));
                times.push(called.elapsed().as_secs_f64());
                drop(result);
            }
            median(times)
        })
    }

    /// The time of one pair of lock and unlock.
    pub(crate) fn pair(&self, mut pair: impl FnMut() + 'static) -> Sampler {
        let calls = self.items;
        sampler(move || seconds(|| (0..calls).for_each(|_| pair())) / calls as f64)
    }

    /// The rate of one large value there and back, as a share of that of values of 8 MiB with the same bytes in all,
    /// both one after the other. `echo` hands a value to a worker and returns what came back.
    pub(crate) fn large(&self, mut echo: impl FnMut(Vec<u8>) -> Vec<u8> + 'static) -> Sampler {
        const SMALL: usize = 8 << 20;
        let (large, count) = (self.bytes, self.bytes / SMALL);
        let mut rate = move |size: usize, count: usize| {
            let mut value = crate::work::bytes(count as u64, size);
            let took = seconds(|| (0..count).for_each(|_| value = echo(std::mem::take(&mut value))));
            assert_eq!(value.len(), size);
            (size * count) as f64 / took
        };
        Box::new(move || {
            let (small, large) = (rate(SMALL, count), rate(large, 1));
            let note = format!("{:.2} GiB/s", large / f64::from(1 << 30));
            Sample { value: Some(large / small), note }
        })
    }
}

/// What `sampler` measures, times `factor`.
fn scaled(factor: f64, mut sampler: Sampler) -> Sampler {
    Box::new(move || {
        let sample = sampler();
        Sample { value: sample.value.map(|value| value * factor), ..sample }
    })
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Serves as the driver of a peer that is written in Rust.
pub(crate) fn drive(peer: fn(&Plan) -> Option<Sampler>) -> std::io::Result<()> {
    let answer = |answer: &Answer| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(answer)?)?;
        out.flush()
    };
    let mut lines = std::io::stdin().lock().lines();
    let Some(plan) = lines.next().transpose()? else { return Ok(()) };
    let Some(mut sampler) = peer(&serde_json::from_str(&plan)?) else { return answer(&Answer::Unsupported) };
    answer(&Answer::Ready)?;
    for line in lines {
        line?;
        answer(&Answer::Sample(sampler()))?;
    }
    Ok(())
}
