//! Synchronisation between processes: the primitives as users see them, which are handles to structures in shared memory.
//! What they do there stands in `algorithm/`.

pub(crate) mod algorithm;
pub(crate) mod barrier;
pub(crate) mod bounded;
pub(crate) mod condition;
pub(crate) mod event;
pub(crate) mod handle;
pub(crate) mod lock;
pub(crate) mod reclaim;
pub(crate) mod rlock;
pub(crate) mod rwlock;
pub(crate) mod semaphore;
#[allow(unsafe_code)]
pub(crate) mod slice;
pub(crate) mod this_thread;
