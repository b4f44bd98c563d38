//! login, token, status, list, logout.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::{Desk, Servers, text};

/// Requests the MCP server's tools; returns the status.
pub(crate) fn call(servers: &Servers, header: &str) -> u16 {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent
        .post(&servers.mcp)
        .header("content-type", "application/json");
    for line in header.lines() {
        let (name, value) = line.split_once(": ").expect("a header");
        request = request.header(name, value);
    }
    let body = r#"{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}"#;
    request.send(body).expect("an answer").status().as_u16()
}

#[test]
fn from_login_to_logout() {
    let servers = Servers::start(&[]);
    let desk = Desk::new();
    let url = servers.mcp.as_str();

    let (status, answer) = desk.json(&["token", url]);
    assert_eq!(
        (status, &answer["error"]["code"]),
        (Some(3), &Value::from("no_credentials"))
    );

    let output = desk.sign_in(&[url], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with(&format!("signed in at {}", servers.issuer)));

    let header = desk.run(&["token", url, "--header"]);
    let header = text(&header.stdout);
    assert!(header.starts_with("authorization: Bearer "));
    assert_eq!(call(&servers, &header), 200);
    let token = text(&desk.run(&["token", url]).stdout);
    assert!(header.ends_with(&token) && !token.is_empty());

    let (status, answer) = desk.json(&["status", url]);
    assert_eq!(
        (status, &answer["signed_in"]),
        (Some(0), &Value::from(true))
    );
    assert_eq!(answer["issuer"], servers.issuer.as_str());
    let (_, list) = desk.json(&["list"]);
    assert_eq!(list["accounts"][0]["server"], url);
    assert!(!list.to_string().contains(&token) && !answer.to_string().contains(&token));

    let (status, answer) = desk.json(&["logout", url]);
    assert_eq!(
        (status, &answer["signed_in"]),
        (Some(0), &Value::from(false))
    );
    assert_eq!(call(&servers, &header), 401, "the token was revoked");
    assert_eq!(desk.run(&["token", url]).status.code(), Some(3));
    assert!(stored(&desk).iter().all(|text| !text.contains(&token)));
}

/// Returns every file that is left.
fn stored(desk: &Desk) -> Vec<String> {
    fn read(directory: &std::path::Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                read(&path, found);
            } else {
                found.push(fs::read_to_string(&path).expect("text"));
            }
        }
    }
    let mut found = Vec::new();
    read(desk.path(), &mut found);
    found
}

#[test]
fn the_callback_can_be_pasted_and_another_one_changes_nothing() {
    let servers = Servers::start(&[]);
    let desk = Desk::new();
    let output = desk.sign_in(&[&servers.mcp], true);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let header = text(&desk.run(&["token", &servers.mcp, "--header"]).stdout);
    assert_eq!(call(&servers, &header), 200);
}

#[test]
fn accounts_of_one_server_are_kept_apart() {
    let servers = Servers::start(&[]);
    let desk = Desk::new();
    let url = servers.mcp.as_str();
    assert!(
        desk.sign_in(&[url, "--account", "work"], false)
            .status
            .success()
    );
    assert_eq!(desk.run(&["token", url]).status.code(), Some(3));
    assert!(desk.sign_in(&[url], false).status.success());
    let token = |account: &str| text(&desk.run(&["token", url, "--account", account]).stdout);
    assert_ne!(token("work"), token("default"));
    assert!(
        desk.run(&["logout", url, "--account", "work"])
            .status
            .success()
    );
    assert_eq!(desk.run(&["token", url]).status.code(), Some(0));
}

#[test]
fn a_client_acts_for_itself() {
    let servers = Servers::start(&[]);
    let desk = Desk::new();
    let secret = desk.path().join("secret");
    fs::write(&secret, "a secret of the demo\n").expect("written");
    let secret = secret.to_str().expect("a path");
    let url = servers.mcp.as_str();
    let client = [
        "--client-id",
        "demo service",
        "--client-secret-file",
        secret,
    ];

    let mut elsewhere = vec![
        "login",
        url,
        "--client-credentials",
        "--issuer",
        "https://as.example",
    ];
    elsewhere.extend(client);
    let (status, answer) = desk.json(&elsewhere);
    assert_eq!(
        (status, &answer["error"]["code"]),
        (Some(1), &Value::from("issuer_mismatch"))
    );
    assert_eq!(desk.json(&["list"]).1["accounts"], Value::Array(Vec::new()));

    let mut login = vec![
        "login",
        url,
        "--client-credentials",
        "--issuer",
        &servers.issuer,
    ];
    login.extend(client);
    let output = desk.run(&login);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let header = text(&desk.run(&["token", url, "--header"]).stdout);
    assert_eq!(call(&servers, &header), 200);
    // The profile contains the location of the secret, not the secret.
    let holds = |kind: &str| {
        let files = stored(&desk);
        files
            .iter()
            .any(|file| file.contains(kind) && file.contains("a secret of the demo"))
    };
    assert!(holds("v3.") && !holds("client_secret_file"));
    assert!(desk.run(&["logout", url]).status.success());
    assert_eq!(call(&servers, &header), 401, "the token was revoked");
    assert!(!holds("v3."));
}

#[test]
fn a_secret_that_is_gone_keeps_nobody_signed_in() {
    let servers = Servers::start(&[]);
    let desk = Desk::new();
    let secret = desk.path().join("secret");
    fs::write(&secret, "a secret of the demo").expect("written");
    let url = servers.mcp.as_str();
    let mut login = vec![
        "login",
        url,
        "--client-credentials",
        "--client-id",
        "demo service",
    ];
    login.extend(["--client-secret-file", secret.to_str().expect("a path")]);
    assert!(desk.run(&login).status.success());
    fs::remove_file(&secret).expect("removed");
    let output = desk.run(&["token", url]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("secret: No such file"));
    assert!(desk.run(&["logout", url]).status.success());
    assert!(
        stored(&desk)
            .iter()
            .all(|file| !file.contains("a secret of the demo"))
    );
}

#[test]
fn a_token_bound_to_a_key_is_presented_for_one_request() {
    let servers = Servers::start(&[]);
    let desk = Desk::new();
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/p256.pem");
    let url = servers.mcp.as_str();
    let output = desk.sign_in(&[url, "--dpop-key", key], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let bare = desk.run(&["token", url]);
    assert!(!bare.status.success() && bare.stdout.is_empty());
    let header = text(&desk.run(&["token", url, "--header"]).stdout);
    assert!(header.contains("authorization: DPoP ") && header.contains("dpop: "));
    assert_eq!(call(&servers, &header), 200);
    assert_eq!(
        call(&servers, &header),
        401,
        "a proof is valid for one request"
    );
}

#[test]
fn scopes_that_are_named_are_asked_for_once() {
    let servers = Servers::start(&[]);
    let desk = Desk::new();
    let url = servers.mcp.as_str();
    let scopes = || desk.json(&["status", url]).1["scopes"].to_string();
    assert!(desk.sign_in(&[url], false).status.success());
    assert!(!scopes().contains("mcp:echo"));
    let more = [url, "--scope", "mcp:tools mcp:echo"];
    assert!(desk.sign_in(&more, false).status.success());
    assert!(scopes().contains("mcp:echo"), "{}", scopes());
    let token = text(&desk.run(&["token", url]).stdout);
    assert!(desk.sign_in(&more, false).status.success());
    assert_eq!(text(&desk.run(&["token", url]).stdout), token);
}

#[test]
fn what_a_killed_login_leaves_is_cleared_by_the_next() {
    let servers = Servers::start(&[]);
    let desk = Desk::new();
    assert!(desk.sign_in(&[&servers.mcp], false).status.success());
    let pending = desk.path().join("slots/pending");
    let long_ago = SystemTime::now() - Duration::from_secs(86_400);
    for (name, time) in [("old", long_ago), ("new", SystemTime::now())] {
        let file = fs::File::create(pending.join(name)).expect("made");
        file.set_modified(time).expect("dated");
    }
    let half = desk.path().join("profiles/.writing-half");
    fs::write(&half, "{").expect("written");
    assert!(desk.sign_in(&[&servers.mcp], false).status.success());
    assert!(!half.exists() && !pending.join("old").exists() && pending.join("new").exists());
}

/// Long enough for ten processes on a slow machine, short enough to wait for.
const SECONDS: &str = "10";

#[test]
fn refr_09_ten_processes_one_refresh() {
    let servers = Servers::start(&["--token-seconds", SECONDS]);
    let desk = Desk::new();
    let url = servers.mcp.as_str();
    assert!(desk.sign_in(&[url], false).status.success());
    let first = text(&desk.run(&["token", url]).stdout);
    let over = || desk.json(&["status", url]).1["expires_in"] == 0;
    while !over() {
        sleep(Duration::from_millis(200));
    }
    // The token expires in less than a second.
    sleep(Duration::from_secs(1));
    let processes: Vec<_> = (0..10)
        .map(|_| desk.command(&["token", url]).spawn().expect("it starts"))
        .collect();
    let mut tokens: Vec<String> = processes
        .into_iter()
        .map(|process| {
            let output = process.wait_with_output().expect("it ends");
            assert!(output.status.success(), "{}", text(&output.stderr));
            text(&output.stdout)
        })
        .collect();
    tokens.sort();
    tokens.dedup();
    let [token] = tokens.as_slice() else {
        panic!("one refresh, one token");
    };
    assert_ne!(*token, first);
    // A second use of the refresh token would have revoked its tokens.
    assert_eq!(
        call(&servers, &format!("authorization: Bearer {token}")),
        200
    );
}

#[test]
fn what_is_wrong_is_said_with_a_status() {
    let desk = Desk::new();
    assert_eq!(desk.run(&["login"]).status.code(), Some(2));
    assert_eq!(
        desk.run(&["login", "http://mcp.example/mcp"]).status.code(),
        Some(2)
    );
    assert_eq!(
        desk.run(&["token", "https://mcp.example/mcp"])
            .status
            .code(),
        Some(3)
    );
    let (status, answer) = desk.json(&["login", "http://127.0.0.1:9/mcp", "--no-browser"]);
    assert_eq!(status, Some(4));
    assert!(answer["error"]["message"].is_string());
    assert_eq!(desk.json(&["list"]).1["accounts"], Value::Array(Vec::new()));
}

/// A piped secret is stored with the account, for `token`, until sign-out.
#[test]
fn a_secret_is_asked_for() {
    let servers = Servers::start(&[]);
    let desk = Desk::new();
    let url = servers.mcp.as_str();
    let login = [
        "login",
        url,
        "--client-credentials",
        "--client-id",
        "demo service",
        "--issuer",
        &servers.issuer,
        "--client-secret-prompt",
    ];
    let output = desk.told(&login, "");
    assert_eq!(output.status.code(), Some(1), "nothing was typed");
    assert!(text(&output.stderr).contains("no client secret"));

    let output = desk.told(&login, "a secret of the demo\n");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let secrets = desk.path().join("secrets");
    assert_eq!(fs::read_dir(&secrets).expect("a folder").count(), 1);
    let header = text(&desk.run(&["token", url, "--header"]).stdout);
    assert_eq!(call(&servers, &header), 200);
    assert!(desk.run(&["logout", url]).status.success());
    let left = fs::read_dir(&secrets).map_or(0, Iterator::count);
    assert_eq!(left, 0);
}

/// The settings for one deviating server are given in a file, and stored.
#[test]
fn settings_for_one_issuer() {
    let servers = Servers::start(&[]);
    let desk = Desk::new();
    let settings = desk.path().join("issuers.json");
    let path = settings.to_str().expect("a path");
    let url = servers.mcp.as_str();
    let login = ["login", url, "--no-browser", "--issuer-settings", path];

    fs::write(
        &settings,
        r#"[{"issuer":"https://as.example","pkce":"off"}]"#,
    )
    .expect("written");
    let output = desk.told(&login, "");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("issuers.json"),
        "{}",
        text(&output.stderr)
    );

    let omit = format!(
        r#"[{{"issuer":"{}","resource_parameter":"omit"}}]"#,
        servers.issuer
    );
    fs::write(&settings, omit).expect("written");
    let mut process = desk
        .command(&login)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
    let shown = lines.find_map(|line| {
        let line = line.ok()?;
        let at = line.find("http")?;
        line.contains("code_challenge=")
            .then(|| line.split_at(at).1.to_owned())
    });
    let shown = shown.expect("the URL is printed");
    assert!(!shown.contains("resource="), "{shown}");
    process.kill().expect("it is there");
    process.wait().expect("it ends");
}
