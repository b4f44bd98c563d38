//! An MCP server and its authorization server, in memory or on loopback: well behaved, unless a test switches a
//! [`Deviation`] or a [`Fault`] on.
//!
//! ```
//! # #[cfg(feature = "ureq")] {
//! use mcp_auth_client::{Driver, MemoryStore, Pause, seed};
//! use mcp_auth_machine::{Config, Event, event::Operation, wire::callback::Callback};
//! use mcp_auth_testing::servers::{Deviation, Place, Servers};
//!
//! let servers = Servers::builder().in_memory().unwrap();
//! servers.deviate(Deviation::WrongIss);
//! let config = Config::builder(servers.url(), "http://127.0.0.1:3000/callback").build().unwrap();
//! let mut driver = Driver::new(config, "alice", MemoryStore::default()).http(servers.answers());
//! let Pause::NeedUser(_) = driver.handle(Event::Wanted(Operation::new("x"))) else { panic!() };
//! let event = Event::Authorize(seed().unwrap().into());
//! let Pause::Redirect(redirect) = driver.handle(event) else { panic!() };
//! let callback = servers.browse_blocking(redirect.url.as_str()).unwrap();
//! // A mix-up attack: the code is not sent.
//! let result = driver.handle(Event::CallbackParams(Callback::from_url(callback)));
//! assert!(matches!(result, Pause::Failed(_)));
//! assert_eq!(servers.seen(Place::Token), 0);
//! # }
//! ```

mod deviation;
mod deviations;
mod program;
mod responses;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, Method, Request, Response, Uri};
use mcp_auth_machine::Event;
use mcp_auth_machine::action::SendRequest;
use serde_json::json;

pub use deviations::Deviation;
pub use program::{Fault, Place};

use crate::authorization::{AuthorizationServer, Options};
use crate::client::Now;
use crate::resource::{ECHO, McpServer, Tool};
use program::Program;

/// The time limit of a test's own requests.
const PATIENT: Duration = Duration::from_secs(60);

/// The settings of [`Servers`].
#[derive(Clone, Debug)]
pub struct ServersBuilder {
    options: Options,
    now: Now,
    tools: Vec<Tool>,
}

impl ServersBuilder {
    /// Sets the behaviour of the authorization server.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Sets the time since the Unix epoch, by which client assertions are judged, for a driver with a `VirtualClock`:
    /// `.now(move || Duration::from_secs(clock.moment().wall.seconds()))`. Default: the clock of the system.
    #[must_use]
    pub fn now(mut self, now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        self.now = Now::of(now);
        self
    }

    /// Sets the tools of the MCP server. Default: [`ECHO`].
    #[must_use]
    pub fn tools(mut self, tools: &[Tool]) -> Self {
        self.tools = tools.to_vec();
        self
    }

    /// Creates servers that only this process reaches: `https://mcp.example/mcp` and `https://as.example`.
    ///
    /// # Errors
    /// When the options are invalid.
    pub fn in_memory(self) -> io::Result<Servers> {
        self.at("https://mcp.example", "https://as.example")
    }

    /// Starts servers on free ports of 127.0.0.1, on the current `tokio` runtime and until its end.
    ///
    /// # Errors
    /// When no port is free, or the options are invalid.
    pub async fn on_loopback(self) -> io::Result<Servers> {
        let mcp = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let server = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let origin = |of: &tokio::net::TcpListener| -> io::Result<String> {
            Ok(format!("http://{}", of.local_addr()?))
        };
        let servers = self.at(&origin(&mcp)?, &origin(&server)?)?;
        for (listener, at) in [(mcp, &servers.at_mcp), (server, &servers.at_server)] {
            let router = at.router.clone();
            tokio::spawn(async move { axum::serve(listener, router).await });
        }
        Ok(servers)
    }

    fn at(self, mcp: &str, issuer: &str) -> io::Result<Servers> {
        let url = format!("{mcp}/mcp");
        let program = Program::of(&url);
        let (server, router) = AuthorizationServer::at(issuer, self.options, self.now)?;
        let at_server = At::new(issuer, program.around(router));
        let (mcp_server, router) = McpServer::at(url, &self.tools);
        let at_mcp = At::new(mcp, program.around(router));
        server.allow_resource(mcp_server.url());
        mcp_server.trust(server.issuer(), server.tokens())?;
        Ok(Servers {
            url: mcp_server.url().into(),
            mcp: mcp_server,
            authorization: server,
            program,
            at_mcp: Arc::new(at_mcp),
            at_server: Arc::new(at_server),
        })
    }
}

/// A server, by its origin.
#[derive(Debug)]
struct At {
    origin: String,
    router: Router,
}

impl At {
    fn new(origin: &str, router: Router) -> Self {
        let origin = origin.to_owned();
        Self { origin, router }
    }
}

/// An MCP server with one tool or more, and its authorization server, shared by its clones.
#[derive(Clone, Debug)]
pub struct Servers {
    url: Box<str>,
    mcp: McpServer,
    authorization: AuthorizationServer,
    program: Program,
    at_mcp: Arc<At>,
    at_server: Arc<At>,
}

/// The reason why a request in memory has no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// No server has this origin.
    Unknown,
    /// The connection broke off, or the time limit has passed.
    BrokenOff,
    /// The body is longer than the limit.
    TooLarge,
}

impl Servers {
    /// Returns the settings: well-behaved servers whose tokens live for five minutes.
    pub fn builder() -> ServersBuilder {
        ServersBuilder {
            options: Options::default(),
            now: Now::default(),
            tools: vec![ECHO],
        }
    }

    /// Returns the URL of the MCP server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the MCP server.
    pub fn mcp(&self) -> &McpServer {
        &self.mcp
    }

    /// Returns the authorization server.
    pub fn authorization(&self) -> &AuthorizationServer {
        &self.authorization
    }

    /// Switches a deviation on.
    pub fn deviate(&self, deviation: Deviation) {
        self.program.deviate(deviation);
    }

    /// Switches every deviation and fault off.
    pub fn behave(&self) {
        self.program.behave();
    }

    /// Answers the next request to this place with a fault.
    pub fn fault(&self, place: Place, fault: Fault) {
        self.program.fault(place, fault, false);
    }

    /// Answers every request to this place with a fault, until [`behave`](Self::behave).
    pub fn always(&self, place: Place, fault: Fault) {
        self.program.fault(place, fault, true);
    }

    /// Returns how many requests this place has seen.
    pub fn seen(&self, place: Place) -> usize {
        self.program.seen(place)
    }

    /// Returns the places of all requests, in order.
    pub fn requests(&self) -> Vec<Place> {
        self.program.requests()
    }

    /// Follows the redirect to the authorization server as a browser does, and returns the URL of the callback. The
    /// user agrees, or as the authorization server was told.
    ///
    /// # Errors
    /// The page that the user sees in place of a callback.
    pub async fn browse(&self, url: &str) -> Result<String, String> {
        let uri: Uri = url.parse().map_err(|_| format!("not a URL: {url}"))?;
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri;
        let answer = self.exchange(request, PATIENT, usize::MAX).await;
        let answer = answer.map_err(|why| format!("no page: {why:?}"))?;
        match answer
            .headers()
            .get(LOCATION)
            .and_then(|to| to.to_str().ok())
        {
            Some(to) => Ok(to.to_owned()),
            None => Err(String::from_utf8_lossy(answer.body()).into_owned()),
        }
    }

    /// Same as [`browse`](Self::browse), outside of a runtime.
    ///
    /// # Errors
    /// The page that the user sees in place of a callback.
    pub fn browse_blocking(&self, url: &str) -> Result<String, String> {
        block_on(self.browse(url)).unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Returns a user of the asynchronous driver who agrees to everything.
    #[cfg(feature = "reqwest")]
    pub fn user(&self) -> AgreeingUser {
        AgreeingUser(self.clone())
    }

    /// Calls a tool of the MCP server with these headers.
    ///
    /// # Errors
    /// [`Undelivered`] after a fault.
    pub async fn call(
        &self,
        tool: &str,
        headers: HeaderMap,
    ) -> Result<Response<Bytes>, Undelivered> {
        let params = json!({ "name": tool, "arguments": { "text": "hello" } });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        let mut request = Request::new(Bytes::from(body.to_string()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.parse().map_err(|_| Undelivered::Unknown)?;
        *request.headers_mut() = headers;
        let kind = http::HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, kind);
        self.exchange(request, PATIENT, usize::MAX).await
    }

    /// Same as [`call`](Self::call), outside of a runtime.
    ///
    /// # Errors
    /// [`Undelivered`] after a fault.
    pub fn call_blocking(
        &self,
        tool: &str,
        headers: HeaderMap,
    ) -> Result<Response<Bytes>, Undelivered> {
        block_on(self.call(tool, headers)).unwrap_or(Err(Undelivered::BrokenOff))
    }

    /// Sends a request to the server of its origin, without a network.
    ///
    /// # Errors
    /// [`Undelivered`] with the reason.
    pub async fn exchange(
        &self,
        request: Request<Bytes>,
        time: Duration,
        limit: usize,
    ) -> Result<Response<Bytes>, Undelivered> {
        let uri = request.uri();
        let origin = format!(
            "{}://{}",
            uri.scheme_str().unwrap_or_default(),
            uri.authority().map_or("", http::uri::Authority::as_str)
        );
        let known = [&self.at_mcp, &self.at_server];
        let at = known.into_iter().find(|at| at.origin == origin);
        let mut router = at.ok_or(Undelivered::Unknown)?.router.clone();
        let answered = async move {
            let request = request.map(Body::from);
            let answer = tower_service::Service::call(&mut router, request).await;
            let (parts, body) = answer.unwrap_or_else(|never| match never {}).into_parts();
            let whole = axum::body::to_bytes(body, usize::MAX).await;
            let body = whole.map_err(|_| Undelivered::BrokenOff)?;
            if body.len() > limit {
                return Err(Undelivered::TooLarge);
            }
            Ok(Response::from_parts(parts, body))
        };
        let answered = tokio::time::timeout(time, answered).await;
        answered.unwrap_or(Err(Undelivered::BrokenOff))
    }

    /// Returns the answers to the requests of a blocking driver: `driver.http(servers.answers())`.
    pub fn answers(&self) -> impl FnMut(SendRequest, Duration) -> Event + Send + 'static + use<> {
        let servers = self.clone();
        move |send, time| {
            let (request, limit) = (send.request().clone(), send.body_limit());
            match block_on(servers.exchange(request, time, limit)) {
                Ok(Ok(response)) => send.response(response),
                Ok(Err(Undelivered::Unknown)) => send.never_sent(),
                Ok(Err(Undelivered::BrokenOff)) | Err(_) => send.maybe_sent(),
                Ok(Err(Undelivered::TooLarge)) => send.too_large(),
            }
        }
    }
}

/// For the asynchronous driver: `Network::of(servers.clone())`.
#[cfg(feature = "reqwest")]
impl mcp_auth_client::asynchronous::HostHttp for Servers {
    async fn exchange(
        &self,
        request: Request<Bytes>,
        limits: mcp_auth_client::asynchronous::Limits,
    ) -> Result<Response<Bytes>, mcp_auth_client::asynchronous::Undelivered> {
        use mcp_auth_client::asynchronous::Undelivered as Why;
        let answer = Self::exchange(self, request, limits.time(), limits.body()).await;
        answer.map_err(|why| match why {
            Undelivered::Unknown => Why::NeverSent,
            Undelivered::BrokenOff => Why::MaybeSent,
            Undelivered::TooLarge => Why::TooLarge,
        })
    }
}

/// A user of the asynchronous driver who agrees to everything and follows the redirect: see [`Servers::user`].
#[cfg(feature = "reqwest")]
#[derive(Clone, Debug)]
pub struct AgreeingUser(Servers);

#[cfg(feature = "reqwest")]
impl mcp_auth_client::asynchronous::User for AgreeingUser {
    async fn consent(
        &self,
        _: mcp_auth_machine::action::NeedUser,
        authorization: mcp_auth_machine::event::Authorization,
    ) -> Option<mcp_auth_machine::event::Authorization> {
        Some(authorization)
    }

    async fn redirect(
        &self,
        redirect: mcp_auth_machine::action::Redirect,
        callbacks: mcp_auth_client::asynchronous::Callbacks,
    ) {
        // On an error page the sign-in is cancelled.
        if let Ok(url) = self.0.browse(redirect.url.as_str()).await {
            let callback = mcp_auth_machine::wire::callback::Callback::from_url(url);
            callbacks.hand_in(callback).await;
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    Ok(runtime.block_on(future))
}
