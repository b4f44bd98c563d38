//! The attempts for each operation since its last success, and the caps on them.

use std::num::NonZeroU64;

use crate::budget::{
    Budget, FAILURE_MEMORY, Limited, OPERATIONS_REMEMBERED, Permit, REDIRECT_WINDOW,
    REDIRECTS_PER_WINDOW,
};
use crate::event::Operation;
use crate::time::MonoMillis;
use crate::wish::Wish;

use super::Memory;

/// The attempts for one operation since its last success.
pub(super) struct Attempts {
    operation: Operation,
    /// The number of authorizations (STEP-07).
    made: u8,
    /// The number of refreshes for it (USE-08).
    refreshes: u8,
    /// The token that was last authorized for it, by its digest (USE-08).
    authorized: Option<NonZeroU64>,
    /// Whether it was authorized although all its scopes were granted (STEP-09).
    repeated: bool,
    /// Whether a request was retried with the MCP server's nonce (DPOP-11).
    nonce_retried: bool,
    /// Whether the user declined it (STEP-11).
    declined: bool,
    since: MonoMillis,
}

impl Memory {
    fn of(&self, operation: &Operation, now: MonoMillis) -> Option<&Attempts> {
        self.operations
            .iter()
            .find(|known| known.operation == *operation)
            .filter(|known| now < known.since.plus(FAILURE_MEMORY))
    }

    /// Returns the number of authorizations for an operation since its last success.
    pub(crate) fn attempts(&self, operation: &Operation, now: MonoMillis) -> u8 {
        self.of(operation, now).map_or(0, |known| known.made)
    }

    /// Returns the number of refreshes for an operation since its last success.
    pub(crate) fn refreshes(&self, operation: &Operation, now: MonoMillis) -> u8 {
        self.of(operation, now).map_or(0, |known| known.refreshes)
    }

    /// Returns true if the token with this digest was authorized for an operation since its last success.
    pub(crate) fn was_authorized(
        &self,
        operation: &Operation,
        token: Option<NonZeroU64>,
        now: MonoMillis,
    ) -> bool {
        let known = self.of(operation, now).and_then(|known| known.authorized);
        known.is_some() && known == token
    }

    /// Returns true if a request of an operation was retried with the MCP server's nonce.
    pub(crate) fn nonce_retried(&self, operation: &Operation, now: MonoMillis) -> bool {
        let known = self.of(operation, now);
        known.is_some_and(|known| known.nonce_retried)
    }

    /// Records that a request of an operation is retried with the MCP server's nonce.
    pub(crate) fn retried_nonce(&mut self, operation: &Operation, now: MonoMillis) {
        if let Some(known) = self.entry(operation, now) {
            known.nonce_retried = true;
        }
    }

    /// Returns true if the user declined the operation, or it repeated a request for granted scopes.
    pub(crate) fn is_hopeless(&self, operation: &Operation, now: MonoMillis, adds: bool) -> bool {
        self.of(operation, now)
            .is_some_and(|known| known.declined || !adds && known.repeated)
    }

    /// Returns the counters of an operation, creating them if necessary; the oldest ones are dropped.
    fn entry(&mut self, operation: &Operation, now: MonoMillis) -> Option<&mut Attempts> {
        let known = self.of(operation, now).is_some();
        if !known {
            self.forget(operation);
            if self.operations.len() >= OPERATIONS_REMEMBERED {
                self.operations.remove_first();
            }
            self.operations.push(Attempts {
                operation: operation.clone(),
                made: 0,
                refreshes: 0,
                authorized: None,
                repeated: false,
                nonce_retried: false,
                declined: false,
                since: now,
            });
        }
        self.operations
            .iter_mut()
            .find(|known| known.operation == *operation)
    }

    /// Records a refresh for an operation.
    pub(super) fn refreshed_for(&mut self, operation: &Operation, now: MonoMillis) {
        if let Some(known) = self.entry(operation, now) {
            known.refreshes = known.refreshes.saturating_add(1);
        }
    }

    /// Records that the token with this digest was authorized for the current operation.
    pub(super) fn authorized(&mut self, token: Option<NonZeroU64>, now: MonoMillis) {
        let operation = self.operation.clone();
        if let Some(known) = operation.and_then(|operation| self.entry(&operation, now)) {
            known.authorized = token;
            known.declined = false;
        }
    }

    /// Records that the user declined the current authorization (STEP-11).
    pub(crate) fn declined(&mut self, now: MonoMillis) {
        let operation = self.operation.clone();
        if let Some(known) = operation.and_then(|operation| self.entry(&operation, now)) {
            known.declined = true;
        }
    }

    /// Records an authorization of an operation whose scopes are all granted (STEP-09).
    pub(crate) fn repeats(&mut self, operation: &Operation, now: MonoMillis) {
        if let Some(known) = self.entry(operation, now) {
            known.repeated = true;
        }
    }

    /// Counts one authorization for its operation and in total (STEP-07, E11).
    pub(crate) fn authorize(
        &mut self,
        wish: Wish,
        operation: Option<&Operation>,
        cap: u8,
        now: MonoMillis,
    ) -> Result<Permit, Limited> {
        self.counted = None;
        let counted = match wish {
            Wish::Person => return Ok(Permit::for_a_person()),
            Wish::Mend => None,
            Wish::Refusal => operation,
        };
        if let Some(operation) = counted {
            let made = self.attempts(operation, now);
            if made >= cap {
                return Err(Limited::Authorizations);
            }
            if let Some(known) = self.entry(operation, now) {
                known.made = made.saturating_add(1);
                known.since = now;
            }
        }
        let fresh = || (now, Budget::new(REDIRECTS_PER_WINDOW, Limited::Redirects));
        let (since, _) = self.redirects.get_or_insert_with(fresh);
        if now >= since.plus(REDIRECT_WINDOW) {
            self.redirects = Some(fresh());
        }
        let (_, budget) = self.redirects.get_or_insert_with(fresh);
        let permit = budget.take()?;
        self.counted = counted.cloned();
        Ok(permit)
    }

    /// Reverts the count of the last authorization for its operation: the user cancelled it or was not redirected, or
    /// it failed for a reason that the next one removes (STEP-07).
    pub(crate) fn give_back(&mut self) {
        if let Some(operation) = self.counted.take()
            && let Some(known) = self
                .operations
                .iter_mut()
                .find(|known| known.operation == operation)
        {
            known.made = known.made.saturating_sub(1);
        }
    }

    /// Starts an attempt: the count of the one before stays.
    pub(crate) fn begin_attempt(&mut self) {
        self.counted = None;
    }

    /// Resets the counters of an operation after one of its requests succeeded.
    pub(crate) fn forget(&mut self, operation: &Operation) {
        self.operations
            .retain(|known| known.operation != *operation);
    }
}
