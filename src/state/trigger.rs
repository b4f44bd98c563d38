//! The causes of work: what waits in the queue, and what a pause or a write continues with.

use crate::account::Account;
use crate::callers::{Caller, RefusedToken};
use crate::core::Core;
use crate::event::Operation;
use crate::grant::CodeGrant;
use crate::issuer::AtIssuer;
use crate::secret::Secret;
use crate::state::challenge::read::Judged;
use crate::state::served::is_served_by_a_save;
use crate::state::{Next, Step, done};
use crate::suspended::{Elsewhere, Leaving, Obtaining, Renewal, Renewed};
use crate::wire::callback::Callback;
use crate::wish::Click;

/// A queued cause of work.
pub(crate) enum Trigger {
    Challenged(Judged),
    Wanted(Operation),
    Authorize(Box<Click>),
    /// The pending authorization has ended, or requests too few scopes.
    Renewed(Box<Renewed>),
    CameBack(Callback),
    /// A callback was accepted at an instance that knows no account, although there was one.
    Redeem(Box<AtIssuer<CodeGrant>>),
    /// Another instance consumed the record of a callback, and may store tokens.
    TakenElsewhere(Box<Elsewhere>),
    /// Whether the pending authorization is still open is looked up.
    Look,
    /// The server of a device code is polled.
    Poll,
    /// Tokens that the store did not take are saved again; or what a late answer to a refresh brought is saved.
    Save,
    /// A refresh starts or resumes.
    Renew(Box<Renewal>),
    /// A token request without a user starts or resumes.
    Obtain(Box<Obtaining>),
    /// The account and any work under way are erased.
    SignOut(Box<Leaving>),
    /// The host requests a new registration (QUIRK-14).
    Reset,
    /// Tokens arrived after sign-out.
    Revoke(Box<AtIssuer<Account>>),
}

impl Trigger {
    /// Returns true when the stored token already satisfies it.
    pub(crate) fn is_served(&self, core: &Core) -> bool {
        match self {
            Self::Wanted(_) => core.held.is_fresh(core.now),
            Self::Challenged(judged) => judged.is_served(core),
            Self::Renew(renewal) => renewal.is_served(core),
            Self::Obtain(obtaining) => obtaining.is_served(core),
            Self::TakenElsewhere(elsewhere) => elsewhere.is_served(core),
            Self::Renewed(renewed) => renewed.is_served(core),
            Self::Authorize(_)
            | Self::CameBack(_)
            | Self::Poll
            | Self::Save
            | Self::Look
            | Self::Redeem(_)
            | Self::Reset
            | Self::SignOut(_)
            | Self::Revoke(_) => false,
        }
    }

    /// Returns the operation that waits for it.
    pub(crate) fn operation(&self) -> Option<&Operation> {
        match self {
            Self::Challenged(judged) => Some(&judged.operation),
            Self::Wanted(operation) => Some(operation),
            Self::Renew(renewal) => renewal.effort.waiting(),
            Self::Obtain(obtaining) => obtaining.effort.waiting(),
            Self::Authorize(_)
            | Self::Renewed(_)
            | Self::CameBack(_)
            | Self::Redeem(_)
            | Self::Poll
            | Self::TakenElsewhere(_)
            | Self::Save
            | Self::Look
            | Self::Reset
            | Self::SignOut(_)
            | Self::Revoke(_) => None,
        }
    }

    /// Returns the caller that waits for it.
    pub(crate) fn caller(&self, core: &Core) -> Option<Caller> {
        let refused = self.refused();
        Some(Caller {
            operation: self.operation()?.clone(),
            refused: refused.map(|token| RefusedToken::among(token, core.held.tokens())),
        })
    }

    /// Returns true when it reports that the stored token was refused.
    pub(crate) fn refuses_the_stored_token(&self, core: &Core) -> bool {
        let refused = self.refused();
        refused.is_some_and(|token| core.held.has_access(token))
    }

    /// Returns the token that was refused.
    fn refused(&self) -> Option<&Secret> {
        match self {
            Self::Renew(renewal) => renewal.refused.as_ref()?.token.as_ref(),
            Self::Obtain(obtaining) => obtaining.refused.as_ref(),
            // It waits on beside a `Ready` that comes while the account is read.
            Self::Challenged(judged) => judged.sent.as_ref(),
            Self::Wanted(_)
            | Self::Authorize(_)
            | Self::Renewed(_)
            | Self::CameBack(_)
            | Self::Redeem(_)
            | Self::Poll
            | Self::Save
            | Self::Look
            | Self::TakenElsewhere(_)
            | Self::Reset
            | Self::SignOut(_)
            | Self::Revoke(_) => None,
        }
    }

    /// Returns the authorization request.
    pub(crate) fn click(&mut self) -> Option<&mut Click> {
        match self {
            Self::Authorize(click) => Some(click),
            Self::Renewed(renewed) => Some(&mut renewed.click),
            Self::Challenged(_)
            | Self::Wanted(_)
            | Self::CameBack(_)
            | Self::Redeem(_)
            | Self::TakenElsewhere(_)
            | Self::Look
            | Self::Poll
            | Self::Save
            | Self::Renew(_)
            | Self::Obtain(_)
            | Self::SignOut(_)
            | Self::Reset
            | Self::Revoke(_) => None,
        }
    }

    /// Returns true for a step of an authorization that the user has finished.
    pub(crate) fn completes_an_authorization(&self) -> bool {
        matches!(self, Self::Redeem(_) | Self::TakenElsewhere(_))
    }

    /// Returns true for an authorization request.
    pub(crate) fn is_of_a_person(&self) -> bool {
        matches!(self, Self::Authorize(_) | Self::Renewed(_))
    }

    /// Returns true when the token that was just saved is what it wants.
    pub(crate) fn is_served_by_a_save(&self, core: &Core) -> bool {
        match self {
            Self::Wanted(_) | Self::Obtain(_) | Self::TakenElsewhere(_) => true,
            Self::Authorize(click) => is_served_by_a_save(core, click),
            Self::Renewed(renewed) => renewed.is_served(core),
            Self::Challenged(_)
            | Self::CameBack(_)
            | Self::Redeem(_)
            | Self::Poll
            | Self::Save
            | Self::Look
            | Self::Renew(_)
            | Self::Reset
            | Self::SignOut(_)
            | Self::Revoke(_) => false,
        }
    }

    /// Returns true for a request for a token, of which each operation has one in the queue.
    pub(crate) fn is_of_a_caller(&self) -> bool {
        matches!(self, Self::Wanted(_) | Self::Challenged(_))
    }

    /// Returns true when it takes precedence over a paused refresh.
    pub(crate) fn is_urgent(&self) -> bool {
        match self {
            Self::Authorize(_)
            | Self::Renewed(_)
            | Self::CameBack(_)
            | Self::Poll
            | Self::Save
            | Self::Look
            | Self::Redeem(_)
            | Self::Reset
            | Self::SignOut(_)
            | Self::Revoke(_) => true,
            Self::Wanted(_)
            | Self::Challenged(_)
            | Self::Renew(_)
            | Self::Obtain(_)
            | Self::TakenElsewhere(_) => false,
        }
    }

    /// Returns true when the stored token is an acceptable fallback.
    pub(crate) fn can_do_with(&self, core: &Core) -> bool {
        match self {
            Self::Wanted(_) => core.held.is_usable(core.now),
            Self::Renew(renewal) => renewal.has_another(core),
            Self::Challenged(_)
            | Self::Obtain(_)
            | Self::TakenElsewhere(_)
            | Self::Authorize(_)
            | Self::Renewed(_)
            | Self::CameBack(_)
            | Self::Poll
            | Self::Save
            | Self::Look
            | Self::Redeem(_)
            | Self::Reset
            | Self::SignOut(_)
            | Self::Revoke(_) => false,
        }
    }

    /// Returns true for a renewal whose caller has been answered.
    pub(crate) fn renews_for_nobody(&self) -> bool {
        matches!(self, Self::Renew(renewal) if renewal.effort.is_answered)
    }

    /// Its caller has been answered.
    pub(crate) fn waits_no_more(&mut self) {
        match self {
            Self::Renew(renewal) => renewal.effort.is_answered = true,
            Self::Obtain(obtaining) => obtaining.effort.is_answered = true,
            Self::Challenged(_)
            | Self::Wanted(_)
            | Self::Authorize(_)
            | Self::Renewed(_)
            | Self::CameBack(_)
            | Self::Redeem(_)
            | Self::TakenElsewhere(_)
            | Self::Look
            | Self::Poll
            | Self::Save
            | Self::SignOut(_)
            | Self::Reset
            | Self::Revoke(_) => {}
        }
    }

    /// The caller was answered, with `Ready` or not. Returns true when the work continues without it: a token that is about to
    /// expire is still renewed, once, and a renewal under way ends.
    pub(crate) fn goes_on(&mut self, core: &Core, ready: bool, renews: &mut bool) -> bool {
        if let Self::Wanted(operation) = self
            && ready
            && !*renews
            && !core.held.is_fresh(core.now)
        {
            *renews = true;
            *self = Self::Renew(Renewal::new(core, operation.clone(), None));
        }
        self.waits_no_more();
        matches!(self, Self::Renew(_) | Self::Obtain(_)) && !self.is_served(core)
    }
}

/// Continues with the event that waited for the write, unless its token is there now.
pub(crate) fn resume(core: &mut Core, then: Option<Box<Trigger>>) -> Step {
    match then {
        Some(trigger) if !(core.said_ready() && trigger.is_served_by_a_save(core)) => {
            Ok(Next::Start(*trigger))
        }
        Some(_) | None => done(),
    }
}
