//! TLS 1.3 with raw public keys both ways (RFC 7250): each node shows the key that it is known by, and proves that it
//! has the secret half. Nobody else vouches for a key, so there are no names, dates or authorities to check.

use std::sync::{Arc, OnceLock};

use openprod_model::identity::{Keys, Signature, verify};
use openprod_model::ids::ActorId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime, alg_id};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, Signer, SigningKey, public_key_to_spki};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, ServerConfig,
    SignatureAlgorithm, SignatureScheme,
};

/// What goes before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// How this node lets itself be dialled.
pub(super) fn dialled(keys: &Keys, protocol: &[u8]) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(AnyKey))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(own(keys))));
    config.alpn_protocols = vec![protocol.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// How this node dials.
pub(super) fn dialler(keys: &Keys, protocol: &[u8], wanted: Arc<WantedKey>) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(wanted)
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(own(keys))));
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn own(keys: &Keys) -> Arc<CertifiedKey> {
    let shown = CertificateDer::from(spki(keys.actor()).as_ref().to_vec());
    Arc::new(CertifiedKey::new(vec![shown], Arc::new(OwnKey(keys.clone()))))
}

fn spki(key: ActorId) -> SubjectPublicKeyInfoDer<'static> {
    public_key_to_spki(&alg_id::ED25519, key.as_bytes())
}

/// The key in what the other showed.
pub(super) fn key_of(shown: &CertificateDer<'_>) -> Result<ActorId, Error> {
    let key = shown.strip_prefix(&SPKI_PREFIX).and_then(|key| key.try_into().ok());
    key.map(ActorId::from_bytes).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
}

/// By the rules that bundles are judged by, so that a key is the same identity here as there.
fn proven(
    message: &[u8],
    shown: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let signature = signed.signature().try_into().ok().filter(|_| signed.scheme == SignatureScheme::ED25519);
    let key = key_of(shown)?;
    match signature.map(Signature::from_bytes) {
        Some(signature) if verify(key, message, &signature) => Ok(HandshakeSignatureValid::assertion()),
        _ => Err(Error::InvalidCertificate(CertificateError::BadSignature)),
    }
}

/// The secret half, as TLS asks for it.
#[derive(Debug, Clone)]
struct OwnKey(Keys);

impl SigningKey for OwnKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ED25519).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(spki(self.0.actor()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for OwnKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.sign(message).to_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// Whom a dial is meant for.
#[derive(Debug, Default)]
pub(super) struct WantedKey {
    expected: Option<ActorId>,
    /// Who answered instead.
    other: OnceLock<ActorId>,
}

impl WantedKey {
    pub(super) fn new(expected: Option<ActorId>) -> Arc<Self> {
        Arc::new(Self { expected, other: OnceLock::new() })
    }

    pub(super) fn other(&self) -> Option<ActorId> {
        self.other.get().copied()
    }
}

impl ServerCertVerifier for WantedKey {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = key_of(shown)?;
        if self.expected.is_some_and(|expected| expected != found) {
            self.other.get_or_init(|| found);
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        proven(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Whoever dials must prove some key; what that key may do is for others to say.
#[derive(Debug)]
struct AnyKey;

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        key_of(shown).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        proven(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
