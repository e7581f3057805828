//! What workers write to stdout and stderr, in a pool that reads it: lines for the program, the last ones for errors.
//!
//! Two threads: one reads the pipes of all workers, the other hands the lines on. So a program that is slow to take them
//! makes the workers wait for a moment, but never for ever: after that moment lines are dropped, and counted.

use crate::error::FAILED_ALLOCATION;
use crate::process::panic;
use crate::sys::child::Output;
use crate::sys::pipe;
use crate::sys::poll::{self, Interest, Waker};
use crate::sys::thread;
use crate::sys::time::Deadline;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// So many lines of stderr are kept for errors.
const TAIL: usize = 20;

/// A line that is longer than this many bytes is cut into several.
const LONGEST: usize = 16 * 1024;

/// So many lines may wait to be handed on.
const QUEUE: usize = 1024;

/// How long workers wait at most for a program that does not take their lines.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is read at once from one pipe.
const AT_ONCE: usize = 64 * 1024;

/// How often a pipe is read that is to be emptied: that is more than it holds, should others still write into it.
const LAST_READS: usize = 16;

/// A line that a worker has written, see [`PoolBuilder::on_output`](crate::PoolBuilder::on_output).
#[derive(Clone, Debug)]
pub struct OutputLine {
    worker: Arc<str>,
    /// `None` if it is this one.
    host: Option<Arc<str>>,
    is_stderr: bool,
    text: String,
}

impl OutputLine {
    /// A line that came from another machine.
    #[cfg(feature = "cluster")]
    pub(crate) fn of_node(worker: &str, host: Arc<str>, is_stderr: bool, text: String) -> OutputLine {
        OutputLine { worker: worker.into(), host: Some(host), is_stderr, text }
    }

    /// Returns the name of the worker: that of the pool and its number.
    pub fn worker(&self) -> &str {
        &self.worker
    }

    /// Returns the name of the worker's machine, if that is another one, or was reached as another one is.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Returns whether the worker has written the line to stderr.
    pub fn is_stderr(&self) -> bool {
        self.is_stderr
    }

    /// Returns the line, without its end. Bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// `[worker-1] text`, or `[worker-1 on node1] text`
impl fmt::Display for OutputLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", self.worker)?;
        self.host.iter().try_for_each(|host| write!(f, " on {host}"))?;
        write!(f, "] {}", self.text)
    }
}

/// The line that stands for some that were dropped.
pub(crate) fn dropped(count: u64) -> String {
    format!("multiproc: {count} lines were dropped, since nobody took them in time")
}

/// What is done with a line.
#[derive(Clone)]
pub(crate) struct Handler(Arc<dyn Fn(&OutputLine) + Send + Sync>);

impl Handler {
    pub(crate) fn new(handle: impl Fn(&OutputLine) + Send + Sync + 'static) -> Handler {
        Handler(Arc::new(handle))
    }

    #[cfg(feature = "cluster")]
    pub(crate) fn handle(&self, line: &OutputLine) {
        (self.0)(line);
    }

    /// Writes it to where this process writes.
    pub(crate) fn forward() -> Handler {
        Handler::new(|line| {
            // A closed stdout or stderr is the program's own affair.
            let _ = if line.is_stderr {
                writeln!(io::stderr().lock(), "{line}")
            } else {
                writeln!(io::stdout().lock(), "{line}")
            };
        })
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handler")
    }
}

/// What the thread that hands lines on is given.
#[derive(Debug)]
enum Item {
    Line(OutputLine),
    /// Everything before it was handed on.
    Mark(Sender<()>),
}

#[derive(Debug, Default)]
struct Inbox {
    streams: Vec<Arc<Stream>>,
    marks: Vec<Sender<()>>,
    over: bool,
}

#[derive(Debug)]
struct Shared {
    waker: Waker,
    inbox: Mutex<Inbox>,
}

/// The reading of a pool's workers. The threads end when it is dropped, which is when the workers have ended.
#[derive(Debug)]
pub(crate) struct Capture {
    shared: Arc<Shared>,
}

/// What is read of one worker.
#[derive(Debug)]
pub(crate) struct Captured {
    streams: [Arc<Stream>; 2],
    shared: Arc<Shared>,
}

impl Capture {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// There are no descriptors or threads left.
    pub(crate) fn start(handler: Handler) -> io::Result<Capture> {
        let shared = Arc::new(Shared { waker: Waker::new()?, inbox: Mutex::default() });
        let (lines, inbox) = bounded(QUEUE);
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        thread::spawn(named("multiproc-lines"), move || hand_on(&inbox, &handler))?;
        let reader = Reader { shared: Arc::clone(&shared), streams: Vec::new(), lines, stalled: false, lost: 0 };
        thread::spawn(named("multiproc-output").stack_size(512 * 1024), move || reader.run())?;
        Ok(Capture { shared })
    }

    /// Where a new worker is to write, and what is read of it.
    ///
    /// # Errors
    ///
    /// There are no descriptors left.
    pub(crate) fn open(&self, worker: &str) -> io::Result<(Captured, Output)> {
        let name: Arc<str> = worker.into();
        let (stdout, out) = pipe::pipe()?;
        let (stderr, err) = pipe::pipe()?;
        let stream =
            |pipe, is_stderr| Arc::new(Stream { pipe, worker: Arc::clone(&name), is_stderr, state: Mutex::default() });
        let streams = [stream(stdout, false), stream(stderr, true)];
        self.shared.inbox.lock().streams.extend(streams.iter().cloned());
        self.shared.waker.wake();
        Ok((Captured { streams, shared: Arc::clone(&self.shared) }, Output { stdout: out, stderr: err }))
    }

    /// Waits until all that was written so far was handed on, but not for long.
    pub(crate) fn flush(&self) {
        let (mark, reached) = bounded(1);
        self.shared.inbox.lock().marks.push(mark);
        self.shared.waker.wake();
        // On the thread that hands lines on this would wait for itself.
        if std::thread::current().name() != Some("multiproc-lines") {
            let _ = reached.recv_timeout(PATIENCE);
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.shared.inbox.lock().over = true;
        self.shared.waker.wake();
    }
}

impl Captured {
    /// The last lines on stderr of a worker that has ended.
    pub(crate) fn last_lines(&self) -> Option<String> {
        for stream in &self.streams {
            stream.drain();
        }
        // What was read is to be handed on, too.
        self.shared.waker.wake();
        let [_, stderr] = &self.streams;
        let mut state = stderr.state.lock();
        let tail = state.tail.make_contiguous().join("\n");
        (!tail.is_empty()).then_some(tail)
    }
}

/// One of the two streams of one worker.
#[derive(Debug)]
struct Stream {
    pipe: OwnedFd,
    worker: Arc<str>,
    is_stderr: bool,
    state: Mutex<StreamState>,
}

#[derive(Debug, Default)]
struct StreamState {
    /// The start of a line whose end was not read yet.
    partial: Vec<u8>,
    /// Lines that were read and not handed on.
    lines: Vec<OutputLine>,
    tail: VecDeque<String>,
    ended: bool,
}

impl Stream {
    /// Reads once what is there; whether there was anything.
    fn pull(&self, buffer: &mut [u8]) -> bool {
        let mut state = self.state.lock();
        if state.ended {
            return false;
        }
        match pipe::read(self.pipe.as_fd(), buffer) {
            Ok(0) => {
                state.ended = true;
                if !state.partial.is_empty() {
                    let line = std::mem::take(&mut state.partial);
                    self.take_line(&mut state, &line);
                }
                false
            }
            Ok(len) => {
                for part in buffer[..len].split_inclusive(|byte| *byte == b'\n') {
                    state.partial.extend_from_slice(part);
                    if part.ends_with(b"\n") || state.partial.len() >= LONGEST {
                        let line = std::mem::take(&mut state.partial);
                        line.chunks(LONGEST).for_each(|line| self.take_line(&mut state, line));
                    }
                }
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(_) => {
                state.ended = true;
                false
            }
        }
    }

    /// Reads what a worker that has ended has left.
    fn drain(&self) {
        let mut buffer = vec![0; AT_ONCE];
        for _ in 0..LAST_READS {
            if !self.pull(&mut buffer) {
                break;
            }
        }
        self.end_line();
    }

    /// A last line need not have an end; what other processes may write behind it is another line.
    fn end_line(&self) {
        let mut state = self.state.lock();
        if !state.partial.is_empty() {
            let line = std::mem::take(&mut state.partial);
            self.take_line(&mut state, &line);
        }
    }

    fn take_line(&self, state: &mut StreamState, line: &[u8]) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
        if self.is_stderr {
            state.tail.push_back(text.clone());
            if state.tail.len() > TAIL {
                // Why a worker has aborted is not pushed out by the backtrace behind it.
                let is_reason = state.tail[0].starts_with(FAILED_ALLOCATION);
                state.tail.remove(usize::from(is_reason));
            }
        }
        state.lines.push(OutputLine { worker: Arc::clone(&self.worker), host: None, is_stderr: self.is_stderr, text });
    }
}

/// The thread that reads.
struct Reader {
    shared: Arc<Shared>,
    streams: Vec<Arc<Stream>>,
    lines: Sender<Item>,
    /// The other thread has not taken a line for long.
    stalled: bool,
    /// Lines that were dropped meanwhile.
    lost: u64,
}

impl Reader {
    fn run(mut self) {
        let mut buffer = vec![0; AT_ONCE];
        loop {
            let Inbox { streams, marks, over } = {
                let mut inbox = self.shared.inbox.lock();
                let over = inbox.over;
                Inbox { over, ..std::mem::take(&mut *inbox) }
            };
            self.shared.inbox.lock().over |= over;
            self.streams.extend(streams);
            for at in 0..self.streams.len() {
                let stream = Arc::clone(&self.streams[at]);
                // Whoever waits for a mark wants to have all that is there.
                for _ in 0..LAST_READS {
                    if marks.is_empty() || !stream.pull(&mut buffer) {
                        break;
                    }
                    self.hand_over(&stream);
                }
                self.hand_over(&stream);
            }
            for mark in marks {
                // Whoever waits for it has less patience.
                let _ = self.lines.send_timeout(Item::Mark(mark), PATIENCE);
            }
            self.streams.retain(|stream| {
                let state = stream.state.lock();
                !(state.ended && state.lines.is_empty())
            });
            if over {
                // The workers have ended. What they have started may keep a pipe open for as long as it likes.
                return self.finish(&mut buffer);
            }
            let mut sources = vec![(self.shared.waker.as_fd(), Interest::Readable)];
            let open = self.streams.iter().filter(|stream| !stream.state.lock().ended);
            let open: Vec<Arc<Stream>> = open.cloned().collect();
            sources.extend(open.iter().map(|stream| (stream.pipe.as_fd(), Interest::Readable)));
            // If the system refuses to wait, a moment has passed, and there may be something to read anywhere.
            let ready = poll::wait(&sources, Deadline::NEVER).unwrap_or_else(|_| vec![true; sources.len()]);
            if ready[0] {
                self.shared.waker.clear();
            }
            for (stream, _) in open.iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
                stream.pull(&mut buffer);
            }
        }
    }

    /// Hands over what is left in the pipes.
    fn finish(&mut self, buffer: &mut [u8]) {
        for stream in std::mem::take(&mut self.streams) {
            for _ in 0..LAST_READS {
                if !stream.pull(buffer) {
                    break;
                }
                self.hand_over(&stream);
            }
            stream.end_line();
            self.hand_over(&stream);
        }
    }

    /// Hands over what was read of a stream.
    fn hand_over(&mut self, stream: &Stream) {
        let lines = std::mem::take(&mut stream.state.lock().lines);
        for line in lines {
            if self.lost > 0 && !self.stalled {
                let text = dropped(std::mem::take(&mut self.lost));
                self.send(OutputLine { text, ..line.clone() });
            }
            self.send(line);
        }
    }

    fn send(&mut self, line: OutputLine) {
        let sent = if self.stalled {
            self.lines.try_send(Item::Line(line)).map_err(|error| matches!(error, TrySendError::Full(_)))
        } else {
            self.lines.send_timeout(Item::Line(line), PATIENCE).map_err(|error| error.is_timeout())
        };
        self.stalled = sent == Err(true);
        self.lost += u64::from(sent.is_err());
    }
}

/// The thread that hands lines on.
fn hand_on(inbox: &Receiver<Item>, handler: &Handler) {
    while let Ok(item) = inbox.recv() {
        match item {
            Item::Line(line) => {
                thread::with_starter_mask(|| panic::contain(|| (handler.0)(&line)));
            }
            Item::Mark(mark) => drop(mark.try_send(())),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod fuzz;
