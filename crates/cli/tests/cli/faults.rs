//! Failures of the system, the network or a server.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fake::{Fake, Mode};
use crate::support::{Desk, follow, text};
use crate::transactions::{files, is_registration};

fn signed_in(fake: &Fake) -> Desk {
    let desk = Desk::new();
    let output = desk.sign_in(&[&fake.url()], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    desk
}

fn code(answer: &(Option<i32>, Value)) -> (Option<i32>, &str) {
    (
        answer.0,
        answer.1["error"]["code"].as_str().unwrap_or_default(),
    )
}

/// A held lock is awaited up to a limit; reading waits for no lock.
#[test]
fn a_lock_that_is_held_is_waited_for_with_a_limit() {
    let fake = Fake::start();
    let desk = signed_in(&fake);
    let url = fake.url();
    fake.state().token_seconds = 1;
    let root = File::options()
        .write(true)
        .open(desk.path().join("lock"))
        .expect("a lock");
    let slots = File::options()
        .write(true)
        .open(desk.path().join("slots/lock"))
        .expect("a lock");
    root.lock().expect("locked");
    slots.lock().expect("locked");
    for arguments in [
        vec!["status", url.as_str()],
        vec!["list"],
        vec!["token", &url],
    ] {
        let output = desk.run(&arguments);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
    }
    let output = desk.run(&["logout", &url]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("is locked by"), "{said}");
    if cfg!(target_os = "linux") {
        assert!(
            said.contains(&format!("process {}", std::process::id())),
            "{said}"
        );
    }
}

#[test]
fn a_damaged_file_is_in_the_way_of_no_command() {
    let fake = Fake::start();
    let desk = signed_in(&fake);
    let url = fake.url();
    assert!(
        desk.sign_in(&[&url, "--account", "work"], false)
            .status
            .success()
    );
    let path = fs::read_dir(desk.path().join("profiles"))
        .expect("a folder")
        .flatten();
    let path = path.map(|file| file.path()).next().expect("a profile");
    fs::write(&path, "").expect("written");
    let output = desk.run(&["list"]);
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("is damaged") && said.contains(".damaged"),
        "{said}"
    );
    // Both accounts are still listed.
    let (_, list) = desk.json(&["list"]);
    assert_eq!(list["accounts"].as_array().map(Vec::len), Some(2), "{list}");
    for name in ["default", "work"] {
        assert!(
            desk.run(&["token", &url, "--account", name])
                .status
                .success()
        );
        assert!(
            desk.sign_in(&[&url, "--account", name], false)
                .status
                .success()
        );
        assert!(
            desk.run(&["logout", &url, "--account", name])
                .status
                .success()
        );
    }
    let left = files(&desk);
    assert!(left.keys().all(|name| is_registration(name)), "{left:?}");
}

/// Settings belong to one account: a file in the place of another one is detected.
#[test]
fn swapped_settings_are_noticed() {
    let fake = Fake::start();
    let desk = signed_in(&fake);
    let url = fake.url();
    assert!(
        desk.sign_in(&[&url, "--account", "work"], false)
            .status
            .success()
    );
    let own = text(&desk.run(&["token", &url]).stdout);
    let files: Vec<_> = fs::read_dir(desk.path().join("profiles"))
        .expect("a folder")
        .map(|file| file.expect("a file").path())
        .collect();
    let [one, two] = files.as_slice() else {
        panic!("{files:?}");
    };
    let (a, b) = (fs::read(one).expect("read"), fs::read(two).expect("read"));
    fs::write(one, b).expect("written");
    fs::write(two, a).expect("written");
    let output = desk.run(&["token", &url]);
    assert_eq!(text(&output.stdout), own);
    assert!(
        text(&output.stderr).contains("another account"),
        "{}",
        text(&output.stderr)
    );
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_a_failure_and_no_panic() {
    let fake = Fake::start();
    let desk = signed_in(&fake);
    let url = fake.url();
    let full = || {
        File::options()
            .write(true)
            .open("/dev/full")
            .expect("a device")
    };
    let mut command = desk.command(&["token", &url]);
    let output = command.stdout(full()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("standard output"));
    let mut command = desk.command(&["token", &url, "-v"]);
    let output = command.stderr(full()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0));
    // A closed pipe is harmless.
    let mut command = desk.command(&["list"]);
    let mut process = command.spawn().expect("it starts");
    drop(process.stdout.take());
    let output = process.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains("panicked"));
}

#[cfg(unix)]
#[test]
fn directories_are_private_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt;

    let fake = Fake::start();
    fake.state()
        .clients
        .insert("desk".to_owned(), Some("a typed secret".to_owned()));
    let directory = tempfile::tempdir().expect("a directory");
    let store = directory.path().join("store");
    let binary = env!("CARGO_BIN_EXE_mcp-auth");
    let mut process = Command::new("sh")
        .args([
            "-c",
            "umask 0; exec \"$@\"",
            "sh",
            binary,
            "login",
            &fake.url(),
        ])
        .args([
            "--no-browser",
            "--client-id",
            "desk",
            "--client-secret-prompt",
        ])
        .env("MCP_AUTH_STORE", &store)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = process.stdin.take().expect("a pipe");
    stdin.write_all(b"a typed secret\n").expect("it reads");
    for line in BufReader::new(process.stderr.take().expect("a pipe")).lines() {
        let line = line.expect("text");
        if line.starts_with("http://127.0.0.1") {
            follow(&line, true);
        }
    }
    assert!(process.wait().expect("it ends").success());
    let mode =
        |path: &std::path::Path| path.metadata().expect("there").permissions().mode() & 0o777;
    let mut folders = vec![store.clone()];
    while let Some(folder) = folders.pop() {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                assert_eq!(mode(&entry.path()) & 0o077, 0, "{}", entry.path().display());
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn a_link_in_the_place_of_the_lock_is_not_followed() {
    let fake = Fake::start();
    let desk = signed_in(&fake);
    let other = desk.path().join("precious");
    fs::write(&other, "do not touch").expect("written");
    for lock in ["lock", "slots/lock"] {
        let lock = desk.path().join(lock);
        fs::remove_file(&lock).expect("removed");
        std::os::unix::fs::symlink(&other, &lock).expect("linked");
        let output = desk.run(&["logout", &fake.url()]);
        assert_ne!(output.status.code(), Some(0));
        assert!(
            text(&output.stderr).contains("is not a file"),
            "{}",
            text(&output.stderr)
        );
        fs::remove_file(&lock).expect("removed");
    }
    assert_eq!(fs::read_to_string(&other).expect("read"), "do not touch");
    // The next command completes an interrupted logout.
    assert!(desk.run(&["list"]).status.success());
    let left = files(&desk);
    let other = |name: &String| name == "precious" || is_registration(name);
    assert!(left.keys().all(other), "{left:?}");
}

/// A signal between the server's response and the write: the issued tokens are stored.
#[cfg(unix)]
#[test]
fn a_signal_waits_until_what_was_granted_is_stored() {
    let fake = Fake::start();
    let desk = Desk::new();
    let url = fake.url();
    let mut command = desk.command(&["login", &url, "--no-browser", "--timeout", "20"]);
    let mut process = command.spawn().expect("it starts");
    let mut lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
    let shown = lines
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line.starts_with("http://127"));
    let back = follow(&shown.expect("the URL"), false);
    fake.state().delay = Duration::from_millis(700);
    let _answer = ureq::get(&back).call();
    let asked = |request: &String| request == "POST /token";
    while !fake.state().requests.iter().any(asked) {
        sleep(Duration::from_millis(10));
    }
    sleep(Duration::from_millis(100));
    crate::transactions::kill(&process, "TERM");
    let status = process.wait().expect("it ends");
    assert_eq!(status.code(), Some(143));
    assert_eq!(desk.run(&["token", &url]).status.code(), Some(0));
}

#[test]
fn a_write_that_fails_at_the_end_is_tried_again() {
    let fake = Fake::start();
    let desk = Desk::new();
    let url = fake.url();
    let mut command = desk.command(&["login", &url, "--no-browser", "--timeout", "20"]);
    let mut process = command.spawn().expect("it starts");
    let mut lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
    let shown = lines
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line.starts_with("http://127"));
    let back = follow(&shown.expect("the URL"), false);
    // A file in the place of the folder prevents writes.
    let folder = desk.path().join("slots/account");
    let _absent = fs::remove_dir(&folder);
    fs::write(&folder, "").expect("written");
    let _answer = ureq::get(&back).call();
    let retried = lines
        .map_while(Result::ok)
        .find(|line| line.contains("trying again"));
    assert!(retried.is_some());
    fs::remove_file(&folder).expect("removed");
    let output = process.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(desk.run(&["token", &url]).status.code(), Some(0));
}

#[test]
fn usage_errors_are_json_where_json_is_wanted() {
    let desk = Desk::new();
    for arguments in [
        vec!["login", "--json"],
        vec!["login", "https://mcp.example/mcp", "--nonsense", "--json"],
        vec![
            "login",
            "https://mcp.example/mcp",
            "--auth-method",
            "none",
            "--json",
        ],
        vec!["list", "--record", "x", "--json"],
        vec!["login", "http://user:pw@127.0.0.1:9/mcp", "--json"],
    ] {
        let output = desk.run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("one object");
        assert_eq!(answer["error"]["code"], "usage", "{arguments:?}");
        assert!(!text(&output.stderr).contains("pw"));
    }
}

#[test]
fn a_transcript_does_not_change_the_status() {
    let fake = Fake::start();
    let desk = signed_in(&fake);
    fake.state().forget_tokens();
    fake.state().token_seconds = 1;
    let record = desk.path().join("transcript");
    let record = record.to_str().expect("a path");
    let output = desk.run(&["token", "https://mcp.example/mcp", "--record", record]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    // The folder is there when the command begins, and not when it ends.
    let folder = desk.path().join("folder");
    std::fs::create_dir(&folder).expect("a folder");
    let record = folder.join("transcript").display().to_string();
    let url = fake.url();
    let login = [
        "login",
        &url,
        "--record",
        &record,
        "--no-browser",
        "--timeout",
        "2",
    ];
    let process = desk.command(&login).spawn().expect("it starts");
    std::thread::sleep(std::time::Duration::from_millis(1_000));
    std::fs::remove_dir(&folder).expect("removed");
    let output = process.wait_with_output().expect("it ends");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains(&record), "{said}");
}

/// Each network failure names the URL, and is reported within the time limit.
#[test]
fn the_network_and_hanging_servers() {
    let desk = Desk::new();
    let begun = Instant::now();
    for url in ["http://127.0.0.1:9/mcp", "https://no-such-host.invalid/mcp"] {
        for command in ["login", "doctor"] {
            let answer = desk.json(&[command, url, "--timeout", "5"]);
            assert_eq!(code(&answer), (Some(4), "no_answer"), "{answer:?}");
            assert!(
                answer.1["error"]["message"].to_string().contains(url),
                "{answer:?}"
            );
        }
    }
    let fake = Fake::start();
    fake.state().token_seconds = 1;
    let desk = signed_in(&fake);
    let url = fake.url();
    sleep(Duration::from_millis(1_100));
    fake.state().token = Mode::Hangs;
    let answer = desk.json(&["token", &url, "--timeout", "2"]);
    assert_eq!(answer.0, Some(4), "{answer:?}");
    assert!(
        answer.1["error"]["message"].to_string().contains("/token"),
        "{answer:?}"
    );
    fake.state().token = Mode::Works;
    fake.state().mcp = Mode::Hangs;
    let answer = desk.json(&["login", &url, "--timeout", "2", "--no-browser"]);
    assert_eq!(code(&answer), (Some(4), "no_answer"), "{answer:?}");
    assert!(
        answer.1["error"]["message"].to_string().contains(&url),
        "{answer:?}"
    );
    fake.state().revoke = Mode::Hangs;
    let (status, answer) = desk.json(&["logout", &url, "--timeout", "2"]);
    assert_eq!(status, Some(0), "{answer}");
    // Far less than the time limits of single requests.
    assert!(begun.elapsed() < Duration::from_secs(60));
}

/// Only a JSON-RPC answer or an event stream is an open MCP server.
#[test]
fn an_answer_that_is_none_of_an_mcp_server_is_said() {
    let fake = Fake::start();
    let desk = Desk::new();
    let url = fake.url();
    for (mode, status, code_of, words) in [
        (
            Mode::Answers(404, "text/plain", ""),
            1,
            "not_an_mcp_server",
            "404 (text/plain)",
        ),
        (
            Mode::Answers(405, "text/plain", ""),
            1,
            "not_an_mcp_server",
            "takes no POST",
        ),
        (
            Mode::Answers(500, "text/plain", ""),
            4,
            "mcp_server_unavailable",
            "500",
        ),
        (
            Mode::Answers(502, "text/html", "<h1>"),
            4,
            "mcp_server_unavailable",
            "502 (text/html)",
        ),
        (
            Mode::Answers(429, "text/plain", ""),
            4,
            "mcp_server_unavailable",
            "fewer requests",
        ),
        (
            Mode::Answers(200, "text/html", "<h1>Hello"),
            1,
            "not_an_mcp_server",
            "text/html",
        ),
        (
            Mode::Redirects(307, "/mcp/"),
            1,
            "mcp_url_redirects",
            "/mcp/: if that is",
        ),
    ] {
        fake.state().mcp = mode.clone();
        let answer = desk.json(&["login", &url, "--no-browser"]);
        assert_eq!(
            code(&answer),
            (Some(status), code_of),
            "{mode:?}: {answer:?}"
        );
        assert!(
            answer.1["error"]["message"].to_string().contains(words),
            "{answer:?}"
        );
        let (status, answer) = desk.json(&["doctor", &url]);
        assert_eq!(status, Some(1), "{mode:?}: {answer}");
        assert!(answer["findings"].to_string().contains(words), "{answer}");
    }
    fake.state().open = true;
    for body in [
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}",
        "event: message\ndata: {}\n\n",
    ] {
        let kind = if body.starts_with('{') {
            "application/json"
        } else {
            "text/event-stream"
        };
        fake.state().mcp = Mode::Answers(200, kind, body);
        let output = desk.run(&["login", &url, "--no-browser"]);
        assert!(
            text(&output.stdout).ends_with("asks for no sign-in"),
            "{}",
            text(&output.stderr)
        );
        let (status, answer) = desk.json(&["doctor", &url]);
        assert_eq!(
            (status, &answer["usable"]),
            (Some(0), &Value::from(true)),
            "{answer}"
        );
    }
    assert_eq!(desk.json(&["list"]).1["accounts"], Value::Array(Vec::new()));
}

#[test]
fn a_port_that_was_given_is_used_or_the_login_fails() {
    let fake = Fake::start();
    let desk = Desk::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let output = desk.run(&["login", &fake.url(), "--no-browser", "--port", &port]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&port) && said.contains("--port"), "{said}");
    drop(taken);
    let output = desk.sign_in(
        &[&fake.url(), "--port", &port, "--redirect-host", "localhost"],
        false,
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert!(said.is_empty() || !said.contains("127.0.0.1:9"));
}

/// The server has forgotten the client, and shows a page instead of sending the user back.
#[test]
fn quirk_14_a_client_that_the_server_forgot_is_replaced_after_one_attempt() {
    let fake = Fake::start();
    let desk = signed_in(&fake);
    let url = fake.url();
    assert!(desk.run(&["logout", &url]).status.success());
    fake.state().clients.clear();
    let output = desk.run(&["login", &url, "--no-browser", "--timeout", "1"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("may have forgotten the client"), "{said}");
    assert_eq!(fake.state().registrations, 1);
    let output = desk.sign_in(&[&url], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(fake.state().registrations, 2);
}

/// Unfinished sign-ins share one registration.
#[test]
fn unfinished_sign_ins_share_a_registration() {
    let fake = Fake::start();
    let desk = Desk::new();
    let url = fake.url();
    for _ in 0..2 {
        let output = desk.run(&["login", &url, "--no-browser", "--timeout", "1"]);
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    }
    assert_eq!(fake.state().registrations, 1);
    assert!(
        desk.sign_in(&[&url, "--new-client"], false)
            .status
            .success()
    );
    assert_eq!(fake.state().registrations, 2);
    assert!(desk.run(&["logout", &url]).status.success());
    assert!(desk.sign_in(&[&url], false).status.success());
    assert_eq!(fake.state().registrations, 2);
    assert!(
        desk.run(&["logout", &url, "--forget-client"])
            .status
            .success()
    );
    assert!(desk.sign_in(&[&url], false).status.success());
    assert_eq!(fake.state().registrations, 3);
}

#[test]
fn a_sign_in_that_is_granted_less_says_so() {
    let fake = Fake::start();
    fake.state().grants = Some("base");
    let desk = Desk::new();
    let mut command = desk.command(&["login", &fake.url(), "--no-browser", "--scope", "base more"]);
    let mut process = command.spawn().expect("it starts");
    let said = with_browser(&mut process);
    assert!(process.wait().expect("it ends").success(), "{said}");
    assert!(said.contains("not granted: more"), "{said}");
}

/// Follows the printed URL; returns all messages.
fn with_browser(process: &mut Child) -> String {
    let mut said = String::new();
    for line in BufReader::new(process.stderr.take().expect("a pipe")).lines() {
        let line = line.expect("text");
        if line.starts_with("http://127.0.0.1") {
            follow(&line, true);
        }
        said.push_str(&line);
        said.push('\n');
    }
    said
}

/// A store that cannot be written can be read.
#[cfg(unix)]
#[test]
fn a_store_that_cannot_be_written_can_be_read() {
    use std::os::unix::fs::PermissionsExt;

    let fake = Fake::start();
    let desk = signed_in(&fake);
    let url = fake.url();
    let set = |mode: u32| {
        for folder in [
            "slots",
            "profiles",
            "slots/account",
            "slots/registration",
            "",
        ] {
            let path = desk.path().join(folder);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        }
    };
    set(0o555);
    // Root ignores file modes.
    let stopped = fs::write(desk.path().join("probe"), "").is_err();
    for arguments in [
        vec!["status", url.as_str()],
        vec!["list"],
        vec!["token", &url],
    ] {
        let output = desk.run(&arguments);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
    }
    let output = desk.run(&["logout", &url]);
    if stopped {
        assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    }
    set(0o755);
}

/// The user reads the issuer that was expected, and the one that came.
#[test]
fn a_callback_of_another_server_names_both_issuers() {
    let (fake, desk) = (Fake::start(), Desk::new());
    fake.state().hook = Some(Box::new(|request, _| {
        let get = |name: &str| request.query.get(name).cloned().unwrap_or_default();
        (request.path == "/authorize").then(|| {
            let mut back = url::Url::parse(&get("redirect_uri")).expect("a redirect URI");
            back.query_pairs_mut()
                .append_pair("code", "x")
                .append_pair("state", &get("state"))
                .append_pair("iss", "https://other.example");
            (302, format!("location: {back}\r\n"), String::new())
        })
    }));
    let output = desk.sign_in(&[&fake.url()], false);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    let both = format!("expected {}, got \"https://other.example\"", fake.issuer());
    assert!(said.contains(&both), "{said}");
}
