//! Signing out: the account is erased first and whatever happens, then its tokens are revoked where
//! the server can (REV). A process that ends in between leaves nothing behind that could be used.

use bytes::Bytes;
use http::Response;

use crate::account::{Account, TokenKind};
use crate::budget::{Budget, Limited};
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Stage, StoreFlaw, Unreachable};
use crate::event::{Outcome, Persistence};
use crate::grant::{CodeGrant, RefreshGrant, Revocation};
use crate::issuer::{AtIssuer, IssuerId};
use crate::record::read_account;
use crate::report::Decision;
use crate::secret::Secret;
use crate::slot::{Revision, Stored};
use crate::state::call::{Call, CallFlaw, Called};
use crate::state::obtain::MachineGrant;
use crate::state::{Step, Work};
use crate::wire::http_fields::retry_after;
use crate::wire::token::{OAuthError, refusal};

/// How often the erasure is tried against other processes.
const WRITES: u8 = 3;

/// Finds out what the slot holds: that is erased, and revoked.
pub(crate) struct FindingAccount {
    pub(crate) ask: Ask,
    /// What this machine knew, where it is newer than the slot or the slot cannot be read.
    known: Option<Box<AtIssuer<Account>>>,
}

impl FindingAccount {
    pub(crate) fn begin(core: &mut Core, known: Option<Box<AtIssuer<Account>>>) -> Work {
        let slot = core.account_slot();
        let ask = core.load(slot);
        Work::FindingAccount(Self { ask, known })
    }

    pub(crate) fn loaded(self, core: &mut Core, found: Result<Option<Stored>, ()>) -> Step {
        match found {
            Ok(Some(stored)) => {
                let revision = stored.revision;
                let at = freshest(core, self.known, Some(&stored));
                Ok(Erasing::begin(core, at, revision, WRITES))
            }
            Ok(None) => Ok(finish(core, self.known, None)),
            Err(()) => match core.held.revision {
                // Not readable, perhaps erasable.
                Some(revision) => Ok(Erasing::begin(core, self.known, revision, WRITES)),
                None => Ok(finish(core, self.known, Some(StoreFlaw::Load))),
            },
        }
    }
}

/// What the slot holds comes before what was known; its tokens belong to the same grant or a newer one.
fn freshest(
    core: &Core,
    known: Option<Box<AtIssuer<Account>>>,
    stored: Option<&Stored>,
) -> Option<Box<AtIssuer<Account>>> {
    stored
        .and_then(|stored| read_account(&core.identity, stored).ok())
        .map(|(at, _lease)| Box::new(at))
        .filter(|at| at.held().tokens.is_some())
        .or(known)
}

/// Clears the slot.
pub(crate) struct Erasing {
    pub(crate) ask: Ask,
    at: Option<Box<AtIssuer<Account>>>,
    writes_left: u8,
}

impl Erasing {
    fn begin(
        core: &mut Core,
        at: Option<Box<AtIssuer<Account>>>,
        revision: Revision,
        writes_left: u8,
    ) -> Work {
        let slot = core.account_slot();
        let ask = core.persist(slot, Some(revision), None, None);
        Work::Erasing(Self {
            ask,
            at,
            writes_left: writes_left.saturating_sub(1),
        })
    }

    pub(crate) fn persisted(self, core: &mut Core, outcome: Persistence) -> Step {
        let flaw = match outcome {
            Persistence::Done | Persistence::Conflict(None) => None,
            Persistence::Conflict(Some(stored)) if self.writes_left > 0 => {
                let at = freshest(core, self.at, Some(&stored));
                return Ok(Self::begin(core, at, stored.revision, self.writes_left));
            }
            Persistence::Conflict(Some(_)) => Some(StoreFlaw::Conflict),
            Persistence::Failed => Some(StoreFlaw::Write),
        };
        Ok(finish(core, self.at, flaw))
    }
}

/// A token request that was under way when the user signed out.
pub(crate) struct Parting {
    pub(crate) id: u64,
    grant: PartingGrant,
}

enum PartingGrant {
    Code(AtIssuer<CodeGrant>),
    Refresh(AtIssuer<RefreshGrant>),
    Machine(AtIssuer<MachineGrant>),
}

impl Parting {
    /// Of the work that is dropped, when it was one.
    pub(crate) fn of(work: Work) -> Option<Self> {
        let (ask, grant) = if let Work::Exchanging(state) = work {
            let (ask, at) = state.into_grant();
            (ask, PartingGrant::Code(at))
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

    /// The tokens that came after all.
    pub(crate) fn granted(self, core: &mut Core, outcome: Outcome) -> Option<AtIssuer<Account>> {
        match self.grant {
            PartingGrant::Code(at) => at.late(core, outcome),
            PartingGrant::Refresh(at) => at.late(core, outcome),
            PartingGrant::Machine(at) => at.late(core, outcome),
        }
    }
}

/// The slot is empty, or it is known that it is not; either way the tokens are revoked.
fn finish(core: &mut Core, at: Option<Box<AtIssuer<Account>>>, flaw: Option<StoreFlaw>) -> Work {
    core.held = crate::core::Held::erased(core.event);
    if let Some(flaw) = flaw {
        core.held.read_at = None;
        core.fail(Failure {
            operation: None,
            stage: Stage::Slots,
            issuer: at.as_ref().map(|at| at.issuer().clone()),
            cause: Cause::NotPersisted(flaw),
        });
    }
    match at {
        Some(at) => Revoking::begin(core, *at),
        None => Work::Idle,
    }
}

/// Revokes the refresh token, which normally ends the grant, then the access token (REV-02).
pub(crate) struct Revoking {
    call: Call<Revocation>,
    failed: Option<Cause>,
}

impl Revoking {
    pub(crate) fn begin(core: &mut Core, at: AtIssuer<Account>) -> Work {
        Self::revoke(core, at, TokenKind::RefreshToken, None)
    }

    pub(crate) fn ask(&self) -> &Ask {
        &self.call.ask
    }

    /// This token, or the next one that there is, where the server has an endpoint for it.
    fn revoke(
        core: &mut Core,
        at: AtIssuer<Account>,
        kind: TokenKind,
        failed: Option<Cause>,
    ) -> Work {
        if at.server().facts().revocation_endpoint.is_none() {
            return Work::Idle;
        }
        match at.revocation(kind) {
            Some(at) => {
                let call = Call::begin(core, at, Budget::new(1, Limited::Requests));
                Self::called(core, call, failed)
            }
            None => Self::after(core, at, kind, failed),
        }
    }

    fn after(
        core: &mut Core,
        at: AtIssuer<Account>,
        kind: TokenKind,
        failed: Option<Cause>,
    ) -> Work {
        match kind {
            TokenKind::RefreshToken => Self::revoke(core, at, TokenKind::AccessToken, failed),
            TokenKind::AccessToken => {
                if let Some(cause) = failed {
                    let failure = fails(at.issuer(), cause);
                    core.fail(failure);
                }
                Work::Idle
            }
        }
    }

    pub(crate) fn replied(self, core: &mut Core, outcome: Outcome) -> Step {
        let called = self.call.replied(core, outcome);
        Ok(Self::called(core, called, self.failed))
    }

    pub(crate) fn signed(self, core: &mut Core, token: Option<Secret>) -> Step {
        let called = self.call.signed(core, token);
        Ok(Self::called(core, called, self.failed))
    }

    fn called(core: &mut Core, called: Called<Revocation>, failed: Option<Cause>) -> Work {
        let (at, flaw) = match called {
            Called::Again(call) => return Work::Revoking(Self { call, failed }),
            Called::Answered(at, response) => {
                let flaw = judge(core, &at, &response).err();
                (at, flaw)
            }
            Called::Failed(at, CallFlaw::Unreachable) => (at, Some(later(None))),
            Called::Failed(at, CallFlaw::Final(cause)) => (at, Some(cause)),
        };
        let (issuer, kind) = (at.issuer().clone(), at.held().kind);
        core.report(|| Decision::Revoked {
            issuer,
            token: kind,
            refused: flaw.as_ref().map(Cause::code),
        });
        let at = at.then(|revocation| revocation.account);
        Self::after(core, at, kind, failed.or(flaw))
    }
}

/// 200 is success whatever the body says (REV-04).
fn judge(core: &Core, at: &AtIssuer<Revocation>, response: &Response<Bytes>) -> Result<(), Cause> {
    let status = response.status().as_u16();
    match status {
        200 => Ok(()),
        429 | 500..=599 => {
            let now = core.now.wall;
            Err(later(
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

fn later(retry_at: Option<crate::time::UnixMillis>) -> Cause {
    Cause::Unreachable(Unreachable {
        code_spent: false,
        retry_at,
    })
}

fn fails(issuer: &IssuerId, cause: Cause) -> Failure {
    Failure {
        operation: None,
        stage: Stage::Revocation,
        issuer: Some(issuer.clone()),
        cause,
    }
}
