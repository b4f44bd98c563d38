//! The principal of a sign-in, kept in the store so that any process finds it for a callback.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::job::Stopped;
use super::start::Parts;
use super::{Accounts, Server, key, mark};
use crate::async_store::{AsyncStore, read_from};
use crate::clock::Surroundings;
use crate::store::{Swap, failed};
use mcp_auth_machine::action::Redirect;
use mcp_auth_machine::slot::{Revision, SlotContents, Stored};
use mcp_auth_machine::wire::callback::Callback;

/// The result of a callback.
#[derive(Clone, Debug)]
pub enum Returned {
    /// A token is there.
    SignedIn {
        /// The MCP server.
        server: Server,
        /// The principal that signed in.
        principal: Arc<str>,
    },
    /// The callback belongs to no pending authorization, to one from before a sign-out, or to another browser, and
    /// changed nothing.
    Unknown,
}

/// The record of a sign-in under way.
struct Route {
    principal: String,
    url: String,
    /// The mark of the account when it began.
    mark: Option<Revision>,
}

impl Route {
    fn write(&self) -> String {
        let mark = self.mark.map(|mark| mark.to_string());
        serde_json::json!([self.principal, self.url, mark]).to_string()
    }

    fn read(text: &str) -> Option<Self> {
        let (principal, url, mark): (String, String, Option<String>) =
            serde_json::from_str(text).ok()?;
        let mark = mark.map(|mark| mark.parse()).transpose().ok()?;
        Some(Self {
            principal,
            url,
            mark,
        })
    }
}

/// Returns a random revision: no server and no user has a say in it, as they would in that of a digest.
pub(super) fn revision(around: &Surroundings) -> Result<Revision, Stopped> {
    let bytes = around.random().map_err(|_| Stopped::NoEntropy)?;
    let text = URL_SAFE_NO_PAD.encode(bytes);
    text.parse().map_err(|_| Stopped::NoEntropy)
}

/// The error of a write that lost a race.
const CHANGED: &str = "another process changed the record of this sign-in first";

/// Stores the principal of a sign-in, before the user is redirected.
pub(super) async fn keep(
    parts: &Parts,
    redirect: &Redirect,
    server: &Server,
    principal: &str,
    mark: Option<Revision>,
) -> Result<(), Stopped> {
    let route = Route {
        principal: principal.into(),
        url: server.url().into(),
        mark,
    };
    let stored = Stored {
        revision: revision(&parts.around)?,
        contents: SlotContents::new(route.write()),
    };
    let slot = redirect.route();
    let write = async |expected| {
        let kept = parts
            .store
            .persist_until(slot, expected, Some(&stored), Some(redirect.expires));
        kept.await
    };
    let known = match write(None).await? {
        Swap::Done => return Ok(()),
        Swap::Conflict(known) => known.ok_or_else(|| failed(CHANGED))?,
    };
    if known.contents == stored.contents {
        // The same redirect once more.
        return Ok(());
    }
    // Asked for again after a sign-out: it counts from now on.
    let of_both = Route::read(known.contents.expose())
        .is_some_and(|known| known.principal == route.principal && known.url == route.url);
    if !of_both {
        return Err(failed("the record of this sign-in is of another account").into());
    }
    match write(Some(known.revision)).await? {
        Swap::Done => Ok(()),
        Swap::Conflict(_) => Err(failed(CHANGED).into()),
    }
}

impl Accounts {
    /// Takes a callback, in any process that shares the store. The principal follows from its `state`; hand in the
    /// browser that it arrived in ([`Callback::in_browser`]), so that a stranger's browser changes nothing (CB-14).
    ///
    /// # Errors
    /// [`Stopped::StoreFailed`] when that cannot be known; [`Stopped::UnknownServer`] when the MCP server was not made
    /// known to this process; as [`Client::came_back`](super::super::Client::came_back) otherwise.
    pub async fn came_back(&self, callback: Callback) -> Result<Returned, Stopped> {
        let store = &self.0.parts.store;
        let Some(slot) = callback.route() else {
            return Ok(Returned::Unknown);
        };
        let found = read_from(store, slot).await?;
        let Some(found) = found else {
            return Ok(Returned::Unknown);
        };
        let Some(route) = Route::read(found.contents.expose()) else {
            return Err(failed("the record of this sign-in cannot be read").into());
        };
        let server = self.server(&route.url).ok_or(Stopped::UnknownServer)?;
        let principal = route.principal.as_str();
        // A record that stays is dropped at its end.
        let forget = async || {
            let cleared = store.persist_until(slot, Some(found.revision), None, None);
            drop(cleared.await);
        };
        if mark::ends(route.mark, mark::read(store, &server, principal).await?) {
            forget().await;
            return Ok(Returned::Unknown);
        }
        let lease = self.lease(&server, principal).await?;
        // After a failure the same callback may succeed, here or in another process.
        if !lease.client().came_back(callback).await? {
            return Ok(Returned::Unknown);
        }
        forget().await;
        // A sign-out in another process, while the code was exchanged here, comes first.
        let signed_out = mark::read(store, &server, principal).await;
        if signed_out.is_ok_and(|current| mark::ends(route.mark, current)) {
            self.0.warm.retract(&key(&server, principal));
            drop(lease.client().sign_out().await);
            return Err(Stopped::SignedOut);
        }
        let principal = principal.into();
        Ok(Returned::SignedIn { server, principal })
    }
}
