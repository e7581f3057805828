//! Both ends of a link in one process.

use super::*;
use crate::codec;
use crate::ipc::bell::Bell;
use crate::ipc::link::WorkerLink;
use crate::ipc::ring_worker::RingWorker;
use crate::sys::memory;
use crate::sys::time::Deadline;
use std::time::{Duration, Instant};

fn both_ends() -> (RingLink, RingWorker) {
    let (link, worker, _) = both_ends_and_bell();
    (link, worker)
}

/// Also the pool's bell.
fn both_ends_and_bell() -> (RingLink, RingWorker, Bell) {
    let (ours, control) = Control::pair();
    let (link, [shared, tasks]) = create(ours, ResultLimit::default()).unwrap();
    let bell = Bell::new(Arc::new(memory::create_mapped("test", Bell::LEN).unwrap().1), 0);
    let worker = RingWorker::new([&shared, &tasks], control, bell.of_party(1), ResultLimit::default()).unwrap();
    (link, worker, bell)
}

/// What a worker does when it is told to stop (drop its state, run the finalizer, end) may take long.
#[test]
fn a_worker_that_is_told_to_stop_first_tells_of_its_last_answer() {
    let (mut link, mut worker, bell) = both_ends_and_bell();
    link.send(&Frame { kind: FrameKind::Tasks, header: 0, first: 0, count: 1, skip: 0 }, &[7][..].into(), &[]).unwrap();
    link.send(&Frame { kind: FrameKind::Stop, header: 0, first: 0, count: 0, skip: 0 }, &Parts::NONE, &[]).unwrap();
    worker.next().unwrap();
    worker.value(0, &[8], &[]).unwrap();
    bell.prepare();
    worker.finish(1, 1).unwrap();
    assert_eq!(worker.next().unwrap().frame.kind, FrameKind::Stop);
    let (start, patience) = (Instant::now(), Duration::from_secs(10));
    bell.sleep(Deadline::after(patience));
    assert!(start.elapsed() < patience, "the pool was not woken");
}

/// A worker that dies between two frames, when the answer of the first was taken: it has not begun the second.
#[test]
fn a_worker_is_at_its_last_frame_until_it_says_more() {
    let (mut link, mut worker) = both_ends();
    let frame = Frame { kind: FrameKind::Tasks, header: 0, first: 0, count: 1, skip: 0 };
    for seq in 0..5 {
        assert_eq!(link.send(&frame, &[7][..].into(), &[]).unwrap(), Some(seq));
    }
    for seq in 0..3 {
        assert_eq!(worker.next().unwrap().frame.count, 1);
        worker.start(0);
        worker.value(0, &[8], &[]).unwrap();
        worker.finish(1, 1).unwrap();
        assert_eq!(link.receive().unwrap().unwrap().seq, seq);
        link.consumed();
        link.release_below(seq + 1);
        let Progress { seq: at, started, done } = link.progress();
        assert_eq!((at, started, done), (seq, 1, 1));
    }
}

/// A worker that waits for a slot is told of one although the run of answers that the pool reads has not ended.
#[test]
fn the_pool_says_now_and_then_what_it_has_read_and_at_the_end_of_a_run() {
    let (mut link, mut worker) = both_ends();
    let frame = Frame { kind: FrameKind::Tasks, header: 0, first: 0, count: 1, skip: 0 };
    for seq in 0..MOST_UNTOLD + 2 {
        link.send(&frame, &[7][..].into(), &[]).unwrap();
        worker.next().unwrap();
        worker.value(0, &[8], &[]).unwrap();
        worker.finish(1, 1).unwrap();
        assert_eq!(link.memory.head().answers_read(), 0, "told before answer {seq} was read");
    }
    let mut told = Vec::new();
    while link.receive().unwrap().is_some() {
        link.consumed();
        told.push(link.memory.head().answers_read());
    }
    let first = told.iter().position(|told| *told > 0).unwrap() as u64;
    assert_eq!((first + 1, told[first as usize]), (MOST_UNTOLD, MOST_UNTOLD));
    assert_eq!(link.memory.head().answers_read(), MOST_UNTOLD + 2);
}

/// A header in a file stays what it is: the worker goes back to it with each task.
#[test]
fn the_file_of_a_header_is_not_used_again() {
    let (mut link, mut worker) = both_ends();
    let frame = |kind| Frame { kind, header: 0, first: 0, count: 1, skip: 0 };
    let mut send = |kind, byte: u8| {
        let seq = link.send(&frame(kind), &vec![byte; DATA + 1][..].into(), &[]).unwrap().unwrap();
        let came = worker.next().unwrap();
        worker.value(0, &[8], &[]).unwrap();
        worker.finish(1, 1).unwrap();
        assert_eq!(link.receive().unwrap().unwrap().seq, seq);
        link.consumed();
        link.release_below(seq + 1);
        came.payload
    };
    // Neither does one get a file that tasks have had.
    for byte in 0..3 {
        drop(send(FrameKind::Tasks, byte));
    }
    let Payload::File(header) = send(FrameKind::Header, 7) else { panic!("it came in no file") };
    for byte in 0..3 {
        drop(send(FrameKind::Tasks, byte));
    }
    assert!(header.to_vec().unwrap() == vec![7; DATA + 1]);
}

const TASKS: Frame = Frame { kind: FrameKind::Tasks, header: 0, first: 0, count: 1, skip: 0 };

/// A vector as it is sent: what stands before it, and its numbers.
fn vector(len: usize) -> ([u8; 8], Vec<u8>) {
    (codec::prefix(len), (0..len).map(|at| (at / 3) as u8).collect())
}

#[test]
fn a_tail_is_read_while_it_is_written() {
    let (mut link, mut worker) = both_ends();
    let [least, most] = [*LONG_TAIL.start(), *LONG_TAIL.end()];
    for len in [1, least - 1, least, least + 1, 3_000_001, most, most + 1, DATA - 8, least] {
        let (head, tail) = vector(len);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let payload = worker.next().unwrap().payload;
                assert_eq!(payload.len(), len + 8);
                payload.read(&mut Vec::new(), codec::decode::<Vec<u8>>).unwrap()
            });
            let seq = link.send(&TASKS, &Parts { head: &head, tail: &tail }, &[]).unwrap().unwrap();
            assert!(reader.join().unwrap() == tail && link.payload(seq)[8..] == tail);
        });
        link.release_below(link.sent());
    }
}

#[test]
fn who_reads_waits_for_what_is_not_there() {
    let (mut link, mut worker) = both_ends();
    let (head, tail) = vector(*LONG_TAIL.start());
    let len = head.len() + tail.len();
    // As if the pool were stopped after the first piece.
    let place = Place::Data(link.arena.take(0, len).unwrap(), len);
    let area = link.memory.task_data();
    assert!(area.write(0, &head) && area.write(8, &tail[..PIECE]));
    let slots = link.memory.tasks().slots;
    slots.publish_early(0, &Record { kind: 0, tag: 0, fields: [0, 0, 1] }, &place, 8 + PIECE);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let payload = worker.next().unwrap().payload;
            assert!(payload.to_vec().unwrap()[8..] == tail);
            payload.read(&mut Vec::new(), codec::decode::<Vec<u8>>).unwrap()
        });
        let start = Instant::now();
        while !link.memory.head().blocked().is_asleep() {
            assert!(start.elapsed() < Duration::from_secs(10), "nobody waits");
            std::thread::yield_now();
        }
        assert!(area.write(8 + PIECE, &tail[PIECE..]));
        slots.note_written(0, len);
        link.memory.head().blocked().call();
        assert!(reader.join().unwrap() == tail);
    });
}
