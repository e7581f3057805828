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

impl Item {
    /// Returns the bool, if it is one.
    ///
    /// ```
    /// use multiproc::Item;
    ///
    /// assert_eq!(Item::from(true).as_bool(), Some(true));
    /// assert_eq!(Item::from(7).as_int(), Some(7));
    /// assert_eq!(Item::from(1.5).as_float(), Some(1.5));
    /// assert_eq!(Item::from("text").as_str(), Some("text"));
    /// assert_eq!(Item::from(b"bytes").as_bytes(), Some(&b"bytes"[..]));
    /// assert_eq!(Item::from("text").as_int(), None);
    /// ```
    pub fn as_bool(&self) -> Option<bool> {
        if let Item::Bool(value) = self { Some(*value) } else { None }
    }

    /// Returns the integer, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        if let Item::Int(value) = self { Some(*value) } else { None }
    }

    /// Returns the floating-point number, if it is one.
    pub fn as_float(&self) -> Option<f64> {
        if let Item::Float(value) = self { Some(*value) } else { None }
    }

    /// Returns the text, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        if let Item::Str(value) = self { Some(value) } else { None }
    }

    /// Returns the bytes, if it is bytes.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        if let Item::Bytes(value) = self { Some(value) } else { None }
    }
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
