//! The same issuer names its endpoints elsewhere: what was issued before is not sent there (A22).

use mcp_auth_machine::Event;
use mcp_auth_machine::action::Purpose;
use mcp_auth_machine::config::PreRegistered;
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
