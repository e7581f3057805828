//! A file of the library imports from its own folder and from lower layers.

use crate::code::{code_of, head, is_name};
use crate::repository::{Source, expect_none, library, root};
use std::path::Path;

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

fn layer_of(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
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

#[test]
fn a_file_imports_only_from_its_own_folder_and_from_lower_layers() {
    let mut complaints = Vec::new();
    for source in library() {
        let own = source.layer().unwrap();
        let Some(level) = layer_of(own) else {
            complaints
                .push(format!("{}: `{own}` is in no layer; give it its place in tests/tidy/layers.rs", source.path));
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
