//! The form of files: how long they are, how they begin and end, that nothing in them is unfinished.

use crate::code::{code_of, has_word};
use crate::repository::{Source, documents, expect_none, library, sources};
use std::fmt::Write as _;

/// The most lines of a file of the library.
const MOST_LINES: usize = 500;

/// Files that may be longer: the documented faces, most of which are documentation.
const FACES: &[&str] = &["pool/lib.rs", "pool/api/pool.rs", "pool/api/call.rs"];

/// The most columns of a line of prose, in comments and documents.
const MOST_COLUMNS: usize = 130;

/// The most lines of a `mod.rs`, which is a list.
const MOST_MOD_LINES: usize = 60;

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
