//! One struct for each kind of pending action, in the order in which an attempt visits them.
//!
//! A state is consumed by the result it waits for and returns the next state.

mod attempt;
mod binding;
mod bound;
mod call;
mod client;
mod come_back;
mod decide;
mod device;
mod discover;
mod effort;
mod exchange;
mod fetch;
mod flow;
mod forget;
mod judge;
mod lease;
mod load_account;
mod metadata;
mod obtain;
mod post;
mod pushed;
mod redirect;
mod refresh;
mod register;
mod renew;
mod repeat;
mod resource;
mod save;
mod server;
mod sign_out;
mod standing;
mod waiting;

pub(crate) use attempt::Attempt;
pub(crate) use binding::{LoadingBinding, SavingBinding};
pub(crate) use client::LoadingRegistration;
pub(crate) use come_back::{Elsewhere, FindingPending, Otherwise, TakingPending, come_back};
pub(crate) use device::{Polling, RequestingCode};
pub(crate) use discover::{ChoosingServer, discover};
pub(crate) use exchange::Exchanging;
pub(crate) use forget::{ClearingClient, Doomed, ForgettingClient};
pub(crate) use judge::{Judged, judge};
pub(crate) use lease::Leasing;
pub(crate) use load_account::{LoadingAccount, Trigger, start};
pub(crate) use metadata::{LoadingResource, LoadingServer};
pub(crate) use obtain::{ExchangingSubject, ObtainingAssertion, Requesting};
pub(crate) use pushed::Pushing;
pub(crate) use redirect::SavingPending;
pub(crate) use refresh::Refreshing;
pub(crate) use register::{Registering, SavingRegistration};
pub(crate) use renew::Pausing;
pub(crate) use repeat::CheckingPending;
pub(crate) use resource::FetchingResource;
pub(crate) use save::SavingAccount;
pub(crate) use server::FetchingServer;
pub(crate) use sign_out::{Erasing, FindingAccount, Leaving, Revoking};
pub(crate) use standing::SavingStanding;

use crate::action::SubjectTokenKind;
use crate::config::Config;
use crate::core::{Ask, Core};
use crate::error::Failure;
use crate::event::{Authorization, Operation, Outcome, Persistence};
use crate::secret::Secret;
use crate::slot::{Revision, Slot, Stored};

/// The result of one transition: the next state, or the failure of the attempt.
pub(crate) type Step = Result<Work, Failure>;

/// Declares the states, each once: its name, and the kind of result it waits for. A result of another kind,
/// which no ticket can deliver, leaves the state unchanged.
macro_rules! states {
    (
        http { $($http:ident = $http_name:literal),* $(,)? }
        call { $($call:ident = $call_name:literal),* $(,)? }
        obtain { $($obtain:ident = $obtain_name:literal),* $(,)? }
        fetch { $($fetch:ident = $fetch_name:literal),* $(,)? }
        load { $($load:ident = $load_name:literal),* $(,)? }
        persist { $($persist:ident = $persist_name:literal),* $(,)? }
        pause { $($pause:ident = $pause_name:literal),* $(,)? }
    ) => {
        /// The current state of the machine.
        pub(crate) enum Work {
            Idle,
            $($http($http),)* $($call($call),)* $($obtain($obtain),)*
            $($fetch($fetch),)* $($load($load),)*
            $($persist($persist),)* $($pause($pause),)*
        }

        impl Work {
            /// The names of all states except `idle`.
            pub(crate) const NAMES: &[&str] = &[
                $($http_name,)* $($call_name,)* $($obtain_name,)* $($fetch_name,)* $($load_name,)* $($persist_name,)* $($pause_name,)*
            ];

            /// Returns the pending action.
            pub(crate) fn ask(&self) -> Option<&Ask> {
                Some(match self {
                    Self::Idle => return None,
                    $(Self::$http(state) => &state.ask,)*
                    $(Self::$call(state) => state.ask(),)*
                    $(Self::$obtain(state) => &state.ask,)*
                    $(Self::$fetch(state) => state.ask(),)*
                    $(Self::$load(state) => &state.ask,)*
                    $(Self::$persist(state) => &state.ask,)*
                    $(Self::$pause(state) => &state.ask,)*
                })
            }

            /// Returns the name of the state.
            pub(crate) fn name(&self) -> &'static str {
                match self {
                    Self::Idle => "idle",
                    $(Self::$http(_) => $http_name,)*
                    $(Self::$call(_) => $call_name,)*
                    $(Self::$obtain(_) => $obtain_name,)*
                    $(Self::$fetch(_) => $fetch_name,)*
                    $(Self::$load(_) => $load_name,)*
                    $(Self::$persist(_) => $persist_name,)*
                    $(Self::$pause(_) => $pause_name,)*
                }
            }

            /// Continues with an HTTP response.
            pub(crate) fn replied(self, core: &mut Core, outcome: Outcome) -> Step {
                match self {
                    $(Self::$http(state) => state.replied(core, outcome),)*
                    $(Self::$call(state) => state.replied(core, outcome),)*
                    $(Self::$fetch(state) => state.replied(core, outcome),)*
                    Self::Idle $(| Self::$obtain(_))* $(| Self::$load(_))*
                    $(| Self::$persist(_))* $(| Self::$pause(_))* => Ok(self),
                }
            }

            /// Continues with a signature, completed to a token.
            pub(crate) fn signed(self, core: &mut Core, token: Option<Secret>) -> Step {
                match self {
                    $(Self::$call(state) => state.signed(core, token),)*
                    Self::Idle $(| Self::$http(_))* $(| Self::$obtain(_))* $(| Self::$fetch(_))*
                    $(| Self::$load(_))* $(| Self::$persist(_))* $(| Self::$pause(_))* => Ok(self),
                }
            }

            /// Continues with a token of the host's platform.
            pub(crate) fn obtained(
                self,
                core: &mut Core,
                token: Option<(Secret, Option<SubjectTokenKind>)>,
            ) -> Step {
                match self {
                    $(Self::$obtain(state) => state.obtained(core, token),)*
                    Self::Idle $(| Self::$http(_))* $(| Self::$call(_))* $(| Self::$fetch(_))*
                    $(| Self::$load(_))* $(| Self::$persist(_))* $(| Self::$pause(_))* => Ok(self),
                }
            }

            /// Continues with the contents of a slot.
            pub(crate) fn loaded(
                self,
                core: &mut Core,
                found: Result<Option<Stored>, ()>,
            ) -> Step {
                match self {
                    $(Self::$load(state) => state.loaded(core, found),)*
                    Self::Idle $(| Self::$http(_))* $(| Self::$call(_))* $(| Self::$obtain(_))*
                    $(| Self::$fetch(_))* $(| Self::$persist(_))* $(| Self::$pause(_))* => Ok(self),
                }
            }

            /// Continues with the result of a write.
            pub(crate) fn persisted(self, core: &mut Core, outcome: Persistence) -> Step {
                match self {
                    $(Self::$persist(state) => state.persisted(core, outcome),)*
                    Self::Idle $(| Self::$http(_))* $(| Self::$call(_))* $(| Self::$obtain(_))*
                    $(| Self::$fetch(_))* $(| Self::$load(_))* $(| Self::$pause(_))* => Ok(self),
                }
            }

            /// Continues after the host reported no result in time: the same as an unusable result.
            pub(crate) fn timed_out(self, core: &mut Core) -> Step {
                match self {
                    $(Self::$http(_))|* $(| Self::$call(_))* $(| Self::$fetch(_))* => {
                        self.replied(core, Outcome::MaybeSent)
                    }
                    $(Self::$obtain(_))|* => self.obtained(core, None),
                    $(Self::$load(_))|* => self.loaded(core, Err(())),
                    $(Self::$persist(_))|* => self.persisted(core, Persistence::Failed),
                    $(Self::$pause(state) => state.elapsed(core),)*
                    Self::Idle => Ok(self),
                }
            }
        }
    };
}

states! {
    http {
        Registering = "registering",
    }
    call {
        Exchanging = "exchanging",
        Refreshing = "refreshing",
        Revoking = "revoking",
        Pushing = "pushing",
        RequestingCode = "requesting_code",
        Polling = "polling",
        Requesting = "requesting",
        ExchangingSubject = "exchanging_subject",
    }
    obtain {
        ObtainingAssertion = "obtaining_assertion",
    }
    fetch {
        FetchingResource = "fetching_resource",
        FetchingServer = "fetching_server",
    }
    load {
        LoadingAccount = "loading_account",
        LoadingResource = "loading_resource",
        ChoosingServer = "choosing_server",
        LoadingServer = "loading_server",
        LoadingBinding = "loading_binding",
        LoadingRegistration = "loading_registration",
        FindingPending = "finding_pending",
        CheckingPending = "checking_pending",
        ForgettingClient = "forgetting_client",
        FindingAccount = "finding_account",
    }
    persist {
        SavingBinding = "saving_binding",
        SavingRegistration = "saving_registration",
        ClearingClient = "clearing_client",
        SavingPending = "saving_pending",
        TakingPending = "taking_pending",
        SavingAccount = "saving_account",
        SavingStanding = "saving_standing",
        Leasing = "leasing",
        Erasing = "erasing",
    }
    pause {
        Pausing = "pausing",
    }
}

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
            Self::LoadingRegistration(state) => &state.attempt,
            Self::Registering(state) => &state.attempt,
            Self::SavingRegistration(state) => &state.attempt,
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

    /// Returns true while an authorization is being prepared whose scopes are not chosen yet.
    pub(crate) fn prepares(&self) -> bool {
        let repeats = matches!(self, Self::CheckingPending(state) if state.is_for_a_click());
        let chosen = matches!(
            self,
            Self::SavingPending(_) | Self::Pushing(_) | Self::RequestingCode(_) | Self::Polling(_)
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
            Self::LoadingRegistration(state) => Some(&mut state.attempt),
            Self::Registering(state) => Some(&mut state.attempt),
            Self::SavingRegistration(state) => Some(&mut state.attempt),
            Self::SavingPending(_)
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

    /// Returns false when this state is about to send the user to a redirect whose callback arrives at another browser or
    /// redirect URI than this request wants.
    pub(crate) fn comes_back_to(&self, wanted: &Authorization, config: &Config) -> bool {
        let redirected = if let Self::SavingPending(state) = self {
            state.redirected()
        } else if let Self::Pushing(state) = self {
            state.redirected()
        } else {
            return true;
        };
        let uri = wanted.redirect_uri.as_ref().or(config.redirect_uri());
        redirected.comes_back_to(uri, wanted.browser.as_ref())
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
