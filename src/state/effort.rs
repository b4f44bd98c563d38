//! The budget of one flow, and how many authorizations one operation may cause (STEP-07).

use crate::budget::{Budget, FLOW_TIME, Limited, Permit};
use crate::config::{Config, StepUp};
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

impl Config {
    /// Returns the number of step-ups per operation (STEP-07); 0 when step-ups are only reported (STEP-01).
    pub(crate) fn step_ups(&self) -> u8 {
        match self.step_up {
            StepUp::Reauthorize => self.step_ups_per_operation,
            StepUp::Report => 0,
        }
    }

    /// Returns the number of authorization attempts per operation, including the first (STEP-07).
    pub(crate) fn authorizations_per_operation(&self) -> u8 {
        self.step_ups_per_operation.saturating_add(1)
    }
}
