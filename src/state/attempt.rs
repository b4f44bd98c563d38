//! What one authorization attempt carries from state to state.

use crate::budget::{Budget, FLOW_TIME, Limited, Permit, REGISTRATIONS_PER_FLOW};
use crate::config::RedirectUri;
use crate::core::Core;
use crate::error::{Cause, Failure, Stage};
use crate::event::{Authorization, Operation};
use crate::issuer::IssuerId;
use crate::time::MonoMillis;
use crate::wire::callback::BrowserBinding;
use crate::wire::pkce::Seed;
use crate::wire::scopes::Scopes;

pub(crate) struct Attempt {
    pub(crate) seed: Seed,
    pub(crate) redirect_uri: RedirectUri,
    pub(crate) browser: Option<BrowserBinding>,
    /// The scopes that the host wants, whatever the servers say.
    pub(crate) scopes: Option<Scopes>,
    pub(crate) operation: Option<Operation>,
    requests: Budget,
    registrations: Budget,
    until: MonoMillis,
}

impl Attempt {
    pub(crate) fn new(core: &Core, authorization: Authorization) -> Box<Self> {
        let config = core.config();
        Box::new(Self {
            seed: authorization.seed,
            redirect_uri: authorization
                .redirect_uri
                .unwrap_or_else(|| config.redirect_uri().clone()),
            browser: authorization.browser,
            scopes: authorization.scopes,
            operation: core.memory.operation.clone(),
            requests: Budget::new(config.max_requests, Limited::Requests),
            registrations: Budget::new(REGISTRATIONS_PER_FLOW, Limited::Registrations),
            until: core.now.mono.plus(FLOW_TIME),
        })
    }

    pub(crate) fn fails(&self, stage: Stage, issuer: Option<&IssuerId>, cause: Cause) -> Failure {
        Failure {
            operation: self.operation.clone(),
            stage,
            issuer: issuer.cloned(),
            cause,
        }
    }

    /// The right to send one request of this flow, while there is time (SEC-15, SEC-16).
    pub(crate) fn request(&mut self, core: &Core, stage: Stage) -> Result<Permit, Failure> {
        let permit = if core.now.mono >= self.until {
            Err(Limited::FlowTime)
        } else {
            self.requests.take()
        };
        permit.map_err(|limited| self.fails(stage, None, Cause::OutOfPatience(limited)))
    }

    /// The right to send one registration request of this flow (REG-28).
    pub(crate) fn registration(&mut self, core: &Core) -> Result<Permit, Failure> {
        self.registrations
            .take()
            .map_err(|limited| self.fails(Stage::Registration, None, Cause::OutOfPatience(limited)))
            .and_then(|_| self.request(core, Stage::Registration))
    }
}
