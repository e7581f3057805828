//! Both ends of a link in one process.

use super::*;
use crate::ipc::channel_worker::ChannelWorker;
use crate::ipc::link::{FrameKind, WorkerLink};
use crate::sys::memory;
use std::time::Duration;

/// What arrives while a message waits that was read with another one: the news of it must not be taken for news of that one.
#[test]
fn what_arrives_between_two_messages_is_read() {
    let (ours, theirs) = Control::pair();
    let bell = Bell::new(Arc::new(memory::private(Bell::LEN).unwrap()), 0);
    let limit = ResultLimit::default();
    let (mut link, fds) = create(bell.clone(), ours, limit).unwrap();
    let mut worker = ChannelWorker::new(fds, theirs, limit).unwrap();
    // Has the worker answer tasks, and waits until the pool was told.
    let answers = |worker: &mut ChannelWorker, tasks: std::ops::Range<u32>| {
        bell.prepare();
        for at in tasks {
            worker.value(at, &[7], &[]).unwrap();
            worker.flush();
        }
        bell.sleep(Deadline::after(Duration::from_secs(20)));
    };
    let frame = Frame { kind: FrameKind::Tasks, header: 0, first: 0, count: 3, skip: 0 };
    for round in 0..100 {
        link.send(&frame, &[1][..].into(), &[]).unwrap();
        worker.next().unwrap();
        answers(&mut worker, 0..2);
        let mut taken = Vec::new();
        while taken.is_empty() {
            taken.extend(link.receive().unwrap());
        }
        answers(&mut worker, 2..3);
        while link.has_answer() {
            taken.extend(link.receive().unwrap());
        }
        let order: Vec<u32> = taken.iter().map(|answer| answer.first).collect();
        assert_eq!(order, [0, 1, 2], "round {round}");
    }
}
