//! TLS of both drivers: trusted servers and client certificates.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use mcp_auth_machine::wire::address::AddressPolicy;
use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

/// The TLS trust policy of both drivers.
///
/// Servers are verified against the trust store of the platform. `SSL_CERT_FILE` and `SSL_CERT_DIR` name
/// other locations, as for OpenSSL: on Unix they replace the store, on Apple's systems and Windows they are
/// added to it. [`add_roots`](Self::add_roots) adds the host's certificates, for private certificate
/// authorities. Verification cannot be disabled.
///
/// A client certificate identifies the user. It is presented on request to the origins that the
/// configuration names (the MCP URL, issuers, documents) and to the hosts of
/// [`present_to`](Self::present_to), but to no other server that an MCP server announces. With
/// `NamedHosts::Public`, where users enter the MCP URLs, `present_to` alone decides: a user could name a
/// server that learns who the host is. The key never leaves the process.
#[derive(Clone, Default)]
pub struct Trust {
    roots: Vec<CertificateDer<'static>>,
    client: Option<Arc<CertifiedKey>>,
    client_hosts: BTreeSet<Box<str>>,
    made: Arc<Made>,
}

/// The settings of TLS without and with the client certificate.
#[derive(Default)]
struct Made {
    anonymous: OnceLock<Result<Arc<ClientConfig>, TrustFlaw>>,
    presenting: OnceLock<Result<Arc<ClientConfig>, TrustFlaw>>,
}

/// Whether a connection presents the client certificate, if the server requests one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presents {
    Nothing,
    Certificate,
}

/// The flaw in a certificate or key.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustFlaw {
    /// The text is not PEM.
    #[error("this is not PEM: {0}")]
    Pem(String),
    /// The text has no `BEGIN CERTIFICATE`.
    #[error("this PEM file has no certificate (BEGIN CERTIFICATE)")]
    NoCertificate,
    /// The text has no readable private key.
    #[error("this PEM file has no private key (BEGIN PRIVATE KEY; not encrypted)")]
    NoKey,
    /// The certificate of a certificate authority is unusable.
    #[error("a root certificate cannot be used: {0}")]
    Root(rustls::Error),
    /// The client certificate or its key is unusable, or they do not match.
    #[error("the client certificate and its key cannot be used together: {0}")]
    Client(rustls::Error),
    /// `SSL_CERT_FILE` names a file that cannot be used.
    #[error("SSL_CERT_FILE names {}, which cannot be used: {why}", .file.display())]
    Environment {
        /// The file.
        file: PathBuf,
        /// The error of the system, or the flaw in the file.
        why: String,
    },
    /// The platform has no trust anchors.
    #[error("TLS cannot be verified: {0}; SSL_CERT_FILE or SSL_CERT_DIR names a trust store")]
    Platform(rustls::Error),
}

impl Trust {
    /// Creates a policy with the platform's store and without a client certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the certificates of a PEM file to the trusted ones.
    ///
    /// # Errors
    /// [`TrustFlaw`] when the text has no certificate, or one that cannot be a root.
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

    /// Presents this certificate to servers that request one (mTLS): the certificate with its chain, and
    /// its private key (PKCS #8, PKCS #1 or SEC 1), both in PEM.
    ///
    /// # Errors
    /// [`TrustFlaw`] when one of them is unreadable, or they do not match.
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

    /// Presents the client certificate to this host as well, whichever server announces it: the name or address
    /// literal of an authorization server with mutual TLS (RFC 8705), for example.
    #[must_use]
    pub fn present_to(mut self, host: &str) -> Self {
        self.client_hosts.insert(host.to_ascii_lowercase().into());
        self
    }

    /// Returns what a connection to this host presents; None: the host itself chose the server.
    pub(crate) fn presents(&self, policy: Option<AddressPolicy>, host: &str) -> Presents {
        let is_meant = policy.is_none_or(|policy| policy.is_named());
        if self.client.is_some() && (is_meant || self.client_hosts.contains(host)) {
            Presents::Certificate
        } else {
            Presents::Nothing
        }
    }

    /// Returns the settings of TLS. The first connection creates them, which reads the store of the platform.
    pub(crate) fn tls(&self, presents: Presents) -> Result<Arc<ClientConfig>, TrustFlaw> {
        let (made, client) = match (presents, &self.client) {
            (Presents::Certificate, Some(pair)) => (&self.made.presenting, Some(pair)),
            (Presents::Certificate, None) | (Presents::Nothing, _) => (&self.made.anonymous, None),
        };
        made.get_or_init(|| self.make(client).map(Arc::new)).clone()
    }

    fn make(&self, client: Option<&Arc<CertifiedKey>>) -> Result<ClientConfig, TrustFlaw> {
        let provider = provider();
        let mut roots = self.roots.clone();
        let file = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        // The verifiers skip a file without a word that cannot be used.
        let of_file = file.as_deref().map(of_file).transpose()?;
        if cfg!(any(target_vendor = "apple", windows)) {
            roots.extend(of_file.into_iter().flatten());
            roots.extend(of_directories(std::env::var_os("SSL_CERT_DIR")));
        }
        let verifier =
            rustls_platform_verifier::Verifier::new_with_extra_roots(roots, Arc::clone(&provider))
                .map_err(TrustFlaw::Platform)?;
        let settings = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TrustFlaw::Platform)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        Ok(match client {
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
            .field("client_hosts", &self.client_hosts)
            .finish()
    }
}

/// Returns `ring`, regardless of other providers in the program.
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

/// Returns the certificates of `SSL_CERT_FILE`. Empty: the variable names no file.
fn of_file(file: &Path) -> Result<Vec<CertificateDer<'static>>, TrustFlaw> {
    if file.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    let unusable = |why: String| TrustFlaw::Environment {
        file: file.to_owned(),
        why,
    };
    let pem = std::fs::read(file).map_err(|error| unusable(error.to_string()))?;
    let found = certificates(&pem).map_err(|flaw| unusable(flaw.to_string()))?;
    let mut probe = rustls::RootCertStore::empty();
    // A bundle may have single certificates that cannot be roots.
    let (usable, _) = probe.add_parsable_certificates(found.iter().cloned());
    if usable == 0 {
        return Err(unusable("no certificate in it can be a root".to_owned()));
    }
    Ok(found)
}

/// Returns the certificates of `SSL_CERT_DIR`, for platforms whose verifier does not read them. Other files are usual
/// there.
fn of_directories(directories: Option<OsString>) -> Vec<CertificateDer<'static>> {
    let mut files = Vec::new();
    for directory in directories.iter().flat_map(std::env::split_paths) {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        files.extend(entries.map(|entry| entry.path()));
    }
    let found = files
        .iter()
        .filter_map(|file| std::fs::read(file).ok())
        .flat_map(|pem| certificates(&pem).unwrap_or_default());
    let is_root = |certificate: &CertificateDer<'static>| {
        rustls::RootCertStore::empty()
            .add(certificate.clone())
            .is_ok()
    };
    found.filter(is_root).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::Uri;
    use mcp_auth_machine::Config;
    use mcp_auth_machine::config::NamedHosts;

    use super::*;

    /// A file that is named and cannot be used is an error with its name, rather than a trust store without it.
    #[test]
    fn a_file_of_the_environment_that_cannot_be_used_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing.pem");
        let other = directory.path().join("other.pem");
        std::fs::write(&other, "no certificate").unwrap();
        for file in [&missing, &other, &directory.path().to_owned()] {
            let flaw = of_file(file).unwrap_err().to_string();
            assert!(flaw.contains(&file.display().to_string()), "{flaw}");
            assert!(flaw.contains("SSL_CERT_FILE"), "{flaw}");
        }
        let good = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys/tls/ca.pem");
        assert_eq!(of_file(&good).unwrap().len(), 1);
        assert_eq!(of_file(Path::new("")).unwrap().len(), 0);
    }

    /// Users who enter MCP URLs cannot have the certificate of the host presented to their servers.
    #[test]
    fn where_users_name_the_servers_the_certificate_is_for_listed_hosts() {
        let pair = include_bytes!("../tests/keys/tls/client.pem");
        let key = include_bytes!("../tests/keys/tls/client.key");
        let trust = Trust::new().client_certificate(pair, key).unwrap();
        let server = Uri::from_static("https://mcp.example/mcp");
        let presents = |trust: &Trust, hosts: NamedHosts| {
            let config = Config::builder("https://mcp.example/mcp", "http://127.0.0.1:9/callback");
            let config = config.named_hosts(hosts).build().unwrap();
            let policy = config.url_policy().addresses(&server);
            trust.presents(Some(policy), "mcp.example")
        };
        assert_eq!(
            presents(&trust, NamedHosts::Anywhere),
            Presents::Certificate
        );
        assert_eq!(presents(&trust, NamedHosts::Public), Presents::Nothing);
        let listed = trust.present_to("mcp.example");
        assert_eq!(presents(&listed, NamedHosts::Public), Presents::Certificate);
    }
}
