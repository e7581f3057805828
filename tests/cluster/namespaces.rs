//! Hosts with networks of their own, and what happens to the links between them: they go down and come back, lose packets, or
//! bring nothing in one direction. The kernel does it, in namespaces, for which no rights are needed.

use crate::agents::{Agent, Key};
use crate::common::alone::alone_by;
use crate::common::proc::is_alive;
use crate::common::watchdog::watchdog;
use crate::faults::{LOST_AFTER, wait_until};
use crate::lab::Lab;
use multiproc::cluster::{Listen, NodeEventKind};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// What starts a program in a network of its own, as somebody who may do there what root may.
const APART: [&str; 4] = ["unshare", "--user", "--map-root-user", "--net"];

/// What must work for a link, and for one that loses packets.
const LINK: &str = "ip link add link1 type veth peer name eth0 netns $$";
const LOSS: &str = "ip link add link1 type veth; tc qdisc add dev link1 root handle 1: htb
    tc class add dev link1 parent 1: classid 1:2 htb rate 1gbit quantum 60000
    tc qdisc add dev link1 parent 1:2 handle 2: blackhole
    tc filter add dev link1 parent 1: protocol ip u32 match u16 0 0 at 4 flowid 1:2";

/// Where the pool is for all hosts.
const POOL: &str = "10.78.0.1";

/// Runs the test `name`, which this is, in a network of its own; whether this process is there. `needed` is what must work there.
fn is_apart(needed: &str, name: &str) -> bool {
    let skip = |why: &dyn std::fmt::Display| println!("skipped: no networks can be made here ({why})");
    match Command::new(APART[0]).args(&APART[1..]).args(["sh", "-ec", needed]).output() {
        Ok(output) if output.status.success() => return alone_by(&APART, name),
        Ok(output) => skip(&String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => skip(&error),
    }
    false
}

/// Runs a command, which succeeds.
fn run(line: &str) -> String {
    let output = Command::new("sh").args(["-ec", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A network with one link, to this one.
struct Host {
    /// Holds the network.
    process: Child,
    _until: ChildStdin,
    /// The end of its link here.
    link: String,
}

impl Host {
    /// The one with this number, from 1 on.
    fn new(number: u32) -> Host {
        let mut process = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let until = process.stdin.take().unwrap();
        // It has its network when it says something.
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        let host = Host { process, _until: until, link: format!("link{number}") };
        let (link, pid, inside) = (&host.link, host.process.id(), host.enter());
        run(&format!(
            "ip link add {link} type veth peer name eth0 netns {pid}
            ip address add 10.78.{number}.1/24 dev {link}
            ip link set {link} up
            {inside} ip address add 10.78.{number}.2/24 dev eth0
            {inside} ip link set eth0 up
            {inside} ip route add default via 10.78.{number}.1"
        ));
        host
    }

    /// What a command begins with that is to be run there.
    fn enter(&self) -> String {
        format!("nsenter --net=/proc/{}/ns/net", self.process.id())
    }

    /// The end of its link that sends in that direction, and what a command begins with that is run there.
    fn end(&self, to_pool: bool) -> (String, &str) {
        if to_pool { (self.enter(), "eth0") } else { (String::new(), &self.link) }
    }

    fn cut(&self) {
        run(&format!("ip link set {} down", self.link));
    }

    fn heal(&self) {
        run(&format!("ip link set {} up", self.link));
    }

    /// From now on packets are lost in that direction: those whose number has these last bits.
    fn lose(&self, to_pool: bool, number: u16, mask: u16) {
        let (inside, link) = self.end(to_pool);
        // What the filter finds goes to a class that swallows it. The kernel numbers the packets of a connection.
        run(&format!(
            "{inside} tc qdisc add dev {link} root handle 1: htb default 1
            {inside} tc class add dev {link} parent 1: classid 1:1 htb rate 1gbit quantum 60000
            {inside} tc class add dev {link} parent 1: classid 1:2 htb rate 1gbit quantum 60000
            {inside} tc qdisc add dev {link} parent 1:2 handle 2: blackhole
            {inside} tc filter add dev {link} parent 1: protocol ip u32 match u16 {number} {mask:#x} at 4 flowid 1:2"
        ));
    }

    /// How many packets were lost in that direction.
    fn lost(&self, to_pool: bool) -> u64 {
        let (inside, link) = self.end(to_pool);
        let text = run(&format!("{inside} tc -s qdisc show dev {link}"));
        let dropped = text.split("blackhole").nth(1).unwrap().split("dropped ").nth(1).unwrap();
        dropped.split(',').next().unwrap().parse().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Or it would be there for as long as the kernel takes to clear up.
        let _ = Command::new("ip").args(["link", "delete", &self.link]).status();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A pool with two hosts, and the second of these.
struct Net {
    lab: Lab,
    far: Host,
    /// What starts an agent on the second one.
    command: String,
    _near: Host,
    _key: Key,
}

impl Net {
    fn new(encrypt: bool, lost_after: Duration) -> Net {
        run(&format!("ip link set lo up; ip address replace {POOL}/32 dev lo"));
        let (near, far, key) = (Host::new(1), Host::new(2), Key::new());
        let on = Listen::at(format!("{POOL}:0")).secret_file(&key.0).nodes(2).workers(1).encrypt(encrypt);
        let line = on.command().unwrap();
        let [of_near, command] = [&near, &far].map(|host| format!("{} {line}", host.enter()));
        Net { lab: Lab::new(on, &of_near, &command, lost_after), far, command, _near: near, _key: key }
    }
}

/// The same over an encrypted stream and over a plain one.
fn each_stream(lost_after: Duration, test: impl Fn(&Net)) {
    let _watchdog = watchdog(180);
    for encrypt in [true, false] {
        println!("encrypt: {encrypt}");
        test(&Net::new(encrypt, lost_after));
    }
}

#[test]
fn a_link_that_goes_down_and_comes_back_costs_nothing() {
    if !is_apart(LINK, "namespaces::a_link_that_goes_down_and_comes_back_costs_nothing") {
        return;
    }
    each_stream(Duration::from_secs(20), |net| {
        let results = net.lab.run(300, || {
            net.far.cut();
            std::thread::sleep(Duration::from_secs(1));
            net.far.heal();
        });
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        assert!(is_alive(net.lab.far.0 as i32));
        assert!(net.lab.events.0.lock().unwrap().iter().all(|event| event.kind() == NodeEventKind::Joined));
    });
}

#[test]
fn a_host_whose_link_stays_down_is_lost_in_time_and_may_come_again() {
    if !is_apart(LINK, "namespaces::a_host_whose_link_stays_down_is_lost_in_time_and_may_come_again") {
        return;
    }
    each_stream(LOST_AFTER, |net| {
        let (lab, start) = (&net.lab, Instant::now());
        let results = lab.run(300, || net.far.cut());
        // The other host takes 1.2 s for all of them.
        assert!(start.elapsed() < LOST_AFTER + Duration::from_secs(10), "{:?}", start.elapsed());
        lab.check_loss(&results);
        // Nobody has told it.
        assert!(lab.far_ends());
        net.far.heal();
        let _again = Agent::start(&net.command);
        let joined = || lab.events.0.lock().unwrap().iter().filter(|it| it.kind() == NodeEventKind::Joined).count();
        wait_until("it comes again", || joined() == 3);
        assert_eq!(lab.pool.map(|x: u64| x + 1, 0..100).unwrap(), (1..=100).collect::<Vec<u64>>());
    });
}

#[test]
fn a_link_that_brings_nothing_in_one_direction_is_lost_in_time() {
    if !is_apart(LOSS, "namespaces::a_link_that_brings_nothing_in_one_direction_is_lost_in_time") {
        return;
    }
    for to_pool in [true, false] {
        each_stream(LOST_AFTER, |net| {
            let results = net.lab.run(300, || net.far.lose(to_pool, 0, 0));
            net.lab.check_loss(&results);
            assert!(net.lab.far_ends());
            assert!(net.far.lost(to_pool) > 0);
        });
    }
}

#[test]
fn packets_that_are_lost_cost_time_and_nothing_else() {
    if !is_apart(LOSS, "namespaces::packets_that_are_lost_cost_time_and_nothing_else") {
        return;
    }
    each_stream(Duration::from_secs(20), |net| {
        // One in 16 in each direction.
        [true, false].into_iter().for_each(|to_pool| net.far.lose(to_pool, 1, 0xf));
        let results = net.lab.run(300, || {});
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        // Long ones come whole as well, in both directions.
        let long: Vec<Vec<u8>> = (0..8).map(|task| vec![task; 300_000]).collect();
        let back = net.lab.pool.tasks(|bytes: Vec<u8>| bytes, long.clone()).chunksize(1).run().unwrap();
        assert!(back == long, "a value has changed");
        assert!(net.far.lost(true) > 0 && net.far.lost(false) > 0);
        assert!(net.lab.events.0.lock().unwrap().iter().all(|event| event.kind() == NodeEventKind::Joined));
    });
}
