//! Programs that must not build, and what the compiler says about the cure.

use crate::crates::{cargo, command};
use crate::run::run;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A crate of programs, each of which the compiler must refuse, but for the first.
pub(crate) const CRATE: &[(&str, &str)] = &[
    (
        "refused/Cargo.toml",
        r#"
[package]
name = "refused"
version = "0.0.0"
edition = "2024"

[dependencies]
multiproc = { workspace = true, features = ["auto"] }
"#,
    ),
    ("refused/src/lib.rs", LIBRARY),
    ("refused/src/bin/accepted.rs", "use refused::*;\nfn main() { pool().apply(add, (1, 2)).unwrap(); }\n"),
    (
        "refused/src/bin/captures_in_map.rs",
        "use refused::*;\nfn main() { let factor = number(); pool().map(move |x: u64| x * factor, 0..3).unwrap(); }\n",
    ),
    (
        "refused/src/bin/captures_in_apply.rs",
        "use refused::*;\nfn main() { let factor = number(); pool().apply(move |x: u64| x * factor, (3,)).unwrap(); }\n",
    ),
    (
        "refused/src/bin/captures_in_with.rs",
        "use refused::*;\nfn main() { let factor = number(); \
         pool().with(&1u64).tasks(move |one, x: u64| x * factor + one, 0..3).run().unwrap(); }\n",
    ),
    (
        "refused/src/bin/captures_in_initializer.rs",
        "use refused::*;\nfn main() { let factor = number(); \
         multiproc::Pool::builder().initializer(move || assert_eq!(factor, 1), ()).build().unwrap(); }\n",
    ),
    (
        "refused/src/bin/value_of_initializer.rs",
        "fn main() { multiproc::Pool::builder().initializer(|x: u64| x + 1, (1,)).build().unwrap(); }\n",
    ),
    (
        "refused/src/bin/captures_in_finalizer.rs",
        "use refused::*;\nfn main() { let factor = number(); \
         multiproc::Pool::builder().finalizer(move || assert_eq!(factor, 1), ()).build().unwrap(); }\n",
    ),
    (
        "refused/src/bin/captures_in_state.rs",
        "use refused::*;\nfn main() { let factor = number(); \
         multiproc::Pool::builder().state(move || factor, ()).build().unwrap(); }\n",
    ),
    (
        "refused/src/bin/captures_on_state.rs",
        "use refused::*;\nfn main() { let factor = number(); let pool = multiproc::Pool::builder().state(number, ()); \
         pool.build().unwrap().on_state().tasks(move |state, x: u64| *state * factor * x, 0..3).run().unwrap(); }\n",
    ),
    (
        "refused/src/bin/owns_in_map.rs",
        "use refused::*;\nfn main() { let table = vec![number()]; pool().map(move |i: usize| table[i], 0..1).unwrap(); }\n",
    ),
    (
        "refused/src/bin/owns_in_apply.rs",
        "use refused::*;\nfn main() { let table = vec![number()]; pool().apply(move |i: usize| table[i], (0,)).unwrap(); }\n",
    ),
    (
        "refused/src/bin/owns_on_both.rs",
        "use refused::*;\nfn main() { let table = vec![number()]; \
         pool().with(&1u64).on_state().tasks(move |_, i: usize| table[i], 0..1).run().unwrap(); }\n",
    ),
    (
        "refused/src/bin/boxed_in_map.rs",
        "use refused::*;\nfn main() { let f: Box<dyn Fn(u64) -> u64> = Box::new(double); pool().map(f, 0..3).unwrap(); }\n",
    ),
    (
        "refused/src/bin/captures_in_star_tasks.rs",
        "use refused::*;\nfn main() { let factor = number(); \
         pool().star_tasks(move |x: u64| x * factor, [(1,)]).run().unwrap(); }\n",
    ),
    (
        "refused/src/bin/captures_in_ref_tasks.rs",
        "use refused::*;\nfn main() { let factor = number(); \
         pool().ref_tasks(move |x: &u64| x * factor, &[1]).run().unwrap(); }\n",
    ),
    (
        "refused/src/bin/captures_in_spawn.rs",
        "use refused::*;\nfn main() { let factor = number(); multiproc::Process::spawn(move || factor, ()).unwrap(); }\n",
    ),
    (
        "refused/src/bin/pointer_in_map.rs",
        "use refused::*;\nfn main() { let f: fn(u64) -> u64 = double; pool().map(f, 0..3).unwrap(); }\n",
    ),
    (
        "refused/src/bin/pointer_in_apply.rs",
        "use refused::*;\nfn main() { let f: fn(u64) -> u64 = double; pool().apply(f, (3,)).unwrap(); }\n",
    ),
    ("refused/src/bin/too_few.rs", "use refused::*;\nfn main() { pool().apply(add, (1u64,)).unwrap(); }\n"),
    (
        "refused/src/bin/wrong_type.rs",
        "use refused::*;\nfn main() { pool().apply(double, (\"3\".to_owned(),)).unwrap(); }\n",
    ),
    ("refused/src/bin/no_tuple.rs", "use refused::*;\nfn main() { pool().apply(|x: u64| x, 3u64).unwrap(); }\n"),
    ("refused/src/bin/no_function.rs", "use refused::*;\nfn main() { pool().apply(3, (1u64,)).unwrap(); }\n"),
    (
        "refused/src/bin/wrong_star.rs",
        "use refused::*;\nfn main() { pool().starmap(add, [(1u64, 2u64, 3u64)]).unwrap(); }\n",
    ),
    (
        "refused/src/bin/no_serde_in_map.rs",
        "use refused::*;\nfn main() { pool().map(|_: Token| 1, [Token(1)]).unwrap(); }\n",
    ),
    (
        "refused/src/bin/no_serde_in_apply.rs",
        "use refused::*;\nfn main() { pool().apply(use_up, (Token(1),)).unwrap(); }\n",
    ),
    (
        "refused/src/bin/no_serde_with.rs",
        "use refused::*;\nfn main() { pool().with(&Token(1)).tasks(|_, x: u8| x, [1]).run().unwrap(); }\n",
    ),
    (
        "refused/src/bin/not_fallible_in_map.rs",
        "use refused::*;\nfn main() { pool().map(|text: String| text.parse::<u8>(), [String::new()]).unwrap(); }\n",
    ),
    (
        "refused/src/bin/not_fallible_in_tasks.rs",
        "use refused::*;\nfn main() { pool().tasks(|text: String| text.parse::<u8>(), [String::new()]).run().unwrap(); }\n",
    ),
    (
        "refused/src/bin/wrong_error.rs",
        "use refused::*;\nfn main() { let pool = pool(); \
         pool.tasks(|_: u8| Ok::<u8, Box<dyn std::error::Error>>(1), [1]).fallible().run().unwrap(); }\n",
    ),
    (
        "refused/src/bin/undelivered.rs",
        "#![deny(unused_must_use)]\nuse refused::*;\nfn main() { pool().tasks(double, 0..3); }\n",
    ),
    (
        "refused/src/bin/borrows_in_map.rs",
        "use refused::*;\nfn main() { let table = vec![number()]; pool().map(|i: usize| table[i], 0..1).unwrap(); }\n",
    ),
    (
        "refused/src/bin/self_in_map.rs",
        "use refused::*;\nstruct Model(u64);\nimpl Model { fn run(&self) { pool().map(|x: u64| self.0 * x, 0..3).unwrap(); } }\n\
         fn main() { Model(number()).run(); }\n",
    ),
    (
        "refused/src/bin/borrowed_items.rs",
        "use refused::*;\nfn main() { pool().map(|word: &str| word.len(), [\"a\"]).unwrap(); }\n",
    ),
    (
        "refused/src/bin/boxed_error.rs",
        "use refused::*;\nfn f(x: u8) -> Result<u8, Box<dyn std::error::Error>> { Ok(x) }\n\
         fn main() { pool().try_map(f, [1]).unwrap(); }\n",
    ),
    ("refused/src/bin/text_in_value.rs", "fn main() { drop(multiproc::Value::new(String::new())); }\n"),
    (
        "refused/src/bin/pool_in_static.rs",
        "static POOL: multiproc::Pool = multiproc::Pool::new(2).unwrap();\nfn main() { POOL.join().unwrap(); }\n",
    ),
    (
        "refused/src/bin/state_in_map.rs",
        "use refused::*;\nfn main() { pool().map(|state: &mut u64, x: u64| *state * x, 0..3).unwrap(); }\n",
    ),
    (
        "refused/src/bin/map_of_result.rs",
        "use refused::*;\nfn main() { multiproc::Pool::new(4).map(double, 0..3).unwrap(); }\n",
    ),
    (
        "refused/src/bin/threads_by_reference.rs",
        "fn f(_: &multiproc::Pool) {}\n\
         fn main() -> multiproc::Result<()> { f(&multiproc::ThreadPool::new(2)?); Ok(()) }\n",
    ),
    ("refused/src/bin/token.rs", TOKEN),
    (
        "refused/src/bin/no_serde_back.rs",
        "use refused::*;\nfn main() { pool().map(|_: u8| Token(1), [1]).unwrap(); }\n",
    ),
];

const LIBRARY: &str = "
pub struct Token(pub u64);

pub fn pool() -> multiproc::Pool {
    multiproc::Pool::new(1).unwrap()
}
pub fn number() -> u64 {
    std::env::args().count() as u64
}
pub fn double(x: u64) -> u64 {
    2 * x
}
pub fn add(x: u64, y: u64) -> u64 {
    x + y
}
pub fn use_up(token: Token) -> u64 {
    token.0
}
";

/// A function that captures a token: a value without a size that proves what was done in this process.
const TOKEN: &str = "
mod device {
    use std::sync::OnceLock;
    static TABLE: OnceLock<Vec<u64>> = OnceLock::new();
    #[derive(Clone, Copy)]
    pub struct Ready(());
    pub fn init() -> Ready {
        TABLE.get_or_init(|| vec![1, 2, 3]);
        Ready(())
    }
    impl Ready {
        pub fn look(self, at: usize) -> u64 {
            // Real ones rely on the proof in `unsafe` code.
            TABLE.get().expect(\"a token without its proof\")[at]
        }
    }
}
fn main() {
    let ready = device::init();
    assert_eq!(ready.look(1), 2);
    let results = refused::pool().map_each(move |at: usize| ready.look(at), [1]);
    println!(\"{}\", results[0].as_ref().unwrap_err());
}
";

/// The cure for a function that captures.
const WITH: &[&str] = &["captures nothing", "`pool.with(&captured).tasks(|captured, x| .., items)`"];

/// The cure for a value that cannot travel.
const SERDE: &[&str] =
    &["Token` cannot travel to another process", "derive `serde::Serialize` and `serde::Deserialize`"];

/// The cure for arguments that are none.
const TUPLE: &[&str] =
    &["`u64` is not a tuple of arguments", "write the arguments as a tuple, also a single one: `(x,)`"];

/// Where the function is known, the compiler says itself what does not fit.
const MISMATCH: &[&str] = &["mismatched types"];

/// The errors that the compiler shows, with its notes, by program.
static REFUSALS: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let build = ["build", "--quiet", "--package", "refused", "--bins", "--keep-going", "--message-format", "json"];
    let ran = cargo(&build);
    let mut refusals: BTreeMap<String, String> = BTreeMap::new();
    for line in ran.out.lines() {
        let message: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{ran}"));
        // Notes say where an error comes from that is found in the library.
        if message["reason"] == "compiler-message" && message["message"]["level"] != "warning" {
            let bin = message["target"]["name"].as_str().unwrap().to_owned();
            *refusals.entry(bin).or_default() += message["message"]["rendered"].as_str().unwrap();
        }
    }
    assert!(!refusals.is_empty(), "{ran}");
    refusals
});

/// What the compiler says of a program that it must refuse.
fn refusal(bin: &str) -> &'static str {
    REFUSALS.get(bin).unwrap_or_else(|| panic!("{bin} was built"))
}

#[test]
fn the_compiler_refuses_what_cannot_work_and_tells_the_cure() {
    assert_eq!(REFUSALS.get("accepted"), None);
    let cases: &[(&str, &[&str])] = &[
        ("captures_in_map", WITH),
        ("captures_in_apply", WITH),
        ("captures_in_with", WITH),
        ("captures_in_initializer", WITH),
        ("captures_in_finalizer", WITH),
        ("captures_in_state", WITH),
        ("captures_on_state", WITH),
        ("captures_in_star_tasks", WITH),
        ("captures_in_ref_tasks", WITH),
        ("captures_in_spawn", WITH),
        // These are found while types are checked.
        ("owns_in_map", WITH),
        ("owns_in_apply", WITH),
        ("owns_on_both", WITH),
        ("boxed_in_map", WITH),
        ("pointer_in_map", WITH),
        ("pointer_in_apply", WITH),
        ("too_few", MISMATCH),
        ("wrong_type", MISMATCH),
        ("wrong_star", &["type mismatch"]),
        ("no_tuple", TUPLE),
        ("no_function", &["cannot be called with the arguments", "the arguments are a tuple, also a single one"]),
        ("no_serde_in_map", SERDE),
        // Here, too, the type is at fault, and the function is not.
        ("no_serde_in_apply", SERDE),
        ("no_serde_back", SERDE),
        ("no_serde_with", SERDE),
        ("not_fallible_in_map", &["`Result<u8, ParseIntError>` cannot travel", "`try_map`, or `tasks(..).fallible()`"]),
        (
            "not_fallible_in_tasks",
            &["`Result<u8, ParseIntError>` cannot be what a task returns", "`tasks(..).fallible()`"],
        ),
        (
            "value_of_initializer",
            &[
                "`u64` cannot be what an initializer, a finalizer or a task of `generate` returns",
                "it returns `()`, or a `Result`",
            ],
        ),
        ("wrong_error", &["`Box<dyn Error + Send + Sync>` instead of `Box<dyn Error>`"]),
        (
            "undelivered",
            &["a call does nothing until it is delivered: by `run`, `each`, `submit`, `iter` or `unordered`"],
        ),
    ];
    for (bin, texts) in cases {
        let said = refusal(bin);
        let blames_function = said.contains("cannot be called with the arguments");
        assert!(!blames_function || !bin.starts_with("no_serde"), "{bin}: the function is blamed\n{said}");
        assert!(said.contains(&format!("src/bin/{bin}.rs")), "{bin}: no line of the program is shown\n{said}");
        // The compiler breaks lines only where its text has breaks.
        for text in *texts {
            assert!(said.contains(text), "{bin}: the compiler does not say `{text}`\n{said}");
        }
    }
}

/// What the compiler says in its own words, which the page of errors explains.
#[test]
fn the_page_of_errors_knows_what_the_compiler_says() {
    let page = include_str!("../../docs/errors.md");
    let named = page.split("those of Rust ").nth(1).and_then(|it| it.split_whitespace().next()).unwrap();
    let named = named.trim_end_matches('.');
    let version = run(command("rustc").arg("--version")).good();
    if !version.contains(&format!(" {named}.")) {
        println!("skipped: the page has the words of Rust {named}, and this is {version}");
        return;
    }
    for (bin, code, text) in [
        ("borrows_in_map", "E0373", "closure may outlive the current function, but it borrows"),
        ("self_in_map", "E0521", "borrowed data escapes outside of method"),
        ("owns_in_map", "E0277", "cannot run in another process, since it captures something"),
        (
            "captures_in_map",
            "E0080",
            "evaluation panicked: a task must be a function or a closure that captures nothing",
        ),
        ("no_serde_in_map", "E0277", "cannot travel to another process"),
        ("borrowed_items", "", "implementation of serde_core::de::Deserialize is not general enough"),
        ("no_tuple", "E0277", "is not a tuple of arguments"),
        ("boxed_error", "E0277", "(dyn std::error::Error + 'static) cannot be sent between threads safely"),
        ("text_in_value", "E0277", "cannot live in shared memory"),
        ("pool_in_static", "E0015", "cannot call non-const associated function"),
        ("state_in_map", "E0593", "closure is expected to take 1 argument, but it takes 2 arguments"),
        ("map_of_result", "E0061", "this method takes 1 argument but 2 arguments were supplied"),
        ("threads_by_reference", "E0308", "expected Pool, found ThreadPool"),
    ] {
        let said = refusal(bin);
        assert!(said.replace('`', "").contains(text), "{bin}: the compiler does not say `{text}`\n{said}");
        assert!(said.contains(code), "{bin}: the error is no {code}\n{said}");
        assert!(page.replace('`', "").contains(text) && page.contains(code), "docs/errors.md: add `{text}` ({code})");
    }
}

/// Documents a limit, which `multiproc::Portable` states as a condition: a token has no size, so that a function that captures
/// it cannot be told from one that captures nothing, and a worker makes the token out of nothing.
#[test]
fn a_captured_token_is_not_refused() {
    let ran = cargo(&["run", "--quiet", "--package", "refused", "--bin", "token"]);
    let out = ran.good();
    assert!(out.contains("panicked at") && out.contains("a token without its proof"), "{out}");
}
