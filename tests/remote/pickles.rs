//! Values to and from CPython's pickle.

use crate::common::python::{INTERPRETERS, Python};
use crate::common::watchdog::watchdog;
use multiproc::{AuthKey, Client, ConnectionError, Listener, Process, PyValue};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

type Make = fn() -> PyValue;

/// Plain values of every kind, as Python writes them; a line each.
const VALUES: &[(&str, Make)] = &[
    ("None", || PyValue::None),
    ("True", || true.into()),
    ("False", || false.into()),
    ("0", || 0.into()),
    ("255", || 255.into()),
    ("256", || 256.into()),
    ("-1", || (-1).into()),
    ("65536", || 65536.into()),
    ("-2**31", || i32::MIN.into()),
    ("2**31", || (1i64 << 31).into()),
    ("2**63 - 1", || i64::MAX.into()),
    ("-2**63", || i64::MIN.into()),
    ("2**63", || (1u64 << 63).into()),
    ("-2**63 - 1", || (i128::from(i64::MIN) - 1).into()),
    ("2**126", || (1i128 << 126).into()),
    ("1.5", || 1.5.into()),
    ("float('-inf')", || f64::NEG_INFINITY.into()),
    ("5e-324", || f64::from_bits(1).into()),
    ("''", || "".into()),
    ("'junk'", || "junk".into()),
    ("'\\n\\\\u20ac ä€😀'", || "\n\\u20ac ä€😀".into()),
    ("'x' * 300", || "x".repeat(300).into()),
    ("b''", || PyValue::Bytes(vec![])),
    ("bytes(range(256))", || PyValue::Bytes((0..=255).collect())),
    ("b'y' * 300", || PyValue::Bytes(vec![b'y'; 300])),
    ("bytearray(b'abc\\xff')", || PyValue::ByteArray(b"abc\xff".to_vec())),
    ("bytearray()", || PyValue::ByteArray(vec![])),
    ("[]", || PyValue::List(vec![])),
    ("[1]", || PyValue::List(vec![1.into()])),
    ("[1, [2.5, None], 'a']", || {
        PyValue::List(vec![1.into(), PyValue::List(vec![2.5.into(), PyValue::None]), "a".into()])
    }),
    ("list(range(2500))", || PyValue::List((0..2500).map(PyValue::from).collect())),
    ("()", || PyValue::Tuple(vec![])),
    ("(1,)", || PyValue::Tuple(vec![1.into()])),
    ("(1, 2)", || PyValue::Tuple(vec![1.into(), 2.into()])),
    ("(1, 2, 3)", || PyValue::Tuple(vec![1.into(), 2.into(), 3.into()])),
    ("(1, 2, 3, ())", || PyValue::Tuple(vec![1.into(), 2.into(), 3.into(), PyValue::Tuple(vec![])])),
    ("{}", || PyValue::Dict(vec![])),
    ("{'a': 1, 2: ['b']}", || PyValue::Dict(vec![("a".into(), 1.into()), (2.into(), PyValue::List(vec!["b".into()]))])),
    ("{i: str(i) for i in range(1500)}", || {
        PyValue::Dict((0..1500).map(|it| (it.into(), it.to_string().into())).collect())
    }),
    ("set()", || PyValue::Set(vec![])),
    ("{7}", || PyValue::Set(vec![7.into()])),
    ("frozenset()", || PyValue::FrozenSet(vec![])),
    ("frozenset(['k'])", || PyValue::FrozenSet(vec!["k".into()])),
    ("[(s := 'shared'), s, (l := [s]), l, l]", || {
        let list = || PyValue::List(vec!["shared".into()]);
        PyValue::List(vec!["shared".into(), "shared".into(), list(), list(), list()])
    }),
];

const PICKLER: &str = r#"
import pickle, sys
for line in sys.stdin:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        print(pickle.dumps(eval(line), protocol).hex())
    print()
"#;

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_plain_value_is_read_from_every_protocol_of_every_python() {
    let _watchdog = watchdog(120);
    for (minor, interpreter) in &*INTERPRETERS {
        let mut python = Python::start_with(interpreter, PICKLER, &[]).unwrap();
        for (expression, value) in VALUES {
            python.say(expression);
            for protocol in 0.. {
                let line = python.line();
                if line.is_empty() {
                    assert_eq!(protocol, 6, "3.{minor}");
                    break;
                }
                let read = PyValue::from_pickle(&unhex(&line));
                let read = read.unwrap_or_else(|error| panic!("3.{minor} {expression} {protocol}: {error}"));
                assert_eq!(read, value(), "3.{minor}, protocol {protocol}");
            }
        }
        python.end();
    }
}

const UNPICKLER: &str = r#"
import pickle, sys
for line in sys.stdin:
    expression, data = line.split("\t")
    value, expected = pickle.loads(bytes.fromhex(data)), eval(expression)
    print(type(value) is type(expected) and value == expected)
"#;

#[test]
fn every_plain_value_is_written_for_every_python() {
    let _watchdog = watchdog(120);
    for (minor, interpreter) in &*INTERPRETERS {
        let mut python = Python::start_with(interpreter, UNPICKLER, &[]).unwrap();
        for (expression, value) in VALUES {
            python.say(&format!("{expression}\t{}", hex(&value().to_pickle().unwrap())));
            assert_eq!(python.line(), "True", "3.{minor} {expression}");
        }
        python.end();
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Unit,
    New(u8),
    Pair(u8, String),
    Fields { a: f32 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    numbers: (i8, u16, i32, u64, i128, u128),
    floats: [f64; 2],
    text: String,
    letter: char,
    bytes: Vec<u8>,
    maybe: Vec<Option<()>>,
    shapes: Vec<Shape>,
    map: BTreeMap<String, Vec<u32>>,
    numbered: BTreeMap<u8, bool>,
    set: HashSet<String>,
    any: (PyValue, Vec<PyValue>),
}

fn everything() -> Everything {
    Everything {
        numbers: (-8, 16, -32, u64::MAX, i128::MIN, u128::MAX),
        floats: [0.1, -0.0],
        text: "text".into(),
        letter: 'ä',
        bytes: vec![0, 255],
        maybe: vec![None, None],
        shapes: vec![Shape::Unit, Shape::New(1), Shape::Pair(2, "b".into()), Shape::Fields { a: 0.5 }],
        map: [("a".to_owned(), vec![1, 2])].into(),
        numbered: [(1, true)].into(),
        set: ["x".to_owned()].into(),
        any: (PyValue::Tuple(vec![]), VALUES.iter().map(|(_, value)| value()).collect()),
    }
}

#[test]
fn types_of_rust_come_back_as_they_were() {
    let value = PyValue::of(&everything()).unwrap();
    assert_eq!(PyValue::from_pickle(&value.to_pickle().unwrap()).unwrap(), value);
    assert_eq!(value.extract::<Everything>().unwrap(), everything());
}

#[test]
fn what_python_sends_is_read_as_what_is_asked_for() {
    fn to<T: serde::de::DeserializeOwned>(value: PyValue) -> Result<T, ConnectionError> {
        value.extract()
    }
    let list = || PyValue::List(vec![1.into(), 2.into()]);
    assert_eq!(to::<(u8, u8)>(list()).unwrap(), (1, 2));
    assert_eq!(to::<HashSet<u8>>(list()).unwrap().len(), 2);
    assert_eq!(to::<Vec<u8>>(PyValue::Bytes(vec![1, 2])).unwrap(), [1, 2]);
    assert_eq!(to::<f64>(3.into()).unwrap(), 3.0);
    assert_eq!(to::<Option<u8>>(PyValue::None).unwrap(), None);
    assert_eq!(to::<Shape>("Unit".into()).unwrap(), Shape::Unit);
    for error in [
        to::<(u8, u8, u8)>(list()).unwrap_err(),
        to::<(u8,)>(list()).unwrap_err(),
        to::<u8>(256.into()).unwrap_err(),
        to::<u8>("1".into()).unwrap_err(),
        to::<u64>(PyValue::BigInt(vec![1; 40])).unwrap_err(),
        to::<Shape>("New".into()).unwrap_err(),
        to::<Shape>(PyValue::Float(0.0)).unwrap_err(),
        to::<Shape>(PyValue::Dict(vec![(1.into(), 1.into())])).unwrap_err(),
    ] {
        assert!(error.is_decode(), "{error}");
    }
}

#[test]
fn values_travel_through_this_librarys_own_channels_as_well() {
    let _watchdog = watchdog(60);
    let all = || PyValue::List(VALUES.iter().map(|(_, value)| value()).collect());
    let same = |value: PyValue| value;
    assert_eq!(Process::spawn(same, (all(),)).unwrap().join().unwrap(), all());
}

#[test]
fn what_is_no_plain_value_is_an_error_that_names_it() {
    let _watchdog = watchdog(60);
    let dangerous = [
        ("__import__('os').system", "posix.system"),
        ("[1, float]", "builtins.float"),
        ("type('Evil', (), {'__reduce__': lambda self: (print, ('called',))})()", "builtins.print"),
        ("__import__('decimal').Decimal('1.5')", "decimal.Decimal"),
        ("__import__('collections').deque([1])", "collections.deque"),
        ("__import__('collections').Counter('a')", "collections.Counter"),
        ("KeyError('k')", "builtins.KeyError"),
        ("1j", "builtins.complex"),
    ];
    let Some(mut python) = Python::start(PICKLER, &[]) else { return };
    for (expression, name) in dangerous {
        python.say(expression);
        for protocol in 0..6 {
            let error = PyValue::from_pickle(&unhex(&python.line())).unwrap_err();
            // Older protocols know Python 2's name for the module.
            let (module, class) = name.split_once('.').unwrap();
            let names = [module, "__builtin__", "exceptions"].map(|module| format!("`{module}.{class}`"));
            let text = error.to_string();
            let is_named = names.iter().any(|name| text.contains(name));
            assert!(error.is_decode() && is_named, "{expression} {protocol}: {text}");
        }
        assert_eq!(python.line(), "");
    }
    python.end();
}

#[test]
fn a_message_that_is_no_value_is_one_error_and_the_next_is_received() {
    let _watchdog = watchdog(60);
    let listener = Listener::builder().max_message(1000).bind(("localhost", 0), AuthKey::none()).unwrap();
    let client = Client::connect(listener.address(), AuthKey::none()).unwrap();
    let server = listener.accept().unwrap();
    client.send_bytes(b"cposix\nsystem\n(S'true'\ntR.").unwrap();
    client.send_bytes(b"").unwrap();
    client.send(&"text").unwrap();
    client.send(&(1, 2)).unwrap();
    assert!(server.recv::<PyValue>().unwrap_err().is_decode());
    assert!(server.recv::<PyValue>().unwrap_err().is_decode());
    assert!(server.recv::<u8>().unwrap_err().is_decode());
    assert_eq!(server.recv::<(u8, u8)>().unwrap(), (1, 2));
    client.send(&vec!["x"; 1000]).unwrap();
    assert!(server.recv::<Vec<String>>().unwrap_err().is_too_long());
}

#[test]
fn small_pickles_of_huge_things_take_no_memory() {
    let bomb = |first: &[u8], again: &[u8], rounds: usize| {
        let mut bytes = [b"\x80\x04", first].concat();
        (0..rounds).for_each(|_| bytes.extend(again));
        bytes.push(b'.');
        bytes
    };
    // Pairs of the same pair, 150 deep: 2^150 elements.
    let doubled = bomb(b"]", b"2\x86", 150);
    assert!(PyValue::from_pickle(&doubled).unwrap_err().to_string().contains("out of all proportion"));
    // A list that holds itself.
    let error = PyValue::from_pickle(b"\x80\x04]\x94h\x00a.").unwrap_err();
    assert!(error.to_string().contains("holds itself"), "{error}");
    // Nested deeper than the stack.
    let error = PyValue::from_pickle(&bomb(b"]", b"\x85", 1_000_000)).unwrap_err();
    assert!(error.to_string().contains("nested deeper"), "{error}");
    // The same long arguments in call after call.
    let long: Vec<u8> = std::iter::repeat_n(b'N', 100_000).collect();
    let calls = bomb(&[b"(", &long[..], b"t\x94c__builtin__\nlist\n\x94"].concat(), b"h\x01h\x00\x85R0", 100_000);
    assert!(PyValue::from_pickle(&calls).unwrap_err().to_string().contains("out of all proportion"));
    let names = bomb(&[b"V", &vec![b'x'; 100_000][..], b"\n\x94"].concat(), b"h\x00h\x00\x930", 100_000);
    assert!(PyValue::from_pickle(&names).unwrap_err().to_string().contains("out of all proportion"));
    // Lengths that are only claims, and places of the memory that are far away.
    for bytes in [
        &b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff."[..],
        b"\x80\x04\x8e\0\0\0\0\0\0\0\x10.",
        b"\x80\x04\x8b\xff\xff\xff\xff.",
        b"\x80\x04Nr\xff\xff\xff\xff0j\xfe\xff\xff\xff.",
    ] {
        assert!(PyValue::from_pickle(bytes).unwrap_err().is_decode());
    }
    assert_eq!(PyValue::from_pickle(b"\x80\x04Nr\xff\xff\xff\xff0j\xff\xff\xff\xff.").unwrap(), PyValue::None);
}

#[test]
fn values_nested_too_deep_are_not_sent() {
    let deep = |levels: usize| (0..levels).fold(PyValue::None, |value, _| PyValue::List(vec![value]));
    let most = deep(200);
    assert_eq!(PyValue::from_pickle(&most.to_pickle().unwrap()).unwrap(), most);
    assert!(deep(201).to_pickle().unwrap_err().is_encode());
}
