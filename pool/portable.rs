//! [`Portable`]: which functions may run in another process, and the one condition that the compiler cannot check.

use std::marker::PhantomData;

/// A function that can run in another process: a `fn` or a closure that captures nothing.
///
/// Only the *name* of a function travels to another process, which has the same function: it is the same program. What a
/// function captures does not travel. The compiler refuses, each with the cure in its message:
///
/// - A closure that has moved something into itself which is not `Copy` (a `Vec`, a `String`), when types are checked.
/// - A closure that has captured a value that is `Copy`, and a function pointer, when the program is *built*; `cargo check`
///   does not see it.
///
/// The cure: pass captured data with [`Pool::with`](crate::Pool::with), as part of the items, or as an argument.
///
/// ```compile_fail,E0277
/// let table = vec![1, 2, 3];
/// let pool = multiproc::Pool::new(1).unwrap();
/// pool.map(move |i: usize| table[i], 0..3).unwrap();
/// ```
///
/// # Soundness
///
/// **A captured value without a size is not refused**, since such a closure looks like one that captures nothing. The other
/// process then makes the closure, and with it the value, out of nothing. That is harmless for a value that means nothing,
/// such as `()`. It is *not* for a token: a `Copy` type without a size whose existence proves that something was done in
/// **this** process, and on whose proof `unsafe` code relies. The other process has not done it.
///
/// ```no_run
/// # mod device {
/// #     #[derive(Clone, Copy)]
/// #     pub struct Ready(());
/// #     pub fn init() -> Ready { Ready(()) }
/// #     impl Ready { pub fn read(self, _: u32) -> u8 { 0 } }
/// # }
/// let ready = device::init(); // A `Copy` token without a size: the device is mapped, in this process.
/// let pool = multiproc::Pool::new(1)?;
/// pool.map(move |at: u32| ready.read(at), 0..3)?; // Builds. In the worker nothing is mapped.
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// So the caller that passes a function to this library has to make sure that it captures no such token. Make the token in the
/// process that uses it: in the task, or in [`PoolBuilder::state`](crate::PoolBuilder::state).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot run in another process, since it captures something",
    label = "captures what does not travel",
    note = "a task must be a function or a closure that captures nothing: pass captured data with \
            `pool.with(&captured).tasks(|captured, x| .., items)`, as part of the items, or as an argument"
)]
pub trait Portable: Copy + Send + 'static {}

// Without the attribute the compiler would name what is captured (`Vec<i32>: Copy` is not satisfied), and no cure.
#[diagnostic::do_not_recommend]
impl<F: Copy + Send + 'static> Portable for F {}

/// Makes the build fail for a function with a size.
///
/// Every public function that takes one mentions [`Captures::NOTHING`] itself, since the compiler shows only the line that
/// calls the function in which the constant stands.
#[derive(Debug)]
pub(crate) struct Captures<F>(PhantomData<F>);

impl<F> Captures<F> {
    pub(crate) const NOTHING: () = assert!(
        size_of::<F>() == 0,
        "a task must be a function or a closure that captures nothing, and no function pointer: what it captures cannot \
         travel to another process. Pass captured data with `pool.with(&captured).tasks(|captured, x| .., items)`, as part \
         of the items, or as an argument"
    );
}
