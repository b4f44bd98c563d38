//! Stores that fail or hang at the wrong moment: no token that a server has issued is lost, and no caller hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use mcp_auth_client::asynchronous::{Accounts, AccountsBuilder, Server, Stopped, Unsaved};
use mcp_auth_client::{
    AsyncStore, MemoryStore, SharedStore, StoreError, StoreTimedOut, Swap, seed,
};
use mcp_auth_machine::error::{Cause, StoreFlaw};
use mcp_auth_machine::slot::{Revision, Slot, SlotKind, Stored};
use mcp_auth_machine::time::UnixMillis;
use tokio::time::{sleep, timeout};

use crate::accounts::{asks, call, is_unknown, network, server, sign_in};
use crate::support::World;

/// The behaviour of the store for accounts.
#[derive(Clone, Copy)]
enum Does {
    Works,
    /// Fails to write once the authorization server has given new tokens.
    LosesRefreshed,
    Hangs,
    /// Never answers the next read of a registration.
    LosesOneRead,
}

/// A store in memory that has outages.
#[derive(Clone)]
pub(crate) struct Outages {
    pub(crate) memory: MemoryStore,
    world: Arc<World>,
    does: Arc<AtomicU8>,
}

impl Outages {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        Self {
            memory: MemoryStore::default(),
            world: Arc::clone(world),
            does: Arc::default(),
        }
    }

    fn set(&self, does: Does) {
        let number = match does {
            Does::Works => 0,
            Does::LosesRefreshed => 1,
            Does::Hangs => 2,
            Does::LosesOneRead => 3,
        };
        self.does.store(number, Ordering::SeqCst);
    }

    pub(crate) fn hangs(&self) {
        self.set(Does::Hangs);
    }

    pub(crate) fn works(&self) {
        self.set(Does::Works);
    }
}

impl AsyncStore for Outages {
    async fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        let lost = self.does.load(Ordering::SeqCst) == 3;
        if lost && slot.kind() == SlotKind::Registration {
            self.works();
            return std::future::pending().await;
        }
        AsyncStore::load(&self.memory, slot).await
    }

    async fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        if slot.kind() == SlotKind::Account {
            match self.does.load(Ordering::SeqCst) {
                1 if self.world.server.refreshes() > 0 => {
                    return Err(StoreError("down".into()));
                }
                2 => std::future::pending().await,
                _ => {}
            }
        }
        AsyncStore::persist_until(&self.memory, slot, expected, write, expires).await
    }
}

fn builder(store: &Outages) -> AccountsBuilder {
    Accounts::builder(SharedStore::new(store.clone())).network(&network())
}

fn is_not_saved(told: &Result<(String, usize), Stopped>) -> bool {
    let Err(Stopped::Failed(failure)) = told else {
        return false;
    };
    failure.cause == Cause::NotPersisted(StoreFlaw::Write)
}

/// Alice's token is refused and refreshed, and the store does not take the new one.
async fn unsaved(world: &Arc<World>, store: &Outages, accounts: &Accounts, server: &Server) {
    let client = sign_in(world, accounts, server, "alice").await;
    let (old, _) = call(world, accounts, server, "alice").await.unwrap();
    world.revoke(&old, &client).await;
    store.set(Does::LosesRefreshed);
    let told = call(world, accounts, server, "alice").await;
    assert!(is_not_saved(&told), "{told:?}");
    assert_eq!(world.server.refreshes(), 1);
}

/// Another process finds the tokens in the store.
async fn has_them(world: &Arc<World>, store: &Outages) {
    let next = builder(store).start().unwrap();
    let server = server(&next, world);
    let (_, attempts) = call(world, &next, &server, "alice").await.unwrap();
    assert_eq!((attempts, world.server.refreshes()), (1, 1));
}

async fn until(what: impl Fn() -> bool) {
    let since = Instant::now();
    while !what() {
        assert!(since.elapsed() < Duration::from_secs(20));
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn tok16_tokens_that_the_store_did_not_take_stay_until_it_does() {
    let world = World::start().await;
    let store = Outages::new(&world);
    let accounts = builder(&store).idle(Duration::ZERO).tokens(0);
    let accounts = accounts.start().unwrap();
    let server = server(&accounts, &world);
    unsaved(&world, &store, &accounts, &server).await;
    // Machines end at once here; this one does not, however often it is used.
    for _ in 0..3 {
        until(|| accounts.counts().working == 0).await;
        let counts = accounts.counts();
        assert_eq!((counts.machines, counts.unsaved), (1, 1));
        let told = call(&world, &accounts, &server, "alice").await;
        assert!(is_not_saved(&told), "{told:?}");
        assert!(accounts.grant(&server, "alice").await.unwrap().is_some());
    }
    store.works();
    // Without any request.
    until(|| accounts.counts().machines == 0).await;
    assert_eq!(accounts.counts().unsaved, 0);
    has_them(&world, &store).await;
}

#[tokio::test]
async fn tok16_a_refresh_that_nobody_waits_for_is_not_lost_either() {
    let mut kept = 0;
    for _ in 0..5 {
        let world = World::start().await;
        let store = Outages::new(&world);
        let accounts = builder(&store).idle(Duration::ZERO).start().unwrap();
        let server = server(&accounts, &world);
        let client = sign_in(&world, &accounts, &server, "alice").await;
        let (old, _) = call(&world, &accounts, &server, "alice").await.unwrap();
        world.revoke(&old, &client).await;
        let mut refused = accounts.call(&server, "alice", "read", Method::POST);
        let headers = refused.headers().await.unwrap();
        let (status, answer) = world.post("read", headers).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        store.set(Does::LosesRefreshed);
        let caller = tokio::spawn(async move { refused.again(status, &answer).await });
        // The server has issued new tokens: now the caller leaves, and the machine is to end after that.
        while world.server.refreshes() == 0 {
            tokio::task::yield_now().await;
        }
        caller.abort();
        if caller.await.is_ok() {
            continue;
        }
        until(|| accounts.counts().unsaved == 1).await;
        kept += 1;
        store.works();
        until(|| accounts.counts().machines == 0).await;
        has_them(&world, &store).await;
    }
    assert!(kept > 0);
}

#[tokio::test]
async fn tok16_such_a_machine_takes_room_and_gives_it_back() {
    let world = World::start().await;
    let store = Outages::new(&world);
    let accounts = builder(&store).machines(1).start().unwrap();
    let server = server(&accounts, &world);
    unsaved(&world, &store, &accounts, &server).await;
    let waits = tokio::spawn({
        let (accounts, server) = (accounts.clone(), server.clone());
        async move { asks(&accounts, &server, "bob").await }
    });
    until(|| accounts.counts().waiting == 1).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(accounts.counts().unsaved, 1);
    store.works();
    assert!(is_unknown(waits.await.unwrap()));
    has_them(&world, &store).await;
}

#[tokio::test]
async fn tok16_a_shutdown_waits_for_the_store_for_a_while_and_says_what_is_lost() {
    let world = World::start().await;
    let store = Outages::new(&world);
    let accounts = builder(&store).save_time(Duration::from_secs(20));
    let accounts = accounts.start().unwrap();
    let server_here = server(&accounts, &world);
    unsaved(&world, &store, &accounts, &server_here).await;
    let back = tokio::spawn({
        let store = store.clone();
        async move {
            sleep(Duration::from_millis(300)).await;
            store.works();
        }
    });
    accounts.close().await.unwrap();
    back.await.unwrap();
    has_them(&world, &store).await;

    let world = World::start().await;
    let store = Outages::new(&world);
    let accounts = builder(&store).save_time(Duration::from_millis(100));
    let accounts = accounts.start().unwrap();
    let server_here = server(&accounts, &world);
    unsaved(&world, &store, &accounts, &server_here).await;
    let told = timeout(Duration::from_secs(10), accounts.close()).await;
    assert_eq!(told.unwrap(), Err(Unsaved { accounts: 1 }));
}

#[tokio::test]
async fn tok16_one_client_waits_for_the_store_in_the_same_way() {
    let world = World::start().await;
    for (save_time, expected) in [(20_000, Ok(())), (50, Err(Unsaved { accounts: 1 }))] {
        let world = if save_time == 50 {
            World::start().await
        } else {
            Arc::clone(&world)
        };
        let store = Outages::new(&world);
        let shared = SharedStore::new(store.clone());
        let config = world.config().build().unwrap();
        let client = mcp_auth_client::asynchronous::Client::builder_on(config, "alice", shared)
            .network(&network())
            .save_time(Duration::from_millis(save_time))
            .start()
            .unwrap();
        let redirect = client.begin(seed().unwrap()).await.unwrap().unwrap();
        let callback = world.follow(&redirect).await;
        let callback = mcp_auth_machine::wire::callback::Callback::from_url(callback);
        assert!(client.came_back(callback).await.unwrap());
        let old = world.call(&client, "read").await.unwrap();
        world.revoke(&old, &redirect.client_id).await;
        store.set(Does::LosesRefreshed);
        world.call(&client, "read").await.unwrap_err();
        let back = tokio::spawn({
            let store = store.clone();
            async move {
                sleep(Duration::from_millis(300)).await;
                store.works();
            }
        });
        assert_eq!(client.close().await, expected);
        back.await.unwrap();
    }
}

/// The registration is read early, and that read never ends: it holds up no other operation of the store.
#[tokio::test]
async fn a_read_that_never_ends_holds_up_no_sign_in() {
    let world = World::start().await;
    let store = Outages::new(&world);
    let hour = Duration::from_secs(3_600);
    let shared = SharedStore::new(store.clone()).time_limit(hour);
    let accounts = Accounts::builder(shared).network(&network());
    let accounts = accounts.start().unwrap();
    let server = server(&accounts, &world);
    store.set(Does::LosesOneRead);
    let signs_in = sign_in(&world, &accounts, &server, "alice");
    let limit = Duration::from_secs(10);
    timeout(limit, signs_in).await.unwrap();
    call(&world, &accounts, &server, "alice").await.unwrap();
}

#[tokio::test]
async fn a_store_that_hangs_is_one_that_fails() {
    let world = World::start().await;
    let store = Outages::new(&world);
    let limit = Duration::from_millis(200);
    let shared = SharedStore::new(store.clone()).time_limit(limit);
    let slot = Slot::account("carol", "https://mcp.example/mcp");
    store.hangs();
    let error = shared.persist_until(slot, None, None, None).await;
    let error = error.unwrap_err();
    assert!(error.is_timed_out());
    let told = error.0.downcast_ref::<StoreTimedOut>();
    assert_eq!(told, Some(&StoreTimedOut { limit }));
    assert!(shared.load(slot).await.unwrap().is_none());

    let accounts = Accounts::builder(shared).network(&network());
    let accounts = accounts.start().unwrap();
    let server = server(&accounts, &world);
    store.works();
    let client = sign_in(&world, &accounts, &server, "alice").await;
    let (old, _) = call(&world, &accounts, &server, "alice").await.unwrap();
    world.revoke(&old, &client).await;
    store.hangs();
    let called = call(&world, &accounts, &server, "alice");
    let told = timeout(Duration::from_secs(10), called).await.unwrap();
    assert!(matches!(told, Err(Stopped::Failed(_))), "{told:?}");
    store.works();
    let (new, _) = call(&world, &accounts, &server, "alice").await.unwrap();
    assert_ne!(new, old);
}
