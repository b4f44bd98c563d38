//! Tickets: each result belongs to the action it was created from, at most once.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Ties a result to one action of one machine. Not `Clone`: an action has at most one result.
pub(crate) struct Ticket {
    owner: Owner,
    id: u64,
}

/// The number of a machine, which no other machine of the process has. It tells machines apart, and no output depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner(usize);

impl Owner {
    pub(crate) fn new() -> Self {
        static MACHINES: AtomicUsize = AtomicUsize::new(0);
        Self(MACHINES.fetch_add(1, Ordering::Relaxed))
    }
}

impl Ticket {
    pub(crate) fn new(owner: Owner, id: u64) -> Self {
        Self { owner, id }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Returns true if this machine issued the ticket (H03).
    pub(crate) fn is_of(&self, owner: Owner) -> bool {
        self.owner == owner
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({})", self.id)
    }
}
