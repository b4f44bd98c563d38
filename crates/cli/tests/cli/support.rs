//! Processes, and a user who follows the printed URL.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;

/// The built-in servers, in another process.
pub(crate) struct Servers {
    process: Child,
    log: Arc<Mutex<Vec<String>>>,
    pub(crate) mcp: String,
    pub(crate) issuer: String,
}

impl Servers {
    pub(crate) fn start(more: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_mcp-auth"))
            .args(["demo", "--serve"])
            .args(more)
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .expect("the built-in servers start");
        let stdout = process.stdout.take().expect("its output is a pipe");
        let mut lines = BufReader::new(stdout);
        let mcp = value(&mut lines, "MCP server");
        let issuer = value(&mut lines, "authorization server");
        let log = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&log);
        // Reads on, so that the process never blocks on a full pipe.
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                to.lock().expect("the log").push(line);
            }
        });
        Self {
            process,
            log,
            mcp,
            issuer,
        }
    }

    /// Returns the results of a client's requests for a grant, in order: `granted`, or an error code.
    pub(crate) fn outcomes(&self, grant_type: &str, client_id: &str) -> Vec<String> {
        let asked = format!("token request  {grant_type} {client_id} ");
        let log = self.log.lock().expect("the log");
        log.iter()
            .filter_map(|line| line.strip_prefix(&asked).map(str::to_owned))
            .collect()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    let read = from.read_line(&mut line).expect("a line");
    assert_ne!(read, 0, "the process ended");
    line.trim().to_owned()
}

fn value(from: &mut impl BufRead, name: &str) -> String {
    let line = line(from);
    let found = line.strip_prefix(name);
    found
        .expect("the line that was announced")
        .trim()
        .to_owned()
}

/// A directory of accounts, and the command with it in an environment.
pub(crate) struct Desk(TempDir, Vec<(&'static str, String)>);

impl Desk {
    pub(crate) fn new() -> Self {
        Self::with(Vec::new())
    }

    /// With these environment variables.
    pub(crate) fn with(environment: Vec<(&'static str, String)>) -> Self {
        Self(tempfile::tempdir().expect("a directory"), environment)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-auth"));
        command
            .env("MCP_AUTH_STORE", self.path())
            .envs(self.1.iter().map(|(name, value)| (name, value)))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it runs")
    }

    /// Runs the command with this standard input.
    pub(crate) fn told(&self, arguments: &[&str], input: &str) -> Output {
        let mut process = self.command(arguments);
        let mut process = process.stdin(Stdio::piped()).spawn().expect("it runs");
        let mut stdin = process.stdin.take().expect("a pipe");
        stdin.write_all(input.as_bytes()).expect("it reads");
        drop(stdin);
        process.wait_with_output().expect("it ends")
    }

    /// Runs the command with `--json`; returns the status and the object.
    pub(crate) fn json(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let output = self.command(arguments).arg("--json").output();
        let output = output.expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let value = serde_json::from_str(&text).unwrap_or_else(|error| {
            let stderr = String::from_utf8_lossy(&output.stderr);
            panic!("one JSON object expected ({error}): {text:?}, {stderr}")
        });
        (output.status.code(), value)
    }

    /// Signs in without a browser: the printed URL is followed, and the built-in server's consent page
    /// approves automatically. `paste`: the callback is pasted instead of reaching the listener.
    pub(crate) fn sign_in(&self, arguments: &[&str], paste: bool) -> Output {
        let mut command = self.command(&["login", "--no-browser", "--timeout", "30"]);
        let mut process = command
            .args(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stderr = process.stderr.take().expect("its messages are a pipe");
        let mut messages = BufReader::new(stderr);
        let mut said = Vec::new();
        loop {
            let mut message = String::new();
            let read = messages.read_line(&mut message).expect("a message");
            if read == 0 {
                break;
            }
            said.extend_from_slice(message.as_bytes());
            let message = message.trim();
            if !message.starts_with("http://127.0.0.1") {
                continue;
            }
            let callback = follow(message, !paste);
            if paste {
                let mut stdin = process.stdin.take().expect("its input is a pipe");
                // A foreign callback first, which must be ignored.
                writeln!(stdin, "http://127.0.0.1/callback?code=x&state=y").expect("pasted");
                writeln!(stdin, "{callback}").expect("pasted");
            }
        }
        let mut output = process.wait_with_output().expect("it ends");
        output.stderr = said;
        output
    }
}

/// Follows the authorization URL; returns the browser's final address.
pub(crate) fn follow(url: &str, to_the_end: bool) -> String {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .max_redirects(0)
        .max_redirects_will_error(false)
        .build()
        .into();
    let answer = agent
        .get(url)
        .call()
        .expect("the authorization endpoint answers");
    let location = answer
        .headers()
        .get("location")
        .expect("it sends the user back");
    let location = location.to_str().expect("a URL").to_owned();
    if to_the_end {
        // The listener is gone if the command was killed meanwhile.
        let _answer = agent.get(&location).call();
    }
    location
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// Returns the options of a command, by its help.
fn options_of(command: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_mcp-auth"))
        .args([command, "--help"])
        .output();
    let help = text(&output.expect("it runs").stdout);
    let lines = help
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with('-'));
    let words = lines.flat_map(|line| line.split(|c: char| !c.is_ascii_lowercase() && c != '-'));
    let options = words.filter(|word| word.starts_with("--"));
    options.map(str::to_owned).collect()
}

/// Checks that each option in a message belongs to the command that is named before it, or to the command that says
/// it. Returns how many there are. An option begins a word: a code challenge in an address may contain `--y`.
pub(crate) fn check_options(running: &str, said: &str) -> usize {
    let mut seen = 0;
    for line in said.lines().filter(|line| !line.starts_with("http")) {
        let mut rest = line;
        let mut command = running.to_owned();
        loop {
            let (part, next) = rest.split_once("mcp-auth ").unwrap_or((rest, ""));
            for named in part.split(|c: char| c.is_whitespace() || "`'\"([|".contains(c)) {
                let end = named.find(|c: char| !c.is_ascii_lowercase() && c != '-');
                let named = named.get(..end.unwrap_or(named.len())).unwrap_or(named);
                if named.starts_with("--") && named.len() > 2 {
                    seen += 1;
                    let known = options_of(&command);
                    assert!(
                        known.iter().any(|one| one == named),
                        "{command} {named}: {line}"
                    );
                }
            }
            if next.is_empty() {
                break;
            }
            command = next
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned();
            rest = next;
        }
    }
    seen
}
