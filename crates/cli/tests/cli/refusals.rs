//! Refused refreshes: whatever the server says, the user ends at the browser, unless the server is only busy.

use crate::fake::{Fake, Mode};
use crate::remedies::Transcript;
use crate::support::Desk;

#[test]
fn each_refusal_of_a_refresh_ends_at_the_browser() {
    let html = "text/html";
    let json = "application/json";
    let refusals: [(u16, &str, &str); 15] = [
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
