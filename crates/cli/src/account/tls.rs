//! TLS options: additional trusted certificates, and the client certificate.

use std::path::{Path, PathBuf};

use mcp_auth_client::{Trust, TrustFlaw};
use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::speaker;

/// The TLS files.
#[derive(clap::Args, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Tls {
    /// A PEM file with certificates of certificate authorities to trust beside those of the platform, or of
    /// SSL_CERT_FILE and SSL_CERT_DIR
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_file: Option<PathBuf>,
    /// A PEM file with the certificate, and its chain, for servers that ask the client for one (mTLS)
    #[arg(long, value_name = "FILE", requires = "client_cert_key")]
    #[serde(skip_serializing_if = "Option::is_none")]
    client_cert: Option<PathBuf>,
    /// A host that may ask for --client-cert although a server announced it, such as an authorization server
    /// with mutual TLS; may be given again
    #[arg(long, value_name = "HOST", value_parser = super::discovery::host)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    client_cert_host: Vec<String>,
    /// The private key of --client-cert, PEM, not encrypted
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    #[serde(skip_serializing_if = "Option::is_none")]
    client_cert_key: Option<PathBuf>,
}

impl Tls {
    /// Replaces the given values.
    pub(crate) fn over(&mut self, given: Self) {
        if given.ca_file.is_some() {
            self.ca_file = given.ca_file;
        }
        if given.client_cert.is_some() {
            self.client_cert = given.client_cert;
            self.client_cert_key = given.client_cert_key;
        }
        if !given.client_cert_host.is_empty() {
            self.client_cert_host = given.client_cert_host;
        }
    }

    /// Returns the paths, to make them absolute.
    pub(super) fn paths(&mut self) -> [&mut Option<PathBuf>; 3] {
        [
            &mut self.ca_file,
            &mut self.client_cert,
            &mut self.client_cert_key,
        ]
    }

    /// Reads the files.
    ///
    /// # Errors
    /// Names the option and the unusable file.
    pub(crate) fn trust(&self) -> Result<Trust, Problem> {
        let mut trust = Trust::new();
        if let Some(path) = &self.ca_file {
            let named = |words| flaw("--ca-file", path, words);
            trust = trust.add_roots(read("--ca-file", path)?).map_err(named)?;
        }
        if let (Some(certificate), Some(key)) = (&self.client_cert, &self.client_cert_key) {
            let pair = (
                read("--client-cert", certificate)?,
                zeroize::Zeroizing::new(read("--client-cert-key", key)?),
            );
            let found = trust.client_certificate(pair.0, pair.1);
            trust = found.map_err(|words| {
                if words == TrustFlaw::NoKey {
                    flaw("--client-cert-key", key, words)
                } else {
                    flaw("--client-cert", certificate, words)
                }
            })?;
        }
        for host in &self.client_cert_host {
            trust = trust.present_to(host);
        }
        Ok(trust)
    }
}

fn read(option: &str, path: &Path) -> Result<Vec<u8>, Problem> {
    let found = std::fs::read(path);
    found.map_err(|error| flaw(option, path, error))
}

fn flaw(option: &str, path: &Path, flaw: impl std::fmt::Display) -> Problem {
    format!("{} ({}): {flaw}", path.display(), speaker::with(option)).into()
}
