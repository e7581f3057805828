//! Starting a child and following it to its end: the parent's half of the boot sequence.

use crate::attached_fds::AttachedFds;
use crate::codec;
use crate::error::{Death, Error};
use crate::heap::process_table::SlotId;
use crate::heap::tree as heap;
use crate::identity::{Entry, FnRef};
use crate::ipc::control::{ChildKind, Control, HeapGrant, Hello, Instructions, Reply, VERSION};
use crate::ipc::parcel::Parcel;
use crate::process::current;
use crate::process::descendants::Descendants;
use crate::process::role::{Host, Mark, Role, VARIABLE};
use crate::sync::reclaim;
use crate::sys::child::{Child, ChildSignal, SpawnOptions};
use crate::sys::out_of_memory::Before;
use crate::sys::poll::Interest;
use crate::sys::random::random;
use crate::sys::reactor::{Event, Reactor, reactor};
use crate::sys::time::Deadline;
use crate::sys::{crash, executable, socket};
use parking_lot::Mutex;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// How long a child may take to say that it is ready; an initializer counts.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(60);

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

/// Hears what becomes of a child, on the reactor's thread.
pub(crate) type Tell = Box<dyn Fn(News) + Send + Sync>;

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

/// How a child is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By executing the program.
    Executed,
    /// As a copy of a template, which has done what its copies are to have done.
    Copied,
}

/// A child about to be started.
#[derive(Debug)]
pub(crate) struct Start {
    /// This process can have children.
    #[expect(dead_code, reason = "a proof, not read")]
    pub(crate) host: Host,
    pub(crate) kind: ChildKind,
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
    tell: Tell,
}

impl Start {
    /// Starts the child on the reactor's thread; `tell` hears what becomes of it.
    ///
    /// # Errors
    ///
    /// Nothing was started: this process has no reactor.
    pub(crate) fn start(self, tell: impl Fn(News) + Send + Sync + 'static) -> Result<(), Error> {
        let reactor = reactor()?;
        reactor.post(move || self.start_here(reactor, Box::new(tell)));
        Ok(())
    }

    /// Starts the child; on the reactor's thread.
    pub(super) fn start_here(self, reactor: &'static Reactor, tell: Tell) {
        let Some((prepared, socket, mut options)) = self.prepare(Way::Executed, tell) else { return };
        // The executable's inode, not its path: the file may have been rebuilt or deleted meanwhile.
        options.variables.push((VARIABLE.into(), Mark::new(prepared.nonce()).to_string().into()));
        match Child::start("/proc/self/exe".as_ref(), socket, options) {
            Ok(child) => prepared.greet().follow(reactor, child),
            // The program could not be executed: there is no child.
            Err(error) => prepared.fail(impossible(&error)),
        }
    }

    /// Prepares all that a child is told, however it comes to be; with its end of the control socket and its options, as far as
    /// they are for who makes it. `None` = there can be no such child, which `tell` has heard.
    ///
    /// Here, on the reactor's thread, and not where the child is asked for: a pool does that under its lock, and the heap is
    /// opened on this thread, which takes that lock as well.
    pub(super) fn prepare(mut self, way: Way, tell: Tell) -> Option<(Prepared, OwnedFd, SpawnOptions)> {
        let role = match FnRef::place_of(self.role) {
            Ok(role) => role,
            Err(error) => {
                tell(News::Impossible(error));
                return None;
            }
        };
        reclaim::take_part();
        let heap = heap::for_child();
        let held = HeldByChild(heap.as_ref().ok().and_then(|it| it.own));
        // A fresh random number: a process that inherits the variable by accident does not know the message.
        let nonce = random();
        self.options.variables.extend(self.descendants.map(Descendants::variable));
        let instructions = Instructions {
            name: self.name,
            parent: current::name().to_owned(),
            role,
            kind: self.kind,
            setup: self.setup,
            attached: self.attached.len(),
            variables: match way {
                Way::Executed => Vec::new(),
                Way::Copied => std::mem::take(&mut self.options.variables),
            },
        };
        let (instructions, file) = match Parcel::pack(codec::to_bytes(&instructions)) {
            Ok(packed) => packed,
            // There is no memory or file for the instructions: there is no child.
            Err(error) => {
                tell(News::Impossible(impossible(&error)));
                return None;
            }
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
        let heap = heap.ok().map(|it| it.fd);
        let fds = heap.into_iter().chain(crash.clone()).chain(file.map(Arc::new)).chain(self.fds).collect();
        self.options.crash.clone_from(&crash);
        let Start { control, attached, descendants, socket, options, .. } = self;
        if let Ok(reactor) = reactor() {
            reactor.leave_open(socket.as_fd());
        }
        let prepared = Prepared { hello, fds, attached, crash, descendants, control, held, sent: Ok(()), tell };
        Some((prepared, socket, options))
    }
}

/// The error of a process that could not be made.
fn impossible(error: &io::Error) -> Error {
    // Of the program itself, whose file is open, or of its dynamic loader.
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "; /proc must be mounted, and the libraries of this program be there",
        _ => "",
    };
    Error::start(format!("a process could not be started: {error}{hint}"))
}

/// A child of which all is ready but the process.
pub(super) struct Prepared {
    hello: Hello,
    fds: Vec<Arc<OwnedFd>>,
    attached: Vec<Arc<AttachedFds>>,
    /// Where it notes its faults.
    crash: Option<Arc<OwnedFd>>,
    descendants: Option<Descendants>,
    control: Control,
    held: HeldByChild,
    /// Whether it could be told what it is to be.
    sent: io::Result<()>,
    tell: Tell,
}

impl Prepared {
    /// The number that the child must know.
    pub(super) fn nonce(&self) -> u64 {
        self.hello.nonce
    }

    /// The child, which its template has made.
    ///
    /// # Errors
    ///
    /// See [`Child::adopt`].
    pub(super) fn adopt(&self, pidfd: OwnedFd, kills: Before) -> io::Result<Child> {
        Child::adopt(pidfd, self.crash.clone(), kills)
    }

    /// There will be no such child.
    pub(super) fn fail(self, error: Error) {
        (self.tell)(News::Impossible(error));
    }

    /// Sends the first message; the child may exist already or be about to.
    pub(super) fn greet(mut self) -> Prepared {
        let fds: Vec<&OwnedFd> = self.fds.iter().map(|fd| &**fd).collect();
        let sent = self.control.send(&self.hello, &fds);
        self.sent = sent.and_then(|()| self.control.send_attached(0, &self.attached));
        self
    }

    /// Follows the child to its end.
    pub(super) fn follow(self, reactor: &'static Reactor, child: Child) {
        let Prepared { hello: _, fds: _, attached: _, crash: _, descendants, control, held, sent, tell } = self;
        let child = Arc::new(child);
        tell(News::Started(Arc::clone(&child)));
        if let Err(error) = sent {
            // It will not become ready. If it has ended already, its own reason is the better one.
            child.signal(ChildSignal::Kill);
            if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
                tell(News::Replied(Reply::Refused(format!("its first message could not be sent: {error}"))));
            }
        }
        let (shaking_hands, held) = (Mutex::new(true), Mutex::new(held));
        let watcher = Arc::new(Watcher { child, control, shaking_hands, held, tell });
        let exits = Arc::clone(&watcher);
        watcher.listen(reactor, Deadline::after(READY_WITHIN));
        reactor.watch(Arc::clone(exits.child.pidfd()), Interest::Exit, Deadline::NEVER, move |_| {
            exits.hear();
            *exits.shaking_hands.lock() = false;
            // Here, and not under a lock: what it has left behind of a crash is copied.
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
        reactor.watch(pidfd, Interest::Exit, Deadline::after(DYING), move |event| {
            if event == Event::TimedOut {
                self.child.signal(ChildSignal::Kill);
                let cause = "it has closed its control socket before it was ready, and lived on";
                (self.tell)(News::Replied(Reply::Refused(cause.to_owned())));
            }
        });
    }
}
