//! Ordered accesses of shared memory: each has a label, with two ends and a place in the document.

use crate::code::{code_of, has_word};
use crate::repository::{expect_none, library, root};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

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
