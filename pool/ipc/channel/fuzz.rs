//! A worker that writes anything into its stream.

use super::*;
use crate::ipc::bell::Bell;
use crate::sys::fuzz::{Random, fuzz, within};
use crate::sys::memory;

/// The most bytes of a result.
const LIMIT: u64 = 100_000;

/// The pool's end of a link, and what a worker can do to it.
struct Fixture {
    link: ChannelLink,
    worker: OwnedFd,
    control: Control,
    /// So many bytes have arrived since the last nonsense; the message that is not whole has some of them.
    arrived: usize,
}

impl Fixture {
    fn new() -> Fixture {
        let (ours, control) = Control::pair();
        let bell = Bell::new(Arc::new(memory::private(Bell::LEN).unwrap()), 0);
        let (link, mut fds) = create(bell, ours, ResultLimit(Some(LIMIT))).unwrap();
        let worker = fds.swap_remove(0);
        Fixture { link, worker, control, arrived: 0 }
    }

    /// The pool sends a frame, which the worker reads.
    fn send(&mut self, random: &mut Random) {
        let frame = Frame { kind: FrameKind::Tasks, header: 1, first: 2, count: 3, skip: 0 };
        self.link.send(&frame, &random.bytes(30)[..].into(), &[]).unwrap();
        let mut read = [0; 4096];
        while stream::receive(self.worker.as_fd(), &mut read).unwrap().is_some() {}
    }

    /// The worker writes messages, more or less as it should. Returns how many bytes.
    fn write(&self, random: &mut Random) -> usize {
        let mut bytes = Vec::new();
        for _ in 0..random.below(4) {
            let at = |random: &mut Random| random.once_in(2).then(|| random.below(5) as u32);
            let kinds = [AnswerKind::Values, AnswerKind::Failure, AnswerKind::Handles, AnswerKind::Taken];
            let outcome = at(random).map(|at| (*random.pick(&kinds), at));
            let last = self.link.next_frame.saturating_sub(1);
            let seq = if random.once_in(8) { random.number() } else { last };
            let attached = if random.once_in(8) { random.number() as usize } else { 0 };
            let finished = random.once_in(3).then(|| random.number());
            let said = Said { seq, started: at(random), outcome, finished, attached };
            let end = *random.pick(&[10, 100, 5000]);
            message::append(&mut bytes, &said, &random.bytes(end)[..].into());
        }
        if random.once_in(3) {
            random.spoil(&mut bytes);
        }
        let sent = stream::send(self.worker.as_fd(), &[IoSlice::new(&bytes)]).unwrap();
        assert!(bytes.is_empty() || sent == Some(bytes.len()));
        bytes.len()
    }

    /// The pool takes all that there is; false = it would end the worker for what it found.
    fn take(&mut self, len: usize) -> bool {
        self.arrived = (self.arrived + len).min(LIMIT as usize);
        loop {
            self.link.wire.changed.store(true, Relaxed);
            match within(4 * self.arrived + 4096, &"an answer", || self.link.receive()) {
                Ok(None) => return true,
                Ok(Some(answer)) => {
                    assert!(answer.seq < self.link.sent() && answer.count == 1);
                    assert!(answer.payload.len() as u64 <= LIMIT && answer.attached.len() <= MOST_ATTACHED);
                    assert!(self.link.progress().seq <= self.link.sent());
                }
                Err(_) => return false,
            }
        }
    }

    /// Begins anew, with the descriptors that are there.
    fn reset(&mut self) {
        let mut traffic = self.link.wire.traffic.lock();
        let mut read = [0; 4096];
        while stream::receive(self.link.wire.stream.as_fd(), &mut read).unwrap().is_some() {}
        (traffic.arrived, traffic.next) = (Reader::new(Some(ResultLimit(Some(LIMIT)))), None);
        drop(traffic);
        while self.link.control.receive_attached(0, 1, false).is_ok() {}
        self.link.progress = Progress::default();
        self.arrived = 0;
    }
}

#[test]
fn whatever_a_worker_writes_into_its_stream() {
    fuzz(Fixture::new, |fixture, random| {
        if random.once_in(4) {
            fixture.send(random);
        }
        let len = fixture.write(random);
        if !fixture.take(len) {
            fixture.reset();
        }
        assert!(fixture.control.receive_attached(0, 1, false).is_err());
    });
}
