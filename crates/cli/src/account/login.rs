//! `login`: until the MCP server accepts a token.

use std::fs::{self, DirEntry};
use std::path::Path;
use std::time::Duration;

use http::Method;
use http::header::AUTHORIZATION;
use mcp_auth_machine::error::{Cause, Misconfiguration};
use serde_json::json;

use super::Selected;
use super::host::{Host, grant_json, grant_words};
use super::person::Person;
use super::profile::{Profile, Settings};
use crate::lines::record::Recorder;
use crate::problem::Problem;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    selected: Selected,
    /// Print the URL instead of opening a browser, and take the address that it ends at
    #[arg(long)]
    no_browser: bool,
    /// The preferred port for the browser to come back to
    #[arg(long)]
    port: Option<u16>,
    /// How long to wait for the browser, in seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    timeout: u64,
    #[command(flatten)]
    settings: Settings,
}

/// Requests to the MCP server: the first, and one after each authorization.
const TRIES: u8 = 4;

/// The machine takes no callback that comes later, by far.
const ABANDONED: Duration = Duration::from_secs(3_600);

/// A request that changes nothing, in every revision.
const PROBE: &str = "ping";

pub(crate) fn run(options: Options, as_json: bool, recorder: &Recorder) -> Result<(), Problem> {
    let Options {
        selected,
        no_browser,
        port,
        timeout,
        settings,
    } = options;
    let directory = selected.place.directory()?;
    let known = Profile::load(&directory, &selected.url, &selected.account)?;
    let mut profile = known.unwrap_or_else(|| Profile {
        url: selected.url.clone(),
        account: selected.account.clone(),
        port: None,
        settings: Settings::default(),
    });
    let named = settings.scopes().map(str::to_owned);
    // What was given replaces what was remembered; nothing given keeps it.
    if !settings.is_empty() {
        profile.set(&directory, settings)?;
    }
    let person = if profile.settings.has_person() {
        let patience = Duration::from_secs(timeout);
        Some(Person::new(port.or(profile.port), !no_browser, patience)?)
    } else {
        None
    };
    profile.port = person.as_ref().map(Person::port);
    clear_abandoned(&directory.join("slots").join("pending"));
    let mut host = Host::open(&directory, &profile, selected.place.verbose, recorder)?;
    // Remembered before a token exists: `logout` finds whatever `login` leaves.
    profile.save(&directory)?;
    // A client that acts for itself gets other scopes with its next token.
    let signed_in = accepted(&mut host, person.as_ref()).and_then(|()| match (&named, &person) {
        (Some(scopes), Some(person)) => host.widen(scopes, person),
        (None, _) | (_, None) => Ok(()),
    });
    if let Err(problem) = signed_in {
        if !matches!(host.stored(), Ok(Some(_))) {
            profile.remove(&directory)?;
        }
        return Err(problem);
    }
    let grant = host.stored()?;
    if as_json {
        let mut answer = grant_json(grant.as_ref());
        if let Some(members) = answer.as_object_mut() {
            members.insert("server".to_owned(), host.url().into());
        }
        println!("{answer}");
    } else if grant.is_some() {
        println!("{}", grant_words(grant.as_ref()));
    } else {
        println!("{} asks for no sign-in", host.url());
    }
    Ok(())
}

/// Removes the records of sign-ins that nobody came back from. They have expired and would be refused;
/// what cannot be removed does no harm.
fn clear_abandoned(folder: &Path) {
    let abandoned = |file: &DirEntry| {
        let modified = file.metadata().and_then(|facts| facts.modified()).ok();
        modified
            .and_then(|time| time.elapsed().ok())
            .is_some_and(|age| age > ABANDONED)
    };
    for file in fs::read_dir(folder).into_iter().flatten().flatten() {
        if abandoned(&file) {
            let _stays = fs::remove_file(file.path());
        }
    }
}

/// Asks the MCP server until it accepts a request.
fn accepted(host: &mut Host, person: Option<&Person>) -> Result<(), Problem> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .into();
    let url = host.url().to_owned();
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": PROBE }).to_string();
    host.stored()?;
    for _ in 0..TRIES {
        let presented = host.present(&Method::POST, &url).unwrap_or_default();
        let mut request = agent
            .post(&url)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        for (name, value) in &presented {
            request = request.header(name, value);
        }
        let answer = request.send(&body)?;
        let status = answer.status().as_u16();
        if !matches!(status, 401 | 403) {
            if presented.contains_key(AUTHORIZATION) {
                host.accepted(PROBE);
                return Ok(());
            }
            // Not every server protects every request: it may still name an authorization server.
            return match host.wanted(person) {
                Err(Problem::Failed(failure)) if names_no_server(&failure.cause) => Ok(()),
                Err(problem) => Err(problem),
                Ok(_) => Ok(()),
            };
        }
        let sent = presented.get(AUTHORIZATION).map(|sent| sent.to_str());
        host.challenged(PROBE, (status, answer.headers()), sent.transpose()?, person)?;
    }
    Err(format!("{url} refused {TRIES} requests, each with a new token").into())
}

fn names_no_server(cause: &Cause) -> bool {
    matches!(cause, Cause::Misconfigured(Misconfiguration::ServerUnknown))
}
