//! Records that the code of workers writes by the crate `log`, handed on to the logger of this process. With the feature
//! `log`; without it nothing is written and nothing read.

#[cfg(feature = "log")]
pub(crate) use on::{forward, open};
#[cfg(all(feature = "log", feature = "cluster"))]
pub(crate) use on::{level, relay, take_from};

#[cfg(not(feature = "log"))]
pub(crate) use off::{forward, open};
#[cfg(all(not(feature = "log"), feature = "cluster"))]
pub(crate) use off::{level, relay, take_from};

/// The most verbose level of records that a worker sends, as a number from 1 (error) to 5 (trace). Whoever is told so gets
/// a socket for them as its last descriptor.
pub(crate) type Level = u8;

#[cfg(not(feature = "log"))]
mod off {
    use super::Level;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    pub(crate) fn open(_worker: &str, _fds: &mut Vec<Arc<OwnedFd>>) -> io::Result<Option<Level>> {
        Ok(None)
    }

    pub(crate) fn forward(_level: Level, _socket: OwnedFd) {}

    #[cfg(feature = "cluster")]
    pub(crate) fn level() -> Option<Level> {
        None
    }

    #[cfg(feature = "cluster")]
    pub(crate) fn relay(_level: Level, _send: impl Fn(&str, &[u8]) -> bool + Send + Sync + 'static) {}

    #[cfg(feature = "cluster")]
    pub(crate) fn take_from(_worker: &str, _record: &[u8]) {}
}

#[cfg(feature = "log")]
mod on {
    use super::Level;
    #[cfg(feature = "cluster")]
    use crate::codec;
    use crate::engine::callbacks::{self, Callback};
    use crate::ipc::control::Control;
    use crate::sys::poll::Interest;
    use crate::sys::reactor::{Reactor, reactor};
    use crate::sys::socket;
    use crate::sys::time::Deadline;
    use log::{Log, Metadata};
    use serde::{Deserialize, Serialize};
    use std::io;
    use std::os::fd::OwnedFd;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// A record on its way.
    #[derive(Debug, Serialize, Deserialize)]
    struct Record {
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

    /// So many records may wait for the logger; more are dropped, and counted.
    const MOST_WAITING: usize = 4096;

    /// How many records are read at once from one worker.
    const AT_ONCE: usize = 64;

    /// Records that wait for the logger, and those that were dropped since one was last handed on.
    static WAITING: AtomicUsize = AtomicUsize::new(0);
    static DROPPED: AtomicUsize = AtomicUsize::new(0);

    const LEVELS: [log::Level; 5] =
        [log::Level::Error, log::Level::Warn, log::Level::Info, log::Level::Debug, log::Level::Trace];

    fn cut(text: &str, most: usize) -> &str {
        let mut end = text.len().min(most);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        &text[..end]
    }

    /// What takes the records of workers away from here, and says whether it could: in a process that has no logger of its own.
    #[cfg(feature = "cluster")]
    type Relay = Box<dyn Fn(&str, &[u8]) -> bool + Send + Sync>;

    #[cfg(feature = "cluster")]
    static RELAY: std::sync::OnceLock<Relay> = std::sync::OnceLock::new();

    /// The most verbose level of records that this process wants.
    pub(crate) fn level() -> Option<Level> {
        log::max_level().to_level().map(|level| level as Level)
    }

    /// From now on `send` gets the records of workers up to this level, with the names of the workers, instead of a logger.
    #[cfg(feature = "cluster")]
    pub(crate) fn relay(level: Level, send: impl Fn(&str, &[u8]) -> bool + Send + Sync + 'static) {
        let Some(level) = level_of(level) else { return };
        if RELAY.set(Box::new(send)).is_ok() {
            log::set_max_level(level.to_level_filter());
        }
    }

    /// Takes a record that a relay has sent.
    #[cfg(feature = "cluster")]
    pub(crate) fn take_from(worker: &str, record: &[u8]) {
        // One that says nonsense is not heard.
        if let Ok(record) = codec::from_bytes(record) {
            take(record, &worker.into());
        }
    }

    /// Sends a record away, if there is a relay. Returns whether there is.
    #[cfg(feature = "cluster")]
    fn was_relayed(record: &Record, worker: &str) -> bool {
        let Some(send) = RELAY.get() else { return false };
        let dropped = DROPPED.swap(0, Relaxed);
        if dropped > 0 {
            let (level, target) = (log::Level::Warn as Level, "multiproc".to_owned());
            let lost = Record { level, target, text: dropped_text(dropped), module: None, file: None, line: None };
            send(worker, &codec::to_bytes(&lost));
        }
        if !send(worker, &codec::to_bytes(record)) {
            DROPPED.fetch_add(1, Relaxed);
        }
        true
    }

    fn level_of(level: Level) -> Option<log::Level> {
        LEVELS.get(usize::from(level).checked_sub(1)?).copied()
    }

    fn dropped_text(dropped: usize) -> String {
        format!("{dropped} records of workers were dropped, since the logger was too slow")
    }

    /// Listens to a new worker, and gives its descriptors the other end; not if this process logs nothing.
    pub(crate) fn open(worker: &str, fds: &mut Vec<Arc<OwnedFd>>) -> io::Result<Option<Level>> {
        let Some(level) = level() else { return Ok(None) };
        callbacks::start()?;
        let (ours, theirs) = socket::pair()?;
        fds.push(Arc::new(theirs));
        listen(reactor()?, Control::new(Arc::new(ours)), worker.into());
        Ok(Some(level))
    }

    /// Waits for the next record. Ends when the worker and all that have its descriptor are gone.
    fn listen(reactor: &'static Reactor, control: Control, worker: Arc<str>) {
        let socket = Arc::clone(control.socket());
        reactor.watch(socket, Interest::Readable, Deadline::NEVER, move |_| {
            for _ in 0..AT_ONCE {
                match control.receive::<Record>(false) {
                    Ok(Some((record, _))) => take(record, &worker),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // It is gone, or says nonsense.
                    Ok(None) | Err(_) => return,
                }
            }
            listen(reactor, control, worker);
        });
    }

    /// Has a record handed on where callbacks run: a logger is code of the user's, and may take its time.
    fn take(record: Record, worker: &Arc<str>) {
        #[cfg(feature = "cluster")]
        if was_relayed(&record, worker) {
            return;
        }
        if WAITING.fetch_add(1, Relaxed) >= MOST_WAITING {
            WAITING.fetch_sub(1, Relaxed);
            DROPPED.fetch_add(1, Relaxed);
            return;
        }
        let worker = Arc::clone(worker);
        let callback: Callback = Box::new(move || {
            WAITING.fetch_sub(1, Relaxed);
            let dropped = DROPPED.swap(0, Relaxed);
            if dropped > 0 {
                log::warn!("{}", dropped_text(dropped));
            }
            hand_on(&record, &worker);
        });
        callbacks::send([callback]);
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
    struct Forward(Control);

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
            // If nobody listens any more, this process is about to end.
            let _ = self.0.send(&record, &[]);
        }

        fn flush(&self) {}
    }

    /// From now on sends the records of this worker on `socket`, unless its code has installed a logger.
    pub(crate) fn forward(level: Level, socket: OwnedFd) {
        let Some(level) = level_of(level) else { return };
        if log::set_boxed_logger(Box::new(Forward(Control::new(Arc::new(socket))))).is_ok() {
            log::set_max_level(level.to_level_filter());
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        #[cfg(not(feature = "cluster"))]
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

        #[test]
        fn texts_are_cut_between_letters() {
            assert_eq!((cut("abc", 5), cut("abc", 2), cut("aä", 2), cut("", 0)), ("abc", "ab", "a", ""));
        }
    }
}
