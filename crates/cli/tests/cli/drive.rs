//! `drive`: the machine behind lines.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::pipe::{Drive, NOW, SEED, config, servers};
use crate::support::{Servers, text};

#[test]
fn a_sign_in_over_the_pipe() {
    let mut drive = Drive::refused(&config());
    let ready = drive.sign_in(&servers());
    assert_eq!(ready["action"], "ready", "{ready}");
    assert_eq!(
        (&ready["scheme"], &ready["token"]),
        (&json!("Bearer"), &json!("t1"))
    );
    assert_eq!(ready["iss_binding"], "unverifiable");
    let url = "https://mcp.example/mcp";
    let lines = drive.event(json!({ "event": "present", "method": "POST", "url": url }));
    assert_eq!(
        lines[0],
        json!({ "action": "present", "authorization": "Bearer t1" })
    );
    let elsewhere = "https://attacker.example/mcp";
    let lines = drive.event(json!({ "event": "present", "method": "POST", "url": elsewhere }));
    assert_eq!(
        (&lines[0]["authorization"], &lines[0]["refused"]),
        (&Value::Null, &json!("outside_resource"))
    );

    // A restart: a new process on the same slots.
    let mut again = Drive::start();
    again.slots = std::mem::take(&mut drive.slots);
    let first = again.say(&json!({ "config": config() }).to_string());
    assert_eq!(again.follow(first, &BTreeMap::new())["token"], "t1");
    let wanted = again.event(json!({ "event": "wanted", "operation": "tools/list" }));
    assert_eq!(again.follow(wanted, &BTreeMap::new())["token"], "t1");
}

#[test]
fn a_token_bound_to_a_key_is_presented_with_what_the_host_signs() {
    let mut config = config();
    let key = json!({
        "name": "k1", "algorithms": ["ES256"],
        "public": { "kty": "EC", "crv": "P-256", "x": "eA", "y": "eQ" },
    });
    config["dpop"] = json!({ "policy": "require", "keys": [{ "issuer": null, "key": key }] });
    let said = Drive::start().say(&json!({ "config": config }).to_string());
    assert!(
        said[0]["message"]
            .as_str()
            .expect("words")
            .contains("`random`"),
        "{said:?}"
    );

    config["random"] = json!("AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA");
    let mut servers = servers();
    servers.insert(
        "https://as.example/token",
        json!({ "access_token": "t1", "token_type": "DPoP", "expires_in": 3600 }),
    );
    let presented = |_| {
        let mut drive = Drive::refused(&config);
        let ready = drive.sign_in(&servers);
        assert_eq!(
            (&ready["scheme"], &ready["token"]),
            (&json!("DPoP"), &Value::Null),
            "{ready}"
        );
        let url = "https://mcp.example/mcp";
        let mut present = || {
            let lines = drive.event(json!({ "event": "present", "method": "POST", "url": url }));
            lines[0].clone()
        };
        [present(), present()]
    };
    let [first, second] = presented(1);
    assert_eq!(first["authorization"], "DPoP t1");
    assert_eq!(
        (&first["proof"]["key"], &first["proof"]["algorithm"]),
        (&json!("k1"), &json!("ES256"))
    );
    assert_ne!(
        first["proof"]["input"], second["proof"]["input"],
        "each is for one request"
    );
    assert_eq!([first, second], presented(2), "a replay says the same");
}

#[test]
fn what_is_not_understood_changes_nothing() {
    let mut drive = Drive::start();
    let message = |lines: Vec<Value>| {
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[0]["action"], "protocol_error");
        lines[0]["message"].as_str().expect("words").to_owned()
    };
    let first = r#"{"now":1,"event":"timer"}"#;
    assert_eq!(
        message(drive.say(first)),
        "the first line is the configuration"
    );
    for (line, words) in [
        ("", "not JSON"),
        ("[]", "one JSON object"),
        (r#"{"config":{}}"#, "mcp_url"),
        (r#"{"config":{},"more":1}"#, "`more`"),
        (r#"{"config":1}"#, "must be an object"),
        (
            r#"{"config":{"mcp_url":"https://a.example","redirect_uri":"http://127.0.0.1/c","principal":"p","colour":1}}"#,
            "`colour`",
        ),
        (
            r#"{"config":{"mcp_url":"http://a.example","redirect_uri":"http://127.0.0.1/c","principal":"p"}}"#,
            "the MCP URL",
        ),
        (
            r#"{"config":{"mcp_url":"https://a.example","redirect_uri":"http://127.0.0.1/c","principal":"p","issuer":"https://b.example","resource_metadata_url":"https://c.example"}}"#,
            "at most one",
        ),
    ] {
        let said = message(drive.say(line));
        assert!(said.contains(words), "{line}: {said}");
    }

    let mut drive = Drive::refused(&config());
    let idle = drive.event(json!({ "event": "timer" }));
    for (event, words) in [
        (json!({ "config": config() }), "given already"),
        (json!({ "event": "sing" }), "`sing`"),
        (json!({ "event": 1 }), "must be a text"),
        (json!({ "event": "timer", "x": 1 }), "`x`"),
        (json!({ "event": "authorize", "seed": "AAAA" }), "48 bytes"),
        (
            json!({ "event": "authorize", "seed": "A".repeat(64) }),
            "random",
        ),
        (
            json!({ "event": "http_response", "id": 1, "status": 99 }),
            "`status`",
        ),
        (
            json!({ "event": "http_response", "id": 1, "status": 200, "body": "", "body_base64": "" }),
            "not both",
        ),
        (
            json!({ "event": "http_failed", "id": 1, "failure": "lost" }),
            "`lost`",
        ),
        (
            json!({ "event": "slot_loaded", "id": 1, "contents": "x" }),
            "belong together",
        ),
        (
            json!({ "event": "slot_loaded", "id": 1, "contents": "x", "revision": "y" }),
            "`revision`",
        ),
        (
            json!({ "event": "slot_persisted", "id": 1, "outcome": "done", "contents": "x", "revision": "AAAAAAAAAAAAAAAAAAAAAA" }),
            "a conflict alone",
        ),
        (json!({ "event": "callback_params" }), "one of `url`"),
        (
            json!({ "event": "callback_params", "url": "x", "query": "y" }),
            "one of `url`",
        ),
    ] {
        let said = message(drive.event(event.clone()));
        assert!(said.contains(words), "{event}: {said}");
    }
    let twice = r#"{"now":1800000000000,"now":1,"event":"timer"}"#;
    assert!(message(drive.say(twice)).contains("twice"));
    assert!(message(drive.say(r#"{"event":"timer"}"#)).contains("`now`"));
    assert_eq!(drive.event(json!({ "event": "timer" })), idle);
    assert_eq!(drive.sign_in(&servers())["action"], "ready");
}

#[test]
fn an_answer_that_nobody_waits_for_changes_nothing() {
    let mut drive = Drive::refused(&config());
    let asked = drive.event(json!({ "event": "authorize", "seed": SEED }));
    let send = asked.iter().find(|line| line["action"] == "send_request");
    let id = send.expect("a document is wanted")["id"].clone();
    let idle = asked.last().expect("a line").clone();
    let found = json!({ "contents": null, "revision": null });
    for (event, id, more) in [
        // Unknown, stale, and of another kind.
        ("http_response", json!(99), &json!({ "status": 404 })),
        ("slot_loaded", json!(1), &found),
        ("slot_loaded", id.clone(), &found),
        ("slot_persisted", id.clone(), &json!({ "outcome": "done" })),
        ("signed", id.clone(), &json!({ "signature": "AAAA" })),
        (
            "assertion_obtained",
            id.clone(),
            &json!({ "assertion": null }),
        ),
    ] {
        let mut line = more.clone();
        line["event"] = event.into();
        line["id"] = id;
        assert_eq!(
            drive.event(line.clone()),
            std::slice::from_ref(&idle),
            "{line}"
        );
    }
    let answer = json!({ "event": "http_response", "id": id, "status": 404 });
    assert!(drive.event(answer.clone()).len() > 1);
    assert_eq!(drive.event(answer).len(), 1, "an answer counts once");
}

#[test]
fn the_clocks_can_be_apart() {
    let mut drive = Drive::start();
    let first = json!({ "config": config(), "now": NOW, "mono": 5_000 });
    let said = drive.say(&first.to_string());
    assert_eq!(said.last().expect("a line")["deadline"], 35_000);
    let early = json!({ "now": NOW + 90_000, "mono": 34_999, "event": "timer" });
    assert_eq!(drive.say(&early.to_string()).len(), 1);
    let due = json!({ "now": NOW, "mono": 35_000, "event": "timer" });
    assert_eq!(drive.say(&due.to_string())[0]["cause"], "not_persisted");
}

#[test]
fn every_option_of_the_configuration_is_understood() {
    let key = json!({
        "name": "k1", "algorithms": ["ES256", "EdDSA"], "kid": "1",
        "public": { "kty": "EC", "crv": "P-256", "x": "eA", "y": "eQ", "use": "sig" },
    });
    let idp = "https://idp.example";
    let whole = json!({
        "private_use_redirect_uri": "com.example.app:/callback", "client_name": "A client",
        "client_uri": "https://client.example", "software_id": "s", "application_type": "native",
        "client_metadata_url": "https://client.example/client.json", "client_metadata_key": key,
        "random": "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA",
        "clients": [{
            "issuer": "https://as.example", "client_id": "c", "client_secret": "s",
            "token_endpoint_auth_method": "client_secret_post", "key": key, "assertion": "a.b.c",
        }],
        "dynamic_registration": "always", "registration_sharing": "across_principals",
        "server_metadata": { "issuer": "https://as.example", "document": {} },
        "pins": [{ "entry": "https://a.example", "issuer": "https://b.example" }],
        "issuer_settings": [{
            "issuer": "https://as.example", "pkce": "s256_asserted", "resource_parameter": "omit",
            "iss_parameter": "not_sent", "token_answers": "json_or_form", "basic_encoding": "raw",
            "authorization_origin": "https://login.example",
            "authorization_parameters": [["audience", "x"]], "token_parameters": [["audience", "x"]],
            "client_id_with_assertion": true, "jwt_bearer": "assumed",
            "assertion_audience": "token_endpoint",
            "client_assertion_audience": "token_endpoint", "initial_access": "t",
        }],
        "preferred_issuers": ["https://as.example"], "scopes": ["a", "b"],
        "refresh_tokens": "not_wanted", "legacy": { "resource": "omit" }, "strictness": "strict",
        "iss_policy": "require_verified", "metadata_origin": "same_origin", "metadata_cache": "off",
        "allowed_hosts": ["10.0.0.1"], "allow_loopback_http": true, "step_up": "report",
        "step_ups_per_operation": 0, "max_requests": 10, "user_time": 60_000,
        "enterprise": {
            "client": { "issuer": idp, "client_id": "c" }, "public_client": true,
            "metadata": { "issuer": idp },
        },
        "dpop": { "policy": "if_supported", "keys": [{ "issuer": "https://as.example", "key": key }] },
        "pushed_requests": "when_offered", "reports": false,
    });
    let start = |more: Value| {
        let mut config = config();
        for (name, value) in more.as_object().expect("members") {
            config[name] = value.clone();
        }
        Drive::start().say(&json!({ "config": config }).to_string())[0].clone()
    };
    let first = start(whole);
    assert_eq!(first["action"], "load_slot", "{first}");
    for more in [
        json!({
            "dynamic_registration": false, "legacy": true, "client_credentials": true,
            "clients": [{ "issuer": "https://as.example", "client_id": "c", "client_secret": "s" }],
            "redirect_uri": null,
        }),
        json!({ "custom_scheme_redirect_uri": "cursor://anysphere.cursor-mcp/oauth/callback" }),
        json!({ "workload_identity": { "issuers": ["https://as.example"], "client_id": null } }),
        json!({ "issuer": "https://as.example" }),
        json!({ "resource_metadata_url": "https://mcp.example/metadata" }),
    ] {
        let first = start(more.clone());
        assert_eq!(first["action"], "load_slot", "{more}: {first}");
    }
    for (more, words) in [
        (json!({ "step_up": "never" }), "`never`"),
        (json!({ "max_requests": 300 }), "300"),
        (
            json!({ "dynamic_registration": "maybe" }),
            "unless_pre_registered",
        ),
        (
            json!({ "clients": [{ "client_id": "c", "secret": "x" }] }),
            "`secret`",
        ),
        (
            json!({ "workload_identity": { "issuers": [] } }),
            "needs an issuer",
        ),
        (json!({ "client_metadata_key": key }), "`random`"),
        (json!({ "random": "AAAA" }), "32 bytes"),
        (
            json!({ "issuer_settings": [{
                "issuer": "https://as.example", "token_parameters": [["code", "x"]],
            }] }),
            "`code` is set by the machine",
        ),
        (
            json!({ "client_credentials": true, "workload_identity": { "issuers": [idp] } }),
            "at most one",
        ),
    ] {
        let first = start(more.clone());
        let said = first["message"].as_str().unwrap_or_default();
        assert!(said.contains(words), "{more}: {first}");
    }
}

#[test]
fn tokens_of_the_platform_are_asked_for_and_handed_in() {
    let mut config = config();
    config["workload_identity"] = json!({ "issuers": ["https://as.example"] });
    let mut servers = servers();
    let metadata = "https://as.example/.well-known/oauth-authorization-server";
    servers.get_mut(metadata).expect("metadata")["grant_types_supported"] =
        json!(["urn:ietf:params:oauth:grant-type:jwt-bearer"]);
    let mut drive = Drive::start();
    let mut actions = drive.say(&json!({ "config": config }).to_string());
    actions.extend(drive.event(json!({
        "event": "challenged", "operation": "tools/list", "status": 401,
        "headers": [["www-authenticate", "Bearer"]],
    })));
    let obtain = drive.follow(actions, &servers);
    let wanted = json!({
        "action": "obtain_assertion", "id": obtain["id"], "kind": "workload",
        "audience": "https://as.example",
    });
    assert_eq!(obtain, wanted);
    let jwt = "eyJhbGciOiJub25lIn0.eyJhdWQiOiJodHRwczovL2FzLmV4YW1wbGUifQ.AA";
    let mut answer = json!({
        "event": "assertion_obtained", "id": obtain["id"], "assertion": jwt, "kind": "id_token",
    });
    let said = drive.event(answer.clone());
    assert_eq!(
        said[0]["action"], "protocol_error",
        "not a subject token: {said:?}"
    );
    answer.as_object_mut().expect("members").remove("kind");
    let actions = drive.event(answer);
    assert_eq!(drive.follow(actions, &servers)["token"], "t1");
}

#[test]
fn the_client_in_python_signs_in() {
    if Command::new("python3").arg("--version").output().is_err() {
        return;
    }
    let servers = Servers::start(&[]);
    let output = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/drive.py"))
        .args([&servers.mcp, env!("CARGO_BIN_EXE_mcp-auth")])
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("mcp tools/list 200"));
}

/// The host passes on what a server sent: a header that HTTP does not allow is ignored, and the ticket is answered.
#[test]
fn a_header_that_cannot_be_one_is_ignored() {
    let mut drive = Drive::start();
    drive.say(&json!({ "config": config() }).to_string());
    let long = "x".repeat(70_000);
    let said = drive.event(json!({
        "event": "challenged", "operation": "tools/list", "status": 401,
        "headers": [["x-odd", "\u{7f}"], [long, "x"], ["a b", "x"], ["www-authenticate", "Bearer"]],
    }));
    let errors = said
        .iter()
        .filter(|line| line["action"] == "protocol_error");
    assert_eq!(errors.count(), 0, "{said:?}");
}
