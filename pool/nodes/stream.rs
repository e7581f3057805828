//! The stream between a pool and an agent, at either end.

use crate::nodes::address::{Address, Tcp};
use crate::nodes::handshake::{self, Failure};
use crate::nodes::messages::Greeting;
use crate::nodes::secret::{self, Secret};
use crate::nodes::tls::Tls;
use crate::process::enlist::Enlisted;
use crate::sys::poll::{self, Interest};
use crate::sys::stream::{self, Name};
use crate::sys::time::Deadline;
use parking_lot::Mutex;
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::ToSocketAddrs;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// How long a reader or writer waits before it looks again.
const LOOK_EACH: Duration = Duration::from_secs(1);

/// A pool that cannot be reached is asked again for so long, after pauses that grow from the first to the last.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

/// A socket whose calls never wait.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Arc<OwnedFd>,
    /// What encrypts it, if it is encrypted.
    tls: Option<Box<Tls>>,
}

impl Stream {
    pub(super) fn new(socket: Arc<OwnedFd>, tls: Option<Tls>) -> Stream {
        Stream { socket, tls: tls.map(Box::new) }
    }

    /// Reads what is there; 0 = the other end has closed, `None` = nothing is there yet.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        match &mut self.tls {
            Some(tls) => tls.read(self.socket.as_fd(), into),
            None => stream::receive(self.socket.as_fd(), into),
        }
    }

    /// Takes as much as there is room for; `None` = there is no room yet.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        match &mut self.tls {
            Some(tls) => tls.write(self.socket.as_fd(), bytes),
            None => stream::send(self.socket.as_fd(), &[IoSlice::new(bytes)]),
        }
    }

    /// Whether something was taken that is not sent.
    pub(super) fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_unsent())
    }

    /// Sends what was taken; returns whether that is all.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        self.tls.as_mut().map_or(Ok(true), |tls| tls.flush(self.socket.as_fd()))
    }

    /// Ends it, also for those who wait on it now.
    pub(super) fn shut_down(&self) {
        stream::shut_down(self.socket.as_fd());
    }
}

/// The agent's end: its calls wait.
#[derive(Debug)]
pub(super) enum AgentStream {
    /// What were standard input and output.
    Stdio { input: File, output: File },
    /// A socket, and what the pool had said before anybody listened.
    Tcp { socket: Arc<OwnedFd>, stream: Mutex<Stream>, early: Mutex<Vec<u8>> },
}

impl AgentStream {
    /// Says who this agent is, to the pool that it was told.
    ///
    /// # Errors
    ///
    /// There is no such stream, or the pool is not to be reached.
    pub(super) fn open(enlisted: Enlisted, greeting: &Greeting) -> Result<AgentStream, String> {
        let Enlisted { input, output, url, other_build } = enlisted;
        match Address::parse(&url) {
            Some(Address::Stdio) => {
                let stream = AgentStream::Stdio { input: input.into(), output: output.into() };
                stream.write_all(&greeting.written()).map_err(|error| error.to_string())?;
                Ok(stream)
            }
            Some(Address::Tcp(tcp)) => {
                let secret = if tcp.asks_stdin { secret_on(input.into()) } else { Secret::from_env() };
                let stream = connect(&tcp, &secret.map_err(|error| error.to_string())?, greeting)?;
                // It has called one build and let in another.
                other_build.map_or(Ok(stream), Err)
            }
            None => Err(format!("it does not know how to reach a pool at `{url}`")),
        }
    }

    /// Reads what is there, once there is anything; 0 = the other end has closed.
    pub(super) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            AgentStream::Stdio { input, .. } => loop {
                match (&*input).read(into) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // Somebody has made the descriptor, which others may have as well, one that does not wait.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(input, Interest::Readable)?,
                    other => return other,
                }
            },
            AgentStream::Tcp { socket, stream, early } => {
                let mut early = early.lock();
                if !early.is_empty() {
                    let len = early.len().min(into.len());
                    into[..len].copy_from_slice(&early[..len]);
                    early.drain(..len);
                    return Ok(len);
                }
                loop {
                    let read = stream.lock().read(into)?;
                    match read {
                        Some(len) => return Ok(len),
                        None => wait(socket, Interest::Readable)?,
                    }
                }
            }
        }
    }

    /// Writes everything.
    pub(super) fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        match self {
            AgentStream::Stdio { output, .. } => {
                while !bytes.is_empty() {
                    match (&*output).write(bytes) {
                        Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                        Ok(len) => bytes = &bytes[len..],
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(output, Interest::Writable)?,
                        Err(error) => return Err(error),
                    }
                }
            }
            AgentStream::Tcp { socket, stream, .. } => {
                while !bytes.is_empty() {
                    let written = stream.lock().write(bytes)?;
                    match written {
                        Some(len) => bytes = &bytes[len..],
                        None => wait(socket, Interest::Writable)?,
                    }
                }
                while !stream.lock().flush()? {
                    wait(socket, Interest::Writable)?;
                }
            }
        }
        Ok(())
    }
}

/// Waits for a while.
fn wait(on: &impl AsFd, interest: Interest) -> io::Result<()> {
    poll::wait(&[(on.as_fd(), interest)], Deadline::after(LOOK_EACH)).map(drop)
}

/// Reads the secret from the first line.
fn secret_on(mut input: File) -> Result<Secret, crate::error::Error> {
    let mut line = Vec::new();
    let mut byte = [0];
    // One at a time: what stands behind the line is not ours.
    while line.len() < secret::MOST && input.read(&mut byte)? == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    // The other end is what has started this agent, which may take a closed pipe for its end.
    std::mem::forget(input);
    Secret::new(&line)
}

/// Connects to a pool, at the first of its places that answers.
fn connect(tcp: &Tcp, secret: &Secret, greeting: &Greeting) -> Result<AgentStream, String> {
    let until = Deadline::after(CONNECT_WITHIN);
    let mut pause = PAUSES[0];
    loop {
        let mut causes = Vec::new();
        for place in &tcp.places {
            match connect_to(place, tcp, secret, greeting, until) {
                Ok(stream) => return Ok(stream),
                Err(Failure::Refused(cause)) => return Err(format!("the pool at {place} did not let it in: {cause}")),
                Err(Failure::Broken(cause)) => causes.push(format!("{place}: {cause}")),
            }
        }
        if until.passed() {
            return Err(format!("it cannot reach the pool at {}", causes.join("; ")));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSES[1]);
    }
}

fn connect_to(
    place: &str,
    tcp: &Tcp,
    secret: &Secret,
    greeting: &Greeting,
    until: Deadline,
) -> Result<AgentStream, Failure> {
    let broken = |error: io::Error| Failure::Broken(error.to_string());
    let mut last = Failure::Broken("the name means no address".to_owned());
    for address in place.to_socket_addrs().map_err(broken)? {
        let until = until.earlier(Deadline::after(handshake::WITHIN));
        let entered = stream::connect(&Name::Ip(address), until).map_err(broken).and_then(|socket| {
            handshake::enter(socket.as_fd(), tcp, secret, greeting).map(|entered| (socket, entered))
        });
        match entered {
            Ok((socket, (tls, early))) => {
                let socket = Arc::new(socket);
                let stream = Mutex::new(Stream::new(Arc::clone(&socket), tls));
                return Ok(AgentStream::Tcp { socket, stream, early: Mutex::new(early) });
            }
            Err(Failure::Refused(cause)) => return Err(Failure::Refused(cause)),
            Err(broken) => last = broken,
        }
    }
    Err(last)
}
