//! One authorization attempt: its parameters, and the flows that read metadata.

use std::sync::Arc;

use crate::budget::{Budget, Limited, Permit, REGISTRATIONS_PER_FLOW};
use crate::config::{Config, RedirectUri};
use crate::core::Core;
use crate::error::{Cause, Failure, Misconfiguration, Stage};
use crate::event::{Authorization, Operation, Where};
use crate::grant::is_same_browser;
use crate::issuer::IssuerId;
use crate::slot::Slot;
use crate::state::Step;
use crate::state::client::early::EarlyRead;
use crate::state::client::new_registration::NewRegistration;
use crate::suspended::{AtIdp, Effort, Obtaining, Renewal};
use crate::wire::callback::BrowserBinding;
use crate::wire::pkce::Seed;
use crate::wire::scopes::Scopes;
use crate::wire::words::GrantType;
use crate::wish::{Click, Wish};

/// The flow for which metadata is read.
pub(crate) enum Errand {
    /// Authorization by the user.
    Authorize(Box<Attempt>),
    /// Refresh of a token: the resource must still list its issuer.
    Renew(Box<Renewal>),
    /// A token request without a user.
    Obtain(Box<Obtaining>),
}

impl Errand {
    pub(crate) fn effort(&mut self) -> &mut Effort {
        match self {
            Self::Authorize(attempt) => &mut attempt.effort,
            Self::Renew(renewal) => &mut renewal.effort,
            Self::Obtain(obtaining) => &mut obtaining.effort,
        }
    }

    pub(crate) fn fails(&self, stage: Stage, issuer: Option<&IssuerId>, cause: Cause) -> Failure {
        match self {
            Self::Authorize(attempt) => attempt.effort.fails(stage, issuer, cause),
            Self::Renew(renewal) => renewal.effort.fails(stage, issuer, cause),
            Self::Obtain(obtaining) => obtaining.effort.fails(stage, issuer, cause),
        }
    }

    /// Ends with this failure; a refresh leaves callers that need no new token with the present one (REFR-07).
    pub(crate) fn ends(
        self,
        core: &mut Core,
        stage: Stage,
        issuer: Option<&IssuerId>,
        cause: Cause,
    ) -> Step {
        match self {
            Self::Renew(renewal) => renewal.fails_for_now(core, stage, cause),
            Self::Authorize(_) | Self::Obtain(_) => Err(self.fails(stage, issuer, cause)),
        }
    }

    /// Returns the operation of an authorization that can still be cancelled.
    pub(crate) fn attempt(&self) -> Option<Option<&Operation>> {
        match self {
            Self::Authorize(attempt) => Some(attempt.effort.operation.as_ref()),
            Self::Renew(_) | Self::Obtain(_) => None,
        }
    }

    /// Returns the attempt, if the flow is one with a user.
    pub(crate) fn uncounted(&mut self) -> Option<&mut Attempt> {
        match self {
            Self::Authorize(attempt) => Some(attempt),
            Self::Renew(_) | Self::Obtain(_) => None,
        }
    }
}

/// The flow for which an authorization server's metadata is read.
pub(crate) enum ServerErrand {
    /// Any flow, at the authorization server of the resource.
    Resource(Errand),
    /// An enterprise-managed flow, at the organisation's identity provider.
    Idp(Box<AtIdp>),
}

impl ServerErrand {
    pub(crate) fn effort(&mut self) -> &mut Effort {
        match self {
            Self::Resource(errand) => errand.effort(),
            Self::Idp(at) => &mut at.obtaining.effort,
        }
    }

    pub(crate) fn fails(&self, stage: Stage, issuer: Option<&IssuerId>, cause: Cause) -> Failure {
        match self {
            Self::Resource(errand) => errand.fails(stage, issuer, cause),
            Self::Idp(at) => {
                let stage = Stage::IdentityProvider;
                at.obtaining.effort.fails(stage, issuer, cause)
            }
        }
    }

    /// Returns the attempt, if the flow is one with a user.
    pub(crate) fn uncounted(&mut self) -> Option<&mut Attempt> {
        match self {
            Self::Resource(errand) => errand.uncounted(),
            Self::Idp(_) => None,
        }
    }

    /// Returns the failure of the first listed server that was skipped as unusable.
    pub(crate) fn passed_over(&mut self) -> Option<Failure> {
        self.effort().passed_over.take()
    }

    /// Returns true when the metadata belongs to the issuer of the stored tokens.
    pub(crate) fn renews(&self) -> bool {
        match self {
            Self::Resource(Errand::Renew(_)) => true,
            Self::Resource(Errand::Authorize(_) | Errand::Obtain(_)) | Self::Idp(_) => false,
        }
    }

    pub(crate) fn attempt(&self) -> Option<Option<&Operation>> {
        match self {
            Self::Resource(errand) => errand.attempt(),
            Self::Idp(_) => None,
        }
    }
}

/// The way to the user.
pub(crate) enum Way {
    /// A redirect of this browser, and a callback.
    Redirect {
        seed: Seed,
        uri: RedirectUri,
        browser: Option<BrowserBinding>,
    },
    /// A code that the user enters in any browser (RFC 8628).
    Device,
}

impl Way {
    /// Returns what names the slot of a dynamic registration, because one registration serves one way.
    pub(crate) fn registration(&self) -> &str {
        match self {
            Self::Redirect { uri, .. } => uri.as_str(),
            Self::Device => GrantType::DeviceCode.as_str(),
        }
    }

    /// Returns the slot of a dynamic registration at an issuer.
    pub(crate) fn registration_slot(&self, core: &Core, issuer: &IssuerId) -> Slot {
        let identity = &core.identity;
        identity.registration_slot(issuer.as_str(), self.registration())
    }

    /// Same as [`registration`](Self::registration), as a shared text.
    pub(crate) fn shared_registration(&self) -> Arc<str> {
        match self {
            Self::Redirect { uri, .. } => uri.shared(),
            Self::Device => GrantType::DeviceCode.as_str().into(),
        }
    }

    /// Returns the grant.
    pub(crate) fn grant(&self) -> GrantType {
        match self {
            Self::Redirect { .. } => GrantType::AuthorizationCode,
            Self::Device => GrantType::DeviceCode,
        }
    }

    /// Returns true when this request leads the same way, back to the same browser and redirect URI.
    pub(crate) fn is_that_of(&self, wanted: &Authorization, config: &Config) -> bool {
        match (self, wanted.on) {
            (Self::Redirect { uri, browser, .. }, Where::Here) => {
                let wanted_uri = wanted.redirect_uri.as_ref().or(config.redirect_uri());
                wanted_uri.is_none_or(|wanted| wanted.as_str() == uri.as_str())
                    && is_same_browser(browser.as_ref(), wanted.browser.as_ref())
            }
            (Self::Device, Where::OtherDevice) => true,
            (Self::Redirect { .. }, Where::OtherDevice) | (Self::Device, Where::Here) => false,
        }
    }

    pub(crate) fn redirect_uri(&self) -> Option<&RedirectUri> {
        match self {
            Self::Redirect { uri, .. } => Some(uri),
            Self::Device => None,
        }
    }
}

pub(crate) struct Attempt {
    pub(crate) effort: Effort,
    pub(crate) way: Way,
    /// The scopes that the host requests, whatever the servers list.
    pub(crate) scopes: Option<Scopes>,
    /// The reason for the attempt, which decides what the attempt costs (STEP-07, E11).
    pub(crate) wish: Wish,
    /// Scopes of the registration that this attempt replaces.
    pub(crate) registered: Scopes,
    /// Scopes of earlier requests are omitted, because the server refused them along with the others (9.1).
    pub(crate) narrow: bool,
    /// The registration, read while the metadata of its server is fetched.
    pub(crate) early: Option<EarlyRead>,
    /// The new registration, stored while the redirect is prepared.
    pub(crate) registration: Option<NewRegistration>,
    registrations: Budget,
}

impl Attempt {
    /// Returns true when this attempt asks for the scopes of this request. An attempt for which the host names no scopes asks for
    /// those that were demanded.
    pub(crate) fn asks_for(&self, scopes: &Scopes, wanted: &Authorization) -> bool {
        match &self.scopes {
            Some(own) => own.covers(scopes),
            None => wanted.scopes.is_none(),
        }
    }

    /// Creates an attempt with a user. A redirect needs a redirect URI, which clients without a user have not.
    pub(crate) fn new(core: &mut Core, click: Click) -> Result<Box<Self>, Failure> {
        let wish = click.wish();
        let authorization = click.authorization;
        if core.waiting.is_none() {
            core.memory.begin_attempt();
        }
        let effort = Effort::new(core, core.memory.operation.clone());
        let configured = || core.config().redirect_uri().cloned();
        let way = match authorization.on {
            Where::OtherDevice => Way::Device,
            Where::Here => match authorization.redirect_uri.or_else(configured) {
                Some(uri) => Way::Redirect {
                    seed: authorization.seed,
                    uri,
                    browser: authorization.browser,
                },
                None => {
                    let cause = Cause::Misconfigured(Misconfiguration::NoRedirectUri);
                    return Err(effort.fails(Stage::Authorization, None, cause));
                }
            },
        };
        Ok(Box::new(Self {
            effort,
            way,
            scopes: authorization.scopes,
            wish,
            registered: Scopes::default(),
            narrow: core.memory.scopes_refused,
            early: None,
            registration: None,
            registrations: Budget::new(REGISTRATIONS_PER_FLOW, Limited::Registrations),
        }))
    }

    pub(crate) fn fails(&self, stage: Stage, issuer: Option<&IssuerId>, cause: Cause) -> Failure {
        self.effort.fails(stage, issuer, cause)
    }

    /// Reads the registration at the server of a listed entry, beside the request for its metadata, if a
    /// registration is the only client that can be used there.
    pub(crate) fn read_early(&mut self, core: &mut Core, entry: &IssuerId) {
        let config = core.config();
        let issuer = config.expected_issuer(entry).0;
        let begun = self.early.as_ref().is_some_and(|early| early.is_at(issuer));
        if !begun && config.has_no_client_but_a_registration(issuer) {
            let slot = self.way.registration_slot(core, issuer);
            let issuer = issuer.clone();
            self.early = Some(EarlyRead::begin(core, slot, issuer));
        }
    }

    /// Takes the permit for one registration request of this flow (REG-28).
    pub(crate) fn registration(&mut self, core: &Core) -> Result<Permit, Failure> {
        self.registrations
            .take()
            .map_err(|limited| self.fails(Stage::Registration, None, Cause::OutOfPatience(limited)))
            .and_then(|_| self.effort.request(core, Stage::Registration))
    }
}
