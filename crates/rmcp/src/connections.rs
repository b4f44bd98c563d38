//! The connections to the MCP server. Some servers leave a connection after they refused a request there, without a word:
//! a request that is sent there meanwhile is lost.

use std::sync::{Arc, Mutex, PoisonError};

use mcp_auth_client::TrustFlaw;
use mcp_auth_client::asynchronous::StartFlaw;
use reqwest::redirect;

type Settings = Box<dyn Fn() -> reqwest::ClientBuilder + Send + Sync>;

/// An HTTP client, whose idle connections can be left.
pub(crate) struct Connections {
    settings: Settings,
    tls: rustls::ClientConfig,
    client: Mutex<reqwest::Client>,
}

impl Connections {
    pub(crate) fn new(settings: Settings) -> Result<Self, StartFlaw> {
        let tls = tls().map_err(|flaw| StartFlaw::Tls(TrustFlaw::Platform(flaw)))?;
        let client = Mutex::new(client(&settings, &tls)?);
        Ok(Self {
            settings,
            tls,
            client,
        })
    }

    /// Returns the client for the next request.
    pub(crate) fn client(&self) -> reqwest::Client {
        let client = self.client.lock();
        client.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the requests from now on made on other connections. Those under way continue.
    pub(crate) fn leave(&self) {
        if let Ok(other) = client(&self.settings, &self.tls) {
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = other;
        }
    }
}

fn client(settings: &Settings, tls: &rustls::ClientConfig) -> Result<reqwest::Client, StartFlaw> {
    settings()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .tls_backend_preconfigured(tls.clone())
        .build()
        .map_err(StartFlaw::Http)
}

fn tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(&provider))?;
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}
