//! The endpoints: registration, authorization, consent, the callback of the upstream server, and tokens.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_server::{
    Approval, AuthorizationError, CODE_LIFETIME, CONSENT_LIFETIME, ClaimedClient, ClientRequest,
    ClientSecret, CodeChallenge, CodeRecord, PendingUpstream, ProxyError, Redeemed, Redemption,
    RedirectRules, RedirectTarget, RegistrationRequest, Responding, TokenAnswer,
    TokenEndpointError, TokenForm, TokenScheme, UpstreamCode,
};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::store::{Issued, LIFETIME, hash};
use super::{Proxy, SCOPE, now, random};

type Shared = State<Arc<Proxy>>;

/// How long a client that registered itself is known.
const CLIENT_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// The longest answer of the upstream server.
const MAX_ANSWER: usize = 64 * 1024;

pub(crate) async fn metadata(State(proxy): Shared) -> Response {
    let issuer = proxy.server.issuer();
    let document = proxy
        .server
        .metadata(&format!("{issuer}/authorize"), &format!("{issuer}/token"))
        .registration_endpoint(&format!("{issuer}/register"))
        .grant_types(["authorization_code"])
        .token_auth_methods(["none"])
        .scopes([SCOPE]);
    ([(CONTENT_TYPE, "application/json")], document.to_json()).into_response()
}

pub(crate) async fn register(State(proxy): Shared, body: Bytes) -> Response {
    let request = RegistrationRequest::parse(&body, &RedirectRules::default());
    let request = match request.and_then(|request| {
        // The answer says so to a client that asked for more.
        request
            .register_instead("token_endpoint_auth_method", json!("none"))?
            .register_instead("grant_types", json!(["authorization_code"]))
    }) {
        Ok(request) => request,
        Err(error) => return error.into_http().map(Body::from),
    };
    let Ok(id) = text() else {
        return page(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let answer = request.clone().accept(&id);
    let until = now().saturating_add(CLIENT_LIFETIME);
    if !proxy.store.lock().clients.put(id, request, until) {
        return page(StatusCode::SERVICE_UNAVAILABLE);
    }
    answer.into_http().map(Body::from)
}

/// A valid request receives the consent page; for another one the client receives an error, if it is known.
pub(crate) async fn authorize(State(proxy): Shared, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let get = |name: &str| {
        let mut found = pairs.iter().filter(|(known, _)| known == name);
        let first = found.next().map(|(_, value)| &**value);
        // A repeated parameter counts as absent.
        first.filter(|value| !value.is_empty() && found.next().is_none())
    };
    let client = get("client_id").and_then(|id| {
        let state = proxy.store.lock();
        let known = state.clients.get(&id.to_owned())?;
        let target = RedirectTarget::find(known.redirect_uris(), get("redirect_uri")?)?;
        Some((id, target, known.text("client_name").map(str::to_owned)))
    });
    let Some((id, target, name)) = client else {
        return page(StatusCode::BAD_REQUEST);
    };
    let refused = |error| {
        let mut responding = proxy.server.respond(target.clone());
        if let Some(state) = get("state") {
            responding = responding.state(state);
        }
        responding.error(error, None).into_http().map(Body::from)
    };
    let challenge = get("code_challenge").unwrap_or_default();
    let Ok(challenge) = CodeChallenge::parse(challenge, get("code_challenge_method")) else {
        return refused(AuthorizationError::InvalidRequest);
    };
    if get("response_type") != Some("code") {
        return refused(AuthorizationError::UnsupportedResponseType);
    }
    // The response is sent by the query, or as a form where the client asks for that.
    let Ok(mode) = proxy.server.response_mode(get("response_mode")) else {
        return refused(AuthorizationError::InvalidRequest);
    };
    if get("resource").is_some_and(|resource| resource != proxy.resource) {
        return refused(AuthorizationError::InvalidTarget);
    }
    let scopes = Scopes::parse(get("scope").unwrap_or(SCOPE));
    let mut request = ClientRequest::new(id, &target, &scopes, challenge)
        .resource(&proxy.resource)
        .response_mode(mode);
    if let Some(name) = &name {
        request = request.client_name(name);
    }
    if let Some(state) = get("state") {
        request = request.state(state);
    }
    let Ok(random) = random() else {
        return page(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let page = proxy.upstream.ask(&request, "/consent", &random, now());
    page.map(Body::from)
}

/// The form of the consent page: nothing went upstream before it.
pub(crate) async fn consent(State(proxy): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let (Ok(state), Ok(verifier)) = (random(), random()) else {
        return page(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let approved = proxy
        .upstream
        .approve(&headers, &body, (&state, &verifier), now());
    let (pending, redirect) = match approved {
        Ok(approved) => approved,
        Err(error) => return ended(&proxy, error),
    };
    let until = now().saturating_add(CONSENT_LIFETIME);
    let key = pending.key();
    if !proxy.store.lock().pending.put(key, pending, until) {
        return page(StatusCode::SERVICE_UNAVAILABLE);
    }
    redirect.map(Body::from)
}

/// The upstream server sent the user back.
pub(crate) async fn callback(
    State(proxy): Shared,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let state = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "state");
    let key = state.map(|(_, state)| PendingUpstream::key_of(&state));
    // Taken out: it is used once, whatever becomes of it.
    let pending = key.and_then(|key| proxy.store.lock().pending.take(&key));
    let Some(pending) = pending else {
        return page(StatusCode::BAD_REQUEST);
    };
    let code = match pending.complete(&proxy.upstream, &headers, &query, now()) {
        Ok(code) => code,
        Err(error) => return ended(&proxy, error),
    };
    let subject = redeem_upstream(&proxy, &code).await;
    let Some((responding, target)) = responding(&proxy, &code.request) else {
        return page(StatusCode::BAD_REQUEST);
    };
    let (Some(subject), Ok(text)) = (subject, text()) else {
        let error = responding.error(AuthorizationError::ServerError, None);
        return error.into_http().map(Body::from);
    };
    let approval = Approval {
        subject,
        client_id: code.request.client_id().to_owned(),
        scopes: code.request.scopes().to_owned(),
        resource: code.request.requested_resource().map(str::to_owned),
        key: None,
    };
    let challenge = code.request.challenge();
    let record = CodeRecord::new(approval, target.as_str(), challenge, CODE_LIFETIME, now());
    let until = record.keep_until();
    if !proxy.store.lock().codes.put(hash(&text), record, until) {
        let error = responding.error(AuthorizationError::TemporarilyUnavailable, None);
        return error.into_http().map(Body::from);
    }
    responding.code(&text).into_http().map(Body::from)
}

pub(crate) async fn token(State(proxy): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let answer = granted(&proxy, &headers, &body);
    let http = match answer {
        Ok(answer) => answer.into_http(),
        Err(error) => error.into_http(None),
    };
    http.map(Body::from)
}

fn granted(
    proxy: &Proxy,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<TokenAnswer, TokenEndpointError> {
    let form = TokenForm::read(headers, body)?;
    let client = ClaimedClient::read(headers, &form)?;
    client.authenticate(&ClientSecret::Public, proxy.server.issuer(), now())?;
    let mut state = proxy.store.lock();
    let known = state.clients.get(&client.claimed_id().to_owned());
    known.ok_or(TokenEndpointError::InvalidClient)?;
    if form.get("grant_type") != Some("authorization_code") {
        return Err(TokenEndpointError::UnsupportedGrantType);
    }
    let need = |name| form.get(name).ok_or(TokenEndpointError::InvalidRequest);
    let redemption = Redemption {
        client_id: client.claimed_id(),
        redirect_uri: form.get("redirect_uri"),
        verifier: need("code_verifier")?,
        resource: form.get("resource"),
        key: None,
    };
    let (family, access_token) = match (text(), text()) {
        (Ok(family), Ok(token)) => (family, token),
        (_, _) => return Err(TokenEndpointError::InvalidRequest),
    };
    let code = state.codes.get_mut(&hash(need("code")?));
    let code = code.ok_or(TokenEndpointError::InvalidGrant)?;
    match code.redeem(&redemption, &family, now()) {
        Redeemed::Issue(approval) => {
            let scopes = Scopes::parse(&approval.scopes);
            let issued = Issued { approval, family };
            let until = now().saturating_add(LIFETIME);
            if !state.tokens.put(hash(&access_token), issued, until) {
                return Err(TokenEndpointError::InvalidGrant);
            }
            Ok(TokenAnswer::new(
                &access_token,
                TokenScheme::Bearer,
                LIFETIME,
                scopes,
            ))
        }
        Redeemed::Refuse(error) => Err(error),
        Redeemed::Revoke(family) => {
            state.tokens.remove_if(|issued| issued.family == family);
            Err(TokenEndpointError::InvalidGrant)
        }
    }
}

/// Redeems the code of the upstream server. Its token would be kept here, for requests on behalf of the user;
/// what is needed of it is who the user is.
async fn redeem_upstream(proxy: &Proxy, code: &UpstreamCode) -> Option<String> {
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "authorization_code")
        .append_pair("code", &code.code)
        .append_pair("code_verifier", &code.verifier)
        .append_pair("redirect_uri", &proxy.callback())
        .append_pair("client_id", &proxy.client_id)
        .finish();
    let request = proxy.http.post(&proxy.token_endpoint);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let mut answer = request.body(form).send().await.ok()?;
    if answer.status() != StatusCode::OK {
        return None;
    }
    let mut whole = Vec::new();
    while let Some(part) = answer.chunk().await.ok()? {
        if whole.len().saturating_add(part.len()) > MAX_ANSWER {
            return None;
        }
        whole.extend_from_slice(&part);
    }
    let answer: Value = serde_json::from_slice(&whole).ok()?;
    // A token of the upstream server stands for its user; yours may say who that is.
    answer.get("access_token")?.as_str()?;
    let user = answer.get("sub").and_then(Value::as_str);
    Some(user.unwrap_or("a user of the upstream server").to_owned())
}

/// The answer to the client of a request that ended: to its redirect URI, which is looked up again.
fn responding(proxy: &Proxy, request: &ClientRequest) -> Option<(Responding, RedirectTarget)> {
    let state = proxy.store.lock();
    let known = state.clients.get(&request.client_id().to_owned())?;
    let target = RedirectTarget::find(known.redirect_uris(), request.redirect_uri())?;
    let mut responding = proxy.server.respond(target.clone());
    if let Some(state) = request.client_state() {
        responding = responding.state(state);
    }
    let responding = responding.mode(request.requested_mode()).ok()?;
    Some((responding, target))
}

fn ended(proxy: &Proxy, error: ProxyError) -> Response {
    let (request, error) = match error {
        ProxyError::Declined(request) => (request, AuthorizationError::AccessDenied),
        ProxyError::Upstream(request, error) => (request, error),
        // The client is unknown.
        ProxyError::Consent | ProxyError::Callback | ProxyError::Issuer | _ => {
            return page(StatusCode::BAD_REQUEST);
        }
    };
    match responding(proxy, &request) {
        Some((responding, _)) => responding.error(error, None).into_http().map(Body::from),
        None => page(StatusCode::BAD_REQUEST),
    }
}

/// A page with nothing in it that came with a request.
fn page(status: StatusCode) -> Response {
    let headers = [
        (CACHE_CONTROL, "no-store"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, "This request cannot be answered.\n").into_response()
}

fn text() -> std::io::Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(random()?))
}
