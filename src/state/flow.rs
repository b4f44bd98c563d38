//! The flow for a user at one server: the authorization code flow, or the device authorization grant. Both
//! choose a client and scopes alike.

use std::sync::Arc;

use crate::budget::Permit;
use crate::clients::Registered;
use crate::config::{IssParameter, PkceSupport, RedirectUri, ResourceParameter};
use crate::core::Core;
use crate::error::{Cause, Failure, Misconfiguration, Stage, Violation};
use crate::event::Operation;
use crate::grant::{Registration, Resource};
use crate::issuer::{AtIssuer, Endpoint, IssuerId, Server, ServerSource};
use crate::record::ResourceFacts;
use crate::report::Decision;
use crate::state::attempt::Way;
use crate::state::client::Met;
use crate::state::device::RequestingCode;
use crate::state::redirect::{disputable, redirect, select_scopes};
use crate::state::{Attempt, CheckingPending, Step};
use crate::suspended::Chosen;
use crate::wire::callback::BrowserBinding;
use crate::wire::pkce::Seed;
use crate::wire::words::{ChallengeMethod, GrantType, ResponseType};

/// Proof that a server supports the flow of an attempt; required to send the user there.
pub(crate) struct Flow {
    advertises_iss: bool,
}

impl Flow {
    pub(crate) fn check(core: &mut Core, way: &Way, server: &Server) -> Result<Self, Cause> {
        match way {
            Way::Redirect { .. } => Self::of_redirect(core, server),
            Way::Device => Self::of_device(core, server),
        }
    }

    /// Checks the authorization code flow.
    fn of_redirect(core: &mut Core, server: &Server) -> Result<Self, Cause> {
        let issuer = server.issuer().clone();
        let settings = core.config().settings(&issuer).clone();
        let facts = server.facts();
        let applied = |core: &mut Core, setting| {
            let issuer = issuer.clone();
            core.report(|| Decision::SettingApplied { issuer, setting });
        };
        if facts.requires_par && !facts.endpoints.has(Endpoint::PushedAuthorization) {
            return Err(Cause::Misconfigured(
                Misconfiguration::PushedRequestsRequired,
            ));
        }
        let Some(endpoint) = &facts.authorization_endpoint else {
            return Err(Cause::Violation(Violation::NoAuthorizationEndpoint));
        };
        let offered = facts.response_types.allows(ResponseType::Code)
            && facts.grant_types.allows(GrantType::AuthorizationCode);
        if !offered {
            return Err(Cause::Violation(Violation::NoCodeGrant));
        }
        let methods = facts.challenge_methods;
        let guessed = facts.source == ServerSource::LegacyDefaults;
        if !methods.has(ChallengeMethod::S256) && !guessed {
            if settings.pkce == PkceSupport::AsAdvertised || methods.is_listed() {
                return Err(Cause::Violation(Violation::NoPkce));
            }
            applied(core, "pkce");
        }
        let pinned_silent = settings.iss == IssParameter::NotSent && facts.advertises_iss;
        if pinned_silent {
            applied(core, "iss");
        }
        let advertises_iss = facts.advertises_iss && !pinned_silent;
        let own_origin = issuer.is_at_origin_of(endpoint);
        if !own_origin && !advertises_iss {
            if settings.authorization_origin.as_deref() != Some(endpoint.origin()) {
                return Err(Cause::Violation(Violation::AuthorizationOrigin {
                    endpoint: endpoint.clone(),
                }));
            }
            applied(core, "authorization_origin");
        }
        if settings.resource == ResourceParameter::Omit {
            applied(core, "resource");
        }
        Ok(Self { advertises_iss })
    }

    /// Checks the device authorization grant: its endpoint, and the grant where the server lists grants
    /// (DEV-02). No response of it passes through a browser.
    fn of_device(core: &mut Core, server: &Server) -> Result<Self, Cause> {
        let facts = server.facts();
        let offered = facts.endpoints.has(Endpoint::DeviceAuthorization)
            && (facts.grant_types.has(GrantType::DeviceCode) || !facts.grant_types.is_listed());
        if !offered {
            return Err(Cause::Misconfigured(Misconfiguration::NoDeviceGrant));
        }
        let issuer = server.issuer().clone();
        if core.config().settings(&issuer).resource == ResourceParameter::Omit {
            let setting = "resource";
            core.report(|| Decision::SettingApplied { issuer, setting });
        }
        Ok(Self {
            advertises_iss: false,
        })
    }
}

/// The parts of an attempt that a redirect needs.
pub(crate) struct Redirecting {
    pub(crate) seed: Seed,
    pub(crate) uri: RedirectUri,
    pub(crate) browser: Option<BrowserBinding>,
    pub(crate) advertises_iss: bool,
    /// Whether the authorization begins beside a stored account (REFR-12).
    pub(crate) beside_account: bool,
}

/// The parameters of the request to the user, with the permit for it.
pub(crate) struct Agreed {
    pub(crate) operation: Option<Operation>,
    pub(crate) permit: Permit,
    pub(crate) chosen: Chosen,
}

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
        return Ok(CheckingPending::again(core));
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
    let issuer = at.issuer().clone();
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
    let binding = match super::bound::choose(core, at.server(), &facts) {
        Ok(binding) => binding,
        Err(cause) => return Err(attempt.fails(Stage::ServerMetadata, Some(&issuer), cause)),
    };
    let legacy_omits = at.server().facts().source != ServerSource::Metadata
        && core.config().legacy.omits_resource();
    let resource = Resource {
        id: Arc::clone(&facts.id),
        sent: core.config().settings(&issuer).resource == ResourceParameter::Send && !legacy_omits,
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
