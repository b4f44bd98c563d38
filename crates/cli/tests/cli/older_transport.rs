//! `proxy` with a server of the older transport, whose stream names an endpoint for messages.

use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bridge::Bridge;
use crate::fake::{Fake, Request, object};
use crate::remedies::{SERVER, metadata};
use crate::support::{Desk, text};

const TENANT: &str = "/tenant-a/sse";
const RESOURCE: &str = "/.well-known/oauth-protected-resource/tenant-a/sse";

/// A message that arrived: its path, and its `Authorization`.
type Arrived = Arc<Mutex<Vec<(String, String)>>>;

/// One tenant of a host: its stream names this endpoint, and its resource is this path. `kind`: the type of its tokens.
fn tenant(
    fake: &Fake,
    endpoint: &'static str,
    resource: &'static str,
    kind: &'static str,
) -> Arrived {
    let arrived = Arrived::default();
    let to = Arc::clone(&arrived);
    fake.state().hook = Some(Box::new(move |request: &Request, issuer| {
        let bound = kind == "DPoP";
        let challenge =
            format!("www-authenticate: Bearer resource_metadata=\"{issuer}{RESOURCE}\"\r\n");
        let sent = request.authorization.clone();
        match (request.path.as_str(), sent) {
            (RESOURCE, _) => Some(object(
                200,
                &json!({ "resource": format!("{issuer}{resource}"), "authorization_servers": [issuer] }),
            )),
            (SERVER, _) if bound => {
                let changes = json!({ "dpop_signing_alg_values_supported": ["ES256"] });
                Some(object(200, &metadata(issuer, &changes)))
            }
            ("/token", _) if bound => Some(object(
                200,
                &json!({ "access_token": "bound-token", "token_type": kind, "expires_in": 3_600 }),
            )),
            (TENANT, None) => Some((401, challenge, String::new())),
            (TENANT, Some(_)) => {
                let stream = "content-type: text/event-stream\r\n".to_owned();
                Some((
                    200,
                    stream,
                    format!("event: endpoint\ndata: {endpoint}\n\n"),
                ))
            }
            (path, Some(sent)) if path.contains("messages") => {
                to.lock().expect("the list").push((path.to_owned(), sent));
                Some((202, String::new(), String::new()))
            }
            _ => None,
        }
    }));
    arrived
}

/// Signs in, and sends one message through the bridge; returns what it answers, and what arrived.
fn send(
    endpoint: &'static str,
    resource: &'static str,
    key: Option<&str>,
) -> (String, Vec<(String, String)>) {
    let fake = Fake::start();
    fake.state().token_seconds = 3_600;
    let kind = if key.is_some() { "DPoP" } else { "Bearer" };
    let arrived = tenant(&fake, endpoint, resource, kind);
    let desk = Desk::new();
    let url = format!("{}{TENANT}", fake.issuer());
    let mut login = vec![url.as_str()];
    login.extend(key.iter().flat_map(|key| ["--dpop-key", key]));
    let output = desk.sign_in(&login, false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut bridge = Bridge::start_with(&desk, &url, "sse-only");
    let answer = bridge.ask("initialize", 1).to_string();
    // The stream ends at once, so that its end may be answered while the message is on its way.
    let begun = Instant::now();
    while arrived.lock().expect("the list").is_empty() && begun.elapsed() < Duration::from_secs(2) {
        sleep(Duration::from_millis(20));
    }
    assert_eq!(bridge.end(), Some(0));
    let arrived = arrived.lock().expect("the list").clone();
    (answer, arrived)
}

/// USE-04: within the resource, or in the directory of the stream, and to no other tenant of the host.
#[test]
fn use_04_a_token_reaches_the_endpoint_of_its_own_server_only() {
    for (endpoint, resource) in [
        ("messages?session=1", TENANT),
        ("/tenant-a/messages/1", TENANT),
        // The resource is the whole host: its tokens are for each path.
        ("/messages", "/"),
    ] {
        let (answer, arrived) = send(endpoint, resource, None);
        assert_eq!(arrived.len(), 1, "{endpoint}: {answer}");
        assert!(arrived[0].1.starts_with("Bearer "), "{endpoint}");
    }
    for endpoint in ["/tenant-b/messages", "/messages", "../tenant-b/messages"] {
        let (answer, arrived) = send(endpoint, TENANT, None);
        assert!(arrived.is_empty(), "{endpoint}");
        // The stream of this server ends at once, which may be said first.
        assert!(answer.contains("error"), "{endpoint}: {answer}");
    }
}

/// DPOP-08: a proof is for the endpoint that is called, which has to be within the resource.
#[test]
fn a_bound_token_is_sent_within_its_resource_only() {
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/p256.pem");
    let (answer, arrived) = send("/tenant-a/messages", "/tenant-a/", Some(key));
    assert_eq!(arrived.len(), 1, "{answer}");
    assert_eq!(arrived[0].1, "DPoP bound-token");
    let (answer, arrived) = send("/tenant-a/messages", TENANT, Some(key));
    assert!(arrived.is_empty(), "{answer}");
    assert!(answer.contains("error"), "{answer}");
}
