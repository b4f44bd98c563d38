//! The provider, the MCP server, the user's browser and the command, as processes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::TempDir;

/// `tests/npm/provider.mjs` in another process.
pub(crate) struct Provider {
    process: Child,
    /// Kept open, so that the process can write.
    _output: BufReader<ChildStdout>,
    pub(crate) issuer: String,
    pub(crate) mcp: String,
    counts: String,
    inspector: (String, String),
    pub(crate) secret: String,
}

impl Provider {
    pub(crate) fn start(options: &[&str]) -> Self {
        let variable = |name| {
            std::env::var(name).unwrap_or_else(|_| panic!("{name}: run .ci/run-provider.sh"))
        };
        let mut process = Command::new(variable("MCP_AUTH_TEST_NODE"))
            .arg(variable("MCP_AUTH_TEST_PROVIDER"))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the provider starts");
        let mut output = BufReader::new(process.stdout.take().expect("its output is a pipe"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        let urls: Value = serde_json::from_str(&line).expect("its URLs");
        let member = |at| urls.pointer(at).and_then(Value::as_str).expect("text");
        Self {
            issuer: member("/issuer").to_owned(),
            mcp: member("/mcp").to_owned(),
            counts: member("/counts").to_owned(),
            secret: member("/secret").to_owned(),
            inspector: (
                member("/inspector/id").to_owned(),
                member("/inspector/secret").to_owned(),
            ),
            process,
            _output: output,
        }
    }

    /// Returns how many requests of this type were granted, `refused` or `revoked`.
    pub(crate) fn granted(&self, grant_type: &str) -> u64 {
        self.count(&format!("/granted/{grant_type}"))
    }

    pub(crate) fn refused(&self, grant_type: &str) -> u64 {
        self.count(&format!("/refused/{grant_type}"))
    }

    pub(crate) fn revoked(&self) -> u64 {
        self.count("/revoked")
    }

    fn count(&self, at: &str) -> u64 {
        let mut answer = agent().get(&self.counts).call().expect("the counts");
        let counts = answer.body_mut().read_to_string().expect("text");
        let counts: Value = serde_json::from_str(&counts).expect("JSON");
        counts.pointer(at).and_then(Value::as_u64).unwrap_or(0)
    }

    /// The client that may ask about tokens, and its secret.
    pub(crate) fn inspector(&self) -> (&str, &str) {
        (&self.inspector.0, &self.inspector.1)
    }

    /// A token of the client `secret` that acts for itself.
    pub(crate) fn service_token(&self, resource: &str, scope: &str) -> String {
        let answer = agent()
            .post(format!("{}/token", self.issuer))
            .header("authorization", &basic("secret", &self.secret))
            .send_form([
                ("grant_type", "client_credentials"),
                ("resource", resource),
                ("scope", scope),
            ]);
        let text = answer.expect("an answer").body_mut().read_to_string();
        let answer: Value = serde_json::from_str(&text.expect("text")).expect("JSON");
        let token = answer["access_token"].as_str();
        token.unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Returns the provider's introspection result for a token.
    pub(crate) fn is_active(&self, token: &str) -> bool {
        let answer = agent()
            .post(format!("{}/token/introspection", self.issuer))
            .header(
                "authorization",
                &basic(&self.inspector.0, &self.inspector.1),
            )
            .send_form([("token", token)]);
        let text = answer.expect("an answer").body_mut().read_to_string();
        let answer: Value = serde_json::from_str(&text.expect("text")).expect("JSON");
        answer["active"].as_bool().expect("active or not")
    }

    /// Returns the error of a refresh with this token, as any client could send it.
    pub(crate) fn refresh(&self, account: &Value) -> Value {
        let token = account["tokens"]["refresh"].as_str().expect("a token");
        let client = account["client"]["id"].as_str().expect("a client");
        let answer = agent().post(format!("{}/token", self.issuer)).send_form([
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("client_id", client),
            ("resource", &self.mcp),
        ]);
        let text = answer.expect("an answer").body_mut().read_to_string();
        serde_json::from_str::<Value>(&text.expect("text")).expect("JSON")["error"].clone()
    }

    /// Calls a tool with a token; returns the status.
    pub(crate) fn call(&self, token: &str, tool: &str) -> u16 {
        self.call_with(&format!("authorization: Bearer {token}"), tool)
    }

    /// Calls a tool with the lines of `token --header`; returns the status.
    pub(crate) fn call_with(&self, headers: &str, tool: &str) -> u16 {
        call_with(&self.mcp, headers, tool)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// Calls a tool of an MCP server with these headers; the status.
pub(crate) fn call_with(url: &str, headers: &str, tool: &str) -> u16 {
    let message = serde_json::json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool },
    });
    let mut request = agent().post(url);
    request = request.header("content-type", "application/json");
    for line in headers.lines() {
        let (name, value) = line.split_once(": ").expect("a header");
        request = request.header(name, value);
    }
    let answer = request.send(message.to_string());
    answer.expect("an answer").status().as_u16()
}

/// The field of a client with a secret.
fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into()
}

/// A directory of accounts, the command with it, and a browser.
pub(crate) struct Desk {
    directory: TempDir,
    pub(crate) url: String,
    browser: String,
}

pub(crate) const BROWSER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/provider/browser.sh");

impl Desk {
    pub(crate) fn new(provider: &Provider) -> Self {
        Self::at(provider.mcp.clone(), BROWSER.to_owned())
    }

    pub(crate) fn at(url: String, browser: String) -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            url,
            browser,
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `mcp-auth COMMAND URL`
    pub(crate) fn command(&self, name: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-auth"));
        command
            .env("MCP_AUTH_STORE", self.file("accounts"))
            .env("BROWSER", &self.browser)
            .env("COOKIES", self.file("cookies"))
            .env("PAGE", self.file("page"))
            .args([name, &self.url])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, name: &str, more: &[&str]) -> Output {
        self.command(name, more).output().expect("it runs")
    }

    /// Runs the command with `--json`; returns the status and the object.
    pub(crate) fn json(&self, name: &str, more: &[&str]) -> (Option<i32>, Value) {
        let output = self.command(name, more).arg("--json").output();
        let output = output.expect("it runs");
        let value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("JSON expected ({error}): {}", said(&output)));
        (output.status.code(), value)
    }

    /// Signs in with the browser, which must succeed.
    pub(crate) fn sign_in(&self, more: &[&str]) -> Value {
        let timeout = &["--timeout", "60"];
        let (status, answer) = self.json("login", &[more, timeout].concat());
        assert_eq!(status, Some(0), "{answer}");
        answer
    }

    pub(crate) fn token(&self) -> String {
        let output = self.run("token", &[]);
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Returns the headers of one request.
    pub(crate) fn headers(&self) -> String {
        let output = self.run("token", &["--header"]);
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Waits until the access token has expired.
    pub(crate) fn wait_until_over(&self) {
        while self.json("status", &[]).1["expires_in"] != 0 {
            sleep(Duration::from_millis(200));
        }
        sleep(Duration::from_secs(1));
    }

    /// Returns the stored record of the account.
    pub(crate) fn account(&self) -> Value {
        let text = only_file(&self.file("accounts/slots/account"));
        serde_json::from_str(&mcp_auth_testing::spelled_out(&text)).expect("JSON")
    }
}

fn only_file(directory: &Path) -> String {
    let mut files = fs::read_dir(directory).expect("a directory");
    let file = files.next().expect("a file").expect("an entry");
    assert!(files.next().is_none(), "one file only");
    fs::read_to_string(file.path()).expect("text")
}

pub(crate) fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
    format!("{}\n{}", text(&output.stdout), text(&output.stderr))
}
