//! The rest of an account after an answer to its refresh that brings no usable token.

use crate::account::{Account, Naming, RefreshGrant, Tokens};
use crate::core::Core;
use crate::error::Cause;
use crate::issuer::AtIssuer;
use crate::report::Decision;
use crate::secret::Secret;
use crate::state::save::SavingAccount;
use crate::state::{Step, Work, wait_in};
use crate::suspended::{Kept, Renewal};
use crate::wire::token::Granted;

/// Returns the account of a refresh, and the refresh token that was sent.
fn into_account(at: AtIssuer<RefreshGrant>) -> (AtIssuer<Account>, Secret) {
    let sent = at.held().refresh.clone();
    (at.then(|grant| grant.account), sent)
}

/// Erases both tokens, because the grant has ended.
pub(super) fn end_grant(
    core: &mut Core,
    at: AtIssuer<RefreshGrant>,
    renewal: Box<Renewal>,
) -> Work {
    let (at, sent) = into_account(at);
    drop_tokens(core, at, sent, renewal, |account| account.tokens = None)
}

/// Saves the refresh token of an answer whose access token is for other scopes, and repeats the request with the
/// account's. The access token of the answer is not stored.
pub(super) fn named_next_time(
    core: &mut Core,
    at: AtIssuer<RefreshGrant>,
    mut renewal: Box<Renewal>,
    granted: Granted,
) -> Work {
    let issuer = at.issuer().clone();
    core.report(|| Decision::RefreshNamesScopes { issuer });
    let (at, sent) = into_account(at);
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
    SavingAccount::begin(core, at, Kept::Refreshed { renewal, sent })
}

/// Handles an answer whose access token cannot be used. A refresh token that came with it has taken the place of the one
/// that was sent, which a server would take for a stolen one if it came again: the account no longer holds it, and what came
/// is revoked (REFR-14). Without one, the tokens are kept, and none is revoked: a server may end the refresh token along with
/// the access token (RFC 7009 section 2.1).
pub(super) fn discard(
    core: &mut Core,
    at: AtIssuer<RefreshGrant>,
    renewal: Box<Renewal>,
    cause: Cause,
    granted: Option<Granted>,
    came: Option<Secret>,
) -> Step {
    let sent = &at.held().refresh;
    if came.is_none_or(|came| came.same(sent.expose())) {
        return refused(core, renewal, cause);
    }
    let (at, sent) = into_account(at);
    if let Some(granted) = granted {
        let now = core.now;
        let discarded = at.clone().then(|account| Account {
            tokens: Some(Tokens::received(granted, now)),
            ..account
        });
        core.discard(discarded);
    }
    drop_refresh_token(core, at, sent, renewal, cause)
}

/// Erases the refresh token, which the server refuses.
pub(super) fn end_refresh(
    core: &mut Core,
    at: AtIssuer<RefreshGrant>,
    renewal: Box<Renewal>,
    cause: Cause,
) -> Step {
    let (at, sent) = into_account(at);
    drop_refresh_token(core, at, sent, renewal, cause)
}

/// Erases the refresh token, and asks the user once the access token has expired.
fn drop_refresh_token(
    core: &mut Core,
    at: AtIssuer<Account>,
    sent: Secret,
    mut renewal: Box<Renewal>,
    cause: Cause,
) -> Step {
    renewal.refusal = Some(Box::new(cause));
    wait_in(drop_tokens(core, at, sent, renewal, |account| {
        if let Some(tokens) = &mut account.tokens {
            tokens.refresh = None;
        }
    }))
}

/// Asks the user after a refusal that drops no token. The refresh token is not sent again before a pause has ended.
pub(super) fn refused(core: &mut Core, renewal: Box<Renewal>, cause: Cause) -> Step {
    core.release_lease();
    core.refresh_failed(None, &cause);
    core.memory.renewal_refused = Some(Box::new(cause.clone()));
    renewal.ends_refused(core, cause)
}

/// Erases the tokens that were sent: the compare-and-swap fails when the slot holds newer ones.
fn drop_tokens(
    core: &mut Core,
    at: AtIssuer<Account>,
    sent: Secret,
    renewal: Box<Renewal>,
    change: impl FnOnce(&mut Account),
) -> Work {
    let issuer = at.issuer().clone();
    core.report(|| Decision::TokensDropped { issuer });
    let at = at.then(|mut account| {
        change(&mut account);
        account
    });
    SavingAccount::begin(core, at, Kept::Dropped { renewal, sent })
}
