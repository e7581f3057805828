//! What a worker is made of: a process here, a thread of this process, or a process on another machine.

use crate::ipc::link::{Link, Progress};
use crate::sys::child::{Child, ChildSignal};
use std::fmt;
use std::sync::Arc;

/// What a worker is made of, and how it is ended.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Process(Arc<Child>),
    /// Nobody can end it; it leaves when it is told so over its link.
    Thread,
    /// A process that somebody else started, on another machine as a rule.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "made by the feature `cluster`"))]
    Remote(Arc<dyn Remote>),
}

/// A process that somebody else started, and that is told everything through them. Nothing here waits.
pub(crate) trait Remote: Send + Sync + fmt::Debug {
    /// Its process id on its machine.
    fn pid(&self) -> i32;

    /// The name of its machine.
    fn host(&self) -> &Arc<str>;

    /// Has a signal sent to it.
    fn signal(&self, signal: ChildSignal);

    /// Has it ended: by SIGTERM, or by SIGKILL if it is stopped.
    fn tell_to_end(&self);

    /// Has it killed if it runs a task of one of these frames.
    fn kill_if_running(&self, frames: &[u64]);

    /// Whether it was stopped when that was last told.
    fn is_stopped(&self) -> bool;

    /// How much memory of its own it had when that was last told.
    fn memory(&self) -> Option<u64>;

    /// What was told of it with its end.
    fn obituary(&self) -> Obituary;
}

/// What is known of a process on another machine that has ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Obituary {
    /// Its machine, or the way there, was lost, and with it the account of what it ran: why.
    pub(crate) lost: Option<String>,
    /// It was killed since it wrote what our own code never writes.
    pub(crate) condemned: Option<String>,
    /// Its last lines on stderr.
    pub(crate) output: Option<String>,
}

impl Body {
    /// The process id, if it is a process.
    pub(crate) fn pid(&self) -> Option<i32> {
        match self {
            Body::Process(child) => Some(child.pid()),
            Body::Thread => None,
            Body::Remote(remote) => Some(remote.pid()),
        }
    }

    /// The name of its machine, if that is another one.
    pub(crate) fn host(&self) -> Option<Arc<str>> {
        match self {
            Body::Process(_) | Body::Thread => None,
            Body::Remote(remote) => Some(Arc::clone(remote.host())),
        }
    }

    /// Sends a signal, which a thread does not get.
    pub(crate) fn signal(&self, signal: ChildSignal) {
        match self {
            Body::Process(child) => child.signal(signal),
            Body::Thread => {}
            Body::Remote(remote) => remote.signal(signal),
        }
    }

    /// Tells it to end: by SIGTERM, or by SIGKILL if it is stopped. Returns whether it was SIGKILL for sure.
    pub(crate) fn tell_to_end(&self) -> bool {
        match self {
            Body::Process(child) => child.tell_to_end(),
            Body::Thread => false,
            Body::Remote(remote) => {
                remote.tell_to_end();
                false
            }
        }
    }

    /// Notes that it was told that there are no more frames.
    pub(crate) fn dismiss(&self) {
        match self {
            Body::Process(child) => child.dismiss(),
            // A thread has no descendants, and those of a process elsewhere are looked after there.
            Body::Thread | Body::Remote(_) => {}
        }
    }

    /// Kills it if it runs a task of one of these frames.
    pub(crate) fn kill_if_running(&self, frames: &[u64], link: &dyn Link) {
        match self {
            Body::Process(child) => kill_if_running(child, frames, link),
            Body::Thread => {}
            Body::Remote(remote) => remote.kill_if_running(frames),
        }
    }

    /// Whether it is stopped, as by SIGSTOP.
    pub(crate) fn is_stopped(&self) -> bool {
        match self {
            Body::Process(child) => child.is_stopped(),
            Body::Thread => false,
            Body::Remote(remote) => remote.is_stopped(),
        }
    }
}

/// Kills a child of this process if it runs a task of one of these frames. Waits until it is stopped, for 100 ms at most.
pub(crate) fn kill_if_running(child: &Child, frames: &[u64], link: &dyn Link) {
    // It must not go on to a task of another call between the look and the kill.
    child.signal(ChildSignal::Stop);
    child.wait_for_stop();
    let Progress { seq, started, done } = link.progress();
    // It may have claimed the frame, and be about to start the first task. A link that carries one frame at a time tells its
    // progress later, and leaves no doubt.
    let running = link.depth() == 1 || frames.contains(&seq) && (started > done || started == 0);
    child.signal(if running { ChildSignal::Kill } else { ChildSignal::Continue });
}
