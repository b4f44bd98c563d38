//! The token of a machine, shown to readers outside its task.

use std::sync::Arc;

use http::HeaderValue;

use super::accounts::{Key, Warm};
use crate::clock::now;
use mcp_auth_machine::{AuthMachine, Phase};

/// Publishes the token of one account whenever it changes, and withdraws it when it must not be used. Only the task
/// of the machine publishes, so a value that it withdraws stays withdrawn.
pub(super) struct Publisher {
    warm: Arc<Warm>,
    key: Key,
    /// Whether the account has been read.
    is_known: bool,
    /// The value that the MCP server refused last.
    refused: Option<HeaderValue>,
}

impl Publisher {
    pub(super) fn new(warm: Arc<Warm>, key: Key) -> Self {
        Self {
            warm,
            key,
            is_known: false,
            refused: None,
        }
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
            Ok(value) if self.refused.as_ref() == Some(&value) => self.warm.retract(&self.key),
            Ok(value) if self.warm.holds(&self.key, &value) => {}
            Ok(value) => self.warm.publish(&self.key, &value, grant.expires, now),
            Err(_) => self.warm.retract(&self.key),
        }
    }

    /// The MCP server refused this value: it is not shown again.
    pub(super) fn refused(&mut self, sent: Option<&HeaderValue>) {
        if let Some(sent) = sent {
            self.warm.refused(&self.key, sent);
            self.refused = Some(sent.clone());
        }
    }

    /// The account is not to be used as it is.
    pub(super) fn distrust(&mut self, machine: &mut AuthMachine) {
        self.refused = machine.bearer(now(), &self.key.server).ok();
        self.warm.retract(&self.key);
    }
}
