//! The end of a pool: close, drain, terminate, join; one small state machine.
//!
//! `Running` → `Closing` (no new calls; workers leave after the last one, or in a pool that drains, after their current tasks)
//! → `Ending` (workers told to end, then killed); `Running` may go to `Ending` directly. A pool is over when every place is
//! vacant.

use crate::engine::call::job::Halt;
use crate::engine::core::driver::Driver;
use crate::engine::core::state::{Core, Engine, Phase};
use crate::engine::core::worker_slot::{LOOK, State};
use crate::engine::launch::body::Body;
use crate::engine::watch::records;
use crate::error::Error;
use crate::sys::child::ChildSignal;
use crate::sys::thread;
use crate::sys::time::Deadline;
use parking_lot::MutexGuard;
use std::sync::Arc;

impl Engine {
    /// Takes no more calls.
    pub(crate) fn close(&self) {
        if !self.is_original() {
            return;
        }
        let mut core = self.core.lock();
        if matches!(core.phase, Phase::Running) {
            core.phase = Phase::Closing { draining: false };
            core.maybe_stop();
            self.background.notify_one();
        }
        drop(core);
        self.let_nobody_wait();
    }

    /// Those who wait for room for a call learn that the pool takes none.
    fn let_nobody_wait(&self) {
        self.gate.iter().for_each(|gate| gate.give_up());
    }

    /// Takes no more calls, cancels all tasks that have not begun, and lets the others end. Returns at once.
    pub(crate) fn begin_to_drain(&self) {
        if !self.is_original() {
            return;
        }
        let mut core = self.core.lock();
        if matches!(core.phase, Phase::Ending { .. }) || core.is_draining() {
            return;
        }
        core.phase = Phase::Closing { draining: true };
        core.cancel_all_that_waits();
        core.maybe_stop();
        // Threads that wait have no more input to hand in, or an outcome to take.
        core.seat.wake_line();
        if core.seat.is_taken() {
            self.bell.ring();
        }
        self.hand_over(&mut core);
        self.background.notify_one();
        self.let_nobody_wait();
    }

    /// Drains the pool and waits until every worker has ended; those that still live at the deadline are told to end, as by
    /// [`Engine::terminate`]. Returns whether there were none.
    pub(crate) fn drain(&self, deadline: Deadline) -> bool {
        self.begin_to_drain();
        // Cannot fail: it is not running any more.
        if self.join(deadline).unwrap_or(false) {
            return true;
        }
        self.terminate();
        let _ = self.join(Deadline::NEVER);
        false
    }

    /// Ends all calls and all workers.
    pub(crate) fn terminate(&self) {
        if !self.is_original() {
            return;
        }
        let mut core = self.core.lock();
        self.end(&mut core, Halt::Terminated);
    }

    /// Resolves every call with `halt`, and tells the workers to end.
    pub(crate) fn end(&self, core: &mut Core, halt: Halt) {
        if matches!(core.phase, Phase::Ending { .. }) {
            return;
        }
        core.phase = Phase::Ending { halt: halt.clone(), kill_at: Deadline::after(self.grace) };
        self.launcher.end();
        core.queue.clear_frames();
        for job in core.queue.jobs() {
            job.halt(halt.clone());
        }
        for worker in core.workers.iter_mut().filter(|worker| worker.state != State::Vacant) {
            let before = std::mem::replace(&mut worker.state, State::Leaving);
            if let Some(link) = &worker.link {
                link.cancel_all();
            }
            match &worker.body {
                // What it is we know when it is heard of: a process is killed then.
                None => {}
                // It is told when it is ready.
                Some(Body::Thread) if before == State::Starting => {}
                Some(Body::Thread) => worker.send_away(),
                Some(body) => _ = body.tell_to_end(),
            }
        }
        if core.seat.is_taken() {
            self.bell.ring();
        }
        self.background.notify_one();
        self.workforce.notify_all();
        self.let_nobody_wait();
    }

    /// Waits until every worker has ended. Returns whether that came true before the deadline.
    ///
    /// # Errors
    ///
    /// The pool was neither closed nor terminated, or this is a fork of the process that made it.
    pub(crate) fn join(&self, deadline: Deadline) -> Result<bool, Error> {
        self.check_generation()?;
        let mut core = self.core.lock();
        if matches!(core.phase, Phase::Running) {
            return Err(Error::still_running());
        }
        while !core.workers.all_vacant() {
            // What is left to be done by a worker that is no thread of its own; another thread may be at it.
            if self.runs_here && MutexGuard::unlocked(&mut core, || self.launcher.step()) {
                continue;
            }
            if deadline.passed() {
                return Ok(false);
            }
            let look_again = if self.runs_here { deadline.earlier(Deadline::after(LOOK)) } else { deadline };
            look_again.wait(&self.workforce, &mut core);
        }
        drop(core);
        // A pool that was closed has not told it to yet.
        self.launcher.end();
        if !self.launcher.wait(deadline) {
            return Ok(false);
        }
        if let Some(capture) = &self.capture {
            capture.flush();
        }
        records::flush(deadline);
        self.write_report();
        Ok(true)
    }

    /// Starts all workers and waits until each is ready, or as many as the launcher says.
    ///
    /// # Errors
    ///
    /// One could not start, or too few were ready in time; the others were ended then.
    pub(crate) fn build(self: &Arc<Self>) -> Result<(), Error> {
        let mut driver = Driver::new(self, None);
        driver.core.seat.close();
        let outcome = driver.start_all();
        driver.core.seat.open();
        let mut core = driver.core;
        match &outcome {
            Ok(()) => core.workers.set_built(),
            Err(_) => self.end(&mut core, Halt::Terminated),
        }
        let engine = Arc::clone(self);
        let background = std::thread::Builder::new().name("multiproc-pool".to_owned()).stack_size(256 * 1024);
        let spawned = thread::spawn(background, move || engine.background());
        if let (Err(error), Ok(())) = (spawned, &outcome) {
            // Without its thread nobody would mind the workers.
            self.end(&mut core, Halt::Terminated);
            core.workers.iter().for_each(|worker| worker.signal(ChildSignal::Kill));
            return Err(Error::start(format!("the pool's thread could not be started: {error}")));
        }
        drop(core);
        if outcome.is_err() {
            self.join(Deadline::after(2 * self.grace))?;
        }
        outcome
    }
}

impl Core {
    /// Cancels all tasks that have not begun.
    fn cancel_all_that_waits(&mut self) {
        let jobs = self.queue.jobs().to_vec();
        for job in &jobs {
            job.drain();
            if job.submission.lock().take().is_some() {
                // All that it has handed in may have ended.
                self.finish(job);
            }
        }
        for queued in self.queue.take_frames() {
            self.cancel_tasks(&queued.range);
        }
        for at in 0..self.workers.len() {
            // The oldest may have begun as well as not: taking it back tells.
            let frames = self.workers[at].window.all();
            self.take_back(at, frames);
        }
        for job in &jobs {
            job.changed.notify_all();
        }
    }
}

impl Driver<'_> {
    /// Starts all workers, and waits until every one is ready, or as many as the launcher says.
    ///
    /// # Errors
    ///
    /// One could not start, or too few were ready in time.
    fn start_all(&mut self) -> Result<(), Error> {
        let (enough, until) = self.engine.launcher.quorum().unwrap_or((usize::MAX, Deadline::NEVER));
        let mut places = 0..self.core.workers.len();
        loop {
            while let Some(news) = self.core.seat.next_news() {
                self.hear(news);
            }
            if let Some(error) = self.core.workers.start_failure() {
                return Err(error.clone());
            }
            let room = match places.len() {
                0 => 0,
                _ => self.engine.launcher.most_at_once().saturating_sub(self.core.workers.to_come()),
            };
            for at in places.by_ref().take(room) {
                self.engine.fill(&mut self.core, at);
            }
            if self.core.seat.has_news() {
                // Such as that one could not be started.
                continue;
            }
            if self.core.workers.all_ready() || enough < usize::MAX && self.core.workers.ready() >= enough {
                return Ok(());
            }
            if self.run_here() {
                continue;
            }
            if until.passed() {
                let ready = self.core.workers.ready();
                return Err(Error::start(format!("{ready} of {enough} workers were ready in time")));
            }
            // Cannot last even without a limit: every child that was started becomes ready, ends, or is killed at its deadline,
            // and each of these is news.
            until.wait(&self.engine.workforce, &mut self.core);
        }
    }
}
