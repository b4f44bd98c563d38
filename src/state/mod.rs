//! The states, and the transitions between them: one struct for each kind of pending action.
//!
//! A state is consumed by the result it waits for, and returns the next state, or an outcome after which another flow continues
//! ([`Next`]). `follow.rs` lists what follows each outcome.

mod attempt;
mod call;
mod challenge;
mod client;
mod delay;
mod discovery;
mod dpop;
mod effort;
mod follow;
mod inspect;
mod load_account;
mod pause;
mod post;
mod renewal;
mod replace;
mod save;
mod served;
mod sign_in;
mod sign_out;
mod trigger;
mod without_user;

pub(crate) use challenge::question::recall_reason;
pub(crate) use challenge::read::judge;
pub(crate) use client::binding::{LoadingBinding, SavingBinding};
pub(crate) use client::choose::LoadingRegistration;
pub(crate) use client::register::{Registering, SavingRegistration};
pub(crate) use discovery::cached_resource::LoadingResource;
pub(crate) use discovery::cached_server::LoadingServer;
pub(crate) use discovery::choose_server::ChoosingServer;
pub(crate) use discovery::resource::FetchingResource;
pub(crate) use discovery::server::FetchingServer;
pub(crate) use discovery::standing::SavingStanding;
pub(crate) use load_account::{LoadingAccount, start, start_authorization};
pub(crate) use pause::Pausing;
pub(crate) use renewal::lease::Leasing;
pub(crate) use renewal::refresh::Refreshing;
pub(crate) use save::SavingAccount;
pub(crate) use sign_in::come_back::{FindingPending, TakingPending};
pub(crate) use sign_in::device::{Polling, RequestingCode};
pub(crate) use sign_in::exchange::Exchanging;
pub(crate) use sign_in::pushed::Pushing;
pub(crate) use sign_in::redirect::{SavingBoth, SavingPending};
pub(crate) use sign_in::repeat::CheckingPending;
pub(crate) use sign_out::erase::{Erasing, FindingAccount};
pub(crate) use sign_out::forget::{ClearingClient, ForgettingClient};
pub(crate) use sign_out::revoke::Revoking;
pub(crate) use trigger::Trigger;
pub(crate) use without_user::assertion::ObtainingAssertion;
pub(crate) use without_user::exchange_subject::ExchangingSubject;
pub(crate) use without_user::request::Requesting;

use crate::action::SubjectTokenKind;
use crate::core::{Ask, Core};
use crate::error::Failure;
use crate::event::{Outcome, Persistence};
use crate::grant::{Client, Registration};
use crate::issuer::{AtIssuer, Server};
use crate::record::ResourceFacts;
use crate::secret::Secret;
use crate::slot::Stored;
use crate::suspended::{AtIdp, Obtaining, Renewal};

use attempt::{Errand, ServerErrand};
use client::binding::Bound;
use client::flow::Met;

/// The result of one transition, or the failure of the attempt.
pub(crate) type Step = Result<Next, Failure>;

/// The result of a transition: a state that waits, or an outcome, after which another flow continues (`follow.rs`).
pub(crate) enum Next {
    /// The state waits for the result of its action.
    Wait(Work),
    /// A trigger is due; the account slot is read first where its contents matter.
    Start(Trigger),
    /// The account slot is read, for this trigger.
    Read(Trigger),
    /// The authorization server of the resource is needed.
    Locate(Errand),
    /// The resource lists these authorization servers.
    Listed(Errand, ResourceFacts),
    /// The metadata of the listed server at this index is needed.
    ReadServer(ServerErrand, ResourceFacts, usize),
    /// The authorization server is known.
    Found(ServerErrand, ResourceFacts, Server),
    /// The client without a configured issuer belongs to this one.
    Bound(Bound),
    /// The attempt has its client.
    SendUser(Met, AtIssuer<Registration>),
    /// The renewal decides its next step.
    Renew(Box<Renewal>),
    /// The token request continues after a pause.
    Obtain(Box<Obtaining>),
    /// The organisation's identity provider is needed.
    AtIdp(Box<AtIdp>),
    /// The identity provider needs another subject token, from this client.
    NeedSubject(Box<AtIdp>, AtIssuer<Client>),
    /// The renewal cannot continue without the user, or without another token request.
    NeedsUser(Box<Renewal>),
}

/// Waits in this state.
fn wait_in(work: Work) -> Step {
    Ok(Next::Wait(work))
}

/// Ends the work.
fn done() -> Step {
    wait_in(Work::Idle)
}

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
                    $(| Self::$persist(_))* $(| Self::$pause(_))* => wait_in(self),
                }
            }

            /// Continues with a signature, completed to a token.
            pub(crate) fn signed(self, core: &mut Core, token: Option<Secret>) -> Step {
                match self {
                    $(Self::$call(state) => state.signed(core, token),)*
                    Self::Idle $(| Self::$http(_))* $(| Self::$obtain(_))* $(| Self::$fetch(_))*
                    $(| Self::$load(_))* $(| Self::$persist(_))* $(| Self::$pause(_))* => wait_in(self),
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
                    $(| Self::$load(_))* $(| Self::$persist(_))* $(| Self::$pause(_))* => wait_in(self),
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
                    $(| Self::$fetch(_))* $(| Self::$persist(_))* $(| Self::$pause(_))* => wait_in(self),
                }
            }

            /// Continues with the result of a write.
            pub(crate) fn persisted(self, core: &mut Core, outcome: Persistence) -> Step {
                match self {
                    $(Self::$persist(state) => state.persisted(core, outcome),)*
                    Self::Idle $(| Self::$http(_))* $(| Self::$call(_))* $(| Self::$obtain(_))*
                    $(| Self::$fetch(_))* $(| Self::$load(_))* $(| Self::$pause(_))* => wait_in(self),
                }
            }

            /// Continues after the host reported no result in time: the same as an unusable result. The request of a refresh
            /// is remembered.
            pub(crate) fn timed_out(self, core: &mut Core) -> Step {
                if let Self::Refreshing(state) = self {
                    return state.overdue(core);
                }
                match self {
                    $(Self::$http(_))|* $(| Self::$call(_))* $(| Self::$fetch(_))* => {
                        self.replied(core, Outcome::MaybeSent)
                    }
                    $(Self::$obtain(_))|* => self.obtained(core, None),
                    $(Self::$load(_))|* => self.loaded(core, Err(())),
                    $(Self::$persist(_))|* => self.persisted(core, Persistence::Failed),
                    $(Self::$pause(state) => state.elapsed(),)*
                    Self::Idle => wait_in(self),
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
        SavingBoth = "saving_both",
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
