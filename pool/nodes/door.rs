//! Where agents come in that connect to the pool: one thread listens, and finds out who they are.
//!
//! Whoever can reach the port may knock. So nothing here waits for a visitor, and no other thread of the pool does: each has a
//! place among 64, 10 seconds, and 4 KiB to show who it is; for one more the one that has been there longest has to go.

use crate::error::Error;
use crate::nodes::address::{Address, Tcp, Ticket};
use crate::nodes::handshake::{Gate, Refusal, Visitor, WITHIN};
use crate::nodes::messages::Greeting;
use crate::nodes::secret::Secret;
use crate::nodes::stream::Stream;
use crate::nodes::tls::PoolKey;
use crate::sys::poll::{self, Interest, Waker};
use crate::sys::stream::{self, Name};
use crate::sys::time::Deadline;
use crate::sys::{executable, random, thread};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So many visitors may be unknown at a time.
const MOST_VISITORS: usize = 64;

/// How many may wait to be accepted.
const BACKLOG: i32 = 128;

/// Those that are not let in are told of no more often than this: they may be anybody.
const TELL_EACH: Duration = Duration::from_millis(100);

/// What is known of a pool that listens before there is any pool.
#[derive(Debug)]
pub(crate) struct Doorway {
    socket: OwnedFd,
    secret: Secret,
    /// `None`: nothing is encrypted.
    key: Option<PoolKey>,
    /// Where agents find it.
    places: Vec<String>,
}

impl Doorway {
    /// Listens.
    ///
    /// # Errors
    ///
    /// Somebody else listens there, or the address is none of this machine; the system gives no random numbers.
    pub(super) fn open(at: &str, known_as: &[String], secret: Secret, encrypt: bool) -> Result<Doorway, Error> {
        let cannot = |cause: String| Error::start(format!("the pool cannot listen at {at}: {cause}"));
        let address = std::net::ToSocketAddrs::to_socket_addrs(at).map_err(|error| cannot(error.to_string()))?.next();
        let address = address.ok_or_else(|| cannot("the name means no address".to_owned()))?;
        let (socket, bound) = stream::listen(&Name::Ip(address), BACKLOG).map_err(|error| cannot(error.to_string()))?;
        let Name::Ip(bound) = bound else { return Err(cannot("it has no port".to_owned())) };
        let places = match known_as {
            [] if bound.ip().is_unspecified() => vec![format!("{}:{}", executable::host_name(), bound.port())],
            [] => vec![bound.to_string()],
            known => known.to_vec(),
        };
        let key = if encrypt { Some(PoolKey::generate()?) } else { None };
        Ok(Doorway { socket, secret, key, places })
    }

    /// What an agent is told.
    pub(super) fn address(&self, ticket: Option<Ticket>) -> Address {
        Address::Tcp(Tcp {
            places: self.places.clone(),
            pin: self.key.as_ref().map(|key| key.pin),
            ticket,
            is_plain: self.key.is_none(),
            asks_stdin: ticket.is_some(),
        })
    }
}

/// An agent that was let in.
#[derive(Debug)]
pub(super) struct Guest {
    /// The place that it was asked for, if it was.
    pub(super) post: Option<usize>,
    pub(super) greeting: Greeting,
    pub(super) socket: Arc<OwnedFd>,
    pub(super) stream: Stream,
}

/// Who is expected, and what has come of it.
#[derive(Debug, Default)]
struct Guests {
    /// Those that were asked for, and for which place.
    tickets: HashMap<Ticket, usize>,
    /// So many more are welcome that were not.
    open: usize,
    arrived: Vec<Guest>,
    /// Who was not let in, and why.
    refused: Vec<(String, String)>,
    over: bool,
}

#[derive(Debug)]
struct Shared {
    doorway: Arc<Doorway>,
    guests: Mutex<Guests>,
    /// Wakes the thread at the door.
    porter: Waker,
    /// Wakes whoever takes care of those that have come in.
    keeper: Arc<Waker>,
}

/// The door of a fleet.
#[derive(Debug)]
pub(super) struct Door {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Door {
    /// Lets agents in, and wakes the keeper for each.
    ///
    /// # Errors
    ///
    /// There is no descriptor or thread left.
    pub(super) fn start(doorway: Arc<Doorway>, keeper: Arc<Waker>) -> Result<Door, Error> {
        let shared = Arc::new(Shared { doorway, guests: Mutex::default(), porter: Waker::new()?, keeper });
        let porter = Arc::clone(&shared);
        let builder = std::thread::Builder::new().name("multiproc-door".to_owned()).stack_size(512 * 1024);
        let thread = thread::spawn(builder, move || porter.live())?;
        Ok(Door { shared, thread: Some(thread) })
    }

    /// Expects an agent for this place: what it is to be told, and the line that it has to find on its standard input.
    ///
    /// # Errors
    ///
    /// The system gives no random numbers.
    pub(super) fn expect(&self, post: usize) -> Result<(Address, Vec<u8>), Error> {
        let ticket: Ticket = random::secret()?;
        self.shared.guests.lock().tickets.insert(ticket, post);
        Ok((self.shared.doorway.address(Some(ticket)), self.shared.doorway.secret.line()))
    }

    /// Expects none for this place any more.
    pub(super) fn forget(&self, post: usize) {
        self.shared.guests.lock().tickets.retain(|_, it| *it != post);
    }

    /// One more is welcome that was not asked for.
    pub(super) fn welcome(&self) {
        self.shared.guests.lock().open += 1;
    }

    /// One less is, unless it has just come in.
    pub(super) fn turn_away(&self) {
        let mut guests = self.shared.guests.lock();
        guests.open = guests.open.saturating_sub(1);
    }

    /// Lets nobody in any more.
    pub(super) fn close(&self) {
        self.shared.guests.lock().over = true;
        self.shared.porter.wake();
    }

    /// Takes those that have come in, and what is to be told of those that were not let in.
    pub(super) fn news(&self) -> (Vec<Guest>, Vec<(String, String)>) {
        let mut guests = self.shared.guests.lock();
        (std::mem::take(&mut guests.arrived), std::mem::take(&mut guests.refused))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported, and there is nothing to be done about it here.
            let _ = thread.join();
        }
    }
}

/// Somebody who is not known yet.
struct Knocking {
    socket: OwnedFd,
    name: String,
    gate: Gate,
    until: Deadline,
}

impl Shared {
    /// The life of the thread at the door.
    fn live(&self) {
        let mut knocking: VecDeque<Knocking> = VecDeque::new();
        let mut told = None;
        while !self.guests.lock().over {
            let listener = self.doorway.socket.as_fd();
            let mut sources: Vec<(BorrowedFd<'_>, Interest)> =
                vec![(self.porter.as_fd(), Interest::Readable), (listener, Interest::Readable)];
            sources.extend(knocking.iter().map(|visitor| (visitor.socket.as_fd(), Interest::Readable)));
            // They came one after the other, and have the same time.
            let until = knocking.front().map_or(Deadline::NEVER, |oldest| oldest.until);
            // If the system refuses, a moment has passed, and everybody is looked at.
            let ready = poll::wait(&sources, until).unwrap_or_else(|_| vec![true; sources.len()]);
            self.porter.clear();
            let mut at = 0;
            knocking = knocking
                .into_iter()
                .filter_map(|visitor| {
                    at += 1;
                    if ready[1 + at] { self.hear(visitor, &mut told) } else { Some(visitor) }
                })
                .filter(|visitor| !visitor.until.passed())
                .collect();
            if ready[1] {
                self.accept(&mut knocking);
            }
        }
    }

    /// Takes the next one that knocks.
    fn accept(&self, knocking: &mut VecDeque<Knocking>) {
        // An error is about one that has gone again, or the system has no descriptor left: then a moment has passed.
        let Ok(Some((socket, name))) = stream::accept(self.doorway.socket.as_fd()) else { return };
        let Ok(gate) = Gate::new(self.doorway.key.as_ref()) else { return };
        let name = match name {
            Name::Ip(address) => address.to_string(),
            _ => "an agent".to_owned(),
        };
        let mut visitor = Knocking { socket, name, gate, until: Deadline::after(WITHIN) };
        if !visitor.flush() {
            return;
        }
        if knocking.len() >= MOST_VISITORS {
            knocking.pop_front();
        }
        knocking.push_back(visitor);
    }

    /// Hears somebody who is not known yet; returns it if it still is not.
    fn hear(&self, mut visitor: Knocking, told: &mut Option<Instant>) -> Option<Knocking> {
        let mut buffer = [0; 4096];
        let len = match stream::receive(visitor.socket.as_fd(), &mut buffer) {
            Ok(Some(0)) | Err(_) => return None,
            Ok(Some(len)) => len,
            Ok(None) => return Some(visitor),
        };
        let known = match visitor.gate.hear(&buffer[..len], &self.doorway.secret) {
            Ok(None) => return visitor.flush().then_some(visitor),
            Ok(Some(known)) => self.admit(&known).map(|post| (known, post)),
            Err(refusal) => Err(refusal),
        };
        let cause = match known {
            Ok((known, post)) => {
                self.let_in(visitor, known, post);
                return None;
            }
            Err(Refusal::Agent(cause)) => {
                visitor.gate.refuse(&cause);
                cause
            }
            Err(refusal) => {
                if refusal == Refusal::Full {
                    visitor.gate.put_off();
                }
                // To a stranger TLS says what is wrong.
                visitor.flush();
                return None;
            }
        };
        visitor.flush();
        if told.is_none_or(|last| last.elapsed() >= TELL_EACH) {
            *told = Some(Instant::now());
            self.guests.lock().refused.push((visitor.name, cause));
            self.keeper.wake();
        }
        None
    }

    /// Whether somebody who has the secret is expected, and for which place.
    ///
    /// # Errors
    ///
    /// It is not.
    fn admit(&self, known: &Visitor) -> Result<Option<usize>, Refusal> {
        known.hello.greeting.check().map_err(Refusal::Agent)?;
        let mut guests = self.guests.lock();
        match known.hello.ticket {
            Some(ticket) => match guests.tickets.remove(&ticket) {
                Some(post) => Ok(Some(post)),
                None => Err(Refusal::Agent("its ticket was used before, or is none of this pool's".to_owned())),
            },
            None if guests.open == 0 => Err(Refusal::Full),
            None => {
                guests.open -= 1;
                Ok(None)
            }
        }
    }

    /// Lets somebody in.
    fn let_in(&self, mut visitor: Knocking, known: Visitor, post: Option<usize>) {
        visitor.gate.welcome(&known);
        // So little fits into an empty socket. If it does not, or the way has broken, the stream will tell.
        visitor.flush();
        let socket = Arc::new(visitor.socket);
        let stream = Stream::new(Arc::clone(&socket), visitor.gate.into_tls());
        self.guests.lock().arrived.push(Guest { post, greeting: known.hello.greeting, socket, stream });
        self.keeper.wake();
    }
}

impl Knocking {
    /// Sends what the gate has to say; returns whether that was all.
    fn flush(&mut self) -> bool {
        let bytes = self.gate.unsent();
        // So little fits into an empty socket, unless the other end does not read.
        bytes.is_empty()
            || stream::send(self.socket.as_fd(), &[IoSlice::new(&bytes)]).is_ok_and(|len| len == Some(bytes.len()))
    }
}
