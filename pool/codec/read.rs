//! Bodies by serde, the reading half; the format stands in [`write`](super::write).
//!
//! Nothing is believed: a length is bounded by the bytes that are there before anything is reserved or repeated for it.

use super::CodecError;
use super::serde_error::{FREE_ELEMENTS, SerdeError};
use crate::sys::stack;
use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

type Read<T> = Result<T, SerdeError>;

/// Reads a value from its body, of which nothing may be left over.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let mut body = Body { rest: bytes, elements: bytes.len().saturating_add(FREE_ELEMENTS), floor: stack::floor() };
    let value = T::deserialize(&mut body).map_err(SerdeError::into_error)?;
    match body.rest.len() {
        0 => Ok(value),
        left => Err(CodecError(format!("{left} bytes are left over"))),
    }
}

struct Body<'de> {
    rest: &'de [u8],
    /// How many more elements of sequences and maps there may be. Each has a byte at least, but for some.
    elements: usize,
    /// See [`stack::floor`].
    floor: usize,
}

impl<'de> Body<'de> {
    /// To be called before anything that recurses.
    #[inline]
    fn descend(&self) -> Read<()> {
        if stack::top() < self.floor { Err(SerdeError::too_deep()) } else { Ok(()) }
    }

    #[inline]
    fn take(&mut self, len: usize) -> Read<&'de [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(SerdeError::cut_short)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or_else(SerdeError::cut_short)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    fn byte(&mut self) -> Read<u8> {
        self.array().map(|[byte]| byte)
    }

    /// A length in 7-bit groups.
    #[inline]
    fn len(&mut self) -> Read<usize> {
        let first = self.byte()?;
        if first < 0x80 { Ok(usize::from(first)) } else { self.long_len(first) }
    }

    #[cold]
    fn long_len(&mut self, first: u8) -> Read<usize> {
        let mut len = u64::from(first & 0x7f);
        for group in 1..=9 {
            let byte = self.byte()?;
            // The tenth group holds the 64th bit.
            if group == 9 && byte > 1 {
                break;
            }
            len |= u64::from(byte & 0x7f) << (7 * group);
            if byte < 0x80 {
                return usize::try_from(len).map_err(|_| SerdeError::cut_short());
            }
        }
        Err(SerdeError::custom("a length is damaged"))
    }

    #[inline]
    fn bytes(&mut self) -> Read<&'de [u8]> {
        let len = self.len()?;
        self.take(len)
    }

    #[inline]
    fn text(&mut self) -> Read<&'de str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| SerdeError::custom("a text is not UTF-8"))
    }

    #[inline]
    fn bool(&mut self) -> Read<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(SerdeError::custom(format_args!("{other} is not a bool"))),
        }
    }

    /// The elements of a sequence or map.
    #[inline]
    fn elements(&mut self) -> Read<Elements<'_, 'de>> {
        self.descend()?;
        let left = self.len()?;
        self.elements = self.elements.checked_sub(left).ok_or_else(SerdeError::too_many)?;
        Ok(Elements { body: self, left })
    }

    /// The fields of a struct or a variant: the visitor has to ask for as many as were written. What serde says of their
    /// names counts aliases as well, and so does not tell their number.
    #[inline]
    fn fields<V: Visitor<'de>>(&mut self, name: &'static str, visitor: V) -> Read<V::Value> {
        self.descend()?;
        let mut fields = Fields { left: self.len()?, missing: false, body: self };
        let value = visitor.visit_seq(&mut fields);
        if fields.missing || value.is_ok() && fields.left > 0 { Err(miscounted(name)) } else { value }
    }
}

#[cold]
fn miscounted(name: &str) -> SerdeError {
    SerdeError::custom(format_args!(
        "`{name}` is written with another number of fields than it is read with: `skip_serializing` without \
         `skip_deserializing`, or the other way round, needs a format with field names"
    ))
}

#[cold]
fn no_description() -> SerdeError {
    SerdeError::custom(
        "its `Deserialize` asks for a self-describing format (`untagged`, `tag`, `flatten`, `serde_json::Value` or the \
         like): take the attribute off, or send the value as text, for example by serde_json",
    )
}

macro_rules! numbers {
    ($($name:ident $visit:ident $type:ty;)*) => { $(
        #[inline]
        fn $name<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
            visitor.$visit(<$type>::from_le_bytes(self.array()?))
        }
    )* };
}

impl<'de> Deserializer<'de> for &mut Body<'de> {
    type Error = SerdeError;

    numbers! {
        deserialize_u8 visit_u8 u8; deserialize_u16 visit_u16 u16; deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64; deserialize_u128 visit_u128 u128;
        deserialize_i8 visit_i8 i8; deserialize_i16 visit_i16 i16; deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64; deserialize_i128 visit_i128 i128;
        deserialize_f32 visit_f32 f32; deserialize_f64 visit_f64 f64;
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Read<V::Value> {
        Err(no_description())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Read<V::Value> {
        Err(no_description())
    }

    /// The variant in front of what an enum with `tag` and `content` contains, which is written as any variant is.
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        visitor.visit_bool(self.bool()?)
    }

    #[inline]
    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        let number = u32::from_le_bytes(self.array()?);
        let letter =
            char::from_u32(number).ok_or_else(|| SerdeError::custom(format_args!("{number} is not a char")))?;
        visitor.visit_char(letter)
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        visitor.visit_borrowed_str(self.text()?)
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        self.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        self.descend()?;
        if self.bool()? { visitor.visit_some(self) } else { visitor.visit_none() }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Read<V::Value> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Read<V::Value> {
        self.descend()?;
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        visitor.visit_seq(self.elements()?)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Read<V::Value> {
        self.descend()?;
        visitor.visit_seq(Tuple { body: self, left: len })
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(self, name: &'static str, _: usize, visitor: V) -> Read<V::Value> {
        self.fields(name, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        visitor.visit_map(self.elements()?)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Read<V::Value> {
        self.fields(name, visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Read<V::Value> {
        self.descend()?;
        visitor.visit_enum(Variant { body: self, name })
    }
}

/// The elements of a sequence, or the entries of a map.
struct Elements<'b, 'de> {
    body: &'b mut Body<'de>,
    left: usize,
}

impl Elements<'_, '_> {
    /// Takes one, if there is one left.
    #[inline]
    fn next(&mut self) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        Some(())
    }

    /// How many there are, as far as room may be reserved for them.
    #[inline]
    fn hint(&self) -> usize {
        self.left.min(self.body.rest.len())
    }
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = SerdeError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Read<Option<T::Value>> {
        self.next().map(|()| seed.deserialize(&mut *self.body)).transpose()
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.hint())
    }
}

impl<'de> MapAccess<'de> for Elements<'_, 'de> {
    type Error = SerdeError;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Read<Option<K::Value>> {
        self.next().map(|()| seed.deserialize(&mut *self.body)).transpose()
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Read<V::Value> {
        seed.deserialize(&mut *self.body)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.hint())
    }
}

/// The elements of a tuple.
struct Tuple<'b, 'de> {
    body: &'b mut Body<'de>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Tuple<'_, 'de> {
    type Error = SerdeError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Read<Option<T::Value>> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.body).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The fields of a struct or a variant.
struct Fields<'b, 'de> {
    body: &'b mut Body<'de>,
    left: usize,
    /// One was asked for that was not written.
    missing: bool,
}

impl<'de> SeqAccess<'de> for Fields<'_, 'de> {
    type Error = SerdeError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Read<Option<T::Value>> {
        let Some(left) = self.left.checked_sub(1) else {
            self.missing = true;
            return Ok(None);
        };
        self.left = left;
        seed.deserialize(&mut *self.body).map(Some)
    }
}

/// The variant of an enum.
struct Variant<'b, 'de> {
    body: &'b mut Body<'de>,
    name: &'static str,
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = SerdeError;
    type Variant = Self;

    #[inline]
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Read<(V::Value, Self)> {
        let name = self.body.text()?;
        Ok((seed.deserialize(BorrowedStrDeserializer::new(name))?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = SerdeError;

    #[inline]
    fn unit_variant(self) -> Read<()> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Read<T::Value> {
        seed.deserialize(self.body)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Read<V::Value> {
        self.body.fields(self.name, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Read<V::Value> {
        self.body.fields(self.name, visitor)
    }
}
