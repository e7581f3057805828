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

/// What serde's attributes make of a type, and what is said of it.
mod attributes {
    use super::*;
    use serde::Deserialize;

    fn refusal<T: Payload>(value: T) -> String {
        let mut bytes = Vec::new();
        match encode(&value, &mut bytes) {
            Err(error) => error.0,
            Ok(()) => decode::<T>(&mut Reader::new(&bytes)).err().expect("refused").0,
        }
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug, Default)]
    struct Row {
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<u8>,
        n: u8,
        data: Vec<u8>,
    }

    #[test]
    fn a_field_that_is_left_out_now_and_then_is_refused_when_it_is() {
        round(Row { note: Some(7), n: 1, data: vec![9, 0] });
        let text = refusal(Row { note: None, n: 1, data: vec![9, 0] });
        assert!(text.contains("field `note` of `Row`") && text.contains("skip_serializing_if"), "{text}");
        #[derive(Serialize, Deserialize)]
        enum Event {
            Moved {
                #[serde(skip_serializing_if = "Vec::is_empty")]
                path: Vec<u8>,
            },
        }
        let text = refusal(Event::Moved { path: Vec::new() });
        assert!(text.contains("field `path` of `Event`"), "{text}");
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct OneSided {
        #[serde(skip_serializing, default)]
        first: u8,
        second: u8,
        #[serde(default)]
        third: u8,
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct OtherSide(u8, #[serde(skip_deserializing)] u8, u8);

    #[test]
    fn a_field_of_one_side_alone_is_refused() {
        let text = refusal(OneSided { first: 1, second: 2, third: 3 });
        assert!(text.contains("`OneSided` is written with another number of fields"), "{text}");
        let text = refusal(OtherSide(1, 2, 3));
        assert!(text.contains("`OtherSide` is written with another number of fields"), "{text}");
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Aliased {
        #[serde(alias = "a", alias = "b")]
        first: u8,
        #[serde(skip)]
        never: u8,
        last: Option<Box<Aliased>>,
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    enum Gapped {
        #[serde(alias = "Alpha")]
        A,
        #[serde(skip)]
        #[allow(dead_code, reason = "it is skipped")]
        B,
        #[serde(rename = "gamma")]
        C(u8),
        D(u8, u8),
        E {
            x: u8,
        },
    }

    #[test]
    fn names_and_gaps_do_no_harm() {
        let inner = Aliased { first: 3, never: 0, last: None };
        round(Aliased { first: 1, never: 0, last: Some(Box::new(inner)) });
        round(vec![Gapped::A, Gapped::C(1), Gapped::D(2, 3), Gapped::E { x: 4 }]);
        assert!(refusal(Gapped::B).contains("cannot be serialized"));
    }

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u64),
    }

    #[derive(Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        Point { x: u64 },
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    #[serde(tag = "kind", content = "value")]
    enum Adjacent {
        Number(u64),
        Text(String),
    }

    #[derive(Serialize, Deserialize)]
    struct Flat {
        #[serde(flatten)]
        rest: BTreeMap<String, u8>,
    }

    #[test]
    fn what_needs_a_description_is_refused_with_the_cure() {
        round(Adjacent::Number(1));
        round(Adjacent::Text("one".to_owned()));
        let json = serde_json::json!({"a": [1, 2.5, "x", null]});
        for text in [refusal(Untagged::Number(1)), refusal(Tagged::Point { x: 1 }), refusal(json)] {
            assert!(text.contains("self-describing format (`untagged`, `tag`, `flatten`"), "{text}");
            assert!(text.contains("as text, for example by serde_json"), "{text}");
        }
        let text = refusal(Flat { rest: BTreeMap::from([("a".to_owned(), 1)]) });
        assert!(text.contains("`flatten`") && text.contains("as text"), "{text}");
    }

    #[test]
    fn the_text_of_an_implementation_is_kept() {
        #[derive(Debug)]
        struct Picky;
        impl Serialize for Picky {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.serialize_unit()
            }
        }
        impl<'de> Deserialize<'de> for Picky {
            fn deserialize<D: serde::Deserializer<'de>>(_: D) -> std::result::Result<Picky, D::Error> {
                Err(serde::de::Error::custom("not on a Sunday"))
            }
        }
        assert_eq!(refusal(Picky), "not on a Sunday");
    }
}

/// What a few bytes may claim.
mod claims {
    use super::*;
    use std::collections::HashMap;

    fn body(bytes: &[u8]) -> Vec<u8> {
        let mut body = (bytes.len() as u64).to_le_bytes().to_vec();
        body.extend_from_slice(bytes);
        body
    }

    /// 2^60 in 7-bit groups.
    const HUGE: [u8; 9] = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10];

    fn refused<T: Payload>(bytes: &[u8]) {
        assert!(decode::<T>(&mut Reader::new(&body(bytes))).is_err());
    }

    #[test]
    fn no_length_makes_the_reader_reserve_or_repeat() {
        #[derive(Serialize, serde::Deserialize, PartialEq, Eq, Hash, Debug, Clone, Copy)]
        struct Unit;
        refused::<Vec<()>>(&HUGE);
        refused::<Vec<Unit>>(&HUGE);
        refused::<Vec<String>>(&HUGE);
        refused::<Vec<[u64; 32]>>(&HUGE);
        refused::<HashMap<u64, Unit>>(&HUGE);
        refused::<HashMap<Unit, Unit>>(&HUGE);
        refused::<String>(&HUGE);
        refused::<std::collections::VecDeque<u8>>(&HUGE);
        // Many sequences of as many as are free: together they are not.
        let most = [0xff, 0xff, 0x3f];
        refused::<Vec<Vec<()>>>(&[&[100][..], &most.repeat(100)].concat());
    }

    #[test]
    fn elements_without_bytes_come_back_up_to_a_number() {
        round(vec![(); 1 << 20]);
        let mut bytes = Vec::new();
        let error = encode(&vec![(); usize::MAX], &mut bytes).unwrap_err();
        assert!(error.0.contains("more elements than bytes") && bytes.is_empty(), "{}", error.0);
    }

    #[test]
    fn what_announces_another_length_than_it_has_is_refused() {
        struct Liar;
        impl Serialize for Liar {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                use serde::ser::SerializeSeq;
                let mut seq = serializer.serialize_seq(Some(3))?;
                seq.serialize_element(&1u8)?;
                seq.end()
            }
        }
        assert!(encode(&Liar, &mut Vec::new()).unwrap_err().0.contains("of 3 elements and writes 1"));
    }

    #[test]
    fn a_sequence_need_not_know_its_length() {
        struct Even;
        impl Serialize for Even {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.collect_seq((0..1000u16).filter(|number| number % 2 == 0))
            }
        }
        let mut bytes = Vec::new();
        encode(&Even, &mut bytes).unwrap();
        let back: std::collections::VecDeque<u16> = decode(&mut Reader::new(&bytes)).unwrap();
        assert!(back.into_iter().eq((0..500).map(|half| 2 * half)));
    }

    #[derive(Serialize, serde::Deserialize)]
    struct Chain(Option<Box<Chain>>);

    impl Drop for Chain {
        fn drop(&mut self) {
            // Without recursion.
            let mut next = self.0.take();
            while let Some(mut link) = next {
                next = link.0.take();
            }
        }
    }

    #[test]
    fn what_is_nested_too_deeply_is_an_error_and_no_overflow() {
        let chain = |len: usize| (0..len).fold(Chain(None), |chain, _| Chain(Some(Box::new(chain))));
        let on_a_stack = |len: usize, code: fn(Chain) -> Result<()>| {
            let thread = std::thread::Builder::new().stack_size(len);
            thread.spawn(move || code(chain(45_000))).unwrap().join().unwrap()
        };
        fn there(chain: Chain) -> Result<()> {
            encode(&chain, &mut Vec::new())
        }
        fn and_back(_: Chain) -> Result<()> {
            decode::<Chain>(&mut Reader::new(&body(&[&[1; 45_000][..], &[0]].concat()))).map(drop)
        }
        for code in [there, and_back] {
            on_a_stack(256 << 20, code).unwrap();
            let text = on_a_stack(1 << 20, code).unwrap_err().0;
            assert!(text.contains("nested too deeply"), "{text}");
        }
    }
}
