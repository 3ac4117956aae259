//! Who is at the other end: TLS 1.3 with raw ed25519 keys (RFC 7250) on both sides.
//!
//! Any key passes the handshake of the listening side: whether it is welcome is decided afterwards. The dialling
//! side accepts only the key it dialled. There is no 0-RTT (it could be replayed) and no resumption (it would skip
//! the verifiers).

use crate::{ALPN, Bounds};
use mesh_protocol::key::{PublicKey, SecretKey};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use quinn_proto::crypto::{CryptoError, HmacKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime, alg_id,
};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, public_key_to_spki};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme,
};
use std::sync::Arc;
use std::time::Duration;

/// The name in the handshake. It says nothing: the key does, and it is not sent (no SNI).
pub(crate) const NAME: &str = "mesh.invalid";
/// Home routers forget a UDP mapping after 30 s at the earliest.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Three missed keep-alives.
const IDLE: Duration = Duration::from_secs(30);
/// Unacknowledged bytes kept for sending. As the receiver's default window: more could not be under way.
const SEND_WINDOW: u64 = 8 << 20;
/// PKCS#8 v1 around an ed25519 seed: the only form of private key that rustls takes.
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// This peer's key, ready for handshakes.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) key: PublicKey,
    certified: Arc<CertifiedKey>,
    /// What the tokens of stateless resets are made with.
    resets: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({:?})", self.key)
    }
}

impl Identity {
    pub(crate) fn new(seed: &[u8; 32]) -> Result<Self, Error> {
        let key = SecretKey::from_seed(seed).public();
        let secret = PrivatePkcs8KeyDer::from([&PKCS8[..], seed].concat());
        let signer = ring::sign::any_eddsa_type(&secret)?;
        let spki = CertificateDer::from(spki(&key).as_ref().to_vec());
        let certified = Arc::new(CertifiedKey::new(vec![spki], signer));
        let resets = blake3::derive_key("taskmesh quic resets v1", seed);
        Ok(Self { key, certified, resets, provider: Arc::new(ring::default_provider()) })
    }

    /// Names of connections and the tokens that reset them follow from the key. So a peer that died and listens on its
    /// address again tells whoever still sends to a former run that it is gone, and nobody waits for the idle timeout.
    // spec: NET-5
    pub(crate) fn endpoint(&self) -> EndpointConfig {
        let mut config = EndpointConfig::new(Arc::new(Resets(self.resets)));
        let names = blake3::derive_key("taskmesh quic names v1", &self.resets);
        let (names, _) = names.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        let names = u64::from_le_bytes(*names);
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(names)));
        config
    }

    fn algorithms(&self) -> WebPkiSupportedAlgorithms {
        self.provider.signature_verification_algorithms
    }

    /// For accepting: any key may knock.
    pub(crate) fn server(&self, transport: Arc<TransportConfig>) -> Result<ServerConfig, Error> {
        let mut tls = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(AnyKey(self.algorithms())))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(self.certified.clone())));
        tls.alpn_protocols = vec![ALPN.to_vec()];
        tls.send_tls13_tickets = 0;
        tls.max_early_data_size = 0;
        let crypto = QuicServerConfig::try_from(tls).map_err(|e| Error::General(e.to_string()))?;
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(transport);
        // The queue of first packets nobody looked at yet. The accept loop never waits, so 256 packets are a burst
        // of milliseconds; the defaults (65,536 and 100 MiB) are for servers behind load balancers.
        config.max_incoming(256).incoming_buffer_size(64 << 10).incoming_buffer_size_total(4 << 20);
        Ok(config)
    }

    /// For dialling `peer`: no other key will do.
    pub(crate) fn client(
        &self,
        peer: PublicKey,
        transport: Arc<TransportConfig>,
    ) -> Result<ClientConfig, Error> {
        let verifier = ThisKey { peer, algorithms: self.algorithms() };
        let mut tls = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
                self.certified.clone(),
            )));
        tls.alpn_protocols = vec![ALPN.to_vec()];
        tls.resumption = Resumption::disabled();
        tls.enable_early_data = false;
        tls.enable_sni = false;
        let crypto = QuicClientConfig::try_from(tls).map_err(|e| Error::General(e.to_string()))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(transport);
        Ok(config)
    }
}

/// Makes and checks the tokens of stateless resets: BLAKE3 with a key.
struct Resets([u8; 32]);

impl HmacKey for Resets {
    fn sign(&self, data: &[u8], out: &mut [u8]) {
        blake3::Hasher::new_keyed(&self.0).update(data).finalize_xof().fill(out);
    }
    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }
    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let hash = blake3::keyed_hash(&self.0, data);
        // Compared in constant time.
        if <[u8; 32]>::try_from(signature).is_ok_and(|signature| hash == signature) {
            Ok(())
        } else {
            Err(CryptoError)
        }
    }
}

/// What every connection starts with: a stranger's share. `conn::welcome` raises it.
// spec: NET-4
pub(crate) fn transport(bounds: &Bounds) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_uni_streams(VarInt::from_u32(1)) // the hello
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .receive_window(VarInt::from_u32(bounds.stranger_window))
        .stream_receive_window(VarInt::from_u32(bounds.stream_window))
        .send_window(SEND_WINDOW)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        // Nothing here uses datagrams, so nobody can make us hold any.
        .datagram_receive_buffer_size(None);
    transport
}

/// The key of whoever completed this handshake.
pub(crate) fn peer_key(connection: &quinn::Connection) -> Option<PublicKey> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    key_of(identity.first()?)
}

fn spki(key: &PublicKey) -> SubjectPublicKeyInfoDer<'static> {
    public_key_to_spki(&alg_id::ED25519, key.0)
}

/// The key in a SubjectPublicKeyInfo, if that is exactly the form of an ed25519 key.
fn key_of(certificate: &CertificateDer<'_>) -> Option<PublicKey> {
    let bytes = certificate.as_ref();
    let key = PublicKey(bytes.get(12..)?.try_into().ok()?);
    (spki(&key).as_ref() == bytes).then_some(key)
}

fn checked_key(end: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Result<PublicKey, Error> {
    if !rest.is_empty() {
        return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
    }
    key_of(end).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
}

// A weak key (of small order) can pass here, since ring checks as RFC 8032 asks and no more. It impersonates nobody:
// it is a stranger like any other, and no entry signed with it verifies.
fn signed(
    algorithms: &WebPkiSupportedAlgorithms,
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    if signature.scheme != SignatureScheme::ED25519 {
        return Err(PeerIncompatible::NoSignatureSchemesInCommon.into());
    }
    let spki = SubjectPublicKeyInfoDer::from(certificate.as_ref());
    rustls::crypto::verify_tls13_signature_with_raw_key(message, &spki, signature, algorithms)
}

fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
}

#[derive(Debug)]
struct AnyKey(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        checked_key(end_entity, intermediates).map(|_| ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signed(&self.0, message, cert, dss)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct ThisKey {
    peer: PublicKey,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ThisKey {
    // spec: NET-3
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if checked_key(end_entity, intermediates)? != self.peer {
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signed(&self.algorithms, message, cert, dss)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn only_the_exact_form_of_an_ed25519_key_is_a_key(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(key_of(&CertificateDer::from(bytes)), None);
        }
        #[test]
        fn a_key_survives_its_spki(key in any::<[u8; 32]>()) {
            let der = CertificateDer::from(spki(&PublicKey(key)).as_ref().to_vec());
            prop_assert_eq!(key_of(&der), Some(PublicKey(key)));
        }
    }
}
