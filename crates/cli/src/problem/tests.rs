#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::CommandFactory;

use super::*;
use crate::speaker;

/// Returns the root of the repository, which contains the documents.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = here
        .ancestors()
        .find(|path| path.join("docs/command.md").exists());
    found.unwrap().to_owned()
}

/// Checks that each option in a remedy is one of a command.
fn assert_options_exist(remedy: &str) {
    let command = crate::Arguments::command();
    let all = command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments);
    let known: BTreeSet<&str> = all.filter_map(clap::Arg::get_long).collect();
    for named in speaker::named(remedy) {
        assert!(
            named == "help" || known.contains(named),
            "--{named}: {remedy}"
        );
    }
}

/// Returns the codes and statuses in the tables of failures.
pub(super) fn table(after: &str) -> BTreeMap<String, BTreeSet<u8>> {
    let text = std::fs::read_to_string(root().join("docs/command.md")).unwrap();
    let (_, text) = text.split_once(after).unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with("| `"));
    rows.take_while(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let statuses = cells[2].split(", ").map(|status| status.parse().unwrap());
            assert!(!cells[3].is_empty() && !cells[4].is_empty(), "{line}");
            assert_options_exist(cells[4]);
            (cells[1].trim_matches('`').to_owned(), statuses.collect())
        })
        .collect()
}

fn other(status: u16) -> Problem {
    Problem::NotMcp(Box::new(Other {
        url: "https://mcp.example/mcp".to_owned(),
        status,
        content_type: None,
        location: None,
    }))
}

#[test]
fn the_table_has_the_failures_of_the_command() {
    let text = || "x".to_owned();
    let problems = [
        Problem::Usage(text()),
        Problem::Unknown,
        Problem::ClientLost { client: text() },
        Problem::Declined {
            from: text(),
            to: text(),
        },
        Problem::TimedOut {
            client: Presented::Earlier,
        },
        Problem::OutOfTime {
            last: None,
            lease: None,
        },
        Problem::OutOfTime {
            last: None,
            lease: Some(1),
        },
        Problem::Interrupted { signal: 1 },
        Problem::Interrupted { signal: 2 },
        Problem::Interrupted { signal: 15 },
        Problem::NoAnswer {
            url: text(),
            error: text(),
        },
        other(404),
        other(307),
        other(503),
        Problem::Store(text(), ErrorKind::Other),
        Problem::Keyring(KeyringError::Silent),
        Problem::Keyring(KeyringError::Lost),
        Problem::Output(std::io::ErrorKind::StorageFull.into()),
        Problem::Examined,
        Problem::Differs(text()),
        Problem::Other("x".into()),
    ];
    let mut found: BTreeMap<String, BTreeSet<u8>> = BTreeMap::new();
    let all = problems.iter().map(|problem| {
        // A missing variant does not compile here.
        match problem {
            Problem::Usage(_)
            | Problem::SignInNeeded { .. }
            | Problem::Unknown
            | Problem::ClientLost { .. }
            | Problem::Declined { .. }
            | Problem::TimedOut { .. }
            | Problem::OutOfTime { .. }
            | Problem::NoAnswer { .. }
            | Problem::NotMcp(_)
            | Problem::Store(..)
            | Problem::Interrupted { .. }
            | Problem::ScopesRefused { .. }
            | Problem::Keyring(_)
            | Problem::Output(_)
            | Problem::Examined
            | Problem::Differs(_)
            | Problem::Failed { .. }
            | Problem::Other(_) => {}
        }
        let status = (0..=255).find(|code| problem.status() == ExitCode::from(*code));
        (problem.code().to_owned(), status.unwrap())
    });
    for (code, status) in all {
        found.entry(code).or_default().insert(status);
    }
    assert_eq!(found, table("Codes of the command itself"));
}

/// The reason codes of the machine, read from its source.
#[test]
fn the_table_has_the_failures_of_the_machine() {
    let places = ["src/error/code.rs"];
    let source = places
        .iter()
        .find_map(|place| std::fs::read_to_string(root().join(place)).ok());
    let source = source.unwrap();
    let found: BTreeSet<String> = source
        .split("fn code(&self) -> &'static str {")
        .skip(1)
        .flat_map(|body| {
            body.split("\n    }\n")
                .next()
                .unwrap()
                .split('"')
                .skip(1)
                .step_by(2)
        })
        .map(str::to_owned)
        .collect();
    assert!(found.len() > 40, "{found:?}");
    let listed: BTreeSet<String> = table("Codes of the machine").into_keys().collect();
    assert_eq!(found, listed);
}
