//! What may live in shared memory.

use crate::error::LockError;
use crate::heap::block::Block;
use crate::heap::memory::Memory;
use crate::sync::lock::Lock;
use crate::sys::atomic::{AtomicU64, Ordering};
use bytemuck::{CheckedBitPattern, NoUninit};
use std::ops::{Bound, Range, RangeBounds};

/// What a [`Value`](crate::Value) can hold: plain data without references and without padding, whose bytes can be checked:
/// numbers, `bool`, `char`, arrays of these, and structs that derive bytemuck's traits. Implemented for all of them.
///
/// ```
/// use multiproc::{Value, bytemuck};
///
/// #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
/// #[bytemuck(crate = "multiproc::bytemuck")]
/// #[repr(C)]
/// struct Point {
///     x: f64,
///     y: f64,
/// }
///
/// let point = Value::new(Point { x: 1.0, y: 2.0 });
/// point.lock()?.x = 3.0;
/// assert_eq!(point.get()?.x, 3.0);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot live in shared memory",
    note = "only plain data can, without references, pointers or padding: derive `bytemuck::Pod` and `bytemuck::Zeroable` \
            for it, with `#[repr(C)]`"
)]
pub trait Element: CheckedBitPattern + NoUninit + Send + Sync {}

impl<T: CheckedBitPattern + NoUninit + Send + Sync> Element for T {}

/// A range of indices as `start..end`; `len` is the end of one without.
///
/// # Panics
///
/// Panics when it ends before it starts.
pub(super) fn range_of(range: impl RangeBounds<usize>, len: usize) -> Range<usize> {
    // What is beyond the largest index stays outside: no length reaches it.
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => len,
    };
    assert!(start <= end, "the range {start}..{end} ends before it starts");
    start..end
}

/// Reads one `at` bytes into the memory.
///
/// # Errors
///
/// The bytes are no value of the type: a process has written over them.
pub(super) fn read<T: Element>(memory: &Memory, at: usize) -> Result<T, LockError> {
    let bytes = memory.bytes().slice(at, size_of::<T>()).ok_or(LockError::DAMAGED)?;
    let (mut small, mut large) = ([0; 64], Vec::new());
    let copy = match small.get_mut(..size_of::<T>()) {
        Some(copy) => copy,
        None => {
            large.resize(size_of::<T>(), 0);
            &mut large[..]
        }
    };
    bytes.read_into(copy);
    bytemuck::checked::try_pod_read_unaligned(copy).map_err(|_| LockError::DAMAGED)
}

/// Where elements begin, in bytes: behind the cache line of the lock word, which also says which lock guards them.
pub(super) const DATA: usize = 64;

/// Where that is said, in bytes.
const GUARDED_BY: usize = 8;

/// Says which lock guards the elements in a block, once and for all.
pub(super) fn guard_with(data: &Block, lock: &Lock) {
    if let Some(word) = data.memory().view::<AtomicU64>(GUARDED_BY) {
        // SYNC: guarded by
        word.store(lock.block().identity(), Ordering::Release);
    }
}

/// Whether this lock guards the elements in that block.
pub(super) fn is_guarded_by(data: &Block, lock: &Lock) -> bool {
    let word = data.memory().view::<AtomicU64>(GUARDED_BY);
    // SYNC: guarded by
    word.is_some_and(|word| word.load(Ordering::Acquire) == lock.block().identity())
}

/// Writes one `at` bytes into the memory.
pub(super) fn write<T: Element>(memory: &Memory, at: usize, value: &T) {
    // The block was made, and checked when it arrived, to be large enough.
    let _ = memory.bytes().write(at, bytemuck::bytes_of(value));
}
