//! Making objects in the server of a manager.

use crate::error::{Error, ManagerError};
use crate::heap::block::Block;
use crate::heap::held;
use crate::heap::kind::Kind;
use crate::managers::handle::ManagerHandle;
use crate::managers::proxy::Proxy;
use crate::managers::request::{self};
use crate::portable::Captures;
use crate::process::args::{Args, Task};

impl ManagerHandle {
    /// Makes an object in the server: calls `f` with `args` there, and returns a proxy of what it returns.
    ///
    /// ```
    /// use multiproc::Manager;
    /// use std::collections::BTreeSet;
    ///
    /// let manager = Manager::new()?;
    /// let seen = manager.create(BTreeSet::<String>::new, ())?;
    /// assert!(seen.call(|seen: &mut BTreeSet<String>, word: String| seen.insert(word), ("a".to_owned(),))?);
    /// assert_eq!(seen.call(|seen: &mut BTreeSet<String>| seen.len(), ())?, 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn create<F, A>(&self, f: F, args: A) -> Result<Proxy<F::Output>, ManagerError>
    where
        A: Args,
        F: Task<A, Output: Send>,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        let entry = request::create_entry::<F, A>();
        let no_memory = |error: Error| ManagerError::new(error.into(), entry.name());
        // It stands for all proxies of the object; so it is there before the object, and as long as it is held.
        let block = Block::new(Kind::Object, 8).map_err(no_memory)?;
        self.ask::<(), A>(held::word_of(&block), entry, &args, self.deadline())?;
        Ok(Proxy::new(self.clone(), block))
    }

    /// Returns the types of the objects in the server: Python's `number_of_objects()` and a part of its
    /// `debug_info()`.
    ///
    /// ```
    /// let manager = multiproc::Manager::new()?;
    /// let list = manager.list([1])?;
    /// assert_eq!(manager.objects()?, ["alloc::vec::Vec<i32>"]);
    /// drop(list);
    /// assert!(manager.objects()?.is_empty());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn objects(&self) -> Result<Vec<String>, ManagerError> {
        self.ask(0, request::list_entry(), &(), self.deadline())
    }
}
