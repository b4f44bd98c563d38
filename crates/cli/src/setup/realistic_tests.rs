//! Configuration files as people have them: comments where the format has them, odd indentation, other servers,
//! line ends of Windows, a byte order mark. An edit inserts the entry and changes nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use proptest::prelude::*;

use super::client::{Client, Entry};
use super::edit::{Outcome, insert, remove};

const FILES: [(Client, &str); 14] = [
    (
        Client::ClaudeCode,
        r#"{
  "mcpServers": {
    "github": { "type": "http", "url": "https://api.example/mcp", "headers": { "X-Org": "a" } },
    "local": {
        "command": "npx",
        "args": ["-y", "@example/server", "--root", "/home/me/My Files"],
      "env": {}
    }
  }
}
"#,
    ),
    (
        Client::ClaudeCode,
        "{\"numStartups\":12,\"mcpServers\":{},\"projects\":{\"/a\":{\"mcpServers\":{\"x\":{\"command\":\"y\"}}}}}",
    ),
    (
        Client::ClaudeDesktop,
        "{\n\t\"globalShortcut\": \"\",\n\t\"mcpServers\": {\n\t\t\"files\": {\n\t\t\t\"command\": \"npx\",\n\t\t\t\"args\": [\n\t\t\t\t\"-y\"\n\t\t\t]\n\t\t}\n\t},\n\t\"preferences\": { \"quickEntry\": \"off\" }\n}\n",
    ),
    (
        Client::ClaudeDesktop,
        "{\n    \"globalShortcut\": \"Ctrl+Space\"\n}\n",
    ),
    (
        Client::Cursor,
        r#"{
    // Team servers: ask before you remove one.
    "mcpServers": {
        "notes-old": {"url": "https://old.example/mcp"}, /* until May */
    },
}
"#,
    ),
    (
        Client::Vscode,
        r#"{
	"inputs": [
		{ "id": "key", "type": "promptString", "password": true, "description": "API key" }
	],
	"servers": {
		"fetch": { "type": "stdio", "command": "uvx", "args": ["mcp-server-fetch"] },
		// "paused": { "type": "http", "url": "https://paused.example" },
		"search": { "type": "http", "url": "https://s.example/mcp", "headers": { "Authorization": "Bearer ${input:key}" } }
	}
}
"#,
    ),
    (
        Client::Zed,
        r#"// Zed settings
//
// For information on how to configure Zed, see the Zed documentation
{
  "ui_font_size": 16, // big
  "theme": {
    "mode": "system",
    "light": "One Light",
  },
  /* servers */
  "context_servers": {
      "db": { "source": "custom", "command": "psql-mcp", "args": [], "env": { "PGHOST": "/tmp" } },
  },
  "languages": { "Rust": { "tab_size": 4 } }
}
"#,
    ),
    (
        Client::Zed,
        "{\n  // nothing yet\n  \"vim_mode\": true\n}\n",
    ),
    (
        Client::GeminiCli,
        "{\n   \"selectedAuthType\": \"oauth-personal\",\n   \"theme\": \"Default\",\n\n\n   \"mcpServers\": {\n   }\n}\n",
    ),
    (
        Client::Codex,
        r#"# ~/.codex/config.toml
model = "o5"            # fast
approval_policy = "on-request"
notify = ["python3", "/home/me/notify.py"]

[mcp_servers.docs]      # team
command = "npx"
args = [
    "-y",               # yes
  "docs-server",
]
env = { "KEY" = "value # not a comment" }

  [profiles.work]
  model = "o3"

[tui]
notifications = true
text = """
several
  lines"""
"#,
    ),
    (
        Client::Codex,
        "model = \"o5\"\n\n[history]\npersistence = \"none\"\n",
    ),
    (
        Client::Goose,
        r#"# Goose
GOOSE_PROVIDER: example   # mine
GOOSE_MODEL: big
extensions:
    # built in
    developer:
        enabled: true
        type: builtin
        timeout: 300

    fetch:
        enabled: false
        type: stdio
        cmd: uvx
        args:
        - mcp-server-fetch
        envs: {}
    # the end of mine
GOOSE_MODE: smart_approve

"#,
    ),
    (
        Client::Goose,
        "extensions:\n  developer:\n    enabled: true\n",
    ),
    (Client::Goose, "GOOSE_MODE: auto\n"),
];

fn entry() -> Entry {
    Entry {
        name: "notes".to_owned(),
        url: "https://mcp.example/mcp".to_owned(),
        command: "/opt/mcp-auth".to_owned(),
        arguments: vec!["https://mcp.example/mcp".to_owned()],
    }
}

/// Returns what `before` has and `after` lacks, and what was inserted, apart from what they have in common at both
/// ends.
fn change<'a>(before: &'a str, after: &'a str) -> (&'a str, &'a str) {
    let common = |pairs: &mut dyn Iterator<Item = (char, char)>| {
        let same = pairs.take_while(|(a, b)| a == b);
        same.map(|(a, _)| a.len_utf8()).sum::<usize>()
    };
    let start = common(&mut before.chars().zip(after.chars()));
    let (before, after) = (before.split_at(start).1, after.split_at(start).1);
    let end = common(&mut before.chars().rev().zip(after.chars().rev()));
    (
        before.split_at(before.len() - end).0,
        after.split_at(after.len() - end).0,
    )
}

/// The line ends of a file.
#[derive(Clone, Copy, Debug)]
enum Ends {
    Unix,
    Windows,
    /// Every second one.
    Mixed,
}

fn with_ends(text: &str, ends: Ends) -> String {
    let lines = text.split_inclusive('\n').enumerate();
    let ended = lines.map(|(number, line)| match (ends, line.strip_suffix('\n')) {
        (Ends::Windows, Some(line)) => format!("{line}\r\n"),
        (Ends::Mixed, Some(line)) if number % 2 == 1 => format!("{line}\r\n"),
        (Ends::Unix | Ends::Windows | Ends::Mixed, _) => line.to_owned(),
    });
    ended.collect()
}

proptest! {
    #[test]
    fn an_edit_inserts_one_piece_and_changes_nothing_else(
        number in 0..FILES.len(),
        ends in prop_oneof![Just(Ends::Unix), Just(Ends::Windows), Just(Ends::Mixed)],
        mark in any::<bool>(),
        unended in any::<bool>(),
    ) {
        let (client, text) = FILES[number];
        let mut before = with_ends(text, ends);
        if unended {
            before.truncate(before.trim_end().len());
        }
        if mark {
            before.insert(0, '\u{feff}');
        }
        let outcome = insert(client, &before, &entry());
        let after = match outcome {
            Ok(Outcome::Changed(after)) => after,
            Ok(Outcome::Unchanged) => panic!("{client:?}: unchanged"),
            Err(problem) => panic!("{client:?} {ends:?} {mark}: {}\n{before:?}", problem.words()),
        };
        let (removed, inserted) = change(&before, &after);
        prop_assert!(
            removed.chars().all(|c| c.is_whitespace() || c == ','),
            "{client:?} {ends:?}: lost {removed:?}\n{after}"
        );
        prop_assert!(inserted.contains("notes"), "{inserted}");
        // The lines of the entry end as all others do.
        let bare = after.replace("\r\n", "").matches('\n').count();
        match ends {
            Ends::Unix => prop_assert!(!after.contains('\r')),
            Ends::Windows if before.contains('\n') => prop_assert_eq!(bare, 0, "{:?}", after),
            Ends::Windows | Ends::Mixed => {}
        }
        prop_assert_eq!(after.starts_with('\u{feff}'), mark);
        // A second edit finds the entry; one of another URL replaces that entry alone.
        prop_assert_eq!(insert(client, &after, &entry()).ok(), Some(Outcome::Unchanged));
        let mut moved = entry();
        moved.url = "https://other.example/mcp".to_owned();
        moved.arguments = vec![moved.url.clone()];
        let Ok(Outcome::Changed(replaced)) = insert(client, &after, &moved) else {
            panic!("{client:?}: not replaced\n{after}");
        };
        let Ok(Outcome::Changed(back)) = insert(client, &replaced, &entry()) else {
            panic!("{client:?}: not replaced again");
        };
        prop_assert_eq!(&back, &after);
        // A removal leaves the file as it was, but for a section that had no entry, a last line without an end, and commas.
        let removed = match remove(client, &after, "notes") {
            Ok(Outcome::Changed(removed)) => removed,
            Ok(Outcome::Unchanged) => panic!("{client:?}: not found\n{after}"),
            Err(problem) => panic!("{client:?} {ends:?}: {}\n{after}", problem.words()),
        };
        prop_assert!(!removed.contains("notes\""), "{removed}");
        let (lost, left) = change(&before, &removed);
        let section = client.section();
        let mark = |c: char| c.is_whitespace() || "{},:\"".contains(c);
        prop_assert!(lost.chars().all(mark), "{client:?}: lost {lost:?}\n{removed}");
        prop_assert!(left.replace(section, "").chars().all(mark), "{client:?}: left {left:?}\n{removed}");
        prop_assert_eq!(remove(client, &removed, "notes").ok(), Some(Outcome::Unchanged));
    }
}
