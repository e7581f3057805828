//! Workers in a sandbox: what they may not do, and what they still can.
#![cfg(feature = "sandbox")]

#[path = "../common/mod.rs"]
mod common;

use common::crash::{names_in_order, outer};
use common::fork::in_fork;
use common::links::on_each_link;
use common::seccomp::refuse;
use common::watchdog::watchdog;
use multiproc::{
    Enforcement, Lock, Pool, PoolBuilder, Queue, Sandbox, SandboxPosture, StartMethod, sandbox_posture, worker_number,
};
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;

/// Whether this kernel can do all of it; says so if not.
fn is_possible() -> bool {
    match Pool::builder().processes(1).sandbox(Sandbox::new()).build() {
        Ok(_) => true,
        Err(error) => {
            println!("not tested: {error}");
            false
        }
    }
}

/// A test with each kind of link, under a watchdog, if the kernel can do all.
fn in_sandbox(sandbox: Sandbox, test: impl Fn(&Pool)) {
    if !is_possible() {
        return;
    }
    on_each_link(120, |builder| {
        let pool = builder().processes(2).sandbox(sandbox.clone()).build().unwrap();
        test(&pool);
        pool.close();
        pool.join().unwrap();
    });
}

fn kind<T>(result: std::io::Result<T>) -> Option<String> {
    result.err().map(|error| format!("{:?}", error.kind()))
}

const DENIED: &str = "PermissionDenied";

/// A folder of a test, with a file in it.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("sandbox-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("file"), "text").unwrap();
    folder
}

#[test]
fn there_is_no_network() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let try_all = |address: String| {
        [
            kind(TcpStream::connect(address)),
            kind(TcpListener::bind("127.0.0.1:0")),
            kind(UdpSocket::bind("127.0.0.1:0")),
            kind(std::os::unix::net::UnixStream::pair()),
        ]
    };
    assert_eq!(Pool::new(1).unwrap().apply(try_all, (address.clone(),)).unwrap(), [const { None }; 4]);
    in_sandbox(Sandbox::new().no_network(), |pool| {
        let denied = || Some(DENIED.to_owned());
        assert_eq!(pool.apply(try_all, (address.clone(),)).unwrap(), [denied(), denied(), denied(), None]);
        // Also on a thread.
        let on_a_thread = |address: String| std::thread::spawn(|| kind(TcpStream::connect(address))).join().unwrap();
        assert_eq!(pool.apply(on_a_thread, (address.clone(),)).unwrap(), denied());
    });
}

#[test]
fn files_are_there_as_far_as_allowed() {
    let (readable, writable, other) = (folder("readable"), folder("writable"), folder("other"));
    let sandbox = Sandbox::new().read_only([&readable]).read_write([&writable]);
    let try_all = |readable: PathBuf, writable: PathBuf, other: PathBuf| {
        [
            kind(std::fs::read_to_string(readable.join("file"))),
            kind(std::fs::write(readable.join("file"), "x")),
            kind(std::fs::write(readable.join("new"), "x")),
            kind(std::fs::read_to_string(writable.join("file"))),
            kind(std::fs::write(writable.join("file"), "x")),
            kind(std::fs::remove_file(writable.join("file")).and_then(|()| std::fs::write(writable.join("file"), ""))),
            kind(std::fs::read_to_string(other.join("file"))),
            kind(std::fs::read_dir(&other)),
            kind(std::fs::rename(writable.join("file"), other.join("file2"))),
            kind(std::fs::read_to_string("/etc/passwd")),
        ]
    };
    let args = || (readable.clone(), writable.clone(), other.clone());
    in_sandbox(sandbox, |pool| {
        let seen = pool.apply(try_all, args()).unwrap();
        let allowed = [true, false, false, true, true, true, false, false, false, false];
        for (at, (seen, allowed)) in seen.iter().zip(allowed).enumerate() {
            assert_eq!(seen.is_none(), allowed, "{at}: {seen:?}");
        }
    });
    assert_eq!(std::fs::read_to_string(readable.join("file")).unwrap(), "text");
    for folder in [readable, writable, other] {
        std::fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn there_are_no_new_processes_but_threads() {
    let try_all = || {
        (
            kind(Command::new("/bin/true").status()),
            std::panic::catch_unwind(|| in_fork(false, || 0)).is_err(),
            std::thread::spawn(|| 5).join().unwrap(),
            std::thread::scope(|scope| scope.spawn(worker_number).join().unwrap()),
        )
    };
    in_sandbox(Sandbox::new().no_new_processes(), |pool| {
        let (command, fork, five, number) = pool.apply(try_all, ()).unwrap();
        assert_eq!((command.as_deref(), fork, five), (Some(DENIED), true, 5));
        assert!(number.is_some());
    });
}

#[test]
fn others_cannot_be_reached() {
    use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
    let reach = |pid: i32| {
        let parent = Pid::from_raw(pid).unwrap();
        let open_memory = std::fs::File::open(format!("/proc/{pid}/mem"));
        [
            kill_process(parent, Signal::CONT).is_err(),
            prlimit(Some(parent), Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).is_err(),
            open_memory.is_err(),
            // Itself it may still signal.
            kill_process(rustix::process::getpid(), Signal::CONT).is_ok(),
        ]
    };
    in_sandbox(Sandbox::new(), |pool| {
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(pool.apply(reach, (own,)).unwrap(), [true; 4]);
    });
}

/// All that a worker does otherwise.
fn everything(builder: PoolBuilder) {
    let queue = Queue::<u64>::new();
    let lock = Lock::new();
    let pool = builder.state(|| 0u64, ()).build().unwrap();
    let large = pool.map(|n: usize| vec![n as u8; n], [10, 1 << 20, 80 << 20]).unwrap();
    assert_eq!(large.iter().map(Vec::len).collect::<Vec<_>>(), [10, 1 << 20, 80 << 20]);
    let put = |queue: Queue<u64>, lock: Lock, x: u64| lock.with(|| queue.put(x).is_ok()).unwrap();
    assert!(pool.starmap(put, (0..10).map(|x| (queue.clone(), lock.clone(), x))).unwrap().iter().all(|put| *put));
    let mut got: Vec<u64> = (0..10).map(|_| queue.get().unwrap()).collect();
    got.sort_unstable();
    assert_eq!(got, (0..10).collect::<Vec<_>>());
    assert!(
        pool.on_state()
            .tasks(
                |sum, x: u64| {
                    *sum += x;
                    *sum
                },
                0..10
            )
            .run()
            .is_ok()
    );
    let error = pool.apply(outer, (1,)).unwrap_err();
    assert!(error.task().unwrap().is_worker_lost(), "{error}");
    if cfg!(feature = "backtrace") {
        assert!(names_in_order(&error.to_string(), &["inner", "middle", "outer"]), "{error}");
    }
    // Its successor is in the same sandbox.
    assert!(pool.apply(sandbox_posture, ()).unwrap().unwrap().is_complete());
    pool.close();
    pool.join().unwrap();
}

#[test]
fn all_else_goes_on() {
    if !is_possible() {
        return;
    }
    // In the narrowest one.
    let narrow = || Sandbox::new().no_network().no_new_processes().read_only(["/usr"]);
    on_each_link(240, |builder| {
        everything(builder().processes(2).sandbox(narrow()));
        everything(builder().processes(2).sandbox(narrow()).start_method(StartMethod::Template));
    });
}

#[test]
fn what_is_in_force_is_told_and_less_is_an_error() {
    if !is_possible() {
        return;
    }
    let _watchdog = watchdog(120);
    let posture = |builder: PoolBuilder| -> SandboxPosture {
        builder.build().unwrap().apply(sandbox_posture, ()).unwrap().unwrap()
    };
    let builder = || Pool::builder().processes(1);
    let whole = posture(builder().sandbox(Sandbox::new()));
    assert!(whole.is_complete() && whole.files == Enforcement::Full, "{whole}");
    assert!(builder().build().unwrap().apply(sandbox_posture, ()).unwrap().is_none());
    // A thread that was there before.
    let linger = || drop(std::thread::spawn(std::thread::park));
    let with_thread = || builder().initializer(linger, ());
    let told = posture(with_thread().sandbox(Sandbox::new().allow_degraded()));
    if told.free_threads > 0 {
        assert!(told.free_threads == 1 && !told.is_complete(), "{told}");
        let error = with_thread().sandbox(Sandbox::new()).build().unwrap_err();
        assert!(error.is_start() && error.to_string().contains("1 thread that was started before"), "{error}");
    }
    // A kernel without Landlock.
    let without = || refuse(&[libc::SYS_landlock_create_ruleset], libc::ENOSYS);
    let without = || builder().initializer(without, ());
    let told = posture(without().sandbox(Sandbox::new().read_only(["/usr"]).allow_degraded()));
    assert!(told.files == Enforcement::None && told.system_calls == Enforcement::Full, "{told}");
    let error = without().sandbox(Sandbox::new().read_only(["/usr"])).build().unwrap_err();
    assert!(error.is_start() && error.to_string().contains("the kernel has no Landlock"), "{error}");
    // One without filters.
    let without = || refuse(&[libc::SYS_seccomp], libc::ENOSYS);
    let error = builder().initializer(without, ()).sandbox(Sandbox::new()).build().unwrap_err();
    assert!(error.to_string().contains("system calls are not filtered"), "{error}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let _watchdog = watchdog(60);
    let nowhere = || Sandbox::new().read_only(["/no/such/path"]);
    for sandbox in [nowhere(), nowhere().allow_degraded()] {
        let error = Pool::builder().processes(1).sandbox(sandbox).build().unwrap_err();
        assert!(error.is_start() && error.to_string().contains("/no/such/path"), "{error}");
    }
    let error = Pool::builder().processes(1).sandbox(Sandbox::new()).build_threads().unwrap_err();
    assert!(error.is_invalid_argument() && error.to_string().contains("`sandbox`"), "{error}");
    let error = Pool::builder().inline().sandbox(Sandbox::new()).build().unwrap_err();
    assert!(error.is_invalid_argument() && error.to_string().contains("sandbox"), "{error}");
    assert_eq!(kind(std::fs::read_to_string("/no/such/path")), Some(format!("{:?}", ErrorKind::NotFound)));
}
