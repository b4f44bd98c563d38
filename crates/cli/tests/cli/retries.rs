//! `proxy`: a request that is sent again after a refusal.

#[cfg(target_os = "linux")]
use std::io::{BufRead, BufReader};
#[cfg(target_os = "linux")]
use std::process::Stdio;
#[cfg(target_os = "linux")]
use std::sync::{Arc, Mutex};

#[cfg(target_os = "linux")]
use crate::bridge::message;
use crate::bridge::{Bridge, signed_in};
use crate::fake::Fake;
use crate::support::check_options;
#[cfg(target_os = "linux")]
use crate::support::follow;

/// Some servers leave a connection after they refused a request there, without a word: neither the request that is sent
/// again nor the next one goes there.
#[test]
fn a_connection_with_a_refusal_is_not_used_again() {
    let fake = Fake::start();
    let desk = signed_in(&fake, &[]);
    fake.state().leaves = true;
    let mut bridge = Bridge::start(&desk, &fake.url());
    assert!(bridge.ask("ping", 1)["result"].is_object());
    for _ in 0..3 {
        fake.state().forget_access();
        for _ in 0..2 {
            let answer = bridge.ask("ping", 1);
            assert!(answer["result"].is_object(), "{answer}");
        }
    }
    assert_eq!(bridge.end(), Some(0));
}

/// After a sign-in in the browser, the request is sent with the new token at once.
#[cfg(target_os = "linux")]
#[test]
fn a_token_without_the_scope_is_not_sent_again_after_the_sign_in() {
    let fake = Fake::start();
    let desk = signed_in(&fake, &[]);
    let sent = Arc::new(Mutex::new(Vec::new()));
    let keeps = Arc::clone(&sent);
    fake.state().hook = Some(Box::new(move |request, _| {
        if request.path == "/mcp" && message(request)["method"] == "ping" {
            let token = request.authorization.clone();
            let mut sent = keeps.lock().expect("the list");
            sent.push(token);
            let challenge =
                "www-authenticate: Bearer error=\"insufficient_scope\", scope=\"more\"\r\n";
            return (sent.first() == sent.last())
                .then(|| (403, challenge.to_owned(), String::new()));
        }
        None
    }));
    let mut command = desk.command(&["proxy", &fake.url(), "--transport", "http-only"]);
    command.env("BROWSER", "true").stdin(Stdio::piped());
    let mut process = command.spawn().expect("it starts");
    let said = BufReader::new(process.stderr.take().expect("a pipe"));
    let mut bridge = Bridge::of(process);
    bridge.say(&serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }));
    let mut lines = said.lines().map_while(Result::ok);
    let page = lines.find(|line| line.trim().starts_with("http"));
    follow(page.expect("a URL").trim(), true);
    assert!(bridge.hear()["result"].is_object());
    assert_eq!(bridge.end(), Some(0));
    let sent = sent.lock().expect("the list").clone();
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert_ne!(sent[0], sent[1]);
}

/// Where the server has forgotten the client, the URL leads to its error page, as long as the sign-in waits: the error
/// says what ends that.
#[test]
fn the_error_says_what_ends_a_url_that_leads_nowhere() {
    let fake = Fake::start();
    let desk = signed_in(&fake, &[]);
    fake.state().forget_tokens();
    fake.state().clients.clear();
    let mut bridge = Bridge::start(&desk, &fake.url());
    let answer = bridge.ask("ping", 1);
    let words = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(answer["error"]["data"]["url"].is_string(), "{answer}");
    assert!(words.contains("error page"), "{words}");
    let step = format!("mcp-auth login {}", fake.url());
    let steps: Vec<_> = words.split(&step).skip(1).collect();
    assert!(
        steps.iter().any(|step| step.contains(" --new-client")),
        "{words}"
    );
    check_options("proxy", words);
    assert_eq!(bridge.end(), Some(0));
}
