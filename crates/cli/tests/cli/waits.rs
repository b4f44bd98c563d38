//! The waits of a command: each one ends with the time of the command, and the message names it.

use std::fs::File;
use std::process::Output;
use std::time::{Duration, Instant};

use crate::bridge::until;
use crate::fake::{Fake, Mode};
use crate::support::{Desk, text};

fn signed_in(fake: &Fake) -> Desk {
    let desk = Desk::new();
    let output = desk.sign_in(&[&fake.url()], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    desk
}

/// The locks of a directory of accounts.
const LOCKS: [&str; 2] = ["lock", "slots/lock"];

fn held(desk: &Desk, name: &str) -> File {
    let lock = File::options()
        .write(true)
        .open(desk.path().join(name))
        .expect("a lock");
    lock.lock().expect("locked");
    lock
}

/// Returns the output of a command that failed within this time, and its message.
fn failed(desk: &Desk, arguments: &[&str], time: Duration) -> (Output, String) {
    let begun = Instant::now();
    let output = desk.run(arguments);
    let (took, said) = (begun.elapsed(), text(&output.stderr));
    assert!(took < time, "{arguments:?}: {took:?}, {said}");
    assert_eq!(output.status.code(), Some(4), "{arguments:?}: {said}");
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    (output, said)
}

fn token_requests(fake: &Fake) -> usize {
    let state = fake.state();
    let asked = state.requests.iter();
    asked.filter(|path| path.contains("/token")).count()
}

/// A lock that another program holds ends each command in its own time, and is named with its holder; no server is
/// blamed.
#[test]
fn a_lock_that_is_held_ends_a_command_in_its_time_and_is_named() {
    let fake = Fake::start();
    let desk = signed_in(&fake);
    let url = fake.url();
    for name in LOCKS {
        let _held = held(&desk, name);
        for arguments in [
            &["headers", "--refused", "--within", "2", &url][..],
            &["token", "--refused", "--timeout", "2", &url],
            &[
                "login",
                "--scope",
                "more",
                "--no-browser",
                "--timeout",
                "2",
                &url,
            ],
            &["logout", "--timeout", "2", &url],
        ] {
            // A sign-out erases under the lock of the slots, after the one of the directory.
            if name == "slots/lock" && matches!(arguments[0], "login" | "logout") {
                continue;
            }
            let before = token_requests(&fake);
            let (_, said) = failed(&desk, arguments, Duration::from_secs(6));
            let path = desk.path().join(name).display().to_string();
            assert!(said.contains(&path), "{arguments:?}: {said}");
            if cfg!(target_os = "linux") {
                let holder = format!("process {}", std::process::id());
                assert!(said.contains(&holder), "{arguments:?}: {said}");
            }
            assert!(
                !said.contains("authorization server"),
                "{arguments:?}: {said}"
            );
            assert!(said.contains("wait until that process has ended"), "{said}");
            assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
            assert_eq!(token_requests(&fake), before, "no token is spent");
        }
    }
}

/// A lock that another program takes while the server answers: the hook ends in time, and the next command stores
/// the tokens.
#[test]
fn tok_16_tokens_that_a_lock_keeps_out_of_the_store_are_stored_by_the_next_command() {
    for name in LOCKS {
        let fake = Fake::start();
        let desk = signed_in(&fake);
        let url = fake.url();
        let before = token_requests(&fake);
        fake.state().delay = Duration::from_secs(1);
        let begun = Instant::now();
        let process = desk
            .command(&["headers", "--refused", "--within", "3", &url])
            .spawn()
            .expect("it starts");
        until("a refresh", || token_requests(&fake) > before);
        let lock = held(&desk, name);
        let output = process.wait_with_output().expect("it ends");
        let said = text(&output.stderr);
        assert!(begun.elapsed() < Duration::from_secs(8), "{name}: {said}");
        assert_eq!(output.status.code(), Some(4), "{name}: {said}");
        assert!(
            said.contains(&*desk.path().join(name).to_string_lossy()),
            "{said}"
        );
        drop(lock);
        let next = desk.run(&["token", &url]);
        let (token, said) = (text(&next.stdout), text(&next.stderr));
        assert!(fake.state().knows_access(&token), "{name}: {token}, {said}");
        assert_eq!(token_requests(&fake), before + 1, "{name}: one refresh");
        // The refresh token that was kept is the one that the server knows.
        fake.state().delay = Duration::ZERO;
        let renewed = desk.run(&["token", "--refused", &url]);
        assert!(
            renewed.status.success(),
            "{name}: {}",
            text(&renewed.stderr)
        );
        let left = std::fs::read_dir(desk.path().join("journal")).expect("a folder");
        assert_eq!(left.count(), 0, "{name}: no secret stays");
    }
}

/// A server that accepts connections and never answers is named as the one that it is, with the request.
#[test]
fn a_server_that_never_answers_is_the_one_that_is_named() {
    let mcp = Fake::start();
    let issuer = Fake::start();
    mcp.state().announces = Some(issuer.issuer());
    mcp.state().trusts = Some(issuer.share());
    let desk = signed_in(&mcp);
    let url = mcp.url();
    mcp.state().documents = Mode::Hangs;
    for arguments in [
        &["headers", "--refused", "--within", "2", &url][..],
        &["token", "--refused", "--timeout", "2", &url],
    ] {
        let (_, said) = failed(&desk, arguments, Duration::from_secs(6));
        assert!(
            said.contains("the MCP server could not be reached"),
            "{said}"
        );
        assert!(said.contains(&mcp.issuer()), "{said}");
        assert!(!said.contains(&issuer.issuer()), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    mcp.state().documents = Mode::Works;
    issuer.state().token = Mode::Hangs;
    let (_, said) = failed(
        &desk,
        &["headers", "--refused", "--within", "2", &url],
        Duration::from_secs(6),
    );
    assert!(
        said.contains("the authorization server could not be reached"),
        "{said}"
    );
    assert!(
        said.contains(&format!("{}/token", issuer.issuer())),
        "{said}"
    );
}

/// A program reads the first line of a hook: there is one, whatever a server does.
#[test]
fn a_hook_that_fails_writes_one_line() {
    for mode in [
        Mode::Closes,
        Mode::Answers(503, "text/plain", "busy"),
        Mode::Answers(429, "text/plain", "slowly"),
        Mode::Answers(400, "application/json", "{\"error\":\"invalid_grant\"}"),
        Mode::Answers(200, "text/html", "<html>"),
    ] {
        let fake = Fake::start();
        fake.state().token_seconds = 1;
        let desk = signed_in(&fake);
        std::thread::sleep(Duration::from_millis(1_200));
        fake.state().token = mode.clone();
        for more in [None, Some("--refused")] {
            let url = fake.url();
            let mut arguments = vec!["headers", "--within", "3", &url];
            arguments.extend(more);
            let output = desk.run(&arguments);
            let said = text(&output.stderr);
            assert!(!output.status.success(), "{mode:?}: {said}");
            assert_eq!(said.lines().count(), 1, "{mode:?}: {said}");
        }
    }
}

/// A program that starts the command and never writes the secret does not keep it.
#[test]
fn a_secret_that_never_comes_is_waited_for_within_the_time() {
    let fake = Fake::start();
    let desk = Desk::new();
    let url = fake.url();
    let arguments = [
        "login",
        &url,
        "--client-id",
        "a",
        "--client-secret-prompt",
        "--timeout",
        "1",
    ];
    let begun = Instant::now();
    let mut process = desk
        .command(&arguments)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let silent = process.stdin.take().expect("a pipe");
    let output = process.wait_with_output().expect("it ends");
    drop(silent);
    let said = text(&output.stderr);
    assert!(begun.elapsed() < Duration::from_secs(3), "{said}");
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(
        said.contains("standard input brought no client secret"),
        "{said}"
    );
}

/// The turn of another sign-in is waited for within the time, and nobody's browser is blamed.
#[test]
fn the_sign_in_of_another_bridge_is_named_when_the_time_ends() {
    let fake = Fake::start();
    let desk = signed_in(&fake);
    let url = fake.url();
    let settings = std::fs::read_dir(desk.path().join("profiles")).expect("a folder");
    let settings = settings.flatten().next().expect("a file").path();
    let name = settings.file_stem().expect("a name").to_string_lossy();
    let file = desk.path().join("signing").join(format!("{name}.lock"));
    std::fs::create_dir_all(desk.path().join("signing")).expect("a folder");
    std::fs::write(&file, "").expect("written");
    let lock = File::options().write(true).open(&file).expect("a lock");
    lock.lock().expect("locked");
    let begun = Instant::now();
    let mut process = desk
        .command(&[
            "login",
            &url,
            "--until-closed",
            "--no-browser",
            "--timeout",
            "1",
        ])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let open = process.stdin.take();
    let output = process.wait_with_output().expect("it ends");
    drop(open);
    let said = text(&output.stderr);
    assert!(begun.elapsed() < Duration::from_secs(6), "{said}");
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains(&*file.to_string_lossy()), "{said}");
    assert!(!said.contains("browser"), "{said}");
}
