//! Tokens without a user: client credentials, workload assertions, the organisation's identity
//! provider (M2M, WIF, EMA). No other way is tried when one fails.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;

use crate::account::{Account, Obtained, Tokens};
use crate::action::{AssertionKind, SubjectTokenKind};
use crate::budget::{Budget, Limited, REFRESHES_PER_RENEWAL, SIGN_TIME};
use crate::config::{
    AssertionAudience, Enterprise, JwtBearerSupport, MachineFlow, PreRegistered, ResourceParameter,
    WorkloadIdentity,
};
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Misconfiguration, Refusal, Stage, Violation};
use crate::event::{Operation, Outcome};
use crate::grant::{
    Asked, Client, ClientCredentials, ClientMethod, ClientOrigin, JwtBearer, MethodFlaw, Resource,
    TokenExchange, TokenGrant, choose_method, key_method,
};
use crate::issuer::{AtIssuer, IssuerBound, IssuerId, Server, ServerSource, SlashRule};
use crate::key::KeyBinding;
use crate::record::ResourceFacts;
use crate::report::Decision;
use crate::secret::Secret;
use crate::state::attempt::{Effort, Errand, ServerErrand};
use crate::state::call::{Call, CallFlaw, Called};
use crate::state::client::{LoadingBinding, Then};
use crate::state::discover::{listed, locate};
use crate::state::exchange::read_answer;
use crate::state::redirect::asked_scopes;
use crate::state::refresh::{asked_wait, back_off};
use crate::state::renew::{Pausing, unreachable};
use crate::state::save::{Kept, SavingAccount};
use crate::state::{LoadingServer, Step, Trigger, Work};
use crate::time::{Moment, MonoMillis, UnixMillis};
use crate::wire::callback::IssBinding;
use crate::wire::form::Form;
use crate::wire::server::ServerDocument;
use crate::wire::token::{Granted, OAuthError, TokenAnswer, UnexpectedToken, read_id_jag};
use crate::wire::words::{GrantProfile, GrantType};

/// A token that is being obtained.
pub(crate) struct Obtaining {
    pub(crate) effort: Effort,
    flow: MachineFlow,
    /// Token requests that may still be sent.
    requests: Budget,
    delayed: bool,
    not_before: Option<MonoMillis>,
    /// What the resource said, for another attempt soon.
    facts: Option<ResourceFacts>,
    /// A refused grant of the identity provider was replaced once (EMA-16).
    second_jag: bool,
    /// A refused subject token was replaced once (EMA-17).
    second_subject: bool,
}

/// Begins, unless a server needs a rest. What a refusal asked for is counted (STEP-07).
pub(crate) fn obtain(
    core: &mut Core,
    flow: MachineFlow,
    operation: Operation,
    refused: bool,
) -> Step {
    let fails = |operation, cause| {
        Err(Failure {
            operation: Some(operation),
            stage: Stage::Token,
            issuer: None,
            cause,
        })
    };
    if core.now.mono < core.memory.rest.until {
        let retry_at = core.memory.rest.retry_at;
        return fails(operation, unreachable(retry_at));
    }
    if refused {
        let cap = core.config().authorizations_per_operation();
        let now = core.now.mono;
        if let Err(limited) = core.memory.authorize(Some(&operation), cap, now) {
            return fails(operation, Cause::OutOfPatience(limited));
        }
    }
    core.memory.operation = Some(operation.clone());
    let obtaining = Box::new(Obtaining {
        effort: Effort::new(core, Some(operation)),
        flow,
        requests: Budget::new(REFRESHES_PER_RENEWAL, Limited::Requests),
        delayed: false,
        not_before: None,
        facts: None,
        second_jag: false,
        second_subject: false,
    });
    locate(core, Errand::Obtain(obtaining))
}

impl Obtaining {
    /// Goes on after a pause: somebody else may have been faster.
    pub(crate) fn go(mut self: Box<Self>, core: &mut Core) -> Step {
        if core.held.is_fresh(core.now) {
            core.ready();
            return Ok(Work::Idle);
        }
        if let Some(until) = self.not_before.filter(|until| core.now.mono < *until) {
            return Ok(Pausing::begin(core, Trigger::Obtain(self), until));
        }
        self.effort = Effort::new(core, self.effort.operation.clone());
        match self.facts.take() {
            Some(facts) => listed(core, Errand::Obtain(self), facts),
            None => locate(core, Errand::Obtain(self)),
        }
    }

    fn fails(&self, stage: Stage, issuer: &IssuerId, cause: Cause) -> Step {
        Err(self.effort.fails(stage, Some(issuer), cause))
    }

    fn misconfigured(&self, issuer: &IssuerId, found: Misconfiguration) -> Step {
        self.fails(Stage::Registration, issuer, Cause::Misconfigured(found))
    }

    /// The resource's authorization server was met: is it one that may have our credentials?
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
        match self.configured(core, &at) {
            Some(client) => self.pre_registered(core, facts, client),
            None => match core.config().unbound_client.clone() {
                Some(client) => LoadingBinding::begin(core, Then::Obtain(self), facts, at, client),
                None => self.nobody_there(core, &at),
            },
        }
    }

    fn configured(&self, core: &Core, at: &AtIssuer<()>) -> Option<AtIssuer<PreRegistered>> {
        let config = core.config();
        let slash = config.slash_rule();
        config
            .clients
            .iter()
            .find_map(|client| client.open(at, slash))
    }

    /// Credentials for other servers are no credentials here (A04).
    fn nobody_there(&self, core: &Core, at: &AtIssuer<()>) -> Step {
        let found = at.issuer().clone();
        let configured: Vec<_> = core
            .config()
            .clients
            .iter()
            .map(|client| client.issuer().clone())
            .collect();
        let misconfiguration = if configured.is_empty() {
            Misconfiguration::NoClient {
                issuer: found.clone(),
            }
        } else {
            Misconfiguration::OtherIssuer {
                configured,
                found: found.clone(),
            }
        };
        self.misconfigured(&found, misconfiguration)
    }

    /// The client that is configured for this server, authenticating in the way that it lists.
    pub(crate) fn pre_registered(
        self: Box<Self>,
        core: &mut Core,
        facts: ResourceFacts,
        client: AtIssuer<PreRegistered>,
    ) -> Step {
        let issuer = client.issuer().clone();
        match authenticating(core, client) {
            Ok(client) => self.known(core, facts, client),
            Err(flaw) => self.misconfigured(&issuer, Misconfiguration::ClientMethod(flaw)),
        }
    }

    /// The client is known at the resource's server.
    fn known(
        self: Box<Self>,
        core: &mut Core,
        facts: ResourceFacts,
        client: AtIssuer<Client>,
    ) -> Step {
        match self.flow.clone() {
            MachineFlow::Enterprise(enterprise) => {
                let at = self.asked(core, facts, client)?;
                let errand = Box::new(AtIdp {
                    obtaining: self,
                    at,
                });
                errand.find(core, &enterprise)
            }
            MachineFlow::ClientCredentials | MachineFlow::Workload(_)
                if is_public(client.held()) =>
            {
                let issuer = client.issuer().clone();
                let flaw = Misconfiguration::ClientMethod(MethodFlaw::Public);
                self.misconfigured(&issuer, flaw)
            }
            MachineFlow::ClientCredentials | MachineFlow::Workload(_) => {
                let at = self.asked(core, facts, client)?;
                let at = at.then(|asked| MachineGrant::ClientCredentials(ClientCredentials(asked)));
                Requesting::begin(core, self, at)
            }
        }
    }

    /// What is asked for, and as whom.
    fn asked(
        &self,
        core: &mut Core,
        facts: ResourceFacts,
        at: AtIssuer<Client>,
    ) -> Result<AtIssuer<Asked>, Failure> {
        let binding = super::bound::choose(core, at.server(), &facts);
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
        let (scopes, source) = asked_scopes(core, None, &facts, &at, Some(at.held()));
        // A client that acts for itself is never away (M2M-04).
        let scopes = scopes.without("offline_access");
        core.report(|| Decision::ScopesChosen {
            scopes: scopes.clone(),
            source,
        });
        let sent = core.config().settings(&issuer).resource == ResourceParameter::Send;
        Ok(at.then(|client| Asked {
            client,
            resource: Resource { id: facts.id, sent },
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
        let slash = core.config().slash_rule();
        let may = workload.allowed.iter().any(|allowed| {
            *allowed == issuer
                || slash == SlashRule::TolerateOne && allowed.same_but_slash(issuer.as_str())
        });
        if !may {
            let found = Misconfiguration::AssertionNotAllowed {
                allowed: workload.allowed.clone(),
                found: issuer.clone(),
            };
            return self.misconfigured(&issuer, found);
        }
        let assumed = core.config().settings(&issuer).jwt_bearer == JwtBearerSupport::Assumed;
        if !at.server().facts().grant_types.has(GrantType::JwtBearer) && !assumed {
            return self.misconfigured(&issuer, Misconfiguration::GrantNotOffered);
        }
        let client = at.then(|()| Client {
            id: workload.client_id.clone().unwrap_or_default(),
            origin: ClientOrigin::PreRegistered,
            method: match &workload.client_id {
                Some(_) => ClientMethod::None,
                None => ClientMethod::Unnamed,
            },
            secret_expires_at: None,
        });
        let asked = self.asked(core, facts, client)?;
        Ok(ObtainingAssertion::workload(core, self, asked))
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
            return self.misconfigured(&issuer, Misconfiguration::GrantNotOffered);
        }
        if let Some(client) = self.configured(core, &at) {
            return self.pre_registered(core, facts, client);
        }
        if let Some(client) = core.config().unbound_client.clone() {
            return LoadingBinding::begin(core, Then::Obtain(self), facts, at, client);
        }
        match &core.config().client_metadata_url {
            Some(url) if server.supports_cimd => {
                let key = core.config().client_metadata_key.as_ref();
                let method = key.map_or(Ok(ClientMethod::None), |key| {
                    key_method(key, server.auth_methods, server.assertion_algorithms)
                });
                let id: Box<str> = url.as_str().into();
                match method {
                    Ok(method) => {
                        let client = at.then(|()| Client {
                            id,
                            origin: ClientOrigin::MetadataDocument,
                            method,
                            secret_expires_at: None,
                        });
                        self.known(core, facts, client)
                    }
                    Err(flaw) => self.misconfigured(&issuer, Misconfiguration::ClientMethod(flaw)),
                }
            }
            // No registration in this flow (EMA-15).
            Some(_) | None => self.nobody_there(core, &at),
        }
    }

    /// Waits and tries again, or ends (11.4).
    fn later(
        mut self: Box<Self>,
        core: &mut Core,
        issuer: &IssuerId,
        wait: Option<std::time::Duration>,
    ) -> Step {
        let tries = self.requests.left();
        if tries == 0 || wait.is_some() && self.delayed {
            core.memory.rest.failed(core.now, wait);
            let retry_at = wait.and(core.memory.rest.retry_at);
            return self.fails(Stage::Token, issuer, unreachable(retry_at));
        }
        self.delayed |= wait.is_some();
        let wait = wait.unwrap_or_else(|| back_off(core, tries));
        core.report(|| Decision::RefreshDelayed {
            millis: crate::time::millis(wait),
        });
        let until = core.now.mono.plus(wait);
        self.not_before = Some(until);
        Ok(Pausing::begin(core, Trigger::Obtain(self), until))
    }
}

/// A configured client, with the one way in which it authenticates at this server.
fn authenticating(
    core: &Core,
    configured: AtIssuer<PreRegistered>,
) -> Result<AtIssuer<Client>, MethodFlaw> {
    let encoding = core.config().settings(configured.issuer()).basic_encoding;
    configured.try_then(|configured, server| {
        let facts = server.facts();
        let method = configured_method(&configured, facts, encoding)?;
        Ok(Client {
            id: configured.client_id,
            origin: ClientOrigin::PreRegistered,
            method,
            secret_expires_at: None,
        })
    })
}

/// A key where it can be used, then an assertion that was supplied, then a secret (TOK-04, M2M-05).
pub(crate) fn configured_method(
    configured: &PreRegistered,
    facts: &crate::issuer::Facts,
    encoding: crate::config::BasicEncoding,
) -> Result<ClientMethod, MethodFlaw> {
    let by_key = configured
        .key
        .as_ref()
        .map(|key| key_method(key, facts.auth_methods, facts.assertion_algorithms));
    match (by_key, &configured.assertion, &configured.secret) {
        (Some(Ok(method)), _, _) => Ok(method),
        (_, Some(assertion), _) => Ok(ClientMethod::StaticAssertion(assertion.clone())),
        (Some(Err(flaw)), None, None) => Err(flaw),
        (Some(Err(_)) | None, None, secret) => choose_method(
            &configured.client_id,
            secret.clone(),
            configured.method,
            facts.auth_methods,
            encoding,
        ),
    }
}

fn is_public(client: &Client) -> bool {
    matches!(client.method, ClientMethod::None | ClientMethod::Unnamed)
}

/// The resource's server with what is asked of it, while the identity provider is looked for.
pub(crate) struct AtIdp {
    pub(crate) obtaining: Box<Obtaining>,
    at: AtIssuer<Asked>,
}

impl AtIdp {
    fn find(self: Box<Self>, core: &mut Core, enterprise: &Enterprise) -> Step {
        let Some(idp) = &enterprise.idp else {
            let issuer = self.at.issuer().clone();
            return self
                .obtaining
                .misconfigured(&issuer, Misconfiguration::GrantNotOffered);
        };
        let facts = ResourceFacts::of_server(idp.clone());
        let Some(json) = &enterprise.metadata else {
            return LoadingServer::begin(core, ServerErrand::Idp(self), facts, 0);
        };
        let (policy, slash) = (core.config().url_policy(), core.config().slash_rule());
        let server = ServerDocument::parse(json)
            .map_err(|_| crate::issuer::MetadataFlaw::Malformed)
            .and_then(|document| {
                let source = ServerSource::Metadata;
                Server::accept(idp, &document, source, UnixMillis::MAX, slash, policy)
            });
        match server {
            Ok(server) => self.met(core, server),
            Err(flaw) => {
                let cause = Cause::Violation(Violation::Metadata(flaw));
                self.obtaining.fails(Stage::IdentityProvider, idp, cause)
            }
        }
    }

    /// The identity provider was met: the one that the host named, and no other (EMA-04).
    pub(crate) fn met(self, core: &mut Core, server: Server) -> Step {
        let MachineFlow::Enterprise(enterprise) = self.obtaining.flow.clone() else {
            return self.obtaining.go(core);
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
            Ok(idp) => Ok(ObtainingAssertion::subject(
                core,
                self.obtaining,
                self.at,
                idp,
            )),
            Err(flaw) => self
                .obtaining
                .misconfigured(&issuer, Misconfiguration::ClientMethod(flaw)),
        }
    }
}

/// A grant of a client without a user.
pub(crate) enum MachineGrant {
    ClientCredentials(ClientCredentials),
    Workload(JwtBearer),
    Enterprise(JwtBearer),
}

impl MachineGrant {
    fn asked(&self) -> &Asked {
        match self {
            Self::ClientCredentials(grant) => &grant.0,
            Self::Workload(grant) | Self::Enterprise(grant) => &grant.asked,
        }
    }

    fn into_parts(self) -> (Asked, Obtained) {
        match self {
            Self::ClientCredentials(grant) => (grant.0, Obtained::ClientCredentials),
            Self::Workload(grant) => (grant.asked, Obtained::JwtBearer),
            Self::Enterprise(grant) => (grant.asked, Obtained::Enterprise),
        }
    }
}

impl TokenGrant for MachineGrant {
    fn encode(&self, form: &mut Form) {
        match self {
            Self::ClientCredentials(grant) => grant.encode(form),
            Self::Workload(grant) | Self::Enterprise(grant) => grant.encode(form),
        }
    }

    fn client(&self) -> &Client {
        &self.asked().client
    }

    fn binding(&self) -> Option<&KeyBinding> {
        self.asked().binding.as_ref()
    }
}

impl AtIssuer<MachineGrant> {
    /// A token answer makes an account; a refresh token in it is left alone (M2M-09, WIF-10, EMA-18).
    fn redeemed(
        self,
        granted: Granted,
        binding: Option<KeyBinding>,
        now: Moment,
    ) -> AtIssuer<Account> {
        self.then(|grant| {
            let (asked, obtained) = grant.into_parts();
            Account {
                client: asked.client,
                redirect_uri: None,
                binding,
                obtained,
                resource: asked.resource,
                granted: granted.scope.unwrap_or_else(|| asked.scopes.clone()),
                requested: asked.scopes,
                iss_binding: IssBinding::NoCallback,
                tokens: Some(Tokens {
                    access: granted.access_token,
                    refresh: None,
                    received: now.wall,
                    lifetime: granted.lifetime,
                }),
            }
        })
    }
}

/// Waits for the answer to a token request without a user.
pub(crate) struct Requesting {
    call: Call<MachineGrant>,
    obtaining: Box<Obtaining>,
}

impl Requesting {
    fn begin(core: &mut Core, mut obtaining: Box<Obtaining>, at: AtIssuer<MachineGrant>) -> Step {
        if let Err(limited) = obtaining.requests.take() {
            return obtaining.fails(Stage::Token, at.issuer(), Cause::OutOfPatience(limited));
        }
        let requests = match at.held().binding() {
            None => 1,
            Some(_) => 2,
        };
        let call = Call::begin(core, at, Budget::new(requests, Limited::Requests));
        Self::called(core, call, obtaining)
    }

    pub(crate) fn ask(&self) -> &Ask {
        &self.call.ask
    }

    pub(crate) fn replied(self, core: &mut Core, outcome: Outcome) -> Step {
        let called = self.call.replied(core, outcome);
        Self::called(core, called, self.obtaining)
    }

    pub(crate) fn signed(self, core: &mut Core, token: Option<Secret>) -> Step {
        let called = self.call.signed(core, token);
        Self::called(core, called, self.obtaining)
    }

    fn called(core: &mut Core, called: Called<MachineGrant>, obtaining: Box<Obtaining>) -> Step {
        match called {
            Called::Again(call) => Ok(Work::Requesting(Self { call, obtaining })),
            Called::Answered(at, response) => answered(core, obtaining, at, &response),
            Called::Failed(at, CallFlaw::Unreachable) => obtaining.later(core, at.issuer(), None),
            Called::Failed(at, CallFlaw::Final(cause)) => {
                obtaining.fails(Stage::Token, at.issuer(), cause)
            }
        }
    }
}

/// The columns of requirements 11.4 for grants without a user.
fn answered(
    core: &mut Core,
    mut obtaining: Box<Obtaining>,
    at: AtIssuer<MachineGrant>,
    response: &Response<Bytes>,
) -> Step {
    let issuer = at.issuer().clone();
    match read_answer(core, &issuer, response) {
        TokenAnswer::Granted(granted) => {
            if granted.type_assumed {
                core.report(|| Decision::TokenTypeAssumed);
            }
            let kind = granted.token_type;
            match super::bound::judge(core, at.held().binding(), kind) {
                Ok(binding) => {
                    let at = at.redeemed(*granted, binding, core.now);
                    core.report(|| Decision::TokenReceived {
                        issuer,
                        scopes: at.held().granted.clone(),
                        seconds: None,
                    });
                    Ok(SavingAccount::begin(core, at, Kept::Authorized))
                }
                Err(flaw) => obtaining.fails(Stage::Token, &issuer, Cause::Violation(flaw)),
            }
        }
        TokenAnswer::Refused {
            error: OAuthError::ServerError | OAuthError::TemporarilyUnavailable,
            ..
        }
        | TokenAnswer::Unexpected(
            UnexpectedToken::Status(408 | 425 | 429 | 500..) | UnexpectedToken::Body,
        ) => {
            let wait = asked_wait(core, response);
            obtaining.later(core, &issuer, wait)
        }
        TokenAnswer::Refused {
            error: OAuthError::InvalidGrant,
            ..
        } if matches!(at.held(), MachineGrant::Enterprise(_)) && !obtaining.second_jag => {
            // The grant of the provider is used up; a fresh one is tried, once (EMA-16).
            obtaining.second_jag = true;
            again_at_provider(core, obtaining, at)
        }
        TokenAnswer::Refused {
            error: OAuthError::InsufficientUserAuthentication,
            ..
        } if matches!(at.held(), MachineGrant::Enterprise(_)) && !obtaining.second_subject => {
            obtaining.second_subject = true;
            again_at_provider(core, obtaining, at)
        }
        TokenAnswer::Refused {
            error,
            code,
            description,
        } => {
            let refusal = Refusal::OAuth {
                error,
                code: Some(code),
                description,
                error_uri: None,
            };
            obtaining.fails(Stage::Token, &issuer, Cause::Refused(refusal))
        }
        TokenAnswer::Unexpected(flaw) => {
            let cause = Cause::Violation(Violation::Token(flaw));
            obtaining.fails(Stage::Token, &issuer, cause)
        }
    }
}

fn again_at_provider(
    core: &mut Core,
    obtaining: Box<Obtaining>,
    at: AtIssuer<MachineGrant>,
) -> Step {
    let MachineFlow::Enterprise(enterprise) = obtaining.flow.clone() else {
        return obtaining.go(core);
    };
    let at = at.then(|grant| grant.into_parts().0);
    Box::new(AtIdp { obtaining, at }).find(core, &enterprise)
}

/// Waits for a token of the host's platform, just before it is sent (WIF-05, EMA-05).
pub(crate) struct ObtainingAssertion {
    pub(crate) ask: Ask,
    obtaining: Box<Obtaining>,
    at: AtIssuer<Asked>,
    /// The provider to which a subject token goes; without one it is a workload's assertion.
    idp: Option<AtIssuer<Client>>,
}

impl ObtainingAssertion {
    fn workload(core: &mut Core, obtaining: Box<Obtaining>, at: AtIssuer<Asked>) -> Work {
        let audience = match core.config().settings(at.issuer()).assertion_audience {
            AssertionAudience::Issuer => at.issuer().as_str(),
            AssertionAudience::TokenEndpoint => at.server().facts().token_endpoint.as_str(),
        };
        let kind = AssertionKind::Workload {
            audience: audience.into(),
        };
        let ask = core.obtain(kind, SIGN_TIME);
        Work::ObtainingAssertion(Self {
            ask,
            obtaining,
            at,
            idp: None,
        })
    }

    fn subject(
        core: &mut Core,
        obtaining: Box<Obtaining>,
        at: AtIssuer<Asked>,
        idp: AtIssuer<Client>,
    ) -> Work {
        let kind = AssertionKind::Subject {
            issuer: idp.issuer().clone(),
            renew: obtaining.second_subject,
        };
        let ask = core.obtain(kind, SIGN_TIME);
        Work::ObtainingAssertion(Self {
            ask,
            obtaining,
            at,
            idp: Some(idp),
        })
    }

    pub(crate) fn obtained(
        self,
        core: &mut Core,
        token: Option<(Secret, Option<SubjectTokenKind>)>,
    ) -> Step {
        let issuer = self.at.issuer().clone();
        match (self.idp, token) {
            (None, Some((assertion, None))) => {
                let at = self
                    .at
                    .then(|asked| MachineGrant::Workload(JwtBearer { asked, assertion }));
                Requesting::begin(core, self.obtaining, at)
            }
            (Some(idp), Some((subject, Some(kind)))) => {
                let audience = issuer;
                let asked = self.at.held();
                let (resource, scopes) = (asked.resource.id.clone(), asked.scopes.clone());
                let grant = idp.then(|client| TokenExchange {
                    client,
                    subject,
                    kind,
                    audience,
                    resource,
                    scopes,
                });
                let call = Call::begin(core, grant, Budget::new(1, Limited::Requests));
                ExchangingSubject::called(core, call, self.obtaining, self.at)
            }
            // None, or one of the other kind.
            (_, Some(_) | None) => self
                .obtaining
                .misconfigured(&issuer, Misconfiguration::NoAssertion),
        }
    }
}

/// Waits for the identity provider's grant for the resource's server (EMA-06 to EMA-11).
pub(crate) struct ExchangingSubject {
    call: Call<TokenExchange>,
    obtaining: Box<Obtaining>,
    at: AtIssuer<Asked>,
}

impl ExchangingSubject {
    pub(crate) fn ask(&self) -> &Ask {
        &self.call.ask
    }

    pub(crate) fn replied(self, core: &mut Core, outcome: Outcome) -> Step {
        let called = self.call.replied(core, outcome);
        Self::called(core, called, self.obtaining, self.at)
    }

    pub(crate) fn signed(self, core: &mut Core, token: Option<Secret>) -> Step {
        let called = self.call.signed(core, token);
        Self::called(core, called, self.obtaining, self.at)
    }

    fn called(
        core: &mut Core,
        called: Called<TokenExchange>,
        mut obtaining: Box<Obtaining>,
        at: AtIssuer<Asked>,
    ) -> Step {
        let (idp, response) = match called {
            Called::Again(call) => {
                return Ok(Work::ExchangingSubject(Self {
                    call,
                    obtaining,
                    at,
                }));
            }
            Called::Answered(idp, response) => (idp, response),
            Called::Failed(idp, CallFlaw::Unreachable) => {
                if let Err(limited) = obtaining.requests.take() {
                    let cause = Cause::OutOfPatience(limited);
                    return obtaining.fails(Stage::IdentityProvider, idp.issuer(), cause);
                }
                return obtaining.later(core, idp.issuer(), None);
            }
            Called::Failed(idp, CallFlaw::Final(cause)) => {
                return obtaining.fails(Stage::IdentityProvider, idp.issuer(), cause);
            }
        };
        let issuer = idp.issuer().clone();
        let status = response.status().as_u16();
        match read_id_jag(status, response.body()) {
            Ok(assertion) => {
                // Bound to the server that it was asked for, and good nowhere else (EMA-11).
                let bound = IssuerBound::new(idp.held().audience.clone(), assertion);
                let opened = bound.open(&at.clone().then(|_asked| ()), SlashRule::Exact);
                match opened {
                    Some(opened) => {
                        let at = opened.then(|assertion| {
                            let asked = at.held().clone();
                            MachineGrant::Enterprise(JwtBearer { asked, assertion })
                        });
                        Requesting::begin(core, obtaining, at)
                    }
                    None => {
                        let cause = Cause::Violation(Violation::NoIdJag);
                        obtaining.fails(Stage::IdentityProvider, &issuer, cause)
                    }
                }
            }
            Err(Some((error, code, description))) => {
                let stale = matches!(
                    error,
                    OAuthError::InvalidGrant
                        | OAuthError::InteractionRequired
                        | OAuthError::InsufficientUserAuthentication
                );
                if stale && !obtaining.second_subject {
                    obtaining.second_subject = true;
                    let at_idp = idp.then(|exchange| exchange.client);
                    let work = ObtainingAssertion::subject(core, obtaining, at, at_idp);
                    return Ok(work);
                }
                let refusal = Refusal::OAuth {
                    error,
                    code: Some(code),
                    description,
                    error_uri: None,
                };
                obtaining.fails(Stage::IdentityProvider, &issuer, Cause::Refused(refusal))
            }
            Err(None) if matches!(status, 408 | 425 | 429 | 500..) => {
                if let Err(limited) = obtaining.requests.take() {
                    let cause = Cause::OutOfPatience(limited);
                    return obtaining.fails(Stage::IdentityProvider, &issuer, cause);
                }
                let wait = asked_wait(core, &response);
                obtaining.later(core, &issuer, wait)
            }
            Err(None) => {
                let cause = Cause::Violation(Violation::NoIdJag);
                obtaining.fails(Stage::IdentityProvider, &issuer, cause)
            }
        }
    }
}

impl Enterprise {
    /// The same for every machine of a configuration.
    pub(crate) fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }
}
