//! Runs the examples beside their twins in Python, and writes how long each takes: a table, and a picture.
//!
//!     cargo bench --bench programs
//!
//! Both are run in turn, with the same flags, and must print the same. What counts is the shortest time of three runs, from
//! the start of the program to its end. The table and the picture of `docs/programs.md` are rewritten; `-- --quick` runs them
//! with the arguments of the tests, and only prints.

mod common;
#[path = "../tests/common/twins.rs"]
mod twins;

use common::page::{self, decade};
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use twins::{TWINS, Twin};

const ROUNDS: usize = 3;

/// The programs that are worth being timed, with arguments that make them take a while.
const TIMED: &[(&str, &str)] = &[
    ("primes", "1000000 2"),
    ("pi_monte_carlo", "--size 1000000 --workers 2"),
    ("mandelbrot", "--size 300 --workers 2"),
    ("word_count", "--workers 2 README.md docs/from_python.md docs/reliability.md docs/ordering.md"),
    ("thumbnails", "--size 60 --workers 2"),
    ("crawler", "--pages 60 --crawlers 3 --depth 1"),
    ("matmul_shared", "--size 160 --workers 2"),
    ("log_parse", "--size 200000 --workers 2"),
    ("producer_consumer", "--items 20000"),
    ("bank", "50000"),
    ("philosophers", "--philosophers 4 --meals 500"),
    ("heat_barrier", "--size 20000 --steps 100 --workers 2"),
    ("progress_bar", "--size 100000 --workers 2"),
    ("shared_counter", "--size 50000 --workers 4"),
    ("pipeline", "--lines 20000 --workers 2"),
    ("grid_search", "--size 500 --workers 2"),
    ("dir_hash", "--workers 2 pool"),
    ("kmeans_shm", "--size 20000 --workers 2"),
    ("life", "--size 150 --generations 150 --workers 2"),
    ("timeouts", "--size 20 --workers 2"),
];

/// How long a program takes in both languages.
struct Row {
    name: &'static str,
    arguments: &'static str,
    rust: Duration,
    python: Duration,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.python.as_secs_f64() / self.rust.as_secs_f64()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Builds all examples; the folder in which they are.
fn build() -> Result<PathBuf, Box<dyn Error>> {
    let status = Command::new(env!("CARGO")).args(["build", "--release", "--examples"]).current_dir(root()).status()?;
    if !status.success() {
        return Err("the examples do not build".into());
    }
    // This program is in `target/release/deps`.
    let own = std::env::current_exe()?;
    let folder = own.parent().and_then(Path::parent).ok_or("this program is in no folder of cargo's")?;
    Ok(folder.join("examples"))
}

fn timed(run: impl FnOnce() -> std::io::Result<Output>) -> Result<(Duration, Output), Box<dyn Error>> {
    let start = Instant::now();
    let output = run()?;
    let took = start.elapsed();
    match output.status.success() {
        true => Ok((took, output)),
        false => Err(format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn measure(examples: &Path, twin: &Twin, arguments: &'static str) -> Result<Row, Box<dyn Error>> {
    let mut row = Row { name: twin.name, arguments, rust: Duration::MAX, python: Duration::MAX };
    for _ in 0..ROUNDS {
        let mut command = Command::new(examples.join(twin.name));
        command.args(arguments.split_whitespace()).current_dir(root());
        let (rust, ours) = timed(|| command.output())?;
        let (python, theirs) = timed(|| twin.in_python(arguments))?;
        if twin.lines(&ours.stdout) != twin.lines(&theirs.stdout) {
            return Err(format!("{} and its twin print different things", twin.name).into());
        }
        (row.rust, row.python) = (row.rust.min(rust), row.python.min(python));
    }
    Ok(row)
}

/// A time with three digits.
fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        ..0.01 => format!("{:.2} ms", seconds * 1e3),
        ..0.1 => format!("{:.1} ms", seconds * 1e3),
        ..1.0 => format!("{:.0} ms", seconds * 1e3),
        _ => format!("{seconds:.2} s"),
    }
}

fn ratio(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.1}") } else { format!("{ratio:.0}") }
}

fn table(rows: &[Row]) -> String {
    let mut text =
        "| program | arguments | Python | this library | times as fast |\n|---|---|---|---|---|\n".to_owned();
    for row in rows {
        let (name, arguments) = (row.name, row.arguments);
        let [python, rust] = [row.python, row.rust].map(time);
        _ = writeln!(text, "| `{name}` | `{arguments}` | {python} | {rust} | {} |", ratio(row.ratio()));
    }
    text
}

/// The picture as the text of an SVG file: a bar for each program, on a logarithmic axis.
fn picture(rows: &[Row]) -> String {
    const LEFT: f64 = 170.0;
    const WIDTH: f64 = 760.0;
    const ROW: f64 = 24.0;
    let most = rows.iter().map(Row::ratio).fold(10.0, f64::max).log10().ceil();
    let x = |ratio: f64| LEFT + (WIDTH - LEFT - 60.0) * ratio.max(1.0).log10() / most;
    let bottom = 60.0 + ROW * rows.len() as f64;
    let mut text = page::canvas(WIDTH, bottom + 16.0);
    let title = "How many times as fast a program is with this library as its twin in Python";
    page::label(&mut text, 16.0, 24.0, "start", "#111", title);
    for value in decade::lines([0, most as i32]) {
        page::line(&mut text, [x(value), 54.0], [x(value), bottom]);
        page::label(&mut text, x(value), 48.0, "middle", "#555", &decade::name(value));
    }
    for (at, row) in rows.iter().enumerate() {
        let (top, end) = (60.0 + ROW * at as f64, x(row.ratio()));
        let middle = top + ROW / 2.0 + 2.0;
        _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{LEFT}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"#2563eb\"/>\n\
             <text x=\"{:.1}\" y=\"{middle}\" fill=\"#555\">{}</text>",
            LEFT - 10.0,
            row.name,
            top + 2.0,
            end - LEFT,
            ROW - 6.0,
            end + 6.0,
            ratio(row.ratio())
        );
    }
    text + "</svg>\n"
}

fn main() -> Result<(), Box<dyn Error>> {
    let examples = build()?;
    let mut rows = Vec::new();
    let quick = std::env::args().any(|argument| argument == "--quick");
    for (name, arguments) in TIMED {
        let twin = TWINS.iter().find(|twin| twin.name == *name).ok_or("no such twin")?;
        let arguments = if quick { twin.small } else { arguments };
        eprintln!("{} {arguments}", twin.name);
        rows.push(measure(&examples, twin, arguments)?);
    }
    let python = String::from_utf8(Command::new("python3").arg("--version").output()?.stdout)?;
    let text = format!("{}{}.\n\n{}", page::conditions()?, python.trim(), table(&rows));
    print!("{text}");
    if quick {
        return Ok(());
    }
    page::rewrite("programs", "programs", &format!("{text}\n![](programs.svg)\n"))?;
    page::picture("programs.svg", &picture(&rows))
}
