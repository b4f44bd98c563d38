//! Building and starting the driver.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::accounts::Place;
use super::client::Client;
use super::device::Waiting;
use super::hands::Hands;
use super::network::{Network, NetworkBuilder, Settings};
use super::publish::Publisher;
use super::saver::{SAVE_TIME, Saver};
use super::task::Task;
use super::user::{Nobody, User};
use crate::async_store::SharedStore;
use crate::clock::{Clock, Entropy, Surroundings};
use crate::meter::Meter;
use crate::note::{Note, Watch};
use crate::secrets::{Assertions, NoSecrets, Signer};
use crate::trust::{Trust, TrustFlaw};
#[cfg(feature = "tracing")]
use mcp_auth_machine::slot::Slot;
use mcp_auth_machine::{AuthMachine, Config};

/// The reason why the driver cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartFlaw {
    /// No `tokio` runtime is running on this thread.
    #[error("no tokio runtime is running on this thread")]
    NoRuntime,
    /// TLS cannot be verified, for example because the platform has no trust anchors.
    #[error(transparent)]
    Tls(#[from] TrustFlaw),
    /// The HTTP client cannot be created.
    #[error("the HTTP client cannot be made: {0}")]
    Http(reqwest::Error),
}

/// A builder for [`Client`]; see [`Client::builder`].
pub struct Builder<U = Nobody> {
    config: Arc<Config>,
    principal: Arc<str>,
    store: SharedStore,
    user: U,
    around: Surroundings,
    watch: Watch,
    signer: Box<dyn Signer + Send>,
    assertions: Box<dyn Assertions + Send>,
    http: Settings,
    trust: Trust,
    network: Option<Network>,
    save_time: Duration,
}

impl Builder {
    pub(super) fn new(config: Arc<Config>, principal: Arc<str>, store: SharedStore) -> Self {
        Self {
            config,
            principal,
            store,
            user: Nobody,
            around: Surroundings::default(),
            watch: Watch::default(),
            signer: Box::new(NoSecrets),
            assertions: Box::new(NoSecrets),
            http: Box::new(reqwest::ClientBuilder::new),
            trust: Trust::new(),
            network: None,
            save_time: SAVE_TIME,
        }
    }
}

impl<U: User> Builder<U> {
    /// Sets the user who signs in. Default: [`Nobody`].
    pub fn user<V: User>(self, user: V) -> Builder<V> {
        Builder {
            config: self.config,
            principal: self.principal,
            store: self.store,
            user,
            around: self.around,
            watch: self.watch,
            signer: self.signer,
            assertions: self.assertions,
            http: self.http,
            trust: self.trust,
            network: self.network,
            save_time: self.save_time,
        }
    }

    /// Sets how long the end may take where tokens are not saved yet. Default: 30 seconds.
    #[must_use]
    pub fn save_time(mut self, time: Duration) -> Self {
        self.save_time = time;
        self
    }

    /// Sets other clocks, for tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.around.clock = Some(Arc::new(clock));
        self
    }

    /// Sets another random source for sign-ins and signatures, for tests.
    #[must_use]
    pub fn entropy(mut self, entropy: impl Entropy) -> Self {
        self.around.entropy = Some(Arc::new(entropy));
        self
    }

    /// Sets a closure that receives every event and action. It must not block.
    #[must_use]
    pub fn watched(mut self, watch: impl FnMut(Note<'_>) + Send + 'static) -> Self {
        self.watch = Watch::new(watch);
        self
    }

    /// Sets the signer for the host's keys, which runs on a blocking thread.
    #[must_use]
    pub fn signer(mut self, signer: impl Signer + Send + 'static) -> Self {
        self.signer = Box::new(signer);
        self
    }

    /// Sets the source of tokens of the host's platform or identity provider, which runs on a blocking
    /// thread.
    #[must_use]
    pub fn assertions(mut self, assertions: impl Assertions + Send + 'static) -> Self {
        self.assertions = Box::new(assertions);
        self
    }

    /// Trusts additional certificate authorities, or presents a client certificate. Default: the platform's
    /// trust store.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Sets the settings of the HTTP client, such as proxies. The driver overrides redirects, retries, name
    /// resolution and TLS, and the settings do not apply to requests to this device. An address that they
    /// assign to a name is not checked. The closure runs once for each address policy in use.
    #[must_use]
    pub fn http(
        mut self,
        settings: impl Fn() -> reqwest::ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        self.http = Box::new(settings);
        self
    }

    /// Shares a network with other clients, instead of creating one with [`http`](Self::http) and
    /// [`trust`](Self::trust).
    #[must_use]
    pub fn network(mut self, network: &Network) -> Self {
        self.network = Some(network.clone());
        self
    }

    /// Starts the task on the current runtime.
    ///
    /// # Errors
    /// [`StartFlaw`] without a runtime, or when the network cannot be set up.
    pub fn start(mut self) -> Result<Client, StartFlaw> {
        let runtime = Handle::try_current().map_err(|_| StartFlaw::NoRuntime)?;
        let network = match self.network.take() {
            Some(network) => network,
            None => {
                let settings = Box::new(reqwest::ClientBuilder::new);
                let settings = std::mem::replace(&mut self.http, settings);
                NetworkBuilder::new(settings, std::mem::take(&mut self.trust)).build()?
            }
        };
        Ok(self.launch(&runtime, network, None))
    }

    /// Starts the task, alone or as one of many accounts. Its place is free when it has ended.
    pub(super) fn launch(
        self,
        runtime: &Handle,
        network: Network,
        account: Option<(Publisher, Place)>,
    ) -> Client {
        // The name of the account's slot tells accounts apart, and reveals no principal.
        #[cfg(feature = "tracing")]
        let span = {
            let url = self.config.mcp_url();
            let account = Slot::account(&self.principal, url.as_str());
            tracing::debug_span!("account", %account, mcp_server = url.authority())
        };
        let (publisher, place) = account.unzip();
        let (sender, messages) = mpsc::unbounded_channel();
        let (alive, ended) = watch::channel(false);
        // On the heap: a future holds what it was given twice, once for itself and once for its caller.
        let task = Box::new(Task {
            machine: AuthMachine::new(self.config, self.principal, self.around.now()),
            hands: Hands::new(
                network,
                self.store,
                self.signer,
                self.assertions,
                self.around.clone(),
            ),
            saver: Saver::new(self.save_time, self.around.clone()),
            around: self.around,
            user: Arc::new(self.user),
            watch: self.watch,
            messages,
            back: sender.downgrade(),
            current: None,
            renews: false,
            line: VecDeque::new(),
            sign_in: None,
            device: Waiting::default(),
            joined: Vec::new(),
            need: None,
            unread: None,
            publisher,
            meter: Meter::default(),
            is_closed: false,
            ended: ended.clone(),
            place,
        });
        let run = async move {
            let (is_unsaved, place) = task.run().await;
            drop(place);
            // Tells whether tokens are lost, then that the task has ended.
            alive.send_replace(is_unsaved);
        };
        #[cfg(feature = "tracing")]
        let run = tracing::Instrument::instrument(run, span);
        runtime.spawn(run);
        Client::new(sender, ended)
    }

    /// With these clocks and this random source.
    pub(super) fn around(mut self, around: Surroundings) -> Self {
        self.around = around;
        self
    }

    /// Signs and obtains tokens with these.
    pub(super) fn boxed_secrets(
        mut self,
        signer: Box<dyn Signer + Send>,
        assertions: Box<dyn Assertions + Send>,
    ) -> Self {
        self.signer = signer;
        self.assertions = assertions;
        self
    }
}

impl<U> fmt::Debug for Builder<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("mcp_url", self.config.mcp_url())
            .finish_non_exhaustive()
    }
}
