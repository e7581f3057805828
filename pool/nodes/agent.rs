//! The agent: this program on another machine, which starts ordinary workers there and has the pool's end of their links.
//!
//! It keeps no tasks of its own: what it has of a frame is what the pool's window says, so that there is one ledger. Two
//! threads: one reads the stream and hands frames to workers, the other takes their answers, and sleeps on the bell. A third
//! one ends the process when the pool was not heard of for too long.

use crate::codec;
use crate::engine::launch::launcher::{Launched, Launcher};
use crate::engine::launch::spawn::{Environment, Spawn};
use crate::engine::watch::output::{Capture, Handler, OutputLine};
use crate::engine::watch::records;
use crate::error::Error;
use crate::heap::scope::Pins;
use crate::identity::Entry;
use crate::ipc::bell::Bell;
use crate::ipc::link::LinkKind;
use crate::ipc::rest::slice;
use crate::nodes::agent_state::{MOST_UNSENT, State};
use crate::nodes::agent_worker::Worker;
use crate::nodes::messages::{Ended, Greeting, Setup, Start};
use crate::nodes::secret;
use crate::nodes::stream::AgentStream;
use crate::nodes::wire::{Inbox, Kind, Message, Slot};
use crate::process::enlist::{AgentRole, Enlisted, refuse};
use crate::process::role::Host;
use crate::sys::cpu::allowed_cpus;
use crate::sys::time::Deadline;
use crate::sys::{environment, memory, signal, signal_watch, thread};
use parking_lot::{Condvar, Mutex};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An agent that nobody has told what to do ends after this time.
const SETUP_WITHIN: Duration = Duration::from_secs(60);

/// The descriptor by which an agent finds [`live`].
pub(super) fn entry() -> &'static Entry<AgentRole> {
    static ENTRY: Entry<AgentRole> = Entry::new(|| "multiproc agent", live);
    &ENTRY
}

struct Agent {
    state: Mutex<State>,
    /// Something was sent.
    room: Condvar,
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
        // Links of both kinds ring it: through memory that workers map, or on the reactor's thread.
        let (file, bell) = match memory::create_mapped("multiproc-bell", Bell::LEN) {
            Ok((file, bell)) => (Some(Arc::new(file)), bell),
            Err(_) => (None, memory::private(Bell::LEN)?),
        };
        Ok(Agent {
            state: Mutex::default(),
            room: Condvar::new(),
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
        let drainer = Arc::clone(&agent);
        let watch = signal_watch::watch(&[signal_watch::SIGTERM], move || drainer.drain());
        if let Err(error) = &watch {
            refuse(&format!("it cannot listen to SIGTERM: {error}"));
        }
        loop {
            let (bytes, ended, until) = {
                let mut state = agent.state.lock();
                state.turn();
                if state.is_drained() {
                    let Some(capture) = state.spawn.as_mut().and_then(|spawn| spawn.capture.take()) else { return 0 };
                    drop(state);
                    // The last lines, which are sent in the next turn.
                    capture.flush();
                    continue;
                }
                let until = state.enforce_drain();
                let bytes = state.outbox.next().to_vec();
                state.outbox.sent(bytes.len());
                (bytes, std::mem::take(&mut state.ended), until)
            };
            for (slot, ended) in ended {
                agent.tell_end(slot, ended);
            }
            if bytes.is_empty() {
                agent.bell.prepare();
                if agent.state.lock().has_work() {
                    agent.bell.cancel();
                } else {
                    agent.bell.sleep(slice().earlier(until));
                }
            } else if agent.stream.write_all(&bytes).is_err() {
                // The pool is gone, and with this process its workers.
                return 0;
            } else {
                agent.room.notify_all();
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
            let mut state = agent.state.lock();
            state.outbox.put(Kind::Exited, slot, &[], &bytes);
            state.telling -= 1;
            drop(state);
            agent.bell.ring();
        };
        self.state.lock().telling += 1;
        if !has_stack {
            return tell();
        }
        let builder = std::thread::Builder::new().name("multiproc-obituary".to_owned());
        if let Err(error) = thread::spawn(builder, tell) {
            refuse(&format!("no thread could be started: {error}"));
        }
    }

    /// This process was told to end. The pool sends nothing more to workers here, takes back what they have not begun, and tells
    /// each to leave when it has done what it is at.
    fn drain(&self) {
        let mut state = self.state.lock();
        if state.spawn.is_none() {
            // Nobody has begun anything.
            signal::exit_now(0);
        }
        if state.drain.is_none() {
            state.drain = Some(Deadline::after(state.grace));
            state.outbox.put(Kind::Draining, 0, &[], &[]);
        }
        drop(state);
        self.bell.ring();
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

    /// Ends this process, and with it its workers, when the pool was not heard of for too long; and gives signs of life itself,
    /// which do not wait for the pool's beats: those may stand behind much that takes long on a slow way.
    fn watch(&self) {
        let mut last = Instant::now();
        loop {
            let (since, silence) = *self.heard.lock();
            let Some(left) = silence.checked_sub(since.elapsed()) else { refuse("its pool was silent for too long") };
            if last.elapsed() >= silence / 6 {
                last = Instant::now();
                let mut state = self.state.lock();
                // What waits to be sent is a sign of life as well.
                if state.outbox.len() == 0 {
                    state.outbox.put(Kind::Echo, 0, &[0], &[]);
                    drop(state);
                    self.bell.ring();
                }
            }
            // No longer than that, since what is told later may shorten it.
            std::thread::sleep(left.min(silence / 12).min(Duration::from_millis(100)));
        }
    }

    /// Hears one message.
    ///
    /// # Errors
    ///
    /// It is none that a pool sends.
    fn hear(self: &Arc<Self>, state: &mut State, message: Message<'_>) -> Result<(), String> {
        let Message { kind, slot, body } = message;
        match kind {
            Kind::Setup => self.set_up(state, codec::from_bytes(body.bytes()).map_err(|error| error.0)?),
            Kind::Start => {
                let start = codec::from_bytes(body.bytes()).map_err(|error| error.0)?;
                if let Err(error) = self.start(state, slot, start) {
                    state.outbox.put(Kind::Refused, slot, &[], &codec::to_bytes(&error));
                }
                Ok(())
            }
            _ => state.obey(Message { kind, slot, body }).ok_or_else(|| format!("{kind:?}")),
        }
    }

    fn set_up(self: &Arc<Self>, state: &mut State, setup: Setup) -> Result<(), String> {
        let Setup { link, name, routines, limits, pinned, captured, records, weighed, grace, silence } = setup;
        let host = Host::check().map_err(|error| error.to_string())?;
        let io = |error: io::Error| error.to_string();
        let cpus = if pinned { allowed_cpus().map_err(io)? } else { Vec::new() };
        let agent = Arc::clone(self);
        let pass_line = move |line: &OutputLine| {
            // Workers wait for a pool that does not read, as they wait for a slow handler.
            let (numbers, text) = ([u64::from(line.is_stderr())], line.text().as_bytes());
            agent.pass_on(Kind::Line, line.worker(), &numbers, text, Deadline::NEVER);
        };
        let capture = captured.then(|| Capture::start(Handler::new(pass_line)));
        if let Some(wanted) = records {
            let agent = Arc::clone(self);
            records::relay(wanted, move |worker, source, envelope| {
                agent.pass_on(Kind::Record, worker, &[source], envelope, Deadline::after(Duration::ZERO))
            });
        }
        let bell_file = self.bell_file.clone().filter(|_| link == LinkKind::Ring);
        if link == LinkKind::Ring && bell_file.is_none() {
            return Err("no memory files can be made here; `LinkKind::Channel` needs none".to_owned());
        }
        (state.weighed, state.grace) = (weighed, grace);
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

    /// Sends what a worker has written, once there is room for it. Returns whether there was before the deadline.
    fn pass_on(&self, kind: Kind, worker: &str, numbers: &[u64], bytes: &[u8], until: Deadline) -> bool {
        // The name ends with the number of the worker's place, counted from 1.
        let place = worker.rsplit('-').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        let mut state = self.state.lock();
        while state.outbox.len() >= MOST_UNSENT {
            if until.passed() {
                return false;
            }
            until.wait(&self.room, &mut state);
        }
        state.outbox.put(kind, 0, &[&[place.saturating_sub(1)], numbers].concat(), bytes);
        drop(state);
        self.bell.ring();
        true
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
        state.workers.insert(slot, Worker::new(link, output));
        Ok(())
    }
}
