//! The thread that sleeps at queues on behalf of others: of those who wait for descriptors as well, and of those who do not
//! wait in a thread at all.
//!
//! A queue has no descriptor, so nothing that waits for descriptors can wait for it. A descriptor in each queue would cost
//! each process one for each queue, and whoever puts a system call for each item. Instead this process has one thread more
//! as soon as somebody wants to be told of a queue. It sleeps like any other taker, at all these queues at once
//! (`futex_waitv(2)`), and *rings*: it makes a descriptor readable, or wakes the task that waits. Whoever puts notices
//! nothing but a taker that sleeps; and while nobody wants to be told, not even that.
//!
//! Somebody is told once, and then wants to be told again or not. So a queue at which nobody looks wakes no one.

use super::core::Place;
use crate::error::Error;
use crate::heap::held;
use crate::sync::algorithm::sleepers::Sleepers;
use crate::sync::this_thread::ThisThread;
use crate::sys::atomic::{AtomicU32, Ordering};
use crate::sys::fork::fork_generation;
use crate::sys::futex::{self, Slices};
use crate::sys::poll::Waker;
use crate::sys::thread;
use crate::sys::time::Deadline;
use parking_lot::Mutex;
#[cfg(feature = "stream")]
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

/// A queue to take from, and what stands for those who put: it holds neither end of a channel.
#[derive(Clone)]
pub(super) struct Inlet {
    place: Place,
    /// What a place would say that held the block that stands for the other end, if there is one.
    other: Option<u64>,
}

impl Inlet {
    pub(super) fn new(place: &Place, other: Option<u64>) -> Inlet {
        Inlet { place: place.clone(), other }
    }

    /// Whether something can be taken, or will never be.
    pub(super) fn is_ready(&self) -> bool {
        self.place.queue().is_ready(|| self.other.is_some_and(|other| !held::is_held(other)))
    }

    pub(super) fn takers(&self) -> &Sleepers {
        self.place.queue().takers()
    }

    /// The calling thread has announced itself to the takers, and takes nothing.
    pub(super) fn pass_on(&self) {
        self.place.queue().pass_on();
    }
}

/// How somebody wants to be told.
pub(super) enum Bell {
    /// The descriptor becomes readable.
    Descriptor(Arc<Waker>),
    /// The task is woken.
    #[cfg(feature = "stream")]
    Task(Mutex<Option<std::task::Waker>>),
}

impl Bell {
    fn ring(&self) {
        match self {
            Bell::Descriptor(waker) => waker.wake(),
            #[cfg(feature = "stream")]
            Bell::Task(task) => {
                let task = task.lock().take();
                // It is code of the runtime's. Whatever it does, the others are told all the same.
                let _ = std::panic::catch_unwind(AssertUnwindSafe(|| task.map(std::task::Waker::wake)));
            }
        }
    }
}

/// Somebody wants to be told of a queue, as long as this lives.
pub(super) struct Watch {
    wish: Arc<Wish>,
    /// In a fork there is no such thread, and its lock may be held for ever.
    generation: u32,
}

struct Wish {
    inlet: Inlet,
    bell: Bell,
}

impl Watch {
    /// Nobody is told yet.
    ///
    /// # Errors
    ///
    /// This process has no part in shared memory.
    pub(super) fn new(inlet: Inlet, bell: Bell) -> Result<Watch, Error> {
        ThisThread::new()?;
        Ok(Watch { wish: Arc::new(Wish { inlet, bell }), generation: fork_generation() })
    }

    pub(super) fn inlet(&self) -> &Inlet {
        &self.wish.inlet
    }

    #[cfg(feature = "stream")]
    pub(super) fn bell(&self) -> &Bell {
        &self.wish.bell
    }

    /// Tells once as soon as something can be taken, or will never be: at once, if that is so already.
    ///
    /// # Errors
    ///
    /// The thread for it cannot be started, or this process is a fork.
    pub(super) fn arm(&self) -> Result<(), Error> {
        ThisThread::new()?;
        let watcher = Watcher::running()?;
        let mut wishes = watcher.wishes.lock();
        if !wishes.iter().any(|wish| Arc::ptr_eq(wish, &self.wish)) {
            wishes.push(Arc::clone(&self.wish));
            watcher.stir();
        }
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.generation != fork_generation() {
            return;
        }
        if let Some(watcher) = WATCHER.get() {
            let mut wishes = watcher.wishes.lock();
            let before = wishes.len();
            wishes.retain(|wish| !Arc::ptr_eq(wish, &self.wish));
            if wishes.len() < before {
                watcher.stir();
            }
        }
    }
}

static WATCHER: OnceLock<Watcher> = OnceLock::new();

/// What the thread and the others share.
struct Watcher {
    /// Who wants to be told.
    wishes: Mutex<Vec<Arc<Wish>>>,
    /// Grows whenever that changes; the thread sleeps at it, too.
    changes: AtomicU32,
}

impl Watcher {
    /// The watcher of this process, whose thread runs.
    fn running() -> Result<&'static Watcher, Error> {
        static STARTING: Mutex<bool> = Mutex::new(false);
        let watcher = WATCHER.get_or_init(|| Watcher { wishes: Mutex::default(), changes: AtomicU32::new(0) });
        let mut is_running = STARTING.lock();
        if !*is_running {
            let builder = std::thread::Builder::new().name("multiproc-watch".to_owned()).stack_size(128 * 1024);
            // It never ends.
            drop(thread::spawn(builder, || watcher.watch())?);
            *is_running = true;
        }
        Ok(watcher)
    }

    /// The wishes have changed.
    fn stir(&self) {
        // The wishes themselves are published by their lock, which is held; this only keeps the thread from sleeping.
        self.changes.fetch_add(1, Ordering::Relaxed);
        futex::wake(&self.changes, 1);
    }

    fn watch(&self) {
        let mut slices = Slices::new(Deadline::NEVER);
        let mut open: Vec<Arc<Wish>> = Vec::new();
        loop {
            // A wish that comes from here on ends the sleep below.
            let changes = self.changes.load(Ordering::Relaxed);
            let before = std::mem::replace(&mut open, self.wishes.lock().clone());
            // A wake-up that came for one that is no longer here was meant for somebody who still sleeps.
            let is_gone = |wish: &&Arc<Wish>| !open.iter().any(|other| Arc::ptr_eq(wish, other));
            before.iter().filter(is_gone).for_each(|wish| wish.inlet.pass_on());
            if open.is_empty() {
                futex::wait(&self.changes, changes, Deadline::NEVER);
                continue;
            }
            Sleepers::announce_at(open.iter().map(|wish| wish.inlet.takers()), &mut slices);
            let (ready, waiting): (Vec<_>, Vec<_>) = open.drain(..).partition(|wish| wish.inlet.is_ready());
            self.tell(&ready);
            open = waiting;
            Sleepers::sleep_at(
                open.iter().map(|wish| wish.inlet.takers()),
                Some((&self.changes, changes)),
                &mut slices,
            );
        }
    }

    /// Tells those who wanted to be told of these, unless they do not want it any more.
    fn tell(&self, ready: &[Arc<Wish>]) {
        if ready.is_empty() {
            return;
        }
        let is_ready = |wish: &Arc<Wish>| ready.iter().any(|other| Arc::ptr_eq(wish, other));
        let told: Vec<_> = {
            let mut wishes = self.wishes.lock();
            let (told, others) = wishes.drain(..).partition(is_ready);
            *wishes = others;
            told
        };
        told.iter().for_each(|wish| wish.bell.ring());
        ready.iter().for_each(|wish| wish.inlet.pass_on());
    }
}
