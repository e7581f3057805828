//! The first thing that an agent says, which may come behind what others have printed.

use crate::codec;
use crate::nodes::messages::{Greeting, MARK, MOST_CHATTER, MOST_GREETING};
use crate::nodes::starters::ship::{Cargo, Delivery, WANT};
use crate::nodes::wire::Inbox;
use crate::sys::time::Deadline;
use crate::sys::{stream, usage};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// An agent has so long to come to life once it was started, or was last sent a piece of the program.
pub(super) const WITHIN: Duration = Duration::from_secs(60);

/// What is said of one that does not.
pub(super) const LATE: &str = "it did not come to life in time";

/// So many bytes of the program are sent in one go, and in one piece.
const AT_ONCE: usize = 1 << 20;
const PIECE: usize = 64 * 1024;

/// Waits for a greeting, and sends the program to a machine that asks for it before.
#[derive(Debug)]
pub(super) struct Greeter {
    socket: Arc<OwnedFd>,
    heard: Vec<u8>,
    /// What is sent when it is asked for, once.
    cargo: Option<Arc<Cargo>>,
    delivery: Option<Delivery>,
    until: Deadline,
}

/// What has come of a look.
#[derive(Debug)]
pub(super) enum Greeted {
    NotYet,
    Failed(String),
    /// With what has arrived behind it.
    Here(Greeting, Inbox),
}

impl Greeter {
    /// Waits for one that comes by this socket. `cargo` is what may be asked for before.
    pub(super) fn new(socket: OwnedFd, cargo: Option<Arc<Cargo>>) -> Greeter {
        let until = Deadline::after(WITHIN);
        Greeter { socket: Arc::new(socket), heard: Vec::new(), cargo, delivery: None, until }
    }

    pub(super) fn socket(&self) -> &Arc<OwnedFd> {
        &self.socket
    }

    /// When it is late.
    pub(super) fn until(&self) -> Deadline {
        self.until
    }

    /// Whether the program is on its way.
    pub(super) fn has_unsent(&self) -> bool {
        self.delivery.is_some()
    }

    /// Reads what has arrived, and sends what was asked for.
    pub(super) fn look(&mut self) -> Greeted {
        let mut buffer = [0; 4096];
        loop {
            match stream::receive(self.socket.as_fd(), &mut buffer) {
                Ok(Some(0)) => return Greeted::Failed("it has ended before it said anything".to_owned()),
                Ok(Some(len)) => self.heard.extend_from_slice(&buffer[..len]),
                Ok(None) if self.until.passed() => {
                    return Greeted::Failed(LATE.to_owned());
                }
                Ok(None) => {
                    let sent = self.send().map_err(|error| no_program(&error));
                    return sent.map_or_else(Greeted::Failed, |()| Greeted::NotYet);
                }
                Err(error) => return Greeted::Failed(format!("its stream has broken: {error}")),
            }
            if let Some(at) = place_of(&WANT, &self.heard) {
                if let Some(cargo) = self.cargo.take() {
                    self.heard.drain(..at + WANT.len());
                    match Delivery::new(&cargo) {
                        Ok(delivery) => self.delivery = Some(delivery),
                        Err(error) => return Greeted::Failed(no_program(&error)),
                    }
                }
            }
            match find(&self.heard) {
                Ok(None) => {}
                Ok(Some((greeting, end))) => return self.welcome(greeting, end),
                Err(cause) => return Greeted::Failed(cause),
            }
        }
    }

    /// Sends some of the program, if it was asked for.
    ///
    /// # Errors
    ///
    /// The program cannot be read.
    fn send(&mut self) -> io::Result<()> {
        let Some(delivery) = &mut self.delivery else { return Ok(()) };
        let mut buffer = vec![0; PIECE];
        for _ in 0..AT_ONCE / PIECE {
            let piece = delivery.next(&mut buffer)?;
            let sent = match stream::send(self.socket.as_fd(), &[IoSlice::new(piece)]) {
                Ok(Some(len)) => len,
                Ok(None) => return Ok(()),
                // Nobody takes it any more. Why, the next look finds.
                Err(_) => usize::MAX,
            };
            delivery.sent(sent);
            self.until = Deadline::after(WITHIN);
            if delivery.is_over() {
                self.delivery = None;
                return Ok(());
            }
        }
        Ok(())
    }

    fn welcome(&self, greeting: Greeting, end: usize) -> Greeted {
        if let Err(cause) = greeting.check() {
            return Greeted::Failed(cause);
        }
        let mut inbox = inbox();
        let rest = &self.heard[end..];
        inbox.room()[..rest.len()].copy_from_slice(rest);
        inbox.has_read(rest.len());
        Greeted::Here(greeting, inbox)
    }
}

/// What a pool hears of an agent. What is not whole is kept, so that the bound is that of the largest result.
pub(super) fn inbox() -> Inbox {
    Inbox::new(usize::try_from(usage::half_of_memory()).unwrap_or(usize::MAX))
}

/// Why the program cannot be copied.
fn no_program(error: &io::Error) -> String {
    format!("the program to be copied cannot be read: {error}")
}

/// Where a mark begins.
fn place_of(mark: &[u8], heard: &[u8]) -> Option<usize> {
    heard.windows(mark.len()).position(|it| it == mark)
}

/// Finds a greeting behind some chatter, and where it ends; `None` as long as it is not whole.
///
/// # Errors
///
/// There is none, and there will be none.
fn find(heard: &[u8]) -> Result<Option<(Greeting, usize)>, String> {
    let Some(at) = place_of(&MARK, heard) else {
        if heard.len() > MOST_CHATTER {
            return Err(format!("it has printed more than {MOST_CHATTER} bytes of something else"));
        }
        return Ok(None);
    };
    let behind = &heard[at + MARK.len()..];
    let Some((len, rest)) = behind.split_first_chunk::<4>() else { return Ok(None) };
    let len = u32::from_le_bytes(*len) as usize;
    if len > MOST_GREETING {
        return Err("its greeting is too long".to_owned());
    }
    let Some(bytes) = rest.get(..len) else { return Ok(None) };
    let greeting = codec::from_bytes(bytes).map_err(|error| format!("its greeting is damaged: {}", error.0))?;
    Ok(Some((greeting, at + MARK.len() + 4 + len)))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::nodes::messages::VERSION;
    use crate::sys::fuzz::{fuzz, within};

    fn greeting() -> Greeting {
        Greeting { version: VERSION, build: vec![1, 2], host: "node".to_owned(), pid: 7, cpus: 2 }
    }

    #[test]
    fn a_greeting_is_found_behind_chatter_and_nowhere_else() {
        let chatter = b"Welcome to node!\n\x93mproc\n".to_vec();
        let bytes = [&chatter[..], &greeting().written(), b"rest"].concat();
        for len in 0..bytes.len() - 4 {
            assert!(matches!(find(&bytes[..len]), Ok(None)), "{len}");
        }
        let Ok(Some((found, end))) = find(&bytes) else { panic!("no greeting was found") };
        assert_eq!((found.host.as_str(), end), ("node", bytes.len() - 4));
        assert!(find(&vec![b'x'; MOST_CHATTER + 1]).is_err());
    }

    #[test]
    fn whatever_is_said_first() {
        fuzz(
            || (),
            |(), random| {
                let mut bytes = [random.bytes(40), greeting().written(), random.bytes(40)].concat();
                random.spoil(&mut bytes);
                let _ = within(16 * bytes.len() + 4096, &bytes, || find(&bytes));
            },
        );
    }
}
