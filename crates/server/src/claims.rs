//! The claims that every kind of token has: times, audience and scopes.

use std::time::Duration;

use serde_json::{Map, Value};

use mcp_auth_machine::wire::scopes::Scopes;

use super::access_token::TokenError;

/// Returns a time since the Unix epoch. `None` when it is missing, not a number, negative, or out of range.
pub(super) fn seconds(claims: &Map<String, Value>, name: &str) -> Option<Duration> {
    let value = claims.get(name)?;
    // Some issuers send fractional seconds.
    let whole = value.as_u64().map(Duration::from_secs);
    whole.or_else(|| Duration::try_from_secs_f64(value.as_f64()?).ok())
}

pub(super) fn check_times(
    claims: &Map<String, Value>,
    leeway: Duration,
    now: Duration,
) -> Result<(), TokenError> {
    if claims.contains_key("exp") {
        let end = seconds(claims, "exp").ok_or(TokenError::Expired)?;
        if end.saturating_add(leeway) <= now {
            return Err(TokenError::Expired);
        }
    }
    for name in ["nbf", "iat"] {
        if claims.contains_key(name) {
            let start = seconds(claims, name).ok_or(TokenError::NotYet)?;
            if start > now.saturating_add(leeway) {
                return Err(TokenError::NotYet);
            }
        }
    }
    Ok(())
}

/// Checks that one of the audiences is named, byte for byte. An empty text never matches.
pub(super) fn check_audience(
    claims: &Map<String, Value>,
    named: &[Box<str>],
) -> Result<(), TokenError> {
    let is_named = |value: &Value| {
        let sent = value.as_str().filter(|sent| !sent.is_empty());
        sent.is_some_and(|sent| named.iter().any(|known| **known == *sent))
    };
    let fits = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(is_named),
        Some(one) => is_named(one),
        None => false,
    };
    if fits {
        Ok(())
    } else {
        Err(TokenError::Audience)
    }
}

/// Returns the scopes in these claims: space-separated strings, and lists.
pub(super) fn scopes(claims: &Map<String, Value>, names: &[Box<str>]) -> Scopes {
    let mut all = Scopes::default();
    for name in names {
        let read = match claims.get(&**name) {
            Some(Value::String(text)) => Scopes::parse(text),
            Some(Value::Array(items)) => Scopes::from_items(items.iter().filter_map(Value::as_str)),
            Some(_) | None => continue,
        };
        all = all.union(&read);
    }
    all
}
