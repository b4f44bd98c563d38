//! Giving up, at every step before the user is sent away (AUTHZ-19).

use mcp_auth_machine::config::PreRegistered;
use mcp_auth_machine::error::Cause;
use mcp_auth_machine::event::Authorization;
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_machine::{Action, Event, Phase};

use crate::support::*;
use crate::without_user::{machine_metadata, service};

fn give_up(host: &mut Host) {
    host.handle(Event::Abandoned(Default::default()));
}

/// Cancels, and checks that the authorization fails and no action follows. The operation for which the user was asked is
/// answered already (USE-14).
#[track_caller]
fn is_over(host: &mut Host) {
    give_up(host);
    let failure = host.error();
    assert_eq!(failure.cause, Cause::Abandoned);
    assert_eq!(failure.operation, None);
    host.quiet();
    assert_eq!(host.machine.phase(), Phase::Resting);
}

/// The client has no issuer yet: its record is asked for.
fn to_binding(host: &mut Host, metadata: &str) -> mcp_auth_machine::action::LoadSlot {
    host.store.mode = StoreMode::Manual;
    host.serve(META, 200, metadata);
    loop {
        if let Action::LoadSlot(load) = host.next() {
            return load;
        }
    }
}

#[test]
fn an_attempt_that_is_given_up_is_told_to_nobody_else() {
    let mut host = Host::new(config());
    host.discover_prm_only();
    let send = host.request();
    is_over(&mut host);
    host.handle(send.response(response(200, &[], &metadata())));
    host.quiet();
}

/// A click with more scopes replaces the pending authorization; cancelled while the account is read for that.
#[test]
fn authz_19_an_attempt_is_given_up_while_the_account_is_read_for_it() {
    let mut host = Host::new(config());
    host.to_redirect();
    host.store.mode = StoreMode::Manual;
    let more = Authorization::from(host.next_seed()).scopes(Scopes::parse("more"));
    host.authorize_with(more);
    let Action::PersistSlot(_cleared) = host.next() else {
        panic!()
    };
    let Action::LoadSlot(load) = host.next() else {
        panic!()
    };
    give_up(&mut host);
    assert_eq!(host.error().cause, Cause::Abandoned);
    host.handle(load.found(None));
    host.quiet();
    assert_eq!(host.machine.phase(), Phase::Resting);
}

#[test]
fn an_attempt_is_given_up_while_a_client_is_bound() {
    let pushed = r#","require_pushed_authorization_requests":true,"pushed_authorization_request_endpoint":"https://as.example/par""#;
    let document = metadata_with(pushed).replace("[\"none\"]", "[\"client_secret_basic\"]");
    let unbound = || {
        let client = PreRegistered::new("pre").secret("s");
        let mut host = Host::new(config().pre_registered_unbound(client));
        host.discover_prm_only();
        let load = to_binding(&mut host, &document);
        (host, load)
    };
    let (mut host, load) = unbound();
    is_over(&mut host);
    host.handle(load.found(None));
    host.quiet();
    let (mut host, load) = unbound();
    host.handle(load.found(None));
    let Action::PersistSlot(bind) = host.next() else {
        panic!()
    };
    is_over(&mut host);
    host.handle(bind.done());
    host.quiet();
}

#[test]
fn a_token_without_a_user_is_nothing_that_a_user_gives_up() {
    let config = config()
        .pre_registered_unbound(service())
        .client_credentials();
    let mut host = Host::new(config);
    host.challenged(401, &[&announcing()]);
    host.serve(PRM, 200, &prm());
    let send = host.request();
    give_up(&mut host);
    host.quiet();
    host.actions.push_back(Action::SendRequest(send));
    let document = machine_metadata(AS, r#""client_secret_basic""#, "");
    let load = to_binding(&mut host, &document);
    give_up(&mut host);
    host.quiet();
    host.handle(load.found(None));
    let Action::PersistSlot(bind) = host.next() else {
        panic!()
    };
    give_up(&mut host);
    host.quiet();
    host.handle(bind.done());
    assert_eq!(
        host.request().request().uri().to_string(),
        format!("{AS}/token")
    );
}
