//! `--record`: the transcript can be replayed, and contains no secret.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Desk, Servers, text};

/// Returns the store's secret texts.
pub(crate) fn secrets(desk: &Desk) -> Vec<String> {
    let mut found = Vec::new();
    for kind in ["account", "registration"] {
        let Ok(files) = fs::read_dir(desk.path().join("slots").join(kind)) else {
            continue;
        };
        for file in files {
            let text = fs::read_to_string(file.expect("a file").path()).expect("text");
            for record in text.split("v3.").skip(1) {
                let json = mcp_auth_testing::spelled_out(record);
                let stream = serde_json::Deserializer::from_str(&json).into_iter::<Value>();
                for value in stream.map_while(Result::ok) {
                    for place in ["/tokens/access", "/tokens/refresh"] {
                        found.extend(
                            value
                                .pointer(place)
                                .and_then(Value::as_str)
                                .map(str::to_owned),
                        );
                    }
                }
            }
        }
    }
    found
}

/// Replays the transcript, and searches it for secrets.
fn check(desk: &Desk, file: &Path, secrets: &[String], parts: &[&str]) {
    let kept = fs::read_to_string(file).expect("a transcript");
    for secret in secrets {
        assert!(secret.len() > 8, "{secret}");
        assert!(!kept.contains(secret.as_str()), "{secret} in {kept}");
    }
    for part in parts {
        assert!(kept.contains(part), "{part} is missing in {kept}");
    }
    let output = desk.run(&["replay", file.to_str().expect("a path")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(kept.lines().count() > 4);
}

#[test]
fn from_login_to_logout_as_transcripts() {
    let servers = Servers::start(&["--token-seconds", "1"]);
    let desk = Desk::new();
    let url = servers.mcp.as_str();
    let file = desk.path().join("transcript.jsonl");
    let path = file.to_str().expect("a path");

    let output = desk.sign_in(&[url, "--record", path], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut seen = secrets(&desk);
    assert!(
        seen.len() >= 2,
        "an access token and a refresh token: {seen:?}"
    );
    let parts = [
        "callback_params",
        "code=code-1",
        "token-1",
        "refresh-1",
        "\"ready\"",
    ];
    check(&desk, &file, &seen, &parts);

    // The token has expired by now: the stored record is read, and the token refreshed.
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    let output = desk.run(&["token", url, "--record", path]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let token = text(&output.stdout);
    assert!(!seen.contains(&token), "it was renewed");
    seen.extend(secrets(&desk));
    check(
        &desk,
        &file,
        &seen,
        &["wanted", "token_refreshed", "grant_type=refresh_token"],
    );

    let output = desk.run(&["logout", url, "--record", path]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    check(&desk, &file, &seen, &["signed_out", "revocation"]);

    let output = desk.run(&["doctor", url, "--record", path]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    check(&desk, &file, &[], &["no_client"]);
}

#[test]
fn a_clients_secret_and_a_bound_token_are_not_in_it() {
    let servers = Servers::start(&[]);
    let desk = Desk::new();
    let url = servers.mcp.as_str();
    let file = desk.path().join("transcript.jsonl");
    let path = file.to_str().expect("a path");
    let secret = desk.path().join("secret");
    fs::write(&secret, "a secret of the demo").expect("written");
    let mut login = vec![
        "login",
        url,
        "--client-credentials",
        "--client-id",
        "demo service",
    ];
    login.extend(["--client-secret-file", secret.to_str().expect("a path")]);
    login.extend(["--record", path]);
    let output = desk.run(&login);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut seen = secrets(&desk);
    seen.push("a secret of the demo".to_owned());
    seen.push("a+secret+of+the+demo".to_owned());
    check(&desk, &file, &seen, &["secret-1", "client_credentials"]);
    let output = desk.run(&["token", url, "--record", path]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    check(&desk, &file, &seen, &["secret-1", "\"ready\""]);

    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/p256.pem");
    let desk = Desk::new();
    let output = desk.sign_in(&[url, "--dpop-key", key, "--record", path], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut seen = secrets(&desk);
    seen.push(key.to_owned());
    check(&desk, &file, &seen, &["\"sign\"", "\"DPoP\""]);
}

#[test]
fn what_a_person_pastes_is_kept_only_where_it_belongs() {
    let servers = Servers::start(&[]);
    let desk = Desk::new();
    let file = desk.path().join("transcript.jsonl");
    let path = file.to_str().expect("a path");
    let output = desk.sign_in(&[&servers.mcp, "--record", path], true);
    assert!(output.status.success(), "{}", text(&output.stderr));
    check(&desk, &file, &secrets(&desk), &["code=code-1"]);
    // The callback of another sign-in is not recorded.
    let kept = fs::read_to_string(&file).expect("a transcript");
    assert!(!kept.contains("/callback?code=x&state=y"), "{kept}");
}

#[test]
fn what_cannot_be_covered_is_not_written() {
    let servers = Servers::start(&[]);
    let desk = Desk::new();
    let file = desk.path().join("transcript.jsonl");
    let path = file.to_str().expect("a path");
    let secret = desk.path().join("secret");
    // Too short for a reliable search; and one that also occurs in a public place.
    for text_of_it in ["abc", "mcp-auth"] {
        fs::write(&secret, text_of_it).expect("written");
        let mut login = vec!["login", servers.mcp.as_str(), "--client-credentials"];
        login.extend(["--client-id", "demo service", "--record", path]);
        login.extend(["--client-secret-file", secret.to_str().expect("a path")]);
        let output = desk.run(&login);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.contains("nothing was recorded"), "{said}");
        assert!(!file.exists());
    }
    let output = desk.run(&["list", "--record", path]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!file.exists());
}
