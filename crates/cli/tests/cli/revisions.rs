//! The bridge at the revisions of the protocol: cancellation, and the messages of 2026-07-28.

use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bridge::{Bridge, message, signed_in, until};
use crate::fake::{Answer, ENDS_LATE, Fake, OPEN, Request, object};

const META: &str = "io.modelcontextprotocol/protocolVersion";

/// The requests to the MCP server with a token: their headers and messages.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(Request, Value)>>>);

impl Seen {
    fn methods(&self) -> Vec<String> {
        let seen = self.0.lock().expect("the requests");
        let name = |(request, message): &(Request, Value)| match message["method"].as_str() {
            Some(method) => method.to_owned(),
            None => request.method.clone(),
        };
        seen.iter().map(name).collect()
    }

    /// The header of the last request of a method.
    fn header(&self, method: &str, name: &str) -> Option<String> {
        let seen = self.0.lock().expect("the requests");
        let mut of = seen
            .iter()
            .rev()
            .filter(|(_, message)| message["method"] == method);
        of.next().expect("a request").0.headers.get(name).cloned()
    }
}

/// A stream with these messages, and how it ends.
fn stream(messages: &[Value], end: &str) -> Answer {
    let headers = format!("content-type: text/event-stream\r\n{end}");
    let events = messages.iter().enumerate();
    let events: Vec<String> = events
        .map(|(at, message)| format!("id: {at}\nretry: 10\ndata: {message}\n\n"))
        .collect();
    (200, headers, events.concat())
}

/// An MCP server that begins the answer of each call with a notification and does not end it.
fn slow(fake: &Fake, version: &'static str) -> Seen {
    let seen = Seen::default();
    let to = seen.clone();
    fake.state().hook = Some(Box::new(move |request, _| {
        if request.path != "/mcp" || request.authorization.is_none() {
            return None;
        }
        let message = message(request);
        let id = message["id"].clone();
        let result = |result: Value| {
            object(
                200,
                &json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            )
        };
        let answer = match message["method"].as_str() {
            Some("initialize") => result(json!({ "protocolVersion": version })),
            Some("tools/list") => result(json!({ "tools": [{ "name": "deploy", "inputSchema": {
                "properties": { "region": { "type": "string", "x-mcp-header": "Region" } },
            } }] })),
            Some("tools/call") => {
                let params = json!({ "progressToken": 1, "progress": 1, "unknown": [1.0] });
                let progress = json!({
                    "jsonrpc": "2.0", "method": "notifications/progress", "params": params,
                });
                let is_earlier = version < "2026-07-28";
                stream(&[progress], if is_earlier { ENDS_LATE } else { OPEN })
            }
            Some(method) if method.starts_with("notifications/") => {
                (202, String::new(), String::new())
            }
            Some(_) => result(json!({})),
            None => (405, String::new(), String::new()),
        };
        to.0.lock()
            .expect("the requests")
            .push((request.clone(), message));
        Some(answer)
    }));
    seen
}

/// Up to 2025-11-25 the notification reaches the server. The request has no answer then: neither an error of the bridge
/// nor an attempt to resume its stream.
#[test]
fn a_notification_cancels_a_request_of_an_earlier_revision() {
    let fake = Fake::start();
    let desk = signed_in(&fake, &[]);
    let seen = slow(&fake, "2025-11-25");
    let mut bridge = Bridge::start(&desk, &fake.url());
    bridge.ask("initialize", 1);
    bridge.say(
        &json!({ "jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": { "name": "x" } }),
    );
    assert_eq!(bridge.hear()["method"], "notifications/progress");
    let cancelled = json!({ "requestId": "a", "reason": "enough" });
    bridge.say(
        &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled }),
    );
    until("the notification", || {
        seen.methods()
            .contains(&"notifications/cancelled".to_owned())
    });
    // The server ends the stream without a response.
    sleep(Duration::from_millis(1_000));
    // Further messages pass, and the cancelled one has no answer.
    bridge.ask("ping", 3);
    assert_eq!(bridge.end(), Some(0));
    assert!(
        !seen.methods().contains(&"GET".to_owned()),
        "{:?}",
        seen.methods()
    );
}

/// From 2026-07-28 on the end of the response's stream cancels it, and servers drop the notification.
#[test]
fn the_end_of_the_stream_cancels_a_request_of_2026_07_28() {
    let fake = Fake::start();
    let desk = signed_in(&fake, &[]);
    let seen = slow(&fake, "2026-07-28");
    let mut bridge = Bridge::start(&desk, &fake.url());
    let meta = json!({ META: "2026-07-28" });
    for id in [json!(1), json!("1")] {
        let params = json!({ "name": "x", "_meta": meta });
        bridge
            .say(&json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }));
        assert_eq!(bridge.hear()["method"], "notifications/progress");
    }
    let cancel = |id: Value| {
        let params = json!({ "requestId": id, "_meta": meta });
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params })
    };
    // One of no request, and the one with the number.
    bridge.say(&cancel(json!(7)));
    bridge.say(&cancel(json!(1)));
    until("the end of the stream", || fake.state().closed == 1);
    sleep(Duration::from_millis(200));
    assert_eq!(fake.state().closed, 1, "the other request continues");
    let params = json!({ "_meta": meta });
    bridge.say(&json!({ "jsonrpc": "2.0", "id": 2, "method": "ping", "params": params }));
    assert_eq!(bridge.hear()["id"], 2);
    assert!(
        !seen
            .methods()
            .contains(&"notifications/cancelled".to_owned())
    );
    bridge.say(&cancel(json!("1")));
    until("the end of the other stream", || fake.state().closed == 2);
    assert_eq!(bridge.end(), Some(0));
}

/// A request of 2026-07-28 is complete by itself: its revision and its routing headers, no session, no stream of the
/// server; unknown members survive.
#[test]
fn a_request_of_2026_07_28_carries_its_headers_and_no_session() {
    let fake = Fake::start();
    let desk = signed_in(&fake, &[]);
    let seen = slow(&fake, "2026-07-28");
    let mut bridge = Bridge::start(&desk, &fake.url());
    let meta = json!({ META: "2026-07-28", "of.another/key": { "kept": true } });
    let ask = |id: u32, method: &str, more: Value| {
        let mut params = json!({ "_meta": meta });
        params
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().cloned().unwrap_or_default());
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
    };
    bridge.say(&ask(1, "server/discover", json!({})));
    assert_eq!(bridge.hear()["id"], 1);
    bridge.say(&ask(2, "tools/list", json!({})));
    assert_eq!(bridge.hear()["result"]["tools"][0]["name"], "deploy");
    let call = ask(
        3,
        "tools/call",
        json!({ "name": "deploy", "arguments": { "region": "zürich" } }),
    );
    bridge.say(&call);
    let progress = bridge.hear();
    assert_eq!(progress["params"]["unknown"], json!([1.0]), "{progress}");
    let header = |name| seen.header("tools/call", name);
    assert_eq!(
        header("mcp-protocol-version").as_deref(),
        Some("2026-07-28")
    );
    assert_eq!(header("mcp-method").as_deref(), Some("tools/call"));
    assert_eq!(header("mcp-name").as_deref(), Some("deploy"));
    assert_eq!(
        header("mcp-param-region").as_deref(),
        Some("=?base64?esO8cmljaA==?=")
    );
    assert_eq!(header("mcp-session-id"), None);
    assert_eq!(
        seen.header("server/discover", "mcp-method").as_deref(),
        Some("server/discover")
    );
    let sent = seen
        .0
        .lock()
        .expect("the requests")
        .last()
        .expect("a request")
        .1
        .clone();
    assert_eq!(sent, call);
    assert_eq!(bridge.end(), Some(0));
    assert_eq!(
        seen.methods(),
        ["server/discover", "tools/list", "tools/call"]
    );
}
