//! The findings about the form of a challenge, which some clients do not read.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use mcp_auth_machine::wire::challenge::{self, AuthChallenge};
use mcp_auth_machine::wire::text::Untrusted;
use url::Url;

use super::findings::{Finding, Mark};
use super::fix::{Fix, Place};

const METADATA: &str = "resource_metadata";

/// Returns the findings about the challenges of a response; `mcp_url`: where it came from.
pub(super) fn judge_form(headers: &HeaderMap, mcp_url: &str) -> Vec<Finding> {
    let mcp_url = Url::parse(mcp_url).ok();
    let own = mcp_url.as_ref().and_then(Url::host_str);
    let parsed = challenge::parse(headers);
    let mut lines = headers.get_all(WWW_AUTHENTICATE).iter();
    let first = lines.next().and_then(|line| line.to_str().ok());
    // With several lines, a value cannot be found in its own.
    let line = first.filter(|_| lines.next().is_none());
    let mut findings = Vec::new();
    for found in parsed.challenges() {
        findings.extend(unquoted(found, line.unwrap_or_default()));
        findings.extend(repeated(found));
        findings.extend(elsewhere(found, own));
    }
    findings
}

/// Returns true if a challenge names scopes.
pub(super) fn names_scopes(headers: &HeaderMap) -> bool {
    let selected = challenge::parse(headers).select(401, &|_| true);
    selected.is_some_and(|selected| selected.scope.is_some())
}

/// Returns the finding for values without the quotes that they need.
fn unquoted(found: &AuthChallenge<'_>, line: &str) -> Option<Finding> {
    let lacks_quotes = |name: &str, value: &str| {
        let bare = [format!("{name}={value}"), format!("{name}='{value}'")];
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let single = bare.last().is_some_and(|text| line.contains(text.as_str()));
        single
            || !value.bytes().all(is_token) && bare.iter().any(|text| line.contains(text.as_str()))
    };
    let named = found.parameters.iter();
    let names: Vec<&str> = named
        .filter(|(name, value)| lacks_quotes(name, value))
        .map(|(name, _)| name.as_ref())
        .collect();
    let names = names.join(", ");
    let names = Untrusted::new(&names);
    let names = names.as_plain();
    (!names.is_empty()).then(|| {
        Finding::new(
            Mark::Warning,
            "CHAL-09",
            format!(
                "the challenge has {names} without double quotes, which strict clients do not read"
            ),
        )
        .fix(
            Fix::member(Place::Challenge, names, "put each value in double quotes")
                .source("RFC 9110 section 11.2"),
        )
    })
}

fn locations<'a>(found: &'a AuthChallenge<'_>) -> impl Iterator<Item = &'a str> {
    let named = found.parameters.iter();
    named
        .filter(|(name, _)| name.eq_ignore_ascii_case(METADATA))
        .map(|(_, value)| value.as_ref())
}

/// Returns the finding for several locations of the resource metadata in one challenge.
fn repeated(found: &AuthChallenge<'_>) -> Option<Finding> {
    (locations(found).count() > 1).then(|| {
        Finding::new(
            Mark::Warning,
            "CHAL-08",
            "the challenge repeats resource_metadata, and most clients read one of them",
        )
        .fix(
            Fix::member(Place::Challenge, METADATA, "send each parameter once")
                .source("RFC 9110 section 11.2"),
        )
    })
}

/// Returns the finding for a location that is relative, or at another host than the MCP server. The second is in order where
/// the document is served there.
fn elsewhere(found: &AuthChallenge<'_>, own: Option<&str>) -> Option<Finding> {
    let (mark, words) = locations(found).find_map(|named| {
        let shown = Untrusted::new(named);
        let shown = shown.as_plain();
        match Url::parse(named) {
            Err(url::ParseError::RelativeUrlWithoutBase) => {
                let words = "a relative URL, which many clients do not resolve";
                Some((Mark::Warning, format!("the challenge names {shown}, {words}")))
            }
            Ok(url) if url.host_str() != own => {
                let words = "at another host than the MCP server: right if the document is served there, and wrong if the \
                             server took its own name from the Host or X-Forwarded-Host of a request";
                Some((Mark::Note, format!("the challenge names {shown}, {words}")))
            }
            Ok(_) | Err(_) => None,
        }
    })?;
    Some(
        Finding::new(mark, "CHAL-13", words).fix(
            Fix::member(
                Place::Challenge,
                METADATA,
                "name the absolute URL of the document, from the configuration of the server",
            )
            .source("RFC 9728 section 5.1"),
        ),
    )
}
