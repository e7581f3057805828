//! An allocator that counts, for the tests: how much memory of its own this thread uses.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// Bytes that this thread has allocated, less those that it has freed; memory may have come from another thread.
    static NOW: Cell<isize> = const { Cell::new(0) };
    /// The most that [`NOW`] has been since it was looked at.
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// What a single call asks for is counted also if the system refuses.
fn count(more: usize, less: usize) {
    let now = NOW.get().saturating_add_unsigned(more);
    PEAK.set(PEAK.get().max(now));
    NOW.set(now.saturating_sub_unsigned(less));
}

// SAFETY: every call is handed on to `System` as it is. Counting allocates nothing: the cells of the thread have no
// destructors, and so exist as long as the thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(start, layout, size) }
    }
}

/// Runs `work`, and returns how many more bytes of memory this thread had meanwhile, or asked for, than before.
pub(crate) fn peak<R>(work: impl FnOnce() -> R) -> (R, usize) {
    let before = NOW.get();
    PEAK.set(before);
    let result = work();
    (result, usize::try_from(PEAK.get() - before).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_counted() {
        let (vector, used) = peak(|| vec![0u8; 1000]);
        assert!((1000..1100).contains(&used), "{used}");
        let ((), used) = peak(|| drop(vector));
        assert_eq!(used, 0);
        let (refused, used) = peak(|| Vec::<u8>::new().try_reserve_exact(1 << 60));
        assert!(refused.is_err() && used >= 1 << 60);
    }
}
