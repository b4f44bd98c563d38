//! `doctor` with the options of `login`, and its findings for the user.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::doctor::marks;
use crate::fake::{Answer, Fake, Request, object};
use crate::remedies::{RESOURCE, SERVER, metadata};
use crate::support::{Desk, text};
use crate::tls::{path, server};

fn examined(fake: &Fake, more: &[&str]) -> (Option<i32>, Value) {
    Desk::new().json(&[&["doctor", &fake.url()], more].concat())
}

fn option(answer: &Value, named: &str) -> bool {
    let findings = answer["findings"].as_array().expect("findings");
    let mut options = findings.iter().filter_map(|found| found["option"].as_str());
    options.any(|option| option.contains(named))
}

/// A server without resource metadata.
fn bare(fake: &Fake) {
    let hook = |request: &Request, _: &str| -> Option<Answer> {
        let challenged = request.path == "/mcp" && request.authorization.is_none();
        let missing = request.path.contains("protected-resource");
        let status = if challenged { 401 } else { 404 };
        (challenged || missing).then(|| (status, String::new(), String::new()))
    };
    fake.state().hook = Some(Box::new(hook));
}

#[test]
fn the_location_of_the_authorization_server_can_be_given() {
    let (fake, desk) = (Fake::start(), Desk::new());
    bare(&fake);
    let (status, answer) = examined(&fake, &[]);
    // The origin publishes metadata of an authorization server, which a login uses.
    assert_eq!(status, Some(0), "{answer}");
    let warnings = marks(&answer, "warning");
    assert!(warnings.contains(&"LEG-01".to_owned()), "{answer}");
    let file = desk.path().join("metadata.json");
    let document = metadata(&fake.issuer(), &json!({}));
    std::fs::write(&file, document.to_string()).expect("written");
    let file = file.display().to_string();
    let place = format!("{}/elsewhere", fake.issuer());
    let resource = json!({ "resource": fake.url(), "authorization_servers": [fake.issuer()] });
    for given in [
        &["--legacy"][..],
        &["--authorization-server", &fake.issuer()],
        &["--server-metadata", &file],
    ] {
        let (status, answer) = examined(&fake, given);
        assert_eq!(
            (status, &answer["usable"]),
            (Some(0), &Value::from(true)),
            "{given:?} {answer}"
        );
        assert_eq!(answer["issuer"], fake.issuer(), "{given:?}");
        // The findings leave out a document that was not read.
        assert!(
            !marks(&answer, "ok").contains(&"DISC-11".to_owned()),
            "{answer}"
        );
    }
    fake.state().hook = Some(Box::new(move |request, _| {
        let found = request.path == "/elsewhere";
        found.then(|| object(200, &resource)).or_else(|| {
            let challenged = request.path == "/mcp";
            challenged.then(|| (401, String::new(), String::new()))
        })
    }));
    let (status, answer) = examined(&fake, &["--resource-metadata", &place]);
    assert_eq!(status, Some(0), "{answer}");
    assert!(
        marks(&answer, "ok").contains(&"DISC-11".to_owned()),
        "{answer}"
    );
}

#[test]
fn what_is_known_of_a_server_counts_as_for_a_login() {
    let (fake, desk) = (Fake::start(), Desk::new());
    fake.state().hook = Some(Box::new(|request, issuer| {
        let changes = json!({ "code_challenge_methods_supported": null });
        (request.path == SERVER).then(|| object(200, &metadata(issuer, &changes)))
    }));
    let (status, answer) = examined(&fake, &[]);
    assert_eq!(status, Some(1), "{answer}");
    let file = desk.path().join("settings.json");
    let settings = json!([{ "issuer": fake.issuer(), "pkce": "s256_asserted" }]);
    std::fs::write(&file, settings.to_string()).expect("written");
    let file = file.display().to_string();
    let (status, answer) = examined(&fake, &["--issuer-settings", &file]);
    assert_eq!(status, Some(0), "{answer}");
}

#[test]
fn of_several_authorization_servers_the_one_that_a_login_takes_is_examined() {
    let (mcp, closed, open) = (Fake::start(), Fake::start(), Fake::start());
    let listed = [closed.issuer(), open.issuer()];
    mcp.state().hook = Some(Box::new(move |request, issuer| {
        let document =
            json!({ "resource": format!("{issuer}/mcp"), "authorization_servers": listed });
        (request.path == RESOURCE).then(|| object(200, &document))
    }));
    closed.state().hook = Some(Box::new(|request, issuer| {
        let changes = json!({ "registration_endpoint": null });
        (request.path == SERVER).then(|| object(200, &metadata(issuer, &changes)))
    }));
    let (status, answer) = examined(&mcp, &[]);
    assert_eq!(
        (status, &answer["issuer"]),
        (Some(0), &open.issuer().into()),
        "{answer}"
    );
    assert!(
        answer["findings"].to_string().contains(&closed.issuer()),
        "{answer}"
    );
    assert!(option(&answer, "--prefer-issuer"), "{answer}");
    // With the preferred one first, the findings are about that one.
    open.state().hook = Some(Box::new(|request, issuer| {
        let changes = json!({ "revocation_endpoint": null });
        (request.path == SERVER).then(|| object(200, &metadata(issuer, &changes)))
    }));
    closed.state().hook = None;
    let (_, answer) = examined(&mcp, &["--prefer-issuer", &open.issuer()]);
    assert_eq!(answer["issuer"], open.issuer(), "{answer}");
    assert!(
        !marks(&answer, "note").contains(&"REV-01".to_owned()),
        "{answer}"
    );
    let (_, answer) = examined(&mcp, &[]);
    assert_eq!(answer["issuer"], closed.issuer(), "{answer}");
    assert!(
        marks(&answer, "note").contains(&"REV-01".to_owned()),
        "{answer}"
    );
}

#[test]
fn a_host_inside_is_allowed_by_its_option() {
    let (fake, inside) = (Fake::start(), server("127.0.0.1", false));
    // The policy of a public MCP server would forbid it; here a name of the machine itself stands for one.
    fake.state().announces = Some("https://10.1.2.3".to_owned());
    let (status, answer) = examined(&fake, &[]);
    assert_eq!(status, Some(1), "{answer}");
    assert!(option(&answer, "--allow-host 10.1.2.3"), "{answer}");
    // Allowed, it is contacted, and does not answer.
    let (status, answer) = examined(&fake, &["--allow-host", "10.1.2.3", "--timeout", "2"]);
    assert_ne!(status, Some(0), "{answer}");
    assert_eq!(answer["issuer"], "https://10.1.2.3", "{answer}");
    for wrong in ["https://10.1.2.3/", "10.1.2.3:443", "a b"] {
        for option in ["--allow-host", "--client-cert-host"] {
            let output = Desk::new().run(&["doctor", &fake.url(), option, wrong]);
            assert_eq!(output.status.code(), Some(2), "{option} {wrong}");
        }
    }
    // The certificates of the user are used, too.
    let ca = path("ca.pem");
    let (status, answer) = examined(&inside, &["--ca-file", &ca]);
    assert_eq!(status, Some(0), "{answer}");
}

#[test]
fn a_parameter_of_the_client_in_the_endpoint_is_found_before_anybody_signs_in() {
    let fake = Fake::start();
    for (query, broken) in [
        ("?client_id=x", true),
        ("?a=b&code_challenge_method=plain", true),
        ("?prompt=login", false),
    ] {
        fake.state().hook = Some(Box::new(move |request, issuer| {
            let changes = json!({ "authorization_endpoint": format!("{issuer}/authorize{query}") });
            (request.path == SERVER).then(|| object(200, &metadata(issuer, &changes)))
        }));
        let (status, answer) = examined(&fake, &[]);
        assert_eq!(status, Some(i32::from(broken)), "{query}: {answer}");
        let found = marks(&answer, "broken");
        assert_eq!(
            found.contains(&"reserved_parameter".to_owned()),
            broken,
            "{answer}"
        );
    }
}

/// Deviations that only a sign-in shows are listed on demand, each with its fix and its option, and break nothing.
#[test]
fn what_only_a_sign_in_shows_is_listed_on_demand() {
    let fake = Fake::start();
    let (_, answer) = examined(&fake, &[]);
    assert!(marks(&answer, "unseen").is_empty(), "{answer}");
    let (status, answer) = examined(&fake, &["--all"]);
    assert_eq!(status, Some(0), "{answer}");
    assert!(marks(&answer, "unseen").len() > 15, "{answer}");
    let findings = answer["findings"].as_array().expect("findings");
    let unseen = findings.iter().filter(|found| found["mark"] == "unseen");
    for found in unseen {
        assert!(found["option"].is_string(), "{found}");
    }
    assert!(option(&answer, &fake.issuer()), "{answer}");
}

/// I03, I04: texts of servers cannot drive the terminal.
#[test]
fn texts_of_servers_are_shown_without_control_characters() {
    let fake = Fake::start();
    let evil = "https://x\u{1b}]52;c;aGk=\u{7}\u{1b}[2J\u{202e}";
    fake.state().hook = Some(Box::new(move |request, issuer| {
        let resource = json!({
            "resource": format!("{issuer}/mcp"), "authorization_servers": [issuer, evil],
            "scopes_supported": ["read", evil],
        });
        let changes = json!({
            "scopes_supported": ["read"], "token_endpoint_auth_methods_supported": ["x", evil],
        });
        match request.path.as_str() {
            RESOURCE => Some(object(200, &resource)),
            SERVER => Some(object(200, &metadata(issuer, &changes))),
            _ => None,
        }
    }));
    let output = Desk::new().run(&["doctor", &fake.url()]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(
        said.contains("DISC-15") && said.contains("SCOPE-03") && said.contains("REG-11"),
        "{said}"
    );
    let is_drive = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    assert!(!said.contains(is_drive), "{said:?}");
}

#[test]
fn a_password_in_the_url_is_never_printed() {
    let url = "http://user:pw-in-url@127.0.0.1:9/mcp";
    for command in [
        &["doctor", url][..],
        &["token", url],
        &["headers", url],
        &["status", url],
        &["logout", url],
        &["proxy", url],
        &["setup", "cursor", url],
    ] {
        let mut run = Desk::new().command(command);
        let output = run.stdin(Stdio::null()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(!said.contains("pw-in-url"), "{command:?}: {said}");
    }
}
