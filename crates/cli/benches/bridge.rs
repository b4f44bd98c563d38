//! The cost of the bridge: `cargo bench -p mcp-auth --bench bridge`. On loopback, with the built-in servers in
//! another process and a signed-in account:
//!
//! - the median of a call directly (one connection that is kept) and through the bridge, one call after the other;
//! - a thousand calls in flight, each with its own answer;
//! - the resident memory of the bridge after each ten thousand of a hundred thousand messages (Linux).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mcp-auth");
const CALLS: usize = 3_000;
const IN_FLIGHT: usize = 1_000;
const MESSAGES: usize = 100_000;
/// The calls in flight during the measurement of memory.
const WINDOW: usize = 64;

/// A process that is killed on drop.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false);
    config.build().into()
}

/// The built-in servers; the URL of the MCP server.
fn servers() -> (Process, String) {
    let mut process = Process(
        Command::new(PROGRAM)
            .args(["demo", "--serve"])
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
    let mut url = None;
    while let Some(Ok(line)) = lines.next() {
        if let Some(found) = line.strip_prefix("MCP server") {
            url = Some(found.trim().to_owned());
        } else if line.starts_with("serving") {
            break;
        }
    }
    std::thread::spawn(move || lines.for_each(drop));
    (process, url.expect("a URL"))
}

/// Signs in: the page of the built-in server agrees by itself.
fn sign_in(url: &str, store: &str) {
    let mut login = Command::new(PROGRAM)
        .args(["login", url, "--no-browser", "--store", store])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for line in BufReader::new(login.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.trim().starts_with("http://") {
            let answer = agent().get(line.trim()).call().unwrap();
            let back = answer.headers()["location"].to_str().unwrap().to_owned();
            let _page = agent().get(&back).call().unwrap();
        }
    }
    assert!(login.wait().unwrap().success());
}

fn call(id: usize) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list", "params": {} })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The calls of a client that speaks HTTP itself.
fn directly(url: &str, token: &str) -> Duration {
    let agent = agent();
    let mut times = Vec::new();
    for id in 0..CALLS {
        let begun = Instant::now();
        let request = agent
            .post(url)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        let mut answer = request.send(call(id).to_string()).unwrap();
        assert_eq!(answer.status(), 200);
        let text = answer.body_mut().read_to_string().unwrap();
        times.push(begun.elapsed());
        assert!(text.contains("echo"), "{text}");
    }
    median(times)
}

struct Bridge {
    _process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    id: u32,
}

impl Bridge {
    fn start(url: &str, store: &str) -> Self {
        let mut process = Command::new(PROGRAM)
            .args(["proxy", url, "--no-browser", "--store", store])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut bridge = Self {
            input: process.stdin.take().unwrap(),
            output: BufReader::new(process.stdout.take().unwrap()),
            id: process.id(),
            _process: Process(process),
        };
        let client = json!({ "name": "bench", "version": "1" });
        let params =
            json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client });
        bridge.say(
            &json!({ "jsonrpc": "2.0", "id": "first", "method": "initialize", "params": params }),
        );
        assert!(bridge.hear()["result"].is_object());
        bridge.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        bridge
    }

    fn say(&mut self, message: &Value) {
        writeln!(self.input, "{message}").unwrap();
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn one_by_one(&mut self) -> Duration {
        let mut times = Vec::new();
        for id in 0..CALLS {
            let message = call(id);
            let begun = Instant::now();
            self.say(&message);
            let mut line = String::new();
            self.output.read_line(&mut line).unwrap();
            times.push(begun.elapsed());
            assert!(line.contains("echo"), "{line}");
        }
        median(times)
    }

    /// Sends all, then receives all: each identifier once.
    fn at_once(&mut self) -> Duration {
        let begun = Instant::now();
        for id in 0..IN_FLIGHT {
            self.say(&call(id));
        }
        let mut seen = vec![false; IN_FLIGHT];
        for _ in 0..IN_FLIGHT {
            let answer = self.hear();
            assert!(answer["result"]["tools"].is_array(), "{answer}");
            let id = usize::try_from(answer["id"].as_u64().unwrap()).unwrap();
            assert!(!std::mem::replace(&mut seen[id], true), "{id} twice");
        }
        begun.elapsed()
    }

    /// The resident memory, in KiB.
    fn memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id)).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }

    fn many(&mut self) -> (Duration, Vec<u64>) {
        let begun = Instant::now();
        let mut memory = Vec::new();
        let (mut sent, mut received) = (0, 0);
        while received < MESSAGES {
            while sent < MESSAGES && sent - received < WINDOW {
                self.say(&call(sent));
                sent += 1;
            }
            let mut line = String::new();
            self.output.read_line(&mut line).unwrap();
            assert!(line.contains("echo"), "{line}");
            received += 1;
            if received % (MESSAGES / 10) == 0 {
                memory.extend(self.memory());
            }
        }
        (begun.elapsed(), memory)
    }
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().to_str().unwrap();
    let (_servers, url) = servers();
    sign_in(&url, store);
    let token = Command::new(PROGRAM)
        .args(["token", &url, "--store", store])
        .output()
        .unwrap();
    let token = String::from_utf8(token.stdout).unwrap();

    // In turn, and the better of two each: other work on the machine counts less.
    let direct = directly(&url, token.trim());
    let mut bridge = Bridge::start(&url, store);
    let bridged = bridge.one_by_one();
    let direct = direct.min(directly(&url, token.trim()));
    let bridged = bridged.min(bridge.one_by_one());
    println!("median of a call directly        {direct:?}");
    println!("median of a call through         {bridged:?}");
    println!(
        "added by the bridge              {:?}",
        bridged.saturating_sub(direct)
    );
    println!(
        "{IN_FLIGHT} calls in flight           {:?}",
        bridge.at_once()
    );
    let (time, memory) = bridge.many();
    println!("{MESSAGES} messages, {WINDOW} in flight   {time:?}");
    println!(
        "resident memory, each {}      {memory:?} KiB",
        MESSAGES / 10
    );
}
