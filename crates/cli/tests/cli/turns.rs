//! The turns of bridges: what ends the wait of a sign-in.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use crate::fake::Fake;
use crate::support::{Desk, follow};

/// SCOPE-04: the server refuses the first token for its scopes. The tokens that this sign-in stored itself do not end its
/// wait for the second callback.
#[test]
fn a_sign_in_of_a_bridge_waits_for_its_second_callback_too() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    let is_enough = Arc::new(AtomicBool::new(false));
    let enough = Arc::clone(&is_enough);
    fake.state().hook = Some(Box::new(move |request, _| {
        let refused = request.path == "/mcp"
            && request.authorization.is_some()
            && !enough.load(Ordering::Relaxed);
        let challenge = "www-authenticate: Bearer error=\"insufficient_scope\", scope=\"more\"\r\n";
        refused.then(|| (403, challenge.to_owned(), String::new()))
    }));
    let mut process = desk
        .command(&["login", &url, "--until-closed", "--no-browser"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
    let mut lines = lines.map_while(Result::ok);
    let mut page = || {
        let page = lines.find(|line| line.starts_with("http") && line.contains("/authorize?"));
        page.expect("a URL")
    };
    follow(&page(), true);
    let second = page();
    is_enough.store(true, Ordering::Relaxed);
    // A few looks at the store.
    sleep(Duration::from_millis(1_200));
    assert!(process.try_wait().expect("a process").is_none(), "it waits");
    follow(&second, true);
    let said: Vec<_> = lines.collect();
    assert!(process.wait().expect("its status").success(), "{said:#?}");
    let (_, status) = desk.json(&["status", &url]);
    assert_eq!(status["scopes"], json!(["base", "more"]), "{status}");
}
