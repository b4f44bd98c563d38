//! The minimal work of the cold flow, written directly: no states, no rules, no errors.

use std::hint::black_box;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Request;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::{Url, form_urlencoded};

#[derive(Deserialize)]
struct Resource {
    resource: String,
    authorization_servers: Vec<String>,
    scopes_supported: Vec<String>,
}

#[derive(Deserialize, Serialize)]
struct Server {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    registration_endpoint: String,
    revocation_endpoint: String,
    response_types_supported: Vec<String>,
    grant_types_supported: Vec<String>,
    code_challenge_methods_supported: Vec<String>,
    token_endpoint_auth_methods_supported: Vec<String>,
    authorization_response_iss_parameter_supported: bool,
}

#[derive(Serialize)]
struct Registration<'a> {
    redirect_uris: [&'a str; 1],
    grant_types: [&'a str; 2],
    response_types: [&'a str; 1],
    token_endpoint_auth_method: &'a str,
    client_name: &'a str,
    application_type: &'a str,
    scope: &'a str,
}

#[derive(Deserialize)]
struct Registered {
    client_id: String,
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
    refresh_token: String,
    expires_in: u64,
    scope: String,
}

#[derive(Serialize)]
struct Record<'a> {
    principal: &'a str,
    mcp_url: &'a str,
    server: &'a Server,
    client_id: &'a str,
    resource: &'a str,
    scope: &'a str,
    secrets: [&'a str; 2],
    at: u64,
}

fn get(url: String) -> Request<Bytes> {
    Request::get(url)
        .header("accept", "application/json")
        .body(Bytes::new())
        .unwrap()
}

fn post(url: &str, kind: &str, body: String) -> Request<Bytes> {
    Request::post(url)
        .header("accept", "application/json")
        .header("content-type", kind)
        .body(Bytes::from(body))
        .unwrap()
}

fn keep(record: &Record<'_>) -> (Vec<u8>, String) {
    let json = serde_json::to_vec(record).unwrap();
    let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(&json));
    (json, digest)
}

/// Runs the whole flow, with the three records that must survive it, or without.
pub(crate) fn flow(records: bool) -> String {
    let challenge = crate::CHALLENGE;
    let place = challenge.split('"').nth(1).unwrap();
    let place = Url::parse(place).unwrap();
    black_box(get(place.into()));

    let resource: Resource = serde_json::from_str(crate::PRM).unwrap();
    black_box(Url::parse(&resource.resource).unwrap());
    let issuer = &resource.authorization_servers[0];
    black_box(Url::parse(issuer).unwrap());
    black_box(get(format!(
        "{issuer}/.well-known/oauth-authorization-server"
    )));

    let server: Server = serde_json::from_str(crate::METADATA).unwrap();
    for endpoint in [
        &server.authorization_endpoint,
        &server.token_endpoint,
        &server.registration_endpoint,
        &server.revocation_endpoint,
    ] {
        black_box(Url::parse(endpoint).unwrap());
    }
    let scope = resource.scopes_supported.join(" ");
    let body = serde_json::to_string(&Registration {
        redirect_uris: [crate::REDIRECT],
        grant_types: ["authorization_code", "refresh_token"],
        response_types: ["code"],
        token_endpoint_auth_method: "none",
        client_name: "Bench",
        application_type: "native",
        scope: &scope,
    })
    .unwrap();
    black_box(post(
        &server.registration_endpoint,
        "application/json",
        body,
    ));

    let client: Registered = serde_json::from_str(crate::REGISTERED).unwrap();
    let verifier = URL_SAFE_NO_PAD.encode([7; 32]);
    let state = URL_SAFE_NO_PAD.encode([9; 16]);
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("response_type", "code")
        .append_pair("client_id", &client.client_id)
        .append_pair("redirect_uri", crate::REDIRECT)
        .append_pair("state", &state)
        .append_pair("code_challenge", &challenge)
        .append_pair("code_challenge_method", "S256")
        .append_pair("resource", &resource.resource)
        .append_pair("scope", &scope)
        .finish();
    black_box(format!("{}?{query}", server.authorization_endpoint));
    let record = |secrets| Record {
        principal: "alice",
        mcp_url: crate::MCP,
        server: &server,
        client_id: &client.client_id,
        resource: &resource.resource,
        scope: &scope,
        secrets,
        at: 1_800_000_000_000,
    };
    if records {
        black_box(keep(&record([&client.client_id, ""])));
        black_box(keep(&record([&verifier, &state])));
    }

    let callback = format!(
        "{}?code=SplxlOBeZQQYbYS6WxSbIA&state={state}&iss=https%3A%2F%2Fas.example",
        crate::REDIRECT
    );
    let (_, query) = callback.split_once('?').unwrap();
    let mut code = String::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "code" => code = value.into_owned(),
            "state" => assert_eq!(value, state),
            "iss" => assert_eq!(value, server.issuer),
            _other => {}
        }
    }
    let body = form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "authorization_code")
        .append_pair("code", &code)
        .append_pair("redirect_uri", crate::REDIRECT)
        .append_pair("code_verifier", &verifier)
        .append_pair("resource", &resource.resource)
        .append_pair("client_id", &client.client_id)
        .finish();
    black_box(post(
        &server.token_endpoint,
        "application/x-www-form-urlencoded",
        body,
    ));
    let token: Token = serde_json::from_str(crate::TOKEN).unwrap();
    black_box((token.expires_in, &token.scope));
    if records {
        black_box(keep(&record([&token.access_token, &token.refresh_token])));
    }
    format!("Bearer {}", token.access_token)
}
