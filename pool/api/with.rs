//! [`With`]: calls whose functions get a context in front of their own arguments.

use crate::api::after::{After, ResultArgs};
use crate::api::call::Call;
use crate::api::described::{Described, Shipped};
use crate::api::each_worker::EachWorker;
use crate::api::generate::Generate;
use crate::api::one::One;
#[cfg(doc)]
use crate::api::pool::Pool;
use crate::codec::Payload;
use crate::engine::core::state::Engine;
use crate::engine::worker::emit::Emit;
use crate::engine::worker::work::{Borrowed, Owned};
use crate::portable::{Captures, Portable};
use crate::process::args::{Args, Task};
use crate::process::context::{Both, ByRef, Context, Shared};
use crate::process::returns::Completion;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

/// Calls in a context, from [`Pool::with`] and [`Pool::on_state`]: each function gets the context in front of its own
/// arguments.
///
/// | context | first parameter of the function | what it is |
/// |---|---|---|
/// | `pool.with(&c)` | `&C` | data that all tasks of a call see; serialised once, sent once to each worker |
/// | `pool.on_state()` | `&mut S` | what each worker keeps between tasks, see [`PoolBuilder::state`](crate::PoolBuilder::state) |
/// | `pool.with(&c).on_state()` | `(&C, &mut S)` | both |
///
/// ```
/// use multiproc::Pool;
///
/// let pool = Pool::builder().processes(1).state(|| 0u64, ()).build()?;
/// let prices = vec![5, 7, 9];
/// let totals = pool.with(&prices).on_state().tasks(
///     |(prices, total), item: usize| {
///         *total += prices[item];
///         *total
///     },
///     [0, 2, 1],
/// );
/// assert_eq!(totals.run()?, [5, 14, 21]);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// It can be used for any number of calls. `S` is what the workers of the pool keep, `X` the [`Context`].
#[must_use = "a context does nothing until `tasks`, `task`, `star_tasks` or `ref_tasks`"]
pub struct With<'p, S, X> {
    engine: &'p Arc<Engine>,
    context: Option<Shipped>,
    kind: PhantomData<fn(S, X)>,
}

impl<'p, S, X> With<'p, S, X> {
    pub(super) fn new(engine: &'p Arc<Engine>, context: Option<Shipped>) -> With<'p, S, X> {
        With { engine, context, kind: PhantomData }
    }

    fn described(&self) -> Described<'p> {
        Described::new(self.engine, self.context.clone())
    }
}

impl<'p, S: 'static, C: ByRef + ?Sized> With<'p, S, Shared<C>> {
    /// Gives the functions the state of their worker as well: `(&C, &mut S)`. See [`Pool::on_state`].
    ///
    /// ```
    /// let pool = multiproc::Pool::builder().processes(1).state(String::new, ()).build()?;
    /// let grow = |(part, text): (&str, &mut String), n: usize| {
    ///     text.push_str(&part.repeat(n));
    ///     text.len()
    /// };
    /// assert_eq!(pool.with("ab").on_state().tasks(grow, [1, 2]).run()?, [2, 6]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn on_state(self) -> With<'p, S, Both<C, S>> {
        With::new(self.engine, self.context)
    }
}

impl<'p, S: 'static, X: Context> With<'p, S, X> {
    /// Describes one call of `f` with the context and `args`; otherwise as [`Pool::task`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let words = ["a", "b"].map(String::from);
    /// let task = pool.with(&words[..]).task(|words: &[String], by: String| words.join(&by), ("-".to_owned(),));
    /// assert_eq!(task.run()?, "a-b");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn task<F, A>(&self, f: F, args: A) -> One<'p, Owned<F, A, X>>
    where
        A: Args,
        F: Task<A, X>,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        One::new(self.described(), args)
    }

    /// Describes one call of `f` with the context and the results of other calls; otherwise as [`Pool::task_after`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let index = pool.apply_async(|x: usize| x + 1, (1,))?;
    /// let found = pool.with(&[10, 20, 30][..]).task_after(|table: &[i32], at: usize| table[at], index);
    /// assert_eq!(found.run()?, 30);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn task_after<F, D>(&self, f: F, results: D) -> After<'p, Owned<F, D::Args, X>, D>
    where
        D: ResultArgs,
        F: Task<D::Args, X>,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        After::new(self.described(), results)
    }

    /// Describes a call of `f` with the context and `args` that runs once in every worker; otherwise as
    /// [`Pool::on_each_worker`].
    ///
    /// ```
    /// let pool = multiproc::Pool::builder().processes(2).state(String::new, ()).build()?;
    /// let fill = |(text, kept): (&str, &mut String)| kept.push_str(text);
    /// pool.with("warm").on_state().on_each_worker(fill, ()).run()?;
    /// assert_eq!(pool.on_state().tasks(|kept, _: u32| kept.clone(), [0]).run()?, ["warm"]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn on_each_worker<F, A>(&self, f: F, args: A) -> EachWorker<'p, Owned<F, A, X>>
    where
        A: Args,
        F: Task<A, X>,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        EachWorker::new(self.described(), args)
    }

    /// Describes a call of `f` with the context and each item; otherwise as [`Pool::tasks`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let table = vec![10, 20, 30];
    /// assert_eq!(pool.with(&table).tasks(|table, i: usize| table[i] + 1, 0..3).run()?, [11, 21, 31]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn tasks<F, T, R, I>(&self, f: F, items: I) -> Call<'p, Owned<F, (T,), X>, I::IntoIter>
    where
        F: for<'x> Fn(X::Param<'x>, T) -> R + Portable,
        T: Payload,
        R: 'static,
        I: IntoIterator<Item = T>,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        Call::new(self.described(), items.into_iter())
    }

    /// Describes a call of `f` with the context and the arguments in each tuple; otherwise as [`Pool::star_tasks`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let clamp = |limit: &i64, a: i64, b: i64| (a * b).min(*limit);
    /// assert_eq!(pool.with(&10).star_tasks(clamp, [(2, 3), (4, 5)]).run()?, [6, 10]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn star_tasks<F, A, I>(&self, f: F, items: I) -> Call<'p, Owned<F, A, X>, I::IntoIter>
    where
        A: Args,
        F: Task<A, X>,
        I: IntoIterator<Item = A>,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        Call::new(self.described(), items.into_iter())
    }

    /// Describes a call of `f` with the context, each item and an [`Emit`], by which the task gives any number of values while it
    /// runs; otherwise as [`Pool::generate`].
    ///
    /// ```
    /// use multiproc::{Emit, Pool};
    ///
    /// let pool = Pool::new(2)?;
    /// let words = ["one", "two"].map(String::from);
    /// let letters = |words: &[String], at: usize, emit: &Emit<char>| words[at].chars().try_for_each(|it| emit.send(it));
    /// let all = pool.with(&words[..]).generate(letters, [1, 0]).iter().collect::<Result<String, _>>()?;
    /// assert_eq!(all, "twoone");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn generate<F, I, T, R>(&self, f: F, items: I) -> Generate<'p, F, I::IntoIter, T, R, X>
    where
        F: for<'x, 'e> Fn(X::Param<'x>, I::Item, &'e Emit<T>) -> R + Portable,
        I: IntoIterator<Item: Payload>,
        T: Payload,
        R: Completion + 'static,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        Generate::new(self.described(), items.into_iter())
    }

    /// Describes a call of `f` with the context and a reference to each item; otherwise as [`Pool::ref_tasks`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let count = |letter: &char, word: &str| word.matches(*letter).count();
    /// assert_eq!(pool.with(&'a').ref_tasks(count, ["banana", "bread"]).run()?, [3, 1]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn ref_tasks<F, T, R, I>(&self, f: F, items: I) -> Call<'p, Borrowed<F, T, R, X>, I::IntoIter>
    where
        F: for<'x> Fn(X::Param<'x>, &T) -> R + Portable,
        T: ByRef + ?Sized,
        R: 'static,
        I: IntoIterator<Item: Deref<Target = T>>,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        Call::new(self.described(), items.into_iter())
    }
}

impl<S, X> Clone for With<'_, S, X> {
    fn clone(&self) -> Self {
        With::new(self.engine, self.context.clone())
    }
}

impl<S, X> fmt::Debug for With<'_, S, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.context.as_ref().and_then(|it| it.as_ref().ok()).map(|it| it.bytes.len());
        f.debug_struct("With").field("bytes", &bytes).finish_non_exhaustive()
    }
}
