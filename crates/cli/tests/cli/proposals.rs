//! More failures whose messages lead to a sign-in (`remedies.rs`): large documents, endpoints, answers of the
//! token endpoint, audiences, clients that are configured, and TLS.

use std::sync::Mutex;

use serde_json::json;

use crate::fake::{Fake, object};
use crate::remedies::{
    Case, RESOURCE, SERVER, Transcript, file, leads_to_a_sign_in, metadata,
    names_complete_commands, page, words,
};
use crate::support::Desk;
use crate::tls::{path, server};

fn by_file(desk: &Desk, issuer: &str) -> Vec<String> {
    let document = metadata(issuer, &json!({}));
    let file = file(desk, "metadata.json", &document);
    vec!["--server-metadata".into(), file]
}

/// The servers that were asked for a token with an audience.
static WITH_AUDIENCE: Mutex<Vec<String>> = Mutex::new(Vec::new());

const CASES: &[Case] = &[
    Case {
        name: "resource_metadata_too_large",
        behaves: |request, _| {
            let large = format!("{{{}}}", " ".repeat(300_000));
            (request.path == RESOURCE).then(|| (200, String::new(), large))
        },
        status: 1,
        proposes: "--authorization-server",
        then: |_, issuer| words(&["--authorization-server", issuer]),
    },
    Case {
        name: "server_metadata_too_large",
        behaves: |request, _| {
            let large = format!("{{{}}}", " ".repeat(300_000));
            (request.path == SERVER).then(|| (200, String::new(), large))
        },
        status: 1,
        proposes: "--server-metadata FILE",
        then: by_file,
    },
    Case {
        name: "server_metadata_elsewhere",
        behaves: |request, issuer| {
            let to = issuer.replace("127.0.0.1", "localhost");
            let there = format!("location: {to}{SERVER}\r\n");
            (request.path == SERVER).then(|| (302, there, String::new()))
        },
        status: 1,
        proposes: "--server-metadata FILE",
        then: by_file,
    },
    Case {
        name: "no_authorization_endpoint",
        behaves: |request, issuer| {
            let changes = json!({ "authorization_endpoint": null });
            (request.path == SERVER).then(|| object(200, &metadata(issuer, &changes)))
        },
        status: 1,
        proposes: "--server-metadata FILE",
        then: by_file,
    },
    Case {
        name: "authorization_origin",
        behaves: |request, issuer| {
            let there = issuer.replace("127.0.0.1", "localhost");
            let changes = json!({
                "authorization_endpoint": format!("{there}/authorize"),
                "authorization_response_iss_parameter_supported": null,
            });
            (request.path == SERVER).then(|| object(200, &metadata(issuer, &changes)))
        },
        status: 1,
        proposes: "--authorization-origin",
        then: |_, issuer| {
            let there = issuer.replace("127.0.0.1", "localhost");
            words(&["--authorization-origin", &there])
        },
    },
    Case {
        name: "resource_metadata_without_servers",
        behaves: |request, issuer| {
            let document =
                json!({ "resource": format!("{issuer}/mcp"), "authorization_servers": [] });
            (request.path == RESOURCE).then(|| object(200, &document))
        },
        status: 1,
        proposes: "--authorization-server with the issuer",
        then: |_, issuer| words(&["--authorization-server", issuer]),
    },
    Case {
        name: "registration_is_a_page",
        behaves: |request, _| (request.path == "/register").then(|| page(200)),
        status: 1,
        proposes: "--client-id, with a client that is registered by hand",
        then: |_, issuer| words(&["--client-id", "by-hand", "--issuer", issuer]),
    },
    Case {
        name: "audience_needed",
        behaves: |request, issuer| {
            let mut served = WITH_AUDIENCE.lock().expect("the servers");
            if request.path == "/authorize" && request.query.contains_key("audience") {
                served.push(issuer.to_owned());
            }
            let refused = request.path == "/mcp"
                && request.authorization.is_some()
                && !served.iter().any(|one| one == issuer);
            let challenge = "www-authenticate: Bearer error=\"invalid_token\", error_description=\"bad audience\"\r\n";
            refused.then(|| (401, challenge.to_owned(), String::new()))
        },
        status: 1,
        proposes: "--authorization-parameter audience=…",
        then: |_, _| words(&["--authorization-parameter", "audience=https://mcp.example"]),
    },
];

#[test]
fn each_message_leads_to_a_sign_in() {
    CASES.iter().for_each(leads_to_a_sign_in);
}

#[test]
fn each_message_names_options_with_the_command_that_has_them() {
    CASES.iter().for_each(names_complete_commands);
}

#[test]
fn a_configured_client_is_told_about_its_method_and_secret() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    // The server lists a method that it does not accept from this client.
    fake.state().hook = Some(Box::new(|request, issuer| {
        let methods = json!(["client_secret_basic", "client_secret_post"]);
        let changes = json!({ "token_endpoint_auth_methods_supported": methods });
        (request.path == SERVER).then(|| object(200, &metadata(issuer, &changes)))
    }));
    let secret = Some("hush".to_owned());
    fake.state().clients.insert("desk".to_owned(), secret);
    let (right, wrong) = (desk.path().join("right"), desk.path().join("wrong"));
    std::fs::write(&right, "hush").expect("written");
    std::fs::write(&wrong, "hash").expect("written");
    let (right, wrong) = (right.display().to_string(), wrong.display().to_string());
    let mut transcript = Transcript::new(&desk, &[(&fake, "https://mcp.example")]);
    let login = ["login", &url, "--client-id", "desk", "--client-secret-file"];
    let (status, said) = transcript.run(&[&login[..], &[&right]].concat());
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("--auth-method with another method"), "{said}");
    let post = ["--auth-method", "client_secret_post"];
    let (status, said) = transcript.run(&[&login[..], &[&wrong], &post].concat());
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("--client-secret-prompt"), "{said}");
    let (status, said) = transcript.run(&[&login[..], &[&right], &post].concat());
    assert_eq!(status, Some(0), "{said}");
    insta::assert_snapshot!("configured_client_refused", transcript.written);
}

#[test]
fn a_private_authority_and_a_client_certificate_are_asked_for_by_their_options() {
    let (fake, desk) = (server("localhost", true), Desk::new());
    fake.state().hook = Some(Box::new(|request, issuer| {
        let changes = json!({ "authorization_endpoint": format!("{issuer}/authorize") });
        (request.path == SERVER).then(|| object(200, &metadata(issuer, &changes)))
    }));
    let (url, ca) = (fake.url(), path("ca.pem"));
    let (certificate, key) = (path("client.pem"), path("client.key"));
    let secret = desk.path().join("hush");
    std::fs::write(&secret, "hush").expect("written");
    let secret = secret.display().to_string();
    let login = [
        "login",
        &url,
        "--client-id",
        "service",
        "--client-credentials",
        "--client-secret-file",
        &secret,
    ];
    let mut transcript = Transcript::new(&desk, &[]);
    let (status, said) = transcript.run(&login);
    assert_eq!(
        (status, said.contains("--ca-file")),
        (Some(4), true),
        "{said}"
    );
    let trusted = [&login[..], &["--ca-file", &ca]].concat();
    let (status, said) = transcript.run(&trusted);
    assert_eq!(
        (status, said.contains("--client-cert")),
        (Some(4), true),
        "{said}"
    );
    let known = ["--client-cert", &certificate, "--client-cert-key", &key];
    let (status, said) = transcript.run(&[&trusted[..], &known].concat());
    assert_eq!(status, Some(0), "{said}");
}
