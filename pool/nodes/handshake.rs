//! How a pool and an agent that meet at a port come to trust each other, as bytes. Pure at the pool's end: no socket is used.
//!
//! With encryption the agent knows the pool by the key that it shows (`tls.rs`), and what both then say is about this very
//! conversation, since they take a *binding* from it that nobody outside of it has. Without encryption the binding is a random
//! number that the pool sends first. In both cases the agent says who it is, with a proof that it has the secret; and the pool
//! answers with its own.

use crate::codec;
use crate::nodes::address::{Tcp, Ticket};
use crate::nodes::messages::Greeting;
use crate::nodes::secret::{Proof, Secret, Side};
use crate::nodes::tls::{PoolKey, Tls};
use crate::sys::poll::{self, Interest};
use crate::sys::time::Deadline;
use crate::sys::{random, stream};
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// A visitor may send so many bytes before it is known.
pub(super) const MOST: usize = 4096;

/// A visitor has so long to show who it is.
pub(super) const WITHIN: Duration = Duration::from_secs(10);

/// What stands before each message, so that no stranger is taken for an agent.
const MARK: [u8; 12] = *b"\x93mproc-meet\x1a";

/// The longest message of a handshake, behind its head.
const MOST_BODY: usize = 2048;

/// The mark, the length of a message, and a proof.
const HEAD: usize = MARK.len() + 4 + size_of::<Proof>();

/// What an agent says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    /// Random, so that no answer of a pool is good for two.
    pub(super) nonce: [u8; 32],
    pub(super) ticket: Option<Ticket>,
    pub(super) greeting: Greeting,
}

/// What a pool says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Answer {
    Welcome,
    Refused(String),
    /// Not now, but maybe later.
    Full,
}

/// Why a visitor is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is no agent: nobody hears of it.
    Stranger,
    /// It is, or might be, an agent that somebody waits for.
    Agent(String),
    /// It is an agent for which there is no place now.
    Full,
}

fn message(proof: &Proof, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&MARK[..], &len.to_le_bytes(), proof, body].concat()
}

/// A message of a handshake.
struct Part<'a> {
    proof: &'a Proof,
    body: &'a [u8],
    /// Where it ends.
    end: usize,
}

/// The message at the start of what was heard; `None` if it is not whole.
///
/// # Errors
///
/// It is none, or too long for one of a handshake.
fn split(heard: &[u8]) -> Result<Option<Part<'_>>, ()> {
    let mark = MARK.len().min(heard.len());
    if heard[..mark] != MARK[..mark] {
        return Err(());
    }
    let Some((len, rest)) = heard[mark..].split_first_chunk::<4>() else { return Ok(None) };
    let len = u32::from_le_bytes(*len) as usize;
    if len > MOST_BODY {
        return Err(());
    }
    let Some((proof, rest)) = rest.split_first_chunk::<{ size_of::<Proof>() }>() else { return Ok(None) };
    Ok(rest.get(..len).map(|body| Part { proof, body, end: HEAD + len }))
}

/// The pool's end, for one visitor.
#[derive(Debug)]
pub(super) struct Gate {
    tls: Option<Tls>,
    /// The binding of a conversation that is not encrypted.
    number: [u8; 32],
    unsent: Vec<u8>,
    /// How many bytes have arrived.
    received: usize,
    heard: Vec<u8>,
}

/// A visitor that has the secret, and what the pool proves to it.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) hello: Hello,
    proof: Proof,
}

impl Gate {
    /// # Errors
    ///
    /// The system gives no random numbers.
    pub(super) fn new(key: Option<&PoolKey>) -> Result<Gate, crate::error::Error> {
        let (number, tls) = (random::secret()?, key.map(PoolKey::serve).transpose()?);
        let unsent = if tls.is_some() { Vec::new() } else { [&MARK[..], &number].concat() };
        Ok(Gate { tls, number, unsent, received: 0, heard: Vec::new() })
    }

    /// What is to be sent.
    pub(super) fn unsent(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.unsent);
        if let Some(tls) = &mut self.tls {
            bytes.extend(tls.unsent());
        }
        bytes
    }

    /// Takes bytes that have arrived; the visitor, once it is known.
    ///
    /// # Errors
    ///
    /// It is not let in.
    pub(super) fn hear(&mut self, raw: &[u8], secret: &Secret) -> Result<Option<Visitor>, Refusal> {
        self.received += raw.len();
        if self.received > MOST {
            return Err(Refusal::Stranger);
        }
        match &mut self.tls {
            Some(tls) => {
                // What is said is shorter than what carries it.
                let mut said = [0; MOST];
                let len = tls.hear(raw, &mut said, 0).map_err(|error| refusal_of(&error))?;
                self.heard.extend_from_slice(&said[..len]);
                if !tls.is_ready() {
                    return Ok(None);
                }
            }
            None => self.heard.extend_from_slice(raw),
        }
        let binding = self.binding().map_err(|_| Refusal::Stranger)?;
        let part = split(&self.heard).map_err(|()| Refusal::Stranger)?;
        let Some(Part { proof, body, end }) = part else { return Ok(None) };
        if !secret.is_proof(Side::Agent, &binding, body, proof) {
            return Err(Refusal::Agent("it has another secret than this pool".to_owned()));
        }
        // From here on it is one of ours, but maybe of another version.
        let hello: Hello = codec::from_bytes(body)
            .map_err(|error| Refusal::Agent(format!("what it says of itself cannot be read: {}", error.0)))?;
        if end != self.heard.len() {
            return Err(Refusal::Agent("it says more than it was asked for".to_owned()));
        }
        Ok(Some(Visitor { hello, proof: secret.prove(Side::Pool, &binding, body) }))
    }

    fn binding(&self) -> io::Result<[u8; 32]> {
        self.tls.as_ref().map_or(Ok(self.number), Tls::binding)
    }

    /// Lets a visitor in.
    pub(super) fn welcome(&mut self, visitor: &Visitor) {
        self.say(&visitor.proof, &Answer::Welcome);
    }

    /// Tells a visitor why it is not let in.
    pub(super) fn refuse(&mut self, cause: &str) {
        self.say(&Proof::default(), &Answer::Refused(cause.to_owned()));
    }

    /// Tells a visitor that there is no place for it now.
    pub(super) fn put_off(&mut self) {
        self.say(&Proof::default(), &Answer::Full);
    }

    fn say(&mut self, proof: &Proof, answer: &Answer) {
        let bytes = message(proof, &codec::to_bytes(answer));
        match &mut self.tls {
            // If the handshake has failed nothing can be said, and the other end knows as much.
            Some(tls) => _ = tls.say(&bytes),
            None => self.unsent.extend(bytes),
        }
    }

    /// What goes on once the visitor was let in.
    pub(super) fn into_tls(self) -> Option<Tls> {
        self.tls
    }
}

/// What an error of the pool's end says of the visitor.
fn refusal_of(error: &io::Error) -> Refusal {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::AlertReceived(rustls::AlertDescription::AccessDenied)) => {
            Refusal::Agent("it was told another pin than that of this pool's key".to_owned())
        }
        _ => Refusal::Stranger,
    }
}

/// Why an agent could not get in.
#[derive(Debug)]
pub(super) enum Failure {
    /// It is of no use to try again.
    Refused(String),
    /// The way there has broken.
    Broken(String),
}

/// Shows a pool who this is, and has it show that it is the right one: what the conversation goes on with, and what the pool
/// has said already.
///
/// # Errors
///
/// This agent is not let in, or the pool is not the one that was meant.
pub(super) fn enter(
    socket: BorrowedFd<'_>,
    to: &Tcp,
    secret: &Secret,
    greeting: &Greeting,
) -> Result<(Option<Tls>, Vec<u8>), Failure> {
    let broken = |error: io::Error| match error.kind() {
        io::ErrorKind::InvalidData => Failure::Refused(what_is_wrong(&error)),
        _ => Failure::Broken(error.to_string()),
    };
    let mut caller = Caller { socket, tls: None, until: Deadline::after(WITHIN), heard: Vec::new() };
    let binding = if to.is_plain {
        let start = caller.until(|heard| heard.get(..MARK.len() + 32).map(<[u8]>::to_vec)).map_err(broken)?;
        let Some(number) = start.strip_prefix(&MARK) else {
            return Err(Failure::Refused("who answers there is no pool without encryption".to_owned()));
        };
        caller.heard.drain(..start.len());
        number.try_into().unwrap_or_default()
    } else {
        caller.tls = Some(Tls::connect(to.pin).map_err(|error| Failure::Refused(error.to_string()))?);
        caller.shake_hands().map_err(broken)?
    };
    let nonce = random::secret().map_err(broken)?;
    let body = codec::to_bytes(&Hello { nonce, ticket: to.ticket, greeting: greeting.clone() });
    caller.say(&message(&secret.prove(Side::Agent, &binding, &body), &body)).map_err(broken)?;
    let heard = caller.until(|heard| match split(heard) {
        Ok(None) => None,
        Ok(Some(Part { proof, body, end })) => Some(Ok((*proof, codec::from_bytes::<Answer>(body), end))),
        Err(()) => Some(Err(())),
    });
    match heard.map_err(broken)? {
        Ok((proof, Ok(Answer::Welcome), end)) if secret.is_proof(Side::Pool, &binding, &body, &proof) => {
            caller.heard.drain(..end);
            Ok((caller.tls, caller.heard))
        }
        Ok((_, Ok(Answer::Refused(cause)), _)) => {
            // It may be anybody who says this.
            Err(Failure::Refused(cause.chars().filter(|letter| !letter.is_control()).collect()))
        }
        Ok((_, Ok(Answer::Full), _)) => Err(Failure::Broken("the pool has all its nodes".to_owned())),
        Ok((_, Ok(Answer::Welcome), _)) => Err(Failure::Refused("the pool there has another secret".to_owned())),
        _ => Err(Failure::Refused("who answers there speaks like no pool".to_owned())),
    }
}

/// What an error of the agent's end says of the pool.
fn what_is_wrong(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure)) => {
            "the pool there has another key than the pin says: this agent was called by another pool, or somebody else \
             answers in its place"
                .to_owned()
        }
        _ => format!("who answers there speaks like no pool with encryption: {error}"),
    }
}

/// The agent's end.
struct Caller<'a> {
    socket: BorrowedFd<'a>,
    tls: Option<Tls>,
    until: Deadline,
    heard: Vec<u8>,
}

impl Caller<'_> {
    /// Reads until this finds what it looks for.
    fn until<T>(&mut self, find: impl Fn(&[u8]) -> Option<T>) -> io::Result<T> {
        loop {
            if let Some(found) = find(&self.heard) {
                return Ok(found);
            }
            self.read()?;
        }
    }

    /// Shakes hands; returns what is common to both ends.
    fn shake_hands(&mut self) -> io::Result<[u8; 32]> {
        loop {
            self.say(&[])?;
            match &self.tls {
                Some(tls) if !tls.is_ready() => self.read()?,
                Some(tls) => return tls.binding(),
                None => return Err(io::ErrorKind::InvalidInput.into()),
            }
        }
    }

    /// Says something, and sends what was not sent before.
    fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut raw = bytes.to_vec();
        if let Some(tls) = &mut self.tls {
            tls.say(bytes)?;
            raw = tls.unsent();
        }
        let mut left = &raw[..];
        while !left.is_empty() {
            match stream::send(self.socket, &[IoSlice::new(left)])? {
                Some(len) => left = &left[len..],
                None => self.wait(Interest::Writable)?,
            }
        }
        Ok(())
    }

    /// Reads what arrives.
    fn read(&mut self) -> io::Result<()> {
        // Room for two records, so that nothing stays behind.
        let mut buffer = vec![0; 64 << 10];
        let read = match &mut self.tls {
            Some(tls) => {
                let was_ready = tls.is_ready();
                let read = tls.read(self.socket, &mut buffer)?;
                if read.is_none() && !was_ready && tls.is_ready() {
                    return Ok(());
                }
                read
            }
            None => stream::receive(self.socket, &mut buffer)?,
        };
        match read {
            Some(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has hung up")),
            Some(len) => {
                self.heard.extend_from_slice(&buffer[..len]);
                Ok(())
            }
            None => self.wait(Interest::Readable),
        }
    }

    fn wait(&self, interest: Interest) -> io::Result<()> {
        match poll::wait(&[(self.socket.as_fd(), interest)], self.until)?[0] {
            true => Ok(()),
            false => Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer")),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
