//! Facts about dynamic registrations that the machine remembers, in bounded space.

use std::sync::Arc;

use crate::account::Account;
use crate::budget::METHODS_REMEMBERED;
use crate::grant::{ClientOrigin, Registration};
use crate::issuer::{AtIssuer, IssuerId};
use crate::slot::Slot;
use crate::wire::words::AuthMethod;

/// One dynamic registration, as the machine used it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) issuer: IssuerId,
    pub(crate) redirect_uri: Arc<str>,
    pub(crate) client_id: Arc<str>,
}

impl Registered {
    /// The dynamic registration that is used at a server; `None` for a client of another origin.
    pub(crate) fn of(
        at: &AtIssuer<Registration>,
        redirect_uri: impl FnOnce() -> Arc<str>,
    ) -> Option<Self> {
        let client = &at.held().client;
        (client.origin == ClientOrigin::Dynamic).then(|| Self {
            issuer: at.issuer().clone(),
            redirect_uri: redirect_uri(),
            client_id: Arc::clone(&client.id),
        })
    }

    /// The dynamic registration of an account.
    pub(crate) fn of_account(at: &AtIssuer<Account>) -> Option<Self> {
        let account = at.held();
        let dynamic = account.client.origin == ClientOrigin::Dynamic;
        let redirect_uri = account.redirect_uri.clone().filter(|_| dynamic)?;
        Some(Self {
            issuer: at.issuer().clone(),
            redirect_uri,
            client_id: Arc::clone(&account.client.id),
        })
    }
}

/// The registrations of this machine. They outlive a sign-out: a registration that its server does not know stays
/// dead for the next sign-in.
#[derive(Default)]
pub(crate) struct Clients {
    /// The registration with which the user was last sent away.
    pub(crate) last: Option<Registered>,
    /// Refused and reset registrations, which are rare.
    refusals: Option<Box<Refusals>>,
}

#[derive(Default)]
struct Refusals {
    /// The methods with which a new client was refused, for each issuer: the next registration asks for
    /// another one (REG-21).
    methods: Vec<(IssuerId, AuthMethod)>,
    /// Clients that their servers refused, and that the store could not be made to forget.
    buried: Vec<Registered>,
    /// The host wants new registrations, whatever is stored (QUIRK-14): but for those made since.
    made_since_reset: Option<Vec<Slot>>,
}

impl Clients {
    fn refusals(&mut self) -> &mut Refusals {
        self.refusals.get_or_insert_default()
    }

    /// The host wants new registrations.
    pub(crate) fn reset(&mut self) {
        self.refusals().made_since_reset = Some(Vec::new());
    }

    /// Whether a stored registration is to be replaced, because it is older than the host's last word.
    pub(crate) fn is_reset(&self, slot: Slot) -> bool {
        let refusals = self.refusals.as_ref();
        let made = refusals.and_then(|refusals| refusals.made_since_reset.as_ref());
        made.is_some_and(|made| !made.contains(&slot))
    }

    /// A registration was made.
    pub(crate) fn made(&mut self, slot: Slot) {
        let refusals = self.refusals.as_mut();
        if let Some(made) = refusals.and_then(|refusals| refusals.made_since_reset.as_mut()) {
            made.retain(|known| *known != slot);
            if made.len() >= METHODS_REMEMBERED {
                made.remove(0);
            }
            made.push(slot);
        }
    }

    /// A client that is not used again, although it is still stored.
    pub(crate) fn bury(&mut self, registered: Registered) {
        let buried = &mut self.refusals().buried;
        if buried.len() >= METHODS_REMEMBERED {
            buried.remove(0);
        }
        buried.push(registered);
    }

    /// The clients that are still stored, for another try to erase them.
    pub(crate) fn exhume(&mut self) -> Vec<Registered> {
        let refusals = self.refusals.as_mut();
        refusals.map_or_else(Vec::new, |refusals| std::mem::take(&mut refusals.buried))
    }

    /// Whether a stored client is not used again.
    pub(crate) fn is_buried(&self, issuer: &IssuerId, client_id: &str) -> bool {
        let refusals = self.refusals.iter();
        refusals
            .flat_map(|refusals| &refusals.buried)
            .any(|buried| buried.issuer == *issuer && *buried.client_id == *client_id)
    }

    /// A new client was refused with this method.
    pub(crate) fn refuse(&mut self, issuer: &IssuerId, method: AuthMethod) {
        if self.is_refused(issuer, method) {
            return;
        }
        let methods = &mut self.refusals().methods;
        if methods.len() >= METHODS_REMEMBERED {
            methods.remove(0);
        }
        methods.push((issuer.clone(), method));
    }

    /// Whether a new client was refused with this method.
    pub(crate) fn is_refused(&self, issuer: &IssuerId, method: AuthMethod) -> bool {
        let refusals = self.refusals.iter();
        refusals
            .flat_map(|refusals| &refusals.methods)
            .any(|(of, refused)| of == issuer && *refused == method)
    }
}
