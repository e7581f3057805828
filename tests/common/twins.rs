//! The examples that have a twin in Python, `examples/python/NAME.py`: the same flags and the same output.

use std::io;
use std::path::Path;
use std::process::{Command, Output};

/// A program in both languages.
pub(crate) struct Twin {
    pub(crate) name: &'static str,
    /// Arguments for a run that takes but a moment.
    pub(crate) small: &'static str,
    /// Whether its lines come in any order.
    pub(crate) in_any_order: bool,
}

const fn twin(name: &'static str, small: &'static str) -> Twin {
    Twin { name, small, in_any_order: false }
}

pub(crate) const TWINS: &[Twin] = &[
    twin("hello", ""),
    twin("process", ""),
    twin("queue_hello", ""),
    twin("pipe_hello", ""),
    twin("manager_hello", ""),
    twin("value_array_hello", ""),
    twin("task_queue", "--workers 3"),
    twin("pool_demo", "--workers 3"),
    Twin { in_any_order: true, ..twin("lock_hello", "") },
    Twin { in_any_order: true, ..twin("lock", "--step-ms 10") },
    twin("primes", "100000 2"),
    twin("pi_monte_carlo", "--size 64000 --workers 2"),
    twin("mandelbrot", "--size 60 --workers 2"),
    twin("word_count", "--workers 2 README.md docs/from_python.md"),
    twin("thumbnails", "--size 9 --workers 2"),
    twin("crawler", "--pages 60 --crawlers 3 --depth 1"),
    twin("matmul_shared", "--size 60 --workers 2"),
    twin("log_parse", "--size 9000 --workers 2"),
    twin("producer_consumer", "--items 2000"),
    twin("bank", "4000"),
    twin("philosophers", "--philosophers 3 --meals 20"),
    twin("heat_barrier", "--size 300 --steps 50 --workers 3"),
    twin("progress_bar", "--size 20000 --workers 2"),
    twin("shared_counter", "--size 2000 --workers 3"),
    twin("pipeline", "--lines 500 --workers 2"),
    twin("grid_search", "--size 40 --workers 2"),
    twin("dir_hash", "--workers 2 examples"),
    twin("kmeans_shm", "--size 1000 --workers 2"),
    twin("life", "--size 60 --generations 50 --workers 2"),
    twin("timeouts", "--size 10 --workers 4"),
];

impl Twin {
    /// Runs the program in Python; an error on a machine that has none.
    pub(crate) fn in_python(&self, arguments: &str) -> io::Result<Output> {
        let path = Path::new("examples/python").join(self.name).with_extension("py");
        let mut command = Command::new("python3");
        command.arg(path).args(arguments.split_whitespace());
        command.current_dir(env!("CARGO_MANIFEST_DIR")).output()
    }

    /// The lines of an output, without what may differ: times, the space between words, and the kind of quotes.
    pub(crate) fn lines(&self, output: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(output).replace('\'', "\"");
        let mut lines: Vec<String> = text.lines().map(without_times).collect();
        if self.in_any_order {
            lines.sort();
        }
        lines
    }
}

/// The line, with the word `TIME` for each time that somebody measured.
fn without_times(line: &str) -> String {
    let is_time = |word: &&str| {
        let word = word.trim_matches(['(', ')', ',']);
        let number = ["ns", "µs", "ms", "s"].iter().find_map(|unit| word.strip_suffix(unit));
        number.is_some_and(|number| number.parse::<f64>().is_ok())
    };
    let words = line.split_whitespace();
    words.map(|word| if is_time(&word) { "TIME" } else { word }).collect::<Vec<_>>().join(" ")
}
