//! One network for any number of clients: connections, TLS and name resolution are made once.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use http::{Request, Response};

use super::http::{Clients, Judge, Limits, Undelivered, client, exchange, forbids};
use super::start::StartFlaw;
use crate::policy::is_loopback_host;
use crate::trust::Trust;
use mcp_auth_machine::action::SendRequest;
use mcp_auth_machine::wire::address::AddressPolicy;
use mcp_auth_machine::wire::url::UrlPolicy;
use mcp_auth_machine::{Config, Event};

/// Sends the machine's requests with an HTTP client of the host, for [`Network::of`].
///
/// What the driver does with its own client falls to the host here: TLS is verified (SEC-03), no redirect is followed
/// (SEC-08), no cookie, referrer or credential of the host is added, nothing is sent a second time, and the limits
/// are kept. A name is connected to only where [`Limits::permits`] the address that it resolved to (SEC-06), and a
/// connection that was made under other limits is not used again. Address literals are judged by the driver before.
pub trait HostHttp: Send + Sync + 'static {
    /// Sends one request and reads its answer.
    fn exchange(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> impl Future<Output = Result<Response<Bytes>, Undelivered>> + Send;
}

type Exchanged<'a> =
    Pin<Box<dyn Future<Output = Result<Response<Bytes>, Undelivered>> + Send + 'a>>;

/// [`HostHttp`] behind a pointer.
trait Exchange: Send + Sync {
    fn run(&self, request: Request<Bytes>, limits: Limits) -> Exchanged<'_>;
}

impl<H: HostHttp> Exchange for H {
    fn run(&self, request: Request<Bytes>, limits: Limits) -> Exchanged<'_> {
        Box::pin(self.exchange(request, limits))
    }
}

/// The network of a process: connections, TLS and name resolution, shared by its clones and by every client that is
/// built with one.
///
/// The address policy is that of each request (SEC-06), not of the network: connections are kept apart by it, so
/// that a connection which one MCP server's policy permits serves no request that another policy would refuse.
#[derive(Clone)]
pub struct Network(Inner);

#[derive(Clone)]
enum Inner {
    /// One client's own, with its settings.
    Own(Clients),
    Shared(Arc<Pools>),
    Host(Arc<dyn Exchange>),
}

impl Network {
    /// With the driver's own HTTP client.
    pub fn builder() -> NetworkBuilder {
        NetworkBuilder {
            settings: Box::new(reqwest::ClientBuilder::new),
            trust: Trust::new(),
            proxies: Vec::new(),
        }
    }

    /// With the HTTP client of the host.
    pub fn of(http: impl HostHttp) -> Self {
        Self(Inner::Host(Arc::new(http)))
    }

    /// The network of one client.
    pub(super) fn own(
        settings: reqwest::ClientBuilder,
        trust: &Trust,
        config: &Arc<Config>,
    ) -> Result<Self, StartFlaw> {
        Ok(Self(Inner::Own(Clients::new(settings, trust, config)?)))
    }

    /// Performs the request; the event answers it whatever happens.
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
            Inner::Own(clients) => exchange(clients.of(request), request, &limits).await,
            Inner::Shared(pools) => {
                let here = request.uri().host().is_some_and(is_loopback_host);
                let client = pools.client(limits.addresses(), here)?;
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

type Settings = Box<dyn Fn() -> reqwest::ClientBuilder + Send + Sync>;

/// What a [`Network`] is made of.
pub struct NetworkBuilder {
    settings: Settings,
    trust: Trust,
    proxies: Vec<Box<str>>,
}

impl NetworkBuilder {
    /// Settings of the HTTP client, such as proxies: asked for once for each address policy in use. Redirects,
    /// retries, name resolution and TLS are the driver's, whatever these say, and they do not hold for requests to
    /// this machine.
    #[must_use]
    pub fn http(
        mut self,
        settings: impl Fn() -> reqwest::ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        self.settings = Box::new(settings);
        self
    }

    /// Trusts more certificate authorities than the platform does, or presents a client certificate.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Names a proxy in a private network, or on this machine: a name that the address policy of the requests would
    /// not permit.
    #[must_use]
    pub fn proxy_host(mut self, name: &str) -> Self {
        self.proxies.push(name.to_ascii_lowercase().into());
        self
    }

    /// Reads the trust anchors and checks the settings.
    ///
    /// # Errors
    /// [`StartFlaw`] when TLS cannot be verified, or the settings cannot be used.
    pub fn build(self) -> Result<Network, StartFlaw> {
        let pools = Pools {
            settings: self.settings,
            trust: self.trust,
            proxies: self.proxies.into(),
            made: RwLock::default(),
        };
        // The policy that most MCP servers have; a fault of the settings is known here.
        if let Ok((policy, _)) = UrlPolicy::for_mcp_url("https://mcp.invalid/") {
            let key = (policy.addresses(None), false);
            let client = pools.make(key)?;
            pools.keep(key, client);
        }
        Ok(Network(Inner::Shared(Arc::new(pools))))
    }
}

impl fmt::Debug for NetworkBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkBuilder")
            .field("proxies", &self.proxies)
            .finish_non_exhaustive()
    }
}

/// A policy, and whether requests go to this machine, past any proxy.
type Key = (AddressPolicy, bool);

/// A pool of connections for each address policy: there are about twenty.
struct Pools {
    settings: Settings,
    trust: Trust,
    proxies: Arc<[Box<str>]>,
    made: RwLock<Vec<(Key, reqwest::Client)>>,
}

impl Pools {
    fn client(&self, policy: AddressPolicy, here: bool) -> Result<reqwest::Client, Undelivered> {
        let key = (policy, here);
        let made = self.made.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = made.iter().find(|(known, _)| *known == key) {
            return Ok(client.clone());
        }
        drop(made);
        let client = self.make(key).map_err(|_| Undelivered::NeverSent)?;
        Ok(self.keep(key, client))
    }

    fn make(&self, (policy, here): Key) -> Result<reqwest::Client, StartFlaw> {
        let settings = if here {
            reqwest::ClientBuilder::new().no_proxy()
        } else {
            (self.settings)()
        };
        let judge = Judge::Request(policy, Arc::clone(&self.proxies));
        client(settings, &self.trust, judge)
    }

    /// Keeps a new client, unless another task has made one meanwhile.
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
#[path = "network_tests.rs"]
mod tests;
