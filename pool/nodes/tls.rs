//! TLS 1.3 between a pool and its agents, by rustls.
//!
//! A pool has a key that it makes for itself, and shows no certificate but the key alone (RFC 7250): there is nobody who would
//! have to vouch for it, since its agents know it by its SHA-256. Nothing is resumed, and nothing is sent early.

use crate::error::Error;
use crate::nodes::address::Pin;
use crate::sys::{random, stream};
use ring::digest;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Connection, DigitallySignedStruct, ServerConfig,
    ServerConnection, SignatureScheme,
};
use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// How an Ed25519 key is written down, in front of its 32 bytes (RFC 8410).
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// What both ends take of the conversation that nobody outside of it can know.
const EXPORTER: &[u8] = b"EXPORTER-multiproc-node";

/// So many bytes become one record more than they were, at most.
const RECORD: usize = (16 << 10) + 512;

/// So much is encrypted at once.
const AT_ONCE: usize = 256 << 10;

/// The key of a pool, which lives as long as the pool.
#[derive(Clone)]
pub(crate) struct PoolKey {
    config: Arc<ServerConfig>,
    pub(super) pin: Pin,
}

impl fmt::Debug for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PoolKey(..)")
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn failed(cause: rustls::Error) -> Error {
    Error::start(format!("TLS: {cause}"))
}

/// The SHA-256 of a key.
fn pin_of(key: &[u8]) -> Pin {
    let mut pin = Pin::default();
    pin.copy_from_slice(digest::digest(&digest::SHA256, key).as_ref());
    pin
}

impl PoolKey {
    /// A key that nobody else has.
    ///
    /// # Errors
    ///
    /// The system gives no random numbers.
    pub(super) fn generate() -> Result<PoolKey, Error> {
        let written = [&PKCS8[..], &random::secret::<32>()?].concat();
        let key = rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(written)).map_err(failed)?;
        let public = key.public_key().ok_or_else(|| Error::start("TLS: the key has no public half"))?.to_vec();
        let pin = pin_of(&public);
        let certified = Arc::new(CertifiedKey::new(vec![CertificateDer::from(public)], key));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(failed)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified)));
        config.send_tls13_tickets = 0;
        Ok(PoolKey { config: Arc::new(config), pin })
    }

    /// The pool's end of a conversation.
    ///
    /// # Errors
    ///
    /// The system gives no random numbers.
    pub(super) fn serve(&self) -> Result<Tls, Error> {
        let mut connection = ServerConnection::new(Arc::clone(&self.config)).map_err(failed)?;
        connection.set_buffer_limit(None);
        Ok(Tls::new(connection.into()))
    }
}

/// Takes a pool's key for the right one, or not.
#[derive(Debug)]
struct Pinned {
    /// `None`: which key it is does not matter, since the pool will show that it has the secret.
    pin: Option<Pin>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.pin {
            Some(pin) if pin != pin_of(key) => Err(CertificateError::ApplicationVerificationFailure.into()),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // It was not offered.
        Err(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// An end of a conversation: what goes over the socket on one side, what is said on the other.
pub(super) struct Tls {
    connection: Connection,
    /// What was read from the socket.
    raw: Vec<u8>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

impl Tls {
    fn new(connection: Connection) -> Tls {
        Tls { connection, raw: Vec::new() }
    }

    /// The agent's end, which accepts the pool with this key alone.
    ///
    /// # Errors
    ///
    /// The system gives no random numbers.
    pub(super) fn connect(pin: Option<Pin>) -> Result<Tls, Error> {
        let provider = provider();
        let verifier = Arc::new(Pinned { pin, provider: Arc::clone(&provider) });
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(failed)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        let name = ServerName::try_from("multiproc").map_err(|_| Error::start("TLS: the name of the pool"))?;
        let mut connection = ClientConnection::new(Arc::new(config), name).map_err(failed)?;
        connection.set_buffer_limit(None);
        Ok(Tls::new(connection.into()))
    }

    /// Whether both ends know who the other one is.
    pub(super) fn is_ready(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// What both ends of this conversation have in common, and no other.
    ///
    /// # Errors
    ///
    /// The handshake is not over.
    pub(super) fn binding(&self) -> io::Result<[u8; 32]> {
        self.connection.export_keying_material([0; 32], EXPORTER, None).map_err(io::Error::other)
    }

    /// Takes bytes that have arrived; puts what was said behind the `filled` bytes of `into`, and returns where that ends.
    ///
    /// # Errors
    ///
    /// They are nothing that the other end would send, or they say more than there is room for.
    pub(super) fn hear(&mut self, mut raw: &[u8], into: &mut [u8], mut filled: usize) -> io::Result<usize> {
        while !raw.is_empty() {
            if self.connection.read_tls(&mut raw)? == 0 {
                // It has closed before: what comes behind that is said by nobody.
                break;
            }
            self.connection.process_new_packets().map_err(|cause| io::Error::new(io::ErrorKind::InvalidData, cause))?;
            filled += self.take(&mut into[filled..])?;
        }
        Ok(filled)
    }

    /// Takes what was said and has arrived.
    fn take(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.connection.reader().read(&mut into[filled..]) {
                // The other end has closed, which the socket will tell as well.
                Ok(0) => break,
                Ok(len) => filled += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Reads what is there; 0 = the other end has closed, `None` = nothing that was said is there yet.
    ///
    /// Nothing that has arrived stays behind if `into` has room for two records: the socket tells then whether there is more.
    pub(super) fn read(&mut self, socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<Option<usize>> {
        let filled = self.take(into)?;
        if filled > 0 {
            return Ok(Some(filled));
        }
        // What is said is shorter than what carries it, but for one record of which the beginning is here already.
        let most = into.len().saturating_sub(RECORD).max(1);
        let mut raw = std::mem::take(&mut self.raw);
        raw.resize(most.max(raw.len()), 0);
        let outcome = match stream::receive(socket, &mut raw[..most]) {
            Ok(Some(len @ 1..)) => {
                let heard = self.hear(&raw[..len], into, 0);
                // Not all that arrives says something, and what it asks for is answered at once.
                let flushed = self.flush(socket);
                heard.and_then(|len| flushed.map(|_| (len > 0).then_some(len)))
            }
            other => other,
        };
        self.raw = raw;
        outcome
    }

    /// Says as much as there is room for; `None` = there is no room yet.
    pub(super) fn write(&mut self, socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<Option<usize>> {
        if !self.flush(socket)? {
            return Ok(None);
        }
        let len = self.say(&bytes[..bytes.len().min(AT_ONCE)])?;
        self.flush(socket)?;
        Ok(Some(len))
    }

    /// Encrypts something, which is sent by the next [`Tls::flush`].
    pub(super) fn say(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.connection.writer().write(bytes)
    }

    /// Whether something was encrypted and not sent.
    pub(super) fn has_unsent(&self) -> bool {
        self.connection.wants_write()
    }

    /// Sends what was encrypted; returns whether that is all.
    pub(super) fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Sink(socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// What was encrypted, to be sent by somebody else.
    pub(super) fn unsent(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.connection.wants_write() && self.connection.write_tls(&mut bytes).is_ok_and(|len| len > 0) {}
        bytes
    }
}

/// A socket as something to write to.
struct Sink<'a>(BorrowedFd<'a>);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        stream::send(self.0, parts)?.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
