//! Within a folder no imports go in circles, and rooms know only those below.

use crate::code::{code_of, head, is_name};
use crate::repository::{Source, expect_none, library};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// Folders whose parts have layers of their own, lowest first.
const ROOMS: &[(&str, &[&str])] = &[("pool/engine", &["callbacks", "watch", "worker", "call", "launch", "core"])];

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
                _ => complaints
                    .push(format!("{place}: give `{from}` and `{to}` their places in ROOMS in tests/tidy/circles.rs")),
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
