//! Both ends of a link in one process.

use super::*;
use crate::codec;
use crate::ipc::bell::Bell;
use crate::ipc::lane::{Rest, Written};
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
    // A prime number of them, so that no two pieces are the same.
    let block: Vec<u8> = (0..65_521).map(|at| (at / 3) as u8).collect();
    let mut tail = block.repeat(len / block.len() + 1);
    tail.truncate(len);
    (codec::prefix(len), tail)
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
            let seq = link.send(&TASKS, &Parts { head: &head, tail: &tail, once: true }, &[]).unwrap().unwrap();
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

/// How many bytes of the payload of frame `seq` did not pass through its window.
fn in_file(link: &RingLink, seq: u64) -> usize {
    link.elsewhere[&seq].1.bytes.len()
}

#[test]
fn what_is_larger_than_the_area_passes_through_a_window() {
    let (mut link, mut worker) = both_ends();
    for len in [DATA, DATA + 12_345, 2 * DATA] {
        let (head, tail) = vector(len);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let payload = worker.next().unwrap().payload;
                worker.start(0);
                assert_eq!(payload.len(), len + 8);
                payload.read(&mut Vec::new(), codec::decode::<Vec<u8>>).unwrap()
            });
            let seq = link.send(&TASKS, &Parts { head: &head, tail: &tail, once: true }, &[]).unwrap().unwrap();
            assert!(reader.join().unwrap() == tail);
            // A machine that has much else to do may not run the reader for a while.
            println!("{} of {len} bytes came in the file", in_file(&link, seq));
        });
        link.release_below(link.sent());
    }
}

#[test]
fn a_frame_is_sent_when_the_worker_does_not_read() {
    let (mut link, mut worker) = both_ends();
    let (head, tail) = vector(DATA);
    let send =
        |link: &mut RingLink| link.send(&TASKS, &Parts { head: &head, tail: &tail, once: true }, &[]).unwrap().unwrap();
    let first = send(&mut link);
    let whole = link.payload(first);
    assert!(whole[..8] == head && whole[8..] == tail && in_file(&link, first) == whole.len());
    // What is sent to a worker that has something to do passes through no window, nor does what may be needed again.
    let second = send(&mut link);
    assert_eq!(link.memory.tasks().slots.read(second, DATA).unwrap().1, Place::Elsewhere);
    assert!(link.payload(second) == whole);
    // It can be taken back, and what came beside it is not taken for that of the next one.
    assert_eq!(link.revoke(first), Revoked::Taken);
    let payload = worker.next().unwrap().payload;
    assert!(payload.read(&mut Vec::new(), codec::decode::<Vec<u8>>).unwrap() == tail);
    link.release_below(link.sent());
    let third = send(&mut link);
    let payload = worker.next().unwrap().payload;
    assert!(payload.read(&mut Vec::new(), codec::decode::<Vec<u8>>).unwrap() == tail);
    assert!(link.payload(third).is_empty(), "what was read has passed");
    link.release_below(link.sent());
    let again = Parts { head: &head, tail: &tail, once: false };
    let fourth = link.send(&TASKS, &again, &[]).unwrap().unwrap();
    assert_eq!(link.memory.tasks().slots.read(fourth, DATA).unwrap().1, Place::Elsewhere);
}

#[test]
fn who_stops_reading_finds_the_rest_in_the_file() {
    let (mut link, mut worker) = both_ends();
    let (head, tail) = vector(DATA);
    let sent = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let Payload::Arriving(whole) = worker.next().unwrap().payload else { panic!("it is there already") };
            let mut begin = vec![0; WINDOW + 3 * PIECE + 1];
            whole.read_into(0, &mut begin).unwrap();
            sent.wait();
            begin.extend(whole.to_vec::<u8>(begin.len(), whole.len() - begin.len()).unwrap());
            assert!(begin[..8] == head && begin[8..] == tail);
        });
        let seq = link.send(&TASKS, &Parts { head: &head, tail: &tail, once: true }, &[]).unwrap().unwrap();
        sent.wait();
        reader.join().unwrap();
        assert!(in_file(&link, seq) == tail.len() + 8 && link.payload(seq).is_empty());
    });
}

#[test]
fn nobody_waits_for_a_worker_that_reads_too_slowly() {
    let (mut link, mut worker) = both_ends();
    let (head, tail) = vector(DATA);
    let sent = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let Payload::Arriving(whole) = worker.next().unwrap().payload else { panic!("it is there already") };
            let mut got = Vec::new();
            while got.len() < whole.len() {
                let piece = (whole.len() - got.len()).min(PIECE / 2);
                got.extend(whole.to_vec::<u8>(got.len(), piece).unwrap());
                if !sent.load(std::sync::atomic::Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            assert!(got[..8] == head && got[8..] == tail);
        });
        let seq = link.send(&TASKS, &Parts { head: &head, tail: &tail, once: true }, &[]).unwrap().unwrap();
        sent.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap();
        assert!(in_file(&link, seq) == tail.len() + 8);
    });
}

#[test]
fn nobody_waits_for_a_worker_that_needs_no_more() {
    let (mut link, mut worker) = both_ends();
    let (head, tail) = vector(DATA);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| drop(worker.next().unwrap().payload));
        let seq = link.send(&TASKS, &Parts { head: &head, tail: &tail, once: true }, &[]).unwrap().unwrap();
        reader.join().unwrap();
        assert!(link.memory.head().passed(seq).is_none());
    });
    // Not the next frame's, nor one's that has the same number in so many bits.
    assert_eq!(link.memory.head().passed(link.sent()), Some(0));
    link.release_below(link.sent());
    link.memory.head().note_all_passed(link.sent() + (1 << 16));
    let seq = link.send(&TASKS, &Parts { head: &head, tail: &tail, once: true }, &[]).unwrap().unwrap();
    assert!(link.payload(seq)[8..] == tail);
}

#[test]
fn a_rest_that_was_lost_is_an_error_of_who_reads() {
    let (mut link, mut worker) = both_ends();
    let (head, tail) = vector(DATA);
    let seq = link.send(&TASKS, &Parts { head: &head, tail: &tail, once: true }, &[]).unwrap().unwrap();
    let slots = link.memory.tasks().slots;
    slots.note(seq, Written { rest: Rest::Lost, ..slots.written(seq) });
    let payload = worker.next().unwrap().payload;
    let error = payload.read(&mut Vec::new(), codec::decode::<Vec<u8>>).unwrap_err();
    assert!(error.0.contains("no memory"), "{error:?}");
}
