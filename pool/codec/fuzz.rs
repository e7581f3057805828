//! Bytes that no encoder has written, read as a value of every form.

use super::*;
use crate::sys::copy::SharedBytes;
use crate::sys::fuzz::{Random, fuzz, within};
use crate::sys::memory::{self, Mapping};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::result::Result;
use std::time::Duration;

/// A type whose values can be made at random.
trait Sample: Payload {
    fn sample(random: &mut Random) -> Self;
}

macro_rules! samples {
    ($($type:ty = |$random:ident| $value:expr;)*) => { $(
        impl Sample for $type {
            fn sample($random: &mut Random) -> $type {
                $value
            }
        }
    )* };
}

fn several<T: Sample>(random: &mut Random) -> impl Iterator<Item = T> {
    (0..random.below(6)).map(|_| T::sample(random))
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Nothing;

#[derive(Debug, Serialize, Deserialize)]
struct Wrapped(String);

#[derive(Debug, Serialize, Deserialize)]
struct Pair(u16, Vec<u8>);

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    number: i32,
    #[serde(alias = "label")]
    name: String,
    #[serde(with = "crate::codec::bytes")]
    bytes: Vec<u8>,
    rest: Option<Box<Fields>>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Tree {
    Leaf,
    One(Box<Tree>),
    Two(Box<Tree>, u8),
    Many { trees: Vec<Tree>, name: char },
}

/// An element that takes much more memory than bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Large(Option<[u64; 32]>);

samples! {
    u8 = |random| random.number() as u8; i8 = |random| random.number() as i8;
    u16 = |random| random.number() as u16; i16 = |random| random.number() as i16;
    u32 = |random| random.number() as u32; i32 = |random| random.number() as i32;
    u64 = |random| random.number(); i64 = |random| random.number() as i64;
    usize = |random| random.number() as usize; isize = |random| random.number() as isize;
    u128 = |random| u128::from(random.number()) << 64 | u128::from(random.number());
    i128 = |random| u128::sample(random) as i128;
    f32 = |random| f32::from_bits(random.number() as u32); f64 = |random| f64::from_bits(random.number());
    bool = |random| random.once_in(2); () = |_random| ();
    char = |random| random.text(9).chars().next().unwrap_or('x');
    String = |random| random.text(20);
    Vec<u8> = |random| random.bytes(40); Vec<i16> = |random| several(random).collect();
    Vec<f32> = |random| several(random).collect(); Vec<u64> = |random| several(random).collect();
    Vec<u128> = |random| several(random).collect();
    Vec<usize> = |random| several(random).collect(); Vec<bool> = |random| several(random).collect();
    Vec<()> = |random| vec![(); random.below(1000)];
    Vec<String> = |random| several(random).collect();
    Vec<Vec<u8>> = |random| several(random).collect();
    Option<()> = |random| random.once_in(2).then_some(());
    Option<u64> = |random| random.once_in(2).then(|| random.number());
    Option<Option<String>> = |random| random.once_in(2).then(|| random.once_in(2).then(|| random.text(9)));
    (u8, String, Option<u64>, char, bool) = |random| (
        Sample::sample(random), Sample::sample(random), Sample::sample(random), Sample::sample(random), Sample::sample(random)
    );
    [u32; 3] = |random| [Sample::sample(random), Sample::sample(random), Sample::sample(random)];
    Result<u64, String> = |random| if random.once_in(2) { Ok(random.number()) } else { Err(random.text(9)) };
    BTreeMap<String, Result<u64, String>> = |random| {
        (0..random.below(5)).map(|_| (Sample::sample(random), Sample::sample(random))).collect()
    };
    BTreeSet<u16> = |random| several(random).collect();
    VecDeque<char> = |random| several(random).collect();
    Duration = |random| Duration::new(random.next() >> 1, random.below(1_000_000_000) as u32);
    IpAddr = |random| if random.once_in(2) { [4; 4].into() } else { u128::sample(random).to_be_bytes().into() };
    NonZeroU32 = |random| NonZeroU32::new(random.number() as u32).unwrap_or(NonZeroU32::MIN);
    PathBuf = |random| random.text(9).into();
    std::ops::Range<u8> = |random| Sample::sample(random)..Sample::sample(random);
    Nothing = |_random| Nothing;
    Wrapped = |random| Wrapped(random.text(9));
    Pair = |random| Pair(Sample::sample(random), Sample::sample(random));
    Fields = |random| Fields {
        number: Sample::sample(random),
        name: Sample::sample(random),
        bytes: Sample::sample(random),
        rest: random.once_in(3).then(|| Box::new(Sample::sample(random))),
    };
    Tree = |random| match random.below(6) {
        0 => Tree::One(Box::new(Sample::sample(random))),
        1 => Tree::Two(Box::new(Sample::sample(random)), 7),
        2 => Tree::Many { trees: several(random).collect(), name: 'x' },
        _ => Tree::Leaf,
    };
    Large = |random| Large(random.once_in(2).then_some([7; 32]));
    Vec<Large> = |random| several(random).collect();
}

/// Memory that could be shared, to read from.
struct Shelf(Mapping);

impl Shelf {
    const LEN: usize = 1 << 16;

    fn put(&self, bytes: &[u8]) -> SharedBytes<'_> {
        assert!(self.0.bytes().write(1, bytes));
        self.0.bytes().slice(1, bytes.len()).unwrap()
    }
}

/// The bytes of a value once more: what stands for it where two are compared, since not all can be.
fn bytes_of<T: Payload>(value: Result<T, CodecError>) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::new();
    encode(&value?, &mut bytes)?;
    Ok(bytes)
}

/// Reads bytes as a value of this type, in every way in which the library does.
fn read<T: Sample>(bytes: &[u8], shelf: &Shelf, count: u32) {
    // Some elements take more memory than bytes; serde reserves as much for them as they are said to be.
    let worth = 8192 + bytes.len() * (64 + 2 * size_of::<T>().max(size_of::<Large>()));
    let mut reader = Reader::new(bytes);
    let value = bytes_of(within(worth, &bytes, || decode::<T>(&mut reader)));
    let mut ahead = Reader::new(bytes);
    match skip::<T>(&mut ahead) {
        // Whether it could be read or not, its neighbours can.
        Ok(()) => assert_eq!(reader.position(), ahead.position()),
        Err(_) => assert!(value.is_err()),
    }
    let shared = shelf.put(bytes);
    let same = bytes_of(within(worth + bytes.len(), &bytes, || decode::<T>(&mut Reader::shared(shared))));
    assert_eq!(same, value, "in shared memory");
    if let Ok(again) = &value {
        assert_eq!(bytes_of(decode::<T>(&mut Reader::new(again))).as_ref(), Ok(again), "it does not come back");
    }
    let mut all = Vec::new();
    let whole = within(4 * worth, &bytes, || decode_all::<T>(&mut Reader::new(bytes), count, &mut all));
    assert!(all.len() <= count as usize && (whole.is_err() || all.len() == count as usize));
}

/// A type: an input of it, and how it is read.
type Form = (fn(&mut Random) -> Vec<u8>, fn(&[u8], &Shelf, u32));

fn form<T: Sample>() -> Form {
    let make = |random: &mut Random| bytes_of(Ok(T::sample(random))).unwrap();
    (make, read::<T>)
}

macro_rules! forms {
    ($($type:ty),* $(,)?) => { [$(form::<$type>()),*] };
}

#[test]
fn bytes_are_a_value_or_an_error() {
    let forms = forms![
        u8, i8, u16, i16, u32, i32, u64, i64, usize, isize, u128, i128, f32, f64, bool, (), char, String, Vec<u8>, Vec<i16>,
        Vec<f32>, Vec<u64>, Vec<u128>, Vec<usize>, Vec<bool>, Vec<()>, Vec<String>, Vec<Vec<u8>>, Option<()>, Option<u64>,
        Option<Option<String>>, (u8, String, Option<u64>, char, bool), [u32; 3], Result<u64, String>,
        BTreeMap<String, Result<u64, String>>, BTreeSet<u16>, VecDeque<char>, Duration, IpAddr, NonZeroU32, PathBuf,
        std::ops::Range<u8>, Nothing, Wrapped, Pair, Fields, Tree, Large, Vec<Large>,
    ];
    let shelf = || Shelf(memory::private(Shelf::LEN).unwrap());
    fuzz(shelf, |shelf, random| {
        let (make, read) = random.pick(&forms);
        // Now and then what another type has written.
        let make = if random.once_in(8) { &random.pick(&forms).0 } else { make };
        let mut bytes = make(random);
        if random.once_in(4) {
            bytes.extend(make(random));
        }
        random.spoil(&mut bytes);
        // Most lengths do not fit any more: so that what is behind them is read, too.
        if let (true, Some((prefix, rest))) = (random.once_in(2), bytes.split_first_chunk_mut::<PREFIX>()) {
            *prefix = super::prefix(rest.len());
        }
        bytes.truncate(Shelf::LEN / 2);
        read(&bytes, shelf, random.below(4) as u32);
    });
}
