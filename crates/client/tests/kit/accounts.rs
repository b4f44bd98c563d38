//! The accounts of a gateway by a clock of the test: expiry, refresh ahead with its spread, back-off, idle machines.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, StatusCode};
use mcp_auth_client::asynchronous::{Accounts, Network, Returned, Server, Stopped};
use mcp_auth_client::{MemoryStore, SharedStore};
use mcp_auth_machine::Config;
use mcp_auth_machine::config::RegistrationSharing;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_testing::servers::{Deviation, Place, Servers};
use mcp_auth_testing::{FixedEntropy, VirtualClock};

/// The lifetime of tokens of the built-in server, in seconds.
const LIFE: u64 = 300;

struct Gateway {
    servers: Servers,
    accounts: Accounts,
    server: Server,
    clock: VirtualClock,
    entropy: FixedEntropy,
}

impl Gateway {
    fn start() -> Self {
        let servers = Servers::builder().in_memory().unwrap();
        let (clock, entropy) = (VirtualClock::new(), FixedEntropy::new());
        let accounts = Accounts::builder(SharedStore::new(MemoryStore::default()))
            .network(&Network::of(servers.clone()))
            .clock(clock.clone())
            .entropy(entropy.clone())
            .start()
            .unwrap();
        let config = Config::builder(servers.url(), "http://127.0.0.1:3000/callback");
        let config = config.registration_sharing(RegistrationSharing::AcrossPrincipals);
        let server = accounts.add_server(config.build().unwrap());
        Self {
            servers,
            accounts,
            server,
            clock,
            entropy,
        }
    }

    async fn signs_in(&self, principal: &str) {
        let begun = self
            .accounts
            .begin(&self.server, principal, self.entropy.seed());
        let redirect = begun.await.unwrap().unwrap();
        let callback = self.servers.browse(redirect.url.as_str()).await.unwrap();
        let returned = self.accounts.came_back(Callback::from_url(callback)).await;
        assert!(matches!(returned, Ok(Returned::SignedIn { .. })));
    }

    async fn authorize(&self, principal: &str) -> Result<HeaderMap, Stopped> {
        let (accounts, server) = (&self.accounts, &self.server);
        accounts
            .authorize(server, principal, "echo", &Method::POST)
            .await
    }

    /// Lets tasks run until a condition holds.
    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        for round in 0_usize.. {
            // Woken tasks run before the condition is looked at.
            if round > 50 && holds(self) {
                return;
            }
            tokio::task::yield_now().await;
            if begun.elapsed() > Duration::from_secs(20) {
                break;
            }
        }
        panic!("it does not come to that: {:?}", self.accounts.counts());
    }

    fn refreshes(&self) -> u64 {
        self.servers.authorization().refreshes()
    }
}

/// The machine is not asked, and its clock is that of the gateway: a token that has expired is refreshed once.
#[tokio::test]
async fn a_token_expires_by_the_clock_of_the_test() {
    let begun = Instant::now();
    let gateway = Gateway::start();
    gateway.signs_in("alice").await;
    let first = gateway.authorize("alice").await.unwrap();
    let answer = gateway.servers.call("echo", first.clone()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    gateway.clock.advance(Duration::from_secs(LIFE));
    assert!(gateway.accounts.token(&gateway.server, "alice").is_none());
    assert_eq!(gateway.refreshes(), 0);
    let second = gateway.authorize("alice").await.unwrap();
    assert_ne!(second, first);
    assert_eq!(gateway.refreshes(), 1);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// USE-10: the margin of five minutes is half a minute, and half of that is spread. All accounts are refreshed in it
/// and none before, not all in the same second, and no reader waits.
#[tokio::test]
async fn use10_accounts_are_refreshed_ahead_at_moments_that_are_spread() {
    let gateway = Gateway::start();
    let principals: Vec<String> = (0..12).map(|number| format!("user {number}")).collect();
    for principal in &principals {
        gateway.signs_in(principal).await;
    }
    let reads = |gateway: &Gateway| {
        let token = |principal| gateway.accounts.token(&gateway.server, principal);
        assert!(
            principals
                .iter()
                .all(|principal| token(principal).is_some())
        );
    };
    gateway
        .clock
        .advance(Duration::from_secs(LIFE - 30) - Duration::from_millis(1));
    reads(&gateway);
    assert_eq!(gateway.refreshes(), 0);
    let mut moments = BTreeSet::new();
    for second in 1..=16 {
        gateway.clock.advance(Duration::from_secs(1));
        let before = gateway.refreshes();
        reads(&gateway);
        // Machines that were woken have done what they were asked for.
        gateway
            .until(|gateway| gateway.accounts.counts().working == 0)
            .await;
        if gateway.refreshes() > before {
            moments.insert(second);
        }
    }
    assert_eq!(gateway.refreshes(), 12);
    assert!(moments.len() > 3, "{moments:?}");
}

/// A busy server is left alone for as long as it says, by the clock of the test.
#[tokio::test]
async fn a_busy_server_is_left_alone_and_asked_again_in_no_time() {
    let begun = Instant::now();
    let gateway = Gateway::start();
    gateway.signs_in("alice").await;
    gateway.clock.advance(Duration::from_secs(LIFE));
    gateway.servers.deviate(Deviation::RefreshIsBusy);
    let asks = async {
        let told = gateway.authorize("alice").await;
        told.map(|_| ()).map_err(|stopped| stopped.to_string())
    };
    let told = {
        let mut asks = std::pin::pin!(asks);
        let mut waited = 0;
        loop {
            tokio::select! {
                biased;
                told = &mut asks => break told,
                () = tokio::task::yield_now() => {
                    let tried = gateway.servers.seen(Place::Token);
                    if tried > 1 && waited < 100 {
                        gateway.servers.behave();
                        gateway.clock.advance(Duration::from_secs(1));
                        waited += 1;
                    }
                }
            }
        }
    };
    assert_eq!(told, Ok(()));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// Machines that nobody needs end, and their accounts are read from the store afterwards.
#[tokio::test]
async fn idle_machines_end_by_the_clock_of_the_test() {
    let gateway = Gateway::start();
    gateway.signs_in("alice").await;
    assert_eq!(gateway.accounts.counts().machines, 1);
    // The sweep looks every five minutes, and ends machines that were idle for ten.
    for _ in 0..2 {
        gateway
            .until(|gateway| gateway.accounts.counts().working == 0)
            .await;
        assert_eq!(gateway.accounts.counts().machines, 1);
        gateway.clock.advance(Duration::from_secs(300));
    }
    gateway
        .until(|gateway| gateway.accounts.counts().machines == 0)
        .await;
    gateway.authorize("alice").await.unwrap();
    assert_eq!(gateway.refreshes(), 1);
}

/// Two runs with the same clock and the same entropy send the same requests, `state` and verifier included.
#[tokio::test]
async fn a_run_repeats_exactly() {
    let run = async || {
        let gateway = Gateway::start();
        let begun = gateway
            .accounts
            .begin(&gateway.server, "alice", gateway.entropy.seed());
        let redirect = begun.await.unwrap().unwrap();
        // The server chooses the client identifier.
        let url = redirect.url.as_str().to_owned();
        url.replace(&*redirect.client_id, "")
    };
    assert_eq!(run().await, run().await);
}
