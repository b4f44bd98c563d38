//! Answers of widely used servers beside the standards: a secret without a method, a secret that is required although the
//! client is public, grants that are refused, and compressed documents (REG-19, REG-24, QUIRK-34, QUIRK-35).

use mcp_auth_machine::action::Why;
use mcp_auth_machine::error::{Cause, Refusal};
use mcp_auth_machine::wire::words::AuthMethod;
use mcp_auth_machine::{Action, Failure};
use serde_json::{Value, json};

use crate::registration::{authentication, methods, registered};
use crate::support::*;

const ALL: &str = r#"["client_secret_basic","client_secret_post","none"]"#;
const NO_SECRET: &str = r#"{"message":"Required parameter: client_secret"}"#;

/// The redirect of a sign-in at a server with all methods, whose registration answers `none`.
fn redirected(host: &mut Host) -> String {
    host.discover(&prm(), &methods(ALL));
    let public = r#"{"client_id":"one","token_endpoint_auth_method":"none"}"#;
    host.serve(REGISTER, 201, public);
    state_of(&host.redirect())
}

fn method_refused(host: &mut Host) -> (AuthMethod, AuthMethod) {
    match host.need_user().why {
        Why::MethodRefused { refused, next, .. } => (refused, next),
        other => panic!("{other:?}"),
    }
}

#[test]
fn reg_24_quirk_34_a_secret_without_a_method_is_used() {
    let secret = r#"{"client_id":"c","client_secret":"s"}"#;
    let request = registered(ALL, secret).unwrap();
    // The default of an absent method (RFC 7591 section 2).
    let header = (Some("Basic Yzpz".to_owned()), None, None);
    assert_eq!(authentication(&request), header);
    let request = registered(r#"["none","client_secret_post"]"#, secret).unwrap();
    let body = (None, Some("c".to_owned()), Some("s".to_owned()));
    assert_eq!(authentication(&request), body);
    // A method that is named decides, and so does a list without a method for secrets (TOK-04).
    let public = (None, Some("c".to_owned()), None);
    let named = r#"{"client_id":"c","client_secret":"s","token_endpoint_auth_method":"none"}"#;
    assert_eq!(authentication(&registered(ALL, named).unwrap()), public);
    let only = registered(r#"["none"]"#, secret).unwrap();
    assert_eq!(authentication(&only), public);
}

#[test]
fn tok_19_quirk_34_a_public_client_that_is_asked_for_a_secret_is_registered_with_one() {
    let described =
        r#"{"error":"invalid_request","error_description":"Client Secret is required"}"#;
    for (status, answer) in [(422, NO_SECRET), (401, NO_SECRET), (400, described)] {
        let mut host = Host::new(config());
        let state = redirected(&mut host);
        host.callback(&format!("code=c-1&state={state}"));
        host.serve(TOKEN, status, answer);
        let next = method_refused(&mut host);
        assert_eq!(
            next,
            (AuthMethod::None, AuthMethod::ClientSecretPost),
            "{answer}"
        );
        host.authorize();
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, &methods(ALL));
        let asked = host.serve(
            REGISTER,
            201,
            r#"{"client_id":"two","client_secret":"s","token_endpoint_auth_method":"client_secret_post"}"#,
        );
        let asked: Value = serde_json::from_slice(asked.body()).unwrap();
        assert_eq!(asked["token_endpoint_auth_method"], "client_secret_post");
        let state = state_of(&host.redirect());
        host.callback(&format!("code=c-2&state={state}"));
        let request = host.serve(TOKEN, 200, &token_answer("at-1"));
        let body = (None, Some("two".to_owned()), Some("s".to_owned()));
        assert_eq!(authentication(&request), body);
        host.ready();
    }
}

#[test]
fn quirk_34_other_refusals_and_a_client_that_has_worked_register_nobody() {
    for (status, answer) in [
        (400, r#"{"error":"invalid_request"}"#),
        (422, r#"{"message":"no"}"#),
        (200, r#"{"message":"the secret"}"#),
        (
            400,
            r#"{"error":"invalid_target","error_description":"secret"}"#,
        ),
    ] {
        let mut host = Host::new(config());
        let state = redirected(&mut host);
        host.callback(&format!("code=c-1&state={state}"));
        host.serve(TOKEN, status, answer);
        host.error();
        host.quiet();
        assert_eq!(host.store.of_kind("registration").len(), 1, "{answer}");
    }
    // A step-up with the client of the account: the account and its client stay.
    let mut host = Host::new(config());
    let state = redirected(&mut host);
    host.callback(&format!("code=c-1&state={state}"));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    let sent = host.token();
    let lacks = r#"Bearer error="insufficient_scope", scope="b""#;
    host.challenged_for("tools/call x", 403, &[lacks], sent.as_deref());
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &methods(ALL));
    let state = loop {
        match host.next() {
            Action::SendRequest(send) => {
                assert_eq!(send.request().uri().to_string(), REGISTER);
                let wider =
                    r#"{"client_id":"one","token_endpoint_auth_method":"none","scope":"b"}"#;
                host.handle(send.response(response(201, &[], wider)));
            }
            Action::Redirect(redirect) => break state_of(&redirect),
            other => panic!("{other:?}"),
        }
    };
    host.callback(&format!("code=c-2&state={state}"));
    host.serve(TOKEN, 422, NO_SECRET);
    host.error();
    assert_eq!(host.store.of_kind("account").len(), 1);
    assert_eq!(host.store.of_kind("registration").len(), 1);
}

/// The bodies of the registration requests, which are all refused, and the failure.
fn refused_requests(host: &mut Host, refusal: &str) -> (Vec<Value>, Failure) {
    let mut bodies = Vec::new();
    loop {
        match host.next() {
            Action::SendRequest(send) => {
                bodies.push(serde_json::from_slice(send.request().body()).unwrap());
                host.handle(send.response(response(400, &[], refusal)));
            }
            Action::Error(failure) => return (bodies, *failure),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn reg_19_reg_28_a_refused_grant_is_left_out_once() {
    let listed = |grants: &str| metadata_with(&format!(r#","grant_types_supported":{grants}"#));
    let code_only = r#"["authorization_code"]"#;
    let silent = r#"{"error":"invalid_client_metadata"}"#;
    let worded = r#"{"error":"invalid_client_metadata","error_description":"only authorization_code grants"}"#;
    let scopes = r#"{"error":"invalid_client_metadata","error_description":"The requested Scope is not granted"}"#;
    let both_named = r#"{"error":"invalid_client_metadata","error_description":"no such scope with refresh_token"}"#;
    let other = r#"{"error":"invalid_redirect_uri","error_description":"no grant for it"}"#;
    for (document, refusal, without_refresh) in [
        // The metadata excludes the grant, or the words name it.
        (listed(code_only), silent, true),
        (metadata(), worded, true),
        // It may be any member: scopes are left out.
        (metadata(), silent, false),
        (
            listed(r#"["authorization_code","refresh_token"]"#),
            silent,
            false,
        ),
        (listed(code_only), other, false),
        // The words name scopes, which are granted as well.
        (metadata(), scopes, false),
        (listed(code_only), scopes, false),
        (metadata(), both_named, true),
    ] {
        let mut host = Host::new(config().scopes("a"));
        host.discover(&prm(), &document);
        let (bodies, failure) = refused_requests(&mut host, refusal);
        let [first, second] = bodies.as_slice() else {
            panic!("{bodies:?}")
        };
        let both = json!(["authorization_code", "refresh_token"]);
        assert_eq!(
            (&first["grant_types"], &first["scope"]),
            (&both, &json!("a"))
        );
        if without_refresh {
            assert_eq!(second["grant_types"], json!(["authorization_code"]));
            assert_eq!(second["scope"], "a");
        } else {
            assert_eq!(second["grant_types"], both);
            assert_eq!(second.get("scope"), None);
        }
        assert!(matches!(
            failure.cause,
            Cause::Refused(Refusal::OAuth { .. })
        ));
    }
}

#[test]
fn reg_19_a_client_without_the_grant_signs_in() {
    let mut host = Host::new(config());
    let document = metadata_with(r#","grant_types_supported":["authorization_code"]"#);
    host.discover(&prm(), &document);
    host.serve(REGISTER, 400, r#"{"error":"invalid_client_metadata"}"#);
    host.serve(
        REGISTER,
        201,
        r#"{"client_id":"c","grant_types":["authorization_code"]}"#,
    );
    let state = state_of(&host.redirect());
    host.callback(&format!("code=c-1&state={state}"));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
}

#[test]
fn quirk_35_a_response_that_was_compressed_is_told_as_such() {
    let packed: &[u8] = &[0x1f, 0x8b, 0x08, 0x00, 0xff, 0xfe, 0x03];
    let coding = [
        ("content-encoding", "gzip"),
        ("content-type", "application/json"),
    ];
    for (body, is_told) in [(packed, true), (b"<html>".as_slice(), false)] {
        let mut host = Host::new(config());
        host.challenged(401, &[&announcing()]);
        host.need_user();
        host.authorize();
        let failure = loop {
            match host.next() {
                Action::SendRequest(send) => {
                    assert_eq!(send.request().headers()["accept-encoding"], "identity");
                    let mut answer = response(200, &coding, "");
                    *answer.body_mut() = bytes::Bytes::copy_from_slice(body);
                    host.handle(send.response(answer));
                }
                Action::Error(failure) => break failure,
                other => panic!("{other:?}"),
            }
        };
        let words = failure.to_string();
        let coding = failure
            .seen
            .iter()
            .find_map(|seen| seen.content_encoding.as_ref());
        assert_eq!(coding.is_some(), is_told, "{words}");
        let told = "compressed (\"gzip\") although `identity` was asked for";
        assert_eq!(words.contains(told), is_told, "{words}");
    }
}
