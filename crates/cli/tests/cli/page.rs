//! `--html`: a page of what happened, without its secrets.

use std::fs;

use crate::record::secrets;
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
