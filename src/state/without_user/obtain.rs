//! A token request without a user: client credentials, workload assertions, enterprise-managed authorization (M2M,
//! WIF, EMA). No fallback between grants: a rejection fails the attempt.

use crate::account::MachineGrant;
use crate::budget::{Budget, Limited, REFRESHES_PER_RENEWAL};
use crate::config::{
    JwtBearerSupport, MachineFlow, PreRegistered, ResourceParameter, WorkloadIdentity,
};
use crate::core::Core;
use crate::error::{Cause, Failure, Misconfiguration, Stage};
use crate::event::Operation;
use crate::grant::{
    Asked, Client, ClientCredentials, ClientMethod, ClientOrigin, MethodFlaw, Resource, key_method,
};
use crate::issuer::{AtIssuer, Server};
use crate::record::ResourceFacts;
use crate::report::Decision;
use crate::state::attempt::Errand;
use crate::state::client::binding::{LoadingBinding, Then};
use crate::state::client::known_client::authenticating;
use crate::state::discovery::listing::is_superseded;
use crate::state::pause::Pausing;
use crate::state::sign_in::scopes::asked_scopes;
use crate::state::trigger::Trigger;
use crate::state::{Next, Step, done, wait_in};
use crate::suspended::{AtIdp, Effort, Obtaining, Occasion};
use crate::wire::token::AuthenticationWish;
use crate::wire::words::{GrantProfile, GrantType};
use crate::wish::Wish;

use super::assertion::ObtainingAssertion;
use super::ends::is_public;
use super::request::Requesting;

/// Starts, unless a server is in back-off. Requests caused by a challenge are counted (STEP-07).
pub(crate) fn obtain(
    core: &mut Core,
    flow: MachineFlow,
    operation: Operation,
    occasion: Occasion,
) -> Step {
    let fails = |operation, cause| {
        Err(Failure {
            operation: Some(operation),
            stage: Stage::Token,
            issuer: None,
            cause,
            seen: Vec::new(),
        })
    };
    if let Some(cause) = core.memory.rest.cause(core.now) {
        return fails(operation, cause);
    }
    if matches!(occasion, Occasion::Refused(_)) {
        let cap = core.config().authorizations_per_operation();
        let now = core.now.mono;
        if let Err(limited) = core
            .memory
            .authorize(Wish::Refusal, Some(&operation), cap, now)
        {
            return fails(operation, Cause::OutOfPatience(limited));
        }
    }
    core.memory.operation = Some(operation.clone());
    let obtaining = Box::new(Obtaining {
        refused: match occasion {
            Occasion::Wanted => None,
            Occasion::Refused(sent) => sent,
        },
        effort: Effort::new(core, Some(operation)),
        flow,
        requests: Budget::new(REFRESHES_PER_RENEWAL, Limited::Requests),
        delayed: false,
        not_before: None,
        facts: None,
        read: None,
        second_jag: false,
        second_subject: false,
        wish: AuthenticationWish::default(),
    });
    Ok(Next::Locate(Errand::Obtain(obtaining)))
}

impl Obtaining {
    /// Continues after a pause, unless another process has stored a token meanwhile.
    pub(crate) fn go(mut self: Box<Self>, core: &mut Core) -> Step {
        if self.is_served(core) {
            core.ready();
            return done();
        }
        if let Some(until) = self.not_before.filter(|until| core.now.mono < *until) {
            return wait_in(Pausing::begin(core, Trigger::Obtain(self), until));
        }
        self.effort = Effort::new(core, self.effort.operation.clone());
        // The resource's metadata may have changed during the pause (ISO-04): read here, or by another process.
        let is_news = core.memory.resource_read != self.read;
        let facts = self.facts.take().filter(|_| !is_news);
        match facts.filter(|facts| !is_superseded(core, facts)) {
            Some(facts) => Ok(Next::Listed(Errand::Obtain(self), facts)),
            None => Ok(Next::Locate(Errand::Obtain(self))),
        }
    }

    /// Checks whether the resource's authorization server may receive the configured credentials.
    pub(crate) fn met(
        mut self: Box<Self>,
        core: &mut Core,
        facts: ResourceFacts,
        server: Server,
    ) -> Step {
        let (issuer, source) = (server.issuer().clone(), server.facts().source);
        core.report(|| Decision::ServerChosen { issuer, source });
        let at = server.enter();
        self.facts = Some(facts.clone());
        self.read = core.memory.resource_read;
        match self.flow.clone() {
            MachineFlow::ClientCredentials => self.with_own_credentials(core, facts, at),
            MachineFlow::Workload(workload) => self.with_assertion(core, facts, at, &workload),
            MachineFlow::Enterprise(_) => self.through_provider(core, facts, at),
        }
    }

    // ---- Client credentials

    fn with_own_credentials(
        self: Box<Self>,
        core: &mut Core,
        facts: ResourceFacts,
        at: AtIssuer<()>,
    ) -> Step {
        match core.config().client_at(&at) {
            Some(client) => self.pre_registered(core, facts, client),
            None => match core.config().unbound_client.clone() {
                Some(client) => {
                    let then = Then::Obtain(self, facts, at, client);
                    wait_in(LoadingBinding::begin(core, then))
                }
                None => self.nobody_there(core, &at),
            },
        }
    }

    /// Returns the client that is configured for this server, with an authentication method that the server
    /// lists.
    pub(crate) fn pre_registered(
        self: Box<Self>,
        core: &mut Core,
        facts: ResourceFacts,
        client: AtIssuer<PreRegistered>,
    ) -> Step {
        let issuer = client.issuer().clone();
        let has_secret = client.held().secret.is_some();
        match authenticating(core, client) {
            Ok(client) => {
                // Only a secret that the server offers no way to use is left out.
                let flaw = if has_secret {
                    MethodFlaw::NothingListed
                } else {
                    MethodFlaw::Public
                };
                self.known(core, facts, client, flaw)
            }
            Err(flaw) => self.unusable(core, &issuer, Misconfiguration::ClientMethod(flaw)),
        }
    }

    /// Continues with the client for the resource's server. The flaw is that of a client that does not authenticate.
    fn known(
        self: Box<Self>,
        core: &mut Core,
        facts: ResourceFacts,
        client: AtIssuer<Client>,
        flaw: MethodFlaw,
    ) -> Step {
        match self.flow.clone() {
            MachineFlow::Enterprise(_) => {
                let at = self.asked(core, facts, client)?;
                let obtaining = self;
                Ok(Next::AtIdp(Box::new(AtIdp { obtaining, at })))
            }
            MachineFlow::ClientCredentials | MachineFlow::Workload(_)
                if is_public(client.held()) =>
            {
                let issuer = client.issuer().clone();
                self.misconfigured(&issuer, Misconfiguration::ClientMethod(flaw))
            }
            MachineFlow::ClientCredentials | MachineFlow::Workload(_) => {
                let at = self.asked(core, facts, client)?;
                let at = at.then(|asked| MachineGrant::ClientCredentials(ClientCredentials(asked)));
                Requesting::begin(core, self, at)
            }
        }
    }

    /// Returns the grant parameters: scopes, resource and client.
    fn asked(
        &self,
        core: &mut Core,
        facts: ResourceFacts,
        at: AtIssuer<Client>,
    ) -> Result<AtIssuer<Asked>, Failure> {
        let binding = crate::state::dpop::choose(core, at.server(), &facts);
        let issuer = at.issuer().clone();
        let binding = binding.map_err(|cause| {
            self.effort
                .fails(Stage::ServerMetadata, Some(&issuer), cause)
        })?;
        let (origin, method) = (at.held().origin, at.held().method.as_str());
        core.report(|| Decision::ClientChosen {
            issuer: issuer.clone(),
            origin,
            method,
        });
        let (scopes, source) = asked_scopes(core, &facts, &at);
        // A client without a user needs no offline access (M2M-04).
        let scopes = scopes.without("offline_access");
        core.report(|| Decision::ScopesChosen {
            scopes: scopes.clone(),
            source,
        });
        let sent = core.config().settings(&issuer).resource == ResourceParameter::Send;
        Ok(at.then(|client| Asked {
            client,
            resource: Resource {
                id: core.config().resource_as(&facts.id),
                sent,
            },
            scopes,
            binding,
        }))
    }

    // ---- Workload identity

    fn with_assertion(
        self: Box<Self>,
        core: &mut Core,
        facts: ResourceFacts,
        at: AtIssuer<()>,
        workload: &WorkloadIdentity,
    ) -> Step {
        let issuer = at.issuer().clone();
        if !core.config().has_credentials_for(&issuer) {
            let found = Misconfiguration::AssertionNotAllowed {
                allowed: workload.allowed.clone(),
                found: issuer.clone(),
            };
            return self.unusable(core, &issuer, found);
        }
        let assumed = core.config().settings(&issuer).jwt_bearer == JwtBearerSupport::Assumed;
        if !at.server().facts().grant_types.has(GrantType::JwtBearer) && !assumed {
            return self.unusable(core, &issuer, Misconfiguration::GrantNotOffered);
        }
        let client = at.then(|()| Client {
            id: workload.client_id.as_deref().unwrap_or_default().into(),
            origin: ClientOrigin::PreRegistered,
            method: match &workload.client_id {
                Some(_) => ClientMethod::None,
                None => ClientMethod::Unnamed,
            },
            secret_expires_at: None,
        });
        let asked = self.asked(core, facts, client)?;
        wait_in(ObtainingAssertion::workload(core, self, asked))
    }

    // ---- Enterprise-managed

    fn through_provider(
        self: Box<Self>,
        core: &mut Core,
        facts: ResourceFacts,
        at: AtIssuer<()>,
    ) -> Step {
        let issuer = at.issuer().clone();
        let server = at.server().facts();
        let assumed = core.config().settings(&issuer).jwt_bearer == JwtBearerSupport::Assumed;
        let offered = server.grant_profiles.has(GrantProfile::IdJag) || assumed;
        if !offered || !server.grant_types.allows(GrantType::JwtBearer) {
            return self.unusable(core, &issuer, Misconfiguration::GrantNotOffered);
        }
        if let Some(client) = core.config().client_at(&at) {
            return self.pre_registered(core, facts, client);
        }
        if let Some(client) = core.config().unbound_client.clone() {
            let then = Then::Obtain(self, facts, at, client);
            return wait_in(LoadingBinding::begin(core, then));
        }
        match &core.config().client_metadata_url {
            Some(url) if server.supports_cimd => {
                let key = core.config().client_metadata_key.as_ref();
                let method = key.map_or(Ok(ClientMethod::None), |key| {
                    key_method(key, server.auth_methods, server.assertion_algorithms)
                });
                let id = url.as_str().into();
                match method {
                    Ok(method) => {
                        let client = at.then(|()| Client {
                            id,
                            origin: ClientOrigin::MetadataDocument,
                            method,
                            secret_expires_at: None,
                        });
                        self.known(core, facts, client, MethodFlaw::Public)
                    }
                    Err(flaw) => self.unusable(core, &issuer, Misconfiguration::ClientMethod(flaw)),
                }
            }
            // This flow registers no clients (EMA-15).
            Some(_) | None => self.nobody_there(core, &at),
        }
    }
}
