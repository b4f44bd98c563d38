//! Many accounts as one object.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use mcp_auth_client::asynchronous::{
    AccountCall, Accounts, AccountsBuilder, Network, Returned, Server, Stopped,
};
use mcp_auth_client::{AsyncStore, MemoryStore, SharedStore, Store, StoreError, Swap, seed};
use mcp_auth_machine::action::Why;
use mcp_auth_machine::config::RegistrationSharing;
use mcp_auth_machine::event::{Abandon, Authorization};
use mcp_auth_machine::slot::{Revision, Slot, SlotKind, Stored};
use mcp_auth_machine::time::UnixMillis;
use mcp_auth_machine::wire::callback::{BrowserBinding, Callback};
use tokio::task::JoinSet;

use mcp_auth_testing::VirtualClock;

use crate::outage::Outages;
use crate::support::{World, at_most, token};

pub(crate) fn network() -> Network {
    let settings = || reqwest::ClientBuilder::new().no_proxy();
    Network::builder().http(settings).build().unwrap()
}

fn builder(store: &MemoryStore) -> AccountsBuilder {
    Accounts::builder(SharedStore::new(store.clone())).network(&network())
}

pub(crate) fn server(accounts: &Accounts, world: &World) -> Server {
    let config = world.config();
    let config = config.registration_sharing(RegistrationSharing::AcrossPrincipals);
    accounts.add_server(config.build().unwrap())
}

/// One process of a gateway.
fn process(world: &World, store: &MemoryStore) -> (Accounts, Server) {
    let accounts = builder(store).start().unwrap();
    let server = server(&accounts, world);
    (accounts, server)
}

/// A whole sign-in; the client identifier.
pub(crate) async fn sign_in(
    world: &World,
    accounts: &Accounts,
    server: &Server,
    principal: &str,
) -> String {
    let redirect = accounts.begin(server, principal, seed().unwrap()).await;
    let redirect = redirect.unwrap().unwrap();
    let callback = Callback::from_url(world.follow(&redirect).await);
    match accounts.came_back(callback).await.unwrap() {
        Returned::SignedIn {
            principal: known, ..
        } => assert_eq!(*known, *principal),
        Returned::Unknown => panic!("unknown"),
    }
    redirect.client_id.to_string()
}

/// A request that was refused, which a machine judges.
pub(crate) async fn asks(
    accounts: &Accounts,
    server: &Server,
    principal: &str,
) -> Result<HeaderMap, Stopped> {
    let mut call = accounts.call(server, principal, "read", Method::POST);
    is_refused(&mut call).await?;
    call.headers().await
}

async fn is_refused(call: &mut AccountCall) -> Result<bool, Stopped> {
    call.again(StatusCode::UNAUTHORIZED, &HeaderMap::new())
        .await
}

/// Returns true if the machine knows no account.
pub(crate) fn is_unknown(told: Result<HeaderMap, Stopped>) -> bool {
    matches!(told, Err(Stopped::NeedUser(need)) if need.why == Why::NoCredentials)
}

/// A whole request; the token that it succeeded with, and how many attempts it took.
pub(crate) async fn call(
    world: &World,
    accounts: &Accounts,
    server: &Server,
    principal: &str,
) -> Result<(String, usize), Stopped> {
    let mut call = accounts.call(server, principal, "read", Method::POST);
    let mut attempt = 0;
    loop {
        attempt += 1;
        let headers = call.headers().await?;
        let (status, answer) = world.post("read", headers.clone()).await;
        if !call.again(status, &answer).await? {
            assert_eq!(status, StatusCode::OK);
            return Ok((token(&headers), attempt));
        }
    }
}

async fn stays_within(accounts: Accounts, most: usize) {
    loop {
        assert!(accounts.counts().machines <= most);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_callback_finds_its_principal_on_any_process() {
    let world = World::start().await;
    let store = MemoryStore::default();
    let (one, here) = process(&world, &store);
    let (two, there) = process(&world, &store);
    let alice = BrowserBinding::new(b"alice's browser");
    let begin = |principal: &'static str, browser| {
        let authorization = Authorization::new(seed().unwrap()).browser(browser);
        one.begin(&here, principal, authorization)
    };
    let first = begin("alice", alice).await.unwrap().unwrap();
    let bob = BrowserBinding::new(b"bob's browser");
    let second = begin("bob", bob).await.unwrap().unwrap();
    assert_ne!(first.route(), second.route());
    let first = world.follow(&first).await;
    let second = world.follow(&second).await;
    let back = |url: &str, browser| Callback::from_url(url).in_browser(browser);

    let stray = "http://127.0.0.1:9/callback?code=x&state=AAAAAAAAAAAAAAAAAAAAAA";
    for (url, browser) in [
        (stray, alice),
        ("http://127.0.0.1:9/callback?code=x", alice),
        // Another browser: nothing changes (CB-14).
        (first.as_str(), bob),
    ] {
        let told = two.came_back(back(url, browser)).await.unwrap();
        assert!(matches!(told, Returned::Unknown), "{told:?}");
    }
    let told = two.came_back(back(&first, alice)).await.unwrap();
    let Returned::SignedIn { principal, server } = told else {
        panic!("unknown");
    };
    assert_eq!((&*principal, server.url()), ("alice", there.url()));
    call(&world, &two, &there, "alice").await.unwrap();
    let not_yet = call(&world, &two, &there, "bob").await;
    assert!(matches!(not_yet, Err(Stopped::NeedUser(_))), "{not_yet:?}");
    // Once is enough.
    let again = two.came_back(back(&first, alice)).await.unwrap();
    assert!(matches!(again, Returned::Unknown), "{again:?}");
    let told = two.came_back(back(&second, bob)).await.unwrap();
    assert!(matches!(told, Returned::SignedIn { principal, .. } if *principal == *"bob"));

    let stranger = builder(&store).start().unwrap();
    let third = begin("carol", bob).await.unwrap().unwrap();
    let third = back(&world.follow(&third).await, bob);
    let told = stranger.came_back(third).await;
    assert!(matches!(told, Err(Stopped::UnknownServer)), "{told:?}");
}

#[tokio::test]
async fn nothing_is_lost_with_the_machines_and_none_stays() {
    let world = World::start().await;
    let store = MemoryStore::default();
    let accounts = builder(&store)
        .idle(Duration::ZERO)
        .tokens(0)
        .start()
        .unwrap();
    let server = server(&accounts, &world);
    sign_in(&world, &accounts, &server, "alice").await;
    let (first, _) = call(&world, &accounts, &server, "alice").await.unwrap();
    let (second, attempts) = call(&world, &accounts, &server, "alice").await.unwrap();
    assert_eq!((&second, attempts), (&first, 1));
    let grant = accounts.grant(&server, "alice").await.unwrap().unwrap();
    assert_eq!(grant.issuer.as_str(), world.server.issuer());
    while accounts.counts().machines > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(accounts.counts().tokens, 0);
    assert_eq!(world.server.refreshes(), 0);
}

#[tokio::test]
async fn a_token_at_hand_needs_no_machine_and_leaves_with_the_sign_out() {
    let world = World::start().await;
    let clock = VirtualClock::new();
    let accounts = builder(&MemoryStore::default()).clock(clock.clone());
    let accounts = accounts.idle(Duration::from_secs(20)).start().unwrap();
    let server = server(&accounts, &world);
    assert!(accounts.token(&server, "alice").is_none());
    sign_in(&world, &accounts, &server, "alice").await;
    while accounts.counts().machines > 0 {
        clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    let warm = accounts.counts().warm;
    let (first, attempts) = call(&world, &accounts, &server, "alice").await.unwrap();
    assert_eq!(attempts, 1);
    let headers = accounts
        .authorize(&server, "alice", "read", &Method::POST)
        .await;
    assert_eq!(token(&headers.unwrap()), first);
    let counts = accounts.counts();
    assert_eq!((counts.machines, counts.warm - warm), (0, 2));
    assert!(accounts.token(&server, "bob").is_none());

    accounts.sign_out(&server, "alice").await.unwrap();
    assert!(accounts.token(&server, "alice").is_none());
    let told = call(&world, &accounts, &server, "alice").await;
    assert!(matches!(told, Err(Stopped::NeedUser(_))), "{told:?}");
    assert!(accounts.token(&server, "alice").is_none());
}

#[tokio::test]
async fn refr01_a_storm_of_refusals_makes_one_refresh() {
    let world = World::start().await;
    let store = MemoryStore::default();
    let (accounts, server) = process(&world, &store);
    let client = sign_in(&world, &accounts, &server, "alice").await;
    let (old, _) = call(&world, &accounts, &server, "alice").await.unwrap();
    world.revoke(&old, &client).await;
    let mut calls = JoinSet::new();
    for _ in 0..200 {
        let (world, accounts, server) = (Arc::clone(&world), accounts.clone(), server.clone());
        calls.spawn(async move { call(&world, &accounts, &server, "alice").await });
    }
    let told = calls.join_all().await;
    let mut tokens: Vec<_> = told.into_iter().map(|told| told.unwrap().0).collect();
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
    assert_ne!(tokens, [old]);
    assert_eq!(world.server.refreshes(), 1);
    // It is at hand again.
    let warm = accounts.token(&server, "alice").unwrap();
    assert_eq!(warm.to_str().unwrap(), format!("Bearer {}", tokens[0]));
}

#[tokio::test]
async fn refr01_many_principals_share_few_machines_and_each_is_refreshed_once() {
    let world = World::start().await;
    let accounts = builder(&MemoryStore::default())
        .machines(4)
        .start()
        .unwrap();
    let server = server(&accounts, &world);
    let users: Vec<String> = (0..30).map(|user| format!("user {user}")).collect();
    for user in &users {
        let client = sign_in(&world, &accounts, &server, user).await;
        let (old, _) = call(&world, &accounts, &server, user).await.unwrap();
        world.revoke(&old, &client).await;
    }
    let watch = tokio::spawn(stays_within(accounts.clone(), 4));
    let mut calls = JoinSet::new();
    for user in users.iter().chain(&users) {
        let user = user.clone();
        let (world, accounts, server) = (Arc::clone(&world), accounts.clone(), server.clone());
        calls.spawn(async move { call(&world, &accounts, &server, &user).await });
    }
    for told in calls.join_all().await {
        told.unwrap();
    }
    assert_eq!(world.server.refreshes(), 30);
    assert!(!watch.is_finished());
    watch.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_at_hand_as_soon_as_its_caller_has_an_answer() {
    let world = World::start().await;
    let (accounts, server) = process(&world, &MemoryStore::default());
    for user in 0..200 {
        let user = format!("user {user}");
        sign_in(&world, &accounts, &server, &user).await;
        assert!(accounts.token(&server, &user).is_some(), "{user}");
    }
}

#[tokio::test]
async fn a_page_about_accounts_shows_what_another_process_did_and_starts_no_machine() {
    let world = World::start().await;
    let store = MemoryStore::default();
    let (one, here) = process(&world, &store);
    let (two, there) = process(&world, &store);
    let redirect = one.begin(&here, "alice", seed().unwrap()).await;
    let callback = Callback::from_url(world.follow(&redirect.unwrap().unwrap()).await);
    assert!(one.grant(&here, "alice").await.unwrap().is_none());
    two.came_back(callback).await.unwrap();
    assert!(one.grant(&here, "alice").await.unwrap().is_some());
    let (three, server) = process(&world, &store);
    assert!(three.grant(&server, "alice").await.unwrap().is_some());
    assert!(three.grant(&server, "bob").await.unwrap().is_none());
    assert_eq!(three.counts().machines, 0);
    two.sign_out(&there, "alice").await.unwrap();
    assert!(one.grant(&here, "alice").await.unwrap().is_none());
}

#[tokio::test]
async fn an_account_at_rest_is_read_without_a_machine() {
    let world = World::start().await;
    let store = Gate::default();
    let accounts = Accounts::builder(SharedStore::new(store.clone())).network(&network());
    let accounts = accounts.idle(Duration::ZERO).tokens(10).start().unwrap();
    let server = server(&accounts, &world);
    assert!(is_unknown(
        accounts
            .authorize(&server, "alice", "read", &Method::POST)
            .await
    ));
    // A record for a machine is read once, and a principal without a name has no slot.
    for (principal, reads) in [("alice", 1), ("", 0)] {
        store.holds(0);
        let told = accounts.authorize(&server, principal, "read", &Method::POST);
        assert!(told.await.is_err());
        assert_eq!(store.reads(), reads, "{principal:?}");
    }
    let mut call_of_nobody = accounts.call(&server, "alice", "read", Method::POST);
    assert!(call_of_nobody.headers().await.unwrap().is_empty());
    assert_eq!(accounts.counts().machines, 0);
    sign_in(&world, &accounts, &server, "alice").await;
    let (known, _) = call(&world, &accounts, &server, "alice").await.unwrap();
    // Another process has no token at hand: many callers share one read.
    let other = Accounts::builder(SharedStore::new(store.clone())).network(&network());
    let other = other.start().unwrap();
    let there = self::server(&other, &world);
    store.holds(usize::MAX);
    let mut readers = JoinSet::new();
    for _ in 0..50 {
        let (other, there) = (other.clone(), there.clone());
        readers.spawn(async move { call_headers(&other, &there).await });
    }
    store.has_readers(1).await;
    store.opens();
    for found in readers.join_all().await {
        assert_eq!(found, known);
    }
    assert_eq!((other.counts().machines, store.reads()), (0, 1));
    let (again, attempts) = call(&world, &other, &there, "alice").await.unwrap();
    assert_eq!((again, attempts, store.reads()), (known, 1, 1));
}

async fn call_headers(accounts: &Accounts, server: &Server) -> String {
    let found = accounts.authorize(server, "alice", "read", &Method::POST);
    token(&found.await.unwrap())
}

#[tokio::test]
async fn rev_a_read_that_a_sign_out_overtakes_leaves_no_token_at_hand() {
    let world = World::start().await;
    let store = Gate::default();
    let accounts = || Accounts::builder(SharedStore::new(store.clone())).network(&network());
    let accounts = accounts().idle(Duration::ZERO).start().unwrap();
    let here = server(&accounts, &world);
    sign_in(&world, &accounts, &here, "alice").await;
    let other = Accounts::builder(SharedStore::new(store.clone())).network(&network());
    let other = other.idle(Duration::ZERO).start().unwrap();
    let there = server(&other, &world);
    store.holds(1);
    let reader = tokio::spawn({
        let (other, there) = (other.clone(), there.clone());
        async move { call_headers(&other, &there).await }
    });
    store.has_readers(1).await;
    // The read has its contents; its answer comes after the sign-out.
    other.sign_out(&there, "alice").await.unwrap();
    while other.counts().machines > 0 {
        tokio::task::yield_now().await;
    }
    // The read is shared with no caller that comes after the sign-out.
    let after = other
        .authorize(&there, "alice", "read", &Method::POST)
        .await;
    assert!(matches!(after, Err(Stopped::NeedUser(_))), "{after:?}");
    store.opens();
    let _read_before = reader.await.unwrap();
    assert!(other.token(&there, "alice").is_none());
}

#[tokio::test]
async fn refr01_callers_of_an_expired_account_share_one_read_and_one_refresh() {
    let world = World::start().await;
    let store = Gate::default();
    let clock = VirtualClock::new();
    let accounts = || {
        let accounts = Accounts::builder(SharedStore::new(store.clone())).network(&network());
        accounts.clock(clock.clone())
    };
    let here = accounts().start().unwrap();
    let server_here = server(&here, &world);
    sign_in(&world, &here, &server_here, "alice").await;
    here.close().await.unwrap();
    clock.advance(Duration::from_secs(301));
    let other = accounts().start().unwrap();
    let there = server(&other, &world);
    store.holds(1);
    let mut readers = JoinSet::new();
    for _ in 0..50 {
        let (other, there) = (other.clone(), there.clone());
        readers.spawn(async move { call_headers(&other, &there).await });
    }
    store.has_readers(1).await;
    tokio::task::yield_now().await;
    store.opens();
    readers.join_all().await;
    // The machine reads the account too, when it starts and beside its lease.
    assert!(store.reads() <= 5, "{}", store.reads());
    assert_eq!(world.server.refreshes(), 1);
}

#[tokio::test]
async fn a_caller_that_is_not_polled_holds_nobody_up_for_long() {
    let world = World::start().await;
    let store = Gate::default();
    let accounts = Accounts::builder(SharedStore::new(store.clone())).network(&network());
    let accounts = accounts.start().unwrap();
    let server = server(&accounts, &world);
    store.holds(1);
    let authorize = || accounts.authorize(&server, "alice", "read", &Method::POST);
    let mut stalled = std::pin::pin!(authorize());
    let first = std::future::poll_fn(|cx| std::task::Poll::Ready(stalled.as_mut().poll(cx)));
    assert!(first.await.is_pending());
    let told = tokio::time::timeout(Duration::from_secs(10), authorize()).await;
    assert!(is_unknown(told.unwrap()));
}

/// A store in memory whose reads of accounts have their result only when it is opened.
#[derive(Clone, Default)]
struct Gate {
    memory: MemoryStore,
    /// The reads up to this one wait.
    held: Arc<AtomicUsize>,
    reads: Arc<AtomicUsize>,
}

impl Gate {
    /// Holds this many reads from now on.
    fn holds(&self, reads: usize) {
        self.reads.store(0, Ordering::SeqCst);
        self.held.store(reads, Ordering::SeqCst);
    }

    fn opens(&self) {
        self.held.store(0, Ordering::SeqCst);
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    async fn has_readers(&self, count: usize) {
        while self.reads() < count {
            tokio::task::yield_now().await;
        }
    }
}

impl AsyncStore for Gate {
    async fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        let found = AsyncStore::load(&self.memory, slot).await;
        if slot.kind() == SlotKind::Account {
            let number = self.reads.fetch_add(1, Ordering::SeqCst) + 1;
            while number <= self.held.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
        }
        found
    }

    async fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        AsyncStore::persist_until(&self.memory, slot, expected, write, expires).await
    }
}

#[tokio::test]
async fn refr01_callers_share_the_judgement_of_a_token_that_was_refused() {
    let world = World::start().await;
    let (accounts, server) = process(&world, &MemoryStore::default());
    let client = sign_in(&world, &accounts, &server, "alice").await;
    let (mut sent, _) = call(&world, &accounts, &server, "alice").await.unwrap();
    // The second token is refused before a request with it succeeded: it is not refreshed (USE-08).
    for is_refreshed in [true, false] {
        world.revoke(&sent, &client).await;
        let warm = accounts.counts().warm;
        let mut calls = Vec::new();
        for _ in 0..20 {
            let mut call = accounts.call(&server, "alice", "read", Method::POST);
            let headers = call.headers().await.unwrap();
            assert_eq!(token(&headers), sent);
            calls.push((call, headers));
        }
        let (status, challenge) = world.post("read", calls[0].1.clone()).await;
        let mut tasks = JoinSet::new();
        for (mut call, _) in calls {
            let challenge = challenge.clone();
            tasks.spawn(async move {
                assert!(call.again(status, &challenge).await?);
                Ok::<_, Stopped>(token(&call.headers().await?))
            });
        }
        for told in tasks.join_all().await {
            match told {
                Ok(new) if is_refreshed => sent = new,
                Err(_) if !is_refreshed => {}
                other => panic!("{other:?}"),
            }
        }
        // The first has its token from the machine, all others have the one at hand.
        let shared = accounts.counts().warm - warm;
        assert_eq!(shared >= 20 + 19, is_refreshed, "{shared}");
    }
    assert_eq!(world.server.refreshes(), 1);
}

#[tokio::test]
async fn more_than_may_wait_are_told_so_at_once() {
    let world = World::start().await;
    let accounts = builder(&MemoryStore::default()).machines(1).waiting(1);
    let accounts = accounts.start().unwrap();
    let server = server(&accounts, &world);
    let mut held = accounts.call(&server, "alice", "read", Method::POST);
    assert!(is_refused(&mut held).await.is_err());
    let waits = tokio::spawn({
        let (accounts, server) = (accounts.clone(), server.clone());
        async move { asks(&accounts, &server, "bob").await }
    });
    while accounts.counts().waiting == 0 {
        tokio::task::yield_now().await;
    }
    let told = asks(&accounts, &server, "carol").await;
    assert!(matches!(told, Err(Stopped::Busy)), "{told:?}");
    // The account that has a machine needs no room.
    assert!(is_unknown(asks(&accounts, &server, "alice").await));
    drop(held);
    assert!(is_unknown(waits.await.unwrap()));
    // One who gave up waiting takes no room.
    let mut held = accounts.call(&server, "alice", "read", Method::POST);
    assert!(is_refused(&mut held).await.is_err());
    assert!(at_most(1, asks(&accounts, &server, "bob")).await.is_none());
    assert_eq!(accounts.counts().waiting, 0);
}

#[tokio::test]
async fn what_a_dropped_caller_asked_for_is_finished_and_not_done_again() {
    let world = World::start().await;
    let accounts = builder(&MemoryStore::default()).idle(Duration::ZERO);
    let accounts = accounts.start().unwrap();
    let server = server(&accounts, &world);
    let client = sign_in(&world, &accounts, &server, "alice").await;
    for polls in 1..8 {
        let (old, _) = call(&world, &accounts, &server, "alice").await.unwrap();
        world.revoke(&old, &client).await;
        let before = world.server.refreshes();
        let mut refused = accounts.call(&server, "alice", "read", Method::POST);
        let headers = refused.headers().await.unwrap();
        let (status, answer) = world.post("read", headers).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        let _dropped = at_most(polls, refused.again(status, &answer)).await;
        let at_hand = accounts.token(&server, "alice");
        assert!(at_hand.is_none_or(|value| value != format!("Bearer {old}")));
        drop(refused);
        let (new, _) = call(&world, &accounts, &server, "alice").await.unwrap();
        assert_ne!(new, old);
        assert_eq!(world.server.refreshes() - before, 1, "{polls}");
    }
}

#[tokio::test]
async fn a_shutdown_finishes_what_is_under_way() {
    let world = World::start().await;
    let store = MemoryStore::default();
    let (accounts, server) = process(&world, &store);
    let client = sign_in(&world, &accounts, &server, "alice").await;
    let (old, _) = call(&world, &accounts, &server, "alice").await.unwrap();
    world.revoke(&old, &client).await;
    let mut refused = accounts.call(&server, "alice", "read", Method::POST);
    let headers = refused.headers().await.unwrap();
    let (status, answer) = world.post("read", headers).await;
    let _dropped = at_most(4, refused.again(status, &answer)).await;
    accounts.close().await.unwrap();
    assert_eq!(accounts.counts().machines, 0);
    let told = accounts.grant(&server, "alice").await;
    assert!(matches!(told, Err(Stopped::Ended)), "{told:?}");
    let told = refused.headers().await;
    assert!(matches!(told, Err(Stopped::Ended)), "{told:?}");
    // The next process has what was stored.
    let (next, server) = process(&world, &store);
    let (new, _) = call(&world, &next, &server, "alice").await.unwrap();
    assert_ne!(new, old);
    assert_eq!(world.server.refreshes(), 1);
}

#[tokio::test]
async fn use10_a_token_is_refreshed_ahead_of_its_end_and_no_reader_waits() {
    let world = World::start().await;
    let clock = VirtualClock::new();
    let accounts = builder(&MemoryStore::default()).clock(clock.clone());
    let accounts = accounts.start().unwrap();
    let server = server(&accounts, &world);
    sign_in(&world, &accounts, &server, "alice").await;
    let held = call(&world, &accounts, &server, "alice").await.unwrap().0;
    // A second before the end of five minutes.
    clock.advance(Duration::from_secs(299));
    loop {
        // Read without asking any machine; the clock stands still meanwhile.
        let now = accounts.token(&server, "alice").expect("a token");
        if now.to_str().unwrap() != format!("Bearer {held}") {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(world.server.refreshes(), 1);
    let headers = HeaderMap::from_iter([(
        http::header::AUTHORIZATION,
        accounts.token(&server, "alice").unwrap(),
    )]);
    assert_eq!(world.post("read", headers).await.0, StatusCode::OK);
}

#[tokio::test]
async fn rev_a_sign_out_ends_the_sign_ins_under_way_in_every_process() {
    let world = World::start().await;
    let store = MemoryStore::default();
    let start = || {
        let accounts = builder(&store).idle(Duration::ZERO).start().unwrap();
        let server = server(&accounts, &world);
        (accounts, server)
    };
    let ((one, here), (two, there)) = (start(), start());
    for abandons in [false, true] {
        let redirect = one.begin(&here, "alice", seed().unwrap()).await;
        let redirect = redirect.unwrap().unwrap();
        let others = one.begin(&here, "bob", seed().unwrap()).await;
        let others = others.unwrap().unwrap();
        while one.counts().machines > 0 {
            tokio::task::yield_now().await;
        }
        if abandons {
            let told = two.abandon(&there, "alice", Abandon::Cancelled).await;
            told.unwrap();
        } else {
            two.sign_out(&there, "alice").await.unwrap();
        }
        let callback = world.follow(&redirect).await;
        for (accounts, server) in [(&one, &here), (&two, &there)] {
            let told = accounts
                .came_back(Callback::from_url(callback.clone()))
                .await;
            assert!(matches!(told, Ok(Returned::Unknown)), "{told:?}");
            assert!(accounts.grant(server, "alice").await.unwrap().is_none());
        }
        // That of another principal is not concerned, nor is one that begins now, twice under the same mark.
        let callback = Callback::from_url(world.follow(&others).await);
        let told = two.came_back(callback).await;
        assert!(matches!(told, Ok(Returned::SignedIn { .. })), "{told:?}");
        for _ in 0..2 {
            sign_in(&world, &one, &here, "alice").await;
        }
        two.sign_out(&there, "alice").await.unwrap();
    }
}

#[tokio::test]
async fn rev_a_redirect_that_is_asked_for_again_after_a_sign_out_counts() {
    let world = World::start().await;
    let store = MemoryStore::default();
    let (one, here) = process(&world, &store);
    let (two, there) = process(&world, &store);
    let first = one.begin(&here, "alice", seed().unwrap()).await;
    two.sign_out(&there, "alice").await.unwrap();
    let second = one.begin(&here, "alice", seed().unwrap()).await;
    let (first, second) = (first.unwrap().unwrap(), second.unwrap().unwrap());
    assert_eq!(first.url, second.url);
    let callback = Callback::from_url(world.follow(&second).await);
    let told = one.came_back(callback).await;
    assert!(matches!(told, Ok(Returned::SignedIn { .. })), "{told:?}");
}

/// The code is exchanged in one process while the user signs out in another.
#[tokio::test]
async fn rev_a_sign_out_comes_before_a_sign_in_that_began_earlier() {
    let world = World::start().await;
    let store = MemoryStore::default();
    let mut late = 0;
    for yields in 0..40 {
        let (one, here) = process(&world, &store);
        let (two, there) = process(&world, &store);
        let redirect = one.begin(&here, "alice", seed().unwrap()).await;
        let callback = Callback::from_url(world.follow(&redirect.unwrap().unwrap()).await);
        let back = tokio::spawn({
            let one = one.clone();
            async move { one.came_back(callback).await }
        });
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        two.sign_out(&there, "alice").await.unwrap();
        let told = back.await.unwrap();
        if matches!(told, Err(Stopped::SignedOut)) {
            late += 1;
            assert!(one.token(&here, "alice").is_none());
        }
        let (three, server) = process(&world, &store);
        let grant = three.grant(&server, "alice").await.unwrap();
        assert!(grant.is_none(), "{yields}: {told:?}");
    }
    assert!(late > 0, "no sign-out fell into an exchange");
}

#[tokio::test]
async fn a_token_that_was_refused_does_not_come_back_with_the_refusal_of_an_older_one() {
    let world = World::start().await;
    let store = Outages::new(&world);
    let accounts = Accounts::builder(SharedStore::new(store.clone())).network(&network());
    let accounts = accounts.start().unwrap();
    let server = server(&accounts, &world);
    let client = sign_in(&world, &accounts, &server, "alice").await;
    call(&world, &accounts, &server, "alice").await.unwrap();
    let begin = || accounts.call(&server, "alice", "read", Method::POST);
    // Three attempts were sent with the first token.
    let mut older = [begin(), begin(), begin()];
    let mut headers = HeaderMap::new();
    for call in &mut older {
        headers = call.headers().await.unwrap();
    }
    let first = token(&headers);
    world.revoke(&first, &client).await;
    let (status, refusal) = world.post("read", headers).await;
    let (second, _) = call(&world, &accounts, &server, "alice").await.unwrap();
    assert_ne!(second, first);
    // The second one is refused; its refresh takes as long as the store does.
    let mut newer = begin();
    newer.headers().await.unwrap();
    store.hangs();
    let refused = tokio::spawn({
        let refusal = refusal.clone();
        async move { newer.again(status, &refusal).await }
    });
    while accounts.token(&server, "alice").is_some() {
        tokio::task::yield_now().await;
    }
    for mut call in older {
        let refusal = refusal.clone();
        tokio::spawn(async move { call.again(status, &refusal).await });
        for _ in 0..50 {
            tokio::task::yield_now().await;
            assert!(accounts.token(&server, "alice").is_none());
        }
    }
    store.works();
    refused.abort();
}

/// With a digest of the text, the user and the server would choose the revision.
#[tokio::test]
async fn revisions_of_routes_and_marks_are_chosen_by_nobody() {
    let world = World::start().await;
    let mut revisions = std::collections::HashSet::new();
    for _ in 0..4 {
        let store = Outages::new(&world);
        let shared = SharedStore::new(store.clone());
        let accounts = Accounts::builder(shared).network(&network());
        let accounts = accounts.start().unwrap();
        let server = server(&accounts, &world);
        let redirect = accounts.begin(&server, "alice", seed().unwrap()).await;
        accounts.sign_out(&server, "alice").await.unwrap();
        let slots = [
            redirect.unwrap().unwrap().route(),
            Slot::sign_ins("alice", server.url()),
        ];
        for slot in slots {
            let stored = Store::load(&store.memory, slot).unwrap().unwrap();
            let digest = Revision::of(stored.contents.expose().as_bytes());
            assert_ne!(stored.revision, digest);
            assert!(revisions.insert(stored.revision));
        }
    }
}
