//! Every form comes back, and whatever is cut off is an error.

use super::*;
use std::collections::BTreeMap;
use std::fmt::Debug;

fn round<T: Payload + PartialEq + Debug>(value: T) {
    let mut bytes = vec![9];
    encode(&value, &mut bytes).unwrap();
    encode(&value, &mut bytes).unwrap();
    let mut reader = Reader::new(&bytes);
    assert_eq!(decode::<u8>(&mut reader).unwrap(), 9);
    skip::<T>(&mut reader).unwrap();
    assert_eq!(decode::<T>(&mut reader).unwrap(), value);
    assert_eq!(reader.position(), bytes.len());
    // Whatever is cut off is an error, never a panic.
    for len in 1..bytes.len() / 2 {
        assert!(decode::<T>(&mut Reader::new(&bytes[1..len])).is_err());
    }
}

#[test]
fn every_form_comes_back() {
    round(7u8);
    round(-7i64);
    round(u128::MAX);
    round(1.5f32);
    round(usize::MAX);
    round(-1isize);
    round(true);
    round('x');
    round(String::from("hällo"));
    round(vec![1u8, 2, 3]);
    round(vec![1.5f64, -2.0]);
    round(vec![String::from("a")]);
    round((1u8, vec![2u16], Some("x".to_owned())));
    round(BTreeMap::from([(1, "one".to_owned())]));
    round(Err::<u8, String>("no".to_owned()));
    let mut bytes = Vec::new();
    encode(&(), &mut bytes).unwrap();
    assert!(bytes.is_empty());
    decode::<()>(&mut Reader::new(&bytes)).unwrap();
}

#[test]
fn a_slice_is_read_as_its_owned_form() {
    let mut bytes = Vec::new();
    encode(&[1.0f64, 2.0][..], &mut bytes).unwrap();
    encode("text", &mut bytes).unwrap();
    let mut reader = Reader::new(&bytes);
    assert_eq!(decode::<Vec<f64>>(&mut reader).unwrap(), [1.0, 2.0]);
    assert_eq!(decode::<String>(&mut reader).unwrap(), "text");
}

#[test]
fn a_bad_value_leaves_its_neighbour_alone() {
    let mut bytes = Vec::new();
    encode(&vec![0xffu8, 0xff], &mut bytes).unwrap();
    encode(&"next".to_owned(), &mut bytes).unwrap();
    let mut reader = Reader::new(&bytes);
    assert!(decode::<String>(&mut reader).is_err());
    assert_eq!(decode::<String>(&mut reader).unwrap(), "next");
    assert!(decode::<bool>(&mut Reader::new(&[2])).is_err());
    assert!(decode::<Vec<u8>>(&mut Reader::new(&[0xff; 9])).is_err());
}

#[test]
fn an_error_of_the_system_keeps_kind_and_text() {
    use std::io;
    let error = crate::error::Error::from(io::Error::new(io::ErrorKind::TimedOut, "too slow"));
    let back: crate::error::Error = from_bytes(&to_bytes(&error)).unwrap();
    assert_eq!(back.io_kind(), Some(io::ErrorKind::TimedOut));
    assert_eq!(back.to_string(), "too slow");
}

#[test]
fn a_refusal_leaves_no_bytes() {
    let mut bytes = vec![1];
    let refused = std::path::PathBuf::from(std::ffi::OsStr::new("x"));
    encode(&refused, &mut bytes).unwrap();
    bytes.truncate(1);
    struct Refuses;
    impl Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    assert!(encode(&Refuses, &mut bytes).is_err());
    assert_eq!(bytes, [1]);
}

#[test]
fn a_handle_travels_in_messages_alone() {
    use crate::heap::block::{Block, Shared};
    use crate::heap::kind::Kind;
    use crate::sys::atomic::{AtomicU64, Ordering};
    let block = Block::new(Kind::Test, 64).unwrap();
    block.memory().view::<AtomicU64>(8).unwrap().store(42, Ordering::Relaxed);
    let mut bytes = Vec::new();
    assert!(encode(&block, &mut bytes).unwrap_err().0.contains("can only travel in"));
    let (written, pins) = scope::collect(|| encode(&block, &mut bytes));
    written.unwrap();
    assert_eq!(pins.len(), 1);
    let read = || decode::<Block>(&mut Reader::new(&bytes));
    let other = read().unwrap();
    assert_eq!(other.memory().view::<AtomicU64>(8).unwrap().load(Ordering::Relaxed), 42);
    assert!(Shared::<AtomicU64>::new(other.clone(), &[Kind::Lock]).is_none());
    assert_eq!(Shared::<AtomicU64>::new(other.clone(), &[Kind::Test]).unwrap().load(Ordering::Relaxed), 0);
    drop((block, other, pins));
    assert!(read().unwrap_err().0.contains("exists no longer"));
    let newer = Block::new(Kind::Test, 64).unwrap();
    assert!(read().is_err());
    drop(newer);
}
