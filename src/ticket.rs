//! Tickets: an answer belongs to the question whose action it was made from, once.

use std::fmt;
use std::sync::Arc;

/// Ties an answer to one action of one machine. Not `Clone`: an action is answered at most once.
pub(crate) struct Ticket {
    owner: Arc<Owner>,
    id: u64,
}

/// The identity of a machine; only its address counts.
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

    /// Whether this machine gave the ticket out (H03).
    pub(crate) fn is_of(&self, owner: &Arc<Owner>) -> bool {
        Arc::ptr_eq(&self.owner, owner)
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({})", self.id)
    }
}
