//! Spending the code, and keeping what it brings before anything is said of it (TOK).

use crate::account::{Account, Validity};
use crate::action::{Purpose, UrlSource, Why};
use crate::budget::{Budget, Limited, TOKEN_TIME};
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Refusal, Stage, StoreFlaw, Unreachable, Violation};
use crate::event::{Outcome, Persistence};
use crate::grant::{ClientOrigin, CodeGrant, TokenGrant, standard_answer};
use crate::issuer::{AtIssuer, IssuerId};
use crate::record::{read_registration, write_account};
use crate::report::Decision;
use crate::slot::{Revision, Slot, Stored};
use crate::state::client::registration_slot;
use crate::state::load_account::Trigger;
use crate::state::post::{NoAnswer, answer};
use crate::state::{LoadingAccount, Step, Work, start};
use crate::wire::http_fields::retry_after;
use crate::wire::token::{Lifetime, OAuthError, TokenAnswer, UnexpectedToken, read};

/// Waits for the answer to the one request that a code is good for.
pub(crate) struct Exchanging {
    pub(crate) ask: Ask,
    at: AtIssuer<CodeGrant>,
}

impl Exchanging {
    pub(crate) fn begin(core: &mut Core, at: AtIssuer<CodeGrant>) -> Step {
        // One permit: a code is never sent again, whatever comes of it (TOK-20, S04).
        let permit = match Budget::new(1, Limited::Requests).take() {
            Ok(permit) => permit,
            Err(limited) => return Err(fails(core, at.issuer(), Cause::OutOfPatience(limited))),
        };
        let request = at.token_request(core.config().settings(at.issuer()));
        let source = UrlSource::AuthorizationServer;
        let ask = core.send(permit, request, Purpose::Token, source, TOKEN_TIME);
        Ok(Work::Exchanging(Self { ask, at }))
    }

    pub(crate) fn replied(self, core: &mut Core, outcome: Outcome) -> Step {
        let issuer = self.at.issuer().clone();
        let spent = |retry_at| {
            Cause::Unreachable(Unreachable {
                code_spent: true,
                retry_at,
            })
        };
        let response = match answer(outcome, |url| self.at.is_token_endpoint(url)) {
            Ok(response) => response,
            Err(NoAnswer::Unreachable) => return Err(fails(core, &issuer, spent(None))),
            Err(NoAnswer::Violation(flaw)) => {
                return Err(fails(core, &issuer, Cause::Violation(flaw)));
            }
        };
        let status = response.status().as_u16();
        let spelled = core.config().settings(&issuer).token_answers;
        let body = standard_answer(spelled, response.body());
        match read(status, &body, core.config().missing_token_type()) {
            TokenAnswer::Granted(granted) => {
                if granted.type_assumed {
                    core.report(|| Decision::TokenTypeAssumed);
                }
                let seconds = match granted.lifetime {
                    Lifetime::Unknown => None,
                    Lifetime::Seconds(seconds) => Some(seconds),
                };
                let at = self.at.redeemed(*granted, core.now);
                core.report(|| Decision::TokenReceived {
                    issuer,
                    scopes: at.held().granted.clone(),
                    seconds,
                });
                Ok(SavingAccount::begin(core, at, None))
            }
            TokenAnswer::Refused {
                error: OAuthError::InvalidClient,
                ..
            } if self.at.held().client().origin == ClientOrigin::Dynamic
                && !core.memory.client_forgotten =>
            {
                let uri = &self.at.held().redirected.0.redirect_uri;
                Ok(ForgettingClient::begin(core, &issuer, uri))
            }
            TokenAnswer::Refused {
                error,
                code,
                description,
            } => {
                let refusal = Refusal::OAuth {
                    error,
                    code: Some(code),
                    description,
                    error_uri: None,
                };
                Err(fails(core, &issuer, Cause::Refused(refusal)))
            }
            TokenAnswer::Unexpected(UnexpectedToken::Status(429 | 500..)) => {
                let now = core.now.wall;
                let retry_at = retry_after(response.headers(), now.seconds())
                    .map(|seconds| now.plus_seconds(seconds));
                Err(fails(core, &issuer, spent(retry_at)))
            }
            TokenAnswer::Unexpected(flaw) => Err(fails(
                core,
                &issuer,
                Cause::Violation(Violation::Token(flaw)),
            )),
        }
    }
}

fn fails(core: &Core, issuer: &IssuerId, cause: Cause) -> Failure {
    Failure {
        operation: core.memory.operation.clone(),
        stage: Stage::Token,
        issuer: Some(issuer.clone()),
        cause,
    }
}

/// How often a write is tried against other processes.
const WRITES: u8 = 3;

/// Commit before use (TOK-16): the token is handed out only after the store has it.
pub(crate) struct SavingAccount {
    pub(crate) ask: Ask,
    at: Box<AtIssuer<Account>>,
    pub(crate) revision: Revision,
    writes_left: u8,
    /// What was about to start when an earlier save had failed.
    then: Option<Trigger>,
}

impl SavingAccount {
    pub(crate) fn begin(core: &mut Core, at: AtIssuer<Account>, then: Option<Trigger>) -> Work {
        let expected = core.held.revision;
        Self::write(core, Box::new(at), expected, WRITES.saturating_sub(1), then)
    }

    fn write(
        core: &mut Core,
        at: Box<AtIssuer<Account>>,
        expected: Option<Revision>,
        writes_left: u8,
        then: Option<Trigger>,
    ) -> Work {
        let stored = write_account(&core.identity, &at);
        let revision = stored.revision;
        let slot = core.account_slot();
        let ask = core.persist(slot, expected, Some(stored), None);
        Work::SavingAccount(Self {
            ask,
            at,
            revision,
            writes_left,
            then,
        })
    }

    pub(crate) fn persisted(self, core: &mut Core, outcome: Persistence) -> Step {
        let issuer = self.at.issuer().clone();
        let flaw = match outcome {
            Persistence::Done => return self.committed(core),
            Persistence::Failed => StoreFlaw::Write,
            Persistence::Conflict(current) => match core.adopt(current.as_ref()) {
                Err(flaw @ crate::record::RecordFlaw::Newer) => StoreFlaw::Record(flaw),
                // What the user has just authorized comes before what was there.
                Ok(()) | Err(_) => match self.writes_left.checked_sub(1) {
                    Some(left) => {
                        let expected = core.held.revision;
                        return Ok(Self::write(core, self.at, expected, left, self.then));
                    }
                    None => StoreFlaw::Conflict,
                },
            },
        };
        // Not lost: the next event that needs a token tries to save it again.
        core.held.unsaved = Some(self.at);
        Err(fails(core, &issuer, Cause::NotPersisted(flaw)))
    }

    fn committed(self, core: &mut Core) -> Step {
        core.held.validity = Some(Validity::of(self.at.held().tokens.as_ref(), core.now));
        core.held.at = Some(*self.at);
        core.held.revision = Some(self.revision);
        core.held.read_at = Some(core.event);
        core.held.unproven_since = Some(core.now.mono);
        core.memory.succeeded();
        core.ready();
        match self.then {
            Some(trigger @ Trigger::CameBack(_)) => start(core, trigger),
            // Their wish is fulfilled by what was saved.
            Some(
                Trigger::Challenged(_)
                | Trigger::Wanted(_)
                | Trigger::Authorize(_)
                | Trigger::TakenElsewhere
                | Trigger::SignOut,
            )
            | None => Ok(Work::Idle),
        }
    }
}

/// Forgets a dynamic registration that the server does not know any more (TOK-19, QUIRK-14): reads
/// the slot, so that only what is there is cleared.
pub(crate) struct ForgettingClient {
    pub(crate) ask: Ask,
    slot: Slot,
    issuer: IssuerId,
    redirect_uri: Box<str>,
}

impl ForgettingClient {
    pub(crate) fn begin(core: &mut Core, issuer: &IssuerId, redirect_uri: &str) -> Work {
        core.memory.client_forgotten = true;
        let slot = registration_slot(core, issuer, redirect_uri);
        let ask = core.load(slot);
        Work::ForgettingClient(Self {
            ask,
            slot,
            issuer: issuer.clone(),
            redirect_uri: redirect_uri.into(),
        })
    }

    pub(crate) fn loaded(self, core: &mut Core, found: Result<Option<Stored>, ()>) -> Step {
        match found {
            Ok(Some(stored)) => {
                let known = read_registration(&core.identity, &self.redirect_uri, &stored);
                if known.is_ok_and(|client| client.issuer() == &self.issuer) {
                    // A registration that stays is found out again, once.
                    core.persist(self.slot, Some(stored.revision), None, None);
                }
            }
            Ok(None) => {}
            Err(()) => {
                return Err(Failure {
                    operation: core.memory.operation.clone(),
                    stage: Stage::Registration,
                    issuer: Some(self.issuer),
                    cause: Cause::NotPersisted(StoreFlaw::Load),
                });
            }
        }
        let operation = core.memory.operation.clone();
        core.need_user(Why::ClientForgotten, operation);
        Ok(Work::Idle)
    }
}

/// Tries to save what an earlier write failed to.
pub(crate) fn save_again(core: &mut Core, then: Trigger) -> Step {
    match core.held.unsaved.take() {
        Some(at) => Ok(SavingAccount::begin(core, *at, Some(then))),
        None => Ok(LoadingAccount::begin(core, Some(then))),
    }
}
