//! The agent: this program on another machine, which starts ordinary workers there and has the pool's end of their links.
//!
//! It keeps no tasks of its own: what it has of a frame is what the pool's window says, so that there is one ledger. Two
//! threads: one reads the stream and hands frames to workers, the other takes their answers, and sleeps on the bell. A third
//! one ends the process when the pool was not heard of for too long.

use crate::codec;
use crate::engine::core::ledger::Window;
use crate::engine::launch::launcher::{Launched, Launcher, News};
use crate::engine::launch::spawn::{Environment, Spawn};
use crate::engine::watch::output::{Capture, Handler, OutputLine};
use crate::error::Error;
use crate::heap::scope::Pins;
use crate::identity::Entry;
use crate::ipc::bell::Bell;
use crate::ipc::control::Reply;
use crate::ipc::link::{Frame, FrameKind, LinkKind, slice};
use crate::nodes::agent_worker::{Queued, Worker};
use crate::nodes::messages::{Ended, Greeting, SIGNALS, Setup, Start};
use crate::nodes::secret;
use crate::nodes::stream::AgentStream;
use crate::nodes::wire::{Inbox, Kind, Message, Numbers, Outbox, Slot};
use crate::process::enlist::{AgentRole, Enlisted, refuse};
use crate::process::role::Host;
use crate::sys::cpu::allowed_cpus;
use crate::sys::{environment, memory, signal, thread};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Answers stay with the workers while so many bytes of others are not sent.
const MOST_UNSENT: usize = 8 << 20;

/// An agent that nobody has told what to do ends after this time.
const SETUP_WITHIN: Duration = Duration::from_secs(60);

/// The descriptor by which an agent finds [`live`].
pub(super) fn entry() -> &'static Entry<AgentRole> {
    static ENTRY: Entry<AgentRole> = Entry::new(|| "multiproc agent", live);
    &ENTRY
}

/// What stands behind the agent's lock.
struct State {
    outbox: Outbox,
    spawn: Option<Spawn>,
    weighed: bool,
    workers: BTreeMap<Slot, Worker>,
    /// What headers say, once for all workers.
    contexts: HashMap<u64, Arc<Vec<u8>>>,
    /// Workers that have ended, and were not reported: their answers are on their way already.
    ended: Vec<(Slot, Ended)>,
    /// What has become of workers: told on the reactor's thread.
    news: VecDeque<(Slot, News)>,
}

struct Agent {
    state: Mutex<State>,
    stream: AgentStream,
    bell: Bell,
    /// The memory of the bell; `None` where the system forbids memory files.
    bell_file: Option<Arc<OwnedFd>>,
    /// When the pool was last heard of, and for how long it may be silent.
    heard: Mutex<(Instant, Duration)>,
}

/// An agent's life; the result is its exit code.
fn live(enlisted: Enlisted) -> i32 {
    match Agent::new(enlisted) {
        Ok(agent) => agent.live(),
        Err(error) => refuse(&error.to_string()),
    }
}

impl Agent {
    fn new(enlisted: Enlisted) -> Result<Agent, Error> {
        let stream = AgentStream::open(enlisted, &Greeting::own()).unwrap_or_else(|cause| refuse(&cause));
        // What workers run has no use for it.
        environment::hide(secret::VARIABLE);
        let state = State {
            outbox: Outbox::default(),
            spawn: None,
            weighed: false,
            workers: BTreeMap::new(),
            contexts: HashMap::new(),
            ended: Vec::new(),
            news: VecDeque::new(),
        };
        // Links of both kinds ring it: through memory that workers map, or on the reactor's thread.
        let (file, bell) = match memory::create_mapped("multiproc-bell", Bell::LEN) {
            Ok((file, bell)) => (Some(Arc::new(file)), bell),
            Err(_) => (None, memory::private(Bell::LEN)?),
        };
        Ok(Agent {
            state: Mutex::new(state),
            stream,
            bell: Bell::new(Arc::new(bell), 0),
            bell_file: file,
            heard: Mutex::new((Instant::now(), SETUP_WITHIN)),
        })
    }
}

impl Agent {
    /// Works until the pool is gone.
    fn live(self) -> i32 {
        let agent = Arc::new(self);
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned()).stack_size(512 * 1024);
        let (reader, fence) = (Arc::clone(&agent), Arc::clone(&agent));
        let started = thread::spawn(named("multiproc-reader"), move || reader.read())
            .and_then(|_| thread::spawn(named("multiproc-fence"), move || fence.watch()));
        if let Err(error) = started {
            refuse(&format!("its threads could not be started: {error}"));
        }
        loop {
            let (bytes, ended) = {
                let mut state = agent.state.lock();
                state.turn();
                let bytes = state.outbox.next().to_vec();
                state.outbox.sent(bytes.len());
                (bytes, std::mem::take(&mut state.ended))
            };
            for (slot, ended) in ended {
                agent.tell_end(slot, ended);
            }
            if bytes.is_empty() {
                agent.bell.prepare();
                if agent.state.lock().has_work() {
                    agent.bell.cancel();
                } else {
                    agent.bell.sleep(slice());
                }
            } else if agent.stream.write_all(&bytes).is_err() {
                // The pool is gone, and with this process its workers.
                return 0;
            }
        }
    }

    /// Reports the end of a worker. To write down the calls on a stack takes as long as it takes to read the debug information
    /// of the program, for which the other workers and the beats must not wait.
    fn tell_end(self: &Arc<Self>, slot: Slot, ended: Ended) {
        let agent = Arc::clone(self);
        let has_stack = ended.death.crash.is_some();
        let tell = move || {
            let bytes = codec::to_bytes(&ended);
            agent.state.lock().outbox.put(Kind::Exited, slot, &[], &bytes);
            agent.bell.ring();
        };
        if !has_stack {
            return tell();
        }
        let builder = std::thread::Builder::new().name("multiproc-obituary".to_owned());
        if let Err(error) = thread::spawn(builder, tell) {
            refuse(&format!("no thread could be started: {error}"));
        }
    }

    /// Reads what the pool says, until it is gone.
    fn read(self: Arc<Self>) {
        // The pool is believed: whatever it says fits into its own memory.
        let mut inbox = Inbox::new(usize::MAX);
        loop {
            let len = match self.stream.read(inbox.room()) {
                Ok(len @ 1..) => len,
                // What was under way here nobody wants any more.
                Ok(0) | Err(_) => signal::exit_now(0),
            };
            self.note_life();
            inbox.has_read(len);
            let mut state = self.state.lock();
            loop {
                match inbox.next() {
                    Ok(Some(message)) => {
                        if let Err(cause) = self.hear(&mut state, message) {
                            refuse(&format!("the pool's message is damaged: {cause}"));
                        }
                    }
                    Ok(None) => break,
                    Err(cause) => refuse(cause),
                }
            }
            state.hand_on();
            let has_something = state.outbox.len() > 0;
            drop(state);
            if has_something {
                self.bell.ring();
            }
        }
    }

    /// The pool has been heard of. If that comes after it had to take this agent for lost, what it says is not meant for a
    /// living one: nothing of it is begun.
    fn note_life(&self) {
        let (since, silence) = *self.heard.lock();
        if since.elapsed() > silence {
            refuse("its pool was silent for too long");
        }
        self.heard.lock().0 = Instant::now();
    }

    /// Ends this process, and with it its workers, when the pool was not heard of for too long.
    fn watch(&self) {
        loop {
            let (since, silence) = *self.heard.lock();
            match silence.checked_sub(since.elapsed()) {
                // No longer than that, since what is told later may shorten it.
                Some(left) => std::thread::sleep(left.min(Duration::from_millis(100))),
                None => refuse("its pool was silent for too long"),
            }
        }
    }

    /// Hears one message.
    ///
    /// # Errors
    ///
    /// It is none that a pool sends.
    fn hear(self: &Arc<Self>, state: &mut State, message: Message<'_>) -> Result<(), String> {
        let Message { kind, slot, body } = message;
        let damaged = || format!("{kind:?}");
        let mut numbers = Numbers(body.bytes());
        let mut number = || numbers.next().ok_or_else(damaged);
        match kind {
            Kind::Setup => {
                let setup = codec::from_bytes(body.bytes()).map_err(|error| error.0)?;
                self.set_up(state, setup)?;
            }
            Kind::Start => {
                let start = codec::from_bytes(body.bytes()).map_err(|error| error.0)?;
                if let Err(error) = self.start(state, slot, start) {
                    state.outbox.put(Kind::Refused, slot, &[], &codec::to_bytes(&error));
                }
            }
            Kind::Beat => {
                let beat = number()?;
                state.outbox.put(Kind::Echo, 0, &[beat], &[]);
                state.watch_workers();
            }
            Kind::Context => {
                let header = number()?;
                let at = body.bytes().len() - numbers.0.len();
                let context = Arc::new(body.into_rest(at));
                for queued in state.workers.values_mut().flat_map(|worker| &mut worker.queue) {
                    if queued.frame.header == header {
                        queued.payload.get_or_insert_with(|| Arc::clone(&context));
                    }
                }
                state.contexts.insert(header, context);
            }
            Kind::Drop => drop(state.contexts.remove(&number()?)),
            Kind::Tasks | Kind::Header | Kind::Forget | Kind::Stop => {
                let seq = number()?;
                let mut frame = Frame { kind: FrameKind::Stop, header: 0, first: 0, count: 0, skip: 0 };
                let mut payload = Some(Arc::default());
                if kind != Kind::Stop {
                    frame.header = number()?;
                }
                match kind {
                    Kind::Tasks => {
                        (frame.kind, frame.first) = (FrameKind::Tasks, number()?);
                        frame.count = numbers.next_u32().ok_or_else(damaged)?;
                        frame.skip = numbers.next_u32().filter(|skip| *skip <= frame.count).ok_or_else(damaged)?;
                        let at = body.bytes().len() - numbers.0.len();
                        payload = Some(Arc::new(body.into_rest(at)));
                    }
                    Kind::Header => {
                        frame.kind = FrameKind::Header;
                        payload = state.contexts.get(&frame.header).cloned();
                    }
                    Kind::Forget => frame.kind = FrameKind::Forget,
                    _ => {}
                }
                // It has ended, which the pool will hear, and then it gives the frame to somebody else.
                let Some(worker) = state.workers.get_mut(&slot) else { return Ok(()) };
                worker.seen = seq + u64::from(kind != Kind::Stop);
                worker.queue.push_back(Queued { frame, seq, payload });
            }
            Kind::Revoke => {
                let seq = number()?;
                let returned = state.workers.get_mut(&slot).is_some_and(|worker| worker.take_back(seq));
                if returned {
                    state.outbox.put(Kind::Returned, slot, &[seq], &[]);
                }
            }
            Kind::Signal => {
                let signal = *SIGNALS.get(number()? as usize).ok_or_else(damaged)?;
                state.workers.get(&slot).and_then(|worker| worker.body.as_ref()).inspect(|body| body.signal(signal));
            }
            Kind::EndIt => {
                state.workers.get(&slot).and_then(|worker| worker.body.as_ref()).inspect(|body| _ = body.tell_to_end());
            }
            Kind::KillIfRunning => {
                let mut frames = Vec::new();
                while let Some(seq) = numbers.next() {
                    frames.push(seq);
                }
                if let Some(worker) = state.workers.get_mut(&slot) {
                    worker.kill_if_running(&frames);
                }
            }
            _ => return Err(format!("{kind:?} from a pool")),
        }
        Ok(())
    }

    fn set_up(self: &Arc<Self>, state: &mut State, setup: Setup) -> Result<(), String> {
        let Setup { link, name, routines, limits, pinned, captured, weighed, silence } = setup;
        let host = Host::check().map_err(|error| error.to_string())?;
        let io = |error: io::Error| error.to_string();
        let cpus = if pinned { allowed_cpus().map_err(io)? } else { Vec::new() };
        let agent = Arc::clone(self);
        let capture = captured.then(|| Capture::start(Handler::new(move |line| agent.pass_on(line))));
        let bell_file = self.bell_file.clone().filter(|_| link == LinkKind::Ring);
        if link == LinkKind::Ring && bell_file.is_none() {
            return Err("no memory files can be made here; `LinkKind::Channel` needs none".to_owned());
        }
        state.weighed = weighed;
        state.spawn = Some(Spawn {
            host,
            link,
            bell: self.bell.clone(),
            bell_file,
            name,
            routines,
            pins: Pins::new(),
            limits,
            cpus,
            env: Environment::default(),
            #[cfg(feature = "sandbox")]
            sandbox: None,
            capture: capture.transpose().map_err(io)?.map(Arc::new),
        });
        *self.heard.lock() = (Instant::now(), silence);
        Ok(())
    }

    /// Sends a line that a worker has written.
    fn pass_on(&self, line: &OutputLine) {
        // The name ends with the number of the worker's place, counted from 1.
        let place = line.worker().rsplit('-').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        let numbers = [u64::from(line.is_stderr()), place.saturating_sub(1)];
        self.state.lock().outbox.put(Kind::Line, 0, &numbers, line.text().as_bytes());
        self.bell.ring();
    }

    /// Starts a worker.
    ///
    /// # Errors
    ///
    /// There is no worker then, and nothing follows.
    fn start(self: &Arc<Self>, state: &mut State, slot: Slot, start: Start) -> Result<(), Error> {
        let Start { place, variables } = start;
        let spawn = state.spawn.as_mut().ok_or_else(|| Error::start("the agent was not told what its workers are"))?;
        let variables = variables.into_iter().map(|(key, value)| (OsString::from_vec(key), OsString::from_vec(value)));
        spawn.env = Environment::new(variables.collect(), None)?;
        // Workers of one pool are numbered over all agents, so that a place says nothing of the CPUs here.
        let cpus = spawn.cpus.clone();
        if let Some(at) = usize::from(slot).checked_rem(cpus.len()) {
            spawn.cpus = vec![cpus[at]];
        }
        let agent = Arc::clone(self);
        let tell = move |news| {
            agent.state.lock().news.push_back((slot, news));
            agent.bell.ring();
        };
        let launched = spawn.launch(place, Box::new(tell));
        spawn.cpus = cpus;
        let Launched { link, output } = launched?.ok_or_else(|| Error::start("there is no room for a worker"))?;
        let worker = Worker {
            link,
            window: Window::default(),
            queue: VecDeque::new(),
            seen: 0,
            body: None,
            output,
            condemned: None,
            weighed: Instant::now(),
        };
        state.workers.insert(slot, worker);
        Ok(())
    }
}

impl State {
    fn has_work(&self) -> bool {
        let is_wanted = self.outbox.len() < MOST_UNSENT;
        !self.news.is_empty()
            || self.outbox.len() > 0
            || is_wanted && self.workers.values().any(|it| it.condemned.is_none() && it.link.has_answer())
    }

    /// Hears of workers, and takes their answers.
    fn turn(&mut self) {
        while let Some((slot, news)) = self.news.pop_front() {
            self.hear(slot, news);
        }
        for (slot, worker) in &mut self.workers {
            worker.collect(*slot, &mut self.outbox, self.weighed, MOST_UNSENT);
        }
        self.hand_on();
    }

    /// Hands frames to workers that have room for them.
    fn hand_on(&mut self) {
        self.workers.values_mut().for_each(Worker::hand_on);
    }

    /// Hears one piece of news of a worker.
    fn hear(&mut self, slot: Slot, news: News) {
        let Some(worker) = self.workers.get_mut(&slot) else { return };
        match news {
            News::Started(body) => {
                let pid = body.pid().and_then(|pid| u64::try_from(pid).ok()).unwrap_or(0);
                worker.body = Some(body);
                self.outbox.put(Kind::Started, slot, &[pid], &[]);
            }
            News::Replied(reply) => self.outbox.put(Kind::Reply, slot, &[], &codec::to_bytes(&reply)),
            News::Silent => {
                let reply = Reply::Refused("it did not become ready in time and was killed".to_owned());
                self.outbox.put(Kind::Reply, slot, &[], &codec::to_bytes(&reply));
            }
            News::Impossible(error) => {
                self.workers.remove(&slot);
                self.outbox.put(Kind::Refused, slot, &[], &codec::to_bytes(&error));
            }
            News::Exited(death, held) => {
                let Some(mut worker) = self.workers.remove(&slot) else { return };
                worker.link.ended();
                worker.collect(slot, &mut self.outbox, false, usize::MAX);
                worker.salvage(slot, &mut self.outbox);
                self.ended.push((slot, worker.end(death)));
                // All that it has said was read.
                drop(held);
            }
            News::Room => {}
        }
    }

    /// Tells the pool what can be seen of the workers.
    fn watch_workers(&mut self) {
        for (slot, worker) in &self.workers {
            worker.tell_watched(*slot, &mut self.outbox);
        }
    }
}
