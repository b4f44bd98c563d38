//! HTTP requests with `reqwest`.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect;

use super::start::StartFlaw;
use crate::policy::{Blocked, is_blocked, is_loopback_host, local, permitted};
use crate::trust::{Presents, Trust};
use mcp_auth_machine::action::SendRequest;
use mcp_auth_machine::wire::address::{AddressPolicy, classify_ip};

/// How long an idle connection is kept. Servers close idle connections after five seconds or more, and a
/// request on a closing connection may or may not arrive; an authorization code is sent only once.
const IDLE: Duration = Duration::from_secs(4);

pub(super) fn client(
    settings: reqwest::ClientBuilder,
    trust: &Trust,
    presents: Presents,
) -> Result<reqwest::Client, StartFlaw> {
    plain(settings, trust, presents, Names::Judged)
}

/// No redirects, no retries, and the driver's TLS.
fn plain(
    settings: reqwest::ClientBuilder,
    trust: &Trust,
    presents: Presents,
    names: Names,
) -> Result<reqwest::Client, StartFlaw> {
    settings
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .pool_idle_timeout(IDLE)
        .dns_resolver(names)
        .tls_backend_preconfigured(trust.tls(presents)?.as_ref().clone())
        .build()
        .map_err(StartFlaw::Http)
}

/// Builds a client for the host's own requests to one server: with the driver's TLS, without redirects and
/// retries, and without a proxy for a server on this device. No address policy applies: the host chooses
/// the server.
///
/// # Errors
///
/// [`StartFlaw`] when TLS cannot be verified, or the settings are invalid.
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
    let presents = trust.presents(None, server.host_str().unwrap_or_default());
    plain(settings, trust, presents, Names::Free)
}

tokio::task_local! {
    /// The host of the current request, and the policy for its addresses.
    static TO: (Box<str>, AddressPolicy);
}

/// A resolver. For the machine's requests it drops the addresses that the policy of the current request denies.
/// Connections use its result, so a name that resolves differently later has no effect. Names of proxies are
/// the user's choice and have no policy.
#[derive(Clone, Copy)]
enum Names {
    Judged,
    Free,
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let permits = match self {
            Self::Free => Ok(None),
            // Outside of a request the driver never connects.
            Self::Judged => TO
                .try_with(|(host, permits)| (**host == *name.as_str()).then_some(*permits))
                .map_err(|_| Blocked),
        };
        Box::pin(async move {
            let permits = permits?;
            let found: Vec<_> = match local(name.as_str(), 0) {
                Some(here) => here.into(),
                None => tokio::net::lookup_host((name.as_str(), 0)).await?.collect(),
            };
            let kept = match permits {
                Some(permits) => permitted(permits, found)?,
                None => found,
            };
            let addresses: Addrs = Box::new(kept.into_iter());
            Ok(addresses)
        })
    }
}

/// The limits of one request: addresses, time, and size of the response.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    addresses: AddressPolicy,
    time: Duration,
    body: usize,
}

impl Limits {
    pub(super) fn of(send: &SendRequest) -> Self {
        Self {
            addresses: send.addresses(),
            time: send.time_limit(),
            body: send.body_limit(),
        }
    }

    #[cfg(test)]
    pub(super) fn with(self, addresses: AddressPolicy) -> Self {
        Self { addresses, ..self }
    }

    /// Returns the policy for addresses. Requests with equal policies may share connections.
    pub fn addresses(&self) -> AddressPolicy {
        self.addresses
    }

    /// Returns true if a connection to this address is allowed (SEC-06).
    pub fn permits(&self, address: IpAddr) -> bool {
        self.addresses.permits(classify_ip(address))
    }

    /// Returns the time limit of the whole exchange (SEC-15).
    pub fn time(&self) -> Duration {
        self.time
    }

    /// Returns the largest body in bytes; a longer one is [`Undelivered::TooLarge`] (SEC-13).
    pub fn body(&self) -> usize {
        self.body
    }
}

/// Returns true for a denied address literal, which never reaches a resolver. The machine rejects those
/// first.
pub(super) fn forbids(limits: &Limits, host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>()
        .is_ok_and(|address| !limits.permits(address))
}

/// The reason why a request has no usable response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// No connection was made, so the request was certainly not sent.
    #[error("no connection was made")]
    NeverSent,
    /// The server may have received the request.
    #[error("no answer came, and the server may have seen the request")]
    MaybeSent,
    /// The response is larger than the limit.
    #[error("the answer is longer than permitted")]
    TooLarge,
    /// The address policy allows none of the host's addresses.
    #[error("the address policy permits none of the addresses")]
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

/// Sends one request with this client and reads the response.
pub(super) async fn exchange(
    http: &reqwest::Client,
    request: &Request<Bytes>,
    limits: &Limits,
) -> Result<Response<Bytes>, Undelivered> {
    let mut request = reqwest::Request::try_from(request.clone())?;
    *request.timeout_mut() = Some(limits.time);
    let to = request.url().host_str().unwrap_or_default().into();
    let mut answer = TO
        .scope((to, limits.addresses), http.execute(request))
        .await?;
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
pub(super) mod tests;

#[cfg(test)]
mod tls_tests;
