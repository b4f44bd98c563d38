//! The whole flow, by each kind of client, and on another instance.

use std::sync::Arc;

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
