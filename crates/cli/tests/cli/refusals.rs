//! Refused refreshes: each leads to an authorization in the browser, unless the server is only busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::fake::{Fake, Mode, Request, object};
use crate::remedies::Transcript;
use crate::support::Desk;

#[test]
fn each_refusal_of_a_refresh_ends_at_the_browser() {
    let html = "text/html";
    let json = "application/json";
    let refusals: [(u16, &str, &str); 18] = [
        (400, json, r#"{"error":"invalid_grant"}"#),
        (
            400,
            json,
            r#"{"error":"interaction_required","error_description":"AADSTS50076"}"#,
        ),
        (400, json, r#"{"error":"login_required"}"#),
        (400, json, r#"{"error":"consent_required"}"#),
        (400, json, r#"{"error":"token_expired"}"#),
        (401, json, r#"{"error":"invalid_token"}"#),
        (400, json, r#"{"error":"invalid_target"}"#),
        (400, json, r#"{"error":"invalid_scope"}"#),
        (400, json, r#"{"error":"invalid_request"}"#),
        (400, json, r#"{"error":"unauthorized_client"}"#),
        (401, json, r#"{"error":"invalid_client"}"#),
        (403, json, r#"{"error":"access_denied"}"#),
        (200, json, r#"{"error":"bad_refresh_token"}"#),
        // As Slack answers; a token that is none; no content.
        (200, json, r#"{"ok":false,"error":"invalid_refresh_token"}"#),
        (
            200,
            json,
            r#"{"access_token":"","token_type":"bearer","expires_in":0}"#,
        ),
        (400, json, ""),
        (400, html, "<h1>no</h1>"),
        (401, html, "<h1>no</h1>"),
    ];
    for (status, kind, body) in refusals {
        let (fake, desk) = (Fake::start(), Desk::new());
        let url = fake.url();
        let mut transcript = Transcript::new(&desk, &[]);
        assert_eq!(transcript.run(&["login", &url]).0, Some(0));
        fake.state().forget_access();
        fake.state().hook = Some(Box::new(move |request, _| {
            let refreshes = request
                .form
                .get("grant_type")
                .is_some_and(|grant| grant == "refresh_token");
            refreshes.then(|| (status, format!("content-type: {kind}\r\n"), body.to_owned()))
        }));
        let (code, said) = transcript.run(&["token", &url, "--refused"]);
        assert_eq!(code, Some(3), "{status} {body}: {said}");
        assert!(
            said.contains(&format!("mcp-auth login {url}")),
            "{status} {body}: {said}"
        );
        let (code, said) = transcript.run(&["login", &url]);
        assert_eq!(code, Some(0), "{status} {body}: {said}");
        assert_eq!(
            said.matches("response_type=code").count(),
            1,
            "{status} {body}: {said}"
        );
    }
}

/// Servers that answer an unknown token with something else than 401, and a request without a token with 401:
/// the user can sign in again.
#[test]
fn quirk_33_a_token_that_is_answered_with_another_status_than_401() {
    let json = "content-type: application/json\r\n";
    let to_a_page = "location: /signin\r\n";
    for (status, headers, body) in [
        (500, json, r#"{"error":"server_error"}"#),
        (400, json, r#"{"error":"invalid_client"}"#),
        (404, json, ""),
        (307, to_a_page, ""),
    ] {
        let (fake, desk) = (Fake::start(), Desk::new());
        let url = fake.url();
        let mut transcript = Transcript::new(&desk, &[]);
        assert_eq!(transcript.run(&["login", &url]).0, Some(0));
        let (_, held) = transcript.run(&["token", &url]);
        fake.state().forget_tokens();
        fake.state().hook = Some(Box::new(move |request, _| {
            let sent = request.authorization.as_deref()?;
            let is_old = sent.strip_prefix("Bearer ") == Some(held.trim());
            is_old.then(|| (status, headers.to_owned(), body.to_owned()))
        }));
        let (code, said) = transcript.run(&["login", &url]);
        assert_eq!(code, Some(0), "{status}: {said}");
        assert_eq!(
            said.matches("response_type=code").count(),
            1,
            "{status}: {said}"
        );
        assert_eq!(transcript.run(&["token", &url]).0, Some(0), "{status}");
    }
    // A server that is down, or that answers so without a token too: the account stays.
    for (status, also_without) in [(503, false), (500, true)] {
        let (fake, desk) = (Fake::start(), Desk::new());
        let url = fake.url();
        let mut transcript = Transcript::new(&desk, &[]);
        assert_eq!(transcript.run(&["login", &url]).0, Some(0));
        fake.state().hook = Some(Box::new(move |request, _| {
            let answers =
                request.path == "/mcp" && (also_without || request.authorization.is_some());
            answers.then(|| (status, json.to_owned(), "{}".to_owned()))
        }));
        let (code, said) = transcript.run(&["login", &url]);
        assert_eq!(code, Some(4), "{status}: {said}");
        assert!(!said.contains("response_type=code"), "{status}: {said}");
        assert_eq!(transcript.run(&["token", &url]).0, Some(0), "{status}");
    }
}

#[test]
fn leg_01_a_server_without_resource_metadata_signs_in_at_its_origin() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    let mut transcript = Transcript::new(&desk, &[]);
    fake.state().hook = Some(Box::new(|request, _| {
        let absent = request.path.contains("oauth-protected-resource");
        let refused = request.path == "/mcp" && request.authorization.is_none();
        let challenge = "www-authenticate: Bearer\r\n".to_owned();
        match (absent, refused) {
            (true, _) => Some((404, String::new(), String::new())),
            (false, true) => Some((401, challenge, String::new())),
            (false, false) => None,
        }
    }));
    let (code, said) = transcript.run(&["doctor", &url]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("publishes no resource metadata"), "{said}");
    assert_eq!(transcript.run(&["login", &url]).0, Some(0));
    assert_eq!(transcript.run(&["token", &url, "--refused"]).0, Some(0));
    assert_eq!(transcript.run(&["logout", &url]).0, Some(0));
}

/// Messages whose option helps at once.
#[test]
fn refused_redirect_uris_and_other_names_of_a_server_have_an_option() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    let mut transcript = Transcript::new(&desk, &[]);
    let body = r#"{"error":"invalid_redirect_uri"}"#;
    fake.state().register = Mode::Answers(400, "application/json", body);
    let (code, said) = transcript.run(&["login", &url]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--redirect-host localhost"), "{said}");
    fake.state().register = Mode::Works;
    // The metadata names the server as `localhost`, and the resource as well.
    let other = fake.issuer().replace("127.0.0.1", "localhost");
    let named = other.clone();
    fake.state().hook = Some(Box::new(move |request, issuer| {
        (request.path == "/.well-known/oauth-authorization-server").then(|| {
            let endpoint = |name: &str| format!("{issuer}/{name}");
            let metadata = json!({
                "issuer": named, "authorization_endpoint": endpoint("authorize"),
                "token_endpoint": endpoint("token"), "registration_endpoint": endpoint("register"),
                "response_types_supported": ["code"], "code_challenge_methods_supported": ["S256"],
            });
            object(200, &metadata)
        })
    }));
    let (code, said) = transcript.run(&["login", &url]);
    assert_eq!(code, Some(5), "{said}");
    assert!(
        said.contains(&format!("--authorization-server {other}")),
        "{said}"
    );
    fake.state().hook = Some(Box::new(move |request, _| {
        let resource =
            json!({ "resource": format!("{other}/mcp"), "authorization_servers": [other] });
        let of_resource = request.path.contains("oauth-protected-resource");
        of_resource.then(|| object(200, &resource))
    }));
    let (code, said) = transcript.run(&["login", &url]);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("in place of the URL"), "{said}");
}

#[test]
fn a_refusal_of_the_resource_by_entra_names_the_setting_for_the_next_refresh() {
    let words = "AADSTS9010010: The resource parameter does not match the requested scopes";
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    let mut transcript = Transcript::new(&desk, &[]);
    let login = ["login", &url, "--scope", "base"];
    assert_eq!(transcript.run(&login).0, Some(0));
    fake.state().hook = Some(Box::new(move |request, _| {
        let grant = request.form.get("grant_type").map(String::as_str);
        let refusal = json!({ "error": "invalid_request", "error_description": words });
        let named = request.form.contains_key("resource");
        (grant == Some("refresh_token") && named).then(|| object(400, &refusal))
    }));
    let (code, said) = transcript.run(&["token", &url, "--refused"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("--no-resource"), "{said}");
    fake.state().forget_access();
    let login = ["login", &url, "--no-resource"];
    assert_eq!(transcript.run(&login).0, Some(0));
    let (code, said) = transcript.run(&["token", &url, "--refused"]);
    assert_eq!(code, Some(0), "{said}");
}

/// Entra refuses a refresh without scopes where client and MCP server are one application.
#[test]
fn a_refresh_that_needs_scopes_is_repeated_with_them() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    let mut transcript = Transcript::new(&desk, &[]);
    let login = ["login", &url, "--scope", "base"];
    assert_eq!(transcript.run(&login).0, Some(0));
    let refusals = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&refusals);
    fake.state().hook = Some(Box::new(move |request, _| {
        let grant = request.form.get("grant_type").map(String::as_str);
        let named = request.form.contains_key("scope");
        let words = "AADSTS90009: Application is requesting a token for itself";
        let refusal = json!({ "error": "invalid_request", "error_description": words });
        (grant == Some("refresh_token") && !named).then(|| {
            counted.fetch_add(1, Ordering::SeqCst);
            object(400, &refusal)
        })
    }));
    for _ in 0..2 {
        fake.state().forget_access();
        let (code, said) = transcript.run(&["token", &url, "--refused"]);
        assert_eq!(code, Some(0), "{said}");
    }
    // The account remembers.
    assert_eq!(refusals.load(Ordering::SeqCst), 1);
}

#[test]
fn a_refusal_that_passes_keeps_the_account() {
    for (status, body) in [
        (429, r#"{"error":"invalid_request"}"#),
        (503, r#"{"error":"invalid_grant"}"#),
        (408, ""),
        (425, ""),
    ] {
        let (fake, desk) = (Fake::start(), Desk::new());
        let url = fake.url();
        let mut transcript = Transcript::new(&desk, &[]);
        assert_eq!(transcript.run(&["login", &url]).0, Some(0));
        fake.state().forget_access();
        fake.state().token = Mode::Answers(status, "application/json", body);
        let (code, said) = transcript.run(&["login", &url, "--timeout", "5"]);
        assert_eq!(code, Some(4), "{status} {body}: {said}");
        assert!(
            said.contains(&format!("answered {status}")) || said.contains("--timeout"),
            "{said}"
        );
        fake.state().token = Mode::Works;
        let (code, said) = transcript.run(&["token", &url, "--refused"]);
        assert_eq!(code, Some(0), "{status} {body}: {said}");
    }
}

/// As at frameworks whose storage throws for a refresh token that it does not know: no other command can tell that from a
/// server that fails for now, and the user is not kept out.
#[test]
fn quirk_36_a_refresh_token_that_is_answered_with_500_does_not_end_a_sign_in() {
    for status in [500, 400] {
        let (fake, desk) = (Fake::start(), Desk::new());
        let url = fake.url();
        let mut transcript = Transcript::new(&desk, &[]);
        assert_eq!(transcript.run(&["login", &url]).0, Some(0));
        fake.state().forget_tokens();
        fake.state().hook = Some(Box::new(move |request: &Request, _| {
            let grant = request.form.get("grant_type").map(String::as_str);
            let answer = || object(status, &json!({ "error": "server_error" }));
            (grant == Some("refresh_token")).then(answer)
        }));
        let (code, said) = transcript.run(&["token", &url, "--refused"]);
        assert_eq!(code, Some(4), "{said}");
        assert!(said.contains(&format!("answered {status}")), "{said}");
        assert!(said.contains(&format!("mcp-auth login {url}")), "{said}");
        let (code, said) = transcript.run(&["login", &url]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("signing in again"), "{said}");
        assert_eq!(transcript.run(&["token", &url]).0, Some(0));
    }
}

/// As servers of the Python SDK did: the method that they list first is refused for a new client. The second sign-in takes
/// the next one, and the user reads why the browser opens again.
#[test]
fn a_method_that_is_refused_gives_way_to_the_next_and_the_user_reads_why() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let mut registered = 0;
    fake.state().hook = Some(Box::new(move |request: &Request, issuer| {
        let answer = match request.path.as_str() {
            "/.well-known/oauth-authorization-server" => object(
                200,
                &json!({
                    "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"),
                    "token_endpoint": format!("{issuer}/token"),
                    "registration_endpoint": format!("{issuer}/register"),
                    "response_types_supported": ["code"], "code_challenge_methods_supported": ["S256"],
                    "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
                }),
            ),
            "/register" => {
                registered += 1;
                let asked = crate::bridge::message(request);
                object(
                    201,
                    &json!({
                        "client_id": format!("c{registered}"), "client_secret": "s",
                        "redirect_uris": asked["redirect_uris"],
                        "token_endpoint_auth_method": asked["token_endpoint_auth_method"],
                    }),
                )
            }
            "/authorize" => {
                let get = |name: &str| request.query.get(name).cloned().unwrap_or_default();
                let back = format!("{}?code=x&state={}", get("redirect_uri"), get("state"));
                (302, format!("location: {back}\r\n"), String::new())
            }
            "/token" if request.form.contains_key("client_secret") => {
                object(401, &json!({ "error": "invalid_client" }))
            }
            "/token" => object(
                200,
                &json!({ "access_token": "at", "token_type": "Bearer" }),
            ),
            "/mcp" if request.authorization.as_deref() == Some("Bearer at") => {
                object(200, &json!({ "jsonrpc": "2.0", "id": 1, "result": {} }))
            }
            _ => return None,
        };
        Some(answer)
    }));
    let output = desk.sign_in(&[&fake.url()], false);
    let said = crate::support::text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("response_type=code").count(), 2, "{said}");
    let why = "refused the new client by client_secret_post; the next registration asks for client_secret_basic";
    assert!(said.contains(why), "{said}");
}
