//! What the machine remembers between events, in bounded space.

use crate::budget::{
    Budget, FAILURE_MEMORY, Limited, OPERATIONS_REMEMBERED, Permit, REDIRECT_WINDOW,
    REDIRECTS_PER_WINDOW,
};
use crate::event::Operation;
use crate::issuer::IssuerId;
use crate::slot::Revision;
use crate::time::MonoMillis;
use crate::wire::scopes::Scopes;
use crate::wire::url::WebUrl;

#[derive(Default)]
pub(crate) struct Memory {
    /// Where the MCP server said that its metadata is; a challenge that says nothing erases nothing.
    pub(crate) resource_metadata: Vec<WebUrl>,
    /// The scopes that the MCP server asked for last.
    pub(crate) scope: Option<Scopes>,
    /// The operation that asked last.
    pub(crate) operation: Option<Operation>,
    /// The issuer for which the user was asked whether the change is right (ISO-09).
    pub(crate) offered: Option<IssuerId>,
    /// The server refused `offline_access` (9.1).
    pub(crate) offline_access_refused: bool,
    /// A registration was forgotten since the last success: once is enough (C08).
    pub(crate) client_forgotten: bool,
    /// Resource metadata was seen, now or in the cache: the server is no legacy one (LEG-02).
    pub(crate) resource_metadata_seen: bool,
    /// The revision of the cached resource metadata, when there is some.
    pub(crate) cached_resource: Option<Revision>,
    operations: Vec<Attempts>,
    redirects: Option<(MonoMillis, Budget)>,
}

struct Attempts {
    operation: Operation,
    made: u8,
    since: MonoMillis,
}

impl Memory {
    /// Authorizations made for an operation since its last success.
    pub(crate) fn attempts(&self, operation: &Operation, now: MonoMillis) -> u8 {
        self.operations
            .iter()
            .find(|known| known.operation == *operation)
            .filter(|known| now < known.since.plus(FAILURE_MEMORY))
            .map_or(0, |known| known.made)
    }

    /// One more authorization: for the operation (STEP-07), and at all (E11).
    pub(crate) fn authorize(
        &mut self,
        operation: Option<&Operation>,
        cap: u8,
        now: MonoMillis,
    ) -> Result<Permit, Limited> {
        if let Some(operation) = operation {
            let made = self.attempts(operation, now);
            if made >= cap {
                return Err(Limited::Authorizations);
            }
            self.forget(operation);
            if self.operations.len() >= OPERATIONS_REMEMBERED {
                self.operations.remove(0);
            }
            self.operations.push(Attempts {
                operation: operation.clone(),
                made: made.saturating_add(1),
                since: now,
            });
        }
        let fresh = || (now, Budget::new(REDIRECTS_PER_WINDOW, Limited::Redirects));
        let (since, _) = self.redirects.get_or_insert_with(fresh);
        if now >= since.plus(REDIRECT_WINDOW) {
            self.redirects = Some(fresh());
        }
        let (_, budget) = self.redirects.get_or_insert_with(fresh);
        budget.take()
    }

    /// A token was committed: what was asked for is now in the account.
    pub(crate) fn succeeded(&mut self) {
        self.scope = None;
        self.offered = None;
        self.client_forgotten = false;
        self.offline_access_refused = false;
    }

    /// A request of this operation was accepted.
    pub(crate) fn forget(&mut self, operation: &Operation) {
        self.operations
            .retain(|known| known.operation != *operation);
    }
}
