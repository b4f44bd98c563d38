//! The message of a failure: what happened, then the next step.

use std::io::ErrorKind;

use mcp_auth_machine::Failure;
use mcp_auth_machine::action::Why;

use super::{Presented, Problem};
use crate::speaker;
use crate::{advice, facts, remedy};

impl Problem {
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Usage(words) => words.clone(),
            Self::Store(words, kind) => format!("{words}; {}", of_store(*kind)),
            Self::Interrupted { signal } => {
                let name = match signal {
                    1 => "SIGHUP",
                    2 => "SIGINT",
                    15 => "SIGTERM",
                    _ => "a signal",
                };
                format!("{name} ended the command; run it again")
            }
            Self::ScopesRefused { asked, added } => format!(
                "the authorization server refused the scopes `{asked}` (invalid_scope), of which this sign-in added `{added}`; nothing \
                 was changed, and the account keeps its scopes. {}",
                sentence(&speaker::again("--scope with scopes that the server knows"))
            ),
            Self::SignInNeeded {
                why: why @ Why::ServerChanged { .. },
            } => format!(
                "{}; if that is meant, run: {}",
                remedy::why(why),
                speaker::login("")
            ),
            Self::SignInNeeded { why } => {
                format!("{}; {}", remedy::why(why), remedy::sign_in_for(why))
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
            Self::TimedOut {
                client: Presented::Code,
            } => {
                let limit = speaker::limit();
                format!(
                    "the code was not entered in time ({limit}); the account was not changed. Run this again for a new code; a \
                     longer {limit} gives more time"
                )
            }
            Self::TimedOut { client } => format!(
                "there was no callback in time ({}); the account was not changed. {}",
                speaker::limit(),
                of_error_page(*client)
            ),
            Self::OutOfTime {
                lease: Some(seconds),
                ..
            } => format!(
                "another process refreshes the tokens of this account, or was killed while it did; its lease ends in {seconds} \
                 seconds at the latest, after the time of this command ({}): run it again then",
                speaker::limit()
            ),
            Self::OutOfTime { last, lease: None } => {
                let last = last.as_deref();
                let last = last.map_or(String::new(), |last| format!("; last: {last}"));
                let limit = speaker::limit();
                format!(
                    "the time of the command has ended ({limit}){last}; try again later, or with a longer {limit}"
                )
            }
            // Some errors have their remedy.
            Self::NoAnswer { url, error } if error.contains("; ") => {
                format!("no answer from {url}: {error}")
            }
            Self::NoAnswer { url, error } => format!(
                "no answer from {url}: {error}; look at the URL and the network, and whether the server runs, then run this \
                 again"
            ),
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
                let forbidden = advice::forbidden(failure);
                let said = forbidden.as_ref().map(|(words, _)| words.clone());
                let own = detail.as_ref().map(|detail| detail.words.clone());
                if let Some(detail) = own.or(said).or_else(|| said_for(failure)) {
                    words.push_str(&format!(" [{detail}]"));
                }
                let step = detail.as_ref().and_then(|detail| detail.step.clone());
                let step = step.or_else(|| forbidden.and_then(|(_, step)| step));
                let step = step.unwrap_or_else(|| remedy::next_step(failure));
                words.push_str(&format!("; {step}"));
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
}

/// Returns what a response said that is not an OAuth error, where it explains the failure.
fn said_for(failure: &Failure) -> Option<String> {
    match failure.cause.code() {
        "redirect_uri_not_registered" => facts::registered(),
        "token_answer_invalid" | "registration_invalid" | "registration_method" => facts::said(),
        "refused" if failure.details().description.is_none() => facts::said(),
        _ => None,
    }
}

/// Returns the words about a browser that ends at an error page of the authorization server: its text names the cause, and
/// reaches the user alone.
pub(crate) fn of_error_page(client: Presented) -> String {
    let forgotten = match client {
        Presented::Earlier => {
            ", that server may have forgotten the client: the next login registers a new one. Otherwise its text names the cause."
        }
        Presented::Configured => {
            ", that server may not know the client: compare --client-id of the login with what is registered there. Otherwise \
             its text names the cause."
        }
        Presented::New | Presented::Code => ", its text names the cause.",
    };
    let asked = match facts::scopes().as_deref() {
        None | Some("") => "none was asked for".to_owned(),
        Some(scopes) => format!("`{scopes}` was asked for"),
    };
    format!(
        "If the browser ended at an error page of the authorization server{forgotten} The redirect URI: {}. A scope \
         ({asked}): {}. The resource: {}",
        speaker::again("--redirect-host localhost, or --port with a port that is registered"),
        speaker::with("--scope with the scopes that the server knows"),
        speaker::with("--no-resource")
    )
}

/// Returns the next step after an error of the store.
pub(super) fn of_store(kind: ErrorKind) -> String {
    // Another directory has other accounts.
    let elsewhere = if speaker::may_begin() {
        "; or keep the accounts in another directory: --store DIR"
    } else {
        ""
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum is marked non-exhaustive by the standard library"
    )]
    match kind {
        ErrorKind::WouldBlock => {
            "wait until that process has ended, or end it, then run this again".to_owned()
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            format!("make room there, then run this again{elsewhere}")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            format!("let this user read and write there, then run this again{elsewhere}")
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "a directory is needed there: --store DIR names another one".to_owned()
        }
        _ => format!("mend that, then run this again{elsewhere}"),
    }
}

/// Returns a text that begins with a capital letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
