//! The worker's end of whichever link it has, known by its type: what a worker does for every single task is then inlined
//! into the loop that runs the task.

use crate::codec;
use crate::heap::scope::Pins;
use crate::ipc::channel_worker::ChannelWorker;
use crate::ipc::desk::Desk;
use crate::ipc::link::{Incoming, WorkerLink};
use crate::ipc::rest::Watch;
use crate::ipc::ring_worker::RingWorker;
use crate::sys::fork::Original;
use crate::sys::large_vec::Room;
use std::io;

/// The worker's end of a link. A task may fork, and return in both processes: the fork ends at its next use of the link,
/// before anything of it gets there.
pub(crate) struct WorkerEnd {
    end: End,
    original: Original,
    /// Where the memory of the last large result is kept; `None` if the worker keeps no such memory.
    room: Option<Room>,
}

enum End {
    Ring(RingWorker),
    Channel(ChannelWorker),
}

impl WorkerEnd {
    pub(crate) fn ring(end: RingWorker) -> WorkerEnd {
        WorkerEnd { end: End::Ring(end), original: Original::here(), room: None }
    }

    /// From now on `watch` is told when the worker rests: this is the end of the process.
    pub(crate) fn set_watch(&mut self, watch: Option<&'static Watch>) {
        match &mut self.end {
            End::Ring(link) => link.set_watch(watch),
            End::Channel(link) => link.set_watch(watch),
        }
    }

    /// From now on the memory of a large result is kept for the next large argument, and given back when the worker has nothing
    /// to do for a while. Nobody does so behind a channel.
    pub(crate) fn keep_memory(&mut self) {
        self.room = matches!(self.end, End::Ring(_)).then(Room::default);
    }

    /// Lets go of a result that was given.
    #[inline]
    pub(crate) fn let_go<T: 'static>(&self, value: T) {
        if let Some(room) = &self.room {
            codec::used::<T, T>(value).into_iter().for_each(|memory| room.keep(memory));
        }
    }

    /// What the pool and a running task tell each other, where there is memory for that.
    pub(crate) fn desk(&self) -> Option<Desk> {
        match &self.end {
            End::Ring(link) => Some(link.desk()),
            End::Channel(link) => link.desk().cloned(),
        }
    }

    /// The number of the frame that was taken last.
    #[inline]
    pub(crate) fn seq(&self) -> u64 {
        match &self.end {
            End::Ring(link) => link.seq(),
            End::Channel(link) => link.seq(),
        }
    }

    pub(crate) fn channel(end: ChannelWorker) -> WorkerEnd {
        WorkerEnd { end: End::Channel(end), original: Original::here(), room: None }
    }
}

macro_rules! pass_on {
    ($(fn $name:ident(&mut self $(, $argument:ident: $type:ty)*) $(-> $result:ty)?;)*) => { $(
        #[inline]
        fn $name(&mut self $(, $argument: $type)*) $(-> $result)? {
            self.original.end_forks();
            match &mut self.end {
                End::Ring(link) => link.$name($($argument),*),
                End::Channel(link) => link.$name($($argument),*),
            }
        }
    )* };
}

impl WorkerLink for WorkerEnd {
    pass_on! {
        fn next(&mut self) -> io::Result<Incoming>;
        fn poll(&mut self) -> bool;
        fn start(&mut self, at: u32);
        fn value(&mut self, at: u32, head: &[u8], rest: &[u8]) -> io::Result<()>;
        fn value_with_handles(&mut self, at: u32, value: &mut Vec<u8>, pins: Pins) -> io::Result<()>;
        fn taken(&mut self, at: u32) -> io::Result<()>;
        fn failure(&mut self, at: u32, bytes: &[u8]) -> io::Result<()>;
        fn finish(&mut self, count: u32, nanos: u64) -> io::Result<()>;
        fn flush(&mut self);
    }
}
