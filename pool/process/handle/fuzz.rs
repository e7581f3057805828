//! What a process may say at its end, and send with it.

use super::*;
use crate::ipc::parcel::Parcel;
use crate::sys::fuzz::{Random, Tracer, fuzz, within};
use std::os::fd::OwnedFd;

/// A value of two, as bytes.
fn value(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode(&(random.text(9), random.number()), &mut bytes).unwrap();
    bytes
}

/// A report more or less as it should be, and the file that belongs to it.
fn report(random: &mut Random) -> (Report, Option<OwnedFd>) {
    let (parcel, file) = match random.below(4) {
        0 => (Parcel::File(random.number() % 10_000), Some(random.descriptor())),
        1 => Parcel::pack([value(random), vec![7; 17_000]].concat()).unwrap(),
        _ => (Parcel::Inline(value(random)), None),
    };
    let report = match random.below(4) {
        0 => Report::Failure(Parcel::Inline(codec::to_bytes(&Failure::Encode { text: random.text(20) }))),
        1 => {
            let mut bytes = value(random);
            handles::append(&mut bytes, &Pins::new());
            random.spoil(&mut bytes);
            Report::Handles(Parcel::Inline(bytes), random.number() as usize)
        }
        _ => Report::Value(parcel),
    };
    (report, file)
}

#[test]
fn whatever_a_process_says_at_its_end() {
    fuzz(
        || (),
        |(), random| {
            let (control, theirs) = Control::pair();
            let (tracer, traced) = Tracer::new();
            let (report, file) = report(random);
            let mut bytes = codec::to_bytes(&report);
            random.spoil(&mut bytes);
            let mut fds: Vec<OwnedFd> = file.into_iter().collect();
            fds.insert(random.below(fds.len() + 1), traced);
            theirs.send_as_message(&bytes, &fds);
            if random.once_in(4) {
                theirs.send_as_message(&random.bytes(40), &fds);
            }
            drop((theirs, fds));

            let most = 64 * bytes.len() + 64 * 1024;
            let Ok(received) = within(most, &bytes, || receive(&control)) else {
                drop(control);
                return assert!(tracer.is_closed(), "a descriptor stays open");
            };
            if let Received::Value(contents, pins) = &received {
                let value = within(most, contents, || read::<(String, u64)>(contents, pins));
                assert!(value.is_err() || !contents.reader().is_empty());
            }
            drop((received, control));
            assert!(tracer.is_closed(), "a descriptor stays open");
        },
    );
}
