//! What the code of workers says by the crates `log` and `tracing`, on its way to this process. With the features of these
//! names; without them nothing is written and nothing read.
//!
//! Each worker has a socket for it. The reactor of this process reads it, and hands on what has come to the thread where
//! callbacks run, since a logger or a subscriber is code of the user's. If that is too slow, it is dropped here, and counted;
//! if this process does not even read, it is dropped by the worker. So nobody waits for a logger.

use serde::{Deserialize, Serialize};

#[cfg(feature = "tracing")]
pub(crate) use crate::engine::watch::tracing::sender::{InFrame, Running};
#[cfg(not(feature = "tracing"))]
pub(crate) use no_spans::{CallSpan, InFrame, Running};
#[cfg(all(feature = "cluster", not(any(feature = "log", feature = "tracing"))))]
pub(crate) use off::{Relayed, relay, wanted};
#[cfg(not(any(feature = "log", feature = "tracing")))]
pub(crate) use off::{flush, forward, open};
#[cfg(feature = "tracing")]
pub(crate) use on::CallSpan;
#[cfg(all(feature = "cluster", any(feature = "log", feature = "tracing")))]
pub(crate) use on::{Relayed, relay, wanted};
#[cfg(any(feature = "log", feature = "tracing"))]
pub(crate) use on::{flush, forward, open};

/// What a worker is to send: the most verbose level by each crate, as a number from 1 (error) to 5 (trace). Whoever is told so
/// gets a socket for it as its last descriptor.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Wanted {
    log: Option<u8>,
    tracing: Option<u8>,
}

#[cfg(not(feature = "tracing"))]
mod no_spans {
    /// The span in which a call was made: there is none.
    #[derive(Debug)]
    pub(crate) enum CallSpan {}

    impl CallSpan {
        pub(crate) fn current() -> Option<CallSpan> {
            None
        }

        pub(crate) fn number(&self) -> Option<u64> {
            match *self {}
        }
    }

    /// The task that runs on this thread: nobody asks which.
    pub(crate) struct Running;

    impl Running {
        pub(crate) fn new(_key: (u64, u32), _index: u64, _attempt: u32) -> Running {
            Running
        }
    }

    /// What this thread says is said by the tasks of a frame: it is not heard.
    pub(crate) enum InFrame {}

    impl InFrame {
        pub(crate) fn new(_function: &str, _call: Option<u64>, _running: fn() -> Option<Running>) -> Option<InFrame> {
            None
        }
    }
}

#[cfg(not(any(feature = "log", feature = "tracing")))]
mod off {
    use super::Wanted;
    use crate::sys::time::Deadline;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    pub(crate) fn open(_worker: &str, _fds: &mut Vec<Arc<OwnedFd>>) -> io::Result<Option<Wanted>> {
        Ok(None)
    }

    pub(crate) fn forward(wanted: Wanted, _socket: OwnedFd) {
        // Nobody has asked.
        debug_assert!(wanted.log.or(wanted.tracing).is_none());
    }

    pub(crate) fn flush(_deadline: Deadline) {}

    #[cfg(feature = "cluster")]
    pub(crate) fn wanted() -> Option<Wanted> {
        None
    }

    #[cfg(feature = "cluster")]
    pub(crate) fn relay(_wanted: Wanted, _send: impl Fn(&str, u64, &[u8]) -> bool + Send + Sync + 'static) {}

    #[cfg(feature = "cluster")]
    #[derive(Debug, Default)]
    pub(crate) struct Relayed {}

    #[cfg(feature = "cluster")]
    impl Relayed {
        pub(crate) fn take(&self, _place: usize, _worker: &str, _source: u64, _envelope: &[u8]) {}
    }
}

#[cfg(any(feature = "log", feature = "tracing"))]
mod on {
    use super::Wanted;
    use crate::codec;
    use crate::engine::callbacks;
    #[cfg(feature = "log")]
    use crate::engine::watch::logs;
    use crate::engine::watch::outlet::{Envelope, Kind};
    #[cfg(feature = "tracing")]
    use crate::engine::watch::tracing::{self, spans, spans::Spans};
    use crate::ipc::control::Control;
    #[cfg(feature = "tracing")]
    use crate::sys::fork::Original;
    use crate::sys::poll::Interest;
    use crate::sys::reactor::{Reactor, reactor};
    use crate::sys::socket;
    use crate::sys::time::Deadline;
    use crate::sys::usage;
    use parking_lot::{Mutex, MutexGuard};
    use std::io;
    use std::os::fd::OwnedFd;
    #[cfg(feature = "cluster")]
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::sync::{Arc, Weak, mpsc};
    use std::time::Duration;

    /// How many messages are read at once from one worker.
    const AT_ONCE: usize = 64;

    /// Sends what a worker has said: the name of its place, a number that no other worker of this process has, and what it
    /// said, which is nothing when it has said everything. Returns whether it could.
    #[cfg(feature = "cluster")]
    type SendRecord = dyn Fn(&str, u64, &[u8]) -> bool + Send + Sync;

    /// What takes away from here what workers say: in a process that has no logger and no subscriber of its own.
    #[cfg(feature = "cluster")]
    struct Relay {
        wanted: Wanted,
        send: Box<SendRecord>,
        unsent: Mutex<Unsent>,
    }

    #[cfg(feature = "cluster")]
    #[derive(Default)]
    struct Unsent {
        /// With the names of the workers and their numbers.
        needed: std::collections::VecDeque<(Arc<str>, u64, Vec<u8>)>,
        lost: u64,
    }

    #[cfg(feature = "cluster")]
    static RELAY: std::sync::OnceLock<Relay> = std::sync::OnceLock::new();

    /// From now on `send` gets what workers say, see [`SendRecord`].
    #[cfg(feature = "cluster")]
    pub(crate) fn relay(wanted: Wanted, send: impl Fn(&str, u64, &[u8]) -> bool + Send + Sync + 'static) {
        let _ = RELAY.set(Relay { wanted, send: Box::new(send), unsent: Mutex::default() });
    }

    #[cfg(feature = "cluster")]
    impl Relay {
        /// Sends what waits, as far as there is room.
        fn send_needed(&self, unsent: &mut Unsent) {
            while let Some((worker, source, bytes)) = unsent.needed.front() {
                if !(self.send)(worker, *source, bytes) {
                    break;
                }
                unsent.needed.pop_front();
            }
        }

        fn take(&self, worker: &Arc<str>, source: u64, mut envelope: Envelope) {
            let mut unsent = self.unsent.lock();
            self.send_needed(&mut unsent);
            envelope.lost = envelope.lost.saturating_add(unsent.lost);
            let bytes = codec::to_bytes(&envelope);
            if unsent.needed.is_empty() && (self.send)(worker, source, &bytes) {
                unsent.lost = 0;
            } else if envelope.is_needed && unsent.needed.len() < crate::engine::watch::outlet::MOST_WAITING {
                unsent.lost = 0;
                unsent.needed.push_back((Arc::clone(worker), source, bytes));
            } else {
                unsent.lost = envelope.lost.saturating_add(1);
            }
        }

        /// Says that a worker has said everything: its spans are over. However many wait for room: there is one of these for
        /// each worker.
        fn end(&self, worker: &Arc<str>, source: u64) {
            let mut unsent = self.unsent.lock();
            unsent.needed.push_back((Arc::clone(worker), source, Vec::new()));
            self.send_needed(&mut unsent);
        }
    }

    /// What this process wants to hear, if anything.
    pub(crate) fn wanted() -> Option<Wanted> {
        #[cfg(feature = "cluster")]
        if let Some(relay) = RELAY.get() {
            return Some(relay.wanted);
        }
        let (log, tracing) = (None, None);
        #[cfg(feature = "log")]
        let log = log.or_else(logs::level);
        #[cfg(feature = "tracing")]
        let tracing = tracing.or_else(tracing::level);
        (log.is_some() || tracing.is_some()).then_some(Wanted { log, tracing })
    }

    /// How many workers were heard here.
    #[cfg(feature = "cluster")]
    static SOURCES: AtomicU64 = AtomicU64::new(0);

    /// What was heard from one worker, as far as what follows refers to it.
    #[derive(Debug)]
    struct Heard {
        #[cfg(any(feature = "log", feature = "cluster"))]
        worker: Arc<str>,
        /// A number that nobody else here has.
        #[cfg(feature = "cluster")]
        source: u64,
        #[cfg(feature = "tracing")]
        spans: Spans,
    }

    impl Heard {
        fn new(worker: &str) -> Heard {
            let worker: Arc<str> = worker.into();
            #[cfg(feature = "tracing")]
            let spans = Spans::new(Arc::clone(&worker));
            Heard {
                #[cfg(any(feature = "log", feature = "cluster"))]
                worker,
                #[cfg(feature = "cluster")]
                source: SOURCES.fetch_add(1, Relaxed),
                #[cfg(feature = "tracing")]
                spans,
            }
        }

        fn take(&mut self, envelope: Envelope) {
            #[cfg(feature = "cluster")]
            if let Some(relay) = RELAY.get() {
                return relay.take(&self.worker, self.source, envelope);
            }
            // What says nonsense is not heard.
            match envelope.kind {
                #[cfg(feature = "log")]
                Kind::Log => {
                    logs::QUEUE.lose(envelope.lost);
                    codec::from_bytes(&envelope.bytes).into_iter().for_each(|record| logs::take(record, &self.worker));
                }
                #[cfg(feature = "tracing")]
                Kind::Tracing => {
                    tracing::QUEUE.lose(envelope.lost);
                    codec::from_bytes(&envelope.bytes).into_iter().for_each(|told| self.spans.take(told));
                }
                #[cfg(not(all(feature = "log", feature = "tracing")))]
                _ => {}
            }
        }
    }

    /// So many workers of one place may be heard at a time: one that is gone is heard as long as something that it has started
    /// has its socket. Of more the first ones are forgotten.
    #[cfg(feature = "cluster")]
    const MOST_AT_A_PLACE: usize = 64;

    /// More places no pool has.
    #[cfg(feature = "cluster")]
    const MOST_PLACES: usize = 1 << 16;

    /// What relays have sent, by the places of the workers, and there with the numbers that the relays give them.
    #[cfg(feature = "cluster")]
    #[derive(Debug, Default)]
    pub(crate) struct Relayed(Mutex<std::collections::HashMap<usize, Vec<(u64, Heard)>>>);

    #[cfg(feature = "cluster")]
    impl Relayed {
        /// Takes what the relay that has the place now has sent, see [`SendRecord`].
        pub(crate) fn take(&self, place: usize, worker: &str, source: u64, envelope: &[u8]) {
            let mut places = self.0.lock();
            if places.len() >= MOST_PLACES && !places.contains_key(&place) {
                return;
            }
            let here = places.entry(place).or_default();
            // The place may have gone to another node, whose relay has numbers of its own.
            here.retain(|(_, heard)| *heard.worker == *worker);
            let known = here.iter().position(|(number, _)| *number == source);
            if envelope.is_empty() {
                known.into_iter().for_each(|at| _ = here.remove(at));
                return;
            }
            let at = known.unwrap_or_else(|| {
                if here.len() == MOST_AT_A_PLACE {
                    here.remove(0);
                }
                here.push((source, Heard::new(worker)));
                here.len() - 1
            });
            // What says nonsense is not heard.
            codec::from_bytes(envelope).into_iter().for_each(|envelope| here[at].1.take(envelope));
        }
    }

    #[cfg(feature = "cluster")]
    impl Drop for Heard {
        fn drop(&mut self) {
            if let Some(relay) = RELAY.get() {
                relay.end(&self.worker, self.source);
            }
        }
    }

    /// This process's end of the socket of one worker.
    struct Inlet {
        control: Control,
        /// `None` when there is no more to be heard.
        heard: Mutex<Option<Heard>>,
    }

    /// Whether there was ever a worker on this machine that may have said something.
    static HAS_HEARD: AtomicBool = AtomicBool::new(false);

    /// Those of workers on this machine from which there may be more to read.
    fn inlets() -> MutexGuard<'static, Vec<Weak<Inlet>>> {
        static INLETS: Mutex<Vec<Weak<Inlet>>> = Mutex::new(Vec::new());
        let mut inlets = INLETS.lock();
        inlets.retain(|it| it.strong_count() > 0);
        inlets
    }

    impl Inlet {
        /// Reads at most so many messages. Returns whether there can be more some time.
        fn read(&self, most: usize) -> bool {
            let mut place = self.heard.lock();
            let Some(heard) = &mut *place else { return false };
            for _ in 0..most {
                match self.control.receive(false) {
                    Ok(Some((envelope, _))) => heard.take(envelope),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock || usage::is_shortage(&error) => break,
                    // It is gone, or says nonsense.
                    Ok(None) | Err(_) => {
                        *place = None;
                        return false;
                    }
                }
            }
            true
        }

        /// Waits for the next message. Ends when the worker and all that have its descriptor are gone.
        fn listen(self: Arc<Self>, reactor: &'static Reactor) {
            let socket = Arc::clone(self.control.socket());
            reactor.watch(socket, Interest::Readable, Deadline::NEVER, move |_| {
                if self.read(AT_ONCE) {
                    self.listen(reactor);
                }
            });
        }
    }

    /// Listens to a new worker, and gives its descriptors the other end; not if this process wants to hear nothing.
    pub(crate) fn open(worker: &str, fds: &mut Vec<Arc<OwnedFd>>) -> io::Result<Option<Wanted>> {
        let Some(wanted) = wanted() else { return Ok(None) };
        callbacks::start()?;
        let (ours, theirs) = socket::pair()?;
        fds.push(Arc::new(theirs));
        let inlet = Inlet { control: Control::new(Arc::new(ours)), heard: Mutex::new(Some(Heard::new(worker))) };
        let inlet = Arc::new(inlet);
        HAS_HEARD.store(true, Relaxed);
        inlets().push(Arc::downgrade(&inlet));
        inlet.listen(reactor()?);
        Ok(Some(wanted))
    }

    /// Has it done where callbacks run, behind all that workers on this machine have said until now. If it cannot be done there
    /// it is not done, and what it holds is not let go: this may be a thread that must not run code of the user's.
    fn after_all_said(work: impl FnOnce() + Send + 'static) {
        /// More than there is room for in a socket.
        const ALL: usize = 4096;
        let has_inlets = !inlets().is_empty();
        match callbacks::start().and_then(|()| if has_inlets { reactor().map(Some) } else { Ok(None) }) {
            Ok(None) => callbacks::post(work),
            Ok(Some(reactor)) => reactor.post(move || {
                let inlets: Vec<_> = inlets().iter().filter_map(Weak::upgrade).collect();
                inlets.iter().for_each(|inlet| _ = inlet.read(ALL));
                callbacks::post(work);
            }),
            Err(_) => std::mem::forget(work),
        }
    }

    /// Waits until what workers on this machine have said is handed on, but not for long: a program may end next.
    pub(crate) fn flush(deadline: Deadline) {
        /// For a logger or a subscriber that is slow.
        const PATIENCE: Duration = Duration::from_secs(1);
        // What a worker that is gone has said may wait where callbacks run.
        if !HAS_HEARD.load(Relaxed) || callbacks::is_this_thread() {
            return;
        }
        let (tell, told) = mpsc::channel();
        #[cfg(feature = "tracing")]
        let say_lost = spans::say_lost();
        after_all_said(move || {
            #[cfg(feature = "log")]
            logs::tell_lost();
            #[cfg(feature = "tracing")]
            say_lost();
            let _ = tell.send(());
        });
        let patience = deadline.earlier(Deadline::after(PATIENCE)).remaining();
        let _ = told.recv_timeout(patience.unwrap_or(PATIENCE));
    }

    /// The span in which a call was made, and its subscriber.
    #[cfg(feature = "tracing")]
    #[derive(Debug)]
    pub(crate) struct CallSpan(Option<spans::OfCall>, Original);

    #[cfg(feature = "tracing")]
    impl CallSpan {
        /// That of a call that this thread makes now, if there is a subscriber.
        pub(crate) fn current() -> Option<CallSpan> {
            spans::OfCall::current().map(|call| CallSpan(Some(call), Original::here()))
        }

        /// By which workers refer to it.
        pub(crate) fn number(&self) -> Option<u64> {
            self.0.as_ref().map(spans::OfCall::number)
        }
    }

    #[cfg(feature = "tracing")]
    impl Drop for CallSpan {
        /// It is forgotten behind all that workers on this machine have said of it: that is in their sockets by now. A fork has
        /// no thread for that, and its copy of a subscriber is not told.
        fn drop(&mut self) {
            match self.0.take() {
                Some(call) if self.1.is_here() => after_all_said(move || drop(call)),
                call => std::mem::forget(call),
            }
        }
    }

    /// From now on sends what this worker says on `socket`, unless its code has installed what hears it.
    pub(crate) fn forward(wanted: Wanted, socket: OwnedFd) {
        let control = Control::new(Arc::new(socket));
        #[cfg(feature = "log")]
        if let Some(level) = wanted.log {
            logs::forward(level, control.clone());
        }
        #[cfg(feature = "tracing")]
        if let Some(level) = wanted.tracing {
            tracing::sender::forward(level, control);
        }
    }
}
