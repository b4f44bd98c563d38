//! HTTP requests, without cookies and without headers other than those set here and the `User-Agent` that every request gets when
//! it is sent.

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};

use super::CredentialEndpoint;
use crate::wire::token::AccessToken;
use crate::wire::url::WebUrl;

pub(crate) const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// No compression: without the header any coding is permitted (RFC 9110 section 12.5.3), and hosts need not know one.
const PLAIN: HeaderValue = HeaderValue::from_static("identity");

pub(crate) fn post(
    endpoint: CredentialEndpoint<'_>,
    content_type: HeaderValue,
    body: Bytes,
    authorization: Option<HeaderValue>,
) -> Request<Bytes> {
    let mut headers = HeaderMap::with_capacity(5);
    headers.insert(ACCEPT, JSON);
    headers.insert(ACCEPT_ENCODING, PLAIN);
    headers.insert(CONTENT_TYPE, content_type);
    if let Some(mut authorization) = authorization {
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
    }
    request(Method::POST, endpoint.to_uri(), headers, body)
}

/// Returns a discovery request, without credentials, cookies and user data (DISC-07, META-06, SEC-12).
pub(crate) fn discovery_request(
    url: &WebUrl,
    protocol_version: Option<&HeaderValue>,
) -> Request<Bytes> {
    let more = usize::from(protocol_version.is_some());
    let mut headers = HeaderMap::with_capacity(3_usize.saturating_add(more));
    headers.insert(ACCEPT, JSON);
    headers.insert(ACCEPT_ENCODING, PLAIN);
    if let Some(version) = protocol_version {
        headers.insert("mcp-protocol-version", version.clone());
    }
    request(Method::GET, url.to_uri(), headers, Bytes::new())
}

fn request(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Request<Bytes> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    request
}

/// Returns a `Bearer` value, marked sensitive.
pub(crate) fn bearer(token: &AccessToken) -> HeaderValue {
    with_scheme(b"Bearer ", token)
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
