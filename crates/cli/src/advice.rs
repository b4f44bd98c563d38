//! Advice that needs more than the failure: the metadata of the server, the scopes and the client of this sign-in.

use mcp_auth_machine::Failure;
use mcp_auth_machine::error::{Cause, Next, Refusal, Stage, Violation};
use mcp_auth_machine::wire::callback::IssFlaw;
use mcp_auth_machine::wire::text::Untrusted;
use serde_json::Value;
use url::Url;

use crate::account::choice::DEVICE_CODE;
use crate::facts;
use crate::setting::setting;
use crate::shell::quoted;
use crate::speaker;

/// The option for an authorization server that takes no `resource` parameter.
pub(crate) const OTHER_AUDIENCE: &str = "--authorization-parameter audience=…, for an authorization server that takes no `resource` parameter, \
     such as Auth0";

/// Returns the options that this failure calls for.
pub(crate) fn option(failure: &Failure) -> Option<String> {
    of_metadata(failure)
        .or_else(|| of_iss(failure))
        .or_else(|| of_document(failure))
        .or_else(|| of_scope(failure))
        .or_else(|| of_secret(failure))
        .or_else(|| of_encoding(failure))
        .or_else(|| of_device(failure))
}

/// Returns the options for a server that lists the grant of device codes and does not name its endpoint.
fn of_device(failure: &Failure) -> Option<String> {
    let issuer = failure.issuer.as_ref()?.as_str();
    let document = facts::metadata_of(issuer)?;
    let is_unnamed = failure.cause.code() == "no_device_grant"
        && lists(&document, "grant_types_supported", DEVICE_CODE)
        && document.get("device_authorization_endpoint").is_none();
    is_unnamed.then(|| {
        "--server-metadata FILE, where the file also has the device_authorization_endpoint, which the metadata lacks although \
         it lists the grant; or with --no-browser in place of --device, where no browser can be opened here"
            .to_owned()
    })
}

/// Returns the status of the answer, 500 or 400, after which a refresh is only put off; 400 is that of `server_error`. The
/// authorization server may fail for now, or may no longer know the refresh token, for which the storage behind some servers
/// throws (QUIRK-36).
pub(crate) fn may_have_forgotten_token(failure: &Failure) -> Option<u16> {
    let is_put_off =
        failure.stage == Stage::Refresh && matches!(failure.next(), Next::RetryLater(_));
    let status = failure.seen.last()?.status?;
    (is_put_off && matches!(status, 400 | 500)).then_some(status)
}

/// Returns the words about a server that writes `http` where it is reached by `https`. No option helps: plain `http` is not
/// used.
pub(crate) fn scheme(failure: &Failure) -> Option<String> {
    let details = failure.details();
    let issuer = failure.issuer.as_ref().map(|issuer| issuer.as_str());
    let expected = match failure.cause.code() {
        "resource_mismatch" | "metadata_issuer_mismatch" => details.expected.as_deref(),
        "authorization_origin" | "server_metadata_invalid" => issuer,
        _ => None,
    };
    let found = details.found.as_ref()?.as_plain();
    is_http_of(expected?, found).then(|| {
        format!(
            "the server writes {found} where it is reached by https: its operator must make it honour X-Forwarded-Proto, by \
             which a TLS proxy tells it the scheme"
        )
    })
}

/// Returns true if the second URL is at the host of the first, with `http` in place of `https`.
fn is_http_of(expected: &str, found: &str) -> bool {
    let (Ok(expected), Ok(found)) = (Url::parse(expected), Url::parse(found)) else {
        return false;
    };
    let place = |url: &Url| (url.host_str().map(str::to_owned), url.port());
    (expected.scheme(), found.scheme()) == ("https", "http") && place(&expected) == place(&found)
}

/// Returns host and port of a URL.
fn host(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?;
    Some(
        url.port()
            .map_or(host.to_owned(), |port| format!("{host}:{port}")),
    )
}

/// Returns the name of the server of a URL for a sentence: host and port, or the URL as it is.
fn name(url: &str) -> String {
    host(url).unwrap_or_else(|| url.to_owned())
}

/// Returns an origin at which an issuer signs users in, other than its own.
fn other_origin(issuer: &str, endpoint: &str) -> Option<String> {
    let (at, own) = (Url::parse(endpoint).ok()?, Url::parse(issuer).ok()?);
    let is_other = at.origin() != own.origin() && !is_http_of(issuer, endpoint);
    is_other.then(|| at.origin().ascii_serialization())
}

/// Returns the endpoint at which the metadata of an issuer has users sign in.
fn endpoint_of(issuer: &str) -> Option<String> {
    let document = facts::metadata_of(issuer)?;
    let endpoint = document.get("authorization_endpoint")?.as_str()?;
    Some(endpoint.to_owned())
}

/// Returns true if the metadata of an issuer lists a value.
fn lists(document: &Value, member: &str, value: &str) -> bool {
    let listed = document.get(member).and_then(Value::as_array);
    listed.is_some_and(|listed| listed.iter().any(|one| one == value))
}

/// Returns the issuer and the other origin of a failure for that reason.
pub(crate) fn elsewhere(failure: &Failure) -> Option<(String, String)> {
    let Cause::Violation(Violation::AuthorizationOrigin { endpoint }) = &failure.cause else {
        return None;
    };
    let issuer = failure.issuer.as_ref()?.to_string();
    let origin = other_origin(&issuer, endpoint.as_str())?;
    Some((issuer, origin))
}

/// Returns the sentence about an authorization server whose users sign in at another host.
pub(crate) fn elsewhere_words(issuer: &str, origin: &str) -> String {
    let (own, other) = (name(issuer), name(origin));
    format!(
        "{own} signs users in at {other}, another host: continue only if you know that {other} belongs to {own}"
    )
}

/// Returns the options for all that the metadata lacks, so that the next sign-in does not fail for the next reason.
fn of_metadata(failure: &Failure) -> Option<String> {
    let issuer = failure.issuer.as_ref()?.as_str();
    let known = facts::members_of(issuer);
    let document = facts::metadata_of(issuer).unwrap_or_default();
    let lacks_pkce = failure.cause == Cause::Violation(Violation::NoPkce);
    let endpoint =
        if let Cause::Violation(Violation::AuthorizationOrigin { endpoint }) = &failure.cause {
            Some(endpoint.as_str().to_owned())
        } else if lacks_pkce {
            endpoint_of(issuer)
        } else {
            return None;
        };
    let silent = known
        .get("iss_parameter")
        .is_some_and(|value| value == "not_sent");
    let sends_iss = document.get("authorization_response_iss_parameter_supported")
        == Some(&Value::Bool(true))
        && !silent;
    let origin = endpoint.filter(|_| !sends_iss);
    let origin = origin.and_then(|endpoint| other_origin(issuer, &endpoint));
    let origin = origin.filter(|origin| {
        known.get("authorization_origin").and_then(Value::as_str) != Some(origin.as_str())
    });
    let (mut options, mut conditions) = (Vec::new(), Vec::new());
    if lacks_pkce {
        options.push("--assume-pkce".to_owned());
        conditions.push(format!("that {} checks PKCE", name(issuer)));
    }
    if let Some(origin) = &origin {
        options.push(format!("--authorization-origin {}", quoted(origin)));
        let (own, other) = (name(issuer), name(origin));
        conditions.push(format!(
            "that {other}, where users sign in, belongs to {own}"
        ));
    }
    (!options.is_empty()).then(|| {
        format!(
            "{}, only if you know {}",
            options.join(" "),
            conditions.join(" and ")
        )
    })
}

/// Returns the setting for a server that advertises `iss` and does not send it (ISS-04).
fn of_iss(failure: &Failure) -> Option<String> {
    let Cause::Violation(Violation::Iss(IssFlaw::Missing)) = &failure.cause else {
        return None;
    };
    let issuer = failure.issuer.as_ref()?.as_str();
    let file = setting(issuer, "iss_parameter", "\"not_sent\"");
    let origin = endpoint_of(issuer).and_then(|endpoint| other_origin(issuer, &endpoint));
    let origin = origin.map_or(String::new(), |origin| {
        format!("--authorization-origin {} ", quoted(&origin))
    });
    Some(format!(
        "{origin}{file}; this gives up the check that the callback comes from this server, by which an answer of another \
         server is seen"
    ))
}

/// Returns the issuer where the MCP server lists the URL of its document or endpoint.
fn of_document(failure: &Failure) -> Option<String> {
    if failure.cause.code() != "no_server_metadata" {
        return None;
    }
    let entry = failure.issuer.as_ref()?.as_str();
    let issuer = match entry.split_once("/.well-known/") {
        Some((issuer, _)) => issuer,
        None => {
            let path = entry.strip_suffix("/authorize")?;
            path.strip_suffix("/v1").unwrap_or(path)
        }
    };
    Some(format!(
        "--authorization-server {}, since the MCP server lists the URL of a document or an endpoint, and not the issuer",
        quoted(issuer)
    ))
}

/// Returns the option for a refusal about scopes, of a request for none or too many.
fn of_scope(failure: &Failure) -> Option<String> {
    let Cause::Refused(Refusal::OAuth { .. }) = &failure.cause else {
        return None;
    };
    let details = failure.details();
    let names = |words: &Option<Untrusted>| {
        words
            .as_ref()
            .is_some_and(|words| words.as_plain().to_ascii_lowercase().contains("scope"))
    };
    // Entra speaks of the resource and of scopes.
    let description = details.description.as_ref().map(Untrusted::as_plain);
    let is_of_resource = description.is_some_and(speaks_of_resource);
    if is_of_resource || !names(&details.error) && !names(&details.description) {
        return None;
    }
    let asked = facts::scopes()?;
    if !asked.is_empty() {
        return (failure.stage == Stage::Registration).then(|| {
            format!("--scope with others than `{asked}`, which this registration asked for; or --client-id with a client that is registered there")
        });
    }
    let document = facts::metadata_of(failure.issuer.as_ref()?.as_str()).unwrap_or_default();
    let listed = listed_scopes(&document);
    Some(if listed.is_empty() {
        "--scope with the scopes that the documentation of the server names: none was asked for"
            .to_owned()
    } else {
        format!(
            "--scope {}, or with those of them that you need: none was asked for, and these are listed by the authorization \
             server",
            quoted(&listed.join(" "))
        )
    })
}

/// Returns true for words about the `resource` parameter, as of Entra, whose codes do not tell.
pub(crate) fn speaks_of_resource(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    words.contains("resource parameter") || words.contains("aadsts9010010")
}

/// How many scopes a message names.
const SCOPES: usize = 20;

/// Returns the scopes that metadata lists, as far as they are scopes (RFC 6749 section 3.3).
pub(crate) fn listed_scopes(document: &Value) -> Vec<String> {
    let listed = document.get("scopes_supported").and_then(Value::as_array);
    let listed = listed.into_iter().flatten().filter_map(Value::as_str);
    let is_scope = |scope: &&str| {
        let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        !scope.is_empty() && scope.len() < 128 && scope.bytes().all(allowed)
    };
    listed
        .filter(is_scope)
        .take(SCOPES)
        .map(str::to_owned)
        .collect()
}

/// Returns the methods by which clients authenticate, where none of them is without a secret.
fn methods_with_secret(issuer: &str) -> Option<String> {
    let document = facts::metadata_of(issuer)?;
    let member = "token_endpoint_auth_methods_supported";
    let Some(listed) = document.get(member) else {
        return Some("no methods, which means client_secret_basic".to_owned());
    };
    if lists(&document, member, "none") {
        return None;
    }
    let listed = listed.as_array()?.iter().filter_map(Value::as_str);
    let listed: Vec<_> = listed.take(8).collect();
    Some(Untrusted::new(&listed.join(", ")).as_plain().to_owned())
}

/// Returns the warning about a configured client without a secret, where the server lists no method without one.
pub(crate) fn secret_missing(issuer: &str) -> Option<String> {
    let methods = methods_with_secret(issuer).filter(|_| facts::lacks_secret())?;
    Some(format!(
        "{issuer} lists no authentication without a secret ({methods}), and this client has no secret: if it is refused after \
         the sign-in, {}",
        speaker::again("--client-secret-prompt")
    ))
}

/// Returns the option for a configured client without a secret that the token endpoint refuses.
fn of_secret(failure: &Failure) -> Option<String> {
    let at_token = matches!(failure.stage, Stage::Token | Stage::Refresh);
    let is_refused = matches!(failure.cause.code(), "refused" | "token_answer_invalid");
    if !at_token || !is_refused || !facts::lacks_secret() {
        return None;
    }
    let details = failure.details();
    let words = [
        details.error.map(|words| words.as_plain().to_owned()),
        details.description.map(|words| words.as_plain().to_owned()),
        facts::said(),
    ];
    let is_about = |words: &String| {
        let words = words.to_ascii_lowercase();
        words.contains("secret") || words.contains("credential") || words.contains("invalid_client")
    };
    let lists_none = methods_with_secret(failure.issuer.as_ref()?.as_str()).is_none();
    let found =
        words.iter().flatten().any(is_about) || !lists_none && failure.cause.code() != "refused";
    found.then(|| "--client-secret-prompt, since this client has no secret".to_owned())
}

/// Returns the setting for a server that does not decode the credentials of HTTP Basic (TOK-05).
fn of_encoding(failure: &Failure) -> Option<String> {
    let at_token = matches!(failure.stage, Stage::Token | Stage::Refresh);
    let error = failure.details().error.filter(|_| at_token)?;
    if error.as_plain() != "invalid_client" || !facts::basic_is_encoded() {
        return None;
    }
    let issuer = failure.issuer.as_ref()?.as_str();
    Some(format!(
        "{}; its client identifier or secret has characters that HTTP Basic carries encoded, which some servers do not \
         decode. Or --auth-method with another method, or --client-id with another secret (--client-secret-prompt)",
        setting(issuer, "basic_encoding", "\"raw\"")
    ))
}

/// Returns the facts and the next step of a request that the MCP server answered with 403 and no scope.
pub(crate) fn forbidden(failure: &Failure) -> Option<(String, Option<String>)> {
    if failure.cause.code() != "forbidden" {
        return None;
    }
    let refused = facts::refused()?;
    let mut words = format!("it answered {}", refused.status);
    if let Some(kind) = &refused.content_type {
        words.push_str(&format!(", {kind:?}"));
    }
    if let Some(error) = &refused.error {
        words.push_str(&format!(", error {error:?}"));
    }
    let is_page = refused.content_type.is_some_and(|kind| {
        kind.as_plain()
            .to_ascii_lowercase()
            .starts_with("text/html")
    });
    if is_page {
        words.push_str("; a page, as of a firewall in front of the server");
        let step = "let the operator of the server permit this client, or try from another network";
        return Some((words, Some(step.to_owned())));
    }
    if !refused.is_new_token {
        return Some((words, None));
    }
    words.push_str(", to a token that has just been issued for it");
    let step = speaker::again(OTHER_AUDIENCE);
    Some((
        words,
        Some(format!("the account may lack rights there; or {step}")),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn http_is_a_slip_at_the_same_host_only() {
        for (expected, found, slip) in [
            ("https://a.example/mcp", "http://a.example/mcp", true),
            (
                "https://a.example:8443",
                "http://a.example:8443/authorize",
                true,
            ),
            ("https://a.example", "http://b.example", false),
            ("https://a.example:8443", "http://a.example", false),
            ("https://a.example", "https://a.example", false),
            ("http://a.example", "http://a.example", false),
            ("https://a.example", "", false),
        ] {
            assert_eq!(is_http_of(expected, found), slip, "{expected} {found}");
        }
    }

    #[test]
    fn scopes_of_a_document_are_scopes() {
        let document =
            serde_json::json!({ "scopes_supported": ["a:b", "", "x y", "q\"", "\u{1b}", 3, "z"] });
        assert_eq!(listed_scopes(&document), ["a:b", "z"]);
    }
}
