//! Forgetting a dynamic registration (TOK-19, QUIRK-14). The source of the refusal decides which records
//! are erased:
//!
//! | Source | The registration | The tokens |
//! |---|---|---|
//! | the token endpoint, or the pushed authorization request endpoint, rejects the client | erased; one that all principals share is kept for a minute after registration | erased |
//! | the token endpoint does not know the code | erased when made before the attempt, and the principal's own | kept |
//! | the authorization endpoint, through the browser | erased when the principal's own | kept (STEP-05, S20) |
//! | the host | erased | kept |
//!
//! Permits are spent when the effect is durable: after a store failure the next occasion tries again.

use crate::action::Why;
use crate::budget::REGISTRATION_REST;
use crate::config::RegistrationSharing;
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Stage, StoreFlaw};
use crate::event::Persistence;
use crate::grant::{ClientOrigin, Registration, TokenGrant, registration_methods};
use crate::issuer::{AtIssuer, IssuerId};
use crate::record::read_registration;
use crate::report::{Decision, Forgotten};
use crate::slot::{Slot, Stored};
use crate::state::client::registration_slot;
use crate::state::save::{Kept, SavingAccount};
use crate::state::{Step, Work};
use crate::time::{UnixMillis, millis};

/// How many times a clear is attempted against concurrent writes of other processes.
const CLEARS: u8 = 3;

/// A dynamic registration that the machine has used.
#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) issuer: IssuerId,
    pub(crate) redirect_uri: Box<str>,
    pub(crate) client_id: Box<str>,
}

impl Registered {
    /// Returns the dynamic registration in use at a server; `None` for a client of another origin.
    pub(crate) fn of(at: &AtIssuer<Registration>, redirect_uri: &str) -> Option<Self> {
        let client = &at.held().client;
        (client.origin == ClientOrigin::Dynamic).then(|| Self {
            issuer: at.issuer().clone(),
            redirect_uri: redirect_uri.into(),
            client_id: client.id.clone(),
        })
    }
}

/// The source of the refusal that ends a registration.
#[derive(Clone, Copy)]
pub(crate) enum Word {
    /// The token endpoint, or the pushed authorization request endpoint, rejects the client.
    TokenEndpoint,
    /// The token endpoint does not know the code of an attempt that began at this time.
    Code(UnixMillis),
    /// The authorization endpoint reports it through the browser.
    FrontChannel,
    /// The host requested a new registration.
    Host,
}

/// The next step after the registration has been erased.
pub(crate) enum After {
    /// Ask the user to authorize again, with a new registration.
    Ask(Why),
    /// Fail the attempt: a new registration did not help a moment ago (C08).
    Fail(Box<Failure>),
}

impl After {
    pub(crate) fn run(self, core: &mut Core) -> Step {
        match self {
            Self::Ask(why) => {
                let operation = core.memory.operation.clone();
                core.need_user(why, operation);
                Ok(Work::Idle)
            }
            Self::Fail(failure) => Err(*failure),
        }
    }
}

/// The registration to erase, and why.
struct Order {
    registered: Registered,
    slot: Slot,
    word: Word,
    why: Why,
    /// The server's refusal: fails the attempt when no registration is erased.
    failure: Failure,
    clears_left: u8,
}

/// The decision about the registration in the slot.
enum Verdict {
    Goes,
    Stays,
}

/// Handles a refused client at an endpoint that authenticates clients. A new registration may use the wrong
/// method; an older one has been forgotten by the server.
pub(crate) fn client_refused<G: TokenGrant>(
    core: &mut Core,
    at: &AtIssuer<G>,
    redirect_uri: &str,
    failure: Failure,
) -> Step {
    let client = at.held().client();
    let registered = Registered {
        issuer: at.issuer().clone(),
        redirect_uri: redirect_uri.into(),
        client_id: client.id.clone(),
    };
    let worked = core.held.at.as_ref().is_some_and(|held| {
        held.issuer() == at.issuer() && held.held().client.id == registered.client_id
    });
    let mut why = Why::ClientForgotten;
    if let (false, Some(refused)) = (worked, client.method.word()) {
        core.memory.refuse(at.issuer(), refused);
        let key = core.config().client_metadata_key.as_ref();
        let next = registration_methods(at.server().facts(), key)
            .find(|method| !core.memory.is_refused(at.issuer(), *method));
        if let Some(next) = next {
            why = Why::MethodRefused { refused, next };
        }
    }
    forget(core, registered, Word::TokenEndpoint, why, failure)
}

/// Starts to erase a registration.
pub(crate) fn forget(
    core: &mut Core,
    registered: Registered,
    word: Word,
    why: Why,
    failure: Failure,
) -> Step {
    match word {
        Word::FrontChannel | Word::Code(_) if is_shared(core) => return Err(failure),
        Word::FrontChannel | Word::Code(_) | Word::TokenEndpoint | Word::Host => {}
    }
    let slot = registration_slot(core, &registered.issuer, &registered.redirect_uri);
    let ask = core.load(slot);
    Ok(Work::ForgettingClient(ForgettingClient {
        ask,
        order: Box::new(Order {
            registered,
            slot,
            word,
            why,
            failure,
            clears_left: CLEARS,
        }),
    }))
}

fn is_shared(core: &Core) -> bool {
    core.config().registration_sharing == RegistrationSharing::AcrossPrincipals
}

impl Order {
    /// Decides about the registration in a slot; `None` when it is another one.
    fn find(&self, core: &Core, stored: &Stored) -> Option<Verdict> {
        let of = &self.registered;
        let known = read_registration(&core.identity, &of.redirect_uri, stored).ok()?;
        let same =
            known.issuer() == &of.issuer && known.is(|known| known.client.id == of.client_id);
        let spared = known.is(|known| self.spares(core, known.registered));
        same.then_some(if spared {
            Verdict::Stays
        } else {
            Verdict::Goes
        })
    }

    /// Returns true when the registration is too recent for this source to end it.
    fn spares(&self, core: &Core, registered: Option<UnixMillis>) -> bool {
        let made_before = |until: UnixMillis| {
            registered
                .is_some_and(|made| made.0.saturating_add(millis(REGISTRATION_REST)) < until.0)
        };
        let now = core.now.wall;
        match self.word {
            // A registration dated in the future gets no protection.
            Word::TokenEndpoint | Word::Host => {
                is_shared(core) && registered.is_some_and(|made| made <= now) && !made_before(now)
            }
            Word::Code(begun) => !made_before(begun),
            Word::FrontChannel => false,
        }
    }

    /// Handles a store failure: the client is not used again, and the next refusal retries the erasure.
    fn unfinished(self: Box<Self>, core: &mut Core, flaw: StoreFlaw) -> Step {
        match self.word {
            Word::TokenEndpoint | Word::FrontChannel | Word::Host if !is_shared(core) => {
                core.memory.bury(self.registered.clone());
            }
            Word::TokenEndpoint | Word::FrontChannel | Word::Host | Word::Code(_) => {}
        }
        Err(Failure {
            operation: self.failure.operation,
            stage: Stage::Registration,
            issuer: Some(self.registered.issuer),
            cause: Cause::NotPersisted(flaw),
            seen: Vec::new(),
        })
    }

    /// Handles a slot that holds another registration, or one that is too recent.
    fn kept(self: Box<Self>, core: &mut Core) -> Step {
        match self.word {
            Word::Host => After::Ask(self.why).run(core),
            Word::TokenEndpoint | Word::Code(_) | Word::FrontChannel => Err(self.failure),
        }
    }

    /// Continues after the registration was erased from the store.
    fn done(self: Box<Self>, core: &mut Core) -> Step {
        let issuer = self.registered.issuer.clone();
        let by = match self.word {
            Word::TokenEndpoint => Forgotten::TokenEndpoint,
            Word::Code(_) => Forgotten::CodeRefused,
            Word::FrontChannel => Forgotten::AuthorizationEndpoint,
            Word::Host => Forgotten::Host,
        };
        core.report(|| Decision::RegistrationForgotten { issuer, by });
        let again = matches!(self.word, Word::Host) || !core.memory.client_forgotten;
        let after = if again {
            core.memory.client_forgotten = true;
            // The operation did not cause the authorization that follows (STEP-07).
            core.memory.give_back();
            After::Ask(self.why)
        } else {
            After::Fail(Box::new(self.failure))
        };
        let bound = core.held.at.as_ref().filter(|at| {
            let account = at.held();
            matches!(self.word, Word::TokenEndpoint)
                && at.issuer() == &self.registered.issuer
                && account.client.id == self.registered.client_id
                && account.tokens.is_some()
        });
        match bound {
            Some(at) => {
                let without = at.clone().then(|mut account| {
                    account.tokens = None;
                    account
                });
                let kept = Kept::ClientForgotten(Box::new(after));
                Ok(SavingAccount::begin(core, without, kept))
            }
            None => after.run(core),
        }
    }
}

/// Reads the slot, so that only the expected registration is cleared.
pub(crate) struct ForgettingClient {
    pub(crate) ask: Ask,
    order: Box<Order>,
}

impl ForgettingClient {
    pub(crate) fn loaded(self, core: &mut Core, found: Result<Option<Stored>, ()>) -> Step {
        let stored = match found {
            Ok(stored) => stored,
            Err(()) => return self.order.unfinished(core, StoreFlaw::Load),
        };
        clear(core, self.order, stored.as_ref())
    }
}

/// Clears the slot if it holds the registration to erase.
fn clear(core: &mut Core, mut order: Box<Order>, stored: Option<&Stored>) -> Step {
    let found = stored.and_then(|stored| Some((stored, order.find(core, stored)?)));
    let stored = match found {
        None => return order.done(core),
        Some((_, Verdict::Stays)) => return order.kept(core),
        Some((stored, Verdict::Goes)) => stored,
    };
    let Some(left) = order.clears_left.checked_sub(1) else {
        return order.unfinished(core, StoreFlaw::Conflict);
    };
    order.clears_left = left;
    let ask = core.persist(order.slot, Some(stored.revision), None, None);
    Ok(Work::ClearingClient(ClearingClient { ask, order }))
}

/// Waits until the registration is erased from the store.
pub(crate) struct ClearingClient {
    pub(crate) ask: Ask,
    order: Box<Order>,
}

impl ClearingClient {
    pub(crate) fn persisted(self, core: &mut Core, outcome: Persistence) -> Step {
        match outcome {
            Persistence::Done => self.order.done(core),
            Persistence::Conflict(current) => clear(core, self.order, current.as_ref()),
            Persistence::Failed => self.order.unfinished(core, StoreFlaw::Write),
        }
    }
}

/// Handles the host's request for a new registration: erases the one used last, or that of the account.
/// When both are unknown, the next authorization registers again regardless of the store (QUIRK-14).
pub(crate) fn reset(core: &mut Core) -> Step {
    let account = core.held.at.as_ref().and_then(|at| {
        let account = at.held();
        (account.client.origin == ClientOrigin::Dynamic).then_some(())?;
        Some(Registered {
            issuer: at.issuer().clone(),
            redirect_uri: account.redirect_uri.as_deref()?.into(),
            client_id: account.client.id.clone(),
        })
    });
    match core.memory.registration.clone().or(account) {
        Some(registered) => {
            let failure = Failure {
                operation: core.memory.operation.clone(),
                stage: Stage::Registration,
                issuer: Some(registered.issuer.clone()),
                cause: Cause::Abandoned,
                seen: Vec::new(),
            };
            forget(core, registered, Word::Host, Why::ClientForgotten, failure)
        }
        None => After::Ask(Why::ClientForgotten).run(core),
    }
}
