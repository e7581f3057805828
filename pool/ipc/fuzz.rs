//! What another process may send on a control socket: any bytes, and any descriptors with them.

use crate::codec;
use crate::heap::block::Block;
use crate::heap::kind::Kind;
use crate::heap::scope::Pin;
use crate::heap::tree;
use crate::ipc::control::{Beside, ChildKind, Control, HeapGrant, Hello, Instructions, MARK, Reply, Thing, VERSION};
use crate::ipc::handles;
use crate::ipc::parcel::Parcel;
use crate::ipc::result_limit::ResultLimit;
use crate::sys::fuzz::{Random, Tracer, fuzz, within};
use crate::sys::socket;
use crate::sys::time::Deadline;
use serde::de::DeserializeOwned;
use std::os::fd::{AsFd, OwnedFd};

/// What a message may cost in memory, beyond its own length: the buffer of the message, which is as long as it is, and
/// descriptors.
const MORE: usize = 16 * 1024;

fn parcel(random: &mut Random) -> Parcel {
    if random.once_in(2) { Parcel::Inline(random.bytes(100)) } else { Parcel::File(random.number() % 10_000) }
}

fn instructions(random: &mut Random) -> Instructions {
    Instructions {
        name: random.text(9),
        parent: random.text(9),
        role: (random.number(), random.number()),
        kind: if random.once_in(2) { ChildKind::Guardian } else { ChildKind::Template },
        setup: random.bytes(40),
        variables: vec![(random.text(9).into(), random.text(9).into()); usize::from(random.once_in(2))],
        attached: random.number() as usize,
    }
}

/// A message of one of the kinds that there are.
fn message(random: &mut Random) -> Vec<u8> {
    match random.below(6) {
        0 => codec::to_bytes(&Hello {
            version: VERSION,
            build: random.bytes(20),
            nonce: random.next(),
            heap: if random.once_in(3) {
                Err(random.text(9))
            } else {
                Ok(HeapGrant { id: random.next(), own: random.number(), parent: random.number() })
            },
            crash: random.once_in(2),
            instructions: match parcel(random) {
                Parcel::Inline(_) => Parcel::Inline(codec::to_bytes(&instructions(random))),
                file => file,
            },
        }),
        1 => codec::to_bytes(random.pick(&[Reply::Ready, Reply::Refused("no".to_owned())])),
        2 => codec::to_bytes(&Beside { number: random.below(2) as u64, what: Thing::AttachedFds }),
        3 | 4 => {
            codec::to_bytes(&Beside { number: random.below(2) as u64, what: Thing::Bytes(random.number() % 10_000) })
        }
        _ => random.bytes(100),
    }
}

/// Sends a message more or less as it should be, with descriptors. Returns how long it is.
fn send(control: &Control, random: &mut Random, fds: &[OwnedFd]) -> usize {
    let mut bytes = message(random);
    random.spoil(&mut bytes);
    if random.once_in(8) {
        // No message of the library's. An empty one would be the end.
        bytes.push(0);
        let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
        socket::send(control.socket().as_fd(), &bytes, &fds, Deadline::NEVER).unwrap();
    } else {
        control.send_as_message(&bytes, fds);
    }
    bytes.len() + MARK.len()
}

/// Receives a message as this type: the message and its descriptors, or nothing.
fn receive<T: DeserializeOwned>(control: &Control, len: usize) -> Option<(T, Vec<OwnedFd>)> {
    within(8 * len + MORE, &"a message", || control.receive::<T>(false)).ok().flatten()
}

/// Does with a message what the library does with it.
fn read(control: &Control, random: &mut Random, len: usize) {
    match random.below(6) {
        0 | 1 => {
            let Some((hello, fds)) = receive::<Hello>(control, len) else { return };
            let mut fds = fds.into_iter();
            let _ = hello.heap.map(|grant| fds.next().filter(tree::is_heap).map(|fd| grant.with(fd)));
            let Ok(contents) = hello.instructions.open(fds.next().as_ref()) else { return };
            let Ok(bytes) = contents.to_vec(usize::MAX) else { return };
            let _ = within(8 * bytes.len() + MORE, &"instructions", || codec::from_bytes::<Instructions>(&bytes));
        }
        2 => drop(receive::<Reply>(control, len)),
        3 => {
            let received = within(8 * len + MORE, &"sets", || control.receive_attached(0, random.below(3), false));
            assert!(received.is_err() || received.is_ok_and(|it| it.len() <= 2));
        }
        _ => {
            let limit = ResultLimit(random.once_in(2).then(|| random.number() % 10_000));
            let received = within(8 * len + MORE, &"bytes beside", || control.receive_bytes(0, limit));
            let Ok(payload) = received else { return };
            // All of it is there: descriptors are of files of at most that many bytes, or of holes.
            assert!(payload.len() <= 9000, "{}", payload.len());
            assert!(limit.check(payload.len().saturating_sub(1)).is_ok());
            assert_eq!(payload.to_vec().unwrap().len(), payload.len());
        }
    }
}

#[test]
fn whatever_comes_on_a_control_socket() {
    fuzz(Control::pair, |(ours, theirs), random| {
        let (tracer, traced) = Tracer::new();
        let mut fds: Vec<OwnedFd> = (0..random.below(3)).map(|_| random.descriptor()).collect();
        fds.insert(random.below(fds.len() + 1), traced);
        let len = send(theirs, random, &fds);
        drop(fds);
        read(ours, random, len);
        // What was skipped, or asked for and not there.
        while ours.receive::<Reply>(false).is_ok() {}
        assert!(tracer.is_closed(), "a descriptor stays open");
    });
}

#[test]
fn whatever_stands_for_the_handles_behind_a_value() {
    let blocks = || [8, 5000].map(|len| Block::new(Kind::Test, len).unwrap());
    fuzz(blocks, |blocks, random| {
        let mut bytes = random.bytes(40);
        let pins = (0..random.below(4)).map(|_| Pin::Block(random.pick(&blocks[..]).clone())).collect();
        handles::append(&mut bytes, &pins);
        random.spoil(&mut bytes);
        let len = bytes.len();
        let taken = within(200 * len + MORE, &"handles", || handles::take_off(bytes));
        // Each takes a few bytes.
        assert!(taken.is_none_or(|(value, pins)| value.len() <= len && pins.len() <= len / 8));
    });
}
