//! Items with keys, when the node goes where their worker is.

use crate::common::journal::{self, Journal};
use crate::common::proc::{is_alive, kill};
use crate::common::watchdog::watchdog;
use crate::faults::{nodes, wait_until};
use multiproc::{Pool, worker_number};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

const KEYS: u64 = 12;

/// The worker of each key, and the agent that it has come from.
fn places(pool: &Pool) -> BTreeMap<u64, (usize, i32)> {
    let at = |_: u64| (worker_number().unwrap(), std::os::unix::process::parent_id() as i32);
    (0..).zip(pool.tasks(at, 0..KEYS).keyed(|key| *key).run().unwrap()).collect()
}

#[test]
fn the_keys_of_a_lost_node_go_elsewhere_in_order_and_come_back() {
    let _watchdog = watchdog(180);
    let journal = Journal::new();
    // Nothing is started on a node as long as this file is there.
    let away = journal.path() + ".away";
    let pool = nodes(&format!("[ ! -e {away} ] && exec {{agent}}"))
        .initializer(journal::open_in_worker, (journal.path(),))
        .build()
        .unwrap();
    let before = places(&pool);
    assert_eq!(before.values().collect::<BTreeSet<_>>().len(), 2, "{before:?}");
    let (lost, agent) = before[&0];

    let work = |x: u64| {
        journal::write(worker_number().unwrap() as u32, x);
        std::thread::sleep(std::time::Duration::from_millis(3));
        (x, worker_number().unwrap())
    };
    let results = std::thread::scope(|scope| {
        let call = scope.spawn(|| pool.tasks(work, 0..100 * KEYS).keyed(|x| x % KEYS).each());
        wait_until("the first tasks have begun", || journal.read().len() > 100);
        fs::write(&away, "").unwrap();
        assert!(kill(agent));
        call.join().unwrap()
    });
    wait_until("the agent is gone", || !is_alive(agent));

    // The other node has lost nothing and kept its keys; it has got those of the lost one, which has lost what was under way.
    let mut moved = BTreeSet::new();
    for (x, result) in (0..).zip(&results) {
        let (place, _) = before[&(x % KEYS)];
        match result {
            Ok((value, at)) if place != lost => assert_eq!((*value, *at), (x, place)),
            Ok((value, at)) => {
                assert_eq!(*value, x);
                moved.extend((*at != lost).then_some(x % KEYS));
            }
            Err(error) => assert!(place == lost && error.is_worker_lost() && error.may_have_run(), "{x}: {error}"),
        }
    }
    let of_lost: BTreeSet<u64> = before.iter().filter(|(_, (place, _))| *place == lost).map(|(key, _)| *key).collect();
    assert_eq!(moved, of_lost);
    // Whichever worker it was, the tasks of a key were begun in the order of the input, none of them twice.
    let mut last = BTreeMap::new();
    for entry in journal.read() {
        let before = last.insert(entry.task % KEYS, entry.task);
        assert!(before.is_none_or(|before| before < entry.task), "{} was begun behind {before:?}", entry.task);
    }

    fs::remove_file(&away).unwrap();
    wait_until("the node is back, with its keys", || {
        let now = places(&pool);
        now.iter().all(|(key, (place, _))| before[key].0 == *place)
    });
}
