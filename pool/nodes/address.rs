//! Where an agent finds its pool, as the variable that makes it an agent says.

use crate::process::enlist::{Hex, from_hex};
use std::fmt;

/// What a key of a pool is known by: the SHA-256 of it.
pub(super) type Pin = [u8; 32];

/// What an agent shows that was asked for by name. It is good once.
pub(super) type Ticket = [u8; 16];

/// `stdio:`, or `tcp:host:port[,host:port..][/name=value..]`. None of these signs means anything to a shell: whatever starts an
/// agent may hand its words to one more than the line was quoted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// Standard input and output are the stream.
    Stdio,
    Tcp(Tcp),
}

/// A pool that listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tcp {
    /// Each as `host:port`; they are tried in turn.
    pub(super) places: Vec<String>,
    /// The key that the pool shows must be this one. Without it the pool has to show that it has the secret, as always.
    pub(super) pin: Option<Pin>,
    pub(super) ticket: Option<Ticket>,
    /// Nothing is encrypted.
    pub(super) is_plain: bool,
    /// The secret is the first line on standard input.
    pub(super) asks_stdin: bool,
}

impl Address {
    /// Reads what [`fmt::Display`] has written; `None` if it is none.
    pub(super) fn parse(url: &str) -> Option<Address> {
        if url == "stdio:" {
            return Some(Address::Stdio);
        }
        let rest = url.strip_prefix("tcp:")?;
        let (places, options) = rest.split_once('/').unwrap_or((rest, ""));
        let places: Vec<String> = places.split(',').map(str::to_owned).collect();
        if !places.iter().all(|place| is_place(place)) {
            return None;
        }
        let mut tcp = Tcp { places, ..Tcp::default() };
        for option in options.split('/').filter(|option| !option.is_empty()) {
            match option.split_once('=')? {
                ("pin", text) => tcp.pin = Some(from_hex(text)?.try_into().ok()?),
                ("ticket", text) => tcp.ticket = Some(from_hex(text)?.try_into().ok()?),
                ("encrypt", "no") => tcp.is_plain = true,
                ("secret", "stdin") => tcp.asks_stdin = true,
                _ => return None,
            }
        }
        Some(Address::Tcp(tcp))
    }
}

/// Whether this is `host:port`.
pub(super) fn is_place(text: &str) -> bool {
    let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || "-._[]:%".contains(letter);
    text.chars().all(is_allowed)
        && text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address::Tcp(Tcp { places, pin, ticket, is_plain, asks_stdin }) = self else {
            return f.write_str("stdio:");
        };
        let options = [
            pin.as_ref().map(|pin| format!("pin={}", Hex(pin))),
            ticket.as_ref().map(|ticket| format!("ticket={}", Hex(ticket))),
            is_plain.then(|| "encrypt=no".to_owned()),
            asks_stdin.then(|| "secret=stdin".to_owned()),
        ];
        write!(f, "tcp:{}", places.join(","))?;
        options.into_iter().flatten().try_for_each(|option| write!(f, "/{option}"))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::fuzz::fuzz;

    #[test]
    fn an_address_is_read_as_it_was_written() {
        let tcp = Tcp { places: vec!["10.0.0.1:7777".to_owned(), "[fe80::1%eth0]:1".to_owned()], ..Tcp::default() };
        let full =
            Tcp { pin: Some([7; 32]), ticket: Some([0xab; 16]), is_plain: true, asks_stdin: true, ..tcp.clone() };
        for address in [Address::Stdio, Address::Tcp(tcp), Address::Tcp(full)] {
            assert_eq!(Address::parse(&address.to_string()), Some(address));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let wrong = ["", "stdio", "stdio:x", "tcp:", "tcp:host", "tcp::1", "tcp:a:1,", "tcp:a:70000", "tcp:a b:1"];
        let options = ["tcp:a:1/pin=00", "tcp:a:1/ticket=zz", "tcp:a:1/pin", "tcp:a:1/secret=file", "tcp:a:1/x=1"];
        for text in wrong.into_iter().chain(options) {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }

    #[test]
    fn whatever_the_variable_says() {
        let sound = Address::Tcp(Tcp { places: vec!["host:1".to_owned()], pin: Some([1; 32]), ..Tcp::default() });
        fuzz(
            || (),
            |(), random| {
                let mut bytes = sound.to_string().into_bytes();
                random.spoil(&mut bytes);
                if let Some(address) = Address::parse(&String::from_utf8_lossy(&bytes)) {
                    assert_eq!(Address::parse(&address.to_string()), Some(address));
                }
            },
        );
    }
}
