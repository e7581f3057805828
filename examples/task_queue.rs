//! Workers take tasks from one queue and put results into another.
//!
//!     cargo run --release --example task_queue -- --workers 4
//!
//! The program on queues and workers of Python's documentation of `multiprocessing`. A task is a value that says what is to be
//! done; a worker ends when the queue of tasks is closed. (A `Pool` does all this by itself.)

use multiproc::{Process, Queue, current_process, join_all};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum Task {
    Multiply(u32, u32),
    Add(u32, u32),
}

/// What was done, and by whom.
type Done = (String, String);

fn work(tasks: Queue<Task>, done: Queue<Done>) -> multiproc::Result<()> {
    loop {
        let text = match tasks.get() {
            Ok(Task::Multiply(a, b)) => format!("multiply({a}, {b}) = {}", a * b),
            Ok(Task::Add(a, b)) => format!("add({a}, {b}) = {}", a + b),
            Err(error) if error.is_closed() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        done.put((text, current_process().name().to_owned()))?;
    }
}

fn main() -> multiproc::Result<()> {
    let workers = argument("--workers", 4);
    let (tasks, done) = (Queue::new(), Queue::new());
    for i in 0..20 {
        tasks.put(Task::Multiply(i, 7))?;
    }
    let crew: Result<Vec<_>, _> =
        (0..workers).map(|_| Process::try_spawn(work, (tasks.clone(), done.clone()))).collect();
    let crew = crew?;
    let mut results = (0..20).map(|_| done.get()).collect::<Result<Vec<Done>, _>>()?;
    // More tasks may come while the workers are there.
    for i in 0..10 {
        tasks.put(Task::Add(i, 8))?;
    }
    for _ in 0..10 {
        results.push(done.get()?);
    }
    tasks.close()?;
    let names: Vec<String> = crew.iter().map(|process| process.name().to_owned()).collect();
    join_all(crew)?;
    assert!(results.iter().all(|(_, name)| names.contains(name)));
    results.sort();
    results.iter().for_each(|(line, _)| println!("{line}"));
    Ok(())
}

/// The number behind an argument.
fn argument(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().and_then(|value| value.parse().ok()).unwrap_or(default)
}
