//! Options of a pool: where its workers are, if not on this machine.

use crate::api::builder::PoolBuilder;
#[cfg(doc)]
use crate::error::Error;
use crate::nodes::event::{NodeEvent, OnNode};
use crate::nodes::starters::starter::Nodes;
use std::time::Duration;

/// The shortest [`PoolBuilder::lost_after`].
const LEAST_PATIENCE: Duration = Duration::from_millis(100);

/// With the feature `cluster`.
impl<S> PoolBuilder<S> {
    /// Sets the nodes on which the workers are started: other machines, or agents on this one.
    ///
    /// On each node this program is started again as an *agent*, which starts workers there as a pool on this machine does.
    /// All calls stay as they are. Arguments and results that mean something on this machine alone (shared memory, locks,
    /// queues, ends of ipc-channel) are refused before anything is sent.
    ///
    /// [`PoolBuilder::processes`] is the most workers there will be; without it there are as many as the nodes take.
    ///
    /// ```
    /// use multiproc::{Pool, cluster::Command};
    ///
    /// let pool = Pool::builder().on(Command::new("{agent}").nodes(2)).processes(2).build()?;
    /// assert_eq!(pool.map(|word: String| word.len(), ["a".to_owned(), "bb".to_owned()])?, [1, 2]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # If a worker dies
    ///
    /// As on one machine: exactly the task that it was running is lost. If a *node* is lost, or the way to it, nobody knows
    /// what ran there: each task that was sent to it and has no answer fails with
    /// [`TaskError::is_worker_lost`](crate::TaskError::is_worker_lost) and
    /// [`TaskError::may_have_run`](crate::TaskError::may_have_run). What was not sent goes to other nodes.
    ///
    /// # Errors
    ///
    /// Of [`PoolBuilder::build`]: [`Error::is_start`] if no agent comes to life, with what its command wrote to stderr;
    /// [`Error::is_invalid_argument`] for a command without `{agent}`, 0 nodes or workers, and options that mean something on
    /// this machine alone: a list of CPUs, routines whose arguments are shared.
    pub fn on(mut self, nodes: impl Into<Nodes>) -> Self {
        self.options.cluster.starter = nodes.into().0;
        self
    }

    /// Sets how many workers must be ready for [`PoolBuilder::build`] to return; others join later. Default: 1.
    pub fn at_least(mut self, workers: usize) -> Self {
        self.options.cluster.at_least = workers;
        self
    }

    /// Sets how long [`PoolBuilder::build`] waits for nodes. Default: 60 seconds.
    pub fn within(mut self, time: Duration) -> Self {
        self.options.cluster.within = time;
        self
    }

    /// Sets how long nothing may be heard of a node before it counts as lost. Default: 10 seconds; 0.1 at least.
    ///
    /// An agent that has heard nothing of the pool for 0.6 of this time kills its workers and ends, so that what is run again
    /// elsewhere does not run there as well.
    pub fn lost_after(mut self, time: Duration) -> Self {
        self.options.cluster.lost_after = time.max(LEAST_PATIENCE);
        self
    }

    /// Sets a function that hears which nodes join, are lost, or cannot be had. It runs on the thread that runs callbacks.
    /// Before [`PoolBuilder::build`] returns an error it waits up to a second for this function to have heard of all nodes.
    pub fn on_node(mut self, hear: impl Fn(&NodeEvent) + Send + Sync + 'static) -> Self {
        self.options.cluster.on_node = Some(OnNode::new(hear));
        self
    }
}
