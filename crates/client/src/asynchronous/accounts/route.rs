//! Whose sign-in a callback belongs to: kept in the store, so that any process can tell.

use std::sync::Arc;

use super::super::job::Stopped;
use super::Accounts;
use super::Server;
use crate::async_store::{AsyncStore, SharedStore};
use crate::store::Swap;
use mcp_auth_machine::action::Redirect;
use mcp_auth_machine::slot::{Revision, SlotContents, Stored};
use mcp_auth_machine::wire::callback::Callback;

/// What became of a callback.
#[derive(Clone, Debug)]
pub enum Returned {
    /// A token is there.
    SignedIn {
        /// Where.
        server: Server,
        /// Whose it is.
        principal: Arc<str>,
    },
    /// It belongs to no sign-in that is under way, or to another browser, and changed nothing.
    Unknown,
}

/// Writes down whose sign-in this is, before the user is sent away.
pub(super) async fn keep(
    store: &SharedStore,
    redirect: &Redirect,
    server: &Server,
    principal: &str,
) -> Result<(), Stopped> {
    let contents = serde_json::json!([principal, server.url()]).to_string();
    let stored = Stored {
        revision: Revision::of(contents.as_bytes()),
        contents: SlotContents::new(contents),
    };
    let slot = redirect.route();
    let kept = store.persist_until(slot, None, Some(&stored), Some(redirect.expires));
    match kept.await.map_err(|_| Stopped::StoreFailed)? {
        Swap::Done => Ok(()),
        // The same redirect once more.
        Swap::Conflict(Some(known)) if known == stored => Ok(()),
        Swap::Conflict(_) => Err(Stopped::StoreFailed),
    }
}

impl Accounts {
    /// The user came back, perhaps to another process than prepared it. The callback says whose sign-in it is; hand
    /// in the browser it arrived in ([`Callback::in_browser`]), so that a stranger's browser changes nothing (CB-14).
    ///
    /// # Errors
    /// [`Stopped::StoreFailed`] when that cannot be known; [`Stopped::UnknownServer`] when the MCP server was not made
    /// known to this process; as [`Client::came_back`](super::super::Client::came_back) otherwise.
    pub async fn came_back(&self, callback: Callback) -> Result<Returned, Stopped> {
        let store = &self.0.parts.store;
        let Some(slot) = callback.route() else {
            return Ok(Returned::Unknown);
        };
        let found = store.load(slot).await;
        let Some(found) = found.map_err(|_| Stopped::StoreFailed)? else {
            return Ok(Returned::Unknown);
        };
        let read: Result<(String, String), _> = serde_json::from_str(found.contents.expose());
        let Ok((principal, url)) = read else {
            return Err(Stopped::StoreFailed);
        };
        let server = self.server(&url).ok_or(Stopped::UnknownServer)?;
        let lease = self.lease(&server, &principal).await?;
        let told = lease.client().came_back(callback).await;
        if !matches!(told, Ok(false)) {
            // A record that stays is dropped at its end.
            let _kept = store
                .persist_until(slot, Some(found.revision), None, None)
                .await;
        }
        Ok(if told? {
            let principal = principal.into();
            Returned::SignedIn { server, principal }
        } else {
            Returned::Unknown
        })
    }
}
