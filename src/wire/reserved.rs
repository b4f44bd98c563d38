//! Parameter names that a host may not add, and that an endpoint's query may not contain: those that the
//! machine sets, and those that carry credentials (AUTHZ-02, AUTHZ-15, TOK-10).

use std::borrow::Cow;

use super::form::pairs;
use super::url_text::UrlText;

/// The names reserved in every request.
pub(crate) const RESERVED: &[&str] = &[
    // The authorization request.
    "response_type",
    "client_id",
    "redirect_uri",
    "state",
    "scope",
    "resource",
    "code_challenge",
    "code_challenge_method",
    "dpop_jkt",
    "request",
    "request_uri",
    "response_mode",
    "iss",
    // Grants.
    "grant_type",
    "code",
    "code_verifier",
    "refresh_token",
    "assertion",
    "subject_token",
    "subject_token_type",
    "actor_token",
    "actor_token_type",
    "requested_token_type",
    "device_code",
    "username",
    "password",
    // Client authentication.
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    // Revocation.
    "token",
    "token_type_hint",
];

/// The names also reserved in a token exchange, where the machine names the target server. Some servers
/// need them in other token requests (QUIRK-05).
pub(crate) const RESERVED_IN_EXCHANGE: &[&str] = &["audience"];

pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// Returns the first reserved parameter in an endpoint's query; one that cannot be decoded counts as
/// reserved.
pub(crate) fn reserved_in_query(endpoint: UrlText<'_>) -> Option<Cow<'_, str>> {
    pairs(endpoint.query()?).find_map(|pair| match pair {
        Ok((name, _)) => is_reserved(&name).then_some(name),
        Err(_) => Some(Cow::Borrowed("%")),
    })
}
