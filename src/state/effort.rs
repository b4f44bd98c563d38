//! The budget of one flow.

use crate::budget::{Budget, FLOW_TIME, Limited, Permit};
use crate::core::Core;
use crate::error::{Cause, Failure, Stage};
use crate::event::Operation;
use crate::issuer::IssuerId;
use crate::suspended::Effort;

impl Effort {
    pub(crate) fn new(core: &Core, operation: Option<Operation>) -> Self {
        Self {
            operation,
            is_answered: false,
            requests: Budget::new(core.config().max_requests, Limited::Requests),
            until: core.now.mono.plus(FLOW_TIME),
            passed_over: None,
        }
    }

    /// Returns the operation that waits for the result.
    pub(crate) fn waiting(&self) -> Option<&Operation> {
        self.operation.as_ref().filter(|_| !self.is_answered)
    }

    pub(crate) fn fails(&self, stage: Stage, issuer: Option<&IssuerId>, cause: Cause) -> Failure {
        Failure {
            operation: self.operation.clone(),
            stage,
            issuer: issuer.cloned(),
            cause,
            seen: Vec::new(),
        }
    }

    /// Takes the permit for one request, while time and requests are left (SEC-15, SEC-16).
    pub(crate) fn request(&mut self, core: &Core, stage: Stage) -> Result<Permit, Failure> {
        let permit = if core.now.mono >= self.until {
            Err(Limited::FlowTime)
        } else {
            self.requests.take()
        };
        permit.map_err(|limited| self.fails(stage, None, Cause::OutOfPatience(limited)))
    }
}
