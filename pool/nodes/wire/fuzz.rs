//! Messages of all sizes, cut anywhere, whole or spoilt: what arrives is what was sent, or an error.

use super::*;
use crate::sys::fuzz::{Random, fuzz, within};

/// Messages that were taken, and what is wrong with the next one.
type Taken = (Vec<(Kind, Slot, Vec<u8>)>, Result<(), &'static str>);

/// What the messages of an inbox say, until it needs more bytes.
fn take(inbox: &mut Inbox, into: &mut Vec<(Kind, Slot, Vec<u8>)>) -> Result<(), &'static str> {
    while let Some(Message { kind, slot, body }) = inbox.next()? {
        into.push((kind, slot, body.into_rest(0).to_vec()));
    }
    Ok(())
}

/// Has an inbox read these bytes, in pieces of any size.
fn read(inbox: &mut Inbox, mut bytes: &[u8], random: &mut Random) -> Taken {
    let mut taken = Vec::new();
    while !bytes.is_empty() {
        let room = inbox.room();
        let len = (1 + random.below(room.len().min(bytes.len()))).min(bytes.len());
        room[..len].copy_from_slice(&bytes[..len]);
        inbox.has_read(len);
        bytes = &bytes[len..];
        if let Err(error) = take(inbox, &mut taken) {
            return (taken, Err(error));
        }
    }
    (taken, Ok(()))
}

fn any_message(random: &mut Random) -> (Kind, Slot, Vec<u64>, Vec<u8>) {
    let numbers = (0..random.below(6)).map(|_| random.number()).collect();
    let len = if random.once_in(400) { random.below(4 * SEGMENT) } else { random.below(40) };
    let rest = (0..len).map(|at| at as u8).collect();
    (*random.pick(&Kind::ALL), random.below(4) as Slot, numbers, rest)
}

fn written(numbers: &[u64], rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    numbers.iter().for_each(|number| put_number(&mut bytes, *number));
    bytes.extend_from_slice(rest);
    bytes
}

#[test]
fn what_was_sent_arrives_in_order_for_each_worker() {
    fuzz(
        || Inbox::new(16 * SEGMENT),
        |inbox, random| {
            let messages: Vec<_> = (0..random.below(8)).map(|_| any_message(random)).collect();
            let (mut outbox, mut bytes) = (Outbox::default(), Vec::new());
            for (kind, slot, numbers, rest) in &messages {
                outbox.put(*kind, *slot, numbers, rest);
            }
            loop {
                let ready = outbox.next();
                if ready.is_empty() {
                    break;
                }
                let len = 1 + random.below(ready.len());
                bytes.extend_from_slice(&ready[..len]);
                outbox.sent(len);
            }
            assert_eq!(outbox.len(), 0);
            let (taken, outcome) = read(inbox, &bytes, random);
            assert_eq!(outcome, Ok(()));
            assert_eq!(taken.len(), messages.len());
            for wanted in 0..4 {
                let sent = messages.iter().filter(|(_, slot, ..)| *slot == wanted);
                let sent: Vec<_> =
                    sent.map(|(kind, slot, numbers, rest)| (*kind, *slot, written(numbers, rest))).collect();
                let came: Vec<_> = taken.iter().filter(|(_, slot, _)| *slot == wanted).cloned().collect();
                assert_eq!(sent, came);
            }
        },
    );
}

#[test]
fn whatever_arrives_is_what_was_sent_or_an_error() {
    fuzz(
        || (),
        |(), random| {
            let messages: Vec<_> = (0..1 + random.below(4)).map(|_| any_message(random)).collect();
            let mut outbox = Outbox::default();
            for (kind, slot, numbers, rest) in &messages {
                outbox.put(*kind, *slot, numbers, rest);
            }
            let mut bytes = Vec::new();
            while let len @ 1.. = outbox.next().len() {
                bytes.extend_from_slice(outbox.next());
                outbox.sent(len);
            }
            let sound = bytes.clone();
            if random.once_in(2) {
                bytes = (0..random.below(64)).map(|_| random.number() as u8).collect();
            } else {
                random.spoil(&mut bytes);
            }
            let most = 4 * bytes.len() + 2 * (READ + HEAD + SEGMENT);
            let (taken, _) = within(most, &"bytes from anywhere", || {
                let mut inbox = Inbox::new(8 * SEGMENT);
                read(&mut inbox, &bytes, random)
            });
            // 32 bits of checksum: not one of so few inputs is taken for another message.
            for (kind, slot, body) in &taken {
                let sent = messages.iter().any(|it| (it.0, it.1) == (*kind, *slot) && written(&it.2, &it.3) == *body);
                assert!(sent, "{kind:?} {slot} {} of {}", body.len(), sound.len());
                let mut numbers = Numbers(body);
                while numbers.next().is_some() {}
            }
        },
    );
}

#[test]
fn a_small_message_does_not_wait_for_a_large_one_of_another_worker() {
    let mut outbox = Outbox::default();
    outbox.put(Kind::Tasks, 1, &[0], &vec![0; 40 * SEGMENT]);
    outbox.put(Kind::Tasks, 2, &[0], &vec![0; 2 * SEGMENT]);
    let first = outbox.next().len();
    assert!(first <= AT_ONCE + HEAD + SEGMENT);
    outbox.put(Kind::Beat, 0, &[7], &[]);
    assert_eq!(outbox.next().len(), first + HEAD + 1, "the beat is the next");
    outbox.put(Kind::Stop, 2, &[1], &[]);
    let mut inbox = Inbox::new(usize::MAX);
    let mut order = Vec::new();
    while let ready @ [_, ..] = outbox.next() {
        let room = inbox.room();
        let len = ready.len().min(room.len());
        room[..len].copy_from_slice(&ready[..len]);
        inbox.has_read(len);
        outbox.sent(len);
        while let Some(message) = inbox.next().unwrap() {
            order.push((message.kind, message.slot));
        }
    }
    assert_eq!(order, [(Kind::Beat, 0), (Kind::Tasks, 2), (Kind::Stop, 2), (Kind::Tasks, 1)]);
}

#[test]
fn numbers_of_all_lengths_are_read_again() {
    for number in (0..64).flat_map(|bit| [1u64 << bit, (1u64 << bit) - 1, u64::MAX >> bit]) {
        let mut bytes = Vec::new();
        put_number(&mut bytes, number);
        let mut numbers = Numbers(&bytes);
        assert_eq!((numbers.next(), numbers.next()), (Some(number), None));
    }
    assert_eq!(Numbers(&[0xff; 10]).next(), None);
}
