//! The traces of a command: one that fails, or that only reads, leaves the store as it was.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use crate::bridge::{message, until};
use crate::fake::{Fake, Mode, object, refused};
use crate::remedies::{SERVER, Transcript, metadata, returned};
use crate::support::{Desk, text};
use crate::transactions::{files, interrupted, is_ignored, kill};

/// Returns the names of all files and folders.
fn all(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        names.push(path.display().to_string());
        names.extend(all(&path));
    }
    names
}

#[test]
fn a_first_login_that_fails_leaves_no_trace() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    let place = desk.path().join("a/store");
    let store = place.to_str().expect("UTF-8");
    let login = |more: &[&str]| {
        let output = desk.run(&[&["login", "--store", store, "--no-browser"], more].concat());
        (output.status.code(), text(&output.stderr))
    };
    let dead = ["--timeout", "2", "http://127.0.0.1:9/mcp"];
    assert_eq!(login(&dead).0, Some(4));
    assert!(!desk.path().join("a").exists(), "{:?}", all(desk.path()));
    fake.state().register = Mode::Answers(
        400,
        "application/json",
        "{\"error\":\"invalid_client_metadata\"}",
    );
    assert_eq!(login(&["--timeout", "2", &url]).0, Some(1));
    assert!(!desk.path().join("a").exists(), "{:?}", all(desk.path()));
    // A client that the user named, and no callback.
    let (status, said) = login(&["--timeout", "1", "--client-id", "desk", &url]);
    assert_eq!(status, Some(3), "{said}");
    assert!(!desk.path().join("a").exists(), "{:?}", all(desk.path()));
    // A signal.
    let more = ["--store", store, "--client-id", "desk", url.as_str()];
    let output = interrupted(&desk, &more, |process| kill(process, "TERM"));
    assert_eq!(output.status.code(), Some(143));
    assert!(!desk.path().join("a").exists(), "{:?}", all(desk.path()));
    // A directory that was there stays, without what the command made in it.
    fs::create_dir_all(&place).expect("a folder");
    assert_eq!(login(&dead).0, Some(4));
    assert_eq!(all(&place), Vec::<String>::new());
    // A server without authorization has no account.
    fake.state().open = true;
    assert_eq!(login(&[&url]).0, Some(0));
    assert_eq!(all(&place), Vec::<String>::new());
}

/// A client that the server registered is used by the next login, and nothing else stays.
#[test]
fn a_first_login_that_fails_leaves_the_registration_alone() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    let output = desk.run(&["login", "--no-browser", "--timeout", "1", &url]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let left = files(&desk);
    let known =
        |name: &String| name.starts_with("slots/registration/") || name.starts_with("clients/");
    assert!(left.keys().all(known) && left.len() == 2, "{left:?}");
    // Its redirect URI has the port.
    assert!(desk.path().join("port").exists());
    let output = desk.run(&["logout", "--forget-client", &url]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(all(desk.path()), Vec::<String>::new());
}

#[test]
fn a_command_that_reads_makes_no_store() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    let place = desk.path().join("a/store");
    let store = place.to_str().expect("UTF-8");
    for (command, status) in [
        (&["list"][..], 0),
        (&["status", &url], 3),
        (&["token", &url], 3),
        (&["headers", &url], 3),
        (&["logout", &url], 0),
        (&["logout", &url, "--forget-client"], 0),
        (&["doctor", &url], 0),
        (&["setup", "cursor", &url], 0),
        // Its input is closed.
        (&["proxy", &url], 0),
    ] {
        let output = desk.run(&[command, &["--store", store]].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{command:?}: {said}");
        assert!(!desk.path().join("a").exists(), "{command:?}");
    }
}

/// The login of a client that acts for itself, with its secret in a file.
fn service_login(desk: &Desk, url: &str) -> Vec<String> {
    let file = desk.path().join("hush");
    fs::write(&file, "hush").expect("written");
    let file = file.display().to_string();
    let words = ["login", "--client-id", "service", "--client-secret-file"];
    let words = words
        .into_iter()
        .chain([&*file, "--client-credentials", url]);
    words.map(str::to_owned).collect()
}

/// REG-04: a configured client is bound to the first server that it is used at; by a sign-in that fails, to none.
#[test]
fn reg_04_a_login_that_fails_binds_the_client_to_no_server() {
    let (mcp, own, other) = (Fake::start(), Fake::start(), Fake::start());
    let desk = Desk::new();
    mcp.state().announces = Some(own.issuer());
    mcp.state().trusts = Some(own.share());
    let secret = Some("hush".to_owned());
    for server in [&own, &other] {
        let mut state = server.state();
        state.clients.insert("service".to_owned(), secret.clone());
    }
    let login = service_login(&desk, &mcp.url());
    let login: Vec<&str> = login.iter().map(String::as_str).collect();
    other.state().hook = Some(Box::new(|request, _| {
        (request.path == "/token").then(|| refused("invalid_target"))
    }));
    let issuer = other.issuer();
    let wrong = [&login[..], &["--authorization-server", &issuer]].concat();
    let output = desk.run(&wrong);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("--authorization-server \"\""), "{said}");
    assert_eq!(files(&desk).keys().collect::<Vec<_>>(), ["hush"]);
    // Its token is issued, and refused by the MCP server.
    other.state().hook = None;
    let output = desk.run(&wrong);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(files(&desk).keys().collect::<Vec<_>>(), ["hush"]);
    let output = desk.run(&login);
    assert!(output.status.success(), "{}", text(&output.stderr));
    // And the binding of an account that works stays.
    let before = files(&desk);
    let output = desk.run(&wrong);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(files(&desk), before);
}

/// The next command undoes what a killed login bound.
#[test]
fn reg_04_what_a_killed_login_bound_is_undone() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    let secret = Some("hush".to_owned());
    fake.state().clients.insert("service".to_owned(), secret);
    fake.state().delay = Duration::from_secs(5);
    let login = service_login(&desk, &url);
    let login: Vec<&str> = login.iter().map(String::as_str).collect();
    let mut process = desk.command(&login).spawn().expect("it starts");
    let bound = || {
        files(&desk)
            .keys()
            .any(|name| name.starts_with("slots/registration/"))
    };
    until("bound", bound);
    process.kill().expect("killed");
    let _status = process.wait().expect("gone");
    assert!(desk.run(&["list"]).status.success());
    assert!(!bound(), "{:?}", files(&desk));
}

/// One kind of failure, one status.
#[test]
fn a_store_that_cannot_be_used_has_one_status_and_a_next_step() {
    let desk = Desk::new();
    let file = desk.path().join("file");
    fs::write(&file, "").expect("written");
    let store = file.display().to_string();
    let url = "https://mcp.example/mcp";
    for command in [
        &["list"][..],
        &["status", url],
        &["token", url],
        &["headers", url],
        &["login", url],
        &["logout", url],
        &["proxy", url],
    ] {
        let output = desk.run(&[command, &["--store", &store]].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{command:?}: {said}");
        assert!(
            said.contains(&store) && said.contains("--store DIR"),
            "{command:?}: {said}"
        );
    }
}

/// The server forgot the client, and refuses the revocation: a sign-in with it would end at an error page.
#[test]
fn a_client_that_is_unknown_at_the_sign_out_is_forgotten() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    assert!(desk.sign_in(&[&url], false).status.success());
    fake.state().clients.clear();
    fake.state().revoke = Mode::Answers(401, "application/json", "{\"error\":\"invalid_client\"}");
    let output = desk.run(&["logout", &url]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("the next login registers a new one"),
        "{said}"
    );
    assert!(text(&output.stdout).contains("the client's registration"));
    let output = desk.sign_in(&[&url], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(fake.state().registrations, 2);
}

/// Some servers let only clients with a secret revoke: they say `invalid_client` to one that they know.
#[test]
fn a_client_whose_method_cannot_revoke_is_kept_at_the_sign_out() {
    let (fake, desk) = (Fake::start(), Desk::new());
    fake.state().hook = Some(Box::new(|request, issuer| {
        let changes = json!({ "revocation_endpoint": format!("{issuer}/revoke"),
            "revocation_endpoint_auth_methods_supported": ["client_secret_basic"] });
        (request.path == SERVER).then(|| object(200, &metadata(issuer, &changes)))
    }));
    let url = fake.url();
    assert!(desk.sign_in(&[&url], false).status.success());
    fake.state().revoke = Mode::Answers(401, "application/json", "{\"error\":\"invalid_client\"}");
    let output = desk.run(&["logout", &url]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("revokes no token of a client with this method"),
        "{said}"
    );
    assert!(!text(&output.stdout).contains("registration"));
    assert!(desk.sign_in(&[&url], false).status.success());
    assert_eq!(fake.state().registrations, 1);
}

/// Where the server refuses the scopes that a login adds, the account keeps those that it has.
#[test]
fn refused_scopes_leave_those_of_the_account() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    for client in ["client-1", "client-2"] {
        fake.state().clients.insert(client.to_owned(), None);
    }
    let mut registrations = 0;
    fake.state().hook = Some(Box::new(move |request, issuer| {
        if request.path == "/register" {
            let asked = message(request);
            registrations += 1;
            let client = json!({
                "client_id": format!("client-{registrations}"), "scope": asked["scope"],
                "redirect_uris": asked["redirect_uris"], "token_endpoint_auth_method": "none",
                "grant_types": asked["grant_types"], "response_types": ["code"],
            });
            return Some(object(201, &client));
        }
        let scope = request.query.get("scope").cloned().unwrap_or_default();
        (request.path == "/authorize" && scope.contains("nonsense"))
            .then(|| returned(request, issuer, "invalid_scope", "no such scope"))
    }));
    assert!(
        desk.sign_in(&[&url, "--scope", "read write"], false)
            .status
            .success()
    );
    assert!(desk.sign_in(&[&url, "--scope", ""], false).status.success());
    let before = files(&desk);
    let requests = fake.state().requests.len();
    let (status, said) = Transcript::new(&desk, &[]).run(&["login", &url, "--scope", "nonsense"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains("added `nonsense`") && !said.contains("without"),
        "{said}"
    );
    // The server registers any scope, and the registration of the account stays, too.
    let asked = fake.state().requests.split_off(requests);
    let count = |name: &str| asked.iter().filter(|request| *request == name).count();
    assert_eq!(count("GET /authorize"), 1, "one page");
    assert_eq!(count("POST /register"), 1, "for the scope");
    assert_eq!(files(&desk), before);
    let (_, status) = desk.json(&["status", &url]);
    assert_eq!(status["scopes"], json!(["read", "write"]));
}

/// A program that reads the result of a command gets one, also when a signal ends the command.
#[test]
fn a_signal_is_told_in_json() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    for (signal, status) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        if is_ignored(status - 128) {
            continue;
        }
        let output = interrupted(&desk, &["--json", &url], |process| kill(process, signal));
        assert_eq!(output.status.code(), Some(status));
        let object: serde_json::Value = serde_json::from_slice(&output.stdout).expect("an object");
        assert_eq!(object["error"]["code"], "interrupted", "{object}");
    }
    fake.state().mcp = Mode::Hangs;
    for command in [&["doctor", &url][..], &["login", &url]] {
        let mut command = desk.command(&[command, &["--json"]].concat());
        let count = fake.state().requests.len();
        let process = command.stdin(Stdio::null()).spawn().expect("it starts");
        until("asked", || fake.state().requests.len() > count);
        kill(&process, "TERM");
        let output = process.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(143));
        let object: serde_json::Value = serde_json::from_slice(&output.stdout).expect("an object");
        assert_eq!(object["error"]["code"], "interrupted", "{object}");
    }
}

/// Running out of time beside another process that refreshes: the message says so.
#[test]
fn the_lease_of_another_process_is_named() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    assert!(desk.sign_in(&[&url], false).status.success());
    fake.state().delay = Duration::from_secs(6);
    let mut first = desk
        .command(&["token", "--refused", &url])
        .spawn()
        .expect("it starts");
    let leased = || files(&desk).values().any(|file| file.contains("\"l\":1"));
    until("leased", leased);
    for command in [
        &["token", "--refused", "--timeout", "2", &url][..],
        &["headers", "--refused", "--timeout", "2", &url],
    ] {
        let output = desk.run(command);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(
            said.contains("another process refreshes the tokens"),
            "{said}"
        );
        assert!(said.contains("run it again"), "{said}");
    }
    let _status = first.wait().expect("it ends");
}
