//! The pages of the documents that benchmarks write: a part of the text, and a picture.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn document(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

/// Replaces what stands in a page of the documents between the marks of a benchmark.
pub(crate) fn rewrite(page: &str, bench: &str, text: &str) -> Result<(), Box<dyn Error>> {
    let marks = [&*format!("<!-- what follows is written by benches/{bench}.rs -->\n"), "<!-- until here -->\n"];
    let path = document(&format!("{page}.md"));
    let old = std::fs::read_to_string(&path)?;
    let lacks = |mark: &str| format!("docs/{page}.md lacks the line {mark}");
    let (before, rest) = old.split_once(marks[0]).ok_or_else(|| lacks(marks[0]))?;
    let (_, after) = rest.split_once(marks[1]).ok_or_else(|| lacks(marks[1]))?;
    Ok(std::fs::write(path, format!("{before}{}{text}\n{}{after}", marks[0], marks[1]))?)
}

/// Writes a picture of the documents.
pub(crate) fn picture(name: &str, svg: &str) -> Result<(), Box<dyn Error>> {
    Ok(std::fs::write(document(name), svg)?)
}

/// What figures were measured on.
pub(crate) fn conditions() -> Result<String, Box<dyn Error>> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let system = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let model = model.trim_start_matches([' ', '\t', ':']);
    Ok(format!("{model}, {} CPUs, Linux {}, release build.\n", multiproc::cpu_count(), system.trim()))
}

/// The beginning of an SVG file of this size, in pixels.
pub(crate) fn canvas(width: f64, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    )
}

pub(crate) fn label(svg: &mut String, x: f64, y: f64, anchor: &str, colour: &str, text: &str) {
    _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>");
}

/// A thin line of a grid.
pub(crate) fn line(svg: &mut String, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
    _ = writeln!(svg, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#ccc\"/>");
}

/// An axis by powers of ten.
pub(crate) mod decade {
    /// From which power of ten to which the values reach.
    pub(crate) fn range(values: &[f64]) -> [i32; 2] {
        let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(a, b), value| (a.min(*value), b.max(*value)));
        let (from, to) = (least.log10().floor() as i32, most.log10().ceil() as i32);
        [from, to.max(from + 1)]
    }

    /// Where a value lies, from 0 to 1.
    pub(crate) fn place(value: f64, [from, to]: [i32; 2]) -> f64 {
        (value.log10() - f64::from(from)) / f64::from(to - from)
    }

    pub(crate) fn lines([from, to]: [i32; 2]) -> impl Iterator<Item = f64> {
        (from..=to).map(|power| 10f64.powi(power))
    }

    pub(crate) fn name(value: f64) -> String {
        match value {
            1e9.. => format!("{} G", value / 1e9),
            1e6.. => format!("{} M", value / 1e6),
            1e3.. => format!("{} k", value / 1e3),
            _ => value.to_string(),
        }
    }
}
