//! Whatever a worker writes to stdout and stderr, in pieces of any length.

use super::*;
use crate::sys::fuzz::{Random, fuzz, within};
use std::fs::File;

fn piece(random: &mut Random) -> Vec<u8> {
    match random.below(100) {
        0 => vec![*random.pick(b"x\n\r"); random.below(3 * LONGEST / 2)],
        1..=3 => random.bytes(100),
        4..=9 => random.text(40).into_bytes(),
        10..=13 => b"a line\r\n".to_vec(),
        _ => vec![*random.pick(b"xy\n\r\0"); random.below(9)],
    }
}

/// The bytes without the ends of lines.
fn bare(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect()
}

#[test]
fn lines_are_what_was_written() {
    let buffer = || vec![0; AT_ONCE];
    fuzz(buffer, |buffer, random| {
        let (pipe, other) = pipe::pipe().unwrap();
        let mut worker = File::from(other);
        let is_stderr = random.once_in(2);
        let stream = Stream { pipe, worker: "worker".into(), is_stderr, state: Mutex::default() };
        let mut written = Vec::new();
        for _ in 0..random.below(5) {
            let piece = piece(random);
            // A pipe has room for 64 KiB.
            worker.write_all(&piece).unwrap();
            written.extend(piece);
            let at_once = 1 + random.below(AT_ONCE);
            // A line of one byte costs a place in a vector, which grows by doubling, and is kept once more for errors.
            within(200 * written.len() + 4096, &written.len(), || stream.pull(&mut buffer[..at_once]));
            assert!(stream.state.lock().partial.len() < LONGEST);
        }
        if random.once_in(2) {
            drop(worker);
        }
        while stream.pull(buffer) {}
        stream.drain();
        let state = stream.state.lock();
        let lines: Vec<&str> = state.lines.iter().map(OutputLine::text).collect();
        if written.is_ascii() {
            assert_eq!(bare(lines.concat().as_bytes()), bare(&written));
        }
        let breaks = written.iter().filter(|byte| **byte == b'\n').count();
        assert!(lines.len() >= breaks && lines.len() <= breaks + 1 + 2 * written.len() / LONGEST);
        assert!(lines.iter().all(|line| line.len() <= 3 * LONGEST && !line.contains('\n')));
        let kept = if is_stderr { lines.len().min(TAIL) } else { 0 };
        assert!(state.tail.iter().eq(&lines[lines.len() - kept..]));
    });
}
