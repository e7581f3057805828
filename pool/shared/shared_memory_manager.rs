//! [`SharedMemoryManager`]: shared memory whose names end with it.

use crate::error::Error;
use crate::shared::item::Item;
use crate::shared::shareable_list::ShareableList;
use crate::shared::shared_memory::SharedMemory;
use crate::sys::child::own_pid;
use parking_lot::Mutex;
use std::fmt;

/// Makes shared memory with names that all end with it: Python's `managers.SharedMemoryManager`.
///
/// ```
/// use multiproc::{SharedMemory, SharedMemoryManager};
///
/// let manager = SharedMemoryManager::new(); // Python: with SharedMemoryManager() as smm:
/// let memory = manager.shared_memory(100)?;
/// let list = manager.shareable_list(0..5)?;
/// let name = memory.name().unwrap().to_owned();
/// drop(memory);
/// assert_eq!(SharedMemory::open(&name)?.size(), 100); // the name is there as long as the manager is
/// drop(manager);
/// assert!(SharedMemory::open(&name).is_err());
/// assert_eq!(list.len(), 5); // who has the memory open goes on using it
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// A handle of [`SharedMemory`] keeps its name by itself, and removes it when it is the last one. A manager is for names that
/// other programs open, and that should stay until all work with them is over, and no longer: also if other processes of this
/// program still have handles.
///
/// There is no server, as in Python: the names are in the books of the shared memory.
///
/// # If a process dies
///
/// If the process that has the manager is killed, the names go as those of all [`SharedMemory`] do: with the last handle
/// of the program.
pub struct SharedMemoryManager {
    made: Mutex<Vec<SharedMemory>>,
    /// The process that has made them: a fork of that must not remove their names.
    owner: i32,
}

impl SharedMemoryManager {
    /// Makes a manager that has made nothing yet.
    pub fn new() -> SharedMemoryManager {
        SharedMemoryManager { made: Mutex::default(), owner: own_pid() }
    }

    /// Makes shared memory of this size, with a name that is made up.
    ///
    /// # Errors
    ///
    /// As [`SharedMemory::create`].
    pub fn shared_memory(&self, size: usize) -> Result<SharedMemory, Error> {
        let memory = SharedMemory::create(None, size)?;
        self.made.lock().push(memory.clone());
        Ok(memory)
    }

    /// Makes a list with these items in shared memory, with a name that is made up.
    ///
    /// # Errors
    ///
    /// As [`ShareableList::create`].
    pub fn shareable_list<I: Into<Item>>(&self, items: impl IntoIterator<Item = I>) -> Result<ShareableList, Error> {
        let list = ShareableList::create(None, items)?;
        self.made.lock().push(list.shared_memory().clone());
        Ok(list)
    }

    /// Returns the names of all that it has made.
    pub fn names(&self) -> Vec<String> {
        self.made.lock().iter().filter_map(SharedMemory::name).map(str::to_owned).collect()
    }

    /// Removes all names now. Dropping the manager does the same.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Default for SharedMemoryManager {
    fn default() -> SharedMemoryManager {
        SharedMemoryManager::new()
    }
}

impl Drop for SharedMemoryManager {
    fn drop(&mut self) {
        if own_pid() == self.owner {
            // A name that is gone already, or is another's by now, is none of its business.
            self.made.get_mut().iter().for_each(|memory| _ = memory.unlink());
        }
    }
}

impl fmt::Debug for SharedMemoryManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemoryManager").field("names", &self.names()).finish()
    }
}
