//! The whole flow, by each kind of client, and on another instance.

use std::sync::Arc;

use mcp_auth_machine::config::{ConfigBuilder, ConfigError};

use crate::support::*;

#[test]
fn reg_16_cold_flow_by_dynamic_registration() {
    let mut host = Host::new(config());
    let grant = host.sign_in();
    assert_eq!(grant.issuer.as_str(), AS);
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
    assert!(host.store.of_kind("pending").is_empty());
    assert_eq!(host.store.of_kind("account").len(), 1);
    host.quiet();
}

#[test]
fn authz_16_the_callback_is_taken_up_by_another_instance() {
    let config = Arc::new(config().build().unwrap());
    let mut first = Host::on(Arc::clone(&config), Store::default());
    let redirect = first.to_redirect();
    let mut second = Host::on(config, std::mem::take(&mut first.store));
    second.callback(&format!("code=c-1&state={}", state_of(&redirect)));
    second.serve(TOKEN, 200, &token_answer("at-1"));
    second.ready();
    assert_eq!(second.token().as_deref(), Some("Bearer at-1"));
}

#[test]
fn a_restart_finds_the_token() {
    let config = Arc::new(config().build().unwrap());
    let mut first = Host::on(Arc::clone(&config), Store::default());
    first.sign_in();
    let mut second = Host::on(config, std::mem::take(&mut first.store));
    second.ready();
    assert_eq!(second.token().as_deref(), Some("Bearer at-1"));
}

/// The `User-Agent` of each request of a cold flow and of a refresh.
fn user_agents(config: ConfigBuilder) -> Vec<String> {
    let mut host = Host::new(config);
    host.ask(&announcing());
    let mut seen = Vec::new();
    let mut answer = |host: &mut Host, url: &str, status, body: &str| {
        let request = host.serve(url, status, body);
        let name = request.headers().get("user-agent").expect("a user agent");
        seen.push(name.to_str().unwrap().to_owned());
    };
    answer(&mut host, PRM, 200, &prm());
    answer(&mut host, META, 200, &metadata());
    answer(&mut host, REGISTER, 201, r#"{"client_id":"client-1"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
    answer(&mut host, TOKEN, 200, &renewable("at-1", "rt-1"));
    host.ready();
    seen
}

#[test]
fn sec_41_every_request_names_the_client_software() {
    let own = concat!("mcp-auth-machine/", env!("CARGO_PKG_VERSION"));
    assert_eq!(user_agents(config()), [own; 4]);
    let named = config().user_agent(" my-client/1.4 (linux) ");
    assert_eq!(user_agents(named), ["my-client/1.4 (linux)"; 4]);
}

#[test]
fn sec_41_a_user_agent_that_no_header_can_carry_is_an_error() {
    for given in ["", " ", "a\r\nauthorization: b", "caf\u{e9}"] {
        let error = config().user_agent(given).build().unwrap_err();
        assert_eq!(error, ConfigError::UserAgent(given.to_owned()));
    }
}
