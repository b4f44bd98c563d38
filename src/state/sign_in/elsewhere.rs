//! The wait for the tokens of another instance: each look at the account, and the end (AUTHZ-18, CB-06).

use std::time::Duration;

use crate::budget::TOKEN_TIME;
use crate::core::Core;
use crate::error::{Cause, Failure, Stage, StoreFlaw};
use crate::state::pause::Pausing;
use crate::state::sign_in::beside::{
    ask_alone, beside_the_record, is_out_of_date, renew, still_asks, still_waits, unreadable,
};
use crate::state::sign_in::repeat::ask_user;
use crate::state::trigger::Trigger;
use crate::state::{Next, Step, done, wait_in};
use crate::suspended::{Awaited, Came, Elsewhere, Otherwise};

impl Elsewhere {
    /// Starts to wait for the tokens of another instance: reads the account at once, then after growing pauses.
    pub(crate) fn begin(core: &mut Core, awaited: Awaited, otherwise: Otherwise) -> Step {
        let until = core.now.mono.plus(TOKEN_TIME);
        let elsewhere = Box::new(Self {
            awaited,
            until,
            looks: 0,
            otherwise,
        });
        let trigger = Trigger::TakenElsewhere(elsewhere);
        // Unsaved tokens are saved first: their write is compared with the account that they are to replace.
        Ok(match core.held.unsaved {
            Some(_) => Next::Start(trigger),
            None => Next::Read(trigger),
        })
    }

    /// Continues after the account was read.
    pub(crate) fn go(self: Box<Self>, core: &mut Core) -> Step {
        self.looked(core, None)
    }

    /// Continues after the account could not be read, for this reason.
    pub(crate) fn go_unread(self: Box<Self>, core: &mut Core, flaw: StoreFlaw) -> Step {
        self.looked(core, Some(flaw))
    }

    fn looked(mut self: Box<Self>, core: &mut Core, unread: Option<StoreFlaw>) -> Step {
        let is_over = core.now.mono >= self.until;
        let came = self.came(core, is_over);
        if let Otherwise::Pending(question) = self.otherwise {
            return beside_the_record(core, came, question, unread);
        }
        match came {
            Came::Usable => return self.serves(core),
            Came::Over if self.helps(core) => return self.renews(core),
            Came::Nothing | Came::Over if is_over => return self.ends(core, unread),
            Came::Nothing | Came::Over => {}
        }
        let wait = Duration::from_millis(100_u64 << self.looks.min(4));
        self.looks = self.looks.saturating_add(1);
        let until = core.now.mono.plus(wait.min(Duration::from_secs(1)));
        let until = until.min(self.until);
        wait_in(Pausing::begin(core, Trigger::TakenElsewhere(self), until))
    }

    /// Emits `Ready`: the tokens have arrived. Before it, emits the question of a caller whose scopes the account still lacks,
    /// unless an authorization is pending again, which may request them.
    fn serves(self, core: &mut Core) -> Step {
        self.asks_for_scopes(core);
        core.ready();
        done()
    }

    /// Ends the wait, because the tokens have come and have expired: every caller is renewed.
    fn renews(self, core: &mut Core) -> Step {
        self.asks_for_scopes(core);
        renew(core)
    }

    fn asks_for_scopes(self, core: &mut Core) {
        if let Otherwise::Redirect(_, Some((why, operation))) = self.otherwise
            && core.waits_at().is_none()
            && still_asks(core, &why, operation.as_ref())
        {
            ask_alone(core, why, operation);
        }
    }

    fn ends(self, core: &mut Core, unread: Option<StoreFlaw>) -> Step {
        // Another sign-in may have brought a token since, which serves callers that it was not refused for.
        core.serve_others();
        if let Some(flaw) = unread.filter(|_| !core.callers.is_empty() && core.waits_at().is_none())
        {
            return Err(unreadable(core, flaw));
        }
        let (stage, issuer, cause) = match self.otherwise {
            Otherwise::Pending(_) => return done(),
            Otherwise::Callback => {
                let cause = Cause::NotPersisted(StoreFlaw::Conflict);
                (Stage::Callback, None, cause)
            }
            Otherwise::Redirect(issuer, question) => {
                if let Some((why, operation)) = question
                    && still_waits(core, operation.as_ref())
                {
                    if is_out_of_date(core, &why) {
                        return renew(core);
                    }
                    // Another authorization may be pending by now.
                    return ask_user(core, why, operation);
                }
                if core.waits_at().is_some() {
                    // The user was sent away again meanwhile: every caller receives the result of that authorization.
                    return done();
                }
                (Stage::Authorization, Some(issuer), Cause::Abandoned)
            }
        };
        Err(Failure {
            operation: core.memory.operation.clone(),
            stage,
            issuer,
            cause,
            seen: Vec::new(),
        })
    }

    /// Returns true when a renewal helps someone: a caller, or, with a refresh token, the person who has signed in.
    fn helps(&self, core: &Core) -> bool {
        !core.callers.is_empty() || core.held.is_renewable(core.now)
    }
}
