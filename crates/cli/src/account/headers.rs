//! `headers`: prints request headers, for clients that run a command to obtain them.

use std::thread;
use std::time::Duration;

use http::Method;
use http::header::AUTHORIZATION;
use serde_json::{Map, Value};

use super::root::LOCK_TIME;
use super::token::{Fresh, members, valid};
use super::{Place, account_name, after};
use crate::lines::record::Recorder;
use crate::problem::Problem;
use crate::signals;
use crate::speaker;
use crate::style;

/// The grace period after which the process exits, because a store such as a network directory may hang.
/// The driver returns earlier.
const GRACE: Duration = Duration::from_millis(500);

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
    #[arg(long, alias = "timeout", default_value_t = 8, value_name = "SECONDS")]
    within: u64,
    #[command(flatten)]
    fresh: Fresh,
}

pub(crate) fn run(options: &Options, recorder: &Recorder) -> Result<(), Problem> {
    let within = options.within;
    thread::spawn(move || {
        thread::sleep(Duration::from_secs(within).saturating_add(GRACE));
        // Tokens that are issued and not stored are lost, so their write may wait for another process.
        if signals::is_held() {
            thread::sleep(LOCK_TIME);
        }
        let last = Some(format!("no headers within {within} seconds"));
        crate::tell(&Problem::OutOfTime { last, lease: None }, style::is_json());
        std::process::exit(4);
    });
    let place = &options.place;
    let end = after(within);
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
    println!("{}", Value::from(headers));
    Ok(())
}
