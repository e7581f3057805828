//! What the tests and models of this folder share: a process table of flags, and threads that die at a given step.

use crate::sync::algorithm::word::{Caller, MAX_SLOTS, Owner};
use crate::sys::atomic::{AtomicU32, Ordering};
use std::array;

/// Processes that die when told to.
pub(crate) struct Crowd {
    /// Of each slot: how often it was given to another process, doubled; odd = dead.
    lives: [AtomicU32; MAX_SLOTS + 1],
}

impl Crowd {
    pub(crate) fn new() -> Crowd {
        Crowd { lives: array::from_fn(|_| AtomicU32::new(0)) }
    }

    pub(crate) fn party(&self, slot: u16, thread: u16) -> Party<'_> {
        // As in the process table, a process knows itself since before anybody could have killed it.
        let generation = (self.lives[usize::from(slot)].load(Ordering::Relaxed) / 2) as u8;
        Party { crowd: self, me: Owner::new(slot, generation, thread), stamp: thread.into() }
    }

    pub(crate) fn kill(&self, slot: u16) {
        // SYNC: death
        self.lives[usize::from(slot)].fetch_or(1, Ordering::AcqRel);
    }

    /// Gives the slot of a dead process to a living one.
    #[cfg(not(loom))]
    pub(crate) fn revive(&self, slot: u16) {
        self.lives[usize::from(slot)].fetch_add(1, Ordering::AcqRel);
    }
}

/// A thread of one of them.
#[derive(Clone, Copy)]
pub(crate) struct Party<'a> {
    crowd: &'a Crowd,
    me: Owner,
    stamp: u32,
}

#[cfg(not(loom))]
impl Party<'_> {
    /// Another thread of the same process that has the same number.
    pub(crate) fn namesake(self) -> Self {
        Party { stamp: self.stamp + 1, ..self }
    }
}

impl Caller for Party<'_> {
    fn me(&self) -> Owner {
        self.me
    }

    fn stamp(&self) -> u32 {
        self.stamp
    }

    fn is_dead(&self, slot: u16) -> bool {
        // SYNC: death
        self.crowd.lives.get(usize::from(slot)).is_none_or(|lives| lives.load(Ordering::Acquire) % 2 != 0)
    }

    fn has_died(&self, owner: Owner) -> bool {
        // SYNC: death
        let lives = self.crowd.lives.get(usize::from(owner.slot()));
        lives.is_none_or(|lives| lives.load(Ordering::Acquire) as u8 != owner.generation() << 1)
    }
}

/// Runs a model through all interleavings with at most so many preemptions.
#[cfg(loom)]
pub(crate) fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// Threads that stop for good at a given point, as if killed there.
#[cfg(not(loom))]
pub(crate) mod kill {
    use super::{Crowd, Party};
    use std::cell::Cell;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    thread_local! {
        /// Points left until the end, and whom to tell.
        static LIFE: Cell<Option<(u32, Sender<bool>, &'static Crowd)>> = const { Cell::new(None) };
    }

    /// The slot of the victim.
    pub(crate) const VICTIM: u16 = 1;

    /// A point at which a thread can be killed.
    pub(crate) fn point() {
        let Some((left, tell, crowd)) = LIFE.take() else { return };
        if left > 0 {
            return LIFE.set(Some((left - 1, tell, crowd)));
        }
        crowd.kill(VICTIM);
        let _ = tell.send(true);
        // Not unwinding: a killed process drops nothing.
        loop {
            std::thread::park();
        }
    }

    /// The thread that is to die.
    pub(crate) struct Victim {
        after: u32,
        crowd: &'static Crowd,
        tell: Sender<bool>,
        told: Receiver<bool>,
    }

    /// It has been started.
    pub(crate) struct Started {
        told: Receiver<bool>,
        thread: std::thread::JoinHandle<()>,
    }

    impl Victim {
        pub(crate) fn run(self, body: impl FnOnce(&Party<'static>) + Send + 'static) -> Started {
            let Victim { after, crowd, tell, told } = self;
            let thread = std::thread::spawn(move || {
                LIFE.set(Some((after, tell.clone(), crowd)));
                body(&crowd.party(VICTIM, 1));
                LIFE.set(None);
                let _ = tell.send(false);
            });
            Started { told, thread }
        }
    }

    impl Started {
        /// Waits for its end; whether it was killed.
        pub(crate) fn wait(self) -> bool {
            let killed = self.told.recv_timeout(Duration::from_secs(20)).expect("the victim hangs or has panicked");
            if !killed {
                self.thread.join().unwrap();
            }
            killed
        }
    }

    /// Runs the scenario on a fresh header again and again, with a victim that dies at its first point, at its second,
    /// and so on, until it lives to the end; the scenario says whether it was killed. Gives the number of points.
    ///
    /// How many points there are depends on who is faster, so it must live to the end some times in a row.
    pub(crate) fn at_every_step<H: Sync + 'static>(
        make: impl Fn() -> H,
        scenario: impl Fn(&'static Crowd, &'static H, Victim) -> bool,
    ) -> u32 {
        let mut steps = 0;
        for after in 0..1000 {
            if once(&make, after, &scenario) {
                steps = after + 1;
            } else if after >= steps + 2 {
                // For the table in docs/reliability.md.
                println!("killed at {steps} steps: {}", std::thread::current().name().unwrap_or_default());
                return steps;
            }
        }
        panic!("the victim never ends");
    }

    /// Runs the scenario once, with a victim that dies after so many points.
    pub(crate) fn once<H: Sync + 'static, R>(
        make: impl Fn() -> H,
        after: u32,
        scenario: impl Fn(&'static Crowd, &'static H, Victim) -> R,
    ) -> R {
        // Leaked, since the killed threads stay.
        let (crowd, header) = (&*Box::leak(Box::new(Crowd::new())), &*Box::leak(Box::new(make())));
        let (tell, told) = channel();
        scenario(crowd, header, Victim { after, crowd, tell, told })
    }
}
