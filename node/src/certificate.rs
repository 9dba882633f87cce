//! The certificate by which clients on other machines know this node: it makes one itself, and keeps it in its folder.
//!
//! No authority vouches for it: clients have its fingerprint from their ticket. So names do not matter, nor do dates,
//! which a machine with a wrong clock could not judge: it is good for as long as the file is there. Removing the file
//! renews it at the next start; then every client needs a new ticket. A certificate of one's own, with its key, may be
//! put in the file's place.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openprod_client::Fingerprint;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;

use crate::folder;

/// The name in the certificate of every node, for clients that insist on comparing one.
pub const NAME: &str = "openprod";
/// What is spoken inside: gRPC, and plain HTTP for browsers.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The system did not let us.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error(
        "{path}: {why}; put a certificate and its key there as PEM, or remove the file: then a new certificate is made, and \
         clients on other machines need new tickets"
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// None could be made.
    #[error("no certificate could be made: {0}")]
    NotMade(#[from] rcgen::Error),
}

/// A node's certificate, and what proves that it is its own.
pub struct Certificate {
    path: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    pem: String,
    key: PrivateKeyDer<'static>,
}

impl Certificate {
    /// Reads the certificate and the key in `path`, or makes them there, with these names beside [`NAME`].
    pub fn open(path: &Path, names: Vec<String>) -> Result<Self, CertificateError> {
        match Self::read(path) {
            Err(CertificateError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                folder::write_new(path, made(names)?.as_bytes()).map_err(io_at(path))?;
                tracing::info!(path = %path.display(), "a certificate was made for clients on other machines");
                Self::read(path)
            }
            read => read,
        }
    }

    /// Reads the certificate and the key in `path`.
    pub fn read(path: &Path) -> Result<Self, CertificateError> {
        let unusable = |why: String| CertificateError::Unusable { path: path.to_owned(), why };
        let text = zeroize::Zeroizing::new(std::fs::read_to_string(path).map_err(io_at(path))?);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        let chain = chain.map_err(|error| unusable(format!("it cannot be read: {error}")))?;
        if chain.is_empty() {
            return Err(unusable("it holds no certificate".to_owned()));
        }
        let key =
            PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| unusable(format!("its key: {error}")))?;
        Ok(Self { path: path.to_owned(), chain, pem: certificates_in(&text), key })
    }

    /// What clients know it by.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.first())
    }

    /// It as PEM, without its key.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    fn first(&self) -> &[u8] {
        // Reading has seen to it that there is one.
        self.chain.first().map_or(&[], |first| first)
    }

    /// How this node speaks TLS: version 1.3 only, which every gRPC library and browser of today speaks.
    pub fn server_config(&self) -> Result<ServerConfig, CertificateError> {
        let unusable = |error: rustls::Error| CertificateError::Unusable {
            path: self.path.clone(),
            why: format!("TLS cannot use it: {error}"),
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(unusable)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        config.max_early_data_size = 0;
        Ok(config)
    }
}

/// A key on the curve P-256, since browsers know no certificates with Ed25519.
fn made(names: Vec<String>) -> Result<zeroize::Zeroizing<String>, rcgen::Error> {
    let all: Vec<String> = std::iter::once(NAME.to_owned()).chain(names).collect();
    let mut params = CertificateParams::new(all)?;
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(zeroize::Zeroizing::new(certificate.pem() + &key.serialize_pem()))
}

/// The names and addresses by which this machine may be called, as a certificate may hold them.
pub fn names(allowed_hosts: &[String], addresses: &[IpAddr]) -> Vec<String> {
    let allowed = allowed_hosts.iter().map(|host| host.split(':').next().unwrap_or_default().to_owned());
    let own = own_names().into_iter().chain(["localhost".to_owned()]);
    let mut all: Vec<String> = own.chain(allowed).chain(addresses.iter().map(ToString::to_string)).collect();
    all.retain(|name| name.is_ascii() && !name.is_empty() && name != NAME);
    all.sort();
    all.dedup();
    all
}

/// What the network calls this machine: its name, and the same in the domain of multicast DNS.
pub fn own_names() -> Vec<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if name.is_empty() || !name.chars().all(plain) {
        return Vec::new();
    }
    let local = (!name.contains('.')).then(|| format!("{name}.local"));
    std::iter::once(name).chain(local).collect()
}

fn io_at(path: &Path) -> impl Fn(std::io::Error) -> CertificateError + '_ {
    move |source| CertificateError::Io { path: path.to_owned(), source }
}

/// The certificates in a PEM file (RFC 7468), and nothing else of it.
fn certificates_in(text: &str) -> String {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let blocks = text.split(BEGIN).skip(1).filter_map(|rest| rest.split_once(END));
    blocks.flat_map(|(block, _)| [BEGIN, block, END, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_kept_secret_and_told_without_its_key() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tls.pem");
        let first = Certificate::open(&path, names(&["stage.local:7117".to_owned()], &[])).unwrap();
        let again = Certificate::open(&path, Vec::new()).unwrap();
        assert_eq!(first.fingerprint(), again.fingerprint());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(first.pem().starts_with("-----BEGIN CERTIFICATE-----") && !first.pem().contains("PRIVATE"));
        assert_eq!(
            Fingerprint::of(&CertificateDer::from_pem_slice(first.pem().as_bytes()).unwrap()),
            first.fingerprint()
        );
        first.server_config().unwrap();
    }

    #[test]
    fn a_file_that_holds_something_else_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tls.pem");
        std::fs::write(&path, "mine").unwrap();
        let refusal = Certificate::open(&path, Vec::new()).err().unwrap().to_string();
        assert!(refusal.contains("holds no certificate") && refusal.contains("remove the file"), "{refusal}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }
}
