//! `login --keyring`: records that are sealed with a key of the system's keyring.
//!
//! On Linux, with a Secret Service of its own: `gnome-keyring-daemon` on a private D-Bus. Where these are not
//! installed, the tests say so and pass; with MCP_AUTH_TEST_KEYRING=1 they fail instead.
#![cfg(target_os = "linux")]

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::bridge::{Bridge, echo, until};
use crate::fake::Fake;
use crate::support::{Desk, text};
use crate::transactions::files;

const LOGIN: &str = "/org/freedesktop/secrets/collection/login";

/// A desktop session: a message bus, and a keyring that is unlocked.
struct Session {
    directory: TempDir,
    bus: Child,
    keyring: Child,
    /// One at a time.
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

impl Drop for Session {
    fn drop(&mut self) {
        for process in [&mut self.keyring, &mut self.bus] {
            let _gone = process.kill();
            let _reaped = process.wait();
        }
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

impl Session {
    /// `None`: the programs are not installed.
    fn start() -> Option<Self> {
        let needed = ["dbus-daemon", "dbus-send", "gnome-keyring-daemon"];
        let missing: Vec<_> = needed
            .into_iter()
            .filter(|name| !is_installed(name))
            .collect();
        if !missing.is_empty() {
            assert!(
                std::env::var_os("MCP_AUTH_TEST_KEYRING").is_none(),
                "not installed: {missing:?}"
            );
            eprintln!("SKIPPED: THE KEYRING TESTS NEED {missing:?}");
            return None;
        }
        // On a busy machine the daemon sometimes starts without its collection, or with a locked one.
        let started = (0..5).find_map(|_| Self::ready());
        Some(started.expect("a keyring that is unlocked"))
    }

    /// Starts both programs; `None` when the keyring is not unlocked after a while.
    fn ready() -> Option<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = tempfile::tempdir().expect("a directory");
        let address = format!("unix:path={}", directory.path().join("bus").display());
        let at_home = |program: &str| {
            let mut command = Command::new(program);
            command
                .env_clear()
                .env("PATH", std::env::var_os("PATH").unwrap_or_default())
                .env("HOME", directory.path())
                .env("XDG_RUNTIME_DIR", directory.path())
                .env("DBUS_SESSION_BUS_ADDRESS", &address)
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command
        };
        let bus = at_home("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--address"])
            .arg(&address)
            .stdin(Stdio::null())
            .spawn()
            .expect("a message bus");
        until("the message bus", || {
            let mut ask = at_home("dbus-send");
            ask.args(["--session", "--print-reply", "--dest=org.freedesktop.DBus"]);
            ask.args(["/org/freedesktop/DBus", "org.freedesktop.DBus.GetId"]);
            ask.status().is_ok_and(|status| status.success())
        });
        let mut keyring = at_home("gnome-keyring-daemon")
            .args(["--foreground", "--unlock", "--components=secrets"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("a keyring");
        let mut password = keyring.stdin.take().expect("a pipe");
        password.write_all(b"password").expect("it reads");
        drop(password);
        let session = Self {
            directory,
            bus,
            keyring,
            _turn: turn,
        };
        let end = Instant::now() + Duration::from_secs(8);
        while Instant::now() < end {
            if session.is_unlocked() {
                return Some(session);
            }
            sleep(Duration::from_millis(50));
        }
        None
    }

    fn is_unlocked(&self) -> bool {
        let mut ask = Command::new("dbus-send");
        ask.args([
            "--session",
            "--print-reply",
            "--dest=org.freedesktop.secrets",
        ])
        .args([LOGIN, "org.freedesktop.DBus.Properties.Get"])
        .args(["string:org.freedesktop.Secret.Collection", "string:Locked"])
        .envs(self.environment());
        let found = ask.output().expect("dbus-send");
        self.call("ReadAlias", &["string:default"]).contains(LOGIN)
            && text(&found.stdout).contains("boolean false")
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let folder = self.directory.path().display().to_string();
        vec![
            (
                "DBUS_SESSION_BUS_ADDRESS",
                format!("unix:path={folder}/bus"),
            ),
            ("XDG_RUNTIME_DIR", folder),
        ]
    }

    fn desk(&self) -> Desk {
        Desk::with(self.environment())
    }

    /// Calls a method of the Secret Service; returns the reply as text.
    fn call(&self, method: &str, arguments: &[&str]) -> String {
        let output = Command::new("dbus-send")
            .args([
                "--session",
                "--print-reply",
                "--dest=org.freedesktop.secrets",
            ])
            .arg("/org/freedesktop/secrets")
            .arg(format!("org.freedesktop.Secret.Service.{method}"))
            .args(arguments)
            .envs(self.environment())
            .output();
        text(&output.expect("dbus-send").stdout)
    }

    /// Returns the number of keys of the command.
    fn keys(&self) -> usize {
        let found = self.call("SearchItems", &["dict:string:string:service,mcp-auth"]);
        found.matches("object path").count()
    }

    /// Deletes the keys of the command, as a user may in the keyring's own program.
    fn delete_keys(&self) {
        let found = self.call("SearchItems", &["dict:string:string:service,mcp-auth"]);
        for line in found.lines().filter(|line| line.contains("object path")) {
            let path = line.split('"').nth(1).expect("a path");
            let done = Command::new("dbus-send")
                .args([
                    "--session",
                    "--print-reply",
                    "--dest=org.freedesktop.secrets",
                ])
                .args([path, "org.freedesktop.Secret.Item.Delete"])
                .envs(self.environment())
                .output();
            assert!(done.expect("dbus-send").status.success());
        }
    }

    fn lock(&self) {
        self.call("Lock", &[&format!("array:objpath:{LOGIN}")]);
    }
}

/// The environment of a helper that is cleared, or of a service: no message bus.
fn hidden() -> Vec<(&'static str, String)> {
    vec![
        ("DBUS_SESSION_BUS_ADDRESS", String::new()),
        ("XDG_RUNTIME_DIR", "/nonexistent".to_owned()),
    ]
}

fn sign_in(desk: &Desk, arguments: &[&str]) {
    let output = desk.sign_in(arguments, false);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// Returns true if a file contains a token of the fake server, or this text.
fn tells(desk: &Desk, secret: &str) -> bool {
    let all = files(desk);
    let plain = ["access-", "refresh-"].map(|kind| (kind, "-of-the-fake"));
    all.values().any(|contents| {
        plain
            .iter()
            .any(|(kind, end)| contents.contains(kind) && contents.contains(end))
            || (!secret.is_empty() && contents.contains(secret))
    })
}

fn token(desk: &Desk, url: &str) -> String {
    let output = desk.run(&["token", url]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn without_a_keyring_the_environment_is_named_and_nothing_changes() {
    let fake = Fake::start();
    let desk = Desk::with(hidden());
    let (status, answer) = desk.json(&["login", "--keyring", &fake.url()]);
    assert_eq!(status, Some(4), "{answer}");
    assert_eq!(answer["error"]["code"], "keyring", "{answer}");
    let said = answer["error"]["message"].as_str().expect("a message");
    assert!(said.contains("DBUS_SESSION_BUS_ADDRESS") && said.contains("--no-keyring"));
    assert_eq!(fake.state().requests, Vec::<String>::new());
    assert!(files(&desk).is_empty(), "{:?}", files(&desk));
    // Without the option nothing asks for a keyring.
    sign_in(&desk, &[&fake.url()]);
    assert!(fake.state().knows_access(&token(&desk, &fake.url())));
}

/// SEC-31: the whole life of an account, of which no file tells a secret.
#[test]
fn sec_31_a_sealed_account_lives_as_any_other() {
    let Some(session) = Session::start() else {
        return;
    };
    let (fake, desk) = (Fake::start(), session.desk());
    let url = fake.url();
    sign_in(&desk, &["--keyring", &url]);
    assert_eq!(session.keys(), 1);
    assert!(!tells(&desk, ""), "{:?}", files(&desk));
    let first = token(&desk, &url);
    assert!(fake.state().knows_access(&first));
    let (_, answer) = desk.json(&["status", &url]);
    assert_eq!(
        (&answer["signed_in"], &answer["keyring"]),
        (&json!(true), &json!(true))
    );
    assert!(text(&desk.run(&["list"]).stdout).contains("keyring"));

    // A refresh, a hook and the bridge.
    let second = desk.run(&["token", "--refused", &url]);
    assert_ne!(text(&second.stdout), first);
    assert!(!tells(&desk, ""));
    let hook = text(&desk.run(&["headers", &url]).stdout);
    assert!(hook.contains(&text(&second.stdout)), "{hook}");
    fake.state().hook = Some(Box::new(echo));
    let mut bridge = Bridge::start(&desk, &url);
    assert!(bridge.ask("ping", 1)["result"].is_object());
    assert_eq!(bridge.end(), Some(0));
    fake.state().hook = None;

    // The next login keeps the setting, and so does one at another server.
    sign_in(&desk, &["--new-client", &url]);
    assert!(!tells(&desk, ""));
    let other = Fake::start();
    sign_in(&desk, &["--keyring", &other.url()]);
    assert_eq!(session.keys(), 1, "one key for all accounts");

    // The key goes with the last record that it seals.
    let last = token(&desk, &url);
    let output = desk.run(&["logout", "--forget-client", &url]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!fake.state().knows_access(&last), "revoked");
    assert_eq!(session.keys(), 1);
    assert!(other.state().knows_access(&token(&desk, &other.url())));
    let output = desk.run(&["logout", "--forget-client", &other.url()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(session.keys(), 0);
    assert!(files(&desk).is_empty(), "{:?}", files(&desk));
}

/// A secret that the user typed is sealed too.
#[test]
fn sec_31_a_typed_secret_is_sealed() {
    let Some(session) = Session::start() else {
        return;
    };
    let (fake, desk) = (Fake::start(), session.desk());
    let client = (String::from("known"), Some("typed-secret".to_owned()));
    fake.state().clients.extend([client]);
    let url = fake.url();
    let login = [
        "login",
        &url,
        "--client-id",
        "known",
        "--client-secret-prompt",
        "--client-credentials",
    ];
    let sealed = [&login[..], &["--keyring"]].concat();
    let output = desk.told(&sealed, "typed-secret\n");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!tells(&desk, "typed-secret"), "{:?}", files(&desk));
    let output = desk.run(&["token", "--refused", &url]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    // Out of the keyring and into it again, with the same secret.
    let plain = desk.run(&["login", &url, "--no-keyring"]);
    assert!(plain.status.success(), "{}", text(&plain.stderr));
    assert!(tells(&desk, "typed-secret"));
    assert_eq!(session.keys(), 0);
    let output = desk.run(&["token", "--refused", &url]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let again = desk.run(&["login", &url, "--keyring"]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert!(!tells(&desk, "typed-secret"), "{:?}", files(&desk));
}

/// An account moves into the keyring and out of it without a new sign-in, also while a bridge uses it.
#[test]
fn an_account_moves_into_the_keyring_and_out_of_it() {
    let Some(session) = Session::start() else {
        return;
    };
    let (fake, desk) = (Fake::start(), session.desk());
    let url = fake.url();
    fake.state().token_seconds = 2;
    sign_in(&desk, &[&url]);
    assert!(tells(&desk, ""));
    fake.state().hook = Some(Box::new(echo));
    let mut bridge = Bridge::start(&desk, &url);
    assert!(bridge.ask("ping", 1)["result"].is_object());
    fake.state().hook = None;

    let before = fake.state().requests.len();
    let output = desk.run(&["login", "--keyring", &url]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!tells(&desk, ""), "{:?}", files(&desk));
    let asked = fake.state().requests.split_off(before);
    assert!(!asked.contains(&"GET /authorize".to_owned()), "{asked:?}");

    // The bridge refreshes with the settings that it read before; its tokens are sealed nevertheless.
    fake.state().hook = Some(Box::new(echo));
    sleep(Duration::from_millis(2_500));
    assert!(bridge.ask("ping", 2)["result"].is_object());
    assert!(!tells(&desk, ""), "{:?}", files(&desk));

    fake.state().hook = None;
    fake.state().token_seconds = 3_600;
    let output = desk.run(&["login", "--no-keyring", &url]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(tells(&desk, ""));
    assert_eq!(session.keys(), 0);
    assert!(fake.state().knows_access(&token(&desk, &url)));
    fake.state().hook = Some(Box::new(echo));
    assert!(bridge.ask("ping", 3)["result"].is_object());
    assert_eq!(bridge.end(), Some(0));
    let (_, answer) = desk.json(&["status", &url]);
    assert!(answer["keyring"].is_null(), "{answer}");
}

/// The keyring makes the start of a process slow: some read the account when another has refreshed it already. The
/// token that these find is not the one that was refused.
#[test]
fn refr_05_ten_that_report_one_refused_token_make_one_refresh() {
    let Some(session) = Session::start() else {
        return;
    };
    let (fake, desk) = (Fake::start(), session.desk());
    let url = fake.url();
    sign_in(&desk, &["--keyring", &url]);
    for command in [["headers", "--refused"], ["token", "--refused"]] {
        for _ in 0..3 {
            let refreshes = || {
                let state = fake.state();
                let asked = state.requests.iter();
                asked.filter(|path| *path == "POST /token").count()
            };
            let before = refreshes();
            let running: Vec<_> = (0..10)
                .map(|_| desk.command(&[&command[..], &[&url]].concat()).spawn())
                .collect();
            let mut printed = std::collections::BTreeSet::new();
            for process in running {
                let output = process.expect("it starts").wait_with_output();
                let output = output.expect("it ends");
                assert!(output.status.success(), "{}", text(&output.stderr));
                printed.insert(text(&output.stdout));
            }
            assert_eq!((refreshes() - before, printed.len()), (1, 1), "{command:?}");
        }
    }
}

/// A sign-in that fails leaves no key, and an account as it was.
#[test]
fn a_failed_login_leaves_no_key() {
    let Some(session) = Session::start() else {
        return;
    };
    let (fake, desk) = (Fake::start(), session.desk());
    let url = fake.url();
    let output = desk.run(&["login", "--keyring", "--no-browser", "--timeout", "1", &url]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert_eq!(
        session.keys(),
        1,
        "the registration is sealed, for the next login"
    );
    let output = desk.run(&[
        "login",
        "--keyring",
        "--timeout",
        "1",
        "http://127.0.0.1:9/mcp",
    ]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));

    let (fake, desk) = (Fake::start(), session.desk());
    let before = session.keys();
    sign_in(&desk, &[&fake.url()]);
    let stored = files(&desk);
    fake.state().forget_tokens();
    let output = desk.run(&[
        "login",
        "--keyring",
        "--no-browser",
        "--timeout",
        "1",
        &fake.url(),
    ]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let profile = |files: &std::collections::BTreeMap<String, String>| {
        let found = files.iter().find(|(name, _)| name.starts_with("profiles/"));
        found.expect("settings").1.clone()
    };
    assert_eq!(profile(&files(&desk)), profile(&stored));
    assert_eq!(session.keys(), before);
}

/// A locked keyring, one that the environment hides, and one that lost the key: each is named, in time, with
/// the next step; and a sign-out works in any case.
#[test]
fn a_keyring_out_of_reach_is_named_with_the_next_step() {
    let Some(session) = Session::start() else {
        return;
    };
    let (fake, desk) = (Fake::start(), session.desk());
    let url = fake.url();
    sign_in(&desk, &["--keyring", &url]);

    // A helper whose environment is cleared, as by Codex.
    let store = desk.path().display();
    let begun = Instant::now();
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "'{}' headers '{url}' --store '{store}'",
            env!("CARGO_BIN_EXE_mcp-auth")
        ))
        .env_clear()
        .env("XDG_RUNTIME_DIR", "/nonexistent")
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(output.stdout.is_empty());
    assert!(
        said.contains("DBUS_SESSION_BUS_ADDRESS") && said.lines().count() == 1,
        "{said}"
    );
    assert!(begun.elapsed() < Duration::from_secs(9));

    session.lock();
    for command in [&["token", &url][..], &["headers", &url], &["status", &url]] {
        let begun = Instant::now();
        let (status, answer) = match command {
            ["headers", _] => (desk.run(command).status.code(), json!(null)),
            _ => desk.json(command),
        };
        assert_eq!(status, Some(4), "{command:?}: {answer}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{command:?}");
        if answer.is_object() {
            assert_eq!(answer["error"]["code"], "keyring", "{answer}");
            let said = answer["error"]["message"].as_str().expect("a message");
            assert!(said.contains("unlock"), "{said}");
        }
    }
    let (status, answer) = desk.json(&["list"]);
    assert_eq!(status, Some(0));
    assert_eq!(
        answer["accounts"][0]["error"]["code"], "keyring",
        "{answer}"
    );

    // Sign-out does not depend on the keyring.
    let output = desk.run(&["logout", &url]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("not revoked") && said.contains("unlock"),
        "{said}"
    );
    assert_eq!(desk.run(&["token", &url]).status.code(), Some(3));
}

/// The registrations of an account name are sealed while one account of it is. The others sign in without them.
#[test]
fn an_account_outside_of_the_keyring_signs_in_where_the_keyring_is_hidden() {
    let Some(session) = Session::start() else {
        return;
    };
    let (one, other, desk) = (Fake::start(), Fake::start(), session.desk());
    sign_in(&desk, &[&one.url()]);
    sign_in(&desk, &["--keyring", &other.url()]);
    for url in [other.url(), one.url()] {
        let output = desk.run(&["logout", &url]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let store = desk.path().to_str().expect("UTF-8");
    sign_in(&Desk::with(hidden()), &["--store", store, &one.url()]);
    // With the keyring again, and after its key was deleted.
    sign_in(&desk, &["--keyring", &other.url()]);
    session.delete_keys();
    assert!(desk.run(&["logout", &other.url()]).status.success());
    sign_in(&desk, &[&other.url()]);
    assert!(one.state().knows_access(&token(&desk, &one.url())));
}

/// To delete a record takes no key. The note of the sign-in tells which registration is the account's.
#[test]
fn a_sealed_registration_is_forgotten_without_the_keyring() {
    let (fake, desk) = (Fake::start(), Desk::with(hidden()));
    let (one, other) = (fake.url(), "other");
    sign_in(&desk, &[&one]);
    let is_sealed = |name: &&String| {
        name.starts_with("slots/registration/") || name.starts_with("slots/account/")
    };
    let sealed = format!("revision\nkeyring1.abc.{}", "A".repeat(60));
    for name in files(&desk).keys().filter(is_sealed) {
        std::fs::write(desk.path().join(name), &sealed).expect("written");
    }
    // Of an account whose sign-ins noted nothing.
    std::fs::write(desk.path().join("slots/registration").join(other), &sealed).expect("written");
    let output = desk.run(&["logout", "--forget-client", &one]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(said.contains("the client's registration"), "{said}");
    let left: Vec<_> = files(&desk).into_keys().collect();
    assert_eq!(left, ["slots/registration/other"]);
}

#[test]
fn a_lost_key_leads_to_a_new_sign_in() {
    let Some(session) = Session::start() else {
        return;
    };
    let (fake, desk) = (Fake::start(), session.desk());
    let url = fake.url();
    sign_in(&desk, &["--keyring", &url]);
    session.delete_keys();
    assert_eq!(session.keys(), 0);
    let (status, answer) = desk.json(&["token", &url]);
    assert_eq!(status, Some(3), "{answer}");
    assert_eq!(answer["error"]["code"], "key_lost", "{answer}");
    // The key may be in the keyring of another session: a login that fails leaves the record.
    let record = || {
        let mut found = files(&desk).into_iter();
        found.find(|(name, _)| name.contains("/account/") && !name.ends_with(".damaged"))
    };
    let sealed = record();
    assert!(sealed.is_some());
    let output = desk.run(&["login", "--no-browser", "--timeout", "1", &url]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert_eq!(record(), sealed);
    sign_in(&desk, &[&url]);
    assert_eq!(session.keys(), 1);
    assert!(!tells(&desk, ""));
    assert!(fake.state().knows_access(&token(&desk, &url)));
    let output = desk.run(&["logout", "--forget-client", &url]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(session.keys(), 0);
}

/// A process that is killed at any moment of a move into the keyring or out of it: the account works, what belongs into
/// the keyring is sealed after the next login, and no key is left after the sign-out.
#[test]
fn sec_31_a_kill_in_the_middle_of_a_move_loses_and_leaves_nothing() {
    let Some(session) = Session::start() else {
        return;
    };
    let (fake, desk) = (Fake::start(), session.desk());
    let url = fake.url();
    let client = (String::from("known"), Some("typed-secret".to_owned()));
    fake.state().clients.extend([client]);
    let first = [
        "login",
        &url,
        "--client-id",
        "known",
        "--client-secret-prompt",
        "--client-credentials",
    ];
    let mut killed = 0;
    for step in 0_u64..28 {
        let (before, after) = [("--no-keyring", "--keyring"), ("--keyring", "--no-keyring")]
            [usize::from(step % 2 == 1)];
        let output = desk.told(&[&first[..], &[before]].concat(), "typed-secret\n");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let held = token(&desk, &url);
        let mut process = desk
            .command(&["login", &url, after])
            .spawn()
            .expect("it starts");
        sleep(Duration::from_millis(5 + 7 * (step / 2)));
        let _over = process.kill();
        let status = process.wait().expect("it is gone");
        killed += u32::from(status.code().is_none());
        // The account works as before, without a new sign-in.
        assert_eq!(token(&desk, &url), held, "{step}");
        let output = desk.run(&["login", &url, "--keyring"]);
        assert!(output.status.success(), "{step}: {}", text(&output.stderr));
        assert!(!tells(&desk, "typed-secret"), "{step}: {:?}", files(&desk));
        assert_eq!(session.keys(), 1, "{step}");
        let output = desk.run(&["logout", "--forget-client", &url]);
        assert!(output.status.success(), "{step}: {}", text(&output.stderr));
        assert_eq!(session.keys(), 0, "{step}");
        assert!(files(&desk).is_empty(), "{step}: {:?}", files(&desk));
    }
    assert!(killed > 10, "{killed}");
}

/// A key that a killed process stored, before the directory named it or after it named it no more.
#[test]
fn sec_31_a_key_that_a_killed_process_left_is_deleted() {
    let Some(session) = Session::start() else {
        return;
    };
    let (fake, desk) = (Fake::start(), session.desk());
    let url = fake.url();
    sign_in(&desk, &["--keyring", &url]);
    let id = std::fs::read_to_string(desk.path().join("keyring")).expect("a name");
    let note = json!({ "key": id.trim() }).to_string();
    let journal = desk.path().join("journal");
    // The directory names it: it stays.
    std::fs::write(journal.join("key-left.json"), &note).expect("written");
    assert!(fake.state().knows_access(&token(&desk, &url)));
    assert_eq!(session.keys(), 1);
    // A record is sealed with it: it stays.
    std::fs::remove_file(desk.path().join("keyring")).expect("removed");
    std::fs::write(journal.join("key-left.json"), &note).expect("written");
    assert!(fake.state().knows_access(&token(&desk, &url)));
    assert_eq!(session.keys(), 1);
    // No record needs it any more. Where the keyring is out of reach, a later command deletes it.
    for folder in ["slots", "profiles"] {
        std::fs::remove_dir_all(desk.path().join(folder)).expect("removed");
    }
    std::fs::write(journal.join("key-left.json"), &note).expect("written");
    let hidden = Desk::with(hidden());
    let store = desk.path().to_str().expect("UTF-8");
    assert!(hidden.run(&["list", "--store", store]).status.success());
    assert_eq!(session.keys(), 1);
    assert!(desk.run(&["list"]).status.success());
    assert_eq!(session.keys(), 0);
    assert_eq!(std::fs::read_dir(&journal).expect("a folder").count(), 0);
}

/// A record that no one can open is replaced in its place: nothing is moved aside, and a login that fails, or is
/// killed, leaves all as it was.
#[test]
fn a_record_whose_key_is_lost_stays_in_its_place_until_it_is_replaced() {
    let Some(session) = Session::start() else {
        return;
    };
    let (fake, desk) = (Fake::start(), session.desk());
    let url = fake.url();
    sign_in(&desk, &["--keyring", &url]);
    session.delete_keys();
    let records = || {
        let mut all = files(&desk);
        all.retain(|name, _| {
            name.starts_with("slots/account") || name.starts_with("slots/registration")
        });
        all
    };
    let before = records();
    assert_eq!(before.len(), 2);
    fake.state().register = crate::fake::Mode::Answers(503, "text/plain", "down");
    let login = ["login", "--no-browser", "--timeout", "2", &url];
    assert_eq!(desk.run(&login).status.code(), Some(4));
    assert_eq!(records(), before);
    fake.state().register = crate::fake::Mode::Hangs;
    let mut process = desk.command(&login).spawn().expect("it starts");
    sleep(Duration::from_millis(500));
    process.kill().expect("killed");
    process.wait().expect("it is gone");
    assert_eq!(records(), before);
    fake.state().register = crate::fake::Mode::Works;
    sign_in(&desk, &[&url]);
    let after = records();
    assert!(
        after.keys().all(|name| !name.ends_with(".damaged")),
        "{:?}",
        after.keys()
    );
    assert!(!tells(&desk, "") && fake.state().knows_access(&token(&desk, &url)));
}

/// Tokens that a lock keeps out of the store wait for the next command sealed, as the account is.
#[test]
fn sec_31_tokens_that_wait_for_the_next_command_are_sealed() {
    let Some(session) = Session::start() else {
        return;
    };
    let (fake, desk) = (Fake::start(), session.desk());
    let url = fake.url();
    sign_in(&desk, &["--keyring", &url]);
    fake.state().delay = Duration::from_millis(700);
    let asked = || {
        let state = fake.state();
        let asked = state.requests.iter();
        asked.filter(|path| path.contains("/token")).count()
    };
    let before = asked();
    let process = desk
        .command(&["headers", "--refused", "--within", "3", &url])
        .spawn()
        .expect("it starts");
    until("a refresh", || asked() > before);
    let lock = std::fs::File::options()
        .write(true)
        .open(desk.path().join("lock"));
    let lock = lock.expect("a lock");
    lock.lock().expect("locked");
    let output = process.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let stored = files(&desk);
    let kept = stored
        .iter()
        .find(|(name, _)| name.starts_with("journal/kept-"));
    assert!(
        kept.expect("an entry").1.contains("keyring1."),
        "{stored:?}"
    );
    // The tokens of the fake server have this word.
    assert!(
        stored.values().all(|text| !text.contains("-of-the-fake")),
        "{stored:?}"
    );
    drop(lock);
    fake.state().delay = Duration::ZERO;
    let token = text(&desk.run(&["token", &url]).stdout);
    assert!(fake.state().knows_access(&token), "{token}");
    assert_eq!(asked(), before + 1);
    assert!(desk.run(&["token", "--refused", &url]).status.success());
}
