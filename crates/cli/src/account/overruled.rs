//! The authorization servers that an MCP server names, where an option gives one in their place (DISC-20).

use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use mcp_auth_client::{Driver, HttpClient, MemoryStore, Pause, Trust, seed};
use mcp_auth_machine::config::{DynamicRegistration, MetadataCache};
use mcp_auth_machine::event::Challenge;
use mcp_auth_machine::wire::challenge;
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_machine::{Config, Event};

use super::after;
use super::choice::{Choice, same_but_slash};
use super::discovery::Discovery;
use super::profile::Profile;
use crate::facts;
use crate::probe::{Answer, initialize};
use crate::problem::Problem;
use crate::speaker;

/// Never used: the machine stops before a redirect.
const REDIRECT_URI: &str = "http://127.0.0.1:9/callback";

/// How long this may take: it is a question beside the sign-in.
const SECONDS: u64 = 10;

/// The list of an MCP server, compared with the authorization server that the options give.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// It publishes no list.
    Nothing,
    /// It lists that server.
    Given,
    /// It lists others only.
    Others { given: String, named: Vec<String> },
}

impl Named {
    /// Returns the words about servers that are not used.
    pub(crate) fn words(&self, url: &str) -> Option<String> {
        let Self::Others { given, named } = self else {
            return None;
        };
        Some(format!(
            "{url} names the authorization server {}, and not {given}, which the options give in its place: \
             {given} is used, and the MCP server may refuse its tokens",
            named.join(", ")
        ))
    }
}

/// Reads what the MCP server names; `None` where the options give no authorization server.
///
/// # Errors
/// When a file of the options cannot be used.
pub(crate) fn named(
    url: &str,
    headers: HeaderMap,
    discovery: &Discovery,
    trust: &Trust,
    end: Instant,
) -> Result<Option<Named>, Problem> {
    let read = read(url, headers, discovery, trust, end)?;
    Ok(read.map(|(named, _)| named))
}

/// Reads the same, with the scopes that the MCP server lists.
fn read(
    url: &str,
    headers: HeaderMap,
    discovery: &Discovery,
    trust: &Trust,
    end: Instant,
) -> Result<Option<(Named, Option<Scopes>)>, Problem> {
    let Some(given) = discovery.given_issuer()? else {
        return Ok(None);
    };
    let config = Config::builder(url, REDIRECT_URI)
        .dynamic_registration(DynamicRegistration::Never)
        .metadata_cache(MetadataCache::Off);
    let config = discovery.without_server().apply(config)?.build()?;
    let choice = Arc::new(Choice::default());
    let sees = Arc::clone(&choice);
    // Without a client the machine stops when it has read the documents.
    let mut driver = Driver::new(config, "named", Box::new(MemoryStore::default()))
        .trust(trust.clone())
        .deadline(end.min(after(SECONDS)))
        .watched(move |note| {
            facts::see(&note);
            sees.see(&note);
        });
    let mut pause = driver.handle(Event::Challenged(Challenge::new("named", 401, headers)));
    if let Pause::NeedUser(_) = pause {
        pause = driver.handle(Event::Authorize(seed()?.into()));
    }
    drop((pause, driver));
    let named = choice.listed();
    let named = if named.is_empty() {
        Named::Nothing
    } else if named.iter().any(|one| same_but_slash(one, &given)) {
        Named::Given
    } else {
        Named::Others { given, named }
    };
    Ok(Some((named, choice.scopes())))
}

/// Tells the user of a sign-in where an option overrules the MCP server, before a browser opens.
///
/// # Errors
/// When a file of the options cannot be used.
pub(super) fn tell(profile: &Profile, end: Instant) -> Result<(), Problem> {
    let (url, discovery) = (&profile.url, &profile.settings.discovery);
    if !discovery.gives_server() {
        return Ok(());
    }
    let trust = profile.settings.tls.trust()?;
    // One time for both requests.
    let end = end.min(after(SECONDS));
    let answer = initialize(&HttpClient::new(trust.clone()), url, &HeaderMap::new(), end);
    // Other answers are judged by the sign-in itself.
    let Ok(Answer::Refused(status, headers)) = answer else {
        return Ok(());
    };
    let challenged = challenge::parse(&headers).select(status, &|_| true);
    let names_scopes = challenged.is_some_and(|challenged| challenged.scope.is_some());
    let Some((named, scopes)) = read(url, headers, discovery, &trust, end)? else {
        return Ok(());
    };
    if let Some(words) = named.words(url) {
        eprintln!("mcp-auth: {words}");
    }
    // The machine reads no document in whose place an option stands, and so asks for none of its scopes.
    if let Some(scopes) = scopes.filter(|_| !names_scopes && profile.settings.scopes().is_none()) {
        note!(
            "{url} lists the scopes `{}`, which this sign-in does not ask for, because the options give its authorization \
             server; to ask for them, {}",
            scopes.as_str(),
            speaker::again("--scope with them")
        );
    }
    Ok(())
}
