//! Sign-in, step-up, sign-out.

use serde_json::Value;

use crate::support::{Desk, Provider, said};

#[test]
#[ignore = "needs npm; .ci/run does"]
fn from_doctor_to_logout() {
    let provider = Provider::start(&[]);
    let desk = Desk::new(&provider);

    let (status, answer) = desk.json("doctor", &[]);
    assert_eq!(status, Some(0), "{answer}");
    assert_eq!(provider.granted("authorization_code"), 0);

    let answer = desk.sign_in(&[]);
    assert_eq!(answer["issuer"], provider.issuer.as_str());
    let token = desk.token();
    assert_eq!(provider.call(&token, "list"), 200);
    assert!(provider.is_active(&token));

    let (status, answer) = desk.json("status", &[]);
    assert_eq!(
        (status, &answer["signed_in"]),
        (Some(0), &Value::from(true))
    );
    assert_eq!(answer["issuer"], provider.issuer.as_str());
    assert!(
        answer["expires_in"]
            .as_u64()
            .is_some_and(|left| left <= 300)
    );

    let account = desk.account();
    let refresh = account["tokens"]["refresh"].as_str().expect("a token");
    assert!(provider.is_active(refresh));
    let (status, _) = desk.json("logout", &[]);
    assert_eq!(status, Some(0));
    assert!(!provider.is_active(&token) && !provider.is_active(refresh));
    assert!(provider.revoked() >= 1);
    assert_eq!(provider.call(&token, "list"), 401);
    assert_eq!(desk.json("token", &[]).0, Some(3));
}

#[test]
#[ignore = "needs npm; .ci/run does"]
fn more_scopes_are_asked_for_by_name() {
    let provider = Provider::start(&[]);
    let desk = Desk::new(&provider);
    let answer = desk.sign_in(&[]);
    let first = desk.token();
    assert!(!answer["scopes"].to_string().contains("notes:write"));
    assert_eq!(provider.call(&first, "add"), 403);

    let answer = desk.sign_in(&["--scope", "notes:read notes:write"]);
    assert!(
        answer["scopes"].to_string().contains("notes:write"),
        "{answer}"
    );
    assert_eq!(provider.granted("authorization_code"), 2);
    let second = desk.token();
    assert_eq!(provider.call(&second, "add"), 200);

    // Granted scopes are not requested again.
    desk.sign_in(&["--scope", "notes:read notes:write"]);
    assert_eq!(provider.granted("authorization_code"), 2);
    assert_eq!(desk.token(), second);
}

#[test]
#[ignore = "needs npm; .ci/run does"]
fn iss_03_a_callback_of_another_issuer_is_refused() {
    let provider = Provider::start(&["--iss", "https://attacker.example"]);
    let desk = Desk::new(&provider);
    let output = desk.run("login", &["--json"]);
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["error"]["stage"], "callback", "{answer}");
    let asked = provider.granted("authorization_code") + provider.refused("authorization_code");
    assert_eq!(asked, 0, "the code was not spent");
    assert_eq!(desk.json("token", &[]).0, Some(3));
}

#[test]
#[ignore = "needs npm; .ci/run does"]
fn tokens_can_be_jwts() {
    let provider = Provider::start(&["--tokens", "jwt"]);
    let desk = Desk::new(&provider);
    desk.sign_in(&[]);
    let token = desk.token();
    assert_eq!(token.split('.').count(), 3);
    assert_eq!(provider.call(&token, "list"), 200);
    let (signed, _signature) = token.rsplit_once('.').expect("a signature");
    assert_eq!(provider.call(&format!("{signed}.AAAA"), "list"), 401);
}
