//! Many accounts as one object, for gateways: any number of principals at any number of MCP servers.

mod at_rest;
mod call;
mod flights;
mod mark;
mod route;
mod start;
mod table;
mod warm;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use http::{HeaderMap, HeaderValue, Method};

pub use call::AccountCall;
pub use route::Returned;
pub use start::AccountsBuilder;
pub(super) use table::{Lease, Place};
pub(super) use warm::{Key, Warm};

use self::at_rest::AtRest;
use self::flights::Flights;
use self::start::Parts;
use self::table::Table;
use self::warm::{Found, Lookup};
use super::client::Client;
use super::device::{DeviceSignIn, Poller};
use super::job::{Stopped, Target, Wish};
use super::saver::Unsaved;
use crate::async_store::SharedStore;
use mcp_auth_machine::action::{Grant, Redirect};
use mcp_auth_machine::event::{Abandon, Authorization, Operation};
use mcp_auth_machine::{Config, Event};

/// An MCP server that [`Accounts`] know.
#[derive(Clone, Debug)]
pub struct Server {
    url: Arc<str>,
    config: Arc<Config>,
}

impl Server {
    /// Its settings.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// The accounts of many principals at many MCP servers, shared by clones.
///
/// ```no_run
/// use http::Method;
/// use mcp_auth_client::asynchronous::{Accounts, Network, Stopped};
/// use mcp_auth_client::{MemoryStore, SharedStore, seed};
/// use mcp_auth_machine::Config;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let accounts = Accounts::builder(SharedStore::new(MemoryStore::default()))
///     .network(&Network::builder().build()?)
///     .start()?;
/// let url = "https://mcp.example/mcp";
/// let config = Config::builder(url, "https://gateway.example/callback").client_name("My gateway");
/// let server = accounts.add_server(config.build()?);
///
/// // For each request that the gateway forwards:
/// match accounts.authorize(&server, "alice", "tools/list", &Method::POST).await {
///     Ok(headers) => println!("{} headers", headers.len()),
///     Err(Stopped::NeedUser(_)) => {
///         // Send alice's browser there. Any process of the gateway takes the callback:
///         // `accounts.came_back(Callback::from_query(query)).await`.
///         let redirect = accounts.begin(&server, "alice", seed()?).await?;
///         println!("{:?}", redirect.map(|redirect| redirect.url));
///     }
///     Err(other) => return Err(other.into()),
/// }
/// accounts.close().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Memory
///
/// A stored token that needs nothing is read without a machine. A machine exists while it works for a caller, and for a
/// while after that; there are never more than
/// [`machines`](AccountsBuilder::machines). One with tokens that the store did not take stays until the store takes them.
/// An account at rest is nothing but its slots in the store: what a machine
/// knows beside them are hints, such as when a server asked to be left alone, and a new machine learns them again.
/// A pending authorization needs no memory either: [`came_back`](Self::came_back) finds its principal in the store,
/// in whichever process the browser arrives.
///
/// Where all machines are in use, callers wait in the order of their coming, up to
/// [`waiting`](AccountsBuilder::waiting) of them; more get [`Stopped::Busy`] at once. An [`AccountCall`] that asked a machine
/// has it in use until it is dropped: a task that keeps one while it asks for another account may wait for tasks that do
/// the same.
///
/// # Tokens at hand
///
/// Valid bearer tokens are kept in memory, up to [`tokens`](AccountsBuilder::tokens) of them, and read there
/// without a task, a channel or the lock of a refresh. A token leaves it at its end, with a 401 that names it, with a
/// sign-out here, and where the MCP server names another authorization server. What another process does is noticed
/// when the MCP server refuses the token, as with [`Client`]. Close to its end a token is refreshed in
/// the background by the first who reads it then; the moment is spread, so that accounts that were signed in together
/// are not refreshed together. Tokens that are bound to a key get a proof for each request, from their machine.
///
/// # Cancellation
///
/// Any future of this object may be dropped: what is under way is finished and stored, and the next caller for the
/// account waits for that instead of doing it again.
#[derive(Clone)]
pub struct Accounts(Arc<Inner>);

struct Inner {
    parts: Parts,
    table: Arc<Table>,
    warm: Arc<Warm>,
    servers: RwLock<HashMap<Arc<str>, Server>>,
    /// Records that are being read.
    reads: Arc<Flights<Option<u64>, AtRest>>,
    /// Refused tokens that a machine is judging.
    refusals: Arc<Flights<HeaderValue, ()>>,
}

/// The size of an [`Accounts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Machines that exist.
    pub machines: usize,
    /// Machines with tokens that the store did not take yet.
    pub unsaved: usize,
    /// Machines in use, or at the end of their work.
    pub working: usize,
    /// Callers that wait for room.
    pub waiting: usize,
    /// Tokens at hand.
    pub tokens: usize,
    /// Requests that a token at hand was given to, since the start.
    pub warm: u64,
}

impl Accounts {
    /// On a store that all processes of the gateway share.
    pub fn builder(store: SharedStore) -> AccountsBuilder {
        AccountsBuilder::new(store)
    }

    /// Makes an MCP server known. One that is known already keeps its settings.
    pub fn add_server(&self, config: impl Into<Arc<Config>>) -> Server {
        let config = config.into();
        let url: Arc<str> = config.mcp_url().as_str().into();
        let mut servers = self
            .0
            .servers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let server = servers.entry(Arc::clone(&url));
        server.or_insert(Server { url, config }).clone()
    }

    /// Returns the MCP server at this URL, if it was made known.
    pub fn server(&self, url: &str) -> Option<Server> {
        let servers = self
            .0
            .servers
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        servers.get(url).cloned()
    }

    /// Returns the headers with which one request to the MCP server presents a valid token of this principal: `Authorization`,
    /// and `DPoP` where the token is bound to a key. Never for a second request.
    ///
    /// # Errors
    /// [`Stopped`]: with [`Stopped::NeedUser`], [`begin`](Self::begin) a sign-in.
    pub async fn authorize(
        &self,
        server: &Server,
        principal: &str,
        operation: impl Into<Operation>,
        method: &Method,
    ) -> Result<HeaderMap, Stopped> {
        if let Some(value) = self.token(server, principal) {
            return Ok(crate::secrets::bearer(value));
        }
        let operation = operation.into();
        if let Some(value) = self.read_token(server, principal, &operation).await? {
            return Ok(crate::secrets::bearer(value));
        }
        let target = Target {
            operation,
            method: method.clone(),
            url: server.url().into(),
        };
        // On the heap: the futures of callers that need no machine stay small.
        let asked = Box::pin(async {
            let lease = self.lease(server, principal).await?;
            lease.client().wanted(target, Wish::IfThereIsOne).await
        });
        asked.await
    }

    /// Returns the `Authorization` header of a valid bearer token that is in memory. `None`: ask with
    /// [`authorize`](Self::authorize), which looks into the store.
    pub fn token(&self, server: &Server, principal: &str) -> Option<HeaderValue> {
        let lookup = Lookup::of(server.url(), principal);
        let Found {
            authorization,
            is_due,
        } = self.0.warm.get(&lookup, self.0.parts.around.now())?;
        if is_due {
            self.refresh_ahead(server, principal);
        }
        Some(authorization)
    }

    /// Begins one request to the MCP server, which may take several attempts.
    pub fn call(
        &self,
        server: &Server,
        principal: &str,
        operation: impl Into<Operation>,
        method: Method,
    ) -> AccountCall {
        AccountCall::new(self.clone(), server, principal, operation.into(), method)
    }

    /// Returns the stored token without its value, expired or not: for a page about a user's accounts. It is read from the
    /// store, so that what another process stored is seen; no machine is started. Tokens that the store did not take yet
    /// come from their machine.
    ///
    /// # Errors
    /// [`Stopped::Failed`] when the store cannot be read, or its record is of a newer version; [`Stopped::Ended`].
    pub async fn grant(&self, server: &Server, principal: &str) -> Result<Option<Grant>, Stopped> {
        if let Some(lease) = self.0.table.unsaved(&key(server, principal))? {
            return lease.client().grant().await;
        }
        self.read_grant(server, principal).await
    }

    /// Starts a sign-in, and says where to send the user. `None`: a token is there already. The callback may come to
    /// any process that shares the store.
    ///
    /// # Errors
    /// As [`Client::begin`].
    pub async fn begin(
        &self,
        server: &Server,
        principal: &str,
        authorization: impl Into<Authorization>,
    ) -> Result<Option<Redirect>, Stopped> {
        let store = &self.0.parts.store;
        let mark = mark::read(store, server, principal).await?;
        let lease = self.lease(server, principal).await?;
        let Some(redirect) = lease.client().begin(authorization).await? else {
            return Ok(None);
        };
        route::keep(&self.0.parts, &redirect, server, principal, mark).await?;
        Ok(Some(redirect))
    }

    /// Starts a sign-in with a code for a browser of any device (RFC 8628). `None`: a token is there already. The codes
    /// live in this process alone (DEV-11); the machine counts as in use until the returned value is dropped.
    ///
    /// # Errors
    /// As [`Client::begin_on_other_device`].
    pub async fn begin_on_other_device(
        &self,
        server: &Server,
        principal: &str,
        authorization: impl Into<Authorization>,
    ) -> Result<Option<DeviceSignIn>, Stopped> {
        let lease = self.lease(server, principal).await?;
        let shown = lease.client().show_code(authorization.into()).await?;
        Ok(shown.map(|shown| DeviceSignIn::new(shown, Poller::Account(lease))))
    }

    /// Ends the sign-ins of this account that are under way, in all processes.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn abandon(
        &self,
        server: &Server,
        principal: &str,
        how: Abandon,
    ) -> Result<(), Stopped> {
        let marked = mark::set(&self.0.parts, server, principal).await;
        self.lease(server, principal).await?.client().abandon(how);
        marked
    }

    /// Erases the account, then revokes what it held where the server can. Sign-ins under way end, in all processes.
    ///
    /// # Errors
    /// As [`Client::sign_out`]; [`Stopped::StoreFailed`] when a sign-in under way may still succeed.
    pub async fn sign_out(&self, server: &Server, principal: &str) -> Result<(), Stopped> {
        let key = key(server, principal);
        self.0.warm.retract(&key);
        // First: a callback that arrives from now on belongs to no sign-in.
        let marked = mark::set(&self.0.parts, server, principal).await;
        let lease = self.lease(server, principal).await?;
        lease.client().sign_out().await?;
        // Callers that come from now on share no read that began during the sign-out.
        self.0.warm.retract(&key);
        marked
    }

    /// Returns the numbers of machines, waiting callers and tokens.
    pub fn counts(&self) -> Counts {
        let table = self.0.table.counts();
        Counts {
            machines: table.machines,
            unsaved: table.unsaved,
            working: table.working,
            waiting: table.waiting,
            tokens: self.0.warm.len(),
            warm: self.0.warm.hits(),
        }
    }

    /// Starts nothing any more, and waits until everything that is under way is finished and stored. Callers get
    /// [`Stopped::Ended`] from now on, except those with a token at hand.
    ///
    /// # Errors
    /// [`Unsaved`]: the store did not take all tokens within [`save_time`](AccountsBuilder::save_time).
    pub async fn close(&self) -> Result<(), Unsaved> {
        self.0.table.close().await
    }

    async fn lease(&self, server: &Server, principal: &str) -> Result<Lease, Stopped> {
        let key = key(server, principal);
        let start = |place| self.start(server, &key, place);
        self.0.table.lease(&key, start).await
    }

    fn start(&self, server: &Server, key: &Key, place: Place) -> Client {
        let parts = &self.0.parts;
        parts.start(&server.config, key, &self.0.warm, place)
    }

    /// Tells the machine, where there is one, that its token was accepted: a later refusal is answered with a refresh
    /// (USE-08).
    fn accepted(&self, server: &Server, principal: &str, operation: &Operation) {
        let lookup = Lookup::of(server.url(), principal);
        if self.0.warm.accepted(&lookup) {
            let event = Event::Accepted(operation.clone());
            self.0.table.note(&key(server, principal), event);
        }
    }

    /// Has a token refreshed that is close to its end. No caller waits for it.
    fn refresh_ahead(&self, server: &Server, principal: &str) {
        let (accounts, server) = (self.clone(), server.clone());
        let key = key(&server, principal);
        self.0.parts.runtime.spawn(async move {
            let start = |place| accounts.start(&server, &key, place);
            let told = match accounts.0.table.try_lease(&key, start) {
                None => Err(Stopped::Busy),
                Some(lease) => {
                    let target = Target {
                        operation: Operation::new("refresh"),
                        method: Method::POST,
                        url: server.url().into(),
                    };
                    lease.client().wanted(target, Wish::IfThereIsOne).await
                }
            };
            // Without one, the machine has said why to those who ask for more than a warm token.
            drop(told);
            let warm = &accounts.0.warm;
            warm.refresh_ended(&key, warm.now());
        });
    }
}

fn key(server: &Server, principal: impl Into<Arc<str>>) -> Key {
    Key::new(Arc::clone(&server.url), principal.into())
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Accounts").field(&self.counts()).finish()
    }
}
