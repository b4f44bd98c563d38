//! One struct for each thing that the machine can wait for, in the order an attempt visits them.
//!
//! A state is used up by the answer it waited for and makes the next one.

mod attempt;
mod client;
mod come_back;
mod decide;
mod discover;
mod exchange;
mod fetch;
mod forget;
mod judge;
mod lease;
mod load_account;
mod metadata;
mod post;
mod redirect;
mod refresh;
mod register;
mod renew;
mod resource;
mod save;
mod server;
mod sign_out;

pub(crate) use attempt::{Attempt, Effort};
pub(crate) use client::{LoadingBinding, LoadingRegistration, SavingBinding};
pub(crate) use come_back::{FindingPending, TakingPending, come_back};
pub(crate) use discover::{ChoosingServer, discover};
pub(crate) use exchange::Exchanging;
pub(crate) use forget::ForgettingClient;
pub(crate) use judge::{Judged, judge};
pub(crate) use lease::Leasing;
pub(crate) use load_account::{LoadingAccount, Trigger, start};
pub(crate) use metadata::{LoadingResource, LoadingServer};
pub(crate) use redirect::{SavingPending, Waiting, repeat_redirect};
pub(crate) use refresh::Refreshing;
pub(crate) use register::{Registering, SavingRegistration};
pub(crate) use renew::{Pausing, Refused, Renewal};
pub(crate) use resource::FetchingResource;
pub(crate) use save::{SavingAccount, Unsaved};
pub(crate) use server::FetchingServer;
pub(crate) use sign_out::{Erasing, FindingAccount, Parting, Revoking};

use crate::core::{Ask, Core};
use crate::error::Failure;
use crate::event::{Operation, Outcome, Persistence};
use crate::slot::{Revision, Slot, Stored};

/// What a state makes of an answer: the next state, or the end of the attempt.
pub(crate) type Step = Result<Work, Failure>;

/// What the machine is doing now.
pub(crate) enum Work {
    Idle,
    LoadingAccount(LoadingAccount),
    LoadingResource(LoadingResource),
    FetchingResource(FetchingResource),
    ChoosingServer(ChoosingServer),
    LoadingServer(LoadingServer),
    FetchingServer(FetchingServer),
    LoadingBinding(LoadingBinding),
    SavingBinding(SavingBinding),
    LoadingRegistration(LoadingRegistration),
    Registering(Registering),
    SavingRegistration(SavingRegistration),
    SavingPending(SavingPending),
    FindingPending(FindingPending),
    TakingPending(TakingPending),
    Exchanging(Exchanging),
    SavingAccount(SavingAccount),
    ForgettingClient(ForgettingClient),
    Pausing(Pausing),
    Leasing(Leasing),
    Refreshing(Refreshing),
    FindingAccount(FindingAccount),
    Erasing(Erasing),
    Revoking(Revoking),
}

impl Work {
    /// The action whose answer is waited for.
    pub(crate) fn ask(&self) -> Option<&Ask> {
        Some(match self {
            Self::Idle => return None,
            Self::LoadingAccount(state) => &state.ask,
            Self::LoadingResource(state) => &state.ask,
            Self::FetchingResource(state) => state.ask(),
            Self::ChoosingServer(state) => &state.ask,
            Self::LoadingServer(state) => &state.ask,
            Self::FetchingServer(state) => state.ask(),
            Self::LoadingBinding(state) => &state.ask,
            Self::SavingBinding(state) => &state.ask,
            Self::LoadingRegistration(state) => &state.ask,
            Self::Registering(state) => &state.ask,
            Self::SavingRegistration(state) => &state.ask,
            Self::SavingPending(state) => &state.ask,
            Self::FindingPending(state) => &state.ask,
            Self::TakingPending(state) => &state.ask,
            Self::Exchanging(state) => &state.ask,
            Self::SavingAccount(state) => &state.ask,
            Self::ForgettingClient(state) => &state.ask,
            Self::Pausing(state) => &state.ask,
            Self::Leasing(state) => &state.ask,
            Self::Refreshing(state) => &state.ask,
            Self::FindingAccount(state) => &state.ask,
            Self::Erasing(state) => &state.ask,
            Self::Revoking(state) => &state.ask,
        })
    }

    /// A state's name.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::LoadingAccount(_) => "loading_account",
            Self::LoadingResource(_) => "loading_resource",
            Self::FetchingResource(_) => "fetching_resource",
            Self::ChoosingServer(_) => "choosing_server",
            Self::LoadingServer(_) => "loading_server",
            Self::FetchingServer(_) => "fetching_server",
            Self::LoadingBinding(_) => "loading_binding",
            Self::SavingBinding(_) => "saving_binding",
            Self::LoadingRegistration(_) => "loading_registration",
            Self::Registering(_) => "registering",
            Self::SavingRegistration(_) => "saving_registration",
            Self::SavingPending(_) => "saving_pending",
            Self::FindingPending(_) => "finding_pending",
            Self::TakingPending(_) => "taking_pending",
            Self::Exchanging(_) => "exchanging",
            Self::SavingAccount(_) => "saving_account",
            Self::ForgettingClient(_) => "forgetting_client",
            Self::Pausing(_) => "pausing",
            Self::Leasing(_) => "leasing",
            Self::Refreshing(_) => "refreshing",
            Self::FindingAccount(_) => "finding_account",
            Self::Erasing(_) => "erasing",
            Self::Revoking(_) => "revoking",
        }
    }

    /// Whether this is a part of an attempt before the user is sent away: giving up ends it here, and
    /// says for which operation it was. Later parts spend or keep something, and are finished.
    pub(crate) fn attempt(&self) -> Option<Option<&Operation>> {
        let attempt: &Attempt = match self {
            Self::LoadingResource(state) => &state.attempt,
            Self::FetchingResource(state) => return state.errand.attempt(),
            Self::ChoosingServer(state) => &state.attempt,
            Self::LoadingServer(state) => return state.errand.attempt(),
            Self::FetchingServer(state) => return state.errand.attempt(),
            Self::LoadingBinding(state) => &state.attempt,
            Self::SavingBinding(state) => &state.attempt,
            Self::LoadingRegistration(state) => &state.attempt,
            Self::Registering(state) => &state.attempt,
            Self::SavingRegistration(state) => &state.attempt,
            Self::SavingPending(state) => return Some(state.operation.as_ref()),
            Self::Idle
            | Self::LoadingAccount(_)
            | Self::FindingPending(_)
            | Self::TakingPending(_)
            | Self::Exchanging(_)
            | Self::SavingAccount(_)
            | Self::ForgettingClient(_)
            | Self::Pausing(_)
            | Self::Leasing(_)
            | Self::Refreshing(_)
            | Self::FindingAccount(_)
            | Self::Erasing(_)
            | Self::Revoking(_) => return None,
        };
        Some(attempt.effort.operation.as_ref())
    }

    /// The secret record whose write was not answered yet.
    pub(crate) fn being_written(&self, core: &Core) -> Option<(Slot, Revision)> {
        match self {
            Self::SavingPending(state) => Some(state.slot()),
            Self::SavingAccount(state) => Some((core.account_slot(), state.revision)),
            Self::Leasing(state) => Some((core.account_slot(), state.revision)),
            Self::Idle
            | Self::LoadingAccount(_)
            | Self::LoadingResource(_)
            | Self::FetchingResource(_)
            | Self::ChoosingServer(_)
            | Self::LoadingServer(_)
            | Self::FetchingServer(_)
            | Self::LoadingBinding(_)
            | Self::SavingBinding(_)
            | Self::LoadingRegistration(_)
            | Self::Registering(_)
            | Self::SavingRegistration(_)
            | Self::FindingPending(_)
            | Self::TakingPending(_)
            | Self::Exchanging(_)
            | Self::ForgettingClient(_)
            | Self::Pausing(_)
            | Self::Refreshing(_)
            | Self::FindingAccount(_)
            | Self::Erasing(_)
            | Self::Revoking(_) => None,
        }
    }

    /// An HTTP answer. A state that asked for none keeps waiting.
    pub(crate) fn replied(self, core: &mut Core, outcome: Outcome) -> Step {
        match self {
            Self::FetchingResource(state) => state.replied(core, outcome),
            Self::FetchingServer(state) => state.replied(core, outcome),
            Self::Registering(state) => state.replied(core, outcome),
            Self::Exchanging(state) => state.replied(core, outcome),
            Self::Refreshing(state) => state.replied(core, outcome),
            Self::Revoking(state) => state.replied(core, outcome),
            Self::Idle
            | Self::LoadingAccount(_)
            | Self::LoadingResource(_)
            | Self::ChoosingServer(_)
            | Self::LoadingServer(_)
            | Self::LoadingBinding(_)
            | Self::SavingBinding(_)
            | Self::LoadingRegistration(_)
            | Self::SavingRegistration(_)
            | Self::SavingPending(_)
            | Self::FindingPending(_)
            | Self::TakingPending(_)
            | Self::SavingAccount(_)
            | Self::ForgettingClient(_)
            | Self::Pausing(_)
            | Self::Leasing(_)
            | Self::FindingAccount(_)
            | Self::Erasing(_) => Ok(self),
        }
    }

    /// What a slot holds. A state that asked for none keeps waiting.
    pub(crate) fn loaded(self, core: &mut Core, found: Result<Option<Stored>, ()>) -> Step {
        match self {
            Self::LoadingAccount(state) => state.loaded(core, found),
            Self::LoadingResource(state) => state.loaded(core, found),
            Self::ChoosingServer(state) => state.loaded(core, found),
            Self::LoadingServer(state) => state.loaded(core, found),
            Self::LoadingBinding(state) => state.loaded(core, found),
            Self::LoadingRegistration(state) => state.loaded(core, found),
            Self::FindingPending(state) => state.loaded(core, found),
            Self::ForgettingClient(state) => state.loaded(core, found),
            Self::FindingAccount(state) => state.loaded(core, found),
            Self::Idle
            | Self::FetchingResource(_)
            | Self::FetchingServer(_)
            | Self::SavingBinding(_)
            | Self::Registering(_)
            | Self::SavingRegistration(_)
            | Self::SavingPending(_)
            | Self::TakingPending(_)
            | Self::Exchanging(_)
            | Self::SavingAccount(_)
            | Self::Pausing(_)
            | Self::Leasing(_)
            | Self::Refreshing(_)
            | Self::Erasing(_)
            | Self::Revoking(_) => Ok(self),
        }
    }

    /// What became of a write. A state that asked for none keeps waiting.
    pub(crate) fn persisted(self, core: &mut Core, outcome: Persistence) -> Step {
        match self {
            Self::SavingBinding(state) => state.persisted(core, outcome),
            Self::SavingRegistration(state) => state.persisted(core, outcome),
            Self::SavingPending(state) => state.persisted(core, outcome),
            Self::TakingPending(state) => state.persisted(core, outcome),
            Self::SavingAccount(state) => state.persisted(core, outcome),
            Self::Leasing(state) => state.persisted(core, outcome),
            Self::Erasing(state) => state.persisted(core, outcome),
            Self::Idle
            | Self::LoadingAccount(_)
            | Self::LoadingResource(_)
            | Self::FetchingResource(_)
            | Self::ChoosingServer(_)
            | Self::LoadingServer(_)
            | Self::FetchingServer(_)
            | Self::LoadingBinding(_)
            | Self::LoadingRegistration(_)
            | Self::Registering(_)
            | Self::FindingPending(_)
            | Self::Exchanging(_)
            | Self::ForgettingClient(_)
            | Self::Pausing(_)
            | Self::Refreshing(_)
            | Self::FindingAccount(_)
            | Self::Revoking(_) => Ok(self),
        }
    }

    /// The host never answered: as if the answer had been that nothing usable came.
    pub(crate) fn timed_out(self, core: &mut Core) -> Step {
        match self {
            Self::FetchingResource(_)
            | Self::FetchingServer(_)
            | Self::Registering(_)
            | Self::Exchanging(_)
            | Self::Refreshing(_)
            | Self::Revoking(_) => self.replied(core, Outcome::MaybeSent),
            Self::LoadingAccount(_)
            | Self::LoadingResource(_)
            | Self::ChoosingServer(_)
            | Self::LoadingServer(_)
            | Self::LoadingBinding(_)
            | Self::LoadingRegistration(_)
            | Self::FindingPending(_)
            | Self::ForgettingClient(_)
            | Self::FindingAccount(_) => self.loaded(core, Err(())),
            Self::SavingBinding(_)
            | Self::SavingRegistration(_)
            | Self::SavingPending(_)
            | Self::TakingPending(_)
            | Self::SavingAccount(_)
            | Self::Leasing(_)
            | Self::Erasing(_) => self.persisted(core, Persistence::Failed),
            Self::Pausing(state) => state.elapsed(core),
            Self::Idle => Ok(self),
        }
    }
}
