//! The command against Python servers with their own authorization servers: the MCP SDK 1 and 2, FastMCP 2
//! and 4, in memory and as a proxy. Requires packages from PyPI and npm: `.ci/run-python.sh` installs them
//! and runs these tests.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::{scope, sleep};
use std::time::Duration;

use mcp_auth_testing::free_port;
use serde_json::{Value, json};

use crate::bridges::Client;
use crate::support::{Desk, agent, said};

pub(crate) const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python");

/// A process that is killed on drop.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name}: run .ci/run-python.sh"))
}

fn wait_for(url: &str) {
    for _ in 0..600 {
        if agent().get(url).call().is_ok() {
            return;
        }
        sleep(Duration::from_millis(100));
    }
    panic!("{url} does not answer");
}

/// `server.py` of one generation of packages.
pub(crate) struct Server {
    generation: &'static str,
    kind: &'static str,
    seconds: &'static str,
    port: u16,
    /// The provider behind a proxy, and its port.
    upstream: Option<(Process, u16)>,
    process: Process,
}

impl Server {
    pub(crate) fn start(
        generation: &'static str,
        kind: &'static str,
        seconds: &'static str,
    ) -> Self {
        let port = free_port().expect("a free port");
        let upstream = (kind == "proxy").then(|| {
            let port = free_port().expect("a free port");
            let process = Command::new(variable("MCP_AUTH_TEST_NODE"))
                .arg(variable("MCP_AUTH_TEST_UPSTREAM"))
                .args(["-a", "127.0.0.1", "-p", &port.to_string()])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn();
            let process = Process(process.expect("the upstream provider starts"));
            wait_for(&format!("http://127.0.0.1:{port}/jwks"));
            (process, port)
        });
        let upstream_port = upstream.as_ref().map(|(_, port)| *port);
        let process = Self::run(generation, kind, seconds, port, upstream_port);
        Self {
            generation,
            kind,
            seconds,
            port,
            upstream,
            process,
        }
    }

    fn run(generation: &str, kind: &str, seconds: &str, port: u16, up: Option<u16>) -> Process {
        let python = variable(&format!("MCP_AUTH_TEST_PYTHON_{generation}"));
        let mut command = Command::new(python);
        command
            .arg(format!("{HERE}/server.py"))
            .args([kind, &port.to_string(), "--token-seconds", seconds])
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        if let Some(up) = up {
            command.args(["--upstream", &format!("http://127.0.0.1:{up}")]);
        }
        let process = Process(command.spawn().expect("the server starts"));
        wait_for(&format!("http://127.0.0.1:{port}/counts"));
        process
    }

    /// Restarts the process, which then knows no client and no token.
    fn restart(&mut self) {
        let _gone = self.process.0.kill();
        let _reaped = self.process.0.wait();
        let up = self.upstream.as_ref().map(|(_, port)| *port);
        self.process = Self::run(self.generation, self.kind, self.seconds, self.port, up);
    }

    /// Waits until the token expires. The proxy chooses the lifetime of its tokens, so its token is
    /// reported as refused.
    fn expire(&self, desk: &Desk) {
        if self.kind == "proxy" {
            let (status, answer) = desk.json("token", &["--refused"]);
            assert_eq!(status, Some(0), "{answer}");
        } else {
            desk.wait_until_over();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    /// Returns the scopes of a first sign-in, and an additional one.
    fn scopes(&self) -> (&'static str, &'static str) {
        match self.kind {
            "proxy" => ("dummy", "extra"),
            _ => ("read", "write"),
        }
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        let counts = format!("http://127.0.0.1:{}/counts", self.port);
        let mut answer = agent().get(&counts).call().expect("the counts");
        let text = answer.body_mut().read_to_string().expect("text");
        let counts: Value = serde_json::from_str(&text).expect("JSON");
        counts[name].as_u64().unwrap_or(0)
    }

    /// Returns the MCP server's status for a request with this token.
    fn initialize(&self, token: &str) -> u16 {
        let message = json!({
            "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
                "protocolVersion": "2025-06-18", "capabilities": {},
                "clientInfo": { "name": "test", "version": "1" },
            },
        });
        let request = agent()
            .post(self.url())
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        let answer = request.send(message.to_string());
        answer.expect("an answer").status().as_u16()
    }
}

fn desk(server: &Server) -> Desk {
    Desk::at(server.url(), format!("{HERE}/browser.py"))
}

fn denied(desk: &Desk) -> Output {
    let mut command = desk.command("login", &["--timeout", "60"]);
    command.env("PRESS", "deny");
    command.output().expect("it runs")
}

/// The life of an account, from `doctor` to a server that forgot its clients.
fn whole_life(mut server: Server) {
    let desk = desk(&server);
    let (first, more) = server.scopes();

    let (status, answer) = desk.json("doctor", &[]);
    assert_eq!(status, Some(0), "{answer}");

    // Only a consent page can be declined: the provider in memory has none.
    if server.kind != "memory" {
        let output = denied(&desk);
        assert_ne!(output.status.code(), Some(0), "{}", said(&output));
        assert_eq!(desk.json("token", &[]).0, Some(3));
    }

    let answer = desk.sign_in(&[]);
    assert!(answer["scopes"].to_string().contains(first), "{answer}");
    let token = desk.token();
    assert_eq!(server.initialize(&token), 200);
    assert_eq!(server.count("POST /register 201"), 1, "one registration");

    // Ten processes after expiry: one refresh, one new token.
    server.expire(&desk);
    let before = server.count("POST /token refresh_token 200");
    let refreshed = u64::from(server.kind != "proxy");
    let tokens: Vec<String> = scope(|threads| {
        let running: Vec<_> = (0..10).map(|_| threads.spawn(|| desk.token())).collect();
        let ended = running.into_iter().map(|thread| thread.join());
        ended.map(|token| token.expect("a token")).collect()
    });
    assert!(tokens.iter().all(|other| *other == tokens[0]), "{tokens:?}");
    assert_ne!(tokens[0], token);
    assert_eq!(server.initialize(&tokens[0]), 200);
    assert_eq!(
        server.count("POST /token refresh_token 200"),
        before + refreshed
    );

    // More scopes for the same account.
    let wanted = format!("{first} {more}");
    let answer = desk.sign_in(&["--scope", &wanted]);
    let granted = answer["scopes"].to_string();
    // The proxy grants the scopes that its upstream grants.
    if server.kind != "proxy" {
        assert!(
            granted.contains(first) && granted.contains(more),
            "{answer}"
        );
    }
    assert_eq!(server.initialize(&desk.token()), 200);

    // After sign-out, the token is invalid at the server too.
    let last = desk.token();
    let (status, answer) = desk.json("logout", &[]);
    assert_eq!(status, Some(0), "{answer}");
    // A proxy at most revokes at its upstream, and its own tokens stay valid.
    if server.kind != "proxy" {
        assert!(server.count("POST /revoke 200") >= 1, "{answer}");
        assert_eq!(server.initialize(&last), 401);
    }
    assert_eq!(desk.json("token", &[]).0, Some(3));

    desk.sign_in(&[]);
    assert_eq!(server.initialize(&desk.token()), 200);

    // The server has forgotten everything: a new sign-in works, regardless of the stored account.
    server.restart();
    desk.sign_in(&[]);
    assert_eq!(server.initialize(&desk.token()), 200);
    server.restart();
    let renewed = match server.kind {
        "proxy" => desk.json("token", &["--refused"]),
        _ => {
            desk.wait_until_over();
            desk.json("token", &[])
        }
    };
    assert_eq!(renewed.0, Some(3), "the user is needed: {}", renewed.1);
    desk.sign_in(&[]);
    assert_eq!(server.initialize(&desk.token()), 200);
}

/// The SDK's client of the same packages, through the proxy: the first message has the user sign in.
fn bridged(server: Server) {
    let desk = desk(&server);
    let client = Client::Python(server.generation);
    let steps = json!([1.0, 2.0, 3.0]);
    let mut expected = json!({
        "server": "notes", "tools": ["count", "echo"], "each_its_own": true, "large": true,
        "count": { "text": "counted", "steps": steps },
    });
    if server.kind == "sdk" {
        expected["tools"] = json!(["ask", "count", "cut", "echo", "wait"]);
        expected["cut"] = json!({ "text": "whole", "steps": steps });
        expected["ask"] = json!({ "text": "accept Ada", "steps": [] });
    }
    for _ in 0..2 {
        assert_eq!(client.bridged(&desk, &[]), expected);
    }
    assert_eq!(
        server.count("POST /register 201"),
        1,
        "one sign-in for both"
    );
    assert_eq!(server.count("DELETE /mcp 200"), 2, "sessions are ended");
    if server.kind == "sdk" {
        assert_eq!(server.count("resumed"), 2);
    }
    assert_eq!(client.direct(&desk), expected);
    assert_eq!(desk.json("logout", &[]).0, Some(0));
}

/// The stored client is unknown to the server, which shows a page instead of redirecting.
fn error_page_instead_of_a_callback(mut server: Server) {
    let desk = desk(&server);
    let port = free_port().expect("a free port").to_string();
    desk.sign_in(&["--port", &port]);
    assert_eq!(desk.json("logout", &[]).0, Some(0));
    server.restart();
    let (status, answer) = desk.json("login", &["--port", &port, "--timeout", "5"]);
    if status != Some(0) {
        let (status, answer) = desk.json("login", &["--port", &port, "--timeout", "30"]);
        assert_eq!(status, Some(0), "the second sign-in recovers: {answer}");
    }
    let page = fs::read_to_string(desk.file("page")).unwrap_or_default();
    assert_eq!(server.initialize(&desk.token()), 200, "{answer} {page}");
}

macro_rules! servers {
    ($($name:ident, $generation:literal, $kind:literal;)*) => {
        $(
            mod $name {
                use super::{Server, bridged, error_page_instead_of_a_callback, whole_life};

                #[test]
                #[ignore = "needs PyPI; .ci/run does"]
                fn whole_life_of_an_account() {
                    whole_life(Server::start($generation, $kind, "4"));
                }

                #[test]
                #[ignore = "needs PyPI; .ci/run does"]
                fn a_client_goes_through_the_bridge() {
                    bridged(Server::start($generation, $kind, "900"));
                }

                #[test]
                #[ignore = "needs PyPI; .ci/run does"]
                fn a_forgotten_client_ends_at_an_error_page() {
                    error_page_instead_of_a_callback(Server::start($generation, $kind, "900"));
                }
            }
        )*
    };
}

servers! {
    sdk_1, "1", "sdk";
    sdk_2, "2", "sdk";
    fastmcp_2_in_memory, "1", "memory";
    fastmcp_4_in_memory, "2", "memory";
    fastmcp_2_proxy, "1", "proxy";
    fastmcp_4_proxy, "2", "proxy";
}

/// The clients of both generations of the MCP SDK against servers behind the layer: axum's of the demo, and
/// rmcp's. Each signs in, and steps up once for the tool that needs more.
#[test]
#[ignore = "needs Python; .ci/run does"]
fn python_clients_sign_in_to_servers_behind_the_layer() {
    let command = Path::new(env!("CARGO_BIN_EXE_mcp-auth"));
    let examples = command.with_file_name("examples");
    for (program, options) in [
        (command.to_owned(), &["demo", "--serve"][..]),
        (examples.join("protected_server"), &[]),
    ] {
        let process = Command::new(&program)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let mut process = Process(process.expect("the server starts"));
        let output = BufReader::new(process.0.stdout.take().expect("its output is a pipe"));
        let mut lines = output.lines().map(|line| line.expect("text"));
        let url = lines.find_map(|line| line.strip_prefix("MCP server").map(str::to_owned));
        let url = url.expect("its URL");
        let _ready = lines.find(|line| line.starts_with("serving"));
        for generation in ["1", "2"] {
            let output = Command::new(variable(&format!("MCP_AUTH_TEST_PYTHON_{generation}")))
                .arg(format!("{HERE}/oauth_client.py"))
                .arg(url.trim())
                .output()
                .expect("it runs");
            assert!(
                output.status.success(),
                "{program:?} {generation} {}",
                said(&output)
            );
            let seen: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            assert_eq!(seen["tools"], json!(["echo"]), "{seen}");
            assert_eq!(seen["texts"], json!(["a", "b"]), "{seen}");
            assert_eq!(seen["first"].as_array().map(Vec::len), Some(1), "{seen}");
            let asked = seen["asked"].as_array().expect("scopes");
            assert_eq!(asked.len(), 2, "one step-up: {seen}");
            let last = asked[1].as_str().expect("scopes");
            assert!(last.split(' ').any(|scope| scope == "mcp:echo"), "{seen}");
        }
    }
}
