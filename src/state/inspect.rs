//! Properties of a state on which cancels, authorization requests, sign-outs and the queue depend.

use crate::config::Config;
use crate::core::Core;
use crate::event::{Authorization, Operation};
use crate::slot::{Revision, Slot};
use crate::state::attempt::Attempt;
use crate::state::{Trigger, Work};
use crate::wire::scopes::Scopes;

impl Work {
    /// Returns true when the work is a pause of a refresh without a lease.
    pub(crate) fn waits_without_lease(&self) -> bool {
        if let Self::Pausing(pausing) = self {
            pausing.holds_no_lease()
        } else {
            false
        }
    }

    /// Returns the operation when this state belongs to an attempt that has not redirected the user yet:
    /// cancelling ends the attempt here. Later states spend or store something, and run to completion.
    pub(crate) fn attempt(&self) -> Option<Option<&Operation>> {
        let attempt: &Attempt = match self {
            Self::LoadingResource(state) => return state.errand.attempt(),
            Self::FetchingResource(state) => return state.errand.attempt(),
            Self::SavingStanding(state) => return state.errand.attempt(),
            Self::ChoosingServer(state) => &state.attempt,
            Self::LoadingServer(state) => return state.errand.attempt(),
            Self::FetchingServer(state) => return state.errand.attempt(),
            Self::LoadingBinding(state) => return state.attempt(),
            Self::SavingBinding(state) => return state.attempt(),
            Self::LoadingRegistration(state) => &state.met.attempt,
            Self::Registering(state) => &state.met.attempt,
            Self::SavingRegistration(state) => &state.met.attempt,
            Self::SavingBoth(state) => return Some(state.pending.operation.as_ref()),
            Self::SavingPending(state) => return Some(state.operation.as_ref()),
            Self::Pushing(state) => return Some(state.operation.as_ref()),
            Self::RequestingCode(state) => return Some(state.operation.as_ref()),
            Self::Polling(state) => return Some(state.operation()),
            Self::LoadingAccount(state) => return state.is_for_an_attempt().then_some(None),
            Self::Idle
            | Self::CheckingPending(_)
            | Self::FindingPending(_)
            | Self::TakingPending(_)
            | Self::Exchanging(_)
            | Self::SavingAccount(_)
            | Self::ForgettingClient(_)
            | Self::ClearingClient(_)
            | Self::Pausing(_)
            | Self::Leasing(_)
            | Self::Refreshing(_)
            | Self::FindingAccount(_)
            | Self::Erasing(_)
            | Self::Revoking(_)
            | Self::Requesting(_)
            | Self::ExchangingSubject(_)
            | Self::ObtainingAssertion(_) => return None,
        };
        Some(attempt.effort.operation.as_ref())
    }

    /// The event that continues once this work is done, for work that another event found unfinished.
    pub(crate) fn then(&mut self) -> Option<&mut Option<Box<Trigger>>> {
        if let Self::SavingAccount(state) = self {
            Some(state.then())
        } else if let Self::Revoking(state) = self {
            Some(state.then())
        } else {
            None
        }
    }

    /// Returns true while an authorization is being prepared whose scopes are not chosen yet.
    pub(crate) fn prepares(&self) -> bool {
        let repeats = matches!(self, Self::CheckingPending(state) if state.is_for_a_click());
        let chosen = matches!(
            self,
            Self::SavingBoth(_)
                | Self::SavingPending(_)
                | Self::Pushing(_)
                | Self::RequestingCode(_)
                | Self::Polling(_)
        );
        repeats || !chosen && self.attempt().is_some()
    }

    /// Returns true while an authorization that the user has finished, or that is repeated or replaced, is under way.
    pub(crate) fn completes_an_authorization(&self) -> bool {
        match self {
            Self::SavingAccount(state) => state.is_of_an_authorization(),
            Self::LoadingAccount(state) => state.completes_an_authorization(),
            Self::Pausing(state) => state.then.completes_an_authorization(),
            Self::ForgettingClient(state) => state.is_of_an_attempt(),
            Self::ClearingClient(state) => state.is_of_an_attempt(),
            Self::CheckingPending(_) | Self::TakingPending(_) | Self::Exchanging(_) => true,
            Self::SavingBinding(state) => state.is_for_a_code(),
            Self::Idle
            | Self::LoadingResource(_)
            | Self::FetchingResource(_)
            | Self::SavingStanding(_)
            | Self::ChoosingServer(_)
            | Self::LoadingServer(_)
            | Self::FetchingServer(_)
            | Self::LoadingBinding(_)
            | Self::LoadingRegistration(_)
            | Self::Registering(_)
            | Self::SavingRegistration(_)
            | Self::SavingBoth(_)
            | Self::SavingPending(_)
            | Self::Pushing(_)
            | Self::RequestingCode(_)
            | Self::Polling(_)
            | Self::FindingPending(_)
            | Self::Leasing(_)
            | Self::Refreshing(_)
            | Self::FindingAccount(_)
            | Self::Erasing(_)
            | Self::Revoking(_)
            | Self::Requesting(_)
            | Self::ExchangingSubject(_)
            | Self::ObtainingAssertion(_) => false,
        }
    }

    /// Returns the attempt that has not been counted yet, if this state belongs to one.
    pub(crate) fn uncounted(&mut self) -> Option<&mut Attempt> {
        match self {
            Self::LoadingResource(state) => state.errand.uncounted(),
            Self::FetchingResource(state) => state.errand.uncounted(),
            Self::SavingStanding(state) => state.errand.uncounted(),
            Self::ChoosingServer(state) => Some(&mut state.attempt),
            Self::LoadingServer(state) => state.errand.uncounted(),
            Self::FetchingServer(state) => state.errand.uncounted(),
            Self::LoadingBinding(state) => state.uncounted(),
            Self::SavingBinding(state) => state.uncounted(),
            Self::LoadingRegistration(state) => Some(&mut state.met.attempt),
            Self::Registering(state) => Some(&mut state.met.attempt),
            Self::SavingRegistration(state) => Some(&mut state.met.attempt),
            Self::SavingBoth(_)
            | Self::SavingPending(_)
            | Self::Pushing(_)
            | Self::RequestingCode(_)
            | Self::Polling(_)
            | Self::Idle
            | Self::LoadingAccount(_)
            | Self::CheckingPending(_)
            | Self::FindingPending(_)
            | Self::TakingPending(_)
            | Self::Exchanging(_)
            | Self::SavingAccount(_)
            | Self::ForgettingClient(_)
            | Self::ClearingClient(_)
            | Self::Pausing(_)
            | Self::Leasing(_)
            | Self::Refreshing(_)
            | Self::FindingAccount(_)
            | Self::Erasing(_)
            | Self::Revoking(_)
            | Self::Requesting(_)
            | Self::ExchangingSubject(_)
            | Self::ObtainingAssertion(_) => None,
        }
    }

    /// Returns true when the attempt of this state does what this request wants: the callback arrives at the same browser and
    /// redirect URI, and it asks for these scopes. Otherwise the request follows it, and replaces its redirect.
    pub(crate) fn serves(
        &mut self,
        wanted: &Authorization,
        scopes: Option<&Scopes>,
        config: &Config,
    ) -> bool {
        if let Some(attempt) = self.uncounted() {
            return attempt.way.is_that_of(wanted, config)
                && scopes.is_none_or(|scopes| attempt.asks_for(scopes, wanted));
        }
        let asks_for = |requested: &Scopes| scopes.is_none_or(|scopes| requested.covers(scopes));
        let redirected = if let Self::SavingBoth(state) = self {
            state.pending.redirected()
        } else if let Self::SavingPending(state) = self {
            state.redirected()
        } else if let Self::Pushing(state) = self {
            state.redirected()
        } else if let Self::RequestingCode(state) = self {
            return asks_for(state.requested());
        } else {
            return true;
        };
        let uri = wanted.redirect_uri.as_ref().or(config.redirect_uri());
        redirected.comes_back_to(uri, wanted.browser.as_ref()) && asks_for(&redirected.0.requested)
    }

    /// Returns true while the account, or a registration that goes with it, is being erased.
    pub(crate) fn is_signing_out(&self) -> bool {
        let leaves = if let Self::ForgettingClient(state) = self {
            state.leaves()
        } else if let Self::ClearingClient(state) = self {
            state.leaves()
        } else {
            false
        };
        leaves || matches!(self, Self::FindingAccount(_) | Self::Erasing(_))
    }

    /// Returns the slot of the secret record that is useless once this state is dropped: its write is
    /// unconfirmed, or the user was not redirected.
    pub(crate) fn being_written(&self, core: &Core) -> Option<(Slot, Revision)> {
        match self {
            Self::SavingBoth(state) => Some(state.pending.slot()),
            Self::SavingPending(state) => Some(state.slot()),
            Self::Pushing(state) => Some(state.slot()),
            Self::SavingAccount(state) => Some((core.account_slot(), state.revision)),
            Self::Leasing(state) => Some((core.account_slot(), state.revision)),
            Self::Idle
            | Self::LoadingAccount(_)
            | Self::LoadingResource(_)
            | Self::FetchingResource(_)
            // The write adds nothing to the slot; a later erasure removes either version.
            | Self::SavingStanding(_)
            | Self::ChoosingServer(_)
            | Self::LoadingServer(_)
            | Self::FetchingServer(_)
            | Self::LoadingBinding(_)
            | Self::SavingBinding(_)
            | Self::LoadingRegistration(_)
            | Self::Registering(_)
            | Self::SavingRegistration(_)
            | Self::CheckingPending(_)
            | Self::FindingPending(_)
            | Self::TakingPending(_)
            | Self::RequestingCode(_)
            | Self::Polling(_)
            | Self::Exchanging(_)
            | Self::ForgettingClient(_)
            | Self::ClearingClient(_)
            | Self::Pausing(_)
            | Self::Refreshing(_)
            | Self::FindingAccount(_)
            | Self::Erasing(_)
            | Self::Revoking(_)
            | Self::Requesting(_)
            | Self::ExchangingSubject(_)
            | Self::ObtainingAssertion(_) => None,
        }
    }
}
