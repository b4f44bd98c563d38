//! A command commits after success or changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::fake::{Fake, Mode};
use crate::support::{Desk, follow, text};

/// Returns every file of the store, except locks and public metadata.
pub(crate) fn files(desk: &Desk) -> BTreeMap<String, String> {
    fn read(root: &Path, directory: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                read(root, &path, found);
            } else {
                let name = path.strip_prefix(root).expect("inside").to_string_lossy();
                let bytes = fs::read(&path).unwrap_or_default();
                found.insert(
                    name.into_owned(),
                    String::from_utf8_lossy(&bytes).into_owned(),
                );
            }
        }
    }
    let mut found = BTreeMap::new();
    read(desk.path(), desk.path(), &mut found);
    found.retain(|name, _| {
        !name.ends_with("lock") && !name.starts_with("slots/metadata") && name != "port"
    });
    found
}

/// Returns true for a file of a registration, which a sign-out keeps.
pub(crate) fn is_registration(name: &str) -> bool {
    name.starts_with("slots/registration") || name.starts_with("clients/")
}

/// Returns the files of an account: record, settings, secrets.
fn account(desk: &Desk) -> BTreeMap<String, String> {
    let mut found = files(desk);
    found.retain(|name, _| {
        ["slots/account", "profiles", "secrets"]
            .iter()
            .any(|folder| name.starts_with(folder))
    });
    found
}

/// An account with a configured client and a typed secret.
pub(crate) fn configured(fake: &Fake, desk: &Desk) {
    fake.state()
        .clients
        .insert("desk".to_owned(), Some("a typed secret".to_owned()));
    let (url, issuer) = (fake.url(), fake.issuer());
    let login = [
        url.as_str(),
        "--client-id",
        "desk",
        "--issuer",
        &issuer,
        "--client-secret-prompt",
        "--scope",
        "base",
    ];
    let output = sign_in_told(desk, &login, "a typed secret\n");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(files(desk).values().any(|file| file == "a typed secret"));
}

/// Signs in with a line on standard input first.
fn sign_in_told(desk: &Desk, arguments: &[&str], input: &str) -> Output {
    let mut command = desk.command(&["login", "--no-browser", "--timeout", "30"]);
    let mut process = command
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = process.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("it reads");
    at_the_browser(&mut process, |url| {
        follow(url, true);
    });
    process.wait_with_output().expect("it ends")
}

/// Runs a closure with the URL that a login prints; reads its messages to the end.
fn at_the_browser(process: &mut Child, mut at: impl FnMut(&str)) {
    let stderr = process.stderr.take().expect("a pipe");
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if line.starts_with("http://127.0.0.1") {
            at(&line);
        }
    }
}

/// Runs a login, with a closure once its URL is printed; returns the output.
pub(crate) fn interrupted(desk: &Desk, arguments: &[&str], at: impl FnOnce(&mut Child)) -> Output {
    let mut command = desk.command(&["login", "--no-browser"]);
    let mut process = command.args(arguments).spawn().expect("it starts");
    let mut lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
    let shown = lines.any(|line| line.is_ok_and(|line| line.starts_with("Waiting for it at")));
    assert!(shown, "the URL is printed");
    at(&mut process);
    process.wait_with_output().expect("it ends")
}

#[test]
fn a_login_that_fails_changes_nothing() {
    let fake = Fake::start();
    let desk = Desk::new();
    configured(&fake, &desk);
    let url = fake.url();
    let before = account(&desk);

    // The authorization server is down, and the access token refused.
    fake.state().forget_access();
    fake.state().token = Mode::Answers(500, "text/plain", "down");
    let output = desk.run(&["login", &url, "--no-browser", "--timeout", "2"]);
    assert_ne!(output.status.code(), Some(0));
    fake.state().token = Mode::Works;
    assert_eq!(account(&desk).len(), before.len());

    // The server is down.
    fake.state().mcp = Mode::Answers(502, "text/html", "<h1>down</h1>");
    let output = desk.run(&["login", &url, "--no-browser"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    fake.state().mcp = Mode::Closes;
    let output = desk.run(&["login", &url, "--no-browser"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    fake.state().mcp = Mode::Works;
    assert_eq!(keys(&account(&desk)), keys(&before));

    // A mistyped client, and another scope, without a callback.
    for more in [["--client-id", "dask"], ["--scope", "other"]] {
        let mut arguments = vec!["login", &url, "--no-browser", "--timeout", "1"];
        arguments.extend(more);
        let output = desk.run(&arguments);
        assert_ne!(output.status.code(), Some(0), "{more:?}");
        assert_eq!(settings(&desk), settings_of(&before), "{more:?}");
        assert!(files(&desk).values().any(|file| file == "a typed secret"));
    }
    // The account works as before, with the configured client only.
    let output = desk.sign_in(&[&url], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(fake.state().registrations, 0);
    assert_eq!(settings(&desk), settings_of(&before));
}

fn keys(files: &BTreeMap<String, String>) -> Vec<&String> {
    files.keys().collect()
}

fn settings_of(files: &BTreeMap<String, String>) -> Value {
    let (_, text) = files
        .iter()
        .find(|(name, _)| name.starts_with("profiles/"))
        .expect("a profile");
    let mut profile: Value = serde_json::from_str(text).expect("an object");
    // The port may differ each time.
    profile["port"] = Value::Null;
    profile
}

fn settings(desk: &Desk) -> Value {
    settings_of(&files(desk))
}

#[test]
fn options_that_are_not_given_keep_their_values() {
    let fake = Fake::start();
    let desk = Desk::new();
    configured(&fake, &desk);
    let url = fake.url();
    let output = desk.sign_in(&[&url, "--scope", "base more"], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let profile = settings(&desk);
    assert_eq!(profile["settings"]["client_id"], "desk");
    assert_eq!(profile["settings"]["issuer"], fake.issuer());
    assert_eq!(profile["settings"]["scope"], "base more");
    assert!(files(&desk).values().any(|file| file == "a typed secret"));
    assert_eq!(fake.state().registrations, 0);
}

/// A new client for a working account is tried before it replaces the former one.
#[test]
fn another_client_takes_over_once_it_has_signed_in() {
    let fake = Fake::start();
    let desk = Desk::new();
    configured(&fake, &desk);
    let url = fake.url();
    let before = account(&desk);
    let mistyped = [
        "login",
        &url,
        "--no-browser",
        "--timeout",
        "1",
        "--client-id",
        "dask",
    ];
    let output = desk.run(&mistyped);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert_eq!(account(&desk), before);
    let output = desk.sign_in(&[&url, "--new-client"], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(fake.state().registrations, 1);
    let left = files(&desk);
    assert!(
        left.values().all(|file| !file.contains("a typed secret")),
        "{left:?}"
    );
}

#[test]
fn a_secret_is_kept_once_the_sign_in_has_succeeded() {
    let fake = Fake::start();
    let desk = Desk::new();
    fake.state()
        .clients
        .insert("desk".to_owned(), Some("a typed secret".to_owned()));
    let url = fake.url();
    let login = [
        "login",
        &url,
        "--no-browser",
        "--timeout",
        "1",
        "--client-id",
        "desk",
        "--client-secret-prompt",
    ];
    let output = desk.told(&login, "a typed secret\n");
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let kept = files(&desk);
    assert!(
        kept.values().all(|file| !file.contains("a typed secret")),
        "{kept:?}"
    );
    assert!(account(&desk).is_empty(), "{kept:?}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_login_leaves_no_secret() {
    let signals = [("INT", 130), ("TERM", 143), ("HUP", 129)];
    // Background jobs of a shell ignore SIGINT, and their child processes inherit that.
    let heard = signals
        .into_iter()
        .filter(|(_, status)| !is_ignored(status - 128));
    for (signal, status) in heard {
        let fake = Fake::start();
        let desk = Desk::new();
        let url = fake.url();
        let output = interrupted(&desk, &[&url], |process| {
            assert!(
                fs::read_dir(desk.path().join("slots/pending"))
                    .expect("a folder")
                    .next()
                    .is_some()
            );
            kill(process, signal);
        });
        assert_eq!(output.status.code(), Some(status), "{signal}");
        let pending = fs::read_dir(desk.path().join("slots/pending")).expect("a folder");
        assert_eq!(pending.count(), 0, "{signal}");
        assert!(account(&desk).is_empty());
    }
}

/// Returns true if this process, and thus the command, ignores a signal.
#[cfg(unix)]
pub(crate) fn is_ignored(number: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (number - 1)) != 0)
}

#[cfg(unix)]
pub(crate) fn kill(process: &Child, signal: &str) {
    let id = process.id().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-s", signal, &id])
        .status();
    assert!(killed.expect("it runs").success());
}

#[test]
fn what_a_killed_login_left_is_removed_by_any_command() {
    let fake = Fake::start();
    let desk = Desk::new();
    let url = fake.url();
    interrupted(&desk, &[&url], |process| process.kill().expect("killed"));
    let pending = || {
        fs::read_dir(desk.path().join("slots/pending"))
            .expect("a folder")
            .count()
    };
    assert_eq!(pending(), 1);
    assert!(desk.run(&["list"]).status.success());
    assert_eq!(pending(), 0);
    assert_eq!(
        fs::read_dir(desk.path().join("journal"))
            .expect("a folder")
            .count(),
        0
    );
}

#[test]
fn a_login_that_times_out_leaves_the_account_of_another_one() {
    let fake = Fake::start();
    let desk = Desk::new();
    let url = fake.url();
    let mut command = desk.command(&["login", &url, "--no-browser", "--timeout", "4"]);
    let slow = command.spawn().expect("it starts");
    sleep(Duration::from_millis(500));
    let output = desk.sign_in(&[&url], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = slow.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert_eq!(desk.run(&["token", &url]).status.code(), Some(0));
    assert_eq!(desk.json(&["status", &url]).1["signed_in"], true);
}

#[test]
fn logout_removes_what_is_there_and_says_what() {
    let fake = Fake::start();
    let desk = Desk::new();
    configured(&fake, &desk);
    let url = fake.url();
    // A sign-in of a command that was killed.
    interrupted(&desk, &[&url, "--scope", "base more"], |process| {
        process.kill().expect("killed");
    });
    let (status, answer) = desk.json(&["logout", &url]);
    assert_eq!(status, Some(0), "{answer}");
    let removed = answer["removed"].to_string();
    for part in ["tokens", "the client's secret", "settings"] {
        assert!(removed.contains(part), "{removed}");
    }
    let left = files(&desk);
    assert!(left.is_empty(), "{left:?}");
    let (status, answer) = desk.json(&["logout", &url]);
    assert_eq!(
        (status, &answer["removed"]),
        (Some(0), &serde_json::json!([]))
    );
}

/// An unreadable record of another version is shown, and removed.
#[test]
fn an_account_of_another_version_is_shown_and_can_be_removed() {
    let fake = Fake::start();
    let url = fake.url();
    for damage in ["newer", "garbage", "empty", "not text"] {
        let desk = Desk::new();
        assert!(desk.sign_in(&[&url], false).status.success());
        let folder = desk.path().join("slots/account");
        let path = fs::read_dir(&folder).expect("a folder").next();
        let path = path.expect("a file").expect("a file").path();
        let text_of = fs::read_to_string(&path).expect("text");
        let damaged = match damage {
            "newer" => {
                let newer = text_of.replacen("v3.", "v9.", 1);
                assert_ne!(newer, text_of, "{damage}");
                newer.into_bytes()
            }
            "garbage" => b"garbage".to_vec(),
            "empty" => Vec::new(),
            _ => vec![0xff, 0xfe],
        };
        fs::write(&path, damaged).expect("written");
        let output = desk.run(&["list"]);
        assert!(
            output.status.success(),
            "{damage}: {}",
            text(&output.stderr)
        );
        assert!(text(&output.stdout).contains(&url), "{damage}");
        if damage != "newer" {
            let output = desk.sign_in(&[&url], false);
            assert!(
                output.status.success(),
                "{damage}: {}",
                text(&output.stderr)
            );
        }
        let output = desk.run(&["logout", &url]);
        assert!(
            output.status.success(),
            "{damage}: {}",
            text(&output.stderr)
        );
        let left = files(&desk);
        assert!(
            left.keys().all(|name| is_registration(name)),
            "{damage}: {left:?}"
        );
    }
}

/// With lost settings, no other client is used silently.
#[test]
fn a_configured_client_is_never_followed_by_a_dynamic_one() {
    let fake = Fake::start();
    let desk = Desk::new();
    configured(&fake, &desk);
    let url = fake.url();
    let folder = desk.path().join("profiles");
    let path = fs::read_dir(&folder).expect("a folder").flatten();
    let path = path
        .map(|file| file.path())
        .find(|path| path.extension().is_some());
    let path = path.expect("a profile");
    fs::write(&path, "").expect("written");
    assert!(desk.run(&["list"]).status.success());
    let (status, answer) = desk.json(&["login", &url, "--no-browser"]);
    assert_eq!(
        (status, answer["error"]["code"].as_str()),
        (Some(1), Some("client_lost"))
    );
    assert_eq!(fake.state().registrations, 0);
    // The stored tokens still work.
    assert_eq!(desk.run(&["token", &url]).status.code(), Some(0));
    let output = desk.sign_in(&[&url, "--new-client"], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_logout_that_was_killed_half_way_is_finished() {
    let fake = Fake::start();
    let desk = Desk::new();
    configured(&fake, &desk);
    let url = fake.url();
    fake.state().revoke = Mode::Hangs;
    let mut process = desk.command(&["logout", &url]).spawn().expect("it starts");
    let folder = desk.path().join("slots/account");
    while fs::read_dir(&folder).expect("a folder").next().is_some() {
        sleep(Duration::from_millis(20));
    }
    process.kill().expect("killed");
    process.wait().expect("it ends");
    let output = desk.run(&["list"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let left = files(&desk);
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(desk.run(&["token", &url]).status.code(), Some(3));
}

/// Commands that read show what is stored while others store and remove it.
#[test]
fn a_list_beside_sign_ins_and_sign_outs_succeeds() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    let ends = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        let reading: Vec<_> = (0..2)
            .map(|_| {
                threads.spawn(|| {
                    while !ends.load(std::sync::atomic::Ordering::Relaxed) {
                        let output = desk.run(&["list"]);
                        let said = text(&output.stderr);
                        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
                    }
                })
            })
            .collect();
        for account in ["one", "two", "one"] {
            assert!(
                desk.sign_in(&[&url, "--account", account], false)
                    .status
                    .success()
            );
            assert!(
                desk.run(&["logout", &url, "--account", account])
                    .status
                    .success()
            );
        }
        ends.store(true, std::sync::atomic::Ordering::Relaxed);
        for thread in reading {
            thread.join().expect("a list");
        }
    });
}
