//! Items with keys: those with the same key go to the same worker.

use crate::codec::CodecError;
use crate::engine::worker::work::Accepts;
use std::hash::{DefaultHasher, Hash, Hasher};

/// An item, and the hash of its key; what [`Call::keyed`](crate::Call::keyed) makes of the items of a call.
#[derive(Clone, Debug)]
pub struct Keyed<T> {
    item: T,
    hash: u64,
}

impl<T> Keyed<T> {
    pub(crate) fn new(item: T, key: &impl Hash) -> Keyed<T> {
        // With fixed numbers, so that a key goes to the same place in each call.
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Keyed { item, hash: hasher.finish() }
    }
}

/// An item with a key travels as the item alone.
impl<K: Accepts<T>, T> Accepts<Keyed<T>> for K {
    const KEY: Option<fn(&Keyed<T>) -> u64> = Some(|item| item.hash);

    #[inline]
    fn encode(item: &Keyed<T>, out: &mut Vec<u8>) -> Result<(), CodecError> {
        K::encode(&item.item, out)
    }
    #[inline]
    fn tail(item: &Keyed<T>) -> Option<&[u8]> {
        K::tail(&item.item)
    }
    fn encode_head(item: &Keyed<T>, out: &mut Vec<u8>) -> Result<(), CodecError> {
        K::encode_head(&item.item, out)
    }
}
