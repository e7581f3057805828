//! The one thread of a process that starts children, watches descriptors and holds what must be held for life.
//!
//! It never ends and never runs user code. Both matter: `PR_SET_PDEATHSIG` kills a child when the *thread* that started
//! it ends, and a robust mutex marks its holder dead when the *thread* that holds it ends.

use crate::sys::child::is_of_child;
use crate::sys::epoll::Epoll;
use crate::sys::fork::{fork_generation, watch_for_forks};
use crate::sys::poll::{self, Interest, Waker};
use crate::sys::thread;
use crate::sys::time::Deadline;
use parking_lot::{Condvar, Mutex};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

type Work = Box<dyn FnOnce() + Send>;

thread_local! {
    /// Whether this thread is the reactor's.
    static IS_REACTOR: Cell<bool> = const { Cell::new(false) };
}

/// The number of the waker in the set, which no watch has.
const WAKER: u64 = u64::MAX;

/// The number of all sockets that others have open, which no watch has either.
const FOREIGN: u64 = u64::MAX - 1;

/// A descriptor that is waited for.
struct Watch {
    fd: Arc<OwnedFd>,
    interest: Interest,
    deadline: Deadline,
    /// Whether the system waits for it together with the others.
    in_set: bool,
    then: Then,
}

/// What follows when a descriptor is ready.
enum Then {
    /// This, and it is not waited for any more.
    Once(Box<dyn FnOnce(Event) + Send>),
    /// This, for all that arrives, until it returns false.
    Each(Box<dyn Fn() -> bool + Send>),
}

impl Watch {
    /// Looks whether the descriptor is ready now; not, where that cannot be said. One that is no more what it was is ready: the
    /// program has closed it, and whoever is told finds that out.
    fn is_ready(&self) -> bool {
        if self.interest == Interest::Exit && !is_of_child(self.fd.as_fd()) {
            return true;
        }
        let looked = poll::wait(&[(self.fd.as_fd(), self.interest)], Deadline::after(Duration::ZERO));
        looked.is_ok_and(|ready| ready[0])
    }
}

/// What the reactor waits for. Nothing that is done at each turn goes through all of it: a pool of 1,000 workers has 2,000.
#[derive(Default)]
struct Watches {
    /// By numbers that are given in the order in which the watches came.
    all: BTreeMap<u64, Watch>,
    next: u64,
    /// Those that have a deadline, the earliest first.
    deadlines: BTreeSet<(Instant, u64)>,
    /// Those that the system does not wait for.
    alone: BTreeSet<u64>,
    /// How many wait for the end of a child.
    children: usize,
}

impl Watches {
    /// Takes a watch in, and its descriptor into the system's set.
    fn add(&mut self, epoll: &Epoll, mut watch: Watch) {
        let number = self.next;
        self.next += 1;
        let added = match watch.then {
            Then::Once(_) => epoll.add(watch.fd.as_fd(), number, watch.interest),
            Then::Each(_) => epoll.add_arrivals(watch.fd.as_fd(), number),
        };
        watch.in_set = added.is_ok();
        if !watch.in_set {
            self.alone.insert(number);
        }
        self.deadlines.extend(watch.deadline.instant().map(|at| (at, number)));
        self.children += usize::from(watch.interest == Interest::Exit);
        self.all.insert(number, watch);
    }

    /// Takes a watch out, and its descriptor out of the system's set.
    fn remove(&mut self, epoll: &Epoll, number: u64) -> Option<Watch> {
        let watch = self.all.remove(&number)?;
        if let Some(at) = watch.deadline.instant() {
            self.deadlines.remove(&(at, number));
        }
        if watch.in_set {
            epoll.remove(watch.fd.as_fd());
        } else {
            self.alone.remove(&number);
        }
        self.children -= usize::from(watch.interest == Interest::Exit);
        Some(watch)
    }

    /// The earliest deadline.
    fn deadline(&self) -> Deadline {
        self.deadlines.first().map_or(Deadline::NEVER, |(at, _)| Deadline::at(*at))
    }

    /// The numbers of those that are ready, as far as the system has not waited for them.
    fn ready_alone(&self, has_waited: bool) -> Vec<u64> {
        let is_ready = |number: &u64| self.all.get(number).is_some_and(Watch::is_ready);
        match has_waited {
            true => self.alone.iter().copied().filter(is_ready).collect(),
            false => self.all.keys().copied().filter(is_ready).collect(),
        }
    }

    /// The numbers of those whose deadline has passed.
    fn late(&self) -> Vec<u64> {
        if self.deadlines.is_empty() {
            return Vec::new();
        }
        self.deadlines.range(..=(Instant::now(), u64::MAX)).map(|(_, number)| *number).collect()
    }
}

/// How often a descriptor is looked at that the system does not wait for.
const LOOK_EACH: Duration = Duration::from_millis(20);

/// How long it waits at most for what it watches. If the program closes all descriptors (`closefrom(3)`), this set is closed
/// while the thread waits at it, and nothing that it watched would end the wait.
const SLICE: Duration = Duration::from_secs(1);

/// The same while there are children: one of their sockets ends the wait then, see [`Reactor::leave_open`].
const LONG_SLICE: Duration = Duration::from_secs(60);

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
    epoll: Epoll,
    generation: u32,
}

impl std::fmt::Debug for Reactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reactor").finish_non_exhaustive()
    }
}

static REACTOR: OnceLock<Reactor> = OnceLock::new();

/// The reactor, if this process has one already.
#[cfg(feature = "sandbox")]
pub(crate) fn started() -> Option<&'static Reactor> {
    REACTOR.get().filter(|reactor| reactor.generation == fork_generation())
}

/// The reactor of this process, started at the first call.
///
/// # Errors
///
/// It cannot be started (no thread, no descriptor), or this process is a fork of the one that started it: a fork has
/// no threads but the one that forked.
pub(crate) fn reactor() -> io::Result<&'static Reactor> {
    static START: Mutex<()> = Mutex::new(());
    let _one_at_a_time = START.lock();
    let reactor = match REACTOR.get() {
        Some(reactor) => reactor,
        None => {
            watch_for_forks();
            let fresh = Reactor {
                inbox: Mutex::default(),
                waker: Waker::new()?,
                epoll: Epoll::new()?,
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
    pub(crate) fn call<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> R {
        if IS_REACTOR.get() {
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
        self.wake();
    }

    /// Calls `then` on the reactor's thread, once, when the descriptor is ready or the deadline has passed.
    pub(crate) fn watch(
        &self,
        fd: Arc<OwnedFd>,
        interest: Interest,
        deadline: Deadline,
        then: impl FnOnce(Event) + Send + 'static,
    ) {
        self.add(Watch { fd, interest, deadline, in_set: false, then: Then::Once(Box::new(then)) });
    }

    /// Calls `then` on the reactor's thread whenever something more has arrived, or the other end is gone, until it returns
    /// false. Nobody has to read what has arrived for that.
    pub(crate) fn watch_arrivals(&self, fd: Arc<OwnedFd>, then: impl Fn() -> bool + Send + 'static) {
        let (interest, deadline) = (Interest::Readable, Deadline::NEVER);
        self.add(Watch { fd, interest, deadline, in_set: false, then: Then::Each(Box::new(then)) });
    }

    /// Runs `work` on the reactor's thread when the time has passed, or at once if there is no descriptor left to wait by.
    pub(crate) fn after(&self, time: Duration, work: impl FnOnce() + Send + 'static) {
        match Waker::new() {
            // Nobody wakes it.
            Ok(waker) => self.watch(Arc::new(waker.into()), Interest::Readable, Deadline::after(time), |_| work()),
            Err(_) => self.post(work),
        }
    }

    /// Waits also for what happens to the socket of a child, before this process closes its descriptor. The other end belongs to
    /// this process. If the program closes all descriptors, the child's is still open, and that ends the wait.
    pub(crate) fn leave_open(&self, socket: BorrowedFd<'_>) {
        // Without it the wait ends later.
        let _ = self.epoll.add_foreign(socket, FOREIGN);
    }

    fn add(&self, watch: Watch) {
        self.inbox.lock().watches.push(watch);
        self.wake();
    }

    /// Has the reactor's thread look into its inbox, which it does in any case before it waits.
    fn wake(&self) {
        if !IS_REACTOR.get() {
            self.waker.wake();
        }
    }

    fn run(&self) {
        IS_REACTOR.set(true);
        // A panic in our own machinery must not leave half a library behind: nobody would watch the children.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.turn_for_ever()));
        if outcome.is_err() {
            eprintln!("multiproc: the supervising thread panicked; this is a bug in multiproc");
        }
        std::process::abort();
    }

    fn turn_for_ever(&self) {
        let mut watches = Watches::default();
        let is_set = self.epoll.add(self.waker.as_fd(), WAKER, Interest::Readable).is_ok();
        loop {
            let Inbox { work, watches: added } = std::mem::take(&mut *self.inbox.lock());
            for watch in added {
                watches.add(&self.epoll, watch);
            }
            let idle = work.is_empty();
            for work in work {
                work();
            }
            if !idle {
                continue;
            }
            let mut deadline = watches.deadline();
            if !is_set || !watches.alone.is_empty() {
                deadline = deadline.earlier(Deadline::after(LOOK_EACH));
            } else if watches.children > 0 {
                deadline = deadline.earlier(Deadline::after(LONG_SLICE));
            } else if !watches.all.is_empty() {
                deadline = deadline.earlier(Deadline::after(SLICE));
            }
            let mut ready = Vec::new();
            let has_waited = self.epoll.wait(deadline, &mut ready).is_ok();
            if !is_set || !has_waited || ready.contains(&WAKER) {
                self.waker.clear();
            }
            // What the system refuses to wait for is looked at, one by one.
            ready.extend(watches.ready_alone(has_waited));
            let late: Vec<u64> = watches.late().into_iter().filter(|number| !ready.contains(number)).collect();
            let mut due: Vec<_> = ready.into_iter().map(|number| (number, Event::Ready)).collect();
            due.extend(late.into_iter().map(|number| (number, Event::TimedOut)));
            due.sort_unstable_by_key(|(number, _)| *number);
            for (number, event) in due {
                if let Some(Watch { then: Then::Each(then), .. }) = watches.all.get(&number) {
                    if then() {
                        continue;
                    }
                }
                if let Some(Watch { then: Then::Once(then), .. }) = watches.remove(&self.epoll, number) {
                    then(event);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_call_comes_back_with_its_value() {
        let reactor = reactor().unwrap();
        let name = reactor.call(|| std::thread::current().name().map(str::to_owned));
        assert_eq!(name.as_deref(), Some("multiproc"));
        assert_eq!(reactor.call(|| super::reactor().unwrap().call(|| 7)), 7);
    }

    #[test]
    fn arrivals_are_seen_one_by_one_although_nobody_reads() {
        use crate::sys::stream;
        let (a, b) = stream::pair().unwrap();
        let (tell, told) = mpsc::channel();
        reactor().unwrap().watch_arrivals(Arc::new(b), move || tell.send(()).is_ok());
        for _ in 0..3 {
            stream::send(a.as_fd(), &[io::IoSlice::new(b"x")]).unwrap();
            told.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        drop(told);
        drop(a);
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
