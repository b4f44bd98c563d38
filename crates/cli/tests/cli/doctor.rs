//! `doctor` with correct and incorrect servers.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use serde_json::{Value, json};

use crate::support::{Desk, Servers};

/// An MCP server and an authorization server as two documents and a challenge.
struct SetUp {
    origin: String,
    listener: TcpListener,
    challenge: (u16, String),
    resource: Value,
    server: Value,
    more: BTreeMap<String, (u16, String, String)>,
}

const RESOURCE: &str = "/.well-known/oauth-protected-resource/mcp";
const SERVER: &str = "/.well-known/oauth-authorization-server";

impl SetUp {
    fn good() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        Self {
            challenge: (
                401,
                format!("www-authenticate: Bearer resource_metadata=\"{origin}{RESOURCE}\"\r\n"),
            ),
            resource: json!({
                "resource": format!("{origin}/mcp"), "authorization_servers": [origin],
            }),
            server: json!({
                "issuer": origin,
                "authorization_endpoint": format!("{origin}/authorize"),
                "token_endpoint": format!("{origin}/token"),
                "registration_endpoint": format!("{origin}/register"),
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": true,
            }),
            more: BTreeMap::new(),
            origin,
            listener,
        }
    }

    /// Serves the set-up, and has it examined.
    fn examined(self) -> (Option<i32>, Value) {
        self.examined_with(&[])
    }

    fn examined_with(self, more: &[&str]) -> (Option<i32>, Value) {
        let mut answers = self.more;
        answers
            .entry("/mcp".into())
            .or_insert((self.challenge.0, self.challenge.1, String::new()));
        for (path, document) in [(RESOURCE, &self.resource), (SERVER, &self.server)] {
            let body = (200, String::new(), document.to_string());
            answers.entry(path.into()).or_insert(body);
        }
        let listener = self.listener;
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let _closed = serve(&stream, &answers);
            }
        });
        let url = format!("{}/mcp", self.origin);
        Desk::new().json(&[&["doctor", url.as_str()], more].concat())
    }
}

fn serve(
    stream: &TcpStream,
    answers: &BTreeMap<String, (u16, String, String)>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    assert!(
        path.contains("/.well-known/") || path == "/mcp" || path == "/elsewhere",
        "nothing but metadata is read: {line}"
    );
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.trim().is_empty() {
            break;
        }
    }
    reader.take(length).read_to_end(&mut Vec::new())?;
    let missing = (404, String::new(), String::new());
    let (status, headers, body) = answers.get(&path).unwrap_or(&missing);
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} x\r\n{headers}content-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) fn marks(answer: &Value, mark: &str) -> Vec<String> {
    let findings = answer["findings"].as_array().expect("findings");
    findings
        .iter()
        .filter(|found| found["mark"] == mark)
        .map(|found| {
            let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
            // The operator reads which document to change, and to what.
            assert!(
                mark == "ok"
                    || mark == "note"
                    || found["fix"].is_string()
                        && found["operator"]["document"].is_string()
                        && found["operator"]["change"].is_string(),
                "{found}"
            );
            let code = text("code");
            if code.is_empty() { text("rule") } else { code }
        })
        .collect()
}

#[test]
fn a_good_server_and_the_built_in_one() {
    let (status, answer) = SetUp::good().examined();
    assert_eq!(
        (status, &answer["usable"]),
        (Some(0), &Value::from(true)),
        "{answer}"
    );
    assert_eq!(marks(&answer, "warning"), [""; 0]);
    let passed = marks(&answer, "ok");
    for rule in [
        "RS-02", "DISC-11", "META-08", "META-12", "PKCE-05", "REG-02", "ISS-03",
    ] {
        assert!(
            passed.iter().any(|found| found == rule),
            "{rule} in {passed:?}"
        );
    }

    let servers = Servers::start(&[]);
    let (status, answer) = Desk::new().json(&["doctor", &servers.mcp]);
    assert_eq!(
        (status, &answer["issuer"]),
        (Some(0), &Value::from(servers.issuer.as_str()))
    );
    assert_eq!(marks(&answer, "warning"), [""; 0], "{answer}");
}

type Break = fn(&mut SetUp);

/// Set-ups that prevent every sign-in, and the reason code.
const BROKEN: &[(&str, Break)] = &[
    ("server_unknown", |s| {
        s.more
            .insert(RESOURCE.into(), (404, String::new(), String::new()));
        s.more
            .insert(SERVER.into(), (404, String::new(), String::new()));
    }),
    ("no_resource", |s| drop(s.resource["resource"].take())),
    ("resource_mismatch", |s| {
        s.resource["resource"] = "https://other.example/mcp".into()
    }),
    ("resource_mismatch", |s| {
        s.resource["resource"] = format!("{}/mcp/more", s.origin).into()
    }),
    ("no_authorization_server", |s| {
        s.resource["authorization_servers"] = json!([])
    }),
    ("no_authorization_server", |s| {
        s.resource["authorization_servers"] = json!(["http://as.example"]);
    }),
    ("no_header_method", |s| {
        s.resource["bearer_methods_supported"] = json!(["query"])
    }),
    ("resource_metadata_malformed", |s| {
        let body = format!(
            "{{\"resource\": \"{0}/mcp\", \"resource\": \"{0}/mcp\"}}",
            s.origin
        );
        s.more.insert(RESOURCE.into(), (200, String::new(), body));
    }),
    ("unreachable", |s| {
        s.more
            .insert(RESOURCE.into(), (503, String::new(), String::new()));
    }),
    ("metadata_issuer_mismatch", |s| {
        s.server["issuer"] = "https://other.example".into()
    }),
    ("metadata_issuer_mismatch", |s| {
        s.server["issuer"] = format!("{}/tenant", s.origin).into()
    }),
    ("server_metadata_invalid", |s| {
        drop(s.server["token_endpoint"].take())
    }),
    ("server_metadata_invalid", |s| {
        s.server["token_endpoint"] = "http://as.example/token".into()
    }),
    ("no_authorization_endpoint", |s| {
        drop(s.server["authorization_endpoint"].take())
    }),
    ("no_code_grant", |s| {
        s.server["response_types_supported"] = json!(["token"])
    }),
    ("no_code_grant", |s| {
        s.server["grant_types_supported"] = json!(["client_credentials"])
    }),
    ("no_pkce", |s| {
        drop(s.server["code_challenge_methods_supported"].take())
    }),
    ("no_pkce", |s| {
        s.server["code_challenge_methods_supported"] = json!(["plain"])
    }),
    ("unreachable", |s| {
        s.more
            .insert(SERVER.into(), (500, String::new(), String::new()));
    }),
    ("no_server_metadata", |s| {
        s.more
            .insert(SERVER.into(), (200, String::new(), "<html>".into()));
    }),
    ("dpop_required", |s| {
        s.resource["dpop_bound_access_tokens_required"] = true.into()
    }),
    ("document_redirected", |s| {
        let to = "location: https://other.example/x\r\n".to_owned();
        s.more.insert(RESOURCE.into(), (302, to, String::new()));
    }),
    ("document_redirected", |s| {
        let to = "location: https://other.example/x\r\n".to_owned();
        s.more.insert(SERVER.into(), (302, to, String::new()));
    }),
    ("document_too_large", |s| {
        s.resource["resource_name"] = "x".repeat(300_000).into()
    }),
    ("document_too_large", |s| {
        s.server["service_documentation"] = "x".repeat(300_000).into()
    }),
    ("no_server_metadata", |s| {
        let page = "content-type: text/html\r\n".to_owned();
        s.more.insert(SERVER.into(), (403, page, "<html>".into()));
    }),
    ("reserved_parameter", |s| {
        s.server["authorization_endpoint"] = format!("{}/authorize?client_id=x", s.origin).into();
    }),
    ("mcp_url_redirects", |s| {
        let to = format!("location: {}/mcp/\r\n", s.origin);
        s.more.insert("/mcp".into(), (307, to, String::new()));
    }),
    ("not_an_mcp_server", |s| at_mcp(s, 404)),
    ("not_an_mcp_server", |s| at_mcp(s, 405)),
    ("not_an_mcp_server", |s| at_mcp(s, 200)),
    ("mcp_server_unavailable", |s| at_mcp(s, 429)),
    ("mcp_server_unavailable", |s| at_mcp(s, 500)),
    ("mcp_server_unavailable", |s| at_mcp(s, 502)),
];

/// Has a web page answer at the MCP URL.
fn at_mcp(set_up: &mut SetUp, status: u16) {
    set_up
        .more
        .insert("/mcp".into(), (status, String::new(), "<html>".into()));
}

/// The changes that the operator of a server reads: the document, its member, and the section of the standard.
const CHANGES: &[(&str, &str, &str, Break)] = &[
    (
        "resource_metadata",
        "resource",
        "RFC 9728 section 3.3",
        |s| s.resource["resource"] = "https://other.example/mcp".into(),
    ),
    (
        "resource_metadata",
        "authorization_servers",
        "RFC 9728 section 2",
        |s| s.resource["authorization_servers"] = json!([]),
    ),
    (
        "challenge",
        "resource_metadata",
        "RFC 9728 section 5.1",
        |s| s.challenge = (401, "www-authenticate: Bearer\r\n".into()),
    ),
    ("server_metadata", "issuer", "RFC 8414 section 3.3", |s| {
        s.server["issuer"] = "https://other.example".into()
    }),
    (
        "server_metadata",
        "token_endpoint",
        "RFC 8414 section 2",
        |s| drop(s.server["token_endpoint"].take()),
    ),
    (
        "server_metadata",
        "code_challenge_methods_supported",
        "RFC 8414 section 2, RFC 7636 section 4.6",
        |s| drop(s.server["code_challenge_methods_supported"].take()),
    ),
    (
        "server_metadata",
        "authorization_response_iss_parameter_supported",
        "RFC 9207 sections 2 and 3",
        |s| drop(s.server["authorization_response_iss_parameter_supported"].take()),
    ),
    (
        "server_metadata",
        "token_endpoint_auth_methods_supported",
        "RFC 8414 section 2, RFC 8252 section 8.4",
        |s| {
            // The order of a Python SDK.
            let methods = json!(["client_secret_post", "client_secret_basic"]);
            s.server["token_endpoint_auth_methods_supported"] = methods;
        },
    ),
    (
        "server_metadata",
        "scopes_supported",
        "RFC 8414 section 2, RFC 7591 section 2",
        |s| {
            s.resource["scopes_supported"] = json!(["read", "write"]);
            s.server["scopes_supported"] = json!(["read"]);
        },
    ),
];

#[test]
fn the_operator_reads_what_to_change() {
    for (document, member, source, change) in CHANGES {
        let mut set_up = SetUp::good();
        change(&mut set_up);
        let (_, answer) = set_up.examined();
        let findings = answer["findings"].as_array().expect("findings");
        let found = findings.iter().any(|found| {
            let operator = &found["operator"];
            operator["document"] == *document
                && operator["member"] == *member
                && operator["source"] == *source
        });
        assert!(found, "{document} {member} in {answer}");
    }
}

/// Set-ups that work with a deviation, and the rule.
const FLAWED: &[(&str, Break)] = &[
    ("QUIRK-32", |s| {
        s.server["authorization_endpoint"] = "https://login.example/authorize".into();
        drop(s.server["authorization_response_iss_parameter_supported"].take());
    }),
    ("SCOPE-05", |s| {
        s.server["scopes_supported"] = json!(["openid", "files"])
    }),
    ("RS-02", |s| {
        s.challenge = (401, "www-authenticate: Bearer\r\n".into())
    }),
    ("RS-02", |s| s.challenge = (401, String::new())),
    ("RS-02", |s| s.challenge = (403, String::new())),
    ("CHAL-13", |s| {
        let header = "www-authenticate: Bearer resource_metadata=\"http://as.example/x\"\r\n";
        s.challenge = (401, header.into());
    }),
    ("CHAL-08", |s| {
        s.challenge = (
            401,
            "www-authenticate: Bearer scope=\"a\", scope=\"b\"\r\n".into(),
        );
    }),
    ("QUIRK-01", |s| {
        s.resource["authorization_servers"] = json!([format!("{}/", s.origin)]);
    }),
    ("DISC-17", |s| s.resource["scopes_supported"] = "a b".into()),
    ("DISC-15", |s| {
        s.resource["authorization_servers"] = json!(["http://as.example", s.origin.clone()]);
    }),
    ("REG-02", |s| drop(s.server["registration_endpoint"].take())),
    ("SCOPE-03", |s| {
        s.resource["scopes_supported"] = json!(["read", "write"]);
        s.server["scopes_supported"] = json!(["read"]);
    }),
    ("REG-11", |s| {
        s.server["token_endpoint_auth_methods_supported"] = json!(["tls_client_auth"]);
    }),
    ("ISS-03", |s| {
        drop(s.server["authorization_response_iss_parameter_supported"].take());
    }),
];

#[test]
fn each_broken_set_up_is_named() {
    for (at, (code, change)) in BROKEN.iter().enumerate() {
        let mut set_up = SetUp::good();
        change(&mut set_up);
        let (status, answer) = set_up.examined();
        assert_eq!(
            (status, &answer["usable"]),
            (Some(1), &Value::from(false)),
            "{at}: {answer}"
        );
        assert_eq!(marks(&answer, "broken"), [*code], "{at}: {answer}");
    }
}

#[test]
fn each_flaw_that_clients_tolerate_is_named() {
    for (at, (rule, change)) in FLAWED.iter().enumerate() {
        let mut set_up = SetUp::good();
        change(&mut set_up);
        let (status, answer) = set_up.examined();
        assert_eq!(
            (status, &answer["usable"]),
            (Some(0), &Value::from(true)),
            "{at}: {answer}"
        );
        let warnings = marks(&answer, "warning");
        assert!(
            warnings.iter().any(|found| found == rule),
            "{at}: {rule} in {answer}"
        );
    }
}

/// The findings name the options that help the user.
#[test]
fn findings_name_the_option_for_the_user() {
    let option = |change: Break, named: &str| {
        let mut set_up = SetUp::good();
        change(&mut set_up);
        let (_, answer) = set_up.examined();
        let findings = answer["findings"].as_array().expect("findings");
        let options = findings.iter().filter_map(|found| found["option"].as_str());
        let found = options.into_iter().any(|option| option.contains(named));
        assert!(found, "{named} in {answer}");
    };
    option(
        |s| drop(s.server["code_challenge_methods_supported"].take()),
        "--assume-pkce",
    );
    // Both at once: the next sign-in does not fail for the next reason.
    option(
        |s| {
            drop(s.server["code_challenge_methods_supported"].take());
            drop(s.server["authorization_response_iss_parameter_supported"].take());
            s.server["authorization_endpoint"] = "https://login.example/authorize".into();
        },
        "--assume-pkce --authorization-origin https://login.example",
    );
    option(
        |s| s.server["scopes_supported"] = json!(["openid", "files", "mail"]),
        "--scope 'files mail'",
    );
    option(
        |s| s.resource["authorization_servers"] = json!([s.origin, "https://other.example"]),
        "--prefer-issuer",
    );
    option(
        |s| {
            let methods = json!(["client_secret_post", "client_secret_basic"]);
            s.server["token_endpoint_auth_methods_supported"] = methods;
        },
        "--auth-method",
    );
    option(
        |s| {
            let to = format!("location: {}/mcp/\r\n", s.origin);
            s.more.insert("/mcp".into(), (307, to, String::new()));
        },
        "/mcp/, if that is the MCP server",
    );
    option(
        |s| {
            let missing = (404, String::new(), String::new());
            s.more.insert(RESOURCE.into(), missing.clone());
            s.more.insert(SERVER.into(), missing);
        },
        "--authorization-server",
    );
}

/// A framework may answer 404 with JSON: the body counts for nothing.
#[test]
fn a_json_object_with_a_404_is_no_resource_metadata() {
    let mut server = SetUp::good();
    let origin = server.origin.clone();
    let missing =
        json!({ "detail": "Not Found", "authorization_servers": ["https://other.example"] });
    for place in [RESOURCE, "/.well-known/oauth-protected-resource"] {
        let answer = (404, String::new(), missing.to_string());
        server.more.insert(place.into(), answer);
    }
    let (_, answer) = server.examined_with(&["--authorization-server", &origin]);
    assert!(
        !marks(&answer, "ok").contains(&"DISC-11".to_owned()),
        "{answer}"
    );
    let words = answer.to_string();
    assert!(words.contains("the MCP server names none"), "{answer}");
    assert!(!words.contains("other.example"), "{answer}");
}

/// The challenge names a URL where nothing is.
#[test]
fn a_challenge_that_names_a_missing_document_is_not_right() {
    let mut server = SetUp::good();
    let resource = (200, String::new(), server.resource.to_string());
    let elsewhere = format!("{}/elsewhere", server.origin);
    server.challenge.1 = format!("www-authenticate: Bearer resource_metadata=\"{elsewhere}\"\r\n");
    server.more.insert(RESOURCE.into(), resource);
    let (_, answer) = server.examined();
    assert!(
        marks(&answer, "warning").contains(&"RS-02".to_owned()),
        "{answer}"
    );
    assert!(
        answer.to_string().contains(&format!("names {elsewhere}")),
        "{answer}"
    );
}
