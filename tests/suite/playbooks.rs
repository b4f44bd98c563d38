//! Whole conversations as playbooks: what a host does and is asked to do. The snapshots beside this file
//! are meant to be read; `lifecycles` has those in which a server lies.

use std::sync::Arc;

use mcp_auth_machine::config::{Legacy, PreRegistered, ResourceParameter};
use mcp_auth_machine::event::{Abandon, Authorization};
use mcp_auth_machine::{Config, Event};

use crate::races::beside_another_process;
use crate::support::*;

const ISS: &str = r#","authorization_response_iss_parameter_supported":true"#;
const CIMD: &str = "https://client.example/client.json";
const CIMD_FLAG: &str = r#","client_id_metadata_document_supported":true"#;
const CHALLENGE: &str =
    "Bearer resource_metadata=\"https://mcp.example/.well-known/oauth-protected-resource/mcp\"";

fn playbook(parts: &[(&str, Host)]) -> String {
    let told = parts
        .iter()
        .map(|(name, host)| format!("## {name}\n{}", host.playbook));
    told.collect::<Vec<String>>().join("\n")
}

fn comes_back(host: &mut Host, query: &str) {
    let redirect = host.redirect();
    host.callback(&format!("{query}&state={}", state_of(&redirect)));
}

#[test]
fn cold_flows_by_each_kind_of_client() {
    let mut dynamic = Host::new(config());
    dynamic.discover(&prm(), &metadata());
    dynamic.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    comes_back(&mut dynamic, "code=c-1");
    dynamic.serve(TOKEN, 200, &token_answer("at-1"));
    dynamic.ready();

    let mut document = Host::new(config().client_metadata_url(CIMD));
    document.discover(&prm(), &metadata_with(CIMD_FLAG));
    comes_back(&mut document, "code=c-1");
    document.serve(TOKEN, 200, &token_answer("at-1"));
    document.ready();

    let offered = r#","device_authorization_endpoint":"https://as.example/device""#;
    let codes = r#"{"device_code":"dc-1","user_code":"WDJB-MJHT",
        "verification_uri":"https://as.example/code","expires_in":300}"#;
    let mut elsewhere = Host::new(config());
    elsewhere.challenged(401, &[CHALLENGE]);
    elsewhere.need_user();
    let seed = elsewhere.next_seed();
    elsewhere.authorize_with(Authorization::new(seed).on_other_device());
    elsewhere.serve(PRM, 200, &prm());
    elsewhere.serve(META, 200, &metadata_with(offered));
    elsewhere.serve(REGISTER, 201, r#"{"client_id":"dev-1"}"#);
    elsewhere.serve("https://as.example/device", 200, codes);
    elsewhere.code();
    elsewhere.wake();
    elsewhere.serve(TOKEN, 400, r#"{"error":"authorization_pending"}"#);
    elsewhere.wake();
    elsewhere.serve(TOKEN, 200, &token_answer("at-1"));
    elsewhere.ready();

    let client = PreRegistered::new("pre-1").secret("s-1");
    let basic = r#"["client_secret_basic"]"#;
    let metadata = metadata().replace(r#"["none"]"#, basic);
    let mut registered = Host::new(config().pre_registered(AS, client.clone()));
    registered.discover(&prm(), &metadata);
    comes_back(&mut registered, "code=c-1");
    registered.serve(TOKEN, 200, &token_answer("at-1"));
    registered.ready();

    let mut unbound = Host::new(config().pre_registered_unbound(client.clone()));
    unbound.discover(&prm(), &metadata);
    comes_back(&mut unbound, "code=c-1");
    unbound.serve(TOKEN, 200, &token_answer("at-1"));
    unbound.ready();

    let mut itself = Host::new(config().pre_registered(AS, client).client_credentials());
    itself.challenged(401, &[CHALLENGE]);
    itself.serve(PRM, 200, &prm());
    itself.serve(
        META,
        200,
        &metadata.replace(
            "\"issuer\"",
            "\"grant_types_supported\":[\"client_credentials\"],\"issuer\"",
        ),
    );
    itself.serve(TOKEN, 200, &token_answer("at-1"));
    itself.ready();

    insta::assert_snapshot!(playbook(&[
        ("dynamic registration", dynamic),
        ("client ID metadata document", document),
        ("registered beforehand", registered),
        ("registered beforehand, nobody says where", unbound),
        ("acts for itself", itself),
        ("another device", elsewhere),
    ]));
}

#[test]
fn discovery_in_each_of_its_ways() {
    let absent = |host: &mut Host, url: &str| {
        host.serve_with(url, 404, &[], "");
    };
    let mut well_known = Host::new(config());
    well_known.challenged(401, &[]);
    well_known.need_user();
    well_known.authorize();
    absent(&mut well_known, PRM);
    well_known.serve(
        "https://mcp.example/.well-known/oauth-protected-resource",
        200,
        &prm(),
    );
    absent(&mut well_known, META);
    well_known.serve(
        "https://as.example/.well-known/openid-configuration",
        200,
        &metadata(),
    );

    let tenant = "https://as.example/tenant";
    let mut path = Host::new(config());
    path.ask(CHALLENGE);
    path.serve(PRM, 200, &prm().replace(AS, tenant));
    absent(
        &mut path,
        "https://as.example/.well-known/oauth-authorization-server/tenant",
    );
    absent(
        &mut path,
        "https://as.example/.well-known/openid-configuration/tenant",
    );
    path.serve(
        "https://as.example/tenant/.well-known/openid-configuration",
        200,
        &metadata_of(tenant, ""),
    );

    let mut named = Host::new(config().issuer(AS));
    named.challenged(401, &[]);
    named.need_user();
    named.authorize();
    named.serve(META, 200, &metadata());

    let omit = Legacy::On {
        resource: ResourceParameter::Omit,
    };
    let mut old = Host::new(config().legacy(omit));
    old.challenged(401, &[]);
    old.need_user();
    old.authorize();
    absent(&mut old, PRM);
    absent(
        &mut old,
        "https://mcp.example/.well-known/oauth-protected-resource",
    );
    absent(
        &mut old,
        "https://mcp.example/.well-known/oauth-authorization-server",
    );
    old.serve(
        "https://mcp.example/register",
        201,
        r#"{"client_id":"dyn-1"}"#,
    );
    old.redirect();

    insta::assert_snapshot!(playbook(&[
        ("by well-known places", well_known),
        ("an issuer with a path", path),
        ("the host names the issuer", named),
        ("a server of 2025-03-26", old),
    ]));
}

#[test]
fn the_iss_table_and_error_callbacks() {
    let own = "iss=https%3A%2F%2Fas.example";
    let other = "iss=https%3A%2F%2Fb.example";
    let rows = [
        ("advertised, equal", ISS, format!("code=c-1&{own}")),
        ("advertised, absent", ISS, "code=c-1".to_owned()),
        ("advertised, different", ISS, format!("code=c-1&{other}")),
        ("not advertised, equal", "", format!("code=c-1&{own}")),
        ("not advertised, absent", "", "code=c-1".to_owned()),
        ("not advertised, different", "", format!("code=c-1&{other}")),
        (
            "error, absent",
            "",
            "error=access_denied&error_description=No".to_owned(),
        ),
        (
            "error, different",
            "",
            format!("error=access_denied&error_description=No&{other}"),
        ),
        (
            "code and error",
            "",
            "code=c-1&error=access_denied".to_owned(),
        ),
        ("twice", "", format!("code=c-1&{own}&{own}")),
    ];
    let parts = rows.map(|(name, iss, query)| {
        let mut host = Host::new(config());
        host.discover(&prm(), &metadata_with(iss));
        host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
        host.playbook.clear();
        comes_back(&mut host, &query);
        (name, host)
    });
    insta::assert_snapshot!(playbook(&parts));
}

#[test]
fn living_with_a_token() {
    let mut refresh = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    refresh.playbook.clear();
    refresh.pass(3_590_000);
    refresh.wanted("tools/list");
    while refresh
        .actions
        .iter()
        .any(|action| format!("{action:?}").contains("metadata, GET"))
    {
        refresh.serve(META, 200, &metadata());
    }
    refresh.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    refresh.ready();

    let mut step_up = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    step_up.playbook.clear();
    let sent = step_up.token();
    let lacks = "Bearer error=\"insufficient_scope\", scope=\"write\"";
    step_up.challenged_for("tools/call write", 403, &[lacks], sent.as_deref());
    step_up.need_user();
    step_up.authorize();
    step_up.serve(PRM, 200, &prm());
    comes_back(&mut step_up, "code=c-2");
    step_up.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    step_up.ready();
    step_up.chapter("the same scope is missing three times");
    for code in ["c-3", "c-4"] {
        let sent = step_up.token();
        step_up.challenged_for(
            "tools/call write",
            403,
            &[&lacks.replace("write\"", &format!("{code}\""))],
            sent.as_deref(),
        );
        if step_up
            .actions
            .iter()
            .any(|action| format!("{action:?}").starts_with("Error"))
        {
            break;
        }
        step_up.need_user();
        step_up.authorize();
        step_up.serve(PRM, 200, &prm());
        comes_back(&mut step_up, &format!("code={code}"));
        step_up.serve(TOKEN, 200, &renewable("at-3", "rt-3"));
        step_up.ready();
    }

    let other = "https://b.example";
    let mut moved = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    moved.playbook.clear();
    moved.refused("Bearer");
    moved.serve(PRM, 200, &prm().replace(AS, other));
    moved.need_user();
    moved.authorize();
    let document = format!("{other}/.well-known/oauth-authorization-server");
    moved.serve(&document, 200, &metadata_of(other, ""));
    moved.serve(&format!("{other}/register"), 201, r#"{"client_id":"b-1"}"#);
    comes_back(&mut moved, "code=c-2");
    moved.serve(&format!("{other}/token"), 200, &renewable("bt-1", "brt-1"));
    moved.ready();

    let mut out = Host::signed_in(config(), &renewable("at-1", "rt-1"));
    out.playbook.clear();
    out.handle(Event::SignedOut);

    let mut cancelled = Host::new(config());
    cancelled.to_redirect();
    cancelled.playbook.clear();
    cancelled.handle(Event::Abandoned(Abandon::Cancelled));

    insta::assert_snapshot!(playbook(&[
        ("refresh", refresh),
        ("refresh beside another process", beside_another_process()),
        ("step-up, and its cap", step_up),
        ("another authorization server", moved),
        ("sign-out", out),
        ("the user gives up", cancelled),
    ]));
}

#[test]
fn a_restart_at_every_point_of_a_cold_flow() {
    let config = Arc::new(
        Config::builder(MCP, REDIRECT)
            .client_name("Test client")
            .build()
            .unwrap(),
    );
    let mut parts = Vec::new();
    for point in 0..6 {
        let mut host = Host::on(Arc::clone(&config), Store::default());
        let mut state = String::new();
        for step in 0..point {
            match step {
                0 => {
                    host.ask(CHALLENGE);
                }
                1 => _ = host.serve(PRM, 200, &prm()),
                2 => _ = host.serve(META, 200, &metadata()),
                3 => _ = host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#),
                _ => {
                    state = state_of(&host.redirect());
                    host.callback(&format!("code=c-1&state={state}"));
                }
            }
        }
        let (now, seeds) = (host.now, host.seeds);
        let mut next = Host::resumed(
            Arc::clone(&config),
            std::mem::take(&mut host.store),
            now,
            seeds,
        );
        next.challenged(401, &[CHALLENGE]);
        if !state.is_empty() {
            next.callback(&format!("code=c-1&state={state}"));
        }
        parts.push((
            [
                "before anything",
                "consent",
                "resource",
                "server",
                "registration",
                "code sent",
            ][point],
            next,
        ));
    }
    insta::assert_snapshot!(playbook(&parts));
}
