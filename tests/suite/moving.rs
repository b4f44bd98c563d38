//! A resource that changes its authorization server, or seems to (ISO, A08 to A24).

use std::sync::Arc;

use mcp_auth_machine::action::{Purpose, Why};
use mcp_auth_machine::config::{DynamicRegistration, Legacy, PreRegistered, ResourceParameter};
use mcp_auth_machine::error::{Cause, Misconfiguration, Next, Violation};
use mcp_auth_machine::slot::Slot;
use mcp_auth_machine::{Action, Event};

use crate::support::*;

const OTHER: &str = "https://b.example";
const OTHER_META: &str = "https://b.example/.well-known/oauth-authorization-server";
const OTHER_TOKEN: &str = "https://b.example/token";

fn signed_in() -> Host {
    Host::signed_in(config(), &renewable("at-1", "rt-1"))
}

fn prm_of(issuer: &str) -> String {
    prm().replace(AS, issuer)
}

/// The held token is refused and the resource lists another server.
fn moved(host: &mut Host) {
    host.refused("Bearer");
    host.serve(PRM, 200, &prm_of(OTHER));
    let Why::ServerChanged { from, to } = host.need_user().why else {
        panic!()
    };
    assert_eq!((from.as_str(), to.as_str()), (AS, OTHER));
}

/// Consent, registration and redirect at the other server.
fn to_other(host: &mut Host) -> String {
    host.authorize();
    host.serve(OTHER_META, 200, &metadata_of(OTHER, ""));
    host.serve(&format!("{OTHER}/register"), 201, r#"{"client_id":"b-1"}"#);
    let redirect = host.redirect();
    assert_eq!(redirect.issuer.as_str(), OTHER);
    state_of(&redirect)
}

#[test]
fn iso_04_iso_05_iso_02_use_07_the_metadata_is_read_before_any_refresh() {
    let mut host = signed_in();
    host.refused("Bearer");
    let send = host.request();
    assert_eq!(send.purpose(), Purpose::ResourceMetadata);
    host.handle(send.response(response(200, &[], &prm_of(OTHER))));
    host.need_user();
    host.quiet();
    // Until the user agrees nothing is sent anywhere, however often the token is refused or wanted.
    host.pass(3_600_000);
    host.wanted("x");
    host.serve(PRM, 200, &prm_of(OTHER));
    assert!(matches!(host.need_user().why, Why::ServerChanged { .. }));
    host.quiet();
}

#[test]
fn iso_01_iso_04_d20_l02_s17_a_migration_completes_and_the_old_token_goes() {
    let mut host = signed_in();
    moved(&mut host);
    let state = to_other(&mut host);
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
    host.callback(&format!("code=c&state={state}"));
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
    let request = host.serve(OTHER_TOKEN, 200, &renewable("bt-1", "brt-1"));
    assert_eq!(get(&body(&request), "client_id").as_deref(), Some("b-1"));
    assert_eq!(host.ready().issuer.as_str(), OTHER);
    assert_eq!(host.token().as_deref(), Some("Bearer bt-1"));
    assert!(
        !host.store.of_kind("account")[0]
            .contents
            .expose()
            .contains("\"rt-1\"")
    );
    host.accepted("tools/call x");
    // From here on the refresh goes there.
    host.refused("Bearer");
    host.serve(PRM, 200, &prm_of(OTHER));
    let request = host.serve(OTHER_TOKEN, 200, &renewable("bt-2", "brt-2"));
    assert_eq!(
        get(&body(&request), "refresh_token").as_deref(),
        Some("brt-1")
    );
    host.ready();
}

#[test]
fn a02_iso_02_an_aborted_move_leaves_everything_and_leaks_nothing() {
    let mut host = signed_in();
    for _ in 0..2 {
        moved(&mut host);
        host.authorize();
        if host
            .actions
            .front()
            .is_some_and(|a| matches!(a, Action::SendRequest(_)))
        {
            let send = host.request();
            let url = send.request().uri().to_string();
            let answer = match url.as_str() {
                OTHER_META => metadata_of(OTHER, ""),
                _ => r#"{"client_id":"b-1"}"#.to_owned(),
            };
            let status = if url.ends_with("register") { 201 } else { 200 };
            host.handle(send.response(response(status, &[], &answer)));
        }
        while let Some(Action::SendRequest(_)) = host.actions.front() {
            host.serve(&format!("{OTHER}/register"), 201, r#"{"client_id":"b-1"}"#);
        }
        assert_eq!(host.redirect().issuer.as_str(), OTHER);
        host.handle(Event::Abandoned(Default::default()));
        host.error();
        assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
        host.accepted("tools/call x");
    }
    // The old server is listed again: its refresh token is still good there.
    host.refused("Bearer");
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    let request = host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    assert_eq!(
        get(&body(&request), "refresh_token").as_deref(),
        Some("rt-1")
    );
    host.ready();
}

#[test]
fn a08_a09_tok_07_iso_03_a_registration_is_used_at_its_own_server_only() {
    // First contact: a registration with a secret at A, given up before any token.
    let mut host = Host::new(config());
    let document = metadata().replace("[\"none\"]", "[\"client_secret_post\"]");
    host.discover(&prm(), &document);
    host.serve(
        REGISTER,
        201,
        r#"{"client_id":"dyn-1","client_secret":"secret-a","token_endpoint_auth_method":"client_secret_post"}"#,
    );
    host.redirect();
    host.handle(Event::Abandoned(Default::default()));
    host.error();
    // The resource names B now.
    host.ask(&announcing());
    host.serve(PRM, 200, &prm_of(OTHER));
    let other = metadata_of(OTHER, "").replace("[\"none\"]", "[\"client_secret_post\"]");
    host.serve(OTHER_META, 200, &other);
    let register = host.serve(
        &format!("{OTHER}/register"),
        201,
        r#"{"client_id":"b-1","client_secret":"secret-b","token_endpoint_auth_method":"client_secret_post"}"#,
    );
    assert!(!String::from_utf8_lossy(register.body()).contains("secret-a"));
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let form = body(&host.serve(OTHER_TOKEN, 200, &renewable("bt-1", "brt-1")));
    assert_eq!(get(&form, "client_secret").as_deref(), Some("secret-b"));
    host.ready();
    host.accepted("tools/call x");
    // A crossed bundle: A was seen in between, the refresh at B goes with B's client.
    host.refused("Bearer");
    host.serve(PRM, 200, &prm());
    host.need_user();
    host.refused("Bearer");
    host.serve(PRM, 200, &prm_of(OTHER));
    host.serve(OTHER_META, 200, &other);
    let form = body(&host.serve(OTHER_TOKEN, 200, &renewable("bt-2", "brt-2")));
    assert_eq!(get(&form, "client_id").as_deref(), Some("b-1"));
    assert_eq!(get(&form, "client_secret").as_deref(), Some("secret-b"));
    assert_eq!(get(&form, "refresh_token").as_deref(), Some("brt-1"));
}

#[test]
fn a11_e12_s21_step_03_a_step_up_that_leads_elsewhere_is_asked_about_and_starts_afresh() {
    let mut host = Host::new(config());
    host.ask(&format!(
        "Bearer scope=\"old\", resource_metadata=\"{PRM}\""
    ));
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    host.ready();
    host.accepted("tools/call x");
    let sent = host.token();
    let challenge =
        format!("Bearer error=\"insufficient_scope\", scope=\"new\", resource_metadata=\"{PRM}\"");
    host.challenged_for("tools/call x", 403, &[&challenge], sent.as_deref());
    assert!(matches!(host.need_user().why, Why::ScopeMissing { .. }));
    host.authorize();
    host.serve(PRM, 200, &prm_of(OTHER));
    host.serve(OTHER_META, 200, &metadata_of(OTHER, ""));
    // Not sent there without a word.
    assert!(matches!(host.need_user().why, Why::ServerChanged { .. }));
    host.quiet();
    assert_eq!(host.token(), sent);
    host.authorize();
    host.serve(PRM, 200, &prm_of(OTHER));
    host.serve(OTHER_META, 200, &metadata_of(OTHER, ""));
    host.serve(&format!("{OTHER}/register"), 201, r#"{"client_id":"b-1"}"#);
    // The scopes of the old server do not flow in.
    assert_eq!(host.redirect().scopes.as_str(), "new");
}

#[test]
fn a12_s03_iso_10_there_and_back_again() {
    let mut host = signed_in();
    moved(&mut host);
    let state = to_other(&mut host);
    host.callback(&format!("code=c&state={state}"));
    host.serve(OTHER_TOKEN, 200, &renewable("bt-1", "brt-1"));
    host.ready();
    host.accepted("tools/call x");
    host.refused("Bearer");
    host.serve(PRM, 200, &prm());
    assert!(matches!(host.need_user().why, Why::ServerChanged { .. }));
    host.authorize();
    host.serve(META, 200, &metadata());
    // The registration of the first server is used again there; nothing of the second one is.
    let redirect = host.redirect();
    assert_eq!(
        (redirect.issuer.as_str(), &*redirect.client_id),
        (AS, "dyn-1")
    );
    host.callback(&format!("code=c2&state={}", state_of(&redirect)));
    let form = body(&host.serve(TOKEN, 200, &renewable("at-9", "rt-9")));
    assert_eq!(get(&form, "client_id").as_deref(), Some("dyn-1"));
    host.ready();
}

#[test]
fn a16_disc_18_a_challenge_that_points_elsewhere_on_a_live_session() {
    let mut host = signed_in();
    let place = "https://mcp.example/elsewhere";
    host.refused(&format!("Bearer resource_metadata=\"{place}\""));
    host.serve(place, 200, &prm_of(OTHER));
    // A question, and never a refresh there.
    assert!(matches!(host.need_user().why, Why::ServerChanged { .. }));
    host.quiet();
}

#[test]
fn a21_iso_08_metadata_that_is_gone_or_empty_is_no_change() {
    let root = "https://mcp.example/.well-known/oauth-protected-resource";
    let empty = format!(r#"{{"resource":"{MCP}","authorization_servers":[]}}"#);
    for (status, document) in [(404, ""), (200, &*empty)] {
        let mut host = signed_in();
        host.refused("Bearer");
        host.serve(PRM, status, document);
        if status == 404 {
            host.serve(root, 404, "");
        }
        let form = body(&host.serve(TOKEN, 200, &renewable("at-2", "rt-2")));
        assert_eq!(get(&form, "refresh_token").as_deref(), Some("rt-1"));
        host.ready();
    }
    // Not readable just now: nothing is sent, nothing is lost, and it can be tried again.
    for failing in [500, 503] {
        let mut host = signed_in();
        host.refused("Bearer");
        host.serve(PRM, failing, "");
        host.serve(root, 404, "");
        let failure = host.error();
        assert_eq!(failure.next(), Next::RetryLater(None));
        assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
        host.quiet();
        host.refused("Bearer");
        host.serve(PRM, 200, &prm());
        host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
        host.ready();
    }
    // For something else: discarded, and told.
    let mut host = signed_in();
    host.refused("Bearer");
    host.serve(PRM, 200, &prm().replace(MCP, "https://other.example/"));
    let failure = host.error();
    assert!(matches!(
        failure.cause,
        Cause::Violation(Violation::OtherResource { .. })
    ));
    host.quiet();
    assert!(
        host.store.of_kind("account")[0]
            .contents
            .expose()
            .contains("rt-1")
    );
}

#[test]
fn iso_05_where_the_host_names_the_server_nothing_is_read_again() {
    let mut host = Host::new(config().issuer(AS));
    host.ask("Bearer");
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    host.ready();
    host.accepted("tools/call x");
    host.refused(&announcing());
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
}

#[test]
fn a18_iso_05_leg_10_a_server_without_metadata_is_asked_again_only_when_it_names_some() {
    let legacy = || {
        config().legacy(Legacy::On {
            resource: ResourceParameter::Omit,
        })
    };
    let sign_in = || {
        let mut host = Host::new(legacy());
        host.ask("Bearer");
        host.serve(PRM, 404, "");
        host.serve(
            "https://mcp.example/.well-known/oauth-protected-resource",
            404,
            "",
        );
        host.serve(
            "https://mcp.example/.well-known/oauth-authorization-server",
            404,
            "",
        );
        host.serve(
            "https://mcp.example/register",
            201,
            r#"{"client_id":"l-1"}"#,
        );
        let redirect = host.redirect();
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        host.serve("https://mcp.example/token", 200, &renewable("at-1", "rt-1"));
        host.ready();
        host.accepted("tools/call x");
        host
    };
    let mut host = sign_in();
    host.refused("Bearer");
    host.serve("https://mcp.example/token", 200, &renewable("at-2", "rt-2"));
    host.ready();
    let mut host = sign_in();
    host.refused(&announcing());
    host.serve(PRM, 200, &prm());
    assert!(matches!(host.need_user().why, Why::ServerChanged { .. }));
}

#[test]
fn a19_s26_iso_11_a_record_without_an_issuer_is_no_record() {
    let reference = signed_in();
    let text = reference.store.of_kind("account")[0]
        .contents
        .expose()
        .to_owned();
    let json = spelled_out(&text);
    let unstamped = json.replace(r#""issuer":"https://as.example","#, "");
    assert_ne!(json, unstamped);
    // Written as older software might have, with a checksum that holds.
    let mut store = Store::default();
    let sealed = sealed(&unstamped);
    store
        .slots
        .insert(Slot::account("alice", MCP).to_string(), sealed);
    let mut host = Host::on(Arc::new(config().build().unwrap()), store);
    assert_eq!(host.token(), None);
    host.wanted("x");
    assert_eq!(host.need_user().why, Why::NoCredentials);
    host.quiet();
}

#[test]
fn use_04_tok_17_a_record_for_a_resource_that_does_not_cover_is_no_record() {
    for (resource, used) in [
        ("https://mcp.example", true),
        ("https://evil.example/mcp", false),
        ("https://mcp.example/mcp/other", false),
    ] {
        let reference = signed_in();
        let text = reference.store.of_kind("account")[0].contents.expose();
        let json = spelled_out(text);
        let own = format!(r#""resource":"{MCP}""#);
        assert!(json.contains(&own));
        let other = json.replace(&own, &format!(r#""resource":"{resource}""#));
        let mut store = Store::default();
        store
            .slots
            .insert(Slot::account("alice", MCP).to_string(), sealed(&other));
        let mut host = Host::on(Arc::new(config().build().unwrap()), store);
        assert_eq!(host.token().is_some(), used, "{resource}");
    }
}

#[test]
fn a23_the_first_valid_document_in_the_exact_order_wins() {
    // The first place is absent, the second has another tenant's document: a hard stop.
    let mut host = signed_in();
    host.pass(3_600_000);
    host.wanted("x");
    host.serve(META, 404, "");
    let openid = "https://as.example/.well-known/openid-configuration";
    host.serve(openid, 200, &metadata_of("https://as.example/tenant", ""));
    assert!(matches!(
        host.error().cause,
        Cause::Violation(Violation::Metadata(_))
    ));
    host.quiet();
}

#[test]
fn iso_06_a_configured_client_gives_way_only_where_the_host_allows_it() {
    let sign_in = |registration| {
        let config = config()
            .pre_registered(AS, PreRegistered::new("pre"))
            .dynamic_registration(registration);
        let mut host = Host::new(config);
        host.discover(&prm(), &metadata());
        let redirect = host.redirect();
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
        host.ready();
        host.accepted("tools/call x");
        host.refused("Bearer");
        host.serve(PRM, 200, &prm_of(OTHER));
        host
    };
    let mut host = sign_in(DynamicRegistration::UnlessPreRegistered);
    let Cause::Misconfigured(Misconfiguration::OtherIssuer { configured, found }) =
        host.error().cause
    else {
        panic!()
    };
    assert_eq!((configured[0].as_str(), found.as_str()), (AS, OTHER));
    host.quiet();
    let mut host = sign_in(DynamicRegistration::Always);
    assert!(matches!(host.need_user().why, Why::ServerChanged { .. }));
    to_other(&mut host);
}

#[test]
fn iso_07_a_change_while_the_user_is_away_ends_that_flow() {
    let mut host = signed_in();
    let sent = host.token();
    let challenge = "Bearer error=\"insufficient_scope\", scope=\"more\"";
    host.challenged_for("tools/call x", 403, &[challenge], sent.as_deref());
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    let redirect = host.redirect();
    // Meanwhile the token is refused, and the resource has moved.
    host.refused("Bearer");
    host.serve(PRM, 200, &prm_of(OTHER));
    let failure = host.error();
    assert_eq!(failure.cause, Cause::Violation(Violation::ServerChanged));
    assert!(matches!(host.need_user().why, Why::ServerChanged { .. }));
    assert!(host.store.of_kind("pending").is_empty());
    // The callback of the ended flow is ignored.
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.quiet();
    assert_eq!(host.token(), sent);
}

#[test]
fn a20_quirk_02_a_pinned_issuer_is_found_under_its_entry() {
    let issuer = "https://login.example/tenant";
    let mut host = Host::new(config().pin(AS, issuer));
    host.discover(&prm(), &metadata_of(issuer, ""));
    host.serve(
        "https://login.example/tenant/register",
        201,
        r#"{"client_id":"p-1"}"#,
    );
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let token = "https://login.example/tenant/token";
    host.serve(token, 200, &renewable("at-1", "rt-1"));
    host.ready();
    host.accepted("tools/call x");
    // Still listed, under the same entry; and its document is read there again when it is old.
    host.pass(3_600_000);
    host.challenged_for("tools/call x", 401, &["Bearer"], None);
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata_of(issuer, ""));
    host.serve(token, 200, &renewable("at-2", "rt-2"));
    host.ready();
}

/// Checks that no later event sends a credential of the account to the old server.
fn stays_left(host: &mut Host) {
    // The metadata is gone: that names no server again.
    let root = "https://mcp.example/.well-known/oauth-protected-resource";
    host.pass(3_600_000);
    host.wanted("x");
    host.serve(PRM, 404, "");
    host.serve(root, 404, "");
    let Why::ServerChanged { from, to } = host.need_user().why else {
        panic!()
    };
    assert_eq!((from.as_str(), to.as_str()), (AS, OTHER));
    host.quiet();
    // The metadata is unreadable: the machine sends no token request.
    host.wanted("x");
    host.serve(PRM, 503, "");
    host.serve(root, 404, "");
    host.error();
    host.quiet();
    // The issuer is listed again: its refresh token is used again.
    host.wanted("x");
    host.serve(PRM, 200, &prm());
    if let Action::SendRequest(send) = host.next() {
        let url = send.request().uri().to_string();
        assert!(url == META || url == TOKEN, "{url}");
    }
}

#[test]
fn a16_iso_04_iso_05_of_two_refusals_at_once_none_refreshes_at_the_server_that_was_left() {
    let mut host = signed_in();
    host.store.mode = StoreMode::Manual;
    let mut store = std::mem::take(&mut host.store.slots);
    let sent = host.token();
    for operation in ["x", "y"] {
        host.challenged_for(operation, 401, &["Bearer"], sent.as_deref());
    }
    let mut shared = Store::default();
    shared.slots.append(&mut store);
    host.share(&mut shared);
    host.serve(PRM, 200, &prm_of(OTHER));
    host.share(&mut shared);
    for _ in 0..2 {
        assert!(matches!(host.need_user().why, Why::ServerChanged { .. }));
    }
    host.quiet();
    host.store = shared;
    stays_left(&mut host);
}

#[test]
fn iso_04_iso_05_a_later_process_knows_that_the_resource_has_left() {
    let mut host = signed_in();
    moved(&mut host);
    let built = Arc::new(config().build().unwrap());
    let mut later = Host::resumed(built, host.store, host.now, 50);
    later.ready();
    stays_left(&mut later);
}

#[test]
fn iso_04_an_authorization_that_read_of_the_change_and_failed_binds_too() {
    let mut host = signed_in();
    host.authorize();
    host.serve(PRM, 200, &prm_of(OTHER));
    host.serve(OTHER_META, 503, "");
    host.serve(
        &format!("{OTHER}/.well-known/openid-configuration"),
        404,
        "",
    );
    host.error();
    stays_left(&mut host);
}

#[test]
fn iso_04_iso_06_a_configured_client_that_must_not_move_is_not_renewed_either() {
    let config = config().pre_registered(AS, PreRegistered::new("pre"));
    let mut host = Host::new(config);
    host.discover(&prm(), &metadata());
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    host.ready();
    host.accepted("tools/call x");
    for operation in ["x", "y"] {
        let sent = host.token();
        host.challenged_for(operation, 401, &["Bearer"], sent.as_deref());
        host.serve(PRM, 200, &prm_of(OTHER));
        assert!(matches!(
            host.error().cause,
            Cause::Misconfigured(Misconfiguration::OtherIssuer { .. })
        ));
    }
    host.pass(3_600_000);
    host.wanted("x");
    host.serve(PRM, 404, "");
    host.serve(
        "https://mcp.example/.well-known/oauth-protected-resource",
        404,
        "",
    );
    host.error();
    host.quiet();
}

#[test]
fn iso_04_an_unsaved_change_binds_this_process_and_is_written_again() {
    let mut host = signed_in();
    host.store.mode = StoreMode::WritesFail;
    moved(&mut host);
    host.store.mode = StoreMode::Works;
    stays_left(&mut host);
    // In time for the next process.
    let mut host = signed_in();
    host.store.mode = StoreMode::WritesFail;
    moved(&mut host);
    host.store.mode = StoreMode::Works;
    moved(&mut host);
    let built = Arc::new(config().build().unwrap());
    let mut later = Host::resumed(built, host.store, host.now, 50);
    later.ready();
    stays_left(&mut later);
}

/// One read of the metadata answers all operations that wait.
#[test]
fn use_11_iso_04_a_storm_at_a_server_that_was_left_reads_the_metadata_once() {
    let mut host = signed_in();
    moved(&mut host);
    host.pass(3_600_000);
    for operation in ["x", "y", "z"] {
        host.wanted(operation);
    }
    host.serve(PRM, 200, &prm_of(OTHER));
    for _ in 0..3 {
        assert!(matches!(host.need_user().why, Why::ServerChanged { .. }));
    }
    host.quiet();
}

/// Another process had begun to sign in before the change, and stores its account after the sign-out.
#[test]
fn iso_04_iso_05_a_change_is_recorded_in_an_account_that_has_come_since() {
    let mut host = signed_in();
    let earlier = host.store.slots.clone();
    moved(&mut host);
    host.handle(Event::SignedOut);
    host.store.slots = earlier;
    host.challenged(401, &["Bearer"]);
    host.ready();
    moved(&mut host);
    let built = Arc::new(config().build().unwrap());
    let mut later = Host::resumed(built, host.store, host.now, 50);
    later.ready();
    stays_left(&mut later);
}

#[test]
fn iso_04_refr_05_a_refresh_under_way_elsewhere_does_not_undo_what_the_resource_said() {
    let built = Arc::new(config().build().unwrap());
    let mut first = Host::on(Arc::clone(&built), Store::default());
    let redirect = first.to_redirect();
    first.callback(&format!("code=c-1&state={}", state_of(&redirect)));
    first.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    first.ready();
    first.pass(3_590_000);
    first.wanted("x");
    let refresh = first.request();
    // Meanwhile another process hears that the resource has moved.
    let store = std::mem::take(&mut first.store);
    let mut second = Host::resumed(built, store, first.now, 50);
    second.ready();
    moved(&mut second);
    // The tokens that come are kept, and not renewed again at that server.
    first.store = second.store;
    first.handle(refresh.response(response(200, &[], &renewable("at-2", "rt-2"))));
    first.ready();
    assert_eq!(first.token().as_deref(), Some("Bearer at-2"));
    stays_left(&mut first);
}

/// The resource lists two other servers. The one that the question names is the one that the consent leads to, also where a
/// registration at the second one is stored; and the next question names it again.
#[test]
fn disc_16_iso_09_s34_the_consent_leads_to_the_server_that_was_named() {
    const THIRD: &str = "https://c.example";
    const THIRD_META: &str = "https://c.example/.well-known/oauth-authorization-server";
    let both = prm().replace(&format!("\"{AS}\""), &format!("\"{OTHER}\",\"{THIRD}\""));
    let mut host = signed_in();
    let mut third = Host::new(config());
    third.ask(&announcing());
    third.serve(PRM, 200, &prm_of(THIRD));
    third.serve(THIRD_META, 200, &metadata_of(THIRD, ""));
    third.serve(&format!("{THIRD}/register"), 201, r#"{"client_id":"c-1"}"#);
    let registered = third.store.slots.into_iter();
    let registered = registered.filter(|(key, _)| key.starts_with("registration"));
    host.store.slots.extend(registered);
    let names = |host: &mut Host, expected: &str| {
        let Why::ServerChanged { from, to } = host.need_user().why else {
            panic!()
        };
        assert_eq!((from.as_str(), to.as_str()), (AS, expected));
    };
    host.refused("Bearer");
    host.serve(PRM, 200, &both);
    names(&mut host, OTHER);
    // There is none at that place: the next one is asked about.
    host.authorize();
    host.serve(OTHER_META, 404, "");
    host.serve(
        "https://b.example/.well-known/openid-configuration",
        404,
        "",
    );
    host.serve(THIRD_META, 200, &metadata_of(THIRD, ""));
    names(&mut host, THIRD);
    // Instead of an answer, the request is made again.
    host.refused("Bearer");
    host.serve(PRM, 200, &both);
    names(&mut host, THIRD);
    host.authorize();
    host.serve(THIRD_META, 200, &metadata_of(THIRD, ""));
    assert_eq!(host.redirect().issuer.as_str(), THIRD);
    host.handle(Event::Abandoned(Default::default()));
    host.error();
    // Consent to the first one.
    host.refused("Bearer");
    host.serve(PRM, 200, &both);
    names(&mut host, OTHER);
    to_other(&mut host);
}
