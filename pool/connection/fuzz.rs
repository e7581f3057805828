//! What may come over a socket: frames and handshakes, as they should be and spoiled, and in any pieces.

use super::auth::Secret;
use super::frame::{Outgoing, Reader};
use super::handshake::{Handshake, Side};
use crate::error::ConnectionError;
use crate::sys::fuzz::{Random, fuzz, within};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// The bytes that a message is sent as.
fn framed(random: &mut Random, message: &[u8]) -> Vec<u8> {
    if random.once_in(4) {
        // The long form, which may be used for short messages as well.
        return [&[0xff; 4][..], &(message.len() as u64).to_be_bytes(), message].concat();
    }
    Outgoing::new(message).bytes()
}

/// What a reader makes of the bytes, after which the stream ends, when they come in pieces of that length.
fn read(bytes: &[u8], piece: usize, most: usize) -> (Vec<Vec<u8>>, ConnectionError) {
    let (mut there, here) = UnixStream::pair().unwrap();
    let (mut reader, mut messages) = (Reader::default(), Vec::new());
    let mut pieces = bytes.chunks(piece);
    loop {
        match reader.read(here.as_fd(), most) {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => match pieces.next() {
                Some(piece) => there.write_all(piece).unwrap(),
                None => there.shutdown(std::net::Shutdown::Write).unwrap(),
            },
            Err(error) => return (messages, error),
        }
    }
}

#[test]
fn a_stream_is_messages_and_one_error_in_whatever_pieces_it_comes() {
    const MOST: usize = 100;
    fuzz(
        || (),
        |(), random| {
            let sent: Vec<Vec<u8>> = (0..random.below(4)).map(|_| random.bytes(40)).collect();
            let whole: Vec<u8> = sent.iter().flat_map(|message| framed(random, message)).collect();
            let mut bytes = whole.clone();
            random.spoil(&mut bytes);
            let pieces = [random.below(30) + 1, bytes.len() + 1];
            let [first, second] = pieces.map(|piece| within(4096 + bytes.len(), &bytes, || read(&bytes, piece, MOST)));
            assert_eq!((&first.0, first.1.to_string()), (&second.0, second.1.to_string()));
            assert!(first.0.iter().all(|message| message.len() <= MOST));
            if bytes == whole {
                assert_eq!(first.0, sent);
                assert!(first.1.is_disconnected());
            }
        },
    );
}

fn secret(key: &str, allow_md5: bool) -> Secret {
    Secret { key: key.as_bytes().into(), allow_md5 }
}

/// Two sides exchange what they have to say, through somebody who spoils some of it; whether each is content.
fn meet(random: &mut Random, keys: [&Secret; 2], is_spoiled: bool) -> [Result<bool, ConnectionError>; 2] {
    let pairs = [UnixStream::pair().unwrap(), UnixStream::pair().unwrap()];
    let [(listener, for_listener), (client, for_client)] = pairs;
    let ends = [for_listener, for_client];
    for end in &ends {
        end.set_nonblocking(true).unwrap();
    }
    let mut sides = [
        Handshake::begin(listener.into(), keys[0].clone(), Side::Listener).unwrap(),
        Handshake::begin(client.into(), keys[1].clone(), Side::Client).unwrap(),
    ];
    let mut results = [Ok(false), Ok(false)];
    // Four messages each way would be more than there are.
    for _ in 0..8 {
        for at in 0..2 {
            let mut bytes = vec![0; 1000];
            let len = std::io::Read::read(&mut (&ends[at]), &mut bytes).unwrap_or(0);
            bytes.truncate(len);
            if is_spoiled && !bytes.is_empty() {
                random.spoil(&mut bytes);
            }
            let other = 1 - at;
            let _ = (&ends[other]).write_all(&bytes);
            if let Ok(false) = results[other] {
                results[other] = within(8192, &bytes, || sides[other].advance());
            }
        }
    }
    results
}

#[test]
fn nobody_is_content_but_with_one_who_has_the_key() {
    let keys = [secret("key", false), secret("another", false), secret("key", true)];
    fuzz(
        || (),
        |(), random| {
            let chosen = [random.pick(&keys), random.pick(&keys)];
            let have_one_key = chosen[0].key == chosen[1].key;
            let is_spoiled = random.once_in(2);
            let results = meet(random, chosen, is_spoiled);
            if !is_spoiled {
                assert_eq!(results.iter().all(|result| matches!(result, Ok(true))), have_one_key);
            }
            // Whoever is content has seen the proof, be the rest of the exchange spoiled or not.
            assert!(have_one_key || results.iter().all(|result| !matches!(result, Ok(true))));
        },
    );
}
