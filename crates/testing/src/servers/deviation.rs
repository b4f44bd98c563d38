//! The deviations of the servers, by name.

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value, json};
use url::{Url, form_urlencoded};

use super::program::Place;

/// Where deviating servers point to: an origin that is neither of the servers.
const ELSEWHERE: &str = "https://elsewhere.example";

/// A deviation of a server from its specification, or from what most servers do. Each has a test in which a client
/// notices it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Deviation {
    /// The 401 of the MCP server has no `WWW-Authenticate`, and so no reference to the metadata.
    NoChallenge,
    /// The MCP server has no resource metadata.
    NoResourceMetadata,
    /// The resource metadata is that of another resource.
    ForeignResource,
    /// The resource metadata names no authorization server.
    NoAuthorizationServers,
    /// The MCP server refuses every token as invalid.
    RefusesEveryToken,
    /// The MCP server answers 403 `insufficient_scope` to every token.
    WantsMoreScopes,
    /// The MCP server redirects to another origin.
    RedirectsMcp,
    /// The authorization server has no metadata.
    NoMetadata,
    /// The metadata is a web page with status 200.
    MetadataIsPage,
    /// The metadata is at another origin, by a redirect.
    MetadataRedirects,
    /// The metadata names another issuer.
    ForeignIssuer,
    /// The metadata does not announce PKCE.
    NoPkce,
    /// The metadata has no registration endpoint.
    NoRegistration,
    /// The token endpoint of the metadata is at another origin.
    TokenEndpointElsewhere,
    /// The authorization endpoint of the metadata is at another origin.
    AuthorizationEndpointElsewhere,
    /// Registrations are refused with `invalid_redirect_uri`.
    RegistrationRefused,
    /// The callback has no `iss`, which the metadata announces.
    NoIss,
    /// The callback has the `iss` of another server, as in a mix-up attack.
    WrongIss,
    /// The callback has another `state`.
    WrongState,
    /// The user declines.
    Declines,
    /// The client is unknown at the token endpoint.
    ClientForgotten,
    /// Token responses have no `token_type`.
    NoTokenType,
    /// Token responses have the type `mac`.
    ForeignTokenType,
    /// Token responses are forms.
    TokenIsForm,
    /// Token responses have no `expires_in`.
    NoExpiry,
    /// Token responses have no refresh token.
    NoRefreshToken,
    /// Refresh requests are refused with `invalid_grant`.
    RefreshRefused,
    /// Token responses grant no scope that the MCP server needs.
    LessScope,
}

/// The request that a response belongs to.
pub(super) struct Seen {
    pub(super) place: Place,
    pub(super) body: String,
}

impl Deviation {
    /// All deviations.
    pub const ALL: [Self; 28] = [
        Self::NoChallenge,
        Self::NoResourceMetadata,
        Self::ForeignResource,
        Self::NoAuthorizationServers,
        Self::RefusesEveryToken,
        Self::WantsMoreScopes,
        Self::RedirectsMcp,
        Self::NoMetadata,
        Self::MetadataIsPage,
        Self::MetadataRedirects,
        Self::ForeignIssuer,
        Self::NoPkce,
        Self::NoRegistration,
        Self::TokenEndpointElsewhere,
        Self::AuthorizationEndpointElsewhere,
        Self::RegistrationRefused,
        Self::NoIss,
        Self::WrongIss,
        Self::WrongState,
        Self::Declines,
        Self::ClientForgotten,
        Self::NoTokenType,
        Self::ForeignTokenType,
        Self::TokenIsForm,
        Self::NoExpiry,
        Self::NoRefreshToken,
        Self::RefreshRefused,
        Self::LessScope,
    ];

    pub(super) async fn apply(self, seen: &Seen, response: Response) -> Response {
        let place = seen.place;
        let is_refresh = seen.body.contains("grant_type=refresh_token");
        match (self, place) {
            (Self::NoChallenge, Place::Mcp) => {
                let mut response = response;
                response.headers_mut().remove(WWW_AUTHENTICATE);
                response
            }
            (Self::RefusesEveryToken, Place::Mcp) if response.status() == StatusCode::OK => {
                challenge(401, r#"Bearer error="invalid_token""#)
            }
            (Self::WantsMoreScopes, Place::Mcp) if response.status() == StatusCode::OK => {
                challenge(
                    403,
                    r#"Bearer error="insufficient_scope", scope="mcp:tools more""#,
                )
            }
            (Self::RedirectsMcp, Place::Mcp) => away(&format!("{ELSEWHERE}/mcp")),
            (Self::NoResourceMetadata, Place::ResourceMetadata)
            | (Self::NoMetadata, Place::ServerMetadata) => plain(StatusCode::NOT_FOUND, ""),
            (Self::ForeignResource, Place::ResourceMetadata) => {
                let resource = json!(format!("{ELSEWHERE}/mcp"));
                member(response, "resource", resource).await
            }
            (Self::NoAuthorizationServers, Place::ResourceMetadata) => {
                member(response, "authorization_servers", Value::Null).await
            }
            (Self::MetadataIsPage, Place::ServerMetadata) => {
                let mut page = plain(StatusCode::OK, "<!doctype html><title>Welcome</title>");
                let kind = HeaderValue::from_static("text/html");
                page.headers_mut().insert(CONTENT_TYPE, kind);
                page
            }
            (Self::MetadataRedirects, Place::ServerMetadata) => {
                away(&format!("{ELSEWHERE}/metadata"))
            }
            (Self::ForeignIssuer, Place::ServerMetadata) => {
                member(response, "issuer", json!(ELSEWHERE)).await
            }
            (Self::NoPkce, Place::ServerMetadata) => {
                member(response, "code_challenge_methods_supported", Value::Null).await
            }
            (Self::NoRegistration, Place::ServerMetadata) => {
                member(response, "registration_endpoint", Value::Null).await
            }
            (Self::TokenEndpointElsewhere, Place::ServerMetadata) => {
                let endpoint = json!(format!("{ELSEWHERE}/token"));
                member(response, "token_endpoint", endpoint).await
            }
            (Self::AuthorizationEndpointElsewhere, Place::ServerMetadata) => {
                let endpoint = json!(format!("{ELSEWHERE}/authorize"));
                member(response, "authorization_endpoint", endpoint).await
            }
            (Self::RegistrationRefused, Place::Registration) => error(400, "invalid_redirect_uri"),
            (Self::NoIss, Place::Authorization) => callback(response, "iss", None),
            (Self::WrongIss, Place::Authorization) => callback(response, "iss", Some(ELSEWHERE)),
            (Self::WrongState, Place::Authorization) => callback(response, "state", Some("other")),
            (Self::Declines, Place::Authorization) => {
                let response = callback(response, "code", None);
                callback(response, "error", Some("access_denied"))
            }
            (Self::ClientForgotten, Place::Token) => error(401, "invalid_client"),
            (Self::RefreshRefused, Place::Token) if is_refresh => error(400, "invalid_grant"),
            (Self::NoTokenType, Place::Token) => member(response, "token_type", Value::Null).await,
            (Self::ForeignTokenType, Place::Token) => {
                member(response, "token_type", json!("mac")).await
            }
            (Self::TokenIsForm, Place::Token) => form(response).await,
            (Self::NoExpiry, Place::Token) => member(response, "expires_in", Value::Null).await,
            (Self::NoRefreshToken, Place::Token) => {
                member(response, "refresh_token", Value::Null).await
            }
            (Self::LessScope, Place::Token) => {
                member(response, "scope", json!("something:else")).await
            }
            (_, _) => response,
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}

fn header(mut response: Response, name: axum::http::HeaderName, text: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(text) {
        response.headers_mut().insert(name, value);
    }
    response
}

fn challenge(status: u16, text: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or_default();
    header(plain(status, ""), WWW_AUTHENTICATE, text)
}

fn away(url: &str) -> Response {
    header(plain(StatusCode::TEMPORARY_REDIRECT, ""), LOCATION, url)
}

fn error(status: u16, code: &str) -> Response {
    let mut response = Response::new(Body::from(json!({ "error": code }).to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    header(response, CONTENT_TYPE, "application/json")
}

/// Returns the members of a JSON response, and what else it consists of.
async fn members(response: Response) -> (axum::http::response::Parts, Map<String, Value>) {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    let body = axum::body::to_bytes(body, usize::MAX)
        .await
        .unwrap_or_default();
    (parts, serde_json::from_slice(&body).unwrap_or_default())
}

/// Replaces a member of a successful JSON response; `null` removes it.
async fn member(response: Response, name: &str, value: Value) -> Response {
    if !response.status().is_success() {
        return response;
    }
    let (parts, mut members) = members(response).await;
    members.insert(name.to_owned(), value);
    members.retain(|_, value| !value.is_null());
    Response::from_parts(parts, Body::from(Value::Object(members).to_string()))
}

async fn form(response: Response) -> Response {
    if !response.status().is_success() {
        return response;
    }
    let (parts, members) = members(response).await;
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in &members {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        form.append_pair(name, &text);
    }
    let response = Response::from_parts(parts, Body::from(form.finish()));
    header(response, CONTENT_TYPE, "application/x-www-form-urlencoded")
}

/// Replaces or removes a parameter of the callback.
fn callback(response: Response, name: &str, value: Option<&str>) -> Response {
    let location = response.headers().get(LOCATION);
    let url = location.and_then(|value| value.to_str().ok());
    let Some(mut url) = url.and_then(|url| Url::parse(url).ok()) else {
        return response;
    };
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(known, _)| known != name)
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    let mut pairs = url.query_pairs_mut();
    pairs.clear().extend_pairs(kept);
    if let Some(value) = value {
        pairs.append_pair(name, value);
    }
    drop(pairs);
    header(response, LOCATION, url.as_str())
}
