//! A process changes a map and a list that a manager holds, and its parent prints them.
//!
//!     cargo run --release --example manager_hello
//!
//! The first program on managers of Python's documentation of `multiprocessing`.

use multiproc::{DictProxy, ListProxy, Manager, Process};

fn f(dict: DictProxy<String, String>, list: ListProxy<i32>) -> multiproc::Result<()> {
    dict.insert("1".to_owned(), "one".to_owned())?;
    dict.insert("2".to_owned(), "two".to_owned())?;
    list.reverse()?;
    Ok(())
}

fn main() -> multiproc::Result<()> {
    let manager = Manager::new()?;
    let dict = manager.dict([])?;
    let list = manager.list(0..10)?;
    Process::try_spawn(f, (dict.clone(), list.clone()))?.join()?;
    let mut entries: Vec<_> = dict.to_map()?.into_iter().collect();
    entries.sort();
    println!("{entries:?}");
    println!("{:?}", list.to_vec()?);
    Ok(())
}
