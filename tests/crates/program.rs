//! The main job, for builds of many kinds. It checks what it can itself, and prints what the test compares.
//!
//! `--plain` is what a task's own sub-process does; `--wait` waits for a line before the first pool is made.

use between::{generic, quadruple, triple};
use multiproc::{Pool, Process, TaskError};
use std::io::{BufRead, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

static EARLY: AtomicU32 = AtomicU32::new(0);
static REGISTERED: AtomicU32 = AtomicU32::new(0);
static AT_FIRST_TASK: AtomicU32 = AtomicU32::new(0);

extern "C" fn register_early() {
    EARLY.fetch_add(1, SeqCst);
}

extern "C" fn register() {
    REGISTERED.fetch_add(1, SeqCst);
}

// In front of all constructors without a number, so also of that of multiproc.
#[used]
#[unsafe(link_section = ".init_array.00200")]
static REGISTER_EARLY: extern "C" fn() = register_early;

#[used]
#[unsafe(link_section = ".init_array")]
static REGISTER: extern "C" fn() = register;

// Two functions of one body: a linker that folds them must not mix them up with others.
fn square(x: u64) -> u64 {
    x * x
}
fn also_square(x: u64) -> u64 {
    x * x
}

fn note_registry() {
    AT_FIRST_TASK.store(REGISTERED.load(SeqCst), SeqCst);
}

/// How often the constructors have run in this process.
fn registry() -> [u32; 4] {
    [EARLY.load(SeqCst), REGISTERED.load(SeqCst), between::registered(), AT_FIRST_TASK.load(SeqCst)]
}

fn inode() -> (u64, u64) {
    let executable = std::fs::metadata("/proc/self/exe").unwrap();
    (executable.dev(), executable.ino())
}

fn functions(pool: &Pool) -> multiproc::Result<()> {
    println!("closure {:?}", pool.map(|x: u64| x + 1, 0..4)?);
    println!("function {:?}", pool.map(square, 0..4)?);
    println!("its twin {:?}", pool.map(also_square, 0..4)?);
    println!("library {:?} {:?}", pool.map(triple, 0..4)?, pool.map(quadruple, 0..4)?);
    println!("generic {:?} {:?}", pool.map(generic::<u64>, 0..4)?, pool.map(generic::<f32>, [0.5, 1.5])?);
    println!("std {:?}", pool.apply(u64::pow, (2, 10))?);
    println!("apply {:?}", pool.apply(|x: u64, text: String| text.repeat(x as usize), (2, "ab".to_owned()))?);
    let table = vec![10, 20, 30];
    println!("with {:?}", pool.with(&table).tasks(|table, i: usize| table[i] + 1, 0..3).run()?);
    println!("many {:?}", pool.map(square, 0..10_000)?.iter().sum::<u64>());
    println!("library's pool {}", between::sum_of_squares(10));
    println!("nested pool {}", pool.apply(between::sum_of_squares, (10,))?);
    println!("process {} {}", Process::spawn(square, (7,))?.join()?, Process::spawn(generic::<f32>, (0.5,))?.join()?);
    println!("process with a pool {}", Process::spawn(between::sum_of_squares, (10,))?.join()?);
    Ok(())
}

fn describe(result: &Result<u32, TaskError>) -> String {
    match result {
        Ok(x) => x.to_string(),
        Err(error) if error.is_panic() => "panic".to_owned(),
        Err(error) if error.is_worker_lost() => "lost".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn failures(pool: &Pool) {
    let results = pool.map_each(|x: u32| if x == 2 { panic!("no {x}") } else { x }, 0..4);
    println!("panics {:?}", results.iter().map(describe).collect::<Vec<_>>());
    let results = pool.map_each(|x: u32| if x == 2 { std::process::abort() } else { x }, 0..4);
    println!("aborts {:?}", results.iter().map(describe).collect::<Vec<_>>());
    let process = Process::spawn(|| -> () { panic!("no") }, ()).unwrap();
    println!("process {}", if process.join().unwrap_err().is_panic() { "panic" } else { "lost" });
}

/// What a worker finds around itself.
fn surroundings(pool: &Pool) -> multiproc::Result<()> {
    println!("registry {:?} here, {:?} in a worker", registry(), pool.apply(registry, ())?);
    println!("variable {:?}", pool.apply(|| std::env::var("MULTIPROC_CHILD").ok(), ())?);
    let arguments = || std::env::args().skip(1).collect::<Vec<_>>();
    println!("arguments {:?}", pool.apply(arguments, ())?);
    let stdin = || {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).unwrap();
        (std::fs::read_link("/proc/self/fd/0").unwrap(), bytes.len())
    };
    println!("stdin {:?}", pool.apply(stdin, ())?);
    let child = || {
        let mut program = Command::new("/proc/self/exe");
        let ran = program.arg("--plain").stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
        String::from_utf8(ran.stdout).unwrap()
    };
    println!("sub-process {:?}", pool.apply(child, ())?);
    println!("same file {}", pool.apply(inode, ())? == inode());
    Ok(())
}

fn main() -> multiproc::Result<()> {
    println!("main");
    let mut line = String::new();
    match std::env::args().nth(1).as_deref() {
        Some("--plain") => {
            println!("{:?} {:?}", std::env::var("MULTIPROC_CHILD").ok(), Pool::new(1)?.map(square, 0..3)?);
            return Ok(());
        }
        Some("--wait") => {
            println!("waits");
            std::io::stdin().lock().read_line(&mut line).unwrap();
            println!("goes on as {:?}", std::fs::read_link("/proc/self/exe").unwrap_or(PathBuf::new()));
        }
        _ => {}
    }
    let pool = Pool::builder().processes(2).initializer(note_registry, ()).build()?;
    functions(&pool)?;
    failures(&pool);
    // Also in workers that were started late, in place of those that are lost.
    surroundings(&pool)?;
    drop(pool);
    std::io::stdin().lock().read_line(&mut line).unwrap();
    println!("read {line:?}");
    drop(Process::spawn(|| println!("waited for"), ())?);
    Ok(())
}
