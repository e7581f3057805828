//! The messages of Python's managers, on either side.
//!
//! A request is the tuple `(object, name, args, kwargs)`; the object is `None` when the server itself is asked. An answer
//! is a pair of a kind and what belongs to it. Whoever opens a connection asks the server one thing, and the connection
//! ends then; only after `accept_connection` it carries any number of calls of objects.

use crate::pickle::failure::Failure;
use crate::pickle::read;
use crate::pickle::tree::{Id, Node, Tree};
use crate::pickle::value::PyValue;
use crate::pickle::write::Writer;

const RETURN: &str = "#RETURN";
const ERROR: &str = "#ERROR";
const PROXY: &str = "#PROXY";
const TRACEBACK: &str = "#TRACEBACK";
const UNSERIALIZABLE: &str = "#UNSERIALIZABLE";

/// What one side asks of the other.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    /// `None` = the server itself.
    pub(super) object: Option<String>,
    pub(super) name: String,
    pub(super) args: Vec<PyValue>,
    pub(super) kwargs: Vec<(String, PyValue)>,
}

impl Request {
    /// Asks the server itself.
    pub(super) fn of_server(name: &str, args: Vec<PyValue>) -> Request {
        Request { object: None, name: name.to_owned(), args, kwargs: Vec::new() }
    }

    pub(super) fn write(self) -> Result<Vec<u8>, Failure> {
        let kwargs = self.kwargs.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let parts = vec![self.object.into(), self.name.into(), PyValue::Tuple(self.args), PyValue::Dict(kwargs)];
        let mut writer = Writer::new();
        writer.value(&PyValue::Tuple(parts))?;
        Ok(writer.finish())
    }

    /// Reads a request. The name is given even if the arguments are no plain values, for the answer to tell.
    pub(super) fn read(bytes: &[u8]) -> Result<Request, Failure> {
        let tree = read::read(bytes)?;
        let no_request = || Failure::new("this is no request: `(object, name, args, kwargs)` was expected");
        let Some(&[object, name, args, kwargs]) = tree.tuple(tree.root()) else { return Err(no_request()) };
        let object = match tree.node(object) {
            Node::None => None,
            Node::Str(ident) => Some(ident.clone().into_owned()),
            _ => return Err(no_request()),
        };
        let name = tree.text(name).ok_or_else(no_request)?.to_owned();
        let args = tree.tuple(args).ok_or_else(no_request)?;
        let args = args.iter().map(|id| argument(&tree, *id)).collect::<Result<_, _>>()?;
        let PyValue::Dict(kwargs) = tree.value(kwargs)? else { return Err(no_request()) };
        let named = |(name, value)| match name {
            PyValue::Str(name) => Ok((name, value)),
            _ => Err(no_request()),
        };
        let kwargs = kwargs.into_iter().map(named).collect::<Result<_, _>>()?;
        Ok(Request { object, name, args, kwargs })
    }
}

/// An argument; a `Token` of Python, which stands for an object of the server, is its name.
fn argument(tree: &Tree<'_>, id: Id) -> Result<PyValue, Failure> {
    match token(tree, id) {
        Some((_, ident)) => Ok(ident.into()),
        None => tree.value(id),
    }
}

/// The type and the name of the object that a `Token` stands for.
fn token(tree: &Tree<'_>, id: Id) -> Option<(String, String)> {
    let Node::Instance(instance) = tree.node(id) else { return None };
    if !instance.global.is("multiprocessing.managers", "Token") {
        return None;
    }
    // Its state is the type, the address and the name; those that were made by a call have them as arguments.
    let parts = instance.state.and_then(|state| tree.tuple(state)).unwrap_or(&instance.args);
    match *parts {
        [typeid, _, ident] => Some((tree.text(typeid)?.to_owned(), tree.text(ident)?.to_owned())),
        _ => None,
    }
}

/// An object that the other side has made, by name, and its methods.
#[derive(Debug, PartialEq)]
pub(super) struct Created {
    pub(super) ident: String,
    pub(super) methods: Vec<String>,
}

/// What the other side answers.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Returned(PyValue),
    /// An exception of the method.
    Raised {
        class: String,
        text: String,
    },
    /// The result is an object that stays there.
    Object {
        typeid: String,
        created: Created,
    },
    /// There is no result; the text is a traceback.
    Failed(String),
}

impl Answer {
    pub(super) fn read(bytes: &[u8]) -> Result<Answer, Failure> {
        let tree = read::read(bytes)?;
        let no_answer = || Failure::new("this is no answer of a manager");
        let Some(&[kind, content]) = tree.tuple(tree.root()) else { return Err(no_answer()) };
        match tree.text(kind) {
            Some(RETURN) => tree.value(content).map(Answer::Returned),
            Some(ERROR) => raised(&tree, content).ok_or_else(no_answer),
            Some(PROXY) => {
                let Some(&[methods, object]) = tree.tuple(content) else { return Err(no_answer()) };
                let (typeid, ident) = token(&tree, object).ok_or_else(no_answer)?;
                let methods = tree.value(methods)?.extract().map_err(|_| no_answer())?;
                Ok(Answer::Object { typeid, created: Created { ident, methods } })
            }
            Some(TRACEBACK | UNSERIALIZABLE) => {
                Ok(Answer::Failed(tree.text(content).ok_or_else(no_answer)?.to_owned()))
            }
            _ => Err(no_answer()),
        }
    }
}

/// The class and the text of an exception.
fn raised(tree: &Tree<'_>, id: Id) -> Option<Answer> {
    let Node::Instance(instance) = tree.node(id) else { return None };
    let (module, name) = (&*instance.global.module, &*instance.global.name);
    let class = match module {
        // Where the C version of a module defines what the module shows.
        "_queue" => format!("queue.{name}"),
        "exceptions" | "__builtin__" => format!("builtins.{name}"),
        _ => format!("{module}.{name}"),
    };
    // As Python shows an exception: its only argument, or all of them.
    let shown = |id: &Id| tree.value(*id).map_or_else(|_| "?".to_owned(), |value| value.to_string());
    let text = match &*instance.args {
        [] => String::new(),
        [only] => tree.text(*only).map_or_else(|| shown(only), str::to_owned),
        more => format!("({})", more.iter().map(shown).collect::<Vec<_>>().join(", ")),
    };
    Some(Answer::Raised { class, text })
}

/// The answer that is a result.
pub(super) fn returned(value: &PyValue) -> Result<Vec<u8>, Failure> {
    answer(RETURN, |writer| writer.value(value))
}

/// The answer that is an exception, made of its class and arguments.
pub(super) fn raising(module: &str, name: &str, args: &[PyValue]) -> Result<Vec<u8>, Failure> {
    answer(ERROR, |writer| {
        writer.global(module, name);
        writer.mark();
        args.iter().try_for_each(|arg| writer.value(arg))?;
        writer.tuple();
        writer.call();
        Ok(())
    })
}

/// The answer that there is no result.
pub(super) fn failed(traceback: &str) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.mark();
    writer.text(TRACEBACK);
    writer.text(traceback);
    writer.tuple();
    writer.finish()
}

fn answer(kind: &str, content: impl FnOnce(&mut Writer) -> Result<(), Failure>) -> Result<Vec<u8>, Failure> {
    let mut writer = Writer::new();
    writer.mark();
    writer.text(kind);
    content(&mut writer)?;
    writer.tuple();
    Ok(writer.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_back_as_they_were() {
        let request = || Request {
            object: Some("7f".into()),
            name: "put".into(),
            args: vec![PyValue::Tuple(vec![]), 1.into()],
            kwargs: vec![("timeout".into(), 0.5.into())],
        };
        assert_eq!(Request::read(&request().write().unwrap()).unwrap(), request());
        let of_server = || Request::of_server("dummy", vec![]);
        assert_eq!(Request::read(&of_server().write().unwrap()).unwrap(), of_server());
    }

    #[test]
    fn answers_come_back_as_they_were() {
        let read = |bytes: Vec<u8>| Answer::read(&bytes).unwrap();
        assert_eq!(read(returned(&"x".into()).unwrap()), Answer::Returned("x".into()));
        assert_eq!(read(failed("Traceback")), Answer::Failed("Traceback".into()));
        let raised = |args: &[PyValue]| match read(raising("builtins", "KeyError", args).unwrap()) {
            Answer::Raised { class, text } => (class, text),
            other => panic!("{other:?}"),
        };
        let class = "builtins.KeyError".to_owned();
        assert_eq!(raised(&[]), (class.clone(), String::new()));
        assert_eq!(raised(&["k".into()]), (class.clone(), "k".to_owned()));
        assert_eq!(raised(&[1.into(), "b".into()]), (class, "(1, 'b')".to_owned()));
    }

    #[test]
    fn what_is_neither_is_an_error() {
        for value in [PyValue::None, PyValue::Tuple(vec!["#RETURN".into()]), PyValue::List(vec![])] {
            let bytes = value.to_pickle().unwrap();
            Request::read(&bytes).unwrap_err();
            Answer::read(&bytes).unwrap_err();
        }
    }
}
