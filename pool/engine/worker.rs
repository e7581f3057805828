//! A worker: takes frames, runs their tasks, answers.

use crate::codec::{self, Reader};
use crate::engine::work::{Context, Invocation, Run};
use crate::error::{TaskError, TaskKind};
use crate::ipc::bell::Bell;
use crate::ipc::channel::ChannelWorker;
use crate::ipc::control::Reply;
use crate::ipc::link::{Frame, FrameKind, LinkKind, Payload, WorkerLink};
use crate::ipc::ring_worker::RingWorker;
use crate::process::args::Args;
use crate::process::args::Task;
use crate::process::bootstrap::{Childhood, Role};
use crate::process::identity::{Callable, Entry, FnRef};
use crate::process::panic::{self, guarded};
use crate::sys::copy::conjure;
use crate::sys::memory;
use serde::{Deserialize, Serialize};
use std::any::type_name;
use std::collections::HashMap;
use std::io;
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// What a worker is told before its first frame.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) link: LinkKind,
    /// Where a [`LinkKind::Channel`] link is reached.
    pub(crate) server: Option<String>,
    /// Its number among the parties of the pool's bell.
    pub(crate) party: u32,
    pub(crate) startup: Option<Startup>,
}

/// The initializer and its serialised arguments.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Startup {
    pub(crate) function: FnRef,
    pub(crate) args: Vec<u8>,
}

/// The descriptor by which a child finds [`live`].
pub(crate) fn entry() -> &'static Entry<Role> {
    static ENTRY: Entry<Role> = Entry::new(|| "multiproc pool worker", live);
    &ENTRY
}

/// Runs an initializer.
pub(crate) type Initialize = fn(&mut Reader<'_>) -> Result<(), TaskKind>;

impl Callable for Initialize {
    const TAG: u64 = 3;
}

/// The descriptor of an initializer.
pub(crate) fn initializer_entry<F: Task<A>, A: Args>() -> &'static Entry<Initialize> {
    struct Holder<F, A>(PhantomData<(F, A)>);
    impl<F: Task<A>, A: Args> Holder<F, A> {
        const ENTRY: &'static Entry<Initialize> = &Entry::new(type_name::<F>, initialize::<F, A>);
    }
    Holder::<F, A>::ENTRY
}

fn initialize<F: Task<A>, A: Args>(reader: &mut Reader<'_>) -> Result<(), TaskKind> {
    let args = A::decode(reader).map_err(|error| TaskKind::Decode { text: error.0 })?;
    catch_unwind(AssertUnwindSafe(|| drop(conjure::<F>().call(args))))
        .map_err(|payload| panic::describe(payload).into())
}

/// Writes a job header: the function, and behind it the context as it is.
pub(crate) fn encode_header(function: &FnRef, context: &[u8]) -> Vec<u8> {
    let function = codec::to_bytes(function);
    let mut bytes = codec::prefix(function.len()).to_vec();
    bytes.extend_from_slice(&function);
    bytes.extend_from_slice(context);
    bytes
}

fn decode_header(bytes: &[u8]) -> Result<(FnRef, Vec<u8>), String> {
    let damaged = || "a job header is damaged".to_owned();
    let (len, rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
    let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| damaged())?;
    let (function, context) = rest.split_at_checked(len).ok_or_else(damaged)?;
    Ok((codec::from_bytes(function).map_err(|error| error.0)?, context.to_vec()))
}

/// What a worker knows of a job.
struct Known {
    function: Result<&'static Entry<Run>, String>,
    context: Context,
}

impl Known {
    fn new(header: &[u8]) -> Known {
        match decode_header(header) {
            Ok((function, context)) => Known { function: function.resolve(), context: Context::Bytes(context) },
            Err(text) => Known { function: Err(text), context: Context::Bytes(Vec::new()) },
        }
    }
}

/// A worker's life; the result is its exit code.
fn live(childhood: Childhood) -> i32 {
    let control = childhood.control.clone();
    let (mut link, startup) = match open_link(childhood) {
        Ok(open) => open,
        Err(error) => {
            let _ = control.send(&Reply::Refused(format!("its link: {error}")), &[]);
            return 1;
        }
    };
    panic::note();
    if let Some(startup) = startup {
        if let Err(error) = start_up(&startup) {
            let _ = control.send(&Reply::Initializer(error), &[]);
            return 1;
        }
    }
    // An error of either means that the pool is gone, and nobody is left to hear of it.
    if control.send(&Reply::Ready, &[]).is_err() || work(&mut *link).is_err() {
        return 1;
    }
    0
}

fn open_link(childhood: Childhood) -> io::Result<(Box<dyn WorkerLink>, Option<Startup>)> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the setup is damaged");
    let setup: Setup = codec::from_bytes(&childhood.setup).map_err(|_| damaged())?;
    let link: Box<dyn WorkerLink> = match (setup.link, setup.server, &childhood.fds[..]) {
        (LinkKind::Ring, None, [bell, link]) => {
            let bell = Bell::new(Arc::new(memory::map(bell.as_fd())?), setup.party as usize);
            Box::new(RingWorker::new(memory::map(link.as_fd())?, childhood.control, bell)?)
        }
        (LinkKind::Channel, Some(server), []) => {
            let link = ChannelWorker::connect(server)?;
            childhood.control.send(&Reply::Connected, &[])?;
            Box::new(link)
        }
        _ => return Err(damaged()),
    };
    Ok((link, setup.startup))
}

fn start_up(startup: &Startup) -> Result<(), TaskError> {
    let pid = crate::sys::child::own_pid();
    let entry = startup.function.resolve::<Initialize>();
    let name = entry.as_ref().map_or("initializer", |entry| entry.name());
    let outcome = match &entry {
        Ok(entry) => guarded(|| entry.call()(&mut Reader::new(&startup.args))),
        Err(text) => Err(TaskKind::Decode { text: text.clone() }),
    };
    outcome.map_err(|kind| TaskError::new(kind, name, 0, Some(pid)))
}

/// Takes and runs frames until there are no more.
fn work(link: &mut dyn WorkerLink) -> io::Result<()> {
    let mut known: HashMap<u64, Known> = HashMap::new();
    let (mut scratch, mut copy) = (Vec::new(), Vec::new());
    let mut ended: Option<Instant> = None;
    loop {
        // A frame that was there already when the last one ended starts at that moment: one look at the clock less.
        let waited = !link.has_next();
        let incoming = link.next()?;
        let frame = incoming.frame;
        match frame.kind {
            FrameKind::Header => {
                known.insert(frame.header, Known::new(&incoming.payload.to_vec()));
            }
            FrameKind::Forget => {
                known.remove(&frame.header);
            }
            FrameKind::Stop => return Ok(()),
            FrameKind::Tasks => {
                let start = ended.filter(|_| !waited).unwrap_or_else(Instant::now);
                run(link, &frame, &incoming.payload, &mut known, &mut scratch, &mut copy)?;
                let end = Instant::now();
                let nanos = u64::try_from((end - start).as_nanos()).unwrap_or(u64::MAX).max(1);
                link.finish(frame.count, nanos)?;
                ended = Some(end);
            }
        }
    }
}

fn run(
    link: &mut dyn WorkerLink,
    frame: &Frame,
    payload: &Payload,
    known: &mut HashMap<u64, Known>,
    scratch: &mut Vec<u8>,
    copy: &mut Vec<u8>,
) -> io::Result<()> {
    let text = match known.get_mut(&frame.header) {
        Some(Known { function: Ok(entry), context }) => {
            let entry = *entry;
            return payload.read(copy, |input| {
                let mut call = Invocation { frame: *frame, input, link, context, scratch };
                guarded(|| entry.call()(&mut call))
            });
        }
        Some(Known { function: Err(text), .. }) => text.clone(),
        None => "its job header never came".to_owned(),
    };
    let failure = codec::to_bytes(&TaskKind::Decode { text });
    for at in frame.skip..frame.count {
        link.start(at);
        link.failure(at, &failure)?;
    }
    Ok(())
}
