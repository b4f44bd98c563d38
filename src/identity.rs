//! The principal and the MCP server that a machine works for, the names of its slots, and the key of its records.

use std::sync::Arc;

use crate::config::{Config, RegistrationSharing};
use crate::record::RecordFlaw;
use crate::slot::{RevisionKey, Slot};

/// The principal and the configuration of one machine.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    config: Arc<Config>,
    principal: Arc<str>,
    account: Slot,
    /// Made from the entropy that the host lent last, or read from a record.
    revisions: Option<RevisionKey>,
}

impl Identity {
    pub(crate) fn new(config: Arc<Config>, principal: Arc<str>) -> Self {
        let account = Slot::account(&principal, config.mcp_url().as_str());
        Self {
            config,
            principal,
            account,
            revisions: None,
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn principal(&self) -> &str {
        &self.principal
    }

    pub(crate) fn mcp_url(&self) -> &str {
        self.config.mcp_url().as_str()
    }

    /// The account's slot.
    pub(crate) fn account_slot(&self) -> Slot {
        self.account
    }

    /// The slot of what the resource's metadata says.
    pub(crate) fn resource_slot(&self) -> Slot {
        self.config.resource_slot
    }

    pub(crate) fn revision_key(&self) -> Option<&RevisionKey> {
        self.revisions.as_ref()
    }

    /// Seals with this key from now on.
    pub(crate) fn seal_with(&mut self, key: RevisionKey) {
        self.revisions = Some(key);
    }

    /// Whose registrations are used (ISO-12).
    pub(crate) fn registration_owner(&self) -> &str {
        match self.config.registration_sharing {
            RegistrationSharing::PerPrincipal => &self.principal,
            RegistrationSharing::AcrossPrincipals => "",
        }
    }

    /// A record must name the same principal and MCP server (D23).
    pub(crate) fn check(&self, principal: &str, mcp_url: &str) -> Result<(), RecordFlaw> {
        if principal == self.principal() && mcp_url == self.mcp_url() {
            Ok(())
        } else {
            Err(RecordFlaw::Foreign)
        }
    }
}
