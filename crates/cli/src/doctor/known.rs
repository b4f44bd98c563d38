//! Authorization servers that are known to deviate: the settings that they need, by their issuers.

use super::findings::{Finding, Mark};
use super::fix::{Fix, Place};
use crate::setting::setting;

/// Returns the findings for the operator of a known authorization server.
pub(super) fn judge_known(issuer: &str) -> Vec<Finding> {
    let Some(host) = url::Url::parse(issuer)
        .ok()
        .and_then(|url| Some(url.host_str()?.to_owned()))
    else {
        return Vec::new();
    };
    let under = |domain: &str| {
        host == domain
            || host
                .strip_suffix(domain)
                .is_some_and(|name| name.ends_with('.'))
    };
    let note = |rule, words: &str, fix: Fix, member: &str, value: &str| {
        Finding::new(Mark::Note, rule, words)
            .fix(fix)
            .option(&setting(issuer, member, value))
    };
    let mut found = Vec::new();
    if under("microsoftonline.com") || under("ciamlogin.com") {
        let resource = Finding::new(
            Mark::Note,
            "QUIRK-04",
            "Microsoft Entra refuses `resource` beside scopes of another application (AADSTS9010010)",
        )
        .fix(
            Fix::member(
                Place::ResourceMetadata,
                "scopes_supported",
                "name scopes of the application whose URI is the URL of the MCP server",
            )
            .source("RFC 8707 section 2"),
        )
        .option("--no-resource");
        found.push(resource);
        found.push(note(
            "QUIRK-31",
            "Microsoft Entra takes a client assertion for its token endpoint only",
            Fix::member(
                Place::TokenResponse,
                "client_assertion",
                "the MCP server changes nothing: clients with a key need the setting",
            )
            .source("RFC 7523 section 3"),
            "client_assertion_audience",
            "\"token_endpoint\"",
        ));
    }
    if under("auth0.com") {
        found.push(note(
            "QUIRK-05",
            "Auth0 ignores `resource` unless its compatibility profile is on, and issues tokens that the \
             MCP server cannot read",
            Fix::member(
                Place::TokenResponse,
                "aud",
                "switch the Resource Parameter Compatibility Profile on, or set a default audience",
            )
            .source("RFC 8707 section 2.2"),
            "authorization_parameters",
            "[[\"audience\",\"…\"]]",
        ));
    }
    if under("accounts.google.com") || under("zoho.com") {
        found.push(note(
            "QUIRK-08",
            "this server issues refresh tokens for `access_type=offline` only",
            Fix::member(
                Place::TokenResponse,
                "refresh_token",
                "the MCP server changes nothing: clients need the setting, or their users sign in again",
            )
            .source("RFC 6749 section 1.5"),
            "authorization_parameters",
            "[[\"access_type\",\"offline\"]]",
        ));
    }
    if under("accounts.google.com") {
        found.push(note(
            "DEV-05",
            "Google shows the page for a device code at www.google.com",
            Fix::member(
                Place::DeviceResponse,
                "verification_uri",
                "the MCP server changes nothing: a sign-in by device code needs the setting",
            )
            .source("RFC 8628 section 3.2"),
            "verification_origin",
            "\"https://www.google.com\"",
        ));
    }
    if under("github.com") {
        found.push(note(
            "QUIRK-06",
            "GitHub registers no clients, and some of its answers are forms",
            Fix::member(
                Place::ResourceMetadata,
                "authorization_servers",
                "list an authorization server of your own in front of it, which registers clients",
            )
            .source("RFC 9728 section 2"),
            "token_answers",
            "\"json_or_form\"",
        ));
    }
    if under("okta.com") || under("oktapreview.com") {
        found.push(note(
            "QUIRK-24",
            "Okta registers clients with an initial access token only",
            Fix::member(
                Place::Registration,
                "Authorization",
                "give users a client identifier or an initial access token",
            )
            .source("RFC 7591 section 3"),
            "initial_access",
            "\"…\"",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The settings are those that the command reads.
    #[test]
    fn each_known_server_has_a_setting_that_exists() {
        for (issuer, count) in [
            ("https://login.microsoftonline.com/tenant/v2.0", 2),
            ("https://tenant.eu.auth0.com/", 1),
            ("https://accounts.google.com", 2),
            ("https://github.com/login/oauth", 1),
            ("https://dev-1.okta.com/oauth2/default", 1),
            ("https://notgithub.com", 0),
            ("https://github.com.example", 0),
        ] {
            let found = judge_known(issuer);
            assert_eq!(found.len(), count, "{issuer}");
            for finding in found {
                let option = finding.option.unwrap();
                assert!(finding.fix.is_some());
                if option == "--no-resource" {
                    continue;
                }
                let (_, file) = option.split_once("the file has ").unwrap();
                let (file, _) = file.split_once(", if that").unwrap();
                crate::lines::config::issuer_settings(file).unwrap();
            }
        }
    }
}
