//! The authorization server's metadata and its dynamic client registration.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use mcp_auth_server::{
    ALGORITHMS, Algorithm, DpopAlgorithms, RedirectRules, RedirectUri, RegistrationAnswer,
    RegistrationRequest, VerifyingKey, parse_keys,
};
use serde_json::{Value, json};

use super::authorization::{Client, FULL, MAX_CLIENTS, Refusal, Shared, random};
use super::device::DEVICE_CODE;
use super::proof::ALGORITHM;
use super::{BASE_SCOPE, lock};

const JSON: (axum::http::HeaderName, &str) = (CONTENT_TYPE, "application/json");

/// RFC 8414 metadata (AS-02, AS-03, AS-04).
pub(super) async fn metadata(Extract(shared): Extract<Arc<Shared>>) -> Response {
    let issuer = shared.server.issuer();
    let options = &shared.options;
    let mut grants = vec!["authorization_code", "refresh_token", DEVICE_CODE];
    let mut methods = vec!["none"];
    if options.service.is_some() || options.service_keys.is_some() {
        grants.push("client_credentials");
    }
    // Secrets are accepted only from the one client that has one, and assertions only where a client can have a key.
    if options.service.is_some() {
        methods.push("client_secret_basic");
    }
    if options.takes_assertions() {
        methods.push("private_key_jwt");
    }
    let Ok(algorithms) = DpopAlgorithms::new([ALGORITHM]) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let document = shared
        .server
        .metadata(&format!("{issuer}/authorize"), &format!("{issuer}/token"))
        .registration_endpoint(&format!("{issuer}/register"))
        .revocation_endpoint(&format!("{issuer}/revoke"))
        .grant_types(grants)
        .token_auth_methods(methods.iter().copied())
        .dpop_algorithms(&algorithms)
        .scopes([BASE_SCOPE, "offline_access"])
        .member("revocation_endpoint_auth_methods_supported", json!(methods))
        .and_then(|document| {
            let endpoint = format!("{issuer}/device_authorization");
            document.member("device_authorization_endpoint", json!(endpoint))
        })
        .and_then(|document| match options.takes_assertions() {
            true => document
                .member(&signing("token"), json!(ALGORITHMS.map(Algorithm::as_str)))?
                .member(
                    &signing("revocation"),
                    json!(ALGORITHMS.map(Algorithm::as_str)),
                ),
            false => Ok(document),
        });
    match document {
        Ok(document) => ([JSON], document.to_json()).into_response(),
        Err(reserved) => (StatusCode::INTERNAL_SERVER_ERROR, reserved.to_string()).into_response(),
    }
}

/// Returns the member with the algorithms of client assertions at an endpoint.
fn signing(endpoint: &str) -> String {
    format!("{endpoint}_endpoint_auth_signing_alg_values_supported")
}

/// RFC 7591 registration: 201 with every registered value (AS-15).
pub(super) async fn register(Extract(shared): Extract<Arc<Shared>>, body: Bytes) -> Response {
    let request = match RegistrationRequest::parse(&body, &RedirectRules::default()) {
        Ok(request) => request,
        Err(error) => return error.into_http().map(Body::from),
    };
    match registered(&shared, request, &body) {
        Ok(answer) => answer.into_http().map(Body::from),
        Err(refusal) => super::endpoints::refused(refusal),
    }
}

/// Returns the registration: native clients on this device, public or with a key.
fn registered(
    shared: &Shared,
    asked: RegistrationRequest,
    body: &[u8],
) -> Result<RegistrationAnswer, Refusal> {
    const BAD: &str = "invalid_client_metadata";
    let redirect_uris = asked.redirect_uris().to_vec();
    if !redirect_uris.iter().all(RedirectUri::is_loopback) {
        return Err((
            "invalid_redirect_uri",
            "only redirect URIs on a loopback host",
        ));
    }
    let known = |grant: &str| {
        matches!(grant, "authorization_code" | "refresh_token") || grant == DEVICE_CODE
    };
    let grants: Vec<String> = asked.list("grant_types").map(str::to_owned).collect();
    let signs_in = |grant: &String| grant == "authorization_code" || grant == DEVICE_CODE;
    if !grants.iter().any(signs_in) || !grants.iter().all(|grant| known(grant)) {
        return Err((
            BAD,
            "grant_types: authorization_code, the device authorization grant and refresh_token only",
        ));
    }
    if asked.list("response_types").any(|kind| kind != "code") {
        return Err((BAD, "response_types: code only"));
    }
    let method = asked.text("token_endpoint_auth_method");
    let (method, keys) = match method {
        Some("private_key_jwt") if shared.options.registers_keys => {
            let keys = own_keys(body).ok_or((BAD, "private_key_jwt needs jwks"))?;
            ("private_key_jwt", keys)
        }
        // This server issues no secrets, and its response tells a client that requested one.
        Some(_) | None => ("none", Vec::new()),
    };
    let asked = asked
        .register_instead("token_endpoint_auth_method", json!(method))
        .map_err(|_| (BAD, "token_endpoint_auth_method: none only"))?;
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
    let dpop = asked.requires_dpop();
    let answer = asked.accept(&client_id).issued_at(now.as_secs());
    let mut state = lock(&shared.state);
    if state.clients.len() >= MAX_CLIENTS {
        return Err(FULL);
    }
    state.clients.insert(
        client_id,
        Client {
            redirect_uris,
            grants,
            dpop,
            keys,
        },
    );
    Ok(answer)
}

/// Returns the keys of a registration request.
fn own_keys(body: &[u8]) -> Option<Vec<VerifyingKey>> {
    let request: Value = serde_json::from_slice(body).ok()?;
    let keys = request.get("jwks")?.to_string();
    parse_keys(keys.as_bytes()).ok()
}
