//! Records that the code of workers writes by the crate `log`, handed on to the logger of this process.

use crate::engine::watch::outlet::{Kind, Level, Outlet, Queue, cut};
use crate::ipc::control::Control;
use log::{Log, Metadata};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A record on its way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    level: Level,
    target: String,
    text: String,
    module: Option<String>,
    file: Option<String>,
    line: Option<u32>,
}

/// So many bytes of a text travel; the rest is cut off. Well below what a message may have.
const LONGEST: usize = 32 * 1024;

/// So many bytes of a name.
const LONGEST_NAME: usize = 1024;

/// Records that wait for the logger.
pub(super) static QUEUE: Queue = Queue::new();

const LEVELS: [log::Level; 5] =
    [log::Level::Error, log::Level::Warn, log::Level::Info, log::Level::Debug, log::Level::Trace];

/// The most verbose level of records that this process wants.
pub(super) fn level() -> Option<Level> {
    log::max_level().to_level().map(|level| level as Level)
}

fn level_of(level: Level) -> Option<log::Level> {
    LEVELS.get(usize::from(level).checked_sub(1)?).copied()
}

/// Has a record handed on to the logger.
pub(super) fn take(record: Record, worker: &Arc<str>) {
    let Some(room) = QUEUE.room() else { return };
    let worker = Arc::clone(worker);
    room.hand_on(move || {
        tell_lost();
        hand_on(&record, &worker);
    });
}

/// Tells the logger how many records were lost since it was last told.
pub(super) fn tell_lost() {
    if let Some(text) = QUEUE.take_lost() {
        log::warn!("{text}");
    }
}

fn hand_on(record: &Record, worker: &str) {
    let Some(level) = level_of(record.level) else { return };
    if level > log::max_level() {
        return;
    }
    let mut builder = log::Record::builder();
    builder.level(level).target(&record.target).line(record.line);
    builder.module_path(record.module.as_deref()).file(record.file.as_deref());
    log::logger().log(&builder.args(format_args!("[{worker}] {}", record.text)).build());
}

/// Sends every record to the pool's process.
struct Forward(Outlet);

impl Log for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let name = |text: &str| cut(text, LONGEST_NAME).to_owned();
        let record = Record {
            level: record.level() as Level,
            target: name(record.target()),
            text: cut(&record.args().to_string(), LONGEST).to_owned(),
            module: record.module_path().map(name),
            file: record.file().map(name),
            line: record.line(),
        };
        self.0.send(&record, false);
    }

    fn flush(&self) {}
}

/// From now on sends the records of this worker, unless its code has installed a logger.
pub(super) fn forward(level: Level, control: Control) {
    let Some(level) = level_of(level) else { return };
    if log::set_boxed_logger(Box::new(Forward(Outlet::new(Kind::Log, control)))).is_ok() {
        log::set_max_level(level.to_level_filter());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::sys::fuzz::{fuzz, within};

    #[test]
    fn whatever_comes_as_a_record() {
        fuzz(Control::pair, |(ours, theirs), random| {
            let record = Record {
                level: random.number() as Level,
                target: random.text(9),
                text: random.text(40),
                module: random.once_in(2).then(|| random.text(9)),
                file: random.once_in(2).then(|| random.text(9)),
                line: random.once_in(2).then(|| random.number() as u32),
            };
            let mut bytes = codec::to_bytes(&record);
            random.spoil(&mut bytes);
            theirs.send_as_message(&bytes, &[]);
            let most = 16 * bytes.len() + 4096;
            let received = within(most, &bytes, || ours.receive::<Record>(false));
            if let Ok(Some((record, _))) = received {
                within(most, &record, || hand_on(&record, "worker"));
            }
        });
    }
}
