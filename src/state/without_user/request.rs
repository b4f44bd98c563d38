//! The token request without a user, and its response (11.4).

use bytes::Bytes;
use http::Response;

use crate::account::{Account, MachineGrant};
use crate::core::{Ask, Core};
use crate::error::{Cause, Stage, Violation};
use crate::event::Outcome;
use crate::grant::TokenGrant;
use crate::issuer::AtIssuer;
use crate::report::Decision;
use crate::secret::Secret;
use crate::state::call::{Call, CallFlaw, Called, answer_to, requests_for};
use crate::state::delay::asked_wait;
use crate::state::save::SavingAccount;
use crate::state::sign_in::exchange::read_answer;
use crate::state::sign_out::revoke::Revoking;
use crate::state::{Next, Step, Work, wait_in};
use crate::suspended::{AtIdp, Kept, Obtaining};
use crate::time::Moment;
use crate::wire::http_fields::is_transient;
use crate::wire::token::{OAuthError, TokenAnswer, UnexpectedToken, authentication_wish};

impl AtIssuer<MachineGrant> {
    /// Reads the tokens of a late response, which are to be revoked (REFR-12).
    pub(crate) fn late(self, core: &Core, outcome: Outcome) -> Option<AtIssuer<Account>> {
        let response = answer_to(core, &self, outcome).ok()?;
        match read_answer(core, &response) {
            TokenAnswer::Granted(granted) => Some(self.redeemed(granted, None, core.now)),
            TokenAnswer::Unusable(tokens) => {
                let granted = tokens.granted?;
                Some(self.redeemed(granted, None, core.now))
            }
            TokenAnswer::Refused { .. } | TokenAnswer::Unexpected(_) => None,
        }
    }
}

/// Waits for the response to a token request without a user.
pub(crate) struct Requesting {
    call: Call<MachineGrant>,
    obtaining: Box<Obtaining>,
}

impl Requesting {
    pub(crate) fn begin(
        core: &mut Core,
        mut obtaining: Box<Obtaining>,
        at: AtIssuer<MachineGrant>,
    ) -> Step {
        if let Err(limited) = obtaining.requests.take() {
            return obtaining.fails(Stage::Token, at.issuer(), Cause::OutOfPatience(limited));
        }
        let requests = requests_for(&at);
        let call = Call::begin(core, at, requests);
        Self::called(core, call, obtaining)
    }

    pub(crate) fn ask(&self) -> &Ask {
        &self.call.ask
    }

    /// Returns the pending action and the grant, for a response that arrives after the flow was dropped.
    pub(crate) fn into_grant(self) -> (Ask, AtIssuer<MachineGrant>) {
        self.call.into_grant()
    }

    pub(crate) fn replied(self, core: &mut Core, outcome: Outcome) -> Step {
        let called = self.call.replied(core, outcome);
        Self::called(core, called, self.obtaining)
    }

    pub(crate) fn signed(self, core: &mut Core, token: Option<Secret>) -> Step {
        let called = self.call.signed(core, token);
        Self::called(core, called, self.obtaining)
    }

    fn called(core: &mut Core, called: Called<MachineGrant>, obtaining: Box<Obtaining>) -> Step {
        match called {
            Called::Again(call) => wait_in(Work::Requesting(Self { call, obtaining })),
            Called::Answered(at, response, from) => answered(core, obtaining, at, &response, from),
            Called::Failed(at, CallFlaw::Unreachable) => obtaining.later(core, at.issuer(), None),
            Called::Failed(at, CallFlaw::Final(cause)) => {
                obtaining.fails(Stage::Token, at.issuer(), cause)
            }
        }
    }
}

/// Applies the columns of requirements 11.4 for grants without a user.
fn answered(
    core: &mut Core,
    mut obtaining: Box<Obtaining>,
    at: AtIssuer<MachineGrant>,
    response: &Response<Bytes>,
    from: Moment,
) -> Step {
    let issuer = at.issuer().clone();
    match read_answer(core, response) {
        TokenAnswer::Granted(granted) => {
            if granted.type_assumed {
                core.report(|| Decision::TokenTypeAssumed);
            }
            let (kind, assumed) = (granted.token_type, granted.type_assumed);
            let seconds = granted.lifetime.seconds();
            match crate::state::dpop::judge(core, at.held().binding(), kind, assumed) {
                Ok(binding) => {
                    let at = at.redeemed(granted, binding, from);
                    core.report(|| Decision::TokenReceived {
                        issuer,
                        scopes: at.held().granted.clone(),
                        seconds,
                    });
                    let begun = core.now.wall;
                    let beside = false;
                    let kept = Kept::Authorized {
                        begun,
                        beside,
                        over: core.held.authorization(),
                    };
                    wait_in(SavingAccount::begin(core, at, kept))
                }
                Err(flaw) => {
                    // Discarded, and revoked so that no other party can use it (DPOP-13).
                    let (stage, cause) = (Stage::Token, Cause::Violation(flaw));
                    let failure = obtaining.effort.fails(stage, Some(&issuer), cause);
                    core.fail_current(failure);
                    Revoking::begin(core, at.redeemed(granted, None, core.now), None)
                }
            }
        }
        TokenAnswer::Refused {
            error: OAuthError::ServerError | OAuthError::TemporarilyUnavailable,
            ..
        }
        | TokenAnswer::Unexpected(UnexpectedToken::Body) => {
            let wait = asked_wait(core, response);
            obtaining.later(core, &issuer, wait)
        }
        TokenAnswer::Unexpected(UnexpectedToken::Status(status)) if is_transient(status) => {
            let wait = asked_wait(core, response);
            obtaining.later(core, &issuer, wait)
        }
        TokenAnswer::Refused {
            error: OAuthError::InvalidGrant,
            ..
        } if matches!(at.held(), MachineGrant::Enterprise(_)) && !obtaining.second_jag => {
            // The identity provider's grant was rejected; a new one is tried once (EMA-16).
            obtaining.second_jag = true;
            again_at_provider(obtaining, at)
        }
        TokenAnswer::Refused {
            error: OAuthError::InsufficientUserAuthentication,
            ..
        } if matches!(at.held(), MachineGrant::Enterprise(_)) && !obtaining.second_subject => {
            obtaining.second_subject = true;
            obtaining.wish = authentication_wish(response.body());
            again_at_provider(obtaining, at)
        }
        TokenAnswer::Refused {
            error,
            code,
            description,
        } => {
            let cause = at.refused(error, Some(code), description);
            core.memory.rest.failed(core.now, None, &cause);
            obtaining.fails(Stage::Token, &issuer, cause)
        }
        TokenAnswer::Unusable(tokens) => {
            if let Some(granted) = tokens.granted {
                core.discard(at.redeemed(granted, None, core.now));
            }
            let cause = Cause::Violation(Violation::Token(tokens.flaw));
            obtaining.fails(Stage::Token, &issuer, cause)
        }
        TokenAnswer::Unexpected(flaw) => {
            let cause = Cause::Violation(Violation::Token(flaw));
            obtaining.fails(Stage::Token, &issuer, cause)
        }
    }
}

fn again_at_provider(obtaining: Box<Obtaining>, at: AtIssuer<MachineGrant>) -> Step {
    let at = at.then(|grant| grant.into_parts().0);
    Ok(Next::AtIdp(Box::new(AtIdp { obtaining, at })))
}
