//! A process of `drive`, and servers as a table of responses.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

pub(crate) const NOW: u64 = 1_800_000_000_000;
/// The numbers from 1 to 48, in base64url.
pub(crate) const SEED: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8w";

/// A process of `drive`, and its store.
pub(crate) struct Drive {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub(crate) slots: BTreeMap<String, (Value, Value)>,
    now: u64,
}

pub(crate) fn config() -> Value {
    json!({
        "mcp_url": "https://mcp.example/mcp", "redirect_uri": "http://127.0.0.1:3000/callback",
        "principal": "alice",
    })
}

impl Drive {
    pub(crate) fn start() -> Self {
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

    /// Starts with a configuration, an empty store, and a challenge that requires the user.
    pub(crate) fn refused(config: &Value) -> Self {
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

    /// Sends one input line; returns the output lines.
    pub(crate) fn say(&mut self, line: &str) -> Vec<Value> {
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

    pub(crate) fn event(&mut self, mut event: Value) -> Vec<Value> {
        self.now += 10;
        event["now"] = self.now.into();
        self.say(&event.to_string())
    }

    /// Performs the actions until the user is needed, or the attempt ends.
    pub(crate) fn follow(
        &mut self,
        mut actions: Vec<Value>,
        answers: &BTreeMap<&str, Value>,
    ) -> Value {
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
                "redirect" | "need_user" | "ready" | "error" | "obtain_assertion" => last = action,
                "report" | "idle" => {}
                other => panic!("{other}: {action}"),
            }
        }
        last
    }

    /// Signs in, from the user's consent to a token.
    pub(crate) fn sign_in(&mut self, answers: &BTreeMap<&str, Value>) -> Value {
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

pub(crate) fn servers() -> BTreeMap<&'static str, Value> {
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
