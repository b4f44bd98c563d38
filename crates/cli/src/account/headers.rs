//! `headers`: prints request headers, for clients that run a command to obtain them.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use http::Method;
use http::header::AUTHORIZATION;
use serde_json::{Map, Value};

use super::keyring::KeyringError;
use super::token::{Fresh, members, valid};
use super::{Place, account_name, after};
use crate::lines::record::Recorder;
use crate::problem::Problem;
use crate::signals;
use crate::speaker;
use crate::style;
use crate::waits::{self, End, Wait};

/// The grace period after which the process exits, because a store such as a network directory may hang.
/// The driver returns earlier.
const GRACE: Duration = Duration::from_millis(500);

/// How much longer the process stays for tokens that are issued and not stored yet.
const UNSTORED: Duration = Duration::from_millis(800);

/// The minimum remaining lifetime of a token, in seconds.
const MINUTE: u64 = 60;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The URL of the MCP server
    #[arg(env = "CLAUDE_CODE_MCP_SERVER_URL")]
    url: String,
    /// A name for the account, where there is more than one at the same server
    #[arg(long, default_value = "default", value_name = "NAME", value_parser = account_name)]
    account: String,
    #[command(flatten)]
    place: Place,
    /// How long all of it may take, in seconds; then the exit status is 4
    #[arg(long, alias = "timeout", default_value_t = 8, value_name = "SECONDS", value_parser = super::seconds)]
    within: u64,
    #[command(flatten)]
    fresh: Fresh,
}

pub(crate) fn run(options: &Options, recorder: &Recorder) -> Result<(), Problem> {
    // Programs run this, and read one line where it fails.
    style::be_quiet();
    let end = after(options.within);
    guard(end);
    let place = &options.place;
    let account = (options.url.as_str(), options.account.as_str());
    // A client uses a hook's output for a while.
    let fresh = options.fresh.at_least(MINUTE);
    let (mut host, _grant) = valid(place, account, fresh, end, recorder)?;
    let url = host.url().to_owned();
    let presented = host.present(&Method::POST, &url)?;
    let bound = presented
        .get(AUTHORIZATION)
        .is_none_or(|value| !value.as_bytes().starts_with(b"Bearer "));
    if bound {
        let words = format!(
            "this token is bound to a key, and its proof is for one request: a header hook cannot carry it; use {}, or \
             {}",
            speaker::command("proxy", ""),
            speaker::command("token", "--header")
        );
        return Err(Problem::Other(words.into()));
    }
    // Clients compare names case-sensitively, so the usual spelling is printed.
    let mut headers: Map<String, Value> = members(&presented)?;
    if let Some(value) = headers.remove(AUTHORIZATION.as_str()) {
        headers.insert("Authorization".to_owned(), value);
    }
    if waits::ends(End::Result) == End::Result {
        println!("{}", Value::from(headers));
    }
    Ok(())
}

/// Ends the process soon after the time of the command, whatever it waits for.
fn guard(end: Instant) {
    waits::until(end);
    thread::spawn(move || {
        let left = end.saturating_duration_since(Instant::now());
        thread::sleep(left.saturating_add(GRACE));
        // Tokens that are issued and not stored are lost.
        if signals::is_held() {
            thread::sleep(UNSTORED);
        }
        let wait = waits::current();
        match waits::ends(End::Time) {
            End::Time => {}
            // Only the last steps of the command remain, such as the release of a lease.
            End::Result => std::process::exit(0),
            End::Failure => return,
        }
        crate::tell(&too_late(wait), style::is_json());
        std::process::exit(4);
    });
}

/// Returns the failure of a command whose time ended while it waited.
fn too_late(wait: Option<Wait>) -> Problem {
    match wait {
        Some(Wait::Lock(file)) => Problem::Store(
            format!("{} is locked by another program", file.display()),
            ErrorKind::WouldBlock,
        ),
        Some(Wait::Keyring) => Problem::Keyring(KeyringError::Silent),
        Some(Wait::Request(server, request)) => Problem::OutOfTime {
            last: Some(format!("{server} has not answered {request}")),
            lease: None,
        },
        None => Problem::Store(
            "the directory of the accounts did not answer in time".to_owned(),
            ErrorKind::TimedOut,
        ),
    }
}
