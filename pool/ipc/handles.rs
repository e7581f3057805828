//! The handles in a value, once more behind it: so that whoever receives it can take hold of what they refer to before
//! the sender lets go, and decode the value later.

use crate::codec::{self, CodecError, Reader};
use crate::heap::block::Block;
use crate::heap::scope::{self, Pin, Pins};

/// Puts the handles in a value behind it.
pub(crate) fn append(value: &mut Vec<u8>, handles: &Pins) {
    let len = value.len();
    let ((), _pins) = scope::collect(|| {
        let blocks = handles.iter().filter_map(|pin| if let Pin::Block(block) = pin { Some(block) } else { None });
        for handle in blocks {
            // A handle refuses outside of messages only.
            let written = codec::encode(handle, value);
            debug_assert!(written.is_ok());
        }
    });
    value.extend_from_slice(&((value.len() - len) as u64).to_le_bytes());
}

/// Takes the handles off that [`append`] has put behind a value, and takes hold of what they refer to; `None` when these
/// are no bytes that it writes.
pub(crate) fn take_off(mut bytes: Vec<u8>) -> Option<(Vec<u8>, Pins)> {
    let (rest, len) = bytes.split_last_chunk::<8>()?;
    let len = rest.len().checked_sub(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
    let (mut reader, mut ahead) = (Reader::new(&rest[len..]), Reader::new(&rest[len..]));
    let mut pins = Pins::new();
    while !reader.is_empty() {
        // Whole, or no handle at all: so that each turn gets further.
        codec::skip::<Block>(&mut ahead).ok()?;
        // What exists no longer is for whoever decodes the value to report.
        let handle: Result<Block, CodecError> = codec::decode(&mut reader);
        pins.extend(handle.map(Pin::Block));
    }
    bytes.truncate(len);
    Some((bytes, pins))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::kind::Kind;

    #[test]
    fn handles_are_held_without_the_value_being_read() {
        let block = Block::new(Kind::Test, 8).unwrap();
        let mut bytes = b"value".to_vec();
        append(&mut bytes, &vec![Pin::Block(block.clone()), Pin::Block(block.clone())]);
        let (value, pins) = take_off(bytes.clone()).unwrap();
        assert_eq!((value.as_slice(), pins.len()), (&b"value"[..], 2));
        for len in 0..bytes.len() {
            // Whatever is cut off is an error, never a panic.
            let _ = take_off(bytes[..len].to_vec());
        }
        assert!(take_off(vec![0xff; 20]).is_none());
    }
}
