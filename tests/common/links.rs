//! The same test over each kind of link.

use super::watchdog::watchdog;
use multiproc::{LinkKind, Pool, PoolBuilder, ThreadPool};

/// The links that the tests run over. `MULTIPROC_TEST_LINK=ring` (or `channel`) picks one.
const LINKS: [(&str, LinkKind); 2] = [("ring", LinkKind::Ring), ("channel", LinkKind::Channel)];

/// A builder for each link in turn, under a watchdog of `seconds` each.
pub(crate) fn on_each_link(seconds: u64, test: impl Fn(&dyn Fn() -> PoolBuilder)) {
    let wanted = std::env::var("MULTIPROC_TEST_LINK").ok();
    let links = LINKS.iter().filter(|(name, _)| wanted.as_deref().is_none_or(|wanted| wanted == *name));
    for &(name, link) in links {
        let _watchdog = watchdog(seconds);
        // Shown if the test fails.
        println!("link: {name}");
        test(&|| Pool::builder().link(link));
    }
}

/// Like [`on_each_link`], with a pool of `processes` workers.
pub(crate) fn on_each_pool(processes: usize, seconds: u64, test: impl Fn(&Pool)) {
    on_each_link(seconds, |builder| test(&builder().processes(processes).build().unwrap()));
}

/// Like [`on_each_pool`], over the ring alone: for what only it can do, or what takes too long otherwise.
pub(crate) fn on_ring_pool(processes: usize, seconds: u64, test: impl Fn(&Pool)) {
    let _watchdog = watchdog(seconds);
    test(&Pool::new(processes).unwrap());
}

/// Like [`on_each_pool`], and on threads as well: for what has to be the same there.
pub(crate) fn on_processes_and_threads(workers: usize, seconds: u64, test: impl Fn(&Pool)) {
    on_each_pool(workers, seconds, &test);
    let _watchdog = watchdog(seconds);
    println!("threads");
    test(&ThreadPool::new(workers).unwrap());
}
