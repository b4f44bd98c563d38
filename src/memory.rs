//! Bounded history between events: challenge hints, attempt counters, back-off, nonces.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::budget::{
    Budget, DOCUMENTS_RELIED_ON, FAILURE_MEMORY, Limited, OPERATIONS_REMEMBERED,
    ORIGINS_REMEMBERED, Permit, REDIRECT_WINDOW, REDIRECTS_PER_WINDOW, RENEWAL_REST,
};
use crate::clients::Clients;
use crate::demanded::Demanded;
use crate::error::{Cause, Resting};
use crate::event::Operation;
use crate::issuer::IssuerId;
use crate::record::ResourceFacts;
use crate::slot::{Revision, Slot};
use crate::time::{Moment, MonoMillis, UnixMillis, millis};
use crate::wire::scopes::Scopes;
use crate::wire::url::WebUrl;
use crate::wire::words::{SigningAlgorithm, Words};
use crate::wish::{Question, Wish};

#[derive(Default)]
pub(crate) struct Memory {
    /// The metadata locations that the MCP server announced. A challenge without one erases none.
    pub(crate) resource_metadata: Vec<WebUrl>,
    /// The scopes that the MCP server demanded.
    pub(crate) demanded: Demanded,
    /// The operation of the latest request for a token or an authorization.
    pub(crate) operation: Option<Operation>,
    /// The change of issuer that the user was asked to confirm (ISO-09).
    pub(crate) offered: Option<Box<(IssuerId, IssuerId)>>,
    /// Whether the server rejected `offline_access` (9.1).
    pub(crate) offline_access_refused: bool,
    pub(crate) clients: Clients,
    /// Whether the server rejected scopes: the next authorization registers for them, or omits those of
    /// earlier requests. At most once between two successes (9.1).
    pub(crate) scopes_refused: bool,
    /// The scopes of the last authorization request that another one could omit or register for.
    pub(crate) disputable: Disputable,
    /// Until when no further registration is erased: ten minutes, or until a success (C08).
    client_forgotten: MonoMillis,
    /// Whether resource metadata was seen, fetched or cached: such a server is not a legacy server
    /// (LEG-02).
    pub(crate) resource_metadata_seen: bool,
    /// The resource's metadata that was just read after a refused token; the authorization that follows
    /// uses it.
    pub(crate) resource: Option<Box<(MonoMillis, ResourceFacts)>>,
    /// The event of that reading; earlier challenges need no further one.
    pub(crate) resource_read: Option<NonZeroU64>,
    /// The change of issuer that this process read in the resource's metadata (ISO-04).
    pub(crate) left: Option<Box<Left>>,
    /// The resource's metadata as last read.
    said: Option<ResourceFacts>,
    /// The cached documents used or written since the last success.
    relied_on: Vec<(Slot, Revision)>,
    /// Whether an attempt has failed, was refused or cancelled since the last success: then the caches are
    /// not used (DISC-19, META-18).
    pub(crate) doubtful: bool,
    pub(crate) rest: Rest,
    /// The reason why the token endpoint rejected the refresh, which is not repeated meanwhile.
    pub(crate) renewal_refused: Option<Box<Cause>>,
    pub(crate) nonces: Nonces,
    /// The proof algorithms that the resource named last (DPOP-16).
    pub(crate) dpop_algorithms: Words<SigningAlgorithm>,
    operations: Vec<Attempts>,
    redirects: Option<(MonoMillis, Budget)>,
    pub(crate) question: Question,
    /// Whether the store still holds the account of a user who signed out (REV-03).
    pub(crate) erasure: Erasure,
    /// The operation that the last authorization was counted for.
    counted: Option<Operation>,
}

/// The scopes of an authorization request that may cause `invalid_scope`.
#[derive(Default)]
pub(crate) struct Disputable {
    /// Scopes of earlier requests only.
    pub(crate) extras: Scopes,
    /// Scopes that the client may not be registered for.
    pub(crate) unregistered: Scopes,
}

/// The erasure of an account by a sign-out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Erasure {
    /// None is outstanding.
    #[default]
    Done,
    /// The store did not confirm that of this revision: it is repeated before anything else.
    Failed(Revision),
    /// It was just repeated, and failed again.
    FailedAgain(Revision),
}

/// An issuer that the resource no longer lists.
pub(crate) struct Left {
    pub(crate) from: IssuerId,
    /// The issuer that is listed instead.
    pub(crate) to: IssuerId,
    /// Whether the account slot records the change.
    pub(crate) durable: bool,
}

/// The attempts for one operation since its last success.
struct Attempts {
    operation: Operation,
    /// The number of authorizations (STEP-07).
    made: u8,
    /// Whether the token was refreshed for it (USE-08).
    refreshed: bool,
    /// Whether a token was authorized for it (USE-08).
    authorized: bool,
    /// Whether it was authorized although all its scopes were granted (STEP-09).
    repeated: bool,
    /// Whether a request was retried with the MCP server's nonce (DPOP-11).
    nonce_retried: bool,
    /// Whether the user declined it (STEP-11).
    declined: bool,
    since: MonoMillis,
}

/// The DPoP nonces of servers, by origin: a nonce is only sent to the server that issued it (DPOP-12).
#[derive(Default)]
pub(crate) struct Nonces(Vec<Nonce>);

struct Nonce {
    origin: Box<str>,
    text: Box<str>,
    /// Whether a proof for the MCP server was made with it.
    presented: bool,
}

impl Nonces {
    pub(crate) fn of(&self, origin: &str) -> Option<Box<str>> {
        let found = self.0.iter().find(|nonce| *nonce.origin == *origin);
        found.map(|nonce| nonce.text.clone())
    }

    /// Records that a proof was made with the nonce of this server.
    pub(crate) fn present(&mut self, origin: &str) {
        let found = self.0.iter_mut().find(|nonce| *nonce.origin == *origin);
        if let Some(nonce) = found {
            nonce.presented = true;
        }
    }

    /// Returns true if a nonce of this server is known, and no proof was made with it: a request that is refused for
    /// want of a nonce was made before it was known.
    pub(crate) fn is_unused(&self, origin: &str) -> bool {
        let found = self.0.iter().find(|nonce| *nonce.origin == *origin);
        found.is_some_and(|nonce| !nonce.presented)
    }

    pub(crate) fn keep(&mut self, origin: &str, nonce: Box<str>) {
        self.0.retain(|known| *known.origin != *origin);
        if self.0.len() >= ORIGINS_REMEMBERED {
            self.0.remove(0);
        }
        self.0.push(Nonce {
            origin: origin.into(),
            text: nonce,
            presented: false,
        });
    }
}

/// The back-off after a refresh that failed temporarily.
#[derive(Default)]
pub(crate) struct Rest {
    until: MonoMillis,
    /// The cause, and the end by the wall clock.
    after: Option<Box<(Cause, UnixMillis)>>,
    failures: u32,
}

impl Rest {
    /// Starts or extends the back-off after a failed refresh.
    pub(crate) fn failed(&mut self, now: Moment, retry_after: Option<Duration>, cause: &Cause) {
        let (shortest, longest) = RENEWAL_REST;
        let grown = shortest.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        // A shorter `Retry-After` does not shorten the back-off (L10).
        let wait = grown.min(longest).max(retry_after.unwrap_or_default());
        self.failures = self.failures.saturating_add(1);
        self.until = now.mono.plus(wait);
        let until = UnixMillis(now.wall.0.saturating_add(millis(wait)));
        self.after = Some(Box::new((cause.clone(), until)));
    }

    /// Returns true when the last refresh failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Returns the end of the back-off, by the wall clock.
    pub(crate) fn retry_at(&self) -> Option<UnixMillis> {
        self.after.as_ref().map(|after| after.1)
    }

    /// Returns the cause of the back-off while it lasts, with its end.
    pub(crate) fn cause(&self, now: Moment) -> Option<Cause> {
        let (after, until) = self.after.as_deref().filter(|_| now.mono < self.until)?;
        Some(match after {
            Cause::Unreachable(_) => Cause::unreachable(Some(*until)),
            Cause::Violation(_)
            | Cause::Refused(_)
            | Cause::Resting(_)
            | Cause::NotPersisted(_)
            | Cause::OutOfPatience(_)
            | Cause::Misconfigured(_)
            | Cause::Abandoned => Cause::Resting(Resting {
                after: Box::new(after.clone()),
                retry_at: *until,
            }),
        })
    }
}

impl Memory {
    /// Records the resource's metadata; returns true if it differs from the previous one.
    pub(crate) fn heard(&mut self, facts: &ResourceFacts) -> bool {
        let before = self.said.replace(facts.clone());
        before.is_some_and(|before| !before.says_the_same(facts))
    }

    /// Returns the memory of a machine whose user has signed out: facts about registrations and the resource stay.
    pub(crate) fn after_sign_out(&mut self) -> Self {
        Self {
            clients: std::mem::take(&mut self.clients),
            resource_metadata_seen: self.resource_metadata_seen,
            said: self.said.take(),
            left: self.left.take(),
            ..Self::default()
        }
    }

    /// Returns true if a cached document of the resource differs from the one read last.
    pub(crate) fn is_outdated(&self, cached: &ResourceFacts) -> bool {
        let said = self.said.as_ref();
        said.is_some_and(|said| !said.says_the_same(cached))
    }

    /// Records the use or write of a cached document.
    pub(crate) fn rely_on(&mut self, slot: Slot, revision: Revision) {
        self.relied_on.retain(|(of, _)| *of != slot);
        if self.relied_on.len() >= DOCUMENTS_RELIED_ON {
            self.relied_on.remove(0);
        }
        self.relied_on.push((slot, revision));
    }

    /// Stops using the caches after a failure, and returns the cached documents used so far.
    pub(crate) fn distrust(&mut self) -> Vec<(Slot, Revision)> {
        self.doubtful = true;
        self.resource = None;
        std::mem::take(&mut self.relied_on)
    }

    /// Trusts the caches again after a token was obtained.
    fn believe(&mut self) {
        self.doubtful = false;
        self.relied_on.clear();
    }

    fn of(&self, operation: &Operation, now: MonoMillis) -> Option<&Attempts> {
        self.operations
            .iter()
            .find(|known| known.operation == *operation)
            .filter(|known| now < known.since.plus(FAILURE_MEMORY))
    }

    /// Returns the number of authorizations for an operation since its last success.
    pub(crate) fn attempts(&self, operation: &Operation, now: MonoMillis) -> u8 {
        self.of(operation, now).map_or(0, |known| known.made)
    }

    /// Returns true if the token was refreshed for an operation since its last success.
    pub(crate) fn was_refreshed(&self, operation: &Operation, now: MonoMillis) -> bool {
        self.of(operation, now).is_some_and(|known| known.refreshed)
    }

    /// Returns true if a token was authorized for an operation since its last success.
    pub(crate) fn was_authorized(&self, operation: &Operation, now: MonoMillis) -> bool {
        self.of(operation, now)
            .is_some_and(|known| known.authorized)
    }

    /// Returns true if a request of an operation was retried with the MCP server's nonce.
    pub(crate) fn nonce_retried(&self, operation: &Operation, now: MonoMillis) -> bool {
        let known = self.of(operation, now);
        known.is_some_and(|known| known.nonce_retried)
    }

    /// Records that a request of an operation is retried with the MCP server's nonce.
    pub(crate) fn retried_nonce(&mut self, operation: &Operation, now: MonoMillis) {
        if let Some(known) = self.entry(operation, now) {
            known.nonce_retried = true;
        }
    }

    /// Returns true if the user declined the operation, or it repeated a request for granted scopes.
    pub(crate) fn is_hopeless(&self, operation: &Operation, now: MonoMillis, adds: bool) -> bool {
        self.of(operation, now)
            .is_some_and(|known| known.declined || !adds && known.repeated)
    }

    /// Returns the counters of an operation, creating them if necessary; the oldest ones are dropped.
    fn entry(&mut self, operation: &Operation, now: MonoMillis) -> Option<&mut Attempts> {
        let known = self.of(operation, now).is_some();
        if !known {
            self.forget(operation);
            if self.operations.len() >= OPERATIONS_REMEMBERED {
                self.operations.remove(0);
            }
            if self.operations.is_empty() {
                // One operation is the usual number.
                self.operations.reserve_exact(1);
            }
            self.operations.push(Attempts {
                operation: operation.clone(),
                made: 0,
                refreshed: false,
                authorized: false,
                repeated: false,
                nonce_retried: false,
                declined: false,
                since: now,
            });
        }
        self.operations
            .iter_mut()
            .find(|known| known.operation == *operation)
    }

    /// Records a refresh for an operation.
    pub(crate) fn refreshed(&mut self, operation: Option<&Operation>, now: MonoMillis) {
        self.rest = Rest::default();
        self.renewal_refused = None;
        self.believe();
        if let Some(known) = operation.and_then(|operation| self.entry(operation, now)) {
            known.refreshed = true;
        }
    }

    /// Records an authorization of an operation whose scopes are all granted (STEP-09).
    pub(crate) fn repeats(&mut self, operation: &Operation, now: MonoMillis) {
        if let Some(known) = self.entry(operation, now) {
            known.repeated = true;
        }
    }

    /// Records that the user declined the current authorization (STEP-11).
    pub(crate) fn declined(&mut self, now: MonoMillis) {
        let operation = self.operation.clone();
        if let Some(known) = operation.and_then(|operation| self.entry(&operation, now)) {
            known.declined = true;
        }
    }

    /// Counts one authorization for its operation and in total (STEP-07, E11).
    pub(crate) fn authorize(
        &mut self,
        wish: Wish,
        operation: Option<&Operation>,
        cap: u8,
        now: MonoMillis,
    ) -> Result<Permit, Limited> {
        self.counted = None;
        let counted = match wish {
            Wish::Person => return Ok(Permit::for_a_person()),
            Wish::Mend => None,
            Wish::Refusal => operation,
        };
        if let Some(operation) = counted {
            let made = self.attempts(operation, now);
            if made >= cap {
                return Err(Limited::Authorizations);
            }
            if let Some(known) = self.entry(operation, now) {
                known.made = made.saturating_add(1);
                known.since = now;
            }
        }
        let fresh = || (now, Budget::new(REDIRECTS_PER_WINDOW, Limited::Redirects));
        let (since, _) = self.redirects.get_or_insert_with(fresh);
        if now >= since.plus(REDIRECT_WINDOW) {
            self.redirects = Some(fresh());
        }
        let (_, budget) = self.redirects.get_or_insert_with(fresh);
        let permit = budget.take()?;
        self.counted = counted.cloned();
        Ok(permit)
    }

    /// Reverts the count of the last authorization for its operation: the user cancelled it or was not redirected, or
    /// it failed for a reason that the next one removes (STEP-07).
    pub(crate) fn give_back(&mut self) {
        if let Some(operation) = self.counted.take()
            && let Some(known) = self
                .operations
                .iter_mut()
                .find(|known| known.operation == operation)
        {
            known.made = known.made.saturating_sub(1);
        }
    }

    /// Records that a registration was erased.
    pub(crate) fn forgot_client(&mut self, now: MonoMillis) {
        self.client_forgotten = now.plus(FAILURE_MEMORY);
    }

    /// Returns true if a registration was erased a moment ago: another new one would not help (C08).
    pub(crate) fn has_forgotten_client(&self, now: MonoMillis) -> bool {
        now < self.client_forgotten
    }

    /// Starts an attempt: the count of the one before stays.
    pub(crate) fn begin_attempt(&mut self) {
        self.counted = None;
    }

    /// Records that an authorized token was stored; the account contains the requested scopes.
    pub(crate) fn succeeded(&mut self, now: MonoMillis) {
        let operation = self.operation.clone();
        if let Some(known) = operation.and_then(|operation| self.entry(&operation, now)) {
            known.authorized = true;
            known.declined = false;
        }
        self.rest = Rest::default();
        self.renewal_refused = None;
        self.believe();
        self.demanded.clear();
        self.question.withdraw();
        self.offered = None;
        self.client_forgotten = MonoMillis::default();
        self.offline_access_refused = false;
        self.scopes_refused = false;
        self.counted = None;
    }

    /// Resets the counters of an operation after one of its requests succeeded.
    pub(crate) fn forget(&mut self, operation: &Operation) {
        self.operations
            .retain(|known| known.operation != *operation);
    }
}
