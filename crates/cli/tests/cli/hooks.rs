//! `headers` as clients run it: a command that prints one flat JSON object within a time limit, perhaps
//! without environment variables.

use std::process::{Command, Output, Stdio};
use std::thread::scope;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bridge::until;
use crate::fake::{Fake, Mode};
use crate::support::{Desk, text};

fn signed_in(fake: &Fake) -> Desk {
    let desk = Desk::new();
    let output = desk.sign_in(&[&fake.url()], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    desk
}

/// The rules of the clients' documentation for a hook's output: one flat object of strings, nothing else, at
/// most 64 KiB.
fn accepted(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(output.stdout.len() <= 64 * 1024);
    let object: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    let members = object.as_object().expect("an object");
    assert!(members.values().all(Value::is_string), "{object}");
    object
}

fn bearer(output: &Output) -> String {
    let object = accepted(output);
    let value = object["Authorization"].as_str().expect("the header");
    value.strip_prefix("Bearer ").expect("a bearer").to_owned()
}

#[test]
fn a_hook_prints_one_flat_object() {
    let fake = Fake::start();
    let desk = signed_in(&fake);
    let token = bearer(&desk.run(&["headers", &fake.url()]));
    assert!(fake.state().knows_access(&token));
}

/// Codex clears the environment: everything is in the arguments, read by a shell.
#[test]
fn a_hook_works_in_a_cleared_environment() {
    let fake = Fake::start();
    let desk = signed_in(&fake);
    let store = desk.path().display();
    let (program, url) = (env!("CARGO_BIN_EXE_mcp-auth"), fake.url());
    let output = Command::new("sh")
        .args([
            "-c",
            &format!("'{program}' headers '{url}' --store '{store}'"),
        ])
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    assert!(fake.state().knows_access(&bearer(&output)));
}

/// Claude Code names the server in the environment.
#[test]
fn a_hook_takes_the_url_from_the_environment() {
    let fake = Fake::start();
    let desk = signed_in(&fake);
    let mut command = desk.command(&["headers"]);
    command.env("CLAUDE_CODE_MCP_SERVER_URL", fake.url());
    bearer(&command.output().expect("it runs"));
}

#[test]
fn a_refused_token_is_refreshed() {
    let fake = Fake::start();
    let desk = signed_in(&fake);
    let first = bearer(&desk.run(&["headers", &fake.url()]));
    let same = bearer(&desk.run(&["headers", &fake.url()]));
    assert_eq!(first, same);
    let second = bearer(&desk.run(&["headers", "--refused", &fake.url()]));
    assert_ne!(first, second);
    let third = desk.run(&["token", "--refused", &fake.url()]);
    assert_ne!(text(&third.stdout).trim(), second);
}

/// A process that reads the account after another one has refreshed it reports the token that was refused, not the
/// new one.
#[cfg(unix)]
#[test]
fn refr_05_a_token_from_after_the_start_is_not_the_one_that_was_refused() {
    use std::{fs, os::unix::fs::symlink};

    let fake = Fake::start();
    let desk = signed_in(&fake);
    let url = fake.url();
    let first = bearer(&desk.run(&["headers", &url]));
    // A second store with the same records, whose settings can be read when this test says so.
    let late = Desk::new();
    symlink(desk.path().join("slots"), late.path().join("slots")).expect("linked");
    let folder = late.path().join("profiles");
    fs::create_dir(&folder).expect("a folder");
    let files = fs::read_dir(desk.path().join("profiles")).expect("settings");
    let settings = files.flatten().next().expect("a file").path();
    let held = folder.join(settings.file_name().expect("a name"));
    for command in ["headers", "token"] {
        let _gone = fs::remove_file(&held);
        let made = Command::new("mkfifo").arg(&held).status();
        assert!(made.expect("mkfifo").success());
        let process = late.command(&[command, "--refused", &url]).spawn();
        // Opens when the process reads.
        let mut settled = fs::OpenOptions::new()
            .write(true)
            .open(&held)
            .expect("open");
        let second = bearer(&desk.run(&["headers", "--refused", &url]));
        assert_ne!(first, second);
        let copy = folder.join("copy");
        fs::copy(&settings, &copy).expect("copied");
        fs::rename(&copy, &held).expect("renamed");
        std::io::copy(&mut fs::File::open(&settings).expect("open"), &mut settled).expect("read");
        drop(settled);
        let output = process
            .expect("it starts")
            .wait_with_output()
            .expect("it ends");
        assert!(
            text(&output.stdout).contains(&second),
            "{}",
            text(&output.stderr)
        );
    }
}

/// A token with less than a minute to live is refreshed for a hook, and not for a command that sends it now.
#[test]
fn a_hook_gets_a_token_with_a_minute_to_live() {
    let fake = Fake::start();
    fake.state().token_seconds = 50;
    let desk = signed_in(&fake);
    let printed = desk.run(&["token", &fake.url()]);
    fake.state().token_seconds = 3_600;
    let again = desk.run(&["token", &fake.url()]);
    assert_eq!(printed.stdout, again.stdout);
    let token = bearer(&desk.run(&["headers", &fake.url()]));
    assert_ne!(text(&printed.stdout).trim(), token);
    let longer = desk.run(&["token", "--min-ttl", "7200", &fake.url()]);
    assert!(longer.status.success(), "{}", text(&longer.stderr));
}

#[test]
fn ten_hooks_at_once_make_one_refresh() {
    let fake = Fake::start();
    fake.state().token_seconds = 1;
    let desk = signed_in(&fake);
    fake.state().token_seconds = 3_600;
    std::thread::sleep(Duration::from_millis(1_500));
    let before = fake.state().requests.len();
    let tokens: Vec<String> = scope(|threads| {
        let running: Vec<_> = (0..10)
            .map(|_| threads.spawn(|| bearer(&desk.run(&["headers", &fake.url()]))))
            .collect();
        let ended = running
            .into_iter()
            .map(|thread| thread.join().expect("a token"));
        ended.collect()
    });
    assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
    let state = fake.state();
    let asked = state.requests.iter().skip(before);
    assert_eq!(asked.filter(|path| path.contains("/token")).count(), 1);
}

/// A client waits ten seconds: with an unresponsive server the hook ends earlier, with one line of
/// explanation.
#[test]
fn a_hook_ends_in_time() {
    let fake = Fake::start();
    fake.state().token_seconds = 1;
    let desk = signed_in(&fake);
    std::thread::sleep(Duration::from_millis(1_500));
    fake.state().token = Mode::Hangs;
    let begun = Instant::now();
    let output = desk.run(&["headers", "--within", "2", &fake.url()]);
    assert!(
        begun.elapsed() < Duration::from_secs(9),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
}

#[test]
fn a_hook_without_an_account_says_how_to_sign_in() {
    let fake = Fake::start();
    let desk = Desk::new();
    let output = desk.run(&["headers", &fake.url()]);
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty());
    assert!(text(&output.stderr).contains("mcp-auth login"));
}

/// A client waits ten seconds, and a killed process leaves a refresh lease of 35: the hook ends earlier, with a
/// status that says "later".
#[test]
fn a_hook_ends_in_time_beside_a_dead_lease() {
    let fake = Fake::start();
    fake.state().token_seconds = 1;
    let desk = signed_in(&fake);
    std::thread::sleep(Duration::from_millis(1_500));
    fake.state().delay = Duration::from_secs(5);
    let asked = |fake: &Fake| {
        let state = fake.state();
        let asked = state.requests.iter();
        asked.filter(|path| path.contains("/token")).count()
    };
    let before = asked(&fake);
    let mut killed = desk
        .command(&["token", &fake.url()])
        .spawn()
        .expect("it starts");
    until("a refresh", || asked(&fake) > before);
    killed.kill().expect("killed");
    killed.wait().expect("it is gone");
    fake.state().delay = Duration::ZERO;
    let begun = Instant::now();
    let output = desk.run(&["headers", &fake.url()]);
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty() && text(&output.stderr).lines().count() >= 1);
}

/// On a disk that takes no write, a valid token is printed, and a refresh is not begun: its tokens would be lost.
#[cfg(unix)]
#[test]
fn a_hook_ends_in_time_on_a_dead_disk() {
    let fake = Fake::start();
    let desk = signed_in(&fake);
    let url = fake.url();
    let on_a_full_disk = |arguments: &[&str]| {
        let plain = desk.command(arguments);
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"])
            .arg(plain.get_program())
            .args(plain.get_args())
            .env("MCP_AUTH_STORE", desk.path());
        command.output().expect("it runs")
    };
    bearer(&on_a_full_disk(&["headers", &url]));
    let before = fake.state().requests.len();
    let begun = Instant::now();
    let output = on_a_full_disk(&["headers", "--min-ttl", "7200", &url]);
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    // The held token is valid, and is printed where a longer one cannot be had.
    bearer(&output);
    let begun = Instant::now();
    fake.state().token_seconds = 1;
    let refreshed = desk.run(&["token", "--refused", &url]);
    assert!(refreshed.status.success());
    std::thread::sleep(Duration::from_millis(1_500));
    let between = fake.state().requests.len();
    let output = on_a_full_disk(&["headers", &url]);
    assert!(
        begun.elapsed() < Duration::from_secs(12),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
    assert_eq!(fake.state().requests.len(), between, "no token is spent");
    assert!(between > before);
}
