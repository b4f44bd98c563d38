//! The connections to the MCP server: TLS is verified with the trust anchors of the platform.

use std::sync::Arc;

use mcp_auth_client::TrustFlaw;
use mcp_auth_client::asynchronous::{Connections, StartFlaw};
use reqwest::redirect;

pub(crate) fn connections(
    settings: impl Fn() -> reqwest::ClientBuilder + Send + Sync + 'static,
) -> Result<Connections, StartFlaw> {
    let tls = tls().map_err(|flaw| StartFlaw::Tls(TrustFlaw::Platform(flaw)))?;
    Connections::new(move || {
        settings()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .tls_backend_preconfigured(tls.clone())
            .build()
            .map_err(StartFlaw::Http)
    })
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
