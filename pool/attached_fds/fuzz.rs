//! Descriptors of every kind, given to ipc-channel as those of the ends in a value.

use super::*;
use crate::sys::fuzz::{Random, Tracer, fuzz};
use ipc_channel::ipc::{IpcSharedMemory, OpaqueIpcSender};

/// Reads one of so many ends and pieces of memory, and uses it as far as that cannot wait; now and then one of no such place.
fn read(random: &mut Random, ends: usize, pieces: usize) {
    let kind = random.below(5);
    let there = if kind == 0 { pieces } else { ends };
    let at = match random.once_in(100) {
        true => *random.pick(&[0, 1, 63, 64, usize::MAX]),
        false if there == 0 => return,
        false => random.below(there),
    };
    match kind {
        0 => drop(IpcSharedMemory::deserialize(place(at)).map(|it| it.iter().take(9).all(|byte| *byte == 0))),
        1 => drop(IpcSender::<u64>::deserialize(place(at)).map(|it| it.send(7))),
        2 => drop(IpcReceiver::<u64>::deserialize(place(at)).map(|it| it.try_recv())),
        3 => drop(OpaqueIpcSender::deserialize(place(at))),
        _ => drop(OpaqueIpcReceiver::deserialize(place(at))),
    }
}

#[test]
fn whatever_comes_as_the_descriptors_of_ends() {
    fuzz(
        || (),
        |(), random| {
            let (tracer, traced) = Tracer::new();
            let mut fds: Vec<OwnedFd> = (0..random.below(3)).map(|_| random.descriptor()).collect();
            let is_traced = random.once_in(4);
            if is_traced {
                fds.insert(random.below(fds.len() + 1), traced);
            }
            let ends = fds.iter().filter(|fd| socket::is_socket(fd.as_fd())).count();
            let pieces = fds.len() - ends;
            let attached = AttachedFds::new(fds);
            let (seed, count) = (random.next(), random.below(4));
            // ipc-channel panics when an end is read where there is none: that is caught where values are decoded.
            let read = move || {
                let random = &mut Random::new(seed);
                catch_unwind(AssertUnwindSafe(|| (0..count).for_each(|_| read(random, ends, pieces))))
            };
            let _ = attached.unpack(read);
            attached.close();
            assert!(!is_traced || tracer.is_closed(), "a descriptor stays open");
        },
    );
}
