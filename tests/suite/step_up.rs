//! Tokens that lack scopes (STEP, E01 to E12), and refusals that nothing helps against (12.1).

use std::sync::Arc;

use mcp_auth_machine::action::{Redirect, Why};
use mcp_auth_machine::config::StepUp;
use mcp_auth_machine::error::{Cause, Next, Refusal, Violation};
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_machine::wire::text::Untrusted;
use mcp_auth_machine::{Action, Event, Failure};

use crate::support::*;

fn answer(token: &str, scope: &str) -> String {
    format!(
        r#"{{"access_token":"{token}","token_type":"Bearer","scope":"{scope}","refresh_token":"rt"}}"#
    )
}

/// Signed in with these scopes, asked for by the first challenge.
fn signed_in(config: mcp_auth_machine::config::ConfigBuilder, scope: &str) -> Host {
    let mut host = Host::new(config);
    host.ask(&format!(
        "Bearer scope=\"{scope}\", resource_metadata=\"{PRM}\""
    ));
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    finish(&mut host, &redirect, &answer("at-0", scope));
    host.accepted("tools/call x");
    host
}

fn finish(host: &mut Host, redirect: &Redirect, answer: &str) {
    host.callback(&format!("code=c&state={}", state_of(redirect)));
    host.serve(TOKEN, 200, answer);
    host.ready();
}

fn lacks(host: &mut Host, operation: &str, scope: &str) {
    let sent = host.token();
    let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
    host.challenged_for(operation, 403, &[&challenge], sent.as_deref());
}

fn consent(host: &mut Host) -> Redirect {
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.redirect()
}

fn insufficient(failure: Failure) -> (Option<Scopes>, u8) {
    match failure.cause {
        Cause::Refused(Refusal::InsufficientScope {
            scopes, attempts, ..
        }) => (scopes, attempts),
        other => panic!("{other:?}"),
    }
}

#[test]
fn step_01_quirk_22_403_and_401_are_answered_alike() {
    for status in [401, 403] {
        let mut host = signed_in(config(), "a");
        let sent = host.token();
        let challenge = "Bearer error=\"insufficient_scope\", scope=\"b\"";
        host.challenged_for("x", status, &[challenge], sent.as_deref());
        let Why::ScopeMissing { scopes, .. } = host.need_user().why else {
            panic!()
        };
        assert_eq!(scopes.as_str(), "b");
        host.quiet();
    }
}

#[test]
fn quirk_22_without_a_token_it_is_a_plain_challenge() {
    for status in [401, 403] {
        let challenge = "Bearer error=\"insufficient_scope\", scope=\"b\"";
        let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
        host.pass(3_600_000);
        host.challenged_for("x", status, &[challenge], None);
        // The expired token is refreshed; the user is not asked for more scopes.
        let renews = |action: &Action| matches!(action, Action::SendRequest(_));
        assert!(host.actions.iter().all(renews), "{:?}", host.actions);
        assert_eq!(host.actions.len(), 1);
    }
}

#[test]
fn step_03_scopes_of_another_resource_or_client_do_not_flow_in() {
    // The same server, for the whole host instead of the endpoint.
    let mut host = signed_in(config(), "old");
    lacks(&mut host, "x", "new");
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &prm().replace(MCP, "https://mcp.example"));
    host.serve(META, 200, &metadata());
    assert_eq!(host.redirect().scopes.as_str(), "new");
    // The same server and resource, for a client of another kind.
    let mut host = signed_in(config(), "old");
    let store = std::mem::take(&mut host.store);
    let document = config().client_metadata_url("https://client.example/id.json");
    let document = std::sync::Arc::new(document.build().unwrap());
    let mut host = Host::resumed(document, store, host.now, 50);
    host.ready();
    lacks(&mut host, "x", "new");
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &prm());
    let takes_documents = metadata_with(r#","client_id_metadata_document_supported":true"#);
    host.serve(META, 200, &takes_documents);
    assert_eq!(host.redirect().scopes.as_str(), "new");
}

/// Each attempt begins the ten minutes again.
#[test]
fn step_07_step_08_the_window_begins_with_the_last_attempt() {
    let mut host = signed_in(config(), "a");
    for number in 1..=3 {
        lacks(&mut host, "x", &format!("s{number}"));
        host.need_user();
        let redirect = consent(&mut host);
        finish(&mut host, &redirect, &answer(&format!("at-{number}"), "a"));
        host.pass(4 * 60_000);
    }
    // Twelve minutes after the first, four after the last.
    lacks(&mut host, "x", "s9");
    let (_, attempts) = insufficient(host.error());
    assert_eq!(attempts, 3);
    host.pass(6 * 60_000);
    lacks(&mut host, "x", "s9");
    host.need_user();
}

#[test]
fn step_01_use_08_a_401_that_names_new_scopes_is_a_step_up_and_no_refresh() {
    let named = "Bearer scope=\"a b\"";
    let mut host = Host::signed_in_by(config(), &announcing(), &renewable("at-1", "rt-1"));
    host.refused(named);
    let Why::ScopeMissing { scopes, .. } = host.need_user().why else {
        panic!()
    };
    assert_eq!(scopes.as_str(), "a b");
    host.quiet();
    // The server says that the token is at fault: it is renewed if it can be.
    let mut host = Host::signed_in_by(config(), &announcing(), &renewable("at-1", "rt-1"));
    host.refused("Bearer error=\"invalid_token\", scope=\"b\"");
    host.serve(PRM, 200, &prm());
    host.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#);
    // Then the user is asked for what is needed, by name.
    let Why::ScopeMissing { scopes, .. } = host.need_user().why else {
        panic!()
    };
    assert_eq!(scopes.as_str(), "b");
}

#[test]
fn step_01_report_mode_makes_no_flow_and_claims_none() {
    let mut host = signed_in(config().step_up(StepUp::Report), "a");
    for _ in 0..5 {
        lacks(&mut host, "x", "b");
        let failure = host.error();
        assert_eq!(failure.next(), Next::AskUser);
        let (scopes, attempts) = insufficient(failure);
        assert_eq!((scopes.unwrap().as_str(), attempts), ("b", 0));
    }
    host.quiet();
    assert!(host.token().is_some());
    // Without anything held the same error comes out.
    let mut host = Host::new(config().step_up(StepUp::Report));
    lacks(&mut host, "x", "b");
    let (scopes, attempts) = insufficient(host.error());
    assert_eq!((scopes.unwrap().as_str(), attempts), ("b", 0));
    host.quiet();
}

#[test]
fn step_02_step_04_the_example_of_the_requirements() {
    let mut host = signed_in(config(), "a b");
    lacks(&mut host, "tools/call x", "c");
    host.need_user();
    host.authorize();
    // The resource offers more; a challenge that names scopes is enough.
    let offers = prm().replace('}', r#","scopes_supported":["all","of","it"]}"#);
    host.serve(PRM, 200, &offers);
    host.serve(META, 200, &metadata());
    let redirect = host.redirect();
    assert_eq!(redirect.scopes.as_str(), "a b c");
    finish(&mut host, &redirect, &answer("at-1", "a c"));
    lacks(&mut host, "tools/call x", "b");
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &offers);
    let redirect = host.redirect();
    assert_eq!(redirect.scopes.as_str(), "a b c");
    finish(&mut host, &redirect, &answer("at-2", "a c"));
    // Still refused: that is permanent, and the end says what was wanted.
    lacks(&mut host, "tools/call x", "b");
    let (scopes, attempts) = insufficient(host.error());
    assert_eq!((scopes.unwrap().as_str(), attempts), ("b", 2));
    host.quiet();
}

#[test]
fn l06_each_set_of_scopes_that_is_granted_costs_one_redirect() {
    let mut host = signed_in(config(), "a");
    let mut granted = "a".to_owned();
    for needed in ["b", "c d", "e"] {
        lacks(&mut host, "x", needed);
        host.need_user();
        let redirect = consent(&mut host);
        granted = format!("{granted} {needed}");
        assert_eq!(redirect.scopes.as_str(), granted);
        finish(&mut host, &redirect, &answer("at", &granted));
        host.accepted("x");
        host.quiet();
    }
}

#[test]
fn step_05_step_06_e03_the_old_token_stays_until_the_new_one_is_committed() {
    let mut host = signed_in(config(), "a");
    lacks(&mut host, "x", "b");
    host.need_user();
    let redirect = consent(&mut host);
    assert_eq!(host.token().as_deref(), Some("Bearer at-0"));
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let send = host.request();
    assert_eq!(host.token().as_deref(), Some("Bearer at-0"));
    host.handle(send.response(response(200, &[], &answer("at-1", "a b"))));
    // Once: the original request is repeated by the host on `Ready`.
    host.ready();
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
}

#[test]
fn step_05_step_11_a_declined_step_up_loses_no_access_and_is_not_asked_again() {
    for cancelled in [false, true] {
        let mut host = signed_in(config(), "a");
        lacks(&mut host, "x", "b");
        host.need_user();
        let redirect = consent(&mut host);
        if cancelled {
            host.handle(Event::Abandoned(Default::default()));
        } else {
            host.callback(&format!(
                "error=access_denied&state={}",
                state_of(&redirect)
            ));
        }
        host.error();
        assert_eq!(host.token().as_deref(), Some("Bearer at-0"));
        lacks(&mut host, "x", "b");
        insufficient(host.error());
        // Another operation may prompt, and the user may consent to it.
        lacks(&mut host, "y", "c");
        host.need_user();
        // The declined scope is not requested with it.
        assert_eq!(consent(&mut host).scopes.as_str(), "a c");
        host.handle(Event::Abandoned(Default::default()));
        host.error();
        host.pass(10 * 60_000);
        lacks(&mut host, "x", "b");
        host.need_user();
    }
}

#[test]
fn step_11_a_server_that_fails_at_the_browser_is_no_refusal_of_the_user() {
    let mut host = signed_in(config(), "a");
    lacks(&mut host, "x", "b");
    host.need_user();
    let redirect = consent(&mut host);
    host.callback(&format!("error=server_error&state={}", state_of(&redirect)));
    host.error();
    lacks(&mut host, "x", "b");
    host.need_user();
}

/// The user says no to what another process asked for, and yes to what this one asks for.
#[test]
fn step_11_s21_a_refusal_of_what_another_process_asked_for_drops_nothing() {
    let mut host = signed_in(config(), "a");
    let store = std::mem::take(&mut host.store);
    let config = Arc::new(config().build().unwrap());
    let mut other = Host::resumed(config, store, host.now, 50);
    other.ready();
    lacks(&mut other, "y", "c");
    other.need_user();
    other.authorize();
    let theirs = other.redirect();
    host.store = std::mem::take(&mut other.store);
    lacks(&mut host, "x", "b");
    host.need_user();
    host.callback(&format!("error=access_denied&state={}", state_of(&theirs)));
    host.error();
    assert_eq!(consent(&mut host).scopes.as_str(), "a b");
}

#[test]
fn step_07_step_08_the_cap_counts_for_each_operation_and_is_remembered() {
    let mut host = signed_in(config(), "a");
    for number in 1..=3 {
        lacks(&mut host, "x", &format!("s{number}"));
        host.need_user();
        let redirect = consent(&mut host);
        finish(&mut host, &redirect, &answer(&format!("at-{number}"), "a"));
    }
    for _ in 0..3 {
        lacks(&mut host, "x", "s9");
        let (_, attempts) = insufficient(host.error());
        assert_eq!(attempts, 3);
    }
    host.quiet();
    // Another operation has its own count; a success or time refills this one.
    lacks(&mut host, "y", "s1");
    host.need_user();
    host.accepted("x");
    lacks(&mut host, "x", "s1");
    host.need_user();
}

/// A token for another operation does not answer a question that was asked beside a token: each step-up is counted.
#[test]
fn step_07_e11_a_ready_beside_a_question_does_not_make_the_answer_free() {
    let mut host = signed_in(config(), "a");
    for step in 0..3 {
        lacks(&mut host, "tools/call x", &format!("s{step}"));
        host.need_user();
        host.wanted("another");
        host.ready();
        let redirect = consent(&mut host);
        finish(&mut host, &redirect, &answer(&format!("at-{step}"), "a"));
    }
    lacks(&mut host, "tools/call x", "s3");
    let (_, attempts) = insufficient(host.error());
    assert_eq!(attempts, 3);
}

/// The user agreed to scopes; a challenge of another operation that names its own does not replace them.
#[test]
fn step_12_step_13_what_a_question_named_is_what_its_answer_requests() {
    let mut host = signed_in(config(), "a");
    lacks(&mut host, "tools/call x", "write");
    host.need_user();
    let sent = host.token();
    let challenge =
        format!("Bearer error=\"invalid_token\", scope=\"read\", resource_metadata=\"{PRM}\"");
    host.challenged_for("another", 401, &[&challenge], sent.as_deref());
    host.serve(PRM, 200, &prm());
    let refresh = renewable("at-1", "rt");
    host.serve(TOKEN, 200, &refresh);
    host.ready();
    host.authorize();
    let redirect = host.redirect();
    let scope = get(&query(redirect.url.as_str()), "scope").unwrap();
    for wanted in ["a", "write", "read"] {
        assert!(scope.split(' ').any(|scope| scope == wanted), "{scope}");
    }
}

#[test]
fn step_09_a_challenge_that_adds_nothing_gets_one_fresh_authorization() {
    let mut host = signed_in(config(), "a b");
    lacks(&mut host, "x", "b");
    host.need_user();
    let redirect = consent(&mut host);
    finish(&mut host, &redirect, &answer("at-1", "a b"));
    lacks(&mut host, "x", "a b");
    insufficient(host.error());
    host.quiet();
    // Something new is another matter.
    lacks(&mut host, "x", "c");
    host.need_user();
}

#[test]
fn step_10_without_scopes_there_is_nothing_to_add() {
    let mut host = signed_in(config(), "a");
    let sent = host.token();
    for challenge in [
        "Bearer error=\"insufficient_scope\"",
        "Bearer error=\"insufficient_scope\", scope=\"\"",
    ] {
        host.challenged_for("x", 403, &[challenge], sent.as_deref());
        assert_eq!(insufficient(host.error()), (None, 0));
    }
    host.quiet();
    assert_eq!(host.token(), sent);
}

#[test]
fn step_12_e04_step_ups_at_once_become_one_with_the_union() {
    let mut host = signed_in(config(), "a");
    lacks(&mut host, "x", "b");
    lacks(&mut host, "y", "c");
    host.need_user();
    host.need_user();
    let redirect = consent(&mut host);
    assert_eq!(redirect.scopes.as_str(), "a b c");
    // A challenge during a pending authorization does not prompt again.
    lacks(&mut host, "z", "d");
    host.quiet();
    finish(&mut host, &redirect, &answer("at-1", "a b c"));
    host.quiet();
}

#[test]
fn step_13_e11_the_host_is_asked_each_time_and_browsers_are_few() {
    let mut host = signed_in(config(), "a");
    let mut redirects = 0;
    for number in 0..40 {
        lacks(&mut host, &format!("op {number}"), &format!("s{number}"));
        // Never a redirect without the host's consent.
        host.need_user();
        host.authorize();
        host.serve(PRM, 200, &prm());
        match host.next() {
            mcp_auth_machine::Action::Redirect(redirect) => {
                redirects += 1;
                finish(&mut host, &redirect, &answer(&format!("at-{number}"), "a"));
            }
            mcp_auth_machine::Action::Error(failure) => {
                assert!(matches!(failure.cause, Cause::OutOfPatience(_)));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(redirects <= 12, "{redirects}");
}

#[test]
fn e01_s21_s24_scopes_without_end_end() {
    let mut host = signed_in(config(), "a");
    let sent = host.token();
    let mut errors = 0;
    for number in 0..1_000 {
        let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"new{number}\"");
        host.challenged_for("x", 403, &[&challenge], sent.as_deref());
        match host.next() {
            mcp_auth_machine::Action::NeedUser(_) => {}
            mcp_auth_machine::Action::Error(failure) => {
                insufficient(*failure);
                errors += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(errors > 700, "{errors}");
    let redirect = consent(&mut host);
    assert!(redirect.scopes.len() <= 256);
}

#[test]
fn e02_l08_ping_pong_ends_and_recovers() {
    let mut host = signed_in(config(), "a");
    let mut rounds = 0;
    // Alternately refused and short of scopes, for ever, with a helpful user.
    for number in 0..100 {
        if number % 2 == 0 {
            lacks(&mut host, "x", &format!("s{number}"));
        } else {
            let sent = host.token();
            host.challenged_for("x", 401, &["Bearer"], sent.as_deref());
        }
        while let Some(action) = host.actions.pop_front() {
            match action {
                mcp_auth_machine::Action::NeedUser(_) => host.authorize(),
                mcp_auth_machine::Action::SendRequest(send) => {
                    let url = send.request().uri().to_string();
                    let text = match url.as_str() {
                        PRM => prm(),
                        META => metadata(),
                        _ => answer(&format!("at-{number}"), "a"),
                    };
                    host.handle(send.response(response(200, &[], &text)));
                }
                mcp_auth_machine::Action::Redirect(redirect) => {
                    rounds += 1;
                    host.callback(&format!("code=c&state={}", state_of(&redirect)));
                }
                mcp_auth_machine::Action::Ready(_) | mcp_auth_machine::Action::Error(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert!((1..=3).contains(&rounds), "{rounds}");
    // An honest server again: it heals.
    host.accepted("x");
    lacks(&mut host, "x", "b");
    host.need_user();
    let redirect = consent(&mut host);
    finish(&mut host, &redirect, &answer("at-ok", "a b"));
    assert_eq!(host.token().as_deref(), Some("Bearer at-ok"));
}

#[test]
fn e06_s14_a_scope_cannot_bring_parameters() {
    let mut host = signed_in(config(), "a");
    lacks(&mut host, "x", "b&redirect_uri=https://evil.example/ c#d");
    host.need_user();
    let redirect = consent(&mut host);
    let found = query(redirect.url.as_str());
    assert_eq!(get(&found, "redirect_uri").as_deref(), Some(REDIRECT));
    let scope = get(&found, "scope").unwrap();
    assert!(scope.starts_with("a b&redirect_uri=https://evil.example/ c#d"));
}

#[test]
fn e07_offline_access_is_not_taken_from_the_resource_without_the_server() {
    // The challenge may name it as any scope; the machine adds it only where the server lists it.
    let mut host = signed_in(config(), "a");
    lacks(&mut host, "x", "b");
    host.need_user();
    assert!(!consent(&mut host).scopes.contains("offline_access"));
}

#[test]
fn use_07_e09_quirk_23_a_plain_403_is_final_and_changes_nothing() {
    let mut host = signed_in(config(), "a");
    let sent = host.token();
    for challenge in [
        &[][..],
        &["Bearer"][..],
        &["Bearer error=\"invalid_token\""][..],
        &["Basic"][..],
    ] {
        host.challenged_for("x", 403, challenge, sent.as_deref());
        assert_eq!(
            host.error().cause,
            Cause::Refused(Refusal::Forbidden { description: None })
        );
        host.quiet();
    }
    assert_eq!(host.token(), sent);
}

#[test]
fn use_07_use_12_other_statuses_change_nothing() {
    let mut host = signed_in(config(), "a");
    let sent = host.token();
    for status in [200, 302, 404, 405, 407, 429, 500, 503] {
        let challenge = "Bearer error=\"insufficient_scope\", scope=\"b\"";
        host.challenged_for("x", status, &[challenge], sent.as_deref());
        host.quiet();
    }
    host.challenged_for(
        "x",
        400,
        &["Bearer error=\"invalid_request\""],
        sent.as_deref(),
    );
    assert_eq!(
        host.error().cause,
        Cause::Refused(Refusal::InvalidRequest { description: None })
    );
    assert_eq!(host.token(), sent);
}

#[test]
fn chal_what_a_later_challenge_leaves_out_is_still_known() {
    let mut host = Host::new(config());
    let place = "https://mcp.example/meta";
    host.challenged(
        401,
        &[&format!(
            "Bearer scope=\"a\", resource_metadata=\"{place}\""
        )],
    );
    host.need_user();
    host.ask("Bearer");
    host.serve(place, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    assert_eq!(host.redirect().scopes.as_str(), "a");
}

#[test]
fn e08_a_fresh_token_that_is_refused_is_the_end_for_a_stream_too() {
    // The same rules for POST and for opening or reopening a stream: an operation is a name.
    let mut host = Host::new(config());
    host.sign_in();
    for operation in ["GET stream", "POST initialize"] {
        let words = "Bearer error=\"invalid_token\", error_description=\"wrong audience\"";
        host.challenged_for(operation, 401, &[words], Some("Bearer at-1"));
        let failure = host.error();
        let description = Some(Untrusted::new("wrong audience"));
        assert_eq!(
            failure.cause,
            Cause::Violation(Violation::FreshTokenRefused { description })
        );
        assert!(failure.to_string().contains("saying \"wrong audience\""));
    }
    host.quiet();
}

#[test]
fn scopes_survive_a_restart_for_the_next_step_up() {
    let mut host = signed_in(config(), "a b");
    let store = std::mem::take(&mut host.store);
    let mut later = Host::resumed(
        Arc::new(config().build().unwrap()),
        store,
        host.now,
        host.seeds,
    );
    later.ready();
    lacks(&mut later, "x", "c");
    later.need_user();
    later.authorize();
    // Metadata and registration are still stored.
    assert_eq!(later.redirect().scopes.as_str(), "a b c");
}

#[test]
fn step_08_sixty_four_operations_are_remembered() {
    for (others, forgotten) in [(63, false), (64, true)] {
        let mut host = signed_in(config(), "a");
        lacks(&mut host, "x", "b");
        host.need_user();
        consent(&mut host);
        host.handle(Event::Abandoned(Default::default()));
        host.error();
        for number in 0..others {
            lacks(&mut host, &format!("y{number}"), "a");
            host.need_user();
        }
        lacks(&mut host, "x", "b");
        if forgotten {
            host.need_user();
        } else {
            insufficient(host.error());
        }
    }
}
