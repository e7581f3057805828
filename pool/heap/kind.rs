//! What a block was made for: a handle of one type never opens a block of another.

#[allow(dead_code, reason = "the other primitives are built upon the heap next")]
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
    Queue = 13,
    /// Bytes without a name: `SharedMemory::anonymous`.
    SharedMemory = 14,
    /// Stands for a name in the file system, which goes with it: see [`name`](crate::heap::name).
    Name = 15,
}
