//! The exchange of a subject token at the identity provider for its grant at another authorization server (EMA-06 to EMA-12).

use crate::account::MachineGrant;
use crate::core::{Ask, Core};
use crate::error::{Cause, Stage, Violation};
use crate::event::Outcome;
use crate::grant::{Asked, JwtBearer, TokenExchange};
use crate::issuer::{AtIssuer, IssuerBound, SlashRule};
use crate::secret::Secret;
use crate::state::call::{Call, CallFlaw, Called};
use crate::state::delay::asked_wait;
use crate::state::{Next, Step, Work, wait_in};
use crate::suspended::{AtIdp, Obtaining};
use crate::wire::http_fields::is_transient;
use crate::wire::text::Untrusted;
use crate::wire::token::{OAuthError, authentication_wish, read_id_jag};

use super::request::Requesting;

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

    pub(crate) fn called(
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
            Called::Answered(idp, response, _) => (idp, response),
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
                    let at = Box::new(AtIdp { obtaining, at: *at });
                    return Ok(Next::NeedSubject(at, at_idp));
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
