//! How a command fails: the words, the reason code, the exit status.

use std::error::Error;
use std::process::ExitCode;

use mcp_auth_machine::Failure;
use mcp_auth_machine::action::Why;
use mcp_auth_machine::error::Next;
use serde_json::{Value, json};

/// What the exit statuses mean; part of every `--help`.
pub(crate) const STATUSES: &str = "Exit status:
  0  done
  1  not possible with these settings, or with this server as it is set up
  2  the command line is wrong
  3  the user has to sign in: mcp-auth login URL
  4  not now: the network, a server that is busy, a store that is locked; try again later
  5  the server contradicts what it must say: do not go on with it";

pub(crate) enum Problem {
    /// Only the user can go on.
    SignInNeeded { url: String, why: Why },
    /// Nobody has signed in to this server with this store.
    Unknown { url: String },
    /// The user did not want the server's new authorization server.
    Declined { from: String, to: String },
    /// The user did not come back.
    TimedOut,
    /// `doctor` found a rule broken; the findings say which.
    Examined,
    /// `replay` found that something else came out; the words say where.
    Differs(String),
    /// The machine gave up.
    Failed(Box<Failure>),
    /// Anything else.
    Other(Box<dyn Error>),
}

impl<E: Into<Box<dyn Error>>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl Problem {
    pub(crate) fn status(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::SignInNeeded { .. } | Self::Unknown { .. } | Self::TimedOut => 3,
            Self::Declined { .. } => 5,
            Self::Failed(failure) => match failure.next() {
                Next::AskUser => 3,
                Next::FixConfiguration => 1,
                Next::RetryLater(_) => 4,
                Next::DoNotTrust => 5,
            },
            Self::Examined | Self::Differs(_) | Self::Other(_) => 1,
        })
    }

    fn code(&self) -> &str {
        match self {
            Self::SignInNeeded { why, .. } => why.as_str(),
            Self::Unknown { .. } => "no_credentials",
            Self::Declined { .. } => "declined",
            Self::TimedOut => "user_time",
            Self::Failed(failure) => failure.cause.code(),
            Self::Examined => "broken",
            Self::Differs(_) => "different",
            Self::Other(_) => "error",
        }
    }

    pub(crate) fn words(&self) -> String {
        match self {
            Self::SignInNeeded {
                url,
                why: Why::ServerChanged { from, to },
            } => format!(
                "{url} now uses the authorization server {to} instead of {from}; if that is meant, \
                 run: mcp-auth login {url}"
            ),
            Self::SignInNeeded { url, why } => format!(
                "sign in again ({}): mcp-auth login {url}",
                why.as_str().replace('_', " ")
            ),
            Self::Unknown { url } => format!("not signed in; run: mcp-auth login {url}"),
            Self::Declined { from, to } => {
                format!("stopped: nothing of {from} was used at {to}, and nobody was sent there")
            }
            Self::TimedOut => "the browser did not come back in time; nothing was changed".into(),
            Self::Examined => "clients cannot sign in to this server".into(),
            Self::Differs(words) => words.clone(),
            Self::Failed(failure) => failure.to_string(),
            Self::Other(error) => error.to_string(),
        }
    }

    /// `None` where the command has said all in its own object.
    pub(crate) fn json(&self) -> Option<Value> {
        if matches!(self, Self::Examined | Self::Differs(_)) {
            return None;
        }
        let mut error = json!({ "code": self.code(), "message": self.words() });
        if let (Self::Failed(failure), Some(members)) = (self, error.as_object_mut()) {
            members.insert("stage".to_owned(), failure.stage.as_str().into());
            if let Some(issuer) = &failure.issuer {
                members.insert("issuer".to_owned(), issuer.as_str().into());
            }
        }
        Some(json!({ "error": error }))
    }
}
