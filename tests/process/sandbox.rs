//! Limits and filters of system calls that the program is put under, before its first child or later.

use super::common::alone::{alone, before, is_program, program};
use super::common::proc::eventually;
use super::common::seccomp;
use super::common::watchdog::watchdog;
use multiproc::{LinkKind, Lock, Pool, Process, RawValue, active_children};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::Duration;

/// A task that ends its process, if it is number 5.
fn abort_at_5(x: u64) -> u64 {
    if x == 5 { std::process::abort() } else { x }
}

/// A pool notices the death of a worker, and so does everybody who looks at a process.
fn deaths_are_noticed(pool: &Pool) {
    let results = pool.tasks(abort_at_5, 0..10).chunksize(1).each();
    assert!(results[5].as_ref().unwrap_err().is_worker_lost(), "{results:?}");
}

/// The CPU time that this process has used.
fn cpu_time() -> Duration {
    Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime)).unwrap()
}

#[test]
fn a_lower_limit_on_open_files_hides_no_death() {
    if !alone("sandbox::a_lower_limit_on_open_files_hides_no_death") {
        return;
    }
    let _watchdog = watchdog(60);
    let pool = |link| Pool::builder().processes(6).link(link).build().unwrap();
    let pools = [pool(LinkKind::Ring), pool(LinkKind::Channel)];
    let process = Process::builder().daemon(true).spawn(|| std::thread::sleep(Duration::from_secs(1000)), ()).unwrap();
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), ..before }).unwrap();
    // Waiting costs nothing.
    let before_waiting = cpu_time();
    std::thread::sleep(Duration::from_millis(500));
    let used = cpu_time() - before_waiting;
    assert!(used < Duration::from_millis(200), "{used:?}");
    process.kill();
    process.wait();
    assert!(eventually(Duration::from_secs(20), || active_children().is_empty()));
    // What was running is lost. Without descriptors there may be no other worker for the rest.
    for pool in &pools {
        let results = pool.tasks(abort_at_5, 0..10).chunksize(1).each();
        assert!(results[5].is_err(), "{results:?}");
    }
    setrlimit(Resource::Nofile, before).unwrap();
}

#[test]
fn a_filter_may_refuse_to_poll() {
    if !alone("sandbox::a_filter_may_refuse_to_poll") {
        return;
    }
    let _watchdog = watchdog(60);
    seccomp::refuse(
        &[
            libc::SYS_ppoll,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_poll,
        ],
        libc::EPERM,
    );
    for link in [LinkKind::Ring, LinkKind::Channel] {
        deaths_are_noticed(&Pool::builder().processes(2).link(link).build().unwrap());
    }
    let process = Process::spawn(|| 5, ()).unwrap();
    assert!(process.wait_timeout(Duration::from_secs(30)));
    assert_eq!(process.join().unwrap(), 5);
}

#[test]
fn where_nothing_waits_for_descriptors_the_error_names_the_call() {
    if !alone("sandbox::where_nothing_waits_for_descriptors_the_error_names_the_call") {
        return;
    }
    let _watchdog = watchdog(120);
    let refused = [libc::SYS_epoll_create1, libc::SYS_epoll_pwait];
    seccomp::refuse(&refused, libc::ENOSYS);
    let error = Pool::new(2).unwrap_err();
    assert!(error.to_string().contains("epoll_create1: "), "{error}");
    let error = Process::spawn(|| 5, ()).unwrap_err();
    assert!(error.to_string().contains("epoll_create1: "), "{error}");
}

/// Counts under the lock, slowly: who comes meanwhile falls asleep.
fn count(lock: Lock, total: RawValue<u64>, rounds: u64) {
    for _ in 0..rounds {
        let held = lock.lock().unwrap();
        let seen = total.get();
        (0..100).for_each(|_| std::hint::spin_loop());
        total.set(seen + 1);
        drop(held);
    }
}

/// This process was registered before `main`, and can have nobody fenced; the others cannot even register.
#[test]
fn where_the_kernel_fences_nobody_locks_work() {
    if !alone("sandbox::where_the_kernel_fences_nobody_locks_work") {
        return;
    }
    let _watchdog = watchdog(120);
    seccomp::refuse(&[libc::SYS_membarrier], libc::EPERM);
    let (lock, total) = (Lock::new(), RawValue::new(0));
    let start = || Process::spawn(count, (lock.clone(), total.clone(), 5000)).unwrap();
    let others = [start(), start()];
    count(lock.clone(), total.clone(), 5000);
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!(total.get(), 15_000);
}

#[test]
fn where_memory_files_are_refused_the_channel_link_works() {
    if !alone("sandbox::where_memory_files_are_refused_the_channel_link_works") {
        return;
    }
    let _watchdog = watchdog(120);
    seccomp::refuse(&[libc::SYS_memfd_create], libc::ENOSYS);
    let pool = Pool::builder().processes(2).link(LinkKind::Channel).build().unwrap();
    deaths_are_noticed(&pool);
    let lengths = pool.map(|len: usize| vec![7u8; len], [1, 10_000_000]).unwrap();
    assert_eq!(lengths.iter().map(Vec::len).collect::<Vec<_>>(), [1, 10_000_000]);
    assert_eq!(Process::spawn(|x: u64| x + 1, (1,)).unwrap().join().unwrap(), 2);
}

/// Ends the thread that runs this, and not its process.
fn end_thread() -> u64 {
    seccomp::filter(&[libc::SYS_getppid], libc::SECCOMP_RET_KILL_THREAD);
    u64::from(rustix::process::getppid().is_some())
}

#[test]
fn a_thread_that_ends_without_its_process_is_noticed() {
    let _watchdog = watchdog(60);
    let error = Process::builder().daemon(true).spawn(end_thread, ()).unwrap().join().unwrap_err();
    assert!(error.is_lost() && error.exit_code() == Some(1), "{error}");
    for link in [LinkKind::Ring, LinkKind::Channel] {
        let pool = Pool::builder().processes(1).link(link).build().unwrap();
        assert!(pool.apply(end_thread, ()).unwrap_err().task().unwrap().is_worker_lost());
        assert_eq!(pool.apply(|| 5, ()).unwrap(), 5);
    }
}

#[test]
fn a_filter_may_refuse_signals_by_descriptor() {
    if !alone("sandbox::a_filter_may_refuse_signals_by_descriptor") {
        return;
    }
    let _watchdog = watchdog(60);
    seccomp::refuse(&[libc::SYS_pidfd_send_signal], libc::ENOSYS);
    let sleep = || std::thread::sleep(Duration::from_secs(1000));
    let process = Process::builder().daemon(true).spawn(sleep, ()).unwrap();
    process.terminate();
    process.wait();
    assert_eq!(process.exitcode(), Some(-15));
    process.kill();
    for link in [LinkKind::Ring, LinkKind::Channel] {
        let pool = Pool::builder().processes(1).link(link).build().unwrap();
        let error = pool.task(sleep, ()).timeout(Duration::from_millis(100)).run().unwrap_err();
        assert!(error.task().unwrap().is_timeout(), "{error}");
    }
}

/// Says which system call is refused: its number, and the error.
const REFUSED: &str = "MULTIPROC_TEST_REFUSED";

/// What comes of pools over both links, and of a lock, where a filter refuses a system call.
fn outcomes() -> [Result<(), multiproc::Error>; 3] {
    let refused = std::env::var(REFUSED).unwrap();
    let (call, errno) = refused.split_once(' ').unwrap();
    seccomp::refuse(&[call.parse().unwrap()], errno.parse().unwrap());
    let pool = |link| {
        let pool = Pool::builder().processes(2).link(link).build()?;
        deaths_are_noticed(&pool);
        Ok(())
    };
    let lock = Lock::try_new().map(|lock| drop(lock.lock().unwrap()));
    [pool(LinkKind::Ring), pool(LinkKind::Channel), lock]
}

#[test]
fn the_error_names_the_system_call_that_a_filter_refuses() {
    let name = "sandbox::the_error_names_the_system_call_that_a_filter_refuses";
    if is_program(name) {
        let _watchdog = watchdog(60);
        for (what, outcome) in ["ring", "channel", "lock"].into_iter().zip(outcomes()) {
            println!("{what}: {}", outcome.err().map_or("fine".to_owned(), |error| error.to_string()));
        }
        return;
    }
    let cases = [
        ("memfd_create", libc::SYS_memfd_create, ["memfd_create: ", "fine", "memfd_create: "]),
        ("pidfd_open", libc::SYS_pidfd_open, ["pidfd_open: ", "pidfd_open: ", "fine"]),
        ("sendmsg", libc::SYS_sendmsg, ["sendmsg: ", "sendmsg: ", "fine"]),
        ("recvmsg", libc::SYS_recvmsg, ["recvmsg: ", "recvmsg: ", "fine"]),
        ("socketpair", libc::SYS_socketpair, ["socketpair: ", "socketpair: ", "fine"]),
        ("set_robust_list", libc::SYS_set_robust_list, ["fine", "fine", "set_robust_list: "]),
    ];
    for (call, number, expected) in cases {
        for (errno, cure) in [(libc::EPERM, "a rule forbids it"), (libc::ENOSYS, "hides it")] {
            let output = program(name).env(REFUSED, format!("{number} {errno}")).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{call}: {text}{}", String::from_utf8_lossy(&output.stderr));
            let outcome = |what: &str| {
                let line = text.lines().find_map(|line| Some(line.split_once(what)?.1));
                line.unwrap_or_else(|| panic!("{call}: {text}")).to_owned()
            };
            for (what, expected) in ["ring: ", "channel: ", "lock: "].into_iter().zip(expected) {
                let outcome = outcome(what);
                assert!(outcome.contains(expected), "{call}, {what}{outcome}");
                // Which error it was is not known of this one.
                let is_cured = outcome == "fine" || outcome.contains(cure) || call == "set_robust_list";
                assert!(is_cured, "{call}, {what}{outcome}");
            }
            if call == "memfd_create" {
                assert!(outcome("ring: ").contains("LinkKind::Channel"), "{text}");
            }
        }
    }
}

/// Runs this test alone, where something empty is mounted in the place of a folder. Returns whether that is the case here.
fn without(folder: &str, name: &str) -> bool {
    if is_program(name) {
        return true;
    }
    let mut command = std::process::Command::new("unshare");
    command.args(["-rm", "sh", "-c", &format!("mount -t tmpfs none {folder} && exec \"$0\" \"$@\"")]);
    let output = before(command, &program(name)).output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    // Where there are no namespaces of users, nothing can be mounted.
    if !text[1].starts_with("unshare: ") {
        assert!(output.status.success() && text[0].contains("1 passed"), "{}\n{}", text[0], text[1]);
    }
    false
}

#[test]
fn nothing_of_dev_is_needed() {
    if !without("/dev", "sandbox::nothing_of_dev_is_needed") {
        return;
    }
    let _watchdog = watchdog(60);
    for link in [LinkKind::Ring, LinkKind::Channel] {
        let pool = Pool::builder().processes(2).link(link).build().unwrap();
        deaths_are_noticed(&pool);
        let read = || std::io::stdin().read_line(&mut String::new()).unwrap();
        assert_eq!(pool.apply(read, ()).unwrap(), 0);
    }
    assert_eq!(Process::spawn(|| 5, ()).unwrap().join().unwrap(), 5);
}

#[test]
fn without_proc_the_error_says_so() {
    if !without("/proc", "sandbox::without_proc_the_error_says_so") {
        return;
    }
    let _watchdog = watchdog(60);
    for link in [LinkKind::Ring, LinkKind::Channel] {
        let error = Pool::builder().processes(2).link(link).build().unwrap_err();
        assert!(error.is_start() && error.to_string().contains("/proc must be mounted"), "{error}");
    }
    let error = Process::spawn(|| 5, ()).unwrap_err();
    assert!(error.is_start() && error.to_string().contains("/proc must be mounted"), "{error}");
}

#[test]
fn a_dead_holder_is_noticed_where_a_filter_refuses_to_poll() {
    if !alone("sandbox::a_dead_holder_is_noticed_where_a_filter_refuses_to_poll") {
        return;
    }
    let _watchdog = watchdog(60);
    seccomp::refuse(&[libc::SYS_ppoll], libc::EPERM);
    let lock = Lock::new();
    let hold = |lock: Lock| {
        std::mem::forget(lock.lock());
        std::process::abort()
    };
    let process: Process<()> = Process::spawn(hold, (lock.clone(),)).unwrap();
    process.wait();
    assert!(lock.lock().is_err_and(|error| error.is_owner_died()));
}
