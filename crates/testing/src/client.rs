//! The client of a request to the token, revocation or device authorization endpoint, authenticated.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;
use url::form_urlencoded;

use mcp_auth_server::{ClaimedClient, ClientSecret, TokenForm};

use super::authorization::{FULL, Refusal, Shared};
use super::endpoints::Parameters;
use super::lock;

/// The largest number of remembered client assertions.
const MAX_ASSERTIONS: usize = 100_000;

/// How a deviating token endpoint reads client authentication, in an extension of the request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    /// An assertion must name the token endpoint as its audience, and not the issuer.
    pub(super) endpoint_is_audience: bool,
    /// Basic is not form-encoded.
    pub(super) raw_basic: bool,
}

/// Returns the client of a request: a public one, or one that signed the assertion of the request. A client
/// with a secret is that of [`service`].
pub(super) fn client(
    shared: &Shared,
    headers: &HeaderMap,
    body: &[u8],
    asked: &Parameters,
    audience: &str,
) -> Result<String, Refusal> {
    if has_assertion(asked)? {
        return asserted(shared, headers, body, audience);
    }
    if headers.contains_key(AUTHORIZATION) || asked.get("client_secret")?.is_some() {
        return Err(("invalid_client", "clients are public and have no secret"));
    }
    let client_id = asked.need("client_id", "client_id is missing")?;
    match lock(&shared.state).clients.get(client_id) {
        Some(client) if client.keys.is_empty() => Ok(client_id.to_owned()),
        Some(_) => Err(("invalid_client", "the client must sign an assertion")),
        None => Err(("invalid_client", "the client is unknown")),
    }
}

/// Returns true if a request has a client assertion, or names a type of one.
pub(super) fn has_assertion(asked: &Parameters) -> Result<bool, Refusal> {
    let assertion = asked.get("client_assertion")?;
    let kind = asked.get("client_assertion_type")?;
    Ok(assertion.or(kind).is_some())
}

/// Returns the client that signed an assertion for this audience, which is accepted once (AS-14).
fn asserted(
    shared: &Shared,
    headers: &HeaderMap,
    body: &[u8],
    audience: &str,
) -> Result<String, Refusal> {
    if !shared.options.takes_assertions() {
        return Err(("invalid_client", "client assertions are not taken"));
    }
    let refused = |_| ("invalid_client", "the client assertion is malformed");
    let form = TokenForm::read(headers, body).map_err(refused)?;
    let claimed = ClaimedClient::read(headers, &form).map_err(refused)?;
    let now = shared.now.get();
    let mut state = lock(&shared.state);
    let keys = match state.clients.get(claimed.claimed_id()) {
        Some(client) => ClientSecret::Keys(client.keys.clone()),
        None => return Err(("invalid_client", "the client is unknown")),
    };
    let used = claimed.authenticate(&keys, audience, now);
    let Ok(Some(used)) = used else {
        return Err((
            "invalid_client",
            "the client assertion has another audience, key, client or time",
        ));
    };
    state.assertions.retain(|_, until| *until > now);
    if state.assertions.len() >= MAX_ASSERTIONS {
        return Err(FULL);
    }
    match state.assertions.insert(used.id, used.until) {
        None => Ok(claimed.claimed_id().to_owned()),
        Some(_) => Err(("invalid_client", "the client assertion was used before")),
    }
}

/// The source of the time since the Unix epoch, by which assertions are judged.
#[derive(Clone)]
pub(super) struct Now(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Now {
    pub(super) fn of(now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    fn get(&self) -> Duration {
        (self.0)()
    }
}

impl Default for Now {
    /// The clock of the system.
    fn default() -> Self {
        Self::of(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            now.unwrap_or_default()
        })
    }
}

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Now").field(&self.get()).finish()
    }
}

/// Returns the client of the client credentials grant with a secret, authenticated by HTTP Basic.
pub(super) fn service(
    shared: &Shared,
    headers: &HeaderMap,
    reading: Reading,
) -> Result<String, Refusal> {
    const REFUSED: Refusal = ("invalid_client", "the client is unknown");
    let (id, secret) = shared.options.service.as_ref().ok_or(REFUSED)?;
    let sent = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Basic"))
        .and_then(|(_, text)| STANDARD.decode(text.trim_start_matches(' ')).ok())
        .ok_or(REFUSED)?;
    let encode = |text: &str| -> String {
        if reading.raw_basic {
            return text.to_owned();
        }
        form_urlencoded::byte_serialize(text.as_bytes()).collect()
    };
    let wanted = format!("{}:{}", encode(id), encode(secret));
    let same: bool = sent.ct_eq(wanted.as_bytes()).into();
    if same { Ok(id.clone()) } else { Err(REFUSED) }
}
