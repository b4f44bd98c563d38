//! Tickets: each result belongs to the action it was created from, at most once.

use std::fmt;
use std::sync::Arc;

/// Ties a result to one action of one machine. Not `Clone`: an action has at most one result.
pub(crate) struct Ticket {
    owner: Arc<Owner>,
    id: u64,
}

/// The identity of a machine, compared by address.
#[derive(Debug)]
pub(crate) struct Owner;

impl Ticket {
    pub(crate) fn new(owner: &Arc<Owner>, id: u64) -> Self {
        Self {
            owner: Arc::clone(owner),
            id,
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Returns true if this machine issued the ticket (H03).
    pub(crate) fn is_of(&self, owner: &Arc<Owner>) -> bool {
        Arc::ptr_eq(&self.owner, owner)
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({})", self.id)
    }
}
