//! A mark beside each account that has signed out: pending sign-ins from before have ended, in whichever process they
//! began, although the machine that knew them has ended.

use super::super::job::Stopped;
use super::Server;
use super::route::revision;
use super::start::Parts;
use crate::async_store::{AsyncStore, SharedStore, read_from};
use crate::clock::millis;
use crate::store::{Swap, failed};
use mcp_auth_machine::budget::USER_TIME;
use mcp_auth_machine::slot::{Revision, Slot, SlotContents, Stored};
use mcp_auth_machine::time::UnixMillis;

/// How long a mark stays, beyond the time that a user has: a sign-in that outlives it would count again.
const STAYS: u64 = 24;

/// Returns the mark of an account, if it has one.
pub(super) async fn read(
    store: &SharedStore,
    server: &Server,
    principal: &str,
) -> Result<Option<Revision>, Stopped> {
    let found = read_from(store, slot(server, principal)).await?;
    Ok(found.map(|stored| stored.revision))
}

/// Ends the pending sign-ins of an account.
pub(super) async fn set(parts: &Parts, server: &Server, principal: &str) -> Result<(), Stopped> {
    let revision = revision(&parts.around)?;
    let stored = Stored {
        revision,
        contents: SlotContents::new(revision.to_string()),
    };
    let stays = millis(USER_TIME).saturating_mul(STAYS);
    let until = UnixMillis(parts.around.now().wall.0.saturating_add(stays));
    let slot = slot(server, principal);
    let write = async |expected| {
        let written = parts
            .store
            .persist_until(slot, expected, Some(&stored), Some(until));
        written.await
    };
    match write(None).await? {
        Swap::Done => Ok(()),
        // Another mark: this one takes its place. A third one that comes in between ends as much.
        Swap::Conflict(before) => match write(before.map(|stored| stored.revision)).await? {
            Swap::Done | Swap::Conflict(Some(_)) => Ok(()),
            Swap::Conflict(None) => {
                Err(failed("other processes wrote the mark of a sign-out first").into())
            }
        },
    }
}

/// Returns true if a sign-in that began under the first mark has ended under the second one. A mark that is gone has ended
/// by itself, after all sign-ins that it could end.
pub(super) fn ends(begun: Option<Revision>, current: Option<Revision>) -> bool {
    current.is_some() && current != begun
}

fn slot(server: &Server, principal: &str) -> Slot {
    Slot::sign_ins(principal, server.url())
}
