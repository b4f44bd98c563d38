//! The command in a shell: completions, manual pages, a table, colours by the usual rules, `--quiet`,
//! a line that shows a wait, and its use with curl.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::fake::Fake;
use crate::support::{Desk, text};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mcp-auth");

const COMMANDS: [&str; 14] = [
    "completions",
    "demo",
    "doctor",
    "drive",
    "headers",
    "list",
    "login",
    "logout",
    "man",
    "proxy",
    "replay",
    "setup",
    "status",
    "token",
];

fn signed_in(fake: &Fake) -> Desk {
    let desk = Desk::new();
    let output = desk.sign_in(&[&fake.url()], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    desk
}

#[test]
fn each_shell_has_completions_for_all_commands() {
    let desk = Desk::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = desk.run(&["completions", shell]);
        assert!(output.status.success(), "{shell}");
        let script = text(&output.stdout);
        for command in COMMANDS {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    assert_eq!(desk.run(&["completions", "tcsh"]).status.code(), Some(2));
    let (status, answer) = desk.json(&["completions", "fish"]);
    assert_eq!((status, answer["shell"].as_str()), (Some(0), Some("fish")));
}

/// The script does what it promises in the shell that most people have.
#[test]
fn bash_completes_commands_and_options() {
    let complete = |line: &str| {
        let script = format!(
            "source <({PROGRAM} completions bash); COMP_WORDS=({line}); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE='{line}'; \
             F=$(complete -p mcp-auth | grep -o '_mcp[a-z_-]*'); \
             $F mcp-auth \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
             echo \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").args(["-c", &script]).output();
        text(&output.expect("bash").stdout)
    };
    assert_eq!(complete("mcp-auth lo"), "login logout");
    assert_eq!(complete("mcp-auth token --min"), "--min-ttl");
    assert_eq!(complete("mcp-auth setup cu"), "cursor");
}

#[test]
fn each_command_has_a_manual_page() {
    let desk = Desk::new();
    let folder = desk.path().join("man");
    let output = desk.run(&["man", folder.to_str().expect("a path")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let page = |name: &str| std::fs::read_to_string(folder.join(name)).expect(name);
    for command in COMMANDS {
        let page = page(&format!("mcp-auth-{command}.1"));
        assert!(
            page.contains(".TH") && page.contains(".SH SYNOPSIS"),
            "{command}"
        );
    }
    assert!(page("mcp-auth-login.1").contains("keyring"));
    let whole = text(&desk.run(&["man"]).stdout);
    assert!(
        whole.contains(".TH mcp\\-auth 1") || whole.contains(".TH mcp-auth 1"),
        "{whole}"
    );
    assert_eq!(whole, page("mcp-auth.1").trim());
}

/// Columns are aligned; a colour only where the user wants it: the output here is a pipe.
#[test]
fn a_list_is_a_table_and_colours_follow_the_rules() {
    let fake = Fake::start();
    let desk = signed_in(&fake);
    let output = desk.sign_in(&["--account", "work", &fake.url()], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let list = |variables: &[(&str, &str)]| {
        let mut command = desk.command(&["list"]);
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
        command.envs(variables.iter().copied());
        text(&command.output().expect("it runs").stdout)
    };
    let plain = list(&[]);
    let lines: Vec<&str> = plain.lines().collect();
    assert_eq!(lines.len(), 3, "{plain}");
    let column = lines[0].find("ACCOUNT").expect("a heading");
    let cell = |line: &str| {
        line.split_at(column)
            .1
            .split_whitespace()
            .next()
            .map(str::to_owned)
    };
    assert_eq!(cell(lines[1]).as_deref(), Some("default"), "{plain}");
    assert_eq!(cell(lines[2]).as_deref(), Some("work"), "{plain}");
    assert!(
        lines[1].contains(&fake.issuer()) && lines[1].contains("minutes"),
        "{plain}"
    );
    assert!(!plain.contains('\x1b'));
    assert!(list(&[("CLICOLOR_FORCE", "1")]).contains("\x1b[1mMCP SERVER\x1b[0m"));
    assert!(!list(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).contains('\x1b'));
    let mut failing = desk.command(&["token", "http://127.0.0.1:9/mcp"]);
    failing.env_remove("NO_COLOR").env("CLICOLOR_FORCE", "1");
    let said = text(&failing.output().expect("it runs").stderr);
    assert!(
        said.starts_with("\x1b[31mmcp-auth:\x1b[0m not signed in"),
        "{said:?}"
    );
}

/// `--quiet` leaves what the user has to act on, failures, and results that are the purpose of a command.
#[test]
fn quiet_says_what_has_to_be_done_and_nothing_else() {
    let fake = Fake::start();
    let desk = Desk::new();
    let output = desk.sign_in(&["--quiet", &fake.url()], false);
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
    let output = desk.run(&["-q", "token", &fake.url()]);
    assert!(fake.state().knows_access(&text(&output.stdout)));
    assert!(output.stderr.is_empty());
    let output = desk.run(&["logout", "-q", &fake.url()]);
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty());
    let output = desk.run(&["-q", "token", &fake.url()]);
    assert!(text(&output.stderr).contains("mcp-auth login"));
}

/// A wait is shown on a terminal, and its line is erased; the output of a pipe has no trace of it.
#[cfg(target_os = "linux")]
#[test]
fn a_wait_is_shown_on_a_terminal_only() {
    let fake = Fake::start();
    fake.state().token_seconds = 1;
    let desk = signed_in(&fake);
    std::thread::sleep(Duration::from_millis(1_100));
    fake.state().token_seconds = 3_600;
    fake.state().delay = Duration::from_millis(1_500);
    let terminal = |options: &str| {
        let line = format!("{PROGRAM} token --refused {options} {}", fake.url());
        let output = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env("MCP_AUTH_STORE", desk.path())
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .output();
        output.ok().map(|output| text(&output.stdout))
    };
    // `script` of util-linux makes the terminal.
    let Some(shown) = terminal("") else {
        eprintln!("SKIPPED: `script` IS NOT INSTALLED");
        return;
    };
    assert!(shown.contains("waiting for the servers"), "{shown:?}");
    assert!(shown.rfind("\x1b[2K") > shown.rfind("waiting"), "{shown:?}");
    let quiet = terminal("--quiet").expect("as before");
    assert!(!quiet.contains("waiting"), "{quiet:?}");
    let piped = desk.run(&["token", "--refused", &fake.url()]);
    assert!(piped.stderr.is_empty(), "{}", text(&piped.stderr));
}

/// The line that the documentation shows.
#[cfg(unix)]
#[test]
fn curl_takes_the_headers() {
    let fake = Fake::start();
    let desk = signed_in(&fake);
    let url = fake.url();
    let line = format!(
        "curl -sS -o /dev/null -w '%{{http_code}}' -H @<({PROGRAM} token --header '{url}') '{url}'"
    );
    let run = |line: &str| {
        let output = Command::new("bash")
            .args(["-c", line])
            .env("MCP_AUTH_STORE", desk.path())
            .output();
        text(&output.expect("bash").stdout)
    };
    assert_eq!(run(&line), "200");
    assert_eq!(
        run(&format!(
            "curl -sS -o /dev/null -w '%{{http_code}}' '{url}'"
        )),
        "401"
    );
}
