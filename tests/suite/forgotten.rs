//! Servers that forget or refuse a dynamic client: whose word ends what, and how the machine continues
//! (TOK-19, QUIRK-14, STEP-05, STEP-07).

use std::sync::Arc;

use mcp_auth_machine::action::{Redirect, Why};
use mcp_auth_machine::config::{PushedRequests, RegistrationSharing};
use mcp_auth_machine::error::{Cause, Next, Refusal, StoreFlaw};
use mcp_auth_machine::event::Abandon;
use mcp_auth_machine::wire::words::AuthMethod;
use mcp_auth_machine::{Action, Event};

use crate::registration::{authentication, methods};
use crate::support::*;

const HOUR: u64 = 3_600_000;
const LACKS: &str = r#"Bearer error="insufficient_scope", scope="b""#;
const PAR: &str = "https://as.example/par";

fn error(code: &str) -> String {
    format!(r#"{{"error":"{code}"}}"#)
}

fn reset(host: &mut Host) {
    host.handle(Event::Abandoned(Abandon::ResetRegistration));
}

fn registrations(host: &Host) -> usize {
    host.store.of_kind("registration").len()
}

fn refused(cause: &Cause) -> bool {
    matches!(cause, Cause::Refused(Refusal::OAuth { .. }))
}

/// A consent, with whatever documents are asked for; the method of a registration that is made.
#[track_caller]
fn consent(host: &mut Host, metadata: &str, client: &str) -> (Redirect, Option<String>) {
    host.authorize();
    let mut method = None;
    loop {
        match host.next() {
            Action::SendRequest(send) => {
                let url = send.request().uri().to_string();
                let text = match url.as_str() {
                    PRM => prm(),
                    META => metadata.to_owned(),
                    PAR => r#"{"request_uri":"urn:x","expires_in":60}"#.to_owned(),
                    REGISTER => {
                        let asked: serde_json::Value =
                            serde_json::from_slice(send.request().body()).unwrap();
                        let named = asked["token_endpoint_auth_method"].as_str().unwrap();
                        method = Some(named.to_owned());
                        let secret = if named == "none" {
                            String::new()
                        } else {
                            r#","client_secret":"s""#.to_owned()
                        };
                        format!(
                            r#"{{"client_id":"{client}","token_endpoint_auth_method":"{named}"{secret}}}"#
                        )
                    }
                    other => panic!("{other}"),
                };
                let status = if matches!(url.as_str(), REGISTER | PAR) {
                    201
                } else {
                    200
                };
                host.handle(send.response(response(status, &[], &text)));
            }
            Action::Redirect(redirect) => return (redirect, method),
            other => panic!("{other:?}"),
        }
    }
}

fn come_back(host: &mut Host, redirect: &Redirect) {
    host.callback(&format!("code=c&state={}", state_of(redirect)));
}

#[test]
fn reg_21_tok_19_a_new_client_that_is_refused_is_registered_with_the_next_method() {
    let listed = methods(r#"["client_secret_basic","client_secret_post"]"#);
    for code in ["invalid_client", "unauthorized_client"] {
        let mut host = Host::new(config());
        host.challenged(401, &[&announcing()]);
        host.need_user();
        let (redirect, method) = consent(&mut host, &listed, "one");
        assert_eq!(method.as_deref(), Some("client_secret_post"));
        come_back(&mut host, &redirect);
        let request = host.serve(TOKEN, 401, &error(code));
        // One authentication in a request (TOK-05).
        let in_body = (None, Some("one".to_owned()), Some("s".to_owned()));
        assert_eq!(authentication(&request), in_body);
        let Why::MethodRefused {
            issuer,
            refused,
            next,
        } = host.need_user().why
        else {
            panic!()
        };
        assert_eq!(issuer.as_str(), AS);
        assert_eq!(refused, AuthMethod::ClientSecretPost);
        assert_eq!(next, AuthMethod::ClientSecretBasic);
        let (redirect, method) = consent(&mut host, &listed, "two");
        assert_eq!(method.as_deref(), Some("client_secret_basic"));
        come_back(&mut host, &redirect);
        let request = host.serve(TOKEN, 200, &token_answer("at-1"));
        let header = (Some("Basic dHdvOnM=".to_owned()), None, None);
        assert_eq!(authentication(&request), header);
        host.ready();
    }
}

#[test]
fn tok_19_c08_a_second_refusal_ends_the_attempt_and_no_dead_client_is_kept() {
    let listed = methods(r#"["client_secret_post","client_secret_basic"]"#);
    let mut host = Host::new(config());
    host.challenged(401, &[&announcing()]);
    for client in ["one", "two"] {
        host.need_user();
        let (redirect, _) = consent(&mut host, &listed, client);
        come_back(&mut host, &redirect);
        host.serve(TOKEN, 401, &error("invalid_client"));
    }
    assert!(refused(&host.error().cause));
    host.quiet();
    assert_eq!(registrations(&host), 0);
}

#[test]
fn tok_19_unauthorized_client_at_a_refresh_is_a_forgotten_client() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    host.pass(HOUR);
    host.wanted("x");
    host.serve(META, 200, &metadata());
    host.serve(TOKEN, 400, &error("unauthorized_client"));
    // The client worked before, so its authentication method is not at fault.
    assert_eq!(host.need_user().why, Why::ClientForgotten);
    assert_eq!(registrations(&host), 0);
    host.quiet();
}

#[test]
fn authz_21_tok_19_a_refused_pushed_request_replaces_the_client() {
    let more = format!(r#","pushed_authorization_request_endpoint":"{PAR}""#);
    let metadata = metadata_with(&more);
    let pushing = || config().pushed_requests(PushedRequests::WhenOffered);
    for code in ["invalid_client", "unauthorized_client"] {
        let mut host = Host::new(pushing());
        host.discover(&prm(), &metadata);
        host.serve(REGISTER, 201, r#"{"client_id":"one"}"#);
        host.serve(PAR, 401, &error(code));
        assert_eq!(host.need_user().why, Why::ClientForgotten);
        assert_eq!(
            (registrations(&host), host.store.of_kind("pending").len()),
            (0, 0)
        );
        let (redirect, method) = consent(&mut host, &metadata, "two");
        assert_eq!(method.as_deref(), Some("none"));
        assert_eq!(&*redirect.client_id, "two");
    }
    // A server that needs a rest is not broken.
    let mut host = Host::new(pushing());
    host.discover(&prm(), &metadata);
    host.serve(REGISTER, 201, r#"{"client_id":"one"}"#);
    host.serve_with(PAR, 503, &[("retry-after", "7")], &error("invalid_client"));
    assert!(matches!(host.error().next(), Next::RetryLater(Some(_))));
    assert_eq!(registrations(&host), 1);
}

#[test]
fn authz_19_a_pushed_request_under_way_can_be_given_up() {
    let more = format!(r#","pushed_authorization_request_endpoint":"{PAR}""#);
    let mut host = Host::new(config().pushed_requests(PushedRequests::WhenOffered));
    host.discover(&prm(), &metadata_with(&more));
    host.serve(REGISTER, 201, r#"{"client_id":"one"}"#);
    let send = host.request();
    host.handle(Event::Abandoned(Abandon::Cancelled));
    assert_eq!(host.error().cause, Cause::Abandoned);
    assert!(host.store.of_kind("pending").is_empty());
    host.handle(send.response(response(201, &[], r#"{"request_uri":"urn:x"}"#)));
    host.quiet();
}

#[test]
fn quirk_14_authz_19_a_registration_is_reset_at_rest() {
    // After the time at an error page.
    let mut host = Host::new(config());
    host.to_redirect();
    host.pass(10 * 60_000);
    host.handle(Event::Timer);
    host.error();
    assert_eq!(registrations(&host), 1);
    reset(&mut host);
    assert_eq!(host.need_user().why, Why::ClientForgotten);
    assert_eq!(registrations(&host), 0);
    assert_eq!(host.reported("registration_forgotten"), 1);
    let (redirect, _) = consent(&mut host, &metadata(), "two");
    assert_eq!(&*redirect.client_id, "two");
}

/// A reset continues the step-up that the unknown client stopped: the user declined nothing.
#[test]
fn quirk_14_step_12_a_reset_keeps_what_was_asked_for() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    let sent = host.token();
    host.challenged_for("tools/call x", 403, &[LACKS], sent.as_deref());
    host.need_user();
    consent(&mut host, &metadata(), "dyn-1");
    reset(&mut host);
    host.error();
    assert_eq!(host.need_user().why, Why::ClientForgotten);
    let (redirect, _) = consent(&mut host, &metadata(), "dyn-2");
    let scope = get(&query(redirect.url.as_str()), "scope");
    assert_eq!(scope.as_deref(), Some("b"));
}

#[test]
fn quirk_14_s20_a_reset_keeps_tokens_that_work() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    let store = std::mem::take(&mut host.store);
    let config = Arc::new(config().build().unwrap());
    // A new process knows the client from its account.
    let mut later = Host::resumed(config, store, host.now, 9);
    later.ready();
    reset(&mut later);
    assert_eq!(later.need_user().why, Why::ClientForgotten);
    assert_eq!(registrations(&later), 0);
    assert_eq!(later.token().as_deref(), Some("Bearer at-1"));
}

#[test]
fn quirk_14_a_new_process_without_an_account_registers_anew_after_a_reset() {
    let mut host = Host::new(config());
    host.to_redirect();
    let config = Arc::new(config().build().unwrap());
    let store = std::mem::take(&mut host.store);
    let mut later = Host::resumed(config, store, host.now, 9);
    reset(&mut later);
    assert_eq!(later.need_user().why, Why::ClientForgotten);
    let (redirect, method) = consent(&mut later, &metadata(), "two");
    assert_eq!(
        (&*redirect.client_id, method.as_deref()),
        ("two", Some("none"))
    );
    assert_eq!(registrations(&later), 1);
    // Once: this one is used again.
    later.handle(Event::Abandoned(Abandon::Cancelled));
    later.error();
    let (redirect, method) = consent(&mut later, &metadata(), "three");
    assert_eq!((&*redirect.client_id, method), ("two", None));
}

#[test]
fn quirk_14_a_reset_while_a_request_is_under_way_follows_it() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    come_back(&mut host, &redirect);
    let send = host.request();
    reset(&mut host);
    host.quiet();
    host.handle(send.response(response(200, &[], &token_answer("at-1"))));
    host.ready();
    assert_eq!(host.need_user().why, Why::ClientForgotten);
    assert_eq!(registrations(&host), 0);
    assert!(host.token().is_some());
}

#[test]
fn reg_31_unfinished_sign_ins_share_one_registration() {
    let mut host = Host::new(config());
    host.to_redirect();
    for _ in 0..3 {
        host.handle(Event::Abandoned(Abandon::Cancelled));
        host.error();
        let (redirect, method) = consent(&mut host, &metadata(), "another");
        assert_eq!((&*redirect.client_id, method), ("dyn-1", None));
    }
}

#[test]
fn s20_step_05_a_front_channel_error_ends_no_token() {
    for code in ["unauthorized_client", "invalid_client"] {
        let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
        let sent = host.token();
        host.challenged_for("tools/call x", 403, &[LACKS], sent.as_deref());
        host.need_user();
        let (redirect, _) = consent(&mut host, &metadata(), "unused");
        host.callback(&format!("error={code}&state={}", state_of(&redirect)));
        assert_eq!(host.need_user().why, Why::ClientForgotten);
        assert_eq!(registrations(&host), 0);
        assert_eq!(host.token(), sent);
        // The refresh token still goes to the client that it was issued to.
        host.pass(HOUR);
        host.wanted("x");
        host.serve(META, 200, &metadata());
        let form = body(&host.serve(TOKEN, 200, &renewable("at-2", "rt-2")));
        assert_eq!(get(&form, "refresh_token").as_deref(), Some("rt-1"));
        assert_eq!(get(&form, "client_id").as_deref(), Some("dyn-1"));
        host.ready();
    }
}

#[test]
fn s20_iso_12_a_front_channel_error_forgets_no_registration_of_others() {
    let shared = config().registration_sharing(RegistrationSharing::AcrossPrincipals);
    let mut host = Host::new(shared);
    let redirect = host.to_redirect();
    host.pass(HOUR);
    let state = state_of(&redirect);
    host.now = mcp_auth_testing::moment(host.now.wall.0 - HOUR, host.now.mono.0 - HOUR);
    host.callback(&format!("error=unauthorized_client&state={state}"));
    assert!(refused(&host.error().cause));
    host.quiet();
    assert_eq!(registrations(&host), 1);
}

#[test]
fn tok_19_iso_12_a_shared_registration_is_forgotten_once_a_minute() {
    let shared = || config().registration_sharing(RegistrationSharing::AcrossPrincipals);
    let shared = Arc::new(shared().build().unwrap());
    let mut store = Store::default();
    let mut made = 0;
    for (number, minutes) in [(0, 0), (1, 2), (2, 0), (3, 0), (4, 2)] {
        let user = format!("user {number}");
        let mut host = Host::for_user(Arc::clone(&shared), std::mem::take(&mut store), &user);
        host.seeds = 10 * number + 10;
        host.pass(u64::from(number) * 100);
        host.challenged(401, &[&announcing()]);
        host.need_user();
        let (redirect, method) = consent(&mut host, &metadata(), &format!("client {number}"));
        made += usize::from(method.is_some());
        host.pass(minutes * 60_000);
        come_back(&mut host, &redirect);
        host.serve(TOKEN, 401, &error("invalid_client"));
        match host.next() {
            Action::NeedUser(need) => assert_eq!(need.why, Why::ClientForgotten),
            Action::Error(failure) => assert!(refused(&failure.cause)),
            other => panic!("{other:?}"),
        }
        store = std::mem::take(&mut host.store);
    }
    // The first is too young when its user returns; the second and the last user end one each.
    assert_eq!(made, 2);
}

/// The registration was made a moment ago, and is kept: a refresh for the next operation would be rejected likewise.
#[test]
fn tok_19_l10_a_storm_with_a_shared_registration_that_is_kept_refreshes_once() {
    let shared = config().registration_sharing(RegistrationSharing::AcrossPrincipals);
    let mut host = Host::new(shared);
    let redirect = host.to_redirect();
    come_back(&mut host, &redirect);
    host.serve(TOKEN, 200, &renewable_for("at-1", "rt-1", "20"));
    host.ready();
    host.pass(21_000);
    host.wanted("x");
    let send = host.request_to(TOKEN);
    for operation in ["y", "z"] {
        host.wanted(operation);
    }
    host.handle(send.response(response(401, &[], &error("invalid_client"))));
    for operation in ["x", "y", "z"] {
        let failure = host.error();
        assert_eq!(failure.operation, Some(operation.into()));
    }
    host.quiet();
    assert_eq!(registrations(&host), 1);
    // After a pause it is tried again.
    host.pass(10_000);
    host.wanted("x");
    host.serve(META, 200, &metadata());
    host.request_to(TOKEN);
}

#[test]
fn quirk_14_invalid_grant_right_after_a_sign_in_replaces_an_older_client_once() {
    let mut host = Host::new(config());
    host.to_redirect();
    host.handle(Event::Abandoned(Abandon::Cancelled));
    host.error();
    host.pass(HOUR);
    // The client is an hour old: perhaps the server was restarted meanwhile.
    let (redirect, _) = consent(&mut host, &metadata(), "unused");
    come_back(&mut host, &redirect);
    host.serve(TOKEN, 400, &error("invalid_grant"));
    assert_eq!(host.need_user().why, Why::ClientForgotten);
    assert_eq!(registrations(&host), 0);
    // A client that was just registered is not at fault.
    let (redirect, _) = consent(&mut host, &metadata(), "two");
    come_back(&mut host, &redirect);
    host.serve(TOKEN, 400, &error("invalid_grant"));
    assert!(refused(&host.error().cause));
    assert_eq!(registrations(&host), 1);
    host.quiet();
}

/// The dead client is not kept, whichever operation of the store fails while it is forgotten.
#[test]
fn tok_19_s26_a_store_that_fails_once_keeps_no_dead_client() {
    for mode in [StoreMode::LoadsFail, StoreMode::WritesFail] {
        let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
        host.pass(HOUR);
        host.wanted("x");
        host.serve(META, 200, &metadata());
        let send = host.request();
        host.store.mode = mode;
        host.handle(send.response(response(401, &[], &error("invalid_client"))));
        let flaw = match mode {
            StoreMode::LoadsFail => StoreFlaw::Load,
            StoreMode::WritesFail | StoreMode::Works | StoreMode::Manual => StoreFlaw::Write,
        };
        assert_eq!(host.error().cause, Cause::NotPersisted(flaw));
        host.quiet();
        host.store.mode = StoreMode::Works;
        // A sign-in does not use it, although it is still stored.
        assert_eq!(registrations(&host), 1);
        host.authorize();
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, &metadata());
        host.serve(REGISTER, 201, r#"{"client_id":"two"}"#);
        assert_eq!(&*host.redirect().client_id, "two");
    }
}

#[test]
fn step_07_after_a_forgotten_client_the_operation_is_authorized_even_without_step_ups() {
    let mut host = Host::new(config().step_ups_per_operation(0));
    let redirect = host.to_redirect();
    come_back(&mut host, &redirect);
    host.serve(TOKEN, 401, &error("invalid_client"));
    assert_eq!(host.need_user().why, Why::ClientForgotten);
    let (redirect, _) = consent(&mut host, &metadata(), "two");
    come_back(&mut host, &redirect);
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
}

#[test]
fn step_07_e11_a_person_may_cancel_and_sign_in_as_often_as_they_like() {
    let mut host = Host::new(config());
    host.to_redirect();
    for _ in 0..20 {
        host.handle(Event::Abandoned(Abandon::Cancelled));
        host.error();
        // Not locked for the operation either, which asks again.
        host.authorize();
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, &metadata());
        host.redirect();
    }
    host.handle(Event::Abandoned(Abandon::Cancelled));
    host.error();
    host.challenged(401, &[&announcing()]);
    host.need_user();
}

/// A reset is another flow than the refresh that is refused an hour later.
#[test]
fn quirk_14_tok_19_a_reset_long_ago_leaves_the_next_refusal_to_the_user() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    reset(&mut host);
    assert_eq!(host.need_user().why, Why::ClientForgotten);
    host.pass(2 * HOUR);
    host.wanted("x");
    host.serve(META, 200, &metadata());
    host.serve(TOKEN, 401, &error("invalid_client"));
    assert_eq!(host.need_user().why, Why::ClientForgotten);
    host.quiet();
}

/// A step-up, for which the metadata is fetched again.
fn step_up(host: &mut Host, metadata: &str) {
    host.pass(600_000);
    let sent = host.token();
    let challenge = r#"Bearer error="insufficient_scope", scope="more""#;
    host.challenged_for("tools/call x", 403, &[challenge], sent.as_deref());
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, metadata);
}

#[test]
fn tok_19_refr_11_s20_another_origin_does_not_end_the_account() {
    let pushing = || config().pushed_requests(PushedRequests::WhenOffered);
    let par = "https://b.example/par";
    let token = "https://b.example/token";
    let elsewhere = [
        (metadata().replace(TOKEN, token), token),
        (
            metadata_with(&format!(
                r#","pushed_authorization_request_endpoint":"{par}""#
            )),
            par,
        ),
    ];
    for (moved, refuses) in elsewhere {
        let mut host = Host::signed_in(pushing(), &renewable("at-1", "rt-1"));
        step_up(&mut host, &moved);
        if refuses == token {
            let redirect = host.redirect();
            come_back(&mut host, &redirect);
        }
        host.serve(refuses, 401, &error("invalid_client"));
        assert_eq!(host.need_user().why, Why::ClientForgotten);
        assert_eq!(registrations(&host), 0);
        // Another endpoint issued these tokens.
        assert_eq!(host.token().as_deref(), Some("Bearer at-1"), "{refuses}");
        host.wanted("y");
        host.ready();
    }
    // The token endpoint of the account has the last word.
    let mut host = Host::signed_in(pushing(), &renewable("at-1", "rt-1"));
    step_up(&mut host, &metadata());
    let redirect = host.redirect();
    come_back(&mut host, &redirect);
    host.serve(TOKEN, 401, &error("invalid_client"));
    assert_eq!(host.need_user().why, Why::ClientForgotten);
    assert_eq!(host.token(), None);
}
