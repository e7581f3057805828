//! Keys and values as entries of a store: bytes, of a map first those of the key and then those of the value.

use crate::channels::item::{self, Packed};
use crate::codec::whole::whole;
use crate::codec::{self, CodecError, Payload, Reader};
use crate::error::{CollectionError, CollectionKind};
use crate::heap::block::Block;
use crate::sync::algorithm::queue::{self, Books, Taken};
use crate::sync::algorithm::store::{Found, Refusal, SMALL};
use crate::sys::atomic::{AtomicU64, Ordering::Relaxed};
use serde::Serialize;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

/// The most bytes of an entry that lies in a slot.
const SMALLEST: usize = 8 * SMALL;

/// A key, serialised. Keys are the same if these bytes are.
pub(super) struct Key {
    pub(super) bytes: Vec<u8>,
    pub(super) hash: u64,
}

impl Key {
    pub(super) fn new<Q: Serialize + ?Sized + 'static>(key: &Q) -> Result<Key, CollectionError> {
        let mut bytes = Vec::with_capacity(SMALLEST);
        if let Some((number, len)) = codec::fixed(key) {
            bytes.extend_from_slice(&number[..len]);
        } else {
            let packed = codec::pack(|out| codec::encode(key, out)).map_err(encode)?;
            if !packed.pins.is_empty() {
                return Err(encode(CodecError("a key cannot contain a handle".to_owned())));
            }
            bytes = packed.bytes;
        }
        // The same in all processes: they run the same program.
        let mut hasher = DefaultHasher::new();
        hasher.write(&bytes);
        Ok(Key { hash: hasher.finish(), bytes })
    }

    /// Whether an entry begins with this key. No serialised key is the beginning of another of its type.
    #[inline]
    pub(super) fn is_of<B: Books<Block = Block>>(&self, found: Found<'_>, books: &B) -> Result<bool, Refusal> {
        if let Some((words, len)) = found.small() {
            return Ok(self.bytes.len() <= len && begins_with(words, &self.bytes));
        }
        let block = Packed::Block(found.block(books)?);
        Ok(item::reader(&block).map_err(|_| Refusal::Damaged)?.begins_with(&self.bytes))
    }
}

fn begins_with(words: &[AtomicU64], bytes: &[u8]) -> bool {
    bytes.chunks(8).zip(words).all(|(chunk, word)| word.load(Relaxed).to_ne_bytes()[..chunk.len()] == *chunk)
}

/// A serialised entry: what is in front, and a value.
pub(super) fn pack<V: Payload>(front: &[u8], value: &V) -> Result<Packed, CollectionError> {
    Ok(item::pack(front, value, SMALLEST)?)
}

/// A copy of an entry, to be read when the store is not locked any more.
pub(super) fn copy<B: Books<Block = Block>>(found: Found<'_>, books: &B) -> Result<Packed, Refusal> {
    Ok(match found.small() {
        Some((words, len)) => Packed::of(Taken::Small(words, len)),
        None => Packed::Block(found.block(books)?),
    })
}

/// The value of an entry of a list.
pub(super) fn value<V: Payload>(entry: Packed) -> Result<V, CollectionError> {
    Ok(item::unpack(entry)?)
}

/// The value of an entry of a map with keys of this type.
pub(super) fn value_behind<K: Payload, V: Payload>(entry: &Packed) -> Result<V, CollectionError> {
    read(entry, |reader| {
        codec::skip::<K>(reader)?;
        codec::decode(reader)
    })
}

/// Key and value of an entry of a map.
pub(super) fn both<K: Payload, V: Payload>(entry: &Packed) -> Result<(K, V), CollectionError> {
    read(entry, |reader| Ok((codec::decode(reader)?, codec::decode(reader)?)))
}

fn read<R>(
    entry: &Packed,
    decode: impl FnOnce(&mut Reader<'_>) -> Result<R, CodecError>,
) -> Result<R, CollectionError> {
    let mut reader = item::reader(entry)?;
    whole(&mut reader, decode).map_err(|error| CollectionError::new(CollectionKind::Decode { text: error.0 }))
}

#[cold]
fn encode(error: CodecError) -> CollectionError {
    CollectionError::new(CollectionKind::Encode { text: error.0 })
}

const _: () = assert!(SMALL <= queue::SMALL);
