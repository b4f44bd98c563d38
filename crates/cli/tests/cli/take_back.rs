//! A sign-in that is stored, and whose token the MCP server then refuses: the login fails, so nothing is
//! changed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use crate::fake::{Answer, Fake, Mode, Request};
use crate::remedies::Transcript;
use crate::support::{Desk, follow, text};
use crate::transactions::{configured, files, is_registration};

/// Refuses every token but this one.
fn refuses_others(fake: &Fake, accepted: Option<String>) {
    let accepted = accepted.map(|token| format!("Bearer {token}"));
    let refuse = move |request: &Request, issuer: &str| -> Option<Answer> {
        let sent = request.authorization.clone();
        let refused = request.path == "/mcp" && sent.is_some() && sent != accepted;
        let place = format!("{issuer}/.well-known/oauth-protected-resource/mcp");
        refused.then(|| {
            let challenge = format!(
                "www-authenticate: Bearer error=\"invalid_token\", error_description=\"wrong audience\", \
                 resource_metadata=\"{place}\"\r\n"
            );
            (401, challenge, String::new())
        })
    };
    fake.state().hook = Some(Box::new(refuse));
}

#[test]
fn a_first_sign_in_whose_token_is_refused_leaves_no_account() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    refuses_others(&fake, None);
    let mut transcript = Transcript::new(&desk, &[]);
    let (status, said) = transcript.run(&["login", &url]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("saying \"wrong audience\""), "{said}");
    let left = files(&desk);
    assert!(left.keys().all(|name| is_registration(name)), "{left:?}");
    // The server forgets the tokens, too.
    let requests = fake.state().requests.join(" ");
    assert!(requests.contains("POST /revoke"), "{requests}");
    assert_eq!(desk.run(&["token", &url]).status.code(), Some(3));
}

#[test]
fn an_account_that_works_stays_when_the_token_of_another_client_is_refused() {
    let (fake, desk) = (Fake::start(), Desk::new());
    configured(&fake, &desk);
    let url = fake.url();
    let own = text(&desk.run(&["token", &url]).stdout);
    {
        let mut state = fake.state();
        state.clients.insert("other".to_owned(), None);
        state
            .clients
            .insert("service".to_owned(), Some("hush".to_owned()));
    }
    refuses_others(&fake, Some(own.clone()));
    let before = files(&desk);
    let secret = desk.path().join("hush");
    fs::write(&secret, "hush").expect("written");
    let secret = secret.display().to_string();
    let service = [
        "--client-id",
        "service",
        "--client-secret-file",
        &secret,
        "--client-credentials",
    ];
    for more in [
        &["--client-id", "other"][..],
        &service[..],
        &["--new-client"],
    ] {
        let login = [&["login", &url], more].concat();
        let (status, said) = Transcript::new(&desk, &[]).run(&login);
        assert_eq!(status, Some(1), "{more:?}: {said}");
        assert!(said.contains("has just been issued"), "{said}");
        let mut after = files(&desk);
        after.retain(|name, _| name != "hush" && !is_registration(name));
        let mut before = before.clone();
        before.retain(|name, _| !is_registration(name));
        assert_eq!(after, before, "{more:?}");
        assert_eq!(text(&desk.run(&["token", &url]).stdout), own, "{more:?}");
    }
}

/// Files can be removed where none can be written.
#[cfg(unix)]
#[test]
fn a_full_disk_does_not_keep_anybody_signed_in() {
    let (fake, desk) = (Fake::start(), Desk::new());
    configured(&fake, &desk);
    let url = fake.url();
    let plain = desk.command(&["logout", &url]);
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"])
        .arg(plain.get_program())
        .args(plain.get_args())
        .env("MCP_AUTH_STORE", desk.path());
    let output = command.output().expect("it runs");
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for part in ["tokens", "the client's secret", "settings"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let left = files(&desk);
    assert!(left.is_empty(), "{left:?}");
}

/// The process is killed between the write of the account and the answer of the MCP server.
#[test]
fn a_kill_after_the_sign_in_leaves_no_secret_of_the_former_client() {
    let (fake, desk) = (Fake::start(), Desk::new());
    configured(&fake, &desk);
    let url = fake.url();
    let kept = |desk: &Desk| files(desk).values().any(|file| file == "a typed secret");
    assert!(kept(&desk));
    let login = ["login", &url, "--new-client", "--no-browser"];
    let mut command = desk.command(&login);
    let mut process = command.stdin(Stdio::null()).spawn().expect("it starts");
    let messages = BufReader::new(process.stderr.take().expect("a pipe"));
    let shown = messages
        .lines()
        .map_while(Result::ok)
        .find(|line| line.starts_with("http://127.0.0.1"));
    let back = follow(&shown.expect("the URL"), false);
    fake.state().mcp = Mode::Hangs;
    let former = text(&desk.run(&["token", &url]).stdout);
    let _answer = ureq::get(&back).call();
    while text(&desk.run(&["token", &url]).stdout) == former {
        sleep(Duration::from_millis(20));
    }
    process.kill().expect("killed");
    process.wait().expect("it ends");
    fake.state().mcp = Mode::Works;
    // The sign-in had succeeded, so the next command completes it.
    assert!(desk.run(&["list"]).status.success());
    assert!(!kept(&desk), "{:?}", files(&desk));
    assert_eq!(desk.run(&["token", &url]).status.code(), Some(0));
    assert!(desk.sign_in(&[&url], false).status.success());
    assert_eq!(fake.state().registrations, 1);
}
