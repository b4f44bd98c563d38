//! Sign-out: the account is erased first, even when later steps fail, then its tokens are revoked where the
//! server supports revocation (REV). A crash in between leaves no usable token in the store.

use bytes::Bytes;
use http::Response;

use crate::account::{Account, Revocation, TokenKind};
use crate::budget::{Budget, Limited};
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Stage, StoreFlaw};
use crate::event::{Outcome, Persistence};
use crate::issuer::{AtIssuer, Endpoint, IssuerId};
use crate::memory::Erasure;
use crate::record::read_account;
use crate::report::Decision;
use crate::secret::Secret;
use crate::slot::{Revision, Stored};
use crate::state::call::{Call, CallFlaw, Called};
use crate::state::forget::Doomed;
use crate::state::save::next;
use crate::state::{Step, Trigger, Work};
use crate::suspended::{Parting, PartingGrant};
use crate::wire::http_fields::{is_transient, retry_after};
use crate::wire::token::{OAuthError, refusal};

/// How many times the erasure is attempted against concurrent writes of other processes.
const WRITES: u8 = 3;

/// Data that a sign-out erases and revokes, beside the contents of the account slot.
pub(crate) struct Leaving {
    /// The account in memory, as last read: revoked when the slot has no tokens, or is unreadable.
    pub(crate) known: Option<Box<AtIssuer<Account>>>,
    /// Tokens that the store has not confirmed: revoked beside those of the slot.
    pub(crate) unsaved: Option<Box<AtIssuer<Account>>>,
    /// The registrations to erase.
    pub(crate) doomed: Doomed,
    /// The revision that an earlier sign-out could not erase: a later one belongs to another sign-in.
    pub(crate) only: Option<Revision>,
}

impl Leaving {
    /// Takes over the contents of the slot, which are those of the known account or newer ones.
    fn finds(&mut self, core: &Core, stored: &Stored) {
        let Ok((at, _lease)) = read_account(&core.identity, stored) else {
            return;
        };
        let at = match &self.known {
            Some(known) => at.confined_to(known.server()),
            None => at,
        };
        self.doomed.meets(&at);
        let tokens = at.held().tokens.as_ref();
        // The write of the unsaved tokens may have succeeded.
        let same = |unsaved: &mut Box<AtIssuer<Account>>| {
            let unsaved = unsaved.held().tokens.as_ref();
            unsaved
                .zip(tokens)
                .is_some_and(|(unsaved, stored)| stored.is(&unsaved.access, unsaved.received))
        };
        let _stored = self.unsaved.take_if(same);
        if tokens.is_some() || self.known.is_none() {
            self.known = Some(Box::new(at));
        }
    }
}

/// Reads the slot, to erase and revoke its contents.
pub(crate) struct FindingAccount {
    pub(crate) ask: Ask,
    leaving: Box<Leaving>,
}

impl FindingAccount {
    pub(crate) fn begin(core: &mut Core, leaving: Box<Leaving>) -> Work {
        let slot = core.account_slot();
        let ask = core.load(slot);
        Work::FindingAccount(Self { ask, leaving })
    }

    pub(crate) fn loaded(self, core: &mut Core, found: Result<Option<Stored>, ()>) -> Step {
        let mut leaving = self.leaving;
        match found {
            Ok(Some(stored)) if leaving.only.is_some_and(|only| only != stored.revision) => {
                finish(core, *leaving, None)
            }
            Ok(Some(stored)) => {
                let revision = stored.revision;
                leaving.finds(core, &stored);
                Ok(Erasing::begin(core, leaving, revision, WRITES))
            }
            Ok(None) => finish(core, *leaving, None),
            Err(()) => match leaving.only.or(core.held.revision) {
                // Unreadable, but possibly erasable.
                Some(revision) => Ok(Erasing::begin(core, leaving, revision, WRITES)),
                None => {
                    let unknown = leaving.only;
                    finish(core, *leaving, Some((StoreFlaw::Load, unknown)))
                }
            },
        }
    }
}

/// Clears the slot.
pub(crate) struct Erasing {
    pub(crate) ask: Ask,
    leaving: Box<Leaving>,
    revision: Revision,
    writes_left: u8,
}

impl Erasing {
    fn begin(core: &mut Core, leaving: Box<Leaving>, revision: Revision, writes_left: u8) -> Work {
        let slot = core.account_slot();
        let ask = core.persist(slot, Some(revision), None, None);
        Work::Erasing(Self {
            ask,
            leaving,
            revision,
            writes_left: writes_left.saturating_sub(1),
        })
    }

    pub(crate) fn persisted(self, core: &mut Core, outcome: Persistence) -> Step {
        let flaw = match outcome {
            Persistence::Done | Persistence::Conflict(None) => None,
            Persistence::Conflict(Some(_)) if self.leaving.only.is_some() => None,
            Persistence::Conflict(Some(stored)) if self.writes_left > 0 => {
                let mut leaving = self.leaving;
                leaving.finds(core, &stored);
                return Ok(Self::begin(
                    core,
                    leaving,
                    stored.revision,
                    self.writes_left,
                ));
            }
            Persistence::Conflict(Some(_)) => Some(StoreFlaw::Conflict),
            Persistence::Failed => Some(StoreFlaw::Write),
        };
        let flaw = flaw.map(|flaw| (flaw, Some(self.revision)));
        finish(core, *self.leaving, flaw)
    }
}

impl Parting {
    /// Returns the token request of a dropped state, if it has one.
    pub(crate) fn of(work: Work) -> Option<Self> {
        let (ask, grant) = if let Work::Exchanging(state) = work {
            let (ask, at) = state.into_grant();
            (ask, PartingGrant::Code(at))
        } else if let Work::Polling(state) = work {
            let (ask, at) = state.into_grant();
            (ask, PartingGrant::Device(at))
        } else if let Work::Refreshing(state) = work {
            let (ask, at) = state.into_grant();
            (ask, PartingGrant::Refresh(at))
        } else if let Work::Requesting(state) = work {
            let (ask, at) = state.into_grant();
            (ask, PartingGrant::Machine(at))
        } else {
            return None;
        };
        Some(Self { id: ask.id, grant })
    }

    /// Returns the tokens of a response that arrives after sign-out.
    pub(crate) fn granted(self, core: &mut Core, outcome: Outcome) -> Option<AtIssuer<Account>> {
        match self.grant {
            PartingGrant::Code(at) => at.late(core, outcome),
            PartingGrant::Device(at) => at.late(core, outcome),
            PartingGrant::Refresh(at) => at.late(core, outcome),
            PartingGrant::Machine(at) => at.late(core, outcome),
        }
    }
}

/// Erases the registrations and revokes the tokens, whether the slot was erased or not.
fn finish(core: &mut Core, leaving: Leaving, flaw: Option<(StoreFlaw, Option<Revision>)>) -> Step {
    let Leaving {
        known,
        unsaved,
        mut doomed,
        only,
    } = leaving;
    let accounts = [unsaved, known].into_iter().flatten();
    let accounts: Vec<_> = accounts.map(|at| *at).collect();
    for at in &accounts {
        doomed.meets(at);
    }
    core.held = crate::core::Held::erased(core.event);
    core.callers.token_changed();
    if only.is_some() {
        // Another process may have written since.
        core.held.read_at = None;
    }
    core.memory.erasure = match flaw.and_then(|(_, revision)| revision) {
        None => Erasure::Done,
        Some(revision) if only.is_some() => Erasure::FailedAgain(revision),
        Some(revision) => Erasure::Failed(revision),
    };
    if let Some((flaw, _)) = flaw {
        core.held.read_at = None;
        core.fail(Failure {
            operation: None,
            stage: Stage::Slots,
            issuer: accounts.first().map(|at| at.issuer().clone()),
            cause: Cause::NotPersisted(flaw),
            seen: Vec::new(),
        });
    }
    doomed.forget(core, accounts)
}

/// Revokes the refresh token, which normally ends the grant, then the access token (REV-02).
pub(crate) struct Revoking {
    call: Call<Revocation>,
    progress: Progress,
}

/// The failures so far, and what to continue with: further accounts, last first, and the event that waits.
struct Progress {
    failed: Option<Cause>,
    further: Vec<AtIssuer<Account>>,
    then: Option<Box<Trigger>>,
}

impl Revoking {
    /// Starts the revocation; a waiting event is handled afterwards.
    pub(crate) fn begin(
        core: &mut Core,
        at: AtIssuer<Account>,
        then: Option<Box<Trigger>>,
    ) -> Step {
        let progress = Progress {
            failed: None,
            further: Vec::new(),
            then,
        };
        progress.revoke(core, at, TokenKind::RefreshToken)
    }

    /// Revokes the tokens of these accounts, the last one first.
    pub(crate) fn all(core: &mut Core, further: Vec<AtIssuer<Account>>) -> Step {
        let progress = Progress {
            failed: None,
            further,
            then: None,
        };
        progress.next(core)
    }

    pub(crate) fn ask(&self) -> &Ask {
        &self.call.ask
    }

    /// Drops the waiting event.
    pub(crate) fn end(&mut self) {
        self.progress.then = None;
    }

    pub(crate) fn replied(self, core: &mut Core, outcome: Outcome) -> Step {
        let called = self.call.replied(core, outcome);
        self.progress.called(core, called)
    }

    pub(crate) fn signed(self, core: &mut Core, token: Option<Secret>) -> Step {
        let called = self.call.signed(core, token);
        self.progress.called(core, called)
    }
}

impl Progress {
    fn next(mut self, core: &mut Core) -> Step {
        match self.further.pop() {
            Some(at) => self.revoke(core, at, TokenKind::RefreshToken),
            None => next(core, self.then),
        }
    }

    /// Revokes this token, or the next existing one, if the server has a revocation endpoint.
    fn revoke(self, core: &mut Core, at: AtIssuer<Account>, kind: TokenKind) -> Step {
        if !at.server().facts().endpoints.has(Endpoint::Revocation) {
            return self.next(core);
        }
        match at.revocation(kind) {
            Some(at) => {
                let call = Call::begin(core, at, Budget::new(1, Limited::Requests));
                self.called(core, call)
            }
            None => self.after(core, at, kind),
        }
    }

    fn after(mut self, core: &mut Core, at: AtIssuer<Account>, kind: TokenKind) -> Step {
        match kind {
            TokenKind::RefreshToken => self.revoke(core, at, TokenKind::AccessToken),
            TokenKind::AccessToken => {
                if let Some(cause) = self.failed.take() {
                    let failure = fails(at.issuer(), cause);
                    core.fail(failure);
                }
                self.next(core)
            }
        }
    }

    fn called(self, core: &mut Core, called: Called<Revocation>) -> Step {
        let (at, flaw) = match called {
            Called::Again(call) => {
                let progress = self;
                return Ok(Work::Revoking(Revoking { call, progress }));
            }
            Called::Answered(at, response) => {
                let flaw = judge(core, &at, &response).err();
                (at, flaw)
            }
            Called::Failed(at, CallFlaw::Unreachable) => (at, Some(Cause::unreachable(None))),
            Called::Failed(at, CallFlaw::Final(cause)) => (at, Some(cause)),
        };
        let (issuer, kind) = (at.issuer().clone(), at.held().kind);
        core.report(|| Decision::Revoked {
            issuer,
            token: kind,
            refused: flaw.as_ref().map(Cause::code),
        });
        let at = at.then(|revocation| revocation.account);
        let failed = self.failed.or(flaw);
        Self { failed, ..self }.after(core, at, kind)
    }
}

/// Checks the response: 200 is success unless the body is an OAuth error (REV-04).
fn judge(core: &Core, at: &AtIssuer<Revocation>, response: &Response<Bytes>) -> Result<(), Cause> {
    let status = response.status().as_u16();
    match status {
        200 if refusal(response.body()).is_none() => Ok(()),
        status if is_transient(status) => {
            let now = core.now.wall;
            Err(Cause::unreachable(
                retry_after(response.headers(), now.seconds())
                    .map(|seconds| now.plus_seconds(seconds)),
            ))
        }
        _other => {
            let (error, code, description) = match refusal(response.body()) {
                Some((error, code, description)) => (error, Some(code), description),
                None => (OAuthError::Other, None, None),
            };
            Err(at.refused(error, code, description))
        }
    }
}

fn fails(issuer: &IssuerId, cause: Cause) -> Failure {
    Failure {
        operation: None,
        stage: Stage::Revocation,
        issuer: Some(issuer.clone()),
        cause,
        seen: Vec::new(),
    }
}
