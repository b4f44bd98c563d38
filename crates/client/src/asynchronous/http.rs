//! One request of the machine, with `reqwest`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect;

use super::start::StartFlaw;
use crate::policy::{is_blocked, is_loopback_host, local, permitted};
use crate::trust::Trust;
use mcp_auth_machine::action::SendRequest;
use mcp_auth_machine::wire::address::{AddressPolicy, classify_ip};
use mcp_auth_machine::{Config, Event};

/// Servers close idle connections after five seconds and more; a request on one that is just being
/// closed may or may not have arrived, and a code is sent only once.
const IDLE: Duration = Duration::from_secs(4);

/// Clients for the machine's requests: to this machine directly, to others as the host's settings say.
#[derive(Clone)]
pub(super) struct Clients {
    others: reqwest::Client,
    here: reqwest::Client,
}

impl Clients {
    pub(super) fn new(
        settings: reqwest::ClientBuilder,
        trust: &Trust,
        config: &Arc<Config>,
    ) -> Result<Self, StartFlaw> {
        let here = reqwest::ClientBuilder::new().no_proxy();
        Ok(Self {
            others: client(settings, trust, config)?,
            here: client(here, trust, config)?,
        })
    }

    fn of(&self, request: &Request<Bytes>) -> &reqwest::Client {
        if request.uri().host().is_some_and(is_loopback_host) {
            &self.here
        } else {
            &self.others
        }
    }
}

fn client(
    settings: reqwest::ClientBuilder,
    trust: &Trust,
    config: &Arc<Config>,
) -> Result<reqwest::Client, StartFlaw> {
    settings
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .pool_idle_timeout(IDLE)
        .dns_resolver(PolicyResolver(Arc::clone(config)))
        .tls_backend_preconfigured(trust.tls()?.as_ref().clone())
        .build()
        .map_err(StartFlaw::Http)
}

/// Builds a client for the host's own requests to one server: the driver's TLS, no redirects, no retries, and no
/// proxy for a server on this machine. Without an address policy: the host decides which servers it calls.
///
/// # Errors
///
/// [`StartFlaw`] when TLS cannot be verified, or the settings cannot be used.
pub fn http_client(
    settings: reqwest::ClientBuilder,
    trust: &Trust,
    server: &url::Url,
) -> Result<reqwest::Client, StartFlaw> {
    let settings = if server.host_str().is_some_and(is_loopback_host) {
        settings.no_proxy()
    } else {
        settings
    };
    settings
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .pool_idle_timeout(IDLE)
        .tls_backend_preconfigured(trust.tls()?.as_ref().clone())
        .build()
        .map_err(StartFlaw::Http)
}

/// Keeps only the addresses that the policy permits: the connection is made to one of these, so a
/// name that resolves differently later gains nothing.
struct PolicyResolver(Arc<Config>);

impl Resolve for PolicyResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let config = Arc::clone(&self.0);
        Box::pin(async move {
            let found: Vec<_> = match local(name.as_str(), 0) {
                Some(here) => here.into(),
                None => tokio::net::lookup_host((name.as_str(), 0)).await?.collect(),
            };
            let kept = permitted(config.url_policy(), Some(name.as_str()), found)?;
            let addresses: Addrs = Box::new(kept.into_iter());
            Ok(addresses)
        })
    }
}

/// Where one request may connect, how long it may take, and how much may come back.
pub(super) struct Limits {
    addresses: AddressPolicy,
    time: Duration,
    body: usize,
}

impl Limits {
    /// Address literals never reach a resolver. The machine refuses forbidden ones; this is the second door.
    fn forbid(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>()
            .is_ok_and(|address| !self.addresses.permits(classify_ip(address)))
    }
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Undelivered {
    NeverSent,
    MaybeSent,
    TooLarge,
    Blocked,
}

impl From<reqwest::Error> for Undelivered {
    fn from(error: reqwest::Error) -> Self {
        if is_blocked(&error) {
            Self::Blocked
        } else if error.is_connect() || error.is_builder() {
            Self::NeverSent
        } else {
            Self::MaybeSent
        }
    }
}

/// Performs it; the event answers it whatever happens.
pub(super) async fn send(http: Clients, send: SendRequest) -> Event {
    let limits = Limits {
        addresses: send.addresses(),
        time: send.time_limit(),
        body: send.body_limit(),
    };
    match exchange(&http, send.request(), &limits).await {
        Ok(response) => send.response(response),
        Err(Undelivered::NeverSent) => send.never_sent(),
        Err(Undelivered::MaybeSent) => send.maybe_sent(),
        Err(Undelivered::TooLarge) => send.too_large(),
        Err(Undelivered::Blocked) => send.blocked(),
    }
}

async fn exchange(
    http: &Clients,
    request: &Request<Bytes>,
    limits: &Limits,
) -> Result<Response<Bytes>, Undelivered> {
    if limits.forbid(request.uri().host().unwrap_or_default()) {
        return Err(Undelivered::Blocked);
    }
    let http = http.of(request);
    let mut request = reqwest::Request::try_from(request.clone())?;
    *request.timeout_mut() = Some(limits.time);
    let mut answer = http.execute(request).await?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len().saturating_add(chunk.len()) > limits.body {
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
