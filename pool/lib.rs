//! Python's `multiprocessing`, for Rust, without its pains.
//!
//! ```
//! use multiproc::Pool;
//!
//! let pool = Pool::new(4)?;
//! assert_eq!(pool.map(|x: u64| x * x, 0..5)?, [0, 1, 4, 9, 16]);
//! # Ok::<(), multiproc::Error>(())
//! ```
//!
//! Begin with [`Pool`]: it starts worker processes, hands them tasks, and brings the results back in order. The [guide] goes on
//! from there, the [cookbook](guide::cookbook) answers questions with code, [What this error means](guide::errors) explains
//! messages, and [From Python](guide::from_python) has each name of Python's `multiprocessing`. The rest:
//!
//! | what | for |
//! |---|---|
//! | [`Pool::builder`], [`PoolBuilder`] | the number of workers and their life: initializer, finalizer, limits, a name, the kind of link |
//! | [`Pool::map`], [`Pool::map_each`], [`Pool::try_map`], [`Pool::starmap`], [`Pool::apply`] | calls that block |
//! | [`Pool::apply_async`], [`Pool::map_async`], [`AsyncResult`] | calls whose results are asked for later |
//! | [`Pool::imap`], [`Pool::imap_unordered`], [`Imap`] | results one by one, endless inputs |
//! | [`wait_any`], [`as_completed`], [`AsCompleted`] | waiting for several results at once |
//! | [`Pool::tasks`], [`Pool::task`], [`Pool::star_tasks`], [`Call`], [`One`] | calls that are described (time limits, retries, fallible functions …), then delivered |
//! | [`Call::retry`], [`Retry`] | which tasks that have failed are run again, how often, and after which pause |
//! | [`Call::checkpoint`] | results that are kept in a file, so that a program that was killed goes on where it was |
//! | [`Pool::ref_tasks`], [`ByRef`] | borrowed items: `&str`, slices |
//! | [`Pool::with`], [`With`] | data that every task of a call sees |
//! | [`PoolBuilder::state`], [`Pool::on_state`] | data of each worker that its tasks change |
//! | [`Pool::on_each_worker`], [`EachWorker`] | a call that runs once in every worker |
//! | [`PoolBuilder::max_pending`], [`Call::try_submit`], [`TrySubmitError`] | a bound for calls that nobody waits in |
//! | [`Pool::drain`], [`PoolBuilder::drain_on`] | the end of a service: what runs ends, the rest is given back |
//! | [`Pool::resize`] | more or fewer workers |
//! | [`worker_number`], [`PoolBuilder::env_each`] | which worker this is, and an environment for each |
//! | [`PoolBuilder::env`], [`CpuAffinity`], [`PoolBuilder::capture_output`], [`OutputLine`] | what workers run in, and what they write |
//! | [`Pool::generate`], [`Emit`], [`Generate`], [`Generated`] | values that a task gives while it runs |
//! | [`current_task`], [`CurrentTask`], [`Call::soft_timeout`] | what a running task knows of itself: whether it should end early, how much time it has |
//! | [`PoolBuilder::end_descendants`], [`DescendantControl`] | what becomes of the programs that tasks start |
//! | [`Call::progress`], [`Progress`] | how far a call has come; `Call::progress_bar` with the feature `indicatif` |
//! | `PoolBuilder::sandbox`, `Sandbox`, `sandbox_posture`, `SandboxPosture` (feature `sandbox`) | workers that may not do what their user may |
//! | [`Pool::stats`], [`PoolStats`], [`WorkerStats`], [`RunningTask`], [`JobStats`], [`SlowTask`], [`Histogram`] | what a pool, its workers and its calls have done so far |
//! | [`PoolBuilder::on_worker`], [`WorkerEvent`] | what happens to the workers, as it happens |
//! | [`PoolBuilder::view`] | a look at a pool from outside, while it works |
//! | [`PoolBuilder::report_to`] | a page about what the pool has done, written at its end |
//! | [`PoolBuilder::trace_to`] | a trace of the tasks over the workers, for Perfetto |
//! | `PoolBuilder::on`, `cluster::Command`, … (feature `cluster`) | workers on other machines |
//! | [`ThreadPool`] | the same calls on threads |
//! | [`Process`], [`ProcessBuilder`], [`Stdio`], [`ProcessHandle`], [`join_all`] | processes one by one |
//! | [`current_process`], [`parent_process`], [`active_children`] | who is who |
//! | [`Lock`], [`RLock`], [`LockGuard`], [`RLockGuard`] | one process at a time |
//! | [`RwLock`], [`RwLockReadGuard`], [`RwLockWriteGuard`] | many readers or one writer |
//! | [`Semaphore`], [`BoundedSemaphore`], [`Permit`] | a number of permits |
//! | [`Event`], [`Condition`], [`ConditionGuard`], [`Barrier`] | waiting for others |
//! | [`Value`], [`Array`] | data that processes share, with a lock; [`RawValue`], [`RawArray`] without |
//! | [`SharedMemory`] | bytes that processes share, also with Python and C programs, by name |
//! | [`SharedMemoryManager`] | such bytes whose names end with it |
//! | [`ShareableList`], [`Item`] | a list of mixed values in it, as Python has it |
//! | [`Queue`], [`SimpleQueue`] | values from process to process |
//! | [`JoinableQueue`], [`OpenTask`] | tasks, and waiting until all are done |
//! | [`pipe`], [`pipe_oneway`], [`Connection`] | two ends that send to each other |
//! | [`channel`], [`Sender`], [`Receiver`], [`ReceiverIter`] | a queue that ends with its last sender |
//! | [`SharedDict`], [`SharedList`] | a map and a list of values in shared memory |
//! | [`Manager`], [`ManagerHandle`], [`Proxy`] | objects of any type in a process of their own, called from all others |
//! | [`DictProxy`], [`ListProxy`], [`ValueProxy`], [`NamespaceProxy`] | those that Python's managers have |
//! | `Listener`, `Client`, `RemoteConnection`, `Address`, `AuthKey`, `PyValue` (feature `remote`) | messages to and from other programs, also in Python |
//! | `RemoteManager`, `RemoteProxy`, `RemoteQueue`, … (feature `remote`) | objects that a manager of another program holds, also in Python |
//! | `ManagerServer`, `Exposed`, `PyException` (feature `remote`) | objects of this program, for others that may be in Python |
//! | [`Element`], [`Pod`], [`Integer`], [`bytemuck`] | what may be shared |
//! | [`shared_memory_report`], [`SharedMemoryReport`] | what is in shared memory |
//! | [`Error`], [`TaskError`], [`ProcessError`], [`LockError`], [`BrokenBarrierError`], [`PutError`], [`GetError`], [`CollectionError`], [`ManagerError`], [`RemoteError`] | what can go wrong |
//! | [`Payload`], [`Args`], [`Portable`], [`Task`], [`call`] | what can travel, and what can be called |
//! | [`Ipc`], [`ipc_channel`] | ends of ipc-channel in values of one's own that travel |
//! | [`cpu_count`], [`init`] | how many CPUs there are; programs without the feature `auto` |
//!
//! Or with [`Process`]: it runs one function in a process of its own, to be waited for, signalled, and joined.
//!
//! # How a worker comes to life
//!
//! A worker is this program, started again. It recognises itself before `main`, so that no line in `main` is needed; a
//! library may use a pool without its users knowing. What `main` does is not done in a worker.
//!
//! # Time limits
//!
//! Every wait has a form with a time limit, whose name ends in `_timeout`. When the time is over it returns `None`, or `false`
//! where the wait itself returns nothing, and nothing has changed: it may be called again. ([`Imap::next_timeout`] returns
//! `Poll::Pending`, since `None` is the end of the iteration.) Locks, whose waits can fail themselves, return `Ok(None)` or
//! `Ok(false)`.
//! [`Call::timeout`] is another thing: it limits the task, and stops it.
//!
//! # If a worker dies
//!
//! Exactly the task that it was running fails; see [`Pool`]. No call hangs, and no task is started twice.

// On docs.rs an item of an optional feature is labelled with its name.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(target_os = "linux"))]
compile_error!("multiproc runs on Linux only: it is built on futexes, pidfds, memory files and `/proc/self/exe`");

#[cfg(not(target_pointer_width = "64"))]
compile_error!("multiproc runs on 64-bit targets only: the file of the memory that processes share is 8 TiB long");

mod api;
mod attached_fds;
mod channels;
mod codec;
mod collections;
#[cfg(feature = "remote")]
mod connection;
mod engine;
mod error;
#[allow(unsafe_code)]
mod heap;
#[allow(unsafe_code)]
mod identity;
mod ipc;
mod managers;
#[cfg(feature = "cluster")]
mod nodes;
#[cfg(feature = "remote")]
mod pickle;
mod portable;
mod process;
mod shared;
mod sync;
#[allow(unsafe_code)]
mod sys;

pub use crate::api::affinity::CpuAffinity;
pub use crate::api::after::After;
pub use crate::api::async_result::AsyncResult;
pub use crate::api::builder::PoolBuilder;
pub use crate::api::call::Call;
pub use crate::api::completed::{AsCompleted, as_completed, wait_any, wait_any_timeout};
pub use crate::api::each_worker::EachWorker;
pub use crate::api::generate::{Generate, Generated};
pub use crate::api::imap::Imap;
pub use crate::api::one::One;
pub use crate::api::pool::Pool;
pub use crate::api::thread_pool::ThreadPool;
pub use crate::api::with::With;
pub use crate::channels::channel::{Receiver, ReceiverIter, Sender, channel, try_channel};
pub use crate::channels::joinable::{JoinableQueue, OpenTask};
pub use crate::channels::pipe::{Connection, pipe, pipe_oneway, try_pipe};
pub use crate::channels::queue::Queue;
pub use crate::channels::readiness::Readiness;
pub use crate::channels::simple::SimpleQueue;
pub use crate::channels::wait::{Waitable, wait};
pub use crate::codec::Payload;
pub use crate::collections::dict::SharedDict;
pub use crate::collections::list::SharedList;
#[cfg(feature = "remote")]
pub use crate::connection::{
    address::Address,
    auth::AuthKey,
    client::{Client, ClientBuilder},
    listener::{Listener, ListenerBuilder},
    remote::RemoteConnection,
};
pub use crate::engine::call::job_stats::{JobStats, SlowTask};
pub use crate::engine::call::progress::Progress;
pub use crate::engine::call::retry::Retry;
pub use crate::engine::core::stats::{PoolStats, RunningTask, WorkerStats};
pub use crate::engine::watch::histogram::Histogram;
pub use crate::engine::watch::output::OutputLine;
pub use crate::engine::watch::worker_event::WorkerEvent;
pub use crate::engine::worker::current_task::{CurrentTask, current_task};
pub use crate::engine::worker::emit::Emit;
pub use crate::engine::worker::number::worker_number;
#[cfg(feature = "sandbox")]
pub use crate::engine::worker::sandbox::{Enforcement, Sandbox, SandboxPosture, sandbox_posture};
pub use crate::error::{
    BrokenBarrierError, CollectionError, Error, GetError, LockError, ManagerError, ProcessError, PutError, RemoteError,
    Result, TaskError, TrySubmitError,
};
#[cfg(feature = "remote")]
pub use crate::error::{ConnectionError, RemoteCallError};
pub use crate::heap::report::{SharedMemoryReport, shared_memory_report};
pub use crate::ipc::ends::Ipc;
pub use crate::ipc::link::LinkKind;
pub use crate::managers::dict::DictProxy;
pub use crate::managers::handle::ManagerHandle;
pub use crate::managers::list::ListProxy;
pub use crate::managers::manager::{Manager, ManagerBuilder};
pub use crate::managers::namespace::{Namespace, NamespaceProxy};
pub use crate::managers::proxy::Proxy;
#[cfg(feature = "remote")]
pub use crate::managers::remote::{
    dict::RemoteDict,
    exception::PyException,
    exposed::Exposed,
    list::RemoteList,
    locks::{RemoteEvent, RemoteLock, RemoteLockGuard},
    manager::{RemoteManager, RemoteManagerBuilder},
    proxy::RemoteProxy,
    queue::RemoteQueue,
    server::{ManagerServer, ManagerServerBuilder, ManagerServerHandle},
    values::{RemoteNamespace, RemoteValue},
};
pub use crate::managers::value::ValueProxy;
#[cfg(feature = "remote")]
pub use crate::pickle::value::PyValue;
pub use crate::portable::Portable;
pub use crate::process::args::{Args, Task};
pub use crate::process::bootstrap::init;
pub use crate::process::builder::ProcessBuilder;
pub use crate::process::children::{active_children, join_all};
pub use crate::process::context::ByRef;
pub use crate::process::current::{CurrentProcess, ParentProcess, current_process, parent_process};
pub use crate::process::descendants::DescendantControl;
pub use crate::process::handle::{Process, ProcessHandle};
pub use crate::process::surroundings::Stdio;
pub use crate::process::template::StartMethod;
pub use crate::shared::array::{Array, ArrayGuard};
pub use crate::shared::element::Element;
pub use crate::shared::item::Item;
pub use crate::shared::raw::{Integer, RawValue};
pub use crate::shared::raw_array::RawArray;
pub use crate::shared::shareable_list::ShareableList;
pub use crate::shared::shared_memory::SharedMemory;
pub use crate::shared::shared_memory_manager::SharedMemoryManager;
pub use crate::shared::value::{Value, ValueGuard};
pub use crate::sync::barrier::Barrier;
pub use crate::sync::bounded::BoundedSemaphore;
pub use crate::sync::condition::{Condition, ConditionGuard};
pub use crate::sync::event::Event;
pub use crate::sync::lock::{Lock, LockGuard};
pub use crate::sync::rlock::{RLock, RLockGuard};
pub use crate::sync::rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use crate::sync::semaphore::{Permit, Semaphore};
pub use crate::sys::cpu::cpu_count;
pub use bytemuck::{self, Pod};
pub use ipc_channel;

/// Where the workers of a pool are, if not on this machine: see [`PoolBuilder::on`] (feature `cluster`).
#[cfg(feature = "cluster")]
pub mod cluster {
    pub use crate::nodes::event::{NodeEvent, NodeEventKind};
    pub use crate::nodes::starters::{command::Command, listen::Listen, ship::Ship, ssh::Ssh};
    pub use crate::nodes::starters::{from_env::from_env, starter::Nodes};
}

/// The type parameters of [`Call`], [`One`], [`Generate`] and [`With`]: what is called, and how. Nobody needs to name them, but
/// for a function that returns a call or a context.
pub mod call {
    pub use crate::api::after::ResultArgs;
    pub use crate::engine::call::keyed::Keyed;
    pub use crate::engine::worker::work::{Accepts, Borrowed, Owned, Shape};
    pub use crate::process::context::{Bare, Both, Context, OnState, Shared};
    pub use crate::process::returns::{Completion, Fallible, Plain, Returns};
}

/// Where the links of the documents lead to when they are pages of this one. They come first, so that they count: behind a
/// document stand the files of the repository. Its pictures stay there.
#[cfg(all(doc, not(doctest)))]
macro_rules! links {
    () => {
        "\
[Cookbook]: crate::guide::cookbook
[From Python]: crate::guide::from_python
[Guide]: crate::guide
[Looking at a running pool]: crate::guide::view
[Many machines]: crate::guide::cluster
[Performance]: crate::guide::performance
[Python's tests]: https://docs.rs/crate/multiproc/latest/source/tests/python/
[What this error means]: crate::guide::errors
[repair]: crate::guide::cookbook#how-do-i-repair-what-a-killed-process-has-left-half-done
[peers]: data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=
[report]: data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=
[top]: data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=
"
    };
}

#[cfg(doc)]
#[cfg_attr(not(doctest), doc = links!())]
#[doc = include_str!("../docs/guide.md")]
pub mod guide {
    #[cfg_attr(not(doctest), doc = links!())]
    #[doc = include_str!("../docs/cookbook.md")]
    pub mod cookbook {}

    #[cfg_attr(not(doctest), doc = links!())]
    #[doc = include_str!("../docs/errors.md")]
    pub mod errors {}

    #[cfg_attr(not(doctest), doc = links!())]
    #[doc = include_str!("../docs/view.md")]
    pub mod view {}

    #[cfg(any(feature = "cluster", not(doctest)))]
    #[cfg_attr(not(doctest), doc = links!())]
    #[doc = include_str!("../docs/cluster.md")]
    pub mod cluster {}

    #[cfg_attr(not(doctest), doc = links!())]
    #[doc = include_str!("../docs/from_python.md")]
    pub mod from_python {}

    #[cfg_attr(not(doctest), doc = links!())]
    #[doc = include_str!("../docs/comparison.md")]
    pub mod comparison {}

    #[cfg_attr(not(doctest), doc = links!())]
    #[doc = include_str!("../docs/performance.md")]
    pub mod performance {}

    #[cfg_attr(not(doctest), doc = links!())]
    #[doc = include_str!("../docs/reliability.md")]
    pub mod reliability {}

    #[cfg_attr(not(doctest), doc = links!())]
    #[doc = include_str!("../docs/architecture.md")]
    pub mod architecture {}

    #[cfg_attr(not(doctest), doc = links!())]
    #[doc = include_str!("../docs/ordering.md")]
    pub mod ordering {}
}

/// Its examples are compiled and run as those of all other documents.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
