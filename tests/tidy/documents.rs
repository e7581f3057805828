//! Documents and examples: they name what exists, and leave nothing out.

use crate::code::{code_of, head, is_name};
use crate::repository::{documents, examples, expect_none, library, root, sources};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

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
        let runs = ["printed_by", "example", "twin", "blocks"].map(|run| format!("{run}(\"{name}\""));
        if !runs.iter().any(|run| tests.contains(run)) {
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
    assert!(main.starts_with("cargo run --example "), "the first command runs the main job, not `{main}`");
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

/// What links to the headings of a document are called.
fn headings(document: &Path) -> impl Iterator<Item = String> {
    let text = fs::read_to_string(document).unwrap_or_default();
    let lines: Vec<String> = text.lines().filter(|line| line.starts_with('#')).map(str::to_lowercase).collect();
    lines.into_iter().map(|line| {
        let letters = line.trim_start_matches('#').trim().chars().filter(|it| is_name(*it) || [' ', '-'].contains(it));
        letters.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    })
}

#[test]
fn documents_say_where_their_links_lead() {
    // The same links have other ends on the pages of rustdoc, which would not miss one of a document.
    let library = fs::read_to_string(root().join("pool/lib.rs")).unwrap();
    let labels = library.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: ")).map(|(label, _)| label);
    let labels: Vec<&str> = labels.collect();
    assert!(labels.contains(&"Cookbook"), "pool/lib.rs has no links: {labels:?}");
    let mut complaints = Vec::new();
    for page in sources(&["docs"], &["md"]).iter().filter(|page| page.path != "docs/SUMMARY.md") {
        let text = page.text.replace('\n', " ");
        let is_defined = |label: &str| page.lines().any(|(_, line)| line.starts_with(&format!("[{label}]: ")));
        let is_used = |label: &str| text.matches(&format!("[{label}]")).count() > usize::from(is_defined(label));
        let wrong = labels.iter().filter(|label| is_used(label) != is_defined(label));
        complaints.extend(wrong.map(|label| format!("{}: use `[{label}]` and define it, or neither", page.path)));
    }
    expect_none(complaints);
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
            // Links to files of the repository, in a line or behind the text, and to headings in them.
            let inline = line.match_indices("](").map(|(at, _)| &line[at + 2..]);
            let definition = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
            for target in inline.chain(definition.map(|(_, target)| target)) {
                let target = target.split([')', ' ']).next().unwrap_or_default();
                if source.path.starts_with("docs/") && target.starts_with("../") {
                    complain(format!(
                        "the link to `{target}` leads out of the book that `mdbook build` makes of docs/"
                    ));
                }
                let (file, heading) = target.split_once('#').unwrap_or((target, ""));
                let is_local = file.contains('/') || [".md", ".svg", ".png"].iter().any(|end| file.ends_with(end));
                let path = if file.is_empty() { root().join(&source.path) } else { root().join(beside).join(file) };
                let is_there = match heading {
                    "" => !is_local || path.exists(),
                    heading => headings(&path).any(|it| it == heading),
                };
                if !is_there && !target.contains("://") && !target.contains("::") {
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
