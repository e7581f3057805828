//! A pool to whose way to one of two nodes things happen, while tasks run on both.

use crate::agents::{Agent, Events};
use crate::common::journal::{self, Journal};
use crate::common::proc::{eventually, is_alive};
use crate::faults::{agents, check_runs, wait_until};
use multiproc::cluster::{Listen, NodeEventKind};
use multiproc::{Pool, TaskError};
use std::time::Duration;

/// A pool of two workers, and what is known of it.
pub(crate) struct Lab {
    pub(crate) pool: Pool,
    pub(crate) journal: Journal,
    pub(crate) events: Events,
    /// The process id of the worker to which things happen, and of its agent.
    pub(crate) far: (u32, i32),
    _agents: [Agent; 2],
}

impl Lab {
    /// Starts two agents by these commands, of one worker each.
    pub(crate) fn new(on: Listen, near: &str, far: &str, lost_after: Duration) -> Lab {
        let (journal, events) = (Journal::new(), Events::default());
        let (near, far) = (Agent::start(near), Agent::start(far));
        let pool = Pool::builder().on(on.nodes(2)).processes(2).at_least(2).lost_after(lost_after);
        let pool = pool.initializer(journal::open_in_worker, (journal.path(),));
        let pool = events.hear(pool).build().unwrap();
        let worker = agents(&pool).into_iter().find(|(_, agent)| *agent == far.pid()).unwrap();
        Lab { pool, journal, events, far: worker, _agents: [near, far] }
    }

    /// Runs so many tasks of some milliseconds; `meanwhile` is called when some of them are done.
    pub(crate) fn run(&self, tasks: u64, meanwhile: impl FnOnce()) -> Vec<Result<u64, TaskError>> {
        let before = self.journal.read().len();
        let work = |task: u64| {
            journal::write(0, task);
            std::thread::sleep(Duration::from_millis(4));
            task
        };
        let results = std::thread::scope(|scope| {
            let call = scope.spawn(move || self.pool.tasks(work, 0..tasks).chunksize(1).each());
            wait_until("some tasks are done", || self.journal.read().len() > before + 20);
            meanwhile();
            call.join().unwrap()
        });
        check_runs(&self.journal, &results);
        results
    }

    /// Some tasks were lost: those that were under way to the far worker.
    pub(crate) fn check_loss(&self, results: &[Result<u64, TaskError>]) {
        let lost: Vec<&TaskError> = results.iter().filter_map(|result| result.as_ref().err()).collect();
        assert!((1..100).contains(&lost.len()), "{lost:?}");
        assert!(lost.iter().all(|error| error.worker() == Some(self.far.0 as i32)), "{lost:?}");
        self.events.expect(NodeEventKind::Lost, "");
    }

    /// The far agent and its worker end by themselves, in time.
    pub(crate) fn far_ends(&self) -> bool {
        eventually(Duration::from_secs(30), || !is_alive(self.far.0 as i32) && !is_alive(self.far.1))
    }
}
