//! Bounded history between events: challenge hints, attempt counters, back-off, nonces.

mod attempts;
mod nonces;
mod rest;

use std::num::NonZeroU64;

use crate::budget::{Budget, DOCUMENTS_RELIED_ON, FAILURE_MEMORY, JUST_READ};
use crate::clients::Clients;
use crate::demanded::Demanded;
use crate::error::Cause;
use crate::event::Operation;
use crate::few::Few;
use crate::issuer::IssuerId;
use crate::record::ResourceFacts;
use crate::slot::{AuthorizationId, Revision, Slot};
use crate::time::{Moment, MonoMillis};
use crate::wire::scopes::Scopes;
use crate::wire::url::WebUrl;
use crate::wire::words::{SigningAlgorithm, Words};
use crate::wish::Question;

use attempts::Attempts;
pub(crate) use nonces::Nonces;
pub(crate) use rest::Rest;

#[derive(Default)]
pub(crate) struct Memory {
    /// The metadata locations that the MCP server announced. A challenge without one erases none.
    pub(crate) resource_metadata: Few<WebUrl>,
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
    /// The scopes of the last authorization request that another one could omit or register for; `None` without any.
    pub(crate) disputable: Option<Box<Disputable>>,
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
    operations: Few<Attempts>,
    redirects: Option<(MonoMillis, Budget)>,
    pub(crate) question: Question,
    /// Whether the store still holds the account of a user who signed out (REV-03).
    pub(crate) erasure: Erasure,
    /// The operation that the last authorization was counted for.
    counted: Option<Operation>,
}

/// The scopes of an authorization request that may cause `invalid_scope`.
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
    /// The store did not confirm that of this record: it is repeated before anything else.
    Failed(Remnant),
    /// It was just repeated, and failed again.
    FailedAgain(Remnant),
}

/// An account that a sign-out could not erase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remnant {
    /// The revision of its record; `None` if the record could not be read.
    pub(crate) revision: Option<Revision>,
    /// The authorization that brought its tokens, if it is known.
    pub(crate) authorization: Option<AuthorizationId>,
    /// Whether that was read after the user had signed out: any other authorization is then a later one.
    pub(crate) was_read: bool,
    /// When the user signed out: its authorization came before.
    pub(crate) signed_out: Moment,
}

/// An issuer that the resource no longer lists.
pub(crate) struct Left {
    pub(crate) from: IssuerId,
    /// The issuer that is listed instead.
    pub(crate) to: IssuerId,
    /// Whether the account slot records the change.
    pub(crate) durable: bool,
}

impl Memory {
    /// Records the resource's metadata; returns true if it differs from the previous one.
    pub(crate) fn heard(&mut self, facts: &ResourceFacts) -> bool {
        let before = self.said.replace(facts.clone());
        before.is_some_and(|before| !before.says_the_same(facts))
    }

    /// Returns the operation of the latest request, or a name for what a person has asked for.
    pub(crate) fn operation_of_a_person(&self) -> Operation {
        let operation = self.operation.clone();
        operation.unwrap_or_else(|| "authorize".into())
    }

    /// Returns true if the resource's metadata was read a moment ago, and the account slot records what it said.
    pub(crate) fn has_just_read_the_resource(&self, now: MonoMillis) -> bool {
        let read = self.resource.as_ref();
        let recent = read.is_some_and(|read| now < read.0.plus(JUST_READ));
        recent && self.has_recorded_the_move()
    }

    /// Returns true unless the account slot does not say yet that the resource has left the account's issuer.
    pub(crate) fn has_recorded_the_move(&self) -> bool {
        self.left.as_ref().is_none_or(|left| left.durable)
    }

    /// Returns the memory of a machine whose user has signed out: facts about registrations and the resource stay.
    pub(crate) fn after_sign_out(&mut self) -> Self {
        Self {
            clients: std::mem::take(&mut self.clients),
            resource_metadata_seen: self.resource_metadata_seen,
            said: self.said.take(),
            left: self.left.take(),
            erasure: self.erasure,
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

    /// Records a refresh for an operation.
    pub(crate) fn refreshed(&mut self, operation: Option<&Operation>, now: MonoMillis) {
        self.rest = Rest::default();
        self.renewal_refused = None;
        self.believe();
        if let Some(operation) = operation {
            self.refreshed_for(operation, now);
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

    /// Records that an authorized token, of this digest, was stored; the account contains the requested scopes, and all that were demanded,
    /// or not: the sign-in may be one that another instance began.
    pub(crate) fn succeeded(&mut self, token: Option<NonZeroU64>, now: MonoMillis, has_all: bool) {
        self.authorized(token, now);
        self.rest = Rest::default();
        self.renewal_refused = None;
        self.believe();
        // An `Authorize` that waits may have agreed to what this token lacks.
        if self.question.signed_in(has_all) && has_all {
            self.demanded.clear();
        }
        self.offered = None;
        self.client_forgotten = MonoMillis::default();
        self.offline_access_refused = false;
        self.scopes_refused = false;
        self.counted = None;
    }
}
