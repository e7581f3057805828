//! [`AuthKey`], and how two sides prove to each other that they have the same one.
//!
//! CPython's exchange. One side sends `#CHALLENGE#` and a message of random bytes, the other answers with the HMAC of that
//! message under the key, and is told `#WELCOME#` or `#FAILURE#`; then the roles change.
//!
//! Since Python 3.12 the message begins with `{sha256}` or another digest, and the answer is the digest's name in braces and
//! the HMAC of the whole message with it. Up to 3.11 the message has 20 bytes, and the answer is HMAC-MD5 without a name; a
//! client of that age takes a newer message as a whole for the challenge. Servers of Python accept MD5 in either form
//! whatever they have asked for. Here that takes a switch.

use crate::error::{ConnectionError, Error};
use crate::sys::random;
use hmac::digest::common::BlockSizeUser;
use hmac::{KeyInit, Mac, SimpleHmac};
use std::fmt;
use std::io;
use std::sync::Arc;

/// The most bytes of a message before the other side is known.
pub(super) const MAX_MESSAGE: usize = 256;

const CHALLENGE: &[u8] = b"#CHALLENGE#";
pub(super) const WELCOME: &[u8] = b"#WELCOME#";
pub(super) const FAILURE: &[u8] = b"#FAILURE#";

/// How many random bytes a challenge has: as many as CPython's, and more than [`OLD_LEN`].
const RANDOM_LEN: usize = 40;

/// How long the message of a challenge of Python up to 3.11 is. No other is as short.
const OLD_LEN: usize = 20;

/// How long an HMAC-MD5 is.
const MD5_LEN: usize = 16;

/// The secret that two programs share: Python's `authkey`.
///
/// Made of bytes or a text. An empty one is refused when it is used; CPython up to 3.12 takes it for none, and lets
/// everybody in.
///
/// ```
/// use multiproc::{AuthKey, Client, Listener};
///
/// assert!(Listener::bind("\0multiproc-doc-key", "").unwrap_err().is_invalid_argument());
///
/// // Without authentication, as with `authkey=None` in Python:
/// let listener = Listener::bind(("localhost", 0), AuthKey::none())?;
/// let client = Client::connect(listener.address(), AuthKey::none())?;
/// client.send_bytes(b"hello")?;
/// assert_eq!(listener.accept()?.recv_bytes(100)?, b"hello");
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone)]
pub struct AuthKey(Option<Arc<[u8]>>);

impl AuthKey {
    /// Returns the key that stands for no authentication: Python's `authkey=None`. Whoever can reach the address is
    /// let in.
    pub fn none() -> AuthKey {
        AuthKey(None)
    }

    /// The bytes of the key, if there is one.
    ///
    /// # Errors
    ///
    /// It is empty.
    pub(super) fn checked(&self) -> Result<Option<Arc<[u8]>>, Error> {
        match &self.0 {
            Some(key) if key.is_empty() => Err(Error::invalid_argument(
                "the key is empty, so anybody has it; if none is wanted, say so with `AuthKey::none()`",
            )),
            key => Ok(key.clone()),
        }
    }
}

/// Shows whether there is a key, and nothing of it.
impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "AuthKey(..)" } else { "AuthKey(none)" })
    }
}

impl From<&[u8]> for AuthKey {
    fn from(key: &[u8]) -> AuthKey {
        AuthKey(Some(key.into()))
    }
}

impl<const N: usize> From<&[u8; N]> for AuthKey {
    fn from(key: &[u8; N]) -> AuthKey {
        key.as_slice().into()
    }
}

impl From<Vec<u8>> for AuthKey {
    fn from(key: Vec<u8>) -> AuthKey {
        key.as_slice().into()
    }
}

impl From<&str> for AuthKey {
    fn from(key: &str) -> AuthKey {
        key.as_bytes().into()
    }
}

impl From<String> for AuthKey {
    fn from(key: String) -> AuthKey {
        key.as_bytes().into()
    }
}

impl From<&AuthKey> for AuthKey {
    fn from(key: &AuthKey) -> AuthKey {
        key.clone()
    }
}

/// A key, and which digests it may be used with.
#[derive(Clone)]
pub(super) struct Secret {
    pub(super) key: Arc<[u8]>,
    /// Whether MD5 will do, which Python up to 3.11 has alone.
    pub(super) allow_md5: bool,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("allow_md5", &self.allow_md5).finish_non_exhaustive()
    }
}

/// A digest that an HMAC may be made with.
struct Digest {
    name: &'static str,
    is_weak: bool,
    hmac: fn(key: &[u8], message: &[u8]) -> Vec<u8>,
    /// Whether the last is the HMAC; takes the same time for all that are not.
    is_hmac: fn(key: &[u8], message: &[u8], claim: &[u8]) -> bool,
}

/// All that CPython knows.
const DIGESTS: [Digest; 5] = [
    MD5,
    Digest::of::<sha2::Sha256>("sha256"),
    Digest::of::<sha2::Sha384>("sha384"),
    Digest::of::<sha3::Sha3_256>("sha3_256"),
    Digest::of::<sha3::Sha3_384>("sha3_384"),
];

const MD5: Digest = Digest { is_weak: true, ..Digest::of::<md5::Md5>("md5") };

impl Digest {
    const fn of<D: hmac::digest::Digest + BlockSizeUser>(name: &'static str) -> Digest {
        Digest {
            name,
            is_weak: false,
            hmac: |key, message| mac::<D>(key, message).finalize().into_bytes().to_vec(),
            is_hmac: |key, message, claim| mac::<D>(key, message).verify_slice(claim).is_ok(),
        }
    }

    /// The digest that a message begins with in braces, and what stands behind it.
    fn split(message: &[u8]) -> Option<(&'static Digest, &[u8])> {
        DIGESTS.iter().find_map(|digest| {
            let rest = message.strip_prefix(b"{")?.strip_prefix(digest.name.as_bytes())?.strip_prefix(b"}")?;
            Some((digest, rest))
        })
    }
}

fn mac<D: hmac::digest::Digest + BlockSizeUser>(key: &[u8], message: &[u8]) -> SimpleHmac<D> {
    let mac = SimpleHmac::<D>::new_from_slice(key).expect("an HMAC takes keys of any length");
    mac.chain_update(message)
}

impl Secret {
    /// A challenge: the message to send, and what of it the answer is about.
    pub(super) fn challenge() -> io::Result<(Vec<u8>, Vec<u8>)> {
        let challenge = [b"{sha256}", &random::secret::<RANDOM_LEN>()?[..]].concat();
        Ok(([CHALLENGE, &challenge].concat(), challenge))
    }

    /// The answer to the message of a challenge.
    ///
    /// # Errors
    ///
    /// It is no challenge, or asks for MD5, which is not allowed.
    pub(super) fn answer(&self, message: &[u8]) -> Result<Vec<u8>, ConnectionError> {
        let Some(challenge) = message.strip_prefix(CHALLENGE) else {
            return Err(ConnectionError::protocol(
                "the other end does not speak Python's protocol, or asks for no key: its first message is no challenge",
            ));
        };
        // A short one could have been chosen so that its answer is of use elsewhere.
        if challenge.len() < OLD_LEN {
            return Err(ConnectionError::protocol(format!(
                "the other end's challenge has only {} bytes",
                challenge.len()
            )));
        }
        if challenge.len() == OLD_LEN {
            self.expect_strong(&MD5, "asks for")?;
            return Ok((MD5.hmac)(&self.key, challenge));
        }
        let Some((digest, _)) = Digest::split(challenge) else {
            return Err(ConnectionError::protocol("the other end's challenge names no digest that Python knows"));
        };
        self.expect_strong(digest, "asks for")?;
        Ok([b"{", digest.name.as_bytes(), b"}", &*(digest.hmac)(&self.key, challenge)].concat())
    }

    /// Checks the answer to a challenge.
    ///
    /// # Errors
    ///
    /// The other side does not have the key, or has used MD5, which is not allowed.
    pub(super) fn check(&self, challenge: &[u8], answer: &[u8]) -> Result<(), ConnectionError> {
        let (digest, claim) = match Digest::split(answer) {
            Some(named) => named,
            // Python up to 3.11 does not name the only one that it has.
            None if answer.len() == MD5_LEN => (&MD5, answer),
            None => {
                return Err(ConnectionError::authentication(
                    "the other end's answer names no digest that Python knows",
                ));
            }
        };
        self.expect_strong(digest, "has answered with")?;
        match (digest.is_hmac)(&self.key, challenge, claim) {
            true => Ok(()),
            false => Err(ConnectionError::authentication("the other end does not have the key")),
        }
    }

    fn expect_strong(&self, digest: &Digest, doing: &str) -> Result<(), ConnectionError> {
        if !digest.is_weak || self.allow_md5 {
            return Ok(());
        }
        Err(ConnectionError::authentication(format!(
            "the other end {doing} HMAC-MD5, as Python up to 3.11 does, and that is weak; allow it by `allow_md5(true)` of the \
             builder if it must be"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(key: &str, allow_md5: bool) -> Secret {
        Secret { key: key.as_bytes().into(), allow_md5 }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn hmacs_are_those_of_the_standards() {
        // RFC 2202 and RFC 4231, test case 2; the last two from NIST's definition, as OpenSSL computes them.
        let expected = [
            "750c783e6ab0b503eaa86e310a5db738",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
            "c7d4072e788877ae3596bbb0da73b887c9171f93095b294ae857fbe2645e1ba5",
            "f1101f8cbf9766fd6764d2ed61903f21ca9b18f57cf3e1a23ca13508a93243ce48c045dc007f26a21b3f5e0e9df4c20a",
        ];
        for (digest, expected) in DIGESTS.iter().zip(expected) {
            let hmac = (digest.hmac)(b"Jefe", b"what do ya want for nothing?");
            assert_eq!(hex(&hmac), expected, "{}", digest.name);
        }
    }

    #[test]
    fn two_sides_with_one_key_agree() {
        let (message, challenge) = Secret::challenge().unwrap();
        let answer = secret("key", false).answer(&message).unwrap();
        assert!(answer.starts_with(b"{sha256}"));
        secret("key", false).check(&challenge, &answer).unwrap();
        assert!(secret("other", false).check(&challenge, &answer).unwrap_err().is_authentication());
        let (_, another) = Secret::challenge().unwrap();
        assert!(secret("key", false).check(&another, &answer).unwrap_err().is_authentication());
    }

    #[test]
    fn every_digest_of_python_is_answered() {
        for digest in &DIGESTS {
            let challenge = format!("{{{}}}{}", digest.name, "r".repeat(RANDOM_LEN));
            let message = [CHALLENGE, challenge.as_bytes()].concat();
            let answer = secret("key", true).answer(&message).unwrap();
            secret("key", true).check(challenge.as_bytes(), &answer).unwrap();
            assert_eq!(secret("key", false).answer(&message).is_err(), digest.name == "md5");
            assert_eq!(secret("key", false).check(challenge.as_bytes(), &answer).is_err(), digest.name == "md5");
        }
    }

    #[test]
    fn md5_takes_a_switch_in_both_of_its_forms() {
        let old = [CHALLENGE, &[7; OLD_LEN]].concat();
        let error = secret("key", false).answer(&old).unwrap_err();
        assert!(error.is_authentication() && error.to_string().contains("allow_md5"));
        let answer = secret("key", true).answer(&old).unwrap();
        assert_eq!(answer.len(), 16);
        secret("key", true).check(&[7; OLD_LEN], &answer).unwrap();
        // A new challenge, answered by an old client, or by one that wants less than it was asked for.
        let (_, challenge) = Secret::challenge().unwrap();
        let raw = (MD5.hmac)(b"key", &challenge);
        for answer in [raw.clone(), [&b"{md5}"[..], &raw].concat()] {
            secret("key", true).check(&challenge, &answer).unwrap();
            assert!(secret("key", false).check(&challenge, &answer).unwrap_err().is_authentication());
        }
    }

    #[test]
    fn what_is_no_challenge_is_not_answered() {
        let answer = |message: &[u8]| secret("key", true).answer(message);
        assert!(answer(b"").unwrap_err().is_protocol());
        assert!(answer(b"HTTP/1.1 400 Bad Request\r\n").unwrap_err().is_protocol());
        assert!(answer(&[CHALLENGE, &[7; OLD_LEN - 1]].concat()).unwrap_err().is_protocol());
        assert!(answer(&[CHALLENGE, &[7; OLD_LEN + 1]].concat()).unwrap_err().is_protocol());
        assert!(answer(&[CHALLENGE, b"{sha1}", &[7; RANDOM_LEN]].concat()).unwrap_err().is_protocol());
        for answer in [&b""[..], b"short", b"{sha256}", b"{sha1}x", &[b'{'; 256]] {
            assert!(secret("key", true).check(b"challenge", answer).unwrap_err().is_authentication());
        }
    }
}
