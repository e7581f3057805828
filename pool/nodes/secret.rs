//! What a pool and its agents have in common, and nobody else: either side shows the other that it has it.

use crate::error::Error;
use crate::process::enlist::Hex;
use crate::sys::random;
use ring::hmac;
use std::fmt;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The variables by which an agent, and a pool, find the secret: the file that it is in, and the secret itself.
pub(super) const FILE_VARIABLE: &str = "MULTIPROC_SECRET_FILE";
pub(super) const VARIABLE: &str = "MULTIPROC_SECRET";

/// A secret that can be guessed is none.
const LEAST: usize = 32;

/// What is longer is the wrong file.
pub(super) const MOST: usize = 4096;

/// Who shows that it has the secret. What one has said is of no use to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Agent,
    Pool,
}

/// A proof that somebody has the secret.
pub(super) type Proof = [u8; 32];

/// The secret.
#[derive(Clone)]
pub(crate) struct Secret(hmac::Key, Vec<u8>);

/// Shows nothing of it.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// A secret of these bytes; white space at their end does not count.
    ///
    /// # Errors
    ///
    /// There are too few, or too many.
    pub(super) fn new(bytes: &[u8]) -> Result<Secret, Error> {
        let bytes = bytes.trim_ascii_end();
        if !(LEAST..=MOST).contains(&bytes.len()) {
            return Err(Error::invalid_argument(format!(
                "the secret has {} bytes, and must have {LEAST} to {MOST}: `openssl rand -hex 32` makes one",
                bytes.len()
            )));
        }
        Ok(Secret(hmac::Key::new(hmac::HMAC_SHA256, bytes), bytes.to_vec()))
    }

    /// A secret that nobody else has, as text.
    ///
    /// # Errors
    ///
    /// The system gives no random numbers.
    pub(super) fn random() -> Result<Secret, Error> {
        Secret::new(Hex(&random::secret::<32>()?).to_string().as_bytes())
    }

    /// Reads it from a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, others can read it, or it has no secret in it.
    pub(super) fn read(path: &Path) -> Result<Secret, Error> {
        let refused = |cause: String| Error::invalid_argument(format!("the secret in {}: {cause}", path.display()));
        let unreadable = |error: std::io::Error| refused(format!("it cannot be read: {error}"));
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.mode();
        if mode & 0o077 != 0 {
            return Err(refused(format!(
                "others may read or write the file, whose mode is {:o}: `chmod 600` keeps them out",
                mode & 0o777
            )));
        }
        let mut bytes = Vec::new();
        file.take(MOST as u64 + 2).read_to_end(&mut bytes).map_err(unreadable)?;
        Secret::new(&bytes).map_err(|error| refused(error.to_string()))
    }

    /// Looks for it where the environment says.
    ///
    /// # Errors
    ///
    /// The environment names none, or it cannot be read.
    pub(super) fn from_env() -> Result<Secret, Error> {
        if let Some(path) = std::env::var_os(FILE_VARIABLE) {
            return Secret::read(Path::new(&path));
        }
        let Some(text) = std::env::var_os(VARIABLE) else {
            return Err(Error::invalid_argument(format!(
                "no secret was given: the variable {FILE_VARIABLE} names a file that it is in, or {VARIABLE} has it"
            )));
        };
        Secret::new(text.as_encoded_bytes())
    }

    /// The line by which an agent gets it on its standard input.
    pub(super) fn line(&self) -> Vec<u8> {
        [&self.1[..], b"\n"].concat()
    }

    /// Shows that this side has the secret, in a conversation that `binding` tells from all others.
    pub(super) fn prove(&self, side: Side, binding: &[u8], said: &[u8]) -> Proof {
        let mut proof = Proof::default();
        proof.copy_from_slice(hmac::sign(&self.0, &message(side, binding, said)).as_ref());
        proof
    }

    /// Whether the other side has it. Takes the same time for all that are none.
    pub(super) fn is_proof(&self, side: Side, binding: &[u8], said: &[u8], proof: &Proof) -> bool {
        hmac::verify(&self.0, &message(side, binding, said), proof).is_ok()
    }
}

/// What a proof is about.
fn message(side: Side, binding: &[u8], said: &[u8]) -> Vec<u8> {
    let label = match side {
        Side::Agent => b"multiproc agent\0",
        Side::Pool => b"multiproc pool\0\0",
    };
    // The length is part of it, so that no byte of one can pass for one of the other.
    [&label[..], &(binding.len() as u64).to_le_bytes(), binding, said].concat()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn file(name: &str, mode: u32, bytes: &[u8]) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("multiproc-secret-{name}-{}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_secret_is_read_only_from_a_file_that_nobody_else_can_read() {
        let path = file("modes", 0o600, &[b'x'; 32]);
        for (mode, is_read) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o644, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let read = Secret::read(&path);
            assert_eq!(read.is_ok(), is_read, "{mode:o}: {read:?}");
            assert!(read.is_ok() || read.unwrap_err().to_string().contains("chmod 600"));
        }
        std::fs::remove_file(&path).unwrap();
        assert!(Secret::read(&path).unwrap_err().is_invalid_argument());
    }

    #[test]
    fn a_secret_that_can_be_guessed_is_refused() {
        assert!(Secret::new(&[b'x'; 31]).unwrap_err().to_string().contains("31 bytes"));
        assert!(Secret::new(&[&[b'x'; 31][..], b"\n\n"].concat()).is_err());
        assert!(Secret::new(&[b'x'; MOST + 1]).is_err());
        assert!(Secret::new(&[b'x'; 32]).is_ok());
        assert!(!format!("{:?}", Secret::new(&[b'x'; 32])).contains('x'));
    }

    #[test]
    fn a_proof_is_good_for_one_side_in_one_conversation() {
        let [ours, other] = [[b'a'; 32], [b'b'; 32]].map(|bytes| Secret::new(&bytes).unwrap());
        let proof = ours.prove(Side::Agent, b"binding", b"said");
        assert!(ours.is_proof(Side::Agent, b"binding", b"said", &proof));
        assert!(!ours.is_proof(Side::Pool, b"binding", b"said", &proof));
        assert!(!ours.is_proof(Side::Agent, b"bindin", b"gsaid", &proof));
        assert!(!ours.is_proof(Side::Agent, b"binding", b"sai", &proof));
        assert!(!other.is_proof(Side::Agent, b"binding", b"said", &proof));
        assert!(!ours.is_proof(Side::Agent, b"binding", b"said", &[0; 32]));
    }

    #[test]
    fn a_line_brings_the_secret_to_an_agent() {
        let secret = Secret::random().unwrap();
        let same = Secret::new(&secret.line()).unwrap();
        let proof = secret.prove(Side::Pool, &[], &[]);
        assert!(same.is_proof(Side::Pool, &[], &[], &proof));
    }
}
