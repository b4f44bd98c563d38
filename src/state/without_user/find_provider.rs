//! The organisation's identity provider: its metadata, and the identity assertion grant it issues for
//! another authorization server (EMA-04 to EMA-12).

use crate::config::MachineFlow;
use crate::core::Core;
use crate::error::{Cause, Misconfiguration, Stage, Violation};
use crate::grant::MethodFlaw;
use crate::issuer::{IssuerBound, Server};
use crate::record::ResourceFacts;
use crate::state::attempt::ServerErrand;
use crate::state::client::known_client::authenticating;
use crate::state::discovery::server::configured;
use crate::state::{Next, Step, wait_in};
use crate::suspended::AtIdp;

use super::assertion::ObtainingAssertion;
use super::ends::is_public;

impl AtIdp {
    /// Looks for the provider's metadata.
    pub(crate) fn find(self: Box<Self>, core: &mut Core) -> Step {
        let MachineFlow::Enterprise(enterprise) = self.obtaining.flow.clone() else {
            return Ok(Next::Obtain(self.obtaining));
        };
        let Some(idp) = &enterprise.idp else {
            let issuer = self.at.issuer().clone();
            return self
                .obtaining
                .misconfigured(&issuer, Misconfiguration::GrantNotOffered);
        };
        let facts = ResourceFacts::of_server(idp.clone());
        let Some(json) = &enterprise.metadata else {
            return Ok(Next::ReadServer(ServerErrand::Idp(self), facts, 0));
        };
        match configured(core.config(), idp, json) {
            Ok(server) => self.met(core, server),
            Err(flaw) => {
                let cause = Cause::Violation(Violation::Metadata(flaw));
                self.obtaining.fails(Stage::IdentityProvider, idp, cause)
            }
        }
    }

    /// Continues with the identity provider, which is the configured one only (EMA-04).
    pub(crate) fn met(self, core: &mut Core, server: Server) -> Step {
        let MachineFlow::Enterprise(enterprise) = self.obtaining.flow.clone() else {
            return Ok(Next::Obtain(self.obtaining));
        };
        let issuer = server.issuer().clone();
        let slash = core.config().slash_rule();
        let client = enterprise.idp.clone().and_then(|idp| {
            IssuerBound::new(idp, enterprise.client.clone()).open(&server.enter(), slash)
        });
        let Some(client) = client else {
            return self
                .obtaining
                .misconfigured(&issuer, Misconfiguration::GrantNotOffered);
        };
        match authenticating(core, client) {
            Ok(client) if is_public(client.held()) && !enterprise.public => self
                .obtaining
                .misconfigured(&issuer, Misconfiguration::ClientMethod(MethodFlaw::Public)),
            Ok(idp) => wait_in(ObtainingAssertion::subject(core, self, idp)),
            Err(flaw) => self
                .obtaining
                .misconfigured(&issuer, Misconfiguration::ClientMethod(flaw)),
        }
    }
}
