//! The clients of the TypeScript and the Python SDK, through the bridge and directly, at servers of both SDKs
//! and at the built-in one: the results are the same. `.ci/run-python.sh` runs these tests.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::scope;

use serde_json::{Value, json};

use crate::python::{HERE, Process, Server, variable};
use crate::support::{Desk, agent, said};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mcp-auth");

/// A client of one SDK.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Client {
    TypeScript,
    /// A generation of the packages.
    Python(&'static str),
    /// That of the Python SDK 2 at revision 2026-07-28.
    Modern,
}

impl Client {
    fn command(self) -> Command {
        let (program, script) = match self {
            Self::TypeScript => (
                "MCP_AUTH_TEST_NODE".to_owned(),
                variable("MCP_AUTH_TEST_SUITE"),
            ),
            Self::Python(generation) => (
                format!("MCP_AUTH_TEST_PYTHON_{generation}"),
                format!("{HERE}/client.py"),
            ),
            Self::Modern => (
                "MCP_AUTH_TEST_PYTHON_2".to_owned(),
                format!("{HERE}/modern.py"),
            ),
        };
        let mut command = Command::new(variable(&program));
        command.arg(script).stdin(Stdio::null());
        command
    }

    fn run(self, desk: &Desk, arguments: &[&str]) -> Value {
        let mut command = self.command();
        command
            .args(arguments)
            .env("MCP_AUTH_STORE", desk.file("accounts"))
            .env("BROWSER", format!("{HERE}/browser.py"));
        let output = command.output().expect("it runs");
        assert!(
            output.status.success(),
            "{self:?} {arguments:?}: {}",
            said(&output)
        );
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Through a bridge, which has the user sign in where that is needed.
    pub(crate) fn bridged(self, desk: &Desk, more: &[&str]) -> Value {
        self.run(
            desk,
            &[&["bridge", desk.url.as_str(), PROGRAM], more].concat(),
        )
    }

    /// Directly, with the token of the account.
    pub(crate) fn direct(self, desk: &Desk) -> Value {
        let bearer = format!("Bearer {}", desk.token());
        self.run(desk, &["direct", &desk.url, &bearer])
    }
}

/// Returns what a client saw without the calls that only a user can permit, and those after a wait.
fn without_user(mut seen: Value) -> Value {
    let members = seen.as_object_mut().expect("an object");
    members.remove("write");
    members.remove("later");
    seen
}

/// A server of the TypeScript SDK with its own authorization server.
struct TypeScript {
    _process: Process,
    url: String,
}

impl TypeScript {
    fn start(seconds: &str) -> Self {
        let process = Command::new(variable("MCP_AUTH_TEST_NODE"))
            .arg(variable("MCP_AUTH_TEST_SERVER"))
            .args(["--token-seconds", seconds])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let (process, url) = announced(Process(process.expect("the server starts")));
        Self {
            _process: process,
            url,
        }
    }

    fn count(&self, name: &str) -> u64 {
        let counts = self.url.replace("/mcp", "/counts");
        let mut answer = agent().get(&counts).call().expect("the counts");
        let text = answer.body_mut().read_to_string().expect("text");
        let counts: Value = serde_json::from_str(&text).expect("JSON");
        counts[name].as_u64().unwrap_or(0)
    }
}

/// Returns the URL that a server prints; its further output is dropped.
fn announced(mut process: Process) -> (Process, String) {
    let output = BufReader::new(process.0.stdout.take().expect("its output is a pipe"));
    let mut lines = output.lines().map_while(Result::ok);
    let url = lines.find_map(|line| line.strip_prefix("MCP server").map(str::to_owned));
    let url = url.expect("its URL").trim().to_owned();
    std::thread::spawn(move || lines.for_each(drop));
    (process, url)
}

fn desk_at(url: String) -> Desk {
    Desk::at(url, format!("{HERE}/browser.py"))
}

/// Sign-in, tools, progress, requests of the server, a cut stream, step-up.
#[test]
#[ignore = "needs npm and PyPI; .ci/run does"]
fn python_and_typescript_clients_at_a_typescript_server() {
    let server = TypeScript::start("900");
    let desk = desk_at(server.url.clone());
    let client = Client::TypeScript;
    let seen = client.bridged(&desk, &[]);
    let expected = json!({
        "server": "notes", "tools": ["ask", "count", "cut", "echo", "wait", "write"],
        "each_its_own": true, "large": true, "unknown": "answered",
        "count": { "text": "counted", "steps": [1, 2, 3] },
        "cut": { "text": "whole", "steps": [1, 2, 3] },
        "ask": { "text": "accept Ada pong", "steps": [] },
        "wait": "cancelled", "after": "after",
        "write": "written",
    });
    assert_eq!(seen, expected);
    assert_eq!(server.count("resumed"), 1);
    assert_eq!(server.count("POST /register 201"), 1);
    let sign_ins = "POST /token authorization_code 200";
    assert_eq!(server.count(sign_ins), 2, "the sign-in, and one step-up");
    assert_eq!(without_user(seen), client.direct(&desk));
    let seen = ["1", "2"].map(|generation| Client::Python(generation).bridged(&desk, &[]));
    for seen in &seen {
        assert_eq!(
            seen["cut"],
            json!({ "text": "whole", "steps": [1.0, 2.0, 3.0] })
        );
    }
    // Directly, the client of SDK 2 may end at the empty message with which this server opens a stream for resumption.
    let [seen, _] = seen;
    assert_eq!(seen, Client::Python("1").direct(&desk));
    assert_eq!(server.count(sign_ins), 2, "one account for all");
}

/// The token expires while two bridges run: they share a refresh, and none sends a refresh token that is spent.
#[test]
#[ignore = "needs npm and PyPI; .ci/run does"]
fn two_bridges_of_python_and_typescript_tests_share_a_refresh() {
    let server = TypeScript::start("15");
    let desk = desk_at(server.url.clone());
    let client = Client::TypeScript;
    client.bridged(&desk, &[]);
    let (one, two) = scope(|threads| {
        let run = || client.bridged(&desk, &["--wait", "16"]);
        let (one, two) = (threads.spawn(run), threads.spawn(run));
        (one.join().expect("one"), two.join().expect("two"))
    });
    assert_eq!(one, two);
    assert_eq!(one["later"], "later", "{one}");
    assert!(server.count("POST /token refresh_token 200") > 0);
    assert_eq!(server.count("POST /token refresh_token 400"), 0);
    let sign_ins = "POST /token authorization_code 200";
    assert_eq!(server.count(sign_ins), 2, "the account keeps its scopes");
}

/// Servers of the Python SDK with their own authorization server.
#[test]
#[ignore = "needs npm and PyPI; .ci/run does"]
fn typescript_clients_at_python_servers() {
    for generation in ["1", "2"] {
        let server = Server::start(generation, "sdk", "900");
        let desk = desk_at(server.url());
        let client = Client::TypeScript;
        let seen = client.bridged(&desk, &[]);
        assert_eq!(seen["cut"], json!({ "text": "whole", "steps": [1, 2, 3] }));
        assert_eq!(seen["ask"]["text"], "accept Ada");
        assert_eq!(
            (&seen["wait"], &seen["after"]),
            (&json!("cancelled"), &json!("after"))
        );
        assert_eq!(server.count("resumed"), 1);
        assert_eq!(seen, client.direct(&desk));
        let (one, two) = scope(|threads| {
            let one = threads.spawn(|| client.bridged(&desk, &[]));
            let two = threads.spawn(|| client.bridged(&desk, &[]));
            (one.join().expect("one"), two.join().expect("two"))
        });
        // The names of streams are those of requests in this SDK: the store of events mixes two sessions up.
        let without_cut = |mut seen: Value| {
            seen.as_object_mut().expect("an object").remove("cut");
            seen
        };
        let seen = without_cut(seen);
        assert_eq!((&without_cut(one), &without_cut(two)), (&seen, &seen));
        assert_eq!(server.count("POST /register 201"), 1, "one sign-in for all");
    }
}

/// Revision 2026-07-28 through the bridge and directly: no session, progress on the stream of the answer, and a call that
/// the end of its stream cancels.
#[test]
#[ignore = "needs npm and PyPI; .ci/run does"]
fn a_python_client_of_2026_07_28_at_a_python_server() {
    let server = Server::start("2", "sdk", "900");
    let desk = desk_at(server.url());
    let seen = Client::Modern.bridged(&desk, &[]);
    let expected = json!({
        "revision": "2026-07-28", "tools": ["ask", "count", "cut", "echo", "wait"],
        "count": { "text": "counted", "steps": [1.0, 2.0, 3.0] },
        "each_its_own": true, "wait": "cancelled", "later": "later",
    });
    assert_eq!(seen, expected);
    assert_eq!(server.count("POST /register 201"), 1, "one sign-in");
    assert_eq!(server.count("DELETE /mcp 200"), 0, "no session");
    assert_eq!(seen, Client::Modern.direct(&desk));
}

/// The built-in server: its tool needs a further scope, and fifty calls at once lead to one step-up.
#[test]
#[ignore = "needs npm and PyPI; .ci/run does"]
fn python_and_typescript_clients_at_the_built_in_server() {
    for client in [Client::TypeScript, Client::Python("1"), Client::Python("2")] {
        let process = Command::new(Path::new(PROGRAM))
            .args(["demo", "--serve"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let (_process, url) = announced(Process(process.expect("the server starts")));
        let desk = desk_at(url);
        let seen = client.bridged(&desk, &[]);
        assert_eq!(seen["tools"], json!(["echo"]), "{client:?}");
        assert_eq!(
            (&seen["each_its_own"], &seen["large"]),
            (&json!(true), &json!(true))
        );
        assert_eq!(seen, client.direct(&desk));
    }
}
