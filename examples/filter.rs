//! Processes in a row, as a shell makes them: one writes, one counts, with pipes between them and limits.
//!
//!     cargo run --release --example filter
//!
//! Each is a function of this program. The second has no environment, leaves the CPUs to others, and may not take much memory.

use multiproc::{Process, Stdio};
use std::io::{self, BufRead, Write};

fn words(text: String) {
    for word in text.split_whitespace() {
        println!("{}", word.to_lowercase());
    }
}

fn count() -> (usize, usize) {
    let mut lines: Vec<String> = io::stdin().lock().lines().map_while(Result::ok).collect();
    lines.sort();
    let all = lines.len();
    lines.dedup();
    (all, lines.len())
}

fn main() -> multiproc::Result<()> {
    let text = "The quick brown fox jumps over the lazy dog and the dog sleeps";
    let writer = Process::builder().name("words").stdout(Stdio::piped()).spawn(words, (text.to_owned(),))?;
    let counter = Process::builder()
        .name("count")
        .stdin(writer.take_stdout().expect("it has a pipe"))
        .env_clear()
        .nice(5)
        .memory_limit(64 << 20)
        .spawn(count, ())?;
    writer.join()?;
    let (all, different) = counter.join()?;
    writeln!(io::stdout(), "{all} words, {different} different ones")?;
    Ok(())
}
