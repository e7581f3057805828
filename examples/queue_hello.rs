//! A process puts a value into a queue, and its parent gets it.
//!
//!     cargo run --release --example queue_hello
//!
//! The first program on queues of Python's documentation of `multiprocessing`.

use multiproc::{Process, Queue};

type Item = (u32, Option<String>, String);

fn f(queue: Queue<Item>) -> multiproc::Result<()> {
    queue.put((42, None, "hello".to_owned()))?;
    Ok(())
}

fn main() -> multiproc::Result<()> {
    let queue = Queue::new();
    let process = Process::try_spawn(f, (queue.clone(),))?;
    println!("{:?}", queue.get()?); // prints (42, None, "hello")
    process.join()?;
    Ok(())
}
