//! The messages of the channel link: a head of the library's own and a payload as it is, in a stream of bytes.
//!
//! In front stand a mark and both lengths. The reader keeps what has arrived, and takes memory for that alone.

use crate::codec::{self, CodecError};
use crate::ipc::link::{Parts, damaged};
use crate::ipc::result_limit::ResultLimit;
use crate::sys::stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;

/// What every message begins with: other code of the worker may write to a descriptor that it takes for its own.
const MARK: [u8; 4] = *b"\x93mp\x1a";

/// The mark, the length of the head in 4 bytes, and that of the payload in 8.
const PREFIX: usize = 16;

/// The longest head of ours is far below it.
const MAX_HEAD: usize = 4096;

/// So many bytes are read from the stream at once.
const AT_ONCE: usize = 64 * 1024;

/// Adds a message to bytes that are to be sent.
pub(super) fn append<T: Serialize>(to: &mut Vec<u8>, head: &T, payload: &Parts<'_>) {
    let head = codec::to_bytes(head);
    to.reserve(PREFIX + head.len() + payload.len());
    to.extend_from_slice(&MARK);
    to.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes());
    to.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    to.extend_from_slice(&head);
    to.extend_from_slice(payload.head);
    to.extend_from_slice(payload.tail);
}

/// A message that has arrived.
#[derive(Debug)]
pub(super) struct Message {
    head: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

impl Message {
    /// # Errors
    ///
    /// It is none of ours.
    pub(super) fn head<T: DeserializeOwned>(&self) -> io::Result<T> {
        codec::from_bytes(&self.head).map_err(|CodecError(text)| damaged(&text))
    }
}

/// What a look into a stream has brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrived {
    Something,
    /// There is nothing now.
    Nothing,
    /// The other end is gone.
    End,
}

/// Reads a stream, and puts messages together.
#[derive(Debug)]
pub(super) struct Reader {
    buffer: Vec<u8>,
    /// What of the buffer was read and not taken yet.
    fresh: Range<usize>,
    prefix: Vec<u8>,
    head: Vec<u8>,
    payload: Vec<u8>,
    /// How long both are to be, once that is known.
    lens: Option<(usize, usize)>,
    /// The most bytes of a payload; `None` if the other end is believed.
    limit: Option<ResultLimit>,
}

impl Reader {
    pub(super) fn new(limit: Option<ResultLimit>) -> Reader {
        let (buffer, fresh) = (vec![0; AT_ONCE], 0..0);
        let [prefix, head, payload] = [(); 3].map(|()| Vec::new());
        Reader { buffer, fresh, prefix, head, payload, lens: None, limit }
    }

    /// Reads once, when everything before was taken.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub(super) fn read(&mut self, from: BorrowedFd<'_>) -> io::Result<Arrived> {
        let len = stream::receive(from, &mut self.buffer);
        self.has_read(len)
    }

    /// Like [`Reader::read`], but waits until something is there.
    ///
    /// # Errors
    ///
    /// See [`Reader::read`].
    pub(super) fn wait_and_read(&mut self, from: BorrowedFd<'_>) -> io::Result<Arrived> {
        let len = stream::wait_and_receive(from, &mut self.buffer);
        self.has_read(len)
    }

    fn has_read(&mut self, len: io::Result<Option<usize>>) -> io::Result<Arrived> {
        match len {
            Ok(None) => Ok(Arrived::Nothing),
            Ok(Some(0)) => Ok(Arrived::End),
            // It was closed with bytes in it that nobody had read.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Arrived::End),
            Ok(Some(len)) => {
                self.fresh = 0..len;
                Ok(Arrived::Something)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes a message out of what was read; `None` when it is not whole yet, and then all of that is taken.
    ///
    /// # Errors
    ///
    /// This is no message, or one that is too large, or there is no memory for it.
    pub(super) fn take(&mut self) -> io::Result<Option<Message>> {
        let Reader { buffer, fresh, prefix, head, payload, lens, limit } = self;
        let (head_len, payload_len) = match lens {
            Some(lens) => *lens,
            None => {
                move_up_to(PREFIX, buffer, fresh, prefix)?;
                if prefix.iter().zip(&MARK).any(|(is, ought)| is != ought) {
                    return Err(damaged("something else in its stream"));
                }
                let Ok(whole) = <[u8; PREFIX]>::try_from(&**prefix) else { return Ok(None) };
                *lens.insert(check_lens(&whole, *limit)?)
            }
        };
        move_up_to(head_len, buffer, fresh, head)?;
        move_up_to(payload_len, buffer, fresh, payload)?;
        if head.len() < head_len || payload.len() < payload_len {
            return Ok(None);
        }
        prefix.clear();
        *lens = None;
        Ok(Some(Message { head: std::mem::take(head), payload: std::mem::take(payload) }))
    }
}

fn check_lens(prefix: &[u8; PREFIX], limit: Option<ResultLimit>) -> io::Result<(usize, usize)> {
    let [.., a, b, c, d, e, f, g, h] = *prefix;
    let payload = usize::try_from(u64::from_le_bytes([a, b, c, d, e, f, g, h])).unwrap_or(usize::MAX);
    let [_, _, _, _, a, b, c, d, ..] = *prefix;
    let head = u32::from_le_bytes([a, b, c, d]) as usize;
    if head > MAX_HEAD {
        return Err(damaged("a message with a head that is too long"));
    }
    match limit.map(|limit| limit.check(payload)) {
        Some(Err(text)) => Err(damaged(&format!("a message that is too large: {text}"))),
        _ => Ok((head, payload)),
    }
}

/// Moves bytes until `to` has `len` of them, or all. It has room for twice of what has arrived at most, and never for more than
/// `len`.
fn move_up_to(len: usize, buffer: &[u8], fresh: &mut Range<usize>, to: &mut Vec<u8>) -> io::Result<()> {
    let missing = len.saturating_sub(to.len());
    let count = fresh.len().min(missing);
    if to.capacity() - to.len() < count {
        let room = count.max(to.len()).min(missing);
        to.try_reserve_exact(room).map_err(|_| io::ErrorKind::OutOfMemory)?;
    }
    to.extend_from_slice(&buffer[fresh.start..fresh.start + count]);
    fresh.start += count;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn messages_come_out_however_their_bytes_arrive() {
        let sent: Vec<(u64, Vec<u8>)> = vec![(1, vec![]), (2, vec![7; 5]), (3, vec![9; 70_000]), (4, vec![])];
        let mut bytes = Vec::new();
        sent.iter().for_each(|(head, payload)| append(&mut bytes, head, &payload[..].into()));
        for step in [1, 3, 16, 17, 4096, bytes.len()] {
            let (a, b) = stream::pair().unwrap();
            let mut reader = Reader::new(None);
            let mut got = Vec::new();
            for mut part in bytes.chunks(step) {
                while !part.is_empty() {
                    let len = stream::send(a.as_fd(), &[io::IoSlice::new(part)]).unwrap().unwrap();
                    part = &part[len..];
                    while reader.read(b.as_fd()).unwrap() == Arrived::Something {
                        while let Some(message) = reader.take().unwrap() {
                            got.push((message.head::<u64>().unwrap(), message.payload));
                        }
                        assert!(reader.fresh.is_empty());
                    }
                }
            }
            drop(a);
            assert_eq!(reader.wait_and_read(b.as_fd()).unwrap(), Arrived::End);
            assert_eq!(got, sent, "in steps of {step}");
        }
    }

    /// What a reader makes of these bytes.
    fn read(bytes: &[u8]) -> (Reader, io::Result<Option<Message>>) {
        let mut reader = Reader::new(Some(ResultLimit(Some(1 << 40))));
        reader.buffer[..bytes.len()].copy_from_slice(bytes);
        reader.fresh = 0..bytes.len();
        let taken = reader.take();
        (reader, taken)
    }

    #[test]
    fn an_announcement_takes_no_memory() {
        let announce = |payload: u64| [&MARK[..], &8u32.to_le_bytes(), &payload.to_le_bytes(), &[0; 8]].concat();
        let (waiting, taken) = read(&announce(1 << 40));
        assert!(taken.unwrap().is_none() && waiting.payload.capacity() < 1024);
        assert!(read(&announce(u64::MAX)).1.is_err());
        assert!(read(&announce(0)).1.unwrap().unwrap().head::<String>().is_err());
    }

    #[test]
    fn what_is_no_message_is_an_error_at_its_first_byte() {
        assert!(read(b"s").1.is_err() && read(b"status: ok\n").1.is_err());
        assert!(read(&[0; 1]).1.is_err() && read(&[0xff; 100]).1.is_err());
        assert!(read(&MARK[..2]).1.unwrap().is_none());
        assert!(read(&[&MARK[..], &[0xff; 12]].concat()).1.is_err());
    }
}
