//! The registrations and the pending sign-ins of an account: what replaces, keeps and drops them.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::fake::{Fake, Mode};
use crate::support::{Desk, text};
use crate::transactions::{files, interrupted};

/// The registrations, by file.
fn registered(desk: &Desk) -> Vec<(String, String)> {
    let all = files(desk).into_iter();
    all.filter(|(name, _)| name.starts_with("slots/registration/"))
        .collect()
}

fn signed_in(fake: &Fake, desk: &Desk) {
    fake.state().token_seconds = 3_600;
    let output = desk.sign_in(&[&fake.url()], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// A former registration stays until a new one replaces it.
#[test]
fn a_login_that_fails_leaves_the_registration() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    signed_in(&fake, &desk);
    let before = registered(&desk);
    assert_eq!(before.len(), 1);
    fake.state().register = Mode::Answers(503, "text/plain", "down");
    let output = desk.run(&[
        "login",
        &url,
        "--new-client",
        "--no-browser",
        "--timeout",
        "3",
    ]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert_eq!(registered(&desk), before);
    fake.state().register = Mode::Works;
    fake.state().forget_tokens();
    signed_in(&fake, &desk);
    assert_eq!(fake.state().registrations, 1);
    // The same option replaces it, where the server answers.
    let output = desk.sign_in(&[&url, "--new-client"], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(fake.state().registrations, 2);
    assert_ne!(registered(&desk), before);
    assert_eq!(registered(&desk).len(), 1);
}

/// A registration that no sign-in completed goes with the client that is forgotten, and no other server's does.
#[test]
fn sec_31_the_registration_of_a_failed_login_is_forgotten_too() {
    let (fake, other, desk) = (Fake::start(), Fake::start(), Desk::new());
    let url = fake.url();
    signed_in(&other, &desk);
    let others = registered(&desk);
    signed_in(&fake, &desk);
    let again = [
        "login",
        &url,
        "--new-client",
        "--no-browser",
        "--timeout",
        "1",
    ];
    assert_eq!(desk.run(&again).status.code(), Some(3));
    assert!(fake.state().registrations > 1);
    let output = desk.run(&["logout", "--forget-client", &url]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(registered(&desk), others);
}

/// QUIRK-14: a server that may have forgotten the client, and is down at the next login, is still suspected after that.
#[test]
fn a_client_that_led_to_no_callback_is_replaced_once_the_server_answers() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    signed_in(&fake, &desk);
    fake.state().forget_tokens();
    let nobody = ["login", &url, "--no-browser", "--timeout", "1"];
    assert_eq!(desk.run(&nobody).status.code(), Some(3));
    fake.state().register = Mode::Answers(503, "text/plain", "down");
    let output = desk.run(&["login", &url, "--no-browser", "--timeout", "3"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    fake.state().register = Mode::Works;
    signed_in(&fake, &desk);
    assert_eq!(fake.state().registrations, 2);
}

/// The account of one server cannot be read: the clients of other servers stay.
#[test]
fn forgetting_an_unknown_client_forgets_no_other_one() {
    let (one, other, desk) = (Fake::start(), Fake::start(), Desk::new());
    signed_in(&one, &desk);
    let mine: Vec<_> = fs::read_dir(desk.path().join("slots/account"))
        .expect("a folder")
        .flatten()
        .collect();
    signed_in(&other, &desk);
    assert_eq!(registered(&desk).len(), 2);
    fs::write(mine[0].path(), "").expect("written");
    let output = desk.run(&["logout", &one.url(), "--forget-client"]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("no client that can be read"), "{said}");
    // Its own is known by the note of the sign-in.
    assert_eq!(registered(&desk).len(), 1);
    let output = desk.run(&["logout", &other.url(), "--forget-client"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(registered(&desk).len(), 0);
}

/// The record of a registration does not name the MCP server, which may be elsewhere.
#[test]
fn sec_31_the_registration_of_a_first_login_that_failed_is_shown_and_forgotten() {
    let (mcp, server, other) = (Fake::start(), Fake::start(), Fake::start());
    let desk = Desk::new();
    signed_in(&other, &desk);
    mcp.state().announces = Some(server.issuer());
    let url = mcp.url();
    let nobody = ["login", &url, "--no-browser", "--timeout", "1"];
    assert_eq!(desk.run(&nobody).status.code(), Some(3));
    assert_eq!(
        (server.state().registrations, registered(&desk).len()),
        (1, 2)
    );

    let said = text(&desk.run(&["list"]).stdout);
    assert!(
        said.contains(&format!("logout {} ", server.issuer())),
        "{said}"
    );
    assert!(
        !said.contains(&format!("registered at {}", other.issuer())),
        "{said}"
    );
    let (_, answer) = desk.json(&["list"]);
    assert_eq!(answer["unused_clients"][0]["issuer"], server.issuer());
    let output = desk.run(&["status", &url]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains(&format!("mcp-auth logout {url}")), "{said}");

    // A sign-out alone has nothing to do, and succeeds.
    let output = desk.run(&["logout", &url]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("nothing to sign out of"), "{said}");
    assert_eq!(text(&output.stderr), "");
    for place in [url.clone(), server.issuer()] {
        assert_eq!(registered(&desk).len(), 2);
        let output = desk.run(&["logout", &place, "--forget-client"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(registered(&desk).len(), 1, "{place}");
        let said = text(&output.stdout);
        assert!(
            said.contains("no sign-in at") && said.contains("registration"),
            "{said}"
        );
        let again = desk.run(&["logout", &place, "--forget-client"]);
        assert_eq!(again.status.code(), Some(0));
        assert!(text(&again.stdout).contains("nothing to sign out of"));
        assert_eq!(desk.run(&nobody).status.code(), Some(3));
    }
    let output = desk.run(&["logout", &url, "--forget-client"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = desk.run(&["logout", &other.url(), "--forget-client"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(files(&desk).is_empty(), "{:?}", files(&desk));
}

/// A damaged registration that was set aside may hold a secret, and no one can use it.
#[test]
fn sec_31_a_damaged_copy_of_a_registration_goes_at_the_sign_out() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    signed_in(&fake, &desk);
    let (name, _) = registered(&desk).remove(0);
    let path = desk.path().join(&name);
    // Of no known name, as a torn write leaves it; of another account; and one that nothing has set aside yet.
    let of_another = "1\nv2.x.{\"owner\":\"work\",\"issuer\":\"https://a.example\"}";
    fs::write(path.with_extension("damaged"), "secret-of-the-client").expect("written");
    fs::write(path.with_file_name("other.damaged"), of_another).expect("written");
    let output = desk.run(&["logout", &url]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("damaged files"),
        "{}",
        text(&output.stdout)
    );
    let left: Vec<_> = registered(&desk)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(
        left.contains(&"slots/registration/other.damaged".to_owned()),
        "{left:?}"
    );
    signed_in(&fake, &desk);
    fs::write(&path, "secret-of-the-client").expect("written");
    let output = desk.run(&["logout", &url, "--forget-client"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let told = files(&desk)
        .values()
        .any(|file| file.contains("secret-of-the-client"));
    assert!(!told, "{:?}", files(&desk));
}

/// SEC-31: a pending sign-in carries its expiry, after which each command removes it.
#[test]
fn sec_31_a_pending_sign_in_has_an_expiry_after_which_it_is_removed() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let mut kept = None;
    let arguments = [fake.url()];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    interrupted(&desk, &arguments, |process| {
        let pending = fs::read_dir(desk.path().join("slots/pending")).expect("a folder");
        let [file] = &pending.flatten().collect::<Vec<_>>()[..] else {
            panic!("one pending sign-in");
        };
        let record = fs::read_to_string(file.path()).expect("a record");
        kept = Some((file.path(), record));
        process.kill().expect("killed");
    });
    let (path, record) = kept.expect("a record");
    let (line, rest) = record.split_once('\n').expect("a first line");
    let (revision, expires) = line.split_once(' ').expect("an expiry");
    let expires: u128 = expires.parse().expect("a number");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time");
    assert!(expires > now.as_millis() && expires < now.as_millis() + 3_600_000);
    // No journal names it any more, as after a power failure.
    assert!(desk.run(&["list"]).status.success());
    fs::write(&path, format!("{revision} {}\n{rest}", now.as_millis() - 1)).expect("written");
    let old = SystemTime::now() - std::time::Duration::from_secs(3_600);
    let file = fs::File::options().write(true).open(&path).expect("a file");
    file.set_modified(old).expect("made older");
    drop(file);
    assert!(desk.run(&["list"]).status.success());
    assert!(!path.exists());
    fs::write(&path, &record).expect("written");
    assert!(desk.run(&["list"]).status.success());
    assert!(path.exists(), "it has not expired");
}
