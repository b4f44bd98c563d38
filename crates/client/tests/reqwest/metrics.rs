//! The figures of the driver: each name and each value of a label is documented, and none comes from outside.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::Method;
use mcp_auth_client::asynchronous::{Accounts, Network, Server, Stopped};
use mcp_auth_client::{MemoryStore, SharedStore, seed};
use mcp_auth_machine::wire::callback::Callback;
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

use crate::support::{World, token};

/// Everything that was recorded: a name with its labels, and how often or how much.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<BTreeMap<String, u64>>>);

struct Line {
    book: Book,
    text: String,
}

impl Line {
    fn add(&self, number: u64) {
        *self
            .book
            .0
            .lock()
            .unwrap()
            .entry(self.text.clone())
            .or_default() += number;
    }
}

impl CounterFn for Line {
    fn increment(&self, value: u64) {
        self.add(value);
    }

    fn absolute(&self, value: u64) {
        self.book.0.lock().unwrap().insert(self.text.clone(), value);
    }
}

impl GaugeFn for Line {
    fn increment(&self, _: f64) {
        self.add(1);
    }

    fn decrement(&self, _: f64) {
        self.add(1);
    }

    fn set(&self, _: f64) {
        self.add(1);
    }
}

impl HistogramFn for Line {
    fn record(&self, value: f64) {
        assert!((0.0..60.0).contains(&value));
        self.add(1);
    }
}

impl Book {
    fn line(&self, key: &Key) -> Arc<Line> {
        let mut text = key.name().to_owned();
        for label in key.labels() {
            text.push_str(&format!(" {}={}", label.key(), label.value()));
        }
        Arc::new(Line {
            book: self.clone(),
            text,
        })
    }

    fn count(&self, text: &str) -> u64 {
        self.0
            .lock()
            .unwrap()
            .get(text)
            .copied()
            .unwrap_or_default()
    }
}

impl Recorder for Book {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.line(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.line(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.line(key))
    }
}

async fn call(world: &World, accounts: &Accounts, server: &Server) -> Result<String, Stopped> {
    let mut call = accounts.call(server, "a principal", "an operation", Method::POST);
    loop {
        let headers = call.headers().await?;
        let (status, answer) = world.post("read", headers.clone()).await;
        if !call.again(status, &answer).await? {
            return Ok(token(&headers));
        }
    }
}

/// A request without a token that was refused: a machine judges it.
async fn is_refused(accounts: &Accounts, server: &Server, user: &str) -> Result<bool, Stopped> {
    let mut call = accounts.call(server, user, "read", Method::POST);
    let status = http::StatusCode::UNAUTHORIZED;
    call.again(status, &http::HeaderMap::new()).await
}

#[tokio::test]
async fn every_figure_is_documented_and_none_names_a_user_or_a_server() {
    let book = Book::default();
    // Of this thread alone, on which the runtime of a test runs: other tests are not in the book.
    let _recorder = metrics::set_default_local_recorder(&book);
    let world = World::start().await;
    let network = Network::builder()
        .http(|| reqwest::ClientBuilder::new().no_proxy())
        .build()
        .unwrap();
    let store = SharedStore::new(MemoryStore::default());
    let accounts = Accounts::builder(store).network(&network);
    let accounts = accounts.machines(1).waiting(1).start().unwrap();
    let server = accounts.add_server(world.config().build().unwrap());
    call(&world, &accounts, &server).await.unwrap_err();
    let redirect = accounts
        .begin(&server, "a principal", seed().unwrap())
        .await;
    let redirect = redirect.unwrap().unwrap();
    let callback = Callback::from_url(world.follow(&redirect).await);
    accounts.came_back(callback).await.unwrap();
    let old = call(&world, &accounts, &server).await.unwrap();
    // Two requests were sent with a token that is refused then: one refresh serves both.
    let mut sent = [0, 1].map(|_| accounts.call(&server, "a principal", "read", Method::POST));
    let mut answers = Vec::new();
    let mut headers = Vec::new();
    for call in &mut sent {
        headers.push(call.headers().await.unwrap());
    }
    world.revoke(&old, &redirect.client_id).await;
    for headers in headers {
        answers.push(world.post("read", headers).await);
    }
    for (call, (status, headers)) in sent.iter_mut().zip(answers) {
        assert!(call.again(status, &headers).await.unwrap());
    }
    // One waits for the machine that these have, and one is sent away.
    let waits = tokio::spawn({
        let (accounts, server) = (accounts.clone(), server.clone());
        async move { is_refused(&accounts, &server, "another").await }
    });
    while accounts.counts().waiting == 0 {
        tokio::task::yield_now().await;
    }
    let told = is_refused(&accounts, &server, "a third").await;
    assert!(matches!(told, Err(Stopped::Busy)), "{told:?}");
    drop(sent);
    let told = waits.await.unwrap();
    assert!(matches!(told, Err(Stopped::NeedUser(_))), "{told:?}");
    accounts.sign_out(&server, "a principal").await.unwrap();
    accounts.close().await.unwrap();

    for (text, expected) in [
        ("mcp_auth_requests_total kind=refresh outcome=success", 1),
        ("mcp_auth_requests_total kind=code outcome=success", 1),
        ("mcp_auth_sign_ins_total step=begun", 1),
        ("mcp_auth_sign_ins_total step=completed", 1),
        ("mcp_auth_sign_ins_total step=signed_out", 1),
        ("mcp_auth_refusals_absorbed_total", 1),
        ("mcp_auth_busy_total", 1),
        ("mcp_auth_user_needed_total why=no_credentials", 3),
    ] {
        assert_eq!(book.count(text), expected, "{text} in {:#?}", book.0);
    }
    assert!(book.count("mcp_auth_store_calls_total operation=load outcome=success") > 3);
    assert!(book.count("mcp_auth_machines") > 0);
    // The sign-out may wait for the machine, too.
    assert!(book.count("mcp_auth_wait_seconds what=machine") > 0);

    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    let Ok(page) = std::fs::read_to_string(root) else {
        return;
    };
    for text in book.0.lock().unwrap().keys() {
        let mut words = text.split(' ');
        let name = words.next().unwrap();
        assert!(page.contains(&format!("`{name}`")), "{name}");
        for label in words {
            let (key, value) = label.split_once('=').unwrap();
            for word in [key, value] {
                assert!(page.contains(&format!("`{word}`")), "{word} of {name}");
            }
        }
    }
}
