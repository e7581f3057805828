//! A library between the program and multiproc: brings functions, a pool of its own, and a registry filled before `main`.

use multiproc::Pool;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

static REGISTERED: AtomicU32 = AtomicU32::new(0);

extern "C" fn register() {
    REGISTERED.fetch_add(1, SeqCst);
}

#[used]
#[unsafe(link_section = ".init_array")]
static REGISTER: extern "C" fn() = register;

/// How often the constructor of this library has run in this process.
pub fn registered() -> u32 {
    REGISTERED.load(SeqCst)
}

pub fn triple(x: u64) -> u64 {
    3 * x
}

#[inline]
pub fn quadruple(x: u64) -> u64 {
    4 * x
}

pub fn generic<T: std::ops::Mul<Output = T> + Copy>(x: T) -> T {
    x * x
}

/// Uses a pool without its caller knowing.
pub fn sum_of_squares(up_to: u64) -> u64 {
    Pool::new(1).unwrap().map(|x: u64| x * x, 0..up_to).unwrap().iter().sum()
}
