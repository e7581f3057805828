//! Requests and answers as they are sent, and spoiled: each is one or an error.

use super::wire::{self, Answer, Request};
use crate::pickle::fuzz::{value, worth};
use crate::pickle::value::PyValue;
use crate::sys::fuzz::{Random, fuzz, within};

fn message(random: &mut Random) -> Vec<u8> {
    let args = (0..random.below(3)).map(|_| value(random, 2)).collect::<Vec<PyValue>>();
    match random.below(6) {
        0 => wire::returned(&value(random, 3)).unwrap(),
        1 => wire::raising("builtins", "KeyError", &args).unwrap(),
        2 => wire::failed(&random.text(20)),
        3 => {
            // An object that stays with the manager, as Python tells of it.
            let token = b"\x8c\x18multiprocessing.managers\x8c\x05Token\x93)\x81\x8c\x01t\x8c\x01a\x8c\x017\x87b";
            [&b"\x80\x04\x8c\x06#PROXY(\x8c\x04nexttt"[..], token, b"\x86\x86."].concat()
        }
        _ => {
            let object = if random.once_in(2) { None } else { Some(random.text(5)) };
            let kwargs = vec![(random.text(5), value(random, 1))];
            Request { object, name: random.text(9), args, kwargs }.write().unwrap()
        }
    }
}

#[test]
fn a_message_is_a_request_or_an_answer_or_an_error() {
    fuzz(
        || (),
        |(), random| {
            let mut bytes = message(random);
            random.spoil(&mut bytes);
            within(worth(&bytes), &bytes, || {
                // What is read can be written again, and is the same then.
                if let Ok(request) = Request::read(&bytes) {
                    let shown = format!("{request:?}");
                    assert_eq!(format!("{:?}", Request::read(&request.write().unwrap()).unwrap()), shown);
                }
                let _ = Answer::read(&bytes);
            });
        },
    );
}
