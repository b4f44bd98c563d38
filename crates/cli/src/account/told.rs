//! The words of a command about decisions of the machine and about stored tokens.

use mcp_auth_client::now;
use mcp_auth_machine::action::Grant;
use mcp_auth_machine::report::{Decision, Forgotten};
use mcp_auth_machine::wire::scopes::Scopes;
use serde_json::{Value, json};

use super::choice;
use super::in_words;
use super::revocation::Unrevoked;
use crate::speaker;

/// Returns the text of a decision that the user should know about.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "most decisions need no word"
)]
pub(super) fn warning(decision: &Decision) -> Option<String> {
    Some(match decision {
        Decision::Revoked {
            token,
            refused: Some(failure),
            ..
        } => format!(
            "the {} was erased here, but not revoked: {failure}",
            token.as_str().replace('_', " ")
        ),
        Decision::RecordUnusable { slot, reason }
            if slot.starts_with("account/") && reason.contains("another user") =>
        {
            "the stored account belongs to another client, and is not used here".to_owned()
        }
        Decision::RecordUnusable { slot, reason } => {
            format!("the stored record {slot} cannot be used and counts as absent: {reason}")
        }
        Decision::RegistrationForgotten { issuer, by } => {
            let by = match by {
                Forgotten::TokenEndpoint => "its token endpoint refused the client",
                Forgotten::CodeRefused => "it refused a code that it had just issued",
                Forgotten::AuthorizationEndpoint => "its authorization endpoint refused the client",
                Forgotten::Host => "a new client was asked for",
            };
            format!("the client at {issuer} is not used any more: {by}")
        }
        Decision::RefreshDelayed { millis } => format!(
            "the token cannot be renewed for now; the next try is in {}",
            in_words(millis.div_ceil(1_000))
        ),
        Decision::ClockDiffers { seconds } => format!(
            "the server refused a proof, whose time is that of this machine: the server's clock is {}",
            match *seconds {
                ahead @ 0.. => format!("{} ahead", in_words(ahead.unsigned_abs())),
                behind => format!("{} behind", in_words(behind.unsigned_abs())),
            }
        ),
        Decision::ServerPassedOver { issuer, reason } => format!(
            "the authorization server {issuer} is not used: {}",
            match *reason {
                "no_client" => "it registers no clients".to_owned(),
                other => other.replace('_', " "),
            }
        ),
        Decision::EntryUnusable { entry, reason } => choice::unusable(entry, reason),
        _ => return None,
    })
}

/// Returns a token as a JSON object.
pub(super) fn grant_json(grant: Option<&Grant>) -> Value {
    let Some(grant) = grant else {
        return json!({ "signed_in": false });
    };
    json!({
        "signed_in": true,
        "issuer": grant.issuer.as_str(),
        "scopes": grant.scopes.iter().collect::<Vec<_>>(),
        "expires_in": left(grant),
        "renewable": grant.renewable,
    })
}

/// Returns the seconds until the token expires; `None` when unknown.
pub(super) fn left(grant: &Grant) -> Option<u64> {
    let expires = grant.expires?;
    Some(expires.0.saturating_sub(now().wall.0) / 1_000)
}

/// Returns one line about the stored token.
pub(super) fn grant_words(grant: Option<&Grant>) -> String {
    let Some(grant) = grant else {
        return "not signed in".to_owned();
    };
    let scopes: Vec<&str> = grant.scopes.iter().collect();
    let scopes = match scopes.as_slice() {
        [] => String::new(),
        some => format!(", scopes {}", some.join(" ")),
    };
    let time = match left(grant) {
        None => String::new(),
        Some(0) if grant.renewable => {
            ", token expired (refreshed on use, if the server allows)".to_owned()
        }
        Some(0) => ", token expired".to_owned(),
        Some(seconds) => format!(", token valid for {}", in_words(seconds)),
    };
    let end = if grant.renewable {
        ""
    } else {
        ", no refresh token: sign in again when the token expires"
    };
    format!("signed in at {}{scopes}{time}{end}", grant.issuer)
}

/// Returns the words about a sign-in that ends with its token, and how to obtain a refresh token; `None` for a sign-in that is
/// renewed. `is_new`: this command made it. `parameters`, `scopes`: those of its authorization request.
pub(super) fn ends_soon<'a>(
    grant: &Grant,
    is_new: bool,
    mut parameters: impl Iterator<Item = (&'a str, &'a str)>,
    scopes: &Scopes,
) -> Option<String> {
    if grant.renewable {
        return None;
    }
    let time = left(grant).map_or(String::new(), |seconds| {
        format!(", in {}", in_words(seconds))
    });
    if !is_new {
        return Some(format!(
            "the account has no refresh token, since the authorization server issued none or has refused it: this sign-in ends \
             with its token{time}. For another one before that, run: {}, then {}",
            speaker::command("logout", ""),
            speaker::login("")
        ));
    }
    let by_parameter = "--authorization-parameter access_type=offline --authorization-parameter prompt=consent (as for Google)";
    let by_scope = "--scope offline_access";
    let was_scope = scopes.contains(OFFLINE) || grant.scopes.contains(OFFLINE);
    let option = match (parameters.any(|given| given == ACCESS_TYPE), was_scope) {
        (true, true) => None,
        (true, false) => Some(by_scope.to_owned()),
        (false, true) => Some(by_parameter.to_owned()),
        (false, false) => Some(format!("{by_parameter}, or with {by_scope}")),
    };
    let ends = format!("this sign-in ends with its token{time}");
    Some(match option {
        Some(option) => format!(
            "the authorization server issued no refresh token: {ends}. To ask for one where the server has a way, {}",
            speaker::again(&option)
        ),
        None => format!(
            "the authorization server issued no refresh token, although it was asked for one: {ends}. After that, run: {}",
            speaker::login("")
        ),
    })
}

/// Returns the words about an access token that was erased but not revoked; `None` for an expired one.
pub(super) fn stays_valid(grant: &Grant, unrevoked: Unrevoked) -> Option<String> {
    let time = match left(grant) {
        Some(0) => return None,
        Some(seconds) => format!(", in {}", in_words(seconds)),
        None => String::new(),
    };
    let cause = match unrevoked {
        Unrevoked::NoEndpoint => format!("{} has no way to revoke tokens: ", grant.issuer),
        Unrevoked::Failed => String::new(),
    };
    Some(format!(
        "{cause}the access token, erased here, stays valid until it expires{time}"
    ))
}

/// The scope for refresh tokens (OpenID Connect).
pub(super) const OFFLINE: &str = "offline_access";

/// The parameter by which some servers are asked for a refresh token.
const ACCESS_TYPE: (&str, &str) = ("access_type", "offline");
