//! `token`: prints a valid access token.

use std::time::Instant;

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method};
use mcp_auth_machine::action::Grant;
use serde_json::{Map, Value, json};

use super::host::{Desk, Host};
use super::profile::Profile;
use super::records;
use super::root::Remembered;
use super::slots;
use super::told::left;
use super::{Place, Selected, after};
use crate::begun::begun;
use crate::lines::record::Recorder;
use crate::problem::Problem;
use crate::signals;
use crate::waits;

/// The required validity of a token.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Fresh {
    /// The server refused the token that was printed last: refresh it. Of commands that say so at once, one
    /// refreshes
    #[arg(long)]
    refused: bool,
    /// Refresh a token that expires within so many seconds, where the server allows it
    #[arg(long, value_name = "SECONDS")]
    min_ttl: Option<u64>,
}

impl Fresh {
    /// Sets a minimum lifetime if none was given.
    pub(super) fn at_least(self, seconds: u64) -> Self {
        Self {
            min_ttl: self.min_ttl.or(Some(seconds)),
            ..self
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    selected: Selected,
    /// Print the headers of a request instead of the token alone
    #[arg(long)]
    header: bool,
    /// The method of that request: a token that is bound to a key is presented for one request
    #[arg(long, default_value = "POST", requires = "header")]
    method: Method,
    #[command(flatten)]
    fresh: Fresh,
    /// How long all of it may take, in seconds: the server's answer, its rests, other processes
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = super::seconds)]
    timeout: u64,
}

pub(crate) fn run(options: &Options, as_json: bool, recorder: &Recorder) -> Result<(), Problem> {
    let Selected {
        url,
        account,
        place,
    } = &options.selected;
    let account = (url.as_str(), account.as_str());
    let end = after(options.timeout);
    let (mut host, grant) = valid(place, account, options.fresh, end, recorder)?;
    let url = host.url().to_owned();
    let presented = host.present(&options.method, &url)?;
    if as_json {
        let headers = members(&presented)?;
        println!(
            "{}",
            json!({ "server": url, "headers": headers, "expires_in": left(&grant) })
        );
    } else if options.header {
        for (name, value) in &presented {
            println!("{name}: {}", value.to_str()?);
        }
    } else {
        let value = presented
            .get(AUTHORIZATION)
            .ok_or("the account has no token")?;
        let token = value.to_str()?.strip_prefix("Bearer ");
        println!(
            "{}",
            token.ok_or("this token is bound to a key; use --header")?
        );
    }
    Ok(())
}

/// Returns the headers as the members of an object.
pub(super) fn members(headers: &HeaderMap) -> Result<Map<String, Value>, Problem> {
    let mut members = Map::new();
    for (name, value) in headers {
        members.insert(name.to_string(), Value::from(value.to_str()?));
    }
    Ok(members)
}

/// Opens a signed-in account, and returns once it has a valid token, refreshed if necessary.
pub(super) fn valid(
    place: &Place,
    (url, account): (&str, &str),
    fresh: Fresh,
    end: Instant,
    recorder: &Recorder,
) -> Result<(Host, Grant), Problem> {
    waits::until(end);
    let root = place.root()?;
    let profile = match root.remembered(url, account)? {
        Remembered::Profile(profile) => *profile,
        found @ (Remembered::Nothing | Remembered::Damaged(_)) => {
            if let Remembered::Damaged(words) = found {
                eprintln!("mcp-auth: {words}");
            }
            // The account contains everything that a refresh needs, except keys.
            if !root.has_account(url, account)? {
                return Err(Problem::Unknown);
            }
            Profile::new(url, account)
        }
    };
    slots::check(&root, (url, account))?;
    signals::listen().map_err(Problem::system("signals cannot be handled"))?;
    let desk = Desk {
        root: &root,
        verbose: place.verbose,
        recorder,
        end,
    };
    let mut host = Host::open(&desk, &profile)?;
    let name = profile.name()?;
    let is_newer = |token: &str| {
        let span = (begun(), mcp_auth_client::now().wall);
        records::is_received_between(&root.slots(), &name, token, span)
    };
    let grant = match fresh {
        Fresh { refused: true, .. } => refused(&mut host, is_newer)?,
        Fresh { min_ttl, .. } => {
            let grant = host.wanted(None)?;
            match (min_ttl, left(&grant)) {
                (Some(wanted), Some(left)) if left < wanted => longer(&mut host, grant, is_newer)?,
                (_, _) => grant,
            }
        }
    };
    Ok((host, grant))
}

/// Reports the stored token as refused, like the MCP server would. A token that another process received since this one
/// began is not the one that was refused: of many processes that report the same refusal, one refreshes.
fn refused(host: &mut Host, is_newer: impl FnOnce(&str) -> bool) -> Result<Grant, Problem> {
    host.stored()?;
    let url = host.url().to_owned();
    let presented = host.present(&Method::POST, &url).unwrap_or_default();
    let sent = presented.get(AUTHORIZATION).map(|value| value.to_str());
    let Some(sent) = sent.transpose()? else {
        return host.wanted(None);
    };
    if sent
        .split_once(' ')
        .is_some_and(|(_, token)| is_newer(token))
    {
        return host.wanted(None);
    }
    let mut headers = HeaderMap::new();
    let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
    headers.insert(WWW_AUTHENTICATE, challenge);
    host.challenged("token", (401, &headers), Some(sent), None)
}

/// Refreshes a token that expires soon. If the server issues no other one, the current one is used.
fn longer(
    host: &mut Host,
    grant: Grant,
    is_newer: impl FnOnce(&str) -> bool,
) -> Result<Grant, Problem> {
    match refused(host, is_newer) {
        Ok(grant) => Ok(grant),
        Err(_refused) if host.is_presentable() => Ok(grant),
        Err(problem) => Err(problem),
    }
}
