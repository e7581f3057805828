//! From values of Rust to those of Python.

use super::failure::Failure;
use super::value::{NAME, PyValue};
use serde::ser::{self, Serialize};

/// Makes a [`PyValue`] of what is serialised.
#[derive(Clone, Copy)]
pub(super) struct Serializer;

type Made = Result<PyValue, Failure>;

fn made<T: Serialize + ?Sized>(value: &T) -> Made {
    value.serialize(Serializer)
}

/// A variant with data: a dict of its name and them.
fn variant(name: &'static str, data: PyValue) -> PyValue {
    PyValue::Dict(vec![(name.into(), data)])
}

/// A value of Python that was taken apart as an enum, put together again.
fn put_together(kind: &'static str, content: PyValue) -> Made {
    Ok(match (kind, content) {
        ("BigInt", PyValue::Bytes(bytes)) => PyValue::int_of(&bytes),
        ("ByteArray", PyValue::Bytes(bytes)) => PyValue::ByteArray(bytes),
        ("Tuple", PyValue::List(items)) => PyValue::Tuple(items),
        ("Set", PyValue::List(items)) => PyValue::Set(items),
        ("FrozenSet", PyValue::List(items)) => PyValue::FrozenSet(items),
        ("Dict", PyValue::List(items)) => {
            let pair = |item| match item {
                PyValue::Tuple(pair) => <[PyValue; 2]>::try_from(pair).ok().map(|[key, value]| (key, value)),
                _ => None,
            };
            let pairs: Option<Vec<_>> = items.into_iter().map(pair).collect();
            PyValue::Dict(pairs.ok_or_else(|| Failure::new("a dict consists of pairs"))?)
        }
        (_, content) => content,
    })
}

macro_rules! plain {
    ($($method:ident($kind:ty))*) => {$(
        fn $method(self, value: $kind) -> Made {
            Ok(value.into())
        }
    )*};
}

impl ser::Serializer for Serializer {
    type Ok = PyValue;
    type Error = Failure;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Pairs;
    type SerializeStruct = Pairs;
    type SerializeStructVariant = Pairs;

    plain! {
        serialize_bool(bool) serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64) serialize_i128(i128)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) serialize_f64(f64) serialize_str(&str)
    }

    fn serialize_u128(self, number: u128) -> Made {
        // One byte more, so that the highest bit is no sign.
        Ok(PyValue::int_of(&[&number.to_le_bytes()[..], &[0]].concat()))
    }

    fn serialize_f32(self, number: f32) -> Made {
        Ok(f64::from(number).into())
    }

    fn serialize_char(self, letter: char) -> Made {
        Ok(letter.to_string().into())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Made {
        Ok(PyValue::Bytes(bytes.to_vec()))
    }

    fn serialize_none(self) -> Made {
        Ok(PyValue::None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Made {
        made(value)
    }

    fn serialize_unit(self) -> Made {
        Ok(PyValue::None)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Made {
        Ok(PyValue::None)
    }

    fn serialize_unit_variant(self, name: &'static str, _: u32, variant: &'static str) -> Made {
        Ok(if name == NAME { PyValue::None } else { variant.into() })
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Made {
        made(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        kind: &'static str,
        value: &T,
    ) -> Made {
        let value = made(value)?;
        if name == NAME { put_together(kind, value) } else { Ok(variant(kind, value)) }
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Items, Failure> {
        Ok(Items { items: Vec::with_capacity(len.unwrap_or(0)), wrap: PyValue::List, name: None })
    }

    fn serialize_tuple(self, len: usize) -> Result<Items, Failure> {
        Ok(Items { items: Vec::with_capacity(len), wrap: PyValue::Tuple, name: None })
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Items, Failure> {
        self.serialize_tuple(len)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        kind: &'static str,
        len: usize,
    ) -> Result<Items, Failure> {
        Ok(Items { name: Some(kind), ..self.serialize_tuple(len)? })
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Pairs, Failure> {
        Ok(Pairs { pairs: Vec::with_capacity(len.unwrap_or(0)), key: PyValue::None, name: None })
    }

    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Pairs, Failure> {
        self.serialize_map(Some(len))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        kind: &'static str,
        len: usize,
    ) -> Result<Pairs, Failure> {
        Ok(Pairs { name: Some(kind), ..self.serialize_map(Some(len))? })
    }
}

/// The elements of something.
pub(super) struct Items {
    items: Vec<PyValue>,
    wrap: fn(Vec<PyValue>) -> PyValue,
    /// The name of the variant that they are the data of.
    name: Option<&'static str>,
}

impl Items {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        self.items.push(made(value)?);
        Ok(())
    }

    fn finish(self) -> Made {
        let value = (self.wrap)(self.items);
        Ok(match self.name {
            Some(name) => variant(name, value),
            None => value,
        })
    }
}

macro_rules! collect_items {
    ($($part:ident: $method:ident),*) => {$(
        impl ser::$part for Items {
            type Ok = PyValue;
            type Error = Failure;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
                self.push(value)
            }

            fn end(self) -> Made {
                self.finish()
            }
        }
    )*};
}

collect_items!(
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
);

/// The keys and values of something.
pub(super) struct Pairs {
    pairs: Vec<(PyValue, PyValue)>,
    /// The key whose value comes next.
    key: PyValue,
    /// The name of the variant that they are the data of.
    name: Option<&'static str>,
}

impl Pairs {
    fn push<T: Serialize + ?Sized>(&mut self, key: PyValue, value: &T) -> Result<(), Failure> {
        self.pairs.push((key, made(value)?));
        Ok(())
    }

    fn finish(self) -> Made {
        let value = PyValue::Dict(self.pairs);
        Ok(match self.name {
            Some(name) => variant(name, value),
            None => value,
        })
    }
}

impl ser::SerializeMap for Pairs {
    type Ok = PyValue;
    type Error = Failure;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Failure> {
        self.key = made(key)?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        let key = std::mem::replace(&mut self.key, PyValue::None);
        self.push(key, value)
    }

    fn end(self) -> Made {
        self.finish()
    }
}

macro_rules! collect_fields {
    ($($part:ident),*) => {$(
        impl ser::$part for Pairs {
            type Ok = PyValue;
            type Error = Failure;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Failure> {
                self.push(name.into(), value)
            }

            fn end(self) -> Made {
                self.finish()
            }
        }
    )*};
}

collect_fields!(SerializeStruct, SerializeStructVariant);
