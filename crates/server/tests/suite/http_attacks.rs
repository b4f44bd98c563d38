//! Requests that pretend to be for this server, of this site, or with a token (RS-04, RS-08, RS-11).

use axum::extract::Request;
use http::{HeaderMap, Method, StatusCode};
use mcp_auth_server::Guard;

use crate::layer::{LIST, Server, policy, request, resource};

fn server() -> Server {
    let guard = Guard::new(resource(), policy()).unwrap();
    Server::new(guard.origin("https://app.example").unwrap())
}

/// RS-11: names of this server that a page of another site could reach it by.
#[tokio::test]
async fn rs_11_other_names_of_the_host_are_refused_before_the_token() {
    let server = server();
    let bearer = format!("Bearer {}", server.token("files:read"));
    let auth = ("authorization", bearer.as_str());
    for host in [
        "",
        "evil.example",
        "mcp.example.",
        "mcp.example.evil.example",
        "evil.example/mcp.example",
        "mcp.example@evil.example",
        "evil.example#mcp.example",
        "mcp.example,evil.example",
        "mcp.example evil.example",
        "mcp.example:80",
        "mcp.example:0443",
        "mcp.example:",
        "127.0.0.1",
        "localhost",
        "[::1]",
        "xn--mcp-.example",
    ] {
        let (status, headers, _) = server.post(&[auth, ("host", host)], LIST).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{host:?}");
        assert!(!headers.contains_key("www-authenticate"), "{host:?}");
    }
    // Header fields that proxies add change nothing.
    for (name, value) in [
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "host=evil.example;proto=http"),
        ("x-original-host", "evil.example"),
        ("x-http-method-override", "GET"),
    ] {
        assert_eq!(
            server.post(&[auth, (name, value)], LIST).await.0.as_u16(),
            200,
            "{name}"
        );
        let fields = [auth, (name, "mcp.example"), ("host", "evil.example")];
        assert_eq!(server.post(&fields, LIST).await.0.as_u16(), 403, "{name}");
        let (status, headers, _) = server.post(&[(name, value)], LIST).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        let challenge = headers["www-authenticate"].to_str().unwrap();
        assert!(!challenge.contains("evil"), "{challenge}");
    }
    // The target of the request, where it names a host, and the field agree.
    for (target, host, status) in [
        ("https://mcp.example/mcp", "mcp.example", 200),
        ("https://evil.example/mcp", "mcp.example", 403),
        ("https://mcp.example/mcp", "evil.example", 403),
        ("https://x@mcp.example/mcp", "mcp.example", 403),
    ] {
        let mut sent: Request = request(Method::POST, &[auth, ("host", host)], LIST);
        *sent.uri_mut() = target.parse().unwrap();
        assert_eq!(
            server.send(sent).await.0.as_u16(),
            status,
            "{target} {host}"
        );
    }
}

fn cors(headers: &HeaderMap) -> Option<&str> {
    headers.get("access-control-allow-origin")?.to_str().ok()
}

/// RS-11: pages of other origins, and what they may read.
#[tokio::test]
async fn rs_11_pages_of_other_origins_can_neither_call_nor_read() {
    let server = server();
    let bearer = format!("Bearer {}", server.token("files:read"));
    let auth = ("authorization", bearer.as_str());
    for origin in [
        "",
        "null",
        "*",
        "https://evil.example",
        "http://app.example",
        "https://app.example:443",
        "https://app.example:8443",
        "https://app.example/",
        "https://APP.example",
        "https://app.example.evil.example",
        "https://evilapp.example",
        "https://app.example@evil.example",
        "https://app.example https://evil.example",
        "https://app.example,https://evil.example",
        "https://app.example\u{7f}",
        "chrome-extension://app.example",
        "file://",
    ] {
        for method in [Method::POST, Method::GET, Method::DELETE, Method::OPTIONS] {
            let sent = ("origin", origin);
            let Ok(_) = http::HeaderValue::from_str(origin) else {
                continue;
            };
            let asked = ("access-control-request-method", "POST");
            let sent: Request = request(method.clone(), &[auth, sent, asked], "");
            let (status, headers, _) = server.send(sent).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{method} {origin:?}");
            assert_eq!(cors(&headers), None, "{method} {origin:?}");
        }
    }
    let known = ("origin", "https://app.example");
    let twice = [auth, known, ("origin", "https://evil.example")];
    assert_eq!(server.post(&twice, LIST).await.0.as_u16(), 403);
    // Allowed pages read every answer, and never with cookies.
    let narrow = format!("Bearer {}", server.token("mail"));
    for (fields, status) in [
        (vec![known, auth], 200),
        (vec![known], 401),
        (vec![known, ("authorization", narrow.as_str())], 403),
    ] {
        let (found, headers, _) = server.post(&fields, LIST).await;
        assert_eq!(found.as_u16(), status);
        assert_eq!(cors(&headers), Some("https://app.example"));
        assert!(!headers.contains_key("access-control-allow-credentials"));
        assert_eq!(headers["vary"], "origin");
    }
}

/// RS-02, RS-11: the metadata is the same for everybody, and at one place.
#[tokio::test]
async fn rs_02_rs_11_the_metadata_comes_from_the_configuration_alone() {
    let server = server();
    let document = resource().metadata();
    let at = "/.well-known/oauth-protected-resource/mcp";
    for (path, method, status) in [
        (at, Method::GET, 200),
        (at, Method::HEAD, 200),
        (at, Method::OPTIONS, 204),
        (at, Method::POST, 405),
        (at, Method::DELETE, 405),
        (
            "/.well-known/oauth-protected-resource/mcp?x=1",
            Method::GET,
            200,
        ),
        (
            "/.well-known/oauth-protected-resource/mcp/",
            Method::GET,
            403,
        ),
        (
            "/.well-known/oauth-protected-resource/MCP",
            Method::GET,
            403,
        ),
        (
            "/.well-known/oauth-protected-resource/%6dcp",
            Method::GET,
            403,
        ),
        (
            "//.well-known/oauth-protected-resource/mcp",
            Method::GET,
            403,
        ),
        (
            "/.well-known/../.well-known/oauth-protected-resource/mcp",
            Method::GET,
            403,
        ),
        ("/.well-known/oauth-protected-resource", Method::GET, 403),
    ] {
        let fields = [
            ("host", "evil.example"),
            ("x-forwarded-host", "evil.example"),
            ("origin", "https://evil.example"),
        ];
        let mut sent: Request = request(method.clone(), &fields, "");
        *sent.uri_mut() = path.parse().unwrap();
        let (found, headers, text) = server.send(sent).await;
        assert_eq!(found.as_u16(), status, "{method} {path}");
        if found == StatusCode::OK {
            assert_eq!(
                text,
                if method == Method::GET {
                    document.as_str()
                } else {
                    ""
                }
            );
            assert_eq!(cors(&headers), Some("*"));
            assert!(!headers.contains_key("access-control-allow-credentials"));
        }
    }
}

/// RS-04, RS-08: one token, in one header, in one way.
#[tokio::test]
async fn rs_04_rs_08_tokens_count_in_the_header_alone() {
    let server = server();
    let token = server.token("files:read");
    let field = |text: &str| text.replace("TOKEN", &token);
    for (value, status) in [
        ("Bearer TOKEN", 200),
        ("bEaReR   TOKEN", 200),
        ("Bearer", 400),
        ("Bearer ", 400),
        ("Bearer TOKEN TOKEN", 400),
        ("Bearer TOKEN, Bearer TOKEN", 400),
        ("Bearer TOKEN,", 401),
        ("Bearer \"TOKEN\"", 401),
        ("Bearer token=TOKEN", 401),
        ("Bearer\tTOKEN", 401),
        ("BearerTOKEN", 401),
        ("TOKEN", 401),
        ("Basic TOKEN", 401),
        ("Negotiate TOKEN", 401),
        ("DPoP TOKEN", 401),
        ("", 401),
    ] {
        let value = field(value);
        let (found, headers, _) = server.post(&[("authorization", &value)], LIST).await;
        assert_eq!(found.as_u16(), status, "{value}");
        if found == StatusCode::UNAUTHORIZED {
            assert_eq!(headers.get_all("www-authenticate").iter().count(), 1);
            assert_eq!(headers["cache-control"], "no-store");
        }
    }
    let bearer = field("Bearer TOKEN");
    for name in [
        "proxy-authorization",
        "x-authorization",
        "x-forwarded-access-token",
        "x-access-token",
        "cookie",
    ] {
        let found = server.post(&[(name, bearer.as_str())], LIST).await.0;
        assert_eq!(found, StatusCode::UNAUTHORIZED, "{name}");
    }
    let twice = [
        ("authorization", bearer.as_str()),
        ("authorization", "Bearer x"),
    ];
    assert_eq!(server.post(&twice, LIST).await.0.as_u16(), 400);
    let form = ("content-type", "application/x-www-form-urlencoded");
    let body = field("access_token=TOKEN");
    assert_eq!(server.post(&[form], &body).await.0.as_u16(), 401);
}
