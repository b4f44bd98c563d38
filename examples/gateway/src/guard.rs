//! The checks and headers of every request and response: host, origin, and headers against caching, framing
//! and content sniffing.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// The origins under which browsers reach this gateway.
pub(crate) struct Origins(Vec<String>);

impl Origins {
    pub(crate) fn new(origins: impl IntoIterator<Item = String>) -> Self {
        let bare = |origin: String| origin.trim_end_matches('/').to_ascii_lowercase();
        Self(origins.into_iter().map(bare).collect())
    }

    /// Returns true for a known host; another one indicates DNS rebinding.
    fn is_host(&self, headers: &HeaderMap) -> bool {
        let host = single(headers, &HOST).map(str::to_ascii_lowercase);
        host.is_some_and(|host| {
            let mut own = self.0.iter().filter_map(|origin| origin.split_once("://"));
            own.any(|(_, authority)| authority == host)
        })
    }

    /// Returns true for a known origin. Browsers send `Origin` with every POST, so a request without it is
    /// not from this gateway's pages.
    fn is_origin(&self, headers: &HeaderMap) -> bool {
        single(headers, &ORIGIN).is_some_and(|sent| self.0.iter().any(|origin| origin == sent))
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

/// Returns true for a sign-in that another site started.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    site.is_some_and(|site| site != "same-origin" && site != "none")
}

pub(crate) async fn check(
    State(origins): State<Arc<Origins>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let refused = !origins.is_host(headers)
        || request.method() == Method::POST && !origins.is_origin(headers)
        || request.uri().path() == "/connect" && is_of_another_site(headers);
    // The page with the forms keeps its address to this site: from a page without any referrer, browsers send
    // `Origin: null`, which is nobody's.
    let referrer = match request.uri().path() {
        "/" => "same-origin",
        _other => "no-referrer",
    };
    let mut response = if refused {
        StatusCode::FORBIDDEN.into_response()
    } else {
        next.run(request).await
    };
    let policy = "default-src 'none'; form-action 'self'; frame-ancestors 'none'";
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, policy),
        (REFERRER_POLICY, referrer),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}
