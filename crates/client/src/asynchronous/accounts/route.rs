//! The principal of a sign-in, kept in the store so that any process finds it for a callback.

use std::sync::Arc;

use super::super::job::Stopped;
use super::Accounts;
use super::Server;
use crate::async_store::{AsyncStore, SharedStore};
use crate::store::Swap;
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
    /// The callback belongs to no pending authorization, or to another browser, and changed nothing.
    Unknown,
}

/// Stores the principal of a sign-in, before the user is redirected.
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
        // After a failure the same callback may succeed, here or in another process. A record that stays is dropped
        // at its end.
        if matches!(told, Ok(true)) {
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
