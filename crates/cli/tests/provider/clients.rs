//! Registered clients, keys, and pushed authorization requests.

use std::fs;

use crate::support::{Desk, Provider};

const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/p256.pem");

/// The options for the provider's client `secret`.
fn with_secret(provider: &Provider, desk: &Desk) -> Vec<String> {
    let path = desk.file("secret");
    fs::write(&path, &provider.secret).expect("written");
    let path = path.to_str().expect("a path");
    ["--client-id", "secret", "--client-secret-file", path]
        .map(str::to_owned)
        .to_vec()
}

fn borrowed(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

#[test]
#[ignore = "needs npm; .ci/run does"]
fn a_client_with_a_secret_signs_in_and_renews() {
    let provider = Provider::start(&["--token-seconds", "10"]);
    let desk = Desk::new(&provider);
    desk.sign_in(&borrowed(&with_secret(&provider, &desk)));
    desk.wait_until_over();
    assert_eq!(provider.call_with(&desk.headers(), "list"), 200);
    assert_eq!(provider.granted("refresh_token"), 1);
}

#[test]
#[ignore = "needs npm; .ci/run does"]
fn a_client_with_a_key_signs_in_and_out() {
    let provider = Provider::start(&["--client-key", KEY]);
    let desk = Desk::new(&provider);
    desk.sign_in(&["--client-id", "key", "--client-key", KEY]);
    let token = desk.token();
    assert_eq!(provider.call(&token, "list"), 200);
    assert_eq!(desk.json("logout", &[]).0, Some(0));
    assert!(!provider.is_active(&token));
}

#[test]
#[ignore = "needs npm; .ci/run does"]
fn a_client_acts_for_itself() {
    let provider = Provider::start(&["--token-seconds", "10"]);
    let desk = Desk::new(&provider);
    let mut options = with_secret(&provider, &desk);
    options.push("--client-credentials".to_owned());
    desk.sign_in(&borrowed(&options));
    let first = desk.token();
    assert_eq!(provider.call(&first, "list"), 200);
    assert_eq!(provider.call(&first, "add"), 403);
    options.extend(["--scope".to_owned(), "notes:read notes:write".to_owned()]);
    desk.sign_in(&borrowed(&options));
    desk.wait_until_over();
    assert_eq!(provider.call(&desk.token(), "add"), 200);
}

/// With a nonce: the first proof at the token endpoint is rejected, and the next one contains it.
#[test]
#[ignore = "needs npm; .ci/run does"]
fn dpop_10_tokens_are_bound_to_a_key() {
    let provider = Provider::start(&["--nonce", "--token-seconds", "10"]);
    let desk = Desk::new(&provider);
    desk.sign_in(&["--dpop-key", KEY]);
    let headers = desk.headers();
    assert!(headers.contains("authorization: DPoP "));
    assert_eq!(provider.call_with(&headers, "list"), 200);
    let bearer = headers.replace("DPoP ", "Bearer ");
    assert_eq!(provider.call_with(&bearer, "list"), 401);
    desk.wait_until_over();
    assert_eq!(provider.call_with(&desk.headers(), "list"), 200);
    assert_eq!(provider.granted("refresh_token"), 1);
}

#[test]
#[ignore = "needs npm; .ci/run does"]
fn requests_can_be_pushed() {
    let provider = Provider::start(&["--pushed"]);
    let desk = Desk::new(&provider);
    desk.sign_in(&[]);
    assert_eq!(provider.call(&desk.token(), "list"), 200);
}
