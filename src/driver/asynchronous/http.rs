//! One request of the machine, with `reqwest`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect;

use super::start::StartFlaw;
use crate::action::SendRequest;
use crate::driver::policy::{is_blocked, permitted};
use crate::wire::address::classify_ip;
use crate::{Config, Event};

/// Servers close idle connections after five seconds and more; a request on one that is just being
/// closed may or may not have arrived, and a code is sent only once.
const IDLE: Duration = Duration::from_secs(4);

pub(super) fn client(
    settings: reqwest::ClientBuilder,
    config: &Arc<Config>,
) -> Result<reqwest::Client, StartFlaw> {
    settings
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .pool_idle_timeout(IDLE)
        .dns_resolver(PolicyResolver(Arc::clone(config)))
        .tls_backend_preconfigured(tls()?)
        .build()
        .map_err(StartFlaw::Http)
}

/// The platform's trust anchors and `ring`, whatever else is linked into the program.
fn tls() -> Result<rustls::ClientConfig, StartFlaw> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(&provider));
    let verifier = verifier.map_err(StartFlaw::Tls)?;
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(StartFlaw::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// Keeps only the addresses that the policy permits: the connection is made to one of these, so a
/// name that resolves differently later gains nothing.
struct PolicyResolver(Arc<Config>);

impl Resolve for PolicyResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let config = Arc::clone(&self.0);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let kept = permitted(config.url_policy(), Some(name.as_str()), found)?;
            let addresses: Addrs = Box::new(kept.into_iter());
            Ok(addresses)
        })
    }
}

/// Address literals never reach a resolver. The machine refuses forbidden ones; this is the second door.
fn is_forbidden_literal(send: &SendRequest) -> bool {
    let host = send.request().uri().host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>()
        .is_ok_and(|address| !send.addresses().permits(classify_ip(address)))
}

enum Undelivered {
    TooLarge,
    Failed(reqwest::Error),
}

impl From<reqwest::Error> for Undelivered {
    fn from(error: reqwest::Error) -> Self {
        Self::Failed(error)
    }
}

/// Performs it; the event answers it whatever happens.
pub(super) async fn send(http: reqwest::Client, send: SendRequest) -> Event {
    if is_forbidden_literal(&send) {
        return send.blocked();
    }
    match exchange(&http, &send).await {
        Ok(response) => send.response(response),
        Err(Undelivered::TooLarge) => send.too_large(),
        Err(Undelivered::Failed(error)) if is_blocked(&error) => send.blocked(),
        Err(Undelivered::Failed(error)) if error.is_connect() || error.is_builder() => {
            send.never_sent()
        }
        Err(Undelivered::Failed(_)) => send.maybe_sent(),
    }
}

async fn exchange(
    http: &reqwest::Client,
    send: &SendRequest,
) -> Result<Response<Bytes>, Undelivered> {
    let mut request = reqwest::Request::try_from(send.request().clone())?;
    *request.timeout_mut() = Some(send.time_limit());
    let mut answer = http.execute(request).await?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len().saturating_add(chunk.len()) > send.body_limit() {
            return Err(Undelivered::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = answer.status();
    *response.version_mut() = answer.version();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(response)
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tls_tests;
