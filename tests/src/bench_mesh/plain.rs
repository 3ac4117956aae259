//! What a blob's transfer is compared with: bytes over one stream of plain quinn, with the same keys and ciphers.

use mesh_protocol::key::SecretKey;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime, alg_id,
};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, public_key_to_spki};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// PKCS#8 v1 around an ed25519 seed.
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Two connected endpoints of quinn as it comes, but for the keys.
pub(crate) struct Plain {
    sender: Connection,
    receiver: Connection,
    _endpoints: [Endpoint; 2],
}

impl Plain {
    pub(crate) async fn connect() -> Self {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let sending = Endpoint::server(server([1; 32]), anywhere).unwrap();
        let mut receiving = Endpoint::client(anywhere).unwrap();
        receiving.set_default_client_config(client([2; 32]));
        let dialled = receiving.connect(sending.local_addr().unwrap(), "mesh.invalid").unwrap();
        let accepted = async { sending.accept().await.unwrap().await.unwrap() };
        let (receiver, sender) = tokio::join!(dialled, accepted);
        Self { sender, receiver: receiver.unwrap(), _endpoints: [sending, receiving] }
    }

    /// Moves bytes from one end to the other.
    pub(crate) async fn send(&self, bytes: bytes::Bytes) {
        let length = bytes.len();
        let sender = self.sender.clone();
        let sending = tokio::spawn(async move {
            let mut stream = sender.open_uni().await.unwrap();
            stream.write_chunk(bytes).await.unwrap();
            stream.finish().unwrap();
        });
        let mut stream = self.receiver.accept_uni().await.unwrap();
        let mut packets = vec![bytes::Bytes::new(); 64];
        let mut received = 0;
        while let Some(count) = stream.read_chunks(&mut packets).await.unwrap() {
            received += packets.iter().take(count).map(bytes::Bytes::len).sum::<usize>();
        }
        assert_eq!(received, length);
        sending.await.unwrap();
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certified(seed: [u8; 32]) -> Arc<CertifiedKey> {
    let secret = PrivatePkcs8KeyDer::from([&PKCS8[..], &seed].concat());
    let signer = ring::sign::any_eddsa_type(&secret).unwrap();
    let spki = public_key_to_spki(&alg_id::ED25519, SecretKey::from_seed(&seed).public().0);
    Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki.as_ref().to_vec())], signer))
}

fn server(seed: [u8; 32]) -> ServerConfig {
    let tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(Arc::new(AnyKey))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified(seed))));
    ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()))
}

fn client(seed: [u8; 32]) -> ClientConfig {
    let tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyKey))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified(seed))));
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

/// Checks signatures as the mesh does, but not whose they are: both ends are here.
#[derive(Debug)]
struct AnyKey;

fn signed(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let spki = SubjectPublicKeyInfoDer::from(certificate.as_ref());
    let algorithms = provider().signature_verification_algorithms;
    rustls::crypto::verify_tls13_signature_with_raw_key(message, &spki, signature, &algorithms)
}

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3".into()))
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signed(message, certificate, signature)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3".into()))
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signed(message, certificate, signature)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
