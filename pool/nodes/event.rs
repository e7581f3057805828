//! What happens to nodes, for the program to see.

use std::fmt;
use std::sync::Arc;

/// Something that has happened to a node of a pool, see [`PoolBuilder::on_node`](crate::PoolBuilder::on_node).
#[derive(Clone, Debug)]
pub struct NodeEvent {
    kind: NodeEventKind,
    host: String,
    cause: Option<String>,
}

/// What has happened to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeEventKind {
    /// Its agent has come to life, and takes workers.
    Joined,
    /// Its agent could not be started, or did not come to life.
    Failed,
    /// Its agent was told to end by SIGTERM: it takes no more tasks, and ends when those that run are finished.
    Draining,
    /// Its agent has ended as it was told to, and no task was lost with it.
    Left,
    /// Its agent, or the way there, is lost. What was under way there may have run.
    Lost,
}

impl NodeEvent {
    pub(super) fn new(kind: NodeEventKind, host: String, cause: Option<String>) -> NodeEvent {
        NodeEvent { kind, host, cause }
    }

    /// Returns what has happened.
    pub fn kind(&self) -> NodeEventKind {
        self.kind
    }

    /// Returns the name of the node: its host's, or what was to start it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns why it is not there, with the last lines of what has started it.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }
}

/// `node1 was lost: its stream has ended`
impl fmt::Display for NodeEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            NodeEventKind::Joined => "has joined",
            NodeEventKind::Failed => "did not join",
            NodeEventKind::Draining => "is to end",
            NodeEventKind::Left => "has left",
            NodeEventKind::Lost => "was lost",
        };
        write!(f, "{} {what}", self.host)?;
        self.cause.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

/// Who hears of it.
#[derive(Clone)]
pub(crate) struct OnNode(Arc<dyn Fn(&NodeEvent) + Send + Sync>);

impl OnNode {
    pub(crate) fn new(hear: impl Fn(&NodeEvent) + Send + Sync + 'static) -> OnNode {
        OnNode(Arc::new(hear))
    }

    pub(super) fn call(&self, event: &NodeEvent) {
        (self.0)(event);
    }
}

impl fmt::Debug for OnNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnNode")
    }
}
