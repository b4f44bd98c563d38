//! The token of a machine, shown to readers outside its task.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use http::HeaderValue;

use super::accounts::{Key, Warm};
use crate::clock::now;
use mcp_auth_machine::{AuthMachine, Phase};

/// How many refused values are remembered.
const REFUSED: usize = 16;

/// Publishes the token of one account whenever it changes, and withdraws it when it must not be used. Only the task
/// of the machine publishes, so a value that it withdraws stays withdrawn.
pub(super) struct Publisher {
    warm: Arc<Warm>,
    key: Key,
    /// Whether the account has been read.
    is_known: bool,
    /// The values that the MCP server refused, under a random key: refusals of older tokens arrive late.
    refused: VecDeque<u64>,
    hasher: RandomState,
}

impl Publisher {
    pub(super) fn new(warm: Arc<Warm>, key: Key) -> Self {
        Self {
            warm,
            key,
            is_known: false,
            refused: VecDeque::new(),
            hasher: RandomState::new(),
        }
    }

    fn is_refused(&self, value: &HeaderValue) -> bool {
        let hash = self.hasher.hash_one(value.as_bytes());
        self.refused.contains(&hash)
    }

    /// Remembers a value, the most recent last. The value in use is among the last ones: each of its refusals counts.
    fn refuse(&mut self, value: &HeaderValue) {
        let hash = self.hasher.hash_one(value.as_bytes());
        self.refused.retain(|known| *known != hash);
        if self.refused.len() >= REFUSED {
            self.refused.pop_front();
        }
        self.refused.push_back(hash);
    }

    /// Brings what is shown up to date.
    pub(super) fn update(&mut self, machine: &mut AuthMachine) {
        let now = now();
        let Some(grant) = machine.grant() else {
            let is_read = self.is_known || !matches!(machine.phase(), Phase::Working(_));
            if is_read {
                self.warm.retract(&self.key);
            }
            return;
        };
        self.is_known = true;
        // A token that expired on receipt is for one request alone (TOK-13).
        if grant.expires.is_some_and(|expires| expires <= now.wall) {
            return self.warm.retract(&self.key);
        }
        match machine.bearer(now, &self.key.server) {
            Ok(value) if self.is_refused(&value) => self.warm.retract(&self.key),
            Ok(value) if self.warm.holds(&self.key, &value, grant.expires, now) => {}
            Ok(value) => self.warm.publish(&self.key, &value, grant.expires, now),
            Err(_) => self.warm.retract(&self.key),
        }
    }

    /// The MCP server refused this value: it is not shown again.
    pub(super) fn refused(&mut self, machine: &mut AuthMachine, sent: Option<&HeaderValue>) {
        let Some(sent) = sent else {
            return;
        };
        self.warm.refused(&self.key, sent);
        // The value in use does not leave the list because of the refusals of others.
        let current = machine.bearer(now(), &self.key.server).ok();
        let current = current.filter(|current| self.is_refused(current));
        self.refuse(sent);
        if let Some(current) = current {
            self.refuse(&current);
        }
    }

    /// The account is not to be used as it is.
    pub(super) fn distrust(&mut self, machine: &mut AuthMachine) {
        if let Ok(value) = machine.bearer(now(), &self.key.server) {
            self.refuse(&value);
        }
        self.warm.retract(&self.key);
    }
}
