//! Many processes change a map and a list while one after the other is killed, wherever it happens to be. What all had done
//! before is there in the end.

use super::common::alone::alone;
use super::common::proc::{eventually, kill};
use super::common::watchdog::watchdog;
use multiproc::{Process, RawArray, SharedDict, SharedList, shared_memory_report};
use std::time::{Duration, Instant};

const CREW: usize = 6;

/// How long it goes on; longer with MULTIPROC_LONG=1.
fn limit() -> Duration {
    Duration::from_secs(if std::env::var_os("MULTIPROC_LONG").is_some() { 60 } else { 4 })
}

/// Kills one after the other of a crew whose members count what they have done; how many.
fn storm(done: &RawArray<u64>, spawn: impl Fn(usize) -> Process<()>) -> usize {
    let mut crew: Vec<_> = (0..CREW).map(&spawn).collect();
    let (start, mut kills) = (Instant::now(), 0);
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    while start.elapsed() < limit() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let victim = (random >> 33) as usize % CREW;
        let before = done.get(victim);
        assert!(eventually(Duration::from_secs(20), || done.get(victim) > before + 10), "{victim} hangs");
        kill(crew[victim].pid());
        crew[victim].wait();
        assert_eq!(crew[victim].exitcode(), Some(-9), "it has ended before it was killed");
        crew[victim] = spawn(victim);
        kills += 1;
    }
    for process in &crew {
        kill(process.pid());
        process.wait();
    }
    let is_quiet = || {
        let report = shared_memory_report().unwrap();
        report.damage.is_empty() && report.lost <= kills + CREW
    };
    assert!(eventually(Duration::from_secs(20), is_quiet), "{:?}", shared_memory_report());
    println!("{kills} killed, {} steps", done.read(..).iter().sum::<u64>());
    kills
}

#[test]
fn a_map() {
    if !alone("kills::a_map") {
        return;
    }
    let _watchdog = watchdog(180);
    let (map, done) = (SharedDict::<(usize, u64), String>::new(), RawArray::<u64>::new(CREW));
    let work = |map: SharedDict<(usize, u64), String>, done: RawArray<u64>, who: usize| -> () {
        loop {
            let number = done.get(who);
            let text = "x".repeat(number as usize % 90);
            map.insert((who, number), text.clone()).unwrap();
            // An entry that all change, and that is large now and then.
            let shared = map.update(&(99, 0), |all| {
                let all = all.get_or_insert_default();
                all.push('.');
                if all.len() > 100 {
                    all.clear();
                }
            });
            shared.unwrap();
            if number >= 100 {
                let old = map.remove(&(who, number - 100)).unwrap();
                assert!(old.is_none_or(|old| old.len() == (number as usize - 100) % 90));
            }
            done.set(who, number + 1);
        }
    };
    let kills = storm(&done, |who| Process::spawn(work, (map.clone(), done.clone(), who)).unwrap());
    for who in 0..CREW {
        let done = done.get(who);
        // One that was killed at the end may have taken the one out that is 100 before its number, and not have counted that.
        for number in done.saturating_sub(99)..done {
            assert_eq!(map.get(&(who, number)).unwrap().map(|text| text.len()), Some(number as usize % 90));
        }
    }
    // And nothing that was taken out, but for what was just put in or not yet taken out.
    assert!(map.len().unwrap() <= CREW * 102 + 1, "{}", map.len().unwrap());
    assert!(kills > 5);
    assert_eq!(map.iter().unwrap().len(), map.len().unwrap());
}

#[test]
fn a_list() {
    if !alone("kills::a_list") {
        return;
    }
    let _watchdog = watchdog(180);
    let (list, done) = (SharedList::<(usize, u64, String)>::new(), RawArray::<u64>::new(CREW));
    let work = |list: SharedList<(usize, u64, String)>, done: RawArray<u64>, who: usize| -> () {
        loop {
            let number = done.get(who);
            let text = "x".repeat(number as usize % 90);
            list.insert(number as usize % 50, (who, number, text)).unwrap();
            if list.len().unwrap() > 200 {
                list.remove(number as usize % 150).unwrap();
            }
            list.update(number as usize % 70, |item| item.2.push('y')).unwrap();
            done.set(who, number + 1);
        }
    };
    let kills = storm(&done, |who| Process::spawn(work, (list.clone(), done.clone(), who)).unwrap());
    let items: Vec<_> = list.iter().unwrap().collect();
    // Who was killed between putting in and taking out leaves one more.
    assert!(items.len() > 150 && items.len() <= 200 + CREW + kills, "{}", items.len());
    assert!(kills > 5);
    for (who, number, text) in items {
        assert!(number <= done.get(who));
        assert_eq!(text.trim_end_matches('y').len(), number as usize % 90);
    }
}
