//! One request of the machine, with `reqwest`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect;

use super::start::StartFlaw;
use crate::policy::{Blocked, is_blocked, is_loopback_host, local, permitted, permitted_by};
use crate::trust::Trust;
use mcp_auth_machine::Config;
use mcp_auth_machine::action::SendRequest;
use mcp_auth_machine::wire::address::{AddressPolicy, classify_ip};

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
            others: client(settings, trust, Judge::Config(Arc::clone(config)))?,
            here: client(here, trust, Judge::Config(Arc::clone(config)))?,
        })
    }

    pub(super) fn of(&self, request: &Request<Bytes>) -> &reqwest::Client {
        if request.uri().host().is_some_and(is_loopback_host) {
            &self.here
        } else {
            &self.others
        }
    }
}

pub(super) fn client(
    settings: reqwest::ClientBuilder,
    trust: &Trust,
    judge: Judge,
) -> Result<reqwest::Client, StartFlaw> {
    settings
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .pool_idle_timeout(IDLE)
        .dns_resolver(PolicyResolver(Arc::new(judge)))
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

/// Which addresses a name may be connected at.
pub(super) enum Judge {
    /// Those that the configuration permits for the name, be it of a server or of a proxy.
    Config(Arc<Config>),
    /// Those that one kind of request permits, and any for the proxies of the host.
    Request(AddressPolicy, Arc<[Box<str>]>),
}

impl Judge {
    fn permitted(&self, name: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Blocked> {
        match self {
            Self::Config(config) => permitted(config.url_policy(), Some(name), found),
            Self::Request(_, proxies) if proxies.iter().any(|proxy| **proxy == *name) => Ok(found),
            Self::Request(policy, _) => permitted_by(*policy, found),
        }
    }
}

/// Keeps only the addresses that the policy permits: the connection is made to one of these, so a
/// name that resolves differently later gains nothing.
struct PolicyResolver(Arc<Judge>);

impl Resolve for PolicyResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let judge = Arc::clone(&self.0);
        Box::pin(async move {
            let found: Vec<_> = match local(name.as_str(), 0) {
                Some(here) => here.into(),
                None => tokio::net::lookup_host((name.as_str(), 0)).await?.collect(),
            };
            let kept = judge.permitted(name.as_str(), found)?;
            let addresses: Addrs = Box::new(kept.into_iter());
            Ok(addresses)
        })
    }
}

/// Where one request may connect, how long it may take, and how much may come back.
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

    /// To which addresses a connection may be made. Equal policies may share connections.
    pub fn addresses(&self) -> AddressPolicy {
        self.addresses
    }

    /// Whether a connection to this address is permitted (SEC-06).
    pub fn permits(&self, address: IpAddr) -> bool {
        self.addresses.permits(classify_ip(address))
    }

    /// How long the whole exchange may take (SEC-15).
    pub fn time(&self) -> Duration {
        self.time
    }

    /// How many bytes of the body may be read; more is [`Undelivered::TooLarge`] (SEC-13).
    pub fn body(&self) -> usize {
        self.body
    }
}

/// Address literals never reach a resolver. The machine refuses forbidden ones; this is the second door.
pub(super) fn forbids(limits: &Limits, host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>()
        .is_ok_and(|address| !limits.permits(address))
}

/// Why a request has no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// No connection was made: the request is known not to have left.
    #[error("no connection was made")]
    NeverSent,
    /// The server may have seen the request.
    #[error("no answer came, and the server may have seen the request")]
    MaybeSent,
    /// The answer is longer than permitted.
    #[error("the answer is longer than permitted")]
    TooLarge,
    /// The address policy permits none of the addresses of the host.
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

/// Sends one request with this client, and reads its answer.
pub(super) async fn exchange(
    http: &reqwest::Client,
    request: &Request<Bytes>,
    limits: &Limits,
) -> Result<Response<Bytes>, Undelivered> {
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
pub(super) mod tests;

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tls_tests;
