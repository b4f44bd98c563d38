//! Scripted hosts and their playbooks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mcp_auth_machine::Config;
use mcp_auth_machine::config::ConfigBuilder;
use mcp_auth_testing::documents::{self, MCP, METADATA, PRM, REDIRECT, TOKEN};
use mcp_auth_testing::{TestHost, TestStore};

fn config() -> ConfigBuilder {
    Config::builder(MCP, REDIRECT).client_name("Test client")
}

/// Returns the message of a failed script.
fn failure(script: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(script)).expect_err("a failure");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(_) => panic!("not a text"),
    }
}

#[test]
fn a_life_with_a_token_as_a_snapshot() {
    let mut host = TestHost::new(config());
    let playbook = host.playbook().clone();
    playbook.chapter("Sign-in");
    host.sign_in(&documents::renewable("at-1", "rt-1", 60));
    host.accepted();
    playbook.chapter("Refresh");
    host.pass(Duration::from_secs(61));
    host.wanted();
    host.serve(TOKEN, 200, &documents::renewable("at-2", "rt-2", 3600));
    host.ready();
    assert_eq!(host.bearer().unwrap(), "Bearer at-2");
    host.accepted();
    playbook.chapter("A refusal, and a refresh that is rejected");
    host.refused(401, r#"Bearer error="invalid_token""#);
    host.serve(PRM, 200, &documents::resource());
    host.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#);
    host.need_user();
    host.finish();
    insta::assert_snapshot!(playbook);
}

#[test]
fn no_secret_is_in_a_playbook() {
    let mut host = TestHost::new(config());
    host.sign_in(&documents::renewable("at-secret", "rt-secret", 60));
    let text = host.playbook().text();
    for secret in ["at-secret", "rt-secret", "code-1", "client-1"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(text.contains("<access_token 1>") && text.contains("<state 1>"));
    host.finish();
}

#[test]
fn a_difference_shows_what_was_expected_what_came_and_how_it_came_to_that() {
    let said = failure(|| {
        let mut host = TestHost::new(config());
        host.refused(401, "Bearer");
        host.need_user();
        host.authorize();
        host.serve(METADATA, 200, "{}");
    });
    insta::assert_snapshot!(said);
}

#[test]
fn a_script_that_is_unfinished_fails() {
    let finished = failure(|| {
        let mut host = TestHost::new(config());
        host.refused(401, "Bearer");
        host.finish();
    });
    let dropped = failure(|| {
        let mut host = TestHost::new(config());
        host.refused(401, "Bearer");
    });
    assert!(finished.contains("at the end of the script"), "{finished}");
    assert_eq!(finished, dropped);
}

#[test]
fn a_restart_finds_the_store() {
    let store = TestStore::new();
    let config = std::sync::Arc::new(config().build().unwrap());
    let mut first = TestHost::on(config.clone(), "alice", store.clone());
    first.sign_in(&documents::token("at-1"));
    let mut second = TestHost::on(config, "alice", store.clone()).after(&first);
    second.ready();
    assert_eq!(second.bearer().unwrap(), "Bearer at-1");
    second.quiet();
    store.loads_fail(true);
    store.writes_fail(true);
    second.refused(401, r#"Bearer error="invalid_token""#);
    second.error();
    second.finish();
}
