//! Clients that authenticate with a key and are not registered beforehand: a new registration, and a
//! published document.

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
