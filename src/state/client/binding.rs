//! The issuer that a client without a configured one belongs to (REG-04).
//!
//! The client is bound just before its credential, or a code for it, is sent for the first time: to a server that only
//! received a redirect it has shown nothing, and that server may have been listed by mistake. A callback with a code, which
//! passed its checks, shows that the server knows the client.

use crate::action::Why;
use crate::config::{Config, PreRegistered};
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Misconfiguration, Stage, StoreFlaw};
use crate::event::{Operation, Persistence};
use crate::grant::{ClientOrigin, CodeGrant, TokenGrant};
use crate::issuer::{AtIssuer, IssuerBound, IssuerId, SlashRule};
use crate::record::{ResourceFacts, read_binding, write_binding};
use crate::report::Decision;
use crate::slot::{Slot, Stored};
use crate::state::attempt::{Attempt, Way};
use crate::state::client::flow::{Met, is_pushed};
use crate::state::{Next, Step, Work, done, wait_in};
use crate::suspended::{After, Obtaining};

/// A flow whose client is bound to the issuer.
pub(crate) enum Bound {
    /// Authorization by the user.
    User(Box<Met>, AtIssuer<PreRegistered>),
    /// A token request without a user.
    Obtain(Box<Obtaining>, ResourceFacts, AtIssuer<PreRegistered>),
    /// The exchange of a code for the client.
    Code(AtIssuer<CodeGrant>),
}

/// The flow for which a client is bound to an issuer.
pub(crate) enum Then {
    /// Authorization by the user.
    User(Box<Met>, AtIssuer<()>, PreRegistered),
    /// A token request without a user.
    Obtain(Box<Obtaining>, ResourceFacts, AtIssuer<()>, PreRegistered),
    /// The exchange of a code for the client.
    Code(Box<AtIssuer<CodeGrant>>),
}

impl Then {
    fn issuer(&self) -> &IssuerId {
        match self {
            Self::User(_, at, _) | Self::Obtain(_, _, at, _) => at.issuer(),
            Self::Code(grant) => grant.issuer(),
        }
    }

    fn client_id(&self) -> &str {
        match self {
            Self::User(_, _, client) | Self::Obtain(_, _, _, client) => &client.client_id,
            Self::Code(grant) => &grant.held().client().id,
        }
    }

    fn fails(&self, core: &Core, cause: Cause) -> Step {
        let (stage, issuer) = (Stage::Registration, Some(self.issuer()));
        Err(match self {
            Self::User(met, _, _) => met.attempt.fails(stage, issuer, cause),
            Self::Obtain(obtaining, _, _, _) => obtaining.effort.fails(stage, issuer, cause),
            Self::Code(_) => Failure {
                operation: core.memory.operation.clone(),
                stage,
                issuer: issuer.cloned(),
                cause,
                seen: Vec::new(),
            },
        })
    }

    fn uncounted(&mut self) -> Option<&mut Attempt> {
        match self {
            Self::User(met, _, _) => Some(&mut met.attempt),
            Self::Obtain(..) | Self::Code(_) => None,
        }
    }

    fn attempt(&self) -> Option<Option<&Operation>> {
        match self {
            Self::User(met, _, _) => Some(met.attempt.effort.operation.as_ref()),
            Self::Obtain(..) | Self::Code(_) => None,
        }
    }

    /// Returns true when the next request of the flow carries a credential of the client.
    fn shows_a_credential(&self, core: &Core) -> bool {
        match self {
            Self::User(met, at, client) => match met.attempt.way {
                Way::Redirect { .. } => is_pushed(core, at.server()) && !client.is_public(),
                Way::Device => true,
            },
            Self::Obtain(..) | Self::Code(_) => true,
        }
    }

    /// Continues with the client at the server that it is, or may be, bound to.
    fn go_on(self) -> Step {
        let open = |client: PreRegistered, at: &AtIssuer<()>| {
            IssuerBound::new(at.issuer().clone(), client).open(at, SlashRule::Exact)
        };
        let bound = match self {
            Self::User(met, at, client) => open(client, &at).map(|client| Bound::User(met, client)),
            Self::Obtain(obtaining, facts, at, client) => {
                open(client, &at).map(|client| Bound::Obtain(obtaining, facts, client))
            }
            Self::Code(grant) => Some(Bound::Code(*grant)),
        };
        bound.map_or_else(done, |bound| Ok(Next::Bound(bound)))
    }

    fn slot(&self, core: &Core) -> Slot {
        slot_of(core, self.client_id())
    }

    /// Compares with the issuer in the record: continues with the same one, fails with another. A stored account counts
    /// first: it shows that the client belongs to its issuer, whatever another process has bound meanwhile.
    fn judge(self, core: &mut Core, stored: &Stored) -> Step {
        match read_binding(&core.identity, self.client_id(), stored) {
            Ok(bound) if core.config().is_same_issuer(&bound, self.issuer()) => self.go_on(),
            Ok(_) if has_account(core, self.client_id(), self.issuer()) => self.go_on(),
            Ok(bound) => {
                let other = Misconfiguration::OtherIssuer {
                    configured: vec![bound],
                    found: self.issuer().clone(),
                };
                self.fails(core, Cause::Misconfigured(other))
            }
            // An unreadable record is never overwritten: it may bind the client to another issuer. The host
            // must resolve it.
            Err(flaw) => {
                let slot = self.slot(core).to_string();
                let flaw = Misconfiguration::BindingUnreadable { slot, flaw };
                self.fails(core, Cause::Misconfigured(flaw))
            }
        }
    }
}

fn slot_of(core: &Core, client_id: &str) -> Slot {
    Slot::binding(
        core.identity.principal(),
        core.identity.mcp_url(),
        client_id,
    )
}

/// Returns true when an account with this client at this issuer is stored, or waits to be.
fn has_account(core: &Core, client_id: &str, issuer: &IssuerId) -> bool {
    let unsaved = core.held.unsaved.as_ref().map(|unsaved| &unsaved.at);
    let mut accounts = core.held.at.iter().chain(unsaved);
    accounts.any(|at| {
        *at.held().client.id == *client_id && core.config().is_same_issuer(at.issuer(), issuer)
    })
}

/// Starts the exchange of a code; a client without a configured issuer is bound first.
pub(crate) fn before_code(core: &mut Core, grant: AtIssuer<CodeGrant>) -> Step {
    let client = grant.held().client();
    let configured = client.origin == ClientOrigin::PreRegistered
        && core.config().is_unbound(&client.id, grant.issuer());
    if configured {
        let then = Then::Code(Box::new(grant));
        wait_in(SavingBinding::begin(core, then))
    } else {
        Ok(Next::Bound(Bound::Code(grant)))
    }
}

/// Reads the issuer to which a client without a configured issuer was bound before.
pub(crate) struct LoadingBinding {
    pub(crate) ask: Ask,
    task: Task,
}

/// The purpose of reading or writing a binding.
enum Task {
    Bind(Then),
    /// A reset by the host drops it.
    Drop(Slot),
}

impl Task {
    fn attempt(&self) -> Option<Option<&Operation>> {
        match self {
            Self::Bind(then) => then.attempt(),
            Self::Drop(_) => None,
        }
    }

    fn uncounted(&mut self) -> Option<&mut Attempt> {
        match self {
            Self::Bind(then) => then.uncounted(),
            Self::Drop(_) => None,
        }
    }
}

/// Drops the binding of a client with which no account is stored at its issuer, as part of a reset by the host; then the
/// user is asked (QUIRK-14).
pub(crate) fn drop_unused(core: &mut Core) -> Step {
    let own = core.config().unbound_client.as_ref();
    let Some(slot) = own.map(|own| slot_of(core, &own.client_id)) else {
        return After::Ask(Why::ClientForgotten).run(core);
    };
    let ask = core.load(slot);
    let task = Task::Drop(slot);
    wait_in(Work::LoadingBinding(LoadingBinding { ask, task }))
}

/// Fails a reset that the store did not keep.
fn not_dropped(core: &Core, flaw: StoreFlaw) -> Step {
    Err(Failure {
        operation: core.memory.operation.clone(),
        stage: Stage::Registration,
        issuer: None,
        cause: Cause::NotPersisted(flaw),
        seen: Vec::new(),
    })
}

impl LoadingBinding {
    pub(crate) fn begin(core: &mut Core, then: Then) -> Work {
        let slot = then.slot(core);
        let ask = core.load(slot);
        let task = Task::Bind(then);
        Work::LoadingBinding(Self { ask, task })
    }

    /// Returns the operation of an authorization that can still be cancelled.
    pub(crate) fn attempt(&self) -> Option<Option<&Operation>> {
        self.task.attempt()
    }

    /// Returns the attempt, if the flow is one with a user.
    pub(crate) fn uncounted(&mut self) -> Option<&mut Attempt> {
        self.task.uncounted()
    }

    pub(crate) fn loaded(self, core: &mut Core, found: Result<Option<Stored>, ()>) -> Step {
        match (self.task, found) {
            (Task::Bind(then), Ok(Some(stored))) => then.judge(core, &stored),
            (Task::Bind(then), Ok(None)) if then.shows_a_credential(core) => {
                wait_in(SavingBinding::begin(core, then))
            }
            (Task::Bind(then), Ok(None)) => then.go_on(),
            (Task::Bind(then), Err(())) => then.fails(core, Cause::NotPersisted(StoreFlaw::Load)),
            (Task::Drop(slot), Ok(Some(stored))) => {
                let own = core.config().unbound_client.as_ref();
                let bound = own.and_then(|own| {
                    let bound = read_binding(&core.identity, &own.client_id, &stored).ok();
                    bound.filter(|issuer| !has_account(core, &own.client_id, issuer))
                });
                match bound {
                    Some(issuer) => {
                        core.report(|| Decision::ClientUnbound { issuer });
                        let ask = core.persist(slot, Some(stored.revision), None, None);
                        let task = Task::Drop(slot);
                        wait_in(Work::SavingBinding(SavingBinding { ask, task }))
                    }
                    // In use; or it cannot be read, and may name another server (REG-04).
                    None => After::Ask(Why::ClientForgotten).run(core),
                }
            }
            (Task::Drop(_), Ok(None)) => After::Ask(Why::ClientForgotten).run(core),
            (Task::Drop(_), Err(())) => not_dropped(core, StoreFlaw::Load),
        }
    }
}

/// Writes the binding, or drops it. A credential is shown only once the binding is durable; that of another process counts.
pub(crate) struct SavingBinding {
    pub(crate) ask: Ask,
    task: Task,
}

impl SavingBinding {
    fn begin(core: &mut Core, then: Then) -> Work {
        let slot = then.slot(core);
        let stored = write_binding(&core.identity, then.client_id(), then.issuer());
        let ask = core.persist(slot, None, Some(stored), None);
        let task = Task::Bind(then);
        Work::SavingBinding(Self { ask, task })
    }

    /// Returns true when a code waits for the binding.
    pub(crate) fn is_for_a_code(&self) -> bool {
        matches!(self.task, Task::Bind(Then::Code(_)))
    }

    /// Returns the operation of an authorization that can still be cancelled.
    pub(crate) fn attempt(&self) -> Option<Option<&Operation>> {
        self.task.attempt()
    }

    /// Returns the attempt, if the flow is one with a user.
    pub(crate) fn uncounted(&mut self) -> Option<&mut Attempt> {
        self.task.uncounted()
    }

    pub(crate) fn persisted(self, core: &mut Core, outcome: Persistence) -> Step {
        match (self.task, outcome) {
            (Task::Bind(then), Persistence::Done) => {
                let issuer = then.issuer().clone();
                core.report(|| Decision::ClientBound { issuer });
                then.go_on()
            }
            (Task::Bind(then), Persistence::Conflict(Some(current))) => then.judge(core, &current),
            (Task::Bind(then), Persistence::Conflict(None) | Persistence::Failed) => {
                then.fails(core, Cause::NotPersisted(StoreFlaw::Write))
            }
            // Another process bound the client, or dropped the binding, meanwhile.
            (Task::Drop(_), Persistence::Done | Persistence::Conflict(_)) => {
                After::Ask(Why::ClientForgotten).run(core)
            }
            (Task::Drop(_), Persistence::Failed) => not_dropped(core, StoreFlaw::Write),
        }
    }
}

impl Config {
    /// Returns true for the client without a configured issuer, at an issuer without a configured client.
    fn is_unbound(&self, client_id: &str, issuer: &IssuerId) -> bool {
        let own = self.unbound_client.as_ref();
        own.is_some_and(|own| *own.client_id == *client_id) && self.client_of(issuer).is_none()
    }
}
