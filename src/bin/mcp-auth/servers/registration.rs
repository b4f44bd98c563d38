//! The authorization server's metadata and its dynamic client registration.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use mcp_auth_machine::server::{RegistrationAnswer, RegistrationRequest};
use serde_json::json;
use url::{Host, Url};

use super::authorization::{Client, Refusal, Shared, random};
use super::{BASE_SCOPE, lock};

const JSON: (axum::http::HeaderName, &str) = (CONTENT_TYPE, "application/json");
const NO_STORE: (axum::http::HeaderName, &str) = (CACHE_CONTROL, "no-store");

/// RFC 8414 metadata (AS-02, AS-03, AS-04).
pub(super) async fn metadata(Extract(shared): Extract<Arc<Shared>>) -> Response {
    let issuer = shared.server.issuer();
    let document = shared
        .server
        .metadata(&format!("{issuer}/authorize"), &format!("{issuer}/token"))
        .registration_endpoint(&format!("{issuer}/register"))
        .revocation_endpoint(&format!("{issuer}/revoke"))
        .grant_types(["authorization_code", "refresh_token", "client_credentials"])
        .token_auth_methods(["none", "client_secret_basic"])
        .dpop_algorithms(["ES256"])
        .scopes([BASE_SCOPE, "offline_access"])
        .member(
            "revocation_endpoint_auth_methods_supported",
            json!(["none"]),
        );
    match document {
        Ok(document) => ([JSON], document.to_json()).into_response(),
        Err(reserved) => (StatusCode::INTERNAL_SERVER_ERROR, reserved.to_string()).into_response(),
    }
}

/// RFC 7591 registration: 201 with every registered value (AS-15).
pub(super) async fn register(Extract(shared): Extract<Arc<Shared>>, body: Bytes) -> Response {
    let request = match RegistrationRequest::parse(&body) {
        Ok(request) => request,
        Err(flaw) => {
            return (StatusCode::BAD_REQUEST, [NO_STORE, JSON], flaw.to_json()).into_response();
        }
    };
    match registered(&shared, request) {
        Ok(answer) => (StatusCode::CREATED, [NO_STORE, JSON], answer.to_json()).into_response(),
        Err(refusal) => super::endpoints::refused(refusal),
    }
}

/// What this server registers: public native clients on this machine.
fn registered(shared: &Shared, asked: RegistrationRequest) -> Result<RegistrationAnswer, Refusal> {
    const BAD: &str = "invalid_client_metadata";
    let redirect_uris: Vec<String> = asked.list("redirect_uris").map(str::to_owned).collect();
    if !redirect_uris.iter().all(|uri| is_loopback(uri)) {
        return Err((
            "invalid_redirect_uri",
            "only http redirect URIs on a loopback host",
        ));
    }
    let refreshes = asked
        .list("grant_types")
        .any(|grant| grant == "refresh_token");
    let known = |grant: &str| matches!(grant, "authorization_code" | "refresh_token");
    if !asked
        .list("grant_types")
        .any(|grant| grant == "authorization_code")
        || !asked.list("grant_types").all(known)
    {
        return Err((
            BAD,
            "grant_types: authorization_code and refresh_token only",
        ));
    }
    if asked.list("response_types").any(|kind| kind != "code") {
        return Err((BAD, "response_types: code only"));
    }
    // There are no secrets here; the answer says so to a client that asked for one.
    let asked = asked.register_instead("token_endpoint_auth_method", json!("none"));
    if asked
        .text("application_type")
        .is_some_and(|kind| kind != "native")
    {
        return Err((BAD, "application_type: loopback redirect URIs need native"));
    }
    let client_id = random()?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let answer = asked.accept(&client_id).issued_at(now.as_secs());
    lock(&shared.state).clients.insert(
        client_id,
        Client {
            redirect_uris,
            refreshes,
        },
    );
    Ok(answer)
}

/// Whether a redirect URI is plain `http` on this machine, without user information or fragment.
fn is_loopback(uri: &str) -> bool {
    let Ok(url) = Url::parse(uri) else {
        return false;
    };
    let local = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    local
        && url.scheme() == "http"
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none()
}
