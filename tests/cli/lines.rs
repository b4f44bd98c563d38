//! drive, replay, and the attacks that are kept as transcripts.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Desk, text};

const NOW: u64 = 1_800_000_000_000;
/// The numbers from 1 to 48, in base64url.
const SEED: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8w";

/// A process of `drive`, and its store.
struct Drive {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    slots: BTreeMap<String, (Value, Value)>,
    now: u64,
}

fn config() -> Value {
    json!({
        "mcp_url": "https://mcp.example/mcp", "redirect_uri": "http://127.0.0.1:3000/callback",
        "principal": "alice",
    })
}

impl Drive {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_mcp-auth"))
            .arg("drive")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        Self {
            input: process.stdin.take().expect("a pipe"),
            output: BufReader::new(process.stdout.take().expect("a pipe")),
            process,
            slots: BTreeMap::new(),
            now: NOW,
        }
    }

    /// Configured, with an empty store and a refusal that made it ask for the user.
    fn refused(config: &Value) -> Self {
        let mut drive = Self::start();
        let first = drive.say(&json!({ "config": config }).to_string());
        let [load, idle] = first.as_slice() else {
            panic!("{first:?}");
        };
        assert_eq!(
            (&load["action"], &load["id"]),
            (&json!("load_slot"), &json!(1))
        );
        assert_eq!(idle, &json!({ "action": "idle", "deadline": null }));
        drive.event(json!({
            "event": "slot_loaded", "id": 1, "contents": null, "revision": null,
        }));
        let refused = drive.event(json!({
            "event": "challenged", "operation": "tools/list", "status": 401,
            "headers": [["www-authenticate", "Bearer"]], "sent": null,
        }));
        let last = drive.follow(refused, &BTreeMap::new());
        assert_eq!(last["why"], "no_credentials", "{last}");
        drive
    }

    /// One line in; the lines out.
    fn say(&mut self, line: &str) -> Vec<Value> {
        writeln!(self.input, "{line}").expect("it listens");
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            self.output.read_line(&mut line).expect("a line");
            let line: Value = serde_json::from_str(&line).expect("JSON");
            let last = line["action"] == "idle";
            lines.push(line);
            if last {
                return lines;
            }
        }
    }

    fn event(&mut self, mut event: Value) -> Vec<Value> {
        self.now += 10;
        event["now"] = self.now.into();
        self.say(&event.to_string())
    }

    /// Carries out what there is, until the user, the end or a failure.
    fn follow(&mut self, mut actions: Vec<Value>, answers: &BTreeMap<&str, Value>) -> Value {
        let mut last = Value::Null;
        while !actions.is_empty() {
            let action = actions.remove(0);
            let id = &action["id"];
            match action["action"].as_str().expect("a name") {
                "load_slot" => {
                    let slot = action["slot"].as_str().expect("a slot");
                    let (contents, revision) = self.slots.get(slot).cloned().unwrap_or_default();
                    actions.extend(self.event(json!({
                        "event": "slot_loaded", "id": id, "contents": contents, "revision": revision,
                    })));
                }
                "persist_slot" => {
                    let slot = action["slot"].as_str().expect("a slot").to_owned();
                    let write = (action["contents"].clone(), action["revision"].clone());
                    self.slots.insert(slot, write);
                    actions.extend(self.event(json!({
                        "event": "slot_persisted", "id": id, "outcome": "done",
                    })));
                }
                "send_request" => {
                    let url = action["url"].as_str().expect("a URL");
                    let body = answers.get(url).unwrap_or_else(|| panic!("{url}"));
                    actions.extend(self.event(json!({
                        "event": "http_response", "id": id, "status": 200,
                        "headers": [["content-type", "application/json"]],
                        "body": body.to_string(),
                    })));
                }
                "sign" => {
                    let signature = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4_QA";
                    actions.extend(self.event(json!({
                        "event": "signed", "id": id, "signature": signature,
                    })));
                }
                "redirect" | "need_user" | "ready" | "error" => last = action,
                "report" | "idle" => {}
                other => panic!("{other}: {action}"),
            }
        }
        last
    }

    /// From the user's consent to a token.
    fn sign_in(&mut self, answers: &BTreeMap<&str, Value>) -> Value {
        let actions = self.event(json!({ "event": "authorize", "seed": SEED }));
        let redirect = self.follow(actions, answers);
        let url = redirect["url"].as_str().expect("a URL");
        let state = url
            .split("state=")
            .nth(1)
            .and_then(|rest| rest.split('&').next());
        let query = format!("code=code-1&state={}", state.expect("state"));
        let actions = self.event(json!({ "event": "callback_params", "query": query }));
        self.follow(actions, answers)
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn servers() -> BTreeMap<&'static str, Value> {
    let resource = json!({
        "resource": "https://mcp.example/mcp", "authorization_servers": ["https://as.example"],
    });
    BTreeMap::from([
        (
            "https://mcp.example/.well-known/oauth-protected-resource/mcp",
            resource,
        ),
        (
            "https://as.example/.well-known/oauth-authorization-server",
            json!({
                "issuer": "https://as.example",
                "authorization_endpoint": "https://as.example/authorize",
                "token_endpoint": "https://as.example/token",
                "registration_endpoint": "https://as.example/register",
                "code_challenge_methods_supported": ["S256"],
                "dpop_signing_alg_values_supported": ["ES256"],
            }),
        ),
        ("https://as.example/register", json!({ "client_id": "c1" })),
        (
            "https://as.example/token",
            json!({ "access_token": "t1", "token_type": "Bearer", "expires_in": 3600 }),
        ),
    ])
}

#[test]
fn a_sign_in_over_the_pipe() {
    let mut drive = Drive::refused(&config());
    let ready = drive.sign_in(&servers());
    assert_eq!(ready["action"], "ready", "{ready}");
    assert_eq!(
        (&ready["scheme"], &ready["token"]),
        (&json!("Bearer"), &json!("t1"))
    );
    assert_eq!(ready["iss_binding"], "unverifiable");
    let url = "https://mcp.example/mcp";
    let lines = drive.event(json!({ "event": "present", "method": "POST", "url": url }));
    assert_eq!(
        lines[0],
        json!({ "action": "present", "authorization": "Bearer t1" })
    );
    let elsewhere = "https://attacker.example/mcp";
    let lines = drive.event(json!({ "event": "present", "method": "POST", "url": elsewhere }));
    assert_eq!(
        (&lines[0]["authorization"], &lines[0]["refused"]),
        (&Value::Null, &json!("outside_resource"))
    );

    // A restart: a new process on the same slots.
    let mut again = Drive::start();
    again.slots = std::mem::take(&mut drive.slots);
    let first = again.say(&json!({ "config": config() }).to_string());
    assert_eq!(again.follow(first, &BTreeMap::new())["token"], "t1");
    let wanted = again.event(json!({ "event": "wanted", "operation": "tools/list" }));
    assert_eq!(again.follow(wanted, &BTreeMap::new())["token"], "t1");
}

#[test]
fn a_token_bound_to_a_key_is_presented_with_what_the_host_signs() {
    let mut config = config();
    let key = json!({
        "name": "k1", "algorithms": ["ES256"],
        "public": { "kty": "EC", "crv": "P-256", "x": "eA", "y": "eQ" },
    });
    config["dpop"] = json!({ "policy": "require", "keys": [{ "issuer": null, "key": key }] });
    let said = Drive::start().say(&json!({ "config": config }).to_string());
    assert!(
        said[0]["message"]
            .as_str()
            .expect("words")
            .contains("`random`"),
        "{said:?}"
    );

    config["random"] = json!("AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA");
    let mut servers = servers();
    servers.insert(
        "https://as.example/token",
        json!({ "access_token": "t1", "token_type": "DPoP", "expires_in": 3600 }),
    );
    let presented = |_| {
        let mut drive = Drive::refused(&config);
        let ready = drive.sign_in(&servers);
        assert_eq!(
            (&ready["scheme"], &ready["token"]),
            (&json!("DPoP"), &Value::Null),
            "{ready}"
        );
        let url = "https://mcp.example/mcp";
        let mut present = || {
            let lines = drive.event(json!({ "event": "present", "method": "POST", "url": url }));
            lines[0].clone()
        };
        [present(), present()]
    };
    let [first, second] = presented(1);
    assert_eq!(first["authorization"], "DPoP t1");
    assert_eq!(
        (&first["proof"]["key"], &first["proof"]["algorithm"]),
        (&json!("k1"), &json!("ES256"))
    );
    assert_ne!(
        first["proof"]["input"], second["proof"]["input"],
        "each is for one request"
    );
    assert_eq!([first, second], presented(2), "a replay says the same");
}

#[test]
fn what_is_not_understood_changes_nothing() {
    let mut drive = Drive::start();
    let message = |lines: Vec<Value>| {
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[0]["action"], "protocol_error");
        lines[0]["message"].as_str().expect("words").to_owned()
    };
    let first = r#"{"now":1,"event":"timer"}"#;
    assert_eq!(
        message(drive.say(first)),
        "the first line is the configuration"
    );
    for (line, words) in [
        ("", "not JSON"),
        ("[]", "one JSON object"),
        (r#"{"config":{}}"#, "mcp_url"),
        (r#"{"config":{},"more":1}"#, "`more`"),
        (r#"{"config":1}"#, "must be an object"),
        (
            r#"{"config":{"mcp_url":"https://a.example","redirect_uri":"http://127.0.0.1/c","principal":"p","colour":1}}"#,
            "`colour`",
        ),
        (
            r#"{"config":{"mcp_url":"http://a.example","redirect_uri":"http://127.0.0.1/c","principal":"p"}}"#,
            "the MCP URL",
        ),
        (
            r#"{"config":{"mcp_url":"https://a.example","redirect_uri":"http://127.0.0.1/c","principal":"p","issuer":"https://b.example","resource_metadata_url":"https://c.example"}}"#,
            "at most one",
        ),
    ] {
        let said = message(drive.say(line));
        assert!(said.contains(words), "{line}: {said}");
    }

    let mut drive = Drive::refused(&config());
    let idle = drive.event(json!({ "event": "timer" }));
    for (event, words) in [
        (json!({ "config": config() }), "given already"),
        (json!({ "event": "sing" }), "`sing`"),
        (json!({ "event": 1 }), "must be a text"),
        (json!({ "event": "timer", "x": 1 }), "`x`"),
        (json!({ "event": "authorize", "seed": "AAAA" }), "48 bytes"),
        (
            json!({ "event": "authorize", "seed": "A".repeat(64) }),
            "random",
        ),
        (
            json!({ "event": "http_response", "id": 1, "status": 99 }),
            "`status`",
        ),
        (
            json!({ "event": "http_response", "id": 1, "status": 200, "body": "", "body_base64": "" }),
            "not both",
        ),
        (
            json!({ "event": "http_response", "id": 1, "status": 200, "headers": [["a b", ""]] }),
            "`a b`",
        ),
        (
            json!({ "event": "http_failed", "id": 1, "failure": "lost" }),
            "`lost`",
        ),
        (
            json!({ "event": "slot_loaded", "id": 1, "contents": "x" }),
            "belong together",
        ),
        (
            json!({ "event": "slot_loaded", "id": 1, "contents": "x", "revision": "y" }),
            "`revision`",
        ),
        (
            json!({ "event": "slot_persisted", "id": 1, "outcome": "done", "contents": "x", "revision": "AAAAAAAAAAAAAAAAAAAAAA" }),
            "a conflict alone",
        ),
        (json!({ "event": "callback_params" }), "one of `url`"),
        (
            json!({ "event": "callback_params", "url": "x", "query": "y" }),
            "one of `url`",
        ),
    ] {
        let said = message(drive.event(event.clone()));
        assert!(said.contains(words), "{event}: {said}");
    }
    let twice = r#"{"now":1800000000000,"now":1,"event":"timer"}"#;
    assert!(message(drive.say(twice)).contains("twice"));
    assert!(message(drive.say(r#"{"event":"timer"}"#)).contains("`now`"));
    assert_eq!(drive.event(json!({ "event": "timer" })), idle);
    assert_eq!(drive.sign_in(&servers())["action"], "ready");
}

#[test]
fn an_answer_that_nobody_waits_for_changes_nothing() {
    let mut drive = Drive::refused(&config());
    let asked = drive.event(json!({ "event": "authorize", "seed": SEED }));
    let load = asked.iter().find(|line| line["action"] == "load_slot");
    let id = load.expect("a slot is wanted")["id"].clone();
    let idle = asked.last().expect("a line").clone();
    let found = json!({ "contents": null, "revision": null });
    for (event, id, more) in [
        // Unknown, stale, and of another kind.
        ("slot_loaded", json!(99), &found),
        ("slot_loaded", json!(1), &found),
        ("http_response", id.clone(), &json!({ "status": 404 })),
        ("http_failed", id.clone(), &json!({ "failure": "blocked" })),
        ("slot_persisted", id.clone(), &json!({ "outcome": "done" })),
        ("signed", id.clone(), &json!({ "signature": "AAAA" })),
        (
            "assertion_obtained",
            id.clone(),
            &json!({ "assertion": null }),
        ),
    ] {
        let mut line = more.clone();
        line["event"] = event.into();
        line["id"] = id;
        assert_eq!(drive.event(line.clone()), [idle.clone()], "{line}");
    }
    let answer = json!({ "event": "slot_loaded", "id": id, "contents": null });
    assert!(drive.event(answer.clone()).len() > 1);
    assert_eq!(drive.event(answer).len(), 1, "an answer counts once");
}

#[test]
fn the_clocks_can_be_apart() {
    let mut drive = Drive::start();
    let first = json!({ "config": config(), "now": NOW, "mono": 5_000 });
    let said = drive.say(&first.to_string());
    assert_eq!(said.last().expect("a line")["deadline"], 35_000);
    let early = json!({ "now": NOW + 90_000, "mono": 34_999, "event": "timer" });
    assert_eq!(drive.say(&early.to_string()).len(), 1);
    let due = json!({ "now": NOW, "mono": 35_000, "event": "timer" });
    assert_eq!(drive.say(&due.to_string())[0]["cause"], "not_persisted");
}

/// The files of the attacks.
fn attacks() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks");
    let files = fs::read_dir(folder).expect("the folder of the attacks");
    let mut found: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    found.sort();
    found
}

#[test]
fn every_attack_that_is_kept_ends_as_it_did() {
    let desk = Desk::new();
    let threats = include_str!("../../docs/threats.md");
    let files = attacks();
    assert!(files.len() >= 8);
    for file in files {
        let name = file.file_stem().expect("a name").to_string_lossy();
        let (id, _) = name.split_once('_').expect("an identifier");
        assert!(threats.contains(&format!("\n| {id} |")), "{name}");
        let output = desk.run(&["replay", file.to_str().expect("a path")]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let kept = fs::read_to_string(&file).expect("a file");
        assert!(!kept.contains("protocol_error"), "{name}");
    }
}

#[test]
fn a_difference_is_found_and_named() {
    let desk = Desk::new();
    let file = desk.path().join("changed.jsonl");
    let path = file.to_str().expect("a path");
    let kept = fs::read_to_string(&attacks()[0]).expect("a file");
    let lines: Vec<&str> = kept.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.contains(r#""action":"error""#));
    let at = at.expect("an error");

    let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    changed[at] = changed[at].replace("resource_mismatch", "no_resource");
    fs::write(&file, changed.join("\n")).expect("written");
    let output = desk.run(&["replay", path]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    let place = format!("line {} differs", at + 1);
    for words in [
        place.as_str(),
        "no_resource",
        "resource_mismatch",
        "in cause",
    ] {
        assert!(said.contains(words), "{words} in {said}");
    }
    let (status, answer) = desk.json(&["replay", path]);
    assert_eq!(
        (status, &answer["same"], &answer["line"]),
        (Some(1), &json!(false), &json!(at + 1))
    );
    assert_eq!(answer["got"]["cause"], "resource_mismatch");

    // A line out that is missing, and one too many.
    let mut fewer = lines.clone();
    fewer.remove(at);
    fs::write(&file, fewer.join("\n")).expect("written");
    let (_, answer) = desk.json(&["replay", path]);
    assert_eq!(
        (&answer["line"], &answer["got"]["action"]),
        (&json!(at + 1), &json!("error"))
    );
    let last = lines.last().expect("a line");
    fs::write(&file, [kept.as_str(), last].concat()).expect("written");
    let (_, answer) = desk.json(&["replay", path]);
    assert_eq!(
        (&answer["line"], &answer["got"]),
        (&json!(lines.len() + 1), &Value::Null)
    );

    fs::write(&file, "{\"action\":\"idle\"}\nnonsense\n").expect("written");
    let output = desk.run(&["replay", path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("line 2: not JSON"));
}

#[test]
fn a_file_of_lines_in_makes_a_transcript() {
    let desk = Desk::new();
    let file = desk.path().join("in.jsonl");
    let path = file.to_str().expect("a path");
    let kept = fs::read_to_string(&attacks()[0]).expect("a file");
    let ins: Vec<&str> = kept
        .lines()
        .filter(|line| !line.contains(r#""action""#))
        .collect();
    fs::write(&file, ins.join("\n")).expect("written");
    let output = desk.run(&["replay", path]);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), kept.trim());
    let (_, answer) = desk.json(&["replay", path]);
    let lines = answer["transcript"].as_array().expect("lines").len();
    assert_eq!(lines, kept.lines().count());
}
