//! The choice of scopes (SCOPE, STEP-02), and what a refused request may omit (9.1).

use crate::action::Why;
use crate::config::RefreshTokens;
use crate::core::Core;
use crate::grant::{Client, ClientOrigin, Registration};
use crate::issuer::AtIssuer;
use crate::memory::Disputable;
use crate::record::ResourceFacts;
use crate::report::ScopeSource;
use crate::state::attempt::Attempt;
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
    let listed = listed_scopes(core, facts, at).unwrap_or_default();
    let configured = core.config().scopes.as_ref();
    let challenged = core.memory.demanded.all();
    let selected = configured
        .into_iter()
        .chain(challenged)
        .fold(selected, Scopes::and);
    selected.and(&listed).and(&attempt.registered)
}

/// Returns the scopes that the resource lists. A listed `offline_access` alone does not request refresh
/// tokens (SCOPE-07, E07).
fn listed_scopes<T>(core: &Core, facts: &ResourceFacts, at: &AtIssuer<T>) -> Option<Scopes> {
    let listed = facts.scopes.as_ref()?;
    Some(if wants_offline_access(core, at) {
        listed.clone()
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
    let left_out = known.map(|known| &known.left_out);
    if let Some(scopes) = &attempt.scopes {
        return (scopes.clone(), ScopeSource::Host, false);
    }
    let client = known.map(|known| (&known.client, left_out));
    let before = requested_before(core, facts, at, client).filter(|_| !attempt.narrow);
    let (asked, source) = asked_now(core, facts, at, left_out);
    let scopes = first(before, asked);
    let adds = !left_out.is_some_and(|left_out| left_out.contains(OFFLINE_ACCESS))
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
    let before = requested_before(core, facts, at, Some((at.held(), None)));
    let (asked, source) = asked_now(core, facts, at, None);
    (first(before, asked), source)
}

/// Returns the scopes that were requested before, if there are any, then those requested now.
fn first(before: Option<Scopes>, asked: Scopes) -> Scopes {
    match before {
        Some(before) => before.and(&asked),
        None => asked,
    }
}

/// Returns the scopes of the host's configuration and of the challenge together, because a challenge is
/// authoritative for its operation (SCOPE-03); otherwise those that the resource lists.
fn asked_now<T>(
    core: &Core,
    facts: &ResourceFacts,
    at: &AtIssuer<T>,
    left_out: Option<&Scopes>,
) -> (Scopes, ScopeSource) {
    match (&core.config().scopes, core.memory.demanded.all()) {
        (Some(base), Some(challenged)) => (base.union(challenged), ScopeSource::Challenge),
        (None, Some(challenged)) => (challenged.clone(), ScopeSource::Challenge),
        (Some(base), None) => (base.clone(), ScopeSource::Host),
        (None, None) => match listed_scopes(core, facts, at) {
            Some(listed) => {
                let listed = left_out.into_iter().fold(listed, Scopes::less);
                (listed, ScopeSource::ResourceMetadata)
            }
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
    client: Option<(&Client, Option<&Scopes>)>,
) -> Option<Scopes> {
    let account = core.held.at.as_deref().filter(|held| {
        held.issuer() == at.issuer() && held.held().resource.id.as_str() == &*facts.id
    })?;
    let account = account.held();
    let before = if account.requested.is_empty() {
        &account.granted
    } else {
        &account.requested
    };
    let registers = account.client.origin == ClientOrigin::Dynamic;
    match client {
        Some((client, _)) if client.id == account.client.id => Some(before.clone()),
        Some((client, left_out)) if registers && client.origin == ClientOrigin::Dynamic => {
            Some(left_out.into_iter().fold(before.clone(), Scopes::less))
        }
        None if registers => Some(before.clone()),
        Some(_) | None => None,
    }
}

/// Returns those of the scopes that another request could omit, or register for; `None` if there are none.
pub(crate) fn disputable(
    core: &Core,
    scopes: &Scopes,
    facts: &ResourceFacts,
    at: &AtIssuer<Registration>,
) -> Option<Box<Disputable>> {
    let (needed, _) = asked_now(core, facts, at, None);
    let known = at.held();
    // Without required scopes, no smaller request exists.
    let extras = if needed.is_empty() || needed == *scopes {
        Scopes::default()
    } else {
        scopes.minus(&needed).without(OFFLINE_ACCESS)
    };
    let unregistered = match known.client.origin {
        ClientOrigin::Dynamic => known.lacks(scopes, true),
        ClientOrigin::PreRegistered | ClientOrigin::MetadataDocument => Scopes::default(),
    };
    let some = !extras.is_empty() || !unregistered.is_empty();
    some.then(|| {
        Box::new(Disputable {
            extras,
            unregistered,
        })
    })
}

/// Returns the reason for another authorization after the server rejected scopes: one without the
/// `offline_access` that the machine added, then, once, one that registers for the scopes or omits those of
/// earlier requests (9.1).
pub(crate) fn without_refused_scopes(core: &mut Core, added_offline_access: bool) -> Option<Why> {
    if added_offline_access && !core.memory.offline_access_refused {
        core.memory.offline_access_refused = true;
        return Some(Why::OfflineAccessRefused);
    }
    let disputable = core.memory.disputable.take()?;
    if core.memory.scopes_refused {
        return None;
    }
    core.memory.scopes_refused = true;
    let disputed = disputable.unregistered.union(&disputable.extras);
    Some(Why::ScopesRefused { scopes: disputed })
}
