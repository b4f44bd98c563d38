//! A device authorization that waits for the user.

use std::time::Duration;

use crate::action::UserCode;
use crate::budget::Budget;
use crate::event::Operation;
use crate::grant::DeviceGrant;
use crate::issuer::{AtIssuer, IssuerId};
use crate::time::{MonoMillis, UnixMillis};
use crate::wire::scopes::Scopes;
use crate::wire::url::WebUrl;

/// A device authorization that waits for the user.
pub(crate) struct Pending {
    pub(crate) at: AtIssuer<DeviceGrant>,
    pub(crate) rest: Box<Waits>,
}

/// The parts of a pending device authorization other than the credentials.
pub(crate) struct Waits {
    pub(crate) operation: Option<Operation>,
    pub(crate) user_code: UserCode,
    pub(crate) page: WebUrl,
    pub(crate) complete: Option<WebUrl>,
    pub(crate) new_issuer: bool,
    pub(crate) expires: UnixMillis,
    pub(crate) until: MonoMillis,
    /// The time until which the code is shown again: half of its life is left then.
    pub(crate) repeated_until: MonoMillis,
    /// The shortest time between two polls.
    pub(crate) interval: Duration,
    pub(crate) next: MonoMillis,
    pub(crate) polls: Budget,
}

impl Pending {
    pub(crate) fn issuer(&self) -> &IssuerId {
        self.at.issuer()
    }

    pub(crate) fn requested(&self) -> &Scopes {
        &self.at.held().request.requested
    }

    pub(crate) fn operation(&self) -> Option<&Operation> {
        self.rest.operation.as_ref()
    }

    /// Returns when the machine acts next: the next poll, or the end.
    pub(crate) fn deadline(&self) -> MonoMillis {
        self.rest.next.min(self.rest.until)
    }

    /// Returns true while enough of the code's life is left to show it again (DEV-10).
    pub(crate) fn is_timely(&self, now: MonoMillis) -> bool {
        now < self.rest.repeated_until
    }

    /// Returns true when the code has expired.
    pub(crate) fn is_over(&self, now: MonoMillis) -> bool {
        self.rest.until <= now
    }

    /// Returns true, once, when a poll is due.
    pub(crate) fn takes_turn(&mut self, now: MonoMillis) -> bool {
        let due = self.rest.next <= now;
        if due {
            self.rest.next = self.rest.until;
        }
        due
    }
}
