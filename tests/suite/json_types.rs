//! Each member of each document that is read, with a value of each JSON type: what becomes of it is
//! decided in a table, so that no wrong type is silently taken for the default (DISC-17, META-20, TOK-12).

use mcp_auth_machine::Action;
use mcp_auth_machine::config::{IssuerSettings, PkceSupport};
use mcp_auth_machine::error::{Cause, Failure};

use crate::sign_out::revocable;
use crate::support::*;

/// A value of each JSON type.
const VALUES: [(&str, &str); 7] = [
    ("null", "null"),
    ("flag", "true"),
    ("number", "5"),
    ("text", r#""x""#),
    ("empty", r#""""#),
    ("list", "[]"),
    ("object", "{}"),
];

/// The effect of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// As if the member were not there.
    Absent,
    /// The same, with a report.
    Reported,
    /// As a value that the member may have.
    Taken,
    /// The document, or what it is needed for, is refused.
    Refused,
}

use Outcome::{Absent, Refused, Reported, Taken};

/// The member, its own types, and what becomes of another one; `null` is absent unless said otherwise.
struct Row {
    member: &'static str,
    own: &'static [&'static str],
    null: Outcome,
    other: Outcome,
}

const fn row(
    member: &'static str,
    own: &'static [&'static str],
    null: Outcome,
    other: Outcome,
) -> Row {
    Row {
        member,
        own,
        null,
        other,
    }
}

fn cells(rows: &[Row]) -> impl Iterator<Item = (&Row, &'static str, &'static str, Outcome)> {
    rows.iter().flat_map(|row| {
        VALUES.into_iter().map(move |(kind, value)| {
            let outcome = if row.own.contains(&kind) {
                Taken
            } else if kind == "null" {
                row.null
            } else {
                row.other
            };
            (row, kind, value, outcome)
        })
    })
}

/// The document with one member set to a value, in place of its own.
fn with(document: &str, member: &str, value: &str) -> String {
    let mut json: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(document).unwrap();
    json.insert(member.into(), serde_json::from_str(value).unwrap());
    serde_json::to_string(&json).unwrap()
}

// ---- The token answer

const TOKEN_ROWS: &[Row] = &[
    row("access_token", &["text"], Refused, Refused),
    // An empty one names no type: it is not Bearer (TOK-12).
    row("token_type", &[], Taken, Refused),
    // TOK-13, TOK-14, SCOPE-12: read for what they are worth.
    row("expires_in", &["number"], Taken, Taken),
    row("refresh_token", &["text"], Taken, Taken),
    row("scope", &["text", "empty"], Taken, Taken),
    // TOK-11: an error is a text.
    row("error", &[], Taken, Taken),
];

#[test]
fn tok_11_tok_12_tok_14_each_member_of_a_token_answer_with_each_json_type() {
    let answer = r#"{"access_token":"t","token_type":"Bearer","expires_in":60}"#;
    for (row, kind, value, outcome) in cells(TOKEN_ROWS) {
        // A text is an error code, an empty one too.
        let outcome = match (row.member, kind) {
            ("error", "text" | "empty") => Refused,
            _ => outcome,
        };
        let mut host = at_token();
        host.serve(TOKEN, 200, &with(answer, row.member, value));
        let taken = matches!(host.actions.front(), Some(Action::Ready(_)));
        assert_eq!(taken, outcome == Taken, "{} as {kind}", row.member);
        let empty = host.store.of_kind("account").is_empty();
        assert_eq!(empty, outcome == Refused, "{} as {kind}", row.member);
    }
}

fn at_token() -> Host {
    let mut host = Host::new(config());
    host.discover(&prm(), &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=x&state={}", state_of(&redirect)));
    host
}

// ---- The registration answer

const REGISTRATION_ROWS: &[Row] = &[
    row("client_id", &["text"], Refused, Refused),
    row("client_secret", &["text", "empty"], Taken, Refused),
    row(
        "client_secret_expires_at",
        &["number", "empty"],
        Taken,
        Refused,
    ),
    row("token_endpoint_auth_method", &["empty"], Taken, Refused),
    // An empty list of grants says nothing (QUIRK-13); one of redirect URIs lacks ours.
    row("grant_types", &["list"], Taken, Taken),
    row("redirect_uris", &[], Taken, Refused),
    row("scope", &["text", "empty"], Taken, Taken),
    row("error_description", &["text"], Taken, Taken),
];

#[test]
fn reg_23_reg_24_each_member_of_a_registration_answer_with_each_json_type() {
    for (row, kind, value, outcome) in cells(REGISTRATION_ROWS) {
        let mut host = Host::new(config());
        let metadata = metadata().replace(r#"["none"]"#, r#"["none","client_secret_post"]"#);
        host.discover(&prm(), &metadata);
        host.serve(
            REGISTER,
            201,
            &with(r#"{"client_id":"c"}"#, row.member, value),
        );
        let taken = matches!(host.actions.front(), Some(Action::Redirect(_)));
        assert_eq!(taken, outcome == Taken, "{} as {kind}", row.member);
    }
}

// ---- The server's metadata

/// Members that a sign-in does not require.
const SERVER_ROWS: &[Row] = &[
    row("revocation_endpoint", &[], Absent, Reported),
    row(
        "pushed_authorization_request_endpoint",
        &[],
        Absent,
        Reported,
    ),
    row(
        "client_id_metadata_document_supported",
        &["flag"],
        Absent,
        Reported,
    ),
    row("response_types_supported", &[], Absent, Reported),
    row("grant_types_supported", &[], Absent, Reported),
    row("scopes_supported", &["list"], Absent, Reported),
    row(
        "token_endpoint_auth_methods_supported",
        &["list"],
        Absent,
        Reported,
    ),
    row(
        "revocation_endpoint_auth_methods_supported",
        &["list"],
        Absent,
        Reported,
    ),
    row(
        "token_endpoint_auth_signing_alg_values_supported",
        &["list"],
        Absent,
        Reported,
    ),
    row(
        "dpop_signing_alg_values_supported",
        &["list"],
        Absent,
        Reported,
    ),
    row(
        "authorization_grant_profiles_supported",
        &["list"],
        Absent,
        Reported,
    ),
    // A server that demands pushed requests and has no endpoint for them is refused; one that only
    // seems to is left to refuse the request itself.
    row(
        "require_pushed_authorization_requests",
        &[],
        Absent,
        Reported,
    ),
    // Its absence is the weaker check: what is not `false` counts as set (META-20).
    row(
        "authorization_response_iss_parameter_supported",
        &[],
        Absent,
        Taken,
    ),
    // Members that a sign-in requires.
    row("issuer", &[], Refused, Refused),
    row("authorization_endpoint", &[], Refused, Refused),
    row("token_endpoint", &[], Refused, Refused),
    row("registration_endpoint", &[], Refused, Refused),
    row("code_challenge_methods_supported", &[], Refused, Refused),
];

#[test]
fn meta_12_meta_20_disc_17_each_member_of_server_metadata_with_each_json_type() {
    for (row, kind, value, outcome) in cells(SERVER_ROWS) {
        let outcome = match (row.member, kind) {
            // A string that is not a URL, or a list without the required value.
            (member, "text" | "empty") if member.ends_with("_endpoint") => Refused,
            ("require_pushed_authorization_requests", "flag") => Refused,
            ("response_types_supported" | "grant_types_supported", "list") => Refused,
            _ => outcome,
        };
        let mut host = Host::new(config());
        host.ask(&announcing());
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, &with(&revocable(""), row.member, value));
        if matches!(&host.actions.front(), Some(Action::SendRequest(send)) if send.request().uri() == OPENID)
        {
            host.serve(OPENID, 404, "");
        }
        if matches!(&host.actions.front(), Some(Action::SendRequest(send)) if send.request().uri() == REGISTER)
        {
            host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
        }
        let name = format!("{} as {kind}", row.member);
        let goes_on = matches!(host.actions.front(), Some(Action::Redirect(_)));
        assert_eq!(goes_on, outcome != Refused, "{name}: {:?}", host.actions);
        let told = host.reported("members_ignored") == 1;
        if outcome != Refused {
            assert_eq!(told, outcome == Reported, "{name}");
        }
        if row.member == "authorization_response_iss_parameter_supported" && outcome == Taken {
            // The server is held to it: a callback without `iss` is invalid.
            let redirect = host.redirect();
            host.callback(&format!("code=x&state={}", state_of(&redirect)));
            assert!(
                matches!(
                    host.error(),
                    Failure {
                        cause: Cause::Violation(_),
                        ..
                    }
                ),
                "{name}"
            );
        }
    }
    // The string `false` does not require `iss`.
    let document = with(
        &metadata(),
        "authorization_response_iss_parameter_supported",
        r#""false""#,
    );
    let mut host = Host::new(config());
    host.discover(&prm(), &document);
    host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=x&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
}

// ---- The resource's metadata

const RESOURCE_ROWS: &[Row] = &[
    row("resource", &[], Refused, Refused),
    row("authorization_servers", &[], Refused, Refused),
    row("scopes_supported", &["list"], Absent, Reported),
    // An empty list names no other method than the header.
    row("bearer_methods_supported", &["list"], Absent, Reported),
    row(
        "dpop_signing_alg_values_supported",
        &["list"],
        Absent,
        Reported,
    ),
    row("resource_name", &["text", "empty"], Absent, Reported),
    // Its absence is the weaker check; this host has no key.
    row("dpop_bound_access_tokens_required", &[], Absent, Refused),
];

#[test]
fn disc_17_disc_24_each_member_of_resource_metadata_with_each_json_type() {
    for (row, kind, value, outcome) in cells(RESOURCE_ROWS) {
        let mut host = Host::new(config());
        host.ask(&announcing());
        host.serve(PRM, 200, &with(&prm(), row.member, value));
        let name = format!("{} as {kind}", row.member);
        let goes_on = matches!(&host.actions.front(), Some(Action::SendRequest(send)) if send.request().uri() == META);
        assert_eq!(goes_on, outcome != Refused, "{name}: {:?}", host.actions);
        if outcome != Refused {
            let told = host.reported("members_ignored") == 1;
            assert_eq!(told, outcome == Reported, "{name}");
        }
    }
}

#[test]
fn pkce_07_a_list_of_another_type_is_no_missing_list_for_an_assertion_of_the_host() {
    // The host asserts what the document does not say; of another type it says nothing.
    let settings = IssuerSettings::new().pkce(PkceSupport::S256Asserted);
    let mut host = Host::new(config().issuer_settings(AS, settings));
    host.discover(
        &prm(),
        &with(&metadata(), "code_challenge_methods_supported", "5"),
    );
    host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
    host.redirect();
    assert_eq!(host.reported("members_ignored"), 1);
}
