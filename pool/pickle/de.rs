//! From values of Python to those of Rust.

use super::failure::Failure;
use super::value::{NAME, PyValue, to_i128};
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeSeed, EnumAccess, IntoDeserializer, Unexpected, VariantAccess, Visitor};

/// Reads a value out of a [`PyValue`].
pub(super) struct Deserializer(pub(super) PyValue);

impl IntoDeserializer<'_, Failure> for Deserializer {
    type Deserializer = Deserializer;

    fn into_deserializer(self) -> Deserializer {
        self
    }
}

fn sequence<'de, T, V>(items: impl Iterator<Item = T>, visitor: V) -> Result<V::Value, Failure>
where
    T: IntoDeserializer<'de, Failure>,
    V: Visitor<'de>,
{
    let mut items: SeqDeserializer<_, Failure> = SeqDeserializer::new(items);
    let value = visitor.visit_seq(&mut items)?;
    items.end()?;
    Ok(value)
}

fn big_int<'de, V: Visitor<'de>>(bytes: &[u8], visitor: V) -> Result<V::Value, Failure> {
    let too_large = || Failure::new("an int has more than 128 bits, which no integer of Rust has");
    if let Some(number) = to_i128(bytes) {
        return match u64::try_from(number) {
            Ok(number) => visitor.visit_u64(number),
            Err(_) => visitor.visit_i128(number),
        };
    }
    // What is above `i128::MAX` has a byte more for its sign.
    let [low @ .., 0] = bytes else { return Err(too_large()) };
    visitor.visit_u128(u128::from_le_bytes(low.try_into().map_err(|_| too_large())?))
}

impl<'de> de::Deserializer<'de> for Deserializer {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.0 {
            PyValue::None => visitor.visit_unit(),
            PyValue::Bool(value) => visitor.visit_bool(value),
            PyValue::Int(number) => match u64::try_from(number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_i64(number),
            },
            PyValue::BigInt(bytes) => big_int(&bytes, visitor),
            PyValue::Float(number) => visitor.visit_f64(number),
            PyValue::Str(text) => visitor.visit_string(text),
            PyValue::Bytes(bytes) | PyValue::ByteArray(bytes) => visitor.visit_byte_buf(bytes),
            PyValue::List(items) | PyValue::Tuple(items) | PyValue::Set(items) | PyValue::FrozenSet(items) => {
                sequence(items.into_iter().map(Deserializer), visitor)
            }
            PyValue::Dict(items) => {
                let items = items.into_iter().map(|(key, value)| (Deserializer(key), Deserializer(value)));
                let mut items: MapDeserializer<'_, _, Failure> = MapDeserializer::new(items);
                let value = visitor.visit_map(&mut items)?;
                items.end()?;
                Ok(value)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.0 {
            PyValue::None => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    // Bytes are a list of numbers to serde.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.0 {
            PyValue::Bytes(bytes) | PyValue::ByteArray(bytes) => sequence(bytes.into_iter(), visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        if name == NAME {
            return visitor.visit_enum(taken_apart(self.0));
        }
        match self.0 {
            PyValue::Str(variant) => visitor.visit_enum(Variant { name: variant, data: None }),
            PyValue::Dict(mut items) if items.len() == 1 => match items.pop() {
                Some((PyValue::Str(variant), data)) => visitor.visit_enum(Variant { name: variant, data: Some(data) }),
                _ => Err(Failure::new(format!("the name of a variant of `{name}` must be a str"))),
            },
            other => Err(de::Error::invalid_type(
                Unexpected::Other(other.kind()),
                &"the name of a variant, or a dict of it and its data",
            )),
        }
    }

    // No arguments are an empty tuple.
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.0 {
            PyValue::Tuple(items) if items.is_empty() => visitor.visit_unit(),
            _ => self.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit_struct map struct
        identifier ignored_any
    }
}

/// A variant of an enum.
struct Variant {
    name: String,
    data: Option<PyValue>,
}

/// A value of Python as the enum [`PyValue`].
fn taken_apart(value: PyValue) -> Variant {
    let (name, data) = match value {
        PyValue::None => ("None", None),
        PyValue::Bool(_) => ("Bool", Some(value)),
        PyValue::Int(_) => ("Int", Some(value)),
        PyValue::BigInt(bytes) => ("BigInt", Some(PyValue::Bytes(bytes))),
        PyValue::Float(_) => ("Float", Some(value)),
        PyValue::Str(_) => ("Str", Some(value)),
        PyValue::Bytes(_) => ("Bytes", Some(value)),
        PyValue::ByteArray(bytes) => ("ByteArray", Some(PyValue::Bytes(bytes))),
        PyValue::List(_) => ("List", Some(value)),
        PyValue::Tuple(items) => ("Tuple", Some(PyValue::List(items))),
        PyValue::Set(items) => ("Set", Some(PyValue::List(items))),
        PyValue::FrozenSet(items) => ("FrozenSet", Some(PyValue::List(items))),
        PyValue::Dict(items) => {
            let items = items.into_iter().map(|(key, value)| PyValue::Tuple(vec![key, value]));
            ("Dict", Some(PyValue::List(items.collect())))
        }
    };
    Variant { name: name.to_owned(), data }
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = Failure;
    type Variant = Data;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Data), Failure> {
        Ok((seed.deserialize(self.name.into_deserializer())?, Data(self.data)))
    }
}

/// The data of a variant.
struct Data(Option<PyValue>);

impl Data {
    fn some(self) -> Result<Deserializer, Failure> {
        self.0.map(Deserializer).ok_or_else(|| Failure::new("a variant has no data, and needs some"))
    }
}

impl<'de> VariantAccess<'de> for Data {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        match self.0 {
            None | Some(PyValue::None) => Ok(()),
            Some(_) => Err(Failure::new("a variant has data, and takes none")),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Failure> {
        seed.deserialize(self.some()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Failure> {
        de::Deserializer::deserialize_seq(self.some()?, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Failure> {
        de::Deserializer::deserialize_any(self.some()?, visitor)
    }
}
