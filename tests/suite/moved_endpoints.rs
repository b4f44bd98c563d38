//! The same issuer names its endpoints elsewhere: what was issued before is not sent there (A22).

use mcp_auth_machine::Event;
use mcp_auth_machine::action::Purpose;
use mcp_auth_machine::config::PreRegistered;
use mcp_auth_machine::event::Abandon;
use mcp_auth_machine::report::Decision;

use crate::sign_out::{REVOKE, revocable, signed_in_at};
use crate::support::*;

const HOUR: u64 = 60 * 60 * 1_000;
const ELSEWHERE: &str = "https://elsewhere.example";

/// Signed in with a client secret at a server with this document; its next one is another.
fn read_again(first: &str, later: &str) -> Host {
    let secret = |document: &str| document.replace(r#"["none"]"#, r#"["client_secret_post"]"#);
    let config = config().pre_registered(AS, PreRegistered::new("pre-1").secret("s-1"));
    let mut host = signed_in_at(config, &secret(first), &renewable("at-1", "rt-1"));
    host.pass(2 * HOUR);
    host.wanted("x");
    host.serve(META, 200, &secret(later));
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
    host
}

/// Where tokens are revoked at sign-out.
fn revoked_at(host: &mut Host) -> Vec<String> {
    host.handle(Event::SignedOut);
    let mut places = Vec::new();
    while !host.actions.is_empty() {
        let send = host.request();
        assert_eq!(send.purpose(), Purpose::Revocation);
        places.push(send.request().uri().to_string());
        host.handle(send.response(response(200, &[], "")));
    }
    places
}

fn not_followed(host: &Host) -> Vec<&'static str> {
    let member = |decision: &Decision| match decision {
        Decision::EndpointNotFollowed { member, .. } => Some(*member),
        _ => None,
    };
    host.reports.iter().filter_map(member).collect()
}

#[test]
fn refr_11_a22_a_revocation_endpoint_that_moves_gets_nothing_that_was_issued_before() {
    let moved = revocable("").replace(REVOKE, &format!("{ELSEWHERE}/revoke"));
    let mut host = read_again(&revocable(""), &moved);
    assert_eq!(not_followed(&host), ["revocation_endpoint"]);
    assert_eq!(revoked_at(&mut host), [REVOKE, REVOKE]);
}

#[test]
fn refr_11_a22_nor_does_one_that_appears_on_another_origin() {
    let appears = metadata_with(&format!(r#","revocation_endpoint":"{ELSEWHERE}/revoke""#));
    let mut host = read_again(&metadata(), &appears);
    assert_eq!(not_followed(&host), ["revocation_endpoint"]);
    assert!(revoked_at(&mut host).is_empty());
}

#[test]
fn refr_11_a22_nor_does_one_that_another_version_wrote_into_the_record() {
    let mut host = read_again(&revocable(""), &revocable(""));
    for (_, stored) in host
        .store
        .slots
        .iter_mut()
        .filter(|(key, _)| key.starts_with("account"))
    {
        let text = stored.contents.expose().to_owned();
        let json = text.splitn(3, '.').nth(2).unwrap();
        let revision = stored.revision;
        *stored = sealed(&json.replace(REVOKE, &format!("{ELSEWHERE}/revoke")));
        assert_ne!(stored.revision, revision);
    }
    assert_eq!(revoked_at(&mut host), [REVOKE, REVOKE]);
}

#[test]
fn refr_11_a22_each_endpoint_that_receives_a_credential_stays_on_an_origin_that_is_known() {
    let members = [
        "revocation_endpoint",
        "pushed_authorization_request_endpoint",
        "registration_endpoint",
    ];
    for member in members {
        let with = |origin: &str| {
            let document = metadata().replace(
                r#""registration_endpoint":"https://as.example/register","#,
                "",
            );
            document.replacen('{', &format!(r#"{{"{member}":"{origin}/e","#), 1)
        };
        let host = read_again(&with(AS), &with(ELSEWHERE));
        assert_eq!(not_followed(&host), [member]);
        let account = host.store.of_kind("account")[0].contents.expose();
        assert!(!account.contains(ELSEWHERE), "{member}: {account}");
        assert!(account.contains("https://as.example/e"), "{member}");
        // Another path on an origin that has one of its endpoints is followed.
        let host = read_again(&metadata(), &with(AS));
        assert!(not_followed(&host).is_empty(), "{member}");
        let account = host.store.of_kind("account")[0].contents.expose();
        assert!(account.contains("https://as.example/e"), "{member}");
    }
}

/// An answer to a registration by a server that takes secrets.
fn with_secret(number: u8) -> String {
    format!(
        r#"{{"client_id":"dyn-{number}","client_secret":"s-{number}","token_endpoint_auth_method":"client_secret_post"}}"#
    )
}

fn takes_secrets(document: &str) -> String {
    document.replace(r#"["none"]"#, r#"["client_secret_post"]"#)
}

/// A document with every endpoint at which clients authenticate.
fn complete() -> String {
    let more = [
        "revocation_endpoint",
        "pushed_authorization_request_endpoint",
        "device_authorization_endpoint",
    ];
    let more = more.map(|member| format!(r#","{member}":"{AS}/{member}""#));
    takes_secrets(&metadata_with(&more.concat()))
}

/// The document with one endpoint on another origin.
fn with_moved(member: &str) -> String {
    let mut document: serde_json::Value = serde_json::from_str(&complete()).unwrap();
    document[member] = format!("{ELSEWHERE}/e").into();
    document.to_string()
}

/// Registered with a secret under the first document, without having signed in; the user starts again under the next one.
fn starts_again(first: &str, next: &str) -> Host {
    let mut host = Host::new(config());
    host.discover(&prm(), first);
    host.serve(REGISTER, 201, &with_secret(1));
    host.redirect();
    host.handle(Event::Abandoned(Abandon::Cancelled));
    host.error();
    host.authorize();
    host.serve(META, 200, next);
    host
}

/// Every text that the host was asked to send.
fn sent(request: &http::Request<bytes::Bytes>) -> String {
    format!("{request:?} {}", String::from_utf8_lossy(request.body()))
}

/// TOK-07, REFR-11, A22
#[test]
fn tok_07_refr_11_a22_the_secret_of_a_registration_follows_no_endpoint_to_another_origin() {
    let members = [
        "token_endpoint",
        "revocation_endpoint",
        "pushed_authorization_request_endpoint",
        "device_authorization_endpoint",
    ];
    for member in members {
        let mut host = starts_again(&complete(), &with_moved(member));
        let registered = host.serve(REGISTER, 201, &with_secret(2));
        assert!(!sent(&registered).contains("s-1"), "{member}");
        let redirect = host.redirect();
        assert_eq!(&*redirect.client_id, "dyn-2", "{member}");
        host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
        let place = match member {
            "token_endpoint" => "https://elsewhere.example/e",
            _ => TOKEN,
        };
        let exchange = host.serve(place, 200, &renewable("at-1", "rt-1"));
        assert!(!sent(&exchange).contains("s-1"), "{member}");
        assert!(sent(&exchange).contains("s-2"), "{member}");
        host.ready();
        // A secret that another party has seen is not used again when the document is put right.
        host.authorize();
        host.serve(META, 200, &complete());
        host.serve(REGISTER, 201, &with_secret(3));
        assert_eq!(&*host.redirect().client_id, "dyn-3", "{member}");
    }
}

/// TOK-07, REG-31
#[test]
fn tok_07_a_registration_stays_in_use_where_its_secret_is_known_already() {
    // Another path, an endpoint more, and one less, all on the same origin.
    let path = complete().replace("/token", "/oauth/token");
    let fewer = takes_secrets(&metadata());
    // The registration endpoint receives no secret.
    let other = complete().replace(REGISTER, "https://elsewhere.example/register");
    for next in [path, fewer, other] {
        let mut host = starts_again(&complete(), &next);
        assert_eq!(&*host.redirect().client_id, "dyn-1", "{next}");
    }
    // A client without a secret has nothing to lose.
    let mut host = Host::new(config());
    host.to_redirect();
    host.handle(Event::Abandoned(Abandon::Cancelled));
    host.error();
    host.authorize();
    let moved = metadata().replace(TOKEN, "https://elsewhere.example/token");
    host.serve(META, 200, &moved);
    assert_eq!(&*host.redirect().client_id, "dyn-1");
}

/// TOK-07
#[test]
fn tok_07_a_record_names_the_origins_of_a_secret_and_one_without_them_belongs_to_the_issuers() {
    let elsewhere = with_moved("token_endpoint");
    let mut host = starts_again(&elsewhere, &elsewhere);
    assert_eq!(&*host.redirect().client_id, "dyn-1");
    let record = spelled_out(host.store.of_kind("registration")[0].contents.expose());
    let named = r#","secret_origins":["https://as.example","https://elsewhere.example"]"#;
    assert!(record.contains(named), "{record}");
    // As an older version wrote it, at a server whose token endpoint is elsewhere: registered again.
    let json = record.replace(named, "");
    for (document, client) in [(&elsewhere, "dyn-2"), (&complete(), "dyn-1")] {
        let mut host = starts_again(&complete(), &complete());
        host.redirect();
        host.handle(Event::Abandoned(Abandon::Cancelled));
        host.error();
        let key = |key: &&String| key.starts_with("registration");
        let key = host.store.slots.keys().find(key).unwrap().clone();
        host.store.slots.insert(key, sealed(&json));
        host.authorize();
        host.serve(META, 200, document);
        if client == "dyn-2" {
            host.serve(REGISTER, 201, &with_secret(2));
        }
        assert_eq!(&*host.redirect().client_id, client);
    }
}
