//! A pending redirect: an authorization between the `Redirect` and its callback. Decides whether a further `Authorize` may
//! repeat it (AUTHZ-18).

use std::time::Duration;

use crate::budget::Permit;
use crate::event::Operation;
use crate::grant::{Redirected, Registration, Resource};
use crate::issuer::AtIssuer;
use crate::key::KeyBinding;
use crate::slot::{AuthorizationId, Revision, Slot};
use crate::time::{MonoMillis, half};
use crate::wire::scopes::Scopes;
use crate::wish::Click;

/// The chosen parameters of an authorization request.
pub(crate) struct Chosen {
    pub(crate) scopes: Scopes,
    /// Whether the machine added `offline_access` (SCOPE-06).
    pub(crate) added_offline_access: bool,
    pub(crate) binding: Option<KeyBinding>,
    pub(crate) resource: Resource,
}

/// A pending authorization. The slot holds the same data, so another instance can handle the callback.
pub(crate) struct Waiting {
    pub(crate) at: AtIssuer<Redirected>,
    pub(crate) rest: WaitingParts,
}

/// The parts of a pending authorization other than the credentials.
pub(crate) struct WaitingParts {
    pub(crate) slot: Slot,
    pub(crate) revision: Revision,
    pub(crate) until: MonoMillis,
    /// When the documents were read from which the redirect was made.
    pub(crate) read_at: MonoMillis,
    /// When to read the record next: the callback may have reached another instance. `None` while a read is due.
    pub(crate) next: Option<MonoMillis>,
    pub(crate) looks: u8,
    /// The authorization that had brought the tokens of the account when the redirect was emitted.
    pub(crate) before: Option<AuthorizationId>,
    /// The authorization whose expired tokens were renewed beside this redirect: once for each.
    pub(crate) renewed: Option<AuthorizationId>,
    /// Whether scopes are requested that the account lacked.
    pub(crate) widens: bool,
    pub(crate) new_issuer: bool,
}

impl WaitingParts {
    /// Returns the name of the authorization.
    pub(crate) fn authorization(&self) -> AuthorizationId {
        AuthorizationId::of(&self.slot)
    }

    /// Schedules an earlier read of the record, because a caller waits for the result.
    pub(crate) fn look_soon(&mut self, now: MonoMillis) {
        let soon = self.after_a_pause(now);
        self.next = self.next.map(|next| next.min(soon));
    }

    /// Schedules the next read of a record that is still there: soon if callers wait for the result, otherwise when the
    /// user's time ends.
    pub(crate) fn look_again(&mut self, now: MonoMillis, callers: bool) {
        self.looks = self.looks.saturating_add(1);
        let soon = self.after_a_pause(now).min(self.until);
        self.next = Some(if callers { soon } else { self.until });
    }

    /// Returns the time after a pause of one second, which doubles with each read up to half a minute.
    fn after_a_pause(&self, now: MonoMillis) -> MonoMillis {
        let seconds = 1_u64.checked_shl(u32::from(self.looks)).unwrap_or(u64::MAX);
        now.plus(Duration::from_secs(seconds.min(30)))
    }
}

/// The time after a read of the documents in which a repetition does not read them again. A user who clicks twice wants one
/// page at once, and an operator does not correct a document within so few seconds.
const DOUBLE_CLICK: Duration = Duration::from_secs(5);

impl Waiting {
    /// Returns true when this name, which the account has, is that of this authorization: another instance has exchanged its
    /// code. A refresh keeps the name.
    pub(crate) fn has_brought(&self, brought: Option<AuthorizationId>) -> bool {
        brought == Some(self.rest.authorization())
    }

    /// Returns true while half of the user's time is left, which is enough to repeat the redirect (AUTHZ-17).
    pub(crate) fn is_timely(&self, now: MonoMillis) -> bool {
        let parts = &self.at.held().0;
        let user_time = parts.expires.0.saturating_sub(parts.created.0);
        now.plus(half(Duration::from_millis(user_time))) < self.rest.until
    }

    /// Returns true when the user's time has ended, even if the host has not sent the timer yet.
    pub(crate) fn is_over(&self, now: MonoMillis) -> bool {
        self.rest.until <= now
    }

    /// Returns true when its documents were read less than [`DOUBLE_CLICK`] ago.
    pub(crate) fn is_just_read(&self, now: MonoMillis) -> bool {
        now < self.rest.read_at.plus(DOUBLE_CLICK)
    }

    /// Returns true when a new redirect would be the same as this one: the documents, read again, lead to the same endpoints,
    /// and client and parameters are equal.
    pub(crate) fn is_asked_for(
        &self,
        at: &AtIssuer<Registration>,
        chosen: &Chosen,
        advertises_iss: bool,
    ) -> bool {
        let parts = &self.at.held().0;
        let Chosen {
            scopes,
            added_offline_access,
            binding,
            resource,
        } = chosen;
        self.at.server().leads_where(at.server())
            && parts.client.is_same(&at.held().client)
            && parts.requested.covers(scopes)
            && scopes.covers(&parts.requested)
            && parts.added_offline_access == *added_offline_access
            && parts.binding == *binding
            && parts.resource == *resource
            && parts.advertises_iss == advertises_iss
    }
}

/// The parameters of an authorization request, with the permit for it.
pub(crate) struct Agreed {
    pub(crate) operation: Option<Operation>,
    pub(crate) permit: Permit,
    pub(crate) chosen: Chosen,
}

/// An authorization that replaces a pending one, because another instance took the record of that one or because that one
/// does not fit any more.
pub(crate) struct Renewed {
    pub(crate) click: Click,
    /// The authorization that the account named before it is read again: other tokens of the same authorization are no result.
    pub(crate) before: Option<AuthorizationId>,
    /// Whether there were tokens then: any that come where there were none are a result, also without a name, as older versions
    /// wrote them.
    pub(crate) had_tokens: bool,
    /// The scopes of the pending authorization, if the account lacked some of them: an account that has them now is its
    /// result, no matter which process has refreshed the tokens since.
    pub(crate) requested: Option<Scopes>,
}
