//! The primitives as users see them, apart from [`Lock`](crate::Lock): handles to the structures of this folder in shared
//! memory.

pub(crate) mod barrier;
pub(crate) mod bounded;
pub(crate) mod condition;
pub(crate) mod event;
pub(crate) mod handle;
pub(crate) mod rlock;
pub(crate) mod rwlock;
pub(crate) mod semaphore;
