//! The redirect of the user: the pending record is stored first, the URL is returned after.

use crate::budget::Permit;
use crate::config::RedirectUri;
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Stage, StoreFlaw, Violation};
use crate::event::{Operation, Persistence};
use crate::grant::{Redirected, RedirectedParts, Registration, RequestError};
use crate::issuer::{AtIssuer, IssuerId};
use crate::record::write_pending;
use crate::slot::{Revision, Slot};
use crate::state::client::flow::{is_new, is_pushed};
use crate::state::client::new_registration::NewRegistration;
use crate::state::sign_in::pushed::{Pushing, SentAway};
use crate::state::{Step, Work, done, wait_in};
use crate::suspended::{Agreed, Chosen, Waiting, WaitingParts};
use crate::time::{UnixMillis, millis};
use crate::wire::callback::BrowserBinding;
use crate::wire::pkce::Seed;

/// The parts of an attempt that a redirect needs.
pub(crate) struct Redirecting {
    pub(crate) seed: Seed,
    pub(crate) uri: RedirectUri,
    pub(crate) browser: Option<BrowserBinding>,
    pub(crate) advertises_iss: bool,
    /// Whether the authorization begins beside a stored account (REFR-12).
    pub(crate) beside_account: bool,
    /// The registration of the client, if it is being stored.
    pub(crate) registration: Option<NewRegistration>,
}

/// Builds the authorization request and stores its pending record.
pub(crate) fn redirect(
    core: &mut Core,
    way: Redirecting,
    agreed: Agreed,
    at: AtIssuer<Registration>,
) -> Step {
    let Redirecting {
        seed,
        uri,
        browser,
        advertises_iss,
        beside_account,
        registration,
    } = way;
    let Agreed {
        operation,
        permit,
        chosen,
    } = agreed;
    let Chosen {
        scopes,
        added_offline_access,
        binding,
        resource,
    } = chosen;
    let now = core.now;
    let user_time = core.config().user_time;
    let (verifier, state) = seed.split();
    let slot = Slot::pending(core.identity.principal(), state.digest());
    let expires = UnixMillis(now.wall.0.saturating_add(millis(user_time)));
    let at = at.then(|known| {
        Redirected(Box::new(RedirectedParts {
            state,
            verifier,
            redirect_uri: uri.sent().clone(),
            client: known.client,
            resource,
            requested: scopes,
            advertises_iss,
            added_offline_access,
            browser,
            binding,
            beside_account,
            created: now.wall,
            expires,
        }))
    });
    let settings = core.config().settings(at.issuer());
    let url = if is_pushed(core, at.server()) {
        at.reference_url("").map(|_| None)
    } else {
        at.redirect_url(settings).map(Some)
    };
    let widens = core.held.at.is_some() && !core.held.has_scopes(&at.held().0.requested);
    let url = match url {
        Ok(url) => url,
        Err(error) => {
            return Err(Failure {
                operation,
                stage: Stage::Authorization,
                issuer: Some(at.issuer().clone()),
                cause: Cause::Violation(match error {
                    RequestError::NoEndpoint => Violation::NoAuthorizationEndpoint,
                    RequestError::Reserved(name) => Violation::ReservedParameter { name },
                    RequestError::TooLong(bytes) => Violation::RequestTooLong { bytes },
                }),
                seen: Vec::new(),
            });
        }
    };
    let stored = write_pending(&core.identity, &at);
    let revision = stored.revision;
    let ask = core.persist(slot, None, Some(stored), Some(expires));
    let new_issuer = is_new(core, at.issuer());
    core.memory.operation.clone_from(&operation);
    let pending = SavingPending {
        ask,
        operation,
        url,
        permit,
        waiting: Box::new(Waiting {
            at,
            rest: WaitingParts {
                slot,
                revision,
                until: now.mono.plus(user_time),
                read_at: now.mono,
                next: Some(now.mono.plus(user_time)),
                looks: 0,
                before: core.held.authorization(),
                renewed: None,
                widens,
                new_issuer,
            },
        }),
    };
    wait_in(match registration {
        Some(registration) => SavingBoth::begin(registration, pending),
        None => Work::SavingPending(pending),
    })
}

/// Waits for the write of a new registration beside that of the pending record. Neither depends on the other; the redirect
/// depends on both (REG-28).
///
/// A crash between the two writes loses nothing. Without the pending record, the next authorization uses the registration.
/// Without the registration, the record belongs to a redirect that was never sent, and expires.
pub(crate) struct SavingBoth {
    /// The write of the registration.
    pub(crate) ask: Ask,
    /// The slot of the registration.
    slot: Slot,
    pub(crate) pending: SavingPending,
    /// The result of the write of the pending record, if it came first.
    result: Option<Persistence>,
}

impl SavingBoth {
    pub(crate) fn begin(registration: NewRegistration, pending: SavingPending) -> Work {
        let NewRegistration { ask, slot } = registration;
        Work::SavingBoth(Self {
            ask,
            slot,
            pending,
            result: None,
        })
    }

    /// Keeps the result of the write of the pending record, which came first.
    pub(crate) fn recorded(&mut self, outcome: Persistence) {
        self.result = Some(outcome);
    }

    pub(crate) fn persisted(self, core: &mut Core, outcome: Persistence) -> Step {
        match outcome {
            // After a conflict, the registration that another process made at the same time serves later authorizations, also if
            // only a newer version can read it. This one keeps its own client, which the pending record contains (REG-28).
            Persistence::Done | Persistence::Conflict(_) => core.memory.clients.made(self.slot),
            Persistence::Failed => return self.not_registered(core),
        }
        match self.result {
            Some(outcome) => self.pending.persisted(core, outcome),
            None => wait_in(Work::SavingPending(self.pending)),
        }
    }

    /// Fails the attempt, whose pending record is of no use.
    fn not_registered(self, core: &mut Core) -> Step {
        let (slot, revision) = self.pending.slot();
        core.persist(slot, Some(revision), None, None);
        // The user was not sent away.
        core.memory.give_back();
        Err(Failure {
            issuer: Some(self.pending.issuer().clone()),
            operation: self.pending.operation,
            stage: Stage::Registration,
            cause: Cause::NotPersisted(StoreFlaw::Write),
            seen: Vec::new(),
        })
    }
}

/// Holds the URL back until the record is durable (ISS-01, S16).
pub(crate) struct SavingPending {
    pub(crate) ask: Ask,
    pub(crate) operation: Option<Operation>,
    /// `None` when the request is pushed.
    url: Option<String>,
    permit: Permit,
    waiting: Box<Waiting>,
}

impl SavingPending {
    /// Returns the authorization.
    pub(crate) fn redirected(&self) -> &Redirected {
        self.waiting.at.held()
    }

    pub(crate) fn issuer(&self) -> &IssuerId {
        self.waiting.at.issuer()
    }

    /// Returns the slot of the pending record.
    pub(crate) fn slot(&self) -> (Slot, Revision) {
        (self.waiting.rest.slot, self.waiting.rest.revision)
    }

    pub(crate) fn persisted(self, core: &mut Core, outcome: Persistence) -> Step {
        let outcome = match outcome {
            // The store repeated the write, and found what it had written.
            Persistence::Conflict(Some(stored))
                if stored.revision == self.waiting.rest.revision =>
            {
                Persistence::Done
            }
            other @ (Persistence::Done | Persistence::Failed | Persistence::Conflict(_)) => other,
        };
        let flaw = match outcome {
            Persistence::Done => {
                return match self.url {
                    Some(url) => {
                        self.waiting.announce(core, url, self.permit);
                        core.waiting = Some(self.waiting);
                        done()
                    }
                    None => {
                        let Waiting { at, rest } = *self.waiting;
                        Pushing::begin(core, at, Box::new(rest), self.operation, SentAway::NotYet)
                    }
                };
            }
            Persistence::Failed => StoreFlaw::Write,
            Persistence::Conflict(_) => StoreFlaw::Conflict,
        };
        // The user was not sent away.
        core.memory.give_back();
        Err(Failure {
            operation: self.operation,
            stage: Stage::Authorization,
            issuer: Some(self.waiting.at.issuer().clone()),
            cause: Cause::NotPersisted(flaw),
            seen: Vec::new(),
        })
    }
}

/// Repeats the pending redirect, whose documents were just read again.
pub(crate) fn repeat_as_read(core: &mut Core) -> Step {
    let now = core.now.mono;
    if let Some(waiting) = &mut core.waiting {
        waiting.rest.read_at = now;
    }
    repeat_redirect(core)
}

/// Repeats the pending redirect: one authorization at a time (AUTHZ-18).
pub(crate) fn repeat_redirect(core: &mut Core) -> Step {
    if let Some(waiting) = core.waiting.take() {
        if is_pushed(core, waiting.at.server()) {
            // A reference is single-use (AUTHZ-21): the same request is pushed again.
            let Waiting { at, rest } = *waiting;
            let operation = core.memory.operation.clone();
            return Pushing::begin(core, at, Box::new(rest), operation, SentAway::Before);
        }
        let settings = core.config().settings(waiting.at.issuer());
        if let Ok(url) = waiting.at.redirect_url(settings) {
            waiting.emit(core, url);
        }
        core.waiting = Some(waiting);
    }
    done()
}
