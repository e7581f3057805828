//! Fuzzing, for the tests of all layers: inputs that nobody thought of, and what must hold for each.
//!
//! A target makes an input of the random numbers that it is handed, and does with that input what the library does with bytes
//! from elsewhere. It must not panic, must end, and must not allocate more than what arrived is worth ([`within`]). An input
//! is all that one number makes of it, the *seed*; so a failure names the seed, and the seed brings the failure back:
//!
//! ```text
//! cargo test --lib fuzz                                            # 20,000 inputs a target
//! MULTIPROC_FUZZ=100000000 cargo test --release --lib codec::fuzz  # the long form
//! MULTIPROC_FUZZ_SEED=4711 cargo test --lib codec::fuzz            # one input
//! ```
//!
//! Most inputs are valid ones with a few places spoiled, made by the code that writes them in real life. The formats are
//! lengths, tags and numbers, a few levels deep, which is within reach of such changes; a fuzzer that is led by coverage would
//! cost a second toolchain and its dependencies.

use crate::sys::poll::{self, Interest};
use crate::sys::time::Deadline;
use crate::sys::{allocations, memory, pipe, socket};
use std::fmt::Debug;
use std::io::Write as _;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How many inputs a target gets, unless the environment says otherwise: a second of them without optimisation.
const INPUTS: u64 = if cfg!(miri) { 30 } else { 20_000 };

/// One input takes some microseconds; one that takes so long hangs.
const LONGEST: Duration = Duration::from_secs(60);

/// Random numbers, always the same from one seed on.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// "SplitMix64": each seed is as good as any other.
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True once in so many times.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// A number of a kind by which mistakes show: small, at the end of a type, beside a power of two, or any.
    pub(crate) fn number(&mut self) -> u64 {
        let power = 1u64 << self.below(64);
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => power,
            3 => power - 1,
            4 => power.wrapping_add(1),
            5 | 6 => self.next() % 16,
            _ => self.next() >> self.below(64),
        }
    }

    /// Fewer than `end` bytes.
    pub(crate) fn bytes(&mut self, end: usize) -> Vec<u8> {
        (0..self.below(end)).map(|_| self.next() as u8).collect()
    }

    /// Text of fewer than `end` letters.
    pub(crate) fn text(&mut self, end: usize) -> String {
        (0..self.below(end))
            .map(|_| *self.pick(&['a', 'B', '0', ' ', '\n', '\0', '"', 'ä', '漢', '\u{10ffff}']))
            .collect()
    }

    /// A descriptor that another process could send: of memory as it should be or nearly so, or of something else.
    pub(crate) fn descriptor(&mut self) -> OwnedFd {
        let sparse = *self.pick(&[1, 4096, 1 << 40, 1 << 62]);
        match self.below(12) {
            0..=3 => {
                let (file, mapping) = memory::create_mapped("fuzz", 1 + self.below(9000)).unwrap();
                let filled = self.bytes(mapping.bytes().len() + 1);
                assert!(mapping.bytes().write(0, &filled));
                file
            }
            4 | 5 => memory::create("fuzz", sparse).unwrap(),
            6 => {
                let file = rustix::fs::memfd_create("fuzz", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
                rustix::fs::ftruncate(&file, self.next() % 9000).unwrap();
                file
            }
            7 => memory::reopen_for_reading(memory::create("fuzz", 4096).unwrap().as_fd()).unwrap(),
            8 => std::fs::File::open(*self.pick(&["/dev/null", "/dev/zero", "/", "/proc/self/stat"])).unwrap().into(),
            9 => pipe::pipe().unwrap().0,
            10 => std::os::unix::net::UnixStream::pair().unwrap().0.into(),
            _ => socket::pair().unwrap().0,
        }
    }

    /// Changes a few places, if any.
    pub(crate) fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.below(4) {
            if bytes.is_empty() {
                bytes.push(0);
            }
            let at = self.below(bytes.len());
            let piece = at..at + self.below(9).min(bytes.len() - at);
            match self.below(9) {
                0 => bytes[at] = self.next() as u8,
                1 => bytes[at] = 0xff,
                2 => bytes[at] ^= 1 << self.below(8),
                3 => bytes[at] = bytes[at].wrapping_add(*self.pick(&[1, 0xff])),
                4 => bytes.truncate(at),
                5 => bytes.insert(at, self.next() as u8),
                6 => drop(bytes.drain(piece)),
                7 => bytes.extend_from_within(piece),
                _ => {
                    let number = self.number().to_le_bytes();
                    let len = piece.len();
                    bytes[piece].copy_from_slice(&number[..len]);
                }
            }
        }
    }
}

/// Says which input it was that the target did not survive.
struct Input(u64);

impl Drop for Input {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input with the seed {0}: MULTIPROC_FUZZ_SEED={0} brings it back", self.0);
        }
    }
}

/// Inputs one behind the other that may use one state: that is made anew for each row.
const ROW: u64 = 64;

/// Runs a target with each input. Its name is that of the test.
pub(crate) fn fuzz<S>(make: impl Fn() -> S, mut target: impl FnMut(&mut S, &mut Random)) {
    let name = std::thread::current().name().unwrap_or("a target").to_owned();
    let current = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&current);
    let (_stop, stopped) = channel::<()>();
    std::thread::spawn(move || {
        let mut last = u64::MAX;
        while stopped.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout) {
            let now = seen.load(Relaxed);
            if std::mem::replace(&mut last, now) == now {
                // Not captured, as what `eprintln` writes would be.
                let _ = writeln!(std::io::stderr(), "{name}: the input with the seed {now} does not end");
                std::process::abort();
            }
        }
    });
    let mut state = make();
    for seed in seeds() {
        current.store(seed, Relaxed);
        if seed % ROW == 0 {
            state = make();
        }
        let input = Input(seed);
        target(&mut state, &mut Random::new(seed));
        drop(input);
    }
}

/// As [`fuzz`], in a process of its own: for what writes over memory that other tests use as well.
pub(crate) fn fuzz_alone<S>(make: impl Fn() -> S, target: impl FnMut(&mut S, &mut Random)) {
    const ALONE: &str = "MULTIPROC_FUZZ_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return fuzz(make, target);
    }
    let thread = std::thread::current();
    let name = thread.name().expect("a test has a name");
    let mut this = std::process::Command::new(std::env::current_exe().unwrap());
    let output = this.args(["--exact", name, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success() && stdout.contains("1 passed"), "{}\n{stdout}\n{stderr}", output.status);
}

fn seeds() -> Range<u64> {
    let number = |name| std::env::var(name).ok().map(|it| it.parse::<u64>().expect("a number"));
    match (number("MULTIPROC_FUZZ_SEED"), number("MULTIPROC_FUZZ")) {
        // With those that have made the state that it was handed.
        (Some(seed), _) => seed - seed % ROW..seed + 1,
        (None, inputs) => 0..inputs.unwrap_or(INPUTS),
    }
}

/// A descriptor that tells whether its copies are all closed.
pub(crate) struct Tracer {
    end: OwnedFd,
}

impl Tracer {
    /// With the descriptor that is to be closed.
    pub(crate) fn new() -> (Tracer, OwnedFd) {
        let (end, other) = pipe::pipe().unwrap();
        (Tracer { end }, other)
    }

    /// Another thread may start a process at this moment, which has all descriptors until it executes its program: so it waits
    /// for a while.
    pub(crate) fn is_closed(&self) -> bool {
        let looked = poll::wait(&[(self.end.as_fd(), Interest::HangUp)], Deadline::after(Duration::from_secs(20)));
        looked.is_ok_and(|ready| ready == [true])
    }
}

/// Runs `work` on what has arrived: it may allocate so many bytes.
///
/// # Panics
///
/// Panics when it allocates more.
pub(crate) fn within<R>(most: usize, arrived: &dyn Debug, work: impl FnOnce() -> R) -> R {
    let (result, used) = allocations::peak(work);
    assert!(used <= most, "{used} bytes of memory, and not {most}, for {arrived:?}");
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_those_of_their_seeds() {
        let make = |seed| {
            let mut random = Random::new(seed);
            let mut bytes = random.bytes(50);
            random.spoil(&mut bytes);
            (bytes, random.number(), random.text(9))
        };
        assert!((0..100).all(|seed| make(seed) == make(seed)));
        assert!((0..100).any(|seed| make(seed) != make(seed + 1)));
        let mut count = 0;
        fuzz(|| (), |(), _| count += 1);
        assert_eq!(count, seeds().count());
    }

    #[test]
    fn too_much_memory_is_noticed() {
        within(100, &"little", || vec![0u8; 90]);
        assert!(std::panic::catch_unwind(|| within(100, &"much", || vec![0u8; 200])).is_err());
    }
}
