//! Starting the task.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::client::Client;
use super::hands::Hands;
use super::network::Network;
use super::task::Task;
use super::user::{Nobody, User};
use crate::async_store::SharedStore;
use crate::note::{Note, Watch};
use crate::secrets::{Assertions, NoSecrets, Signer};
use crate::trust::{Trust, TrustFlaw};
use mcp_auth_machine::{AuthMachine, Config};

/// Why the driver does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartFlaw {
    /// There is no `tokio` runtime here.
    #[error("there is no tokio runtime here")]
    NoRuntime,
    /// TLS cannot be verified, for example because the platform has no trust anchors.
    #[error(transparent)]
    Tls(#[from] TrustFlaw),
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made: {0}")]
    Http(reqwest::Error),
}

/// What a driver is made of; see [`Client::builder`].
pub struct Builder<U = Nobody> {
    config: Arc<Config>,
    principal: Arc<str>,
    store: SharedStore,
    user: U,
    watch: Watch,
    signer: Box<dyn Signer + Send>,
    assertions: Box<dyn Assertions + Send>,
    http: reqwest::ClientBuilder,
    trust: Trust,
    network: Option<Network>,
}

impl Builder {
    pub(super) fn new(config: Arc<Config>, principal: Arc<str>, store: SharedStore) -> Self {
        Self {
            config,
            principal,
            store,
            user: Nobody,
            watch: Watch::default(),
            signer: Box::new(NoSecrets),
            assertions: Box::new(NoSecrets),
            http: reqwest::ClientBuilder::new(),
            trust: Trust::new(),
            network: None,
        }
    }
}

impl<U: User> Builder<U> {
    /// Asks this user.
    pub fn user<V: User>(self, user: V) -> Builder<V> {
        Builder {
            config: self.config,
            principal: self.principal,
            store: self.store,
            user,
            watch: self.watch,
            signer: self.signer,
            assertions: self.assertions,
            http: self.http,
            trust: self.trust,
            network: self.network,
        }
    }

    /// Shows every event and action to a closure, which must not block.
    #[must_use]
    pub fn watched(mut self, watch: impl FnMut(Note<'_>) + Send + 'static) -> Self {
        self.watch = Watch::new(watch);
        self
    }

    /// Signs with the host's keys, on a thread that may block.
    #[must_use]
    pub fn signer(mut self, signer: impl Signer + Send + 'static) -> Self {
        self.signer = Box::new(signer);
        self
    }

    /// Obtains tokens of the host's platform or identity provider, on a thread that may block.
    #[must_use]
    pub fn assertions(mut self, assertions: impl Assertions + Send + 'static) -> Self {
        self.assertions = Box::new(assertions);
        self
    }

    /// Trusts more certificate authorities than the platform does, or presents a client certificate.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Settings of the HTTP client, such as proxies. Redirects, retries, name resolution and TLS are
    /// decided by the driver, whatever these say, and they do not hold for requests to this machine; an address that they give to a name is not checked.
    #[must_use]
    pub fn http(mut self, settings: reqwest::ClientBuilder) -> Self {
        self.http = settings;
        self
    }

    /// Shares a network with other clients, in place of one with the settings of [`http`](Self::http) and
    /// [`trust`](Self::trust).
    #[must_use]
    pub fn network(mut self, network: &Network) -> Self {
        self.network = Some(network.clone());
        self
    }

    /// Starts the task on the runtime that this is called on.
    ///
    /// # Errors
    /// [`StartFlaw`].
    pub fn start(self) -> Result<Client, StartFlaw> {
        let runtime = Handle::try_current().map_err(|_| StartFlaw::NoRuntime)?;
        let network = match self.network {
            Some(network) => network,
            None => Network::own(self.http, &self.trust, &self.config)?,
        };
        let (sender, messages) = mpsc::unbounded_channel();
        let (alive, ended) = watch::channel(());
        let task = Task {
            machine: AuthMachine::new(self.config, self.principal),
            hands: Hands::new(network, self.store, self.signer, self.assertions),
            user: Arc::new(self.user),
            watch: self.watch,
            messages,
            back: sender.downgrade(),
            current: None,
            line: VecDeque::new(),
            sign_in: None,
            joined: Vec::new(),
            need: None,
        };
        runtime.spawn(async move {
            task.run().await;
            drop(alive);
        });
        Ok(Client::new(sender, ended))
    }
}

impl<U> fmt::Debug for Builder<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("mcp_url", self.config.mcp_url())
            .finish_non_exhaustive()
    }
}
