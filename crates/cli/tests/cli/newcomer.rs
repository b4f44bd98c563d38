//! From nothing to a tool call in each client's configuration: two commands, then what the client does with its
//! entry. docs/clients.md keeps the transcripts: `UPDATE_CLIENTS=1` writes them.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bridge::message;
use crate::fake::{Answer, Fake, Request, object};
use crate::support::{Desk, text};

/// The clients, and their files below the home directory or the project.
const CLIENTS: [(&str, &str); 8] = [
    ("claude-code", "project/.mcp.json"),
    ("codex", ".codex/config.toml"),
    (
        "claude-desktop",
        ".config/Claude/claude_desktop_config.json",
    ),
    ("cursor", ".cursor/mcp.json"),
    ("vscode", "project/.vscode/mcp.json"),
    ("zed", ".config/zed/settings.json"),
    ("gemini-cli", ".gemini/settings.json"),
    ("goose", ".config/goose/config.yaml"),
];

/// An MCP server with the tool `echo`.
fn echo(request: &Request, _: &str) -> Option<Answer> {
    if request.path != "/mcp" || request.authorization.is_none() {
        return None;
    }
    let asked = message(request);
    let result = match asked["method"].as_str() {
        Some("initialize") => json!({
            "protocolVersion": "2025-06-18", "capabilities": { "tools": {} },
            "serverInfo": { "name": "notes", "version": "1" },
        }),
        Some("tools/call") => {
            json!({ "content": [{ "type": "text", "text": asked["params"]["arguments"]["text"] }] })
        }
        _ => return Some((202, String::new(), String::new())),
    };
    Some(object(
        200,
        &json!({ "jsonrpc": "2.0", "id": asked["id"], "result": result }),
    ))
}

fn call() -> Value {
    let params = json!({ "name": "echo", "arguments": { "text": "hello" } });
    json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params })
}

/// A client with an empty configuration.
struct Newcomer {
    home: TempDir,
    desk: Desk,
    url: String,
}

impl Newcomer {
    fn run(&self, command: &mut Command) -> String {
        let output = command
            .current_dir(self.home.path().join("project"))
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    fn at_home<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("HOME", self.home.path())
            .env_remove("MCP_AUTH_STORE")
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("CODEX_HOME")
    }

    /// As a header hook: a shell runs the command, and its output goes with the request.
    fn calls_with_headers(&self, hook: &str) -> String {
        let mut shell = Command::new("sh");
        let headers = self.run(self.at_home(shell.args(["-c", hook])));
        let headers: Value = serde_json::from_str(&headers).expect("JSON");
        let mut request = ureq::post(&self.url);
        for (name, value) in headers.as_object().expect("an object") {
            request = request.header(name, value.as_str().expect("text"));
        }
        let mut answer = request.send(call().to_string()).expect("an answer");
        let answer = answer.body_mut().read_to_string().expect("text");
        said(&serde_json::from_str(&answer).expect("JSON"))
    }

    /// As an MCP server on standard input and output.
    fn calls_the_bridge(&self, program: &str, arguments: &[String]) -> String {
        let mut command = Command::new(program);
        self.at_home(&mut command).args(arguments);
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut input = process.stdin.take().expect("a pipe");
        let mut output = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let mut ask = |message: Value| -> Value {
            writeln!(input, "{message}").expect("it reads");
            let line = output.next().expect("a line").expect("text");
            serde_json::from_str(&line).expect("JSON")
        };
        let params = json!({
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": { "name": "client", "version": "1" },
        });
        ask(json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params }));
        let answer = said(&ask(call()));
        drop(input);
        assert!(process.wait().expect("it ends").success());
        answer
    }
}

fn said(answer: &Value) -> String {
    let text = answer["result"]["content"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("a list");
    list.iter()
        .map(|text| text.as_str().expect("text").to_owned())
        .collect()
}

/// Uses the entry as the client does; returns how, in words, and the answer of the tool.
fn used(newcomer: &Newcomer, client: &str, file: &Path) -> (String, String) {
    let text = fs::read_to_string(file).expect("a configuration");
    let first = |value: &Value| value.as_object().expect("entries").values().next().cloned();
    let entry = match client {
        "codex" => {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("http_headers_helper = "));
            let hook: Value = serde_json::from_str(line.expect("a hook")).expect("a string");
            json!({ "headersHelper": hook })
        }
        "goose" => {
            let value = |name: &str| {
                let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
                serde_json::from_str::<Value>(line.expect("a member")).expect("JSON")
            };
            json!({ "command": value("cmd: "), "args": value("args: ") })
        }
        _ => {
            let whole: Value = serde_json::from_str(&text).expect("JSON");
            let section = first(&whole).expect("a section");
            first(&section).expect("an entry")
        }
    };
    match entry["headersHelper"].as_str() {
        Some(hook) => (
            format!("{client} runs `{hook}` and sends the headers with `tools/call`"),
            newcomer.calls_with_headers(hook),
        ),
        None => {
            let program = entry["command"].as_str().expect("a command");
            let arguments = texts(&entry["args"]);
            (
                format!(
                    "{client} starts `{program} {}` and calls the tool there",
                    arguments.join(" ")
                ),
                newcomer.calls_the_bridge(program, &arguments),
            )
        }
    }
}

/// The transcript of one client, with neutral names.
fn transcript(client: &str, file: &str) -> String {
    let fake = Fake::start();
    fake.state().hook = Some(Box::new(echo));
    let newcomer = Newcomer {
        home: tempfile::tempdir().expect("a home"),
        desk: Desk::new(),
        url: fake.url(),
    };
    fs::create_dir(newcomer.home.path().join("project")).expect("a project");
    // The store is at its usual place.
    let data = newcomer.home.path().join(".local/share");
    fs::create_dir_all(&data).expect("a directory");
    std::os::unix::fs::symlink(newcomer.desk.path(), data.join("mcp-auth")).expect("a link");
    let mut lines = Vec::new();

    let login = newcomer.desk.sign_in(&[&newcomer.url], false);
    assert!(login.status.success(), "{}", text(&login.stderr));
    lines.push(format!("$ mcp-auth login {}", newcomer.url));
    lines.push(text(&login.stdout));

    let mut setup =
        newcomer
            .desk
            .command(&["setup", client, &newcomer.url, "--name", "notes", "--write"]);
    lines.push(format!(
        "$ mcp-auth setup {client} {} --name notes --write",
        newcomer.url
    ));
    lines.push(newcomer.run(newcomer.at_home(&mut setup)));
    let path = newcomer.home.path().join(file);
    lines.push(format!("$ cat {}", path.display()));
    lines.push(
        fs::read_to_string(&path)
            .expect("the file")
            .trim_end()
            .to_owned(),
    );
    let (how, answer) = used(&newcomer, client, &path);
    assert_eq!(answer, "hello", "{client}");
    lines.push(format!("# {how}: {answer:?}"));

    let home = newcomer.home.path().display().to_string();
    let mut whole = lines.join("\n");
    for (from, to) in [
        (env!("CARGO_BIN_EXE_mcp-auth"), "/usr/local/bin/mcp-auth"),
        (fake.url().as_str(), "https://mcp.example/mcp"),
        (fake.issuer().as_str(), "https://mcp.example"),
        (&format!("{home}/project"), "."),
        (&home, "/home/me"),
        ("59 minutes", "60 minutes"),
    ] {
        whole = whole.replace(from, to);
    }
    whole
}

#[test]
fn two_commands_lead_from_nothing_to_a_tool_call_in_each_client() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = here.join("../../docs/clients.md");
    let Ok(written) = fs::read_to_string(&document) else {
        return; // A package has no documents.
    };
    let mut found = String::new();
    for (client, file) in CLIENTS {
        found.push_str(&format!(
            "\n### {client}\n\n```console\n{}\n```\n",
            transcript(client, file)
        ));
    }
    let (begin, end) = ("<!-- transcripts -->\n", "<!-- end of the transcripts -->");
    let (head, rest) = written
        .split_once(begin)
        .expect("the place of the transcripts");
    let (kept, tail) = rest.split_once(end).expect("the end of the transcripts");
    if std::env::var_os("UPDATE_CLIENTS").is_some() {
        fs::write(&document, format!("{head}{begin}{found}\n{end}{tail}")).expect("written");
    } else {
        assert_eq!(kept.trim(), found.trim(), "UPDATE_CLIENTS=1 writes them");
    }
}
