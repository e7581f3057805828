//! A pool that can be watched while it works, and that writes a page about itself at its end.
//!
//!     cargo run --release --example watch -- --tasks 200 --report run.html
//!
//! Look at it meanwhile with `multiproc-top`.

use multiproc::Pool;
use std::time::Duration;

/// A task that takes its time, and sometimes goes wrong.
fn analyse(n: u64) -> u64 {
    let millis = 20 + n * n % 97 + if n % 50 == 49 { 600 } else { 0 };
    std::thread::sleep(Duration::from_millis(millis));
    assert!(n % 40 != 13, "nothing to be found in item {n}");
    if n == 77 {
        std::process::abort();
    }
    n % 7
}

fn summarise(from: u64, to: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(30));
    to - from
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str| arguments.iter().position(|it| it == name).and_then(|at| arguments.get(at + 1));
    let tasks: u64 = option("--tasks").map_or(Ok(200), |text| text.parse())?;
    let path = option("--report").map_or("run.html", String::as_str);

    let pool = Pool::builder().processes(3).name("analysis").report_to(path).view().build()?;
    let sums = pool.star_tasks(summarise, (0..tasks / 4).map(|n| (n, 2 * n))).submit()?;
    let results = pool.tasks(analyse, 0..tasks).chunksize(1).each();
    let found = results.iter().filter(|result| result.is_ok()).count();
    println!("{found} of {tasks} tasks have a result, {} sums", sums.get()?.len());
    pool.close();
    pool.join()?;
    println!("the report is in {path}");
    Ok(())
}
