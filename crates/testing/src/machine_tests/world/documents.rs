//! The public documents of the servers and of the resource: as they should be, as the liar bends them, and as
//! an honest operator's mistake, or somebody in between, makes them for a while.

use serde::{Deserialize, Serialize};

use super::scanner::POISON;
use super::token_endpoint::{DEVICE_CODE, JWT_BEARER};
use super::{EVIL_URL, How, ISSUERS, LIAR, MCP, World};
use crate::machine_tests::metadata_of;

/// The document of an honest server for a while, until it is put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Flaw {
    /// S256 is not listed.
    NoPkce,
    /// The revocation endpoint is on another origin, everything else is where it was.
    RevocationMoved,
    /// The token endpoint is on another origin.
    TokenMoved,
    /// The endpoint for pushed requests is on another origin.
    PushedMoved,
    /// The server has stopped, or started, to say its name in callbacks, and tells so.
    IssTurned,
    /// The token endpoint is missing.
    NoTokenEndpoint,
}

pub const FLAWS: [Flaw; 6] = [
    Flaw::NoPkce,
    Flaw::RevocationMoved,
    Flaw::TokenMoved,
    Flaw::PushedMoved,
    Flaw::IssTurned,
    Flaw::NoTokenEndpoint,
];

/// The JSON values that a member of another type may have.
pub const ODD: [&str; 10] = [
    "null",
    "true",
    "5",
    "-1",
    "\"\"",
    "\"x\"",
    "[]",
    "[7]",
    "{}",
    "[\"body\",null]",
];

/// The members of every document and answer that the client reads, by kind. `sweep::members` compares them with
/// the codecs.
pub const MEMBERS: [(&str, &[&str]); 6] = [
    (
        "resource",
        &[
            "resource",
            "authorization_servers",
            "scopes_supported",
            "bearer_methods_supported",
            "dpop_bound_access_tokens_required",
            "dpop_signing_alg_values_supported",
            "resource_name",
        ],
    ),
    (
        "server",
        &[
            "issuer",
            "authorization_endpoint",
            "token_endpoint",
            "registration_endpoint",
            "revocation_endpoint",
            "pushed_authorization_request_endpoint",
            "device_authorization_endpoint",
            "require_pushed_authorization_requests",
            "authorization_response_iss_parameter_supported",
            "client_id_metadata_document_supported",
            "response_types_supported",
            "grant_types_supported",
            "scopes_supported",
            "code_challenge_methods_supported",
            "token_endpoint_auth_methods_supported",
            "revocation_endpoint_auth_methods_supported",
            "token_endpoint_auth_signing_alg_values_supported",
            "dpop_signing_alg_values_supported",
            "authorization_grant_profiles_supported",
        ],
    ),
    (
        "registration",
        &[
            "client_id",
            "client_secret",
            "client_secret_expires_at",
            "token_endpoint_auth_method",
            "grant_types",
            "redirect_uris",
            "scope",
            "error",
            "error_description",
        ],
    ),
    (
        "token",
        &[
            "access_token",
            "refresh_token",
            "token_type",
            "expires_in",
            "scope",
            "error",
            "error_description",
            "issued_token_type",
            "acr_values",
            "max_age",
        ],
    ),
    (
        "device",
        &[
            "device_code",
            "user_code",
            "verification_uri",
            "verification_url",
            "verification_uri_complete",
            "expires_in",
            "interval",
        ],
    ),
    (
        "pushed",
        &["request_uri", "expires_in", "error", "error_description"],
    ),
];

/// The members of what is at this URL.
pub fn members(url: &str) -> &'static [&'static str] {
    let url = url.split(' ').next().unwrap_or_default();
    let kind = match url {
        _ if url.contains("/oauth-protected-resource") => "resource",
        _ if url.contains("/.well-known/") => "server",
        _ if url.ends_with("/device") => "device",
        _ if url.ends_with("/register") => "registration",
        _ if url.ends_with("/par") => "pushed",
        _ => "token",
    };
    let known = MEMBERS.iter().find(|(name, _)| *name == kind);
    known.map_or(&[], |(_, members)| members)
}

/// An answer in which one member has another type.
pub fn odd(url: &str, text: &str, member: u8, kind: u8) -> String {
    let members = members(url);
    let Some(name) = usize::from(member).checked_rem(members.len()) else {
        return text.to_owned();
    };
    let mut document: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    if !document.is_object() {
        return text.to_owned();
    }
    let value = ODD[usize::from(kind) % ODD.len()];
    if members[name] == "request_uri" && value == "\"x\"" {
        // Two requests of one name could not be distinguished.
        return text.to_owned();
    }
    document[members[name]] = serde_json::from_str(value).expect("JSON");
    document.to_string()
}

impl World {
    /// Whether a server says its name in callbacks now.
    pub(super) fn says_iss(&self, server: usize) -> bool {
        let turned = self.flaw(server) == Some(Flaw::IssTurned);
        (server == 0) != turned && server != LIAR
    }

    pub(super) fn flaw(&self, server: usize) -> Option<Flaw> {
        self.flaws.get(server).copied().flatten()
    }

    pub(super) fn metadata(&self, issuer: usize, lie: Option<u8>) -> String {
        let own = ISSUERS[issuer];
        let cimd = match self.is_document() {
            true => r#","client_id_metadata_document_supported":true"#,
            false => "",
        };
        let methods = match self.reads_form_first(issuer) {
            true => r#"["client_secret_post","client_secret_basic"]"#,
            false => r#"["none","client_secret_basic","private_key_jwt"]"#,
        };
        let pushed = match self.setup.has(super::Habit::Pushed) {
            true => format!(r#","pushed_authorization_request_endpoint":"{own}/par""#),
            false => String::new(),
        };
        let (device, grant) = match self.setup.has(super::Habit::OtherDevice) {
            true => (
                format!(r#","device_authorization_endpoint":"{own}/device""#),
                format!(r#","{DEVICE_CODE}""#),
            ),
            false => (String::new(), String::new()),
        };
        let iss = r#","authorization_response_iss_parameter_supported":true"#;
        let grants = format!(
            r#","grant_types_supported":["authorization_code","refresh_token","client_credentials","{JWT_BEARER}"{grant}],"authorization_grant_profiles_supported":["urn:ietf:params:oauth:grant-profile:id-jag"],"dpop_signing_alg_values_supported":["ES256"],"revocation_endpoint":"{own}/revoke""#
        );
        let says_iss = self.says_iss(issuer) || lie == Some(4);
        let more = [
            cimd,
            &grants,
            &pushed,
            &device,
            if says_iss { iss } else { "" },
        ]
        .concat();
        let document = metadata_of(own, &more).replace(r#"["none"]"#, methods);
        if issuer != LIAR {
            return self.flawed(issuer, document);
        }
        let authorize = format!("\"{own}/authorize\"");
        let other = ISSUERS[if lie.unwrap_or(0).is_multiple_of(2) {
            0
        } else {
            2
        }];
        match lie {
            None => document,
            // The user signs in at an honest server, the code is to come here.
            Some(0) => document.replace(&authorize, &format!("\"{}/authorize?v=0\"", ISSUERS[2])),
            Some(1) => document
                .replace(&format!("{own}/token"), &format!("{other}/token"))
                .replace(&authorize, &format!("\"{own}/authorize?v=1\"")),
            Some(2) => document.replace(
                &format!("\"issuer\":\"{own}\""),
                &format!("\"issuer\":\"{other}\""),
            ),
            Some(3) => document
                .replace("S256", "plain")
                .replace(&authorize, &format!("\"{own}/authorize?v=3\"")),
            // Allowed, because the callback will tell.
            Some(4) => document.replace(&authorize, &format!("\"{other}/authorize?v=4\"")),
            Some(5) => document.replace(&authorize, "\"javascript:alert(1)//?v=5\""),
            Some(6) => {
                document.replace(&authorize, &format!("\"{own}/authorize?v=6&client_id=x\""))
            }
            Some(_) => document.replace(&authorize, &format!("\"{own}/authorize?v=7\"")),
        }
    }

    fn flawed(&self, issuer: usize, document: String) -> String {
        let own = ISSUERS[issuer];
        let moved = |path: &str| {
            document.replace(&format!("{own}{path}\""), &format!("{EVIL_URL}{path}\""))
        };
        match self.flaw(issuer) {
            None => document,
            Some(Flaw::NoPkce) => document.replace("S256", "plain"),
            Some(Flaw::RevocationMoved) => moved("/revoke"),
            Some(Flaw::TokenMoved) => moved("/token"),
            Some(Flaw::PushedMoved) => moved("/par"),
            Some(Flaw::NoTokenEndpoint) => document.replace("\"token_endpoint\":", "\"x\":"),
            Some(Flaw::IssTurned) => {
                let mark = if issuer == 0 { 8 } else { 9 };
                let authorize = format!("{own}/authorize");
                document.replace(&authorize, &format!("{authorize}?v={mark}"))
            }
        }
    }

    pub(super) fn resource_metadata(&self, how: How) -> String {
        let of = |issuers: &str| {
            format!(
                r#"{{"resource":"{MCP}","authorization_servers":[{issuers}],"scopes_supported":["read"]}}"#
            )
        };
        let quoted = |issuer: usize| format!("\"{}\"", ISSUERS[issuer]);
        match how {
            How::Lie(lie @ 0..3) => of(&quoted(usize::from(lie))),
            How::Lie(3) => of(&quoted(0)).replace(MCP, "https://mcp.example/other"),
            How::Lie(4) => of(""),
            How::Lie(5) => of(&format!("{},{}", quoted(LIAR), quoted(0))),
            How::Lie(6) => of(&format!("\"{}\",\"{POISON}\"", ISSUERS[2])),
            _ => match (self.before, self.also) {
                (Some(before), _) => of(&format!("{},{}", quoted(before), quoted(self.named))),
                (None, Some(also)) => of(&format!("{},{}", quoted(self.named), quoted(also))),
                (None, None) => of(&quoted(self.named)),
            },
        }
    }
}
