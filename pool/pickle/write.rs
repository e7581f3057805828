//! Writes pickles of protocol 5, which Python reads from 3.8 on.

use super::failure::Failure;
use super::value::{MAX_DEPTH, PyValue};

/// A pickle in the making: what is written lies on the reader's stack.
#[derive(Debug)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn new() -> Writer {
        Writer { bytes: vec![0x80, 5] }
    }

    /// The pickle of what lies on top of the stack.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.push(b'.');
        self.bytes
    }

    /// Puts a value onto the stack.
    ///
    /// # Errors
    ///
    /// It is nested too deep.
    pub(crate) fn value(&mut self, value: &PyValue) -> Result<(), Failure> {
        self.nested(value, 0)
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.counted([Some(0x8c), Some(b'X'), Some(0x8d)], text.as_bytes());
    }

    /// Marks the place of the stack from which [`Writer::tuple`] takes.
    pub(crate) fn mark(&mut self) {
        self.bytes.push(b'(');
    }

    /// Replaces what lies above the last mark by a tuple of it.
    pub(crate) fn tuple(&mut self) {
        self.bytes.push(b't');
    }

    /// Puts a class or function onto the stack.
    pub(crate) fn global(&mut self, module: &str, name: &str) {
        self.text(module);
        self.text(name);
        self.bytes.push(0x93);
    }

    /// Replaces a global and a tuple by the result of a call.
    pub(crate) fn call(&mut self) {
        self.bytes.push(b'R');
    }

    fn nested(&mut self, value: &PyValue, depth: usize) -> Result<(), Failure> {
        if depth > MAX_DEPTH {
            return Err(Failure::new(format!("the value is nested deeper than {MAX_DEPTH} levels")));
        }
        match value {
            PyValue::None => self.bytes.push(b'N'),
            PyValue::Bool(value) => self.bytes.push(if *value { 0x88 } else { 0x89 }),
            PyValue::Int(number) => self.int(*number),
            PyValue::BigInt(bytes) => self.counted([Some(0x8a), Some(0x8b), None], bytes),
            PyValue::Float(number) => {
                self.bytes.push(b'G');
                self.bytes.extend(number.to_be_bytes());
            }
            PyValue::Str(text) => self.text(text),
            PyValue::Bytes(bytes) => self.counted([Some(b'C'), Some(b'B'), Some(0x8e)], bytes),
            PyValue::ByteArray(bytes) => self.counted([None, None, Some(0x96)], bytes),
            PyValue::List(items) => self.filled(b']', b'e', items, depth)?,
            PyValue::Set(items) => self.filled(0x8f, 0x90, items, depth)?,
            PyValue::Tuple(items) if items.is_empty() => self.bytes.push(b')'),
            PyValue::Tuple(items) if items.len() <= 3 => {
                items.iter().try_for_each(|item| self.nested(item, depth + 1))?;
                self.bytes.push([0x85, 0x86, 0x87][items.len() - 1]);
            }
            PyValue::Tuple(items) => self.collected(b't', items, depth)?,
            PyValue::FrozenSet(items) => self.collected(0x91, items, depth)?,
            PyValue::Dict(items) => {
                self.bytes.push(b'}');
                self.mark();
                for (key, value) in items {
                    self.nested(key, depth + 1)?;
                    self.nested(value, depth + 1)?;
                }
                self.bytes.push(b'u');
            }
        }
        Ok(())
    }

    fn int(&mut self, number: i64) {
        if let Ok(number) = u8::try_from(number) {
            self.bytes.extend([b'K', number]);
        } else if let Ok(number) = i32::try_from(number) {
            self.bytes.push(b'J');
            self.bytes.extend(number.to_le_bytes());
        } else {
            self.bytes.extend([0x8a, 8]);
            self.bytes.extend(number.to_le_bytes());
        }
    }

    /// Something empty that is then filled.
    fn filled(&mut self, empty: u8, fill: u8, items: &[PyValue], depth: usize) -> Result<(), Failure> {
        self.bytes.push(empty);
        self.collected(fill, items, depth)
    }

    fn collected(&mut self, collect: u8, items: &[PyValue], depth: usize) -> Result<(), Failure> {
        self.mark();
        items.iter().try_for_each(|item| self.nested(item, depth + 1))?;
        self.bytes.push(collect);
        Ok(())
    }

    /// Bytes behind their number, by the first instruction that has room for it: of 1, 4 or 8 bytes.
    fn counted(&mut self, [one, four, eight]: [Option<u8>; 3], bytes: &[u8]) {
        let len = bytes.len() as u64;
        match (u8::try_from(len), u32::try_from(len), one, four, eight) {
            (Ok(len), _, Some(opcode), ..) => self.bytes.extend([opcode, len]),
            (_, Ok(len), _, Some(opcode), _) => {
                self.bytes.push(opcode);
                self.bytes.extend(len.to_le_bytes());
            }
            (.., opcode) => {
                // An integer of more than 4 GiB has no instruction, and no machine that could compute with it.
                self.bytes.push(opcode.unwrap_or(0x8e));
                self.bytes.extend(len.to_le_bytes());
            }
        }
        self.bytes.extend(bytes);
    }
}
