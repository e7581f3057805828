//! The places of agents: whether they are asked for, come, are there, or are given up, and when they are asked for again.

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

/// How long the end of what has started an agent is waited for, once the stream has ended.
const ENDING: Duration = Duration::from_millis(300);

/// An agent that was there and is lost is asked for again after a pause, so often in a row. Each pause is four times as long as
/// the one before, as long as the agents do not live for [`WORTH`] times as long as the pause that it took to have them.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const WORTH: u32 = 10;

/// The shortest pause after an agent that was told to end: whoever has told it so means it.
const DRAINED_PAUSE: Duration = Duration::from_secs(30);

/// The agents, and who waits for room with them.
#[derive(Default)]
pub(super) struct Crew {
    pub(super) posts: Vec<Post>,
    /// Since when no agent has been there.
    pub(super) deserted: Option<Instant>,
    /// Places for which there was no room.
    pub(super) waiting: BTreeMap<usize, Tell>,
    /// No agent is wanted any more.
    pub(super) over: bool,
    /// None is left.
    pub(super) has_ended: bool,
}

/// A place whose agent was asked for: its state, what runs the agent, and that one's lifeline.
pub(super) type Asked = (State, Option<Started>, Option<Arc<OwnedFd>>);

/// The place of an agent.
pub(super) struct Post {
    pub(super) state: State,
    /// What its machine is called, as far as that is known.
    pub(super) host: String,
    /// What runs it, if that is known.
    pub(super) started: Option<Started>,
    /// The standard streams of what runs an agent that has a connection of its own.
    pub(super) lifeline: Option<Arc<OwnedFd>>,
    /// When the last agent came to life, if any ever has.
    since: Option<Instant>,
    /// How often in a row it was asked for in vain, or for an agent that did not last.
    failures: u32,
}

pub(super) enum State {
    /// It is asked for then.
    Vacant(Instant),
    /// It will say who it is on its standard output.
    Coming(Box<Greeter>),
    /// It was told where the door is, and shows this there.
    Expected(Deadline),
    /// Whoever comes to the door may have it, since then.
    Open(Instant),
    Held(Arc<Node>),
    /// It is no more, or has not come, for this reason; until the deadline its starter is asked why.
    Ending(NodeEventKind, String, Deadline),
    /// It is asked for just now, without the crew's lock.
    Busy,
    /// Nobody asks for it any more, since this has gone wrong.
    Abandoned(String),
}

impl Post {
    /// The place of an agent that is asked for at once. `host` is what its machine is called, if that is known.
    pub(super) fn new(host: &str) -> Post {
        Post {
            state: State::Vacant(Instant::now()),
            host: host.to_owned(),
            started: None,
            lifeline: None,
            since: None,
            failures: 0,
        }
    }

    /// Its agent has come to life.
    pub(super) fn hold(&mut self, node: Arc<Node>) -> NodeEvent {
        self.state = State::Held(node);
        self.since = Some(Instant::now());
        NodeEvent::new(NodeEventKind::Joined, self.host.clone(), None)
    }

    fn node(&self) -> Option<&Arc<Node>> {
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

    /// Its agent is no more, or has not come.
    pub(super) fn end(&mut self, kind: NodeEventKind, cause: String) {
        self.lifeline = None;
        self.state = State::Ending(kind, cause, Deadline::after(ENDING));
    }

    /// Asks for the agent again after a pause, or no more, if it is known why it is no more or has not come. Returns what has
    /// happened. `asks` if agents are asked for, and do not come of themselves.
    pub(super) fn look_for_end(&mut self, asks: bool) -> Option<NodeEvent> {
        let State::Ending(kind, cause, until) = &mut self.state else { return None };
        let (meaning, said) = match &mut self.started {
            Some(started) => started.look_for_end(*until)?,
            None => (None, String::new()),
        };
        let (kind, mut cause) = (*kind, std::mem::take(cause));
        if let (NodeEventKind::Failed, Some(meaning)) = (kind, meaning) {
            cause = meaning.to_owned();
        }
        cause += &said;
        let host = self.host.clone();
        self.started = None;
        // One that comes by itself fails when nobody has come for a long time.
        let free = (kind != NodeEventKind::Failed).then_some(Duration::ZERO);
        let pause = if asks { self.pause(kind) } else { free };
        self.state = match pause {
            Some(pause) => State::Vacant(Instant::now() + pause),
            None => State::Abandoned(format!("{host}: {cause}")),
        };
        Some(NodeEvent::new(kind, host, Some(cause)))
    }

    /// How long to wait before the agent is asked for again; `None` if it is not.
    fn pause(&mut self, kind: NodeEventKind) -> Option<Duration> {
        // One that was never there is not asked for again: what prevents it has to be mended by somebody.
        let lived = self.since?.elapsed();
        self.failures = match kind {
            NodeEventKind::Failed => self.failures + 1,
            _ if self.failures == 0 || lived > WORTH * pause(self.failures) => 1,
            _ => self.failures + 1,
        };
        let least = if kind == NodeEventKind::Left { DRAINED_PAUSE } else { Duration::ZERO };
        (self.failures <= TRIES).then(|| pause(self.failures).max(least))
    }
}

/// The pause after so many failures in a row.
fn pause(failures: u32) -> Duration {
    FIRST_PAUSE * 4u32.pow(failures.saturating_sub(1))
}

impl Crew {
    /// Ends all agents. Returns what has started them.
    pub(super) fn end(&mut self) -> Vec<Started> {
        self.waiting.clear();
        let mut started: Vec<Started> = Vec::new();
        for post in &mut self.posts {
            if let State::Held(node) = &post.state {
                node.lose("its pool has ended");
            }
            // An agent ends when its stream does.
            post.lifeline = None;
            post.state = State::Abandoned("its pool has ended".to_owned());
            started.extend(post.started.take());
        }
        started
    }

    /// The agents that are there.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.posts.iter().filter_map(Post::node)
    }

    /// Why there is no agent.
    pub(super) fn failure(&self) -> Error {
        let causes = self.posts.iter().filter_map(|post| match &post.state {
            State::Abandoned(cause) => Some(cause.as_str()),
            _ => None,
        });
        let mut causes: Vec<&str> = causes.collect();
        causes.dedup();
        if !causes.is_empty() {
            return Error::start(format!("there is no agent: {}", causes.join("; ")));
        }
        let mut hosts: Vec<&str> =
            self.posts.iter().map(|post| post.host.as_str()).filter(|it| !it.is_empty()).collect();
        hosts.truncate(3);
        let hosts = if hosts.is_empty() { String::new() } else { format!(" at {}", hosts.join(", ")) };
        Error::start(format!(
            "no agent has come to life in time{hosts}: what was started has said nothing (is it this program, with its standard \
             input and output?), or nothing has come (is `command()` run on the nodes?)"
        ))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The pauses after events of agents that have lived for so many seconds, in tenths of seconds.
    fn pauses(events: &[(NodeEventKind, u64)]) -> Vec<Option<u128>> {
        let mut post = Post::new("node");
        let after = |(kind, lived): &(NodeEventKind, u64)| {
            post.since = Instant::now().checked_sub(Duration::from_secs(*lived));
            assert!(post.since.is_some(), "this machine has been up for a moment only");
            Some(post.pause(*kind)?.as_millis() / 100)
        };
        events.iter().map(after).collect()
    }

    #[test]
    fn an_agent_that_does_not_last_is_asked_for_less_and_less_and_at_last_no_more() {
        use NodeEventKind::{Failed, Left, Lost};
        assert_eq!(pauses(&[(Lost, 0); 6]), [Some(1), Some(4), Some(16), Some(64), Some(256), None]);
        // One that cannot be started meanwhile is no better, however long ago it was there.
        assert_eq!(pauses(&[(Lost, 9), (Failed, 9), (Failed, 9), (Lost, 9)]), [Some(1), Some(4), Some(16), Some(64)]);
        // It was worth its pause.
        assert_eq!(pauses(&[(Lost, 0), (Lost, 2), (Lost, 0), (Lost, 5)]), [Some(1), Some(1), Some(4), Some(1)]);
        assert_eq!(pauses(&[(Left, 0), (Left, 0), (Lost, 0)]), [Some(300), Some(300), Some(16)]);
    }

    #[test]
    fn one_that_was_never_there_is_asked_for_once() {
        assert_eq!(Post::new("node").pause(NodeEventKind::Failed), None);
    }
}
