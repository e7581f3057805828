//! The ratios as a picture: how good others are in multiples of this library, on a logarithmic axis.

use crate::contest::Outcome;
use crate::peers::{Kind, Peer};
use crate::report::number;
use std::fmt::Write;

const WIDTH: f64 = 1000.0;
/// High enough that a name below a mark and one above the next do not touch.
const ROW: f64 = 40.0;
const TOP: f64 = 84.0;
/// Where the axis begins and ends.
const LEFT: f64 = 400.0;
const RIGHT: f64 = 970.0;

/// A kind of mark.
struct Series {
    name: &'static str,
    colour: &'static str,
    /// How far below the mark the name of the peer stands; none where there is only one.
    name_below: Option<f64>,
    /// Who may be it; the best is.
    choose: fn(&Peer) -> bool,
}

const SERIES: &[Series] = &[
    Series {
        name: "Python's multiprocessing",
        colour: "#2563eb",
        name_below: None,
        choose: |peer| peer.name == "multiprocessing",
    },
    Series {
        name: "best other between processes",
        colour: "#ea580c",
        name_below: Some(-9.0),
        choose: |peer| peer.kind == Kind::Processes && peer.name != "multiprocessing",
    },
    Series {
        name: "best in one process",
        colour: "#6b7280",
        name_below: Some(16.0),
        choose: |peer| peer.kind == Kind::Bound,
    },
];

/// A peer, and how good it is; ours is 1.
struct Mark<'o> {
    series: &'static Series,
    name: &'o str,
    good: f64,
}

fn marks(outcome: &Outcome) -> Vec<Mark<'_>> {
    let one = |series: &'static Series| {
        let (entry, median) = outcome.best(series.choose)?;
        let good = 1.0 / outcome.ratio(median)?;
        (good.is_finite() && good > 0.0).then_some(Mark { series, name: entry.peer.name, good })
    };
    SERIES.iter().filter_map(one).collect()
}

/// The picture as the text of an SVG file.
pub(crate) fn svg(outcomes: &[Outcome]) -> String {
    let rows: Vec<(&str, Vec<Mark<'_>>)> = outcomes.iter().map(|it| (it.measure.title, marks(it))).collect();
    let decades = rows.iter().flat_map(|it| &it.1).map(|mark| mark.good.log10());
    let (low, high) =
        decades.fold((-1.0, 1.0), |(low, high): (f64, f64), it| (low.min(it.floor()), high.max(it.ceil())));
    let x = |good: f64| LEFT + (RIGHT - LEFT) * (good.log10() - low) / (high - low);
    let bottom = TOP + ROW * rows.len() as f64;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {0}\" width=\"{WIDTH}\" height=\"{0}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        bottom + 20.0
    );
    for (at, Series { name, colour, .. }) in SERIES.iter().enumerate() {
        let place = 20.0 + 250.0 * at as f64;
        _ = writeln!(text, "<circle cx=\"{place}\" cy=\"20\" r=\"5\" fill=\"{colour}\"/>");
        _ = writeln!(text, "<text x=\"{}\" y=\"24\">{name}</text>", place + 12.0);
    }
    _ = writeln!(
        text,
        "<text x=\"20\" y=\"48\" fill=\"#555\">How good they are in multiples of this library: left of 1 is worse, right of 1 is better.</text>"
    );
    for decade in low as i32..=high as i32 {
        let (good, place) = (10f64.powi(decade), x(10f64.powi(decade)));
        let (colour, width) = if decade == 0 { ("black", 2) } else { ("#ddd", 1) };
        _ = writeln!(
            text,
            "<line x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
        );
        _ = writeln!(
            text,
            "<text x=\"{place:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555\">{good}</text>",
            TOP - 8.0
        );
    }
    for (at, (title, marks)) in rows.iter().enumerate() {
        let y = TOP + ROW * (at as f64 + 0.6);
        _ = writeln!(text, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>", LEFT - 14.0, y + 4.0, plain(title));
        for Mark { series: Series { colour, name_below, .. }, name, good } in marks {
            let place = x(*good);
            _ = writeln!(
                text,
                "<circle cx=\"{place:.1}\" cy=\"{y}\" r=\"5\" fill=\"{colour}\"><title>{name}: {}</title></circle>",
                number(*good)
            );
            let Some(below) = name_below else { continue };
            _ = writeln!(
                text,
                "<text x=\"{place:.1}\" y=\"{}\" text-anchor=\"middle\" font-size=\"10\" fill=\"{colour}\" stroke=\"white\" stroke-width=\"3\" \
                 paint-order=\"stroke\">{name}</text>",
                y + below
            );
        }
    }
    text + "</svg>\n"
}

/// Without the marks of code.
fn plain(title: &str) -> String {
    title.replace('`', "").replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::outcome;

    #[test]
    fn worse_is_left_of_us_and_better_is_right() {
        let figures: &[(&str, &[f64])] =
            &[("multiproc", &[10.0]), ("multiprocessing", &[100.0]), ("pebble", &[50.0]), ("rayon", &[1.0])];
        let place = |measure: &str, peer: &str| {
            let text = svg(&[outcome(measure, figures)]);
            let mark = text.split(&format!("<title>{peer}: ")).next().unwrap().rsplit("cx=\"").next().unwrap();
            mark.split('"').next().unwrap().parse::<f64>().unwrap()
        };
        let middle = (LEFT + RIGHT) / 2.0;
        assert!(place("map", "rayon") < middle && middle < place("map", "pebble"), "of rates the higher is better");
        assert!(place("map", "pebble") < place("map", "multiprocessing"));
        assert!(place("apply", "multiprocessing") < middle, "of times the lower is better");
        assert!(place("apply", "rayon") > middle);
    }

    #[test]
    fn a_row_without_peers_is_drawn() {
        let text = svg(&[outcome("map", &[("multiproc", &[1.0])])]);
        assert!(text.contains("map, trivial task") && text.ends_with("</svg>\n"));
    }
}
