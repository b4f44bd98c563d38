//! The sequence of the flows: what follows each outcome. No file calls the flow that comes after it; it returns an outcome,
//! and this file says what is next.
//!
//! | Flow | Files, in the order in which it visits them |
//! |---|---|
//! | discovery | `discovery/`: `locate`, `cached_resource`, `resource`, `standing`, `choose_server`, `cached_server`, `server` |
//! | authorization by a user | `sign_in/repeat`; discovery; `client/`: `choose` with `binding` or `register`; `sign_in/`: `send`, `redirect` with `pushed`, or `device`; after the callback `come_back`, `exchange`; `save` |
//! | refresh | `renewal/renew`; discovery where it is due; `renewal/`: `lease`, `refresh`; `save` |
//! | token request without a user | `without_user/obtain`; discovery; `client/binding`; `without_user/`: `provider`, `assertion`, `subject`, `request`; `save` |
//! | sign-out | `sign_out/`: `erase`, `forget`, `revoke` |

use crate::core::Core;
use crate::error::Failure;
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
use crate::state::{Next, Work};

impl Next {
    /// Goes on until a state waits.
    pub(crate) fn follow(mut self, core: &mut Core) -> Result<Work, Failure> {
        loop {
            self = match self {
                Self::Wait(work) => return Ok(work),
                Self::Start(trigger) => start(core, trigger)?,
                Self::Read(trigger) => return Ok(LoadingAccount::begin(core, Some(trigger))),
                Self::Locate(errand) => locate(core, errand)?,
                Self::Listed(Errand::Authorize(attempt), facts) => {
                    choose_server(core, attempt, facts)?
                }
                Self::Listed(Errand::Renew(renewal), facts) => renewal.listed(core, facts)?,
                Self::Listed(Errand::Obtain(obtaining), facts) => {
                    first_listed(core, obtaining, facts)?
                }
                Self::ReadServer(errand, facts, entry) => {
                    LoadingServer::begin(core, errand, facts, entry)?
                }
                Self::Found(ServerErrand::Resource(Errand::Authorize(attempt)), facts, server) => {
                    met(core, attempt, facts, server)?
                }
                Self::Found(ServerErrand::Resource(Errand::Renew(renewal)), _, server) => {
                    renewal.met(core, &server)?
                }
                Self::Found(ServerErrand::Resource(Errand::Obtain(obtaining)), facts, server) => {
                    obtaining.met(core, facts, server)?
                }
                Self::Found(ServerErrand::Idp(at), _, server) => at.met(core, server)?,
                Self::Bound(Bound::User(met, client)) => met.pre_registered(core, client)?,
                Self::Bound(Bound::Obtain(obtaining, facts, client)) => {
                    obtaining.pre_registered(core, facts, client)?
                }
                Self::Bound(Bound::Code(grant)) => Exchanging::send(core, *grant)?,
                Self::SendUser(met, at) => send_user(core, *met, at)?,
                Self::Renew(renewal) => renewal.go(core)?,
                Self::Obtain(obtaining) => obtaining.go(core)?,
                Self::AtIdp(at) => at.find(core)?,
                Self::NeedSubject(at, idp) => {
                    Self::Wait(ObtainingAssertion::subject(core, *at, idp))
                }
                Self::NeedsUser(renewal) => renewal.needs_user(core)?,
            };
        }
    }
}
