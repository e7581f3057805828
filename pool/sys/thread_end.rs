//! What is done when a thread ends, after the destructors of its thread-locals.
//!
//! Those may run code of the user's, and in any order. What must come after all of them is done by the destructor of a
//! `pthread_key_create(3)` key. The C library runs these in up to four rounds, as long as some value was set again; on systems
//! where std itself uses such a key its destructors run in the first of them. So ours waits for the last one.

use std::ffi::c_void;
use std::sync::OnceLock;

/// `PTHREAD_DESTRUCTOR_ITERATIONS`, in glibc and musl.
const ROUNDS: usize = 4;

struct Key {
    key: libc::pthread_key_t,
    end: fn(u32),
}

/// `None` = the process has too many keys.
static KEY: OnceLock<Option<Key>> = OnceLock::new();

/// Has `end` called with `value` when the calling thread ends; it must be the same function at each call, and `value` below
/// 2^29 and not 0. The last value of a thread is the one. Where the system cannot do so it is never called.
///
/// `end` runs without thread-locals that have destructors, and must not panic.
pub(crate) fn at_thread_end(end: fn(u32), value: u32) {
    let key = KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: the key is written into a variable of ours; the destructor is a function of this library, which stays
        // loaded: its threads run in it until the process ends.
        let code = unsafe { libc::pthread_key_create(&mut key, Some(next_round)) };
        (code == 0).then_some(Key { key, end })
    });
    if let Some(Key { key, .. }) = key {
        set(*key, (value as usize) << 3);
    }
}

fn set(key: libc::pthread_key_t, value: usize) {
    // SAFETY: the key was made by `at_thread_end`, and is never deleted; the value is never followed as a pointer.
    unsafe { libc::pthread_setspecific(key, std::ptr::without_provenance(value)) };
}

/// The low three bits of the value say how many rounds there were before.
extern "C" fn next_round(value: *mut c_void) {
    let Some(Some(Key { key, end })) = KEY.get() else { return };
    let value = value.addr();
    if value & 7 < ROUNDS - 1 {
        set(*key, value + 1);
    } else {
        end((value >> 3) as u32);
    }
}
