//! What came out, as text, as JSON, and as the tables of a document.

use crate::contest::{Entry, Outcome};
use crate::peers::{Kind, Peer};
use serde_json::json;
use std::fmt::Write;

/// The picture, beside the document. That calls it `peers`, at its end: the library's documentation has none in that place.
pub(crate) const PICTURE: &str = "performance.svg";

/// What the tables stand between in the document.
const BEGIN: &str = "<!-- what follows is written by benches/compare -->";
const END: &str = "<!-- until here -->";

/// The peer of the second column.
const PYTHON: &str = "multiprocessing";

/// With three digits that count.
pub(crate) fn number(value: f64) -> String {
    let digits = if value > 0.0 { (2.0 - value.log10().floor()).clamp(0.0, 6.0) } else { 0.0 };
    format!("{value:.*}", digits as usize)
}

impl Outcome {
    /// How many times as good ours is as another's.
    pub(crate) fn ratio(&self, theirs: f64) -> Option<f64> {
        Some(self.measure.ratio(self.ours()?.median()?, theirs))
    }

    fn met(&self) -> Option<bool> {
        self.measure.met(self.ours()?.median()?, |peer| self.median_of(peer))
    }
}

fn verdict(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "-",
    }
}

/// Median, spread, and ratio of one peer: three columns.
fn figures(outcome: &Outcome, entry: &Entry) -> (String, String, String) {
    let Some(median) = entry.median() else { return ("-".into(), "-".into(), "-".into()) };
    let ratio = outcome.ratio(median).filter(|_| entry.peer.kind != Kind::Ours);
    let spread = format!("{} to {}", number(entry.least()), number(entry.most()));
    (number(median), spread, ratio.map_or("-".into(), |ratio| format!("{}x", number(ratio))))
}

/// One measure, for a terminal.
pub(crate) fn text(outcome: &Outcome) -> String {
    let measure = outcome.measure;
    let better = if measure.more { "more" } else { "less" };
    let mut text = format!("{}: {} ({}, {better} is better)\n", measure.name, measure.title, measure.unit);
    for entry in &outcome.entries {
        let (median, spread, ratio) = figures(outcome, entry);
        let line = format!("  {:<22} {median:>9}  {spread:>20} {ratio:>10}  {}", entry.peer.name, entry.note);
        text += line.trim_end();
        text += "\n";
    }
    let verdict = verdict(outcome.met()).trim_matches('*');
    _ = writeln!(text, "  target {}; met: {verdict}", measure.target());
    text
}

/// One object per measure and line: beside the yardstick of the measure, and beside all.
pub(crate) fn json(outcomes: &[Outcome]) -> String {
    let one = |outcome: &Outcome| {
        let measure = outcome.measure;
        let theirs = outcome.median_of(measure.yardstick);
        let peer = |entry: &Entry| {
            json!({
                "peer": entry.peer.name, "median": entry.median(), "samples": entry.samples, "note": entry.note,
                "ratio": entry.median().and_then(|median| outcome.ratio(median)),
            })
        };
        let object = json!({
            "measure": measure.name,
            "unit": measure.unit,
            "ours": outcome.ours().and_then(Entry::median),
            "peer": measure.yardstick,
            "theirs": theirs,
            "ratio": theirs.and_then(|theirs| outcome.ratio(theirs)),
            "target": measure.target(),
            "met": outcome.met(),
            "all": outcome.entries.iter().map(peer).collect::<Vec<_>>(),
        });
        format!("{object}\n")
    };
    outcomes.iter().map(one).collect()
}

/// A paragraph in lines of up to 120 columns.
fn wrapped(text: &str) -> String {
    let (mut lines, mut columns) = (String::new(), 0);
    for word in text.split(' ') {
        let breaks = columns > 0 && columns + 1 + word.len() > 120;
        columns = if breaks { word.len() } else { columns + 1 + word.len() };
        lines.push_str(if lines.is_empty() {
            ""
        } else if breaks {
            "\n"
        } else {
            " "
        });
        lines.push_str(word);
    }
    lines
}

/// The table of a document, and all figures below it.
pub(crate) fn markdown(outcomes: &[Outcome], conditions: &str) -> String {
    let conditions = wrapped(conditions);
    let mut text = format!("![How good the peers are in multiples of this library][peers]\n\n{conditions}\n\n");
    text += "| measure | unit | multiproc | multiprocessing | best other between processes | best in one process | target | met |\n";
    text += "|---|---|--:|--:|--:|--:|---|---|\n";
    for outcome in outcomes {
        let cell = |named: bool, choose: &dyn Fn(&Peer) -> bool| {
            let Some((entry, median)) = outcome.best(choose) else { return "-".to_owned() };
            let name = if named { format!("{} ", entry.peer.name) } else { String::new() };
            let ratio = outcome.ratio(median).map_or_else(String::new, |ratio| format!(" ({}x)", number(ratio)));
            format!("{name}{}{ratio}", number(median))
        };
        let measure = outcome.measure;
        _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            measure.title,
            measure.unit,
            outcome.ours().and_then(Entry::median).map_or("-".into(), number),
            cell(false, &|peer| peer.name == PYTHON),
            cell(true, &|peer| peer.kind == Kind::Processes && peer.name != PYTHON),
            cell(true, &|peer| peer.kind == Kind::Bound),
            measure.target(),
            verdict(outcome.met()),
        );
    }
    text += "\n## All figures\n\n| measure | peer | median | spread | ratio | |\n|---|---|--:|--:|--:|---|\n";
    for outcome in outcomes {
        for entry in &outcome.entries {
            let (median, spread, ratio) = figures(outcome, entry);
            let note = entry.note.replace('|', "/");
            let line = format!(
                "| `{}`, {} | {} | {median} | {spread} | {ratio} | {note} |\n",
                outcome.measure.name, outcome.measure.unit, entry.peer.name
            );
            text += &line.replace("|  |", "| |");
        }
    }
    text
}

/// The page with `tables` between its marks.
pub(crate) fn put(page: &str, tables: &str) -> Result<String, String> {
    let parts = page.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let (head, tail) = parts.ok_or("the document has lost the marks that its tables stand between")?;
    Ok(format!("{head}{BEGIN}\n\n{tables}\n{END}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::outcome;

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!(
            [0.000_123_4, 0.1, 1.2345, 12.345, 123.45, 12345.0, 0.0].map(number),
            ["0.000123", "0.100", "1.23", "12.3", "123", "12345", "0"]
        );
    }

    #[test]
    fn a_ratio_above_1_means_that_ours_is_better() {
        let rates = outcome("map", &[("multiproc", &[80.0]), ("multiprocessing", &[8.0])]);
        assert_eq!((rates.ratio(8.0), rates.met()), (Some(10.0), Some(true)));
        let times = outcome("apply", &[("multiproc", &[4.0]), ("multiprocessing", &[100.0])]);
        assert_eq!((times.ratio(100.0), times.met()), (Some(25.0), Some(false)));
    }

    #[test]
    fn a_target_beside_a_peer_that_is_missing_is_not_met_and_not_missed() {
        assert_eq!(outcome("map", &[("multiproc", &[80.0])]).met(), None);
        assert_eq!(outcome("map", &[("multiproc", &[60.0])]).met(), Some(false), "the bound alone is missed");
        assert_eq!(outcome("map", &[("multiprocessing", &[60.0])]).met(), None, "there is no figure of ours");
    }

    #[test]
    fn the_best_has_the_least_time_or_the_highest_rate() {
        let peers: &[(&str, &[f64])] =
            &[("multiproc", &[1.0]), ("loky", &[5.0]), ("pebble", &[3.0]), ("mpire", &[]), ("rayon", &[0.1])];
        let best = |measure| outcome(measure, peers).best(|it| it.kind == Kind::Processes).unwrap().0.peer.name;
        assert_eq!((best("map"), best("apply")), ("loky", "pebble"));
    }

    #[test]
    fn json_has_an_object_per_measure() {
        let outcomes = [outcome("apply", &[("multiproc", &[2.0, 9.0, 1.0]), ("multiprocessing", &[100.0])])];
        let object: serde_json::Value = serde_json::from_str(&json(&outcomes)).unwrap();
        let of = |key| &object[key];
        assert_eq!([of("measure"), of("unit"), of("peer"), of("target")], ["apply", "us", "multiprocessing", "<= 3"]);
        assert_eq!([of("ours"), of("theirs"), of("ratio")].map(|it| it.as_f64()), [Some(2.0), Some(100.0), Some(50.0)]);
        assert_eq!(of("met"), true);
    }

    #[test]
    fn tables_go_between_the_marks_and_nothing_else_changes() {
        let page = format!("head\n{BEGIN}\nold\n{END}\ntail\n");
        let once = put(&page, "new").unwrap();
        assert_eq!(once, format!("head\n{BEGIN}\n\nnew\n{END}\ntail\n"));
        assert_eq!(put(&once, "new").unwrap(), once);
        assert!(put("no marks", "new").is_err());
    }

    #[test]
    fn the_document_has_the_marks() {
        let page = include_str!("../../../docs/performance.md");
        assert!(put(page, "").is_ok());
    }

    #[test]
    fn every_row_of_a_table_has_all_its_columns() {
        let outcomes = [outcome("map", &[("multiproc", &[80.0]), ("multiprocessing", &[8.0])]), outcome("apply", &[])];
        let text = markdown(&outcomes, "here");
        let columns: Vec<usize> =
            text.lines().filter(|it| it.starts_with('|')).map(|it| it.matches('|').count()).collect();
        assert_eq!(columns, [9, 9, 9, 9, 7, 7, 7, 7]);
    }
}
