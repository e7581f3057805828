//! The socket at which others of the same user look at the pools of this process: who may, and how they are answered.
//!
//! There is one socket for all pools, and the reactor listens there, so a pool at which nobody looks costs a descriptor. Who
//! connects gets a thread, which ends with the connection. What comes there is one request a line, and the answer is one line of
//! JSON; docs/view.md has them all. Lines, clients and the time that an answer may take are bounded.

use crate::engine::watch::json::Object;
use crate::sys::child::own_pid;
use crate::sys::executable;
use crate::sys::fork::fork_generation;
use crate::sys::poll::{self, Interest};
use crate::sys::random::random;
use crate::sys::reactor::reactor;
use crate::sys::runtime_folder;
use crate::sys::socket;
use crate::sys::stream::{self, Name};
use crate::sys::thread;
use crate::sys::time::Deadline;
use parking_lot::Mutex;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// So many may look at the same time.
const MOST_CLIENTS: usize = 8;

/// So long may a request be.
const MOST_OF_A_LINE: usize = 256;

/// So long may a client take to read an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// So long may a client say nothing.
const SILENCE: Duration = Duration::from_secs(600);

/// What is looked at.
pub(crate) trait Watched: Send + Sync {
    /// Answers a request: the first word, and the numbers behind that of the pool.
    ///
    /// # Errors
    ///
    /// There is no such request, or it cannot be met now.
    fn answer(self: Arc<Self>, what: &str, numbers: &[u64]) -> Result<Object, String>;
}

/// A pool that can be looked at until this is dropped.
#[must_use = "it can be looked at until this is dropped"]
#[derive(Debug)]
pub(crate) struct View {
    number: u64,
    generation: u32,
}

struct Pool {
    number: u64,
    name: String,
    watched: Weak<dyn Watched>,
}

/// The socket, while there are pools to be looked at.
struct Door {
    listener: Arc<OwnedFd>,
    path: PathBuf,
    generation: u32,
}

struct Views {
    next: u64,
    pools: Vec<Pool>,
    door: Option<Door>,
    clients: Vec<Arc<OwnedFd>>,
}

static VIEWS: Mutex<Views> = Mutex::new(Views { next: 0, pools: Vec::new(), door: None, clients: Vec::new() });

/// Lets others of this user look at a pool.
///
/// # Errors
///
/// There is no folder for the socket, or no descriptor left.
pub(crate) fn open(name: &str, watched: Weak<dyn Watched>) -> io::Result<View> {
    let mut views = VIEWS.lock();
    let generation = fork_generation();
    if views.door.as_ref().is_none_or(|door| door.generation != generation) {
        // What a fork has inherited is the other process's: neither its name is removed nor its clients are cut off.
        views.pools.clear();
        views.clients.clear();
        views.door = Some(Door::make(generation)?);
    }
    let number = views.next;
    views.next += 1;
    views.pools.push(Pool { number, name: name.to_owned(), watched });
    Ok(View { number, generation })
}

impl Drop for View {
    fn drop(&mut self) {
        if self.generation != fork_generation() {
            return;
        }
        let mut views = VIEWS.lock();
        views.pools.retain(|pool| pool.number != self.number);
        if !views.pools.is_empty() {
            return;
        }
        if let Some(door) = views.door.take() {
            // Nobody else has a name there that begins with the number of this process.
            let _ = std::fs::remove_file(&door.path);
            // The reactor sees that, and lets go of it.
            stream::shut_down(door.listener.as_fd());
        }
        views.clients.iter().for_each(|client| stream::shut_down(client.as_fd()));
    }
}

impl Door {
    fn make(generation: u32) -> io::Result<Door> {
        // Before there is a file, which would stay behind if there were no reactor.
        let reactor = reactor()?;
        let folder = runtime_folder::folder()?;
        sweep(&folder);
        let path = folder.join(format!("{}-{:x}.sock", own_pid(), random()));
        let (listener, _) = stream::listen(&Name::Path(path.clone()), MOST_CLIENTS as i32)?;
        let listener = Arc::new(listener);
        let arrivals = Arc::clone(&listener);
        reactor.watch_arrivals(Arc::clone(&listener), move || admit(&arrivals));
        Ok(Door { listener, path, generation })
    }
}

/// Removes the names of programs that were killed, at which nobody listens any more.
fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.extension() == Some("sock".as_ref()))
    {
        let connected = stream::connect(&Name::Path(path.clone()), Deadline::after(Duration::ZERO));
        if connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            // Somebody else may have removed it just now.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Takes all that want to look. Returns whether more may come; on the reactor's thread.
fn admit(listener: &Arc<OwnedFd>) -> bool {
    let is_open = |views: &Views| views.door.as_ref().is_some_and(|door| Arc::ptr_eq(&door.listener, listener));
    // Not for ever, however many there are: children have to be looked after as well.
    for _ in 0..8 * MOST_CLIENTS {
        let Ok(Some((client, _))) = stream::accept(listener.as_fd()) else { break };
        let mut views = VIEWS.lock();
        let has_room = views.clients.len() < MOST_CLIENTS;
        // The folder keeps others out; root and descriptors that were passed on are left.
        if !is_open(&views) || !has_room || !socket::is_of_own_user(client.as_fd()) {
            continue;
        }
        let client = Arc::new(client);
        let builder = std::thread::Builder::new().name("multiproc-view".to_owned()).stack_size(512 * 1024);
        let own = Arc::clone(&client);
        if thread::spawn(builder, move || attend(&own)).is_ok() {
            views.clients.push(client);
        }
    }
    is_open(&VIEWS.lock())
}

/// Answers one client until it goes, says what is none, or takes too long.
fn attend(client: &Arc<OwnedFd>) {
    let mut line = Vec::new();
    let mut bytes = [0; MOST_OF_A_LINE];
    'all: while let Ok(Some(count)) = next(client, &mut bytes) {
        for byte in &bytes[..count] {
            if *byte != b'\n' {
                line.push(*byte);
                if line.len() > MOST_OF_A_LINE {
                    // What else is behind it has no begin.
                    let _ = send(client, &refusal("a request is at most 256 bytes long"));
                    break 'all;
                }
                continue;
            }
            let answer = std::str::from_utf8(&line).map_or_else(|_| refusal("a request is text"), answer);
            line.clear();
            if send(client, &answer).is_err() {
                break 'all;
            }
        }
        if count == 0 {
            break;
        }
    }
    stream::shut_down(client.as_fd());
    VIEWS.lock().clients.retain(|other| !Arc::ptr_eq(other, client));
}

/// Waits for what a client says next; `None` if it says nothing.
fn next(client: &OwnedFd, into: &mut [u8]) -> io::Result<Option<usize>> {
    let deadline = Deadline::after(SILENCE);
    loop {
        if let Some(count) = stream::receive(client.as_fd(), into)? {
            return Ok(Some(count));
        }
        if deadline.passed() {
            return Ok(None);
        }
        poll::wait(&[(client.as_fd(), Interest::Readable)], deadline)?;
    }
}

/// Sends an answer and the end of its line.
///
/// # Errors
///
/// The client has gone, or does not read it in time.
fn send(client: &OwnedFd, answer: &str) -> io::Result<()> {
    let deadline = Deadline::after(PATIENCE);
    let text = format!("{answer}\n");
    let mut left = text.as_bytes();
    while !left.is_empty() {
        match stream::send(client.as_fd(), &[IoSlice::new(left)])? {
            Some(count) => left = &left[count..],
            None if deadline.passed() => return Err(io::ErrorKind::TimedOut.into()),
            None => _ = poll::wait(&[(client.as_fd(), Interest::Writable)], deadline)?,
        }
    }
    Ok(())
}

fn refusal(text: &str) -> String {
    Object::new().text("error", text).end()
}

/// The answer to one line.
fn answer(line: &str) -> String {
    let mut words = line.split_whitespace();
    let what = words.next().unwrap_or_default();
    let numbers: Result<Vec<u64>, _> = words.map(str::parse).collect();
    let Ok(numbers) = numbers else { return refusal("what stands behind the first word are numbers") };
    match (what, &*numbers) {
        ("pools", []) => pools().end(),
        (_, []) => refusal("ask for `pools`, or for something of one pool: its number is the second word"),
        (what, [number, rest @ ..]) => {
            let views = VIEWS.lock();
            let pool = views.pools.iter().find(|pool| pool.number == *number);
            // Not under the lock: this may take a while, and may be the last to hold the pool.
            let watched = pool.and_then(|pool| pool.watched.upgrade());
            drop(views);
            match watched.map(|watched| watched.answer(what, rest)) {
                Some(Ok(answer)) => answer.end(),
                Some(Err(text)) => refusal(&text),
                None => refusal("there is no such pool any more"),
            }
        }
    }
}

fn pools() -> Object {
    let views = VIEWS.lock();
    let pool = |pool: &Pool| Object::new().plain("pool", pool.number).text("name", &pool.name);
    let object = Object::new().plain("protocol", 1).plain("pid", own_pid());
    object.text("program", &executable::name()).list("pools", views.pools.iter().map(pool))
}
