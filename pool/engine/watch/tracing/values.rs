//! The values of fields.

use crate::engine::watch::outlet::cut;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fmt;
use tracing_core::Metadata;
use tracing_core::field::{self, Field, ValueSet, Visit};

/// So many fields of an event or a span travel; more are left out.
pub(super) const MOST_FIELDS: usize = 32;

/// So many bytes of all texts of an event or a span travel; the rest is cut off. Well below what a message may have.
const LONGEST: usize = 32 * 1024;

/// Values, each with the place of its field.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Values(Vec<(u8, Value)>);

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Value {
    F64(f64),
    I64(i64),
    U64(u64),
    I128(i128),
    U128(u128),
    Bool(bool),
    Text(String),
    /// What `Debug` has written.
    Debug(String),
    /// What `Display` of an error has written.
    Error(String),
}

/// Collects values.
struct Collect {
    values: Values,
    /// So many bytes may still come.
    room: usize,
}

impl Collect {
    fn add(&mut self, field: &Field, value: Value) {
        if let (true, Ok(at)) = (self.values.0.len() < MOST_FIELDS, u8::try_from(field.index())) {
            self.values.0.push((at, value));
        }
    }

    fn cut(&mut self, text: &str) -> String {
        let text = cut(text, self.room);
        self.room -= text.len();
        text.to_owned()
    }
}

impl Visit for Collect {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::F64(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::I64(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::U64(value));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.add(field, Value::I128(value));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.add(field, Value::U128(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let text = self.cut(value);
        self.add(field, Value::Text(text));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let text = self.cut(&value.to_string());
        self.add(field, Value::Error(text));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = self.cut(&format!("{value:?}"));
        self.add(field, Value::Debug(text));
    }
}

impl Values {
    /// What `record` shows to a visitor.
    pub(super) fn of(record: impl FnOnce(&mut dyn Visit)) -> Values {
        let mut collect = Collect { values: Values::default(), room: LONGEST };
        record(&mut collect);
        collect.values
    }

    /// With the value of one more field.
    pub(super) fn and(mut self, at: u8, value: impl Into<Value>) -> Values {
        self.0.push((at, value.into()));
        self
    }

    /// Calls `take` with the values as those of the fields of `meta`.
    pub(super) fn show(&self, meta: &'static Metadata<'static>, take: impl FnOnce(&ValueSet<'_>)) {
        let fields: Vec<Field> = meta.fields().iter().take(MOST_FIELDS).collect();
        let Some(first) = fields.first() else { return take(&meta.fields().value_set(&[])) };
        let values = self.0.iter().take(MOST_FIELDS);
        let shown: Vec<_> = values.filter_map(|(at, it)| Some((fields.get(usize::from(*at))?, it.show()))).collect();
        let mut all: [(&Field, Option<&dyn field::Value>); MOST_FIELDS] = [(first, None); MOST_FIELDS];
        for (entry, (field, value)) in all.iter_mut().zip(&shown) {
            *entry = (field, Some(&**value));
        }
        take(&meta.fields().value_set(&all));
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::U64(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl Value {
    /// The value as `tracing` takes it.
    fn show(&self) -> Box<dyn field::Value + '_> {
        match self {
            Value::F64(value) => Box::new(value),
            Value::I64(value) => Box::new(value),
            Value::U64(value) => Box::new(value),
            Value::I128(value) => Box::new(value),
            Value::U128(value) => Box::new(value),
            Value::Bool(value) => Box::new(value),
            Value::Text(value) => Box::new(value),
            Value::Debug(text) => Box::new(field::display(text)),
            Value::Error(text) => Box::new(Box::<dyn Error>::from(text.as_str())),
        }
    }
}
