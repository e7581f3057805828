//! What a block was made for: a handle of one type never opens a block of another.

/// The kinds of blocks. Those with a lock word have it at their start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// For tests of the heap itself.
    #[cfg(test)]
    Test = 1,
    Lock = 2,
    /// A lock word, and behind it a value.
    Value = 3,
    /// A lock word, and behind it the elements of an array.
    Array = 4,
    RawValue = 5,
    RawArray = 6,
    RLock = 7,
    RwLock = 8,
    Semaphore = 9,
    Event = 10,
    Condition = 11,
    Barrier = 12,
    /// Bytes without a name: `SharedMemory::anonymous`.
    SharedMemory = 14,
    /// Stands for a name in the file system, which goes with it: see [`name`](crate::heap::name).
    Name = 15,
    BoundedSemaphore = 16,
    /// The slots of a queue, which hold its items.
    Queue = 17,
    /// One item of a queue that does not fit its slot, and what it refers to.
    Item = 18,
    /// Stands for all handles to one end of a channel.
    End = 19,
    /// Who works on what was taken from a queue.
    Tally = 20,
    /// Says where the server of a manager is.
    Manager = 21,
    /// Stands for all proxies of an object that a manager holds.
    Object = 22,
    /// The slots of a map, which hold its larger entries.
    Dict = 23,
    /// The slots of a list, which hold its larger entries.
    List = 24,
}

impl Kind {
    /// The kinds of blocks that begin with a lock word, by which a [`Lock`](crate::Lock) can be had of them.
    pub(crate) const LOCKS: &[Kind] = &[Kind::Lock, Kind::Value, Kind::Array];

    /// Whether blocks of this kind may hold other blocks, see [`held`](crate::heap::held).
    pub(crate) fn holds(kind: u8) -> bool {
        [Kind::Queue, Kind::Item, Kind::Dict, Kind::List].iter().any(|it| *it as u8 == kind)
    }

    /// The kinds of blocks that must be opened to take a dead process off them.
    pub(crate) const OPENED: &[Kind] =
        &[Kind::RwLock, Kind::Semaphore, Kind::BoundedSemaphore, Kind::Condition, Kind::Barrier];
}
