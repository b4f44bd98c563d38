//! The sequence of the flows: what follows each outcome. No file calls the flow that comes after it; it returns an outcome,
//! and this file says what is next.
//!
//! | Flow | Files, in the order in which it visits them |
//! |---|---|
//! | discovery | `discovery/`: `locate`, `cached_resource`, `resource`, `standing`, `choose_server`, `cached_server`, `server` |
//! | authorization by a user | `sign_in/repeat`; discovery; `client/`: `choose` with `binding` or `register`; `sign_in/`: `send`, `redirect` with `pushed`, or `device`; after the callback `come_back`, `exchange`; `save` |
//! | refresh | `renewal/next_step`; discovery where it is due; `renewal/`: `lease`, `refresh`; `save` |
//! | token request without a user | `without_user/obtain`; discovery; `client/binding`; `without_user/`: `find_provider`, `assertion`, `exchange_subject`, `request`; `save` |
//! | sign-out | `sign_out/`: `erase`, `forget`, `revoke` |

use crate::core::Core;
use crate::state::attempt::{Errand, ServerErrand};
use crate::state::client::binding::Bound;
use crate::state::client::choose::met;
use crate::state::discovery::cached_server::LoadingServer;
use crate::state::discovery::choose_server::{choose_server, first_listed};
use crate::state::discovery::locate::locate;
use crate::state::load_account::{LoadingAccount, start};
use crate::state::sign_in::exchange::Exchanging;
use crate::state::sign_in::send::send_user;
use crate::state::without_user::assertion::ObtainingAssertion;
use crate::state::{Next, Step, wait_in};

impl Next {
    /// Continues with what follows this outcome. The machine repeats that until a state waits.
    pub(crate) fn follow(self, core: &mut Core) -> Step {
        match self {
            Self::Wait(work) => wait_in(work),
            Self::Start(trigger) => start(core, trigger),
            Self::Read(trigger) => wait_in(LoadingAccount::begin(core, Some(trigger))),
            Self::Locate(errand) => locate(core, errand),
            Self::Listed(errand, facts) => match errand {
                Errand::Authorize(attempt) => choose_server(core, attempt, facts),
                Errand::Renew(renewal) => renewal.listed(core, facts),
                Errand::Obtain(obtaining) => first_listed(core, obtaining, facts),
            },
            Self::ReadServer(errand, facts, entry) => {
                LoadingServer::begin(core, errand, facts, entry)
            }
            Self::Found(ServerErrand::Idp(at), _, server) => at.met(core, server),
            Self::Found(ServerErrand::Resource(errand), facts, server) => match errand {
                Errand::Authorize(attempt) => met(core, attempt, facts, server),
                Errand::Renew(renewal) => renewal.met(core, &server),
                Errand::Obtain(obtaining) => obtaining.met(core, facts, server),
            },
            Self::Bound(bound) => match bound {
                Bound::User(met, client) => met.pre_registered(core, client),
                Bound::Obtain(obtaining, facts, client) => {
                    obtaining.pre_registered(core, facts, client)
                }
                Bound::Code(grant) => Exchanging::send(core, grant),
            },
            Self::SendUser(met, at) => send_user(core, met, at),
            Self::Renew(renewal) => renewal.go(core),
            Self::NeedsUser(renewal) => renewal.needs_user(core),
            Self::Obtain(obtaining) => obtaining.go(core),
            Self::AtIdp(at) => at.find(core),
            Self::NeedSubject(at, idp) => wait_in(ObtainingAssertion::subject(core, *at, idp)),
        }
    }
}
