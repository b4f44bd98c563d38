//! The organisation's identity provider: its metadata, and the identity assertion grant it issues for
//! another authorization server (EMA-04 to EMA-12).

use super::{ObtainingAssertion, Requesting, is_public};
use std::sync::Arc;

use crate::account::MachineGrant;
use crate::config::{Enterprise, MachineFlow};
use crate::core::{Ask, Core};
use crate::error::{Cause, Misconfiguration, Stage, Violation};
use crate::event::Outcome;
use crate::grant::{Asked, JwtBearer, MethodFlaw, TokenExchange};
use crate::issuer::{AtIssuer, IssuerBound, Server, SlashRule};
use crate::record::ResourceFacts;
use crate::secret::Secret;
use crate::state::attempt::ServerErrand;
use crate::state::call::{Call, CallFlaw, Called};
use crate::state::delay::asked_wait;
use crate::state::known_client::authenticating;
use crate::state::server::configured;
use crate::state::{Next, Step, Work, wait_in};
use crate::suspended::{AtIdp, Obtaining};
use crate::wire::http_fields::is_transient;
use crate::wire::text::Untrusted;
use crate::wire::token::{OAuthError, authentication_wish, read_id_jag};

impl AtIdp {
    pub(super) fn find(self: Box<Self>, core: &mut Core, enterprise: &Enterprise) -> Step {
        let Some(idp) = &enterprise.idp else {
            let issuer = self.at.issuer().clone();
            return self
                .obtaining
                .misconfigured(&issuer, Misconfiguration::GrantNotOffered);
        };
        let facts = ResourceFacts::of_server(idp.clone());
        let Some(json) = &enterprise.metadata else {
            return Ok(Next::ReadServer(ServerErrand::Idp(self), facts, 0));
        };
        match configured(core.config(), idp, json) {
            Ok(server) => self.met(core, server),
            Err(flaw) => {
                let cause = Cause::Violation(Violation::Metadata(flaw));
                self.obtaining.fails(Stage::IdentityProvider, idp, cause)
            }
        }
    }

    /// Continues with the identity provider, which is the configured one only (EMA-04).
    pub(crate) fn met(self, core: &mut Core, server: Server) -> Step {
        let MachineFlow::Enterprise(enterprise) = self.obtaining.flow.clone() else {
            return self.obtaining.go(core);
        };
        let issuer = server.issuer().clone();
        let slash = core.config().slash_rule();
        let client = enterprise.idp.clone().and_then(|idp| {
            IssuerBound::new(idp, enterprise.client.clone()).open(&server.enter(), slash)
        });
        let Some(client) = client else {
            return self
                .obtaining
                .misconfigured(&issuer, Misconfiguration::GrantNotOffered);
        };
        match authenticating(core, client) {
            Ok(client) if is_public(client.held()) && !enterprise.public => self
                .obtaining
                .misconfigured(&issuer, Misconfiguration::ClientMethod(MethodFlaw::Public)),
            Ok(idp) => wait_in(ObtainingAssertion::subject(
                core,
                self.obtaining,
                self.at,
                idp,
            )),
            Err(flaw) => self
                .obtaining
                .misconfigured(&issuer, Misconfiguration::ClientMethod(flaw)),
        }
    }
}

/// Waits for the identity provider's grant for the resource's server (EMA-06 to EMA-11).
pub(crate) struct ExchangingSubject {
    call: Call<TokenExchange>,
    obtaining: Box<Obtaining>,
    at: Box<AtIssuer<Asked>>,
}

impl ExchangingSubject {
    pub(crate) fn ask(&self) -> &Ask {
        &self.call.ask
    }

    pub(crate) fn replied(self, core: &mut Core, outcome: Outcome) -> Step {
        let called = self.call.replied(core, outcome);
        Self::called(core, called, self.obtaining, self.at)
    }

    pub(crate) fn signed(self, core: &mut Core, token: Option<Secret>) -> Step {
        let called = self.call.signed(core, token);
        Self::called(core, called, self.obtaining, self.at)
    }

    pub(super) fn called(
        core: &mut Core,
        called: Called<TokenExchange>,
        mut obtaining: Box<Obtaining>,
        at: Box<AtIssuer<Asked>>,
    ) -> Step {
        let (idp, response) = match called {
            Called::Again(call) => {
                return wait_in(Work::ExchangingSubject(Self {
                    call,
                    obtaining,
                    at,
                }));
            }
            Called::Answered(idp, response) => (idp, response),
            Called::Failed(idp, CallFlaw::Unreachable) => {
                if let Err(limited) = obtaining.requests.take() {
                    let cause = Cause::OutOfPatience(limited);
                    return obtaining.fails(Stage::IdentityProvider, idp.issuer(), cause);
                }
                return obtaining.later(core, idp.issuer(), None);
            }
            Called::Failed(idp, CallFlaw::Final(cause)) => {
                return obtaining.fails(Stage::IdentityProvider, idp.issuer(), cause);
            }
        };
        let issuer = idp.issuer().clone();
        let status = response.status().as_u16();
        match read_id_jag(status, response.body()) {
            Ok(assertion) => {
                // Bound to the server it was requested for (EMA-11).
                let bound = IssuerBound::new(idp.held().audience.clone(), assertion);
                let opened = bound.open(&AtIssuer::clone(&at).then(|_asked| ()), SlashRule::Exact);
                match opened {
                    Some(opened) => {
                        let at = opened.then(|assertion| {
                            let asked = at.held().clone();
                            MachineGrant::Enterprise(JwtBearer { asked, assertion })
                        });
                        Requesting::begin(core, obtaining, at)
                    }
                    None => {
                        let cause = Cause::Violation(Violation::NoIdJag);
                        obtaining.fails(Stage::IdentityProvider, &issuer, cause)
                    }
                }
            }
            Err(Some((error, code, description))) => {
                let stale = matches!(
                    error,
                    OAuthError::InvalidGrant
                        | OAuthError::InteractionRequired
                        | OAuthError::InsufficientUserAuthentication
                ) || error == OAuthError::InvalidRequest
                    && description.as_ref().is_some_and(names_subject_token);
                if stale && !obtaining.second_subject {
                    obtaining.second_subject = true;
                    obtaining.wish = authentication_wish(response.body());
                    let at_idp = idp.then(|exchange| exchange.client);
                    let work = ObtainingAssertion::subject(core, obtaining, *at, at_idp);
                    return wait_in(work);
                }
                let cause = idp.refused(error, Some(code), description);
                core.memory.rest.failed(core.now, None, &cause);
                obtaining.fails(Stage::IdentityProvider, &issuer, cause)
            }
            Err(None) if is_transient(status) => {
                if let Err(limited) = obtaining.requests.take() {
                    let cause = Cause::OutOfPatience(limited);
                    return obtaining.fails(Stage::IdentityProvider, &issuer, cause);
                }
                let wait = asked_wait(core, &response);
                obtaining.later(core, &issuer, wait)
            }
            Err(None) => {
                let cause = Cause::Violation(Violation::NoIdJag);
                obtaining.fails(Stage::IdentityProvider, &issuer, cause)
            }
        }
    }
}

/// Returns true when the description of `invalid_request` names the subject token (EMA-17).
fn names_subject_token(description: &Untrusted) -> bool {
    let text = description.as_plain().to_ascii_lowercase();
    text.contains("subject_token") || text.contains("subject token")
}

impl Enterprise {
    /// Shares the configuration between any number of machines.
    pub(crate) fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }
}
