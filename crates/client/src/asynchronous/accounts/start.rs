//! Settings of [`Accounts`], and the start of their machines.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::super::client::Client;
use super::super::network::Network;
use super::super::publish::Publisher;
use super::super::saver::SAVE_TIME;
use super::super::start::StartFlaw;
use super::flights::Flights;
use super::table::{Bounds, Place, Table};
use super::warm::{Key, Warm};
use super::{Accounts, Inner};
use crate::async_store::SharedStore;
use crate::clock::{Clock, Entropy, Surroundings};
use crate::secrets::{Assertions, NoSecrets, Signer};
use mcp_auth_machine::Config;

type Made<T> = Box<dyn Fn() -> Box<T> + Send + Sync>;

/// The parts that all machines of one [`Accounts`] have in common.
pub(super) struct Parts {
    pub(super) store: SharedStore,
    pub(super) runtime: Handle,
    pub(super) around: Surroundings,
    network: Network,
    save_time: Duration,
    signer: Made<dyn Signer + Send>,
    assertions: Made<dyn Assertions + Send>,
}

impl Parts {
    pub(super) fn start(
        &self,
        config: &Arc<Config>,
        key: &Key,
        warm: &Arc<Warm>,
        place: Place,
    ) -> Client {
        let principal = Arc::clone(&key.principal);
        let publisher = Publisher::new(Arc::clone(warm), key.clone());
        Client::builder_on(Arc::clone(config), principal, self.store.clone())
            .boxed_secrets((self.signer)(), (self.assertions)())
            .save_time(self.save_time)
            .around(self.around.clone())
            .launch(
                &self.runtime,
                self.network.clone(),
                Some((publisher, place)),
            )
    }
}

/// Settings of [`Accounts`].
pub struct AccountsBuilder {
    store: SharedStore,
    around: Surroundings,
    network: Option<Network>,
    signer: Made<dyn Signer + Send>,
    assertions: Made<dyn Assertions + Send>,
    bounds: Bounds,
    save_time: Duration,
    tokens: usize,
}

impl AccountsBuilder {
    pub(super) fn new(store: SharedStore) -> Self {
        Self {
            store,
            around: Surroundings::default(),
            network: None,
            signer: Box::new(|| Box::new(NoSecrets)),
            assertions: Box::new(|| Box::new(NoSecrets)),
            bounds: Bounds {
                machines: 10_000,
                waiting: 10_000,
                idle: Duration::from_secs(600),
            },
            save_time: SAVE_TIME,
            tokens: 100_000,
        }
    }

    /// The network of the process, if it has one already.
    #[must_use]
    pub fn network(mut self, network: &Network) -> Self {
        self.network = Some(network.clone());
        self
    }

    /// Sets other clocks, for tests: of all machines, of the tokens at hand, and of idle machines.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.around.clock = Some(Arc::new(clock));
        self
    }

    /// Sets another random source for sign-ins, signatures and the spread of refreshes, for tests.
    #[must_use]
    pub fn entropy(mut self, entropy: impl Entropy) -> Self {
        self.around.entropy = Some(Arc::new(entropy));
        self
    }

    /// How many machines may exist at once: 10,000 unless set, about 7 KiB each.
    #[must_use]
    pub fn machines(mut self, most: usize) -> Self {
        self.bounds.machines = most.max(1);
        self
    }

    /// How many callers may wait for a machine: 10,000 unless set. More get
    /// [`Stopped::Busy`](super::super::Stopped::Busy). As many accounts as may have a machine or wait for one are read from
    /// the store at once.
    #[must_use]
    pub fn waiting(mut self, most: usize) -> Self {
        self.bounds.waiting = most;
        self
    }

    /// How long a machine stays when no caller needs it: ten minutes unless set. Zero ends each at once.
    ///
    /// A machine whose tokens the store did not take stays longer, until the store takes them. A question to the user
    /// ends with its machine: answer it with
    /// [`Authorization::answering`](mcp_auth_machine::event::Authorization::answering).
    #[must_use]
    pub fn idle(mut self, time: Duration) -> Self {
        self.bounds.idle = time;
        self
    }

    /// How long the end may take where tokens are not saved yet: 30 seconds unless set. [`Accounts::close`] tries for that
    /// long.
    #[must_use]
    pub fn save_time(mut self, time: Duration) -> Self {
        self.save_time = time;
        self
    }

    /// How many tokens are kept at hand: 100,000 unless set.
    #[must_use]
    pub fn tokens(mut self, most: usize) -> Self {
        self.tokens = most;
        self
    }

    /// Signs with the host's keys, on threads that may block: one signer for each machine.
    #[must_use]
    pub fn signer<S: Signer + Send + 'static>(
        mut self,
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        self.signer = Box::new(move || Box::new(make()));
        self
    }

    /// Obtains tokens of the host's platform or identity provider, on threads that may block: one source for each
    /// machine.
    #[must_use]
    pub fn assertions<A: Assertions + Send + 'static>(
        mut self,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> Self {
        self.assertions = Box::new(move || Box::new(make()));
        self
    }

    /// Starts on the runtime that this is called on.
    ///
    /// # Errors
    /// [`StartFlaw`].
    pub fn start(self) -> Result<Accounts, StartFlaw> {
        let runtime = Handle::try_current().map_err(|_| StartFlaw::NoRuntime)?;
        let network = match self.network {
            Some(network) => network,
            None => Network::builder().build()?,
        };
        let idle = self.bounds.idle;
        let most = self.bounds.machines.saturating_add(self.bounds.waiting);
        let inner = Arc::new(Inner {
            table: Table::new(self.bounds, self.around.clone()),
            warm: Arc::new(Warm::new(self.tokens, self.around.clone())),
            servers: Default::default(),
            reads: Flights::new(most),
            refusals: Flights::new(most),
            parts: Parts {
                store: self.store,
                runtime,
                around: self.around,
                network,
                save_time: self.save_time,
                signer: self.signer,
                assertions: self.assertions,
            },
        });
        if !idle.is_zero() {
            sweep(&inner, idle);
        }
        #[cfg(feature = "metrics")]
        report(&inner);
        Ok(Accounts(inner))
    }
}

/// Ends idle machines now and then, for as long as the accounts are there.
fn sweep(inner: &Arc<Inner>, idle: Duration) {
    let table = Arc::downgrade(&inner.table);
    let around = inner.parts.around.clone();
    inner.parts.runtime.spawn(async move {
        loop {
            around.wait(idle.mul_f32(0.5)).await;
            match table.upgrade() {
                Some(table) => table.sweep(),
                None => return,
            }
        }
    });
}

/// Reports the sizes every few seconds, for as long as the accounts are there.
#[cfg(feature = "metrics")]
fn report(inner: &Arc<Inner>) {
    let weak = Arc::downgrade(inner);
    inner.parts.runtime.spawn(async move {
        while let Some(inner) = weak.upgrade() {
            crate::meter::sizes(&Accounts(inner).counts());
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    });
}

impl fmt::Debug for AccountsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountsBuilder")
            .field("bounds", &self.bounds)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}
