//! A redirect that is out, until its callback, and whether it is the one that a further request asks for.

use std::time::Duration;

use crate::account::{Account, Issuance, Tokens};
use crate::budget::Permit;
use crate::event::Operation;
use crate::grant::{Redirected, Registration, Resource};
use crate::issuer::AtIssuer;
use crate::key::KeyBinding;
use crate::slot::{Revision, Slot};
use crate::time::{Moment, MonoMillis, UnixMillis};
use crate::wire::scopes::Scopes;
use crate::wish::Click;

/// The parameters of the request to the user.
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
    /// When it was made.
    pub(crate) begun: MonoMillis,
    /// The time until which the redirect is repeated: half of the user's time is left then.
    pub(crate) repeated_until: MonoMillis,
    /// When the documents that the redirect rests on were read.
    pub(crate) read_at: MonoMillis,
    /// When the record is looked at next: the callback may have reached another instance. `None` while that is due.
    pub(crate) next: Option<MonoMillis>,
    pub(crate) looks: u8,
    /// The tokens before the authorization.
    pub(crate) before: Option<Issuance>,
    /// Whether scopes are requested that the account did not have.
    pub(crate) widens: bool,
    pub(crate) expires: UnixMillis,
    pub(crate) new_issuer: bool,
}

impl WaitingParts {
    /// Tokens were stored here, of a refresh or of another redirect: they are not what came of this one.
    pub(crate) fn received_here(&mut self, old: Option<&Tokens>, new: Option<&Tokens>) {
        let own = match &self.before {
            Some(before) => before.is(old),
            None => old.is_none(),
        };
        if own {
            self.before = new.map(Tokens::issuance);
        }
    }

    /// A caller waits for the result: the record is looked at soon.
    pub(crate) fn look_soon(&mut self, now: MonoMillis) {
        let soon = self.after_a_pause(now);
        self.next = self.next.map(|next| next.min(soon));
    }

    /// The record is still there: it is looked at again, before the end only if callers wait for the result.
    pub(crate) fn look_again(&mut self, now: MonoMillis, callers: bool) {
        self.looks = self.looks.saturating_add(1);
        let soon = self.after_a_pause(now).min(self.until);
        self.next = Some(if callers { soon } else { self.until });
    }

    /// Returns the time after one second, or twice as long after each look, up to half a minute.
    fn after_a_pause(&self, now: MonoMillis) -> MonoMillis {
        let seconds = 1_u64.checked_shl(u32::from(self.looks)).unwrap_or(u64::MAX);
        now.plus(Duration::from_secs(seconds.min(30)))
    }
}

/// How long after the documents of a redirect were read a repetition does not read them again. A person who clicks twice
/// wants one page, and at once; and nobody mends a document and starts again within so few seconds.
const DOUBLE_CLICK: Duration = Duration::from_secs(5);

impl Waiting {
    /// Returns true when this account is what came of the redirect at another instance: its tokens are others than before, were
    /// received since, and it has the scopes that were requested.
    pub(crate) fn has_led_to(&self, account: &Account, now: Moment) -> bool {
        let Some(tokens) = account.tokens.as_ref() else {
            return false;
        };
        let before = self.rest.before.as_ref();
        let same = before.is_some_and(|before| before.is(Some(tokens)));
        let since = tokens.are_younger_than(self.rest.begun, now);
        !same && since && account.has_scopes(&self.at.held().0.requested)
    }

    /// This account is not what came of the redirect: where it has the scopes, the tokens that come are others than its own.
    pub(crate) fn sets_aside(&mut self, account: &Account) {
        if let Some(tokens) = &account.tokens
            && account.has_scopes(&self.at.held().0.requested)
        {
            self.rest.before = Some(tokens.issuance());
        }
    }

    /// Returns true while enough of the user's time is left to repeat the redirect (AUTHZ-17).
    pub(crate) fn is_timely(&self, now: MonoMillis) -> bool {
        now < self.rest.repeated_until
    }

    /// Returns true when the time for the user has ended, whether the host has said so with a timer or not.
    pub(crate) fn is_over(&self, now: MonoMillis) -> bool {
        self.rest.until <= now
    }

    /// Returns true when its documents were read a moment ago.
    pub(crate) fn is_just_read(&self, now: MonoMillis) -> bool {
        now < self.rest.read_at.plus(DOUBLE_CLICK)
    }

    /// Returns true when this is the redirect that would be made now: the documents, read again, say what it rests on, and
    /// the same is asked for with the same client.
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

/// The parameters of the request to the user, with the permit for it.
pub(crate) struct Agreed {
    pub(crate) operation: Option<Operation>,
    pub(crate) permit: Permit,
    pub(crate) chosen: Chosen,
}

/// An authorization that replaces a pending one, which another instance completed or which requested fewer
/// scopes.
pub(crate) struct Renewed {
    pub(crate) click: Click,
    /// The revision of the account slot before.
    pub(crate) account: Option<Revision>,
    /// The scopes of the pending authorization, where the account did not have them: an account that has them now is what
    /// came of it, whoever has refreshed its tokens since.
    pub(crate) requested: Option<Scopes>,
}
