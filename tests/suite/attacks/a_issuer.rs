//! Issuer confusion (1.A), beside `lifecycles` and `moving`.

use mcp_auth_machine::action::Why;
use mcp_auth_machine::error::{Cause, Violation};
use mcp_auth_machine::{Action, MetadataFlaw};

use super::*;

const TENANT: &str = "https://as.example/a";

#[test]
fn a10_a_refresh_under_way_is_neither_repeated_nor_moved() {
    let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    let sent = host.token();
    host.refused("Bearer");
    host.serve(PRM, 200, &prm());
    let refresh = host.request();
    let elsewhere = "https://mcp.example/elsewhere";
    let challenge = format!("Bearer resource_metadata=\"{elsewhere}\"");
    host.challenged_for("other", 401, &[&challenge], sent.as_deref());
    host.quiet();
    host.handle(refresh.response(response(200, &[], &renewable("at-2", "rt-2"))));
    assert_eq!(host.ready().issuer.as_str(), AS);
    host.quiet();
    assert!(
        account(&host).contains("rt-2")
            && spelled_out(&account(&host)).contains(r#""issuer":"https://as.example""#)
    );
    // The new token is refused as well, and the resource names B: a question, and nothing sent to B.
    host.accepted("tools/call x");
    host.refused(&challenge);
    host.serve(elsewhere, 200, &prm_of(B));
    assert!(matches!(host.need_user().why, Why::ServerChanged { .. }));
    host.quiet();
    assert!(account(&host).contains("rt-2"));
}

#[test]
fn a13_a_server_in_use_that_is_still_listed_stays_wherever_it_stands() {
    let flag = r#","client_id_metadata_document_supported":true"#;
    let listed = |first: &str, second: &str| {
        let servers = format!(r#"["{first}","{second}"]"#);
        prm().replace(&format!(r#"["{AS}"]"#), &servers)
    };
    // Without a registration, only the use of a server makes it the preferred one.
    let client = || config().client_metadata_url("https://client.example/client.json");
    for answer in [renewable("at-1", "rt-1"), token_answer("at-1")] {
        let mut host = Host::new(client());
        host.discover(&listed(AS, B), &metadata_with(flag));
        let redirect = host.redirect();
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        host.serve(TOKEN, 200, &answer);
        host.ready();
        host.accepted("tools/call x");
        host.refused("Bearer");
        host.serve(PRM, 200, &listed(B, AS));
        if answer.contains("rt-1") {
            host.serve(META, 200, &metadata_with(flag));
            host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
            host.ready();
        } else {
            assert_eq!(host.need_user().why, Why::TokenOver);
            host.authorize();
            host.serve(META, 200, &metadata_with(flag));
            assert_eq!(host.redirect().issuer.as_str(), AS);
        }
        host.quiet();
    }
}

#[test]
fn a14_documents_for_another_resource_are_discarded_whoever_they_name() {
    for resource in [
        "https://evil.example/mcp",
        "https://mcp.example/mcp/deeper",
        "https://mcp.example/MCP",
        "https://mcp.example:444/mcp",
        "http://mcp.example/mcp",
        "https://user@mcp.example/mcp",
    ] {
        let mut host = Host::new(config());
        asked(&mut host);
        host.serve(PRM, 200, &prm_of(B).replace(MCP, resource));
        let cause = host.error().cause;
        assert!(
            matches!(cause, Cause::Violation(Violation::OtherResource { .. })),
            "{resource}: {cause:?}"
        );
        host.quiet();
    }
}

#[test]
fn a15_a_document_elsewhere_is_held_to_the_resource_and_to_the_policy() {
    let elsewhere = "https://b.example/prm";
    let challenge = format!("Bearer resource_metadata=\"{elsewhere}\"");
    let announced = |config| {
        let mut host = Host::new(config);
        host.ask(&challenge);
        host
    };
    let mut host = announced(config());
    host.serve(
        elsewhere,
        200,
        &prm_of(B).replace(MCP, "https://b.example/mcp"),
    );
    assert!(matches!(
        host.error().cause,
        Cause::Violation(Violation::OtherResource { .. })
    ));
    host.quiet();
    let same = mcp_auth_machine::config::MetadataOrigin::SameOrigin;
    let mut host = announced(config().metadata_origin(same));
    assert_eq!(host.reported("place_refused"), 1);
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
}

#[test]
fn a23_a_tenants_places_in_order_each_judged_on_its_own() {
    let places = [
        "https://as.example/.well-known/oauth-authorization-server/a",
        "https://as.example/.well-known/openid-configuration/a",
        "https://as.example/a/.well-known/openid-configuration",
    ];
    let other = metadata_of("https://as.example/b", "");
    let mut host = Host::new(config());
    asked(&mut host);
    host.serve(PRM, 200, &prm_of(TENANT));
    host.serve(places[0], 404, "");
    host.serve(places[1], 200, &other);
    host.serve(places[2], 200, &metadata_of(TENANT, ""));
    host.serve("https://as.example/a/register", 201, r#"{"client_id":"c"}"#);
    assert_eq!(host.redirect().issuer.as_str(), TENANT);
    let mut host = Host::new(config());
    asked(&mut host);
    host.serve(PRM, 200, &prm_of(TENANT));
    host.serve(places[0], 404, "");
    host.serve(places[1], 200, &other);
    host.serve(places[2], 200, &metadata_of(B, ""));
    let Cause::Violation(Violation::Metadata(MetadataFlaw::Issuer { expected, .. })) =
        host.error().cause
    else {
        panic!()
    };
    assert_eq!(expected.as_str(), TENANT);
    host.quiet();
}

#[test]
fn a24_no_prefix_of_a_tenant_is_the_tenant() {
    for (asked_for, named) in [
        (TENANT, "https://as.example/a/b"),
        ("https://as.example/a/b", TENANT),
        (TENANT, "https://as.example/A"),
        (TENANT, "https://as.example/a//"),
        (TENANT, AS),
        (AS, TENANT),
    ] {
        let mut host = Host::new(config());
        asked(&mut host);
        host.serve(PRM, 200, &prm_of(asked_for));
        loop {
            match host.next() {
                Action::SendRequest(send) => {
                    let answer = response(200, &[], &metadata_of(named, ""));
                    host.handle(send.response(answer));
                }
                Action::Error(failure) => {
                    assert!(matches!(
                        failure.cause,
                        Cause::Violation(Violation::Metadata(MetadataFlaw::Issuer { .. }))
                    ));
                    break;
                }
                other => panic!("{asked_for} is not {named}: {other:?}"),
            }
        }
        host.quiet();
    }
}
