//! The rest of an account after an answer to its refresh that brings no usable token.

use crate::account::{Account, Naming, RefreshGrant, RefreshTokenId, Tokens};
use crate::core::Core;
use crate::error::Cause;
use crate::issuer::AtIssuer;
use crate::report::Decision;
use crate::secret::Secret;
use crate::state::save::{SavingAccount, save_before};
use crate::state::{Step, wait_in};
use crate::suspended::{Brings, Kept, Rank, Renewal, Sent, Unsaved};
use crate::wire::token::Granted;

impl Sent {
    /// Returns what this request sent, with the rank of its answer.
    pub(super) fn of(at: &AtIssuer<RefreshGrant>, brings: Brings, request: u64) -> Box<Self> {
        let grant = at.held();
        Box::new(Self {
            token: grant.refresh.clone(),
            before: grant.account.issuance(),
            instead: None,
            rank: Rank { brings, request },
            in_time: true,
        })
    }
}

/// Returns the account of a refresh, and what was sent.
pub(super) fn into_account(
    at: AtIssuer<RefreshGrant>,
    brings: Brings,
    request: u64,
) -> (AtIssuer<Account>, Box<Sent>) {
    let sent = Sent::of(&at, brings, request);
    (at.then(|grant| grant.account), sent)
}

/// Erases both tokens, because the grant has ended.
pub(super) fn end_grant(
    core: &mut Core,
    at: AtIssuer<RefreshGrant>,
    request: u64,
    renewal: Box<Renewal>,
) -> Step {
    let (at, sent) = into_account(at, Brings::Nothing, request);
    let (at, kept) = without_tokens(core, at, sent, renewal, |account| account.tokens = None);
    save_best(core, at, kept)
}

/// An answer whose access token cannot be used.
pub(super) struct Discarded {
    pub(super) cause: Cause,
    /// The tokens that came, if a header can carry the access token.
    pub(super) granted: Option<Box<Granted>>,
    /// The refresh token that came.
    pub(super) came: Option<Secret>,
}

/// Saves the refresh token of an answer whose access token is for other scopes, and repeats the request with the
/// account's. The access token of the answer is not stored.
pub(super) fn named_next_time(
    core: &mut Core,
    at: AtIssuer<RefreshGrant>,
    request: u64,
    renewal: Box<Renewal>,
    granted: Granted,
) -> Step {
    let issuer = at.issuer().clone();
    core.report(|| Decision::RefreshNamesScopes { issuer });
    let (at, kept) = for_others(at, request, renewal, granted);
    save_best(core, at, kept)
}

/// Returns the account with the refresh token of an answer whose access token is for other scopes.
pub(super) fn for_others(
    at: AtIssuer<RefreshGrant>,
    request: u64,
    mut renewal: Box<Renewal>,
    granted: Granted,
) -> (AtIssuer<Account>, Kept) {
    let (at, sent) = into_account(at, Brings::RefreshToken, request);
    let at = at.then(|mut account| {
        if let Some(tokens) = &mut account.tokens
            && granted.refresh_token.is_some()
        {
            tokens.refresh = granted.refresh_token;
        }
        account
    });
    renewal.naming = Naming::AfterAnswer;
    renewal.is_for_others = true;
    (at, Kept::Refreshed { renewal, sent })
}

/// Handles an answer whose access token cannot be used. A refresh token that came with it has taken the place of the one
/// that was sent, which a server would take for a stolen one if it came again: the account no longer holds it, and what came
/// is revoked (REFR-14). Without one, the tokens are kept, and none is revoked: a server may end the refresh token along with
/// the access token (RFC 7009 section 2.1).
pub(super) fn discard(
    core: &mut Core,
    at: AtIssuer<RefreshGrant>,
    request: u64,
    renewal: Box<Renewal>,
    discarded: Discarded,
) -> Step {
    if !discarded.spends(&at) {
        return refused(core, renewal, discarded.cause);
    }
    let (at, sent) = into_account(at, Brings::NothingUsable, request);
    let cause = discarded.revoke(core, &at);
    let (at, kept) = without_refresh_token(core, at, sent, renewal, cause);
    save_best(core, at, kept)
}

impl Discarded {
    /// Returns true when a new refresh token came, so that the one that was sent is spent.
    pub(super) fn spends(&self, at: &AtIssuer<RefreshGrant>) -> bool {
        let sent = &at.held().refresh;
        let came = self.came.as_ref();
        came.is_some_and(|came| !came.same(sent.expose()))
    }

    /// Queues the tokens that came for revocation once the work is done, and returns the cause.
    pub(super) fn revoke(self, core: &mut Core, at: &AtIssuer<Account>) -> Cause {
        if let Some(granted) = self.granted {
            let now = core.now;
            let discarded = at.clone().then(|account| Account {
                tokens: Some(Tokens::received(*granted, now)),
                ..account
            });
            core.discard(discarded);
        }
        self.cause
    }
}

/// Erases the refresh token, which the server refuses or has replaced, and asks the user once the access token has expired.
pub(super) fn end_refresh(
    core: &mut Core,
    at: AtIssuer<RefreshGrant>,
    request: u64,
    renewal: Box<Renewal>,
    cause: Cause,
) -> Step {
    let (at, sent) = into_account(at, Brings::Nothing, request);
    let (at, kept) = without_refresh_token(core, at, sent, renewal, cause);
    save_best(core, at, kept)
}

/// Returns the account without the refresh token that was sent.
pub(super) fn without_refresh_token(
    core: &mut Core,
    at: AtIssuer<Account>,
    sent: Box<Sent>,
    mut renewal: Box<Renewal>,
    cause: Cause,
) -> (AtIssuer<Account>, Kept) {
    renewal.refusal = Some(Box::new(cause));
    without_tokens(core, at, sent, renewal, |account| {
        if let Some(tokens) = &mut account.tokens {
            tokens.refresh = None;
        }
    })
}

/// Asks the user after a refusal that drops no token. The refresh token is not sent again before a pause has ended.
pub(super) fn refused(core: &mut Core, renewal: Box<Renewal>, cause: Cause) -> Step {
    core.release_lease();
    core.refresh_failed(None, &cause);
    core.memory.renewal_refused = Some(Box::new(cause.clone()));
    renewal.ends_refused(core, cause)
}

/// Returns the account without the tokens that `change` removes. Its write gives way where the slot holds newer ones.
fn without_tokens(
    core: &mut Core,
    at: AtIssuer<Account>,
    sent: Box<Sent>,
    renewal: Box<Renewal>,
    change: impl FnOnce(&mut Account),
) -> (AtIssuer<Account>, Kept) {
    let issuer = at.issuer().clone();
    core.report(|| Decision::TokensDropped { issuer });
    let dropped = RefreshTokenId::of(&sent.token);
    let at = at.then(|mut account| {
        change(&mut account);
        account.dropped = Some(dropped);
        account
    });
    (at, Kept::Dropped { renewal, sent })
}

/// Saves the account of an answer, with what a late answer adds to it. If the late answer is better, saves that one, and then
/// continues the renewal.
pub(super) fn save_best(core: &mut Core, at: AtIssuer<Account>, kept: Kept) -> Step {
    let late = core.held.unsaved.take();
    let merged = late
        .as_ref()
        .zip(kept.sent())
        .and_then(|(late, sent)| Some((late.beside(&at, sent)?, late.outranks(sent))));
    match (merged, late, kept) {
        (
            Some((merged, true)),
            Some(late),
            Kept::Refreshed { renewal, .. } | Kept::Dropped { renewal, .. },
        ) => {
            let late = Unsaved {
                at: merged,
                ..*late
            };
            core.held.unsaved = Some(Box::new(late));
            save_before(core, renewal)
        }
        (Some((merged, _)), _, kept) => wait_in(SavingAccount::begin(core, *merged, kept)),
        (None, _, kept) => wait_in(SavingAccount::begin(core, at, kept)),
    }
}
