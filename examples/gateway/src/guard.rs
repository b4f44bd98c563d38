//! The checks and headers of every request and response: host, origin, and headers against caching, framing
//! and content sniffing.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, LOCATION, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::origins::Origins;

/// The part of a header that messages show.
const SHOWN: usize = 100;

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

/// Why a request is refused.
#[derive(Debug)]
enum Refusal {
    /// The header `Host` names no host of this gateway, as with DNS rebinding.
    Host(Seen),
    /// A POST is not from a page of this gateway, as with cross-site request forgery.
    Origin(Seen),
    /// Another site started a sign-in.
    Site(Seen),
}

/// The value of a header, for messages: shortened, and without control characters.
#[derive(Debug)]
struct Seen(String);

impl Seen {
    fn of(headers: &HeaderMap, name: &HeaderName) -> Self {
        let shown = |value: &HeaderValue| {
            let text = String::from_utf8_lossy(value.as_bytes());
            let start: String = text.chars().take(SHOWN).collect();
            format!("`{}`", start.escape_debug())
        };
        let values: Vec<_> = headers.get_all(name).iter().take(2).map(shown).collect();
        if values.is_empty() {
            return Self("none".to_owned());
        }
        Self(values.join(" and "))
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Refusal {
    /// Returns the text for the client. It names the public origin alone: with DNS rebinding its reader is another site.
    fn told(&self, public: &str) -> String {
        match self {
            Self::Host(seen) => format!(
                "This gateway does not serve this host. Header Host: {seen}. Expected: that of {public}. Open {public}, or \
                 name the origin with --public.\n"
            ),
            Self::Origin(seen) => format!(
                "A POST has to come from a page of this gateway. Header Origin: {seen}. Expected: {public}. Browsers send \
                 it by themselves; a program adds it: curl -H 'Origin: {public}'.\n"
            ),
            Self::Site(seen) => format!(
                "A sign-in starts on a page of this gateway. Header Sec-Fetch-Site: {seen}. Expected: `same-origin` or \
                 `none`. Open {public} and connect there.\n"
            ),
        }
    }

    /// Returns the text for the log.
    fn logged(&self, method: &Method, uri: &Uri, origins: &Origins) -> String {
        let path: String = uri.path().chars().take(SHOWN).collect();
        let (header, seen, expected) = match self {
            Self::Host(seen) => ("Host", seen, origins.hosts()),
            Self::Origin(seen) => ("Origin", seen, origins.to_string()),
            Self::Site(seen) => ("Sec-Fetch-Site", seen, "same-origin or none".to_owned()),
        };
        format!(
            "403 for {method} {}: {header}: {seen}, expected: {expected}",
            path.escape_debug()
        )
    }
}

/// The decision about a request.
enum Passes {
    Yes,
    /// To the same page at the host that has the cookies.
    Elsewhere(String),
    No(Refusal),
}

/// Returns whether a request passes, given its headers.
fn judge(origins: &Origins, method: &Method, uri: &Uri, headers: &HeaderMap) -> Passes {
    let Some(host) = single(headers, &HOST).map(str::to_ascii_lowercase) else {
        return Passes::No(Refusal::Host(Seen::of(headers, &HOST)));
    };
    if !origins.is_host(&host) {
        return Passes::No(Refusal::Host(Seen::of(headers, &HOST)));
    }
    // Browsers send `Origin` with every POST: without it, a request is not from this gateway's pages.
    let has_origin =
        single(headers, &ORIGIN).is_some_and(|origin| origins.is_origin(origin, &host));
    if method == Method::POST && !has_origin {
        return Passes::No(Refusal::Origin(Seen::of(headers, &ORIGIN)));
    }
    let site = HeaderName::from_static("sec-fetch-site");
    let is_of_another_site = headers
        .get(&site)
        .is_some_and(|site| site != "same-origin" && site != "none");
    if uri.path() == "/connect" && is_of_another_site {
        return Passes::No(Refusal::Site(Seen::of(headers, &site)));
    }
    match origins.elsewhere(&host) {
        Some(origin) if method == Method::GET => {
            let page = uri.path_and_query().map_or("/", |page| page.as_str());
            Passes::Elsewhere(format!("{origin}{page}"))
        }
        Some(_) | None => Passes::Yes,
    }
}

pub(crate) async fn check(
    State(origins): State<Arc<Origins>>,
    request: Request,
    next: Next,
) -> Response {
    let (method, uri) = (request.method(), request.uri());
    // The page with the forms keeps its address to this site: from a page without any referrer, browsers send
    // `Origin: null`, which is nobody's.
    let referrer = match uri.path() {
        "/" => "same-origin",
        _other => "no-referrer",
    };
    let mut response = match judge(&origins, method, uri, request.headers()) {
        Passes::Yes => next.run(request).await,
        Passes::Elsewhere(place) => {
            (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, place)]).into_response()
        }
        Passes::No(refusal) => {
            eprintln!("{}", refusal.logged(method, uri, &origins));
            // As text: what was seen comes from the request.
            (StatusCode::FORBIDDEN, refusal.told(origins.public())).into_response()
        }
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
