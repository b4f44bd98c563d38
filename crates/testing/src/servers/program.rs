//! The program of the servers: counts, faults and deviations around their routers.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http_body::Frame;

use super::deviation::Seen;
use super::deviations::Deviation;
use crate::client::Reading;
use crate::lock;

/// The largest request that is read.
const LARGEST: usize = 1024 * 1024;

/// A place at the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Place {
    /// The MCP endpoint.
    Mcp,
    /// The protected resource metadata, at any of its locations.
    ResourceMetadata,
    /// The authorization server metadata, at any of its locations.
    ServerMetadata,
    /// The registration endpoint.
    Registration,
    /// The authorization endpoint, which the browser requests.
    Authorization,
    /// The token endpoint.
    Token,
    /// The revocation endpoint.
    Revocation,
    /// The device authorization endpoint and its page.
    Device,
    /// Anything else.
    Elsewhere,
}

impl Place {
    pub(super) fn of(path: &str) -> Self {
        match path {
            "/mcp" => Self::Mcp,
            "/register" => Self::Registration,
            "/authorize" => Self::Authorization,
            "/token" => Self::Token,
            "/revoke" => Self::Revocation,
            "/device" | "/device_authorization" => Self::Device,
            path if path.starts_with("/.well-known/oauth-protected-resource") => {
                Self::ResourceMetadata
            }
            path if path.starts_with("/.well-known/") => Self::ServerMetadata,
            _ => Self::Elsewhere,
        }
    }
}

/// A fault of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The answer comes so much later.
    Delay(Duration),
    /// The request is carried out, and the connection breaks off in the answer.
    Cut,
    /// This status, with an empty body, and the request is not carried out.
    Status(u16),
    /// This body with status 200 as JSON, and the request is not carried out.
    Body(String),
    /// A body of this many spaces.
    Long(usize),
}

/// The program, shared by its clones.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// The identifier of the MCP server.
    resource: Arc<str>,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug, Default)]
struct Plan {
    requests: Vec<Place>,
    deviations: Vec<Deviation>,
    faults: VecDeque<(Place, Fault)>,
    lasting: Vec<(Place, Fault)>,
}

impl Program {
    pub(super) fn of(resource: &str) -> Self {
        Self {
            resource: resource.into(),
            plan: Arc::default(),
        }
    }

    pub(super) fn around(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), answer))
    }

    pub(super) fn deviate(&self, deviation: Deviation) {
        lock(&self.plan).deviations.push(deviation);
    }

    pub(super) fn behave(&self) {
        let mut plan = lock(&self.plan);
        plan.deviations.clear();
        plan.faults.clear();
        plan.lasting.clear();
    }

    pub(super) fn fault(&self, place: Place, fault: Fault, lasts: bool) {
        let mut plan = lock(&self.plan);
        if lasts {
            plan.lasting.push((place, fault));
        } else {
            plan.faults.push_back((place, fault));
        }
    }

    pub(super) fn seen(&self, place: Place) -> usize {
        let plan = lock(&self.plan);
        plan.requests.iter().filter(|seen| **seen == place).count()
    }

    pub(super) fn requests(&self) -> Vec<Place> {
        lock(&self.plan).requests.clone()
    }

    /// Notes a request, and returns its fault.
    fn begins(&self, place: Place) -> Option<Fault> {
        let mut plan = lock(&self.plan);
        plan.requests.push(place);
        let at = plan.faults.iter().position(|(of, _)| *of == place);
        let once = at.and_then(|at| plan.faults.remove(at));
        let lasting = || plan.lasting.iter().find(|(of, _)| *of == place).cloned();
        once.or_else(lasting).map(|(_, fault)| fault)
    }
}

async fn answer(State(program): State<Program>, request: Request, next: Next) -> Response {
    let place = Place::of(request.uri().path());
    let fault = program.begins(place);
    match &fault {
        Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
        Some(Fault::Status(status)) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::from_u16(*status).unwrap_or_default();
            return response;
        }
        Some(Fault::Body(text)) => return json(Body::from(text.clone())),
        Some(Fault::Long(size)) => return json(Body::from(" ".repeat(*size))),
        Some(Fault::Cut) | None => {}
    }
    let (mut parts, body) = request.into_parts();
    let Ok(mut body) = axum::body::to_bytes(body, LARGEST).await else {
        return json(Body::empty());
    };
    let seen = Seen::of(place, &parts, &body);
    let deviations = lock(&program.plan).deviations.clone();
    parts.extensions.insert(Reading {
        endpoint_is_audience: deviations.contains(&Deviation::AssertionForTokenEndpoint),
        raw_basic: deviations.contains(&Deviation::RawBasic),
    });
    for deviation in &deviations {
        change(
            *deviation,
            (place, &program.resource),
            &mut parts,
            &mut body,
        );
    }
    let mut response = next.run(Request::from_parts(parts, Body::from(body))).await;
    if fault == Some(Fault::Cut) {
        return cut(response);
    }
    for deviation in deviations {
        response = deviation.after(&seen, response).await;
    }
    response
}

/// Changes the query of a `GET`, or the form of a `POST`.
fn change(deviation: Deviation, at: (Place, &str), parts: &mut Parts, body: &mut Bytes) {
    match parts.uri.query() {
        Some(query) => {
            let path = parts.uri.path();
            let changed = deviation.before(at, query);
            let changed = changed.map(|query| format!("{path}?{query}"));
            if let Some(Ok(uri)) = changed.map(|uri| uri.parse::<Uri>()) {
                parts.uri = uri;
            }
        }
        None => {
            let changed = deviation.before(at, &String::from_utf8_lossy(body));
            if let Some(changed) = changed {
                parts.headers.remove(CONTENT_LENGTH);
                *body = Bytes::from(changed);
            }
        }
    }
}

fn json(body: Body) -> Response {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// The response with a body that breaks off, and with it the connection.
fn cut(response: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    let longer = HeaderValue::from_static("100000");
    parts.headers.insert(CONTENT_LENGTH, longer);
    Response::from_parts(parts, Body::new(BreaksOff))
}

struct BreaksOff;

impl http_body::Body for BreaksOff {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())))
    }
}
