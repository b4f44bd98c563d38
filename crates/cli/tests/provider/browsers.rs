//! Other browsers and callback paths.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::support::{BROWSER, Desk, Provider, said};

const CHROMIUM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/provider/chromium.sh");

/// Skipped without Chromium, unless `MCP_AUTH_TEST_CHROMIUM` is 1.
#[test]
#[ignore = "needs npm; .ci/run does"]
fn chromium_signs_in() {
    let found = Command::new("chromium").arg("--version").output();
    if !found.is_ok_and(|version| version.status.success()) {
        let demanded = std::env::var("MCP_AUTH_TEST_CHROMIUM").is_ok_and(|value| value == "1");
        assert!(!demanded, "chromium was not found");
        eprintln!("skipped: chromium was not found; MCP_AUTH_TEST_CHROMIUM=1 requires it");
        return;
    }
    let provider = Provider::start(&[]);
    let desk = Desk::new(&provider);
    let output = desk
        .command("login", &["--timeout", "120"])
        .env("BROWSER", CHROMIUM)
        .output()
        .expect("it runs");
    let messages = fs::read_to_string(desk.file("page.messages")).unwrap_or_default();
    assert!(output.status.success(), "{}\n{messages}", said(&output));
    assert_eq!(provider.call(&desk.token(), "list"), 200);
    let shown = page(&desk);
    assert!(shown.contains("You can close this page"), "{shown}");
}

/// Returns the final page; Chromium may end after the command.
fn page(desk: &Desk) -> String {
    for _ in 0..300 {
        if let Ok(page) = fs::read_to_string(desk.file("page")) {
            return page;
        }
        sleep(Duration::from_millis(100));
    }
    panic!("Chromium did not end");
}

#[test]
#[ignore = "needs npm; .ci/run does"]
fn the_url_can_be_opened_by_hand() {
    let provider = Provider::start(&[]);
    let desk = Desk::new(&provider);
    let mut process = desk
        .command("login", &["--no-browser", "--timeout", "60"])
        .env_remove("BROWSER")
        .spawn()
        .expect("it starts");
    let messages = BufReader::new(process.stderr.take().expect("its messages are a pipe"));
    for line in messages.lines() {
        let line = line.expect("a message");
        if line.starts_with(&provider.issuer) {
            let browser = Command::new(BROWSER)
                .arg(line)
                .env("COOKIES", desk.file("cookies"))
                .status();
            assert!(browser.expect("it runs").success());
        }
    }
    assert!(process.wait().expect("it ends").success());
    assert_eq!(provider.call(&desk.token(), "list"), 200);
}
