//! A network for any number of clients: connections, TLS and name resolution are set up once.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use http::{Request, Response, Uri};

use super::http::{Limits, Undelivered, client, exchange, forbids};
use super::start::StartFlaw;
use super::turns::Turns;
use crate::policy::is_loopback_host;
use crate::trust::{Presents, Trust};
use mcp_auth_machine::Event;
use mcp_auth_machine::action::SendRequest;
use mcp_auth_machine::wire::address::AddressPolicy;
use mcp_auth_machine::wire::url::UrlPolicy;

/// Sends the machine's requests with an HTTP client of the host, for [`Network::of`].
///
/// The host takes over the duties of the driver's own client: verify TLS (SEC-03), follow no redirect
/// (SEC-08), add no cookie, referrer or credential, retry nothing, and enforce the limits. Connect to a
/// name only if [`Limits::permits`] its resolved address (SEC-06), and never reuse a connection that was
/// made under other limits. The driver checks address literals first.
pub trait HostHttp: Send + Sync + 'static {
    /// Sends one request and returns its response.
    fn exchange(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> impl Future<Output = Result<Response<Bytes>, Undelivered>> + Send;
}

type Exchanged<'a> =
    Pin<Box<dyn Future<Output = Result<Response<Bytes>, Undelivered>> + Send + 'a>>;

/// The object-safe form of [`HostHttp`].
trait Exchange: Send + Sync {
    fn run(&self, request: Request<Bytes>, limits: Limits) -> Exchanged<'_>;
}

impl<H: HostHttp> Exchange for H {
    fn run(&self, request: Request<Bytes>, limits: Limits) -> Exchanged<'_> {
        Box::pin(self.exchange(request, limits))
    }
}

/// The network of a process: connections, TLS and name resolution, shared by its clones and by every client
/// that is built with it.
///
/// The address policy belongs to each request (SEC-06), not to the network. Connections are pooled per
/// policy, so a connection that one MCP server's policy allows never serves a request that another policy
/// would deny.
#[derive(Clone)]
pub struct Network(Inner);

#[derive(Clone)]
enum Inner {
    Shared(Arc<Pools>),
    Host(Arc<dyn Exchange>),
}

impl Network {
    /// Returns a builder for a network with the driver's own HTTP client.
    pub fn builder() -> NetworkBuilder {
        NetworkBuilder::new(Box::new(reqwest::ClientBuilder::new), Trust::new())
    }

    /// Creates a network with the host's HTTP client.
    pub fn of(http: impl HostHttp) -> Self {
        Self(Inner::Host(Arc::new(http)))
    }

    /// Sends the request and returns its result in any case.
    pub(super) async fn send(&self, send: SendRequest) -> Event {
        let limits = Limits::of(&send);
        match self.exchange(send.request(), limits).await {
            Ok(response) => send.response(response),
            Err(Undelivered::NeverSent) => send.never_sent(),
            Err(Undelivered::MaybeSent) => send.maybe_sent(),
            Err(Undelivered::TooLarge) => send.too_large(),
            Err(Undelivered::Blocked) => send.blocked(),
        }
    }

    pub(super) async fn exchange(
        &self,
        request: &Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, Undelivered> {
        if forbids(&limits, request.uri().host().unwrap_or_default()) {
            return Err(Undelivered::Blocked);
        }
        match &self.0 {
            Inner::Shared(pools) => {
                let client = pools.client(&limits, request.uri().host().unwrap_or_default())?;
                let authority = request.uri().authority().map_or("", |known| known.as_str());
                let Some(_turn) = pools.turns.wait(authority, limits.time()).await else {
                    return Err(Undelivered::NeverSent);
                };
                exchange(&client, request, &limits).await
            }
            Inner::Host(http) => http.run(request.clone(), limits).await,
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}

pub(super) type Settings = Box<dyn Fn() -> reqwest::ClientBuilder + Send + Sync>;

/// A builder for [`Network`].
pub struct NetworkBuilder {
    settings: Settings,
    trust: Trust,
    at_once: usize,
}

impl NetworkBuilder {
    pub(super) fn new(settings: Settings, trust: Trust) -> Self {
        Self {
            settings,
            trust,
            at_once: AT_ONCE,
        }
    }

    /// Sets how many requests to one host and port are under way at once. Default: 100. Further requests wait for their
    /// turn, within their time limit: the tokens of many accounts may have to be refreshed at the same moment, and a server
    /// that is sent everything at once refuses connections.
    #[must_use]
    pub fn at_once(mut self, most: usize) -> Self {
        self.at_once = most.max(1);
        self
    }

    /// Sets the settings of the HTTP client, such as proxies at any address. The closure runs once for each address policy
    /// in use. The driver overrides redirects, retries, name resolution and TLS, and the settings do not
    /// apply to requests to this device.
    #[must_use]
    pub fn http(
        mut self,
        settings: impl Fn() -> reqwest::ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        self.settings = Box::new(settings);
        self
    }

    /// Trusts additional certificate authorities, or presents a client certificate. Default: the platform's
    /// trust store.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Reads the trust anchors and validates the settings.
    ///
    /// # Errors
    /// [`StartFlaw`] when TLS cannot be verified, or the settings are invalid.
    pub fn build(self) -> Result<Network, StartFlaw> {
        let pools = Pools {
            settings: self.settings,
            trust: self.trust,
            made: RwLock::default(),
            turns: Turns::new(self.at_once),
        };
        // Creates the client for the policy of most MCP servers, which reveals invalid settings.
        if let Ok((policy, _)) = UrlPolicy::for_mcp_url("https://mcp.invalid/") {
            let key = (
                policy.addresses(&Uri::from_static("https://as.invalid/")),
                Presents::Nothing,
                false,
            );
            let client = pools.make(key)?;
            pools.keep(key, client);
        }
        Ok(Network(Inner::Shared(Arc::new(pools))))
    }
}

impl fmt::Debug for NetworkBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkBuilder").finish_non_exhaustive()
    }
}

/// How many requests to one server are under way at once, unless set.
const AT_ONCE: usize = 100;

/// A policy, what connections present, and whether requests go to this device, without a proxy.
type Key = (AddressPolicy, Presents, bool);

/// A connection pool per address policy, of which there are about twenty.
struct Pools {
    settings: Settings,
    trust: Trust,
    made: RwLock<Vec<(Key, reqwest::Client)>>,
    turns: Turns,
}

impl Pools {
    fn client(&self, limits: &Limits, host: &str) -> Result<reqwest::Client, Undelivered> {
        let policy = limits.addresses();
        let presents = self.trust.presents(Some(policy), host);
        let key = (policy, presents, is_loopback_host(host));
        let made = self.made.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = made.iter().find(|(known, _)| *known == key) {
            return Ok(client.clone());
        }
        drop(made);
        let client = self.make(key).map_err(|_| Undelivered::NeverSent)?;
        Ok(self.keep(key, client))
    }

    fn make(&self, (_, presents, here): Key) -> Result<reqwest::Client, StartFlaw> {
        let settings = if here {
            reqwest::ClientBuilder::new().no_proxy()
        } else {
            (self.settings)()
        };
        client(settings, &self.trust, presents)
    }

    /// Stores a new client, unless another task has stored one meanwhile.
    fn keep(&self, key: Key, client: reqwest::Client) -> reqwest::Client {
        let mut made = self.made.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, first)) = made.iter().find(|(known, _)| *known == key) {
            return first.clone();
        }
        made.push((key, client.clone()));
        client
    }
}

#[cfg(test)]
mod tests;
