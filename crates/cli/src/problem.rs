//! The failures of a command: message, reason code and exit status. A test compares them with the table in
//! docs/command.md.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use mcp_auth_client::StoreError;
use mcp_auth_client::asynchronous::StartFlaw;
use mcp_auth_client::signer::SoftwareKeyFlaw;
use mcp_auth_machine::action::Why;
use mcp_auth_machine::config::ConfigError;
use mcp_auth_machine::error::{Cause, Next};
use mcp_auth_machine::{Failure, NoBearer};
use serde_json::{Value, json};

use crate::account::KeyringError;
use crate::probe::Other;
use crate::remedy;
use crate::speaker;

/// The exit statuses, part of every `--help`.
pub(crate) const STATUSES: &str = "Exit status:
  0  done
  1  not possible with these settings, or with this server as it is set up
  2  the command line is wrong
  3  the user has to sign in: mcp-auth login URL
  4  not now: the network, a server that is busy, a store that is locked; try again later
  5  protocol violation by a server: stop using it";

/// The client of a sign-in without a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presented {
    /// This sign-in registered it, or no browser was to be opened.
    New,
    /// An earlier sign-in registered it; the server may have forgotten it.
    Earlier,
    /// The user named it.
    Configured,
}

pub(crate) enum Problem {
    /// The command line is invalid, beyond the checks of its parser.
    Usage(String),
    /// The user must sign in.
    SignInNeeded { why: Why },
    /// The store has no account at this server.
    Unknown,
    /// The settings of an account with a configured client are lost.
    ClientLost { client: String },
    /// The user declined the server's new authorization server.
    Declined { from: String, to: String },
    /// No callback arrived in time.
    TimedOut { client: Presented },
    /// The time limit of the command has passed.
    OutOfTime { last: Option<String> },
    /// No connection to the MCP server, or no answer from it.
    NoAnswer { url: String, error: String },
    /// The server at the URL is not an MCP server.
    NotMcp(Box<Other>),
    /// Another process holds a lock, or the store cannot be written.
    Store(String),
    /// A record is sealed, and the system's keyring does not give its key.
    Keyring(KeyringError),
    /// Standard output could not be written.
    Output(std::io::Error),
    /// `doctor` found violations; the findings describe them.
    Examined,
    /// `replay` found a different output; the text describes it.
    Differs(String),
    /// The machine failed.
    Failed {
        failure: Box<Failure>,
        /// The error of the store or of the network.
        detail: Option<String>,
        /// Other authorization servers that the MCP server lists.
        others: Vec<String>,
    },
    /// Anything else.
    Other(Box<dyn Error>),
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error.0.downcast_ref::<KeyringError>() {
            Some(error) => Self::Keyring(error.clone()),
            None => Self::Store(error.to_string()),
        }
    }
}

impl From<KeyringError> for Problem {
    fn from(error: KeyringError) -> Self {
        Self::Keyring(error)
    }
}

/// An error whose text needs no path. `std::io::Error` is none: see [`Problem::store`], [`Problem::at`] and
/// [`Problem::system`].
macro_rules! speaks_for_itself {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for Problem {
            fn from(error: $error) -> Self {
                Self::Other(error.into())
            }
        })*
    };
}

speaks_for_itself!(
    &str,
    String,
    Box<dyn Error>,
    ConfigError,
    NoBearer,
    SoftwareKeyFlaw,
    StartFlaw,
    getrandom::Error,
    http::header::ToStrError,
    serde_json::Error,
    std::string::FromUtf8Error,
);

impl Problem {
    /// A file of the store could not be read or written; the error names it.
    pub(crate) fn store(error: std::io::Error) -> Self {
        Self::Store(error.to_string())
    }

    /// A file or folder that the user named could not be read or written.
    pub(crate) fn at(path: &Path) -> impl Fn(std::io::Error) -> Self {
        move |error| Self::Other(format!("{}: {error}", path.display()).into())
    }

    /// The system refused something other than a file.
    pub(crate) fn system(what: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |error| Self::Other(format!("{what}: {error}").into())
    }

    /// Returns true if a sealed record cannot be opened later either.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Keyring(error) if error.is_final())
    }

    pub(crate) fn status(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => 2,
            Self::SignInNeeded { .. } | Self::Unknown | Self::TimedOut { .. } => 3,
            Self::Declined { .. } => 5,
            Self::Keyring(_) if self.is_final() => 3,
            Self::OutOfTime { .. }
            | Self::NoAnswer { .. }
            | Self::Store(_)
            | Self::Keyring(_)
            | Self::Output(_) => 4,
            Self::NotMcp(other) if other.is_temporary() => 4,
            Self::Failed { failure, .. } => match failure.next() {
                Next::AskUser => 3,
                Next::FixConfiguration => 1,
                Next::RetryLater(_) => 4,
                Next::DoNotTrust => 5,
            },
            Self::ClientLost { .. }
            | Self::NotMcp(_)
            | Self::Examined
            | Self::Differs(_)
            | Self::Other(_) => 1,
        })
    }

    fn code(&self) -> &str {
        match self {
            Self::Usage(_) => "usage",
            Self::SignInNeeded { why } => why.as_str(),
            Self::Unknown => "no_credentials",
            Self::ClientLost { .. } => "client_lost",
            Self::Declined { .. } => "declined",
            Self::TimedOut { .. } => "user_time",
            Self::OutOfTime { .. } => "out_of_time",
            Self::NoAnswer { .. } => "no_answer",
            Self::NotMcp(other) => other.code(),
            Self::Store(_) => "store",
            Self::Keyring(_) if self.is_final() => "key_lost",
            Self::Keyring(_) => "keyring",
            Self::Output(_) => "output",
            Self::Failed { failure, .. } => failure.cause.code(),
            Self::Examined => "broken",
            Self::Differs(_) => "different",
            Self::Other(_) => "error",
        }
    }

    pub(crate) fn words(&self) -> String {
        match self {
            Self::Usage(words) | Self::Store(words) => words.clone(),
            Self::SignInNeeded {
                why: why @ Why::ServerChanged { .. },
            } => format!(
                "{}; if that is meant, run: {}",
                remedy::why(why),
                speaker::login("")
            ),
            Self::SignInNeeded { why } => {
                let login = speaker::login("");
                format!("{}; sign in again: {login}", remedy::why(why))
            }
            Self::Unknown => format!("not signed in; run: {}", speaker::login("")),
            Self::ClientLost { client } => format!(
                "this account uses the client {client}, and its settings are lost: give them again \
                 with {}, or take another client with {}",
                speaker::with("--client-id"),
                speaker::with("--new-client")
            ),
            Self::Declined { from, to } => {
                format!(
                    "stopped: no token of {from} was sent to {to}, and the browser was not opened"
                )
            }
            Self::TimedOut { client } => {
                let forgotten = match client {
                    Presented::Earlier => {
                        "If the browser ended at an error page of the authorization server, that \
                         server may have forgotten the client: the next login registers a new one. If \
                         the page is about the redirect URI:"
                    }
                    Presented::Configured => {
                        "If the browser ended at an error page of the authorization server, that \
                         server may not know the client: compare --client-id of the login with what \
                         is registered there. If the page is about the redirect URI:"
                    }
                    Presented::New => {
                        "If the browser ended at an error page about the redirect URI:"
                    }
                };
                let options = "--redirect-host localhost, or --port with a port that is registered";
                format!(
                    "there was no callback in time ({}); nothing was changed. {forgotten} {}",
                    speaker::limit(),
                    speaker::again(options)
                )
            }
            Self::OutOfTime { last } => {
                let last = last.as_deref();
                let last = last.map_or(String::new(), |last| format!("; last came: {last}"));
                format!(
                    "the time of the command has ended ({}){last}",
                    speaker::limit()
                )
            }
            Self::NoAnswer { url, error } => format!("no answer from {url}: {error}"),
            Self::NotMcp(other) => other.words(),
            Self::Keyring(error) => error.to_string(),
            Self::Output(error) => format!("standard output cannot be written: {error}"),
            Self::Examined => "clients cannot sign in to this server".into(),
            Self::Differs(words) => words.clone(),
            Self::Failed {
                failure,
                detail,
                others,
            } => {
                let mut words = format!("{failure:#}");
                if let Some(detail) = detail {
                    words.push_str(&format!(" [{detail}]"));
                }
                words.push_str(&format!("; {}", remedy::next_step(failure)));
                if !others.is_empty() {
                    words.push_str(&format!(
                        "; the MCP server also lists {}: {}",
                        others.join(", "),
                        speaker::again("--prefer-issuer with one of them")
                    ));
                }
                words
            }
            Self::Other(error) => error.to_string(),
        }
    }

    /// Returns true if the machine failed because of the store, or without a response.
    pub(crate) fn needs_detail(failure: &Failure) -> bool {
        matches!(
            failure.cause,
            Cause::NotPersisted(_) | Cause::Unreachable(_)
        )
    }

    /// Returns `None` if the command has printed its own object.
    pub(crate) fn json(&self) -> Option<Value> {
        if matches!(self, Self::Examined | Self::Differs(_)) {
            return None;
        }
        let mut error = json!({ "code": self.code(), "message": self.words() });
        if let (
            Self::Failed {
                failure, others, ..
            },
            Some(members),
        ) = (self, error.as_object_mut())
        {
            if !others.is_empty() {
                members.insert("other_servers".to_owned(), others.as_slice().into());
            }
            members.insert("stage".to_owned(), failure.stage.as_str().into());
            if let Some(issuer) = &failure.issuer {
                members.insert("issuer".to_owned(), issuer.as_str().into());
            }
            if let Ok(Value::Object(details)) = serde_json::to_value(failure.details()) {
                members.extend(details);
            }
            if let Some(option) = remedy::option(failure) {
                members.insert("option".to_owned(), option.into());
            }
        }
        Some(json!({ "error": error }))
    }
}

/// Returns the reason codes of the machine, from the table of failures.
#[cfg(test)]
pub(crate) fn machine_codes() -> std::collections::BTreeSet<String> {
    tests::table("Codes of the machine").into_keys().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

    use std::collections::{BTreeMap, BTreeSet};
    use std::path::{Path, PathBuf};

    use clap::CommandFactory;

    use super::*;

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
            Problem::OutOfTime { last: None },
            Problem::NoAnswer {
                url: text(),
                error: text(),
            },
            other(404),
            other(307),
            other(503),
            Problem::Store(text()),
            Problem::Keyring(KeyringError::Silent),
            Problem::Keyring(KeyringError::Lost),
            Problem::Output(std::io::ErrorKind::StorageFull.into()),
            Problem::Examined,
            Problem::Differs(text()),
            Problem::Other("x".into()),
        ];
        let found: BTreeMap<String, BTreeSet<u8>> = problems
            .iter()
            .map(|problem| {
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
                    | Problem::Store(_)
                    | Problem::Keyring(_)
                    | Problem::Output(_)
                    | Problem::Examined
                    | Problem::Differs(_)
                    | Problem::Failed { .. }
                    | Problem::Other(_) => {}
                }
                let status = (0..=5).find(|code| problem.status() == ExitCode::from(*code));
                (problem.code().to_owned(), BTreeSet::from([status.unwrap()]))
            })
            .collect();
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
}
