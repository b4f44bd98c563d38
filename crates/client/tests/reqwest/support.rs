//! The built-in servers, a user who agrees, and an MCP client on the driver.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, Method, StatusCode};
use mcp_auth_client::asynchronous::{Builder, Callbacks, Client, Stopped, User};
use mcp_auth_client::{MemoryStore, Store};
use mcp_auth_machine::Config;
use mcp_auth_machine::action::{NeedUser, Redirect, Why};
use mcp_auth_machine::config::ConfigBuilder;
use mcp_auth_machine::event::Authorization;
use mcp_auth_machine::wire::callback::Callback;
use serde_json::json;

use mcp_auth_testing::authorization::{AuthorizationServer, Iss, Options};
use mcp_auth_testing::resource::{McpServer, Tool};
use mcp_auth_testing::servers::Servers;

const TOOLS: [Tool; 2] = [
    Tool {
        name: "read",
        description: "Reads.",
    },
    Tool {
        name: "write",
        description: "Writes.",
    },
];

/// No listener: the callback is taken from the redirect itself.
const REDIRECT_URI: &str = "http://127.0.0.1:9/callback";

/// The identifier and secret of the client without a user.
pub(crate) const SERVICE: (&str, &str) = ("service", "a secret");

pub(crate) struct World {
    pub(crate) mcp: McpServer,
    pub(crate) server: AuthorizationServer,
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
}

impl World {
    pub(crate) async fn start() -> Arc<Self> {
        Self::with(Iss::Honest).await
    }

    pub(crate) async fn with(iss: Iss) -> Arc<Self> {
        Self::of(iss, 300).await
    }

    pub(crate) async fn of(iss: Iss, access_token_seconds: u64) -> Arc<Self> {
        let servers = Servers::builder().tools(&TOOLS).options(Options {
            iss,
            access_token_seconds,
            service: Some((SERVICE.0.to_owned(), SERVICE.1.to_owned())),
            ..Options::default()
        });
        let servers = servers.on_loopback().await.unwrap();
        Arc::new(Self {
            url: servers.url().to_owned(),
            mcp: servers.mcp().clone(),
            server: servers.authorization().clone(),
            http: http(),
        })
    }

    pub(crate) fn config(&self) -> ConfigBuilder {
        Config::builder(&self.url, REDIRECT_URI).client_name("async tests")
    }

    pub(crate) fn on<S: Store + Send + Sync + 'static>(&self, store: S) -> Builder {
        Client::builder(self.config().build().unwrap(), "alice", store)
            .http(|| reqwest::ClientBuilder::new().no_proxy())
    }

    pub(crate) fn client(&self, user: impl User) -> Client {
        let builder = self.on(MemoryStore::default()).user(user);
        builder.start().unwrap()
    }

    /// Sends one request to the MCP server.
    pub(crate) async fn post(&self, tool: &str, headers: HeaderMap) -> (StatusCode, HeaderMap) {
        let params = json!({ "name": tool, "arguments": { "text": "hello" } });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        let request = self.http.post(&self.url).headers(headers);
        let request = request.header(CONTENT_TYPE, "application/json");
        let answer = request.body(body.to_string()).send().await.unwrap();
        (answer.status(), answer.headers().clone())
    }

    /// Calls a tool with retries and returns the token that succeeded.
    pub(crate) async fn call(&self, client: &Client, tool: &str) -> Result<String, Stopped> {
        let mut call = client.call(tool, Method::POST, self.url.as_str());
        loop {
            let headers = call.headers().await?;
            let (status, answer) = self.post(tool, headers.clone()).await;
            if !call.again(status, &answer).await? {
                assert_eq!(status, StatusCode::OK);
                return Ok(token(&headers));
            }
        }
    }

    /// Revokes an access token at the server; its refresh token stays valid.
    pub(crate) async fn revoke(&self, token: &str, client_id: &str) {
        let body = format!("token={token}&client_id={client_id}");
        let request = self.http.post(format!("{}/revoke", self.server.issuer()));
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = request.body(body).send().await.unwrap();
        assert!(answer.status().is_success());
    }

    pub(crate) async fn follow(&self, redirect: &Redirect) -> String {
        follow(&self.http, redirect).await
    }
}

/// An HTTP client without redirects, with the one TLS provider that is linked.
pub(crate) fn http() -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .tls_backend_preconfigured(tls)
        .build()
        .unwrap()
}

/// Returns the redirect URI with the response: the consent page approves automatically.
async fn follow(http: &reqwest::Client, redirect: &Redirect) -> String {
    let answer = http.get(redirect.url.as_str()).send().await.unwrap();
    answer.headers()[LOCATION].to_str().unwrap().to_owned()
}

pub(crate) fn token(headers: &HeaderMap) -> String {
    let value = headers.get(AUTHORIZATION).map(|v| v.to_str().unwrap());
    let (_, token) = value.unwrap().split_once(' ').unwrap();
    token.to_owned()
}

/// A user who agrees to everything, and reports events.
#[derive(Clone)]
pub(crate) struct Agreeing {
    http: reqwest::Client,
    pub(crate) asked: Arc<Mutex<Vec<Why>>>,
    pub(crate) redirects: Arc<Mutex<Vec<Redirect>>>,
    finished: Arc<AtomicUsize>,
}

impl Agreeing {
    pub(crate) fn new() -> Self {
        Self {
            http: http(),
            asked: Arc::default(),
            redirects: Arc::default(),
            finished: Arc::default(),
        }
    }

    /// Returns how many times the user was redirected.
    pub(crate) fn trips(&self) -> usize {
        self.redirects.lock().unwrap().len()
    }

    /// Returns how many redirects completed a sign-in.
    pub(crate) fn finished(&self) -> usize {
        self.finished.load(Ordering::SeqCst)
    }

    pub(crate) fn client_id(&self) -> String {
        let redirects = self.redirects.lock().unwrap();
        redirects.last().unwrap().client_id.to_string()
    }
}

impl User for Agreeing {
    async fn consent(&self, need: NeedUser, with: Authorization) -> Option<Authorization> {
        self.asked.lock().unwrap().push(need.why);
        Some(with)
    }

    async fn redirect(&self, redirect: Redirect, callbacks: Callbacks) {
        self.redirects.lock().unwrap().push(redirect.clone());
        let stray = Callback::from_url("http://127.0.0.1:9/callback?code=x&state=y");
        assert!(!callbacks.hand_in(stray).await);
        let callback = follow(&self.http, &redirect).await;
        assert!(callbacks.hand_in(Callback::from_url(callback)).await);
        self.finished.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls a future at most this many times, then drops it.
pub(crate) async fn at_most<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        let Some(fewer) = left.checked_sub(1) else {
            return Poll::Ready(None);
        };
        left = fewer;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
