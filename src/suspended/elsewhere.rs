//! The wait for the tokens of another instance, which took the callback.

use crate::action::Why;
use crate::event::Operation;
use crate::issuer::IssuerId;
use crate::slot::AuthorizationId;
use crate::time::MonoMillis;
use crate::wire::scopes::Scopes;

/// Waits for the tokens of another instance, which took the callback or completed another redirect: the account is read before
/// anything is reported (AUTHZ-18, CB-06).
pub(crate) struct Elsewhere {
    pub(crate) awaited: Awaited,
    /// The other instance has its answer from the token endpoint by then, or the user's time has ended.
    pub(crate) until: MonoMillis,
    pub(crate) looks: u8,
    pub(crate) otherwise: Otherwise,
}

/// The tokens that are awaited: those of one authorization, or of a later one.
pub(crate) struct Awaited {
    /// The authorization whose record is gone.
    pub(crate) own: AuthorizationId,
    /// The authorization that the account named when the wait was decided: when the record was found gone, when a
    /// callback started to consume it, or, for a timer without callers, when the redirect was emitted. Its tokens are
    /// not awaited.
    pub(crate) before: Option<AuthorizationId>,
    /// The requested scopes.
    pub(crate) requested: Scopes,
}

impl Awaited {
    /// Returns true when this name, which the account has, is that of the awaited authorization, or one other than `before`.
    /// An account without a name never counts: its tokens were obtained without a user, or by a sign-in of an older
    /// version, which cannot complete a redirect of this version.
    pub(crate) fn has_come(&self, brought: Option<AuthorizationId>) -> bool {
        brought.is_some() && (brought == Some(self.own) || brought != self.before)
    }
}

/// The part of the awaited tokens that an account has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// No token, or one with too few scopes while there is time.
    Nothing,
    /// A usable token.
    Usable,
    /// A token that has expired since, or was dropped: a refresh is due, or the user is needed.
    Over,
}

/// The result where no tokens arrive.
pub(crate) enum Otherwise {
    /// Two instances received the callback, and the other one took it.
    Callback,
    /// The record of the redirect is there, so the redirect stays pending; at the end of the user's time, the question of a
    /// caller is asked.
    Pending(Option<(Why, Option<Operation>)>),
    /// The record of the redirect was gone. A caller for whom the user was needed may have found that out.
    Redirect(IssuerId, Option<(Why, Option<Operation>)>),
}
