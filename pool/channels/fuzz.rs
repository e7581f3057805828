//! Bytes that are read as handles to shared memory of every kind.

use crate::channels::channel::{Receiver, Sender, channel};
use crate::channels::joinable::JoinableQueue;
use crate::channels::pipe::{Connection, pipe};
use crate::channels::queue::Queue;
use crate::codec::{self, Packed, Payload, Reader};
use crate::shared::array::Array;
use crate::shared::raw::RawValue;
use crate::shared::raw_array::RawArray;
use crate::shared::shareable_list::ShareableList;
use crate::shared::shared_memory::SharedMemory;
use crate::shared::value::Value;
use crate::sync::barrier::Barrier;
use crate::sync::bounded::BoundedSemaphore;
use crate::sync::condition::Condition;
use crate::sync::event::Event;
use crate::sync::lock::Lock;
use crate::sync::rlock::RLock;
use crate::sync::rwlock::RwLock;
use crate::sync::semaphore::Semaphore;
use crate::sys::fuzz::{fuzz_alone, within};

/// A handle as bytes, with what it refers to, and how bytes are read as one of its type.
struct Form {
    packed: Packed,
    read: fn(&[u8]),
}

fn form<T: Payload>(value: &T) -> Form {
    Form { packed: codec::pack(|out| codec::encode(value, out)).unwrap(), read: read::<T> }
}

fn read<T: Payload>(bytes: &[u8]) {
    // A handle is a map entry and a few structs; a message about one that is none has some words.
    let read = within(64 * bytes.len() + 16 * 1024, &bytes, || codec::decode::<T>(&mut Reader::new(bytes)));
    let Ok(handle) = read else { return };
    // What was read is a handle of its kind: it travels on.
    codec::pack(|out| codec::encode(&handle, out)).unwrap();
}

fn forms() -> Vec<Form> {
    let (sender, receiver): (Sender<u64>, Receiver<u64>) = channel(4);
    let (left, _right): (Connection<u64>, _) = pipe();
    vec![
        form(&Lock::new()),
        form(&RLock::new()),
        form(&RwLock::new()),
        form(&Semaphore::new(3)),
        form(&BoundedSemaphore::new(3)),
        form(&Event::new()),
        form(&Condition::new()),
        form(&Barrier::new(2)),
        form(&Barrier::with_action(2, || ())),
        form(&Value::new(7u64)),
        form(&Array::<u32>::new(4)),
        form(&RawValue::new(7u64)),
        form(&RawArray::<u32>::new(4)),
        form(&SharedMemory::anonymous(100).unwrap()),
        form(&SharedMemory::create(None, 100).unwrap()),
        form(&ShareableList::anonymous([1, 2]).unwrap()),
        form(&Queue::<String>::bounded(4)),
        form(&JoinableQueue::<u64>::bounded(4)),
        form(&sender),
        form(&receiver),
        form(&left),
        form(&vec![(Lock::new(), "with others".to_owned())]),
    ]
}

#[test]
fn whatever_is_read_as_a_handle() {
    fuzz_alone(forms, |forms, random| {
        let Form { packed, read } = random.pick(forms);
        // Now and then a handle to something of another kind.
        let mut bytes = if random.once_in(8) { random.pick(forms).packed.bytes.clone() } else { packed.bytes.clone() };
        random.spoil(&mut bytes);
        if let (true, Some((prefix, rest))) = (random.once_in(2), bytes.split_first_chunk_mut::<8>()) {
            *prefix = codec::prefix(rest.len());
        }
        read(&bytes);
    });
}
