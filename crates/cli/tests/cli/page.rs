//! `--html`: a page of what happened, without its secrets.

use std::fs;

use crate::fake::{Fake, Mode};
use crate::record::secrets;
use crate::remedies::returned;
use crate::support::{Desk, Servers, text};

#[test]
fn a_sign_in_its_end_and_a_replay_as_pages() {
    let servers = Servers::start(&[]);
    let desk = Desk::new();
    let url = servers.mcp.as_str();
    let (page, record) = (desk.path().join("page.html"), desk.path().join("lines"));
    let html = page.to_str().expect("a path");
    let lines = record.to_str().expect("a path");

    let output = desk.sign_in(&[url, "--html", html, "--record", lines], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let secrets = secrets(&desk);
    assert!(secrets.len() >= 2, "{secrets:?}");
    let check = |parts: &[&str]| {
        let shown = fs::read_to_string(&page).expect("a page");
        for secret in &secrets {
            assert!(!shown.contains(secret.as_str()), "{secret} is on the page");
        }
        for part in parts {
            assert!(shown.contains(part), "{part} is missing on {shown}");
        }
        assert!(!shown.contains("<script"));
        fs::remove_file(&page).expect("removed");
    };
    let signed_in = [
        "Signed in at http://127.0.0.1",
        "The browser returned",
        "refresh_token</dt><dd>(hidden)",
        "code_verifier</dt><dd>(hidden)",
        "grant_type</dt><dd>authorization_code",
    ];
    check(&signed_in);
    let output = desk.run(&["replay", lines, "--html", html]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    check(&signed_in);
    let output = desk.run(&["doctor", url, "--html", html]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    check(&[
        "authorization server metadata",
        "code_challenge_methods_supported",
        "A sign-in can use this server",
        "The examination ends before a registration",
    ]);
    let output = desk.run(&["logout", url, "--html", html]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    check(&["Sign-out", "revocation", "Erase account"]);
}

#[test]
fn a_command_without_a_conversation_has_no_page() {
    let desk = Desk::new();
    let page = desk.path().join("page.html");
    let html = page.to_str().expect("a path");
    let output = desk.run(&["list", "--html", html]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--html is for"));
    assert!(!page.exists());
}

/// Each failure of a command has a party on its page, and a sign-out its outcome.
#[test]
fn a_page_names_the_party_that_must_mend_it() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    let path = desk.path().join("page.html");
    let html = path.to_str().expect("a path");
    let page = |arguments: &[&str]| {
        let output = desk.run(&[arguments, &["--html", html]].concat());
        let page = fs::read_to_string(&path).unwrap_or_default();
        let _gone = fs::remove_file(&path);
        assert!(!page.is_empty(), "{arguments:?}: {}", text(&output.stderr));
        let (outcome, _) = page.split_once(r#"id="steps""#).expect("an outcome");
        outcome.to_owned()
    };
    let has = |page: &str, parts: &[&str]| {
        for part in parts {
            assert!(page.contains(part), "{part}: {page}");
        }
    };
    let party = "who must mend it";
    let dead = page(&[
        "login",
        "http://127.0.0.1:9/mcp",
        "--no-browser",
        "--timeout",
        "2",
    ]);
    has(
        &dead,
        &[party, "the network between this machine and the server"],
    );
    // Before a machine begins.
    let unknown = page(&["token", &url]);
    has(&unknown, &[party, "not signed in"]);
    let doctor = page(&["doctor", "http://127.0.0.1:9/mcp"]);
    has(&doctor, &[party, "no answer from"]);
    let late = page(&["login", &url, "--no-browser", "--timeout", "1"]);
    has(&late, &[party, "the user, who was waited for"]);
    let output = desk.sign_in(&[&url], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    fake.state().hook = Some(Box::new(|request, issuer| {
        (request.path == "/authorize").then(|| returned(request, issuer, "invalid_scope", "no"))
    }));
    let mut process = desk
        .command(&[
            "login",
            &url,
            "--scope",
            "nonsense",
            "--no-browser",
            "--html",
            html,
            "--timeout",
            "20",
        ])
        .spawn()
        .expect("it starts");
    {
        use std::io::{BufRead, BufReader};
        let lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
        for line in lines
            .map_while(Result::ok)
            .filter(|line| line.starts_with("http://127.0.0.1"))
        {
            crate::support::follow(&line, true);
        }
    }
    let _status = process.wait().expect("it ends");
    let refused = fs::read_to_string(&path).expect("a page");
    let (refused, _) = refused
        .split_once("Failures before it")
        .unwrap_or((&refused, ""));
    has(refused, &[party, "who names the scopes"]);
    fake.state().hook = None;
    fake.state().revoke = Mode::Answers(500, "text/plain", "down");
    let output = page(&["logout", &url]);
    has(&output, &["Signed out", "not revoked"]);
    fake.state().revoke = Mode::Works;
    let output = desk.sign_in(&[&url], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = page(&["logout", &url]);
    has(&output, &["Signed out"]);
    assert!(
        !output.contains("before an outcome") && !output.contains("not revoked"),
        "{output}"
    );
}
