//! The device authorization grant (RFC 8628): the user enters the code in another browser.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Desk, Provider};

/// The user's other device: a browser with cookies of its own.
struct OtherDevice {
    cookies: TempDir,
}

impl OtherDevice {
    fn get(&self, url: &str, form: &[(&str, &str)]) -> String {
        let jar = self.cookies.path().join("jar");
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-L", "--max-redirs", "20", "--max-time", "30"])
            .arg("-b")
            .arg(&jar)
            .arg("-c")
            .arg(&jar);
        for (name, value) in form {
            curl.arg("--data-urlencode").arg(format!("{name}={value}"));
        }
        let output = curl.arg(url).output().expect("curl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Enters the code, and says yes or no.
    fn enters(&self, page: &str, code: &str, agrees: bool) {
        let xsrf = |html: &str| {
            let rest = html.split("name=\"xsrf\" value=\"").nth(1);
            let rest = rest.unwrap_or_else(|| panic!("no form in {html}"));
            rest.split('"').next().expect("a value").to_owned()
        };
        let first = xsrf(&self.get(page, &[]));
        let second = xsrf(&self.get(page, &[("xsrf", &first), ("user_code", code)]));
        let word = if agrees { "confirm" } else { "abort" };
        let last = self.get(
            page,
            &[("xsrf", &second), ("user_code", code), (word, "yes")],
        );
        assert!(!last.contains("name=\"user_code\"") || !agrees, "{last}");
    }
}

/// `login --device` while the user enters the code; its status and its JSON.
fn sign_in(desk: &Desk, agrees: bool) -> (Option<i32>, Value) {
    let mut login = desk
        .command("login", &["--device", "--json", "--timeout", "60"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let said = BufReader::new(login.stderr.take().expect("a pipe"));
    let (mut page, mut code) = (String::new(), String::new());
    let device = OtherDevice {
        cookies: TempDir::new().expect("a directory"),
    };
    for line in said.lines().map_while(Result::ok) {
        if let Some((_, rest)) = line.split_once("On any device, open") {
            page = rest.trim().to_owned();
        } else if let Some((_, rest)) = line.split_once("and enter the code") {
            code = rest.trim().to_owned();
            device.enters(&page, &code, agrees);
        }
    }
    assert!(!code.is_empty(), "a code is shown");
    let mut text = String::new();
    let mut output = login.stdout.take().expect("a pipe");
    output.read_to_string(&mut text).expect("text");
    let status = login.wait().expect("it ends").code();
    (status, serde_json::from_str(&text).expect("JSON"))
}

#[test]
#[ignore = "needs npm; .ci/run does"]
fn dev_01_dev_03_a_user_of_another_device_signs_in() {
    let provider = Provider::start(&["--token-seconds", "2"]);
    let desk = Desk::new(&provider);
    let (status, answer) = sign_in(&desk, true);
    assert_eq!(status, Some(0), "{answer}");
    assert_eq!(answer["issuer"], provider.issuer.as_str());
    let first = desk.token();
    assert_eq!(provider.call(&first, "list"), 200);
    assert_eq!(
        provider.granted("urn:ietf:params:oauth:grant-type:device_code"),
        1
    );
    assert_eq!(provider.granted("authorization_code"), 0);

    // The account is refreshed and revoked like any other.
    desk.wait_until_over();
    let second = desk.token();
    assert_ne!(first, second);
    assert_eq!(provider.granted("refresh_token"), 1);
    let (status, _) = desk.json("logout", &[]);
    assert_eq!(status, Some(0));
    assert!(!provider.is_active(&second));
}

#[test]
#[ignore = "needs npm; .ci/run does"]
fn dev_09_a_user_of_another_device_declines() {
    let provider = Provider::start(&[]);
    let desk = Desk::new(&provider);
    let (status, answer) = sign_in(&desk, false);
    assert_eq!(status, Some(3), "{answer}");
    assert_eq!(answer["error"]["code"], "refused", "{answer}");
    assert_eq!(desk.json("token", &[]).0, Some(3));
}
