//! The command, run as a user runs it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use crate::support::{Desk, Servers, text};

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

/// The built-in servers run, and the line that a user needs for the wanted way to sign in is a command that works.
#[test]
fn the_servers_of_the_demo_say_how_to_sign_in_as_asked() {
    for (option, command) in [
        ("--device", "--device"),
        ("--dpop", "--dpop-key FILE"),
        (
            "--client-credentials",
            "--client-credentials --client-id 'demo service'",
        ),
    ] {
        let mut process = Command::new(env!("CARGO_BIN_EXE_mcp-auth"))
            .args(["demo", "--serve", option])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let lines: Vec<String> = lines.map_while(Result::ok).take(5).collect();
        let line = lines.last().unwrap().clone();
        assert!(line.contains("mcp-auth login http://127.0.0.1"), "{line}");
        assert!(line.contains(command), "{line}");
        if option == "--client-credentials" {
            let desk = Desk::new();
            let (_, line) = line.split_once(": ").unwrap();
            let line = line.replace(
                "mcp-auth login",
                &format!("'{}' login", env!("CARGO_BIN_EXE_mcp-auth")),
            );
            let output = Command::new("sh")
                .args(["-c", &line])
                .env("MCP_AUTH_STORE", desk.path())
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
        process.kill().unwrap();
        process.wait().unwrap();
    }
}

/// A URL without a scheme, and a time limit that permits nothing, are errors of the command line in every command.
#[test]
fn a_wrong_command_line_has_the_same_status_in_every_command() {
    let desk = Desk::new();
    let url = "https://mcp.example/mcp";
    for command in [
        &["login"][..],
        &["token"],
        &["headers"],
        &["status"],
        &["logout"],
        &["doctor"],
        &["proxy"],
        &["setup", "cursor"],
    ] {
        for wrong in ["notaurl", "ftp://mcp.example", "http://mcp.example", ""] {
            let (status, answer) = desk.json(&[command, &[wrong]].concat());
            assert_eq!(status, Some(2), "{command:?} {wrong}: {answer}");
            assert_eq!(answer["error"]["code"], "usage", "{command:?} {wrong}");
        }
    }
    for (command, limit) in [
        ("login", "--timeout"),
        ("token", "--timeout"),
        ("logout", "--timeout"),
        ("doctor", "--timeout"),
        ("headers", "--within"),
        ("proxy", "--auth-timeout"),
    ] {
        for none in ["0", "x", "-1"] {
            let output = desk.run(&[command, url, &format!("{limit}={none}")]);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{command} {none}: {said}");
            assert!(said.contains("at least 1"), "{said}");
        }
    }
}

/// A method that the built-in MCP server does not know is an error of the protocol for a client with a token.
#[test]
fn an_unknown_method_is_an_error_of_the_protocol() {
    let servers = Servers::start(&[]);
    let desk = Desk::new();
    assert!(desk.sign_in(&[&servers.mcp], false).status.success());
    let token = text(&desk.run(&["token", &servers.mcp]).stdout);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    for (token, status) in [(Some(token), 200), (None, 401)] {
        let mut request = agent
            .post(&servers.mcp)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        if let Some(token) = &token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = r#"{"jsonrpc":"2.0","id":7,"method":"foo/bar"}"#;
        let mut answer = request.send(body).unwrap();
        let body = answer.body_mut().read_to_string().unwrap();
        assert_eq!(answer.status().as_u16(), status, "{body}");
        if status == 200 {
            assert!(
                body.contains("-32601") && body.contains("\"id\":7"),
                "{body}"
            );
        }
    }
}

/// The usage shows what is missing on the command line, whatever the environment has.
#[test]
fn the_usage_names_no_option_that_the_environment_gives() {
    let output = Desk::new().run(&["token"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said.contains("token [OPTIONS] <URL>") || said.contains("token <URL>"),
        "{said}"
    );
    assert!(!said.contains("--store"), "{said}");
}

#[test]
fn the_demo_steps_up_for_the_union() {
    let (output, text) = demo(&["--step-up"]);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("need_user  scope_missing"), "{text}");
    let union = r#"["mcp:tools", "offline_access", "mcp:echo"]"#;
    assert!(text.contains(union), "{text}");
}
