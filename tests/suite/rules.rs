//! Rules that cut across the areas: what is kept, what is never mixed, what never shows.

use std::sync::Arc;

use mcp_auth_machine::action::{Purpose, Why};
use mcp_auth_machine::config::PreRegistered;
use mcp_auth_machine::error::{Cause, Misconfiguration, Violation};
use mcp_auth_machine::event::Challenge;
use mcp_auth_machine::wire::text::Untrusted;
use mcp_auth_machine::{Action, Event};

use crate::support::*;

const OTHER: &str = "https://b.example";
const OTHER_META: &str = "https://b.example/.well-known/oauth-authorization-server";

fn signed_in(config: mcp_auth_machine::config::ConfigBuilder) -> Host {
    let mut host = Host::new(config);
    host.sign_in();
    host.accepted("tools/call x");
    host
}

/// The resource names another server from now on.
fn moved(host: &mut Host) {
    let challenge = announcing();
    host.challenged_for("tools/call x", 401, &[&challenge], Some("Bearer at-1"));
    host.serve(PRM, 200, &prm().replace(AS, OTHER));
}

#[test]
fn iso_09_s34_a06_the_user_is_asked_before_a_known_resource_moves() {
    let mut host = signed_in(config());
    moved(&mut host);
    let need = host.need_user();
    let Why::ServerChanged { from, to } = need.why else {
        panic!("{need:?}")
    };
    assert_eq!((from.as_str(), to.as_str()), (AS, OTHER));
    // Declined: what was held is still held.
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
    // Agreed: a client of its own, nothing of the old server, and a change only with the new token.
    host.authorize();
    host.serve(OTHER_META, 200, &metadata_of(OTHER, ""));
    host.serve(&format!("{OTHER}/register"), 201, r#"{"client_id":"b-1"}"#);
    let redirect = host.redirect();
    assert!(redirect.new_issuer);
    assert_eq!(&*redirect.client_id, "b-1");
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(&format!("{OTHER}/token"), 200, &token_answer("bt-1"));
    assert_eq!(host.ready().issuer.as_str(), OTHER);
    assert_eq!(host.token().as_deref(), Some("Bearer bt-1"));
}

/// The user says no to the move: a later click does not consent to it.
#[test]
fn iso_09_s34_a_refused_move_is_asked_about_again() {
    let mut host = signed_in(config());
    moved(&mut host);
    host.need_user();
    host.handle(Event::Abandoned(Default::default()));
    host.authorize();
    host.serve(OTHER_META, 200, &metadata_of(OTHER, ""));
    assert!(matches!(host.need_user().why, Why::ServerChanged { .. }));
    host.quiet();
}

#[test]
fn reg_14_iso_03_a_metadata_url_moves_along_and_tokens_do_not() {
    const CIMD: &str = "https://client.example/client.json";
    let flag = r#","client_id_metadata_document_supported":true"#;
    let mut host = Host::new(config().client_metadata_url(CIMD));
    host.discover(&prm(), &metadata_with(flag));
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    host.accepted("tools/call x");
    moved(&mut host);
    host.need_user();
    host.authorize();
    host.serve(OTHER_META, 200, &metadata_of(OTHER, flag));
    assert_eq!(&*host.redirect().client_id, CIMD);
}

#[test]
fn iso_06_c13_a_configured_client_does_not_move() {
    let mut host = Host::new(config().pre_registered(AS, PreRegistered::new("pre")));
    host.discover(&prm(), &metadata());
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    host.accepted("tools/call x");
    moved(&mut host);
    let failure = host.error();
    let Cause::Misconfigured(Misconfiguration::OtherIssuer { configured, found }) = failure.cause
    else {
        panic!("{failure:?}")
    };
    assert_eq!((configured[0].as_str(), found.as_str()), (AS, OTHER));
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
}

#[test]
fn meta_15_iss_11_s06_a22_the_callback_leg_uses_the_frozen_server_and_discovers_nothing() {
    let config = Arc::new(config().build().unwrap());
    let mut host = Host::on(Arc::clone(&config), Store::default());
    let redirect = host.to_redirect();
    // Meanwhile the cached metadata names other endpoints; the record does not care.
    let mut store = std::mem::take(&mut host.store);
    store.slots.retain(|key, _| key.starts_with("pending"));
    let mut later = Host::on(config, store);
    later.callback(&format!("code=c&state={}", state_of(&redirect)));
    let send = later.request();
    assert_eq!(send.purpose(), Purpose::Token);
    assert_eq!(send.request().uri().to_string(), format!("{AS}/token"));
}

#[test]
fn meta_13_defaults_of_absent_members() {
    // No list of methods: a secret goes by Basic.
    let document = metadata().replace(r#","token_endpoint_auth_methods_supported":["none"]"#, "");
    let document = document.replace("[\"none\"]", "null");
    let mut host = Host::new(config().pre_registered(AS, PreRegistered::new("c").secret("s")));
    host.discover(&prm(), &document);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    assert!(
        host.request()
            .request()
            .headers()
            .contains_key("authorization")
    );
}

/// A member of another type says nothing, whatever it is.
#[test]
fn meta_13_sec_14_a_member_of_another_type_counts_as_absent() {
    for other in [
        "null",
        "true",
        "-1",
        "1",
        "1.5",
        r#""none""#,
        r#"{"a":[{}]}"#,
    ] {
        let document = metadata().replace("[\"none\"]", other);
        let mut host = Host::new(config().pre_registered(AS, PreRegistered::new("c").secret("s")));
        host.discover(&prm(), &document);
        let redirect = host.redirect();
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        let send = host.request();
        assert!(
            send.request().headers().contains_key("authorization"),
            "{other}"
        );
        if other.starts_with('"') {
            continue;
        }
        // No endpoint, so no registration.
        let register = format!(r#""registration_endpoint":"{AS}/register""#);
        let document = metadata();
        assert!(document.contains(&register));
        let without = format!(r#""registration_endpoint":{other}"#);
        let mut host = Host::new(config());
        host.discover(&prm(), &document.replace(&register, &without));
        assert!(matches!(
            host.error().cause,
            Cause::Misconfigured(Misconfiguration::NoClient { .. })
        ));
    }
}

#[test]
fn scope_09_a_refresh_token_is_not_expected() {
    let mut host = signed_in(config());
    assert!(host.token().is_some());
    let text = spelled_out(host.store.of_kind("account")[0].contents.expose());
    assert!(text.contains(r#""access""#) && !text.contains(r#""refresh""#));
}

#[test]
fn res_06_a_resource_with_a_fragment_is_refused() {
    let mut host = Host::new(config());
    host.ask(&announcing());
    host.serve(PRM, 200, &prm().replace(MCP, &format!("{MCP}#f")));
    assert!(matches!(
        host.error().cause,
        Cause::Violation(Violation::OtherResource { .. })
    ));
}

#[test]
fn authz_03_authz_04_only_codes_with_state_and_challenge() {
    for _ in 0..3 {
        let mut host = Host::new(config());
        let found = query(host.to_redirect().url.as_str());
        assert_eq!(get(&found, "response_type").as_deref(), Some("code"));
        assert_eq!(get(&found, "state").unwrap().len(), 22);
        assert!(get(&found, "code_challenge").is_some());
    }
}

#[test]
fn cb_04_later_parameters_are_not_read() {
    // Wrong `iss` and a token in the front channel and both answers: the issuer alone is named.
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    let query = format!(
        "code=1&error=x&access_token=t&iss=https://evil.example&state={}",
        state_of(&redirect)
    );
    host.callback(&query);
    assert!(matches!(
        host.error().cause,
        Cause::Violation(Violation::Iss(_))
    ));
}

#[test]
fn tok_17_the_record_of_a_token() {
    let host = signed_in(config());
    let text = spelled_out(host.store.of_kind("account")[0].contents.expose());
    for member in [
        r#""principal":"alice""#,
        r#""mcp_url":"https://mcp.example/mcp""#,
        r#""issuer":"https://as.example""#,
        r#""resource":"https://mcp.example/mcp""#,
        r#""id":"dyn-1""#,
        r#""requested":"#,
        r#""granted":"#,
        r#""received":1800000000000"#,
        r#""lifetime":3600"#,
    ] {
        assert!(text.contains(member), "{member} in {text}");
    }
}

#[test]
fn sec_11_answers_of_discovery_are_not_reflected() {
    let mut host = Host::new(config());
    host.ask(&announcing());
    host.serve_with(PRM, 500, &[("x-internal", "INTERNAL")], "INTERNAL");
    host.serve(
        "https://mcp.example/.well-known/oauth-protected-resource",
        404,
        "INTERNAL",
    );
    let failure = host.error();
    let shown = format!("{failure:?} {failure} {:?}", host.reports);
    assert!(!shown.contains("INTERNAL"));
}

#[test]
fn sec_28_i02_i03_i04_peer_text_is_cut_and_cleaned() {
    let text = Untrusted::new("a\u{1b}[31m\u{202e}b\r\nc\u{e9}");
    assert_eq!(text.as_plain(), "a[31mbc");
    assert_eq!(Untrusted::new(&"x".repeat(9_999)).as_plain().len(), 512);
    assert_eq!(format!("{:?}", Untrusted::new("a\"b")), r#""a\"b""#);
    assert!(Untrusted::new("\r\n\u{202e}").is_empty() && !Untrusted::new("\r\na").is_empty());
}

#[test]
fn sec_30_choosing_a_known_server_sends_nothing_to_the_others() {
    let config = config()
        .pre_registered(
            "https://c.example",
            PreRegistered::new("c-id").secret("c-secret"),
        )
        .prefer_issuer(OTHER);
    let mut host = Host::new(config);
    let both = format!(
        r#"{{"resource":"{MCP}","authorization_servers":["https://c.example","{OTHER}"]}}"#
    );
    host.ask(&announcing());
    host.serve(PRM, 200, &both);
    let request = host.serve(OTHER_META, 200, &metadata_of(OTHER, ""));
    assert!(request.body().is_empty() && !request.headers().contains_key("authorization"));
    // No client for the preferred one: an error, not the other's client.
    assert!(matches!(host.error().cause, Cause::Misconfigured(_)));
}

#[test]
fn quirk_21_an_entry_that_is_a_document_is_taken_as_an_issuer() {
    let mut host = Host::new(config());
    host.ask(&announcing());
    host.serve(PRM, 200, &prm().replace(AS, META));
    assert_eq!(host.reported("entry_looks_like_document"), 1);
    let first = host.request().request().uri().to_string();
    let wanted = "https://as.example/.well-known/oauth-authorization-server/.well-known/oauth-authorization-server";
    assert_eq!(first, wanted);
}

#[test]
fn use_11_e04_many_callers_one_question_and_one_ready() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    for operation in ["a", "b", "c"] {
        host.challenged_for(operation, 401, &["Bearer"], None);
    }
    host.quiet();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    host.quiet();
}

#[test]
fn s25_the_same_events_give_the_same_actions() {
    let run = || {
        let mut host = Host::new(config());
        let redirect = host.to_redirect();
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        host.serve(TOKEN, 200, &token_answer("at-1"));
        host.ready();
        let stored: Vec<_> = host
            .store
            .slots
            .iter()
            .map(|(key, stored)| (key.clone(), stored.contents.expose().to_owned()))
            .collect();
        (
            redirect.url.as_str().to_owned(),
            stored,
            format!("{:?}", host.reports),
        )
    };
    assert_eq!(run(), run());
}

#[test]
fn l04_g11_floods_are_bounded_and_the_good_callback_still_works() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.store.mode = StoreMode::Manual;
    for number in 0..1_000 {
        host.callback(&format!("code=x&state=AAAAAAAAAAAAAAAAAA{number:04}"));
    }
    assert!(host.actions.len() <= 1);
    assert!(host.reported("event_dropped") > 900);
    host.store.mode = StoreMode::Works;
    host.callback(&format!("code=good&state={}", state_of(&redirect)));
    // The lookup under way is answered, then ours comes first.
    let Action::LoadSlot(load) = host.next() else {
        panic!()
    };
    host.handle(load.found(None));
    let form = body(host.request().request());
    assert_eq!(get(&form, "code").as_deref(), Some("good"));
}

#[test]
fn refr_12_sign_out_forgets_and_discards() {
    let mut host = signed_in(config());
    host.handle(Event::SignedOut);
    assert_eq!(host.token(), None);
    assert!(host.store.of_kind("account").is_empty());
    // An exchange under way: its answer is discarded.
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let send = host.request();
    host.handle(Event::SignedOut);
    assert_eq!(host.error().cause, Cause::Abandoned);
    host.handle(send.response(response(200, &[], &token_answer("at-1"))));
    host.quiet();
    assert_eq!(host.token(), None);
    // A machine that has not read the slot yet still erases it.
    let mut first = signed_in(config());
    let mut store = std::mem::take(&mut first.store);
    store.mode = StoreMode::LoadsFail;
    let mut later = Host::on(Arc::new(config().build().unwrap()), store);
    later.error();
    later.store.mode = StoreMode::Works;
    later.handle(Event::SignedOut);
    assert!(later.store.of_kind("account").is_empty());
}

#[test]
fn a_403_without_a_token_is_judged_by_its_challenge() {
    let mut host = Host::new(config());
    host.challenged(403, &["Bearer scope=\"a\""]);
    host.need_user();
    let challenge = Challenge::new("x", 403, http::HeaderMap::new());
    host.handle(Event::Challenged(challenge));
    assert!(matches!(host.error().cause, Cause::Refused(_)));
}

#[test]
fn use_01_use_02_use_05_the_token_is_a_sensitive_header_value_over_a_protected_channel() {
    let mut host = signed_in(config());
    let value = host.machine.bearer(host.now, MCP).unwrap();
    assert!(value.is_sensitive());
    assert_eq!(value.to_str().unwrap(), "Bearer at-1");
    // Never for a plain channel, whatever the configuration says of the resource.
    let plain = MCP.replace("https", "http");
    assert!(host.machine.bearer(host.now, &plain).is_err());
    // No request of the machine carries an access token in a URL or a body.
    host.refused("Bearer");
    let send = host.request();
    assert!(!send.request().uri().to_string().contains("at-1"));
    assert!(send.request().body().is_empty());
    assert!(!send.request().headers().contains_key("authorization"));
}

#[test]
fn d03_s04_a_code_that_was_sent_before_a_crash_is_not_sent_again() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    let callback = format!("code=c-1&state={}", state_of(&redirect));
    host.callback(&callback);
    let _lost = host.request();
    // The process dies; the user's browser reloads the callback in the next one.
    let (now, seeds) = (host.now, host.seeds);
    let store = std::mem::take(&mut host.store);
    let mut later = Host::resumed(Arc::new(config().build().unwrap()), store, now, seeds);
    later.callback(&callback);
    later.quiet();
    assert_eq!(later.reported("callback_ignored"), 1);
    // A new authorization is all it takes.
    later.wanted("x");
    later.need_user();
    later.authorize();
    assert_ne!(state_of(&later.redirect()), state_of(&redirect));
}

#[test]
fn d26_s05_two_machines_of_one_process_share_no_entropy() {
    // A machine contains no random source: each attempt uses the seed passed in with it, and a seed cannot be
    // copied.
    let config = Arc::new(config().build().unwrap());
    let attempt = |seeds: u8| {
        let mut host = Host::on(Arc::clone(&config), Store::default());
        host.seeds = seeds;
        let found = query(host.to_redirect().url.as_str());
        (get(&found, "state"), get(&found, "code_challenge"))
    };
    let (first, second) = (attempt(1), attempt(2));
    assert_ne!(first.0, second.0);
    assert_ne!(first.1, second.1);
    assert_eq!(attempt(1), first);
}

#[test]
fn h01_h06_answers_are_read_by_the_role_of_their_question() {
    // A token answer where metadata was asked for, and metadata where a token was.
    let mut host = Host::new(config());
    host.ask(&announcing());
    host.serve(PRM, 200, &token_answer("t"));
    assert!(matches!(host.error().cause, Cause::Violation(_)));
    assert_eq!(host.token(), None);
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &metadata());
    assert!(matches!(host.error().cause, Cause::Violation(_)));
    assert_eq!(host.token(), None);
    // An answer consumes its action, so it cannot be given twice; an answer to an abandoned action changes
    // nothing.
    let mut host = signed_in(config());
    host.refused("Bearer");
    let late = host.request();
    host.wake();
    let before = host.actions.len();
    host.handle(late.response(response(200, &[], &prm())));
    assert_eq!(host.actions.len(), before);
}

#[test]
fn cb_a_callback_of_another_user_or_server_is_nobodys() {
    let mut host = signed_in(config());
    host.callback("code=c&state=BBBBBBBBBBBBBBBBBBBBBB");
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
}
