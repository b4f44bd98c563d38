//! The last step of an attempt: with its client, it chooses scopes, key and resource, is counted, and goes to the user.

use crate::clients::Registered;
use crate::config::ResourceParameter;
use crate::core::Core;
use crate::error::{Cause, Failure, Stage};
use crate::grant::{Registration, Resource};
use crate::issuer::{AtIssuer, IssuerId, ServerSource};
use crate::record::ResourceFacts;
use crate::report::Decision;
use crate::state::Step;
use crate::state::attempt::{Attempt, Way};
use crate::state::client::flow::Met;
use crate::state::sign_in::device::RequestingCode;
use crate::state::sign_in::redirect::{Redirecting, redirect};
use crate::state::sign_in::repeat::CheckingPending;
use crate::state::sign_in::scopes::{disputable, select_scopes};
use crate::suspended::{Agreed, Chosen};

/// Sends the user to the server with the chosen client. A redirect that is out already is repeated when it is the one that
/// would be made now; otherwise this one takes its place (AUTHZ-18).
pub(crate) fn send_user(core: &mut Core, met: Met, at: AtIssuer<Registration>) -> Step {
    let Met {
        attempt,
        facts,
        flow,
    } = met;
    let chosen = choose(core, &attempt, facts, &at)?;
    core.memory.clients.last = Registered::of(&at, || attempt.way.shared_registration());
    if let Some(waiting) = &core.waiting
        && waiting.is_timely(core.now.mono)
        && waiting.is_asked_for(&at, &chosen, flow.advertises_iss)
    {
        return CheckingPending::again(core);
    }
    // Documents that are wrong for a moment, and too many attempts, leave the redirect that is out.
    let agreed = agree(core, &attempt, chosen, at.issuer())?;
    core.stop_waiting();
    match attempt.way {
        Way::Redirect { seed, uri, browser } => {
            let way = Redirecting {
                beside_account: core.held.at.is_some(),
                seed,
                uri,
                browser,
                advertises_iss: flow.advertises_iss,
                registration: attempt.registration,
            };
            redirect(core, way, agreed, at)
        }
        Way::Device => RequestingCode::begin(core, agreed, at),
    }
}

/// Chooses scopes, key and resource.
fn choose(
    core: &mut Core,
    attempt: &Attempt,
    facts: ResourceFacts,
    at: &AtIssuer<Registration>,
) -> Result<Chosen, Failure> {
    let issuer = at.issuer();
    let client = &at.held().client;
    let (origin, method) = (client.origin, client.method.as_str());
    core.report(|| Decision::ClientChosen {
        issuer: issuer.clone(),
        origin,
        method,
    });
    let (scopes, source, added_offline_access) =
        select_scopes(core, attempt, &facts, at, Some(at.held()));
    core.memory.disputable = disputable(core, &scopes, &facts, at);
    core.report(|| Decision::ScopesChosen {
        scopes: scopes.clone(),
        source,
    });
    let binding = match crate::state::dpop::choose(core, at.server(), &facts) {
        Ok(binding) => binding,
        Err(cause) => return Err(attempt.fails(Stage::ServerMetadata, Some(issuer), cause)),
    };
    let legacy_omits = at.server().facts().source != ServerSource::Metadata
        && core.config().legacy.omits_resource();
    let resource = Resource {
        id: core.config().resource_as(&facts.id),
        sent: core.config().settings(issuer).resource == ResourceParameter::Send && !legacy_omits,
    };
    Ok(Chosen {
        scopes,
        added_offline_access,
        binding,
        resource,
    })
}

/// Counts the authorization (STEP-07).
fn agree(
    core: &mut Core,
    attempt: &Attempt,
    chosen: Chosen,
    issuer: &IssuerId,
) -> Result<Agreed, Failure> {
    let cap = core.config().authorizations_per_operation();
    let operation = attempt.effort.operation.as_ref();
    let now = core.now.mono;
    let permit = core
        .memory
        .authorize(attempt.wish, operation, cap, now)
        .map_err(|limited| {
            let cause = Cause::OutOfPatience(limited);
            attempt.fails(Stage::Authorization, Some(issuer), cause)
        })?;
    Ok(Agreed {
        operation: attempt.effort.operation.clone(),
        permit,
        chosen,
    })
}
