//! The same test over each kind of link, and with each start method.

use super::watchdog::watchdog;
use multiproc::{LinkKind, Pool, PoolBuilder, StartMethod, ThreadPool};

/// The ways that the tests take: each link, and each start method. `MULTIPROC_TEST_LINK=ring` (or `channel`) and
/// `MULTIPROC_TEST_START=spawn` (or `template`) pick one of each instead. With the feature `cluster`
/// `MULTIPROC_TEST_LINK=nodes` takes workers of two agents on this machine instead.
const WAYS: [(&str, &str); 3] = [("ring", "spawn"), ("channel", "spawn"), ("ring", "template")];

/// The usual reason why a test cannot have its workers on nodes; `tests/cluster/` looks at what is refused there.
pub(crate) const HANDLES: &str = "handles to shared memory and ends of ipc-channel do not travel";

/// How many nodes there are, where workers are on nodes.
pub(crate) const NODES: usize = 2;

/// Whether workers are to be on nodes, where the test that asks cannot hold; says why.
pub(crate) fn on_nodes(why: &str) -> bool {
    if is_on_nodes() {
        println!("skipped on nodes: {why}");
    }
    is_on_nodes()
}

/// Whether workers are to be on nodes.
pub(crate) fn is_on_nodes() -> bool {
    std::env::var("MULTIPROC_TEST_LINK").as_deref() == Ok("nodes")
}

/// Those of the ways that the environment allows.
fn ways(starts: &[&'static str]) -> Vec<(String, String)> {
    let wanted = |name: &str| std::env::var(name).ok();
    let (link, start) = (wanted("MULTIPROC_TEST_LINK"), wanted("MULTIPROC_TEST_START"));
    let mut ways: Vec<(String, String)> = WAYS
        .into_iter()
        .filter(|(_, way)| starts.contains(way))
        .map(|(of_link, of_start)| {
            (link.clone().unwrap_or(of_link.to_owned()), start.clone().unwrap_or(of_start.to_owned()))
        })
        .filter(|(_, start)| starts.contains(&start.as_str()))
        .collect();
    ways.sort();
    ways.dedup();
    ways
}

fn link_of(name: &str) -> LinkKind {
    match name {
        "ring" => LinkKind::Ring,
        "channel" => LinkKind::Channel,
        "nodes" => panic!("MULTIPROC_TEST_LINK=nodes needs the feature `cluster`"),
        other => panic!("MULTIPROC_TEST_LINK is ring, channel or nodes, not {other:?}"),
    }
}

fn start_of(name: &str) -> StartMethod {
    match name {
        "spawn" => StartMethod::Spawn,
        "template" => StartMethod::Template,
        other => panic!("MULTIPROC_TEST_START is spawn or template, not {other:?}"),
    }
}

fn on_each_way(starts: &[&'static str], seconds: u64, test: impl Fn(&dyn Fn() -> PoolBuilder)) {
    #[cfg(feature = "cluster")]
    if is_on_nodes() {
        use multiproc::cluster::Command;
        let _watchdog = watchdog(seconds);
        println!("link: nodes");
        // As many workers as any test wants, and all of them, since tests count on them.
        let nodes = || Command::new("{agent}").nodes(NODES).workers(16);
        return test(&|| Pool::builder().on(nodes()).at_least(usize::MAX));
    }
    for (link, start) in ways(starts) {
        let _watchdog = watchdog(seconds);
        // Shown if the test fails.
        println!("link: {link}, start: {start}");
        test(&|| Pool::builder().link(link_of(&link)).start_method(start_of(&start)));
    }
}

/// A builder for each link and start method in turn, under a watchdog of `seconds` each.
pub(crate) fn on_each_link(seconds: u64, test: impl Fn(&dyn Fn() -> PoolBuilder)) {
    on_each_way(&["spawn", "template"], seconds, test);
}

/// Like [`on_each_link`], with workers that are started afresh alone: for what they do before their first task.
pub(crate) fn on_each_link_spawned(seconds: u64, test: impl Fn(&dyn Fn() -> PoolBuilder)) {
    on_each_way(&["spawn"], seconds, test);
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
