//! [`Tree`]: what a pickle describes, with objects that occur more than once in one place, and nothing called.

use super::failure::Failure;
use super::value::{MAX_DEPTH, PyValue};
use std::borrow::Cow;

/// The number of a node.
pub(crate) type Id = u32;

/// The memory that the value of a short pickle may take, in bytes.
const BASE_BUDGET: usize = 16 << 20;

/// How much the value of a pickle may take for each of its bytes. A byte can be a whole value, `None` say.
const BUDGET_PER_BYTE: usize = 64;

/// How many bytes may be used for a pickle of that length.
pub(super) fn budget(len: usize) -> usize {
    BASE_BUDGET.saturating_add(len.saturating_mul(BUDGET_PER_BYTE))
}

#[cold]
pub(super) fn out_of_proportion() -> Failure {
    Failure::new(
        "what the pickle describes is out of all proportion to its length: it has the same objects again and again",
    )
}

const _: () = assert!(size_of::<PyValue>() <= BUDGET_PER_BYTE);

/// One object. Texts and bytes are those of the pickle.
#[derive(Debug)]
pub(crate) enum Node<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// Two's complement, the lowest byte first.
    BigInt(Cow<'a, [u8]>),
    Float(f64),
    Str(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    ByteArray(Cow<'a, [u8]>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Set(Vec<Id>),
    FrozenSet(Vec<Id>),
    Global(Box<Global<'a>>),
    Instance(Box<Instance<'a>>),
}

/// A class or function, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Global<'a> {
    pub(crate) module: Cow<'a, str>,
    pub(crate) name: Cow<'a, str>,
}

/// What Python would make by calling a global.
#[derive(Debug)]
pub(crate) struct Instance<'a> {
    pub(crate) global: Global<'a>,
    /// The arguments of the call.
    pub(crate) args: Vec<Id>,
    /// What the object is given as its state.
    pub(crate) state: Option<Id>,
}

/// The objects of a pickle.
#[derive(Debug)]
pub(crate) struct Tree<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) root: Id,
    /// The length of the pickle.
    pub(super) len: usize,
}

impl<'a> Tree<'a> {
    /// The number of the object that was pickled.
    pub(crate) fn root(&self) -> Id {
        self.root
    }

    pub(crate) fn node(&self, id: Id) -> &Node<'a> {
        // Numbers come from this tree alone.
        &self.nodes[id as usize]
    }

    /// The elements, if it is a tuple.
    pub(crate) fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.node(id) {
            Node::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub(crate) fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The object and all that it holds as a plain value. What occurs more than once is copied.
    ///
    /// # Errors
    ///
    /// Something in it is no plain value, it is nested too deep (or holds itself), or copying takes too much memory.
    pub(crate) fn value(&self, id: Id) -> Result<PyValue, Failure> {
        Copying { tree: self, budget: budget(self.len) }.value(id, 0)
    }
}

struct Copying<'t, 'a> {
    tree: &'t Tree<'a>,
    /// How many bytes may be used yet.
    budget: usize,
}

impl Copying<'_, '_> {
    /// Books memory that is about to be used.
    fn book(&mut self, bytes: usize) -> Result<(), Failure> {
        self.budget = self.budget.checked_sub(bytes).ok_or_else(out_of_proportion)?;
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
        self.book(bytes.len())?;
        Ok(bytes.to_vec())
    }

    fn values(&mut self, ids: &[Id], depth: usize) -> Result<Vec<PyValue>, Failure> {
        self.book(ids.len().saturating_mul(size_of::<PyValue>()))?;
        let mut values = Vec::with_capacity(ids.len());
        for id in ids {
            values.push(self.value(*id, depth + 1)?);
        }
        Ok(values)
    }

    fn value(&mut self, id: Id, depth: usize) -> Result<PyValue, Failure> {
        if depth > MAX_DEPTH {
            return Err(Failure::new(format!("the value is nested deeper than {MAX_DEPTH} levels, or holds itself")));
        }
        let tree = self.tree;
        Ok(match tree.node(id) {
            Node::None => PyValue::None,
            Node::Bool(value) => PyValue::Bool(*value),
            Node::Int(number) => PyValue::Int(*number),
            Node::BigInt(bytes) => {
                self.book(bytes.len())?;
                PyValue::int_of(bytes)
            }
            Node::Float(number) => PyValue::Float(*number),
            Node::Str(text) => {
                self.book(text.len())?;
                PyValue::Str(text.clone().into_owned())
            }
            Node::Bytes(bytes) => PyValue::Bytes(self.bytes(bytes)?),
            Node::ByteArray(bytes) => PyValue::ByteArray(self.bytes(bytes)?),
            Node::List(items) => PyValue::List(self.values(items, depth)?),
            Node::Tuple(items) => PyValue::Tuple(self.values(items, depth)?),
            Node::Set(items) => PyValue::Set(self.values(items, depth)?),
            Node::FrozenSet(items) => PyValue::FrozenSet(self.values(items, depth)?),
            Node::Dict(items) => {
                self.book(items.len().saturating_mul(size_of::<(PyValue, PyValue)>()))?;
                let mut values = Vec::with_capacity(items.len());
                for (key, value) in items {
                    values.push((self.value(*key, depth + 1)?, self.value(*value, depth + 1)?));
                }
                PyValue::Dict(values)
            }
            Node::Global(global) => return Err(global.refuse()),
            Node::Instance(instance) => return Err(instance.global.refuse()),
        })
    }
}

impl Global<'_> {
    /// Whether it is that one.
    pub(crate) fn is(&self, module: &str, name: &str) -> bool {
        self.module == module && self.name == name
    }

    #[cold]
    fn refuse(&self) -> Failure {
        let (module, name) = (self.module.escape_debug(), self.name.escape_debug());
        Failure::new(format!(
            "the pickle needs `{module}.{name}` of Python, which is no plain value; nothing was called"
        ))
    }
}
