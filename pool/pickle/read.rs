//! Reads pickles of all protocols: a machine with a stack, marks in it and a memory of what was there.
//!
//! What Python would call stays a name with its arguments, but for the few calls that only build plain values. Lengths are
//! checked against the bytes that are there before anything is reserved.

use super::failure::Failure;
use super::raw_text;
use super::tree::{Global, Id, Instance, Node, Tree, budget, out_of_proportion};
use super::value::{PyValue, to_i128};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Reads one pickle. Bytes behind its end do not matter, as in Python.
pub(crate) fn read(bytes: &[u8]) -> Result<Tree<'_>, Failure> {
    let mut machine = Machine { rest: bytes, budget: budget(bytes.len()), ..Machine::default() };
    while machine.step()? {}
    let root = machine.pop()?;
    Ok(Tree { nodes: machine.nodes, root, len: bytes.len() })
}

#[derive(Default)]
struct Machine<'a> {
    rest: &'a [u8],
    nodes: Vec<Node<'a>>,
    stack: Vec<Id>,
    /// How high the stack was at each mark.
    marks: Vec<usize>,
    memo: Memo,
    /// How many bytes of what is there may be copied yet: calls can be about the same objects again and again.
    budget: usize,
}

/// What was remembered under which number.
#[derive(Default)]
struct Memo {
    /// Those from 0 on without a gap: how Python numbers them.
    dense: Vec<Id>,
    sparse: BTreeMap<u32, Id>,
}

impl Memo {
    fn put(&mut self, number: u32, id: Id) {
        let (at, end) = (number as usize, self.dense.len());
        if at < end {
            self.dense[at] = id;
        } else if at == end {
            self.dense.push(id);
        } else {
            self.sparse.insert(number, id);
        }
    }

    fn get(&self, number: u32) -> Result<Id, Failure> {
        let found = self.dense.get(number as usize).or_else(|| self.sparse.get(&number));
        found.copied().ok_or_else(|| Failure::new("the pickle asks for an object that it has not stored"))
    }
}

impl<'a> Machine<'a> {
    /// One instruction; whether there are more.
    fn step(&mut self) -> Result<bool, Failure> {
        let [opcode] = self.array()?;
        match opcode {
            // The end of the pickle.
            b'.' => return Ok(false),
            // The number of the protocol, and frames of which Python reads a whole at a time.
            0x80 => drop(self.array::<1>()?),
            0x95 => drop(self.array::<8>()?),

            b'N' => self.push(Node::None)?,
            0x88 => self.push(Node::Bool(true))?,
            0x89 => self.push(Node::Bool(false))?,
            b'K' => {
                self.array().map(|bytes| i64::from(u8::from_le_bytes(bytes))).and_then(|it| self.push(Node::Int(it)))?
            }
            b'M' => self
                .array()
                .map(|bytes| i64::from(u16::from_le_bytes(bytes)))
                .and_then(|it| self.push(Node::Int(it)))?,
            b'J' => self
                .array()
                .map(|bytes| i64::from(i32::from_le_bytes(bytes)))
                .and_then(|it| self.push(Node::Int(it)))?,
            b'G' => self.array().map(f64::from_be_bytes).and_then(|it| self.push(Node::Float(it)))?,
            0x8a => self.counted::<1>().and_then(|bytes| self.integer(bytes))?,
            0x8b => self.counted::<4>().and_then(|bytes| self.integer(bytes))?,
            b'I' => self.old_int()?,
            b'L' => self.old_long()?,
            b'F' => self.old_float()?,

            0x8c => self.counted::<1>().and_then(|bytes| self.text(bytes))?,
            b'X' => self.counted::<4>().and_then(|bytes| self.text(bytes))?,
            0x8d => self.counted::<8>().and_then(|bytes| self.text(bytes))?,
            b'V' => {
                let text = raw_text::decode(self.line()?)?;
                self.push(Node::Str(text.into()))?;
            }
            b'C' => self.counted::<1>().and_then(|bytes| self.push(Node::Bytes(bytes.into())))?,
            b'B' => self.counted::<4>().and_then(|bytes| self.push(Node::Bytes(bytes.into())))?,
            0x8e => self.counted::<8>().and_then(|bytes| self.push(Node::Bytes(bytes.into())))?,
            0x96 => self.counted::<8>().and_then(|bytes| self.push(Node::ByteArray(bytes.into())))?,

            b']' => self.push(Node::List(Vec::new()))?,
            b')' => self.push(Node::Tuple(Vec::new()))?,
            b'}' => self.push(Node::Dict(Vec::new()))?,
            0x8f => self.push(Node::Set(Vec::new()))?,
            b'l' => self.pop_to_mark().map(Node::List).and_then(|it| self.push(it))?,
            b't' => self.pop_to_mark().map(Node::Tuple).and_then(|it| self.push(it))?,
            0x91 => self.pop_to_mark().map(Node::FrozenSet).and_then(|it| self.push(it))?,
            b'd' => self.pop_to_mark().and_then(pairs).map(Node::Dict).and_then(|it| self.push(it))?,
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(opcode - 0x84))?;
                self.push(Node::Tuple(items))?;
            }
            b'a' => self.pop_many(1).and_then(|items| self.extend(items))?,
            b'e' | 0x90 => self.pop_to_mark().and_then(|items| self.extend(items))?,
            b's' => self.pop_many(2).and_then(|items| self.set_items(items))?,
            b'u' => self.pop_to_mark().and_then(|items| self.set_items(items))?,

            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => self.top().map(|id| self.stack.push(id))?,
            0x94 => {
                let number = u32::try_from(self.memo.dense.len() + self.memo.sparse.len()).map_err(|_| too_many())?;
                self.remember(number)?;
            }
            b'q' => self.array().map(|[number]| u32::from(number)).and_then(|number| self.remember(number))?,
            b'r' => self.array().map(u32::from_le_bytes).and_then(|number| self.remember(number))?,
            b'p' => self.number().and_then(|number| self.remember(number))?,
            b'h' => self.array().map(|[number]| u32::from(number)).and_then(|number| self.recall(number))?,
            b'j' => self.array().map(u32::from_le_bytes).and_then(|number| self.recall(number))?,
            b'g' => self.number().and_then(|number| self.recall(number))?,

            b'c' => {
                let global = self.global_of_lines()?;
                self.push(Node::Global(Box::new(global)))?;
            }
            0x93 => self.global_of_stack()?,
            b'R' | 0x81 => {
                let args = self.pop()?;
                let global = self.pop()?;
                self.call(global, args)?;
            }
            0x92 => {
                let named = self.pop()?;
                let (args, global) = (self.pop()?, self.pop()?);
                let no_names = matches!(&self.nodes[named as usize], Node::Dict(items) if items.is_empty());
                if !no_names {
                    return Err(Failure::new("the pickle calls something by the names of its parameters"));
                }
                self.call(global, args)?;
            }
            b'i' => {
                let global = self.global_of_lines()?;
                let args = self.pop_to_mark()?;
                self.instance(global, args)?;
            }
            b'o' => {
                let mut args = self.pop_to_mark()?;
                if args.is_empty() {
                    return Err(Failure::new("the pickle makes an object of no class"));
                }
                let global = args.remove(0);
                let args = self.new_node(Node::Tuple(args))?;
                self.call(global, args)?;
            }
            b'b' => self.build()?,
            b'S' | b'T' | b'U' => return Err(Failure::new("the pickle has a text as only Python 2 writes it")),
            b'P' | b'Q' => {
                return Err(Failure::new("the pickle refers to an object that is kept elsewhere (a persistent id)"));
            }
            0x82..=0x84 => return Err(Failure::new("the pickle refers to a registry of extensions (`copyreg`)")),
            0x97 | 0x98 => return Err(Failure::new("the pickle refers to a buffer that is not in it")),
            _ => return Err(Failure::new(format!("0x{opcode:02x} is no instruction of a pickle"))),
        }
        Ok(true)
    }

    // What stands in the bytes.

    fn take(&mut self, len: u64) -> Result<&'a [u8], Failure> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let taken = self.rest.split_at_checked(len);
        let (taken, rest) = taken.ok_or_else(|| Failure::new("the pickle ends in the middle"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    /// Bytes behind their number, which has `N` bytes itself.
    fn counted<const N: usize>(&mut self) -> Result<&'a [u8], Failure> {
        let mut len = [0; 8];
        len[..N].copy_from_slice(&self.array::<N>()?);
        self.take(u64::from_le_bytes(len))
    }

    fn line(&mut self) -> Result<&'a [u8], Failure> {
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let line = self.take(end.map_or(u64::MAX, |end| end as u64))?;
        self.take(1)?;
        Ok(line)
    }

    fn utf8_line(&mut self) -> Result<&'a str, Failure> {
        std::str::from_utf8(self.line()?).map_err(|_| no_text())
    }

    fn number(&mut self) -> Result<u32, Failure> {
        self.utf8_line()?.parse().map_err(|_| no_number())
    }

    fn text(&mut self, bytes: &'a [u8]) -> Result<(), Failure> {
        let text = std::str::from_utf8(bytes).map_err(|_| no_text())?;
        self.push(Node::Str(text.into()))
    }

    fn integer(&mut self, bytes: &'a [u8]) -> Result<(), Failure> {
        let small = to_i128(bytes).and_then(|number| i64::try_from(number).ok());
        self.push(small.map_or(Node::BigInt(bytes.into()), Node::Int))
    }

    fn old_int(&mut self) -> Result<(), Failure> {
        match self.utf8_line()? {
            "00" => self.push(Node::Bool(false)),
            "01" => self.push(Node::Bool(true)),
            number => number.trim().parse().map_err(|_| no_number()).and_then(|it| self.push(Node::Int(it))),
        }
    }

    /// A number of any length in decimal digits, as far as 128 bits go: beyond them no protocol but the oldest writes
    /// digits.
    fn old_long(&mut self) -> Result<(), Failure> {
        let digits = self.utf8_line()?;
        let number: i128 = digits.strip_suffix('L').unwrap_or(digits).parse().map_err(|_| no_number())?;
        match PyValue::int(number) {
            PyValue::BigInt(bytes) => self.push(Node::BigInt(bytes.into())),
            _ => self.push(Node::Int(number as i64)),
        }
    }

    fn old_float(&mut self) -> Result<(), Failure> {
        let number = self.utf8_line()?.trim().parse().map_err(|_| no_number())?;
        self.push(Node::Float(number))
    }

    // What stands on the stack.

    fn new_node(&mut self, node: Node<'a>) -> Result<Id, Failure> {
        let id = Id::try_from(self.nodes.len()).map_err(|_| too_many())?;
        self.nodes.push(node);
        Ok(id)
    }

    fn push(&mut self, node: Node<'a>) -> Result<(), Failure> {
        let id = self.new_node(node)?;
        self.stack.push(id);
        Ok(())
    }

    /// How many bytes a copy of the node takes.
    fn weight(&self, id: Id) -> usize {
        match &self.nodes[id as usize] {
            Node::Str(text) => text.len(),
            Node::BigInt(bytes) | Node::Bytes(bytes) | Node::ByteArray(bytes) => bytes.len(),
            Node::List(items) | Node::Tuple(items) | Node::Set(items) | Node::FrozenSet(items) => {
                size_of_val(items.as_slice())
            }
            Node::Global(global) => global.module.len() + global.name.len(),
            _ => 0,
        }
    }

    /// Books a copy.
    fn book(&mut self, bytes: usize) -> Result<(), Failure> {
        self.budget = self.budget.checked_sub(bytes).ok_or_else(out_of_proportion)?;
        Ok(())
    }

    /// How high the stack is at the last mark: below it nothing may be taken away.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id, Failure> {
        self.stack[self.floor()..].last().copied().ok_or_else(underflow)
    }

    fn pop(&mut self) -> Result<Id, Failure> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Id>, Failure> {
        match self.stack.len().checked_sub(count).filter(|left| *left >= self.floor()) {
            Some(left) => Ok(self.stack.split_off(left)),
            None => Err(underflow()),
        }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, Failure> {
        let mark =
            self.marks.pop().ok_or_else(|| Failure::new("the pickle goes back to a mark that it has not set"))?;
        Ok(self.stack.split_off(mark))
    }

    fn remember(&mut self, number: u32) -> Result<(), Failure> {
        self.top().map(|id| self.memo.put(number, id))
    }

    fn recall(&mut self, number: u32) -> Result<(), Failure> {
        self.memo.get(number).map(|id| self.stack.push(id))
    }

    /// Appends to the list, or puts into the set, on top of the stack.
    fn extend(&mut self, more: Vec<Id>) -> Result<(), Failure> {
        let top = self.top()? as usize;
        match &mut self.nodes[top] {
            Node::List(items) | Node::Set(items) => items.extend(more),
            Node::Instance(instance) => return Err(instance.global.changed()),
            _ => return Err(Failure::new("the pickle appends to something that is no list")),
        }
        Ok(())
    }

    /// Puts keys and values by turns into the dict on top of the stack.
    fn set_items(&mut self, more: Vec<Id>) -> Result<(), Failure> {
        let more = pairs(more)?;
        let top = self.top()? as usize;
        match &mut self.nodes[top] {
            Node::Dict(items) => items.extend(more),
            Node::Instance(instance) => return Err(instance.global.changed()),
            _ => return Err(Failure::new("the pickle puts keys into something that is no dict")),
        }
        Ok(())
    }

    // What Python would call.

    fn global_of_lines(&mut self) -> Result<Global<'a>, Failure> {
        Ok(Global { module: self.utf8_line()?.into(), name: self.utf8_line()?.into() })
    }

    fn global_of_stack(&mut self) -> Result<(), Failure> {
        let [module, name] = self.pop_many(2)?[..] else { return Err(underflow()) };
        self.book(self.weight(module) + self.weight(name))?;
        let text = |id: Id| match &self.nodes[id as usize] {
            Node::Str(text) => Ok(text.clone()),
            _ => Err(Failure::new("the pickle names a global by something that is no text")),
        };
        let global = Global { module: text(module)?, name: text(name)? };
        self.push(Node::Global(Box::new(global)))
    }

    fn call(&mut self, global: Id, args: Id) -> Result<(), Failure> {
        self.book(self.weight(global) + self.weight(args))?;
        let Node::Global(global) = &self.nodes[global as usize] else {
            return Err(Failure::new("the pickle calls something that is no global"));
        };
        let Node::Tuple(args) = &self.nodes[args as usize] else {
            return Err(Failure::new("the pickle calls something with arguments that are no tuple"));
        };
        let (global, args) = (Global::clone(global), args.clone());
        self.instance(global, args)
    }

    /// The plain value that a call makes, if it makes one; else the call as it is, unmade.
    fn instance(&mut self, global: Global<'a>, args: Vec<Id>) -> Result<(), Failure> {
        self.book(args.iter().take(2).map(|id| self.weight(*id)).sum())?;
        let plain = self.plain(&global, &args);
        self.push(plain.unwrap_or_else(|| Node::Instance(Box::new(Instance { global, args, state: None }))))
    }

    /// The calls by which older protocols make plain values: sets, bytes and byte arrays, and lists of what a dict shows.
    fn plain(&self, global: &Global<'a>, args: &[Id]) -> Option<Node<'a>> {
        let argument = |at: usize| args.get(at).map(|id| &self.nodes[*id as usize]);
        let is_builtin = ["builtins", "__builtin__"].contains(&&*global.module);
        // Each character is a byte.
        let latin_1 = |text: &str| text.chars().map(|letter| u8::try_from(letter).ok()).collect::<Option<Vec<u8>>>();
        Some(match (&*global.name, argument(0), argument(1), args.len()) {
            ("list", Some(Node::List(items) | Node::Tuple(items)), _, 1) if is_builtin => Node::List(items.clone()),
            ("set", None, ..) if is_builtin => Node::Set(Vec::new()),
            ("set", Some(Node::List(items) | Node::Tuple(items)), _, 1) if is_builtin => Node::Set(items.clone()),
            ("frozenset", None, ..) if is_builtin => Node::FrozenSet(Vec::new()),
            ("frozenset", Some(Node::List(items) | Node::Tuple(items)), _, 1) if is_builtin => {
                Node::FrozenSet(items.clone())
            }
            ("bytes", None, ..) if is_builtin => Node::Bytes(Cow::default()),
            ("bytearray", None, ..) if is_builtin => Node::ByteArray(Cow::default()),
            ("bytearray", Some(Node::Bytes(bytes)), _, 1) if is_builtin => Node::ByteArray(bytes.clone()),
            ("bytearray", Some(Node::Str(text)), Some(Node::Str(how)), 2) if is_builtin && is_latin_1(how) => {
                Node::ByteArray(latin_1(text)?.into())
            }
            ("encode", Some(Node::Str(text)), Some(Node::Str(how)), 2)
                if global.module == "_codecs" && is_latin_1(how) =>
            {
                Node::Bytes(latin_1(text)?.into())
            }
            ("OrderedDict", None, ..) if global.module == "collections" => Node::Dict(Vec::new()),
            _ => return None,
        })
    }

    /// Gives the object below its state.
    fn build(&mut self) -> Result<(), Failure> {
        let state = self.pop()?;
        let top = self.top()? as usize;
        match &mut self.nodes[top] {
            Node::Instance(instance) => instance.state = Some(state),
            _ => return Err(Failure::new("the pickle gives a state to something that has none")),
        }
        Ok(())
    }
}

impl Global<'_> {
    #[cold]
    fn changed(&self) -> Failure {
        let (module, name) = (self.module.escape_debug(), self.name.escape_debug());
        Failure::new(format!("the pickle fills an object of `{module}.{name}` of Python, which is no plain value"))
    }
}

fn is_latin_1(encoding: &str) -> bool {
    ["latin1", "latin-1"].contains(&encoding)
}

fn pairs(ids: Vec<Id>) -> Result<Vec<(Id, Id)>, Failure> {
    match ids.len() % 2 {
        0 => Ok(ids.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()),
        _ => Err(Failure::new("the pickle has a key without a value")),
    }
}

#[cold]
fn underflow() -> Failure {
    Failure::new("the pickle takes more from its stack than it has put there")
}

#[cold]
fn no_text() -> Failure {
    Failure::new("the pickle has a text that is not UTF-8 (Python writes lone surrogates so)")
}

#[cold]
fn no_number() -> Failure {
    Failure::new("the pickle has a number that is none, or too large")
}

#[cold]
fn too_many() -> Failure {
    Failure::new("the pickle has too many objects")
}
