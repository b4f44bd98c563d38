//! Header fields with times: `Cache-Control`, `Retry-After` and `Date`.

use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES, HeaderName, RETRY_AFTER};

/// Returns true for a status after which a retry may succeed, whatever the body is (11.4).
pub const fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

/// Longest cache lifetime of a document, in seconds: a day (DISC-19).
pub const MAX_FRESH_SECONDS: u64 = 24 * 60 * 60;
/// Default cache lifetime of a document, in seconds: an hour (DISC-19).
pub const DEFAULT_FRESH_SECONDS: u64 = 60 * 60;
/// Longest accepted `Retry-After`, in seconds: five minutes (TOK-22).
pub const MAX_RETRY_SECONDS: u64 = 5 * 60;

/// Returns for how many seconds a metadata document may be cached (DISC-19).
pub fn freshness(headers: &HeaderMap, unix_seconds: u64) -> u64 {
    let mut max_age = None;
    let directives = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','));
    for directive in directives {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return 0,
            "max-age" => max_age = value.trim().trim_matches('"').parse::<u64>().ok(),
            _other => {}
        }
    }
    let seconds = match max_age {
        Some(seconds) => {
            let age = text(headers, AGE).and_then(|age| age.trim().parse().ok());
            seconds.saturating_sub(age.unwrap_or(0))
        }
        None => match text(headers, EXPIRES) {
            Some(date) => date_seconds(date).map_or(0, |at| at.saturating_sub(unix_seconds)),
            None => DEFAULT_FRESH_SECONDS,
        },
    };
    seconds.min(MAX_FRESH_SECONDS)
}

/// Returns the delay of `Retry-After` in seconds (TOK-22).
pub fn retry_after(headers: &HeaderMap, unix_seconds: u64) -> Option<u64> {
    let value = text(headers, RETRY_AFTER)?.trim();
    let seconds = match value.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => date_seconds(value)?.saturating_sub(unix_seconds),
    };
    Some(seconds.min(MAX_RETRY_SECONDS))
}

/// Returns the server's `Date` in Unix seconds.
pub fn date(headers: &HeaderMap) -> Option<u64> {
    date_seconds(text(headers, DATE)?)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn date_seconds(text: &str) -> Option<u64> {
    let at: SystemTime = httpdate::parse_http_date(text).ok()?;
    at.duration_since(UNIX_EPOCH)
        .ok()
        .map(|since| since.as_secs())
}
