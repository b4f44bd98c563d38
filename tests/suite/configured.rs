//! Servers that the host configured in the place of a document (DISC-20), and answers that are refused where they arrive.

use std::sync::Arc;

use mcp_auth_machine::action::{Purpose, UrlSource, Why};
use mcp_auth_machine::config::ConfigBuilder;
use mcp_auth_machine::error::{Cause, Violation};
use mcp_auth_machine::event::Abandon;
use mcp_auth_machine::wire::registration::MalformedRegistration;
use mcp_auth_machine::{Action, Event};

use crate::support::*;

const HOUR: u64 = 60 * 60 * 1_000;
const B: &str = "https://b.example";

/// A later process with this configuration, beside an account of another server.
fn later(configured: ConfigBuilder) -> Host {
    let mut first = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    let store = std::mem::take(&mut first.store);
    let mut host = Host::resumed(Arc::new(configured.build().unwrap()), store, first.now, 50);
    host.ready();
    host
}

/// DISC-20, ISO-04
#[test]
fn disc_20_iso_04_an_account_of_another_issuer_than_the_configured_one_is_not_refreshed() {
    let document = metadata_of(B, "").into_bytes();
    let by_document = config().server_metadata(B, document);
    for (configured, reads) in [(config().issuer(B), true), (by_document, false)] {
        let mut host = later(configured);
        // The token is used until it is to be refreshed.
        host.wanted("x");
        host.ready();
        host.pass(2 * HOUR);
        host.wanted("x");
        let Why::ServerChanged { from, to } = host.need_user().why else {
            panic!("the configured issuer is another one")
        };
        assert_eq!((from.as_str(), to.as_str()), (AS, B));
        // That is the consent.
        host.authorize();
        if reads {
            host.serve(&META.replace(AS, B), 200, &metadata_of(B, ""));
        }
        host.serve(
            "https://b.example/register",
            201,
            r#"{"client_id":"dyn-b"}"#,
        );
        let redirect = host.redirect();
        assert_eq!(redirect.issuer.as_str(), B);
        host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
        let answer = renewable("at-b", "rt-b");
        host.serve("https://b.example/token", 200, &answer);
        host.ready();
        host.pass(2 * HOUR);
        host.wanted("x");
        if reads {
            host.serve(&META.replace(AS, B), 200, &metadata_of(B, ""));
        }
        host.serve("https://b.example/token", 200, &answer);
        host.ready();
    }
}

/// DISC-20, ISO-05: the configuration of this process binds no other one.
#[test]
fn disc_20_a_process_without_that_configuration_goes_by_the_resource() {
    let mut host = later(config().issuer(B));
    host.pass(2 * HOUR);
    host.wanted("x");
    host.need_user();
    let store = std::mem::take(&mut host.store);
    let config = Arc::new(config().build().unwrap());
    let mut host = Host::resumed(config, store, host.now, 60);
    host.wanted("x");
    host.serve(META, 200, &metadata());
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
}

/// DISC-20, QUIRK-01
#[test]
fn disc_20_quirk_01_a_configured_issuer_with_a_slash_more_is_the_accounts() {
    let mut host = later(config().issuer(format!("{AS}/")));
    host.pass(2 * HOUR);
    host.wanted("x");
    host.serve(META, 200, &metadata());
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
}

/// SEC-06
#[test]
fn sec_06_the_host_supplied_the_place_of_the_issuer_that_it_configured() {
    for (configured, source) in [
        (config().issuer(AS), UrlSource::Host),
        (config(), UrlSource::McpServer),
    ] {
        let mut host = Host::new(configured);
        host.ask("Bearer");
        if source == UrlSource::McpServer {
            host.serve(PRM, 200, &prm());
        }
        let send = host.request();
        assert_eq!(send.purpose(), Purpose::ServerMetadata);
        assert_eq!(send.supplied_by(), source);
    }
}

/// REG-23, AUTHZ-11
#[test]
fn reg_23_authz_11_a_client_id_that_fits_into_no_url_is_refused_where_it_arrives() {
    let answer = |length: usize| format!(r#"{{"client_id":"{}"}}"#, "i".repeat(length));
    let mut host = Host::new(config());
    host.discover(&prm(), &metadata());
    host.serve(REGISTER, 201, &answer(8 * 1024 + 1));
    let flaw = Violation::Registration(MalformedRegistration::LongClientId);
    assert_eq!(host.error().cause, Cause::Violation(flaw));
    assert!(host.store.of_kind("registration").is_empty());
    // The server is mended.
    host.authorize();
    host.serve(REGISTER, 201, &answer(8 * 1024));
    host.redirect();
    // One that an older version stored is replaced.
    let mut host = Host::new(config());
    host.to_redirect();
    host.handle(Event::Abandoned(Abandon::Cancelled));
    host.error();
    let is_registration = |(key, _): &(&String, &mut _)| key.starts_with("registration");
    for (_, stored) in host.store.slots.iter_mut().filter(is_registration) {
        let text = stored.contents.expose();
        let json = text.splitn(3, '.').nth(2).unwrap();
        *stored = sealed(&json.replace("dyn-1", &"i".repeat(40_000)));
    }
    host.authorize();
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-2"}"#);
    assert_eq!(&*host.redirect().client_id, "dyn-2");
}

/// DISC-16: a registration that is not used any more brings its server no precedence.
#[test]
fn disc_16_a_registration_that_was_reset_puts_its_server_nowhere() {
    for reset in [false, true] {
        let both = prm().replace(&format!("\"{AS}\""), &format!("\"{B}\",\"{AS}\""));
        let mut host = Host::new(config());
        host.to_redirect();
        host.store.mode = match reset {
            // The reset cannot erase it.
            true => StoreMode::WritesFail,
            false => StoreMode::Works,
        };
        host.handle(Event::Abandoned(match reset {
            true => Abandon::ResetRegistration,
            false => Abandon::Cancelled,
        }));
        host.actions.clear();
        host.store.mode = StoreMode::Works;
        host.authorize();
        host.serve(PRM, 200, &both);
        let first = if reset {
            META.replace(AS, B)
        } else {
            META.to_owned()
        };
        let Some(Action::SendRequest(send)) = host.actions.front() else {
            panic!("{:?}", host.actions)
        };
        assert_eq!(send.request().uri().to_string(), first);
    }
}
