//! Bodies that a careless parser behind the layer could read otherwise than the layer (RS-05).

use axum::extract::Request;
use http::Method;
use mcp_auth_server::{Guard, McpMessages, RequiredScopes, ScopePolicy};
use serde_json::{Value, json};

use crate::layer::{LIST, Server, call, needs, policy, request, resource};

/// RS-05: refused, whatever they call and whoever calls.
#[tokio::test]
async fn rs_05_what_another_parser_reads_otherwise_is_refused() {
    let server = Server::plain();
    let all = server.token("files:read files:write files:raw root");
    let deep = format!(
        r#"{{"method":"tools/list","params":{}1{}}}"#,
        r#"{"a":"#.repeat(200),
        "}".repeat(200)
    );
    let huge = r#"{"method":"tools/list","id":1e999999,"params":{}}"#;
    for body in [
        // Names that come twice, escaped or not, known or not.
        r#"{"method":"tools/list","meth\u006fd":"tools/call","params":{"name":"write"}}"#,
        r#"{"method":"tools/call","params":{"name":"read","na\u006de":"write"}}"#,
        r#"{"method":"tools/call","params":{"name":"read"},"par\u0061ms":{"name":"write"}}"#,
        r#"{"method":"tools/call","params":{"name":"read","x":1,"x":2}}"#,
        r#"{"method":"tools/list","x":1,"x":2}"#,
        r#"{"method":"resources/read","params":{"uri":"a:b","uri":"a:c"}}"#,
        // Names that some parsers take for others.
        r#"{"method":"tools/list","Method":"tools/call","params":{"name":"write"}}"#,
        r#"{"method":"tools/call","params":{"name":"read","NAME":"write"}}"#,
        r#"{"method":"tools/call","params":{"name":"read"},"PARAMS":{"name":"write"}}"#,
        r#"{"method":"tools/call","params":{"name":"read"},"param\u017f":{"name":"write"}}"#,
        r#"{"method":"tools/call","params":{"name":"read","name\u0000":"write"}}"#,
        r#"{"method":"tools/call","params":{"name":"read"," name":"write"}}"#,
        // Texts that end early in some languages.
        r#"{"method":"tools/call","params":{"name":"read\u0000write"}}"#,
        r#"{"method":"tools/list\u0000","params":{}}"#,
        r#"{"method":"resources/read","params":{"uri":"file:///x\n"}}"#,
        // Parameters by position.
        r#"{"method":"resources/read","params":["file:///secret"]}"#,
        r#"{"method":"tools/list","params":"x"}"#,
        // No request, and no answer either.
        r#"{}"#,
        r#"{"id":1}"#,
        r#"{"method":null,"params":{"name":"write"}}"#,
        r#"{"method":"tools/list","result":{}}"#,
        r#"{"id":1,"result":{},"error":{}}"#,
        r#"{"method":"tools/list","error":{"code":1}}"#,
        // Not one message.
        r#"{"method":"tools/list"}{"method":"tools/call","params":{"name":"write"}}"#,
        r#"{"method":"tools/list"} x"#,
        r#"{"method":"tools/list",}"#,
        r#"{'method':'tools/list'}"#,
        r#"{"method":"tools/list"/**/}"#,
        r#"{"method":"\ud800"}"#,
        r#"[{"method":"tools/list"},[{"method":"tools/list"}]]"#,
        r#"[{"method":"tools/list"},1]"#,
        &deep,
        "\u{feff}{\"method\":\"tools/list\"}",
        "{\"method\":\"tools/list\"}\0",
    ] {
        assert_eq!(server.status(&all, body).await, 400, "{body}");
    }
    let brackets = format!(r#"{{"method":"tools/list","x":"{}\"["}}"#, "[".repeat(200));
    assert_eq!(server.status(&all, &brackets).await, 200);
    // Numbers are none of the layer's business: what cannot hold them refuses them.
    assert_eq!(server.status(&all, huge).await, 200);
    // In UTF-16 or UTF-32 nothing is read, with whatever mark.
    for body in [
        LIST.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>(),
        LIST.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        LIST.chars()
            .flat_map(|c| u32::from(c).to_le_bytes())
            .collect(),
    ] {
        assert!(McpMessages::read(&body).is_err());
    }
    assert!(McpMessages::read(b"{\"method\":\"\xff\"}").is_err());
}

/// RS-05: the answers of a client, one at a time or among requests, need what every request needs.
#[tokio::test]
async fn rs_05_answers_and_requests_in_one_batch() {
    let server = Server::plain();
    let read = server.token("files:read");
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"name":"write"}}"#;
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}"#;
    for (body, status) in [
        (answer.to_owned(), 200),
        (error.to_owned(), 200),
        (format!("[{answer},{error}]"), 200),
        (format!("[{answer},{}]", call("read")), 200),
        (format!("[{answer},{}]", call("write")), 403),
        (format!("[{},{answer}]", call("write")), 403),
        (format!("[{}]", vec![LIST; 65].join(",")), 400),
    ] {
        assert_eq!(server.status(&read, &body).await, status, "{body}");
    }
    assert_eq!(server.status(&server.token("mail"), answer).await, 403);
}

/// RS-05: other encodings, and bodies where there should be none.
#[tokio::test]
async fn rs_05_a_body_is_json_in_utf_8_and_belongs_to_a_post() {
    let server = Server::plain();
    let bearer = format!("Bearer {}", server.token("files:read"));
    let auth = ("authorization", bearer.as_str());
    for (kind, status) in [
        ("application/json", 200),
        ("Application/JSON; Charset=\"UTF-8\"", 200),
        ("application/json;charset=utf-16", 400),
        ("application/json; charset=utf-7", 400),
        ("application/json; x=y; charset=utf-16", 400),
        ("application/json; charset", 400),
        ("text/plain", 400),
        ("application/x-www-form-urlencoded", 400),
        ("multipart/form-data; boundary=x", 400),
        ("", 400),
    ] {
        let found = server.post(&[auth, ("content-type", kind)], LIST).await.0;
        assert_eq!(found.as_u16(), status, "{kind}");
    }
    let twice = [
        auth,
        ("content-type", "application/json"),
        ("content-type", "text/plain"),
    ];
    assert_eq!(server.post(&twice, LIST).await.0.as_u16(), 400);
    // The service behind the layer takes every method; a tool must not be called by another one.
    for (method, body, status) in [
        (Method::GET, call("write"), 400),
        (Method::HEAD, call("write"), 400),
        (Method::DELETE, call("write"), 400),
        (Method::PUT, call("write"), 403),
        (Method::PATCH, call("write"), 403),
        (Method::OPTIONS, call("write"), 403),
        (Method::from_bytes(b"QUERY").unwrap(), call("write"), 403),
        (Method::from_bytes(b"get").unwrap(), call("write"), 403),
        (Method::GET, String::new(), 200),
        (Method::DELETE, String::new(), 200),
        (Method::PUT, String::new(), 400),
    ] {
        let sent: Request = request(method.clone(), &[auth], &body);
        assert_eq!(
            server.send(sent).await.0.as_u16(),
            status,
            "{method} {body}"
        );
    }
}

/// RS-05: methods outside the protocol are rejected, unless the server answers them itself; rules for them hold either way.
#[test]
fn rs_05_methods_outside_the_protocol_are_rejected_unless_opened() {
    let closed = ScopePolicy::new(needs("base"));
    let open = closed
        .clone()
        .open_other_methods()
        .method("x/secret", needs("admin"))
        .named("x/read", "a", needs("admin"));
    let read = |method: &str, name: &str| {
        let body =
            json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": { "name": name } });
        McpMessages::read(body.to_string().as_bytes()).unwrap()
    };
    for (method, name, is_admin) in [
        ("x/other", "a", false),
        ("x/read", "b", false),
        ("x/read", "a", true),
        ("x/secret", "a", true),
    ] {
        assert!(closed.needed(&read(method, name)).is_err(), "{method}");
        let needed = open.needed(&read(method, name)).unwrap().unwrap();
        let admin = needed.alternatives().all(|all| all.contains("admin"));
        assert_eq!(admin, is_admin, "{method} {name}");
    }
    // Tools have a rule of their own.
    assert!(open.needed(&read("tools/call", "a")).is_err());
}

/// A decoy parameter, and a request that subscribes to any number of resources, pass no rule.
#[test]
fn a_rule_holds_beside_another_parameter_and_for_listen_requests() {
    let policy = ScopePolicy::new(needs("base"))
        .method("resources/delete", needs("base"))
        .named("resources/delete", "file:///a", needs("admin"));
    let read = |body: Value| McpMessages::read(body.to_string().as_bytes()).unwrap();
    let decoy = json!({
        "jsonrpc": "2.0", "id": 1, "method": "resources/delete",
        "params": { "name": "x", "uri": "file:///a" },
    });
    let needed = policy.needed(&read(decoy)).unwrap().unwrap();
    assert!(needed.alternatives().all(|all| all.contains("admin")));
    let listen = json!({ "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen" });
    assert!(policy.needed(&read(listen.clone())).is_ok());
    let policy = policy.named("resources/subscribe", "file:///a", needs("admin"));
    assert!(policy.needed(&read(listen.clone())).is_err());
    let policy = policy.method("subscriptions/listen", needs("admin"));
    assert!(policy.needed(&read(listen)).is_ok());
}

/// RS-05: a need for a resource holds for every spelling of its URI.
#[tokio::test]
async fn rs_05_every_spelling_of_a_resource_needs_the_same() {
    let policy = policy()
        .named("resources/read", "file:///srv/secret.txt", needs("secret"))
        .named(
            "resources/read",
            "https://Notes.example/a?id=1",
            needs("notes"),
        )
        .named("resources/read", "memo", needs("memo"));
    let server = Server::new(Guard::new(resource(), policy).unwrap());
    let token = server.token("files:read files:raw");
    let read = |uri: &str| {
        json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": { "uri": uri } })
            .to_string()
    };
    for uri in [
        "file:///srv/secret.txt",
        "FILE:///srv/secret.txt",
        "file:/srv/secret.txt",
        "file://localhost/srv/secret.txt",
        "file:///srv/./secret.txt",
        "file:///srv/x/../secret.txt",
        "file:///srv/%2e%2E/srv/secret.txt",
        "file:///srv/x%2F..%2Fsecret.txt",
        "file:///srv/%73ecret.txt",
        "file:///srv/%2573ecret.txt",
        "file:///srv/SECRET.TXT",
        "file:///srv/secret.txt#x",
        "file:///srv/secret.txt?x",
        "file:///srv//secret.txt",
        "file://elsewhere/srv/secret.txt",
        "file:///srv/secret.txt%3Fx",
        "file:///srv/secret.txt%23x",
        "https://notes.example/b%2F..%2Fa?id=1",
        "https://notes.example//a?id=1",
        "file:///srv/secret.txt/",
        " file:///srv/secret.txt",
        "https://notes.example/a?id=1",
        "https://notes.example:443/b/../a?id=1#x",
        "memo",
        "MEMO/",
    ] {
        assert_eq!(server.status(&token, &read(uri)).await, 403, "{uri}");
    }
    for uri in [
        "file:///srv/public.txt",
        "https://notes.example/a?id=2",
        "memos",
    ] {
        assert_eq!(server.status(&token, &read(uri)).await, 200, "{uri}");
    }
    // Two needs for one resource, in two spellings, both hold.
    let both = ScopePolicy::new(RequiredScopes::parse("base").unwrap())
        .named("resources/read", "a:/x/y", needs("one"))
        .named("resources/read", "A:/x/./y", needs("two"));
    let messages = McpMessages::read(read("a:/x/y").as_bytes()).unwrap();
    let needed = both.needed(&messages).unwrap().unwrap();
    assert_eq!(needed.preferred().as_str(), "base one two");
}
