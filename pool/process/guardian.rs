//! The guardian: a child that stays until the first process of the tree has ended, however that came about, and removes
//! the names of shared memory that are left then.
//!
//! It is the one process that does not end with its parent. It holds nothing, runs no code of the user's, listens to no
//! terminal, and ends of itself a moment after the first process.

use crate::heap::guardian::{self, Tree};
use crate::identity::Entry;
use crate::ipc::control::{ChildKind, Reply};
use crate::process::descendants;
use crate::process::role::{ChildContext, Host, Role};
use crate::process::start::{News, Start, control_pair};
use crate::sys::child::{SpawnOptions, open_pidfd};
use crate::sys::poll::{self, Interest};
use crate::sys::time::Deadline;
use parking_lot::Mutex;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;
use std::time::Duration;

/// How long the others may take to end after the first one: they are killed with it.
const OTHERS: Duration = Duration::from_secs(2);

fn entry() -> &'static Entry<Role> {
    static ENTRY: Entry<Role> = Entry::new(|| "multiproc guardian", live);
    &ENTRY
}

/// Starts the guardian of this process's tree, if there is none, and waits until it is on guard.
///
/// Where a program cannot start itself again (see [`Error::is_foreign_host`](crate::Error::is_foreign_host)) there is
/// none; that is no reason to refuse what it would have been for.
pub(crate) fn start() {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one_at_a_time = ONE_AT_A_TIME.lock();
    if guardian::exists() {
        return;
    }
    let Ok(host) = Host::check_program() else { return };
    let Ok((control, socket)) = control_pair() else { return };
    let (tell, told) = mpsc::channel();
    let name = "multiproc-guard".to_owned();
    let (setup, fds, attached, descendants) = (Vec::new(), Vec::new(), Vec::new(), None);
    // The process that starts it may be a worker, which it outlives.
    let options = SpawnOptions { variables: vec![descendants::stays()], ..SpawnOptions::default() };
    let start = Start {
        host,
        kind: ChildKind::Guardian,
        name,
        role: entry(),
        setup,
        fds,
        attached,
        socket,
        control,
        options,
        descendants,
    };
    let tell = Mutex::new(Some(tell));
    let started = start.start(move |news| {
        if !matches!(news, News::Started(_)) {
            // It is on guard, or will never be.
            tell.lock().take();
        }
    });
    if started.is_ok() {
        // Nothing is ever said: what counts is that the other end is dropped.
        let _: Result<(), _> = told.recv();
    }
}

/// The life of the guardian.
fn live(context: ChildContext) -> i32 {
    let (tree, first) = match prepare() {
        Ok(prepared) => prepared,
        Err(text) => {
            let _ = context.control.send(&Reply::Refused(text), &[]);
            return 1;
        }
    };
    if context.control.send(&Reply::Ready, &[]).is_err() {
        return 1;
    }
    wait(&first, Deadline::NEVER);
    let deadline = Deadline::after(OTHERS);
    for other in tree.others().into_iter().filter_map(|pid| open_pidfd(pid).ok()) {
        wait(&other, deadline);
    }
    tree.remove_names();
    0
}

fn prepare() -> Result<(Tree, OwnedFd), String> {
    let tree = Tree::guard().map_err(|error| error.to_string())?;
    let first = open_pidfd(tree.first).map_err(|error| error.to_string())?;
    // Otherwise the descriptor may be another process's, with the same id.
    if tree.is_first_alive() { Ok((tree, first)) } else { Err("the first process has ended".to_owned()) }
}

/// Waits until a process has ended.
fn wait(process: &OwnedFd, deadline: Deadline) {
    while !deadline.passed() {
        match poll::wait(&[(process.as_fd(), Interest::Readable)], deadline) {
            Ok(ready) if ready.first() == Some(&true) => return,
            // If the system refuses to wait, a moment has passed.
            _ => {}
        }
    }
}
