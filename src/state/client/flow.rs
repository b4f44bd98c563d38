//! The flow for a user at one server: the authorization code flow, or the device authorization grant. Both
//! choose a client and scopes alike.

use crate::config::{IssParameter, PkceSupport, PushedRequests, ResourceParameter};
use crate::core::Core;
use crate::error::{Cause, Misconfiguration, Violation};
use crate::issuer::{Endpoint, IssuerId, Server, ServerSource};
use crate::record::ResourceFacts;
use crate::report::Decision;
use crate::state::attempt::{Attempt, Way};
use crate::wire::words::{ChallengeMethod, GrantType, ResponseType};

/// Proof that a server supports the flow of an attempt; required to send the user there.
pub(crate) struct Flow {
    pub(crate) advertises_iss: bool,
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
        let Some(endpoint) = facts.endpoints.authorization() else {
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
                    endpoint: endpoint.to_web_url(),
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

/// An authorization server that supports the code flow, and the attempt that selected it.
pub(crate) struct Met {
    pub(crate) attempt: Box<Attempt>,
    pub(crate) facts: ResourceFacts,
    pub(crate) flow: Flow,
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

/// Returns true when the user has no account of this issuer here (ISO-09).
pub(crate) fn is_new(core: &Core, issuer: &IssuerId) -> bool {
    let held = core.held.at.as_ref();
    held.is_none_or(|held| held.issuer() != issuer)
}
