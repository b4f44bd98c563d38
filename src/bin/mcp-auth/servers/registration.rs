//! The authorization server's metadata and its dynamic client registration.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use url::{Host, Url};

use super::authorization::{Client, Refusal, Shared, random};
use super::{BASE_SCOPE, lock};

/// RFC 8414 metadata (AS-02, AS-03, AS-04).
pub(super) async fn metadata(Extract(shared): Extract<Arc<Shared>>) -> Json<Value> {
    let issuer = &shared.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "registration_endpoint": format!("{issuer}/register"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "scopes_supported": [BASE_SCOPE, "offline_access"],
        "authorization_response_iss_parameter_supported": true,
    }))
}

/// RFC 7591 registration: 201 with every registered value (AS-15).
pub(super) async fn register(Extract(shared): Extract<Arc<Shared>>, body: Bytes) -> Response {
    match registered(&shared, &body) {
        Ok(answer) => (
            StatusCode::CREATED,
            [(CACHE_CONTROL, "no-store")],
            Json(answer),
        )
            .into_response(),
        Err(refusal) => super::endpoints::refused(refusal),
    }
}

fn registered(shared: &Shared, body: &[u8]) -> Result<Value, Refusal> {
    const BAD: &str = "invalid_client_metadata";
    let Ok(Value::Object(asked)) = serde_json::from_slice::<Value>(body) else {
        return Err((BAD, "the body is no JSON object"));
    };
    let redirect_uris = strings(&asked, "redirect_uris")
        .map_err(|()| {
            (
                "invalid_redirect_uri",
                "redirect_uris is no list of strings",
            )
        })?
        .unwrap_or_default();
    if redirect_uris.is_empty() || !redirect_uris.iter().all(|uri| is_loopback(uri)) {
        return Err((
            "invalid_redirect_uri",
            "only http redirect URIs on a loopback host, at least one",
        ));
    }
    let grant_types = strings(&asked, "grant_types")
        .map_err(|()| (BAD, "grant_types is no list of strings"))?
        .unwrap_or_else(|| vec!["authorization_code".to_owned()]);
    let refreshes = grant_types.iter().any(|grant| grant == "refresh_token");
    if !grant_types
        .iter()
        .any(|grant| grant == "authorization_code")
        || !grant_types
            .iter()
            .all(|grant| matches!(grant.as_str(), "authorization_code" | "refresh_token"))
    {
        return Err((
            BAD,
            "grant_types: authorization_code and refresh_token only",
        ));
    }
    let response_types = strings(&asked, "response_types")
        .map_err(|()| (BAD, "response_types is no list of strings"))?
        .unwrap_or_else(|| vec!["code".to_owned()]);
    if response_types != ["code"] {
        return Err((BAD, "response_types: code only"));
    }
    if text(&asked, "token_endpoint_auth_method")?.is_some_and(|method| method != "none") {
        return Err((BAD, "token_endpoint_auth_method: none only"));
    }
    let application_type = text(&asked, "application_type")?.unwrap_or("native");
    if application_type != "native" {
        return Err((BAD, "application_type: loopback redirect URIs need native"));
    }
    let client_id = random()?;
    let mut answer = Map::new();
    answer.insert("client_id".to_owned(), json!(client_id));
    if let Ok(now) = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
        answer.insert("client_id_issued_at".to_owned(), json!(now.as_secs()));
    }
    answer.insert("redirect_uris".to_owned(), json!(redirect_uris));
    answer.insert("grant_types".to_owned(), json!(grant_types));
    answer.insert("response_types".to_owned(), json!(response_types));
    answer.insert("token_endpoint_auth_method".to_owned(), json!("none"));
    answer.insert("application_type".to_owned(), json!(application_type));
    for name in ["client_name", "scope"] {
        if let Some(value) = text(&asked, name)? {
            answer.insert(name.to_owned(), json!(value));
        }
    }
    lock(&shared.state).clients.insert(
        client_id,
        Client {
            redirect_uris,
            refreshes,
        },
    );
    Ok(Value::Object(answer))
}

fn strings(object: &Map<String, Value>, name: &str) -> Result<Option<Vec<String>>, ()> {
    match object.get(name) {
        None => Ok(None),
        Some(value) => serde_json::from_value(value.clone())
            .map(Some)
            .map_err(|_| ()),
    }
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Refusal> {
    match object.get(name) {
        None => Ok(None),
        Some(value) => value
            .as_str()
            .map(Some)
            .ok_or(("invalid_client_metadata", "a member is no string")),
    }
}

/// Whether a redirect URI is plain `http` on this machine, without user information or fragment.
fn is_loopback(uri: &str) -> bool {
    let Ok(url) = Url::parse(uri) else {
        return false;
    };
    let local = match url.host() {
        Some(Host::Ipv4(ip)) => ip == Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(ip)) => ip == Ipv6Addr::LOCALHOST,
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    local
        && url.scheme() == "http"
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none()
}

/// Whether a redirect URI is the registered one: the same text, but for the port of a loopback IP
/// literal (AS-07, RFC 8252 §7.3).
pub(super) fn same_redirect(registered: &str, sent: &str) -> bool {
    registered == sent
        || matches!(
            (without_port(registered), without_port(sent)),
            (Some(one), Some(other)) if one == other && is_loopback(sent)
        )
}

/// The host and what follows the port, for a loopback IP literal.
fn without_port(uri: &str) -> Option<(&'static str, &str)> {
    ["http://127.0.0.1", "http://[::1]"]
        .into_iter()
        .find_map(|host| {
            let rest = uri.strip_prefix(host)?;
            let rest = match rest.strip_prefix(':') {
                Some(port) => port.trim_start_matches(|c: char| c.is_ascii_digit()),
                None => rest,
            };
            (rest.is_empty() || rest.starts_with(['/', '?'])).then_some((host, rest))
        })
}
