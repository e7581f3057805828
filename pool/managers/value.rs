//! [`ValueProxy`]: a value in a manager's server.

use crate::codec::Payload;
use crate::error::ManagerError;
use crate::managers::handle::ManagerHandle;
use crate::managers::proxy::{Proxy, typed_proxy};
use crate::portable::{Captures, Portable};
use crate::sys::any::conjure;

/// A value of any type that a [`Manager`](crate::Manager) holds: Python's `Manager().Value()`.
///
/// A handle, as [`Proxy`], to which it dereferences.
///
/// ```
/// let manager = multiproc::Manager::new()?;
/// let name = manager.value("ann".to_owned())?;
/// name.set("bob".to_owned())?;
/// name.update(|name| name.push('!'))?;
/// assert_eq!(name.get()?, "bob!");
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// Numbers and what consists of them are quicker in a [`Value`](crate::Value), which lies in shared memory.
///
/// All methods fail as [`Proxy::call`] does.
pub struct ValueProxy<T> {
    proxy: Proxy<T>,
}

typed_proxy!(ValueProxy<T>, T);

impl ManagerHandle {
    /// Makes a value in the server, see [`ValueProxy`].
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn value<T: Payload + Send>(&self, value: T) -> Result<ValueProxy<T>, ManagerError> {
        Ok(ValueProxy { proxy: self.create(|value: T| value, (value,))? })
    }
}

impl<T: Payload + Send> ValueProxy<T> {
    /// Returns a copy of the value.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn get(&self) -> Result<T, ManagerError>
    where
        T: Clone,
    {
        self.call(|value: &mut T| value.clone(), ())
    }

    /// Sets the value.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn set(&self, value: T) -> Result<(), ManagerError> {
        self.call(|place: &mut T, value: T| *place = value, (value,))
    }

    /// Sets the value, and returns the one that was there.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn replace(&self, value: T) -> Result<T, ManagerError> {
        self.call(|place: &mut T, value: T| std::mem::replace(place, value), (value,))
    }

    /// Changes the value in one step, and returns what `change` gives.
    ///
    /// `change` captures nothing; with more arguments use [`Proxy::call`].
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn update<F, R>(&self, change: F) -> Result<R, ManagerError>
    where
        F: Fn(&mut T) -> R + Portable,
        R: Payload,
    {
        let () = Captures::<F>::NOTHING;
        let _ = change;
        self.call(|value: &mut T| conjure::<F>()(value), ())
    }
}
