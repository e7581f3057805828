//! Hosts that are reached by ssh: a real client, and real servers on this machine.

use crate::common::alone::write_program;
use crate::common::proc::eventually;
use crate::common::sshd::Hosts;
use crate::common::watchdog::watchdog;
use multiproc::cluster::{NodeEvent, NodeEventKind, Ship, Ssh};
use multiproc::{Error, Pool};
use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What has happened to nodes.
type Events = Arc<Mutex<Vec<NodeEvent>>>;

/// The copies of programs in the cache of a host.
fn copies(hosts: &Hosts, at: usize) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(hosts.home(at).join(".cache/multiproc"));
    folder.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

/// Why no pool can be built on these hosts, and what was told of each before that.
fn failure(ssh: Ssh) -> (Error, Vec<NodeEvent>) {
    let events = Events::default();
    let heard = Arc::clone(&events);
    let builder = Pool::builder().on(ssh.workers(1)).within(Duration::from_secs(30));
    let error = builder.on_node(move |event| heard.lock().unwrap().push(event.clone())).build().unwrap_err();
    assert!(error.is_start(), "{error}");
    let events = events.lock().unwrap().clone();
    (error, events)
}

#[test]
fn three_hosts_are_one_pool_and_have_the_program_once() {
    let _watchdog = watchdog(120);
    let Some(hosts) = Hosts::start(3) else { return };
    let build = || {
        let ssh = hosts.ssh().workers(2).agent_env("COLOUR", "blue and 'green'");
        Pool::builder().on(ssh).at_least(6).within(Duration::from_secs(90)).build().unwrap()
    };
    let pool = build();
    assert_eq!(pool.processes(), 6);
    assert_eq!(pool.map(|x: u64| x * x, 0..10_000).unwrap(), (0..10_000).map(|x| x * x).collect::<Vec<u64>>());
    let workers = pool.stats().workers;
    let names: BTreeSet<String> = workers.iter().filter_map(|worker| worker.host.clone()).collect();
    assert_eq!(names, hosts.names().into_iter().collect::<BTreeSet<_>>());
    let colour = pool.apply(|| std::env::var("COLOUR").unwrap_or_default(), ()).unwrap();
    assert_eq!(colour, "blue and 'green'");
    let error = pool.apply(|| std::process::abort(), ()).map(|(): ()| ()).unwrap_err();
    let host = error.task().unwrap().host().unwrap().to_owned();
    assert!(names.contains(&host) && error.to_string().contains(&host), "{error}");
    let copied: Vec<PathBuf> = (0..3).flat_map(|at| copies(&hosts, at)).collect();
    assert_eq!(copied.len(), 3, "{copied:?}");
    let inodes = || copied.iter().map(|path| path.metadata().unwrap().ino()).collect::<Vec<_>>();
    let before = inodes();
    for path in &copied {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read(path).unwrap(), std::fs::read("/proc/self/exe").unwrap(), "{path:?}");
    }
    drop(pool);
    for at in 0..3 {
        assert!(
            eventually(Duration::from_secs(20), || hosts.processes(at).is_empty()),
            "something is left on host {at}"
        );
    }
    assert_eq!(build().apply(|| 7, ()).unwrap(), 7);
    assert_eq!(inodes(), before, "the program was copied again");
}

#[test]
fn a_host_that_cannot_be_had_says_why() {
    let _watchdog = watchdog(120);
    let Some(hosts) = Hosts::start(1) else { return };
    let port = hosts.name(0).split_once(':').unwrap().1.to_owned();
    let known = hosts.name(0);
    let one = || hosts.ssh();
    let other = |option: &str| Ssh::hosts([known.clone()]).ssh_option(option).ssh_option("IdentityAgent=none");
    let strange = Path::new(&hosts.file("strange")).to_owned();
    let at = |text: &str| {
        write_program(&strange, text.as_bytes());
        one().program(Ship::At(strange.clone()))
    };
    let no_host = || hosts.ssh_to(["no-such-host.invalid".to_owned()]);
    let no_key = || {
        other(&format!("IdentityFile={}", hosts.file("other_key")))
            .ssh_option(format!("UserKnownHostsFile={}", hosts.file("known_hosts")))
            .ssh_option("IdentitiesOnly=yes")
    };
    let unknown = || other("UserKnownHostsFile=/dev/null").ssh_option("GlobalKnownHostsFile=/dev/null");
    let check = |ssh: Ssh, name: &str, words: &[&str]| {
        let (error, events) = failure(ssh);
        for word in words.iter().chain([&name]) {
            assert!(error.to_string().contains(word), "{word}: {error}");
        }
        assert_eq!((events.len(), events[0].kind(), events[0].host()), (1, NodeEventKind::Failed, name), "{events:?}");
        assert!(events[0].cause().is_some_and(|cause| error.to_string().contains(cause)), "{error}: {events:?}");
    };
    check(
        no_host(),
        "no-such-host.invalid",
        &["the host is unknown", "Could not resolve hostname", "exit status: 255"],
    );
    check(no_key(), &known, &["permission is denied", "Permission denied ("]);
    check(unknown(), &known, &["the host's key is unknown", "accept-new", "Host key verification failed"]);
    // Nobody listens at that address.
    let closed = format!("127.0.0.99:{port}");
    check(hosts.ssh_to([closed.clone()]), &closed, &["nothing listens at its port", "Connection refused"]);
    check(
        one().program(Ship::At("/nowhere/program".into())),
        &known,
        &["the program is not there", "/nowhere/program"],
    );
    check(one().program(Ship::At(hosts.file("host_key").into())), &known, &["cannot be executed", "exit status: 126"]);
    let old = "#!/bin/sh\necho \"$0: /lib/libc.so.6: version \\`GLIBC_9.99' not found (required by $0)\" >&2\nexit 1\n";
    check(at(old), &known, &["(glibc) is too old", "GLIBC_9.99"]);
    check(one().command("no-such-ssh"), &known, &["`no-such-ssh` could not be executed"]);
}

/// A copy of this program in which something is different.
fn changed(hosts: &Hosts, change: impl FnOnce(&mut Vec<u8>)) -> Ship {
    let mut bytes = std::fs::read("/proc/self/exe").unwrap();
    change(&mut bytes);
    let path = PathBuf::from(hosts.file("changed"));
    write_program(&path, &bytes);
    Ship::At(path)
}

#[test]
fn another_program_than_this_one_is_refused() {
    let _watchdog = watchdog(120);
    let Some(hosts) = Hosts::start(1) else { return };
    // The kind of processor, in the header of the file: none that exists.
    let foreign = changed(&hosts, |bytes| bytes[18..20].copy_from_slice(&[0xee, 0xee]));
    let (error, _) = failure(hosts.ssh().program(foreign));
    assert!(error.to_string().contains("another kind of processor"), "{error}");
    // The note with the build id: 4 bytes of length, 20 of length, type 3, and the name.
    let note = [&4u32.to_le_bytes()[..], &20u32.to_le_bytes(), &3u32.to_le_bytes(), b"GNU\0"].concat();
    let mut was_found = false;
    let other = changed(&hosts, |bytes| {
        if let Some(at) = bytes.windows(note.len()).position(|it| it == note) {
            bytes[at + note.len()] ^= 1;
            was_found = true;
        }
    });
    if !was_found {
        return println!("skipped: this linker writes no build id of 20 bytes");
    }
    let (error, events) = failure(hosts.ssh().program(other));
    let text = error.to_string();
    assert!(text.contains("it has another build of the program") && text.contains("build id"), "{text}");
    assert_eq!(events.len(), 1, "{events:?}");
}

#[test]
fn a_folder_that_takes_no_program_is_a_plain_error() {
    let _watchdog = watchdog(120);
    let Some(hosts) = Hosts::with_caches(&["size=1m", "noexec"]) else { return };
    let (error, _) = failure(hosts.ssh_to([hosts.name(0)]));
    let text = error.to_string();
    assert!(text.contains("its disk is full") && text.contains("was not copied to"), "{text}");
    let (error, _) = failure(hosts.ssh_to([hosts.name(1)]));
    let text = error.to_string();
    assert!(text.contains("noexec") && text.contains("/.cache/multiproc"), "{text}");
}

#[test]
fn what_makes_no_sense_is_refused_at_once() {
    for ssh in
        [Ssh::hosts(["-oProxyCommand=x"]), Ssh::hosts(["a:b"]), Ssh::hosts(["a b"]), Ssh::hosts(["a"]).ssh_option("")]
    {
        assert!(Pool::builder().on(ssh).build().unwrap_err().is_invalid_argument());
    }
    let relative = Ssh::hosts(["a"]).program(Ship::At("target/program".into()));
    assert!(Pool::builder().on(relative).build().unwrap_err().is_invalid_argument());
    assert!(Pool::builder().on(Ssh::hosts([""; 0])).build().unwrap_err().is_invalid_argument());
    let variable = Ssh::hosts(["a"]).agent_env("A=B", "c");
    assert!(Pool::builder().on(variable).build().unwrap_err().is_invalid_argument());
}

#[test]
fn a_host_that_is_cut_off_costs_what_was_under_way_and_comes_again() {
    let _watchdog = watchdog(120);
    let Some(hosts) = Hosts::start(2) else { return };
    let events = Events::default();
    let heard = Arc::clone(&events);
    let builder = Pool::builder().on(hosts.ssh().workers(1)).at_least(2).within(Duration::from_secs(90));
    let pool = builder.on_node(move |event| heard.lock().unwrap().push(event.clone())).build().unwrap();
    let results = std::thread::scope(|scope| {
        let pool = &pool;
        let work = |x: u64| {
            std::thread::sleep(Duration::from_millis(5));
            x
        };
        let call = scope.spawn(move || pool.tasks(work, 0..400u64).chunksize(1).each());
        assert!(eventually(Duration::from_secs(30), || pool.stats().tasks > 20));
        hosts.cut(1);
        call.join().unwrap()
    });
    let lost: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    // What was under way: no link has more frames than that.
    assert!((1..=256).contains(&lost.len()), "{} tasks were lost", lost.len());
    let name = hosts.name(1);
    assert!(lost.iter().all(|it| it.is_worker_lost() && it.may_have_run() && it.host() == Some(&name)), "{}", lost[0]);
    assert!((0..).zip(&results).all(|(x, result)| result.as_ref().is_ok_and(|it| *it == x) || result.is_err()));
    let of = |kind: NodeEventKind| {
        let events = events.lock().unwrap();
        events.iter().filter(|event| event.kind() == kind && event.host() == name).count()
    };
    assert!(eventually(Duration::from_secs(30), || of(NodeEventKind::Joined) == 2), "{events:?}");
    assert_eq!(of(NodeEventKind::Lost), 1, "{events:?}");
}
