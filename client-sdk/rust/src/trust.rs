//! TLS to a node by its ticket: the certificate is compared with the ticket's fingerprint before anything is said.
//!
//! Names and dates in the certificate do not count, and no authority vouches for it: a node on a stage has none, and its
//! clock may be wrong. Whoever has the ticket knows which certificate is the right one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use openprod_wire::client_ticket::{ClientTicket, Fingerprint};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, PeerIncompatible, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::http::Uri;

/// How a gRPC client says what it speaks (RFC 9113, section 3.2).
const PROTOCOL: &[u8] = b"h2";

/// Connects to the node of a ticket, at whichever of its addresses it answers.
#[derive(Clone)]
pub(crate) struct ByTicket {
    addresses: Vec<SocketAddr>,
    tls: TlsConnector,
    wanted: Arc<Wanted>,
}

impl ByTicket {
    pub(crate) fn new(ticket: &ClientTicket) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let wanted = Arc::new(Wanted {
            certificate: ticket.certificate,
            other: Mutex::default(),
            provider: Arc::clone(&provider),
        });
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&wanted) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.enable_sni = false;
        Ok(Self { addresses: ticket.addresses.clone(), tls: TlsConnector::from(Arc::new(config)), wanted })
    }

    /// The certificate that was shown in place of the ticket's, if one was.
    pub(crate) fn other(&self) -> Option<Fingerprint> {
        *self.wanted.other.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(self) -> std::io::Result<TokioIo<TlsStream<TcpStream>>> {
        let mut trouble = std::io::Error::other("the ticket names no address");
        for address in &self.addresses {
            match self.connect_to(*address).await {
                Ok(stream) => return Ok(TokioIo::new(stream)),
                Err(error) => trouble = error,
            }
        }
        Err(trouble)
    }

    async fn connect_to(&self, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        self.tls.connect(ServerName::IpAddress(address.ip().into()), stream).await
    }
}

impl tower::Service<Uri> for ByTicket {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = BoxFuture<'static, std::io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

/// The one certificate that is trusted.
#[derive(Debug)]
struct Wanted {
    certificate: Fingerprint,
    /// What was shown instead, the last time.
    other: Mutex<Option<Fingerprint>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Wanted {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let found = Fingerprint::of(shown);
        if found == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        *self.other.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        Err(TlsError::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13))
    }

    /// Whoever shows the certificate must have its secret key, too.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, shown, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
