//! A worker: takes frames, runs their tasks, answers.

use crate::attached_fds::AttachedFds;
use crate::codec::{self, CodecError};
use crate::engine::watch::records::{self, InFrame, Wanted};
use crate::engine::worker::current_task;
use crate::engine::worker::kept_state::Keeper;
use crate::engine::worker::number;
use crate::engine::worker::routines::Routines;
#[cfg(feature = "sandbox")]
use crate::engine::worker::sandbox::Sandbox;
use crate::engine::worker::work::{Context, Invocation, Run};
use crate::error::Failure;
use crate::heap::scope;
use crate::identity::{Entry, FnRef};
use crate::ipc::bell::Bell;
use crate::ipc::channel_worker::ChannelWorker;
use crate::ipc::control::Reply;
use crate::ipc::link::{Frame, FrameKind, Incoming, LinkKind, Payload, WorkerLink};
use crate::ipc::result_limit::ResultLimit;
use crate::ipc::ring_worker::RingWorker;
use crate::ipc::worker_end::WorkerEnd;
use crate::process::panic::{self, guarded};
use crate::process::role::{ChildContext, Role};
use crate::process::{descendants, first_thread};
use crate::sys::time::shared_nanos;
use crate::sys::{cpu, fault, memory, usage};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// What a worker is told before its first frame.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) link: LinkKind,
    /// Its number among the parties of the pool's bell.
    pub(crate) party: u32,
    /// The CPUs that the pool's process may use, as far as it knows.
    pub(crate) cpus: usize,
    pub(crate) routines: Routines,
    pub(crate) limits: Limits,
    /// What its code says is wanted: the last descriptor is where it goes.
    pub(crate) records: Option<Wanted>,
    #[cfg(feature = "sandbox")]
    pub(crate) sandbox: Option<Sandbox>,
}

/// What a worker may use.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// So many bytes of memory more than a fresh one has.
    pub(crate) memory: Option<u64>,
    /// The only CPU that it may use.
    pub(crate) cpu: Option<usize>,
    /// The bytes of one result.
    pub(crate) result: ResultLimit,
    /// What its tasks have started ends with it.
    pub(crate) descendants: bool,
    /// It keeps no memory for the next task, since somebody counts what it has.
    pub(crate) lean: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { memory: None, cpu: None, result: ResultLimit::default(), descendants: true, lean: false }
    }
}

impl Limits {
    /// Sets them for this process.
    fn apply(&self) -> io::Result<()> {
        if self.descendants {
            descendants::look_after()?;
        }
        self.cpu.map_or(Ok(()), |cpu| cpu::pin(&[cpu]))?;
        self.memory.map_or(Ok(()), usage::limit_memory)
    }
}

/// The descriptor by which a child finds [`live`].
pub(crate) fn entry() -> &'static Entry<Role> {
    static ENTRY: Entry<Role> = Entry::new(|| "multiproc pool worker", live);
    &ENTRY
}

/// Writes a job header: the function, the trace and the span that the call belongs to, and behind them the context as it is.
pub(crate) fn encode_header(function: &FnRef, traceparent: Option<&str>, span: Option<u64>, context: &[u8]) -> Vec<u8> {
    let function = codec::to_bytes(&(function, traceparent, span));
    let mut bytes = codec::prefix(function.len()).to_vec();
    bytes.extend_from_slice(&function);
    bytes.extend_from_slice(context);
    bytes
}

/// What [`encode_header`] has written: function, trace, span, and behind how many bytes the context begins.
type Told = (FnRef, Option<Arc<str>>, Option<u64>, usize);

fn decode_header(header: &Payload) -> Result<Told, String> {
    header
        .read(&mut Vec::new(), |reader| {
            let (function, traceparent, span): (FnRef, Option<String>, _) = codec::from_bytes(&reader.body_bytes()?)?;
            Ok((function, traceparent.map(Into::into), span, reader.position()))
        })
        .map_err(|CodecError(text)| text)
}

/// What a worker knows of a job.
struct Known {
    function: Result<&'static Entry<Run>, String>,
    context: Context,
    traceparent: Option<Arc<str>>,
    /// The number of the span that the call belongs to.
    span: Option<u64>,
}

impl Known {
    fn new(header: Payload, attached: Vec<Arc<AttachedFds>>) -> Known {
        // The room in the link is needed again.
        let known = header.into_own().map_err(|CodecError(text)| text).and_then(|header| {
            let (function, traceparent, span, start) = decode_header(&header)?;
            Ok(Known {
                function: function.resolve(),
                context: Context::Bytes { header, start, attached },
                traceparent,
                span,
            })
        });
        known.unwrap_or_else(|text| Known {
            function: Err(text.clone()),
            context: Context::Bad(text),
            traceparent: None,
            span: None,
        })
    }
}

/// A worker's life; the result is its exit code.
fn live(childhood: ChildContext) -> i32 {
    let control = childhood.control.clone();
    let (mut link, setup, records) = match open_link(childhood) {
        Ok(open) => open,
        Err(error) => {
            let _ = control.send(&Reply::Refused(format!("its link: {error}")), &[]);
            return 1;
        }
    };
    panic::note();
    let mut keeper = match Keeper::start(&setup.routines) {
        Ok(keeper) => keeper,
        Err(error) => {
            let _ = control.send(&Reply::Initializer(error), &[]);
            return 1;
        }
    };
    fault::watch_before_others();
    // Not before the initializer, which may have installed a logger or a subscriber.
    if let Some((wanted, socket)) = records {
        records::forward(wanted, socket);
    }
    #[cfg(feature = "sandbox")]
    if let Some(Err(cause)) = setup.sandbox.as_ref().map(Sandbox::enter) {
        let _ = control.send(&Reply::Refused(cause), &[]);
        return 1;
    }
    // An error of either means that the pool is gone, and nobody is left to hear of it; or that the state is.
    if control.send(&Reply::Ready, &[]).is_err() || work(&mut link, &mut keeper).is_err() {
        return 1;
    }
    keeper.finish(&setup.routines);
    0
}

/// Where what the worker's code says goes.
type RecordsEnd = Option<(Wanted, OwnedFd)>;

fn open_link(mut childhood: ChildContext) -> io::Result<(WorkerEnd, Setup, RecordsEnd)> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the setup is damaged");
    let mut setup: Setup = codec::from_bytes(&childhood.setup).map_err(|_| damaged())?;
    cpu::note_count(setup.cpus);
    let records = setup.records.and_then(|wanted| Some((wanted, childhood.fds.pop()?)));
    let mut link = match (setup.link, &childhood.fds[..]) {
        (LinkKind::Ring, [bell, shared, tasks]) => {
            let bell = Bell::new(Arc::new(memory::map(bell.as_fd())?), setup.party as usize);
            WorkerEnd::ring(RingWorker::new([shared, tasks], childhood.control, bell, setup.limits.result)?)
        }
        (LinkKind::Channel, _) => {
            WorkerEnd::channel(ChannelWorker::new(childhood.fds, childhood.control, setup.limits.result)?)
        }
        (LinkKind::Ring, _) => return Err(damaged()),
    };
    link.set_watch(first_thread::watch());
    if !setup.limits.lean {
        link.keep_memory();
    }
    setup.limits.apply()?;
    // The pool itself is the first party of the bell.
    number::set_of_process(setup.party.saturating_sub(1) as usize);
    setup.routines.load(childhood.attached);
    Ok((link, setup, records))
}

/// Takes and runs frames until there are no more.
pub(crate) fn work(link: &mut WorkerEnd, keeper: &mut Keeper) -> io::Result<()> {
    let mut bench = Bench::default();
    current_task::begin(link);
    loop {
        let incoming = link.next()?;
        let header = incoming.frame.header;
        match incoming.frame.kind {
            FrameKind::Header => bench.learn(header, incoming.payload, incoming.attached),
            FrameKind::Forget => bench.forget(header),
            FrameKind::Stop => return Ok(()),
            FrameKind::Tasks => bench.run(link, incoming, keeper)?,
        }
    }
}

/// So much room for a value that is serialised is kept from frame to frame.
const KEEP: usize = 1 << 20;

/// What a worker has at hand from frame to frame.
#[derive(Default)]
pub(crate) struct Bench {
    known: BTreeMap<u64, Known>,
    scratch: Vec<u8>,
    copy: Vec<u8>,
    /// When the last frame has ended, by [`shared_nanos`].
    ended: Option<u64>,
}

impl Bench {
    /// Reads a header of jobs.
    pub(crate) fn learn(&mut self, header: u64, payload: Payload, attached: Vec<Arc<AttachedFds>>) {
        self.known.insert(header, Known::new(payload, attached));
    }

    pub(crate) fn forget(&mut self, header: u64) {
        self.known.remove(&header);
    }

    pub(crate) fn knows(&self, header: u64) -> bool {
        self.known.contains_key(&header)
    }

    /// Runs the tasks of a frame.
    #[inline]
    pub(crate) fn run(&mut self, link: &mut WorkerEnd, incoming: Incoming, keeper: &mut Keeper) -> io::Result<()> {
        let Incoming { frame, payload, attached, waited } = incoming;
        current_task::note_frame(link, frame.first);
        // A frame that was there already when the last one ended starts at that moment: one look at the clock less.
        let start = self.ended.filter(|_| !waited).unwrap_or_else(shared_nanos);
        let mut run = || self.run_tasks(link, &frame, &payload, keeper);
        match attached {
            attached if attached.is_empty() => run()?,
            attached => scope::with_attached(attached, run)?,
        }
        let end = shared_nanos();
        link.finish(frame.count, end.saturating_sub(start).max(1))?;
        if self.scratch.capacity() > KEEP {
            self.scratch = Vec::new();
        }
        self.ended = Some(end);
        Ok(())
    }

    fn run_tasks(
        &mut self,
        link: &mut WorkerEnd,
        frame: &Frame,
        payload: &Payload,
        keeper: &mut Keeper,
    ) -> io::Result<()> {
        let Bench { known, scratch, copy, .. } = self;
        let text = match known.get_mut(&frame.header) {
            Some(Known { function: Ok(entry), context, traceparent, span }) => {
                let entry = *entry;
                let _trace = traceparent.as_ref().map(current_task::within_trace);
                let _frame = InFrame::new(entry.name(), *span, current_task::running);
                return payload.read(copy, |input| {
                    let mut call = Invocation { frame: *frame, input, link, context, keeper, scratch };
                    guarded(|| entry.call()(&mut call))
                });
            }
            Some(Known { function: Err(text), .. }) => text.clone(),
            None => "its job header never came".to_owned(),
        };
        let failure = codec::to_bytes(&Failure::Decode { text });
        for at in frame.skip..frame.count {
            link.start(at);
            link.failure(at, &failure)?;
        }
        Ok(())
    }
}
