//! `proxy`: sign-ins, sessions, and its end.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fake::{Answer, Fake, Mode, Request, object};
use crate::support::{Desk, follow, text};
use crate::transactions::{files, is_registration, kill};

pub(crate) struct Bridge {
    pub(crate) process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Bridge {
    pub(crate) fn start(desk: &Desk, url: &str) -> Self {
        Self::start_with(desk, url, "http-only")
    }

    pub(crate) fn start_with(desk: &Desk, url: &str, transport: &str) -> Self {
        let mut command = desk.command(&["proxy", url, "--no-browser", "--transport", transport]);
        command.stdin(Stdio::piped()).stderr(Stdio::inherit());
        Self::of(command.spawn().expect("it starts"))
    }

    pub(crate) fn of(mut process: Child) -> Self {
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        Self {
            input: process.stdin.take(),
            process,
            output,
        }
    }

    pub(crate) fn say(&mut self, message: &Value) {
        let input = self.input.as_mut().expect("open");
        writeln!(input, "{message}").expect("it reads");
    }

    pub(crate) fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).expect("JSON")
    }

    pub(crate) fn ask(&mut self, method: &str, id: u32) -> Value {
        self.say(&json!({ "jsonrpc": "2.0", "id": id, "method": method }));
        let answer = self.hear();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// Closes the input, and waits for the end.
    pub(crate) fn end(mut self) -> Option<i32> {
        drop(self.input.take());
        self.process.wait().expect("it ends").code()
    }
}

/// The message of a request.
pub(crate) fn message(request: &Request) -> Value {
    let text = request.form.keys().next().cloned().unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Answers each message with its own identifier.
pub(crate) fn echo(request: &Request, _: &str) -> Option<Answer> {
    let id = message(request)["id"].clone();
    let is_signed_in = request.path == "/mcp" && request.authorization.is_some();
    is_signed_in.then(|| object(200, &json!({ "jsonrpc": "2.0", "id": id, "result": {} })))
}

pub(crate) fn signed_in(fake: &Fake, more: &[&str]) -> Desk {
    let desk = Desk::new();
    let output = desk.sign_in(&[&[fake.url().as_str()], more].concat(), false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    desk
}

/// Waits until the condition holds.
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_message_leads_to_a_sign_in_and_the_next_one_is_answered() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    let mut bridge = Bridge::start(&desk, &url);
    let answer = bridge.ask("tools/list", 1);
    let page = answer["error"]["data"]["url"].as_str().expect("a URL");
    follow(page, true);
    until("signed in", || desk.run(&["token", &url]).status.success());
    fake.state().hook = Some(Box::new(echo));
    assert!(bridge.ask("tools/list", 2)["result"].is_object());
    assert_eq!(bridge.end(), Some(0));
}

/// REFR-05, D04: the server has rotated the refresh token when the client closes the bridge.
#[test]
fn a_refresh_under_way_is_stored_before_the_end() {
    for signal in [None, Some("TERM")] {
        let fake = Fake::start();
        fake.state().token_seconds = 1;
        let desk = signed_in(&fake, &[]);
        let url = fake.url();
        sleep(Duration::from_millis(1_100));
        fake.state().delay = Duration::from_millis(800);
        let refreshes = || {
            let state = fake.state();
            let asked = state.requests.iter();
            asked.filter(|request| *request == "POST /token").count()
        };
        let before = refreshes();
        let mut bridge = Bridge::start(&desk, &url);
        bridge.say(&json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }));
        until("a refresh", || refreshes() > before);
        sleep(Duration::from_millis(100));
        if let Some(signal) = signal {
            kill(&bridge.process, signal);
            assert_eq!(bridge.process.wait().expect("it ends").code(), Some(143));
        } else {
            assert_eq!(bridge.end(), Some(0));
        }
        fake.state().delay = Duration::ZERO;
        let output = desk.run(&["token", &url]);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{signal:?}: {}",
            text(&output.stderr)
        );
    }
}

/// STEP-11: a refusal is remembered, although each sign-in is a process of its own.
#[test]
fn a_declined_sign_in_is_not_begun_again_by_the_next_message() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    fake.state().hook = Some(Box::new(|request, issuer| {
        let get = |name: &str| request.query.get(name).cloned().unwrap_or_default();
        (request.path == "/authorize").then(|| {
            let mut back = url::Url::parse(&get("redirect_uri")).expect("a redirect URI");
            back.query_pairs_mut()
                .append_pair("error", "access_denied")
                .append_pair("state", &get("state"))
                .append_pair("iss", issuer);
            (302, format!("location: {back}\r\n"), String::new())
        })
    }));
    let mut bridge = Bridge::start(&desk, &url);
    let answer = bridge.ask("ping", 1);
    follow(
        answer["error"]["data"]["url"].as_str().expect("a URL"),
        true,
    );
    // The sign-in ends after its callback.
    let begun = Instant::now();
    let mut id = 2;
    let refused = loop {
        let answer = bridge.ask("ping", id);
        let words = answer["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if words.contains("declined") {
            break words;
        }
        id += 1;
        assert!(begun.elapsed() < Duration::from_secs(20), "{answer}");
        sleep(Duration::from_millis(50));
    };
    let asked = |fake: &Fake| {
        let state = fake.state();
        let asked = state.requests.iter();
        asked.filter(|request| *request == "GET /authorize").count()
    };
    let before = asked(&fake);
    for _ in 0..3 {
        id += 1;
        let answer = bridge.ask("ping", id);
        let words = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(words.contains("mcp-auth login"), "{refused}: {answer}");
        assert!(answer["error"]["data"].is_null(), "{answer}");
    }
    assert_eq!(asked(&fake), before);
    assert_eq!(bridge.end(), Some(0));
}

/// SCOPE-04: further scopes are asked for beside those of the account, which stay what they are.
#[test]
fn a_step_up_keeps_the_scopes_of_the_account() {
    let fake = Fake::start();
    let desk = signed_in(&fake, &["--scope", "base"]);
    let url = fake.url();
    let stepped = Arc::new(Mutex::new(false));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (is_stepped, keeps) = (Arc::clone(&stepped), Arc::clone(&asked));
    fake.state().hook = Some(Box::new(move |request, issuer| {
        if request.path == "/authorize" {
            let scope = request.query.get("scope").cloned().unwrap_or_default();
            keeps.lock().expect("the list").push(scope);
        }
        if request.path == "/mcp" && !*is_stepped.lock().expect("the flag") {
            let challenge =
                "www-authenticate: Bearer error=\"insufficient_scope\", scope=\"more\"\r\n";
            return request
                .authorization
                .is_some()
                .then(|| (403, challenge.to_owned(), String::new()));
        }
        echo(request, issuer)
    }));
    let mut bridge = Bridge::start(&desk, &url);
    let answer = bridge.ask("tools/call", 1);
    let page = answer["error"]["data"]["url"]
        .as_str()
        .expect("a URL")
        .to_owned();
    *stepped.lock().expect("the flag") = true;
    follow(&page, true);
    let profile = || {
        let files = files(&desk);
        let profile = files.iter().find(|(name, _)| name.starts_with("profiles/"));
        serde_json::from_str::<Value>(profile.expect("settings").1).expect("JSON")
    };
    until("the step-up", || {
        desk.json(&["status", &url]).1["scopes"] == json!(["base", "more"])
    });
    assert_eq!(profile()["settings"]["scope"], "base");
    assert_eq!(*asked.lock().expect("the list"), ["base more"]);
    assert!(bridge.ask("tools/call", 2)["result"].is_object());
    assert_eq!(bridge.end(), Some(0));
}

/// The server ends the session and is down for a while: a later message begins another session.
#[test]
fn a_session_that_cannot_be_renewed_at_once_is_renewed_later() {
    let fake = Fake::start();
    let desk = signed_in(&fake, &[]);
    let phase = Arc::new(Mutex::new(0));
    let now = Arc::clone(&phase);
    fake.state().hook = Some(Box::new(move |request, issuer| {
        if request.path != "/mcp" || request.authorization.is_none() {
            return None;
        }
        let phase = *now.lock().expect("the phase");
        let session = request.session.as_deref();
        let begins = message(request)["method"] == "initialize";
        let known = match phase {
            0 => session == Some("one"),
            _ => session == Some("two"),
        };
        if begins && phase == 1 {
            return Some((503, String::new(), String::new()));
        }
        if !begins && !known {
            return Some((404, String::new(), String::new()));
        }
        let (status, mut headers, body) = echo(request, issuer)?;
        if begins {
            let name = if phase == 0 { "one" } else { "two" };
            headers.push_str(&format!("mcp-session-id: {name}\r\n"));
        }
        Some((status, headers, body))
    }));
    let mut bridge = Bridge::start(&desk, &fake.url());
    assert!(bridge.ask("initialize", 1)["result"].is_object());
    assert!(bridge.ask("ping", 2)["result"].is_object());
    // The server restarts.
    *phase.lock().expect("the phase") = 1;
    assert!(bridge.ask("ping", 3)["error"].is_object());
    *phase.lock().expect("the phase") = 2;
    let answer = bridge.ask("ping", 4);
    assert!(answer["result"].is_object(), "{answer}");
    assert_eq!(bridge.end(), Some(0));
}

/// Many servers refuse a message of a session that they do not know with status 400: that ends the session, too. A refusal of
/// the message itself does not.
#[test]
fn a_session_that_a_server_refuses_with_400_is_renewed() {
    let fake = Fake::start();
    let desk = signed_in(&fake, &[]);
    let begun = Arc::new(Mutex::new(0));
    let now = Arc::clone(&begun);
    fake.state().hook = Some(Box::new(move |request, issuer| {
        if request.path != "/mcp" || request.authorization.is_none() {
            return None;
        }
        let mut begun = now.lock().expect("the sessions");
        let sent = message(request);
        let error = |id: &Value, words: &str| {
            let error = json!({ "code": -32_000, "message": words });
            Some(object(
                400,
                &json!({ "jsonrpc": "2.0", "id": id, "error": error }),
            ))
        };
        let (status, mut headers, body) = echo(request, issuer)?;
        if sent["method"] == "initialize" {
            *begun += 1;
            headers.push_str(&format!("mcp-session-id: s{begun}\r\n"));
        } else if request.session != Some(format!("s{begun}")) {
            return error(&Value::Null, "Bad Request: No valid session ID provided");
        } else if sent["method"] == "odd" {
            return error(&sent["id"], "the session has no such method");
        }
        Some((status, headers, body))
    }));
    let mut bridge = Bridge::start(&desk, &fake.url());
    assert!(bridge.ask("initialize", 1)["result"].is_object());
    assert!(bridge.ask("ping", 2)["result"].is_object());
    // The server restarts, and somebody else begins a session there.
    *begun.lock().expect("the sessions") = 7;
    assert!(bridge.ask("ping", 3)["result"].is_object());
    assert_eq!(*begun.lock().expect("the sessions"), 8);
    let answer = bridge.ask("odd", 4);
    assert_eq!(answer["error"]["message"], "the session has no such method");
    assert_eq!(*begun.lock().expect("the sessions"), 8);
    assert_eq!(bridge.end(), Some(0));
}

/// The client is killed, or kills the bridge: the sign-in under way ends as well.
#[cfg(target_os = "linux")]
#[test]
fn a_killed_bridge_leaves_no_process() {
    let running = |desk: &Desk| {
        let store = desk.path().display().to_string();
        let processes = std::fs::read_dir("/proc").expect("processes").flatten();
        let lines = processes.filter_map(|process| {
            let line = std::fs::read(process.path().join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&line).replace('\0', " "))
        });
        lines.filter(|line| line.contains(&store)).count()
    };
    let (fake, desk) = (Fake::start(), Desk::new());
    let mut bridge = Bridge::start(&desk, &fake.url());
    let answer = bridge.ask("tools/list", 1);
    assert!(answer["error"]["data"]["url"].is_string(), "{answer}");
    assert_eq!(running(&desk), 1, "the sign-in");
    bridge.process.kill().expect("killed");
    bridge.process.wait().expect("it is gone");
    until("the end of the sign-in", || running(&desk) == 0);
    // The next command removes its leftovers.
    assert_eq!(desk.run(&["list"]).status.code(), Some(0));
    let left = files(&desk);
    assert!(
        !left.keys().any(|name| name.starts_with("slots/pending")),
        "{left:?}"
    );
}

/// Of several bridges of one account, one has the user sign in: the others show the same URL, and are answered with its
/// tokens. A sign-in in a terminal ends their wait too.
#[test]
fn bridges_that_start_at_once_share_one_sign_in() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    let mut bridges: Vec<_> = (0..3).map(|_| Bridge::start(&desk, &url)).collect();
    for bridge in &mut bridges {
        bridge.say(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }));
    }
    let page = |answer: &Value| {
        answer["error"]["data"]["url"]
            .as_str()
            .expect("a URL")
            .to_owned()
    };
    let pages: Vec<_> = bridges
        .iter_mut()
        .map(|bridge| page(&bridge.hear()))
        .collect();
    assert!(pages.iter().all(|one| *one == pages[0]), "{pages:?}");
    assert_eq!(fake.state().registrations, 1);
    follow(&pages[0], true);
    until("signed in", || desk.run(&["token", &url]).status.success());
    fake.state().hook = Some(Box::new(echo));
    for bridge in &mut bridges {
        assert!(bridge.ask("tools/list", 2)["result"].is_object());
    }
    assert!(bridges.into_iter().all(|bridge| bridge.end() == Some(0)));

    // The user signs in at a terminal instead.
    fake.state().hook = None;
    assert!(desk.run(&["logout", &url]).status.success());
    let mut bridge = Bridge::start(&desk, &url);
    page(&bridge.ask("tools/list", 1));
    let output = desk.sign_in(&[&url], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    fake.state().hook = Some(Box::new(echo));
    sleep(Duration::from_millis(1_000));
    assert!(bridge.ask("tools/list", 2)["result"].is_object());
    assert_eq!(bridge.end(), Some(0));
    let left = files(&desk);
    assert!(
        !left
            .keys()
            .any(|name| name.contains("pending") || name.starts_with("signing")),
        "{left:?}"
    );
}

/// A server that asks for a token at its tools alone: calls at once lead to one sign-in, and a further one that is
/// refused meanwhile does not end it.
#[test]
fn calls_at_once_lead_to_one_sign_in() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    fake.state().hook = Some(Box::new(|request, _| {
        let message = message(request);
        let is_open = request.path == "/mcp" && message["method"] == "initialize";
        let result = json!({ "protocolVersion": "2025-06-18" });
        is_open.then(|| {
            object(
                200,
                &json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }),
            )
        })
    }));
    let mut bridge = Bridge::start(&desk, &url);
    assert!(bridge.ask("initialize", 0)["result"].is_object());
    for id in 1..=8 {
        bridge.say(&json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "x" } }));
    }
    let pages: std::collections::BTreeSet<_> = (1..=8)
        .map(|_| {
            bridge.hear()["error"]["data"]["url"]
                .as_str()
                .expect("a URL")
                .to_owned()
        })
        .collect();
    assert_eq!((pages.len(), fake.state().registrations), (1, 1));
    follow(pages.first().expect("a URL"), true);
    until("signed in", || desk.run(&["token", &url]).status.success());
    fake.state().hook = Some(Box::new(echo));
    assert!(bridge.ask("tools/list", 9)["result"].is_object());
    assert_eq!(bridge.end(), Some(0));
}

/// A sign-in that the bridge began ends with it, and leaves nothing. Its standard input is not the user's.
#[test]
fn a_bridge_that_ends_leaves_no_sign_in() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    for ends_by_signal in [false, true] {
        let mut command = desk.command(&["proxy", &url, "--no-browser"]);
        let mut process = command.stdin(Stdio::piped()).spawn().expect("it starts");
        let mut input = process.stdin.take().expect("a pipe");
        writeln!(input, r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list"}}"#).expect("it reads");
        // The file with the URL, rather than one that is being written.
        let is_shared = |name: &String| name.starts_with("signing/") && !name.contains('.');
        until("signing in", || files(&desk).keys().any(is_shared));
        if ends_by_signal {
            kill(&process, "TERM");
        } else {
            drop(input);
        }
        let output = process.wait_with_output().expect("it ends");
        let said = text(&output.stderr);
        assert!(!said.contains("paste"), "{said}");
        let store = desk.path().display();
        let no_browser = format!("mcp-auth login {url} --store {store} --no-browser");
        assert!(said.contains(&no_browser), "{said}");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("one answer");
        let words = answer["error"]["message"].as_str().expect("words");
        assert!(words.contains(&no_browser), "{words}");
        let left = files(&desk);
        // The registration, and a mark that it has led to no callback.
        let is_known = |name: &String| is_registration(name) || name.starts_with("retry/");
        assert!(left.keys().all(is_known), "{left:?}");
        let folder = std::fs::read_dir(desk.path().join("signing"));
        assert_eq!(folder.map_or(0, Iterator::count), 0, "the lock of the turn");
    }
}

/// A client that ends while a request waits for a token reads about the bridge, and not about its parts.
#[test]
fn a_request_that_the_end_of_the_bridge_cuts_off_says_so() {
    let fake = Fake::start();
    fake.state().token_seconds = 1;
    let desk = signed_in(&fake, &[]);
    sleep(Duration::from_millis(1_200));
    fake.state().token = Mode::Answers(503, "text/plain", "busy");
    let mut bridge = Bridge::start(&desk, &fake.url());
    bridge.say(&json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }));
    let asked = || {
        fake.state()
            .requests
            .iter()
            .filter(|path| path.contains("/token"))
            .count()
    };
    until("a refresh", || asked() > 1);
    drop(bridge.input.take());
    // The client may be gone before the answer.
    let mut said = String::new();
    bridge
        .output
        .read_line(&mut said)
        .expect("a line, or the end");
    assert!(!said.contains("driver"), "{said}");
    let known = ["the bridge was ended", "authorization server"];
    assert!(
        said.is_empty() || known.iter().any(|words| said.contains(words)),
        "{said}"
    );
    bridge.process.wait().expect("it ends");
}
