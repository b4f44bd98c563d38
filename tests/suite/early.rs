//! The registration at an authorization server is read beside the request for the server's metadata.

use mcp_auth_machine::action::{LoadSlot, SendRequest};
use mcp_auth_machine::config::{ConfigBuilder, PreRegistered};
use mcp_auth_machine::error::{Cause, Stage, StoreFlaw};
use mcp_auth_machine::slot::{SlotKind, Stored};
use mcp_auth_machine::{Action, Event};

use crate::support::*;

/// The store of a process that registered a client and redirected the user.
fn store_with_registration() -> Store {
    let mut first = Host::new(config());
    first.to_redirect();
    first.store
}

/// A sign-in that fetches metadata from the authorization server.
fn fetching(builder: ConfigBuilder) -> (Host, SendRequest) {
    let mut host = Host::new(builder);
    host.ask(&announcing());
    host.store.mode = StoreMode::Manual;
    host.serve(PRM, 200, &prm());
    let request = host.request_to(META);
    (host, request)
}

#[track_caller]
fn load(host: &mut Host) -> LoadSlot {
    match host.next() {
        Action::LoadSlot(load) => load,
        other => panic!("{other:?}"),
    }
}

fn found(request: SendRequest) -> Event {
    found_with(request, &metadata())
}

fn found_with(request: SendRequest, metadata: &str) -> Event {
    let json = [("content-type", "application/json")];
    request.response(response(200, &json, metadata))
}

#[track_caller]
fn redirects_with_the_stored_client(mut host: Host) {
    let Action::PersistSlot(pending) = host.next() else {
        panic!()
    };
    assert_eq!(pending.slot().kind(), SlotKind::Pending);
    host.handle(pending.done());
    assert_eq!(&*host.redirect().client_id, "dyn-1");
    host.quiet();
}

/// REG-31
#[test]
fn reg_31_a_registration_is_read_while_metadata_is_fetched() {
    let known: Option<Stored> = store_with_registration()
        .of_kind("registration")
        .first()
        .map(|stored| (*stored).clone());
    // The store is faster than the server.
    let (mut host, request) = fetching(config());
    let read = load(&mut host);
    assert_eq!(read.slot().kind(), SlotKind::Registration);
    host.handle(read.found(known.clone()));
    host.quiet();
    host.handle(found(request));
    redirects_with_the_stored_client(host);
    // The server is faster.
    let (mut host, request) = fetching(config());
    let read = load(&mut host);
    host.handle(found(request));
    host.quiet();
    host.handle(read.found(known));
    redirects_with_the_stored_client(host);
    // The store has no registration.
    let (mut host, request) = fetching(config());
    let read = load(&mut host);
    host.handle(read.found(None));
    host.handle(found(request));
    host.request_to(REGISTER);
    host.quiet();
}

/// The registration is read again when the client is chosen; only that read can fail the attempt.
#[test]
fn reg_31_an_early_read_that_failed_is_repeated() {
    let known = store_with_registration().of_kind("registration")[0].clone();
    // It fails before or after the metadata has come.
    for late in [false, true] {
        let (mut host, request) = fetching(config());
        let read = load(&mut host);
        if late {
            host.handle(found(request));
            host.quiet();
            host.handle(read.failed());
        } else {
            host.handle(read.failed());
            host.quiet();
            host.handle(found(request));
        }
        let again = load(&mut host);
        host.quiet();
        host.handle(again.found(Some(known.clone())));
        redirects_with_the_stored_client(host);
    }
    let (mut host, request) = fetching(config());
    let read = load(&mut host);
    host.handle(read.failed());
    host.handle(found(request));
    let again = load(&mut host);
    host.handle(again.failed());
    let failure = host.error();
    assert_eq!(failure.cause, Cause::NotPersisted(StoreFlaw::Load));
    assert_eq!(failure.stage, Stage::Registration);
    host.quiet();
}

/// An early read that does not come is waited for one second from its beginning. The next read has a time limit of its own.
#[test]
fn reg_31_an_early_read_that_hangs_is_repeated() {
    let known = store_with_registration().of_kind("registration")[0].clone();
    // The metadata comes while the early read may still be used, or later.
    for wait in [400, 4_000] {
        let (mut host, request) = fetching(config());
        let early = load(&mut host);
        host.pass(wait);
        host.handle(found(request));
        if wait < 1_000 {
            host.quiet();
            host.pass(599);
            host.handle(Event::Timer);
            host.quiet();
            host.pass(1);
            host.handle(Event::Timer);
        }
        let again = load(&mut host);
        host.pass(29_999);
        host.handle(Event::Timer);
        host.quiet();
        host.handle(early.found(None));
        host.quiet();
        host.handle(again.found(Some(known.clone())));
        redirects_with_the_stored_client(host);
    }
    let (mut host, request) = fetching(config());
    let _early = load(&mut host);
    host.pass(4_000);
    host.handle(found(request));
    let _again = load(&mut host);
    host.pass(30_000);
    host.handle(Event::Timer);
    assert_eq!(host.error().cause, Cause::NotPersisted(StoreFlaw::Load));
}

/// Another process replaces the registration while the server's metadata is fetched.
#[test]
fn reg_31_reg_28_an_early_read_is_not_used_once_it_is_old() {
    let known = store_with_registration().of_kind("registration")[0].clone();
    for (wait, used) in [(999, true), (1_000, false)] {
        for came in [false, true] {
            let (mut host, request) = fetching(config());
            let early = load(&mut host);
            let mut early = Some(early);
            if came {
                host.handle(early.take().unwrap().found(None));
            }
            host.move_clocks(std::time::Duration::from_millis(wait));
            host.handle(found(request));
            if let Some(early) = early
                && used
            {
                host.handle(early.found(None));
            }
            if used {
                host.request_to(REGISTER);
            } else {
                let again = load(&mut host);
                host.handle(again.found(Some(known.clone())));
                redirects_with_the_stored_client(host);
            }
        }
    }
}

/// The result of a read at one server is not used at another one.
#[test]
fn reg_31_the_next_listed_server_has_a_read_of_its_own() {
    let two = prm().replace(
        r#""authorization_servers":["#,
        r#""authorization_servers":["https://gone.example","#,
    );
    assert_ne!(two, prm());
    let mut host = Host::new(config());
    host.ask(&announcing());
    host.store.mode = StoreMode::Manual;
    host.serve(PRM, 200, &two);
    for _entry in ["https://gone.example", AS] {
        let read = load(&mut host);
        host.handle(read.found(None));
    }
    host.serve(
        "https://gone.example/.well-known/oauth-authorization-server",
        404,
        "",
    );
    let first = load(&mut host);
    host.serve(
        "https://gone.example/.well-known/openid-configuration",
        404,
        "",
    );
    let request = host.request_to(META);
    let second = load(&mut host);
    assert_ne!(first.slot(), second.slot());
    host.handle(first.found(None));
    host.handle(found(request));
    host.quiet();
    host.handle(second.found(None));
    host.request_to(REGISTER);
}

/// The slot of a registration has the name that the metadata gives the server, which may have a slash more than the listed one.
#[test]
fn reg_31_a_server_with_a_name_of_its_own_has_a_read_of_its_own() {
    let slash = metadata().replacen(AS, &format!("{AS}/"), 1);
    let (mut host, request) = fetching(config());
    let early = load(&mut host);
    host.handle(found_with(request, &slash));
    let read = load(&mut host);
    assert_ne!(early.slot(), read.slot());
    host.handle(early.found(None));
    host.quiet();
    host.handle(read.found(None));
    host.request_to(REGISTER);
    host.quiet();
}

#[test]
fn reg_31_nothing_is_read_early_where_another_client_may_be_used() {
    let url = "https://client.example/oauth/client.json";
    for builder in [
        config().pre_registered(AS, PreRegistered::new("c")),
        config().client_metadata_url(url),
    ] {
        let (host, _request) = fetching(builder);
        host.quiet();
    }
}
