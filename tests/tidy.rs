//! The repository tests itself: layers, sizes, unsafe code, examples, documents, labels. Reads files, starts nothing.
//!
//!     cargo test --test tidy

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The layers of the library, lowest first, by the first folder or file of a path below `pool/`. What stands in one
/// line does not know its neighbours either.
const LAYERS: &[&[&str]] = &[
    &["error"],
    &["sys"],
    &["attached_fds"],
    &["heap"],
    &["codec", "identity", "portable", "pickle"],
    &["sync"],
    &["shared", "ipc", "connection"],
    &["channels"],
    &["process", "collections"],
    &["managers"],
    &["engine"],
    &["nodes"],
    &["api"],
    &["lib"],
];

/// Folders whose parts have layers of their own, lowest first.
const ROOMS: &[(&str, &[&str])] = &[("pool/engine", &["callbacks", "watch", "worker", "call", "launch", "core"])];

/// Where `unsafe` may stand: folders, and single files with the reason.
const UNSAFE: &[(&str, &str)] = &[
    ("pool/sys/", "the operating system"),
    ("pool/heap/", "memory that a tree of processes shares"),
    ("pool/sync/algorithm/layout.rs", "promises that its headers consist of atomics"),
    ("pool/sync/slice.rs", "lends the elements of an array while their lock is held"),
    ("pool/ipc/lane.rs", "promises that its slots consist of atomics"),
    ("pool/ipc/bell.rs", "promises that its memory consists of atomics"),
    ("pool/ipc/desk.rs", "promises that its words consist of atomics"),
    ("pool/ipc/head.rs", "promises that it consists of atomics"),
    ("tests/common/crash.rs", "crashes, as broken code does"),
    ("tests/common/descriptors.rs", "closes descriptors of the whole process"),
    ("tests/common/evil.rs", "maims its own process, as broken code does"),
    ("tests/common/fork.rs", "forks, as foreign code does"),
    ("tests/common/seccomp.rs", "filters system calls"),
    ("tests/common/signals.rs", "ignores and handles signals, and handles exit"),
    ("tests/common/stepper.rs", "steps through another process"),
    ("benches/common/robust.rs", "calls the C library's robust mutex"),
    ("pool/identity.rs", "follows a checked reference to a function"),
    ("pool/process/bootstrap.rs", "runs before `main`"),
];

/// The most lines of a file of the library.
const MOST_LINES: usize = 500;

/// Files that may be longer: the documented faces, most of which are documentation.
const FACES: &[&str] = &["pool/lib.rs", "pool/api/pool.rs", "pool/api/call.rs"];

/// The most columns of a line of prose, in comments and documents.
const MOST_COLUMNS: usize = 130;

/// The most lines of a `mod.rs`, which is a list.
const MOST_MOD_LINES: usize = 60;

/// A file of the repository.
struct Source {
    /// Its path from the root, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// Its lines with their numbers.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    /// The first folder below `pool/`, or the file if it stands there itself.
    fn layer(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("pool/")?;
        Some(inside.split(['/', '.']).next().unwrap_or(inside))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text files below the given folders and files, in the order of their paths.
fn sources(places: &[&str], extensions: &[&str]) -> Vec<Source> {
    fn walk(path: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                walk(&entry.unwrap().path(), extensions, found);
            }
        } else if path.extension().is_some_and(|it| extensions.iter().any(|wanted| it == *wanted)) {
            found.push(path.to_owned());
        }
    }
    let mut found = Vec::new();
    places.iter().for_each(|place| walk(&root().join(place), extensions, &mut found));
    found.retain(|path| !path.strip_prefix(root()).unwrap().components().any(|part| part.as_os_str() == "target"));
    found.sort();
    let read = |path: PathBuf| Source {
        text: fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/"),
    };
    found.into_iter().map(read).collect()
}

fn library() -> Vec<Source> {
    let library = sources(&["pool"], &["rs"]);
    assert!(library.len() > 20, "the library's files were not found");
    library
}

/// The Markdown documents of the repository.
fn documents() -> Vec<Source> {
    sources(&["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs", "pool"], &["md"])
}

/// Fails with all complaints at once, if there are any.
fn expect_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{} complaints:\n  {}\n", complaints.len(), complaints.join("\n  "));
}

/// The text with comments and the insides of strings blanked; lines stay where they are.
fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    // Passes over `count` characters, keeping only what lines are made of.
    let blank = |code: &mut String, at: &mut usize, count: usize| {
        for &letter in &chars[*at..(*at + count).min(chars.len())] {
            code.push(if letter == '\n' { '\n' } else { ' ' });
        }
        *at = (*at + count).min(chars.len());
    };
    // Where the first of `end` is, counted from `from`.
    let find = |from: usize, end: &str| {
        let end: Vec<char> = end.chars().collect();
        let place = chars[from.min(chars.len())..].windows(end.len()).position(|it| it == end);
        place.map_or(chars.len(), |place| from + place + end.len())
    };
    while at < chars.len() {
        let next = |offset: usize| chars.get(at + offset).copied().unwrap_or(' ');
        let after_name = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
        let end = match (chars[at], next(1)) {
            ('/', '/') => find(at, "\n") - 1,
            ('/', '*') => find(at, "*/"),
            ('r', '"' | '#') if !after_name => {
                let hashes = chars[at + 1..].iter().take_while(|letter| **letter == '#').count();
                if next(1 + hashes) == '"' { find(at + hashes + 2, &format!("\"{}", "#".repeat(hashes))) } else { at }
            }
            ('"', _) => {
                let mut end = at + 1;
                while end < chars.len() && chars[end] != '"' {
                    end += if chars[end] == '\\' { 2 } else { 1 };
                }
                end + 1
            }
            // A character, not a lifetime.
            ('\'', '\\') => find(at + 3, "'"),
            ('\'', _) if next(2) == '\'' => at + 3,
            _ => at,
        };
        if end > at {
            let count = end - at;
            blank(&mut code, &mut at, count);
        } else {
            code.push(chars[at]);
            at += 1;
        }
    }
    code
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Whether `word` occurs in the line as a word of its own.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_name) && !line[at + word.len()..].starts_with(is_name))
}

/// What the code names of the crate, by line: the first segment behind each `crate::`, also inside `{..}`, and behind
/// each `super::` that leaves the folder.
fn crate_paths(source: &Source) -> Vec<(usize, String)> {
    let code = code_of(&source.text);
    let line_of = |at: usize| 1 + code[..at].matches('\n').count();
    let mut found = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        if code[..at].ends_with(|letter: char| is_name(letter) || letter == '$' || letter == ':') {
            continue;
        }
        let rest = code[at + prefix.len()..].trim_start();
        let segments = if let Some(group) = rest.strip_prefix('{') { heads(group) } else { vec![head(rest)] };
        found.extend(segments.into_iter().map(|segment| (line_of(at), segment)));
    }
    for (at, prefix) in code.match_indices("super::") {
        let segment = head(&code[at + prefix.len()..]);
        let beside = Path::new(&source.path).parent().unwrap();
        let is_beside = |name: &str| {
            let place = root().join(beside).join(name);
            beside != Path::new("pool") && (place.is_dir() || place.with_extension("rs").is_file())
        };
        if layer_of(&segment).is_some() && !is_beside(&segment) {
            found.push((line_of(at), segment));
        }
    }
    found
}

/// The name at the start of the text.
fn head(text: &str) -> String {
    text.chars().take_while(|letter| is_name(*letter)).collect()
}

/// The first names of the parts of a `{..}` group, whose opening brace was passed.
fn heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let (mut depth, mut fresh) = (0, true);
    for (at, letter) in group.char_indices() {
        match letter {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            letter if fresh && is_name(letter) => {
                heads.push(head(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    heads
}

fn layer_of(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

#[test]
fn a_file_imports_only_from_its_own_folder_and_from_lower_layers() {
    let mut complaints = Vec::new();
    for source in library() {
        let own = source.layer().unwrap();
        let Some(level) = layer_of(own) else {
            complaints.push(format!("{}: `{own}` is in no layer; give it its place in tests/tidy.rs", source.path));
            continue;
        };
        // The root of the crate puts all layers together.
        if own == "lib" {
            continue;
        }
        for (line, name) in crate_paths(&source) {
            let at = format!("{}:{line}: `crate::{name}`", source.path);
            match layer_of(&name) {
                _ if name == own => {}
                Some(other) if other < level => {}
                Some(_) => complaints.push(format!(
                    "{at}: `{own}` must not know `{name}`, which is no lower layer; move what it needs down, or hand it in"
                )),
                None => complaints.push(format!("{at}: write the whole path of the module instead of the re-export")),
            }
        }
    }
    expect_none(complaints);
}

#[test]
fn the_layer_rule_sees_all_forms_of_paths() {
    let text = r##"
        use crate::{engine::{core, call}, error::Error, pool};
        // crate::comment
        fn f(x: crate::codec::Reader) { let _ = "crate::text"; let _ = r#"crate::raw "text" "#; let c = '"'; crate::sys::cpu() }
        pub(in crate::ipc) use super::super::process::args;
        fn lifetime<'a>(x: &'a str) -> crate::heap::Handle { $crate::macro_path!() }
    "##;
    let source = Source { path: "pool/sync/lock.rs".to_owned(), text: text.to_owned() };
    let mut names: Vec<String> = crate_paths(&source).into_iter().map(|it| it.1).collect();
    names.sort();
    assert_eq!(names, ["codec", "engine", "error", "heap", "ipc", "pool", "process", "sys"]);
}

/// The paths of the crate that the code names, from the root of the crate, with groups taken apart: `crate::a::{b, c::D}`
/// is `a::b` and `a::c::D`. `super::` is resolved as in the module that the file is; tests do not count, nor do imports that
/// only links in the documentation need.
fn whole_paths(source: &Source) -> Vec<(usize, Vec<String>)> {
    let code = code_of(&source.text).replace("#[cfg(doc)]\nuse crate::", "#[cfg(doc)]\nuse ");
    let code = code.split("#[cfg(test)]\nmod ").next().unwrap();
    let code = code.split("#[cfg(all(test").next().unwrap();
    let module = module_of(&source.path);
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        if code[..at].ends_with(|letter: char| is_name(letter) || letter == '$' || letter == ':') {
            continue;
        }
        let line = 1 + code[..at].matches('\n').count();
        let mut rest = &code[at..];
        let mut base = module.clone();
        if let Some(inside) = rest.strip_prefix("crate::") {
            (rest, base) = (inside, Vec::new());
        }
        while let Some(inside) = rest.strip_prefix("super::") {
            rest = inside;
            base.pop();
        }
        found.extend(branches(&base, rest).0.into_iter().map(|path| (line, path)));
    }
    found
}

/// The paths of one part of a `use`, which stands behind `base`, and how long the part is.
fn branches(base: &[String], text: &str) -> (Vec<Vec<String>>, usize) {
    let mut path = base.to_vec();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if text[at..].starts_with('{') {
            let mut all = Vec::new();
            at += 1;
            loop {
                let (paths, length) = branches(&path, &text[at..]);
                all.extend(paths);
                at += length;
                at += text[at..].find([',', '}']).unwrap_or(text.len() - at);
                if !text[at..].starts_with(',') {
                    return (all, (at + 1).min(text.len()));
                }
                at += 1;
            }
        }
        let name = head(&text[at..]);
        at += name.len();
        if !name.is_empty() {
            path.push(name);
        }
        match text[at..].strip_prefix("::") {
            Some(_) => at += 2,
            None => return (vec![path], at),
        }
    }
}

/// The path of the module that a file of the library is.
fn module_of(path: &str) -> Vec<String> {
    let inside = path.trim_start_matches("pool/").trim_end_matches(".rs").trim_end_matches("/mod");
    inside.split('/').map(str::to_owned).collect()
}

/// Which part of a folder (a file, a folder, or both under one name) imports from which other, with a place where it does.
type Imports = BTreeMap<(String, String), String>;

/// The imports within each folder of the library.
fn imports_by_folder() -> &'static BTreeMap<String, Imports> {
    static FOLDERS: OnceLock<BTreeMap<String, Imports>> = OnceLock::new();
    FOLDERS.get_or_init(read_imports)
}

fn read_imports() -> BTreeMap<String, Imports> {
    let sources: Vec<Source> = library()
        .into_iter()
        .filter(|source| {
            !["/tests.rs", "/model.rs", "/fuzz.rs", "pool/lib.rs"].iter().any(|end| source.path.ends_with(end))
        })
        .collect();
    let modules: BTreeSet<Vec<String>> = sources.iter().map(|source| module_of(&source.path)).collect();
    let mut folders: BTreeMap<String, Imports> = BTreeMap::new();
    for source in &sources {
        let own = module_of(&source.path);
        for (line, mut target) in whole_paths(source) {
            while !target.is_empty() && !modules.contains(&target) {
                target.pop();
            }
            // Where their ways part: before that both are in one folder.
            let shared = own.iter().zip(&target).take_while(|(own, other)| own == other).count();
            if let (Some(from), Some(to)) = (own.get(shared), target.get(shared)) {
                let folder = std::iter::once("pool").chain(own[..shared].iter().map(|it| &**it)).collect::<Vec<_>>();
                let imports = folders.entry(folder.join("/")).or_default();
                imports.entry((from.clone(), to.clone())).or_insert_with(|| format!("{}:{line}", source.path));
            }
        }
    }
    folders
}

/// A circle among imports, if there is one: the parts in it, the first once more at the end.
fn circle<'a>(imports: &'a Imports) -> Option<Vec<&'a str>> {
    // Takes away whatever imports nothing that is left: what remains leads into a circle from everywhere.
    let mut left: BTreeSet<&str> = imports.keys().flat_map(|(from, to)| [&**from, &**to]).collect();
    let next = |left: &BTreeSet<&'a str>, from: &str| {
        imports.keys().find(|(own, to)| own == from && left.contains(&**to)).map(|(_, to)| &**to)
    };
    while let Some(end) = left.iter().copied().find(|part| next(&left, part).is_none()) {
        left.remove(end);
    }
    let mut way = vec![*left.first()?];
    loop {
        let to = next(&left, way[way.len() - 1])?;
        let known = way.iter().position(|part| *part == to);
        way.push(to);
        if let Some(start) = known {
            return Some(way.split_off(start));
        }
    }
}

#[test]
fn imports_do_not_go_in_circles() {
    let folders = imports_by_folder();
    assert!(folders.contains_key("pool/engine/core"), "the imports were not found");
    let mut complaints = Vec::new();
    for (folder, imports) in folders {
        let Some(way) = circle(imports) else { continue };
        let steps = way.windows(2).map(|step| {
            let place = &imports[&(step[0].to_owned(), step[1].to_owned())];
            format!("`{}` -> `{}` ({place})", step[0], step[1])
        });
        let steps = steps.collect::<Vec<_>>().join(", ");
        complaints.push(format!("{folder}/: a circle of imports: {steps}; move what both need into a file below"));
    }
    expect_none(complaints);
}

#[test]
fn the_rooms_of_a_folder_know_only_those_below() {
    let folders = imports_by_folder();
    let mut complaints = Vec::new();
    for (folder, rooms) in ROOMS {
        let level = |name: &str| rooms.iter().position(|room| *room == name);
        for ((from, to), place) in &folders[*folder] {
            match (level(from), level(to)) {
                (Some(from), Some(to)) if to < from => {}
                (Some(_), Some(_)) => {
                    complaints.push(format!("{place}: `{from}` must not know `{to}`, which is above it"))
                }
                _ => {
                    complaints.push(format!("{place}: give `{from}` and `{to}` their places in ROOMS in tests/tidy.rs"))
                }
            }
        }
    }
    expect_none(complaints);
}

#[test]
fn circles_of_imports_are_seen() {
    let text = "use crate::engine::{call::{job::{Halt, Job}, chunk}, core};\nuse super::super::sys::cpu;\nuse super::b;
        #[cfg(test)]\nmod tests { use crate::pool::job; }";
    let source = Source { path: "pool/engine/core/drive.rs".to_owned(), text: text.to_owned() };
    let paths: Vec<String> = whole_paths(&source).into_iter().map(|(_, path)| path.join("::")).collect();
    let whole = ["engine::call::job::Halt", "engine::call::job::Job", "engine::call::chunk", "engine::core"];
    assert_eq!(paths[..4], whole);
    assert_eq!(paths[4..], ["engine::sys::cpu", "engine::core::b"]);
    let imports = |steps: &[(&str, &str)]| -> Imports {
        steps.iter().map(|(from, to)| (((*from).to_owned(), (*to).to_owned()), String::new())).collect()
    };
    assert_eq!(circle(&imports(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    let round = imports(&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "b"), ("c", "e")]);
    assert_eq!(circle(&round), Some(vec!["b", "c", "d", "b"]));
}

#[test]
fn files_are_short() {
    let mut complaints = Vec::new();
    for source in library() {
        let lines = source.text.lines().count();
        if lines > MOST_LINES && !FACES.contains(&&*source.path) {
            complaints.push(format!(
                "{}: {lines} lines; split it below {MOST_LINES}, at a seam that has a name",
                source.path
            ));
        }
    }
    expect_none(complaints);
}

#[test]
fn lines_of_prose_are_short() {
    let is_comment = |line: &str| line.starts_with("//");
    // A row of a table cannot be broken, and neither can a single link.
    let is_whole = |line: &str| line.trim_start_matches(['/', '!', ' ']).starts_with(['|', '[']);
    let mut complaints = Vec::new();
    let mut check = |source: &Source, number: usize, line: &str| {
        let width = line.chars().count();
        if width > MOST_COLUMNS && !is_whole(line.trim_start()) {
            complaints.push(format!("{}:{number}: {width} columns; break it below {MOST_COLUMNS}", source.path));
        }
    };
    for source in sources(&["pool", "tests", "benches", "examples"], &["rs"]) {
        for (number, line) in source.lines().filter(|(_, line)| is_comment(line.trim_start())) {
            check(&source, number, line);
        }
    }
    for source in documents() {
        let mut is_code = false;
        for (number, line) in source.lines() {
            is_code ^= line.starts_with("```");
            if !is_code {
                check(&source, number, line);
            }
        }
    }
    expect_none(complaints);
}

#[test]
fn the_readme_of_the_engine_lists_its_files() {
    let readme = fs::read_to_string(root().join("pool/engine/README.md")).unwrap();
    let is_own = |name: &str| {
        !["/mod.rs", "/tests.rs", "/testing.rs", "/model.rs", "/fuzz.rs"].iter().any(|end| name.ends_with(end))
    };
    let files = library().into_iter().filter_map(|source| source.path.strip_prefix("pool/engine/").map(str::to_owned));
    let files: Vec<String> = files.filter(|name| name != "mod.rs" && is_own(name)).collect();
    assert!(files.len() > 20, "the files of the engine were not found");
    let missing = files.iter().filter(|name| !readme.contains(&format!("`{name}`")));
    expect_none(missing.map(|name| format!("pool/engine/README.md: say what `{name}` is for")).collect());
}

#[test]
fn mod_files_are_lists() {
    let mut complaints = Vec::new();
    for source in library().into_iter().filter(|it| it.path.ends_with("/mod.rs")) {
        let lines = source.text.lines().count();
        if lines > MOST_MOD_LINES {
            complaints.push(format!("{}: {lines} lines; a mod.rs is a list of at most {MOST_MOD_LINES}", source.path));
        }
        for (number, line) in (1..).zip(code_of(&source.text).lines()) {
            if ["fn", "struct", "enum", "impl", "static"].iter().any(|word| has_word(line, word)) {
                complaints
                    .push(format!("{}:{number}: move this into a file of its own; a mod.rs is a list", source.path));
            }
        }
    }
    expect_none(complaints);
}

#[test]
fn unsafe_code_stands_where_it_may() {
    let allowed = |path: &str| {
        UNSAFE.iter().any(|(place, _)| path == *place || (place.ends_with('/') && path.starts_with(place)))
    };
    let mut complaints = Vec::new();
    for source in sources(&["pool", "examples", "tests", "benches"], &["rs"]) {
        // Crates that tests build are programs of others, so to say.
        if source.is_in("tests/crates/") || allowed(&source.path) {
            continue;
        }
        for (number, line) in (1..).zip(code_of(&source.text).lines()) {
            if has_word(line, "unsafe") {
                complaints.push(format!(
                    "{}:{number}: `unsafe` outside of the modules listed in tests/tidy.rs; use a safe wrapper of `sys`",
                    source.path
                ));
            }
        }
    }
    for (place, _) in UNSAFE {
        if !place.ends_with('/') && !root().join(place).is_file() {
            complaints.push(format!("{place} does not exist; take it off the list of unsafe modules in tests/tidy.rs"));
        }
    }
    expect_none(complaints);
}

#[test]
fn only_sys_names_the_system_and_only_ipc_the_channels() {
    let mut complaints = Vec::new();
    let homes: [(&str, &[&str]); 4] = [
        ("libc", &["sys"]),
        ("rustix", &["sys"]),
        ("memmap2", &["sys"]),
        // The last re-exports it.
        ("ipc_channel", &["ipc", "attached_fds", "lib"]),
    ];
    for source in library() {
        for (number, line) in (1..).zip(code_of(&source.text).lines()) {
            for (name, homes) in homes {
                if has_word(line, name) && !source.layer().is_some_and(|layer| homes.contains(&layer)) {
                    complaints.push(format!("{}:{number}: only `{}` names `{name}`", source.path, homes[0]));
                }
            }
        }
    }
    expect_none(complaints);
}

/// The name of each example, and its source: `examples/NAME.rs` or `examples/NAME/main.rs`.
fn examples() -> BTreeMap<String, Source> {
    let mut examples = BTreeMap::new();
    for source in sources(&["examples"], &["rs"]) {
        let inside = source.path.trim_start_matches("examples/").trim_end_matches(".rs");
        let name = match inside.split_once('/') {
            None => inside.to_owned(),
            Some((folder, "main")) => folder.to_owned(),
            Some(_) => continue,
        };
        examples.insert(name, source);
    }
    assert!(examples.contains_key("hello"), "the examples were not found");
    examples
}

#[test]
fn every_example_says_how_to_run_it_and_is_tested() {
    let tests: String = sources(&["tests"], &["rs"]).into_iter().map(|source| source.text).collect();
    let mut complaints = Vec::new();
    for (name, source) in examples() {
        let header: Vec<&str> = source.text.lines().take_while(|line| line.starts_with("//!")).collect();
        let command = format!("//!     cargo run --release --example {name}");
        let begins = |line: &&str| line.strip_prefix(&*command).is_some_and(|it| it.is_empty() || it.starts_with(' '));
        if header.first().is_none_or(|line| line.len() < 10) || !header.iter().any(begins) {
            complaints.push(format!("{}: begin with `//! what it shows` and the line `{command}`", source.path));
        }
        if !tests.contains(&format!("\"{name}\"")) {
            complaints.push(format!("{}: no test runs it; add one to tests/examples.rs", source.path));
        }
    }
    expect_none(complaints);
}

#[test]
fn the_changelog_knows_the_version() {
    let heading = format!("\n## {} ", env!("CARGO_PKG_VERSION"));
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    assert!(changelog.contains(&heading), "CHANGELOG.md needs the heading `{}`", heading.trim());
}

/// The labels in the library, each with the places where it stands.
fn sync_labels() -> BTreeMap<String, Vec<String>> {
    let mut labels: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in library() {
        for (number, line) in source.lines() {
            let Some(listed) = line.trim_start().strip_prefix("// SYNC:") else { continue };
            for label in listed.split(',') {
                let label = label.trim().trim_end_matches('.').to_owned();
                labels.entry(label).or_default().push(format!("{}:{number}", source.path));
            }
        }
    }
    assert!(!labels.is_empty(), "no labels were found");
    labels
}

#[test]
fn every_sync_label_has_two_ends() {
    let lonely = sync_labels().into_iter().filter(|(_, places)| places.len() < 2);
    expect_none(
        lonely
            .map(|(label, places)| {
                format!("{}: `SYNC: {label}` stands nowhere else; mark the other end of the pair", places[0])
            })
            .collect(),
    );
}

/// The words of orders that publish something, or pick it up.
const ORDERS: [&str; 4] = ["Acquire", "Release", "AcqRel", "SeqCst"];

/// How many lines above an order its label may stand: a loop or a call may be in between.
const LABEL_WITHIN: usize = 8;

#[test]
fn every_order_has_a_sync_label() {
    // What makes fences, and the kernel in models; and what happens under one lock alone, as the head of its file says.
    let exempt = ["pool/sys/fence.rs", "pool/sys/futex.rs", "pool/sync/algorithm/store"];
    let is_test = |path: &str| {
        ["tests.rs", "model.rs", "testing.rs", "stress.rs", "fuzz.rs"].iter().any(|end| path.ends_with(end))
    };
    let mut complaints = Vec::new();
    for source in library().into_iter().filter(|it| !exempt.iter().any(|place| it.is_in(place)) && !is_test(&it.path)) {
        let (lines, code): (Vec<&str>, String) = (source.text.lines().collect(), code_of(&source.text));
        let starts_tests =
            |pair: &[&str]| pair[0].starts_with("#[cfg(") && pair[0].contains("test") && pair[1].ends_with('{');
        let end = lines.windows(2).position(starts_tests).unwrap_or(lines.len());
        for (at, line) in code.lines().enumerate().take(end) {
            let orders =
                ORDERS.iter().any(|order| has_word(line, order)) && !line.contains("use ") && line.contains('(');
            if orders && !lines[at.saturating_sub(LABEL_WITHIN)..=at].iter().any(|line| line.contains("SYNC:")) {
                complaints.push(format!(
                    "{}:{}: say with `// SYNC: label` what this publishes or picks up",
                    source.path,
                    at + 1
                ));
            }
        }
    }
    expect_none(complaints);
}

#[test]
fn the_document_on_ordering_lists_every_sync_label() {
    let text = fs::read_to_string(root().join("docs/ordering.md")).unwrap();
    let first_columns = text.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let listed: BTreeSet<&str> =
        first_columns.flat_map(|column| column.split(", ")).map(|label| label.trim_matches('`')).collect();
    let labels = sync_labels();
    let missing = labels.keys().filter(|label| !listed.contains(&***label));
    let gone = listed.iter().filter(|label| !labels.contains_key(**label));
    expect_none(
        missing
            .map(|label| format!("docs/ordering.md: add `{label}`"))
            .chain(gone.map(|label| format!("docs/ordering.md: `{label}` stands nowhere in the library")))
            .collect(),
    );
}

/// The lines of the fenced blocks of a document that are marked with `language`.
fn fenced<'a>(text: &'a str, language: &str) -> Vec<Vec<&'a str>> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, Vec<&str>)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(mark), None) => open = Some((mark == language, Vec::new())),
            (Some(_), Some(_)) => match open.take() {
                Some((true, block)) => blocks.push(block),
                _ => continue,
            },
            (None, Some((_, block))) => block.push(line),
            (None, None) => {}
        }
    }
    blocks
}

#[test]
fn the_readme_sets_everything_up_with_two_commands() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = fenced(&readme, "sh");
    assert_eq!(blocks.len(), 1, "README.md has one block of commands: the main job, and the tests");
    let [main, test] = blocks[0][..] else { panic!("the block of commands in README.md has exactly two lines") };
    assert!(main.starts_with("cargo run --release --example "), "the first command runs the main job, not `{main}`");
    assert!(test.starts_with("cargo test"), "the second command runs the tests, not `{test}`");
}

/// The names of all functions, types, modules, constants, variants and fields of the library, and of its features.
fn names_of_the_library() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for source in library() {
        names.extend(code_of(&source.text).split(|letter| !is_name(letter)).map(str::to_owned));
    }
    names
}

#[test]
fn documents_name_only_what_exists() {
    let names = names_of_the_library();
    let examples = examples();
    let mut complaints = Vec::new();
    let exists = |path: &str, beside: &Path| {
        [root(), &root().join("pool"), &root().join("docs"), &root().join(beside)]
            .iter()
            .any(|base| base.join(path).exists())
    };
    let mut places = documents();
    places.extend(library());
    for source in places {
        let beside = Path::new(&source.path).parent().unwrap();
        let is_document = source.path.ends_with(".md");
        for (number, line) in source.lines() {
            let mut complain = |what: String| complaints.push(format!("{}:{number}: {what}", source.path));
            if !is_document && !line.trim_start().starts_with("//") {
                continue;
            }
            // Commands that run something by its name.
            for (flag, folder) in [("--example ", "examples"), ("--test ", "tests"), ("--bench ", "benches")] {
                for (at, _) in line.match_indices(flag) {
                    let name = head(&line[at + flag.len()..]);
                    let known = match folder {
                        "examples" => examples.contains_key(&name),
                        _ => {
                            root().join(folder).join(format!("{name}.rs")).exists()
                                || root().join(folder).join(&name).exists()
                        }
                    };
                    if !known && !["NAME", ""].contains(&&*name) {
                        complain(format!("there is no `{name}` in {folder}/"));
                    }
                }
            }
            if !is_document {
                continue;
            }
            // Links to files of the repository.
            for (at, _) in line.match_indices("](") {
                let target = line[at + 2..].split([')', '#', ' ']).next().unwrap_or_default();
                let local = target.contains('/') || target.ends_with(".md");
                if local && !target.contains("://") && !target.contains("::") && !exists(target, beside) {
                    complain(format!("the link to `{target}` leads nowhere"));
                }
            }
            // Code: paths of files, and names of the library.
            for code in line.split('`').skip(1).step_by(2) {
                let is_file = [".rs", ".md", ".toml", "/"].iter().any(|end| code.ends_with(end));
                if is_file && code.chars().all(|it| is_name(it) || "./-".contains(it)) && !code.starts_with(['/', '.'])
                {
                    if !exists(code, beside) {
                        complain(format!("there is no file `{code}`"));
                    }
                    continue;
                }
                let path = code.trim_end_matches("()").trim_end_matches('!');
                let Some((first, rest)) = path.split_once("::") else { continue };
                let ours = first == "multiproc" || (names.contains(first) && first.starts_with(char::is_uppercase));
                if ours && path.chars().all(|it| is_name(it) || it == ':') {
                    for name in rest.split("::").filter(|name| !names.contains(*name)) {
                        complain(format!("the library knows no `{name}` as in `{code}`"));
                    }
                }
            }
        }
    }
    expect_none(complaints);
}

/// What stands for something else in a message on the page of errors.
const PLACEHOLDERS: &[&str] = &["...", "N", "FILE:LINE:", "node1:"];

/// The messages of the compiler stand before this; `tests/build/refused.rs` looks at those.
const FIRST_OF_THE_LIBRARY: &str = "## Errors of a call";

#[test]
fn the_page_of_errors_quotes_what_the_library_says() {
    // Long strings in one piece, and no marks of code.
    let said: String = library().iter().map(|source| source.text.replace('`', "")).collect();
    let said: String = said.split("\\\n").map(str::trim_start).collect();
    let page = fs::read_to_string(root().join("docs/errors.md")).unwrap();
    let (_, page) = page.split_once(FIRST_OF_THE_LIBRARY).expect("a heading for the errors of a call");
    let mut complaints = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("### ") || line.starts_with("| `")) {
        let messages = line.split(" | ").next().unwrap_or_default();
        for message in messages.split('`').skip(1).step_by(2) {
            let words: Vec<&str> = message.split(' ').collect();
            let pieces = words.split(|word| PLACEHOLDERS.contains(word)).map(|words| words.join(" "));
            let is_said = |piece: &str| said.contains(piece.trim_matches([':', ',']));
            let unsaid: Vec<String> = pieces.filter(|piece| !is_said(piece)).collect();
            // What is explained of a `static` is the standard library's.
            if !unsaid.is_empty() && !line.contains("`static`") {
                complaints.push(format!("docs/errors.md: the library does not say {unsaid:?}"));
            }
        }
    }
    expect_none(complaints);
}

#[test]
fn the_book_has_every_page() {
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let pages = sources(&["docs"], &["md"]).into_iter().map(|page| page.path.replace("docs/", ""));
    let missing = pages.filter(|page| page != "SUMMARY.md" && !summary.contains(&format!("]({page})")));
    expect_none(missing.map(|page| format!("docs/SUMMARY.md: add `{page}`")).collect());
}

#[test]
fn no_unfinished_work_is_left_behind() {
    // Put together, so that this file does not find itself.
    let forbidden = [["to", "do!"], ["unimple", "mented!"], ["db", "g!"], ["FIX", "ME"], ["XX", "X"], ["TO", "DO"]];
    let forbidden = forbidden.map(|parts| parts.concat());
    let mut complaints = Vec::new();
    let everything = [
        "pool",
        "examples",
        "tests",
        "benches",
        "docs",
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "Cargo.toml",
    ];
    for source in sources(&everything, &["rs", "md", "toml", "py"]) {
        for (number, line) in source.lines() {
            for word in
                forbidden.iter().filter(|word| has_word(line, word.trim_end_matches('!')) && line.contains(*word))
            {
                complaints.push(format!("{}:{number}: finish it instead of leaving `{word}`", source.path));
            }
            if line.ends_with(' ') || line.contains('\t') {
                complaints.push(format!("{}:{number}: trailing blanks or a tab", source.path));
            }
        }
        if !source.text.ends_with('\n') || source.text.ends_with("\n\n") {
            complaints.push(format!("{}: end it with exactly one line feed", source.path));
        }
    }
    expect_none(complaints);
}

#[test]
fn every_module_says_what_it_holds() {
    let mut complaints = String::new();
    for source in library().iter().chain(&sources(&["tests", "benches"], &["rs"])) {
        if !source.text.starts_with("//! ") && !source.text.starts_with("#!") {
            writeln!(complaints, "{}: begin with `//! ` and one line on what it holds", source.path).unwrap();
        }
    }
    assert!(complaints.is_empty(), "\n{complaints}");
}
