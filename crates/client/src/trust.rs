//! TLS of both drivers: which servers are believed, and how the client presents itself.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

/// The trust policy of TLS, the same in both drivers.
///
/// Servers are verified against the trust store of the platform. `SSL_CERT_FILE` and `SSL_CERT_DIR` name
/// other places of it, as for OpenSSL: on Unix they replace the store, on Apple's systems and Windows they
/// are added to it. [`add_roots`](Self::add_roots) adds certificates of the host, for private
/// certificate authorities. Verification itself cannot be switched off.
///
/// A client certificate is presented to each server that asks for one, token endpoints included. It says
/// who the user is to every server that an MCP server announces; the key never leaves the process.
#[derive(Clone, Default)]
pub struct Trust {
    roots: Vec<CertificateDer<'static>>,
    client: Option<Arc<CertifiedKey>>,
    made: Arc<OnceLock<Result<Arc<ClientConfig>, TrustFlaw>>>,
}

/// A certificate or key that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustFlaw {
    /// The text is not PEM.
    #[error("this is not PEM: {0}")]
    Pem(String),
    /// There is no `BEGIN CERTIFICATE` in it.
    #[error("there is no certificate in this PEM file (BEGIN CERTIFICATE)")]
    NoCertificate,
    /// There is no private key in it that can be read.
    #[error("there is no private key in this PEM file (BEGIN PRIVATE KEY; not encrypted)")]
    NoKey,
    /// A certificate of a certificate authority cannot be used.
    #[error("a root certificate cannot be used: {0}")]
    Root(rustls::Error),
    /// Client certificate and key cannot be used, or do not belong together.
    #[error("the client certificate and its key cannot be used together: {0}")]
    Client(rustls::Error),
    /// The platform has no trust anchors.
    #[error("TLS cannot be verified: {0}; SSL_CERT_FILE or SSL_CERT_DIR names a trust store")]
    Platform(rustls::Error),
}

impl Trust {
    /// The platform's store, and no client certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the certificates of a PEM file to those that are trusted.
    ///
    /// # Errors
    /// [`TrustFlaw`] when the text holds no certificate, or one that cannot be a root.
    pub fn add_roots(mut self, pem: impl AsRef<[u8]>) -> Result<Self, TrustFlaw> {
        let found = certificates(pem.as_ref())?;
        let mut probe = rustls::RootCertStore::empty();
        for certificate in &found {
            probe.add(certificate.clone()).map_err(TrustFlaw::Root)?;
        }
        self.roots.extend(found);
        self.made = Arc::default();
        Ok(self)
    }

    /// Presents this certificate to servers that ask for one (mTLS): the certificate with its chain, and its
    /// private key (PKCS #8, PKCS #1 or SEC 1), both as PEM.
    ///
    /// # Errors
    /// [`TrustFlaw`] when one of them cannot be read, or the two do not belong together.
    pub fn client_certificate(
        mut self,
        certificate: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, TrustFlaw> {
        let chain = certificates(certificate.as_ref())?;
        let key = PrivateKeyDer::from_pem_slice(key.as_ref()).map_err(|_| TrustFlaw::NoKey)?;
        let pair = CertifiedKey::from_der(chain, key, &provider()).map_err(TrustFlaw::Client)?;
        self.client = Some(Arc::new(pair));
        self.made = Arc::default();
        Ok(self)
    }

    /// The settings of TLS. They are made once, when a connection first needs them: the store of the
    /// platform is read then.
    pub(crate) fn tls(&self) -> Result<Arc<ClientConfig>, TrustFlaw> {
        self.made.get_or_init(|| self.make().map(Arc::new)).clone()
    }

    fn make(&self) -> Result<ClientConfig, TrustFlaw> {
        let provider = provider();
        let mut roots = self.roots.clone();
        if cfg!(any(target_vendor = "apple", windows)) {
            roots.extend(of_environment());
        }
        let verifier =
            rustls_platform_verifier::Verifier::new_with_extra_roots(roots, Arc::clone(&provider))
                .map_err(TrustFlaw::Platform)?;
        let settings = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TrustFlaw::Platform)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        Ok(match &self.client {
            Some(pair) => {
                let pair = SingleCertAndKey::from(Arc::clone(pair));
                settings.with_client_cert_resolver(Arc::new(pair))
            }
            None => settings.with_no_client_auth(),
        })
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("roots", &self.roots.len())
            .field("client_certificate", &self.client.is_some())
            .finish()
    }
}

/// `ring`, whatever else is linked into the program.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustFlaw> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| TrustFlaw::Pem(error.to_string()))?;
    if found.is_empty() {
        return Err(TrustFlaw::NoCertificate);
    }
    Ok(found)
}

/// The certificates that `SSL_CERT_FILE` and `SSL_CERT_DIR` name, for platforms whose verifier does not read them.
fn of_environment() -> Vec<CertificateDer<'static>> {
    let mut files = Vec::new();
    files.extend(std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from));
    for directory in std::env::var_os("SSL_CERT_DIR")
        .iter()
        .flat_map(std::env::split_paths)
    {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        files.extend(entries.map(|entry| entry.path()));
    }
    files
        .iter()
        .filter_map(|file| std::fs::read(file).ok())
        .flat_map(|pem| certificates(&pem).unwrap_or_default())
        .collect()
}
