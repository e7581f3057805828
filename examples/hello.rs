//! The shortest program: squares, computed by four worker processes.
//!
//!     cargo run --release --example hello

use multiproc::Pool;

fn square(x: u64) -> u64 {
    x * x
}

fn main() -> multiproc::Result<()> {
    let squares = Pool::new(4)?.map(square, 0..1_000)?;
    println!("the first ten: {:?}", &squares[..10]);
    println!("their sum: {}", squares.iter().sum::<u64>());
    Ok(())
}
