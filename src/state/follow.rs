//! The sequence of the flows: what follows each outcome. A file returns to none that led to it; it returns an outcome, and
//! this one says what is next.
//!
//! | Flow | Files, in the order in which it visits them |
//! |---|---|
//! | discovery | `discover`, `metadata`, `resource`, `standing`, `server` |
//! | authorization by a user | discovery; `client` with `binding` or `register`; `send`, `redirect`, `pushed` or `device`; then `come_back`, `exchange`, `save` |
//! | refresh | `renew`; discovery where it is due; `lease`, `refresh`, `save` |
//! | token request without a user | discovery; `binding`; `obtain`, `save` |
//! | sign-out | `sign_out`, `forget`, `revoke` |

use crate::core::Core;
use crate::error::Failure;
use crate::state::attempt::{Errand, ServerErrand};
use crate::state::binding::Bound;
use crate::state::cached_server::LoadingServer;
use crate::state::choose_server::{choose_server, first_listed};
use crate::state::client::met;
use crate::state::discover::locate;
use crate::state::exchange::Exchanging;
use crate::state::load_account::{LoadingAccount, start};
use crate::state::send::send_user;
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
                Self::NeedsUser(renewal) => renewal.needs_user(core)?,
            };
        }
    }
}
