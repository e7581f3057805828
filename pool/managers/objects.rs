//! The objects that a server holds, each behind a lock of its own.

use crate::error::ManagerKind;
use crate::heap::held;
use crate::process::panic;
use parking_lot::{ReentrantMutex, RwLock};
use std::any::{Any, type_name};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How often a call that waits for an object looks whether anybody still waits for its result.
const LOOK_EACH: Duration = Duration::from_millis(50);

/// An object, and the lock that its calls take.
///
/// The lock knows its thread: a function that calls the object that it was called on is told so.
pub(crate) struct Object {
    type_name: &'static str,
    /// Only taken when this is dropped.
    value: ReentrantMutex<RefCell<Option<Box<dyn Any + Send>>>>,
}

impl Object {
    pub(crate) fn new<T: Send + 'static>(value: T) -> Object {
        Object { type_name: type_name::<T>(), value: ReentrantMutex::new(RefCell::new(Some(Box::new(value)))) }
    }

    /// The name of its type.
    pub(crate) fn type_name(&self) -> &'static str {
        self.type_name
    }

    /// Calls `function` with the object, as soon as no other call has it, unless `is_abandoned` says that nobody waits any more.
    ///
    /// # Errors
    ///
    /// It is no `T`; the calling thread is in a call of this object already; nobody waits any more.
    pub(crate) fn with<T: 'static, R>(
        &self,
        is_abandoned: &dyn Fn() -> bool,
        function: impl FnOnce(&mut T) -> R,
    ) -> Result<R, ManagerKind> {
        let held = loop {
            match self.value.try_lock_for(LOOK_EACH) {
                Some(held) => break held,
                None if is_abandoned() => return Err(ManagerKind::TimedOut),
                None => {}
            }
        };
        if is_abandoned() {
            return Err(ManagerKind::TimedOut);
        }
        let Ok(mut value) = held.try_borrow_mut() else { return Err(ManagerKind::WouldDeadlock) };
        match value.as_mut().and_then(|value| value.downcast_mut()) {
            Some(value) => Ok(function(value)),
            None => Err(ManagerKind::Decode { text: format!("the object is a `{}`", self.type_name) }),
        }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        if let Some(value) = self.value.get_mut().get_mut().take() {
            panic::discard("an object of a manager", value);
        }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({})", self.type_name)
    }
}

/// The objects of a server, each by what a place of the heap says that holds the block that stands for its proxies.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    by_id: RwLock<HashMap<u64, Arc<Object>>>,
}

impl Objects {
    /// Adds an object.
    pub(crate) fn insert(&self, id: u64, object: Object) {
        let replaced = self.by_id.write().insert(id, Arc::new(object));
        // Not while the table is locked: a destructor is the user's code.
        drop(replaced);
    }

    /// The object that has this number.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(crate) fn find(&self, id: u64) -> Result<Arc<Object>, ManagerKind> {
        self.by_id.read().get(&id).cloned().ok_or(ManagerKind::UnknownObject)
    }

    /// Takes an object out if no proxy of it is left.
    pub(crate) fn take_if_gone(&self, id: u64) -> Option<Arc<Object>> {
        if held::is_held(id) {
            return None;
        }
        self.by_id.write().remove(&id)
    }

    /// Takes all objects out of which no proxy is left.
    pub(crate) fn take_gone(&self) -> Vec<Arc<Object>> {
        let gone: Vec<u64> = self.by_id.read().keys().copied().filter(|id| !held::is_held(*id)).collect();
        if gone.is_empty() {
            return Vec::new();
        }
        let mut by_id = self.by_id.write();
        gone.iter().filter_map(|id| by_id.remove(id)).collect()
    }

    /// Takes all objects out.
    pub(crate) fn take_all(&self) -> Vec<Arc<Object>> {
        std::mem::take(&mut *self.by_id.write()).into_values().collect()
    }

    /// The type of each object that has a proxy.
    pub(crate) fn list(&self) -> Vec<&'static str> {
        let by_id = self.by_id.read();
        let held = by_id.iter().filter(|(id, _)| held::is_held(**id));
        held.map(|(_, object)| object.type_name()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_called_by_one_at_a_time() {
        let object = Object::new(1_u32);
        let add = |value: &mut u32| {
            *value += 1;
            *value
        };
        assert_eq!(object.with(&|| false, add).unwrap(), 2);
        assert!(matches!(object.with(&|| false, |_: &mut u64| ()), Err(ManagerKind::Decode { .. })));
        let inside = object.with(&|| false, |_: &mut u32| object.with(&|| false, add));
        assert!(matches!(inside, Ok(Err(ManagerKind::WouldDeadlock))));
        let elsewhere = |value: &mut u32| {
            let waits = || object.with(&|| true, add);
            let abandoned = std::thread::scope(|scope| scope.spawn(waits).join().unwrap());
            assert!(matches!(abandoned, Err(ManagerKind::TimedOut)));
            *value
        };
        assert_eq!(object.with(&|| false, elsewhere).unwrap(), 2);
    }

    #[test]
    fn a_destructor_that_panics_is_contained() {
        struct Bad;
        impl Drop for Bad {
            fn drop(&mut self) {
                panic!("on purpose");
            }
        }
        let objects = Objects::default();
        objects.insert(0, Object::new(Bad));
        assert_eq!(objects.find(0).unwrap().type_name(), type_name::<Bad>());
        assert_eq!(objects.take_gone().len(), 1);
        assert!(matches!(objects.find(0), Err(ManagerKind::UnknownObject)));
    }
}
