//! The exchange by which two sides prove that they have the same key, step by step as messages come.

use super::auth::{FAILURE, MAX_MESSAGE, Secret, WELCOME};
use super::frame::{Outgoing, Reader};
use crate::error::ConnectionError;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Which side this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Challenges first, and answers then.
    Listener,
    /// Answers first, and challenges then.
    Client,
}

/// What the other side has to send next.
#[derive(Debug)]
enum Awaited {
    Challenge,
    /// The answer to our challenge.
    Answer {
        challenge: Vec<u8>,
    },
    /// What it makes of our answer.
    Verdict,
}

/// An exchange that goes on.
#[derive(Debug)]
pub(super) struct Handshake {
    socket: OwnedFd,
    reader: Reader,
    secret: Secret,
    side: Side,
    awaited: Awaited,
}

impl Handshake {
    /// Begins; whoever has to challenge first has done so.
    pub(super) fn begin(socket: OwnedFd, secret: Secret, side: Side) -> Result<Handshake, ConnectionError> {
        let mut handshake = Handshake { socket, reader: Reader::default(), secret, side, awaited: Awaited::Challenge };
        if side == Side::Listener {
            handshake.challenge()?;
        }
        Ok(handshake)
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The socket, when both sides are content. It is between two messages.
    pub(super) fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Goes on as far as messages have come; whether both sides are content.
    ///
    /// # Errors
    ///
    /// One of them is not, or the other one is gone or does not speak this protocol.
    pub(super) fn advance(&mut self) -> Result<bool, ConnectionError> {
        while let Some(message) = self.reader.read(self.socket.as_fd(), MAX_MESSAGE)? {
            if self.take(&message)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes the message that was awaited; whether it was the last.
    fn take(&mut self, message: &[u8]) -> Result<bool, ConnectionError> {
        match &self.awaited {
            Awaited::Challenge => {
                let answer = self.secret.answer(message)?;
                self.send(&answer)?;
                self.awaited = Awaited::Verdict;
                Ok(false)
            }
            Awaited::Answer { challenge } => {
                let checked = self.secret.check(challenge, message);
                // That it was refused is a courtesy, and its failure is no news.
                let told = self.send(if checked.is_ok() { WELCOME } else { FAILURE });
                checked.and(told)?;
                self.awaited = Awaited::Challenge;
                Ok(self.side == Side::Client)
            }
            Awaited::Verdict if message != WELCOME => Err(ConnectionError::authentication(match message {
                FAILURE => {
                    "the other end has refused our answer: it does not have the same key, or wants another digest"
                }
                _ => "the other end has neither welcomed nor refused us",
            })),
            Awaited::Verdict if self.side == Side::Listener => Ok(true),
            Awaited::Verdict => self.challenge().map(|()| false),
        }
    }

    fn challenge(&mut self) -> Result<(), ConnectionError> {
        let (message, challenge) = Secret::challenge()?;
        self.send(&message)?;
        self.awaited = Awaited::Answer { challenge };
        Ok(())
    }

    fn send(&self, message: &[u8]) -> Result<(), ConnectionError> {
        match Outgoing::new(message).send(self.socket.as_fd())? {
            true => Ok(()),
            // The two or three short messages of an exchange fit into any socket.
            false => Err(ConnectionError::protocol("the other end does not read what the authentication sends")),
        }
    }
}
