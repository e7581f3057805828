//! Agents that connect over the network: who gets in, who does not, and that nobody is disturbed.

use crate::agents::{Agent, Events, Key, port_of};
use crate::common::alone::{is_program, program, write_program};
use crate::common::proc::eventually;
use crate::common::watchdog::watchdog;
use multiproc::Pool;
use multiproc::cluster::{self, Command, Listen, NodeEventKind};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

fn check(pool: &Pool) {
    assert_eq!(pool.map(|x: u64| x * x, 0..1_000).unwrap(), (0..1_000).map(|x| x * x).collect::<Vec<u64>>());
}

#[test]
fn agents_that_somebody_starts_join_and_work() {
    let _watchdog = watchdog(180);
    let key = Key::new();
    for encrypt in [true, false] {
        let on = key.listen().nodes(2).encrypt(encrypt);
        let command = on.command().unwrap();
        assert_eq!(command.contains("encrypt=no"), !encrypt);
        assert!(!command.contains("0000000000000000"), "the secret is in {command}");
        // One comes before there is a pool, and one later.
        let _early = Agent::start(&command);
        let pool = Pool::builder().on(on).processes(2).build().unwrap();
        check(&pool);
        let _late = Agent::start(&command);
        let hosts = |pool: &Pool| pool.map(|_: u32| std::process::id(), 0..64).unwrap();
        assert!(eventually(Duration::from_secs(30), || {
            let mut workers = hosts(&pool);
            workers.sort_unstable();
            workers.dedup();
            workers.len() == 2
        }));
    }
}

/// What a user does whose program asks the environment where its workers are.
#[test]
fn a_program_that_is_told_to_listen_prints_the_line_that_joins_it() {
    const NAME: &str = "network::a_program_that_is_told_to_listen_prints_the_line_that_joins_it";
    if is_program(NAME) {
        let on = cluster::from_env().unwrap();
        println!("\nstart: {}", on.command().unwrap().unwrap());
        let pool = Pool::builder().on(on).processes(2).at_least(2).build().unwrap();
        return check(&pool);
    }
    let _watchdog = watchdog(180);
    let key = Key::new();
    let secret = std::fs::read_to_string(&key.0).unwrap();
    let (file, variable) = (("MULTIPROC_SECRET_FILE", key.0.to_str().unwrap()), ("MULTIPROC_SECRET", secret.trim()));
    for (name, value) in [file, variable] {
        let mut program = program(NAME);
        program.env("MULTIPROC_CLUSTER", "listen:127.0.0.1:0,2").env(name, value);
        let mut program = program.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let line = lines.find_map(|line| Some(line.unwrap().strip_prefix("start: ")?.to_owned())).unwrap();
        assert!(!line.contains(secret.trim()), "the secret is in {line}");
        // Two terminals, in which nothing is set but the secret, where no file has it.
        let terminals = [(); 2].map(|()| {
            let mut shell = std::process::Command::new("sh");
            shell.stdin(Stdio::piped()).envs((name == "MULTIPROC_SECRET").then_some((name, value)));
            let mut shell = shell.spawn().unwrap();
            writeln!(shell.stdin.as_mut().unwrap(), "{line}").unwrap();
            shell
        });
        lines.for_each(drop);
        assert!(program.wait().unwrap().success(), "{name}");
        // Agents end with their pool, and so do the commands.
        assert!(terminals.into_iter().all(|mut shell| shell.wait().is_ok()));
    }
}

#[test]
fn agents_of_a_command_connect_when_they_are_told_to() {
    let _watchdog = watchdog(180);
    for encrypt in [true, false] {
        let on = Command::new("{agent}").nodes(2).workers(1).listen("127.0.0.1:0").encrypt(encrypt);
        let pool = Pool::builder().on(on).at_least(2).build().unwrap();
        check(&pool);
        // Long ones are cut into many records.
        let long = pool.map(|bytes: Vec<u8>| bytes, [vec![7; 3 << 20], vec![8; 1 << 20]]).unwrap();
        assert!(long[0] == vec![7; 3 << 20] && long[1] == vec![8; 1 << 20]);
    }
}

#[test]
fn an_agent_with_another_secret_is_not_let_in() {
    let _watchdog = watchdog(180);
    let (key, other, events) = (Key::new(), Key::new(), Events::default());
    for encrypt in [true, false] {
        let on = key.listen().encrypt(encrypt);
        let command = on.command().unwrap();
        let wrong = command.replace(key.0.to_str().unwrap(), other.0.to_str().unwrap());
        let agent = Agent::start(&command);
        let pool = events.hear(Pool::builder().on(on)).build().unwrap();
        let words = Agent::start(&wrong).last_words();
        assert!(words.contains("did not let it in: it has another secret"), "{words}");
        events.expect(NodeEventKind::Failed, "it has another secret");
        events.0.lock().unwrap().clear();
        check(&pool);
        drop((pool, agent));
    }
}

#[test]
fn what_starts_an_agent_may_hand_the_line_to_another_shell() {
    let _watchdog = watchdog(180);
    // As ssh does.
    let on = Command::new(r#"sh -c 'eval "$*"' sh {agent}"#).workers(1).listen("127.0.0.1:0");
    check(&Pool::builder().on(on).build().unwrap());
}

#[test]
fn an_agent_that_was_told_another_pin_does_not_believe_the_pool() {
    let _watchdog = watchdog(180);
    let (key, events) = (Key::new(), Events::default());
    let on = key.listen().nodes(2);
    let command = on.command().unwrap();
    let at = command.find("pin=").unwrap() + 4;
    let flipped = if &command[at..=at] == "0" { "1" } else { "0" };
    let wrong = format!("{}{flipped}{}", &command[..at], &command[at + 1..]);
    let _agent = Agent::start(&command);
    let pool = events.hear(Pool::builder().on(on)).build().unwrap();
    let words = Agent::start(&wrong).last_words();
    assert!(words.contains("another key than the pin says"), "{words}");
    events.expect(NodeEventKind::Failed, "another pin");
    check(&pool);
    // Without a pin the secret alone decides, on both sides.
    let pinless = format!("{}{}", &command[..at - 5], &command[at + 64..]);
    let joined = || events.0.lock().unwrap().iter().filter(|event| event.kind() == NodeEventKind::Joined).count();
    let _pinless = Agent::start(&pinless);
    assert!(eventually(Duration::from_secs(30), || joined() == 2));
}

#[test]
fn an_agent_of_another_build_is_told_so_and_so_is_the_pool() {
    let _watchdog = watchdog(180);
    let (key, events) = (Key::new(), Events::default());
    let on = key.listen();
    let command = on.command().unwrap();
    // A copy of this program of which one byte of what tells builds apart is another.
    let own = std::env::current_exe().unwrap();
    let copy = own.with_file_name(format!("other-build-{}", std::process::id()));
    let mut bytes = std::fs::read(&own).unwrap();
    let build: Vec<u8> = {
        let hex = command.split("MULTIPROC_NODE=").nth(1).unwrap().trim_start_matches('\'').split(':').nth(1).unwrap();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    match bytes.windows(build.len()).position(|it| it == build) {
        Some(at) => bytes[at] ^= 1,
        // The digest of the whole file.
        None => bytes.push(0),
    }
    write_program(&copy, &bytes);
    let other = command.replace(own.to_str().unwrap(), copy.to_str().unwrap());
    let _agent = Agent::start(&command);
    let pool = events.hear(Pool::builder().on(on)).build().unwrap();
    let words = Agent::start(&other).last_words();
    std::fs::remove_file(&copy).unwrap();
    assert!(words.contains("another build of the program"), "{words}");
    events.expect(NodeEventKind::Failed, "another build of the program");
    check(&pool);
}

#[test]
fn a_ticket_is_good_once() {
    let _watchdog = watchdog(180);
    let events = Events::default();
    // The shell keeps the secret, and starts a second agent with the same ticket when the first one is there.
    let script = "read secret; echo $secret | {agent} & sleep 1; echo $secret | {agent}; wait";
    let on = Command::new(script).workers(1).listen("127.0.0.1:0");
    let pool = events.hear(Pool::builder().on(on)).build().unwrap();
    events.expect(NodeEventKind::Failed, "its ticket was used before");
    check(&pool);
}

#[test]
fn a_secret_that_others_can_read_is_refused_on_both_sides() {
    let _watchdog = watchdog(180);
    let key = Key::new();
    let on = key.listen();
    let command = on.command().unwrap();
    std::fs::set_permissions(&key.0, std::fs::Permissions::from_mode(0o644)).unwrap();
    let words = Agent::start(&command).last_words();
    assert!(words.contains("chmod 600"), "{words}");
    let error = Pool::builder().on(on).build().unwrap_err();
    assert!(error.is_invalid_argument() && error.to_string().contains("chmod 600"), "{error}");
    assert!(key.listen().command().unwrap_err().is_invalid_argument());
}

#[test]
fn what_cannot_be_listened_at_is_an_error() {
    let _watchdog = watchdog(180);
    let key = Key::new();
    for wrong in ["127.0.0.1", "nonsense", "127.0.0.1:70000", "a b:1"] {
        let error = Listen::at(wrong).secret_file(&key.0).command().unwrap_err();
        assert!(error.is_invalid_argument(), "{wrong}: {error}");
        let error = Pool::builder().on(Command::new("{agent}").listen(wrong)).build().unwrap_err();
        assert!(error.is_invalid_argument(), "{wrong}: {error}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = Listen::at(taken.local_addr().unwrap().to_string()).secret_file(&key.0).command().unwrap_err();
    assert!(error.is_start() && error.to_string().contains("cannot listen"), "{error}");
    // No agent ever comes.
    let error = Pool::builder().on(key.listen()).within(Duration::from_millis(100)).build().unwrap_err();
    assert!(error.is_start() && error.to_string().contains("in time"), "{error}");
}

#[test]
fn strangers_at_the_port_disturb_nobody() {
    let _watchdog = watchdog(120);
    let key = Key::new();
    for encrypt in [true, false] {
        let on = key.listen().nodes(2).encrypt(encrypt);
        let command = on.command().unwrap();
        let port = port_of(&command);
        let knock = || TcpStream::connect(("127.0.0.1", port)).unwrap();
        let events = Events::default();
        let _first = Agent::start(&command);
        let pool = events.hear(Pool::builder().on(on)).processes(2).build().unwrap();
        // More than are heard at a time, and all of them silent. An agent comes in all the same.
        let silent: Vec<TcpStream> = (0..200).map(|_| knock()).collect();
        let _second = Agent::start(&command);
        let joined = || events.0.lock().unwrap().iter().filter(|event| event.kind() == NodeEventKind::Joined).count();
        assert!(eventually(Duration::from_secs(30), || joined() == 2));
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let garbage: [&[u8]; 5] = [
                    b"GET / HTTP/1.1\r\nHost: pool\r\n\r\n",
                    &[0; 1 << 16],
                    // The beginning of a greeting of TLS, and a record that never ends.
                    &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03],
                    &[0x17, 0x03, 0x03, 0xff, 0xff, 1, 2, 3],
                    &[0xff; 4096],
                ];
                for bytes in garbage.into_iter().cycle() {
                    if stop.load(Relaxed) {
                        break;
                    }
                    // It may be thrown out before it has said all.
                    let mut stranger = knock();
                    let _ = stranger.write_all(bytes);
                    let _ = stranger.shutdown(std::net::Shutdown::Write);
                    let _ = stranger.read(&mut [0; 64]);
                }
            });
            for _ in 0..20 {
                check(&pool);
            }
            stop.store(true, Relaxed);
        });
        assert!(events.0.lock().unwrap().iter().all(|event| event.kind() == NodeEventKind::Joined));
        drop(silent);
    }
}

#[test]
fn a_stranger_that_says_too_much_is_thrown_out() {
    let _watchdog = watchdog(180);
    let key = Key::new();
    for encrypt in [true, false] {
        let on = key.listen().encrypt(encrypt);
        let command = on.command().unwrap();
        let _agent = Agent::start(&command);
        let pool = Pool::builder().on(on).build().unwrap();
        let mut stranger = TcpStream::connect(("127.0.0.1", port_of(&command))).unwrap();
        let mut said = 0;
        // A record of TLS, or a message, that is long and never whole.
        let mut bytes = vec![0x16, 0x03, 0x01, 0x3f, 0xff];
        bytes.resize(1024, 0);
        bytes[5..9].copy_from_slice(&[1, 0, 0x3f, 0x00]);
        while stranger.write_all(&bytes).is_ok() {
            said += bytes.len();
            std::thread::sleep(Duration::from_millis(1));
            assert!(said < 64 << 20, "it may say what it likes");
        }
        check(&pool);
    }
}

#[test]
fn a_pool_whose_agents_are_gone_waits_for_others_for_a_while() {
    let _watchdog = watchdog(180);
    let (key, events) = (Key::new(), Events::default());
    let on = key.listen();
    let command = on.command().unwrap();
    let first = Agent::start(&command);
    let pool = events.hear(Pool::builder().on(on)).within(Duration::from_secs(10)).build().unwrap();
    check(&pool);
    // There is no place for it yet.
    let second = Agent::start(&command);
    drop(first);
    events.expect(NodeEventKind::Lost, "");
    // Some of these may have been under way to the one that was lost.
    let _ = pool.map(|x: u64| x, 0..3);
    check(&pool);
    drop(second);
    // Some of these may have been under way to the one that was lost.
    let _ = pool.map(|x: u64| x, 0..3);
    let error = pool.map(|x: u64| x, 0..3).unwrap_err();
    assert!(error.to_string().contains("no agent has come within 10s"), "{error}");
}

/// Nobody has ever taken the second place. Those who come to it have as long as those who take the place of the first.
#[test]
fn a_place_that_nobody_has_taken_waits_from_the_loss_of_the_last_agent_on() {
    let _watchdog = watchdog(180);
    let (key, events) = (Key::new(), Events::default());
    let within = Duration::from_secs(3);
    let on = key.listen().nodes(2);
    let command = on.command().unwrap();
    let first = Agent::start(&command);
    let pool = events.hear(Pool::builder().on(on).processes(1)).within(within).build().unwrap();
    check(&pool);
    // Longer than that it stays open beside an agent.
    std::thread::sleep(within);
    drop(first);
    events.expect(NodeEventKind::Lost, "");
    let _others = [Agent::start(&command), Agent::start(&command)];
    let joined = || events.0.lock().unwrap().iter().filter(|it| it.kind() == NodeEventKind::Joined).count() == 3;
    assert!(eventually(Duration::from_secs(30), joined));
    // Some of these may have been under way to the one that was lost.
    let _ = pool.map(|x: u64| x, 0..3);
    check(&pool);
}
