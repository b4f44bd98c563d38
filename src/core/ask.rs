//! Actions whose result the machine awaits: each with a ticket and a time limit.

use std::sync::Arc;
use std::time::Duration;

use crate::action::{
    Action, AssertionKind, LoadSlot, ObtainAssertion, PersistSlot, Purpose, SendRequest, Sign,
    ToSign, UrlSource,
};
use crate::budget::{Permit, SLOT_TIME};
use crate::issuer::Outgoing;
use crate::slot::{Revision, Slot, Stored};
use crate::ticket::Ticket;
use crate::time::{MonoMillis, UnixMillis};
use crate::wire::words::SigningAlgorithm;

use super::Core;

/// A pending action: returned to the host, its result awaited.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) id: u64,
    pub(crate) until: MonoMillis,
}

impl Core {
    fn ticket(&mut self, wait: Duration) -> (Ticket, Ask) {
        self.next_id = self.next_id.saturating_add(1);
        let ask = Ask {
            id: self.next_id,
            until: self.now.mono.plus(wait),
        };
        (Ticket::new(self.owner, self.next_id), ask)
    }

    /// Emits an HTTP request; the only way to do so, at the cost of a permit.
    pub(crate) fn send(
        &mut self,
        _permit: Permit,
        Outgoing { url, request }: Outgoing,
        purpose: Purpose,
        supplied_by: UrlSource,
        time_limit: Duration,
    ) -> Ask {
        let (ticket, ask) = self.ticket(time_limit);
        self.watch.asks(ask.id, url, purpose);
        let addresses = self.config().url_policy().addresses(request.uri());
        self.emit(Action::SendRequest(SendRequest {
            request,
            purpose,
            supplied_by,
            addresses,
            time_limit,
            ticket,
        }));
        ask
    }

    /// Waits until a time, without an action.
    pub(crate) fn pause(&mut self, until: MonoMillis) -> Ask {
        self.next_id = self.next_id.saturating_add(1);
        Ask {
            id: self.next_id,
            until,
        }
    }

    /// Returns a placeholder without an action.
    pub(crate) fn nobody(&self) -> Ask {
        Ask {
            id: 0,
            until: self.now.mono,
        }
    }

    pub(crate) fn sign(
        &mut self,
        key: Arc<str>,
        algorithm: SigningAlgorithm,
        subject: ToSign,
        time_limit: Duration,
    ) -> Ask {
        let (ticket, ask) = self.ticket(time_limit);
        self.emit(Action::Sign(Sign {
            key,
            algorithm,
            subject,
            ticket,
        }));
        ask
    }

    pub(crate) fn obtain(&mut self, kind: AssertionKind, time_limit: Duration) -> Ask {
        let (ticket, ask) = self.ticket(time_limit);
        self.emit(Action::ObtainAssertion(ObtainAssertion { kind, ticket }));
        ask
    }

    pub(crate) fn load(&mut self, slot: Slot) -> Ask {
        let (ticket, ask) = self.ticket(SLOT_TIME);
        self.emit(Action::LoadSlot(LoadSlot { slot, ticket }));
        ask
    }

    pub(crate) fn persist(
        &mut self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<Stored>,
        expires: Option<UnixMillis>,
    ) -> Ask {
        let (ticket, ask) = self.ticket(SLOT_TIME);
        self.emit(Action::PersistSlot(PersistSlot {
            slot,
            expected,
            write,
            expires,
            ticket,
        }));
        ask
    }

    #[inline]
    pub(crate) fn emit(&mut self, action: Action) {
        if self.outbox.capacity() == 0 {
            // More than two actions at once are rare.
            self.outbox.reserve_exact(2);
        }
        self.outbox.push_back(action);
    }
}
