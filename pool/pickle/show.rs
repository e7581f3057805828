//! How Python would show a [`PyValue`]: its `repr`.

use super::value::{PyValue, to_i128};
use std::fmt::{self, Display, Formatter, Write};

impl Display for PyValue {
    /// As Python's `repr`, but for rare characters and numbers of more than 128 bits.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            PyValue::None => f.write_str("None"),
            PyValue::Bool(value) => f.write_str(if *value { "True" } else { "False" }),
            PyValue::Int(number) => number.fmt(f),
            PyValue::BigInt(bytes) => match to_i128(bytes) {
                Some(number) => number.fmt(f),
                None => write!(f, "<int of {} bytes>", bytes.len()),
            },
            PyValue::Float(number) if number.is_nan() => f.write_str("nan"),
            PyValue::Float(number) => write!(f, "{number:?}"),
            PyValue::Str(text) => {
                let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
                f.write_char(quote)?;
                for letter in text.chars() {
                    match letter {
                        '\'' | '"' if letter != quote => f.write_char(letter)?,
                        _ => letter.escape_debug().fmt(f)?,
                    }
                }
                f.write_char(quote)
            }
            PyValue::Bytes(bytes) => write!(f, "b'{}'", bytes.escape_ascii()),
            PyValue::ByteArray(bytes) => write!(f, "bytearray(b'{}')", bytes.escape_ascii()),
            PyValue::List(items) => enclosed(f, "[", items, "]"),
            PyValue::Tuple(items) if items.len() == 1 => enclosed(f, "(", items, ",)"),
            PyValue::Tuple(items) => enclosed(f, "(", items, ")"),
            PyValue::Set(items) if items.is_empty() => f.write_str("set()"),
            PyValue::Set(items) => enclosed(f, "{", items, "}"),
            PyValue::FrozenSet(items) if items.is_empty() => f.write_str("frozenset()"),
            PyValue::FrozenSet(items) => enclosed(f, "frozenset({", items, "})"),
            PyValue::Dict(items) => {
                f.write_char('{')?;
                for (at, (key, value)) in items.iter().enumerate() {
                    write!(f, "{}{key}: {value}", if at > 0 { ", " } else { "" })?;
                }
                f.write_char('}')
            }
        }
    }
}

fn enclosed(f: &mut Formatter<'_>, open: &str, items: &[PyValue], close: &str) -> fmt::Result {
    f.write_str(open)?;
    for (at, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if at > 0 { ", " } else { "" })?;
    }
    f.write_str(close)
}
