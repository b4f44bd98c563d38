//! Clients that authenticate with a key and are not registered beforehand: a new registration, and a
//! published document.

use mcp_auth_client::signer::SoftwareKey;
use mcp_auth_testing::authorization::Options;
use mcp_auth_testing::servers::{Deviation, Servers};
use serde_json::{Value, json};

use crate::fake::{Fake, object};
use crate::remedies::{SERVER, Transcript, metadata};
use crate::support::Desk;

/// A server that takes `private_key_jwt` only. A token request with an assertion is that of a public client
/// to the rest of the server.
fn strict(fake: &Fake) {
    let mut keys = Vec::new();
    fake.state().hook = Some(Box::new(move |request, issuer| {
        let changes = json!({
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": ["ES256"],
            "client_id_metadata_document_supported": true,
        });
        if request.path == SERVER {
            return Some(object(200, &metadata(issuer, &changes)));
        }
        if request.path == "/register" {
            let asked = request.form.keys().next().cloned().unwrap_or_default();
            let asked: Value = serde_json::from_str(&asked).unwrap_or_default();
            keys.push(asked["jwks"]["keys"][0]["kty"].clone());
            let mut answer = asked.clone();
            answer["client_id"] = "keyed".into();
            let keyed = asked["token_endpoint_auth_method"] == "private_key_jwt" && keys == ["EC"];
            return Some(if keyed {
                object(201, &answer)
            } else {
                object(400, &json!({ "error": "invalid_client_metadata" }))
            });
        }
        let kind = request.form.get("client_assertion_type");
        let signed = kind.is_some_and(|kind| kind.ends_with("jwt-bearer"))
            && request.form.contains_key("client_assertion");
        (request.path == "/token" && !signed)
            .then(|| object(401, &json!({ "error": "invalid_client" })))
    }));
}

#[test]
fn a_key_is_registered_or_published() {
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/p256.pem");
    let document = "https://client.example/client.json";
    for published in [false, true] {
        let (fake, desk) = (Fake::start(), Desk::new());
        strict(&fake);
        let id = if published { document } else { "keyed" };
        fake.state().clients.insert(id.to_owned(), None);
        let url = fake.url();
        let mut login = vec!["login", &url, "--client-key", key];
        if published {
            login.extend(["--client-metadata-url", document]);
        }
        let mut transcript = Transcript::new(&desk, &[]);
        let (status, said) = transcript.run(&login);
        assert_eq!(status, Some(0), "{published}: {said}");
        let (status, said) = transcript.run(&["token", &url, "--refused"]);
        assert_eq!(status, Some(0), "{published}: {said}");
        assert_eq!(transcript.run(&["logout", &url]).0, Some(0));
    }
}

/// The built-in server verifies each assertion. Where it reads them otherwise, the message has the setting that helps
/// (TOK-05, DIS-05, QUIRK-31).
#[test]
fn the_setting_for_assertions_is_in_the_message() {
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/p256.pem");
    let pem = std::fs::read_to_string(key).expect("a key");
    let described = SoftwareKey::from_pem("key", &pem)
        .expect("a key")
        .describe();
    let described = described.expect("a public key");
    let jwk = described.public_key().expect("a public key").as_jwk();
    let public = format!("{{\"keys\":[{jwk}]}}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    for (deviation, setting) in [
        (None, json!({})),
        (
            Some(Deviation::AssertionNeedsClientId),
            json!({ "client_id_with_assertion": true }),
        ),
        (
            Some(Deviation::AssertionForTokenEndpoint),
            json!({ "client_assertion_audience": "token_endpoint" }),
        ),
    ] {
        let desk = Desk::new();
        let options = Options {
            service_keys: Some(("keyed".to_owned(), public.clone())),
            ..Options::default()
        };
        let servers = runtime.block_on(Servers::builder().options(options).on_loopback());
        let servers = servers.expect("ports");
        let (url, issuer) = (servers.url(), servers.authorization().issuer());
        let login = [
            "login",
            url,
            "--client-credentials",
            "--authorization-server",
            issuer,
            "--client-id",
            "keyed",
            "--client-key",
            key,
        ];
        let mut transcript = Transcript::new(&desk, &[]);
        if let Some(deviation) = deviation {
            servers.deviate(deviation);
            let (status, said) = transcript.run(&login);
            assert_ne!(status, Some(0), "{deviation:?}: {said}");
            let name = setting
                .as_object()
                .and_then(|members| members.keys().next());
            let name = name.expect("a setting");
            assert!(said.contains(name.as_str()), "{deviation:?}: {said}");
        }
        let mut settings = setting;
        settings["issuer"] = issuer.into();
        let file = desk.path().join("settings.json");
        std::fs::write(&file, json!([settings]).to_string()).expect("a file");
        let file = file.display().to_string();
        let with = [login.as_slice(), &["--issuer-settings", &file]].concat();
        let (status, said) = transcript.run(&with);
        assert_eq!(status, Some(0), "{deviation:?}: {said}");
        let (status, said) = transcript.run(&["token", servers.url(), "--refused"]);
        assert_eq!(status, Some(0), "{deviation:?}: {said}");
    }
}

/// A client registers a key, and its sign-in and its refreshes are authenticated with it (REG-24, AS-14).
#[test]
fn the_built_in_server_registers_a_key() {
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/p256.pem");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    for registers_keys in [true, false] {
        let desk = Desk::new();
        let options = Options {
            registers_keys,
            ..Options::default()
        };
        let servers = runtime.block_on(Servers::builder().options(options).on_loopback());
        let servers = servers.expect("ports");
        let url = servers.url();
        let mut transcript = Transcript::new(&desk, &[]);
        let (status, said) = transcript.run(&["login", url, "--client-key", key]);
        assert_eq!(status, Some(0), "{said}");
        let (status, said) = transcript.run(&["token", url, "--refused"]);
        assert_eq!(status, Some(0), "{said}");
        assert_eq!(transcript.run(&["logout", url]).0, Some(0));
        assert_eq!(servers.authorization().assertions() >= 2, registers_keys);
    }
}
