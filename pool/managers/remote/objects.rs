//! The objects of a [`ManagerServer`](super::server::ManagerServer), and how many proxies each has elsewhere.

use super::exposed::Object;
use crate::pickle::value::PyValue;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The objects by number; clients know the number as a text.
#[derive(Default)]
pub(super) struct Objects {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    objects: BTreeMap<u64, Entry>,
    last: u64,
}

struct Entry {
    object: Arc<dyn Object>,
    typeid: String,
    /// How many proxies there are.
    count: u64,
}

/// There is no such object.
pub(super) struct Unknown;

fn number(ident: &str) -> Result<u64, Unknown> {
    ident.parse().map_err(|_| Unknown)
}

impl Objects {
    /// Takes an object in, for one proxy; its name.
    pub(super) fn insert(&self, typeid: &str, object: Arc<dyn Object>) -> String {
        let mut entries = self.entries.lock();
        entries.last += 1;
        let number = entries.last;
        entries.objects.insert(number, Entry { object, typeid: typeid.to_owned(), count: 1 });
        number.to_string()
    }

    pub(super) fn get(&self, ident: &str) -> Result<Arc<dyn Object>, Unknown> {
        let number = number(ident)?;
        self.entries.lock().objects.get(&number).map(|entry| Arc::clone(&entry.object)).ok_or(Unknown)
    }

    /// Counts one proxy more.
    pub(super) fn count(&self, ident: &str) -> Result<(), Unknown> {
        let number = number(ident)?;
        self.entries.lock().objects.get_mut(&number).map(|entry| entry.count += 1).ok_or(Unknown)
    }

    /// Counts one proxy less; the object goes with the last.
    pub(super) fn discount(&self, ident: &str) -> Result<(), Unknown> {
        let number = number(ident)?;
        let mut entries = self.entries.lock();
        let entry = entries.objects.get_mut(&number).ok_or(Unknown)?;
        entry.count -= 1;
        let gone = if entry.count == 0 { entries.objects.remove(&number) } else { None };
        drop(entries);
        // Its destructor is the user's, and may call this server.
        drop(gone);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.entries.lock().objects.len()
    }

    /// A line for each, as Python's managers tell.
    pub(super) fn describe(&self) -> PyValue {
        let entries = self.entries.lock();
        let line = |(number, entry): (&u64, &Entry)| {
            format!("  {number}:       refcount={}\n    {}", entry.count, entry.typeid)
        };
        entries.objects.iter().map(line).collect::<Vec<_>>().join("\n").into()
    }
}
