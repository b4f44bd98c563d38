//! The resource's word about a server binds tokens of authorizations that began before it, at whichever instance they
//! arrive (ISO-04, ISO-05).

use std::sync::Arc;

use mcp_auth_machine::action::{Redirect, Why};

use crate::support::*;

const HOUR: u64 = 3_600_000;
const OTHER: &str = "https://b.example";
const OTHER_META: &str = "https://b.example/.well-known/oauth-authorization-server";

fn prm_of(issuer: &str) -> String {
    prm().replace(AS, issuer)
}

/// Another instance on the store of one with an account and a pending authorization.
fn instances() -> (Host, Redirect) {
    let mut first = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    first.authorize();
    let redirect = first.redirect();
    let store = std::mem::take(&mut first.store);
    let built = Arc::new(config().build().unwrap());
    let mut second = Host::resumed(built, store, first.now, 50);
    second.ready();
    (second, redirect)
}

/// The code of the first instance arrives at this one, which exchanges it for a token.
fn comes_back(host: &mut Host, redirect: &Redirect) {
    host.callback(&format!("code=c-2&state={}", state_of(redirect)));
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
}

/// Before anything is refreshed the resource is asked; it lists the other server alone, and then both.
fn is_asked_about(host: &mut Host) {
    host.pass(2 * HOUR);
    host.wanted("x");
    host.serve(PRM, 200, &prm_of(OTHER));
    let Why::ServerChanged { from, to } = host.need_user().why else {
        panic!()
    };
    assert_eq!((from.as_str(), to.as_str()), (AS, OTHER));
    host.quiet();
    host.pass(2_000);
    host.wanted("x");
    let both = format!("\"{AS}\",\"{OTHER}\"");
    host.serve(PRM, 200, &prm().replace(&format!("\"{AS}\""), &both));
    host.serve(META, 200, &metadata());
    let form = body(&host.serve(TOKEN, 200, &renewable("at-3", "rt-3")));
    assert_eq!(get(&form, "refresh_token").as_deref(), Some("rt-2"));
    host.ready();
}

#[test]
fn iso_04_iso_05_a_code_of_before_does_not_list_a_server_again() {
    let (mut host, redirect) = instances();
    host.refused("Bearer");
    host.serve(PRM, 200, &prm_of(OTHER));
    assert!(matches!(host.need_user().why, Why::ServerChanged { .. }));
    comes_back(&mut host, &redirect);
    is_asked_about(&mut host);
}

#[test]
fn iso_04_iso_05_nor_does_one_that_a_third_instance_takes_up() {
    let (mut host, redirect) = instances();
    host.refused("Bearer");
    host.serve(PRM, 200, &prm_of(OTHER));
    host.need_user();
    let store = std::mem::take(&mut host.store);
    let built = Arc::new(config().build().unwrap());
    let mut third = Host::resumed(built, store, host.now, 90);
    third.ready();
    comes_back(&mut third, &redirect);
    is_asked_about(&mut third);
}

#[test]
fn iso_04_iso_10_a_code_of_before_does_not_undo_a_move_unasked() {
    let (mut host, redirect) = instances();
    host.pass(1_000);
    host.authorize();
    host.serve(PRM, 200, &prm_of(OTHER));
    host.serve(OTHER_META, 200, &metadata_of(OTHER, ""));
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &prm_of(OTHER));
    host.serve(OTHER_META, 200, &metadata_of(OTHER, ""));
    host.serve(
        &format!("{OTHER}/register"),
        201,
        r#"{"client_id":"other"}"#,
    );
    let other = host.redirect();
    host.callback(&format!("code=c-b&state={}", state_of(&other)));
    host.serve(&format!("{OTHER}/token"), 200, &renewable("bt-1", "brt-1"));
    host.ready();
    // The account that another process reads says so as well.
    let store = std::mem::take(&mut host.store);
    let built = Arc::new(config().build().unwrap());
    let mut third = Host::resumed(built, store, host.now, 90);
    third.ready();
    comes_back(&mut third, &redirect);
    is_asked_about(&mut third);
}
