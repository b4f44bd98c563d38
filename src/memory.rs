//! What the machine remembers between events, in bounded space.

use std::time::Duration;

use crate::budget::{
    Budget, DOCUMENTS_RELIED_ON, FAILURE_MEMORY, Limited, METHODS_REMEMBERED,
    OPERATIONS_REMEMBERED, ORIGINS_REMEMBERED, Permit, REDIRECT_WINDOW, REDIRECTS_PER_WINDOW,
    RENEWAL_REST,
};
use crate::error::{Cause, Resting};
use crate::event::Operation;
use crate::issuer::IssuerId;
use crate::record::ResourceFacts;
use crate::slot::{Revision, Slot};
use crate::state::{Registered, unreachable};
use crate::time::{Moment, MonoMillis, UnixMillis, millis};
use crate::wire::scopes::Scopes;
use crate::wire::url::WebUrl;
use crate::wire::words::{AuthMethod, SigningAlgorithm, Words};

#[derive(Default)]
pub(crate) struct Memory {
    /// Where the MCP server said that its metadata is; a challenge that says nothing erases nothing.
    pub(crate) resource_metadata: Vec<WebUrl>,
    /// The scopes that the MCP server asked for last.
    pub(crate) scope: Option<Scopes>,
    /// The operation that asked last.
    pub(crate) operation: Option<Operation>,
    /// The change, from one issuer to another, that the user was asked about (ISO-09).
    pub(crate) offered: Option<(IssuerId, IssuerId)>,
    /// The server refused `offline_access` (9.1).
    pub(crate) offline_access_refused: bool,
    /// The methods with which a new client was refused, for each issuer: the next registration asks for
    /// another one (REG-21).
    refused_methods: Vec<(IssuerId, AuthMethod)>,
    /// The dynamic registration with which the user was last sent away.
    pub(crate) registration: Option<Registered>,
    /// Clients that their servers refused, and that the store could not be made to forget.
    buried: Vec<Registered>,
    /// The host wants a new registration, whatever is stored (QUIRK-14).
    pub(crate) registers_anew: bool,
    /// The server refused scopes: the next authorization registers for them, or leaves out what was
    /// asked for earlier (9.1). Once between successes.
    pub(crate) scopes_refused: bool,
    /// The scopes of the last authorization request that another one could leave out or register for.
    pub(crate) disputable: Disputable,
    /// A registration was forgotten since the last success: once is enough (C08).
    pub(crate) client_forgotten: bool,
    /// Resource metadata was seen, now or in the cache: the server is no legacy one (LEG-02).
    pub(crate) resource_metadata_seen: bool,
    /// The resource's metadata as it was just read because a token was refused: the authorization
    /// that follows does not read it again.
    pub(crate) resource: Option<(MonoMillis, ResourceFacts)>,
    /// The event during which that was done: refusals from before need no reading of their own.
    pub(crate) resource_read: Option<u64>,
    /// The move of the resource that this process was told of (ISO-04).
    pub(crate) left: Option<Left>,
    /// The resource's metadata as it was last read.
    said: Option<ResourceFacts>,
    /// The cached documents that were used or kept since the last success.
    relied_on: Vec<(Slot, Revision)>,
    /// Something failed, was refused or was given up since the last success: no document comes from a cache
    /// (DISC-19, META-18).
    pub(crate) doubtful: bool,
    pub(crate) rest: Rest,
    /// Why the token endpoint does not renew the token, while that is not asked again.
    pub(crate) renewal_refused: Option<Box<Cause>>,
    pub(crate) nonces: Nonces,
    /// The algorithms of proofs that the resource named last (DPOP-16).
    pub(crate) dpop_algorithms: Words<SigningAlgorithm>,
    operations: Vec<Attempts>,
    redirects: Option<(MonoMillis, Budget)>,
    /// The machine asked for the user, and no authorization has followed yet.
    pub(crate) user_asked: bool,
    /// The operation for which the last authorization was counted.
    counted: Option<Operation>,
}

/// The party that requests an authorization.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The machine asked for it, since a server refused something: such ones are counted.
    Machine,
    /// A person, unasked.
    Person,
}

/// The scopes of an authorization request that could be at fault when the server refuses its scopes.
#[derive(Default)]
pub(crate) struct Disputable {
    /// Scopes that only earlier requests needed.
    pub(crate) extras: Scopes,
    /// Scopes for which the client was perhaps not registered.
    pub(crate) unregistered: Scopes,
}

/// A resource that no longer lists an issuer.
pub(crate) struct Left {
    pub(crate) from: IssuerId,
    /// The issuer that it lists instead.
    pub(crate) to: IssuerId,
    /// Whether the account slot has it.
    pub(crate) durable: bool,
}

/// What was done for one operation since a request of it was last accepted.
struct Attempts {
    operation: Operation,
    /// Authorizations (STEP-07).
    made: u8,
    /// The token was refreshed for it (USE-08).
    refreshed: bool,
    /// A token was authorized for it (USE-08).
    authorized: bool,
    /// It was authorized although everything it asked for was granted (STEP-09).
    repeated: bool,
    /// A request was repeated with the resource's nonce (DPOP-11).
    nonce_retried: bool,
    /// The user declined (STEP-11).
    declined: bool,
    since: MonoMillis,
}

/// The nonces that servers want to see in proofs, by origin: one server's is never sent to another
/// (DPOP-12).
#[derive(Default)]
pub(crate) struct Nonces(Vec<(Box<str>, Box<str>)>);

impl Nonces {
    pub(crate) fn of(&self, origin: &str) -> Option<Box<str>> {
        let found = self.0.iter().find(|(of, _)| **of == *origin);
        found.map(|(_, nonce)| nonce.clone())
    }

    pub(crate) fn keep(&mut self, origin: &str, nonce: Box<str>) {
        self.0.retain(|(of, _)| **of != *origin);
        if self.0.len() >= ORIGINS_REMEMBERED {
            self.0.remove(0);
        }
        self.0.push((origin.into(), nonce));
    }
}

/// The rest after a renewal that failed for now.
#[derive(Default)]
pub(crate) struct Rest {
    until: MonoMillis,
    /// Why, and until when by the wall clock.
    after: Option<(Cause, UnixMillis)>,
    failures: u32,
}

impl Rest {
    /// A renewal failed: the next one waits, longer each time.
    pub(crate) fn failed(&mut self, now: Moment, retry_after: Option<Duration>, cause: &Cause) {
        let (shortest, longest) = RENEWAL_REST;
        let grown = shortest.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        // A server that asks for less does not get asked more often (L10).
        let wait = grown.min(longest).max(retry_after.unwrap_or_default());
        self.failures = self.failures.saturating_add(1);
        self.until = now.mono.plus(wait);
        let until = UnixMillis(now.wall.0.saturating_add(millis(wait)));
        self.after = Some((cause.clone(), until));
    }

    /// When it ends, by the wall clock.
    pub(crate) fn retry_at(&self) -> Option<UnixMillis> {
        self.after.as_ref().map(|(_, until)| *until)
    }

    /// Why nothing is sent now: the failure that happened, and when the server is asked again.
    pub(crate) fn cause(&self, now: Moment) -> Option<Cause> {
        let (after, until) = self.after.as_ref().filter(|_| now.mono < self.until)?;
        Some(match after {
            Cause::Unreachable(_) => unreachable(Some(*until)),
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
    /// What the resource's metadata says, read just now; whether that is something else than before.
    pub(crate) fn heard(&mut self, facts: &ResourceFacts) -> bool {
        let before = self.said.replace(facts.clone());
        before.is_some_and(|before| !before.says_the_same(facts))
    }

    /// A client that is not used again, although it is still stored.
    pub(crate) fn bury(&mut self, registered: Registered) {
        if self.buried.len() >= METHODS_REMEMBERED {
            self.buried.remove(0);
        }
        self.buried.push(registered);
    }

    /// Whether a stored client is not used again.
    pub(crate) fn is_buried(&self, issuer: &IssuerId, client_id: &str) -> bool {
        self.buried
            .iter()
            .any(|buried| buried.issuer == *issuer && *buried.client_id == *client_id)
    }

    /// A new client was refused with this method.
    pub(crate) fn refuse(&mut self, issuer: &IssuerId, method: AuthMethod) {
        if self.is_refused(issuer, method) {
            return;
        }
        if self.refused_methods.len() >= METHODS_REMEMBERED {
            self.refused_methods.remove(0);
        }
        self.refused_methods.push((issuer.clone(), method));
    }

    /// Whether a new client was refused with this method.
    pub(crate) fn is_refused(&self, issuer: &IssuerId, method: AuthMethod) -> bool {
        self.refused_methods
            .iter()
            .any(|(of, refused)| of == issuer && *refused == method)
    }

    /// A cached document is used, or was just kept.
    pub(crate) fn rely_on(&mut self, slot: Slot, revision: Revision) {
        self.relied_on.retain(|(of, _)| *of != slot);
        if self.relied_on.len() >= DOCUMENTS_RELIED_ON {
            self.relied_on.remove(0);
        }
        self.relied_on.push((slot, revision));
    }

    /// The documents that were relied on until something failed.
    pub(crate) fn distrust(&mut self) -> Vec<(Slot, Revision)> {
        self.doubtful = true;
        self.resource = None;
        std::mem::take(&mut self.relied_on)
    }

    /// A token came: what led to it is believed.
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

    /// Authorizations made for an operation since its last success.
    pub(crate) fn attempts(&self, operation: &Operation, now: MonoMillis) -> u8 {
        self.of(operation, now).map_or(0, |known| known.made)
    }

    /// Whether the token was refreshed for an operation since its last success.
    pub(crate) fn was_refreshed(&self, operation: &Operation, now: MonoMillis) -> bool {
        self.of(operation, now).is_some_and(|known| known.refreshed)
    }

    /// Whether a token was authorized for an operation since its last success.
    pub(crate) fn was_authorized(&self, operation: &Operation, now: MonoMillis) -> bool {
        self.of(operation, now)
            .is_some_and(|known| known.authorized)
    }

    /// Whether a request of an operation was repeated with the resource's nonce.
    pub(crate) fn nonce_retried(&self, operation: &Operation, now: MonoMillis) -> bool {
        let known = self.of(operation, now);
        known.is_some_and(|known| known.nonce_retried)
    }

    /// A request of an operation is repeated with the resource's nonce.
    pub(crate) fn retried_nonce(&mut self, operation: &Operation, now: MonoMillis) {
        if let Some(known) = self.entry(operation, now) {
            known.nonce_retried = true;
        }
    }

    /// Whether the user declined an operation, or it asked again for what it had.
    pub(crate) fn is_hopeless(&self, operation: &Operation, now: MonoMillis, adds: bool) -> bool {
        self.of(operation, now)
            .is_some_and(|known| known.declined || !adds && known.repeated)
    }

    /// What is known of an operation, to be changed; the one known longest makes room.
    fn entry(&mut self, operation: &Operation, now: MonoMillis) -> Option<&mut Attempts> {
        let known = self.of(operation, now).is_some();
        if !known {
            self.forget(operation);
            if self.operations.len() >= OPERATIONS_REMEMBERED {
                self.operations.remove(0);
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

    /// The token was refreshed for an operation.
    pub(crate) fn refreshed(&mut self, operation: Option<&Operation>, now: MonoMillis) {
        self.rest = Rest::default();
        self.believe();
        if let Some(known) = operation.and_then(|operation| self.entry(operation, now)) {
            known.refreshed = true;
        }
    }

    /// An operation is authorized although everything it asks for is granted (STEP-09).
    pub(crate) fn repeats(&mut self, operation: &Operation, now: MonoMillis) {
        if let Some(known) = self.entry(operation, now) {
            known.repeated = true;
        }
    }

    /// The user declined the authorization under way (STEP-11).
    pub(crate) fn declined(&mut self, now: MonoMillis) {
        let operation = self.operation.clone();
        if let Some(known) = operation.and_then(|operation| self.entry(&operation, now)) {
            known.declined = true;
        }
    }

    /// One more authorization: for the operation that asked for it (STEP-07), and at all (E11). One that
    /// the machine did not ask for is a person's own wish, and is not counted.
    pub(crate) fn authorize(
        &mut self,
        wish: Wish,
        operation: Option<&Operation>,
        cap: u8,
        now: MonoMillis,
    ) -> Result<Permit, Limited> {
        self.counted = None;
        if wish == Wish::Person {
            return Ok(Permit::for_a_person());
        }
        if let Some(operation) = operation {
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
        self.counted = operation.cloned();
        Ok(permit)
    }

    /// The last authorization does not count for its operation: the person gave it up, or it failed
    /// because the server had forgotten the client (STEP-07).
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

    /// A new attempt begins: on whose wish.
    pub(crate) fn begin_attempt(&mut self) -> Wish {
        self.counted = None;
        if std::mem::take(&mut self.user_asked) {
            Wish::Machine
        } else {
            Wish::Person
        }
    }

    /// An authorized token was committed: what was asked for is now in the account.
    pub(crate) fn succeeded(&mut self, now: MonoMillis) {
        let operation = self.operation.clone();
        if let Some(known) = operation.and_then(|operation| self.entry(&operation, now)) {
            known.authorized = true;
            known.declined = false;
        }
        self.left = None;
        self.rest = Rest::default();
        self.believe();
        self.scope = None;
        self.offered = None;
        self.client_forgotten = false;
        self.offline_access_refused = false;
        self.scopes_refused = false;
        self.counted = None;
    }

    /// A request of this operation was accepted.
    pub(crate) fn forget(&mut self, operation: &Operation) {
        self.operations
            .retain(|known| known.operation != *operation);
    }
}
