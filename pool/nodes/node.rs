//! The pool's end of one agent: its stream, and the links to its workers.
//!
//! Whoever drives the pool reads the stream, by the first link of a node that finds nothing; the fleet's keeper does when nobody
//! drives. What is found there goes to the workers that it is for, and news of workers to the keeper, which tells them: here
//! the core's lock is held as a rule. That lock comes before the node's.

use crate::codec;
use crate::engine::launch::body::{Body, Obituary, Remote};
use crate::engine::launch::launcher::{News, Tell};
use crate::error::{Error, Exit};
use crate::ipc::link::Progress;
use crate::nodes::event::NodeEventKind;
use crate::nodes::lines::Line;
use crate::nodes::messages::{Ended, SIGNALS};
use crate::nodes::stream::Stream;
use crate::nodes::tended::{Driven, Said, Tended, Told};
use crate::nodes::wire::{CONTEXTS, Inbox, Kind, Message, Numbers, Outbox, Slot};
use crate::process::start::HeldByChild;
use crate::sys::child::ChildSignal;
use crate::sys::poll::Waker;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Nothing more is read while so many bytes of answers wait for somebody to take them.
const MOST_WAITING: usize = 8 << 20;

/// So often the stream is read in one go.
const READS: usize = 16;

/// An agent, as the pool has it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) host: Arc<str>,
    /// How many workers it takes.
    pub(super) capacity: usize,
    pub(super) socket: Arc<OwnedFd>,
    /// What wakes the keeper, to tell news.
    pub(super) keeper: Arc<Waker>,
    pub(super) driven: Arc<Driven>,
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    stream: Stream,
    inbox: Inbox,
    pub(super) outbox: Outbox,
    pub(super) workers: BTreeMap<Slot, Worker>,
    /// The headers whose contexts the agent has.
    pub(super) contexts: HashMap<u64, Known>,
    /// How many bytes of tasks are under way.
    pub(super) flying: usize,
    /// How many bytes of answers wait to be taken.
    pub(super) waiting: usize,
    pub(super) news: Vec<Told>,
    pub(super) lines: Vec<Line>,
    /// When a driver has read the stream last.
    pub(super) read: Instant,
    /// When something was last heard.
    heard: Instant,
    /// The last beat, and when it was sent.
    beat: (u64, Instant),
    /// The shortest round trip so far, in nanoseconds.
    pub(super) round_trip: f64,
    /// Why the node is no more.
    pub(super) lost: Option<String>,
    drain: Drain,
}

/// Whether its agent was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    No,
    /// It takes no more workers, which the program does not know yet, or does.
    News,
    Told,
    /// And has ended without any worker.
    Done,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("workers", &self.workers.len()).field("lost", &self.lost).finish_non_exhaustive()
    }
}

/// Who knows a header.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) by: HashSet<Slot>,
    /// How often it was sent to workers since its context was.
    pub(super) sent: u64,
}

/// A worker of the node.
pub(super) struct Worker {
    tell: Arc<Tell>,
    pub(super) answers: VecDeque<Said>,
    pub(super) process: Arc<Process>,
}

impl Node {
    pub(super) fn new(
        host: Arc<str>,
        capacity: usize,
        (socket, stream): (Arc<OwnedFd>, Stream),
        inbox: Inbox,
        keeper: Arc<Waker>,
        driven: Arc<Driven>,
    ) -> Arc<Node> {
        let now = Instant::now();
        let state = State {
            stream,
            inbox,
            outbox: Outbox::default(),
            workers: BTreeMap::new(),
            contexts: HashMap::new(),
            flying: 0,
            waiting: 0,
            news: Vec::new(),
            lines: Vec::new(),
            read: now,
            heard: now,
            beat: (0, now),
            round_trip: f64::INFINITY,
            lost: None,
            drain: Drain::No,
        };
        Arc::new(Node { host, capacity, socket, keeper, driven, state: Mutex::new(state) })
    }

    /// Sends a message that is about no worker.
    pub(super) fn say(&self, kind: Kind, rest: &[u8]) {
        let mut state = self.state.lock();
        state.outbox.put(kind, 0, &[], rest);
        state.push();
    }

    /// How many more workers it takes.
    pub(super) fn room(&self) -> usize {
        self.state.lock().room(self.capacity)
    }

    /// Starts a worker, as `start` says. Gives `tell` back if the node is full.
    pub(super) fn start(self: &Arc<Self>, start: &[u8], tell: Tell) -> Result<Arc<Process>, Tell> {
        let mut state = self.state.lock();
        let slot = (0..Slot::MAX).find(|slot| !state.workers.contains_key(slot));
        let Some(slot) = slot.filter(|_| state.room(self.capacity) > 0) else { return Err(tell) };
        let process = Arc::new(Process {
            node: Arc::clone(self),
            slot,
            pid: AtomicI32::new(0),
            memory: AtomicU64::new(0),
            is_stopped: AtomicBool::new(false),
            gone: Mutex::new(None),
            last: Mutex::default(),
        });
        let worker = Worker { tell: Arc::new(tell), answers: VecDeque::new(), process: Arc::clone(&process) };
        state.workers.insert(slot, worker);
        state.outbox.put(Kind::Start, slot, &[], start);
        state.push();
        Ok(process)
    }

    /// Sends what there is room for, reads what has arrived, and takes the news that have come of it: for the keeper.
    pub(super) fn tend(&self) -> Tended {
        let mut state = self.state.lock();
        state.push();
        if state.waiting < MOST_WAITING {
            state.pull();
        }
        state.tended(&self.host)
    }

    /// What has come of what others have read.
    pub(super) fn take_news(&self) -> Tended {
        self.state.lock().tended(&self.host)
    }

    /// Sends a beat.
    pub(super) fn beat(&self) {
        let mut state = self.state.lock();
        let number = state.beat.0 + 1;
        state.beat = (number, Instant::now());
        state.outbox.put(Kind::Beat, 0, &[number], &[]);
        state.push();
    }

    /// For how long nothing has been heard; what has arrived and was not read counts as heard.
    pub(super) fn silence(&self) -> Duration {
        self.state.lock().heard.elapsed()
    }

    /// Something has arrived, which may have to wait to be read.
    pub(super) fn note_life(&self) {
        self.state.lock().heard = Instant::now();
    }

    /// Gives the node up, and with it its workers.
    pub(super) fn lose(&self, cause: &str) {
        let mut state = self.state.lock();
        state.lose(cause);
    }

    /// Whether the node is no more, and why.
    pub(super) fn end(&self) -> Option<(NodeEventKind, String)> {
        let state = self.state.lock();
        let kind = if state.drain == Drain::Done { NodeEventKind::Left } else { NodeEventKind::Lost };
        state.lost.clone().map(|cause| (kind, cause))
    }

    /// Whether its agent was told to end, and nobody was told of that before.
    pub(super) fn begins_to_drain(&self) -> bool {
        let mut state = self.state.lock();
        let is_news = state.drain == Drain::News;
        if is_news {
            state.drain = Drain::Told;
        }
        is_news
    }

    /// Sends what there is room for and reads what has arrived, for a driver, who finds the answers at the links.
    pub(super) fn read(&self) {
        let mut state = self.state.lock();
        state.push();
        state.pull();
        if !state.news.is_empty() || !state.lines.is_empty() || state.lost.is_some() || state.drain == Drain::News {
            self.keeper.wake();
        }
    }

    /// Whether it has workers, so that drivers read its stream.
    pub(super) fn has_workers(&self) -> bool {
        !self.state.lock().workers.is_empty()
    }

    /// Whether anything waits to be sent.
    pub(super) fn has_unsent(&self) -> bool {
        let state = self.state.lock();
        state.lost.is_none() && (state.outbox.len() > 0 || state.stream.has_unsent())
    }
}

impl State {
    /// How many more workers it takes, if it takes so many in all.
    fn room(&self, capacity: usize) -> usize {
        if self.lost.is_none() && self.drain == Drain::No { capacity.saturating_sub(self.workers.len()) } else { 0 }
    }

    fn tended(&mut self, host: &Arc<str>) -> Tended {
        let has_answers = self.workers.values().any(|worker| !worker.answers.is_empty());
        Tended {
            news: std::mem::take(&mut self.news),
            lines: self.lines.drain(..).map(|line| (Arc::clone(host), line)).collect(),
            has_answers,
            is_full: self.waiting >= MOST_WAITING,
        }
    }

    /// Sends what there is room for.
    pub(super) fn push(&mut self) {
        while self.lost.is_none() {
            let next = self.outbox.next();
            if next.is_empty() {
                // What was taken before may still have to be sent; an error is found by whoever reads.
                let _ = self.stream.flush();
                return;
            }
            match self.stream.write(next) {
                Ok(Some(len)) => self.outbox.sent(len),
                Ok(None) => return,
                // What it has said before counts, so that the end is found by whoever reads.
                Err(_) => return,
            }
        }
    }

    /// Reads what has arrived.
    pub(super) fn pull(&mut self) {
        for _ in 0..READS {
            if self.lost.is_some() {
                return;
            }
            let room = self.inbox.room();
            let wanted = room.len();
            let len = match self.stream.read(room) {
                Ok(None) => return,
                Ok(Some(0)) => return self.lose("its stream has ended"),
                Ok(Some(len)) => len,
                Err(error) => return self.lose(&format!("its stream has broken: {error}")),
            };
            self.inbox.has_read(len);
            self.heard = Instant::now();
            // Moved out, since messages borrow it.
            let mut inbox = std::mem::replace(&mut self.inbox, Inbox::nothing());
            let outcome = loop {
                match inbox.next() {
                    Ok(Some(message)) => {
                        if let Err(cause) = self.hear(message) {
                            break Err(cause);
                        }
                    }
                    Ok(None) => break Ok(()),
                    Err(cause) => break Err(cause),
                }
            };
            self.inbox = inbox;
            if let Err(cause) = outcome {
                return self.lose(&format!("it has sent {cause}"));
            }
            if len < wanted {
                return;
            }
        }
    }

    /// Hears one message.
    ///
    /// # Errors
    ///
    /// It is none that an agent sends.
    pub(super) fn hear(&mut self, message: Message<'_>) -> Result<(), &'static str> {
        let Message { kind, slot, body } = message;
        let mut numbers = Numbers(body.bytes());
        let mut number = || numbers.next().ok_or("a message that is too short");
        match kind {
            Kind::Echo => {
                if number()? == self.beat.0 {
                    self.round_trip = self.round_trip.min(self.beat.1.elapsed().as_nanos() as f64);
                }
                return Ok(());
            }
            Kind::Line | Kind::Record => {
                self.lines.push(Line::read(kind, numbers).ok_or("a line that is too short")?);
                return Ok(());
            }
            Kind::Draining => {
                if self.drain == Drain::No {
                    self.drain = Drain::News;
                    let tells = self.workers.values().map(|worker| Arc::clone(&worker.tell));
                    self.news.extend(tells.map(|tell| (tell, News::Draining)));
                }
                return Ok(());
            }
            _ => {}
        }
        let worker = self.workers.get_mut(&slot).ok_or("something of a worker that it does not have")?;
        let news = match kind {
            Kind::Answer | Kind::Returned => {
                let said = Said::read(kind, body).ok_or("a damaged answer")?;
                self.waiting += said.payload.len();
                worker.answers.push_back(said);
                return Ok(());
            }
            Kind::Watched => {
                worker.process.memory.store(number()?, Relaxed);
                worker.process.is_stopped.store(number()? != 0, Relaxed);
                return Ok(());
            }
            Kind::Started => {
                worker.process.pid.store(i32::try_from(number()?).unwrap_or(0), Relaxed);
                News::Started(Body::Remote(Arc::clone(&worker.process) as Arc<dyn Remote>))
            }
            Kind::Reply => News::Replied(codec::from_bytes(body.bytes()).map_err(|_| "a damaged reply of a worker")?),
            Kind::Refused => {
                let error: Error = codec::from_bytes(body.bytes()).map_err(|_| "a damaged error")?;
                News::Impossible(error)
            }
            Kind::Exited => {
                let Ended { death, progress: (seq, started, done), condemned, output } =
                    codec::from_bytes(body.bytes()).map_err(|_| "a damaged account of a worker")?;
                let obituary = Obituary { lost: None, condemned, output };
                *worker.process.gone.lock() = Some((Some(Progress { seq, started, done }), obituary));
                News::Exited(death, HeldByChild::nothing())
            }
            _ => return Err("a message that only a pool sends"),
        };
        let is_over = matches!(news, News::Exited(..) | News::Impossible(_));
        // One that was not ready could not leave in order.
        let is_late = self.drain != Drain::No && matches!(news, News::Replied(_));
        self.news.push((Arc::clone(&worker.tell), news));
        if is_late {
            self.news.push((Arc::clone(&worker.tell), News::Draining));
        }
        if is_over {
            self.bury(slot);
        }
        Ok(())
    }

    /// A worker has ended: its answers that were not taken stay with its link.
    fn bury(&mut self, slot: Slot) {
        let Some(worker) = self.workers.remove(&slot) else { return };
        *worker.process.last.lock() = worker.answers;
        let knew = self.contexts.iter().filter(|(_, known)| known.by.contains(&slot));
        for header in knew.map(|(header, _)| *header).collect::<Vec<u64>>() {
            self.forget(slot, header);
        }
    }

    /// A worker does not know this header any more.
    pub(super) fn forget(&mut self, slot: Slot, header: u64) {
        let Some(known) = self.contexts.get_mut(&header) else { return };
        if known.by.remove(&slot) && known.by.is_empty() {
            // Context and header may still be on their way: the one is not overtaken, the other is waited for.
            self.outbox.put(Kind::Drop, CONTEXTS, &[header, known.sent], &[]);
            self.contexts.remove(&header);
        }
    }

    /// Gives the node up, and with it its workers.
    fn lose(&mut self, cause: &str) {
        if self.lost.is_some() {
            return;
        }
        self.lost = Some(cause.to_owned());
        self.stream.shut_down();
        if self.drain != Drain::No && self.workers.is_empty() {
            self.drain = Drain::Done;
        }
        while let Some((&slot, worker)) = self.workers.first_key_value() {
            let obituary = Obituary { lost: Some(cause.to_owned()), ..Obituary::default() };
            *worker.process.gone.lock() = Some((None, obituary));
            self.news.push((Arc::clone(&worker.tell), News::Exited(Exit::Unknown.into(), HeldByChild::nothing())));
            self.bury(slot);
        }
    }
}

/// What is known of a worker that is over: how far it has come, unless nobody knows, and what else was told.
pub(super) type Gone = (Option<Progress>, Obituary);

/// A worker's process, as it is known here.
pub(super) struct Process {
    pub(super) node: Arc<Node>,
    pub(super) slot: Slot,
    pid: AtomicI32,
    /// The memory that it had when that was last told, plus one; 0 = unknown.
    memory: AtomicU64,
    is_stopped: AtomicBool,
    pub(super) gone: Mutex<Option<Gone>>,
    /// Answers that were not taken when it ended.
    pub(super) last: Mutex<VecDeque<Said>>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("host", &self.node.host).field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl Process {
    /// Tells the agent something about the process, if that is still there.
    pub(super) fn say(&self, kind: Kind, numbers: &[u64]) {
        let mut state = self.node.state.lock();
        if self.gone.lock().is_none() {
            state.outbox.put(kind, self.slot, numbers, &[]);
            state.push();
        }
    }
}

impl Remote for Process {
    fn pid(&self) -> i32 {
        self.pid.load(Relaxed)
    }

    fn host(&self) -> &Arc<str> {
        &self.node.host
    }

    fn signal(&self, signal: ChildSignal) {
        let number = SIGNALS.iter().position(|it| *it == signal).unwrap_or_default();
        self.say(Kind::Signal, &[number as u64]);
    }

    fn tell_to_end(&self) {
        self.say(Kind::EndIt, &[]);
    }

    fn kill_if_running(&self, frames: &[u64]) {
        self.say(Kind::KillIfRunning, frames);
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Relaxed)
    }

    fn memory(&self) -> Option<u64> {
        self.memory.load(Relaxed).checked_sub(1)
    }

    fn obituary(&self) -> Obituary {
        self.gone.lock().as_ref().map(|(_, obituary)| obituary.clone()).unwrap_or_default()
    }
}
