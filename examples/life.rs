//! Conway's Game of Life: each process has a band of rows of two boards in shared memory, in turn old and new.
//!
//!     cargo run --release --example life                     # 116 cells live in generation 1103
//!     cargo run --release --example life -- --size 600 --generations 1000 --workers 8
//!
//! It begins with the R-pentomino, five cells that take 1103 generations to come to rest. A `Barrier` keeps the bands in
//! step; one process, whoever comes last, counts the generations in a `RawValue` and raises the `Event` that ends it all.

use multiproc::{Barrier, Event, Process, RawValue, Result, SharedMemory, SharedMemoryManager, cpu_count, join_all};
use std::time::Instant;

/// The R-pentomino, as rows and columns.
const SEED: [(usize, usize); 5] = [(0, 1), (0, 2), (1, 0), (1, 1), (2, 1)];

/// How many cells live in generations of a board of `--size 600`.
const KNOWN: [(u64, usize); 2] = [(1000, 156), (1103, 116)];

/// The new state of the rows of `old` but the first and the last; nothing lives beyond the border.
fn band(old: &[u8], size: usize) -> Vec<u8> {
    let mut new = vec![0; old.len() - 2 * size];
    for (row, line) in new.chunks_mut(size).enumerate() {
        let [above, here, below] = [row, row + 1, row + 2].map(|row| &old[row * size..][..size]);
        let column = |at: usize| above[at] + here[at] + below[at];
        for at in 1..size - 1 {
            let around = column(at - 1) + column(at) + column(at + 1);
            line[at] = u8::from(around == 3 || (around == 4 && here[at] == 1));
        }
    }
    new
}

/// What the processes have in common.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct World {
    barrier: Barrier,
    stop: Event,
    generation: RawValue<u64>,
    last_generation: u64,
    /// Names, as other programs would use them.
    boards: [String; 2],
    size: usize,
}

fn live(world: World, first: usize, last: usize) -> Result<()> {
    let [even, odd] = world.boards.each_ref().map(|name| SharedMemory::open(name));
    let (boards, size) = ([even?, odd?], world.size);
    while !world.stop.is_set() {
        let number = world.generation.get();
        let old = boards[number as usize % 2].read((first - 1) * size..(last + 1) * size);
        boards[(number as usize + 1) % 2].write(first * size, &band(&old, size));
        if world.barrier.wait()? == 0 {
            world.generation.set(number + 1);
            if number + 1 == world.last_generation {
                world.stop.set();
            }
        }
        world.barrier.wait()?;
    }
    Ok(())
}

fn start_board(size: usize) -> Vec<u8> {
    let mut board = vec![0; size * size];
    SEED.iter().for_each(|(row, column)| board[(size / 2 + row) * size + size / 2 + column] = 1);
    board
}

fn alone(size: usize, generations: u64) -> Vec<u8> {
    let mut board = start_board(size);
    for _ in 0..generations {
        let new = band(&board, size);
        board[size..size * (size - 1)].copy_from_slice(&new);
    }
    board
}

fn together(size: usize, generations: u64, workers: usize) -> Result<Vec<u8>> {
    let manager = SharedMemoryManager::new();
    let boards = [manager.shared_memory(size * size)?, manager.shared_memory(size * size)?];
    boards[0].write(0, &start_board(size));
    let name = |memory: &SharedMemory| memory.name().expect("a manager gives names").to_owned();
    let world = World {
        barrier: Barrier::new(workers),
        stop: Event::new(),
        generation: RawValue::new(0),
        last_generation: generations,
        boards: boards.each_ref().map(name),
        size,
    };
    let bound = |at: usize| 1 + (size - 2) * at / workers;
    let start = |at| Process::try_spawn(live, (world.clone(), bound(at), bound(at + 1)));
    join_all((0..workers).map(start).collect::<Result<Vec<_>>>()?)?;
    Ok(boards[generations as usize % 2].read(..size * size))
}

fn flag(name: &str, default: u64) -> u64 {
    let Some(text) = std::env::args().skip_while(|it| it != name).nth(1) else { return default };
    text.parse().unwrap_or_else(|_| {
        eprintln!("life: {name} needs a number, not `{text}`");
        std::process::exit(1)
    })
}

fn main() -> Result<()> {
    let (size, generations) = (flag("--size", 600).max(10) as usize, flag("--generations", 1103).max(1));
    let most_workers = flag("--workers", cpu_count() as u64).max(1) as usize;
    let start = Instant::now();
    let expected = alone(size, generations);
    println!("without workers {:>10.1?}", start.elapsed());
    for workers in [1, most_workers] {
        let start = Instant::now();
        let board = together(size, generations, workers)?;
        println!("{workers:>7} worker{} {:>10.1?}", if workers == 1 { " " } else { "s" }, start.elapsed());
        assert_eq!(board, expected, "{workers} workers live otherwise than none");
    }
    let cells = expected.iter().filter(|cell| **cell == 1).count();
    println!("{cells} cells live in generation {generations}");
    if let Some((_, known)) = KNOWN.iter().find(|known| size == 600 && known.0 == generations) {
        assert_eq!(cells, *known);
    }
    Ok(())
}
