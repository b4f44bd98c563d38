//! Deviations without a trace in public metadata, which only a sign-in shows; listed by `doctor --all`.

use super::findings::{Finding, Mark};
use super::fix::{Fix, Place};
use crate::setting::setting;

/// Returns what was not examined, for an authorization server; each with its fix and option.
pub(super) fn list(issuer: &str) -> Vec<Finding> {
    let unseen = |rule, words: &str, fix: Fix| Finding::new(Mark::Unseen, rule, words).fix(fix);
    let set = |member: &str, value: &str| setting(issuer, member, value);
    vec![
        unseen(
            "ISS-04",
            "an authorization response without the `iss` that the metadata promises ends the sign-in",
            Fix::member(Place::AuthorizationResponse, "iss", "send the issuer, also with errors")
                .source("RFC 9207 section 2"),
        )
        .option(&set("iss_parameter", "\"not_sent\"")),
        unseen(
            "REG-29",
            "a registration that needs a token or a certain redirect URI is refused",
            Fix::member(
                Place::Registration,
                "redirect_uris",
                "accept loopback URIs by address and by name, with any port, from any client",
            )
            .source("RFC 8252 section 7.3, RFC 7591 section 3"),
        )
        .option("--redirect-host localhost, --port, or --client-id with a client that is registered there"),
        unseen(
            "QUIRK-14",
            "a server that forgets registrations and shows an error page leaves the user without a callback",
            Fix::new(Place::Registration, "keep registrations, or answer `invalid_client` at the token endpoint")
                .source("RFC 6749 section 5.2"),
        )
        .option("--new-client"),
        unseen(
            "REG-21",
            "a token endpoint that refuses the method of its own registration has the client register again",
            Fix::member(
                Place::TokenResponse,
                "client_id",
                "accept each method of token_endpoint_auth_methods_supported; with Basic, read the client from the \
                 header",
            )
            .source("RFC 6749 section 2.3.1"),
        )
        .option("--auth-method with --client-id, where the client is registered already"),
        unseen(
            "TOK-06",
            "a token endpoint that does not decode Basic refuses clients with certain identifiers and secrets",
            Fix::member(
                Place::TokenResponse,
                "Authorization",
                "decode identifier and secret as forms, after base64",
            )
            .source("RFC 6749 section 2.3.1"),
        )
        .option(&set("basic_encoding", "\"raw\"")),
        unseen(
            "QUIRK-06",
            "a token response that is a form, or that names an error with status 200, is not one of OAuth 2.0",
            Fix::new(Place::TokenResponse, "send JSON, and errors with status 400").source("RFC 6749 section 5"),
        )
        .option(&set("token_answers", "\"json_or_form\"")),
        unseen(
            "RES-11",
            "an authorization server that refuses the parameter `resource` refuses every sign-in",
            Fix::member(Place::TokenResponse, "resource", "accept the URL of the MCP server, or ignore it")
                .source("RFC 8707 section 2"),
        )
        .option("--no-resource, if that server is known to be right"),
        unseen(
            "QUIRK-05",
            "an authorization server that ignores `resource` issues tokens that the MCP server refuses",
            Fix::member(Place::TokenResponse, "aud", "issue tokens for `resource`").source("RFC 8707 section 2.2"),
        )
        .option(&set("authorization_parameters", "[[\"audience\",\"…\"]]")),
        unseen(
            "TOK-10",
            "a token endpoint may need parameters of its own",
            Fix::new(Place::TokenResponse, "require no parameters beyond those of the standard")
                .source("RFC 6749 section 4.1.3"),
        )
        .option(&set("token_parameters", "[[\"name\",\"…\"]]")),
        unseen(
            "SCOPE-12",
            "a sign-in that is granted fewer scopes than it asks for says so, and a step-up follows",
            Fix::member(Place::TokenResponse, "scope", "name the scopes that were granted, where they differ")
                .source("RFC 6749 section 5.1"),
        )
        .option("--scope with the scopes that are needed"),
        without_refresh(
            Mark::Unseen,
            "a token response without a refresh token ends the sign-in with the token, which `login` and `status` say",
        ),
        unseen(
            "REFR-03",
            "a token endpoint that needs `scope` to refresh, and does not say so by an error or by other scopes, issues tokens \
             that the MCP server refuses",
            Fix::member(Place::TokenResponse, "scope", "keep the scopes of the grant, where a refresh names none")
                .source("RFC 6749 section 6"),
        )
        .option(&set("refresh_scopes", "\"requested\"")),
        unseen(
            "REFR-06",
            "a refresh that is refused with a code other than `invalid_grant` needs the user as well",
            Fix::member(Place::TokenResponse, "error", "answer `invalid_grant` with status 400 for an expired grant")
                .source("RFC 6749 section 5.2"),
        )
        .option("again, which opens the browser"),
        unseen(
            "TOK-05",
            "a token endpoint may need `client_id` beside a client assertion",
            Fix::member(Place::TokenResponse, "client_id", "read the client from the assertion")
                .source("RFC 7521 section 4.2"),
        )
        .option(&set("client_id_with_assertion", "true")),
        unseen(
            "TOK-08",
            "a token endpoint may take client assertions for its own URL only",
            Fix::member(Place::TokenResponse, "client_assertion", "accept the issuer as `aud`")
                .source("RFC 7523 section 3"),
        )
        .option(&set("client_assertion_audience", "\"token_endpoint\"")),
        unseen(
            "WIF-04",
            "assertions are sent as grants only to servers that list the grant type",
            Fix::member(
                Place::ServerMetadata,
                "grant_types_supported",
                "list urn:ietf:params:oauth:grant-type:jwt-bearer, where such assertions are accepted",
            )
            .source("RFC 8414 section 2, RFC 7523 section 2.1"),
        )
        .option(&set("jwt_bearer", "\"assumed\"")),
        unseen(
            "WIF-05",
            "a token endpoint may take assertions of workloads for its own URL only",
            Fix::member(Place::TokenResponse, "assertion", "accept the issuer as `aud`").source("RFC 7523 section 3"),
        )
        .option(&set("assertion_audience", "\"token_endpoint\"")),
        unseen(
            "DEV-05",
            "a page for a device code on another origin ends the sign-in",
            Fix::member(Place::DeviceResponse, "verification_uri", "name a page at the origin of the issuer")
                .source("RFC 8628 section 3.2"),
        )
        .option(&set("verification_origin", "\"https://…\"")),
        unseen(
            "REV-04",
            "a revocation endpoint that refuses the client leaves the tokens of a sign-out valid",
            Fix::new(
                Place::Revocation,
                "authenticate clients as the token endpoint does, and answer 200 also for unknown tokens",
            )
            .source("RFC 7009 sections 2.1 and 2.2"),
        )
        .option("--auth-method with --client-id, where the client is registered already"),
        unseen(
            "QUIRK-23",
            "a 403 without scopes cannot lead to a step-up",
            Fix::member(
                Place::Challenge,
                "scope",
                "name the scopes that the operation needs, beside error=\"insufficient_scope\"",
            )
            .source("RFC 6750 section 3.1"),
        )
        .option("--scope with the scopes that the operation needs"),
    ]
}

/// Returns the finding about the account of this user, whose sign-in brought no refresh token.
pub(super) fn no_refresh_token() -> Finding {
    without_refresh(
        Mark::Note,
        "the account that is signed in here has no refresh token: its user signs in again when the token expires",
    )
}

fn without_refresh(mark: Mark, words: &str) -> Finding {
    let fix = Fix::member(
        Place::TokenResponse,
        "refresh_token",
        "issue one to clients that register the grant `refresh_token`, or for the scope `offline_access`, which \
         scopes_supported lists",
    );
    Finding::new(mark, "QUIRK-08", words)
        .fix(fix.source("RFC 6749 section 1.5"))
        .option(OFFLINE)
}

/// The options that ask for a refresh token.
const OFFLINE: &str = "--authorization-parameter, as access_type=offline and prompt=consent for Google, or --scope offline_access";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;
    use crate::doctor::known::judge_known;
    use crate::lines::config::issuer_settings;

    /// Returns the members of `--issuer-settings`, which its error lists.
    fn members() -> BTreeSet<String> {
        let Err(flaw) = issuer_settings("[{\"x\":1}]") else {
            return BTreeSet::new();
        };
        let flaw = flaw.to_string();
        let names = flaw.split('`').skip(3).step_by(2);
        names
            .map(str::to_owned)
            .filter(|name| name != "issuer")
            .collect()
    }

    /// Each setting of an issuer has a finding that names it, as the option of a failure, of a known server, or of what
    /// only a sign-in shows.
    #[test]
    fn each_setting_of_an_issuer_has_a_finding() {
        let members = members();
        assert!(members.len() > 12, "{members:?}");
        let known = [
            "https://login.microsoftonline.com/t/v2.0",
            "https://accounts.google.com",
            "https://a.okta.com",
            "https://a.auth0.com",
            "https://github.com/login/oauth",
        ];
        let found = known
            .into_iter()
            .flat_map(judge_known)
            .chain(list("ISSUER"));
        let mut options: Vec<String> = found.filter_map(|finding| finding.option).collect();
        // The failures that public metadata causes.
        options.push(include_str!("../remedy.rs").to_owned());
        options.push(include_str!("../advice.rs").to_owned());
        options.push(include_str!("server.rs").to_owned());
        for member in &members {
            let named = match member.as_str() {
                "pkce" => "--assume-pkce".to_owned(),
                "authorization_origin" => "--authorization-origin ".to_owned(),
                "resource_parameter" => "--no-resource".to_owned(),
                _ => format!("{member}\""),
            };
            assert!(
                options.iter().any(|option| option.contains(&named)),
                "{member}"
            );
        }
        // The values are those that the command reads.
        for finding in list("https://as.example") {
            let option = finding.option.unwrap();
            if let Some((_, file)) = option.split_once("the file has ") {
                let (file, _) = file.split_once(", if that").unwrap();
                issuer_settings(file).unwrap();
            }
        }
    }

    /// Each option of `login` that concerns a server is named by a finding, so that `doctor` leads to it.
    #[test]
    fn each_option_for_a_server_is_named_by_a_finding() {
        // The user's own choices, which no finding calls for.
        let own = [
            "account",
            "store",
            "verbose",
            "json",
            "record",
            "html",
            "help",
            "no-browser",
            "device",
            "timeout",
            "client-secret-file",
            "client-secret-env",
            "client-secret-prompt",
            "until-closed",
            "also-scope",
            "client-credentials",
            "keyring",
            "quiet",
            "no-keyring",
            "version",
        ];
        let source = [
            include_str!("findings.rs"),
            include_str!("server.rs"),
            include_str!("operator.rs"),
            include_str!("unseen.rs"),
            include_str!("known.rs"),
            include_str!("../remedy.rs"),
            include_str!("../advice.rs"),
            include_str!("../probe.rs"),
        ]
        .concat();
        let command = crate::Arguments::command();
        let login = command.find_subcommand("login").unwrap();
        for option in login.get_arguments().filter_map(|found| found.get_long()) {
            let named = source.contains(&format!("--{option}"));
            assert!(named || own.contains(&option), "--{option}");
        }
    }
}
