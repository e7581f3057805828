//! A worker that writes anything into the memory of its link, and sends anything beside it.

use super::*;
use crate::ipc::file_bytes::FileBytes;
use crate::ipc::lane::INLINE;
use crate::sys::fuzz::{Random, fuzz, within};
use crate::sys::memory;
use crate::sys::memory::Mapping;
use std::os::fd::AsFd;

/// The pool's end of a link, and what a worker can do to it.
struct Fixture {
    link: RingLink,
    /// The file that both write, as the worker has mapped it.
    worker: Mapping,
    control: Control,
    /// What was sent and not released.
    sent: BTreeMap<u64, Vec<u8>>,
}

impl Fixture {
    fn new() -> Fixture {
        let (ours, control) = Control::pair();
        let (link, [shared, _]) = create(ours, ResultLimit(Some(100_000))).unwrap();
        let worker = memory::map(shared.as_fd()).unwrap();
        Fixture { link, worker, control, sent: BTreeMap::new() }
    }

    /// The pool sends a frame.
    fn send(&mut self, random: &mut Random) {
        let end = *random.pick(&[10, 10, 30, 3000]);
        let payload = random.bytes(end);
        let frame = Frame { kind: FrameKind::Tasks, header: 1, first: 2, count: 3, skip: 0 };
        if let Some(seq) = self.link.send(&frame, &payload[..].into(), &[]).unwrap() {
            self.sent.insert(seq, payload);
        }
    }

    /// The worker answers, more or less as it should.
    fn answer(&self, random: &mut Random) {
        let seq = self.link.next_answer;
        let record = Record {
            kind: random.below(6) as u8,
            tag: if random.once_in(4) { random.number() as u32 } else { 0 },
            fields: [random.number(), random.number(), random.number()],
        };
        let place = match random.below(4) {
            0 | 1 => Place::inline(&random.bytes(INLINE + 1)).unwrap(),
            2 => Place::Data(random.number() as usize, random.number() as usize),
            _ => Place::Elsewhere,
        };
        let answers = self.link.memory.answers();
        if random.once_in(4) {
            answers.open(seq, &record, &place)
        } else {
            answers.publish(seq, &record, &place)
        }
        if place == Place::Elsewhere {
            let number = if random.once_in(4) { random.number() } else { seq };
            let bytes = random.bytes(200);
            let file = FileBytes::new(&[&bytes]).unwrap();
            self.control.send_bytes(number, file.len(), file.file()).unwrap();
        }
    }

    /// The worker writes over words: mostly those that the pool looks at next, of which each byte means something.
    fn scribble(&self, random: &mut Random) {
        let slot = ring_memory::ANSWER_SLOTS + (self.link.next_answer as usize % SLOTS) * 64;
        for _ in 0..random.below(4) {
            let at = match random.below(8) {
                0 => 8 * random.below(4096 / 8),
                1 => ring_memory::CLAIMS + 8 * random.below(SLOTS),
                2 => 8 * random.below(ring_memory::ANSWER_DATA / 8),
                _ => slot + 8 * random.below(8),
            };
            let mut word = [0; 8];
            self.worker.bytes().slice(at, 8).unwrap().read_into(&mut word);
            if random.once_in(2) {
                word[random.below(8)] = random.next() as u8;
            } else {
                word = random.number().to_ne_bytes();
            }
            assert!(self.worker.bytes().write(at, &word));
        }
    }

    /// The pool looks at all that there is; false = it would end the worker for what it found.
    fn look(&mut self, random: &mut Random) -> bool {
        let link = &mut self.link;
        let (has_answer, _) = (link.has_answer(), (link.progress(), link.is_awake(), link.hindrance()));
        let received = within(4096, &"an answer", || link.receive());
        match &received {
            Ok(Some(answer)) => {
                let len = answer.payload.len();
                assert!(has_answer && len <= DATA && answer.attached.len() <= MOST_ATTACHED);
                // A part of the area is there in full: it is the length that costs.
                if len <= 1 << 16 || random.once_in(1000) {
                    within(len, answer, || answer.payload.to_vec().unwrap());
                }
                link.consumed();
            }
            Ok(None) => {
                let salvaged = within(4096, &"an unfinished answer", || link.salvage());
                assert!(salvaged.is_err() || salvaged.is_ok_and(|it| it.is_none_or(|it| it.payload.len() <= DATA)));
            }
            Err(_) => {}
        }
        let seq = random.next() % (link.sent() + 2);
        if link.revoke(seq) == Revoked::Taken {
            assert_eq!(link.revoke(seq), Revoked::Begun, "taken back twice");
        }
        // What the pool has sent is not the worker's to change.
        for (seq, payload) in &self.sent {
            assert_eq!(&link.payload(*seq), payload);
        }
        if random.once_in(4) {
            let below = random.next() % (link.sent() + 1);
            link.release_below(below);
            self.sent = self.sent.split_off(&below);
        }
        link.trim();
        received.is_ok()
    }
}

#[test]
fn whatever_a_worker_writes_into_its_link() {
    fuzz(Fixture::new, |fixture, random| {
        for _ in 0..random.below(3) {
            fixture.send(random);
        }
        if random.once_in(2) {
            fixture.answer(random);
        }
        fixture.scribble(random);
        if !fixture.look(random) {
            *fixture = Fixture::new();
        }
    });
}
