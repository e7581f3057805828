//! Workers that die for want of memory: the error says so if it is proved, and not otherwise.

use super::common::alone::alone;
use super::common::links::on_each_link;
use super::common::proc::{kill, own_pid};
use super::common::watchdog::watchdog;
use super::lost;
use multiproc::{Event, Pool, Process};
use std::path::{Path, PathBuf};
use std::time::Duration;

const MIB: usize = 1 << 20;

/// Takes so much memory and uses it.
fn take(bytes: usize) -> usize {
    let taken = vec![1u8; bytes];
    std::hint::black_box(&taken).iter().step_by(4096).map(|byte| usize::from(*byte)).sum()
}

#[test]
fn an_allocation_beyond_the_limit_is_told_with_the_limit() {
    on_each_link(120, |builder| {
        // The allocator's message, which no backtrace behind it pushes out of the last lines, or the names of functions.
        let limited = || builder().processes(1).memory_limit(64 << 20).env("RUST_BACKTRACE", "full");
        let mut pools = vec![limited().capture_output(true).build().unwrap()];
        if cfg!(feature = "backtrace") {
            pools.push(limited().build().unwrap());
        }
        for pool in pools {
            let error = lost(pool.apply(take, (200 * MIB,)));
            assert!(error.is_out_of_memory() && error.signal() == Some(6), "{error}");
            let text = error.to_string();
            assert!(text.contains("its memory is limited to 64 MiB"), "{text}");
            if cfg!(feature = "backtrace") {
                assert!(text.contains("out of memory: an allocation failed, in `"), "{text}");
                assert!(text.contains("out_of_memory::take"), "{text}");
            }
            assert!(text.contains("; it had ") && text.contains(" MiB that it may have"), "{text}");
            // Enough for this.
            assert_eq!(pool.apply(take, (32 * MIB,)).unwrap(), 32 * MIB / 4096);
            // Other ends do not speak of memory.
            for error in [lost(pool.apply(|| -> () { std::process::abort() }, ())), lost(pool.apply(kill_self, ()))] {
                assert!(!error.is_out_of_memory() && !error.to_string().contains("out of memory:"), "{error}");
                assert!(!error.to_string().contains("limited"), "{error}");
            }
        }
    });
}

fn kill_self() {
    assert!(kill(own_pid()));
}

#[test]
fn who_is_killed_by_another_process_was_not_out_of_memory() {
    on_each_link(120, |builder| {
        let pool = builder().processes(1).build().unwrap();
        let asleep = Event::new();
        let sleep = |asleep: Event| {
            asleep.set();
            std::thread::sleep(Duration::from_secs(1000));
        };
        let result = pool.apply_async(sleep, (asleep.clone(),)).unwrap();
        asleep.wait();
        assert!(kill(pool.worker_pids()[0]));
        let error = result.get().unwrap_err();
        assert!(error.signal() == Some(9) && !error.is_out_of_memory(), "{error}");
    });
}

/// A control group of its own for this process, with a limit of memory; or why there is none.
fn enter_group(limit: usize) -> Result<PathBuf, String> {
    let name = format!("multiproc-deaths-{}", std::process::id());
    let groups = std::fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
    let mut reasons = Vec::new();
    for line in groups.lines() {
        let [_, controllers, own] = line.splitn(3, ':').collect::<Vec<_>>()[..] else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|it| it == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let made = [own.trim_start_matches('/'), ""].iter().find_map(|own| {
            let group = Path::new(root).join(own).join(&name);
            let entered = std::fs::create_dir(&group)
                .and_then(|()| std::fs::write(group.join(file), limit.to_string()))
                .and_then(|()| std::fs::write(group.join("cgroup.procs"), std::process::id().to_string()));
            match entered {
                Ok(()) => Some(group),
                Err(error) => {
                    let _ = std::fs::remove_dir(&group);
                    reasons.push(format!("{}: {error}", group.display()));
                    None
                }
            }
        });
        if let Some(group) = made {
            // In memory alone: what is swapped out does not count.
            for swap in ["memory.swap.max", "memory.swappiness"] {
                let _ = std::fs::write(group.join(swap), "0");
            }
            return Ok(group);
        }
    }
    Err(reasons.join("; "))
}

#[test]
fn a_kill_by_the_kernel_is_told_with_the_limit_of_the_group() {
    if !alone("out_of_memory::a_kill_by_the_kernel_is_told_with_the_limit_of_the_group") {
        return;
    }
    let _watchdog = watchdog(120);
    let early = Pool::new(1).unwrap();
    let group = match enter_group(160 * MIB) {
        Ok(group) => group,
        Err(reason) => {
            println!("not tested: no control group with a limit of memory can be made here: {reason}");
            return;
        }
    };
    // Started in the group that this process was in before.
    assert_eq!(early.apply(take, (MIB,)).unwrap(), MIB / 4096);
    let pool = Pool::new(1).unwrap();
    for _ in 0..2 {
        let error = lost(pool.apply(take, (400 * MIB,)));
        assert!(error.signal() == Some(9) && error.is_out_of_memory(), "{error}");
        let text = error.to_string();
        assert!(text.contains("out of memory: the kernel needed memory for its control group, which may have 160 MiB"));
        assert!(text.contains("; it had used up to 1"), "{text}");
        // The kernel kills for memory, and others kill as well: that is told apart.
        let error = lost(pool.apply(kill_self, ()));
        assert!(error.signal() == Some(9) && !error.is_out_of_memory(), "{error}");
        assert!(error.to_string().ends_with("; no want of memory was counted in its control group"), "{error}");
    }
    let error = Process::spawn(take, (400 * MIB,)).unwrap().join().unwrap_err();
    assert!(error.is_out_of_memory(), "{error}");
    drop((early, pool));
    // The group can be removed when nobody is in it.
    let above = group.parent().unwrap().join("cgroup.procs");
    std::fs::write(above, std::process::id().to_string()).unwrap();
    let start = std::time::Instant::now();
    while std::fs::remove_dir(&group).is_err() && start.elapsed() < Duration::from_secs(10) {
        std::thread::yield_now();
    }
}
