//! The pool's end: what the engine does with a node, its links and the ledger, and what it may expect of them.

use crate::engine::call::home::Home;
use crate::engine::core::ledger::{InFlight, TaskRange, Window};
use crate::engine::core::stamp::Stamp;
use crate::engine::launch::body::Remote;
use crate::engine::launch::launcher::News;
use crate::ipc::control::Reply;
use crate::ipc::link::{Answer, AnswerKind, Frame, FrameKind, Link, LinkKind, Parts, Revoked, Unsent};
use crate::nodes::fuzz::sim::{CAPACITY, DEPTH, Outcome, Task, Tasks, arguments_of, context_of, value_of};
use crate::nodes::node::{Node, Process};
use crate::nodes::node_link::NodeLink;
use crate::nodes::stream::Stream;
use crate::nodes::tended::Driven;
use crate::nodes::wire::{Inbox, SEGMENT};
use crate::sys::child::ChildSignal;
use crate::sys::fuzz::Random;
use crate::sys::poll::Waker;
use crate::sys::stream;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What takes long to make, and serves many inputs.
pub(super) struct Bench {
    socket: Arc<OwnedFd>,
    keeper: Arc<Waker>,
    pub(super) to_agent: Inbox,
    pub(super) to_pool: Inbox,
    _other_end: UnixStream,
}

impl Bench {
    /// The stream takes nothing, so that all that a node has to say stays in its outbox.
    pub(super) fn new() -> Bench {
        let (socket, other_end) = UnixStream::pair().unwrap();
        let socket = OwnedFd::from(socket);
        while let Ok(Some(_)) = stream::send(socket.as_fd(), &[IoSlice::new(&[0; SEGMENT])]) {}
        Bench {
            socket: Arc::new(socket),
            keeper: Arc::new(Waker::new().unwrap()),
            to_agent: Inbox::new(usize::MAX),
            to_pool: Inbox::new(usize::MAX),
            _other_end: other_end,
        }
    }

    fn node(&self) -> Arc<Node> {
        let stream = Stream::new(Arc::clone(&self.socket), None);
        let (keeper, driven) = (Arc::clone(&self.keeper), Arc::<Driven>::default());
        let socket = (Arc::clone(&self.socket), stream);
        let node = Node::new("node".into(), CAPACITY, socket, Inbox::nothing(), keeper, driven);
        // Nobody is to look whether something has arrived at the socket.
        node.state.lock().read = Instant::now() + Duration::from_secs(1 << 20);
        node
    }
}

/// A worker, as the pool has it.
pub(super) struct Place {
    link: NodeLink,
    pub(super) process: Arc<Process>,
    pub(super) window: Window,
    known: BTreeSet<u64>,
    is_ready: bool,
    is_stopped: bool,
    /// The pool does not believe its agent any more.
    is_condemned: bool,
    pub(super) is_over: bool,
}

impl Place {
    fn takes_frames(&self) -> bool {
        self.is_ready && !self.is_stopped && !self.is_condemned && !self.is_over && self.window.len() < DEPTH
    }
}

/// A frame that goes elsewhere.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) range: TaskRange,
    header: u64,
    bytes: Vec<u8>,
}

type Heard = Arc<Mutex<Vec<(usize, News)>>>;

/// A pool that has one node.
pub(super) struct Pool {
    pub(super) node: Arc<Node>,
    pub(super) places: Vec<Place>,
    heard: Heard,
    pub(super) tasks: Tasks,
    /// The headers of the calls, by their first tasks.
    headers: BTreeMap<u64, u64>,
    pub(super) waiting: Vec<Waiting>,
    /// What its agent says need not be true, of which nothing here is to blame.
    is_deceived: bool,
}

impl Pool {
    pub(super) fn new(bench: &Bench, is_deceived: bool) -> Pool {
        Pool {
            node: bench.node(),
            places: Vec::new(),
            heard: Heard::default(),
            tasks: Arc::default(),
            headers: BTreeMap::new(),
            waiting: Vec::new(),
            is_deceived,
        }
    }

    pub(super) fn start(&mut self) {
        let (at, heard) = (self.places.len(), Arc::clone(&self.heard));
        let tell = Box::new(move |news| heard.lock().push((at, news)));
        let Ok(process) = self.node.start(&[], tell) else { return };
        self.places.push(Place {
            link: NodeLink::new(Arc::clone(&process), LinkKind::Ring),
            process,
            window: Window::default(),
            known: BTreeSet::new(),
            is_ready: false,
            is_stopped: false,
            is_condemned: false,
            is_over: false,
        });
    }

    /// A frame of new tasks.
    fn new_frame(&mut self, random: &mut Random) -> Waiting {
        let mut tasks = self.tasks.lock();
        let (first, count) = (tasks.len() as u64, 1 + random.below(4) as u32);
        tasks.extend((0..count).map(|_| Task::default()));
        // As a rule there are few headers at a time.
        let header = if random.once_in(200) { 63 } else { random.below(3) as u64 };
        self.headers.insert(first, header);
        let range =
            TaskRange { job: None, first, count, next: 0, pins: None, home: Home::ANYWHERE, since: Stamp::NONE };
        Waiting { range, header, bytes: arguments_of(first, count, random.once_in(200)) }
    }

    /// Sends a frame to a worker, and before it the header if that does not know it.
    fn send(&mut self, at: usize, waiting: Waiting) {
        let Place { link, window, known, .. } = &mut self.places[at];
        let Waiting { range, header, bytes } = &waiting;
        let sent = (|| {
            if !known.contains(header) {
                let context = context_of(*header);
                let Some(seq) = link.send(&frame_of(FrameKind::Header, *header), &context[..].into(), &[])? else {
                    return Ok(None);
                };
                window.push(InFlight { seq, range: None });
                known.insert(*header);
            }
            let TaskRange { first, count, next: skip, .. } = *range;
            link.send(&Frame { first, count, skip, ..frame_of(FrameKind::Tasks, *header) }, &bytes[..].into(), &[])
        })();
        match sent {
            Ok(Some(seq)) => window.push(InFlight { seq, range: Some(waiting.range) }),
            Ok(None) => self.waiting.push(waiting),
            Err(Unsent::Broken) => self.waiting.push(waiting),
            Err(Unsent::Refused(error)) => panic!("{error}"),
        }
    }

    fn wait(&mut self, range: TaskRange, bytes: Vec<u8>) {
        assert!(bytes.starts_with(&arguments_of(range.first, range.count, false)), "the payload of other tasks");
        for task in range.index(range.next)..range.index(range.count) {
            let Task { runs, outcome, .. } = self.tasks.lock()[task as usize];
            assert!(self.is_deceived || runs == 0, "task {task} was begun, and would be run again");
            assert_eq!(outcome, None, "task {task} would be run again");
        }
        self.waiting.push(Waiting { header: self.headers[&range.first], range, bytes });
    }

    fn settle(&self, task: u64, outcome: Outcome) {
        let task_of = &mut self.tasks.lock()[task as usize];
        assert_eq!(task_of.outcome.replace(outcome), None, "a second outcome of task {task}: {outcome:?}");
        if !self.is_deceived {
            assert_eq!(task_of.runs, 1, "task {task}: {outcome:?}");
            assert!(outcome == Outcome::Lost || task_of.has_ended, "task {task}: {outcome:?}");
            assert!(matches!(outcome, Outcome::Failed | Outcome::Lost) || outcome == Outcome::Value(value_of(task)));
        }
    }

    /// Takes the answers of a worker, and checks them against the ledger.
    pub(super) fn collect(&mut self, at: usize) -> bool {
        let mut any = false;
        while !self.places[at].is_condemned {
            let Place { link, window, is_condemned, .. } = &mut self.places[at];
            let answer = match link.receive() {
                Ok(Some(answer)) => answer,
                Ok(None) => break,
                Err(error) => {
                    assert!(self.is_deceived, "{error}");
                    *is_condemned = true;
                    break;
                }
            };
            any = true;
            let Answer { kind, seq, first, count, payload, .. } = answer;
            if kind == AnswerKind::Returned {
                assert!(
                    window.range(seq).is_some_and(|range| range.left() > 0),
                    "a frame that is not there is returned"
                );
                let (range, bytes) = (window.unload(seq).unwrap(), link.payload(seq));
                self.wait(range, bytes);
                continue;
            }
            let range = window.oldest(seq).filter(|it| it.next == first && (1..=it.left()).contains(&count));
            let Some(range) = range.filter(|_| kind == AnswerKind::Values || count == 1) else {
                assert!(self.is_deceived, "{kind:?} of {count} tasks from {first} on of frame {seq}");
                *is_condemned = true;
                break;
            };
            let before = range.advance(count);
            let payload = payload.to_vec().unwrap();
            for place in first..first + count {
                let at = 8 * (place - first) as usize;
                let value = payload.get(at..at + 8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
                let is_value = kind == AnswerKind::Values;
                self.settle(before.index(place), value.filter(|_| is_value).map_or(Outcome::Failed, Outcome::Value));
            }
        }
        let Place { link, window, is_condemned, .. } = &mut self.places[at];
        if any && !*is_condemned {
            window.release(link);
        }
        any
    }

    /// Hears what has become of workers.
    pub(super) fn hear(&mut self) -> bool {
        for (tell, news) in self.node.take_news().news {
            tell(news);
        }
        let heard = std::mem::take(&mut *self.heard.lock());
        let any = !heard.is_empty();
        for (at, news) in heard {
            assert!(!self.places[at].is_over, "{news:?} of a worker that is over");
            match news {
                News::Replied(Reply::Ready) => self.places[at].is_ready = true,
                News::Impossible(_) => self.places[at].is_over = true,
                News::Exited(..) => self.bury(at),
                News::Draining => self.places[at].is_stopped = true,
                _ => {}
            }
        }
        any
    }

    fn bury(&mut self, at: usize) {
        self.collect(at);
        let place = &mut self.places[at];
        place.is_over = true;
        let is_lost = place.process.obituary().lost.is_some();
        let unfinished = place.window.bury(place.link.progress());
        for (seq, mut range, resume) in unfinished {
            for task in range.index(range.next)..range.index(resume) {
                if is_lost {
                    self.tasks.lock()[task as usize].outcome.get_or_insert(Outcome::Lost);
                } else {
                    self.settle(task, Outcome::Lost);
                    assert!(self.is_deceived || !self.tasks.lock()[task as usize].has_ended, "task {task} had ended");
                }
            }
            range.next = resume;
            if range.left() > 0 {
                let bytes = self.places[at].link.payload(seq);
                self.wait(range, bytes);
            }
        }
    }

    /// Does something that a pool does.
    pub(super) fn act(&mut self, random: &mut Random) {
        let fit: Vec<usize> = (0..self.places.len()).filter(|at| self.places[*at].takes_frames()).collect();
        if fit.is_empty() {
            return self.start();
        }
        let at = *random.pick(&fit);
        match random.below(14) {
            0..6 => {
                let waiting = if random.once_in(2) { self.waiting.pop() } else { None };
                let waiting = waiting.unwrap_or_else(|| self.new_frame(random));
                self.send(at, waiting);
            }
            6 | 7 => {
                let frames = self.places[at].window.all();
                if !frames.is_empty() {
                    let revoked = self.places[at].link.revoke(*random.pick(&frames));
                    assert_ne!(revoked, Revoked::Taken);
                }
            }
            8 => {
                let place = &mut self.places[at];
                if let Some(header) = place.known.pop_first() {
                    let sent = place.link.send(&frame_of(FrameKind::Forget, header), &Parts::NONE, &[]);
                    if let Ok(Some(seq)) = sent {
                        place.window.push(InFlight { seq, range: None });
                    }
                }
            }
            9 => self.places[at].link.cancel(&self.places[at].window.all()),
            10 => self.places[at].link.trim(),
            11 if random.once_in(4) => self.places[at].process.signal(ChildSignal::Kill),
            12 if random.once_in(3) => {
                self.places[at].is_stopped = true;
                let _ = self.places[at].link.send(&frame_of(FrameKind::Stop, 0), &Parts::NONE, &[]);
            }
            _ => self.start(),
        }
    }

    /// All is over: nothing is held any more.
    pub(super) fn check_books(&mut self) {
        let node = Arc::clone(&self.node);
        assert!(self.places.iter().all(|place| place.is_over || node.end().is_none()));
        self.places.clear();
        let state = node.state.lock();
        assert_eq!((state.flying, state.waiting), (0, 0), "bytes that are under way, and wait");
        drop(state);
        // Workers that live and their node hold each other.
        node.lose("its pool is over");
    }
}

fn frame_of(kind: FrameKind, header: u64) -> Frame {
    Frame { kind, header, first: 0, count: 0, skip: 0 }
}
