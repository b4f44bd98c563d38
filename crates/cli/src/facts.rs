//! The sources of advice beside a failure: the settings of the account, the metadata that was read, what was asked for, and
//! what a server said in a response that is not an OAuth error. One command speaks about one account.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Request, Response};
use mcp_auth_client::Note;
use mcp_auth_machine::action::Purpose;
use mcp_auth_machine::wire::challenge;
use mcp_auth_machine::wire::text::Untrusted;
use mcp_auth_machine::{Action, Event};
use serde_json::{Map, Value};

#[derive(Default)]
struct Facts {
    /// The settings of issuers, as objects with `issuer`.
    settings: Vec<Value>,
    /// The metadata of authorization servers, by their issuers.
    servers: BTreeMap<String, Value>,
    /// The requests without a response.
    asked: Vec<(u64, Purpose, Vec<String>)>,
    /// The scopes of the last registration or authorization; empty for none.
    scopes: Option<String>,
    /// A client is configured, with a secret or key, or without.
    client: Option<bool>,
    /// The last token request had a client identifier or secret in HTTP Basic that is percent-encoded.
    basic_is_encoded: bool,
    said: Option<String>,
    registered: Option<String>,
    refused: Option<Refused>,
}

/// A request that the MCP server refused.
#[derive(Clone)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) content_type: Option<Untrusted>,
    /// The error in its challenge.
    pub(crate) error: Option<Untrusted>,
    /// The token was issued by this command.
    pub(crate) is_new_token: bool,
}

static FACTS: Mutex<Option<Facts>> = Mutex::new(None);

/// Works with the facts. `with` reads none of them by another function of this module.
fn with<T>(with: impl FnOnce(&mut Facts) -> T) -> T {
    let mut facts: MutexGuard<'_, Option<Facts>> =
        FACTS.lock().unwrap_or_else(PoisonError::into_inner);
    with(facts.get_or_insert_default())
}

/// Sets the settings of issuers.
pub(crate) fn configured(settings: &[Value]) {
    with(|facts| facts.settings = settings.to_vec());
}

/// Tells that a client is configured.
pub(crate) fn has_client(with_secret: bool) {
    with(|facts| facts.client = Some(with_secret));
}

/// Tells that the MCP server refuses a request.
pub(crate) fn refuses(status: u16, headers: &HeaderMap, is_new_token: bool) {
    let content_type = headers.get(CONTENT_TYPE);
    let content_type = content_type.and_then(|kind| Some(Untrusted::new(kind.to_str().ok()?)));
    let parsed = challenge::parse(headers);
    let error = parsed.select(status, &|_| true).and_then(|one| one.error);
    let refused = Refused {
        status,
        content_type,
        error: error.map(|error| Untrusted::new(&error)),
        is_new_token,
    };
    with(|facts| facts.refused = Some(refused));
}

/// Returns the last request that the MCP server refused.
pub(crate) fn refused() -> Option<Refused> {
    with(|facts| facts.refused.clone())
}

/// Returns the configured members of an issuer's settings, without `issuer`.
pub(crate) fn members_of(issuer: &str) -> Map<String, Value> {
    let settings = with(|facts| facts.settings.clone());
    let mut own = settings.into_iter().filter_map(|found| match found {
        Value::Object(members) => Some(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            None
        }
    });
    let is_own = |members: &Map<String, Value>| {
        members.get("issuer").and_then(Value::as_str) == Some(issuer)
    };
    let mut found = own.find(is_own).unwrap_or_default();
    found.remove("issuer");
    found
}

/// Returns the metadata of an issuer, if this command read it.
pub(crate) fn metadata_of(issuer: &str) -> Option<Value> {
    with(|facts| facts.servers.get(issuer).cloned())
}

/// Returns the scopes that were asked for; an empty text for none.
pub(crate) fn scopes() -> Option<String> {
    with(|facts| facts.scopes.clone())
}

/// Returns true if a client is configured without a secret or a key.
pub(crate) fn lacks_secret() -> bool {
    with(|facts| facts.client == Some(false))
}

/// Returns true if the last token request authenticated by HTTP Basic, with text that the form encoding changes.
pub(crate) fn basic_is_encoded() -> bool {
    with(|facts| facts.basic_is_encoded)
}

/// Returns what the last response said, if it is not an OAuth error.
pub(crate) fn said() -> Option<String> {
    with(|facts| facts.said.clone())
}

/// Returns the redirect URIs that were registered.
pub(crate) fn registered() -> Option<String> {
    with(|facts| facts.registered.clone())
}

/// Notes requests and responses.
pub(crate) fn see(note: &Note<'_>) {
    match note {
        Note::Out(Action::SendRequest(send)) => {
            let (id, purpose, request) = (send.id(), send.purpose(), send.request());
            with(|facts| facts.sends(id, purpose, request));
        }
        Note::Out(Action::Redirect(redirect)) => {
            let scopes = redirect.scopes.as_str().to_owned();
            with(|facts| facts.scopes = Some(scopes));
        }
        Note::In(Event::HttpResponse(reply)) => {
            let (id, response) = (reply.id(), reply.response());
            with(|facts| facts.receives(id, response));
        }
        Note::Out(_) | Note::In(_) | Note::Store(_) => {}
    }
}

impl Facts {
    fn sends(&mut self, id: u64, purpose: Purpose, request: &Request<Bytes>) {
        let credentials = request.headers().get(AUTHORIZATION);
        let credentials = credentials.and_then(|value| value.to_str().ok());
        let basic = credentials.and_then(|value| value.strip_prefix("Basic "));
        let basic = basic.and_then(|value| STANDARD.decode(value).ok());
        let basic = basic.map(|value| String::from_utf8_lossy(&value).into_owned());
        let mut secrets = Vec::new();
        match purpose {
            Purpose::ResourceMetadata | Purpose::ServerMetadata => {}
            Purpose::Registration => {
                let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
                let scopes = body
                    .get("scope")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                // A second registration asks for none, where the first was refused.
                if self.scopes.is_none() || !scopes.is_empty() {
                    self.scopes = Some(scopes.to_owned());
                }
            }
            Purpose::Token
            | Purpose::PushedAuthorization
            | Purpose::DeviceAuthorization
            | Purpose::Revocation => {
                self.basic_is_encoded = basic.as_ref().is_some_and(|text| text.contains('%'));
                let form = url::form_urlencoded::parse(request.body());
                secrets.extend(form.map(|(_, value)| value.into_owned()));
            }
        }
        secrets.extend(credentials.map(str::to_owned));
        let parts = basic.iter().flat_map(|text| text.split(':'));
        secrets.extend(parts.map(str::to_owned));
        // Tokens that cannot be used are revoked: the words of their own response remain.
        if purpose != Purpose::Revocation {
            self.said = None;
        }
        self.asked.push((id, purpose, secrets));
    }

    fn receives(&mut self, id: u64, response: Option<&Response<Bytes>>) {
        let Some(at) = self.asked.iter().position(|(asked, ..)| *asked == id) else {
            return;
        };
        let (_, purpose, secrets) = self.asked.swap_remove(at);
        let Some(response) = response else {
            return;
        };
        let body = response.body();
        let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let is_success = response.status().is_success();
        match purpose {
            Purpose::ResourceMetadata => {}
            Purpose::ServerMetadata => {
                if let Some(issuer) = body.get("issuer").and_then(Value::as_str)
                    && is_success
                {
                    self.servers.insert(issuer.to_owned(), body);
                }
            }
            Purpose::Registration => {
                self.registered = redirect_uris(&body).filter(|_| is_success);
                self.said = said_in(&body, &secrets);
            }
            Purpose::Token | Purpose::PushedAuthorization | Purpose::DeviceAuthorization => {
                self.said = said_in(&body, &secrets)
            }
            Purpose::Revocation => {
                let said = self.said.take();
                self.said = said.or_else(|| said_in(&body, &secrets));
            }
        }
    }
}

/// Returns the redirect URIs of a registration response.
fn redirect_uris(body: &Value) -> Option<String> {
    let listed = body.get("redirect_uris")?.as_array()?;
    let listed: Vec<_> = listed.iter().filter_map(Value::as_str).collect();
    Some(format!(
        "it registered {:?}",
        Untrusted::new(&listed.join(" "))
    ))
}

/// The length of a telling part of a secret: a text may be cut off within it.
const TELLING: usize = 12;
/// Shorter values occur by chance.
const SHORTEST: usize = 6;

/// Returns the words of a body that is not an OAuth error: a message, or the type of a token that cannot be used. A text that
/// contains a value of the request is not one: it may be a secret (TOK-24).
fn said_in(body: &Value, secrets: &[String]) -> Option<String> {
    // Some servers answer with a list of messages.
    let body = body.as_array().map_or(Some(body), |list| list.first())?;
    let text = |of: &Value, name: &str| {
        let found = of.get(name)?.as_str()?;
        let shown = Untrusted::new(found);
        let is_telling = |secret: &String| {
            let start = secret.get(..TELLING).unwrap_or(secret);
            secret.len() >= SHORTEST && found.contains(start)
        };
        (!shown.is_empty() && !secrets.iter().any(is_telling)).then_some(shown)
    };
    if let Some(token) = body.get("access_token") {
        let kind = text(body, "token_type")?;
        let is_known = ["bearer", "dpop"].contains(&kind.as_plain().to_ascii_lowercase().as_str());
        let is_secret = token
            .as_str()
            .is_some_and(|token| token.contains(kind.as_plain()));
        return (!is_known && !is_secret && kind.as_plain().len() < 32)
            .then(|| format!("its token_type is {kind:?}"));
    }
    let plain = ["message", "detail", "msg"];
    let found = plain.into_iter().find_map(|name| text(body, name));
    let nested = || text(body.get("error")?, "message");
    let found = found.or_else(nested)?;
    Some(format!("the server said {found:?}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    /// TOK-18, TOK-24: words of a body are shown unless they contain a value of the request; a token never is.
    #[test]
    fn words_are_shown_without_secrets_of_the_request() {
        let secrets = ["the-secret-of-the-client".to_owned(), "short".to_owned()];
        let said = |body: Value| said_in(&body, &secrets);
        for body in [
            json!({ "message": "no secret" }),
            json!({ "detail": "no secret", "status": "BAD" }),
            json!({ "error": { "code": 400, "message": "no secret" } }),
            json!([{ "logref": "x", "message": "no secret" }]),
        ] {
            assert_eq!(said(body).unwrap(), "the server said \"no secret\"");
        }
        for body in [
            json!({ "message": "not the-secret-of-the-client!" }),
            // Cut off within the secret.
            json!({ "message": "not the-secret-o" }),
            json!({ "message": "", "detail": ["a"] }),
            json!({ "access_token": "user", "token_type": "user" }),
            json!({ "access_token": "abc", "token_type": "bearer" }),
            json!({ "access_token": "abc", "message": "x" }),
            json!("message"),
        ] {
            assert_eq!(said(body.clone()), None, "{body}");
        }
        let long = said(json!({ "message": "x".repeat(2_000) })).unwrap();
        assert!(long.len() < 560);
        let kind = said(json!({ "access_token": "abc", "token_type": "user" }));
        assert_eq!(kind.unwrap(), "its token_type is \"user\"");
    }
}
