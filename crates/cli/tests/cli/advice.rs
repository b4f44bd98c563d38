//! Failures of servers that public bug reports describe: each message names what helps, and nothing that does not.

use std::io::Read;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::fake::{Answer, Fake, Request, object};
use crate::remedies::{RESOURCE, SERVER, Transcript, file, metadata, page, returned};
use crate::support::{Desk, text};
use crate::tls::{path, server};

/// Fails or signs in with these options, at a server with this behaviour; returns the status and what was said.
fn login(
    more: &[&str],
    behaves: impl FnMut(&Request, &str) -> Option<Answer> + Send + 'static,
) -> (Option<i32>, String) {
    let (fake, desk) = (Fake::start(), Desk::new());
    fake.state().clients.insert("desk".to_owned(), None);
    fake.state().hook = Some(Box::new(behaves));
    let mut transcript = Transcript::new(&desk, &[(&fake, "https://mcp.example")]);
    transcript.run(&[&["login", &fake.url()], more].concat())
}

fn has(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part} in {said}");
    }
}

/// The metadata of a server with these changes.
fn with(request: &Request, issuer: &str, changes: &Value) -> Option<Answer> {
    (request.path == SERVER).then(|| object(200, &metadata(issuer, changes)))
}

/// QUIRK-28: a server behind a TLS proxy writes `http` for its own address, which no option of a user mends.
#[test]
fn http_in_place_of_https_is_said_to_the_operator() {
    let behind_a_proxy: [fn(&Request, &str) -> Option<Answer>; 3] = [
        |request, issuer| {
            let document = json!({
                "resource": format!("{issuer}/mcp").replace("https:", "http:"),
                "authorization_servers": [issuer],
            });
            (request.path == RESOURCE).then(|| object(200, &document))
        },
        |request, issuer| {
            with(
                request,
                issuer,
                &json!({ "issuer": issuer.replace("https:", "http:") }),
            )
        },
        |request, issuer| {
            let endpoint = format!("{issuer}/authorize").replace("https:", "http:");
            let changes = json!({
                "authorization_endpoint": endpoint,
                "authorization_response_iss_parameter_supported": null,
            });
            with(request, issuer, &changes)
        },
    ];
    for behaves in behind_a_proxy {
        let (fake, desk) = (server("127.0.0.1", false), Desk::new());
        fake.state().hook = Some(Box::new(behaves));
        let (url, ca) = (fake.url(), path("ca.pem"));
        let login = desk.run(&[
            "login",
            &url,
            "--no-browser",
            "--client-id",
            "x",
            "--ca-file",
            &ca,
        ]);
        let said = text(&login.stderr);
        assert_eq!(login.status.code(), Some(1), "{said}");
        has(
            &said,
            &["X-Forwarded-Proto", "where it is reached by https"],
        );
        assert!(
            !said.contains("run this again") && !said.contains("stop using"),
            "{said}"
        );
        let (_, object) = desk.json(&["login", &url, "--client-id", "x", "--ca-file", &ca]);
        assert_eq!(object["error"]["option"], Value::Null, "{object}");
        let doctor = text(&desk.run(&["doctor", &url, "--ca-file", &ca]).stdout);
        has(&doctor, &["X-Forwarded-Proto"]);
        assert!(!doctor.contains("meanwhile: use http:"), "{doctor}");
        assert!(!doctor.contains("--authorization-origin http:"), "{doctor}");
    }
}

/// Metadata without `S256`, whose users sign in at another host, as of Cognito.
fn cognito(request: &Request, issuer: &str) -> Option<Answer> {
    let there = issuer.replace("127.0.0.1", "localhost");
    let changes = json!({
        "authorization_endpoint": format!("{there}/authorize"),
        "code_challenge_methods_supported": null,
        "authorization_response_iss_parameter_supported": null,
    });
    with(request, issuer, &changes)
}

#[test]
fn all_that_metadata_lacks_is_named_at_once_and_kept_with_the_account() {
    let (fake, desk) = (Fake::start(), Desk::new());
    fake.state().hook = Some(Box::new(cognito));
    let (url, there) = (fake.url(), fake.issuer().replace("127.0.0.1", "localhost"));
    let mut transcript = Transcript::new(&desk, &[(&fake, "https://mcp.example")]);
    let (status, said) = transcript.run(&["login", &url]);
    assert_eq!(status, Some(1), "{said}");
    let both = format!("--assume-pkce --authorization-origin {there}, only if you know that");
    has(&said, &[&both]);
    // A failed login keeps nothing.
    let (status, said) = transcript.run(&["login", &url, "--assume-pkce"]);
    assert_eq!(status, Some(1), "{said}");
    has(
        &said,
        &["--authorization-origin", "where users sign in, belongs to"],
    );
    let (_, said) = transcript.run(&["login", &url]);
    has(&said, &["--assume-pkce"]);
    let options = [
        "--assume-pkce",
        "--authorization-origin",
        &there,
        "--no-resource",
    ];
    let (status, said) = transcript.run(&[&["login", &url], &options[..]].concat());
    assert_eq!(status, Some(0), "{said}");
    assert!(!said.contains("resource="), "{said}");
    let (status, said) = transcript.run(&["login", &url, "--new-client"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(!said.contains("resource="), "{said}");
    // The options are forgotten together.
    let forget = ["login", &url, "--authorization-origin", ""];
    let (status, said) = transcript.run(&forget);
    assert_eq!(status, Some(1), "{said}");
    // A statement about one server is not believed of another.
    let other = Fake::start();
    other.state().hook = Some(Box::new(cognito));
    fake.state().announces = Some(other.issuer());
    fake.state().trusts = Some(other.share());
    let (status, said) = transcript.run(&["login", &url, "--new-client"]);
    assert_ne!(status, Some(0), "{said}");
}

#[test]
fn of_several_servers_the_options_need_one() {
    let (fake, other, desk) = (Fake::start(), Fake::start(), Desk::new());
    let second = other.issuer();
    fake.state().hook = Some(Box::new(move |request, issuer| {
        let document = json!({
            "resource": format!("{issuer}/mcp"), "authorization_servers": [issuer, second],
        });
        let listed = (request.path == RESOURCE).then(|| object(200, &document));
        listed.or_else(|| cognito(request, issuer))
    }));
    let (url, there) = (fake.url(), fake.issuer().replace("127.0.0.1", "localhost"));
    let options = ["--assume-pkce", "--authorization-origin", &there];
    let mut transcript = Transcript::new(&desk, &[(&fake, "https://mcp.example")]);
    let (status, said) = transcript.run(&[&["login", &url], &options[..]].concat());
    assert_eq!(status, Some(2), "{said}");
    has(&said, &["--prefer-issuer"]);
    let issuer = fake.issuer();
    let one = ["--prefer-issuer", &issuer];
    let (status, said) = transcript.run(&[&["login", &url], &options[..], &one[..]].concat());
    assert_eq!(status, Some(0), "{said}");
}

#[test]
fn a_setting_in_a_file_keeps_the_others() {
    let (fake, desk) = (Fake::start(), Desk::new());
    fake.state().hook = Some(Box::new(|request, issuer| {
        let refusal = json!({
            "error": "invalid_client", "error_description": "the client assertion has another audience",
        });
        let changes = json!({ "code_challenge_methods_supported": null });
        let refused = (request.path == "/token").then(|| object(400, &refusal));
        refused.or_else(|| with(request, issuer, &changes))
    }));
    let settings = json!([{ "issuer": fake.issuer(), "pkce": "s256_asserted" }]);
    let settings = file(&desk, "settings.json", &settings);
    let mut transcript = Transcript::new(&desk, &[(&fake, "https://mcp.example")]);
    let (_, said) = transcript.run(&["login", &fake.url(), "--issuer-settings", &settings]);
    has(
        &said,
        &["\"client_assertion_audience\":\"token_endpoint\",\"pkce\":\"s256_asserted\""],
    );
}

/// B02, QUIRK-32: an authorization endpoint at another host is refused unless the user knows that host. No standard forbids
/// it, so it is not a violation.
#[cfg(target_os = "linux")]
#[test]
fn at_a_terminal_the_user_is_asked_about_the_other_host_once() {
    for (answer, ends) in [("y", 0), ("", 1), ("n", 1)] {
        let (fake, desk) = (Fake::start(), Desk::new());
        fake.state().hook = Some(Box::new(|request, issuer| {
            let there = issuer.replace("127.0.0.1", "localhost");
            let changes = json!({
                "authorization_endpoint": format!("{there}/authorize"),
                "authorization_response_iss_parameter_supported": null,
            });
            with(request, issuer, &changes)
        }));
        let url = fake.url();
        let command = format!(
            "{} login {url} --no-browser --timeout 20 --store {}",
            env!("CARGO_BIN_EXE_mcp-auth"),
            desk.path().display()
        );
        // Gives the command a terminal.
        let terminal = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env("TERM", "dumb")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut terminal) = terminal else {
            return;
        };
        let mut stdin = terminal.stdin.take().expect("a pipe");
        let mut stdout = terminal.stdout.take().expect("a pipe");
        let mut said = String::new();
        let mut byte = [0];
        while stdout.read(&mut byte).is_ok_and(|read| read > 0) {
            said.push(char::from(byte[0]));
            if said.ends_with("[y/N] ") {
                std::io::Write::write_all(&mut stdin, format!("{answer}\n").as_bytes())
                    .expect("typed");
            }
            if byte[0] == b'\n'
                && let Some(line) = said.lines().last()
                && line.starts_with("http")
                && line.contains("response_type=")
            {
                let line = line.trim().to_owned();
                let _ended = std::panic::catch_unwind(|| crate::support::follow(&line, true));
            }
        }
        let status = terminal.wait().expect("it ends").code();
        assert_eq!(status, Some(ends), "{answer}: {said}");
        assert_eq!(said.matches("[y/N]").count(), 1, "{said}");
        has(
            &said,
            &[
                "signs users in at localhost:",
                "continue only if you know that",
            ],
        );
        assert!(!said.contains("stop using"), "{said}");
    }
}

/// A server of the HTTP+SSE transport takes no POST at its URL: its refusal of the stream is the challenge.
#[test]
fn a_server_of_the_older_transport_is_signed_in_to() {
    for status in [400, 404, 405] {
        let (ended, said) = login(&[], move |request, _| {
            let at_mcp = request.path == "/mcp";
            match (at_mcp, request.method.as_str(), &request.authorization) {
                (true, "POST", _) => Some(page(status)),
                (true, "GET", Some(_)) => {
                    let stream = "content-type: text/event-stream\r\n".to_owned();
                    Some((
                        200,
                        stream,
                        "event: endpoint\ndata: /messages\n\n".to_owned(),
                    ))
                }
                _ => None,
            }
        });
        assert_eq!(ended, Some(0), "{status}: {said}");
    }
    // Any other answer leaves the message about the URL.
    let (ended, said) = login(&[], |request, _| {
        (request.path == "/mcp").then(|| page(405))
    });
    assert_eq!(ended, Some(1), "{said}");
    has(&said, &["takes no POST"]);
}

/// TOK-18, TOK-24: words of a body that is not an OAuth error are shown unless they repeat what was sent.
#[test]
fn a_client_without_its_secret_is_told_before_and_after() {
    let lists = json!({ "token_endpoint_auth_methods_supported": ["client_secret_post"] });
    let client = ["--client-id", "desk"];
    let (status, said) = login(&client, move |request, issuer| {
        let refusal = json!({ "status": "BAD", "message": "no\u{1b}pe, the key is wrong" });
        let refused = (request.path == "/token").then(|| object(400, &refusal));
        refused.or_else(|| with(request, issuer, &lists))
    });
    assert_eq!(status, Some(1), "{said}");
    let (before, after) = said.split_once("Open this URL").expect("the URL");
    has(
        before,
        &[
            "lists no authentication without a secret",
            "--client-secret-prompt",
        ],
    );
    has(
        after,
        &[
            "the server said \"nope, the key is wrong\"",
            "--client-secret-prompt",
        ],
    );
    // Words about the secret are enough, whatever the server lists.
    let (_, said) = login(&client, |request, _| {
        let refusal =
            json!({ "error": "invalid_request", "error_description": "client_secret is missing." });
        (request.path == "/token").then(|| object(400, &refusal))
    });
    has(
        &said,
        &["--client-secret-prompt, since this client has no secret"],
    );
    let (_, said) = login(&client, |request, _| {
        let code = request.form.get("code").cloned().unwrap_or_default();
        let refusal = json!({ "message": format!("unknown code {code}") });
        (request.path == "/token").then(|| object(400, &refusal))
    });
    assert!(!said.contains("unknown code"), "{said}");
}

#[test]
fn a_server_that_wants_scopes_is_asked_for_those_that_it_lists() {
    let lists = json!({ "scopes_supported": ["read", "write"] });
    let (status, said) = login(&[], move |request, issuer| {
        let description = "the parameter 'scope' is missing";
        let lacks = request.path == "/authorize" && !request.query.contains_key("scope");
        let refused = lacks.then(|| returned(request, issuer, "invalid_request", description));
        refused.or_else(|| with(request, issuer, &lists))
    });
    assert_eq!(status, Some(1), "{said}");
    has(
        &said,
        &[
            "run this again with --scope 'read write'",
            "none was asked for",
        ],
    );
    let (_, said) = login(&[], |request, _| {
        let refusal =
            json!({ "error": "invalid_client_metadata", "error_description": "no scope" });
        (request.path == "/register").then(|| object(400, &refusal))
    });
    has(
        &said,
        &["--scope with the scopes that the documentation of the server names"],
    );
}

#[test]
fn an_error_page_is_explained_once_while_the_command_waits() {
    let more = ["--scope", "files", "--timeout", "4"];
    let (status, said) = login(&more, |request, _| {
        (request.path == "/authorize").then(|| page(400))
    });
    assert_eq!(status, Some(3), "{said}");
    assert_eq!(said.matches("Still waiting.").count(), 1, "{said}");
    let named = [
        "`files` was asked for",
        "--scope with",
        "--no-resource",
        "--redirect-host",
    ];
    let (_, end) = said
        .split_once("there was no callback in time")
        .expect("the end");
    has(end, &named);
    let (_, hint) = said.split_once("Still waiting.").expect("a hint");
    has(hint.lines().next().expect("a line"), &named);
}

/// ISS-04: refused, and the setting is named with what it gives up.
#[test]
fn iss_that_is_not_sent_names_its_setting_and_the_loss() {
    let (status, said) = login(&[], |request, _| {
        let get = |name: &str| request.query.get(name).cloned().unwrap_or_default();
        let back = format!("{}?code=x&state={}", get("redirect_uri"), get("state"));
        (request.path == "/authorize")
            .then(|| (302, format!("location: {back}\r\n"), String::new()))
    });
    assert_eq!(status, Some(5), "{said}");
    has(
        &said,
        &[
            "\"iss_parameter\":\"not_sent\"",
            "gives up the check",
            "stop using this server",
        ],
    );
}

/// A server in front of another one, whose `iss` it passes on. The name is proposed only as a URL that is safe in a command.
#[test]
fn iss_of_another_name_proposes_that_name() {
    for (iss, option) in [
        (
            "https://auth.other.example",
            Some("--authorization-server https://auth.other.example, if that is known"),
        ),
        ("https://auth.other.example/;id", None),
        ("other", None),
    ] {
        let (status, said) = login(&[], move |request, _| {
            let get = |name: &str| request.query.get(name).cloned().unwrap_or_default();
            let (to, state) = (get("redirect_uri"), get("state"));
            let back = format!("{to}?code=x&state={state}&iss={iss}");
            (request.path == "/authorize")
                .then(|| (302, format!("location: {back}\r\n"), String::new()))
        });
        assert_eq!(status, Some(5), "{said}");
        has(&said, &["stop using this server", &format!("got {iss:?}")]);
        let proposes = said.contains("--authorization-server");
        assert_eq!(proposes, option.is_some(), "{said}");
        has(&said, option.as_slice());
    }
}

/// As django-oauth-toolkit 3.4 does: the grant of device codes is listed without the endpoint for it.
#[test]
fn a_device_grant_without_its_endpoint_names_the_file_that_helps() {
    let listed = json!([
        "authorization_code",
        "urn:ietf:params:oauth:grant-type:device_code"
    ]);
    for (grants, option) in [
        (listed, "--server-metadata FILE"),
        (json!(["authorization_code"]), "--no-browser"),
    ] {
        let changes = json!({ "grant_types_supported": grants });
        let (fake, desk) = (Fake::start(), Desk::new());
        fake.state().hook = Some(Box::new(move |request, issuer| {
            with(request, issuer, &changes)
        }));
        let output = desk.run(&["login", "--device", &fake.url()]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        has(&said, &["run this again with", option]);
        let names_file = said.contains("--server-metadata");
        assert_eq!(names_file, option.starts_with("--server"), "{said}");
    }
}

/// An empty description is none.
#[test]
fn empty_words_of_a_callback_are_not_shown() {
    let (_, said) = login(&[], |request, issuer| {
        let get = |name: &str| request.query.get(name).cloned().unwrap_or_default();
        let (to, state) = (get("redirect_uri"), get("state"));
        let back =
            format!("{to}?error=access_denied&error_description=&state={state}&iss={issuer}");
        (request.path == "/authorize")
            .then(|| (302, format!("location: {back}\r\n"), String::new()))
    });
    has(&said, &["access_denied"]);
    assert!(!said.contains("saying"), "{said}");
}

#[test]
fn a_403_is_described() {
    let (status, said) = login(&[], |request, _| {
        let challenge = "www-authenticate: Bearer error=\"invalid_token\"\r\ncontent-type: application/json\r\n";
        let refused = request.path == "/mcp" && request.authorization.is_some();
        refused.then(|| (403, challenge.to_owned(), "{}".to_owned()))
    });
    assert_eq!(status, Some(1), "{said}");
    has(
        &said,
        &[
            "403, \"application/json\", error \"invalid_token\"",
            "just been issued",
            "--authorization-parameter audience=…",
        ],
    );
    let (_, said) = login(&[], |request, _| {
        (request.path == "/mcp").then(|| page(403))
    });
    has(
        &said,
        &["403, \"text/html\"", "a firewall in front of the server"],
    );
    assert!(!said.contains("just been issued"), "{said}");
}

#[test]
fn small_slips_of_operators_are_named() {
    // One slash.
    let (status, said) = login(&[], |request, issuer| {
        let document =
            json!({ "resource": format!("{issuer}/mcp/"), "authorization_servers": [issuer] });
        (request.path == RESOURCE).then(|| object(200, &document))
    });
    assert_eq!(status, Some(1), "{said}");
    has(&said, &["/mcp/ in place of the URL"]);
    assert!(!said.contains("stop using"), "{said}");
    // The URL of a document, or of an endpoint, in place of the issuer.
    for listed in [SERVER, "/authorize", "/v1/authorize"] {
        let (status, said) = login(&[], move |request, issuer| {
            let servers = [format!("{issuer}{listed}")];
            let document =
                json!({ "resource": format!("{issuer}/mcp"), "authorization_servers": servers });
            let lost = request.path.contains("/.well-known/") && request.path != SERVER;
            let found = (request.path == RESOURCE).then(|| object(200, &document));
            found.or_else(|| lost.then(|| page(404)))
        });
        assert_eq!(status, Some(1), "{said}");
        let (_, step) = said
            .split_once("--authorization-server http://")
            .expect("an option");
        let named = step.split([',', ' ']).next().expect("a URL");
        assert!(!named.contains('/'), "{listed}: {said}");
    }
    // Other redirect URIs.
    let (_, said) = login(&[], |request, _| {
        let answer = json!({ "client_id": "x", "redirect_uris": ["https://other.example/back"] });
        (request.path == "/register").then(|| object(201, &answer))
    });
    has(&said, &["it registered \"https://other.example/back\""]);
    // No registration endpoint: registration is not proposed.
    let (_, said) = login(&[], |request, issuer| {
        with(request, issuer, &json!({ "registration_endpoint": null }))
    });
    has(&said, &["it offers no dynamic registration"]);
    // A token of another type.
    let (_, said) = login(&[], |request, _| {
        let answer = json!({ "access_token": "a-token-of-the-fake", "token_type": "user" });
        (request.path == "/token").then(|| object(200, &answer))
    });
    has(&said, &["TOK-12", "its token_type is \"user\""]);
    // Without `state`.
    let (_, said) = login(&["--timeout", "3"], |request, _| {
        let back = request
            .query
            .get("redirect_uri")
            .cloned()
            .unwrap_or_default();
        let back = format!("location: {back}?code=x\r\n");
        (request.path == "/authorize").then(|| (302, back, String::new()))
    });
    has(&said, &["it has no `state`"]);
}

/// TOK-05: an identifier that HTTP Basic carries encoded.
#[test]
fn a_server_that_does_not_decode_basic_is_known_by_its_refusal() {
    let basic = json!({ "token_endpoint_auth_methods_supported": ["client_secret_basic"] });
    let (_, said) = login(&[], move |request, issuer| {
        let asked = request.form.keys().next().cloned().unwrap_or_default();
        let asked: Value = serde_json::from_str(&asked).unwrap_or_default();
        let client = json!({
            "client_id": "desk=", "client_secret": "s/+=", "redirect_uris": asked["redirect_uris"],
            "token_endpoint_auth_method": "client_secret_basic",
        });
        match request.path.as_str() {
            "/register" => Some(object(201, &client)),
            "/token" => Some(object(401, &json!({ "error": "invalid_client" }))),
            "/authorize" => {
                let get = |name: &str| request.query.get(name).cloned().unwrap_or_default();
                let back = format!(
                    "{}?code=x&state={}&iss={issuer}",
                    get("redirect_uri"),
                    get("state")
                );
                Some((302, format!("location: {back}\r\n"), String::new()))
            }
            _ => with(request, issuer, &basic),
        }
    });
    has(&said, &["\"basic_encoding\":\"raw\""]);
}

#[test]
fn a_refresh_that_is_refused_for_the_resource_names_one_command() {
    let (fake, desk) = (Fake::start(), Desk::new());
    fake.state().token_seconds = 1;
    let url = fake.url();
    let mut transcript = Transcript::new(&desk, &[(&fake, "https://mcp.example")]);
    let (status, said) = transcript.run(&["login", &url]);
    assert_eq!(status, Some(0), "{said}");
    fake.state().hook = Some(Box::new(|request, _| {
        let refusal = json!({ "error": "invalid_target", "error_description": "AADSTS9010010: the resource" });
        (request.path == "/token").then(|| object(400, &refusal))
    }));
    let said = text(&desk.run(&["token", &url, "--refused"]).stderr);
    has(&said, &["--no-resource"]);
    assert_eq!(said.matches("mcp-auth login").count(), 1, "{said}");
    assert!(!said.contains("ISSUER"), "{said}");
}
