//! Users without a browser at this machine: `doctor` says what a server offers them, and `login` proposes it.

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::fake::{Fake, object};
use crate::remedies::{SERVER, metadata};
use crate::support::{Desk, text};

/// A server that offers the device authorization grant, or lacks it.
fn server(offers: bool) -> Fake {
    let fake = Fake::start();
    fake.state().hook = Some(Box::new(move |request, issuer| {
        let mut changes = json!({});
        if offers {
            changes["device_authorization_endpoint"] = format!("{issuer}/device").into();
            changes["grant_types_supported"] = json!([
                "authorization_code",
                "urn:ietf:params:oauth:grant-type:device_code"
            ]);
        }
        (request.path == SERVER).then(|| object(200, &metadata(issuer, &changes)))
    }));
    fake
}

/// `login` in an environment without a display.
fn login(fake: &Fake) -> Output {
    let desk = Desk::new();
    let mut command = desk.command(&["login", "--timeout", "1", &fake.url()]);
    for name in ["BROWSER", "DISPLAY", "WAYLAND_DISPLAY"] {
        command.env_remove(name);
    }
    command.output().expect("it runs")
}

#[test]
fn dev_02_doctor_says_whether_a_code_is_offered() {
    for (offers, words) in [(true, "--device"), (false, "paste the address")] {
        let fake = server(offers);
        let (_, answer) = Desk::new().json(&["doctor", &fake.url()]);
        let findings = answer["findings"].as_array().expect("findings");
        let of_device = |found: &&Value| found["rule"] == "DEV-02";
        let found = findings.iter().find(of_device).expect("a finding");
        assert_eq!(found["mark"], "note", "{found}");
        assert!(
            found["words"].as_str().expect("words").contains(words),
            "{found}"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_login_without_a_display_proposes_a_code_where_the_server_offers_one() {
    for offers in [true, false] {
        let fake = server(offers);
        let said = text(&login(&fake).stderr);
        assert!(said.contains("Open this URL"), "{said}");
        let proposed = format!("mcp-auth login {} --device", fake.url());
        assert_eq!(said.contains(&proposed), offers, "{said}");
        assert!(!said.contains("Your browser should be open"), "{said}");
    }
}

/// Offers the device authorization grant, with this answer to each poll; returns the number of registrations.
fn gives_codes(fake: &Fake, (status, answer): (u16, Value)) -> Arc<AtomicUsize> {
    let registered = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&registered);
    fake.state().access.insert("at-1".to_owned());
    fake.state().hook = Some(Box::new(move |request, issuer| {
        let changes = json!({
            "device_authorization_endpoint": format!("{issuer}/device"),
            "grant_types_supported": ["urn:ietf:params:oauth:grant-type:device_code"],
        });
        let code = json!({
            "device_code": "d", "user_code": "ABCD", "verification_uri": format!("{issuer}/enter"),
            "expires_in": 600, "interval": 1,
        });
        match request.path.as_str() {
            SERVER => Some(object(200, &metadata(issuer, &changes))),
            "/register" => {
                let count = counted.fetch_add(1, Ordering::Relaxed);
                let client = json!({
                    "client_id": format!("c-{count}"), "token_endpoint_auth_method": "none",
                    "grant_types": ["urn:ietf:params:oauth:grant-type:device_code"],
                });
                Some(object(201, &client))
            }
            "/device" => Some(object(200, &code)),
            "/token" => Some(object(status, &answer)),
            _ => None,
        }
    }));
    registered
}

#[test]
fn a_new_client_for_codes_replaces_the_one_for_codes() {
    let fake = Fake::start();
    let answer = json!({ "access_token": "at-1", "token_type": "Bearer" });
    let registered = gives_codes(&fake, (200, answer));
    let desk = Desk::new();
    let (url, mut counts) = (fake.url(), Vec::new());
    for more in [None, Some("--new-client"), None] {
        let login = ["login", "--device", "--timeout", "20", &url];
        let output = desk.run(&login.iter().copied().chain(more).collect::<Vec<_>>());
        assert!(output.status.success(), "{}", text(&output.stderr));
        counts.push(registered.load(Ordering::Relaxed));
        assert!(desk.run(&["logout", &url]).status.success());
    }
    assert_eq!(counts, [1, 2, 2]);
}

/// A code that was not entered in time: the advice is about codes, and not about browsers.
#[test]
fn the_end_of_a_wait_for_a_code_is_not_about_a_browser() {
    let fake = Fake::start();
    gives_codes(&fake, (400, json!({ "error": "authorization_pending" })));
    let desk = Desk::new();
    let output = desk.run(&["login", "--device", "--timeout", "3", &fake.url()]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("enter the code    ABCD"), "{said}");
    let last = said.lines().last().expect("a message");
    assert!(
        last.contains("the code was not entered in time (--timeout)"),
        "{last}"
    );
    assert!(
        !last.contains("browser") && !last.contains("redirect"),
        "{last}"
    );
}

/// The page that `login --device` shows with the code has it already, at the built-in server too.
#[test]
fn the_complete_page_of_the_built_in_server_has_the_code() {
    let servers = crate::support::Servers::start(&["--device"]);
    let desk = Desk::new();
    let process = desk
        .command(&["login", "--device", "--timeout", "30", &servers.mcp])
        .spawn()
        .expect("it starts");
    let mut process = process;
    let lines = std::io::BufReader::new(process.stderr.take().expect("a pipe"));
    let mut lines = std::io::BufRead::lines(lines).map_while(Result::ok);
    let page = lines.find(|line| line.contains("/device?user_code="));
    let page = page.expect("a page");
    let (place, code) = page.split_once("?user_code=").expect("a code");
    let agent = ureq::Agent::new_with_defaults();
    let shown = agent
        .get(&page)
        .call()
        .expect("a page")
        .body_mut()
        .read_to_string();
    let shown = shown.expect("text");
    assert!(shown.contains(&format!("value=\"{code}\"")), "{shown}");
    agent
        .post(place)
        .send_form([("user_code", code), ("answer", "approve")])
        .expect("approved");
    assert!(process.wait().expect("it ends").success());
}
