//! Agents that the tests start, as somebody else would, and what a pool says of them.

use crate::common::proc::eventually;
use multiproc::PoolBuilder;
use multiproc::cluster::{Listen, NodeEvent, NodeEventKind};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A file with a secret, deleted when dropped.
pub(crate) struct Key(pub(crate) PathBuf);

impl Key {
    pub(crate) fn new() -> Key {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("key-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, format!("{:064}\n", NUMBER.fetch_add(1, Relaxed))).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        Key(path)
    }

    pub(crate) fn listen(&self) -> Listen {
        Listen::at("127.0.0.1:0").secret_file(&self.0).workers(1)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// An agent that somebody has started, ended when dropped.
pub(crate) struct Agent(Child);

impl Agent {
    pub(crate) fn start(command: &str) -> Agent {
        let mut shell = std::process::Command::new("sh");
        shell
            .args(["-c", &format!("exec {command}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Agent(shell.spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    /// What it has written when it has ended, as it does.
    pub(crate) fn last_words(mut self) -> String {
        let mut text = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(!self.0.wait().unwrap().success());
        text
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a pool tells of its nodes.
#[derive(Clone, Default)]
pub(crate) struct Events(pub(crate) Arc<Mutex<Vec<NodeEvent>>>);

impl Events {
    pub(crate) fn hear(&self, builder: PoolBuilder) -> PoolBuilder {
        let events = Arc::clone(&self.0);
        builder.on_node(move |event| {
            // Shown if the test fails.
            println!("{event}");
            events.lock().unwrap().push(event.clone());
        })
    }

    /// Waits until one says this.
    pub(crate) fn expect(&self, kind: NodeEventKind, text: &str) {
        let says = |event: &NodeEvent| event.kind() == kind && event.cause().unwrap_or_default().contains(text);
        let found = eventually(Duration::from_secs(30), || self.0.lock().unwrap().iter().any(says));
        assert!(found, "{kind:?} {text}: {:?}", self.0.lock().unwrap());
    }
}

/// Where the agents of a command connect to.
pub(crate) fn port_of(command: &str) -> u16 {
    let rest = command.split("tcp:127.0.0.1:").nth(1).unwrap();
    rest.split(|letter: char| !letter.is_ascii_digit()).next().unwrap().parse().unwrap()
}
