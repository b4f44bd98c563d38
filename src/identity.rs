//! For whom, and for which MCP server, a machine works.

use std::sync::Arc;

use crate::config::{Config, RegistrationSharing};
use crate::record::RecordFlaw;

/// The principal and the configuration of one machine.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    config: Arc<Config>,
    principal: Arc<str>,
}

impl Identity {
    pub(crate) fn new(config: Arc<Config>, principal: Arc<str>) -> Self {
        Self { config, principal }
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
