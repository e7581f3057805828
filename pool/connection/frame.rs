//! Messages as frames of a byte stream, as CPython sends them.
//!
//! A frame is the length of its message as a signed 32-bit number in network byte order, and the message. A length that does
//! not fit is -1, and then 64 bits without a sign. Nothing is read beyond the frame that is asked for, so the socket can be
//! read when, and only when, there is more of this frame or of the next.

use crate::error::{ConnectionError, ConnectionKind};
use crate::sys::stream;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

/// How much is reserved for a message of which nothing has come yet: a length is only a claim.
const FIRST_RESERVE: usize = 64 * 1024;

/// Reads frames, each in as many steps as its bytes take to come.
#[derive(Debug, Default)]
pub(super) struct Reader {
    head: [u8; 12],
    /// How much of `head` is there.
    head_len: usize,
    /// As far as it has come; behind `body_len` it is only room.
    body: Vec<u8>,
    body_len: usize,
    /// Why the next frame cannot be found.
    out_of_step: Option<String>,
}

impl Reader {
    /// Reads on, as far as bytes are there; the message when it is whole. `None` = some are still to come; then the next
    /// call goes on where this one has stopped.
    ///
    /// # Errors
    ///
    /// The connection has ended, here or in the middle of a message; the message has more than `most` bytes, or a length
    /// below zero: then the connection is shut down, since the next frame cannot be found.
    pub(super) fn read(&mut self, socket: BorrowedFd<'_>, most: usize) -> Result<Option<Vec<u8>>, ConnectionError> {
        if let Some(text) = &self.out_of_step {
            return Err(ConnectionError::new(ConnectionKind::OutOfStep { text: text.clone() }));
        }
        let read = self.read_on(socket, most);
        if let Some(error) = read.as_ref().err().filter(|error| !error.is_disconnected()) {
            self.out_of_step = Some(error.to_string());
            stream::shut_down(socket);
        }
        read
    }

    fn read_on(&mut self, socket: BorrowedFd<'_>, most: usize) -> Result<Option<Vec<u8>>, ConnectionError> {
        let len = loop {
            let wanted = match self.len()? {
                Some(len) => break len,
                None if self.head_len < 4 => 4,
                None => 12,
            };
            match stream::receive(socket, &mut self.head[self.head_len..wanted])? {
                // The time is over; what has come is kept for the next call.
                None => return Ok(None),
                Some(0) => return Err(self.ended(None)),
                Some(got) => self.head_len += got,
            }
        };
        if len > u64::try_from(most).unwrap_or(u64::MAX) {
            return Err(ConnectionError::new(ConnectionKind::TooLong { len, most: most as u64 }));
        }
        let wanted = usize::try_from(len).unwrap_or(usize::MAX);
        while self.body_len < wanted {
            if self.body_len == self.body.len() {
                // Room for as much as has come so far, so that who sends little of a long message reserves little here.
                let room = wanted.min(FIRST_RESERVE.max(self.body_len.saturating_mul(2)));
                self.body.try_reserve_exact(room - self.body_len).map_err(io::Error::from)?;
                self.body.resize(room, 0);
            }
            match stream::receive(socket, &mut self.body[self.body_len..])? {
                // The time is over; what has come is kept for the next call.
                None => return Ok(None),
                Some(0) => return Err(self.ended(Some(len))),
                Some(got) => self.body_len += got,
            }
        }
        (self.head_len, self.body_len) = (0, 0);
        Ok(Some(std::mem::take(&mut self.body)))
    }

    /// The length of the message, as soon as its head is there.
    fn len(&self) -> Result<Option<u64>, ConnectionError> {
        let (short, long) = self.head.split_at(4);
        let short = || i32::from_be_bytes(short.try_into().unwrap_or_default());
        let long = || u64::from_be_bytes(long.try_into().unwrap_or_default());
        match self.head_len {
            0..4 => Ok(None),
            12.. => Ok(Some(long())),
            _ => match short() {
                -1 => Ok(None),
                short => match u64::try_from(short) {
                    Ok(len) => Ok(Some(len)),
                    Err(_) => Err(ConnectionError::protocol(format!(
                        "the other end does not speak Python's protocol: a message of {short} bytes"
                    ))),
                },
            },
        }
    }

    #[cold]
    fn ended(&self, len: Option<u64>) -> ConnectionError {
        let got = if len.is_some() { self.body_len } else { self.head_len } as u64;
        ConnectionError::new(match (got, len) {
            (0, None) => ConnectionKind::Disconnected,
            _ => ConnectionKind::CutShort { got, len },
        })
    }
}

/// A message on its way out, of which a part may have been sent.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    head: [u8; 12],
    head_len: usize,
    body: &'a [u8],
    sent: usize,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(body: &'a [u8]) -> Outgoing<'a> {
        let mut head = [0; 12];
        let head_len = match i32::try_from(body.len()) {
            Ok(len) => {
                head[..4].copy_from_slice(&len.to_be_bytes());
                4
            }
            Err(_) => {
                head[..4].copy_from_slice(&(-1i32).to_be_bytes());
                head[4..].copy_from_slice(&(body.len() as u64).to_be_bytes());
                12
            }
        };
        Outgoing { head, head_len, body, sent: 0 }
    }

    /// Sends as much as there is room for; whether that was all of it.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>) -> Result<bool, ConnectionError> {
        let head = &self.head[..self.head_len];
        while self.sent < head.len() + self.body.len() {
            let head_left = &head[self.sent.min(head.len())..];
            let body_left = &self.body[self.sent.saturating_sub(head.len())..];
            match stream::send(socket, &[IoSlice::new(head_left), IoSlice::new(body_left)])? {
                None => return Ok(false),
                Some(sent) => self.sent += sent,
            }
        }
        Ok(true)
    }

    /// All of it.
    #[cfg(all(test, not(loom)))]
    pub(super) fn bytes(&self) -> Vec<u8> {
        [&self.head[..self.head_len], self.body].concat()
    }

    /// Whether a part of it was sent, which cannot be taken back.
    pub(super) fn has_begun(&self) -> bool {
        self.sent > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    /// What a reader makes of bytes, after which the stream ends, taken in steps of `step`.
    fn read(bytes: &[u8], step: usize, most: usize) -> Result<Vec<Vec<u8>>, ConnectionError> {
        let (mut there, here) = UnixStream::pair().unwrap();
        let mut reader = Reader::default();
        let mut messages = Vec::new();
        for part in bytes.chunks(step) {
            there.write_all(part).unwrap();
            while let Some(message) = reader.read(here.as_fd(), most)? {
                messages.push(message);
            }
        }
        drop(there);
        match reader.read(here.as_fd(), most) {
            Err(error) if error.is_disconnected() => Ok(messages),
            Err(error) => Err(error),
            Ok(message) => panic!("{message:?} of nothing"),
        }
    }

    #[test]
    fn both_forms_of_a_length_are_read_in_any_steps() {
        let long = [&[0xff; 4][..], &2u64.to_be_bytes(), b"ab"].concat();
        let bytes = [&[0, 0, 0, 3], &b"xyz"[..], &long, &[0; 4]].concat();
        for step in 1..=bytes.len() {
            assert_eq!(read(&bytes, step, 3).unwrap(), [&b"xyz"[..], b"ab", b""]);
        }
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        assert!(read(&[], 1, 9).unwrap().is_empty());
        assert!(read(&[0, 0, 0], 9, 9).unwrap_err().is_cut_short());
        assert!(read(&[0xff; 8], 9, 9).unwrap_err().is_cut_short());
        assert!(read(&[0, 0, 0, 2, 7], 9, 9).unwrap_err().is_cut_short());
        assert!(read(&[0xff, 0xff, 0xff, 0xfe], 9, 9).unwrap_err().is_protocol());
        assert!(read(&[0, 0, 0, 10], 9, 9).unwrap_err().is_too_long());
        assert!(read(&[&[0xff; 4][..], &(1u64 << 60).to_be_bytes()].concat(), 99, 1 << 40).unwrap_err().is_too_long());
    }

    #[test]
    fn a_claim_reserves_no_memory() {
        let (mut there, here) = UnixStream::pair().unwrap();
        let mut reader = Reader::default();
        there.write_all(&[&[0xff; 4][..], &(1u64 << 60).to_be_bytes(), b"only this"].concat()).unwrap();
        assert!(reader.read(here.as_fd(), usize::MAX).unwrap().is_none());
        assert!(reader.body.capacity() <= FIRST_RESERVE);
    }

    #[test]
    fn after_an_error_nothing_is_taken_for_a_frame() {
        let (mut there, here) = UnixStream::pair().unwrap();
        let mut reader = Reader::default();
        there.write_all(&[0, 0, 0, 5, 0, 0, 0, 0, 0]).unwrap();
        assert!(reader.read(here.as_fd(), 4).unwrap_err().is_too_long());
        assert!(reader.read(here.as_fd(), 9).unwrap_err().is_out_of_step());
        assert!(there.write_all(b"x").is_err());
    }
}
