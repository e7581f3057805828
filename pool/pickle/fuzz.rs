//! Pickles as we write them, instructions of all protocols in any order, and both spoiled: each is a value or an error, and
//! takes no more memory than its length is worth.

use super::value::PyValue;
use crate::sys::fuzz::{Random, fuzz, within};

/// What a pickle may cost in memory: the tree, what calls copy, and the value; see [`PyValue::from_pickle`].
pub(crate) fn worth(pickle: &[u8]) -> usize {
    (32 << 20) + 256 * pickle.len() + 4096
}

/// A value of at most that many levels.
pub(crate) fn value(random: &mut Random, levels: usize) -> PyValue {
    let some = |random: &mut Random| (0..random.below(4)).map(|_| value(random, levels - 1)).collect::<Vec<_>>();
    match random.below(if levels > 0 { 14 } else { 8 }) {
        0 => PyValue::None,
        1 => random.once_in(2).into(),
        2 | 3 => (random.number() as i64).into(),
        4 => PyValue::int_of(&random.bytes(20)),
        5 => (random.number() as f64 / 16.0).into(),
        6 => random.text(9).into(),
        7 if random.once_in(2) => PyValue::Bytes(random.bytes(300)),
        7 => PyValue::ByteArray(random.bytes(9)),
        8 | 9 => PyValue::List(some(random)),
        10 => PyValue::Tuple(some(random)),
        11 => PyValue::Set(some(random)),
        12 => PyValue::FrozenSet(some(random)),
        _ => PyValue::Dict(some(random).into_iter().map(|key| (key, value(random, 0))).collect()),
    }
}

/// Instructions with what belongs to them, in any order; most are those that need nothing on the stack.
fn program(random: &mut Random) -> Vec<u8> {
    const PIECES: [&[u8]; 52] = [
        b"N",
        b"N",
        b"\x88",
        b"\x89",
        b"K\x07",
        b"M\x07\x01",
        b"J\xff\xff\xff\xff",
        b"G\x3f\xf8\0\0\0\0\0\0",
        b"\x8a\x01\x80",
        b"\x8b\x02\0\0\0\0\x01",
        b"I01\n",
        b"I-5\n",
        b"L99999999999999999999L\n",
        b"F1.5\n",
        b"\x8c\x01a",
        b"X\x01\0\0\0b",
        b"V\\u20ac\n",
        b"C\x01z",
        b"\x96\x01\0\0\0\0\0\0\0y",
        b"]",
        b"]",
        b")",
        b"}",
        b"\x8f",
        b"(",
        b"(",
        b"(",
        b"l",
        b"t",
        b"\x91",
        b"d",
        b"\x85",
        b"\x86",
        b"\x87",
        b"a",
        b"e",
        b"\x90",
        b"s",
        b"u",
        b"0",
        b"1",
        b"2",
        b"\x94",
        b"q\x05",
        b"h\x05",
        b"h\0",
        b"c__builtin__\nlist\n",
        b"c_codecs\nencode\n",
        b"\x93",
        b"R",
        b"\x81",
        b"b",
    ];
    let mut bytes: Vec<u8> = (0..random.below(40)).flat_map(|_| random.pick(&PIECES).iter().copied()).collect();
    bytes.push(b'.');
    bytes
}

#[test]
fn a_pickle_is_a_value_or_an_error() {
    let (mut values, mut errors) = (0u64, 0u64);
    fuzz(
        || (),
        |(), random| {
            let written = value(random, 4);
            let mut bytes = if random.once_in(3) { program(random) } else { written.to_pickle().unwrap() };
            if random.once_in(8) {
                // As it is.
                bytes = written.to_pickle().unwrap();
                assert_eq!(PyValue::from_pickle(&bytes).unwrap(), written);
            }
            random.spoil(&mut bytes);
            match within(worth(&bytes), &bytes, || PyValue::from_pickle(&bytes)) {
                Ok(value) => {
                    values += 1;
                    // What was read can be written, and is the same then; shown, since no NaN is equal to itself.
                    let again = PyValue::from_pickle(&value.to_pickle().unwrap()).unwrap();
                    assert_eq!(format!("{again:?}"), format!("{value:?}"));
                    let _ = value.to_string();
                }
                Err(error) => {
                    errors += 1;
                    assert!(error.is_decode());
                }
            }
        },
    );
    println!("{values} values, {errors} errors");
}
