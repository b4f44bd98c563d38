//! A client after its registration: an expired secret, the revocation endpoint, and replacement by another
//! client (REG, META-13, TOK-17).

use mcp_auth_machine::action::Why;
use mcp_auth_machine::config::PreRegistered;
use mcp_auth_machine::error::{Cause, Misconfiguration, Next};
use mcp_auth_machine::{Action, Event};

use crate::support::*;

const REVOKE: &str = "https://as.example/revoke";
const OTHER: &str = "https://b.example";
const HOUR: u64 = 3_600_000;

fn basic() -> String {
    metadata().replace("[\"none\"]", "[\"client_secret_basic\"]")
}

/// A host that has signed in with a registration whose secret is valid for two hours.
fn signed_in() -> Host {
    let mut host = Host::new(config());
    host.discover(&prm(), &basic());
    let answer = r#"{"client_id":"c-1","client_secret":"s-1","client_secret_expires_at":1800007200,"token_endpoint_auth_method":"client_secret_basic"}"#;
    host.serve(REGISTER, 201, answer);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    host.ready();
    host.accepted("tools/call x");
    host
}

#[test]
fn reg_25_a_secret_that_is_over_is_not_sent_with_a_refresh() {
    // In its time it is.
    let mut host = signed_in();
    host.pass(HOUR);
    host.wanted("x");
    host.serve(META, 200, &basic());
    let request = host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    assert!(request.headers().contains_key("authorization"));
    host.ready();
    // Then a new client is needed, and the old refresh token is not for it.
    host.pass(HOUR);
    host.wanted("x");
    assert_eq!(host.need_user().why, Why::TokenOver);
    host.quiet();
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &basic());
    let answer = r#"{"client_id":"c-2","client_secret":"s-2","client_secret_expires_at":0,"token_endpoint_auth_method":"client_secret_basic"}"#;
    host.serve(REGISTER, 201, answer);
    let redirect = host.redirect();
    assert_eq!(&*redirect.client_id, "c-2");
    host.callback(&format!("code=c-2&state={}", state_of(&redirect)));
    let form = body(&host.serve(TOKEN, 200, &renewable("at-3", "rt-3")));
    assert_eq!(get(&form, "code").as_deref(), Some("c-2"));
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-3"));
}

#[test]
fn reg_25_a_token_that_is_still_good_outlives_the_secret() {
    let mut host = signed_in();
    host.pass(HOUR + 30_000);
    host.wanted("x");
    host.serve(META, 200, &basic());
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
    // Close to the end of the token, past that of the secret.
    host.pass(HOUR - 10_000);
    host.wanted("x");
    host.ready();
    host.quiet();
    assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
}

/// Signed in as a client with a secret, with these members about revocation; signed out.
fn revocation(methods: &str, more: &str) -> http::Request<bytes::Bytes> {
    let document = metadata_with(&format!(r#","revocation_endpoint":"{REVOKE}"{more}"#));
    let document = document.replace("[\"none\"]", methods);
    let client = PreRegistered::new("pre").secret("s3cret");
    let mut host = Host::new(config().pre_registered(AS, client));
    host.discover(&prm(), &document);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    host.handle(Event::SignedOut);
    host.serve(REVOKE, 200, "")
}

#[test]
fn meta_13_rev_01_without_a_list_revocation_is_authenticated_by_basic() {
    for methods in ["[\"client_secret_post\"]", "[\"client_secret_basic\"]"] {
        for more in ["", r#","revocation_endpoint_auth_methods_supported":null"#] {
            let request = revocation(methods, more);
            assert!(request.headers().contains_key("authorization"), "{methods}");
            assert_eq!(get(&body(&request), "client_secret"), None);
        }
    }
}

#[test]
fn the_method_stays_at_revocation_unless_it_is_not_listed_and_another_is() {
    let (basic, post) = (r#"["client_secret_basic"]"#, r#"["client_secret_post"]"#);
    let both = r#"["client_secret_basic","client_secret_post"]"#;
    let neither = r#"["private_key_jwt"]"#;
    for (methods, listed, in_header) in [
        (basic, basic, true),
        (basic, both, true),
        (basic, neither, true),
        (basic, post, false),
        (post, post, false),
        (post, both, false),
        (post, neither, false),
        (post, basic, true),
    ] {
        let more = format!(r#","revocation_endpoint_auth_methods_supported":{listed}"#);
        let request = revocation(methods, &more);
        let header = request.headers().contains_key("authorization");
        assert_eq!(header, in_header, "{methods} {listed}");
        let secret = get(&body(&request), "client_secret");
        assert_eq!(secret.is_some(), !in_header, "{methods} {listed}");
    }
}

/// A process with this client on the store of the one before.
fn with_client(client: PreRegistered, store: Store, seeds: u8) -> Host {
    let config = config().pre_registered(AS, client).build().unwrap();
    let mut host = Host::on(std::sync::Arc::new(config), store);
    host.seeds = seeds;
    host
}

#[test]
fn tok_17_iso_01_an_account_is_for_the_client_that_it_was_made_for() {
    let mut first = with_client(PreRegistered::new("one"), Store::default(), 0);
    first.discover(&prm(), &metadata());
    let redirect = first.redirect();
    first.callback(&format!("code=c&state={}", state_of(&redirect)));
    first.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    first.ready();
    // The same client, whatever else is new about it.
    let store = std::mem::take(&mut first.store);
    let mut same = with_client(PreRegistered::new("one").secret("s"), store, 10);
    same.ready();
    assert_eq!(same.token().as_deref(), Some("Bearer at-1"));
    // Another one at that issuer: neither its token nor its refresh token is used.
    let store = std::mem::take(&mut same.store);
    let mut other = with_client(PreRegistered::new("two"), store, 20);
    other.quiet();
    assert_eq!(other.token(), None);
    assert_eq!(other.reported("record_unusable"), 1);
    other.wanted("x");
    assert_eq!(other.need_user().why, Why::NoCredentials);
    other.authorize();
    let redirect = other.redirect();
    assert_eq!(&*redirect.client_id, "two");
    other.callback(&format!("code=c-2&state={}", state_of(&redirect)));
    let form = body(&other.serve(TOKEN, 200, &renewable("at-2", "rt-2")));
    assert_eq!(get(&form, "client_id").as_deref(), Some("two"));
    other.ready();
    assert_eq!(other.token().as_deref(), Some("Bearer at-2"));
    // A sign-out under another client still erases the account.
    let store = std::mem::take(&mut other.store);
    let mut last = with_client(PreRegistered::new("one"), store, 30);
    assert_eq!(last.token(), None);
    last.handle(Event::SignedOut);
    assert!(last.store.of_kind("account").is_empty());
}

#[test]
fn tok_17_an_account_of_another_document_or_unbound_client_is_not_used() {
    let cimd = |path: &str| config().client_metadata_url(format!("https://client.example{path}"));
    let unbound = |id: &str| config().pre_registered_unbound(PreRegistered::new(id));
    let flag = metadata_with(r#","client_id_metadata_document_supported":true"#);
    for (own, other) in [
        (cimd("/one"), cimd("/two")),
        (unbound("one"), unbound("two")),
    ] {
        let mut host = Host::new(own.clone());
        host.discover(&prm(), &flag);
        let redirect = host.redirect();
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
        host.ready();
        let mut store = std::mem::take(&mut host.store);
        for (config, used) in [(own, true), (other, false)] {
            let mut later = Host::on(std::sync::Arc::new(config.build().unwrap()), store);
            assert_eq!(later.token().is_some(), used);
            store = std::mem::take(&mut later.store);
        }
    }
}

#[test]
fn tok_04_a_registration_as_public_is_kept_although_there_is_a_secret() {
    let mut host = Host::new(config());
    let both = metadata().replace("[\"none\"]", "[\"client_secret_basic\",\"none\"]");
    host.discover(&prm(), &both);
    let answer = r#"{"client_id":"c","client_secret":"s","token_endpoint_auth_method":"none"}"#;
    host.serve(REGISTER, 201, answer);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let send = host.request();
    assert!(!send.request().headers().contains_key("authorization"));
    let form = body(send.request());
    assert_eq!(get(&form, "client_id").as_deref(), Some("c"));
    assert_eq!(get(&form, "client_secret"), None);
}

/// A client without an issuer, up to what follows the server's metadata.
fn unbound(store: Store, issuer: &str) -> Host {
    let client = PreRegistered::new("u").secret("s");
    let config = config().pre_registered_unbound(client).build().unwrap();
    let mut host = Host::on(std::sync::Arc::new(config), store);
    host.ask(&announcing());
    host.serve(PRM, 200, &prm().replace(AS, issuer));
    let place = format!("{issuer}/.well-known/oauth-authorization-server");
    let document = metadata_of(issuer, "").replace("[\"none\"]", "[\"client_secret_basic\"]");
    if let Some(Action::SendRequest(_)) = host.actions.front() {
        host.serve(&place, 200, &document);
    }
    host
}

/// A callback with a code, which the server refuses: the client is bound, and no token was obtained.
fn comes_back(host: &mut Host, issuer: &str) {
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let answer = r#"{"error":"invalid_grant"}"#;
    host.serve(&format!("{issuer}/token"), 400, answer);
    host.error();
}

fn bindings(host: &Host) -> usize {
    host.store.of_kind("registration").len()
}

#[track_caller]
fn is_of_another(host: &mut Host) {
    let failure = host.error();
    assert!(matches!(
        failure.cause,
        Cause::Misconfigured(Misconfiguration::OtherIssuer { .. })
    ));
    host.quiet();
}

#[test]
fn reg_04_a_binding_that_cannot_be_read_is_not_made_anew() {
    let mut first = unbound(Store::default(), AS);
    comes_back(&mut first, AS);
    let mut store = std::mem::take(&mut first.store);
    assert_eq!(store.of_kind("registration").len(), 1);
    store.damage("registration");
    let mut later = unbound(store, OTHER);
    // Trying again does not help, so it is not what is said.
    let failure = later.error();
    assert!(matches!(
        failure.cause,
        Cause::Misconfigured(Misconfiguration::BindingUnreadable { .. })
    ));
    assert_eq!(failure.next(), Next::FixConfiguration);
    later.quiet();
}

/// REG-04: a server that only received a redirect has shown nothing, and may have been listed by mistake.
#[test]
fn reg_04_a_redirect_binds_no_client() {
    let mut host = unbound(Store::default(), OTHER);
    host.redirect();
    assert_eq!(bindings(&host), 0);
    // The user sees an error page; the list is mended.
    host.handle(Event::Abandoned(Default::default()));
    host.error();
    let mut host = unbound(std::mem::take(&mut host.store), AS);
    let mended = host.redirect();
    assert_eq!(mended.issuer.as_str(), AS);
    host.callback(&format!("code=c&state={}", state_of(&mended)));
    // Durable before the code is sent.
    assert_eq!((bindings(&host), host.reported("client_bound")), (1, 1));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    // The next sign-in finds the binding as it is.
    host.authorize();
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &token_answer("at-2"));
    host.ready();
    assert_eq!(host.reported("client_bound"), 1);
}

/// REG-04: a pushed request shows the secret before anything else, a request for a device code too.
#[test]
fn reg_04_a_client_is_bound_before_it_shows_its_secret() {
    let pushed = r#","require_pushed_authorization_requests":true,"pushed_authorization_request_endpoint":"https://as.example/par""#;
    let by_secret = metadata_with(pushed).replace("[\"none\"]", "[\"client_secret_basic\"]");
    for (client, document, bound) in [
        (PreRegistered::new("u").secret("s"), by_secret, 1),
        (PreRegistered::new("u"), metadata_with(pushed), 0),
    ] {
        let mut host = Host::new(config().pre_registered_unbound(client));
        host.discover(&prm(), &document);
        let request = host.request();
        assert_eq!(request.request().uri().path(), "/par");
        assert_eq!(bindings(&host), bound);
    }
    let device = r#","device_authorization_endpoint":"https://as.example/device""#;
    let mut host = Host::new(config().pre_registered_unbound(PreRegistered::new("u")));
    host.challenged(401, &["Bearer"]);
    host.need_user();
    let click = mcp_auth_machine::event::Authorization::new(host.next_seed());
    host.authorize_with(click.on_other_device());
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata_with(device));
    assert_eq!(host.request().request().uri().path(), "/device");
    assert_eq!(bindings(&host), 1);
}

/// REG-04, QUIRK-14
#[test]
fn reg_04_quirk_14_a_reset_drops_a_binding_with_which_no_account_is_stored() {
    use mcp_auth_machine::event::Abandon;
    let reset = |host: &mut Host| {
        host.handle(Event::Abandoned(Abandon::ResetRegistration));
    };
    let mut host = unbound(Store::default(), AS);
    comes_back(&mut host, AS);
    reset(&mut host);
    assert_eq!(host.need_user().why, Why::ClientForgotten);
    assert_eq!((bindings(&host), host.reported("client_unbound")), (0, 1));
    let mut host = unbound(std::mem::take(&mut host.store), OTHER);
    assert_eq!(host.redirect().issuer.as_str(), OTHER);
    // Beside an account, the binding stays, also one that another process has stored since.
    let mut first = unbound(Store::default(), AS);
    let redirect = first.redirect();
    let config = std::sync::Arc::new(
        config()
            .pre_registered_unbound(PreRegistered::new("u").secret("s"))
            .build()
            .unwrap(),
    );
    let mut second = Host::on(config, std::mem::take(&mut first.store));
    second.callback(&format!("code=c&state={}", state_of(&redirect)));
    second.serve(TOKEN, 200, &token_answer("at-1"));
    second.ready();
    first.store = std::mem::take(&mut second.store);
    reset(&mut first);
    assert_eq!(bindings(&first), 1);
    // Also beside tokens that the store has not taken yet.
    let mut host = unbound(Store::default(), AS);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.store.mode = StoreMode::WritesFail;
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.error();
    host.store.mode = StoreMode::Works;
    reset(&mut host);
    host.need_user();
    assert_eq!(bindings(&host), 1);
    // One that cannot be read may be of another server.
    let mut host = unbound(Store::default(), AS);
    comes_back(&mut host, AS);
    host.store.damage("registration");
    reset(&mut host);
    host.need_user();
    assert_eq!(bindings(&host), 1);
    // A store that fails says so.
    for mode in [StoreMode::WritesFail, StoreMode::LoadsFail] {
        let mut host = unbound(Store::default(), AS);
        comes_back(&mut host, AS);
        host.wanted("x");
        host.need_user();
        host.store.mode = mode;
        reset(&mut host);
        assert!(matches!(host.error().cause, Cause::NotPersisted(_)));
        assert_eq!(bindings(&host), 1);
    }
}

#[test]
fn reg_04_of_two_that_bind_at_once_the_first_one_decides() {
    let mut first = unbound(Store::default(), AS);
    comes_back(&mut first, AS);
    let bound = first.store.of_kind("registration")[0].clone();
    assert!(bound.contents.expose().contains("\"binding\""));
    // The other process found nothing, and its own binding comes too late.
    let mut second = unbound(Store::default(), OTHER);
    let redirect = second.redirect();
    second.store.mode = StoreMode::Manual;
    second.callback(&format!("code=c&state={}", state_of(&redirect)));
    loop {
        match second.next() {
            Action::PersistSlot(persist)
                if persist.slot().to_string().starts_with("registration") =>
            {
                second.handle(persist.conflict(Some(bound.clone())));
                break;
            }
            Action::PersistSlot(persist) => second.handle(persist.done()),
            other => panic!("{other:?}"),
        }
    }
    is_of_another(&mut second);
    // A store that does not take the binding ends the attempt before the code is sent.
    let mut third = unbound(Store::default(), AS);
    let redirect = third.redirect();
    third.store.mode = StoreMode::Manual;
    third.callback(&format!("code=c&state={}", state_of(&redirect)));
    let Action::PersistSlot(taken) = third.next() else {
        panic!("the attempt is used up first")
    };
    third.handle(taken.done());
    let Action::PersistSlot(bind) = third.next() else {
        panic!("the client is bound before its code is sent")
    };
    third.handle(bind.failed());
    assert!(matches!(third.error().cause, Cause::NotPersisted(_)));
    third.quiet();
}
