//! [`Item`]: what a [`ShareableList`](crate::ShareableList) holds.

use serde::{Deserialize, Serialize};

/// One item of a [`ShareableList`](crate::ShareableList): what Python's list of that name can hold.
///
/// ```
/// use multiproc::Item;
///
/// assert_eq!(Item::from(5), Item::Int(5));
/// assert_eq!(Item::from("text"), Item::Str("text".to_owned()));
/// assert_eq!(Item::from(None::<f64>), Item::None);
/// assert_eq!(Item::from(b"\x00\x01"), Item::Bytes(vec![0, 1]));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Item {
    /// Python's `None`.
    #[default]
    None,
    /// `bool`.
    Bool(bool),
    /// `int`, as far as it fits 64 bits.
    Int(i64),
    /// `float`.
    Float(f64),
    /// `str`.
    Str(String),
    /// `bytes`.
    Bytes(Vec<u8>),
}

macro_rules! from {
    ($($type:ty => $variant:ident;)*) => {$(
        impl From<$type> for Item {
            fn from(value: $type) -> Item {
                Item::$variant(value.into())
            }
        }
    )*};
}

from! {
    bool => Bool;
    i8 => Int;
    i16 => Int;
    i32 => Int;
    i64 => Int;
    u8 => Int;
    u16 => Int;
    u32 => Int;
    f32 => Float;
    f64 => Float;
    &str => Str;
    String => Str;
    &[u8] => Bytes;
    Vec<u8> => Bytes;
}

impl<const N: usize> From<&[u8; N]> for Item {
    fn from(value: &[u8; N]) -> Item {
        Item::Bytes(value.to_vec())
    }
}

impl<T: Into<Item>> From<Option<T>> for Item {
    fn from(value: Option<T>) -> Item {
        value.map_or(Item::None, Into::into)
    }
}

/// The bytes of text and bytes.
pub(super) fn content(item: &Item) -> Option<&[u8]> {
    match item {
        Item::Str(text) => Some(text.as_bytes()),
        Item::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}
