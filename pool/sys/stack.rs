//! How much of its stack a thread has left, so that code that recurses can stop in time.

use std::cell::Cell;
use std::mem::MaybeUninit;

/// What recursing code leaves free: for the frames of user code between two looks, and for the way back.
const RESERVE: usize = 192 * 1024;

thread_local! {
    /// See [`floor`]; `usize::MAX` until it was asked for.
    static FLOOR: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Runs code with messages of the library's own, as if the thread had so many bytes of stack left: where it surely has, and has
/// not asked for its floor yet, that spares the question.
pub(crate) fn assuming<R>(bytes: usize, code: impl FnOnce() -> R) -> R {
    let before = FLOOR.replace(top().saturating_sub(bytes));
    let result = code();
    FLOOR.set(before);
    result
}

/// The address below which this thread should not let its stack grow; 0 if the system does not tell, which stops nobody.
///
/// The first call of a thread asks the system, which takes the main thread some 50 us.
#[inline]
pub(crate) fn floor() -> usize {
    match FLOOR.get() {
        usize::MAX => ask(),
        floor => floor,
    }
}

/// About where the stack of this thread ends now.
#[inline]
pub(crate) fn top() -> usize {
    let here = 0u8;
    std::ptr::from_ref(&here).addr()
}

#[cold]
fn ask() -> usize {
    let floor = lowest().map_or(0, |lowest| lowest.saturating_add(RESERVE));
    FLOOR.set(floor);
    floor
}

/// The lowest address of this thread's stack, guard pages included. `pthread_getattr_np(3)`.
pub(super) fn lowest() -> Option<usize> {
    // Miri has its own stack.
    if cfg!(miri) {
        return None;
    }
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: no arguments; names the calling thread.
    let own = unsafe { libc::pthread_self() };
    // SAFETY: `own` is a living thread, this one; the target has room for one set of attributes.
    if unsafe { libc::pthread_getattr_np(own, attributes.as_mut_ptr()) } != 0 {
        return None;
    }
    let (mut lowest, mut len) = (std::ptr::null_mut(), 0);
    // SAFETY: the attributes were just initialised; both targets are valid for the call.
    let told = unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &mut lowest, &mut len) };
    // SAFETY: they were initialised above and are not used again.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    (told == 0).then(|| lowest.addr())
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn the_floor_lies_below_and_not_too_far() {
        let on_a_thread = || {
            let left = top().checked_sub(floor()).unwrap();
            // The C library may hand a thread the stack of one that has ended, up to four times as large as asked for.
            assert!(left < 4 << 20 && left > 512 * 1024, "{left}");
        };
        std::thread::Builder::new().stack_size(1 << 20).spawn(on_a_thread).unwrap().join().unwrap();
    }

    #[test]
    fn what_is_assumed_is_forgotten_behind_the_code() {
        let floors = std::thread::spawn(|| {
            let assumed = assuming(4096, || (top(), floor()));
            (assumed, FLOOR.get(), floor())
        });
        let ((top, assumed), between, floor) = floors.join().unwrap();
        assert!(top.abs_diff(assumed) < 2 * 4096 && between == usize::MAX && floor < assumed);
    }
}
