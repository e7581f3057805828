//! The first thing that an agent says, which may come behind what others have printed.

use crate::codec;
use crate::nodes::messages::{Greeting, MARK, MOST_CHATTER, MOST_GREETING};
use crate::nodes::wire::Inbox;
use crate::sys::{stream, usage};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Waits for a greeting.
#[derive(Debug)]
pub(super) struct Greeter {
    socket: Arc<OwnedFd>,
    heard: Vec<u8>,
}

/// What has come of a look.
#[derive(Debug)]
pub(super) enum Greeted {
    NotYet,
    Failed(String),
    /// With what has arrived behind it.
    Here(Greeting, Inbox),
}

/// What some bytes are.
#[derive(Debug)]
enum Found {
    Nothing,
    /// A greeting, and where it ends.
    Greeting(Greeting, usize),
}

impl Greeter {
    pub(super) fn new(socket: OwnedFd) -> Greeter {
        Greeter { socket: Arc::new(socket), heard: Vec::new() }
    }

    pub(super) fn socket(&self) -> &Arc<OwnedFd> {
        &self.socket
    }

    /// Reads what has arrived.
    pub(super) fn look(&mut self) -> Greeted {
        let mut buffer = [0; 4096];
        loop {
            match stream::receive(self.socket.as_fd(), &mut buffer) {
                Ok(Some(0)) => return Greeted::Failed("it has ended before it said anything".to_owned()),
                Ok(Some(len)) => self.heard.extend_from_slice(&buffer[..len]),
                Ok(None) => return Greeted::NotYet,
                Err(error) => return Greeted::Failed(format!("its stream has broken: {error}")),
            }
            match find(&self.heard) {
                Ok(Found::Nothing) => {}
                Ok(Found::Greeting(greeting, end)) => return self.welcome(greeting, end),
                Err(cause) => return Greeted::Failed(cause),
            }
        }
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

/// Finds a greeting behind some chatter.
///
/// # Errors
///
/// There is none, and there will be none.
fn find(heard: &[u8]) -> Result<Found, String> {
    let Some(at) = heard.windows(MARK.len()).position(|it| it == MARK) else {
        if heard.len() > MOST_CHATTER {
            return Err(format!("it has printed more than {MOST_CHATTER} bytes of something else"));
        }
        return Ok(Found::Nothing);
    };
    let behind = &heard[at + MARK.len()..];
    let Some((len, rest)) = behind.split_first_chunk::<4>() else { return Ok(Found::Nothing) };
    let len = u32::from_le_bytes(*len) as usize;
    if len > MOST_GREETING {
        return Err("its greeting is too long".to_owned());
    }
    let Some(bytes) = rest.get(..len) else { return Ok(Found::Nothing) };
    let greeting = codec::from_bytes(bytes).map_err(|error| format!("its greeting is damaged: {}", error.0))?;
    Ok(Found::Greeting(greeting, at + MARK.len() + 4 + len))
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
            assert!(matches!(find(&bytes[..len]), Ok(Found::Nothing)), "{len}");
        }
        let Ok(Found::Greeting(found, end)) = find(&bytes) else { panic!("no greeting was found") };
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
