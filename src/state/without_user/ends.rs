//! Failures and delays of a token request without a user (11.4).

use std::time::Duration;

use crate::core::Core;
use crate::error::{Cause, Misconfiguration, Stage};
use crate::grant::{Client, ClientMethod};
use crate::issuer::{AtIssuer, IssuerId};
use crate::report::Decision;
use crate::state::attempt::Errand;
use crate::state::delay::back_off;
use crate::state::discovery::server::pass_over;
use crate::state::pause::Pausing;
use crate::state::trigger::Trigger;
use crate::state::{Step, wait_in};
use crate::suspended::Obtaining;

impl Obtaining {
    pub(crate) fn fails(&self, stage: Stage, issuer: &IssuerId, cause: Cause) -> Step {
        Err(self.effort.fails(stage, Some(issuer), cause))
    }

    pub(crate) fn nobody_there(self: Box<Self>, core: &mut Core, at: &AtIssuer<()>) -> Step {
        let found = core.config().nobody_at(at.issuer());
        self.unusable(core, at.issuer(), found)
    }

    /// This server cannot be used; a first token may come from the next one that is listed (DISC-16).
    pub(crate) fn unusable(
        self: Box<Self>,
        core: &mut Core,
        issuer: &IssuerId,
        found: Misconfiguration,
    ) -> Step {
        let cause = Cause::Misconfigured(found);
        let failure = self.effort.fails(Stage::Registration, Some(issuer), cause);
        match self.facts.clone() {
            Some(facts) => pass_over(core, Errand::Obtain(self), facts, issuer, failure),
            None => Err(failure),
        }
    }

    pub(crate) fn misconfigured(&self, issuer: &IssuerId, found: Misconfiguration) -> Step {
        self.fails(Stage::Registration, issuer, Cause::Misconfigured(found))
    }

    /// Retries after a pause, or fails (11.4).
    pub(crate) fn later(
        mut self: Box<Self>,
        core: &mut Core,
        issuer: &IssuerId,
        wait: Option<Duration>,
    ) -> Step {
        let tries = self.requests.left();
        if tries == 0 || wait.is_some() && self.delayed {
            let cause = Cause::unreachable(None);
            core.memory.rest.failed(core.now, wait, &cause);
            let retry_at = wait.and(core.memory.rest.retry_at());
            return self.fails(Stage::Token, issuer, Cause::unreachable(retry_at));
        }
        self.delayed |= wait.is_some();
        let wait = wait.unwrap_or_else(|| back_off(core, tries));
        core.report(|| Decision::RefreshDelayed {
            millis: crate::time::millis(wait),
        });
        let until = core.now.mono.plus(wait);
        self.not_before = Some(until);
        wait_in(Pausing::begin(core, Trigger::Obtain(self), until))
    }
}

pub(crate) fn is_public(client: &Client) -> bool {
    matches!(client.method, ClientMethod::None | ClientMethod::Unnamed)
}
