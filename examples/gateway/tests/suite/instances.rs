//! The example `gateway` as two processes with one Redis.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use example_gateway::keys::Keys;
use example_gateway::{Settings, serve};
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, ORIGIN};
use http::{Method, StatusCode};
use mcp_auth_client::asynchronous::Client;
use mcp_auth_client::{RedisStore, Sealed};
use mcp_auth_machine::Config;
use mcp_auth_testing::resource::Tool;
use mcp_auth_testing::servers::Servers;
use mcp_auth_testing::{RedisServer, free_port};
use tokio::net::TcpStream;
use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::browser::Browser;

const TOOLS: [Tool; 1] = [Tool {
    name: "read",
    description: "Reads.",
}];

/// 32 bytes, used in these tests only.
const KEY: &str = "dGVzdHMgdGVzdHMgdGVzdHMgdGVzdHMgdGVzdHMgdGU";

async fn servers() -> Servers {
    Servers::builder()
        .tools(&TOOLS)
        .on_loopback()
        .await
        .unwrap()
}

/// The gateway as a program of its own. Killed on drop.
struct Instance(Child);

impl Instance {
    /// Starts it, and waits until it listens.
    fn start(mcp: &str, public: &str, port: u16, redis: &RedisServer) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .args(["--mcp", mcp, "--public", public])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .env("REDIS_URL", redis.url())
            .env("GATEWAY_KEY", KEY)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let said = process.stdout.take().unwrap();
        BufReader::new(said).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on "), "{line}");
        Self(process)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn client_id(url: &str) -> String {
    let url = url::Url::parse(url).unwrap();
    let mut pairs = url.query_pairs();
    let (_, id) = pairs.find(|(name, _)| name == "client_id").unwrap();
    id.into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_begins_on_one_instance_and_ends_on_the_other() {
    let servers = servers().await;
    let redis = block_in_place(RedisServer::start).unwrap();
    let ports = [(); 2].map(|()| free_port().unwrap());
    let [one, two] = ports.map(|port| format!("http://127.0.0.1:{port}"));
    // Callbacks arrive at the second instance.
    let start = |port| Instance::start(servers.url(), &two, port, &redis);
    let _processes = block_in_place(|| ports.map(start));

    let mut alice = Browser::of("alice", &one).await;
    for gateway in [&one, &two] {
        assert_eq!(alice.calls(gateway).await, StatusCode::FORBIDDEN);
    }
    let redirect = alice.connect(&one).await;
    let callback = alice.consent(&redirect).await;
    assert!(callback.starts_with(&format!("{two}/callback?")));
    let mut kinds = block_in_place(|| ends(&redis));
    kinds.dedup();
    // An authorization fetches its documents and caches none of them.
    let [pending, registration] = kinds.as_slice() else {
        panic!("{kinds:?}");
    };
    assert_eq!(*pending, ("pending".to_owned(), true));
    assert_eq!(*registration, ("registration".to_owned(), false));

    // Another browser changes nothing, even one in which the same user is signed in.
    let elsewhere = Browser::of("alice", &two).await;
    let mallory = Browser::of("mallory", &two).await;
    for other in [&elsewhere, &mallory] {
        assert_eq!(other.get(&callback).await.0, StatusCode::OK);
        assert_eq!(alice.calls(&two).await, StatusCode::FORBIDDEN);
    }

    let (status, headers, text) = alice.get(&callback).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["referrer-policy"], "no-referrer");
    assert_eq!(headers["cache-control"], "no-store");
    assert!(!text.contains("code") && !text.contains("state"));
    for gateway in [&one, &two] {
        assert_eq!(alice.calls(gateway).await, StatusCode::OK);
        assert_eq!(elsewhere.calls(gateway).await, StatusCode::OK);
        assert_eq!(mallory.calls(gateway).await, StatusCode::FORBIDDEN);
    }

    // The token is revoked: both requests are refused, one of them refreshes.
    let stored = account(&servers, &redis, &two).await;
    let body = format!("token={stored}&client_id={}", client_id(&redirect));
    let revoke = format!("{}/revoke", servers.authorization().issuer());
    let form = "application/x-www-form-urlencoded";
    let revoked = alice
        .http
        .post(revoke)
        .header(CONTENT_TYPE, form)
        .body(body);
    assert!(revoked.send().await.unwrap().status().is_success());
    let (a, b) = tokio::join!(alice.calls(&one), alice.calls(&two));
    assert_eq!((a, b), (StatusCode::OK, StatusCode::OK));
    assert_eq!(servers.authorization().refreshes(), 1);
    assert_ne!(account(&servers, &redis, &two).await, stored);

    block_in_place(|| nothing_is_stored_in_the_clear(&redis));
    let (status, ..) = alice.post(&two, "disconnect", "").await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    for gateway in [&one, &two] {
        assert_eq!(alice.calls(gateway).await, StatusCode::FORBIDDEN);
    }
}

/// One instance in this process; without Redis, its store is in memory.
async fn alone(servers: &Servers) -> String {
    let port = free_port().unwrap();
    let gateway = format!("http://127.0.0.1:{port}");
    let settings = Settings {
        mcp: vec![servers.url().to_owned()],
        public: None,
        listen: vec![([127, 0, 0, 1], port).into()],
        redis: None,
        key: None,
        grace: Duration::from_secs(30),
        load: None,
    };
    let serving = tokio::spawn(serve(settings));
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(!serving.is_finished());
        sleep(Duration::from_millis(20)).await;
    }
    gateway
}

#[tokio::test]
async fn the_browser_that_began_last_is_the_one_that_ends_it() {
    let servers = servers().await;
    let gateway = alone(&servers).await;
    let mut left = Browser::of("alice", &gateway).await;
    let mut used = Browser::of("alice", &gateway).await;
    let first = left.connect(&gateway).await;
    let first = left.consent(&first).await;
    let second = used.connect(&gateway).await;
    let second = used.consent(&second).await;
    assert_ne!(first, second);
    left.get(&first).await;
    assert_eq!(left.calls(&gateway).await, StatusCode::FORBIDDEN);
    used.get(&second).await;
    assert_eq!(used.calls(&gateway).await, StatusCode::OK);
}

#[tokio::test]
async fn a_tool_that_needs_more_is_allowed_by_connecting_again() {
    let servers = servers().await;
    let gateway = alone(&servers).await;
    let mut alice = Browser::of("alice", &gateway).await;
    alice.connects(&gateway).await;
    assert_eq!(alice.calls(&gateway).await, StatusCode::OK);
    servers.mcp().set_tool_scope("read", "more").unwrap();
    let (status, _, text) = alice.post(&gateway, "call", "tool=read&text=hello").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    // The page says what is missing, and leads there.
    assert!(
        text.contains("granted: ") && text.contains("more"),
        "{text}"
    );
    assert!(
        text.contains("<a href=\"/connect\">Grant them</a>"),
        "{text}"
    );
    alice.connects(&gateway).await;
    assert_eq!(alice.calls(&gateway).await, StatusCode::OK);
}

#[tokio::test]
async fn who_is_not_signed_in_at_the_gateway_gets_nothing() {
    let servers = servers().await;
    let gateway = alone(&servers).await;
    let mut nobody = Browser::of("alice", &gateway).await;
    assert_eq!(nobody.calls(&gateway).await, StatusCode::FORBIDDEN);
    let to = nobody.connect(&gateway).await;
    let callback = nobody.consent(&to).await;
    let honest = std::mem::take(&mut nobody.cookie);
    // No session, one of another key, and one with a changed user.
    let forged = Keys::random().unwrap().session("alice").unwrap();
    let (_, rest) = honest.split_once('.').unwrap();
    for cookie in [
        String::new(),
        format!("session={forged}"),
        format!("session=Ym9i.{rest}"),
    ] {
        nobody.cookie = cookie;
        assert_eq!(nobody.get(&callback).await.0, StatusCode::UNAUTHORIZED);
        assert_eq!(nobody.calls(&gateway).await, StatusCode::UNAUTHORIZED);
    }
    nobody.cookie = honest;
    assert_eq!(nobody.get(&callback).await.0, StatusCode::OK);
    assert_eq!(nobody.calls(&gateway).await, StatusCode::OK);
}

#[tokio::test]
async fn a_request_of_another_page_host_or_method_changes_nothing() {
    let servers = servers().await;
    let gateway = alone(&servers).await;
    let mut alice = Browser::of("alice", &gateway).await;
    let to = alice.connect(&gateway).await;
    let callback = alice.consent(&to).await;
    // A HEAD request does not consume the callback.
    let head = alice.http.head(&callback).header(COOKIE, &alice.cookie);
    let answer = head.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(alice.get(&callback).await.0, StatusCode::OK);
    assert_eq!(alice.calls(&gateway).await, StatusCode::OK);

    let form = "application/x-www-form-urlencoded";
    let call = || {
        let request = alice.http.post(format!("{gateway}/call"));
        request.header(CONTENT_TYPE, form).body("tool=read&text=x")
    };
    let own = || {
        call()
            .header(COOKIE, &alice.cookie)
            .header(ORIGIN, &gateway)
    };
    let (session, browser) = alice.cookie.split_once("; ").unwrap();
    let doubled = format!("{session}; {browser}; {session}");
    for (request, status) in [
        (own(), StatusCode::OK),
        (own().header("host", "evil.example"), StatusCode::FORBIDDEN),
        (call().header(COOKIE, &alice.cookie), StatusCode::FORBIDDEN),
        (
            call().header(COOKIE, &alice.cookie).header(ORIGIN, "null"),
            StatusCode::FORBIDDEN,
        ),
        (
            call().header(COOKIE, doubled).header(ORIGIN, &gateway),
            StatusCode::UNAUTHORIZED,
        ),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status);
        let headers = answer.headers();
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["x-content-type-options"], "nosniff");
    }
    let other = alice.http.get(format!("{gateway}/connect"));
    let other = other.header(COOKIE, &alice.cookie);
    let answer = other.header("sec-fetch-site", "cross-site").send().await;
    assert_eq!(answer.unwrap().status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_form_without_end_is_refused() {
    let servers = servers().await;
    let gateway = alone(&servers).await;
    let mut alice = Browser::of("alice", &gateway).await;
    alice.connects(&gateway).await;
    // The tool echoes its input; the form is limited first.
    let long = format!("tool=read&text={}", "a".repeat(17 * 1024));
    let (status, ..) = alice.post(&gateway, "call", &long).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

/// Returns the account that a third instance finds in the store.
async fn account(servers: &Servers, redis: &RedisServer, public: &str) -> String {
    let store = RedisStore::open(&redis.url(), "mcp-gateway:").unwrap();
    let store = Sealed::new(store, Keys::new(KEY).unwrap());
    let config = Config::builder(servers.url(), format!("{public}/callback"));
    let config = config.build().unwrap();
    let client = Client::builder(config, "alice", store).start().unwrap();
    let headers = client.authorize("read", &Method::POST, servers.url()).await;
    let bearer = headers.unwrap()[AUTHORIZATION].to_str().unwrap().to_owned();
    bearer.strip_prefix("Bearer ").unwrap().to_owned()
}

/// Returns the kinds of the stored slots, and whether they have an expiry.
fn ends(redis: &RedisServer) -> Vec<(String, bool)> {
    let mut connection = connection(redis);
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    let mut ends: Vec<_> = keys
        .iter()
        .map(|key| {
            let left: i64 = redis::cmd("PTTL").arg(key).query(&mut connection).unwrap();
            let (_, slot) = key.split_once(':').unwrap();
            let (kind, _) = slot.split_once('/').unwrap();
            (kind.to_owned(), left > 0)
        })
        .collect();
    ends.sort();
    ends
}

fn nothing_is_stored_in_the_clear(redis: &RedisServer) {
    let mut connection = connection(redis);
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    assert!(keys.iter().any(|key| key.contains(":account/")));
    assert!(!keys.iter().any(|key| key.contains(":pending/")));
    for key in keys {
        assert!(key.starts_with("mcp-gateway:"));
        let mut get = redis::cmd("HGET");
        let contents: String = get
            .arg(&key)
            .arg("contents")
            .query(&mut connection)
            .unwrap();
        assert!(contents.starts_with("1.") && !contents.contains('{'));
    }
}

fn connection(redis: &RedisServer) -> redis::Connection {
    let client = redis::Client::open(redis.url()).unwrap();
    client.get_connection().unwrap()
}
