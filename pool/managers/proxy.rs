//! [`Proxy`]: an object in a manager's server, to call functions on it.

use crate::codec::Payload;
use crate::error::ManagerError;
use crate::heap::block::Block;
use crate::heap::held;
use crate::heap::kind::Kind;
use crate::managers::handle::ManagerHandle;
use crate::managers::request;
use crate::portable::Captures;
use crate::process::args::{Args, Task};
use crate::process::context::OnState;
use crate::process::returns::{Fallible, Plain};
use crate::sys::time::Deadline;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// An object that a [`Manager`](crate::Manager) holds, seen from any process: functions are called on it where it is.
///
/// A handle: clones, and what arrives in another process, are the same object. The object goes with the last of them, also if
/// that was in a process that was killed.
///
/// ```
/// use multiproc::{Manager, Process, Proxy};
///
/// struct Account {
///     balance: i64, // need not be serialisable: it never leaves the server
/// }
///
/// impl Account {
///     fn open(balance: i64) -> Account {
///         Account { balance }
///     }
///     fn deposit(&mut self, amount: i64) -> i64 {
///         self.balance += amount;
///         self.balance
///     }
/// }
///
/// let manager = Manager::new()?;
/// let account = manager.create(Account::open, (100,))?;
/// let deposit = |account: Proxy<Account>| account.call(Account::deposit, (50,)).unwrap();
/// assert_eq!(Process::spawn(deposit, (account.clone(),))?.join()?, 150);
/// assert_eq!(account.call(|account: &mut Account| account.balance, ())?, 150);
/// # Ok::<(), multiproc::Error>(())
/// ```
pub struct Proxy<T> {
    share: Share,
    timeout: Option<Duration>,
    object: PhantomData<fn(T) -> T>,
}

/// What keeps an object alive.
#[derive(Clone)]
struct Share {
    manager: ManagerHandle,
    /// Stands for all proxies of the object. Only taken when this is dropped.
    stands_for: Option<Block>,
}

impl Share {
    /// The object's number among all of the tree.
    #[inline]
    fn id(&self) -> u64 {
        self.stands_for.as_ref().map_or(0, held::word_of)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let id = self.id();
        drop(self.stands_for.take());
        if !held::is_held(id) {
            self.manager.tell_gone(id);
        }
    }
}

impl<T: 'static> Proxy<T> {
    /// Calls `f` with the object and `args` in the server, and returns what it returns.
    ///
    /// `f` is a function or a closure that captures nothing; its first parameter is `&mut T`.
    ///
    /// ```
    /// use multiproc::Manager;
    /// use std::collections::HashMap;
    ///
    /// let manager = Manager::new()?;
    /// let counter = manager.create(HashMap::<String, u64>::new, ())?;
    /// counter.call(HashMap::insert, ("a".to_owned(), 1))?;
    /// let removed = counter.call(|map: &mut HashMap<String, u64>, key: String| map.remove(&key), ("a".to_owned(),))?;
    /// assert_eq!(removed, Some(1));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ManagerError::is_panic`]: the function panicked.
    /// - [`ManagerError::is_gone`]: the server has ended, or ends before the function has returned.
    /// - [`ManagerError::is_timed_out`]: see [`Proxy::with_timeout`].
    /// - [`ManagerError::is_would_deadlock`]: the call is part of a call of the same object.
    /// - [`ManagerError::is_encode`], [`ManagerError::is_decode`]: a value could not be sent or read. Ends of ipc-channel are
    ///   descriptors and cannot be sent here.
    /// - [`ManagerError::is_shared_memory`]: it is exhausted, or this process has none.
    ///
    /// # Panics
    ///
    /// A panic of an argument's `Serialize` goes through to the caller.
    ///
    /// # Timeouts
    ///
    /// Waits as long as the function and those that were called before it on this object take; see [`Proxy::with_timeout`].
    pub fn call<F, A>(&self, f: F, args: A) -> Result<F::Output, ManagerError>
    where
        A: Args,
        F: Task<A, OnState<T>, Output: Payload>,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        self.share.manager.ask(self.share.id(), request::call_entry::<F, A, T, Plain>(), &args, self.deadline())
    }

    /// Like [`Proxy::call`], for a function that can fail: an `Err` is the failure of the call.
    ///
    /// ```
    /// let manager = multiproc::Manager::new()?;
    /// let total = manager.value(0u32)?;
    /// let add = |total: &mut u32, text: String| text.parse::<u32>().map(|number| *total += number);
    /// total.try_call(add, ("7".to_owned(),))?;
    /// let error = total.try_call(add, ("x".to_owned(),)).unwrap_err();
    /// assert!(error.is_error());
    /// assert_eq!(total.get()?, 7);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`]; and [`ManagerError::is_error`]: the function returned an `Err`.
    ///
    /// # Panics
    ///
    /// See [`Proxy::call`].
    pub fn try_call<F, A, R, E>(&self, f: F, args: A) -> Result<R, ManagerError>
    where
        A: Args,
        F: Task<A, OnState<T>, Output = Result<R, E>>,
        R: Payload,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        self.share.manager.ask(self.share.id(), request::call_entry::<F, A, T, Fallible>(), &args, self.deadline())
    }
}

impl<T> Proxy<T> {
    pub(super) fn new(manager: ManagerHandle, stands_for: Block) -> Proxy<T> {
        let timeout = manager.timeout();
        Proxy { share: Share { manager, stands_for: Some(stands_for) }, timeout, object: PhantomData }
    }

    /// Returns a proxy of the same object whose calls wait for at most `timeout`.
    ///
    /// When that has passed, a call ends with [`ManagerError::is_timed_out`]. If its function has begun by then, it goes
    /// on to its end in the server; if not, it is never called.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let manager = multiproc::Manager::new()?;
    /// let value = manager.value(1)?;
    /// let slow = |value: &mut i32| {
    ///     std::thread::sleep(Duration::from_millis(200));
    ///     *value += 1;
    /// };
    /// let hasty = value.with_timeout(Duration::from_millis(10));
    /// assert!(hasty.call(slow, ()).unwrap_err().is_timed_out());
    /// assert_eq!(value.get()?, 2);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn with_timeout(&self, timeout: Duration) -> Proxy<T> {
        Proxy { timeout: Some(timeout), ..self.clone() }
    }

    /// Returns the manager that holds the object.
    pub fn manager(&self) -> &ManagerHandle {
        &self.share.manager
    }

    /// Returns whether both are proxies of one object.
    pub fn is_same(&self, other: &Proxy<T>) -> bool {
        self.share.id() == other.share.id()
    }

    fn deadline(&self) -> Deadline {
        Deadline::within(self.timeout)
    }
}

impl<T> Clone for Proxy<T> {
    fn clone(&self) -> Self {
        Proxy { share: self.share.clone(), timeout: self.timeout, object: PhantomData }
    }
}

/// Shows of which type the object is.
impl<T> fmt::Debug for Proxy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy<{}>({:?})", std::any::type_name::<T>(), self.share.manager)
    }
}

impl<T> Serialize for Proxy<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.share.stands_for {
            Some(stands_for) => (&self.share.manager, stands_for, self.timeout).serialize(serializer),
            None => Err(serde::ser::Error::custom("the proxy is gone")),
        }
    }
}

impl<'de, T> Deserialize<'de> for Proxy<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Proxy<T>, D::Error> {
        let (manager, stands_for, timeout) = <(ManagerHandle, Block, Option<Duration>)>::deserialize(deserializer)?;
        if stands_for.kind() != Kind::Object as u8 {
            return Err(D::Error::custom("the handle refers to something that is no object of a manager"));
        }
        Ok(Proxy { timeout, ..Proxy::new(manager, stands_for) })
    }
}

/// What a proxy of a known type has in common with all others.
macro_rules! typed_proxy {
    ($proxy:ident$(<$($parameter:ident),*>)?, $object:ty) => {
        impl$(<$($parameter),*>)? $proxy$(<$($parameter),*>)? {
            /// Returns a proxy of the same object whose calls wait for at most `timeout`, see
            /// [`Proxy::with_timeout`](crate::Proxy::with_timeout).
            pub fn with_timeout(&self, timeout: std::time::Duration) -> Self {
                $proxy { proxy: self.proxy.with_timeout(timeout) }
            }
        }

        impl$(<$($parameter),*>)? Clone for $proxy$(<$($parameter),*>)? {
            fn clone(&self) -> Self {
                $proxy { proxy: self.proxy.clone() }
            }
        }

        impl$(<$($parameter),*>)? std::ops::Deref for $proxy$(<$($parameter),*>)? {
            type Target = $crate::managers::proxy::Proxy<$object>;

            fn deref(&self) -> &Self::Target {
                &self.proxy
            }
        }

        impl$(<$($parameter),*>)? std::fmt::Debug for $proxy$(<$($parameter),*>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.proxy.fmt(f)
            }
        }

        impl$(<$($parameter),*>)? serde::Serialize for $proxy$(<$($parameter),*>)? {
            fn serialize<Ser: serde::Serializer>(&self, serializer: Ser) -> Result<Ser::Ok, Ser::Error> {
                self.proxy.serialize(serializer)
            }
        }

        impl<'de $(, $($parameter),*)?> serde::Deserialize<'de> for $proxy$(<$($parameter),*>)? {
            fn deserialize<De: serde::Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
                Ok($proxy { proxy: serde::Deserialize::deserialize(deserializer)? })
            }
        }
    };
}

pub(super) use typed_proxy;
