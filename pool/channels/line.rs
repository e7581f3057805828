//! A line: one asks, another answers, in turn, in bytes that may refer to shared memory.
//!
//! Who asks makes the line and sends an [`Invitation`] to who is to answer. Each learns from the books of the heap, or from
//! what it knows of the other's process, when the other is gone.

use super::core::{Core, Patience};
use super::item::{self, Packed};
use crate::codec::{Packed as Message, Reader};
use crate::error::{Error, GetError, QueueKind};
use crate::heap::block::Block;
use crate::heap::held;
use crate::heap::kind::Kind;
use crate::sys::time::Deadline;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The end of who asks. It holds the block that stands for it, as the end of a channel does.
pub(crate) struct Asker {
    requests: Core<Vec<u8>>,
    replies: Core<Vec<u8>>,
    /// Only taken when this is dropped.
    stands_for: Option<Block>,
}

/// What is sent to who is to answer.
#[derive(Serialize, Deserialize)]
pub(crate) struct Invitation {
    requests: Core<Vec<u8>>,
    replies: Core<Vec<u8>>,
    stands_for: Block,
}

/// The end of who answers.
pub(crate) struct Answerer {
    requests: Core<Vec<u8>>,
    replies: Core<Vec<u8>>,
    /// What a place would say that held the block of the other end.
    asker: u64,
}

/// What was received.
pub(crate) struct Received(Packed);

impl Received {
    /// Its bytes, to be read where they are.
    ///
    /// # Errors
    ///
    /// A process has written over it.
    pub(crate) fn reader(&self) -> Result<Reader<'_>, QueueKind> {
        item::reader(&self.0)
    }
}

impl Asker {
    /// A line that nobody answers yet.
    ///
    /// # Errors
    ///
    /// See [`try_channel`](super::channel::try_channel).
    pub(crate) fn new() -> Result<Asker, Error> {
        let stands_for = Some(Block::new(Kind::End, 8)?);
        Ok(Asker { requests: Core::new(Some(1))?, replies: Core::new(Some(1))?, stands_for })
    }

    /// What is sent to who is to answer.
    pub(crate) fn invitation(&self) -> Option<Invitation> {
        let stands_for = self.stands_for.clone()?;
        Some(Invitation { requests: self.requests.clone(), replies: self.replies.clone(), stands_for })
    }

    /// Asks, and waits for the answer until the deadline, or until `is_over` says that there will be none. `None` = the
    /// deadline has passed: what is then answered is the answer to this, so the line is of no more use.
    pub(crate) fn ask(
        &self,
        request: Message,
        deadline: Deadline,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Option<Received>, QueueKind> {
        match self.requests.put_message(&request.bytes, request.pins, Patience::Until(deadline), is_over) {
            Ok(()) => {}
            Err(QueueKind::Full) => return Ok(None),
            Err(kind) => return Err(kind),
        }
        take(&self.replies, deadline, is_over)
    }
}

fn take(from: &Core<Vec<u8>>, deadline: Deadline, is_over: &dyn Fn() -> bool) -> Result<Option<Received>, QueueKind> {
    loop {
        let taken = from.take_message(Patience::Until(deadline), is_over).map_err(GetError::into_kind)?;
        // Without a deadline nothing but an item or an error ends the wait.
        if taken.is_some() || deadline != Deadline::NEVER {
            return Ok(taken.map(Received));
        }
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        drop(self.stands_for.take());
        self.requests.wake_all();
    }
}

impl Invitation {
    /// The end of who answers.
    pub(crate) fn accept(self) -> Answerer {
        // The block is let go of here: it stands for the other end alone.
        Answerer { requests: self.requests, replies: self.replies, asker: held::word_of(&self.stands_for) }
    }
}

impl Answerer {
    /// The next request; `None` when nobody will ask again.
    pub(crate) fn next(&self) -> Option<Received> {
        take(&self.requests, Deadline::NEVER, &|| self.is_over()).ok()?
    }

    /// Answers the request that was received last.
    ///
    /// # Errors
    ///
    /// Nobody hears it, or it cannot travel, or there is no memory for it.
    pub(crate) fn answer(&self, reply: Message) -> Result<(), QueueKind> {
        self.replies.put_message(&reply.bytes, reply.pins, Patience::Endless, &|| self.is_over())
    }

    /// Whether nobody asks any more, or waits for an answer.
    pub(crate) fn is_over(&self) -> bool {
        !held::is_held(self.asker)
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").finish_non_exhaustive()
    }
}
