//! A sign-in that brings no refresh token ends with its token, and says so.

use serde_json::{Value, json};

use crate::fake::{Fake, object, refused};
use crate::support::{Desk, check_options, text};

/// The line of a sign-in that says it, if there is one.
fn line(said: &str) -> Option<&str> {
    said.lines().find(|line| line.contains("refresh token"))
}

/// QUIRK-08: the user reads it at the sign-in, with the option that helps, and the option helps.
#[test]
fn quirk_08_a_sign_in_without_a_refresh_token_says_so_and_how_to_get_one() {
    let (fake, desk) = (Fake::start(), Desk::new());
    fake.state().online = true;
    let url = fake.url();
    let output = desk.sign_in(&[&url], false);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let warned = line(&said)
        .unwrap_or_else(|| panic!("a line: {said}"))
        .to_owned();
    assert!(
        warned.contains("ends with its token, in 59 minutes") || warned.contains("60 minutes"),
        "{warned}"
    );
    assert_eq!(check_options("login", &warned), 3, "{warned}");
    let (_, status) = desk.json(&["status", &url]);
    assert_eq!(status["renewable"], false, "{status}");
    let words = text(&desk.run(&["status", &url]).stdout);
    assert!(words.contains("no refresh token: sign in again"), "{words}");
    let (_, list) = desk.json(&["list"]);
    assert_eq!(list["accounts"][0]["renewable"], false, "{list}");
    let (_, examined) = desk.json(&["doctor", &url]);
    let findings = examined["findings"].as_array().expect("findings");
    let found = findings.iter().find(|found| found["rule"] == "QUIRK-08");
    let option = &found.expect("a finding")["option"];
    assert!(
        option.to_string().contains("--authorization-parameter"),
        "{option}"
    );

    // The token is still valid, and the option is about the sign-in.
    let more = ["--authorization-parameter", "access_type=offline"];
    let output = desk.sign_in(&[&[url.as_str()], &more[..]].concat(), false);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(line(&said), None, "{said}");
    assert!(said.contains("access_type=offline"), "{said}");
    let (_, status) = desk.json(&["status", &url]);
    assert_eq!(status["renewable"], true, "{status}");
    assert!(desk.run(&["token", "--refused", &url]).status.success());
    let (_, examined) = desk.json(&["doctor", &url]);
    let findings = examined["findings"].as_array().expect("findings");
    assert!(findings.iter().all(|found| found["rule"] != "QUIRK-08"));
    // The option is kept with the account, and reset by an empty one.
    fake.state().forget_tokens();
    let again = text(&desk.sign_in(&[&url], false).stderr);
    assert!(again.contains("access_type=offline"), "{again}");
    assert!(again.contains("mcp-auth: signing in again: "), "{again}");
    let reset = text(
        &desk
            .sign_in(&[&url, "--authorization-parameter", ""], false)
            .stderr,
    );
    assert!(
        line(&reset).is_some() && !reset.contains("access_type=offline&"),
        "{reset}"
    );
}

/// Quiet, or with a grant that needs no user, there is nothing to act on.
#[test]
fn a_client_without_a_user_needs_no_refresh_token() {
    let (fake, desk) = (Fake::start(), Desk::new());
    fake.state().online = true;
    let client = ("robot".to_owned(), Some("a secret".to_owned()));
    fake.state().clients.extend([client]);
    let url = fake.url();
    let arguments = [
        "login",
        &url,
        "--client-credentials",
        "--client-id",
        "robot",
        "--client-secret-prompt",
        "--issuer",
        &fake.issuer(),
    ];
    let output = desk.told(&arguments, "a secret\n");
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(line(&said), None, "{said}");
    let (_, status) = desk.json(&["status", &url]);
    assert_eq!(status["renewable"], Value::from(true), "{status}");
}

/// A client without a user whose token is valid still: scopes that are named then are requested, and a refusal leaves the account.
#[test]
fn a_client_without_a_user_requests_scopes_that_its_token_lacks() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let client = ("robot".to_owned(), Some("a secret".to_owned()));
    fake.state().clients.extend([client]);
    let (url, issuer) = (fake.url(), fake.issuer());
    let arguments = [
        "login",
        &url,
        "--client-credentials",
        "--client-id",
        "robot",
        "--client-secret-prompt",
        "--issuer",
        &issuer,
        "--scope",
        "read",
    ];
    let output = desk.told(&arguments, "a secret\n");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let tokens = || {
        let state = fake.state();
        let requests = state.requests.iter();
        requests
            .filter(|path| path.as_str() == "POST /token")
            .count()
    };
    assert_eq!(tokens(), 1);
    let output = desk.run(&["login", &url, "--scope", "read write"]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("not granted"), "{said}");
    assert_eq!(tokens(), 2);
    let scopes = || desk.json(&["status", &url]).1["scopes"].clone();
    assert_eq!(scopes(), json!(["read", "write"]));
    // The next sign-in requests no token.
    assert!(desk.run(&["login", &url]).status.success());
    assert_eq!(tokens(), 2);
    fake.state().hook = Some(Box::new(|request, _| {
        (request.path == "/token").then(|| refused("invalid_scope"))
    }));
    let output = desk.run(&["login", &url, "--scope", "admin"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(scopes(), json!(["read", "write"]));
    assert!(desk.run(&["token", &url]).status.success());
}

/// LemonLDAP::NG answers `offline_access` with a refresh token, and does not list the scope.
#[test]
fn a_refresh_token_shows_that_offline_access_was_granted() {
    let (fake, desk) = (Fake::start(), Desk::new());
    fake.state().grants = Some("read");
    let url = fake.url();
    let asked = [url.as_str(), "--scope", "read offline_access"];
    let said = text(&desk.sign_in(&asked, false).stderr);
    assert!(!said.contains("not granted"), "{said}");
    // A user who signed in is not asked again for it.
    let output = desk.run(&[
        "login",
        "--no-browser",
        &url,
        "--scope",
        "read offline_access",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// The words about a missing refresh token propose what was not tried.
#[test]
fn an_option_that_brought_no_refresh_token_is_not_proposed_again() {
    let (fake, desk) = (Fake::start(), Desk::new());
    fake.state().online = true;
    fake.state().grants = Some("read");
    let url = fake.url();
    let asked = [url.as_str(), "--scope", "read offline_access"];
    let said = text(&desk.sign_in(&asked, false).stderr);
    let words = said
        .lines()
        .find(|line| line.contains("issued no refresh token"));
    let words = words.unwrap_or_else(|| panic!("a line: {said}"));
    assert!(words.contains("access_type=offline"), "{words}");
    assert!(!words.contains("--scope"), "{words}");
}

/// A parameter of the machine itself cannot be set; what it is about is an error of the command line.
#[test]
fn authz_15_a_parameter_of_the_machine_is_refused() {
    let desk = Desk::new();
    for wrong in ["state=x", "client_secret=x", "audience", "=x"] {
        let output = desk.run(&[
            "login",
            "https://mcp.example/mcp",
            "--authorization-parameter",
            wrong,
        ]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{wrong}: {said}");
    }
}

/// A quiet sign-in shows the URL, which the user opens.
#[test]
fn a_quiet_sign_in_shows_the_url() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let output = desk.run(&["login", "-q", "--no-browser", "--timeout", "1", &fake.url()]);
    let said = text(&output.stderr);
    let url = format!("{}/authorize?", fake.issuer());
    assert!(said.lines().any(|line| line.starts_with(&url)), "{said}");
    assert!(said.contains("the account was not changed"), "{said}");
    let output = desk.sign_in(&["-q", &fake.url()], false);
    assert_eq!(text(&output.stdout), "");
}

/// A further `login`, with a token that is valid still: the account has no refresh token because none was issued, or because
/// one was refused meanwhile. The words fit both, and name the way to another sign-in.
#[test]
fn a_further_login_does_not_say_that_no_refresh_token_was_issued() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    fake.state().online = true;
    let first = text(&desk.sign_in(&[&url], false).stderr);
    assert!(first.contains("issued no refresh token"), "{first}");
    let output = desk.sign_in(&[&url], false);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let words = line(&said).unwrap_or_default();
    assert!(words.contains("issued none or has refused it"), "{said}");
    assert!(words.contains(&format!("mcp-auth logout {url}")), "{said}");
    check_options("login", words);
}

/// A server without revocation: who signs out reads how long the token stays valid.
#[test]
fn a_sign_out_where_nothing_is_revoked_says_so() {
    for revokes in [false, true] {
        let (fake, desk) = (Fake::start(), Desk::new());
        let url = fake.url();
        fake.state().hook = Some(Box::new(move |request, issuer| {
            let document = json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{issuer}/authorize"),
                "token_endpoint": format!("{issuer}/token"),
                "registration_endpoint": format!("{issuer}/register"),
                "response_types_supported": ["code"],
                "code_challenge_methods_supported": ["S256"],
            });
            let is_asked = request.path == "/.well-known/oauth-authorization-server";
            (is_asked && !revokes).then(|| object(200, &document))
        }));
        assert!(desk.sign_in(&[&url], false).status.success());
        let output = desk.run(&["logout", &url]);
        let said = text(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert_eq!(
            said.contains("stays valid until it expires"),
            !revokes,
            "{said}"
        );
    }
}

/// A server whose access tokens are only signed revokes the refresh token, and refuses to revoke the access token
/// (RFC 7009 section 2.2.1).
#[test]
fn a_sign_out_says_why_the_access_token_was_not_revoked() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    fake.state().hook = Some(Box::new(|request, _| {
        let refused = json!({
            "error": "unsupported_token_type",
            "error_description": "JWT access tokens cannot be revoked",
        });
        // Every request but the browser's says that nothing here decompresses (QUIRK-35).
        let coding = request.headers.get("accept-encoding").map(String::as_str);
        if coding != Some("identity") && request.path != "/authorize" {
            return Some(object(406, &json!({})));
        }
        let hint = request.form.get("token_type_hint");
        hint.is_some_and(|hint| hint == "access_token")
            .then(|| object(400, &refused))
    }));
    assert!(desk.sign_in(&[&url], false).status.success());
    let output = desk.run(&["logout", &url]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    for words in [
        "the access token was erased here, but not revoked",
        "\"unsupported_token_type\", saying \"JWT access tokens cannot be revoked\"",
        "the access token, erased here, stays valid until it expires, in ",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert!(!said.contains("refresh token was erased"), "{said}");
    assert!(!said.contains("has no way to revoke"), "{said}");
}
