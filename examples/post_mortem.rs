//! Why a worker died: the calls that led to an abort and to a stack overflow, as the errors of their tasks tell.
//!
//!     cargo run --release --example post_mortem
//!
//! The first line of each error names the last functions of the program; `TaskError::backtrace` has all of them.

use multiproc::Pool;

#[inline(never)]
fn parse(text: String) -> u64 {
    number(&text) + 1
}

/// As a C library does that does not trust itself any more.
#[inline(never)]
fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| std::process::abort())
}

#[inline(never)]
fn depth(of: u64) -> u64 {
    let below = std::hint::black_box([of; 100]);
    if of == u64::MAX { below[0] } else { depth(of + 1) + below[99] }
}

fn main() -> multiproc::Result<()> {
    let pool = Pool::new(2)?;
    for result in pool.map_each(parse, ["1", "two", "3"].map(str::to_owned)) {
        match result {
            Ok(value) => println!("{value}"),
            Err(error) => {
                println!("error: {error}");
                let calls = error.backtrace().unwrap_or_default();
                for line in calls.lines().filter(|line| line.contains("post_mortem::")) {
                    println!("   {}", line.trim());
                }
            }
        }
    }
    if let Err(error) = pool.apply(depth, (0,)) {
        println!("error: {error}");
    }
    Ok(())
}
