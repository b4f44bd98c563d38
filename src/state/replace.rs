//! Which account a write of tokens replaces, where another process has written meanwhile.
//!
//! The identity of what was issued decides: the authorization, the refresh token that was sent, and the access token that the
//! account held then. Revisions do not decide, nor which tokens were received later, because every lease changes the revision,
//! and every refresh both.

use crate::account::{Account, TokenKind, Tokens};
use crate::budget::CLOCKS_DIFFER;
use crate::core::Core;
use crate::issuer::AtIssuer;
use crate::slot::AuthorizationId;
use crate::suspended::{Brings, Sent};
use crate::time::{UnixMillis, millis};

/// Returns true if another process has refreshed the tokens of this authorization, or has dropped one: an earlier write of them
/// was done, although it was reported as failed, and their refresh token is spent.
pub(super) fn continues(held: &AtIssuer<Account>, saved: &AtIssuer<Account>) -> bool {
    let (account, saved) = (held.held(), saved.held());
    let same = account.authorization.is_some() && account.authorization == saved.authorization;
    same && match (&account.tokens, &saved.tokens) {
        (Some(held), Some(saved)) => {
            let sent = saved.refresh.as_ref();
            let renewable = sent.is_none_or(|sent| account.has_refresh(sent));
            !(held.is(&saved.access, saved.received) && renewable)
        }
        (_, _) => true,
    }
}

/// Returns true if another process has tokens of a later sign-in with the requested scopes, or at another authorization server:
/// a save does not undo that (ISO-09). `over`: the authorization that was stored when the saved tokens came; the saved ones
/// replace it, however often its tokens were refreshed. A sign-in that is dated further in the future than the clocks of two
/// hosts differ was made before the wall clock was set back.
pub(super) fn is_newer(
    core: &Core,
    held: &AtIssuer<Account>,
    saved: &AtIssuer<Account>,
    over: Option<AuthorizationId>,
) -> bool {
    let latest = UnixMillis(core.now.wall.0.saturating_add(millis(CLOCKS_DIFFER)));
    let account = held.held();
    let serves = held.issuer() != saved.issuer() || account.has_scopes(&saved.held().requested);
    let signed_in = account.signed_in();
    let later = signed_in > saved.held().signed_in() && signed_in <= Some(latest);
    let replaced = account.authorization.is_some() && account.authorization == over;
    serves && account.tokens.is_some() && later && !replaced
}

/// The part of the stored account that the answer to a refresh replaces.
pub(super) enum Place {
    Account,
    /// The refresh token alone: another refresh has brought the access token.
    RefreshToken,
    None,
}

/// Decides what the answer to a refresh replaces.
///
/// At a server that does not replace refresh tokens, the account still holds the token that was sent after another process has
/// refreshed. If this answer came late, the access token of the other refresh is newer: its request was made after the lease of
/// this one had ended. If this answer came in time, the other refresh is the older one, and was saved late.
pub(super) fn place_of(
    core: &Core,
    sent: &Sent,
    held: &AtIssuer<Account>,
    (own, late): (&AtIssuer<Account>, bool),
) -> Place {
    let account = held.held();
    if held.issuer() != own.issuer() {
        return Place::None;
    }
    if account.has_dropped(sent.held()) || account.has_dropped(&sent.token) {
        // Where the server did not replace the token that was sent, it is the one that was refused since.
        let keeps = own.held().has_refresh(&sent.token);
        return if keeps { Place::None } else { Place::Account };
    }
    if !account.has_refresh(sent.held()) {
        return Place::None;
    }
    let late = late || !sent.in_time;
    let same = account.issuance() == sent.before || !late;
    let replaced = !own.held().has_refresh(sent.held());
    let (usable, valid) = (is_usable(core, own), core.held.is_usable(core.now));
    if usable && !valid || same && (replaced || usable || !valid) {
        Place::Account
    } else if replaced {
        Place::RefreshToken
    } else {
        // An expired access token replaces no valid one.
        Place::None
    }
}

/// Decides what a write without a refresh token replaces. If another process has refreshed with the very token that was refused
/// here, the token is still in use, and stays. A token that an answer has replaced is spent, and is removed.
pub(super) fn place_of_a_drop(
    sent: &Sent,
    held: &AtIssuer<Account>,
    own: &AtIssuer<Account>,
) -> Place {
    let account = held.held();
    if held.issuer() != own.issuer() || !account.has_refresh(sent.held()) {
        Place::None
    } else if account.issuance() == sent.before {
        Place::Account
    } else if sent.rank.brings == Brings::NothingUsable {
        Place::RefreshToken
    } else {
        Place::None
    }
}

impl Place {
    /// Fits the account to write (`own`) to the stored one (`held`). Returns false if nothing is to be replaced.
    pub(super) fn fit(self, held: &AtIssuer<Account>, own: &mut AtIssuer<Account>) -> bool {
        match self {
            Self::Account => true,
            Self::RefreshToken => {
                let refresh = own.held().token(TokenKind::RefreshToken).cloned();
                let dropped = own.held().dropped;
                *own = held.clone().then(|account| Account {
                    dropped,
                    tokens: account.tokens.map(|held| Tokens { refresh, ..held }),
                    ..account
                });
                true
            }
            Self::None => false,
        }
    }
}

/// Returns true if the tokens to store have not expired.
pub(super) fn is_usable(core: &Core, at: &AtIssuer<Account>) -> bool {
    let tokens = at.held().tokens.as_ref();
    core.held.validity_of(tokens, core.now).holds(core.now)
}
