//! The messages of the command: no character that a terminal interprets, the path of each file, and words for the
//! person who reads them.

use std::fs;

use serde_json::json;

use crate::fake::Fake;
use crate::remedies::{Transcript, returned};
use crate::support::{Desk, text};

/// Returns a character that a terminal interprets, or that changes the order or the lines of the text around it.
fn special(said: &str) -> Option<char> {
    let is_special = |c: &char| {
        (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c) || *c == '\u{2066}'
    };
    said.chars().find(is_special)
}

const TERMINAL: &str = "\u{1b}]0;owned\u{7}\u{9b}2J\r\u{202e}\nspoofed";

/// SEC-28: an account of the store whose name and URL hold control characters, as another program may write it.
#[test]
fn sec_28_control_characters_of_names_are_escaped_everywhere() {
    let desk = Desk::new();
    let record = json!({
        "mcp_url": "https://mcp.example/mcp", "principal": format!("work{TERMINAL}"),
    });
    fs::create_dir_all(desk.path().join("slots/account")).expect("a folder");
    let contents = format!("0\nv2.x.{record}");
    fs::write(desk.path().join("slots/account/a-name"), contents).expect("written");
    // Settings of another account in a file of a name that is not theirs.
    let settings = json!({
        "url": "https://mcp.example/mcp", "account": format!("home{TERMINAL}"), "port": null, "settings": {},
    });
    fs::create_dir_all(desk.path().join("profiles")).expect("a folder");
    fs::write(desk.path().join("profiles/a.json"), settings.to_string()).expect("written");
    for arguments in [
        &["list"][..],
        &["list", "--json"],
        &["list", "--verbose"],
        &["token", &format!("https://mcp.example/{TERMINAL}")],
        &[
            "status",
            "https://mcp.example/mcp",
            "--account",
            &format!("x{TERMINAL}"),
        ],
        &[
            "login",
            "https://mcp.example/mcp",
            "--store",
            &format!("{}/x{TERMINAL}", desk.path().display()),
            "--ca-file",
            TERMINAL,
        ],
        &["replay", TERMINAL],
        &["man", &format!("/dev/null/{TERMINAL}")],
        &[
            "setup",
            "cursor",
            "https://mcp.example/mcp",
            "--write",
            "--file",
            &format!("/dev/null/{TERMINAL}"),
        ],
        &[TERMINAL],
    ] {
        let output = desk.run(arguments);
        for stream in [&output.stdout, &output.stderr] {
            let said = text(stream);
            assert_eq!(special(&said), None, "{arguments:?}: {said:?}");
            // The parser of the command line repeats an argument with its lines.
            let is_spoofed = said.lines().any(|line| line.starts_with("spoofed"));
            assert!(
                !is_spoofed || said.starts_with("error: "),
                "{arguments:?}: {said}"
            );
        }
    }
    let (_, answer) = desk.json(&["list"]);
    let said = answer.to_string();
    assert!(said.contains("work") && said.contains("owned"), "{said}");
}

/// SEC-28: the words of servers, in the commands that print most of them.
#[test]
fn sec_28_control_characters_of_servers_are_escaped_everywhere() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    fake.state().hook = Some(Box::new(|request, issuer| {
        (request.path == "/authorize")
            .then(|| returned(request, issuer, "access_denied", &format!("no{TERMINAL}")))
    }));
    let (status, said) = Transcript::new(&desk, &[]).run(&["login", &url, "--verbose"]);
    assert_eq!((status, special(&said)), (Some(3), None), "{said}");
    fake.state().hook = Some(Box::new(move |request, _| {
        let page = format!("content-type: text/{TERMINAL}\r\n").replace('\n', "\r\n x: y");
        (request.path == "/mcp").then(|| (404, page, TERMINAL.to_owned()))
    }));
    for arguments in [["login", &url], ["doctor", &url], ["login", "--verbose"]] {
        let output = desk.run(&[&arguments[..], &["--timeout", "5"]].concat());
        for stream in [&output.stdout, &output.stderr] {
            assert_eq!(special(&text(stream)), None, "{arguments:?}");
        }
    }
}

#[test]
fn each_failure_of_a_file_names_its_path() {
    let desk = Desk::new();
    let at = |name: &str| desk.path().join(name).display().to_string();
    fs::write(at("file"), "no object").expect("written");
    fs::create_dir(at("folder")).expect("a folder");
    let (file, folder, below) = (at("file"), at("folder"), at("file/below"));
    let url = "https://mcp.example/mcp";
    let cases: &[(&[&str], &str)] = &[
        (&["setup", "cursor", url, "--write", "--file", &file], &file),
        (&["setup", "codex", url, "--write", "--file", &file], &file),
        (&["setup", "goose", url, "--write", "--file", &file], &file),
        (
            &["setup", "zed", url, "--write", "--file", &folder],
            &folder,
        ),
        (&["setup", "zed", url, "--write", "--file", &below], &below),
        (&["man", &file], &file),
        (&["man", &below], &below),
        (&["list", "--store", &file], &file),
        (&["list", "--store", &below], &below),
        (&["status", url, "--store", &file], &file),
        (&["token", url, "--store", &file], &file),
        (&["headers", url, "--store", &file], &file),
        (&["login", url, "--store", &file], &file),
        (&["login", url, "--store", &below], &below),
        (&["logout", url, "--store", &file], &file),
        (&["doctor", url, "--ca-file", &below], &below),
        (&["doctor", url, "--server-metadata", &file], &file),
        (
            &[
                "login",
                url,
                "--client-id",
                "x",
                "--client-secret-file",
                &below,
            ],
            &below,
        ),
        (&["login", url, "--dpop-key", &file], &file),
        (&["login", url, "--client-key", &folder], &folder),
        (&["login", url, "--issuer-settings", &file], &file),
        (&["login", url, "--record", &below], &below),
        (&["login", url, "--html", &folder], &folder),
        (&["replay", &folder], &folder),
        (&["replay", &file], &file),
    ];
    for (arguments, path) in cases {
        let output = desk.run(arguments);
        let said = text(&output.stderr);
        assert!(
            matches!(output.status.code(), Some(1 | 4)),
            "{arguments:?}: {said}"
        );
        assert!(said.contains(path), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    }
}

/// A sign-in is not begun for a record that cannot be written at its end.
#[test]
fn a_place_for_the_record_is_checked_before_anything_is_sent() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    let missing = desk.path().join("missing/file").display().to_string();
    let folder = desk.path().display().to_string();
    for option in ["--record", "--html"] {
        for place in [&missing, &folder] {
            let (status, said) = Transcript::new(&desk, &[]).run(&["login", &url, option, place]);
            assert_eq!(status, Some(1), "{said}");
            assert!(said.contains(place.as_str()), "{said}");
            assert_eq!(fake.state().requests, Vec::<String>::new());
        }
    }
    let kept = desk.path().join("kept").display().to_string();
    fs::write(&kept, "before").expect("written");
    let output = desk.run(&["login", "http://127.0.0.1:9/mcp", "--html", &kept]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let names = fs::read_dir(desk.path()).expect("a folder").flatten();
    let names: Vec<_> = names.map(|entry| entry.file_name()).collect();
    assert!(
        names
            .iter()
            .all(|name| !name.to_string_lossy().starts_with(".tmp")),
        "{names:?}"
    );
}

#[test]
fn an_account_without_a_name_is_a_usage_error() {
    let desk = Desk::new();
    let url = "https://mcp.example/mcp";
    for command in [
        "login", "token", "headers", "proxy", "status", "logout", "doctor",
    ] {
        for name in ["", "a\u{1b}b", "a\nb"] {
            let output = desk.run(&[command, url, "--account", name]);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{command} {name:?}: {said}");
            assert!(said.contains("--account"), "{said}");
        }
    }
}

/// Runs the command that undoes a `setup`, as it is printed.
#[cfg(unix)]
fn undo(said: &str) {
    let command = said.split_once("to undo it: ").expect("an undo").1;
    let command = command.lines().next().expect("a line");
    let done = std::process::Command::new("sh")
        .args(["-c", command])
        .status();
    assert!(done.expect("a shell").success(), "{command}");
}

/// The file behind a link is the one that the backup belongs to.
#[cfg(unix)]
#[test]
fn the_undo_of_setup_names_the_file_behind_a_link() {
    let desk = Desk::new();
    let (real, link) = (
        desk.path().join("dotfiles/mcp.json"),
        desk.path().join("mcp.json"),
    );
    fs::create_dir(desk.path().join("dotfiles")).expect("a folder");
    std::os::unix::fs::symlink("dotfiles/mcp.json", &link).expect("a link");
    let url = "https://mcp.example/mcp";
    let setup = [
        "setup",
        "cursor",
        url,
        "--write",
        "--file",
        &link.display().to_string(),
    ];
    // A link to a file that is not there yet.
    let output = desk.run(&setup);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(link.is_symlink() && real.is_file(), "{said}");
    assert!(
        said.contains(&format!("to undo it: rm {}", real.display())),
        "{said}"
    );
    fs::write(&real, "{\"mcpServers\": {}}").expect("written");
    let said = text(&desk.run(&setup).stdout);
    undo(&said);
    assert!(link.is_symlink());
    assert_eq!(
        fs::read_to_string(&link).expect("read"),
        "{\"mcpServers\": {}}"
    );
}

/// The core speaks to hosts, the command to the person at the terminal.
#[test]
fn the_next_step_is_said_to_the_person_who_reads_it() {
    let (fake, desk) = (Fake::start(), Desk::new());
    fake.state().hook = Some(Box::new(|request, issuer| {
        (request.path == "/authorize").then(|| returned(request, issuer, "access_denied", "no"))
    }));
    let (_, said) = Transcript::new(&desk, &[]).run(&["login", &fake.url()]);
    assert!(said.contains("run this again to sign in"), "{said}");
    assert!(!said.contains("ask the user"), "{said}");
}

#[test]
fn refused_scopes_are_those_that_were_asked_for() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    assert!(
        desk.sign_in(&[&url, "--scope", "read"], false)
            .status
            .success()
    );
    fake.state().hook = Some(Box::new(|request, issuer| {
        let scope = request.query.get("scope").cloned().unwrap_or_default();
        (request.path == "/authorize" && scope.contains("nonsense"))
            .then(|| returned(request, issuer, "invalid_scope", "no such scope"))
    }));
    let (status, said) = Transcript::new(&desk, &[]).run(&["login", &url, "--scope", "nonsense"]);
    assert_eq!(status, Some(1), "{said}");
    let last = said.lines().last().expect("a message");
    for words in ["refused the scopes `read nonsense`", "added `nonsense`"] {
        assert!(last.contains(words), "{said}");
    }
    // Without an account, all of them are named.
    let desk = Desk::new();
    let (status, said) = Transcript::new(&desk, &[]).run(&["login", &url, "--scope", "nonsense"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("asked for the scopes `nonsense`"), "{said}");
}

#[test]
fn a_client_that_the_user_named_is_not_replaced_after_an_error_page() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    let login = [
        "login",
        &url,
        "--client-id",
        "unknown",
        "--no-browser",
        "--timeout",
        "1",
    ];
    let said = text(&desk.run(&login).stderr);
    assert!(
        said.contains("--client-id") && !said.contains("registers a new one"),
        "{said}"
    );
    let again = desk.run(&["login", &url, "--no-browser", "--timeout", "1"]);
    assert!(!text(&again.stderr).contains("registering a new client"));
}

#[test]
fn a_url_without_its_scheme_is_proposed_with_one() {
    let (fake, desk) = (Fake::start(), Desk::new());
    for (typed, proposed) in [
        ("mcp.example/mcp", "https://mcp.example/mcp"),
        ("localhost:8000/mcp", "http://localhost:8000/mcp"),
        ("127.0.0.1/mcp", "http://127.0.0.1/mcp"),
    ] {
        let said = text(&desk.run(&["login", typed]).stderr);
        assert!(said.contains(&format!("use {proposed}")), "{said}");
    }
    let secure = fake.url().replace("http://", "https://");
    let said = text(&desk.run(&["login", &secure, "--timeout", "5"]).stderr);
    assert!(said.contains(&format!("use {}", fake.url())), "{said}");
}

#[cfg(unix)]
#[test]
fn the_undo_of_setup_is_a_command_that_leaves_nothing() {
    let desk = Desk::new();
    let set_up = |file: &str| {
        let file = desk.path().join(file).display().to_string();
        let arguments = [
            "setup",
            "cursor",
            "https://mcp.example/mcp",
            "--write",
            "--file",
        ];
        text(&desk.run(&[&arguments[..], &[&file]].concat()).stdout)
    };
    let said = set_up("new and/deep/mcp.json");
    assert!(desk.path().join("new and/deep/mcp.json").exists());
    undo(&said);
    assert!(!desk.path().join("new and").exists(), "{said}");
    set_up("new/deep/mcp.json");
    let said = set_up("new/deep/mcp.json");
    assert!(said.contains("nothing was changed"), "{said}");
    // A file in a folder that was there.
    let said = set_up("new/other.json");
    undo(&said);
    assert!(desk.path().join("new").exists() && !desk.path().join("new/other.json").exists());
    // A file with other entries.
    fs::write(desk.path().join("own.json"), "{\"a\": 1}").expect("written");
    undo(&set_up("own.json"));
    let own = fs::read_to_string(desk.path().join("own.json"));
    assert_eq!(own.expect("read"), "{\"a\": 1}");
}

/// A client runs the command in another directory.
#[cfg(unix)]
#[test]
fn the_paths_in_an_entry_are_those_of_every_directory() {
    let desk = Desk::new();
    let folder = desk.path().join("here");
    fs::create_dir(&folder).expect("a folder");
    for client in ["cursor", "codex", "claude-code"] {
        let arguments = [
            "setup",
            client,
            "https://mcp.example/mcp",
            "--store",
            "../sp",
            "--command",
            "../bin/mcp-auth",
        ];
        let mut command = desk.command(&arguments);
        let said = text(
            &command
                .current_dir(&folder)
                .output()
                .expect("it runs")
                .stdout,
        );
        let place = desk.path().canonicalize().expect("a path");
        for path in ["sp", "bin/mcp-auth"] {
            let path = place.join(path).display().to_string();
            assert!(said.contains(&path), "{path}: {said}");
        }
        assert!(!said.contains(".."), "{said}");
    }
}

#[test]
fn a_difference_is_shown_in_lines() {
    let desk = Desk::new();
    let file = desk.path().join("lines");
    let lines = [
        r#"{"now":1,"config":{"mcp_url":"https://mcp.example/mcp","redirect_uri":"http://127.0.0.1/callback","principal":"p"}}"#,
        r#"{"action":"idle","deadline":7}"#,
    ];
    fs::write(&file, lines.join("\n")).expect("written");
    let output = desk.run(&["replay", file.to_str().expect("UTF-8")]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.lines().count() > 2 && !said.contains("u000a"),
        "{said}"
    );
}

#[test]
fn a_value_that_is_no_url_is_named_with_its_option() {
    let desk = Desk::new();
    let url = "https://mcp.example/mcp";
    for option in [
        "--authorization-server",
        "--issuer",
        "--resource-metadata",
        "--prefer-issuer",
        "--client-metadata-url",
    ] {
        for value in [
            "nonsense",
            "as.example/tenant",
            "https://",
            "ftp://as.example",
        ] {
            let output = desk.run(&["login", url, option, value]);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(
                said.contains(option) && said.contains("https://as.example"),
                "{said}"
            );
        }
    }
    for command in [
        "login",
        "status",
        "token",
        "headers",
        "logout",
        "doctor",
        "proxy",
        "setup cursor",
    ] {
        let arguments: Vec<&str> = command.split(' ').chain([""]).collect();
        let output = desk.run(&arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command}: {said}");
        assert!(
            said.contains("URL") && !said.contains(": :"),
            "{command}: {said}"
        );
    }
}

#[test]
fn the_time_of_a_command_has_one_name_too() {
    let (fake, desk) = (Fake::start(), Desk::new());
    assert!(desk.sign_in(&[&fake.url()], false).status.success());
    let output = desk.run(&["headers", &fake.url(), "--timeout", "5"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}
