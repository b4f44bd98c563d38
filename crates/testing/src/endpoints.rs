//! The authorization, token and revocation endpoints.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::extract::{RawQuery, State as Extract};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use mcp_auth_server::{AuthorizationError, CodeChallenge, ProofSubject, RedirectTarget};

use super::authorization::{CodeGrant, Issued, Redemption, Refusal, Shared, TokenInfo};
use super::client::{Reading, client, has_assertion, service};
use super::device::DEVICE_CODE;
use super::{BASE_SCOPE, device, lock};

/// Form or query parameters.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn parse(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).into_owned().collect())
    }

    /// Returns a parameter's value. An empty one is absent, a repeated one an error.
    pub(super) fn get(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let mut values = self.0.iter().filter(|(n, _)| n == name);
        let first = values.next().map(|(_, value)| value.as_str());
        if values.next().is_some() {
            return Err(if name == "resource" {
                ("invalid_target", "one resource only")
            } else {
                ("invalid_request", "a parameter is repeated")
            });
        }
        Ok(first.filter(|value| !value.is_empty()))
    }

    pub(super) fn need(&self, name: &str, missing: &'static str) -> Result<&str, Refusal> {
        self.get(name)?.ok_or(("invalid_request", missing))
    }
}

/// The authorization endpoint, which consents automatically.
pub(super) async fn authorize(
    Extract(shared): Extract<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Response {
    let asked = Parameters::parse(query.unwrap_or_default().as_bytes());
    // AS-07: without a known client with this redirect URI, a page instead of a redirect.
    let (client_id, target) = match checked_client(&shared, &asked) {
        Ok(pair) => pair,
        Err((_, description)) => {
            return (
                StatusCode::BAD_REQUEST,
                format!("This authorization request cannot be answered: {description}.\n"),
            )
                .into_response();
        }
    };
    let approved = approved(&shared, &asked, client_id, target.as_str());
    let mut responding = shared.responder.respond(target);
    if let Ok(Some(state)) = asked.get("state") {
        responding = responding.state(state);
    }
    // AS-01, AS-08: `iss` and status 303, on success and on error.
    let response = match approved {
        Ok(code) => responding.code(&code),
        Err((error, description)) => {
            responding.error(authorization_error(error), Some(description))
        }
    };
    response.into_http().map(axum::body::Body::from)
}

fn authorization_error(code: &str) -> AuthorizationError {
    match code {
        "access_denied" => AuthorizationError::AccessDenied,
        "invalid_request" => AuthorizationError::InvalidRequest,
        "invalid_scope" => AuthorizationError::InvalidScope,
        "invalid_target" => AuthorizationError::InvalidTarget,
        "unsupported_response_type" => AuthorizationError::UnsupportedResponseType,
        _other => AuthorizationError::ServerError,
    }
}

fn checked_client<'a>(
    shared: &Shared,
    asked: &'a Parameters,
) -> Result<(&'a str, RedirectTarget), Refusal> {
    let client_id = asked.need("client_id", "client_id is missing")?;
    let redirect_uri = asked.need("redirect_uri", "redirect_uri is missing")?;
    let state = lock(&shared.state);
    let Some(client) = state.clients.get(client_id) else {
        return Err(("invalid_client", "the client is unknown"));
    };
    match RedirectTarget::find(&client.redirect_uris, redirect_uri) {
        Some(target) => Ok((client_id, target)),
        None => Err(("invalid_request", "the redirect URI is not registered")),
    }
}

fn approved(
    shared: &Shared,
    asked: &Parameters,
    client_id: &str,
    redirect_uri: &str,
) -> Result<String, Refusal> {
    asked.get("state")?;
    let mode = asked.get("response_mode")?;
    if shared.server.response_mode(mode).is_err() {
        return Err(("invalid_request", "response_mode must be query"));
    }
    if asked.need("response_type", "response_type is missing")? != "code" {
        return Err(("unsupported_response_type", "response_type must be code"));
    }
    // AS-09: PKCE with S256 is required; an absent method would mean `plain`.
    let challenge = asked.need("code_challenge", "code_challenge is missing")?;
    let challenge =
        CodeChallenge::parse(challenge, asked.get("code_challenge_method")?).map_err(|error| {
            (
                error.code(),
                "code_challenge must be one of the method S256",
            )
        })?;
    let key = asked.get("dpop_jkt")?;
    if key.is_some_and(|key| !is_thumbprint(key)) {
        return Err(("invalid_request", "dpop_jkt must be a SHA-256 thumbprint"));
    }
    let (scopes, resource) = requested(asked)?;
    let mut state = lock(&shared.state);
    if std::mem::take(&mut state.declines) {
        return Err(("access_denied", "the user said no"));
    }
    if !state.resources.contains(&resource) {
        return Err(("invalid_target", "the resource is unknown"));
    }
    state.issue_code(CodeGrant {
        info: TokenInfo {
            client_id: client_id.to_owned(),
            scopes,
            resource,
            key: key.map(str::to_owned),
        },
        redirect_uri: redirect_uri.to_owned(),
        challenge,
    })
}

fn is_thumbprint(text: &str) -> bool {
    URL_SAFE_NO_PAD
        .decode(text)
        .is_ok_and(|digest| digest.len() == 32)
}

/// Returns the requested scopes, and the resource.
pub(super) fn requested(asked: &Parameters) -> Result<(Vec<String>, String), Refusal> {
    let scopes = scopes(asked)?.unwrap_or_else(|| vec![BASE_SCOPE.to_owned()]);
    match asked.get("resource")? {
        Some(resource) => Ok((scopes, resource.to_owned())),
        None => Err(("invalid_target", "resource is missing")),
    }
}

/// Returns the requested scopes without repetitions.
fn scopes(asked: &Parameters) -> Result<Option<Vec<String>>, Refusal> {
    let Some(text) = asked.get("scope")? else {
        return Ok(None);
    };
    let mut scopes: Vec<String> = Vec::new();
    for scope in text.split(' ') {
        let fits = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        if scope.is_empty() || !scope.bytes().all(fits) {
            return Err(("invalid_scope", "malformed scope"));
        }
        if !scopes.iter().any(|held| held == scope) {
            scopes.push(scope.to_owned());
        }
    }
    Ok(Some(scopes))
}

/// The token endpoint (AS-10).
pub(super) async fn token(
    Extract(shared): Extract<Arc<Shared>>,
    reading: Option<Extension<Reading>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let reading = reading.map(|found| found.0).unwrap_or_default();
    let answer = granted(&shared, &headers, &body, reading);
    if shared.logs.load(Ordering::Relaxed) {
        log(&body, answer.as_ref().err());
    }
    match answer {
        Ok(issued) => {
            let mut answer = Map::new();
            answer.insert("access_token".to_owned(), json!(issued.access_token));
            let kind = if issued.bound { "DPoP" } else { "Bearer" };
            answer.insert("token_type".to_owned(), json!(kind));
            answer.insert(
                "expires_in".to_owned(),
                json!(shared.options.access_token_seconds),
            );
            answer.insert("scope".to_owned(), json!(issued.scopes.join(" ")));
            if let Some(token) = issued.refresh_token {
                answer.insert("refresh_token".to_owned(), json!(token));
            }
            ([(CACHE_CONTROL, "no-store")], Json(Value::Object(answer))).into_response()
        }
        Err(refusal) => refused_to(&headers, refusal),
    }
}

/// Prints one line: the grant, the client identifier, and the error code or `granted`.
fn log(body: &[u8], refusal: Option<&Refusal>) {
    let asked = Parameters::parse(body);
    let named = |name| asked.get(name).ok().flatten().unwrap_or("-");
    let outcome = refusal.map_or("granted", |(error, _)| error);
    // Standard output may be closed.
    let _unheard = writeln!(
        io::stdout(),
        "token request  {} {} {outcome}",
        named("grant_type").escape_debug(),
        named("client_id").escape_debug(),
    );
}

fn granted(
    shared: &Shared,
    headers: &HeaderMap,
    body: &[u8],
    reading: Reading,
) -> Result<Issued, Refusal> {
    let asked = form(headers, body)?;
    let issuer = shared.server.issuer();
    let endpoint = format!("{issuer}/token");
    let audience = if reading.endpoint_is_audience {
        &endpoint
    } else {
        issuer
    };
    let proved = proved(shared, headers)?;
    let key = proved.as_deref();
    let grant_type = asked.need("grant_type", "grant_type is missing")?;
    if grant_type == "client_credentials" {
        let client_id = if has_assertion(&asked)? {
            let client_id = client(shared, headers, body, &asked, audience)?;
            let is_registered = lock(&shared.state).allows(&client_id, grant_type);
            if !is_registered {
                return Err(("unauthorized_client", "not a grant of this client"));
            }
            client_id
        } else {
            service(shared, headers, reading)?
        };
        let info = TokenInfo {
            client_id,
            scopes: scopes(&asked)?.unwrap_or_else(|| vec![BASE_SCOPE.to_owned()]),
            resource: asked.need("resource", "resource is missing")?.to_owned(),
            key: proved,
        };
        return lock(&shared.state).serve(&info);
    }
    let client_id = client(shared, headers, body, &asked, audience)?;
    let client_id = client_id.as_str();
    if key.is_none() && is_bound(shared, client_id) {
        return Err((
            "invalid_dpop_proof",
            "the client registered for bound tokens",
        ));
    }
    match grant_type {
        "authorization_code" => {
            let verifier = asked.need("code_verifier", "code_verifier is missing")?;
            let redemption = Redemption {
                code: asked.need("code", "code is missing")?,
                client_id,
                redirect_uri: asked.need("redirect_uri", "redirect_uri is missing")?,
                verifier,
                resource: asked.get("resource")?,
                key,
            };
            lock(&shared.state).redeem(&redemption)
        }
        DEVICE_CODE => {
            let code = asked.need("device_code", "device_code is missing")?;
            device::redeem(shared, code, client_id, asked.get("resource")?, key)
        }
        "refresh_token" => {
            shared.refreshes.fetch_add(1, Ordering::Relaxed);
            let token = asked.need("refresh_token", "refresh_token is missing")?;
            let resource = asked.get("resource")?;
            let scopes = scopes(&asked)?;
            lock(&shared.state).rotate(token, client_id, resource, scopes, key)
        }
        _ => Err(("unsupported_grant_type", "unknown grant_type")),
    }
}

/// Returns true if the client registered for bound tokens only (RFC 9449 section 5.2).
fn is_bound(shared: &Shared, client_id: &str) -> bool {
    let state = lock(&shared.state);
    state
        .clients
        .get(client_id)
        .is_some_and(|client| client.dpop)
}

/// Returns the key of a token request's proof, if it carries one (AS-19).
fn proved(shared: &Shared, headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    const REFUSED: Refusal = ("invalid_dpop_proof", "the proof is invalid");
    let mut proofs = headers.get_all("dpop").iter();
    let Some(proof) = proofs.next() else {
        return Ok(None);
    };
    let subject = ProofSubject {
        method: "POST",
        url: &format!("{}/token", shared.server.issuer()),
        token: None,
    };
    let proof = proof.to_str().map_err(|_| REFUSED)?;
    match (shared.proofs.check(proof, &subject), proofs.next()) {
        (Some(key), None) => Ok(Some(key)),
        (Some(_) | None, _) => Err(REFUSED),
    }
}

/// The revocation endpoint: 200 also for unknown tokens and those of other clients (RFC 7009).
pub(super) async fn revoke(
    Extract(shared): Extract<Arc<Shared>>,
    reading: Option<Extension<Reading>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let reading = reading.map(|found| found.0).unwrap_or_default();
    let revoked = form(&headers, &body).and_then(|asked| {
        let client_id = if headers.contains_key(AUTHORIZATION) && !has_assertion(&asked)? {
            service(&shared, &headers, reading)?
        } else {
            client(&shared, &headers, &body, &asked, shared.server.issuer())?
        };
        let token = asked.need("token", "token is missing")?;
        lock(&shared.state).revoke(token, &client_id);
        Ok(())
    });
    match revoked {
        Ok(()) => (StatusCode::OK, [(CACHE_CONTROL, "no-store")]).into_response(),
        Err(refusal) => refused_to(&headers, refusal),
    }
}

pub(super) fn form(headers: &HeaderMap, body: &[u8]) -> Result<Parameters, Refusal> {
    let is_form = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| {
            kind.trim()
                .eq_ignore_ascii_case("application/x-www-form-urlencoded")
        });
    if is_form {
        Ok(Parameters::parse(body))
    } else {
        Err(("invalid_request", "the body must be a form"))
    }
}

/// Returns an error as 400, or 401 after header authentication (AS-10).
pub(super) fn refused_to(headers: &HeaderMap, refusal: Refusal) -> Response {
    let mut response = refused(refusal);
    if refusal.0 == "invalid_client" && headers.contains_key(AUTHORIZATION) {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        response.headers_mut().insert(
            WWW_AUTHENTICATE,
            axum::http::HeaderValue::from_static("Basic realm=\"demo\""),
        );
    }
    response
}

/// Returns an error as 400 with JSON.
pub(super) fn refused((error, description): Refusal) -> Response {
    (
        StatusCode::BAD_REQUEST,
        [(CACHE_CONTROL, "no-store")],
        Json(json!({ "error": error, "error_description": description })),
    )
        .into_response()
}
