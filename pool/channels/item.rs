//! Values as items of a queue: small ones as they are, larger ones in a block of their own.
//!
//! Such a block begins with the number of other blocks that the value refers to and a place for each, by which it holds
//! them ([`held`]); behind these come the bytes. So an item and all that it refers to is there as long as it lies in the
//! queue, whatever becomes of the process that has put it there.

use crate::codec::{self, CodecError, Payload, Reader, whole};
use crate::error::QueueKind;
use crate::heap::block::Block;
use crate::heap::held;
use crate::heap::kind::Kind;
use crate::heap::scope::{Pin, Pins};
use crate::sync::algorithm::queue::{Books, Item, Refusal, SMALL, Taken};
use crate::sys::atomic::{AtomicU64, Ordering};
use crate::sys::copy::SharedBytes;
use crate::sys::file_part::FilePart;
use Ordering::Relaxed;
use std::io::ErrorKind;

/// The length of a word and of a place.
const WORD: usize = 8;

/// The most bytes of an item that lies in a slot.
pub(super) const SMALLEST: usize = SMALL * WORD;

/// The shared heap's books, for a queue that lies in this block behind so many bytes.
pub(crate) struct HeapBooks<'a> {
    pub(crate) block: &'a Block,
    pub(crate) front: usize,
}

impl Books for HeapBooks<'_> {
    type Block = Block;

    fn hold(&self, place: &AtomicU64, block: &Block) -> bool {
        held::hold(place, block).is_ok()
    }

    fn open(&self, word: u64) -> Result<Block, Refusal> {
        held::open(word).map_err(|_| if held::is_held(word) { Refusal::Refused } else { Refusal::Damaged })
    }

    fn leave(&self, place: &AtomicU64) {
        held::leave(place);
    }

    fn discard(&self, at: usize, len: usize) {
        // If it does not the pages stay until the queue is gone: no harm.
        self.block.discard(self.front + at * WORD, len * WORD);
    }
}

/// A value that was serialised, or was not yet read.
pub(crate) enum Packed {
    Small([u64; SMALL], usize),
    Block(Block),
}

impl Packed {
    pub(crate) fn item(&self) -> Item<'_, Block> {
        match self {
            Packed::Small(words, len) => Item::Small(words, *len),
            Packed::Block(block) => Item::Block(block),
        }
    }

    pub(crate) fn of(item: Taken<'_, Block>) -> Packed {
        match item {
            Taken::Small(words, len) => {
                let mut copy = [0; SMALL];
                copy.iter_mut().zip(words).take(len.div_ceil(WORD)).for_each(|(to, it)| *to = it.load(Relaxed));
                Packed::Small(copy, len)
            }
            Taken::Block(block) => Packed::Block(block),
        }
    }
}

/// A number as an item, as it is.
#[inline]
pub(super) fn number<T: Payload>(value: &T) -> Option<Item<'static, Block>> {
    let (bytes, len) = codec::fixed(value)?;
    Some(Item::Number(bytemuck::cast(bytes), len))
}

/// The number that an item is.
#[inline]
pub(super) fn read_number<T: Payload>(item: Taken<'_, Block>) -> Result<T, QueueKind> {
    match item {
        Taken::Small(words, len) => {
            let mut copy = [0_u64; 2];
            copy.iter_mut().zip(words).for_each(|(to, it)| *to = it.load(Relaxed));
            let bytes: [u8; 16] = bytemuck::cast(copy);
            decode(Reader::new(bytes.get(..len).unwrap_or_default()))
        }
        Taken::Block(block) => unpack(Packed::Block(block)),
    }
}

/// A value, behind what is in `front`, as an item where slots have room for so many bytes.
pub(crate) fn pack<T: Payload>(front: &[u8], value: &T, small: usize) -> Result<Packed, QueueKind> {
    if let Some((number, len)) = codec::fixed(value) {
        return pack_bytes(&[front, &number[..len]], small);
    }
    if let Some(bytes) = codec::bulk(value) {
        return pack_bytes(&[front, &codec::prefix(bytes.len()), bytes], small);
    }
    let packed = codec::pack(|out| codec::encode(value, out)).map_err(|error| QueueKind::Encode { text: error.0 })?;
    pack_message(&[front, &packed.bytes], packed.pins, small)
}

/// Bytes, and what they refer to.
pub(super) fn pack_message(parts: &[&[u8]], pins: Pins, small: usize) -> Result<Packed, QueueKind> {
    if pins.is_empty() { pack_bytes(parts, small) } else { in_block(parts, pins) }
}

/// Bytes that stand for themselves.
pub(super) fn pack_bytes(parts: &[&[u8]], small: usize) -> Result<Packed, QueueKind> {
    let len = parts.iter().map(|part| part.len()).sum::<usize>();
    if len > small.min(SMALLEST) {
        return in_block(parts, Pins::new());
    }
    let mut words = [0; SMALL];
    let mut rest: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
    for part in parts {
        let (here, behind) = rest.split_at_mut(part.len());
        here.copy_from_slice(part);
        rest = behind;
    }
    Ok(Packed::Small(words, len))
}

fn in_block(parts: &[&[u8]], pins: Pins) -> Result<Packed, QueueKind> {
    let mut blocks = Vec::with_capacity(pins.len());
    for pin in pins {
        match pin {
            Pin::Block(block) => blocks.push(block),
            Pin::AttachedFds(_) => {
                let text = "an end of ipc-channel is a descriptor of a process, and cannot lie in a queue: hand it to a \
                            task or a process";
                return Err(QueueKind::Encode { text: text.to_owned() });
            }
        }
    }
    let no_memory = |error: crate::error::Error| QueueKind::SharedMemory { text: error.to_string() };
    let front = WORD * (1 + blocks.len());
    let len = parts.iter().map(|part| part.len()).sum::<usize>();
    let item = Block::to_be_filled(Kind::Item, front + len).map_err(no_memory)?;
    let words = item.memory().views::<AtomicU64>(0, 1 + blocks.len()).ok_or(QueueKind::Damaged)?;
    // Before their number says that they are there.
    words[1..].iter().for_each(|place| place.store(0, Relaxed));
    // SYNC: item blocks
    words[0].store(blocks.len() as u64, Ordering::Release);
    for (place, block) in words[1..].iter().zip(&blocks) {
        held::hold(place, block).map_err(no_memory)?;
    }
    let written = item.part().and_then(|part| part.behind(front)).map(|part| part.write(parts));
    match written {
        Some(Ok(())) => return Ok(Packed::Block(item)),
        Some(Err(error)) if [ErrorKind::StorageFull, ErrorKind::OutOfMemory].contains(&error.kind()) => {
            return Err(QueueKind::SharedMemory { text: error.to_string() });
        }
        // It is small, or a limit or filter of this process forbids to write files.
        _ => {}
    }
    let mut at = front;
    for part in parts {
        if !item.memory().bytes().write(at, part) {
            return Err(QueueKind::Damaged);
        }
        at += part.len();
    }
    Ok(Packed::Block(item))
}

/// The value that an item is.
pub(crate) fn unpack<T: Payload>(item: Packed) -> Result<T, QueueKind> {
    if let Packed::Block(block) = &item {
        if let Some(value) = payload(block)?.1.and_then(whole::decode_file) {
            return value.map_err(undecodable);
        }
    }
    decode(reader(&item)?)
}

/// The bytes of an item, to be read where they are.
pub(crate) fn reader(item: &Packed) -> Result<Reader<'_>, QueueKind> {
    Ok(match item {
        Packed::Small(words, len) => {
            let bytes: &[u8] = bytemuck::cast_slice(words);
            Reader::new(&bytes[..(*len).min(SMALLEST)])
        }
        Packed::Block(block) => Reader::shared(payload(block)?.0),
    })
}

/// The bytes of an item in a block, behind the places: mapped, and where they lie in the file if they are many.
fn payload(block: &Block) -> Result<(SharedBytes<'_>, Option<FilePart<'_>>), QueueKind> {
    let bytes = block.memory().bytes();
    // SYNC: item blocks
    let count = block.memory().view::<AtomicU64>(0).map_or(0, |count| count.load(Ordering::Acquire));
    let front = usize::try_from(count).ok().and_then(|count| count.checked_add(1)?.checked_mul(WORD));
    let front = front.filter(|_| block.kind() == Kind::Item as u8).ok_or(QueueKind::Damaged)?;
    let mapped = bytes.len().checked_sub(front).and_then(|len| bytes.slice(front, len)).ok_or(QueueKind::Damaged)?;
    Ok((mapped, block.part().and_then(|part| part.behind(front))))
}

/// The bytes of an item, if there are not too many.
pub(super) fn bytes(item: &Packed, most: usize) -> Result<Vec<u8>, QueueKind> {
    let bytes = match item {
        Packed::Small(words, len) => {
            let bytes: &[u8] = bytemuck::cast_slice(words);
            bytes[..(*len).min(SMALLEST)].to_vec()
        }
        Packed::Block(block) => {
            let (mapped, part) = payload(block)?;
            if mapped.len() > most {
                return Err(QueueKind::TooLong { len: mapped.len(), most });
            }
            match part.map(FilePart::to_vec) {
                Some(Ok(bytes)) => bytes,
                _ => mapped.to_vec().map_err(|error| QueueKind::SharedMemory { text: error.to_string() })?,
            }
        }
    };
    if bytes.len() > most { Err(QueueKind::TooLong { len: bytes.len(), most }) } else { Ok(bytes) }
}

#[inline]
fn decode<T: Payload>(mut reader: Reader<'_>) -> Result<T, QueueKind> {
    whole::decode_whole(&mut reader).map_err(undecodable)
}

fn undecodable(error: CodecError) -> QueueKind {
    QueueKind::Decode { text: error.0 }
}

/// How many bytes of an item of this type may lie in a slot: all of a number, so that a queue of numbers has small slots.
pub(super) fn small<T: Payload>() -> usize {
    codec::fixed_size::<T>().map_or(SMALLEST, |size| size.clamp(1, SMALLEST))
}
