//! The message of a failure: the event, the responsible party, and the next step (`docs/design.md`, promise 5).

use mcp_auth_machine::config::PreRegistered;
use mcp_auth_machine::{Action, Failure};

use crate::support::*;

const OTHER: &str = "https://b.example";

#[track_caller]
fn says(failure: &Failure, parts: &[&str]) {
    let text = failure.to_string();
    for part in parts {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn an_unreachable_token_endpoint_says_whether_the_code_may_be_spent() {
    const SPENT: &str = "the code may have been consumed";
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let send = host.request();
    host.handle(send.maybe_sent());
    says(&host.error(), &[SPENT, AS]);
    let mut host = Host::new(config());
    host.discover_prm_only();
    let failure = loop {
        match host.actions.pop_front() {
            Some(Action::SendRequest(send)) => host.handle(send.never_sent()),
            Some(Action::Error(failure)) => break failure,
            Some(other) => panic!("{other:?}"),
            None => {
                host.wake();
            }
        }
    };
    says(&failure, &["could not be reached"]);
    assert!(!failure.to_string().contains(SPENT), "{failure}");
}

#[test]
fn metadata_of_another_issuer_is_told_with_both_names() {
    let mut host = Host::new(config());
    host.discover(&prm(), &metadata_of(OTHER, ""));
    host.serve(OPENID, 404, "");
    says(&host.error(), &["META-08", AS, OTHER, "stop using"]);
}

#[test]
fn an_authorization_endpoint_on_another_origin_is_told_with_its_url() {
    let endpoint = format!("{OTHER}/authorize");
    let mut host = Host::new(config());
    let elsewhere = metadata().replace(&format!("{AS}/authorize"), &endpoint);
    host.discover(&prm(), &elsewhere);
    says(&host.error(), &[&endpoint, "configure its origin"]);
}

#[test]
fn a_refusal_says_who_said_no_to_what() {
    for (answer, words) in [
        ("error=access_denied", "the authorization was declined"),
        ("error=invalid_scope", "refused: \"invalid_scope\""),
    ] {
        let mut host = Host::new(config());
        let redirect = host.to_redirect();
        host.callback(&format!("{answer}&state={}", state_of(&redirect)));
        says(&host.error(), &[words, AS]);
    }
    let mut host = Host::new(config());
    host.challenged(403, &[]);
    says(&host.error(), &["the MCP server forbids the operation"]);
}

#[test]
fn a_misconfiguration_says_what_was_configured_and_what_was_found() {
    let mut host = Host::new(config().pre_registered(OTHER, PreRegistered::new("pre")));
    host.discover(&prm(), &metadata());
    says(&host.error(), &[OTHER, AS, "change the configuration"]);
}

#[test]
fn metadata_that_cannot_be_used_is_told_with_its_rule() {
    let token = format!(r#""token_endpoint":"{AS}/token""#);
    for (find, put, parts) in [
        (
            &*token,
            r#""x":"y""#.to_owned(),
            ["META-12", "no token_endpoint"],
        ),
        (
            &*token,
            format!("{token},{token}"),
            ["SEC-14", "repeats a member"],
        ),
    ] {
        let document = metadata();
        assert!(document.contains(find));
        let mut host = Host::new(config());
        host.discover(&prm(), &document.replace(find, &put));
        if let Some(Action::SendRequest(_)) = host.actions.front() {
            host.serve(OPENID, 404, "");
        }
        says(&host.error(), &parts);
    }
}
