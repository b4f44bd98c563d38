//! HTTP requests, without cookies and without headers other than those set here.

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};

use super::CredentialEndpoint;
use crate::secret::Cleared;
use crate::wire::token::AccessToken;
use crate::wire::url_text::RequestUrl;

/// The headers of every request, by what the request carries. They are made once: a copy costs half as much.
#[derive(Clone, Debug)]
pub(crate) struct RequestHeaders {
    discovery: HeaderMap,
    form: HeaderMap,
    json: HeaderMap,
}

/// The content of a request.
#[derive(Clone, Copy)]
pub(crate) enum Body {
    Form,
    Json,
}

impl RequestHeaders {
    pub(crate) fn new(user_agent: &HeaderValue) -> Self {
        let of = |content_type| {
            let mut headers = HeaderMap::with_capacity(5);
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
            // No compression: without the header any coding is permitted (RFC 9110 section 12.5.3), and hosts need not
            // know one.
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            if let Some(content_type) = content_type {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            }
            headers.insert(USER_AGENT, user_agent.clone());
            headers
        };
        Self {
            discovery: of(None),
            form: of(Some("application/x-www-form-urlencoded")),
            json: of(Some("application/json")),
        }
    }

    /// Returns a POST to an endpoint that receives a credential.
    pub(crate) fn post(
        &self,
        endpoint: CredentialEndpoint<'_>,
        kind: Body,
        body: Bytes,
        authorization: Option<HeaderValue>,
    ) -> Outgoing {
        let headers = match kind {
            Body::Form => &self.form,
            Body::Json => &self.json,
        };
        let RequestUrl { uri, text: url } = endpoint.to_request_url();
        let mut request = request(Method::POST, uri, headers, body);
        if let Some(mut authorization) = authorization {
            authorization.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        Outgoing { url, request }
    }

    /// Returns a discovery request, without credentials, cookies and user data (DISC-07, META-06, SEC-12).
    pub(crate) fn discovery(
        &self,
        url: RequestUrl,
        protocol_version: Option<&HeaderValue>,
    ) -> Outgoing {
        let RequestUrl { uri, text: url } = url;
        let mut request = request(Method::GET, uri, &self.discovery, Bytes::new());
        if let Some(version) = protocol_version {
            let headers = request.headers_mut();
            headers.insert("mcp-protocol-version", version.clone());
        }
        Outgoing { url, request }
    }
}

/// A request to be sent, with the text of its URL.
pub(crate) struct Outgoing {
    pub(crate) url: Bytes,
    /// Boxed, because it is handed on often.
    pub(crate) request: Box<Request<Bytes>>,
}

fn request(method: Method, uri: Uri, headers: &HeaderMap, body: Bytes) -> Box<Request<Bytes>> {
    let mut request = Box::new(Request::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    request.headers_mut().clone_from(headers);
    request
}

/// Returns a `Bearer` value, marked sensitive.
pub(crate) fn bearer(token: &AccessToken) -> HeaderValue {
    with_scheme(b"Bearer ", token)
}

/// Returns the `Bearer` value of a token in a record, marked sensitive, whose memory is cleared with its last clone. `None` for
/// a text that a header field cannot carry.
pub(crate) fn stored_bearer(token: &str) -> Option<HeaderValue> {
    if !AccessToken::is_valid(token) {
        return None;
    }
    let text = Bytes::from_owner(Cleared::new(["Bearer ", token].concat()));
    let mut value = HeaderValue::from_maybe_shared(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Returns a `DPoP` value, marked sensitive (DPOP-09).
pub(crate) fn bound(token: &AccessToken) -> HeaderValue {
    with_scheme(b"DPoP ", token)
}

fn with_scheme(scheme: &[u8], token: &AccessToken) -> HeaderValue {
    let token = token.secret().expose();
    let mut text = Vec::with_capacity(token.len().saturating_add(scheme.len()));
    text.extend_from_slice(scheme);
    text.extend_from_slice(token.as_bytes());
    let mut value = HeaderValue::from_maybe_shared(Bytes::from(text))
        .unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}
