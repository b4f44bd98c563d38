//! The authorization server to which the options apply that say something of it: found before the sign-in, so that they are
//! kept for it alone.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use mcp_auth_client::{Driver, HttpClient, MemoryStore, Pause, Trust, seed};
use mcp_auth_machine::config::{DynamicRegistration, MetadataCache};
use mcp_auth_machine::event::Challenge;
use mcp_auth_machine::{Config, Event};

use super::after;
use super::assumed::Told;
use super::choice::{Choice, same_but_slash};
use super::discovery::Discovery;
use crate::facts;
use crate::probe::{Answer, initialize};
use crate::problem::Problem;

/// Never used: the machine stops before a redirect.
const REDIRECT_URI: &str = "http://127.0.0.1:9/callback";

/// How long the search for the issuer may take.
const SECONDS: u64 = 15;

/// Keeps the options for the authorization server of this sign-in: `named`, the one that the options give, or the one that
/// the MCP server names.
///
/// # Errors
/// When the MCP server names several, or a file of the options cannot be used. A server without an answer is none: the
/// command finds that itself.
pub(crate) fn settle(
    url: &str,
    discovery: &mut Discovery,
    named: Option<String>,
    trust: &Trust,
    end: Instant,
) -> Result<(), Problem> {
    let mut told = std::mem::take(&mut discovery.told);
    if told.forgets() {
        discovery.assumed = None;
    }
    if told.is_empty() {
        return Ok(());
    }
    let given = match named {
        Some(named) => Some(named),
        None => discovery.given_issuer()?,
    };
    let issuer = match given {
        Some(given) => Some(given),
        None => find(url, discovery, trust, end)?,
    };
    if let Some(issuer) = issuer {
        discovery.assumed = Some(told.of(&issuer, discovery.assumed.take()));
    }
    Ok(())
}

/// Keeps an origin at which the user agreed to sign in.
pub(super) fn agree(discovery: &mut Discovery, issuer: &str, origin: &str) {
    let told = Told::agreed(origin);
    discovery.assumed = Some(told.of(issuer, discovery.assumed.take()));
}

/// Returns the issuer that the MCP server names.
fn find(
    url: &str,
    discovery: &Discovery,
    trust: &Trust,
    end: Instant,
) -> Result<Option<String>, Problem> {
    let end = end.min(after(SECONDS));
    let answer = initialize(&HttpClient::new(trust.clone()), url, &HeaderMap::new(), end);
    let headers = match answer {
        Ok(Answer::Refused(_, headers)) => headers,
        Ok(Answer::Mcp | Answer::Other(_)) | Err(_) => HeaderMap::new(),
    };
    let config = Config::builder(url, REDIRECT_URI)
        .dynamic_registration(DynamicRegistration::Never)
        .metadata_cache(MetadataCache::Off);
    let config = discovery.apply(config)?.build()?;
    let choice = Arc::new(Choice::default());
    let sees = Arc::clone(&choice);
    // Without a client the machine stops when it has read the documents.
    let mut driver = Driver::new(config, "assumed", Box::new(MemoryStore::default()))
        .trust(trust.clone())
        .deadline(end)
        .watched(move |note| {
            facts::see(&note);
            sees.see(&note);
        });
    let mut pause = driver.handle(Event::Challenged(Challenge::new("assumed", 401, headers)));
    if let Pause::NeedUser(_) = pause {
        pause = driver.handle(Event::Authorize(seed()?.into()));
    }
    let listed = choice.listed();
    if listed.len() > 1 {
        let preferred = discovery.prefer_issuer.iter();
        let mut preferred =
            preferred.filter(|one| listed.iter().any(|listed| same_but_slash(one, listed)));
        return match preferred.next() {
            Some(issuer) => Ok(Some(issuer.clone())),
            None => Err(Problem::Usage(format!(
                "{url} names several authorization servers ({}): the options that say something of one need --prefer-issuer \
                 with it",
                listed.join(", ")
            ))),
        };
    }
    let Pause::Failed(failure) = pause else {
        return Ok(None);
    };
    Ok(failure.issuer.map(|issuer| issuer.to_string()))
}
