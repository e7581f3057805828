//! The places of agents in a fleet, and what has become of each.

use crate::engine::launch::launcher::Tell;
use crate::error::Error;
use crate::nodes::event::{NodeEvent, NodeEventKind};
use crate::nodes::greeting::Greeter;
use crate::nodes::node::Node;
use crate::nodes::starters::starter::Started;
use crate::sys::stream;
use crate::sys::time::Deadline;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An agent that was there and is lost is asked for again so often in a row, after pauses that grow from the first on.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The agents, and who waits for room with them.
#[derive(Default)]
pub(super) struct Crew {
    pub(super) posts: Vec<Post>,
    /// Places for which there was no room.
    pub(super) waiting: BTreeMap<usize, Tell>,
    pub(super) over: bool,
}

/// The place of an agent.
pub(super) struct Post {
    pub(super) state: State,
    /// What runs it, if that is known.
    pub(super) started: Option<Started>,
    /// The standard streams of what runs an agent that has a connection of its own.
    pub(super) lifeline: Option<Arc<OwnedFd>>,
    /// An agent was there.
    pub(super) was_held: bool,
    /// How often in a row it was asked for in vain.
    pub(super) failures: u32,
}

pub(super) enum State {
    /// It is asked for then.
    Vacant(Instant),
    /// It will say who it is on its standard output.
    Coming(Box<Greeter>, Deadline),
    /// It was told where the door is, and shows this there.
    Expected(Deadline),
    /// Whoever comes to the door may have it.
    Open,
    Held(Arc<Node>),
    /// Something is done about it that takes a while, without the crew's lock.
    Busy,
    /// Nobody asks for it any more, since this has gone wrong.
    Abandoned(String),
}

impl Post {
    pub(super) fn node(&self) -> Option<&Arc<Node>> {
        if let State::Held(node) = &self.state { Some(node) } else { None }
    }

    pub(super) fn is_coming(&self) -> bool {
        !matches!(self.state, State::Held(_) | State::Abandoned(_))
    }

    pub(super) fn is_abandoned(&self) -> bool {
        matches!(self.state, State::Abandoned(_))
    }

    /// Whether what runs its agent has ended. What it says is skipped: chatter, as the agent speaks elsewhere.
    pub(super) fn has_hung_up(&mut self) -> bool {
        let Some(lifeline) = &self.lifeline else { return false };
        let mut chatter = [0; 4096];
        loop {
            match stream::receive(lifeline.as_fd(), &mut chatter) {
                Ok(Some(1..)) => {}
                Ok(None) => return false,
                Ok(Some(0)) | Err(_) => {
                    self.lifeline = None;
                    return true;
                }
            }
        }
    }

    /// The name of its agent, as far as it is known.
    pub(super) fn name(&self) -> String {
        match (&self.state, &self.started) {
            (State::Held(node), _) => node.host.to_string(),
            (_, Some(started)) => started.name.clone(),
            _ => String::new(),
        }
    }

    /// Its agent is no more, or has not come: asks for it again after a pause, or no more. Returns what has happened.
    pub(super) fn fail(&mut self, failure: Failure) -> NodeEvent {
        let Failure { kind, host, cause } = failure;
        // One that was never there is not asked for again: what prevents it has to be mended by somebody.
        let tries = if self.was_held { TRIES } else { 1 };
        self.failures += 1;
        self.state = if self.failures > tries || !self.was_held {
            State::Abandoned(format!("{host}: {cause}"))
        } else {
            State::Vacant(Instant::now() + FIRST_PAUSE * 4u32.pow(self.failures - 1))
        };
        NodeEvent::new(kind, host, Some(cause))
    }
}

/// A place whose agent was asked for: its state, what runs the agent, and that one's lifeline.
pub(super) type Asked = (State, Option<Started>, Option<Arc<OwnedFd>>);

/// Why the agent of a place is not there.
pub(super) struct Failure {
    pub(super) kind: NodeEventKind,
    pub(super) host: String,
    pub(super) cause: String,
}

/// What is to be done about a place that takes a while.
pub(super) enum Chore {
    /// Ask for an agent.
    Start,
    /// See what has become of the one that was asked for, and say why it is not there.
    Bury(Failure, Option<Started>),
}

impl Post {
    pub(super) fn new() -> Post {
        Post { state: State::Vacant(Instant::now()), started: None, lifeline: None, was_held: false, failures: 0 }
    }

    /// Its agent is no more, or has not come.
    pub(super) fn give_up(&mut self, kind: NodeEventKind, cause: &str) -> Chore {
        let failure = Failure { kind, host: self.name(), cause: cause.to_owned() };
        self.state = State::Busy;
        self.lifeline = None;
        Chore::Bury(failure, self.started.take())
    }

    /// An agent has come.
    pub(super) fn hold(&mut self, node: Arc<Node>) -> NodeEvent {
        let host = node.host.to_string();
        self.state = State::Held(node);
        (self.was_held, self.failures) = (true, 0);
        NodeEvent::new(NodeEventKind::Joined, host, None)
    }
}

impl Crew {
    /// Why there is no agent.
    pub(super) fn failure(&self) -> Error {
        let causes = self.posts.iter().filter_map(|post| match &post.state {
            State::Abandoned(cause) => Some(cause.as_str()),
            _ => None,
        });
        let mut causes: Vec<&str> = causes.collect();
        causes.dedup();
        match causes.is_empty() {
            true => Error::start("no agent has come to life in time"),
            false => Error::start(format!("there is no agent: {}", causes.join("; "))),
        }
    }
}
