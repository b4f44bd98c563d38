//! A tower layer in front of an MCP server: with axum, with rmcp's streamable HTTP service, with anything
//! that is a `Service` of HTTP requests.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, AUTHORIZATION, CACHE_CONTROL, UPGRADE,
    VARY,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tower_layer::Layer;
use tower_service::Service;

use super::guard::Guard;
use super::http::json;
use super::rejection::DPOP_NONCE;
use super::replay::{MemoryReplays, ReplayStore};
use super::verifier::VerifyToken;

/// The default size limit of a message body, in bytes.
pub const MAX_BODY: usize = 4 * 1024 * 1024;

/// Protects the services that it wraps.
///
/// The layer serves the metadata of the resource, and rejects every other request without a valid token for
/// it. An accepted request has the [`AccessToken`](super::AccessToken) in its extensions, and no token in
/// its headers (RS-08).
#[derive(Debug)]
pub struct ProtectLayer<V, R = MemoryReplays> {
    shared: Arc<Shared<V, R>>,
}

#[derive(Debug)]
struct Shared<V, R> {
    guard: Guard,
    verifier: Arc<V>,
    replays: R,
    body_limit: usize,
    clock: fn() -> Duration,
}

impl<V, R: Clone> Clone for Shared<V, R> {
    fn clone(&self) -> Self {
        Self {
            guard: self.guard.clone(),
            verifier: Arc::clone(&self.verifier),
            replays: self.replays.clone(),
            body_limit: self.body_limit,
            clock: self.clock,
        }
    }
}

impl<V, R> Clone for ProtectLayer<V, R> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

impl<V: VerifyToken> ProtectLayer<V> {
    /// Creates a layer from a guard and a token verifier. Proofs are remembered in this process.
    pub fn new(guard: Guard, verifier: V) -> Self {
        Self {
            shared: Arc::new(Shared {
                guard,
                verifier: Arc::new(verifier),
                replays: MemoryReplays::default(),
                body_limit: MAX_BODY,
                clock: since_epoch,
            }),
        }
    }
}

impl<V: VerifyToken, R: ReplayStore + Clone> ProtectLayer<V, R> {
    /// Remembers proofs in another store, such as one that several instances share. A store that is not
    /// `Clone` goes into an [`Arc`].
    #[must_use]
    pub fn replays<N: ReplayStore>(self, replays: N) -> ProtectLayer<V, N> {
        let Shared {
            guard,
            verifier,
            replays: _,
            body_limit,
            clock,
        } = Arc::unwrap_or_clone(self.shared);
        ProtectLayer {
            shared: Arc::new(Shared {
                guard,
                verifier,
                replays,
                body_limit,
                clock,
            }),
        }
    }

    /// Sets the size limit of bodies, in bytes; larger ones are rejected with 413. Default: [`MAX_BODY`].
    #[must_use]
    pub fn body_limit(self, bytes: usize) -> Self {
        self.changed(|shared| shared.body_limit = bytes)
    }

    /// Replaces the clock, for tests: the time since the Unix epoch.
    #[must_use]
    pub fn clock(self, clock: fn() -> Duration) -> Self {
        self.changed(|shared| shared.clock = clock)
    }

    fn changed(self, change: impl FnOnce(&mut Shared<V, R>)) -> Self {
        let mut shared = Arc::unwrap_or_clone(self.shared);
        change(&mut shared);
        Self {
            shared: Arc::new(shared),
        }
    }
}

impl<S, V, R> Layer<S> for ProtectLayer<V, R> {
    type Service = Protect<S, V, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Protect {
            inner,
            shared: Arc::clone(&self.shared),
        }
    }
}

/// A protected service.
#[derive(Debug)]
pub struct Protect<S, V, R = MemoryReplays> {
    inner: S,
    shared: Arc<Shared<V, R>>,
}

impl<S: Clone, V, R> Clone for Protect<S, V, R> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S, V, B, A, R> Service<Request<B>> for Protect<S, V, R>
where
    S: Service<Request<B>, Response = Response<A>> + Clone + Send + 'static,
    S::Future: Send,
    V: VerifyToken,
    R: ReplayStore,
    B: Body + From<Bytes> + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    A: From<String> + Send + 'static,
{
    type Response = Response<A>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<A>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The ready instance is called; its clone serves the next request.
        let waiting = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, waiting);
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let origin = match shared.first(&request) {
                First::Continue(origin) => origin.map(str::to_owned),
                First::Answer(response) => return Ok(response.map(A::from)),
            };
            let mut response = match shared.admit(request).await {
                Ok(admitted) => inner.call(admitted).await?,
                Err(response) => response.map(A::from),
            };
            if let Some(origin) = origin {
                allow_origin(&mut response, &origin);
            }
            if let Some(nonce) = shared.guard.next_nonce((shared.clock)()) {
                let known = response.headers().contains_key(DPOP_NONCE);
                if !known {
                    response
                        .headers_mut()
                        .insert(DPOP_NONCE, nonce.header().clone());
                }
            }
            Ok(response)
        })
    }
}

/// The first result for a request, before its token is read.
enum First<'a> {
    Answer(Response<String>),
    /// Continue, with the origin of the page that may read the response.
    Continue(Option<&'a str>),
}

impl<V: VerifyToken, R: ReplayStore> Shared<V, R> {
    /// Handles requests that need no token.
    fn first<B>(&self, request: &Request<B>) -> First<'_> {
        let resource = self.guard.resource();
        // Metadata is public, for every origin and host name.
        let path = resource.metadata_path();
        if Some(request.uri().path()) == path.split('?').next() {
            return First::Answer(metadata(request.method(), resource.metadata()));
        }
        let authority = request.uri().authority().map(http::uri::Authority::as_str);
        match self.guard.check_origin(request.headers(), authority) {
            Ok(Some(origin)) if request.method() == Method::OPTIONS => {
                First::Answer(preflight(origin))
            }
            Ok(origin) => First::Continue(origin),
            Err(_misdirected) => {
                let mut response = Response::new(String::new());
                *response.status_mut() = StatusCode::FORBIDDEN;
                First::Answer(response)
            }
        }
    }

    async fn admit<B>(&self, request: Request<B>) -> Result<Request<B>, Response<String>>
    where
        B: Body + From<Bytes> + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (mut parts, body) = request.into_parts();
        let presented = self.guard.present(&parts.headers);
        let presented = presented.map_err(|rejected| rejected.into_http())?;
        let now = (self.clock)();
        let verified = self.verifier.verify(presented.token(), now).await;
        let bound = self.guard.bind(&presented, verified, &parts.method, now);
        let bound = bound.map_err(|rejected| rejected.into_http())?;
        let spent = match bound.proof() {
            Some(proof) => self.replays.spend(proof, now).await,
            None => Ok(()),
        };
        let authorized = self.guard.spend(bound, spent);
        let authorized = authorized.map_err(|rejected| rejected.into_http())?;
        let is_bodiless = matches!(parts.method, Method::GET | Method::HEAD | Method::DELETE);
        // Some servers read a body of these methods, which is not checked here: it must be empty.
        let limit = if is_bodiless { 0 } else { self.body_limit };
        let read = Limited::new(body, limit).collect().await;
        let read = read.map_err(|error| unread(&*error, is_bodiless))?;
        let read = read.to_bytes();
        let body = (!is_bodiless).then_some(&*read);
        let token = self.guard.permit(authorized, &parts.headers, body);
        let token = token.map_err(|rejected| rejected.into_http())?;
        parts.headers.remove(AUTHORIZATION);
        parts.headers.remove("dpop");
        // Frames of another protocol on this connection would pass no policy.
        parts.headers.remove(UPGRADE);
        parts.extensions.insert(token);
        Ok(Request::from_parts(parts, B::from(read)))
    }
}

fn unread(
    error: &(dyn std::error::Error + Send + Sync + 'static),
    is_bodiless: bool,
) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = if error.is::<LengthLimitError>() && !is_bodiless {
        StatusCode::PAYLOAD_TOO_LARGE
    } else {
        StatusCode::BAD_REQUEST
    };
    response
}

/// Returns the metadata of the resource, readable by pages of every origin.
fn metadata(method: &Method, document: String) -> Response<String> {
    let mut response = match method {
        &Method::GET => json(StatusCode::OK, document),
        &Method::HEAD => json(StatusCode::OK, String::new()),
        &Method::OPTIONS => json(StatusCode::NO_CONTENT, String::new()),
        _other => json(StatusCode::METHOD_NOT_ALLOWED, String::new()),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_ALLOW_METHODS, "GET"),
        // Clients send the protocol version.
        (ACCESS_CONTROL_ALLOW_HEADERS, "mcp-protocol-version"),
        (CACHE_CONTROL, "max-age=300"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn preflight(origin: &str) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    allow_origin(&mut response, origin);
    let headers = response.headers_mut();
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"),
        (
            ACCESS_CONTROL_ALLOW_HEADERS,
            "accept, authorization, content-type, dpop, last-event-id, mcp-method, mcp-name, \
             mcp-protocol-version, mcp-session-id",
        ),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn allow_origin<A>(response: &mut Response<A>, origin: &str) {
    let Ok(value) = HeaderValue::try_from(origin) else {
        return;
    };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, value);
    headers.append(VARY, HeaderValue::from_static("origin"));
    let exposed = "www-authenticate, dpop-nonce, mcp-session-id, mcp-protocol-version";
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(exposed),
    );
}
