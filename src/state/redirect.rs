//! The redirect of the user: the pending record is stored first, the URL is returned after.

use crate::account::Tokens;
use crate::action::Why;
use crate::budget::Permit;
use crate::config::{PushedRequests, RefreshTokens};
use crate::core::{Ask, Core};
use crate::error::{Cause, Stage, StoreFlaw, Violation};
use crate::event::{Operation, Persistence};
use crate::grant::{Client, ClientOrigin, Redirected, RedirectedParts, Registration, RequestError};
use crate::issuer::{AtIssuer, Endpoint, IssuerId, Server};
use crate::memory::Disputable;
use crate::record::{ResourceFacts, write_pending};
use crate::report::ScopeSource;
use crate::slot::{Revision, Slot};
use crate::state::flow::{Agreed, Redirecting};
use crate::state::pushed::SentAway;
use crate::state::{Attempt, Pushing, Step, Work};
use crate::suspended::{Chosen, Waiting, WaitingParts};
use crate::time::{UnixMillis, half, millis};
use crate::wire::scopes::Scopes;
use crate::wire::words::KnownScope;

const OFFLINE_ACCESS: &str = "offline_access";

/// Returns the scopes for a registration: all known ones, so that a later step-up finds them registered
/// (REG-22). Some servers grant nothing beyond them (QUIRK-25).
pub(crate) fn registration_scopes(
    core: &Core,
    attempt: &Attempt,
    facts: &ResourceFacts,
    at: &AtIssuer<()>,
) -> Scopes {
    let (selected, _, _) = select_scopes(core, attempt, facts, at, None);
    let none = Scopes::default();
    let listed = listed_scopes(core, facts, at).unwrap_or_default();
    let configured = core.config().scopes.as_ref().unwrap_or(&none);
    let challenged = core.memory.demanded.all().unwrap_or(&none);
    selected
        .union(configured)
        .union(challenged)
        .union(&listed)
        .union(&attempt.registered)
}

/// Returns the scopes that the resource lists. A listed `offline_access` alone does not request refresh
/// tokens (SCOPE-07, E07).
fn listed_scopes<T>(core: &Core, facts: &ResourceFacts, at: &AtIssuer<T>) -> Option<Scopes> {
    let listed = facts.scopes.clone()?;
    Some(if wants_offline_access(core, at) {
        listed
    } else {
        listed.without(OFFLINE_ACCESS)
    })
}

/// Chooses the scopes (SCOPE-01 to SCOPE-08, STEP-02): those requested before at the same server for the
/// same client, then those requested now. A scope outside the registration is requested only when the host
/// or a challenge requires it (REG-24). Also returns whether `offline_access` was added.
pub(crate) fn select_scopes<T>(
    core: &Core,
    attempt: &Attempt,
    facts: &ResourceFacts,
    at: &AtIssuer<T>,
    known: Option<&Registration>,
) -> (Scopes, ScopeSource, bool) {
    let none = Scopes::default();
    let left_out = known.map_or(&none, |known| &known.left_out);
    if let Some(scopes) = &attempt.scopes {
        return (scopes.clone(), ScopeSource::Host, false);
    }
    let before = if attempt.narrow {
        Scopes::default()
    } else {
        let known = known.map(|known| (&known.client, &known.left_out));
        requested_before(core, facts, at, known)
    };
    let (asked, source) = asked_now(core, facts, at, left_out);
    let scopes = before.union(&asked);
    let adds = !left_out.contains(OFFLINE_ACCESS)
        && wants_offline_access(core, at)
        && !scopes.is_empty()
        && !scopes.contains(OFFLINE_ACCESS)
        && !core.memory.offline_access_refused;
    if adds {
        let added = Scopes::from_items([OFFLINE_ACCESS]);
        (scopes.union(&added), source, true)
    } else {
        (scopes, source, false)
    }
}

/// Returns true when the host stores refresh tokens and the server lists the scope for them (SCOPE-06).
fn wants_offline_access<T>(core: &Core, at: &AtIssuer<T>) -> bool {
    core.config().refresh_tokens == RefreshTokens::Wanted
        && at.server().facts().scopes.has(KnownScope::OfflineAccess)
}

/// Returns the scopes of a token request without a user: those requested before, then those requested now.
pub(crate) fn asked_scopes(
    core: &Core,
    facts: &ResourceFacts,
    at: &AtIssuer<Client>,
) -> (Scopes, ScopeSource) {
    let none = Scopes::default();
    let before = requested_before(core, facts, at, Some((at.held(), &none)));
    let (asked, source) = asked_now(core, facts, at, &Scopes::default());
    (before.union(&asked), source)
}

/// Returns the scopes of the host's configuration and of the challenge together, because a challenge is
/// authoritative for its operation (SCOPE-03); otherwise those that the resource lists.
fn asked_now<T>(
    core: &Core,
    facts: &ResourceFacts,
    at: &AtIssuer<T>,
    left_out: &Scopes,
) -> (Scopes, ScopeSource) {
    match (&core.config().scopes, core.memory.demanded.all()) {
        (Some(base), Some(challenged)) => (base.union(challenged), ScopeSource::Challenge),
        (None, Some(challenged)) => (challenged.clone(), ScopeSource::Challenge),
        (Some(base), None) => (base.clone(), ScopeSource::Host),
        (None, None) => match listed_scopes(core, facts, at) {
            Some(listed) => (listed.minus(left_out), ScopeSource::ResourceMetadata),
            None => (Scopes::default(), ScopeSource::Nobody),
        },
    }
}

/// Returns the scopes that this client, or for `None` the one about to be registered, requested before at the same server
/// and resource (STEP-02, STEP-03). After a request without scopes: the granted defaults, which would be lost otherwise
/// (DIS-20). Other granted scopes are not requested, because some servers grant scopes that they reject in a request.
///
/// The registrations of the machine at one server are one client: its user agreed to the scopes, whichever of them the
/// server knows. Those that were left out of the answer to a new registration are not requested (REG-24).
fn requested_before<T>(
    core: &Core,
    facts: &ResourceFacts,
    at: &AtIssuer<T>,
    client: Option<(&Client, &Scopes)>,
) -> Scopes {
    let Some(account) = core
        .held
        .at
        .as_deref()
        .filter(|held| held.issuer() == at.issuer() && held.held().resource.id == facts.id)
    else {
        return Scopes::default();
    };
    let account = account.held();
    let before = if account.requested.is_empty() {
        &account.granted
    } else {
        &account.requested
    };
    let registers = account.client.origin == ClientOrigin::Dynamic;
    match client {
        Some((client, _)) if client.id == account.client.id => before.clone(),
        Some((client, left_out)) if registers && client.origin == ClientOrigin::Dynamic => {
            before.minus(left_out)
        }
        None if registers => before.clone(),
        Some(_) | None => Scopes::default(),
    }
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
    let issuer = at.issuer().clone();
    let now = core.now;
    let user_time = core.config().user_time;
    let (verifier, state) = seed.split();
    let slot = Slot::pending(core.identity.principal(), state.digest());
    let expires = UnixMillis(now.wall.0.saturating_add(millis(user_time)));
    let at = at.then(|known| {
        Redirected(Box::new(RedirectedParts {
            state,
            verifier,
            redirect_uri: uri.shared(),
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
    let settings = core.config().settings(&issuer);
    let url = if is_pushed(core, at.server()) {
        at.reference_url("").map(|_| None)
    } else {
        at.redirect_url(settings).map(Some)
    };
    let widens = core.held.at.is_some() && !core.held.has_scopes(&at.held().0.requested);
    let url = match url {
        Ok(url) => url,
        Err(error) => {
            return Err(crate::error::Failure {
                operation,
                stage: Stage::Authorization,
                issuer: Some(issuer),
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
    let new_issuer = is_new(core, &issuer);
    core.memory.operation.clone_from(&operation);
    Ok(Work::SavingPending(SavingPending {
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
                repeated_until: now.mono.plus(half(user_time)),
                read_at: now.mono,
                next: Some(now.mono.plus(user_time)),
                looks: 0,
                before: core.held.tokens().map(Tokens::issuance),
                widens,
                expires,
                new_issuer,
            },
        }),
    }))
}

/// Returns true when the user has no account of this issuer here (ISO-09).
pub(crate) fn is_new(core: &Core, issuer: &IssuerId) -> bool {
    let held = core.held.at.as_ref();
    held.is_none_or(|held| held.issuer() != issuer)
}

/// Returns those of the scopes that another request could omit, or register for.
pub(crate) fn disputable(
    core: &Core,
    scopes: &Scopes,
    facts: &ResourceFacts,
    at: &AtIssuer<Registration>,
) -> Disputable {
    let (needed, _) = asked_now(core, facts, at, &Scopes::default());
    let known = at.held();
    Disputable {
        // Without required scopes, no smaller request exists.
        extras: if needed.is_empty() {
            Scopes::default()
        } else {
            scopes.minus(&needed).without(OFFLINE_ACCESS)
        },
        unregistered: match known.client.origin {
            ClientOrigin::Dynamic => known.lacks(scopes, true),
            ClientOrigin::PreRegistered | ClientOrigin::MetadataDocument => Scopes::default(),
        },
    }
}

/// Returns the reason for another authorization after the server rejected scopes: one without the
/// `offline_access` that the machine added, then, once, one that registers for the scopes or omits those of
/// earlier requests (9.1).
pub(crate) fn without_refused_scopes(core: &mut Core, added_offline_access: bool) -> Option<Why> {
    if added_offline_access && !core.memory.offline_access_refused {
        core.memory.offline_access_refused = true;
        return Some(Why::OfflineAccessRefused);
    }
    let Disputable {
        extras,
        unregistered,
    } = std::mem::take(&mut core.memory.disputable);
    let disputed = unregistered.union(&extras);
    if core.memory.scopes_refused || disputed.is_empty() {
        return None;
    }
    core.memory.scopes_refused = true;
    Some(Why::ScopesRefused { scopes: disputed })
}

/// Returns true when the parameters are pushed (AUTHZ-20, AUTHZ-21).
pub(crate) fn is_pushed(core: &Core, server: &Server) -> bool {
    let facts = server.facts();
    let wanted = match core.config().pushed_requests {
        PushedRequests::WhenRequired => facts.requires_par,
        PushedRequests::WhenOffered => true,
    };
    wanted && facts.endpoints.has(Endpoint::PushedAuthorization)
}

/// Holds the URL back until the record is durable (ISS-01, S16).
pub(crate) struct SavingPending {
    pub(crate) ask: Ask,
    pub(crate) operation: Option<Operation>,
    /// `None` when the request is pushed.
    url: Option<Box<str>>,
    permit: Permit,
    waiting: Box<Waiting>,
}

impl SavingPending {
    /// Returns the authorization.
    pub(crate) fn redirected(&self) -> &Redirected {
        self.waiting.at.held()
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
                        Ok(Work::Idle)
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
        Err(crate::error::Failure {
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
    Ok(Work::Idle)
}
