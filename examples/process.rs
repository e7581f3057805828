//! A process that says hello while its parent waits for it, and one that fails.
//!
//!     cargo run --release --example process

use multiproc::{Process, current_process, parent_process};

fn greet(name: String) -> usize {
    let parent = parent_process().expect("this is a child");
    println!("{}, started by {}: hello, {name}", current_process().name(), parent.name());
    name.len()
}

fn give_up() {
    std::process::exit(3);
}

fn main() -> multiproc::Result<()> {
    let process = Process::spawn(greet, ("bob".to_owned(),))?;
    process.wait();
    println!("{} ended with exit code {}", process.name(), process.exitcode().unwrap_or_default());
    println!("its result: {}", process.join()?);

    let process = Process::spawn(give_up, ())?;
    process.wait();
    println!("{} ended with exit code {}", process.name(), process.exitcode().unwrap_or_default());
    Ok(())
}
