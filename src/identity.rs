//! The principal and the MCP server of a machine, the names of its slots, and the key of its records.

use std::sync::Arc;

use crate::config::{Config, RegistrationSharing};
use crate::frame::RecordFlaw;
use crate::slot::{RevisionKey, Slot};

/// The principal and the configuration of one machine.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    config: Arc<Config>,
    principal: Arc<str>,
    account: Slot,
    /// The key of revisions, made from the host's latest entropy or read from a record.
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

    /// Whether the principal has a name.
    pub(crate) fn is_named(&self) -> bool {
        !self.principal.is_empty()
    }

    pub(crate) fn mcp_url(&self) -> &str {
        self.config.mcp_url().as_str()
    }

    /// Returns the account slot.
    pub(crate) fn account_slot(&self) -> Slot {
        self.account
    }

    /// Returns the slot of cached resource metadata.
    pub(crate) fn resource_slot(&self) -> Slot {
        self.config.resource_slot
    }

    pub(crate) fn revision_key(&self) -> Option<&RevisionKey> {
        self.revisions.as_ref()
    }

    /// Uses this key for all further records.
    pub(crate) fn seal_with(&mut self, key: RevisionKey) {
        self.revisions = Some(key);
    }

    /// Returns the principal that owns the registrations; empty when they are shared (ISO-12).
    pub(crate) fn registration_owner(&self) -> &str {
        match self.config.registration_sharing {
            RegistrationSharing::PerPrincipal => &self.principal,
            RegistrationSharing::AcrossPrincipals => "",
        }
    }

    /// Returns the slot of a dynamic registration at an issuer.
    pub(crate) fn registration_slot(&self, issuer: &str, way: &str) -> Slot {
        Slot::registration(self.registration_owner(), issuer, way)
    }

    /// Checks that a record belongs to this principal and MCP server (D23).
    pub(crate) fn check(&self, principal: &str, mcp_url: &str) -> Result<(), RecordFlaw> {
        if principal == self.principal() && mcp_url == self.mcp_url() {
            Ok(())
        } else {
            Err(RecordFlaw::Foreign)
        }
    }
}
