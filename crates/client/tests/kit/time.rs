//! Expiry and back-off in no time, and playbooks of running drivers.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{Method, Request, Response};
use mcp_auth_client::asynchronous::{
    Callbacks, Client, HostHttp, Limits, Network, Stopped, Undelivered, User,
};
use mcp_auth_client::{Clock, Driver, MemoryStore, Pause, Store, StoreError, Swap};
use mcp_auth_machine::action::Redirect;
use mcp_auth_machine::error::{Cause, StoreFlaw};
use mcp_auth_machine::event::Operation;
use mcp_auth_machine::slot::{Revision, Slot, SlotKind, Stored};
use mcp_auth_machine::time::UnixMillis;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::{Config, Event, Moment};
use mcp_auth_testing::documents::{self, MCP, METADATA, PRM, REDIRECT, REGISTER, TOKEN};
use mcp_auth_testing::{FixedEntropy, Playbook, VirtualClock};

/// Ordinary servers whose tokens live for a minute; the second token request is put off for half a minute.
#[derive(Clone, Default)]
struct Servers(Arc<Mutex<usize>>);

impl Servers {
    fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let url = request.uri().to_string();
        let body = match url.as_str() {
            PRM => documents::resource(),
            METADATA => documents::metadata(),
            REGISTER => r#"{"client_id":"client-1"}"#.to_owned(),
            TOKEN => {
                let mut count = self.0.lock().unwrap();
                *count += 1;
                if *count == 2 {
                    let busy = Response::builder().status(503).header("retry-after", "30");
                    return busy.body(Bytes::new()).unwrap();
                }
                documents::renewable(&format!("at-{count}"), &format!("rt-{count}"), 60)
            }
            other => panic!("a request to {other}"),
        };
        Response::new(Bytes::from(body))
    }
}

impl HostHttp for Servers {
    async fn exchange(
        &self,
        request: Request<Bytes>,
        _: Limits,
    ) -> Result<Response<Bytes>, Undelivered> {
        Ok(self.answer(&request))
    }
}

fn config() -> Config {
    let config = Config::builder(MCP, REDIRECT).client_name("Test client");
    config.build().unwrap()
}

fn callback(redirect: &Redirect) -> Callback {
    let query = redirect.url.as_str().split_once('?').unwrap().1;
    let state = query.split('&').find(|pair| pair.starts_with("state="));
    Callback::from_url(format!("{REDIRECT}?code=c-1&{}", state.unwrap()))
}

#[test]
fn the_blocking_driver_outlives_a_token_and_a_busy_server_in_no_time() {
    let begun = Instant::now();
    let (playbook, clock, entropy) = (Playbook::new(), VirtualClock::new(), FixedEntropy::new());
    let servers = Servers::default();
    let mut driver = Driver::new(config(), "alice", MemoryStore::default())
        .http(move |send, _| {
            let response = servers.answer(send.request());
            send.response(response)
        })
        .clock(clock.clone())
        .entropy(entropy.clone())
        .patience(Duration::from_secs(60))
        .watched(playbook.watch());
    let wanted = || Event::Wanted(Operation::new("tools/list"));
    let Pause::NeedUser(_) = driver.handle(wanted()) else {
        panic!()
    };
    let Pause::Redirect(redirect) = driver.handle(Event::Authorize(entropy.seed().into())) else {
        panic!()
    };
    let returned = driver.handle(Event::CallbackParams(callback(&redirect)));
    assert!(matches!(returned, Pause::Ready(_)));
    assert_eq!(driver.bearer(MCP).unwrap(), "Bearer at-1");
    clock.advance(Duration::from_secs(60));
    assert!(driver.bearer(MCP).is_err());
    // The server asks for half a minute: the driver sleeps, by the clock of this test.
    let renewed = driver.handle(wanted());
    assert!(matches!(renewed, Pause::Ready(_)), "{renewed:?}");
    assert_eq!(driver.bearer(MCP).unwrap(), "Bearer at-3");
    assert!(clock.slept() >= Duration::from_secs(30));
    assert!(begun.elapsed() < Duration::from_secs(10));
    insta::assert_snapshot!(playbook);
}

/// A store that fails the next writes of an account, so many.
#[derive(Default)]
struct Failing(MemoryStore, Arc<Mutex<u32>>);

impl Store for Failing {
    fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        self.0.load(slot)
    }

    fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        let mut left = self.1.lock().unwrap();
        if slot.kind() == SlotKind::Account && *left > 0 {
            *left -= 1;
            return Err(StoreError("the disk is busy".into()));
        }
        self.0.persist_until(slot, expected, write, expires)
    }
}

/// TOK-16: the last call of a host saves tokens again, while time is left.
#[test]
fn the_last_call_saves_tokens_that_the_store_did_not_take() {
    for (failures, saved) in [(3, true), (100, false)] {
        let (clock, entropy) = (VirtualClock::new(), FixedEntropy::new());
        let (servers, left) = (Servers::default(), Arc::new(Mutex::new(failures)));
        let store = Failing(MemoryStore::default(), Arc::clone(&left));
        let mut driver = Driver::new(config(), "alice", store)
            .http(move |send, _| {
                let response = servers.answer(send.request());
                send.response(response)
            })
            .clock(clock)
            .entropy(entropy.clone());
        driver.handle(Event::Wanted(Operation::new("tools/list")));
        let Pause::Redirect(redirect) = driver.handle(Event::Authorize(entropy.seed().into()))
        else {
            panic!()
        };
        let returned = driver.handle(Event::CallbackParams(callback(&redirect)));
        assert!(matches!(returned, Pause::Failed(_)), "{returned:?}");
        driver.finish(Duration::from_secs(30));
        assert_eq!(driver.grant().is_some(), saved);
    }
}

/// REFR-05: a driver that runs out of time beside the refresh of another one leaves that one its lease.
#[test]
fn refr_05_a_deadline_breaks_no_lease() {
    let (clock, entropy, store) = (
        VirtualClock::new(),
        FixedEntropy::new(),
        MemoryStore::default(),
    );
    let servers = Servers::default();
    let tokens = Arc::new(Mutex::new(0));
    let (beside, time) = (store.clone(), clock.clone());
    let wanted = || Event::Wanted(Operation::new("tools/list"));
    let mut driver = Driver::new(config(), "alice", store)
        .http(move |send, _| {
            if *send.request().uri() != TOKEN {
                let response = servers.answer(send.request());
                return send.response(response);
            }
            let mut count = tokens.lock().unwrap();
            *count += 1;
            if *count == 2 {
                let mut late = Driver::new(config(), "alice", beside.clone())
                    .http(|send, _| panic!("a request to {}", send.request().uri()))
                    .clock(time.clone())
                    .deadline(Instant::now());
                let told = late.handle(wanted());
                assert!(matches!(told, Pause::Resting(_)), "{told:?}");
                late.finish(Duration::ZERO);
            }
            let answer = documents::renewable(&format!("at-{count}"), &format!("rt-{count}"), 60);
            send.response(Response::new(Bytes::from(answer)))
        })
        .clock(clock.clone())
        .entropy(entropy.clone());
    driver.handle(wanted());
    let Pause::Redirect(redirect) = driver.handle(Event::Authorize(entropy.seed().into())) else {
        panic!()
    };
    driver.handle(Event::CallbackParams(callback(&redirect)));
    clock.advance(Duration::from_secs(60));
    let renewed = driver.handle(wanted());
    assert!(matches!(renewed, Pause::Ready(_)), "{renewed:?}");
    assert_eq!(driver.bearer(MCP).unwrap(), "Bearer at-2");
}

/// A store that takes its time for each read, and fails the next ones of an account, so many.
struct Slow(MemoryStore, Arc<Mutex<u32>>);

impl Store for Slow {
    fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        std::thread::sleep(Duration::from_millis(50));
        let mut left = self.1.lock().unwrap();
        if slot.kind() == SlotKind::Account && *left > 0 {
            *left -= 1;
            return Err(StoreError("the disk is busy".into()));
        }
        self.0.load(slot)
    }

    fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        self.0.persist_until(slot, expected, write, expires)
    }
}

/// The clocks of a process that began an hour ago; they run.
struct Aged(Instant);

impl Clock for Aged {
    fn now(&self) -> Moment {
        Moment::new(
            SystemTime::now(),
            Duration::from_secs(3_600) + self.0.elapsed(),
        )
    }
}

/// SEC-35: a store has its time limit also where the process has run for longer than that; and where it cannot be read, the
/// driver says so and does not report an account without a token.
#[tokio::test]
async fn sec_35_the_first_read_has_its_time_whenever_the_process_began() {
    let (store, failures) = (MemoryStore::default(), Arc::new(Mutex::new(0)));
    let servers = Servers::default();
    let start = || {
        let slow = Slow(store.clone(), Arc::clone(&failures));
        Client::builder(config(), "alice", slow)
            .network(&Network::of(servers.clone()))
            .user(Me)
            .clock(Aged(Instant::now()))
            .entropy(FixedEntropy::new())
            .start()
            .unwrap()
    };
    let client = start();
    assert!(client.grant().await.unwrap().is_none());
    client.authorize("x", &Method::POST, MCP).await.unwrap();
    client.close().await.unwrap();

    let again = start();
    assert!(again.grant().await.unwrap().is_some());
    again.close().await.unwrap();

    // As often as a read is attempted.
    *failures.lock().unwrap() = 3;
    let unread = start();
    let told = unread.grant().await;
    let Err(Stopped::Failed(failure)) = told else {
        panic!("{told:?}")
    };
    assert_eq!(failure.cause, Cause::NotPersisted(StoreFlaw::Load));
    unread.authorize("x", &Method::POST, MCP).await.unwrap();
    assert!(unread.grant().await.unwrap().is_some());
    unread.close().await.unwrap();
}

struct Me;

impl User for Me {
    async fn redirect(&self, redirect: Redirect, callbacks: Callbacks) {
        assert!(callbacks.hand_in(callback(&redirect)).await);
    }
}

#[tokio::test]
async fn so_does_the_asynchronous_driver() {
    let begun = Instant::now();
    let (playbook, clock) = (Playbook::new(), VirtualClock::new());
    let client = Client::builder(config(), "alice", MemoryStore::default())
        .network(&Network::of(Servers::default()))
        .user(Me)
        .clock(clock.clone())
        .entropy(FixedEntropy::new())
        .watched(playbook.watch())
        .start()
        .unwrap();
    let headers = client.authorize("x", &Method::POST, MCP).await.unwrap();
    assert_eq!(headers["authorization"], "Bearer at-1");
    clock.advance(Duration::from_secs(60));
    let asked = client.clone();
    let renewed = tokio::spawn(async move { asked.authorize("x", &Method::POST, MCP).await });
    // The driver waits for the busy server until the clock moves.
    while !playbook.text().contains("> 503") {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!renewed.is_finished());
    clock.advance(Duration::from_secs(31));
    let headers = renewed.await.unwrap().unwrap();
    assert_eq!(headers["authorization"], "Bearer at-3");
    assert!(begun.elapsed() < Duration::from_secs(10));
    client.close().await.unwrap();
    insta::assert_snapshot!(crate::in_order(&playbook.text()));
}
