//! Results of a call that are kept in a file, so that the next run of the program has them: the file, and what of the call
//! is on its way there.

use crate::codec::{CodecError, Packed, Reader};
use crate::engine::call::checkpoint::file::{Description, Digest, Log};
use crate::ipc::link::Payload;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

mod file;
#[cfg(all(test, not(loom)))]
mod fuzz;

/// Steps over the bytes of one result.
pub(crate) type Skip = fn(&mut Reader<'_>) -> Result<(), CodecError>;

/// The file of a call with a checkpoint. The thread that reads the input asks it for results that are there already, and each
/// thread that brings results home has them written before anybody sees them.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    path: PathBuf,
    skip: Skip,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    log: Log,
    /// The digests of the items that were handed in and have no result yet.
    items: HashMap<u64, u64>,
    /// Something could not be written: nothing is written any more.
    failed: bool,
}

impl Checkpoint {
    /// Opens the file of a call, or makes it. `R` is the type of a result as the file names it.
    ///
    /// # Errors
    ///
    /// It cannot be used; the text says why.
    pub(crate) fn open(
        path: &Path,
        function: &str,
        result: &str,
        context: Option<&Packed>,
        skip: Skip,
    ) -> Result<Checkpoint, String> {
        // Shared memory is another one in each run, so what refers to it cannot be compared.
        let context = context.filter(|context| context.pins.is_empty()).map(|context| Digest::of(&context.bytes));
        let description = Description { function: function.to_owned(), result: result.to_owned(), context };
        let log = Log::open(path, &description).map_err(|text| complaint(path, &text))?;
        let state = State { log, items: HashMap::new(), failed: false };
        Ok(Checkpoint { path: path.to_owned(), skip, state: Mutex::new(state) })
    }

    /// The result of a task whose item was just read, if the file has it.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or has the result of another item.
    pub(crate) fn look_up(&self, index: u64, item: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let mut state = self.state.lock();
        let digest = Digest::of(item);
        let Some(record) = state.log.record(index).copied() else {
            state.items.insert(index, digest);
            return Ok(None);
        };
        if record.item != digest {
            let text = format!("has the result of task {index} for another item; give this call a file of its own");
            return Err(complaint(&self.path, &text));
        }
        match state.log.bytes(&record) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => Err(complaint(&self.path, &format!("cannot be read: {error}"))),
        }
    }

    /// Why an item that refers to shared memory can have no result in a file.
    pub(crate) fn cannot_compare(&self, index: u64) -> String {
        complaint(
            &self.path,
            &format!("cannot be used: the item of task {index} refers to shared memory or descriptors"),
        )
    }

    /// Writes the results of tasks `first .. first + count` that are not there yet, and gives them back as they were written.
    ///
    /// # Errors
    ///
    /// They cannot be written, or refer to what does not outlive the program (`refers`).
    pub(crate) fn save(&self, first: u64, count: u32, payload: &Payload, refers: bool) -> Result<Payload, String> {
        // A copy, so that what is written is what is read.
        let bytes = payload.to_vec().map_err(|error| complaint(&self.path, &error.0))?;
        let mut state = self.state.lock();
        let State { log, items, failed } = &mut *state;
        let mut results = Vec::with_capacity(count as usize);
        let mut reader = Reader::new(&bytes);
        for index in first..first + u64::from(count) {
            let start = reader.position();
            // What cannot be told apart cannot be read either: whoever reads it says so.
            if (self.skip)(&mut reader).is_err() {
                break;
            }
            // One without an item has come from the file.
            if let Some(item) = items.remove(&index) {
                results.push((index, item, &bytes[start..reader.position()]));
            }
        }
        if results.is_empty() {
            return Ok(Payload::Own(bytes));
        }
        if *failed {
            return Err(complaint(&self.path, "has not kept an earlier result"));
        }
        if refers {
            *failed = true;
            let text = format!("cannot be used: the result of task {first} refers to shared memory or descriptors");
            return Err(complaint(&self.path, &text));
        }
        if let Err(error) = log.append(&results) {
            *failed = true;
            return Err(complaint(&self.path, &format!("cannot be written: {error}")));
        }
        Ok(Payload::Own(bytes))
    }
}

fn complaint(path: &Path, text: &str) -> String {
    format!("the checkpoint {} {text}", path.display())
}
