//! k-means: points in shared memory that each worker opens by its name, centres in a shared list.
//!
//!     cargo run --release --example kmeans_shm
//!     cargo run --release --example kmeans_shm -- --size 1000000 --workers 8
//!
//! The names go with the `SharedMemoryManager`, and with this program at the latest, even if it is killed. A program in
//! Python could open them as well. The sums of the blocks are added in their order, so that the result is the same each time.

use multiproc::{Item, Pool, ShareableList, SharedMemory, SharedMemoryManager, cpu_count};
use std::ops::Range;
use std::time::Instant;

const CLUSTERS: usize = 5;
const ROUNDS: usize = 10;
/// How many points a task looks at.
const BLOCK: usize = 500;

/// For each centre: the sums of x and y of the points that are nearest to it, and their number.
type Sums = [(f64, f64, u64); CLUSTERS];

/// What a worker has open: the points, and the centres.
type State = (SharedMemory, ShareableList);

/// Clouds around five places, as x and y one behind the other.
fn make_points(count: usize) -> Vec<f64> {
    let mut state = 1u64;
    let number = |at: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let middle = 10.0 * ((at / 2 * 7 + at % 2 * 3) % CLUSTERS) as f64;
        middle + (state >> 33) as f64 / (1u64 << 30) as f64 * 4.0 - 4.0
    };
    (0..2 * count).map(number).collect()
}

fn sums(numbers: &[f64], places: &[f64]) -> Sums {
    let mut out = Sums::default();
    for point in numbers.chunks(2) {
        let (mut nearest, mut least) = (0, f64::INFINITY);
        for (at, place) in places.chunks(2).enumerate() {
            let (dx, dy) = (point[0] - place[0], point[1] - place[1]);
            if dx * dx + dy * dy < least {
                (nearest, least) = (at, dx * dx + dy * dy);
            }
        }
        let own = &mut out[nearest];
        *own = (own.0 + point[0], own.1 + point[1], own.2 + 1);
    }
    out
}

fn open((points, centres): (String, String)) -> multiproc::Result<State> {
    Ok((SharedMemory::open(&points)?, ShareableList::open(&centres)?))
}

fn places_of(centres: &ShareableList) -> multiproc::Result<Vec<f64>> {
    Ok(centres.to_vec()?.iter().filter_map(Item::as_float).collect())
}

/// The task: the sums of a block.
fn sums_of_block((points, centres): &mut State, block: Range<usize>) -> multiproc::Result<Sums> {
    Ok(sums(&points.get_many(16 * block.start, 2 * block.len()), &places_of(centres)?))
}

/// The new centres.
fn moved(places: &[f64], blocks: &[Sums]) -> Vec<f64> {
    let mut out = places.to_vec();
    for (at, place) in out.chunks_mut(2).enumerate() {
        let total = blocks.iter().map(|it| it[at]).fold((0.0, 0.0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2));
        if total.2 > 0 {
            place.copy_from_slice(&[total.0 / total.2 as f64, total.1 / total.2 as f64]);
        }
    }
    out
}

fn flag(name: &str, default: usize) -> usize {
    let Some(text) = std::env::args().skip_while(|it| it != name).nth(1) else { return default };
    text.parse().unwrap_or_else(|_| {
        eprintln!("kmeans_shm: {name} needs a number, not `{text}`");
        std::process::exit(1)
    })
}

fn main() -> multiproc::Result<()> {
    let (count, workers) = (flag("--size", 50_000).max(CLUSTERS), flag("--workers", cpu_count()));
    let numbers = make_points(count);
    let blocks: Vec<_> = (0..count).step_by(BLOCK).map(|first| first..(first + BLOCK).min(count)).collect();

    let start = Instant::now();
    let mut expected = numbers[..2 * CLUSTERS].to_vec();
    for _ in 0..ROUNDS {
        let all: Vec<_> = blocks.iter().map(|it| sums(&numbers[2 * it.start..2 * it.end], &expected)).collect();
        expected = moved(&expected, &all);
    }
    println!("without workers {:>10.1?}", start.elapsed());
    for workers in [1, workers] {
        let manager = SharedMemoryManager::new();
        let points = manager.shared_memory(16 * count)?;
        points.set_many(0, &numbers);
        let centres = manager.shareable_list(numbers[..2 * CLUSTERS].iter().copied())?;
        let name = |memory: &SharedMemory| memory.name().expect("a manager gives names").to_owned();
        let names = (name(&points), name(centres.shared_memory()));
        let pool = Pool::builder().processes(workers).try_state(open, (names,)).build()?;
        let start = Instant::now();
        for _ in 0..ROUNDS {
            let all = pool.on_state().tasks(sums_of_block, blocks.iter().cloned()).fallible().run()?;
            for (at, place) in moved(&places_of(&centres)?, &all).into_iter().enumerate() {
                centres.set(at, place)?;
            }
        }
        println!("{workers:>7} worker{} {:>10.1?}", if workers == 1 { " " } else { "s" }, start.elapsed());
        assert_eq!(places_of(&centres)?, expected, "{workers} workers find otherwise than none");
    }
    for (at, place) in expected.chunks(2).enumerate() {
        println!("centre {at}: {:.6} {:.6}", place[0], place[1]);
    }
    Ok(())
}
