//! Erases a dynamic registration that a server refused, or that the host resets (TOK-19, QUIRK-14). The source decides
//! which records are erased:
//!
//! | Source | The registration | The tokens |
//! |---|---|---|
//! | an endpoint at which the client authenticates rejects it | erased; one that all principals share is kept in the first minute after it was made | erased if the metadata in their account has a credential endpoint at that origin (S20) |
//! | the token endpoint rejects the code | erased if made before the attempt, and not shared | kept |
//! | the authorization endpoint, through the browser | erased if not shared | kept (STEP-05, S20) |
//! | the host (reset) | erased | kept |
//!
//! An erasure counts as done only when it is durable: after a store failure, the next refusal or sign-out retries it. A
//! sign-out takes over the erasures under way, and completes them after that of the account.

use crate::account::{Account, TokenKind};
use crate::action::Why;
use crate::budget::REGISTRATION_REST;
use crate::clients::{Clients, Registered};
use crate::config::RegistrationSharing;
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Stage, StoreFlaw};
use crate::event::Persistence;
use crate::grant::{TokenGrant, registration_methods};
use crate::issuer::AtIssuer;
use crate::record::read_registration;
use crate::report::{Decision, Forgotten};
use crate::slot::{Slot, Stored};
use crate::state::client::binding::drop_unused;
use crate::state::save::SavingAccount;
use crate::state::sign_out::revoke::Revoking;
use crate::state::{Step, Work, wait_in};
use crate::suspended::{After, Doomed, Kept, Order, Word};
use crate::time::{UnixMillis, millis};

/// How many times a clear is attempted against concurrent writes of other processes.
const CLEARS: u8 = 3;

/// The reason for an erasure, and what follows it.
enum Then {
    /// An attempt needs another client.
    Replace {
        why: Why,
        /// The server's refusal: fails the attempt when no registration is erased.
        failure: Failure,
        /// The rejection by an endpoint at which the client authenticated; `None` for any other source.
        by: Option<Rejection>,
    },
    /// The host's reset: these registrations are erased too, then the user is asked.
    Reset(Vec<Order>),
    /// A sign-out: these registrations are erased too, then the tokens are revoked.
    Leave(Vec<Order>, Vec<AtIssuer<Account>>),
}

/// The rejection of a client by an endpoint at which it authenticated.
struct Rejection {
    /// The origin of that endpoint.
    origin: Box<str>,
}

impl Rejection {
    /// Returns true if the account's own metadata has a credential endpoint at that origin. The current metadata may name an
    /// endpoint elsewhere, which a refresh does not follow (REFR-11): it never issued the account's tokens, so its response says
    /// nothing about them (S20).
    fn concerns(&self, at: &AtIssuer<Account>) -> bool {
        let origins = at.server().facts().endpoints.secret_origins();
        origins.iter().any(|origin| *origin == *self.origin)
    }
}

/// An erasure under way.
pub(crate) struct Forgetting {
    order: Order,
    slot: Slot,
    then: Then,
    clears_left: u8,
}

impl Doomed {
    /// Collects the registrations that could not be erased before; after a reset by the host, also those in use.
    pub(crate) fn of(clients: &mut Clients, resetting: bool) -> Self {
        let dead = clients.exhume().into_iter();
        let last = clients.last.clone().filter(|_| resetting);
        Self {
            orders: dead
                .map(|of| Order::new(of, Word::TokenEndpoint))
                .chain(last.map(|of| Order::new(of, Word::Host)))
                .collect(),
            account: resetting,
        }
    }

    /// Takes over an erasure under way, with the ones that were to follow it.
    pub(crate) fn take_over(&mut self, task: Forgetting) {
        self.orders.push(task.order);
        match task.then {
            Then::Replace { .. } => {}
            Then::Reset(further) | Then::Leave(further, _) => self.orders.extend(further),
        }
    }

    /// Adds the registration of an account that is erased or revoked, unless it was added before.
    pub(crate) fn meets(&mut self, at: &AtIssuer<Account>) {
        let own = Registered::of_account(at).filter(|_| self.account);
        let own = own.filter(|own| self.orders.iter().all(|order| order.registered != *own));
        self.orders.extend(own.map(|of| Order::new(of, Word::Host)));
    }

    /// Erases the registrations one after the other, then revokes the tokens of the accounts.
    pub(crate) fn forget(self, core: &mut Core, accounts: Vec<AtIssuer<Account>>) -> Step {
        leave(core, self.orders, accounts)
    }
}

/// Erases the next registration of a sign-out; after the last one, revokes the tokens.
fn leave(core: &mut Core, mut orders: Vec<Order>, accounts: Vec<AtIssuer<Account>>) -> Step {
    match orders.pop() {
        Some(order) => wait_in(Forgetting::begin(
            core,
            order,
            Then::Leave(orders, accounts),
        )),
        None => Revoking::all(core, accounts),
    }
}

/// The decision about the registration in the slot.
enum Verdict {
    Goes,
    Stays,
}

/// Handles a client that was refused at an endpoint that authenticates clients. Either the authentication method of a new
/// registration does not work, or the server no longer knows an older one.
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
    let mut why = Why::ClientForgotten;
    if let (false, Some(refused)) = (has_worked(core, at), client.method.word()) {
        core.memory.clients.refuse(at.issuer(), refused);
        let key = core.config().client_metadata_key.as_ref();
        let next = registration_methods(at.server().facts(), key)
            .find(|method| !core.memory.clients.is_refused(at.issuer(), *method));
        if let Some(next) = next {
            why = Why::MethodRefused {
                issuer: at.issuer().clone(),
                refused,
                next,
            };
        }
    }
    let by = at.endpoint().map(|endpoint| Rejection {
        origin: endpoint.origin().into(),
    });
    let order = Order::new(registered, Word::TokenEndpoint);
    let then = Then::Replace { why, failure, by };
    wait_in(Forgetting::begin(core, order, then))
}

/// Returns true when the account was obtained with this client.
pub(crate) fn has_worked<G: TokenGrant>(core: &Core, at: &AtIssuer<G>) -> bool {
    core.held.at.as_ref().is_some_and(|held| {
        held.issuer() == at.issuer() && held.held().client.id == at.held().client().id
    })
}

/// Starts to erase a registration that an attempt cannot use.
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
    let by = None;
    let then = Then::Replace { why, failure, by };
    wait_in(Forgetting::begin(core, Order::new(registered, word), then))
}

/// Handles the host's request for new registrations: erases the one used last and that of the account. When both are
/// unknown, the next authorization registers again regardless of the store (QUIRK-14).
pub(crate) fn reset(core: &mut Core) -> Step {
    let account = core.held.at.as_deref().and_then(Registered::of_account);
    let last = core.memory.clients.last.clone();
    let account = account.filter(|account| last.as_ref() != Some(account));
    let orders = last.into_iter().chain(account);
    reset_next(core, orders.map(|of| Order::new(of, Word::Host)).collect())
}

fn reset_next(core: &mut Core, mut orders: Vec<Order>) -> Step {
    match orders.pop() {
        Some(order) => wait_in(Forgetting::begin(core, order, Then::Reset(orders))),
        None => drop_unused(core),
    }
}

fn is_shared(core: &Core) -> bool {
    core.config().registration_sharing == RegistrationSharing::AcrossPrincipals
}

/// Returns the account whose client this endpoint rejected.
fn bound<'a>(
    core: &'a Core,
    registered: &Registered,
    by: Option<&Rejection>,
) -> Option<&'a AtIssuer<Account>> {
    core.held.at.as_deref().filter(|at| {
        by.is_some_and(|rejection| rejection.concerns(at))
            && at.issuer() == &registered.issuer
            && at.held().client.id == registered.client_id
    })
}

/// Starts the back-off of the refresh when the client of the account was rejected and is kept: another request with it would
/// receive the same answer.
fn rest(core: &mut Core, registered: &Registered, by: Option<&Rejection>, failure: &Failure) {
    if bound(core, registered, by).is_some() {
        core.memory.renewal_refused = None;
        core.refresh_failed(None, &failure.cause);
    }
}

impl Forgetting {
    fn begin(core: &mut Core, order: Order, then: Then) -> Work {
        let of = &order.registered;
        let issuer = of.issuer.as_str();
        let slot = core.identity.registration_slot(issuer, &of.redirect_uri);
        let ask = core.load(slot);
        Work::ForgettingClient(ForgettingClient {
            ask,
            task: Box::new(Self {
                order,
                slot,
                then,
                clears_left: CLEARS,
            }),
        })
    }

    /// Returns true when the erasure belongs to a sign-out.
    fn leaves(&self) -> bool {
        matches!(self.then, Then::Leave(..))
    }

    /// Returns true when an attempt needs another client.
    fn is_of_an_attempt(&self) -> bool {
        matches!(self.then, Then::Replace { .. })
    }

    /// Decides about the registration in a slot; `None` when the slot holds another one.
    fn find(&self, core: &Core, stored: &Stored) -> Option<Verdict> {
        let of = &self.order.registered;
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

    /// Returns true when the registration was made too recently for this source to end it.
    fn spares(&self, core: &Core, registered: Option<UnixMillis>) -> bool {
        let made_before = |until: UnixMillis| {
            registered
                .is_some_and(|made| made.0.saturating_add(millis(REGISTRATION_REST)) < until.0)
        };
        let now = core.now.wall;
        match self.order.word {
            // A registration dated in the future gets no protection.
            Word::TokenEndpoint | Word::Host => {
                is_shared(core) && registered.is_some_and(|made| made <= now) && !made_before(now)
            }
            Word::Code(begun) => !made_before(begun),
            Word::FrontChannel => false,
        }
    }

    /// Clears the slot if it holds the registration to erase.
    fn clear(mut self: Box<Self>, core: &mut Core, stored: Option<&Stored>) -> Step {
        let found = stored.and_then(|stored| Some((stored, self.find(core, stored)?)));
        let stored = match found {
            None => return self.done(core),
            Some((_, Verdict::Stays)) => return self.kept(core),
            Some((stored, Verdict::Goes)) => stored,
        };
        let Some(left) = self.clears_left.checked_sub(1) else {
            return self.unfinished(core, StoreFlaw::Conflict);
        };
        self.clears_left = left;
        let ask = core.persist(self.slot, Some(stored.revision), None, None);
        wait_in(Work::ClearingClient(ClearingClient { ask, task: self }))
    }

    /// Handles a store failure: this process does not use the client again, and the next refusal or sign-out retries the
    /// erasure.
    fn unfinished(self: Box<Self>, core: &mut Core, flaw: StoreFlaw) -> Step {
        let shared = is_shared(core);
        let mut bury = |order: &Order| match order.word {
            Word::TokenEndpoint | Word::FrontChannel | Word::Host if !shared => {
                core.memory.clients.bury(order.registered.clone());
            }
            Word::TokenEndpoint | Word::FrontChannel | Word::Host | Word::Code(_) => {}
        };
        bury(&self.order);
        let fails = |operation| Failure {
            operation,
            stage: Stage::Registration,
            issuer: Some(self.order.registered.issuer.clone()),
            cause: Cause::NotPersisted(flaw),
            seen: Vec::new(),
        };
        match self.then {
            Then::Replace { failure, by, .. } => {
                rest(core, &self.order.registered, by.as_ref(), &failure);
                // The store failed, so the attempt does not count for the operation (STEP-07).
                core.memory.give_back();
                Err(fails(failure.operation))
            }
            Then::Reset(further) => {
                further.iter().for_each(bury);
                Err(fails(core.memory.operation.clone()))
            }
            Then::Leave(further, accounts) => {
                let failure = fails(None);
                core.fail(failure);
                leave(core, further, accounts)
            }
        }
    }

    /// Continues when the registration is kept, because it was made too recently.
    fn kept(self: Box<Self>, core: &mut Core) -> Step {
        match self.then {
            Then::Replace { failure, by, .. } => {
                rest(core, &self.order.registered, by.as_ref(), &failure);
                Err(failure)
            }
            Then::Reset(further) => reset_next(core, further),
            Then::Leave(further, accounts) => leave(core, further, accounts),
        }
    }

    /// Continues after the registration was erased from the store.
    fn done(self: Box<Self>, core: &mut Core) -> Step {
        let Order { registered, word } = self.order;
        let issuer = registered.issuer.clone();
        let source = match word {
            Word::TokenEndpoint => Forgotten::TokenEndpoint,
            Word::Code(_) => Forgotten::CodeRefused,
            Word::FrontChannel => Forgotten::AuthorizationEndpoint,
            Word::Host => Forgotten::Host,
        };
        core.report(|| Decision::RegistrationForgotten { issuer, by: source });
        let (why, failure, by) = match self.then {
            Then::Replace { why, failure, by } => (why, failure, by),
            Then::Reset(further) => {
                core.memory.forgot_client(core.now.mono);
                return reset_next(core, further);
            }
            Then::Leave(further, accounts) => return leave(core, further, accounts),
        };
        let after = if core.memory.has_forgotten_client(core.now.mono) {
            After::Fail(Box::new(failure))
        } else {
            core.memory.forgot_client(core.now.mono);
            After::Ask(why)
        };
        let bound = bound(core, &registered, by.as_ref());
        let lost =
            bound.and_then(|at| Some((at, at.held().token(TokenKind::AccessToken)?.clone())));
        match lost {
            Some((at, lost)) => {
                let without = at.clone().then(|mut account| {
                    account.tokens = None;
                    account
                });
                let after = Box::new(after);
                let kept = Kept::ClientForgotten { after, lost };
                wait_in(SavingAccount::begin(core, without, kept))
            }
            None => after.run(core),
        }
    }
}

/// Waits for the contents of the slot, so that only the expected registration is cleared.
pub(crate) struct ForgettingClient {
    pub(crate) ask: Ask,
    task: Box<Forgetting>,
}

impl ForgettingClient {
    /// Returns true when the erasure belongs to a sign-out.
    pub(crate) fn leaves(&self) -> bool {
        self.task.leaves()
    }

    /// Returns true when an attempt needs another client.
    pub(crate) fn is_of_an_attempt(&self) -> bool {
        self.task.is_of_an_attempt()
    }

    pub(crate) fn into_task(self) -> Forgetting {
        *self.task
    }

    pub(crate) fn loaded(self, core: &mut Core, found: Result<Option<Stored>, ()>) -> Step {
        match found {
            Ok(stored) => self.task.clear(core, stored.as_ref()),
            Err(()) => self.task.unfinished(core, StoreFlaw::Load),
        }
    }
}

/// Waits until the registration is erased from the store.
pub(crate) struct ClearingClient {
    pub(crate) ask: Ask,
    task: Box<Forgetting>,
}

impl ClearingClient {
    /// Returns true when the erasure belongs to a sign-out.
    pub(crate) fn leaves(&self) -> bool {
        self.task.leaves()
    }

    /// Returns true when an attempt needs another client.
    pub(crate) fn is_of_an_attempt(&self) -> bool {
        self.task.is_of_an_attempt()
    }

    pub(crate) fn into_task(self) -> Forgetting {
        *self.task
    }

    pub(crate) fn persisted(self, core: &mut Core, outcome: Persistence) -> Step {
        match outcome {
            Persistence::Done => self.task.done(core),
            Persistence::Conflict(current) => self.task.clear(core, current.as_ref()),
            Persistence::Failed => self.task.unfinished(core, StoreFlaw::Write),
        }
    }
}
