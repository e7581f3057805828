//! Bodies by serde, the writing half.
//!
//! The format: numbers little-endian in their own width, `bool` and the mark of an `Option` in a byte, `char` as a `u32`;
//! lengths in 7-bit groups, lowest first; strings, byte strings, sequences and maps behind their length; tuples as they are.
//! In front of the fields of a struct stands their number, and a variant is written by its name: so what attributes such as
//! `skip` and `skip_serializing` leave out on one side only is noticed on the other, or does not matter, instead of turning
//! one value into another.

use super::CodecError;
use super::serde_error::{FREE_ELEMENTS, SerdeError};
use crate::sys::stack;
use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

type Written = Result<(), SerdeError>;

/// A long sequence is weighed whenever so many more of its elements were written.
const LOOK_AFTER: usize = 1 << 16;

/// The bytes of a length that is put in later.
const OPEN_LEN: usize = 9;

/// Appends the body of a value.
pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let mut writer = Writer { start: out.len(), out, elements: 0, floor: stack::floor() };
    value.serialize(&mut writer).map_err(SerdeError::into_error)
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// Where the body begins.
    start: usize,
    /// Elements of sequences and maps so far.
    elements: usize,
    /// See [`stack::floor`].
    floor: usize,
}

/// Appends a length in 7-bit groups.
fn put_len(out: &mut Vec<u8>, len: usize) {
    let mut rest = len as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

impl Writer<'_> {
    /// To be called before anything that recurses.
    #[inline]
    fn descend(&self) -> Written {
        if stack::top() < self.floor { Err(SerdeError::too_deep()) } else { Ok(()) }
    }

    /// Adds elements that were written. Those without bytes are bounded, since the reader cannot tell many of them from a lie.
    #[inline]
    fn weigh(&mut self, elements: usize) -> Written {
        self.elements += elements;
        let most = self.out.len() - self.start + FREE_ELEMENTS;
        if self.elements > most { Err(SerdeError::too_many()) } else { Ok(()) }
    }
}

macro_rules! numbers {
    ($($name:ident $type:ty;)*) => { $(
        #[inline]
        fn $name(self, number: $type) -> Written {
            self.out.extend_from_slice(&number.to_le_bytes());
            Ok(())
        }
    )* };
}

impl<'w, 'o> Serializer for &'w mut Writer<'o> {
    type Ok = ();
    type Error = SerdeError;
    type SerializeSeq = Elements<'w, 'o>;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Fields<'w, 'o>;
    type SerializeTupleVariant = Fields<'w, 'o>;
    type SerializeMap = Elements<'w, 'o>;
    type SerializeStruct = Fields<'w, 'o>;
    type SerializeStructVariant = Fields<'w, 'o>;

    numbers! {
        serialize_u8 u8; serialize_u16 u16; serialize_u32 u32; serialize_u64 u64; serialize_u128 u128;
        serialize_i8 i8; serialize_i16 i16; serialize_i32 i32; serialize_i64 i64; serialize_i128 i128;
        serialize_f32 f32; serialize_f64 f64;
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Written {
        self.serialize_u8(u8::from(value))
    }

    #[inline]
    fn serialize_char(self, value: char) -> Written {
        self.serialize_u32(u32::from(value))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Written {
        self.serialize_bytes(value.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Written {
        put_len(self.out, value.len());
        self.out.extend_from_slice(value);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Written {
        self.serialize_u8(0)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Written {
        self.descend()?;
        self.out.push(1);
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Written {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Written {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Written {
        self.serialize_str(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Written {
        self.descend()?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Written {
        self.descend()?;
        self.serialize_str(variant)?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Elements<'w, 'o>, SerdeError> {
        Elements::begin(self, len)
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Self, SerdeError> {
        self.descend()?;
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Fields<'w, 'o>, SerdeError> {
        Fields::begin(self, name, len)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Fields<'w, 'o>, SerdeError> {
        self.serialize_str(variant)?;
        Fields::begin(self, name, len)
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Elements<'w, 'o>, SerdeError> {
        Elements::begin(self, len)
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Fields<'w, 'o>, SerdeError> {
        Fields::begin(self, name, len)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Fields<'w, 'o>, SerdeError> {
        self.serialize_str(variant)?;
        Fields::begin(self, name, len)
    }
}

/// The elements of a sequence, or the entries of a map.
pub(super) struct Elements<'w, 'o> {
    writer: &'w mut Writer<'o>,
    count: usize,
    expected: Expected,
}

/// How many elements there are to be.
enum Expected {
    Said(usize),
    /// It did not say: its length is put at this place in the end.
    Open(usize),
}

impl<'w, 'o> Elements<'w, 'o> {
    #[inline]
    fn begin(writer: &'w mut Writer<'o>, len: Option<usize>) -> Result<Elements<'w, 'o>, SerdeError> {
        writer.descend()?;
        let expected = match len {
            Some(len) => {
                put_len(writer.out, len);
                Expected::Said(len)
            }
            None => {
                let at = writer.out.len();
                writer.out.extend_from_slice(&[0; OPEN_LEN]);
                Expected::Open(at)
            }
        };
        Ok(Elements { writer, count: 0, expected })
    }

    /// Counts an element that was written.
    #[inline]
    fn count(&mut self) -> Written {
        self.count += 1;
        if self.count % LOOK_AFTER == 0 { self.writer.weigh(LOOK_AFTER) } else { Ok(()) }
    }

    #[inline]
    fn finish(self) -> Written {
        self.writer.weigh(self.count % LOOK_AFTER)?;
        match self.expected {
            Expected::Said(len) if len == self.count => Ok(()),
            Expected::Said(len) => Err(SerdeError::custom(format_args!(
                "its `Serialize` announces a sequence or map of {len} elements and writes {}",
                self.count
            ))),
            Expected::Open(at) => {
                // All groups but the last say that one more follows, also where they hold nothing.
                let mut rest = self.count as u64;
                for (place, group) in self.writer.out[at..at + OPEN_LEN].iter_mut().enumerate() {
                    let more = if place + 1 < OPEN_LEN { 0x80 } else { 0 };
                    *group = (rest & 0x7f) as u8 | more;
                    rest >>= 7;
                }
                Ok(())
            }
        }
    }
}

impl SerializeSeq for Elements<'_, '_> {
    type Ok = ();
    type Error = SerdeError;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        value.serialize(&mut *self.writer)?;
        self.count()
    }

    #[inline]
    fn end(self) -> Written {
        self.finish()
    }
}

impl SerializeMap for Elements<'_, '_> {
    type Ok = ();
    type Error = SerdeError;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Written {
        key.serialize(&mut *self.writer)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        value.serialize(&mut *self.writer)?;
        self.count()
    }

    #[inline]
    fn end(self) -> Written {
        self.finish()
    }
}

impl SerializeTuple for &mut Writer<'_> {
    type Ok = ();
    type Error = SerdeError;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        value.serialize(&mut **self)
    }

    #[inline]
    fn end(self) -> Written {
        Ok(())
    }
}

/// The fields of a struct or a variant.
pub(super) struct Fields<'w, 'o> {
    writer: &'w mut Writer<'o>,
    /// Of the type.
    name: &'static str,
    left: usize,
}

impl<'w, 'o> Fields<'w, 'o> {
    #[inline]
    fn begin(writer: &'w mut Writer<'o>, name: &'static str, len: usize) -> Result<Fields<'w, 'o>, SerdeError> {
        writer.descend()?;
        put_len(writer.out, len);
        Ok(Fields { writer, name, left: len })
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        // More than were announced leave a remainder that is not 0.
        self.left = self.left.wrapping_sub(1);
        value.serialize(&mut *self.writer)
    }

    /// Serde skips a field for `skip_serializing_if` alone. A reader that does not know the names would take the next one
    /// for it.
    #[cold]
    fn skip(&self, field: &str) -> SerdeError {
        SerdeError::custom(format_args!(
            "the field `{field}` of `{}` is left out by `skip_serializing_if`, which needs a format with field names: take \
             the attribute off, or send the value as text, for example by serde_json",
            self.name
        ))
    }

    #[inline]
    fn finish(self) -> Written {
        if self.left == 0 { Ok(()) } else { Err(self.miscounted()) }
    }

    #[cold]
    fn miscounted(&self) -> SerdeError {
        SerdeError::custom(format_args!("the `Serialize` of `{}` writes not as many fields as it announces", self.name))
    }
}

macro_rules! fields_without_names {
    ($($trait:ident)*) => { $(
        impl $trait for Fields<'_, '_> {
            type Ok = ();
            type Error = SerdeError;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
                self.field(value)
            }

            #[inline]
            fn end(self) -> Written {
                self.finish()
            }
        }
    )* };
}

fields_without_names! { SerializeTupleStruct SerializeTupleVariant }

macro_rules! fields_with_names {
    ($($trait:ident)*) => { $(
        impl $trait for Fields<'_, '_> {
            type Ok = ();
            type Error = SerdeError;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Written {
                self.field(value)
            }

            fn skip_field(&mut self, field: &'static str) -> Written {
                Err(self.skip(field))
            }

            #[inline]
            fn end(self) -> Written {
                self.finish()
            }
        }
    )* };
}

fields_with_names! { SerializeStruct SerializeStructVariant }
