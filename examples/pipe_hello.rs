//! A process sends a message through a pipe, and its parent receives it.
//!
//!     cargo run --release --example pipe_hello
//!
//! The first program on pipes of Python's documentation of `multiprocessing`.

use multiproc::{Connection, Process, pipe};

type Message = (u32, Option<String>, String);

fn f(connection: Connection<Message>) -> multiproc::Result<()> {
    connection.send((42, None, "hello".to_owned()))?;
    Ok(())
}

fn main() -> multiproc::Result<()> {
    let (parent, child) = pipe();
    let process = Process::try_spawn(f, (child,))?;
    println!("{:?}", parent.recv()?); // prints (42, None, "hello")
    process.join()?;
    Ok(())
}
