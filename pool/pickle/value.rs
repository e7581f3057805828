//! [`PyValue`]: any plain value of Python.

use serde::{Deserialize, Serialize};

/// The name by which the serialiser and the deserialiser of this module know [`PyValue`], so that what only Python tells
/// apart (a tuple and a list) stays apart. For other formats it is an enum as any other.
pub(super) const NAME: &str = "multiproc::PyValue";

/// How deep values may be nested in each other.
pub(super) const MAX_DEPTH: usize = 200;

/// Any plain value of Python: what goes through [`RemoteConnection::send`](crate::RemoteConnection::send) if its type is not
/// known in advance, or matters to Python (a tuple is no list there, and bytes are no list of numbers).
///
/// ```
/// use multiproc::PyValue;
///
/// // pickle.loads(...)
/// let value = PyValue::from_pickle(b"\x80\x04\x8c\x01a\x4b\x01\x86.")?;
/// assert_eq!(value, PyValue::Tuple(vec!["a".into(), 1.into()]));
/// // The same as a type of Rust, and back.
/// assert_eq!(value.clone().extract::<(String, u8)>()?, ("a".to_owned(), 1));
/// assert_eq!(PyValue::of(&("a", 1))?, value);
/// assert_eq!(PyValue::from_pickle(&value.to_pickle()?)?, value);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// | Rust | Python |
/// |---|---|
/// | `()`, `None`, a unit struct | `None` |
/// | `Some(x)`, a struct of one unnamed field | what is in it |
/// | `bool`, integers of any size, `f32` and `f64` | `bool`, `int`, `float` |
/// | `char`, `str`, `String` | `str` |
/// | `Vec`, slices, sets | `list` |
/// | tuples, arrays | `tuple` |
/// | maps; structs, by the names of their fields | `dict` |
/// | an enum's variant without data | its name, as `str` |
/// | one with data | `dict` of its name and the data |
/// | `PyValue` | what it says |
///
/// The way back takes more: a list, tuple or set for each of them, and bytes for a `Vec<u8>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "multiproc::PyValue")]
#[non_exhaustive]
pub enum PyValue {
    /// `None`
    None,
    /// `bool`
    Bool(bool),
    /// `int`, as far as it fits.
    Int(i64),
    /// Any other `int`: two's complement, the lowest byte first, as few bytes as will do.
    BigInt(#[serde(with = "as_bytes")] Vec<u8>),
    /// `float`
    Float(f64),
    /// `str`
    Str(String),
    /// `bytes`
    Bytes(#[serde(with = "as_bytes")] Vec<u8>),
    /// `bytearray`
    ByteArray(#[serde(with = "as_bytes")] Vec<u8>),
    /// `list`
    List(Vec<PyValue>),
    /// `tuple`
    Tuple(Vec<PyValue>),
    /// `dict`, in its order.
    Dict(Vec<(PyValue, PyValue)>),
    /// `set`
    Set(Vec<PyValue>),
    /// `frozenset`
    FrozenSet(Vec<PyValue>),
}

impl PyValue {
    /// An integer, in the form that it has.
    pub(super) fn int(number: i128) -> PyValue {
        match i64::try_from(number) {
            Ok(number) => PyValue::Int(number),
            Err(_) => PyValue::BigInt(shortest(&number.to_le_bytes()).to_vec()),
        }
    }

    /// An integer of two's complement, the lowest byte first.
    pub(super) fn int_of(bytes: &[u8]) -> PyValue {
        let bytes = shortest(bytes);
        match to_i128(bytes).and_then(|number| i64::try_from(number).ok()) {
            Some(number) => PyValue::Int(number),
            None => PyValue::BigInt(bytes.to_vec()),
        }
    }

    /// What it is called in messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            PyValue::None => "None",
            PyValue::Bool(_) => "a bool",
            PyValue::Int(_) | PyValue::BigInt(_) => "an int",
            PyValue::Float(_) => "a float",
            PyValue::Str(_) => "a str",
            PyValue::Bytes(_) => "bytes",
            PyValue::ByteArray(_) => "a bytearray",
            PyValue::List(_) => "a list",
            PyValue::Tuple(_) => "a tuple",
            PyValue::Dict(_) => "a dict",
            PyValue::Set(_) => "a set",
            PyValue::FrozenSet(_) => "a frozenset",
        }
    }
}

/// The same number in as few bytes as will do: the highest are dropped while they only repeat the sign.
fn shortest(bytes: &[u8]) -> &[u8] {
    let repeats = |pair: &[u8]| matches!(*pair, [second, first] if first == if second < 0x80 { 0 } else { 0xff });
    let spare = bytes.windows(2).rev().take_while(|pair| repeats(pair)).count();
    &bytes[..bytes.len() - spare]
}

/// A number of at most 16 bytes.
pub(super) fn to_i128(bytes: &[u8]) -> Option<i128> {
    let is_negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
    let mut whole = [if is_negative { 0xff } else { 0 }; 16];
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i128::from_le_bytes(whole))
}

macro_rules! from_integers {
    ($($integer:ty)*) => {$(
        impl From<$integer> for PyValue {
            fn from(number: $integer) -> PyValue {
                PyValue::int(i128::from(number))
            }
        }
    )*};
}

from_integers!(i8 i16 i32 i64 u8 u16 u32 u64 i128);

impl From<bool> for PyValue {
    fn from(value: bool) -> PyValue {
        PyValue::Bool(value)
    }
}

impl From<f64> for PyValue {
    fn from(value: f64) -> PyValue {
        PyValue::Float(value)
    }
}

impl From<&str> for PyValue {
    fn from(text: &str) -> PyValue {
        PyValue::Str(text.to_owned())
    }
}

impl From<String> for PyValue {
    fn from(text: String) -> PyValue {
        PyValue::Str(text)
    }
}

impl<T: Into<PyValue>> From<Option<T>> for PyValue {
    fn from(value: Option<T>) -> PyValue {
        value.map_or(PyValue::None, T::into)
    }
}

/// Bytes as bytes, also in formats of which a list of numbers is something else.
mod as_bytes {
    use serde::de::{self, SeqAccess, Visitor};
    use serde::{Deserializer, Serializer};
    use std::fmt;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_byte_buf(Bytes)
    }

    struct Bytes;

    impl<'de> Visitor<'de> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }

        // In JSON, say, they are a list of numbers.
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = seq.next_element()? {
                bytes.push(byte);
            }
            Ok(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_form() {
        assert_eq!(PyValue::from(u64::MAX), PyValue::BigInt([&[0xff; 8][..], &[0]].concat()));
        assert_eq!(PyValue::from(i64::MIN), PyValue::Int(i64::MIN));
        assert_eq!(PyValue::int_of(&[0xff; 40]), PyValue::Int(-1));
        assert_eq!(PyValue::int_of(&[]), PyValue::Int(0));
        assert_eq!(PyValue::int_of(&[0x80, 0]), PyValue::Int(128));
        assert_eq!(PyValue::int_of(&[0x80]), PyValue::Int(-128));
        assert_eq!(PyValue::from(i128::MIN), PyValue::int_of(&i128::MIN.to_le_bytes()));
        assert_eq!(to_i128(&[0; 17]), None);
    }
}
