//! The one thread of a process that starts children, watches descriptors and holds what must be held for life.
//!
//! It never ends and never runs user code. Both matter: `PR_SET_PDEATHSIG` kills a child when the *thread* that started
//! it ends, and a robust mutex marks its holder dead when the *thread* that holds it ends.

use crate::sys::fork::{fork_generation, watch_for_forks};
use crate::sys::poll::{self, Interest, Waker};
use crate::sys::thread;
use crate::sys::time::Deadline;
use parking_lot::{Condvar, Mutex};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::thread::ThreadId;

type Work = Box<dyn FnOnce() + Send>;

/// A descriptor that is waited for once.
struct Watch {
    fd: Arc<OwnedFd>,
    interest: Interest,
    deadline: Deadline,
    then: Box<dyn FnOnce(Event) + Send>,
}

/// What ended a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Ready,
    TimedOut,
}

#[derive(Default)]
struct Inbox {
    work: Vec<Work>,
    watches: Vec<Watch>,
}

pub(crate) struct Reactor {
    inbox: Mutex<Inbox>,
    waker: Waker,
    thread: OnceLock<ThreadId>,
    generation: u32,
}

impl std::fmt::Debug for Reactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reactor").finish_non_exhaustive()
    }
}

/// The reactor of this process, started at the first call.
///
/// # Errors
///
/// It cannot be started (no thread, no descriptor), or this process is a fork of the one that started it: a fork has
/// no threads but the one that forked.
pub(crate) fn reactor() -> io::Result<&'static Reactor> {
    static REACTOR: OnceLock<Reactor> = OnceLock::new();
    static START: Mutex<()> = Mutex::new(());
    let _one_at_a_time = START.lock();
    let reactor = match REACTOR.get() {
        Some(reactor) => reactor,
        None => {
            watch_for_forks();
            let fresh = Reactor {
                inbox: Mutex::default(),
                waker: Waker::new()?,
                thread: OnceLock::new(),
                generation: fork_generation(),
            };
            let reactor = REACTOR.get_or_init(|| fresh);
            let builder = std::thread::Builder::new().name("multiproc".to_owned()).stack_size(256 * 1024);
            thread::spawn(builder, || reactor.run())?;
            reactor
        }
    };
    if reactor.generation != fork_generation() {
        return Err(io::Error::other(
            "this process was forked from one that uses multiproc: start processes in the original",
        ));
    }
    Ok(reactor)
}

impl Reactor {
    /// Runs `work` on the reactor's thread and waits for its value.
    #[allow(dead_code, reason = "the shared heap takes its place in the process table through it")]
    pub(crate) fn call<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> R {
        if self.thread.get() == Some(&std::thread::current().id()) {
            return work();
        }
        let slot = Arc::new((Mutex::new(None), Condvar::new()));
        let answer = Arc::clone(&slot);
        self.post(move || {
            let value = work();
            *answer.0.lock() = Some(value);
            answer.1.notify_one();
        });
        let mut value = slot.0.lock();
        loop {
            match value.take() {
                Some(value) => return value,
                // Cannot last: the reactor's thread never blocks on user code, and a panic there aborts.
                None => slot.1.wait(&mut value),
            }
        }
    }

    /// Runs `work` on the reactor's thread, some time soon.
    pub(crate) fn post(&self, work: impl FnOnce() + Send + 'static) {
        self.inbox.lock().work.push(Box::new(work));
        self.waker.wake();
    }

    /// Calls `then` on the reactor's thread, once, when the descriptor is ready or the deadline has passed.
    pub(crate) fn watch(
        &self,
        fd: Arc<OwnedFd>,
        interest: Interest,
        deadline: Deadline,
        then: impl FnOnce(Event) + Send + 'static,
    ) {
        self.inbox.lock().watches.push(Watch { fd, interest, deadline, then: Box::new(then) });
        self.waker.wake();
    }

    fn run(&self) {
        let _ = self.thread.set(std::thread::current().id());
        // A panic in our own machinery must not leave half a library behind: nobody would watch the children.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.turn_for_ever()));
        if outcome.is_err() {
            eprintln!("multiproc: the supervising thread panicked; this is a bug in multiproc");
        }
        std::process::abort();
    }

    fn turn_for_ever(&self) {
        let mut watches: Vec<Watch> = Vec::new();
        loop {
            let Inbox { work, watches: added } = std::mem::take(&mut *self.inbox.lock());
            watches.extend(added);
            let idle = work.is_empty();
            for work in work {
                work();
            }
            if !idle {
                continue;
            }
            let deadline = watches.iter().fold(Deadline::NEVER, |all, watch| all.earlier(watch.deadline));
            let mut sources = vec![(self.waker.as_fd(), Interest::Readable)];
            sources.extend(watches.iter().map(|watch| (watch.fd.as_fd(), watch.interest)));
            let Ok(ready) = poll::wait(&sources, deadline) else {
                // Out of memory in the kernel: the descriptors are valid, so this passes.
                std::thread::yield_now();
                continue;
            };
            if ready[0] {
                self.waker.clear();
            }
            let mut ready = ready.into_iter().skip(1);
            let mut due = Vec::new();
            for watch in std::mem::take(&mut watches) {
                match ready.next() {
                    Some(true) => due.push((watch, Event::Ready)),
                    _ if watch.deadline.passed() => due.push((watch, Event::TimedOut)),
                    _ => watches.push(watch),
                }
            }
            for (watch, event) in due {
                (watch.then)(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn a_call_comes_back_with_its_value() {
        let reactor = reactor().unwrap();
        let name = reactor.call(|| std::thread::current().name().map(str::to_owned));
        assert_eq!(name.as_deref(), Some("multiproc"));
        assert_eq!(reactor.call(|| super::reactor().unwrap().call(|| 7)), 7);
    }

    #[test]
    fn a_watch_sees_a_hang_up_and_a_deadline() {
        let (a, b) = crate::sys::socket::pair().unwrap();
        let (tell, told) = mpsc::channel();
        let reactor = reactor().unwrap();
        let (b, tell_too) = (Arc::new(b), tell.clone());
        let soon = Deadline::after(Duration::from_millis(1));
        reactor.watch(Arc::clone(&b), Interest::HangUp, soon, move |event| tell.send(event).unwrap());
        assert_eq!(told.recv_timeout(Duration::from_secs(10)).unwrap(), Event::TimedOut);
        reactor.watch(b, Interest::HangUp, Deadline::NEVER, move |event| tell_too.send(event).unwrap());
        drop(a);
        assert_eq!(told.recv_timeout(Duration::from_secs(10)).unwrap(), Event::Ready);
    }
}
