//! Starting a child and following it to its end: the parent's half of the boot sequence.

use crate::attached_fds::AttachedFds;
use crate::codec;
use crate::error::{Death, Error};
use crate::heap::process_table::SlotId;
use crate::heap::tree as heap;
use crate::identity::{Entry, FnRef};
use crate::ipc::control::{Control, HeapGrant, Hello, Instructions, Reply, VERSION};
use crate::ipc::parcel::Parcel;
use crate::process::current;
use crate::process::descendants::Descendants;
use crate::process::role::{Host, Mark, Role, VARIABLE};
use crate::sync::reclaim;
use crate::sys::child::{Child, ChildSignal, SpawnOptions};
use crate::sys::poll::Interest;
use crate::sys::reactor::{Event, Reactor, reactor};
use crate::sys::time::Deadline;
use crate::sys::{crash, executable, socket};
use parking_lot::Mutex;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// How long a child may take to say that it is ready; an initializer counts.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A child that has closed its control socket ends within this time, or not of itself.
const DYING: Duration = Duration::from_secs(1);

/// What becomes of a child; told on the reactor's thread, in this order, `Exited` last.
#[derive(Debug)]
pub(crate) enum News {
    /// The process exists.
    Started(Arc<Child>),
    /// The process could not be made; nothing follows.
    Impossible(Error),
    /// It has answered.
    Replied(Reply),
    /// It did not answer in time and was killed.
    Silent,
    /// It has ended and was reaped; nothing follows.
    Exited(Death, HeldByChild),
}

/// The slot of a child in the process table, and whatever it held when it died. Released when this is
/// dropped, so after everything was read that the child has said.
#[derive(Debug)]
pub(crate) struct HeldByChild(Option<SlotId>);

impl HeldByChild {
    /// Of a worker that was no process.
    pub(crate) fn nothing() -> HeldByChild {
        HeldByChild(None)
    }
}

impl Drop for HeldByChild {
    fn drop(&mut self) {
        if let Some(child) = self.0.take() {
            heap::reclaim(child);
        }
    }
}

/// A child about to be started.
#[derive(Debug)]
pub(crate) struct Start {
    /// This process can have children.
    #[expect(dead_code, reason = "a proof, not read")]
    pub(crate) host: Host,
    /// Whether the child stays when its parent ends.
    pub(crate) outlives: bool,
    pub(crate) name: String,
    pub(crate) role: &'static Entry<Role>,
    pub(crate) setup: Vec<u8>,
    pub(crate) fds: Vec<Arc<OwnedFd>>,
    /// The attached descriptors of the values in the setup.
    pub(crate) attached: Vec<Arc<AttachedFds>>,
    /// The child's end of the control socket.
    pub(crate) socket: OwnedFd,
    /// The parent's end.
    pub(crate) control: Control,
    pub(crate) options: SpawnOptions,
    /// What it starts ends with it.
    pub(crate) descendants: Option<Descendants>,
}

/// A new control socket: the parent's end, and the child's.
pub(crate) fn control_pair() -> io::Result<(Control, OwnedFd)> {
    let (ours, theirs) = socket::pair()?;
    Ok((Control::new(Arc::new(ours)), theirs))
}

/// What has come of the last look at what a child says.
enum Heard {
    /// It may say more.
    Nothing,
    /// It will say no more that is for the handshake.
    All,
    /// It has closed its end.
    End,
}

struct Watcher {
    child: Arc<Child>,
    control: Control,
    /// Until it is ready the control socket belongs to the handshake, afterwards to the link.
    shaking_hands: Mutex<bool>,
    held: Mutex<HeldByChild>,
    tell: Box<dyn Fn(News) + Send + Sync>,
}

impl Start {
    /// Starts the child on the reactor's thread; `tell` hears what becomes of it.
    ///
    /// # Errors
    ///
    /// Nothing was started: this process has no reactor.
    pub(crate) fn start(self, tell: impl Fn(News) + Send + Sync + 'static) -> Result<(), Error> {
        let role = match FnRef::of(self.role)? {
            FnRef::Offset { delta, signature } => (delta, signature),
            FnRef::Name { .. } => return Err(Error::foreign_host()),
        };
        reclaim::take_part();
        let reactor = reactor()?;
        reactor.post(move || self.start_here(reactor, role, Box::new(tell)));
        Ok(())
    }

    fn start_here(self, reactor: &'static Reactor, role: (u64, u64), tell: Box<dyn Fn(News) + Send + Sync>) {
        // Here, and not where the child is asked for: a pool does that under its lock, and the heap is opened on this thread,
        // which takes that lock as well.
        let heap = heap::for_child();
        let held = HeldByChild(heap.as_ref().ok().and_then(|it| it.own));
        // A fresh random number: a process that inherits the variable by accident does not know the message.
        let nonce = RandomState::new().build_hasher().finish();
        let instructions = Instructions {
            name: self.name,
            parent: current::name().to_owned(),
            role,
            outlives: self.outlives,
            setup: self.setup,
            attached: self.attached.len(),
        };
        let impossible = |error: io::Error| {
            // Of the program itself, whose file is open, or of its dynamic loader.
            let hint = match error.kind() {
                io::ErrorKind::NotFound => "; /proc must be mounted, and the libraries of this program be there",
                _ => "",
            };
            News::Impossible(Error::start(format!("a process could not be started: {error}{hint}")))
        };
        let (instructions, file) = match Parcel::pack(codec::to_bytes(&instructions)) {
            Ok(packed) => packed,
            // There is no memory or file for the instructions: there is no child.
            Err(error) => return tell(impossible(error)),
        };
        // Without it a crash has no backtrace.
        let crash = crash::create().ok().map(Arc::new);
        let hello = Hello {
            version: VERSION,
            build: executable::build().to_vec(),
            nonce,
            heap: heap.as_ref().map(HeapGrant::of).map_err(String::clone),
            crash: crash.is_some(),
            instructions,
        };
        // The executable's inode, not its path: the file may have been rebuilt or deleted meanwhile.
        let mut options = self.options;
        options.crash = crash.clone();
        options.variables.push((VARIABLE.into(), Mark::new(nonce).to_string().into()));
        let descendants = self.descendants;
        options.variables.extend(descendants.map(Descendants::variable));
        let child = match Child::start("/proc/self/exe".as_ref(), self.socket, options) {
            Ok(child) => Arc::new(child),
            // The program could not be executed: there is no child.
            Err(error) => return tell(impossible(error)),
        };
        let heap = heap.as_ref().ok().map(|it| &*it.fd);
        let fds = heap.into_iter().chain(crash.as_deref()).chain(&file).chain(self.fds.iter().map(|fd| &**fd));
        let fds: Vec<&OwnedFd> = fds.collect();
        let sent = self.control.send(&hello, &fds).and_then(|()| self.control.send_attached(0, &self.attached));
        tell(News::Started(Arc::clone(&child)));
        if let Err(error) = sent {
            // It will not become ready. If it has ended already, its own reason is the better one.
            child.signal(ChildSignal::Kill);
            if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
                tell(News::Replied(Reply::Refused(format!("its first message could not be sent: {error}"))));
            }
        }
        let watcher = Arc::new(Watcher {
            child,
            control: self.control,
            shaking_hands: Mutex::new(true),
            held: Mutex::new(held),
            tell,
        });
        let exits = Arc::clone(&watcher);
        watcher.listen(reactor, Deadline::after(READY_WITHIN));
        reactor.watch(Arc::clone(exits.child.pidfd()), Interest::Readable, Deadline::NEVER, move |_| {
            exits.hear();
            *exits.shaking_hands.lock() = false;
            // Here, and not under a lock: a crash takes a moment to be read.
            let death = exits.child.death().clone();
            let held = std::mem::replace(&mut *exits.held.lock(), HeldByChild::nothing());
            // A child that has left when it was told to has ended its descendants itself.
            let descendants = descendants.filter(|_| !exits.child.has_left(death.exit));
            let tell = move || (exits.tell)(News::Exited(death, held));
            match descendants {
                Some(descendants) => descendants.end(reactor, tell),
                None => tell(),
            }
        });
    }
}

impl Watcher {
    /// Waits for the next reply.
    fn listen(self: Arc<Self>, reactor: &'static Reactor, deadline: Deadline) {
        let socket = Arc::clone(self.control.socket());
        reactor.watch(socket, Interest::Readable, deadline, move |event| {
            if event == Event::TimedOut && *self.shaking_hands.lock() {
                self.child.signal(ChildSignal::Kill);
                return (self.tell)(News::Silent);
            }
            match self.hear() {
                Heard::Nothing => self.listen(reactor, deadline),
                Heard::End => self.wait_for_end(reactor),
                Heard::All => {}
            }
        });
    }

    /// Passes on what the child has said.
    fn hear(&self) -> Heard {
        if !*self.shaking_hands.lock() {
            return Heard::All;
        }
        let reply = match self.control.receive::<Reply>(false) {
            Ok(Some((reply, _))) => reply,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Heard::Nothing,
            Ok(None) => return Heard::End,
            // It says nonsense, or the system does not let us hear it.
            Err(error) => {
                self.child.signal(ChildSignal::Kill);
                Reply::Refused(format!("its answer could not be received: {error}"))
            }
        };
        *self.shaking_hands.lock() = false;
        (self.tell)(News::Replied(reply));
        Heard::All
    }

    /// The child has closed its socket before it was ready. As a rule that is since it ends, and then how it ends is the reason
    /// that the start has failed.
    fn wait_for_end(self: Arc<Self>, reactor: &'static Reactor) {
        let pidfd = Arc::clone(self.child.pidfd());
        reactor.watch(pidfd, Interest::Readable, Deadline::after(DYING), move |event| {
            if event == Event::TimedOut {
                self.child.signal(ChildSignal::Kill);
                let cause = "it has closed its control socket before it was ready, and lived on";
                (self.tell)(News::Replied(Reply::Refused(cause.to_owned())));
            }
        });
    }
}
