//! `proxy` with a server of the older transport, whose stream names an endpoint for messages.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
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

/// A server of the older transport without authorization: one stream at a time, each with a session of its own.
#[derive(Clone, Default)]
struct Older(Arc<Mutex<Sessions>>);

#[derive(Default)]
struct Sessions {
    stream: Option<TcpStream>,
    /// The number of streams so far, which names the session.
    begun: usize,
    /// Whether the present session was initialized.
    ready: bool,
    /// Whether the server has forgotten it.
    forgotten: bool,
    initialized: usize,
}

impl Older {
    /// Starts it; returns its URL.
    fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = self.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.serve(connection));
            }
        });
        format!("http://127.0.0.1:{port}/sse")
    }

    fn serve(&self, mut connection: TcpStream) {
        let mut reader = BufReader::new(connection.try_clone().expect("a handle"));
        let (mut line, mut length) = (String::new(), 0);
        reader.read_line(&mut line).expect("a request");
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).expect("a header");
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if header.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        let mut sessions = self.0.lock().expect("the sessions");
        if line.starts_with("GET /sse ") {
            sessions.begun += 1;
            (sessions.ready, sessions.forgotten) = (false, false);
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
            let named = format!(
                "event: endpoint\ndata: /sse/messages?n={}\n\n",
                sessions.begun
            );
            connection.write_all(head.as_bytes()).expect("written");
            connection.write_all(named.as_bytes()).expect("written");
            sessions.stream = Some(connection);
            return;
        }
        let own = line.contains(&format!("?n={} ", sessions.begun)) && !sessions.forgotten;
        let status = match (line.starts_with("POST "), own) {
            (true, true) => "202 Accepted",
            (true, false) => "404 Not Found",
            (false, _) => "405 Method Not Allowed",
        };
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        connection.write_all(head.as_bytes()).expect("written");
        if own {
            sessions.answer(&serde_json::from_slice(&body).expect("a message"));
        }
    }

    /// The stream ends, as when the server restarts.
    fn restarts(&self) {
        let stream = self.0.lock().expect("the sessions").stream.take();
        let stream = stream.expect("a stream");
        stream.shutdown(std::net::Shutdown::Both).expect("closed");
    }
}

impl Sessions {
    fn answer(&mut self, message: &serde_json::Value) {
        let method = message["method"].as_str().expect("a method");
        self.ready |= method == "initialize";
        self.initialized += usize::from(method == "notifications/initialized");
        if message["id"].is_null() || method == "unanswered" {
            return;
        }
        let answer = match self.ready {
            true => {
                json!({ "jsonrpc": "2.0", "id": message["id"], "result": { "session": self.begun } })
            }
            false => {
                json!({ "jsonrpc": "2.0", "id": message["id"], "error": { "code": -32_602, "message": "not initialized" } })
            }
        };
        let stream = self.stream.as_mut().expect("a stream");
        write!(stream, "event: message\ndata: {answer}\n\n").expect("written");
    }
}

/// A stream that ended, and a session that the server forgot while its stream is open: the next request finds a new session,
/// begun with the client's own request, whose answer the client sees once.
#[test]
fn a_session_of_the_older_transport_is_renewed() {
    let server = Older::default();
    let url = server.start();
    let desk = Desk::new();
    let mut bridge = Bridge::start_with(&desk, &url, "http-first");
    assert_eq!(bridge.ask("initialize", 1)["result"]["session"], 1);
    bridge.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    assert_eq!(bridge.ask("tools/list", 2)["result"]["session"], 1);

    // A request under way when the stream ends is answered by the bridge.
    bridge.say(&json!({ "jsonrpc": "2.0", "id": 3, "method": "unanswered" }));
    sleep(Duration::from_millis(300));
    server.restarts();
    let answer = bridge.hear();
    assert_eq!(answer["id"], 3, "{answer}");
    assert!(answer["error"].is_object(), "{answer}");
    let answer = bridge.ask("tools/list", 4);
    assert_eq!(
        (&answer["id"], &answer["result"]["session"]),
        (&json!(4), &json!(2)),
        "{answer}"
    );

    server.0.lock().expect("the sessions").forgotten = true;
    let answer = bridge.ask("tools/list", 5);
    assert_eq!(
        (&answer["id"], &answer["result"]["session"]),
        (&json!(5), &json!(3)),
        "{answer}"
    );
    assert_eq!(server.0.lock().expect("the sessions").initialized, 3);
    assert_eq!(bridge.end(), Some(0));
}
