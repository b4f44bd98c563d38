//! The example `gateway` as two processes with one Redis.

use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_TYPE, COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use http::{HeaderMap, Method};
use mcp_auth_client::asynchronous::Client;
use mcp_auth_client::{RedisStore, Sealed};
use tokio::net::TcpStream;
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::gateway::keys::Keys;
use super::gateway::{Settings, serve};
use crate::processes::{Part, Redis, free_port};
use crate::support::{World, token};

/// 32 bytes, used in these tests only.
const KEY: &str = "dGVzdHMgdGVzdHMgdGVzdHMgdGVzdHMgdGVzdHMgdGU";

/// A user's browser.
struct Browser {
    http: reqwest::Client,
    cookie: String,
}

impl Browser {
    /// Signs in at the gateway.
    async fn of(user: &str, gateway: &str) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let mut browser = Self {
            http,
            cookie: String::new(),
        };
        let (status, headers, _) = browser
            .post(gateway, "login", &format!("user={user}"))
            .await;
        assert_eq!(status, StatusCode::SEE_OTHER);
        let cookie = headers[SET_COOKIE].to_str().unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"));
        let (session, _) = cookie.split_once(';').unwrap();
        browser.cookie = session.to_owned();
        browser
    }

    async fn get(&self, url: &str) -> (StatusCode, HeaderMap, String) {
        let request = self.http.get(url).header(COOKIE, &self.cookie);
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        (status, headers, answer.text().await.unwrap())
    }

    async fn post(&self, gateway: &str, to: &str, form: &str) -> (StatusCode, HeaderMap, String) {
        let request = self.http.post(format!("{gateway}/{to}"));
        let request = request
            .header(COOKIE, &self.cookie)
            .header(ORIGIN, gateway)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = request.body(form.to_owned()).send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        (status, headers, answer.text().await.unwrap())
    }

    async fn calls(&self, gateway: &str) -> StatusCode {
        self.post(gateway, "call", "tool=read&text=hello").await.0
    }

    /// Returns the URL that the gateway redirects the browser to; the browser receives its own cookie.
    async fn connect(&mut self, gateway: &str) -> String {
        let (status, headers, _) = self.get(&format!("{gateway}/connect")).await;
        assert_eq!(status, StatusCode::SEE_OTHER);
        let cookie = headers[SET_COOKIE].to_str().unwrap();
        let (browser, rest) = cookie.split_once(';').unwrap();
        assert!(browser.starts_with("browser=") && rest.contains("HttpOnly"));
        let (session, _) = self.cookie.split_once(';').unwrap_or((&self.cookie, ""));
        self.cookie = format!("{session}; {browser}");
        headers[LOCATION].to_str().unwrap().to_owned()
    }

    /// Completes an authorization.
    async fn connects(&mut self, gateway: &str) {
        let to = self.connect(gateway).await;
        let callback = self.consent(&to).await;
        self.get(&callback).await;
    }

    /// Returns the URL that the authorization server redirects the browser to.
    async fn consent(&self, url: &str) -> String {
        let answer = self.http.get(url).send().await.unwrap();
        answer.headers()[LOCATION].to_str().unwrap().to_owned()
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
    let world = World::start().await;
    let redis = block_in_place(Redis::start);
    let ports = [free_port(), free_port()];
    let [one, two] = ports.map(|port| format!("http://127.0.0.1:{port}"));
    let _processes = block_in_place(|| {
        ports.map(|port| {
            let (url, listen) = (redis.url(), format!("127.0.0.1:{port}"));
            let settings = [
                ("INSTANCE_MCP", world.url.as_str()),
                // Callbacks arrive at the second instance.
                ("INSTANCE_PUBLIC", two.as_str()),
                ("INSTANCE_LISTEN", listen.as_str()),
                ("INSTANCE_REDIS", url.as_str()),
            ];
            let mut part = Part::start("shared_redis::instances::instance", &settings);
            part.says("listening on ");
            part
        })
    });

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
    let stored = account(&world, &redis, &two).await;
    world.revoke(&stored, &client_id(&redirect)).await;
    let (a, b) = tokio::join!(alice.calls(&one), alice.calls(&two));
    assert_eq!((a, b), (StatusCode::OK, StatusCode::OK));
    assert_eq!(world.server.refreshes(), 1);
    assert_ne!(account(&world, &redis, &two).await, stored);

    block_in_place(|| nothing_is_stored_in_the_clear(&redis));
    let (status, ..) = alice.post(&two, "disconnect", "").await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    for gateway in [&one, &two] {
        assert_eq!(alice.calls(gateway).await, StatusCode::FORBIDDEN);
    }
}

/// One instance in this process; without Redis, its store is in memory.
async fn alone(world: &World) -> String {
    let port = free_port();
    let gateway = format!("http://127.0.0.1:{port}");
    let settings = Settings {
        mcp: vec![world.url.clone()],
        public: gateway.clone(),
        listen: vec![([127, 0, 0, 1], port).into()],
        redis: None,
        key: None,
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
    let world = World::start().await;
    let gateway = alone(&world).await;
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
    let world = World::start().await;
    let gateway = alone(&world).await;
    let mut alice = Browser::of("alice", &gateway).await;
    alice.connects(&gateway).await;
    assert_eq!(alice.calls(&gateway).await, StatusCode::OK);
    world.mcp.set_tool_scope("read", "more").unwrap();
    assert_eq!(alice.calls(&gateway).await, StatusCode::FORBIDDEN);
    alice.connects(&gateway).await;
    assert_eq!(alice.calls(&gateway).await, StatusCode::OK);
}

#[tokio::test]
async fn who_is_not_signed_in_at_the_gateway_gets_nothing() {
    let world = World::start().await;
    let gateway = alone(&world).await;
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
    let world = World::start().await;
    let gateway = alone(&world).await;
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
    let world = World::start().await;
    let gateway = alone(&world).await;
    let mut alice = Browser::of("alice", &gateway).await;
    alice.connects(&gateway).await;
    // The tool echoes its input; the form is limited first.
    let long = format!("tool=read&text={}", "a".repeat(17 * 1024));
    let (status, ..) = alice.post(&gateway, "call", &long).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

/// Returns the account that a third instance finds in the store.
async fn account(world: &World, redis: &Redis, public: &str) -> String {
    let store = RedisStore::open(&redis.url(), "mcp-gateway:").unwrap();
    let store = Sealed::new(store, Keys::new(KEY).unwrap());
    let config = mcp_auth_machine::Config::builder(&world.url, format!("{public}/callback"));
    let config = config.build().unwrap();
    let client = Client::builder(config, "alice", store).start().unwrap();
    let headers = client.authorize("read", &Method::POST, &world.url).await;
    token(&headers.unwrap())
}

/// Returns the kinds of the stored slots, and whether they have an expiry.
fn ends(redis: &Redis) -> Vec<(String, bool)> {
    let mut connection = redis.connection();
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

fn nothing_is_stored_in_the_clear(redis: &Redis) {
    let mut connection = redis.connection();
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

#[test]
#[ignore = "a process of another test"]
fn instance() {
    let Ok(mcp) = std::env::var("INSTANCE_MCP") else {
        return;
    };
    let setting = |name: &str| std::env::var(name).unwrap();
    let settings = Settings {
        mcp: vec![mcp],
        load: None,
        public: setting("INSTANCE_PUBLIC"),
        listen: vec![setting("INSTANCE_LISTEN").parse().unwrap()],
        redis: Some(setting("INSTANCE_REDIS")),
        key: Some(KEY.to_owned()),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(serve(settings)).unwrap();
}
