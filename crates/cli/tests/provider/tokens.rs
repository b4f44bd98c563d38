//! Expiry and revocation of tokens.

use crate::support::{Desk, Provider, said};

/// Long enough for ten processes on a slow machine, short enough to wait for.
const SECONDS: [&str; 2] = ["--token-seconds", "10"];

#[test]
#[ignore = "needs npm; .ci/run does"]
fn refr_04_a_renewal_takes_the_place_of_what_was_held() {
    let provider = Provider::start(&SECONDS);
    let desk = Desk::new(&provider);
    desk.sign_in(&[]);
    let (first, before) = (desk.token(), desk.account());
    assert_eq!(provider.call(&first, "list"), 200);
    desk.wait_until_over();
    assert_eq!(provider.call(&first, "list"), 401);

    let second = desk.token();
    assert_eq!(provider.call(&second, "list"), 200);
    assert_eq!(provider.granted("refresh_token"), 1);
    let after = desk.account();
    assert_ne!(before["tokens"]["refresh"], after["tokens"]["refresh"]);
    let old = before["tokens"]["refresh"].as_str().expect("a token");
    assert!(!provider.is_active(old));

    // Another party uses the old token: the provider revokes all tokens of this sign-in.
    assert_eq!(provider.refresh(&before), "invalid_grant");
    assert_eq!(provider.call(&second, "list"), 401);
    desk.wait_until_over();
    let (status, answer) = desk.json("token", &[]);
    assert_eq!(status, Some(3), "{answer}");
    desk.sign_in(&[]);
    assert_eq!(provider.call(&desk.token(), "list"), 200);
}

#[test]
#[ignore = "needs npm; .ci/run does"]
fn refr_05_ten_processes_one_refresh() {
    let provider = Provider::start(&SECONDS);
    let desk = Desk::new(&provider);
    desk.sign_in(&[]);
    desk.wait_until_over();
    let processes: Vec<_> = (0..10)
        .map(|_| desk.command("token", &[]).spawn().expect("it starts"))
        .collect();
    let mut tokens: Vec<String> = processes
        .into_iter()
        .map(|process| {
            let output = process.wait_with_output().expect("it ends");
            assert!(output.status.success(), "{}", said(&output));
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        })
        .collect();
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 1, "one token for all");
    let asked = (
        provider.granted("refresh_token"),
        provider.refused("refresh_token"),
    );
    assert_eq!(asked, (1, 0));
    assert_eq!(provider.call(&tokens[0], "list"), 200);
}
