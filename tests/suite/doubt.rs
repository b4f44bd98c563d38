//! Metadata that may be stale before it expires: it is refetched (DISC-18, META-18).

use std::sync::Arc;

use mcp_auth_machine::Moment;
use mcp_auth_machine::budget::Limited;
use mcp_auth_machine::config::{ConfigBuilder, MetadataCache, PreRegistered};
use mcp_auth_machine::error::{Cause, Violation};

use crate::support::*;

/// A host that has signed in with a configured client at a server with these documents, and now needs to
/// refresh the expired token.
fn to_refresh(configured: ConfigBuilder, prm: &str, metadata: &str) -> Host {
    let mut host = Host::new(configured);
    host.discover(prm, metadata);
    host.to_refresh(AS);
    host
}

fn configured() -> ConfigBuilder {
    config().pre_registered(AS, PreRegistered::new("pre"))
}

/// The resource's metadata with one more member, which still lists these servers.
fn changed(servers: &str) -> String {
    format!(
        r#"{{"resource":"{MCP}","authorization_servers":[{servers}],"scopes_supported":["files"]}}"#
    )
}

/// Signed in with a configured client, and its token answers a refresh with this error.
fn refused_refresh(configured: ConfigBuilder, error: &str) -> Host {
    let mut host = to_refresh(configured, &prm(), &metadata());
    host.serve(TOKEN, 400, &format!(r#"{{"error":"{error}"}}"#));
    host
}

#[test]
fn meta_18_metadata_that_a_response_contradicts_is_refetched() {
    for cache in [MetadataCache::Slots, MetadataCache::Off] {
        let configured = configured().metadata_cache(cache);
        let mut host = refused_refresh(configured, "invalid_client");
        host.renewal_refused();
        host.pass(60_000);
        host.wanted("x");
        // The metadata is refetched although it is fresh, until a fetch succeeds.
        host.serve(META, 503, "");
        host.serve(OPENID, 503, "");
        host.serve(TOKEN, 400, r#"{"error":"invalid_dpop_proof"}"#);
        host.renewal_refused();
        host.pass(60_000);
        host.wanted("x");
        host.serve(META, 200, &metadata());
        host.serve(TOKEN, 200, &renewable_for("at-2", "rt-2", "60"));
        host.ready();
        host.pass(60_000);
        host.wanted("x");
        host.serve(TOKEN, 200, &renewable("at-3", "rt-3"));
        host.ready();
    }
    // A new authorization reads it too.
    let mut host = refused_refresh(configured(), "unsupported_grant_type");
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.redirect();
    // When the metadata cannot be read, old metadata does not lead to a redirect.
    let mut host = refused_refresh(configured(), "unsupported_grant_type");
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &prm());
    host.serve(META, 503, "");
    host.serve(OPENID, 404, "");
    assert!(matches!(host.error().cause, Cause::Unreachable(_)));
    // These errors do not indicate stale metadata.
    for error in ["invalid_grant", "unauthorized_client"] {
        let mut host = refused_refresh(configured(), error);
        host.need_user();
        host.authorize();
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, &metadata());
        host.redirect();
    }
}

#[test]
fn meta_18_refr_11_a22_a_token_endpoint_that_moved_is_not_asked_again() {
    let mut host = refused_refresh(configured(), "invalid_client");
    host.renewal_refused();
    let moved = metadata().replace(TOKEN, "https://b.example/token");
    for _ in 0..3 {
        host.pass(60_000);
        host.wanted("x");
        host.serve(META, 200, &moved);
        let found = host.renewal_refused();
        assert_eq!(found, Cause::Violation(Violation::TokenEndpointMoved));
        host.quiet();
    }
}

#[test]
fn meta_18_disc_20_metadata_of_the_host_is_not_fetched_whatever_the_server_says() {
    let mut host = Host::new(configured().server_metadata(AS, metadata()));
    host.ask("Bearer");
    host.to_refresh(AS);
    host.serve(TOKEN, 401, r#"{"error":"invalid_client"}"#);
    host.renewal_refused();
    host.pass(60_000);
    host.wanted("x");
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
}

#[test]
fn meta_18_a_resource_whose_metadata_changed_has_its_servers_asked_anew() {
    let listed = format!("\"{AS}\"");
    for cache in [MetadataCache::Slots, MetadataCache::Off] {
        let mut host = to_refresh(configured().metadata_cache(cache), &prm(), &metadata());
        host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
        host.ready();
        // The same words again change nothing.
        host.accepted("tools/call x");
        host.refused("Bearer");
        host.serve(PRM, 200, &prm());
        host.serve(TOKEN, 200, &renewable("at-3", "rt-3"));
        host.ready();
        // Other words: what the server says of itself is read once more, and believed again.
        for (token, refresh, anew) in [("at-4", "rt-4", true), ("at-5", "rt-5", false)] {
            host.accepted("tools/call x");
            host.refused("Bearer");
            host.serve(PRM, 200, &changed(&listed));
            if anew {
                host.serve(META, 200, &metadata());
            }
            host.serve(TOKEN, 200, &renewable(token, refresh));
            host.ready();
        }
    }
}

#[test]
fn meta_18_a_new_authorization_asks_a_server_anew_whose_resource_changed() {
    let mut host = Host::new(configured());
    host.discover(&prm(), &metadata());
    host.redirect();
    host.handle(mcp_auth_machine::Event::Abandoned(Default::default()));
    host.error();
    host.ask(&announcing());
    // Whichever of them is taken.
    let listed = format!("\"https://x.example\",\"{AS}\"");
    host.serve(PRM, 200, &changed(&listed));
    host.serve(META, 200, &metadata());
    host.redirect();
}

#[test]
fn meta_18_quirk_01_quirk_02_it_is_the_issuer_of_the_account_that_is_in_doubt() {
    let pinned = "https://login.example/tenant";
    let slash = format!("{AS}/");
    for (entry, later, issuer, configured) in [
        (AS, slash.as_str(), AS, config()),
        (AS, AS, pinned, config().pin(AS, pinned)),
    ] {
        let mut host = Host::new(configured.pre_registered(issuer, PreRegistered::new("pre")));
        host.discover(&prm().replace(AS, entry), &metadata_of(issuer, ""));
        let redirect = host.redirect();
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        let token = format!("{issuer}/token");
        host.serve(&token, 200, &renewable("at-1", "rt-1"));
        host.ready();
        for (number, anew) in [(2, true), (3, false)] {
            host.accepted("tools/call x");
            host.refused("Bearer");
            host.serve(PRM, 200, &changed(&format!("\"{later}\"")));
            if anew {
                host.serve(META, 200, &metadata_of(issuer, ""));
            }
            let answer = renewable(&format!("at-{number}"), &format!("rt-{number}"));
            host.serve(&token, 200, &answer);
            host.ready();
        }
    }
}

#[test]
fn meta_18_scopes_in_another_order_are_no_change() {
    let listed = format!("\"{AS}\"");
    let scopes = |text: &str| changed(&listed).replace("\"files\"", text);
    let mut host = to_refresh(configured(), &scopes("\"a\",\"b\""), &metadata());
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
    for (token, offered, anew) in [
        ("at-3", "\"b\",\"a\"", false),
        ("at-4", "\"b\"", true),
        ("at-5", "\"b\",\"c\"", true),
    ] {
        host.accepted("tools/call x");
        host.refused("Bearer");
        host.serve(PRM, 200, &scopes(offered));
        if anew {
            host.serve(META, 200, &metadata());
        }
        host.serve(TOKEN, 200, &renewable(token, "rt"));
        host.ready();
    }
}

#[test]
fn meta_18_refr_11_where_there_are_no_requests_left_what_is_known_is_used() {
    // One for the resource, one for the server, none for its second place.
    let few = |cache| configured().max_requests(2).metadata_cache(cache);
    let listed = changed(&format!("\"{AS}\""));
    for cache in [MetadataCache::Slots, MetadataCache::Off] {
        let mut host = to_refresh(few(cache), &prm(), &metadata());
        host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
        host.ready();
        host.accepted("tools/call x");
        host.refused("Bearer");
        host.serve(PRM, 200, &listed);
        host.serve(META, 503, "");
        host.serve(TOKEN, 200, &renewable("at-3", "rt-3"));
        host.ready();
    }
    let mut host = Host::new(few(MetadataCache::Slots));
    host.discover(&prm(), &metadata());
    host.redirect();
    host.handle(mcp_auth_machine::Event::Abandoned(Default::default()));
    host.error();
    host.authorize();
    host.serve(PRM, 200, &listed);
    host.serve(META, 503, "");
    let limited = Cause::OutOfPatience(Limited::Requests);
    assert_eq!(host.error().cause, limited);
}

#[test]
fn disc_19_meta_18_a_redirect_needs_both_documents_from_their_source() {
    // The machine fetches both documents even if it read them a moment ago, in an attempt that failed or succeeded,
    // in this process or another.
    let lives = [("cache-control", "max-age=86400")];
    let built = Arc::new(config().build().unwrap());
    let mut host = Host::on(Arc::clone(&built), Store::default());
    for refused in [true, false] {
        host.ask("Bearer");
        host.serve_with(PRM, 200, &lives, &prm());
        let without = metadata().replace("S256", "plain");
        let document = if refused { without } else { metadata() };
        host.serve_with(META, 200, &lives, &document);
        if refused {
            assert_eq!(host.error().cause, Cause::Violation(Violation::NoPkce));
        }
    }
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    host.redirect();
    host.handle(mcp_auth_machine::Event::Abandoned(Default::default()));
    host.error();
    for later in [false, true] {
        if later {
            let store = std::mem::take(&mut host.store);
            host = Host::resumed(Arc::clone(&built), store, host.now, 50);
            host.challenged(401, &["Bearer"]);
            host.need_user();
        }
        host.authorize();
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, &metadata());
        host.redirect();
        host.handle(mcp_auth_machine::Event::Abandoned(Default::default()));
        host.error();
    }
    assert!(host.store.of_kind("metadata").is_empty());
}

/// A service whose documents live for a day.
fn service(store: Store, now: Moment) -> Host {
    let client = PreRegistered::new("service").secret("s3cret");
    let config = config().pre_registered(AS, client).client_credentials();
    Host::resumed(Arc::new(config.build().unwrap()), store, now, 50)
}

/// How often the service fetches each document for its next token.
fn documents(host: &mut Host) -> (usize, usize) {
    let mut read = (0, 0);
    host.wanted("x");
    loop {
        let send = host.request();
        let url = send.request().uri().to_string();
        let day = [("cache-control", "max-age=86400")];
        let document = match url.as_str() {
            PRM => {
                read.0 += 1;
                prm()
            }
            META => {
                read.1 += 1;
                metadata().replace("none", "client_secret_post")
            }
            _ => {
                host.handle(send.never_sent());
                return read;
            }
        };
        host.handle(send.response(response(200, &day, &document)));
    }
}

#[test]
fn disc_19_meta_18_no_document_comes_from_a_cache_after_a_failure_in_any_process() {
    let mut host = service(
        Store::default(),
        mcp_auth_testing::moment(1_800_000_000_000, 1_000),
    );
    assert_eq!(documents(&mut host), (1, 1));
    let answer = |host: &mut Host, status: u16, body: &str| {
        host.wake();
        host.serve(TOKEN, status, body);
    };
    answer(&mut host, 200, &token_answer("at-1"));
    host.ready();
    assert_eq!(host.store.of_kind("metadata").len(), 2);
    // The cached documents serve the next token, also in another process.
    let (store, now) = (std::mem::take(&mut host.store), host.now);
    let mut host = service(store, now);
    host.ready();
    host.pass(3_600_000);
    assert_eq!(documents(&mut host), (0, 0));
    // After a failure the cached documents are erased, for this process and the next.
    answer(&mut host, 400, r#"{"error":"invalid_target"}"#);
    host.error();
    assert!(host.store.of_kind("metadata").is_empty());
    host.pass(60_000);
    let (store, now) = (std::mem::take(&mut host.store), host.now);
    let mut later = service(store, now);
    assert_eq!(documents(&mut later), (1, 1));
    answer(&mut later, 200, &token_answer("at-2"));
    later.ready();
    // Cached while this process distrusts what it has read: it reads for itself until it has a token.
    host.store = std::mem::take(&mut later.store);
    host.pass(7_200_000);
    assert_eq!(documents(&mut host), (1, 1));
}

#[test]
fn disc_18_disc_19_a_refetched_document_replaces_the_cache_of_another_process() {
    let other = "https://b.example";
    let built = Arc::new(config().build().unwrap());
    let mut first = Host::on(Arc::clone(&built), Store::default());
    first.sign_in();
    // Another process, which never read the cache, learns that the resource has moved.
    let mut second = Host::resumed(Arc::clone(&built), first.store, first.now, 50);
    second.ready();
    second.accepted("tools/call x");
    second.refused(&announcing());
    second.serve(PRM, 200, &prm().replace(AS, other));
    second.need_user();
    // A third one, asked to authorize, does not send the user to the server that was left.
    let mut third = Host::resumed(built, second.store, second.now, 100);
    third.ready();
    third.authorize();
    third.serve(PRM, 200, &prm().replace(AS, other));
    let place = format!("{other}/.well-known/oauth-authorization-server");
    third.serve(&place, 200, &metadata_of(other, ""));
}

#[test]
fn disc_18_iso_04_a_stale_cache_does_not_lead_the_user_back() {
    // No challenge names the metadata URL, so the cache would suffice; the store cannot save the refetched document.
    let mut host = Host::new(config());
    host.ask("Bearer");
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    host.ready();
    host.accepted("tools/call x");
    host.store.mode = StoreMode::WritesFail;
    host.refused("Bearer");
    host.serve(PRM, 200, &prm().replace(AS, "https://b.example"));
    host.need_user();
    host.store.mode = StoreMode::Works;
    host.pass(61_000);
    host.authorize();
    host.serve(PRM, 200, &prm().replace(AS, "https://b.example"));
    let place = "https://b.example/.well-known/oauth-authorization-server";
    host.serve(place, 200, &metadata_of("https://b.example", ""));
}

/// A server whose token endpoint moved to another path; what the account knows of it is fresh for a day.
fn with_moved_path() -> (Host, String) {
    let mut host = Host::new(config());
    host.ask(&announcing());
    host.serve(PRM, 200, &prm());
    let day = [("cache-control", "max-age=86400")];
    host.serve_with(META, 200, &day, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    host.ready();
    (host, metadata().replace("/token", "/oauth/token"))
}

/// META-18: what a refresh failed with is read again before the next one.
#[test]
fn meta_18_the_first_refresh_after_a_failed_one_reads_the_servers_document() {
    const MOVED: &str = "https://as.example/oauth/token";
    // The token has expired: the old path knows nothing, or does not answer.
    for status in [404, 500] {
        let (mut host, moved) = with_moved_path();
        host.pass(60 * 60 * 1_000);
        host.wanted("x");
        host.serve(TOKEN, status, "");
        while host.actions.is_empty() {
            host.wake();
            host.serve(TOKEN, status, "");
        }
        host.next();
        host.pass(60_000);
        host.wanted("x");
        let day = [("cache-control", "max-age=86400")];
        host.serve_with(META, 200, &day, &moved);
        host.serve(MOVED, 200, &renewable("at-2", "rt-2"));
        host.ready();
        // Once.
        host.pass(60 * 60 * 1_000);
        host.wanted("x");
        host.serve(MOVED, 200, &renewable("at-3", "rt-3"));
        host.ready();
    }
    // Ahead of expiry, where nobody sees the failure.
    let (mut host, moved) = with_moved_path();
    host.pass(60 * 60 * 1_000 - 50_000);
    host.wanted("x");
    host.serve(TOKEN, 404, "");
    host.ready();
    host.pass(6_000);
    host.wanted("x");
    host.serve(META, 200, &moved);
    host.serve(MOVED, 200, &renewable("at-2", "rt-2"));
    host.ready();
    // A document that cannot be read holds nothing up (A17).
    let (mut host, _) = with_moved_path();
    host.pass(60 * 60 * 1_000 - 50_000);
    host.wanted("x");
    host.serve(TOKEN, 404, "");
    host.ready();
    host.pass(6_000);
    host.wanted("x");
    host.serve(META, 503, "");
    host.serve(OPENID, 503, "");
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
}
