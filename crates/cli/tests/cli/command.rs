//! The command, run as a user runs it.

use std::process::{Command, Output};

fn demo(arguments: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_mcp-auth"))
        .arg("demo")
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (output, text)
}

#[test]
fn the_demo_signs_in_and_calls_a_tool() {
    let (output, text) = demo(&[]);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("tools/call echo answered: hello from the demo"),
        "{text}"
    );
    // Requests contain these secrets, which must not be printed.
    for secret in [
        "code_verifier",
        "access_token",
        "refresh_token",
        "state=",
        "Bearer ",
    ] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn the_demo_refuses_a_callback_of_another_server() {
    let (output, text) = demo(&["--wrong-iss"]);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("attack refused: issuer mismatch"), "{text}");
    assert!(
        !text.contains("(token)"),
        "a token request was made: {text}"
    );
}

#[test]
fn the_demo_asks_before_following_a_moved_server() {
    let (output, text) = demo(&["--moved-server"]);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("\n0 request(s) went to"), "{text}");
}

#[test]
fn d01_refr_05_the_demo_refreshes_once_for_two_processes() {
    let (output, text) = demo(&["--refresh"]);
    assert!(output.status.success(), "{text}");
    let end = "2 processes have a new token; 1 refresh request(s) reached the server";
    assert!(text.contains(end), "{text}");
}

#[test]
fn step_05_the_demo_keeps_the_first_access_after_a_no() {
    let (output, text) = demo(&["--step-up", "--decline"]);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("declined: the authorization was declined"),
        "{text}"
    );
    assert!(text.contains("tools/list still answers"), "{text}");
}

#[test]
fn dpop_07_dpop_08_the_demo_proves_its_key_at_each_request() {
    let (output, text) = demo(&["--dpop"]);
    assert!(output.status.success(), "{text}");
    // For the token request; the servers accepted every proof.
    assert!(text.contains("proof, ES256"), "{text}");
    assert!(text.contains("tools/call echo answered"), "{text}");
}

#[test]
fn m2m_02_the_demo_acts_for_itself() {
    let (output, text) = demo(&["--client-credentials"]);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("tools/call echo answered"), "{text}");
    for word in [
        "need_user",
        "redirect ",
        "/register",
        "a secret of the demo",
    ] {
        assert!(!text.contains(word), "{word} in {text}");
    }
}

#[test]
fn the_demo_steps_up_for_the_union() {
    let (output, text) = demo(&["--step-up"]);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("need_user  scope_missing"), "{text}");
    let union = r#"["mcp:tools", "offline_access", "mcp:echo"]"#;
    assert!(text.contains(union), "{text}");
}
