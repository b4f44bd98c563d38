//! The failures of a command: message, reason code and exit status. A test compares them with the table in
//! docs/command.md.

mod words;

pub(crate) use words::of_error_page;

use std::error::Error;
use std::io::ErrorKind;
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
    /// The user was to enter a code in a browser of any device.
    Code,
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
    OutOfTime {
        last: Option<String>,
        /// Another process refreshes the tokens, and holds the lease for so many seconds more at most.
        lease: Option<u64>,
    },
    /// A signal ended the command.
    Interrupted { signal: u8 },
    /// The authorization server refused the scopes that a sign-in asked for besides those of the account.
    ScopesRefused { asked: String, added: String },
    /// No connection to the MCP server, or no answer from it.
    NoAnswer { url: String, error: String },
    /// The server at the URL is not an MCP server.
    NotMcp(Box<Other>),
    /// Another process holds a lock, or the store cannot be read or written; with the kind of the error.
    Store(String, ErrorKind),
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
        detail: Option<Detail>,
        /// Other authorization servers that the MCP server lists.
        others: Vec<String>,
    },
    /// Anything else.
    Other(Box<dyn Error>),
}

/// The part of a failure that the machine does not know.
pub(crate) struct Detail {
    pub(crate) words: String,
    /// The next step, where it is not that of the machine's failure.
    pub(crate) step: Option<String>,
}

impl Detail {
    pub(crate) fn of_store(error: &StoreError) -> Self {
        Self {
            words: error.0.to_string(),
            step: Some(words::of_store(kind_of(error))),
        }
    }
}

impl From<String> for Detail {
    fn from(words: String) -> Self {
        Self { words, step: None }
    }
}

fn kind_of(error: &StoreError) -> ErrorKind {
    let error = error.0.downcast_ref::<std::io::Error>();
    error.map_or(ErrorKind::Other, std::io::Error::kind)
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error.0.downcast_ref::<KeyringError>() {
            Some(error) => Self::Keyring(error.clone()),
            None => Self::Store(error.0.to_string(), kind_of(&error)),
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
        Self::Store(error.to_string(), error.kind())
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
            | Self::Store(..)
            | Self::Keyring(_)
            | Self::Output(_) => 4,
            Self::Interrupted { signal } => signal.saturating_add(128),
            Self::NotMcp(other) if other.is_temporary() => 4,
            Self::Failed { failure, .. } => match failure.next() {
                Next::AskUser => 3,
                Next::FixConfiguration => 1,
                Next::RetryLater(_) => 4,
                Next::DoNotTrust => 5,
            },
            Self::ClientLost { .. }
            | Self::ScopesRefused { .. }
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
            Self::Interrupted { .. } => "interrupted",
            Self::ScopesRefused { .. } => "refused",
            Self::Store(..) => "store",
            Self::Keyring(_) if self.is_final() => "key_lost",
            Self::Keyring(_) => "keyring",
            Self::Output(_) => "output",
            Self::Failed { failure, .. } => failure.cause.code(),
            Self::Examined => "broken",
            Self::Differs(_) => "different",
            Self::Other(_) => "error",
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
mod tests;
