#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use proptest::prelude::*;
use serde_json::Value;

use super::client::{Client, Entry};
use super::edit::{Outcome, alone, insert, is_for_another, remove, repeated};

const CLIENTS: [Client; 8] = [
    Client::ClaudeCode,
    Client::Codex,
    Client::ClaudeDesktop,
    Client::Cursor,
    Client::Vscode,
    Client::Zed,
    Client::GeminiCli,
    Client::Goose,
];

fn entry() -> Entry {
    Entry {
        name: "notes".to_owned(),
        url: "https://mcp.example/mcp".to_owned(),
        command: "/opt/mcp auth/mcp-auth".to_owned(),
        arguments: vec!["https://mcp.example/mcp".to_owned()],
    }
}

fn changed(client: Client, text: &str) -> String {
    match insert(client, text, &entry()).unwrap_or_else(|_| panic!("{client:?}: {text}")) {
        Outcome::Changed(text) => text,
        Outcome::Unchanged => panic!("unchanged: {text}"),
    }
}

/// The lines of `before` all stand in `after`, in the same order.
fn keeps_lines(before: &str, after: &str) -> Result<(), String> {
    let mut lines = after.lines().map(|line| line.trim_end_matches(','));
    for line in before.lines().map(|line| line.trim_end_matches(',')) {
        if !lines.any(|other| other == line) {
            return Err(format!("{line:?} is lost:\n{after}"));
        }
    }
    Ok(())
}

#[test]
fn an_entry_for_another_server_is_seen() {
    for client in CLIENTS {
        let text = alone(client, &entry()).unwrap_or_else(|_| panic!("{client:?}"));
        let with = |name: &str, url: &str| Entry {
            name: name.to_owned(),
            url: url.to_owned(),
            arguments: vec![url.to_owned(), "--account".to_owned(), "work".to_owned()],
            ..entry()
        };
        let own = "https://mcp.example/mcp";
        assert!(
            !is_for_another(client, &text, &with("notes", own)),
            "{text}"
        );
        assert!(!is_for_another(
            client,
            &text,
            &with("other", "https://mcp.example/other")
        ));
        assert!(!is_for_another(client, "", &with("notes", own)));
        for other in [
            "https://mcp.example/other",
            "https://mcp.example/mc",
            "https://mcp.example",
        ] {
            assert!(
                is_for_another(client, &text, &with("notes", other)),
                "{other}: {text}"
            );
        }
    }
}

#[test]
fn every_client_has_an_entry_that_is_found_again() {
    for client in CLIENTS {
        let text = alone(client, &entry()).unwrap_or_else(|_| panic!("{client:?}"));
        assert_eq!(
            insert(client, &text, &entry()).ok(),
            Some(Outcome::Unchanged),
            "{text}"
        );
    }
}

#[test]
fn a_hook_is_one_command_line_of_a_shell() {
    let value = Client::ClaudeCode.value(&entry());
    assert_eq!(
        value["headersHelper"],
        Value::from("'/opt/mcp auth/mcp-auth' headers https://mcp.example/mcp")
    );
    let mut spiteful = entry();
    spiteful.arguments = vec!["https://mcp.example/$(id)'&x".to_owned()];
    assert_eq!(
        Client::Codex.value(&spiteful)["http_headers_helper"],
        Value::from(r"'/opt/mcp auth/mcp-auth' headers 'https://mcp.example/$(id)'\''&x'")
    );
}

#[test]
fn comments_and_order_of_json_stay() {
    let before = r#"// My settings
{
    "theme": "One Dark", // dark
    /* servers */
    "context_servers": {
        // mine
        "other": { "command": "npx", "args": ["-y", "x"], },
    },
    "vim_mode": true,
}
"#;
    let after = changed(Client::Zed, before);
    keeps_lines(before, &after).unwrap();
    assert!(after.contains("\"notes\""), "{after}");
    assert!(
        after.contains("        \"notes\""),
        "indentation is that of the file:\n{after}"
    );
}

#[test]
fn comments_and_order_of_toml_stay() {
    let before = r#"# My settings
model = "o5"   # fast

[mcp_servers.other]   # mine
command = "npx"
args = [
    "-y", # yes
    "x",
]

[profiles.work]
model = "o3"
"#;
    let after = changed(Client::Codex, before);
    keeps_lines(before, &after).unwrap();
    let parsed: toml_edit::DocumentMut = after.parse().unwrap();
    assert_eq!(
        parsed["mcp_servers"]["notes"]["url"].as_str(),
        Some("https://mcp.example/mcp")
    );
}

#[test]
fn comments_and_order_of_yaml_stay() {
    for before in [
        "# My settings\nGOOSE_MODEL: gpt\nextensions:\n  # mine\n  developer:\n    enabled: true\n    type: builtin\n\n# end\nGOOSE_MODE: auto\n",
        "extensions:\n    developer:\n        enabled: true\n",
        "GOOSE_MODE: auto\nextensions:\n",
        "extensions:   # none yet\nGOOSE_MODE: auto\n",
        "GOOSE_MODE: auto",
        "",
    ] {
        let after = changed(Client::Goose, before);
        keeps_lines(before, &after).unwrap();
        assert!(after.contains("\"notes\":"), "{after}");
    }
}

#[test]
fn a_former_entry_of_this_name_is_replaced() {
    let before = "extensions:\n  a:\n    enabled: true\n  notes:\n    enabled: false\n    cmd: old\n  b:\n    enabled: true\n";
    let after = changed(Client::Goose, before);
    assert!(
        !after.contains("old") && after.find("notes") < after.find("  b:"),
        "{after}"
    );
    let before = r#"{"mcpServers":{"notes":{"command":"old"},"b":{"command":"x"}}}"#;
    let after = changed(Client::Cursor, before);
    let parsed: Value = serde_json::from_str(&after).unwrap();
    assert_eq!(
        parsed["mcpServers"]["notes"],
        Client::Cursor.value(&entry())
    );
    assert_eq!(parsed["mcpServers"]["b"]["command"], "x");
    let before =
        "[mcp_servers.notes]\n# old\ncommand = \"old\"\n\n[mcp_servers.b]\ncommand = \"x\"\n";
    let after = changed(Client::Codex, before);
    assert!(!after.contains("command = \"old\""), "{after}");
    assert!(after.find("notes") < after.find("mcp_servers.b"), "{after}");
}

#[test]
fn a_file_that_cannot_be_edited_safely_is_left_alone() {
    for (client, text) in [
        (Client::Goose, "extensions: {a: {enabled: true}}\n"),
        (Client::Goose, "extensions: &x\n  a: 1\nother: *x\n"),
        (Client::Goose, "- a\n"),
        (Client::Goose, "extensions: [\n"),
        (Client::Cursor, "[]"),
        (Client::Cursor, "{"),
        (Client::Cursor, r#"{"mcpServers": []}"#),
        (Client::Codex, "mcp_servers = 1\n"),
        (Client::Codex, "= x"),
    ] {
        assert!(
            insert(client, text, &entry()).is_err(),
            "{client:?}: {text}"
        );
    }
}

/// JSON as a person writes it: any indentation, comments, trailing commas.
fn json_file(section: &'static str) -> impl Strategy<Value = String> {
    let member = "[a-z]{1,6}";
    let value = prop_oneof![
        Just("true".to_owned()),
        "[0-9]{1,3}".prop_map(|digits| format!("1{digits}")),
        "[ -!#-\\[\\]-~]{0,8}".prop_map(|text| format!("\"{text}\"")),
        Just("{ \"command\": \"npx\", /* why */ \"args\": [\"-y\",] }".to_owned()),
    ];
    let members = prop::collection::btree_map(member, value, 0..4);
    (members.clone(), members, 0_usize..9, any::<bool>()).prop_map(
        move |(top, inner, pad, commas)| {
            let pad = " ".repeat(pad);
            let comma = if commas { "," } else { "" };
            let lines = |members: &std::collections::BTreeMap<String, String>, pad: &str| {
                let lines: Vec<_> = members
                    .iter()
                    .map(|(name, value)| format!("{pad}\"{name}\": {value}"))
                    .collect();
                lines.join(", // a comment\n")
            };
            let mut parts = Vec::new();
            if !top.is_empty() {
                parts.push(lines(&top, &pad));
            }
            let inner = lines(&inner, &format!("{pad}{pad}"));
            let tail = if inner.is_empty() { "" } else { comma };
            parts.push(format!("{pad}\"{section}\": {{\n{inner}{tail}\n{pad}}}"));
            format!("{{\n{}{comma}\n}}\n", parts.join(",\n"))
        },
    )
}

/// A file on one line, as programs write it, stays one: the entry is inserted, and no white space moves.
#[test]
fn a_file_on_one_line_gets_nothing_but_the_entry() {
    for before in [
        r#"{"mcpServers":{"x":{"command":"a"}}}"#,
        r#"{"a": 1, "mcpServers": {}, "z": [1,2]}"#,
        r#"{"a":1}"#,
        r#"{"mcpServers":{"x":{"command":"a"},"y":{"command":"b"}},"b":{"c":1}}"#,
        r#"{ "mcpServers" : { "x" : { "command" : "a" } } , "q":1 }"#,
        r#"{"mcpServers":{"x":{"command":"a"},},}"#,
        r#"{"mcpServers":{"x":{"command":"a"} /* why */ }}"#,
        "{\n  \"mcpServers\": {\"x\": {\"command\": \"a\"}},\n  \"b\": 1\n}\n",
    ] {
        let after = changed(Client::Cursor, before);
        let same = before
            .bytes()
            .zip(after.bytes())
            .take_while(|(a, b)| a == b)
            .count();
        let rest = (after.len() - before.len() + same).min(after.len());
        assert_eq!(
            format!(
                "{}{}",
                after.get(..same).unwrap(),
                after.get(rest..).unwrap()
            ),
            before,
            "{after}"
        );
        assert_eq!(after.lines().count(), before.lines().count(), "{after}");
        let entry = Client::Cursor.value(&entry());
        let parsed = jsonc_parser::parse_to_serde_value::<Value>(&after, &Default::default());
        assert_eq!(parsed.unwrap()["mcpServers"]["notes"], entry, "{after}");
        assert_eq!(
            insert(Client::Cursor, &after, &self::entry()).ok(),
            Some(Outcome::Unchanged)
        );
    }
}

/// The entry goes with its comma and its lines, and comments of others stay.
#[test]
fn a_removal_takes_the_entry_and_nothing_else() {
    for (client, before, after) in [
        (
            Client::Cursor,
            r#"{"mcpServers":{"notes":{"a":1},"x":{}}}"#,
            r#"{"mcpServers":{"x":{}}}"#,
        ),
        (
            Client::Cursor,
            r#"{"mcpServers": {"x": {}, "notes": {"a": 1}}}"#,
            r#"{"mcpServers": {"x": {}}}"#,
        ),
        (
            Client::Cursor,
            r#"{"mcpServers": {"notes": {}}}"#,
            r#"{"mcpServers": {}}"#,
        ),
        (
            Client::Zed,
            "{\n  \"context_servers\": {\n    \"x\": {}, // mine\n    // about notes\n    \"notes\": {\n      \"a\": 1\n    }\n  }\n}\n",
            "{\n  \"context_servers\": {\n    \"x\": {} // mine\n    // about notes\n  }\n}\n",
        ),
        (
            Client::Zed,
            "{\n  \"context_servers\": {\n    \"notes\": {},\n    \"x\": {},\n  },\n}\n",
            "{\n  \"context_servers\": {\n    \"x\": {},\n  },\n}\n",
        ),
        (
            Client::Codex,
            "a = 1\n\n[mcp_servers.notes]\nurl = \"u\"\n\n# mine\n[mcp_servers.x]\nurl = \"v\"\n",
            "a = 1\n\n# mine\n[mcp_servers.x]\nurl = \"v\"\n",
        ),
        (
            Client::Goose,
            "a: 1\nextensions:\n  notes:\n    cmd: b\n  # mine\n  x:\n    cmd: c\nz: 2\n",
            "a: 1\nextensions:\n  # mine\n  x:\n    cmd: c\nz: 2\n",
        ),
    ] {
        let removed = remove(client, before, "notes").unwrap_or_else(|problem| {
            panic!("{client:?}: {}: {before}", problem.words());
        });
        assert_eq!(removed, Outcome::Changed(after.to_owned()), "{client:?}");
        assert_eq!(
            remove(client, after, "notes").ok(),
            Some(Outcome::Unchanged)
        );
    }
    for client in CLIENTS {
        assert_eq!(remove(client, "", "notes").ok(), Some(Outcome::Unchanged));
    }
}

/// Of members of one name a client reads one, which may not be the one with the entry.
#[test]
fn a_member_that_stands_twice_around_the_entry_is_refused() {
    for before in [
        "{\"mcpServers\": {},\n\"mcpServers\": {}}",
        "{\"mcpServers\": {\"notes\": {},\n\"notes\": {}}}",
    ] {
        let Err(problem) = insert(Client::Cursor, before, &entry()) else {
            panic!("{before}");
        };
        let words = problem.words();
        assert!(words.contains("2 times (lines 1, 2)"), "{words}");
    }
    let before = r#"{"a": 1, "a": 2, "mcpServers": {"x": {}, "x": {}}}"#;
    assert_eq!(repeated(Client::Cursor, before), ["a", "x"]);
    assert_eq!(repeated(Client::Codex, before), [""; 0]);
}

proptest! {
    #[test]
    fn nothing_but_the_entry_changes_in_json(before in json_file("mcpServers")) {
        let after = changed(Client::ClaudeDesktop, &before);
        let parse = |text: &str| {
            jsonc_parser::parse_to_serde_value::<Value>(text, &Default::default()).unwrap()
        };
        let (mut was, is) = (parse(&before), parse(&after));
        was["mcpServers"]["notes"] = Client::ClaudeDesktop.value(&entry());
        prop_assert_eq!(was, is);
        // Comments and their lines stay.
        prop_assert_eq!(before.matches("// a comment").count(), after.matches("// a comment").count());
        prop_assert_eq!(before.matches("/* why */").count(), after.matches("/* why */").count());
    }

    #[test]
    fn nothing_but_the_entry_changes_in_yaml(
        top in prop::collection::btree_map("[a-m]{1,6}", "[a-z]{1,8}", 0..4),
        inner in prop::collection::btree_map("[a-m]{1,6}", "[a-z]{1,8}", 0..4),
        pad in 1_usize..5,
        comment in any::<bool>(),
    ) {
        let mut before = String::new();
        for (key, value) in &top {
            before.push_str(&format!("{key}: {value}\n"));
        }
        before.push_str("extensions:\n");
        for (key, value) in &inner {
            if comment { before.push_str("# about this\n"); }
            before.push_str(&format!("{0}{key}:\n{0}{0}cmd: {value}\n", " ".repeat(pad)));
        }
        before.push_str("zz: 1\n");
        let after = changed(Client::Goose, &before);
        prop_assert!(keeps_lines(&before, &after).is_ok(), "{}", after);
    }
}
