//! The option that may help after a failure, instead of a library setting; and the reason why the user is
//! needed.

use mcp_auth_machine::Failure;
use mcp_auth_machine::action::Why;
use mcp_auth_machine::error::{Next, Stage};
use mcp_auth_machine::remedy::Remedy;
use mcp_auth_machine::wire::text::Untrusted;

use crate::advice;
use crate::setting::{known, setting};
use crate::speaker;

/// Returns the next step after this failure, as a sentence for the user of the command that speaks.
pub(crate) fn next_step(failure: &Failure) -> String {
    if let Some(words) = advice::scheme(failure) {
        return words;
    }
    let advice = option(failure).map(|option| {
        if option.starts_with("--") {
            speaker::again(&option)
        } else {
            option
        }
    });
    match (failure.next(), advice) {
        (Next::AskUser | Next::FixConfiguration, Some(advice)) => advice,
        (Next::AskUser, None) => speaker::sign_in(),
        (Next::FixConfiguration, None) => format!(
            "other options are needed, or another set-up of the server, which this examines: {}",
            speaker::command("doctor", "")
        ),
        (Next::RetryLater(_), None) if advice::may_have_forgotten_token(failure).is_some() => {
            format!(
                "try again later; if it lasts, the authorization server may no longer know the refresh token, and a new sign-in helps: {}",
                speaker::login("")
            )
        }
        (Next::RetryLater(_), None) => "try again later".to_owned(),
        (Next::RetryLater(_), Some(advice)) => format!("try again later; or {advice}"),
        (Next::DoNotTrust, None) => "stop using this server".to_owned(),
        (Next::DoNotTrust, Some(advice)) => format!("stop using this server; or {advice}"),
    }
}

/// Returns the options of `login` that may help after this failure, or another step.
pub(crate) fn option(failure: &Failure) -> Option<String> {
    if advice::scheme(failure).is_some() {
        return None;
    }
    if let Some(option) = advice::option(failure) {
        return Some(option);
    }
    if let Some(option) = of_registration(failure) {
        return Some(option.to_owned());
    }
    let found = failure
        .remedy()
        .and_then(|remedy| of_setting(remedy, failure));
    found
        .or_else(|| of_assertion(failure))
        .or_else(|| of_client(failure))
        .or_else(|| of_words(failure))
        .or_else(|| of_code(failure.cause.code(), failure.stage).map(str::to_owned))
}

/// Returns the setting for a client assertion, or for Basic, that the server refuses with words about the audience or
/// about `client_id` (QUIRK-31, TOK-04).
fn of_assertion(failure: &Failure) -> Option<String> {
    let at_token = matches!(failure.stage, Stage::Token | Stage::Refresh);
    let details = failure.details();
    let error = details.error.filter(|_| at_token)?;
    if !matches!(error.as_plain(), "invalid_client" | "invalid_request") {
        return None;
    }
    let words = details.description?;
    let words = words.as_plain().to_ascii_lowercase();
    let issuer = failure.issuer.as_ref()?.as_str();
    if words.contains("audience") && words.contains("assertion") {
        let option = known(issuer, "client_assertion_audience", "token_endpoint");
        return Some(option);
    }
    words.contains("client_id").then(|| {
        let option = setting(issuer, "client_id_with_assertion", "true");
        format!("--auth-method client_secret_post for a client with a secret; for one with a key, {option}")
    })
}

/// Returns the option for a configured client that the server refuses: a registered one is replaced.
fn of_client(failure: &Failure) -> Option<String> {
    let at_token = matches!(failure.stage, Stage::Token | Stage::Refresh);
    let error = failure.details().error.filter(|_| at_token)?;
    matches!(error.as_plain(), "invalid_client" | "unauthorized_client").then(|| {
        "--auth-method with another method, or --client-id with another secret \
         (--client-secret-prompt) or key (--client-key)"
            .to_owned()
    })
}

/// Returns the options for a registration that was refused, or may have been, because of its redirect URI.
fn of_registration(failure: &Failure) -> Option<&'static str> {
    let details = failure.details();
    let about = |words: &Untrusted| {
        let words = words.as_plain().to_ascii_lowercase();
        words.contains("redirect_uri") || words.contains("redirect uri")
    };
    let found = failure.stage == Stage::Registration
        && (details.error.as_ref().is_some_and(about)
            || details.description.as_ref().is_some_and(about));
    // An answer without an OAuth error, as of a firewall: some take an IP address in a request for an attack.
    let of_a_firewall = failure.stage == Stage::Registration
        && details.error.is_none()
        && failure.seen.last().and_then(|seen| seen.status) == Some(403);
    if found {
        Some(
            "--redirect-host localhost, or --port with a port that the server permits; or --client-id with a \
             client that is registered there",
        )
    } else if of_a_firewall {
        Some(
            "--client-id with a client that is registered there, since the server may register only clients that it has \
             approved; or with --redirect-host localhost, since a firewall may refuse a request that contains an IP address",
        )
    } else {
        None
    }
}

/// Returns the option for refusals whose meaning only the server's words tell, and for values that it shows.
fn of_words(failure: &Failure) -> Option<String> {
    let details = failure.details();
    if failure.cause.code() == "resource_mismatch" {
        let (Some(expected), Some(found)) = (&details.expected, &details.found) else {
            return None;
        };
        // Another path or port: a typing error of the user, or of the operator. Not another machine.
        let host = |text: &str| {
            let host = url::Url::parse(text).ok()?.host_str()?.to_owned();
            let local = ["localhost", "127.0.0.1", "[::1]"].contains(&host.as_str());
            Some(if local { "localhost".to_owned() } else { host })
        };
        let same = host(expected)? == host(found.as_plain())?;
        return same.then(|| {
            let url = found.as_plain();
            format!("use {url} in place of the URL, if that is the MCP server")
        });
    }
    if failure.cause.code() == "metadata_issuer_mismatch" {
        return issuer(&details.found?);
    }
    of_renewal(&details.description?).map(str::to_owned)
}

/// Returns the option for an authorization server that calls itself by this name, other than the one that it is listed by.
pub(crate) fn issuer(found: &Untrusted) -> Option<String> {
    let issuer = found.as_plain();
    // A URL only: it is shown as part of a command.
    let plain = issuer.len() < 256
        && issuer
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b":/.-_~".contains(&byte));
    (plain && url::Url::parse(issuer).is_ok()).then(|| {
        format!("--authorization-server {issuer}, if that is known to be the server's name")
    })
}

/// The option for a server that refuses the `resource` parameter.
const WITHOUT_RESOURCE: &str = "--no-resource, if that server is known to be right";

/// Returns the option that a refusal calls for in the words of Entra, whose codes do not tell.
fn of_renewal(words: &Untrusted) -> Option<&'static str> {
    advice::speaks_of_resource(words.as_plain()).then_some(WITHOUT_RESOURCE)
}

/// Returns the option for a host that the address policy forbids.
pub(crate) fn allow_host(host: &str) -> String {
    format!("--allow-host {host}, if the host is known to be right")
}

/// Returns the option for a library setting; the enum may grow.
fn of_setting(remedy: Remedy, failure: &Failure) -> Option<String> {
    Some(match remedy {
        Remedy::AuthorizationOrigin { origin, .. } => {
            format!("--authorization-origin {origin}, if that host is known to belong to the server")
        }
        Remedy::VerificationOrigin { issuer, origin } => {
            known(issuer.as_str(), "verification_origin", &origin)
        }
        Remedy::Pkce { .. } => "--assume-pkce, if that server is known to check PKCE".to_owned(),
        Remedy::OmitResource { .. } => WITHOUT_RESOURCE.to_owned(),
        Remedy::FormAnswers { issuer } => known(issuer.as_str(), "token_answers", "json_or_form"),
        Remedy::AllowHost => {
            let place = failure.details().found;
            let host = place.and_then(|place| host(&place)).unwrap_or("HOST".to_owned());
            allow_host(&host)
        }
        Remedy::Client { issuer } => format!(
            "--client-id ID --issuer {issuer}, with a client that is registered there, or \
             --client-metadata-url"
        ),
        Remedy::AuthorizationServer => {
            "--authorization-server, --server-metadata, or --legacy for a server of revision 2025-03-26 \
             without any metadata"
                .to_owned()
        }
        Remedy::Scopes => "--scope with the scopes that the server knows".to_owned(),
        Remedy::Dpop => "--dpop-key FILE".to_owned(),
        _ => return None,
    })
}

/// Returns the host of a URL that a server supplied.
pub(crate) fn host(place: &Untrusted) -> Option<String> {
    let url = url::Url::parse(place.as_plain()).ok()?;
    Some(url.host_str()?.to_owned())
}

/// Returns the option for failures without a setting.
fn of_code(code: &str, stage: Stage) -> Option<&'static str> {
    Some(match code {
        "document_too_large" | "document_redirected" if stage == Stage::ResourceMetadata => {
            "--resource-metadata with the URL of the document, or --authorization-server with the issuer"
        }
        "no_resource" | "resource_metadata_malformed" | "no_authorization_server" => {
            "--authorization-server with the issuer, or --resource-metadata"
        }
        "no_server_metadata"
        | "server_metadata_invalid"
        | "no_authorization_endpoint"
        | "no_endpoint"
        | "document_too_large"
        | "document_redirected" => "--server-metadata FILE",
        "no_code_grant" => "--client-credentials, if the client acts for itself",
        "registration_invalid" => "--client-id, with a client that is registered by hand",
        "registration_method" => "--client-id with --auth-method",
        "redirected" => {
            "--server-metadata FILE with the endpoint that it redirects to, if that is on the same host"
        }
        "redirect_uri_not_registered" => "--redirect-host localhost, or --port",
        "client_method" => "--auth-method, --client-key or --client-secret-prompt",
        "key_missing" => "--dpop-key FILE",
        "signer_failed" => "--client-key or --dpop-key with another key",
        "fresh_token_refused" => advice::OTHER_AUDIENCE,
        "request_too_long" => "--scope with fewer scopes",
        "no_device_grant" => {
            "--no-browser where no browser can be opened here, in place of --device"
        }
        _ => return None,
    })
}

/// Returns the words about scopes that were refused together, of which the next sign-in leaves some out.
pub(crate) fn refused(asked: &str, left_out: &str) -> String {
    format!(
        "the authorization server refused the scopes `{asked}`; the next sign-in asks without `{left_out}`, or with a \
         client that is registered for them"
    )
}

/// Returns the sign-in that ends the need for the user.
pub(crate) fn sign_in_for(why: &Why) -> String {
    let option = if let Why::RenewalRefused { cause } = why {
        cause.details().description.as_ref().and_then(of_renewal)
    } else {
        None
    };
    match option {
        Some(option) => format!("sign in again: {}", speaker::login(option)),
        None => format!("sign in again: {}", speaker::login("")),
    }
}

/// Returns the reason why the user is needed.
pub(crate) fn why(why: &Why) -> String {
    match why {
        Why::NoCredentials => "no token is stored for this server".to_owned(),
        Why::TokenOver => "the token has expired or was refused, and cannot be refreshed".to_owned(),
        Why::RenewalRefused { cause } => {
            let details = cause.details();
            let error = details.error.map_or(String::new(), |error| format!(": {error:?}"));
            let words = details.description.as_ref();
            let words = words.map_or(String::new(), |words| format!(", saying {words:?}"));
            format!("the authorization server does not renew the token{error}{words}")
        }
        Why::ScopeMissing {
            scopes,
            description,
        } => {
            let words = description.as_ref();
            let words = words.map_or(String::new(), |words| format!(", saying {words:?}"));
            format!("the MCP server requires the scopes `{}`{words}", scopes.as_str())
        }
        Why::ServerChanged { from, to } => {
            format!("the MCP server now uses the authorization server {to} instead of {from}")
        }
        Why::ClientForgotten => {
            "the authorization server no longer knows the client; the next sign-in registers a new one"
                .to_owned()
        }
        Why::MethodRefused { refused, next, .. } => format!(
            "the authorization server refused the new client by {}; the next registration asks for {}",
            refused.as_str(),
            next.as_str()
        ),
        Why::ScopesRefused { scopes } => format!(
            "the authorization server refused the scopes `{}`; the next sign-in asks without them, or \
             with a client that is registered for them",
            scopes.as_str()
        ),
        Why::OfflineAccessRefused => {
            "the authorization server refused the scope `offline_access`; it is not asked for again"
                .to_owned()
        }
        other => other.as_str().replace('_', " "),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::CommandFactory;

    /// Each option in a message is an option of `login`.
    #[test]
    fn the_options_that_are_named_exist() {
        let source = include_str!("remedy.rs");
        let (source, _) = source.split_once("#[cfg(test)]").unwrap();
        let command = crate::Arguments::command();
        let login = command.find_subcommand("login").unwrap();
        let options: Vec<_> = login
            .get_arguments()
            .filter_map(|found| found.get_long())
            .collect();
        let mut seen = 0;
        for named in crate::speaker::named(source) {
            assert!(options.contains(&named), "--{named}");
            seen += 1;
        }
        assert!(seen > 15);
    }
}
