//! A process changes a number and an array in shared memory, and its parent prints them.
//!
//!     cargo run --release --example value_array_hello
//!
//! The first program on shared memory of Python's documentation of `multiprocessing`.

use multiproc::{Array, Process, Value};

fn f(number: Value<f64>, numbers: Array<i32>) -> multiproc::Result<()> {
    number.set(1.25)?;
    numbers.lock()?.iter_mut().for_each(|it| *it = -*it);
    Ok(())
}

fn main() -> multiproc::Result<()> {
    let number = Value::new(0.0);
    let numbers = Array::from(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    Process::try_spawn(f, (number.clone(), numbers.clone()))?.join()?;
    println!("{}", number.get()?);
    println!("{:?}", numbers.read(..)?);
    Ok(())
}
