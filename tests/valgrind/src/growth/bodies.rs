//! Parsers of bodies and records.

use mcp_auth_machine::key::PublicKey;
use mcp_auth_server::{RedirectRules, RegistrationRequest};
use mcp_auth_valgrind::support::{metadata, prm, renewable};

use crate::cases::{case, numbered, reads};
use crate::messages::{
    BODY, account, at_record, at_registration, at_resource, at_server, at_token, documents, members,
};
use crate::{Case, Work};

pub fn bodies() -> Vec<Case> {
    let resource = members("resource_name", "scopes_supported", "s");
    let server = members(
        "service_documentation",
        "grant_types_supported",
        "authorization_code",
    );
    let registered = members("error_description", "grant_types", "authorization_code");
    let mut cases = documents("resource metadata", &prm(), resource, at_resource);
    cases.extend(documents("server metadata", &metadata(), server, at_server));
    cases.extend(documents(
        "registration",
        r#"{"client_id":"dyn-1"}"#,
        registered,
        at_registration,
    ));
    let granted = members("error_description", "m", "a");
    cases.extend(documents("token", &renewable("a", "r"), granted, at_token));
    let listed = |n, item: fn(usize) -> String| {
        let start = r#"{"resource":"https://mcp.example/mcp","authorization_servers":["https://as.example""#;
        [start, &numbered(n, item), "]}"].concat()
    };
    cases.extend([
        case(
            "resource metadata: one server, repeated",
            BODY / 21,
            move |n| listed(n, |_| ",\"https://as.example\"".to_owned()),
            at_resource,
        ),
        case(
            "resource metadata: servers",
            256,
            move |n| listed(n, |i| format!(",\"http://as{i:03}.example\"")),
            at_resource,
        ),
        case(
            "resource metadata: scopes",
            256,
            |n| {
                prm().replace(
                    '}',
                    &format!(
                        ",\"scopes_supported\":[\"s\"{}]}}",
                        numbered(n - 1, |i| format!(",\"s{i:03}\""))
                    ),
                )
            },
            at_resource,
        ),
        case(
            "registration: a long identifier",
            4_000,
            |n| format!("{{\"client_id\":\"{}\"}}", "a".repeat(n)),
            at_registration,
        ),
        case(
            "token: long tokens",
            64 * 1024,
            |n| renewable(&"a".repeat(n), &"r".repeat(n)),
            at_token,
        ),
        case(
            "token: scopes",
            256,
            |n| {
                renewable("a", "r").replace(
                    '}',
                    &format!(",\"scope\":\"{}\"}}", numbered(n, |i| format!("s{i:03} "))),
                )
            },
            at_token,
        ),
        case(
            "token: spaces between scopes",
            BODY,
            |n| renewable("a", "r").replace('}', &format!(",\"scope\":\"a{}\"}}", " ".repeat(n))),
            at_token,
        ),
    ]);
    cases
}

pub fn records() -> Vec<Case> {
    let with = |from: &'static str, to: fn(usize) -> String| {
        let json = account();
        assert!(json.contains(from), "{from}");
        move |n| json.replacen(from, &to(n), 1)
    };
    vec![
        case(
            "record: a long token",
            64 * 1024,
            with("ACCESS", |n| "a".repeat(n)),
            at_record,
        ),
        case(
            "record: escapes in a token",
            BODY / 6,
            with("ACCESS", |n| "\\u0041".repeat(n)),
            at_record,
        ),
        case(
            "record: white space",
            BODY,
            with("{", |n| format!("{{{}", " ".repeat(n))),
            at_record,
        ),
        case(
            "record: scopes",
            256,
            with("\"granted\":\"", |n| {
                format!("\"granted\":\"{}", numbered(n, |i| format!("s{i:03} ")))
            }),
            at_record,
        ),
    ]
}

/// The helpers for servers.
pub fn servers() -> Vec<Case> {
    let register = |body: String, _: usize| -> Work {
        Box::new(move || {
            let taken =
                RegistrationRequest::parse(body.as_bytes(), &RedirectRules::default()).is_ok();
            Box::new(move || taken)
        })
    };
    let base = r#"{"redirect_uris":["http://127.0.0.1/callback"]}"#;
    let mut cases = documents(
        "registration request",
        base,
        members("client_name", "contacts", "a"),
        register,
    )
    .into_iter()
    // Only `contacts` is a list of strings, and digits are read as a number there.
    .filter(|case| !case.name.ends_with("objects") && !case.name.ends_with("digits"))
    // Its bodies may be a quarter as large as those that the machine reads.
    .map(|case| Case {
        largest: case.largest / 4,
        ..case
    })
    .collect::<Vec<_>>();
    cases.extend([
        case(
            "registration request: a redirect URI",
            1_000,
            |n| {
                let uri = format!("https://a.example/{}", "b/".repeat(n));
                format!("{{\"redirect_uris\":[\"{uri}\"]}}")
            },
            register,
        ),
        case(
            "key: a long member",
            100_000,
            |n| format!(r#"{{"kty":"RSA","e":"AQAB","n":"{}"}}"#, "a".repeat(n)),
            reads(|text, _| {
                PublicKey::from_jwk(text).is_ok_and(|key| key.thumbprint().len() == 43)
            }),
        ),
    ]);
    cases
}
