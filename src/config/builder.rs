//! Collects the host's decisions and checks them together.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::{
    About, ApplicationType, Config, Discovery, Dpop, DynamicRegistration, Enterprise, IssPolicy,
    IssuerSettings, Legacy, MachineFlow, MetadataCache, MetadataOrigin, Pin, PreRegistered,
    PushedRequests, RedirectUri, RedirectUriFlaw, RefreshTokens, RegistrationSharing, SignIn,
    StepUp, Strictness, WorkloadIdentity,
};
use crate::budget::{AUTHORIZATIONS_PER_OPERATION, REQUESTS_PER_FLOW, USER_TIME};
use crate::client_metadata::{ClientMetadataUrl, ClientMetadataUrlFlaw, check_link};
use crate::issuer::{IssuerBound, IssuerFlaw, IssuerId};
use crate::key::SigningKey;
use crate::slot::Slot;
use crate::wire::scopes::{ScopeError, Scopes};
use crate::wire::url::{UrlFlaw, UrlPolicy};

/// Why a configuration cannot be used; each says which setting to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The MCP URL.
    #[error("the MCP URL {0}; it must be https, or http on loopback")]
    McpUrl(UrlFlaw),
    /// The redirect URI.
    #[error("the redirect URI {0}")]
    RedirectUri(RedirectUriFlaw),
    /// The client metadata URL.
    #[error("the client metadata URL: {0}")]
    ClientMetadataUrl(ClientMetadataUrlFlaw),
    /// An issuer in a client entry, a pin or a setting.
    #[error("the issuer `{issuer}` {flaw}")]
    Issuer {
        /// The text given.
        issuer: String,
        /// What is wrong with it.
        flaw: IssuerFlaw,
    },
    /// Two entries for one issuer (META-17).
    #[error("the issuer `{0}` is configured twice")]
    Twice(String),
    /// The URL of the resource's metadata.
    #[error("the resource metadata URL {0}")]
    ResourceMetadataUrl(UrlFlaw),
    /// An initial access token that cannot stand in a header (REG-29).
    #[error("the initial access token for `{0}` has characters that cannot stand in a header")]
    InitialAccess(String),
    /// A token parameter for the identity provider that the machine sets itself in the exchange (TOK-10).
    #[error("the token parameter `{name}` for `{issuer}` is set by the client itself")]
    ReservedParameter {
        /// The issuer that the settings are for.
        issuer: String,
        /// The parameter.
        name: &'static str,
    },
    /// An entry without an issuer beside another entry (REG-04).
    #[error("a client without an issuer can only stand alone")]
    UnboundClient,
    /// A key for proofs whose public part is not known.
    #[error("the key `{0}` needs its public part for proofs of possession")]
    PublicKey(String),
    /// A page about the client that is no `https` URL (SEC-24).
    #[error("`{member}`: {flaw}")]
    ClientLink {
        /// The setting.
        member: &'static str,
        /// The flaw in it.
        flaw: ClientMetadataUrlFlaw,
    },
    /// A scope that is none (SCOPE-04).
    #[error("the scope {0}")]
    Scope(ScopeError),
    /// A client that acts for itself, and no client that it could act as (M2M-01).
    #[error(
        "a client that acts for itself needs a client: register one at the authorization server and \
         configure it"
    )]
    NoClient,
    /// A user is to sign in, and there is no redirect URI on which the host receives the callback.
    #[error("a user can only sign in with a redirect URI")]
    NoRedirectUri,
    /// A client identifier that is empty.
    #[error("a client identifier is empty")]
    ClientId,
}

#[derive(Clone, Debug, Default)]
enum Supplied {
    #[default]
    Nothing,
    ResourceMetadata(String),
    Issuer(String),
    ServerMetadata(String, Box<[u8]>),
}

/// Collects the host's decisions.
#[derive(Clone, Debug)]
pub struct ConfigBuilder {
    mcp_url: String,
    redirect_uri: Option<Result<RedirectUri, RedirectUriFlaw>>,
    client_name: Box<str>,
    client_uri: Option<Box<str>>,
    software_id: Option<Box<str>>,
    about: About,
    application_type: Option<ApplicationType>,
    client_metadata_url: Option<String>,
    clients: Vec<(Option<String>, PreRegistered)>,
    dynamic_registration: DynamicRegistration,
    registration_sharing: RegistrationSharing,
    supplied: Supplied,
    pins: Vec<(String, String)>,
    issuer_settings: Vec<(String, IssuerSettings)>,
    preferred_issuers: Vec<String>,
    scopes: Option<Result<Scopes, ScopeError>>,
    refresh_tokens: RefreshTokens,
    legacy: Legacy,
    strictness: Strictness,
    iss_policy: IssPolicy,
    metadata_origin: MetadataOrigin,
    metadata_cache: MetadataCache,
    allowed_hosts: Vec<String>,
    loopback_http: bool,
    step_up: StepUp,
    sign_in: SignIn,
    dpop: Dpop,
    pushed_requests: PushedRequests,
    client_metadata_key: Option<SigningKey>,
    step_ups_per_operation: u8,
    max_requests: u8,
    user_time: Duration,
    reports: bool,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $ty:ty;)+) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(mut self, value: $ty) -> Self {
            self.$name = value;
            self
        })+
    };
}

impl ConfigBuilder {
    pub(super) fn new(mcp_url: String, redirect_uri: Option<String>) -> Self {
        Self {
            mcp_url,
            redirect_uri: redirect_uri.map(RedirectUri::new),
            client_name: "MCP client".into(),
            client_uri: None,
            software_id: None,
            about: About::default(),
            application_type: None,
            client_metadata_url: None,
            clients: Vec::new(),
            dynamic_registration: DynamicRegistration::default(),
            registration_sharing: RegistrationSharing::default(),
            supplied: Supplied::default(),
            pins: Vec::new(),
            issuer_settings: Vec::new(),
            preferred_issuers: Vec::new(),
            scopes: None,
            refresh_tokens: RefreshTokens::default(),
            legacy: Legacy::default(),
            strictness: Strictness::default(),
            iss_policy: IssPolicy::default(),
            metadata_origin: MetadataOrigin::default(),
            metadata_cache: MetadataCache::default(),
            allowed_hosts: Vec::new(),
            loopback_http: false,
            step_up: StepUp::default(),
            sign_in: SignIn::default(),
            dpop: Dpop::default(),
            pushed_requests: PushedRequests::default(),
            client_metadata_key: None,
            step_ups_per_operation: AUTHORIZATIONS_PER_OPERATION.saturating_sub(1),
            max_requests: REQUESTS_PER_FLOW,
            user_time: USER_TIME,
            reports: true,
        }
    }

    setters! {
        /// When the machine registers itself.
        dynamic_registration: DynamicRegistration;
        /// Who shares a dynamic registration.
        registration_sharing: RegistrationSharing;
        /// Whether the host keeps refresh tokens.
        refresh_tokens: RefreshTokens;
        /// Support for servers of revision 2025-03-26.
        legacy: Legacy;
        /// How strictly deviations are judged.
        strictness: Strictness;
        /// Whether an unverifiable callback is accepted.
        iss_policy: IssPolicy;
        /// Which origins may serve the resource's metadata.
        metadata_origin: MetadataOrigin;
        /// Whether public metadata is kept in slots.
        metadata_cache: MetadataCache;
        /// What is done when a token lacks scopes.
        step_up: StepUp;
        /// Whether tokens are bound to a key, and to which (DPOP-01).
        dpop: Dpop;
        /// When authorization requests are pushed (AUTHZ-20).
        pushed_requests: PushedRequests;
        /// Step-ups allowed for one operation after its first authorization; 0 means that
        /// `insufficient_scope` is reported and no step-up is made (STEP-07).
        step_ups_per_operation: u8;
        /// Requests of one flow; at most 40 (SEC-16).
        max_requests: u8;
        /// How long the user has for an authorization (AUTHZ-17).
        user_time: Duration;
        /// Whether `Report` actions are given out; on by default.
        reports: bool;
    }

    /// The client acts for itself, with the credentials that are pre-registered (M2M). It never falls
    /// back to a user.
    #[must_use]
    pub fn client_credentials(mut self) -> Self {
        self.sign_in = SignIn::Machine(MachineFlow::ClientCredentials);
        self
    }

    /// The client is a workload whose platform vouches for it (WIF).
    #[must_use]
    pub fn workload_identity(mut self, workload: WorkloadIdentity) -> Self {
        self.sign_in = SignIn::Machine(MachineFlow::Workload(Arc::new(workload)));
        self
    }

    /// The organisation's identity provider decides about access (EMA).
    #[must_use]
    pub fn enterprise(mut self, enterprise: Enterprise) -> Self {
        self.sign_in = SignIn::Machine(MachineFlow::Enterprise(enterprise.shared()));
        self
    }

    /// The client's own key: its metadata document publishes the public part (REG-11, EMA-15, EMA-21),
    /// and a dynamic registration carries the public part where the server lists `private_key_jwt`
    /// (REG-21; needs [`SigningKey::public`]).
    #[must_use]
    pub fn client_metadata_key(mut self, key: SigningKey) -> Self {
        self.client_metadata_key = Some(key);
        self
    }

    /// The name that people see at consent.
    #[must_use]
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.client_name = name.into().into_boxed_str();
        self
    }

    /// A page about the client, sent at registration.
    #[must_use]
    pub fn client_uri(mut self, uri: impl Into<String>) -> Self {
        self.client_uri = Some(uri.into().into_boxed_str());
        self
    }

    /// The software's identifier, sent at registration.
    #[must_use]
    pub fn software_id(mut self, id: impl Into<String>) -> Self {
        self.software_id = Some(id.into().into_boxed_str());
        self
    }

    /// A logo for the server's consent page, sent at registration.
    #[must_use]
    pub fn logo_uri(mut self, uri: impl Into<String>) -> Self {
        self.about.logo_uri = Some(uri.into().into_boxed_str());
        self
    }

    /// A person responsible for the client, usually by mail address, sent at registration; may be
    /// called repeatedly.
    #[must_use]
    pub fn contact(mut self, contact: impl Into<String>) -> Self {
        self.about.contacts.push(contact.into());
        self
    }

    /// A page on how the client uses the data, sent at registration.
    #[must_use]
    pub fn policy_uri(mut self, uri: impl Into<String>) -> Self {
        self.about.policy_uri = Some(uri.into().into_boxed_str());
        self
    }

    /// The client's terms of service, sent at registration.
    #[must_use]
    pub fn tos_uri(mut self, uri: impl Into<String>) -> Self {
        self.about.tos_uri = Some(uri.into().into_boxed_str());
        self
    }

    /// A signed statement about the software, sent at registration (RFC 7591 section 2.3).
    #[must_use]
    pub fn software_statement(mut self, jwt: impl Into<String>) -> Self {
        self.about.software_statement = Some(jwt.into().into_boxed_str());
        self
    }

    /// Overrides the `application_type` that follows from the redirect URI (REG-20).
    #[must_use]
    pub fn application_type(mut self, kind: ApplicationType) -> Self {
        self.application_type = Some(kind);
        self
    }

    /// Uses a private-use redirect URI instead of the one given first (AUTHZ-07).
    #[must_use]
    pub fn private_use_redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.redirect_uri = Some(RedirectUri::private_use(uri));
        self
    }

    /// Uses a redirect URI with the custom scheme of an installed program, such as
    /// `cursor://anysphere.cursor-mcp/oauth/callback`, instead of the one given first. Read the warning at
    /// [`RedirectUri::custom_scheme`].
    #[must_use]
    pub fn custom_scheme_redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.redirect_uri = Some(RedirectUri::custom_scheme(uri));
        self
    }

    /// The URL of the client's metadata document, its `client_id` wherever that is supported (REG-05).
    #[must_use]
    pub fn client_metadata_url(mut self, url: impl Into<String>) -> Self {
        self.client_metadata_url = Some(url.into());
        self
    }

    /// A client registered out of band at one issuer (REG-03).
    #[must_use]
    pub fn pre_registered(mut self, issuer: impl Into<String>, client: PreRegistered) -> Self {
        self.clients.push((Some(issuer.into()), client));
        self
    }

    /// A client whose issuer is not known: it is bound to the first issuer validated for this MCP
    /// URL, durably, and refused at any other (REG-04).
    #[must_use]
    pub fn pre_registered_unbound(mut self, client: PreRegistered) -> Self {
        self.clients.push((None, client));
        self
    }

    /// Where the resource's metadata is, when it is not announced (DISC-20).
    #[must_use]
    pub fn resource_metadata_url(mut self, url: impl Into<String>) -> Self {
        self.supplied = Supplied::ResourceMetadata(url.into());
        self
    }

    /// The authorization server, in place of the resource's metadata (DISC-20).
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.supplied = Supplied::Issuer(issuer.into());
        self
    }

    /// The authorization server and its metadata document, in place of discovery (DISC-20). The
    /// document must name that issuer.
    #[must_use]
    pub fn server_metadata(mut self, issuer: impl Into<String>, json: impl Into<Vec<u8>>) -> Self {
        self.supplied = Supplied::ServerMetadata(issuer.into(), json.into().into_boxed_slice());
        self
    }

    /// Pins one entry of the resource's list to the issuer that its document must name: the typed
    /// remedy for servers that publish one issuer and advertise another (QUIRK-02).
    #[must_use]
    pub fn pin(mut self, entry: impl Into<String>, issuer: impl Into<String>) -> Self {
        self.pins.push((entry.into(), issuer.into()));
        self
    }

    /// Settings for one issuer.
    #[must_use]
    pub fn issuer_settings(mut self, issuer: impl Into<String>, settings: IssuerSettings) -> Self {
        self.issuer_settings.push((issuer.into(), settings));
        self
    }

    /// Prefers this issuer when a resource lists several (DISC-16); call again for a second choice.
    #[must_use]
    pub fn prefer_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.preferred_issuers.push(issuer.into());
        self
    }

    /// Requests exactly these scopes first, whatever the servers propose (SCOPE-04). Separated by spaces;
    /// [`build`](Self::build) fails when one of them is no scope.
    #[must_use]
    pub fn scopes(mut self, scopes: &str) -> Self {
        self.scopes = Some(Scopes::new(scopes));
        self
    }

    /// Permits a host name or address literal of a special-purpose class (SEC-05).
    #[must_use]
    pub fn allow_host(mut self, host: impl Into<String>) -> Self {
        self.allowed_hosts.push(host.into());
        self
    }

    /// Permits `http` on loopback although the MCP URL is not one: for development (SEC-02).
    #[must_use]
    pub fn allow_loopback_http(mut self) -> Self {
        self.loopback_http = true;
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// The first [`ConfigError`].
    pub fn build(self) -> Result<Config, ConfigError> {
        let scopes = self.scopes.transpose().map_err(ConfigError::Scope)?;
        let has_client = !self.clients.is_empty();
        match &self.sign_in {
            SignIn::Machine(MachineFlow::ClientCredentials) if !has_client => {
                return Err(ConfigError::NoClient);
            }
            SignIn::Machine(MachineFlow::Enterprise(_))
                if !has_client && self.client_metadata_url.is_none() =>
            {
                return Err(ConfigError::NoClient);
            }
            SignIn::User if self.redirect_uri.is_none() => return Err(ConfigError::NoRedirectUri),
            SignIn::User | SignIn::Machine(_) => {}
        }
        let redirect_uri = self
            .redirect_uri
            .transpose()
            .map_err(ConfigError::RedirectUri)?;
        let (mut policy, mcp_url) =
            UrlPolicy::for_mcp_url(&self.mcp_url).map_err(ConfigError::McpUrl)?;
        for host in &self.allowed_hosts {
            policy.allow_host(host);
        }
        if self.loopback_http {
            policy.allow_loopback_http();
        }
        let issuer = |text: &str| {
            IssuerId::new(text, &policy).map_err(|flaw| ConfigError::Issuer {
                issuer: text.to_owned(),
                flaw,
            })
        };
        let mut clients: Vec<IssuerBound<PreRegistered>> = Vec::new();
        let mut unbound_client = None;
        for (of, client) in &self.clients {
            if client.client_id.is_empty() {
                return Err(ConfigError::ClientId);
            }
            match of {
                None if self.clients.len() == 1 => unbound_client = Some(client.clone()),
                None => return Err(ConfigError::UnboundClient),
                Some(of) if clients.iter().any(|c| c.issuer().as_str() == of) => {
                    return Err(ConfigError::Twice(of.clone()));
                }
                Some(of) => clients.push(IssuerBound::new(issuer(of)?, client.clone())),
            }
        }
        let mut issuer_settings: Vec<(IssuerId, IssuerSettings)> = Vec::new();
        for (of, settings) in &self.issuer_settings {
            if issuer_settings
                .iter()
                .any(|(known, _)| known.as_str() == of)
            {
                return Err(ConfigError::Twice(of.clone()));
            }
            if settings.has_unusable_token() {
                return Err(ConfigError::InitialAccess(of.clone()));
            }
            issuer_settings.push((issuer(of)?, settings.clone()));
        }
        let pins = self
            .pins
            .iter()
            .map(|(entry, named)| {
                Ok(Pin {
                    entry: entry.as_str().into(),
                    issuer: issuer(named)?,
                })
            })
            .collect::<Result<_, ConfigError>>()?;
        let preferred_issuers = self
            .preferred_issuers
            .iter()
            .map(|text| issuer(text))
            .collect::<Result<_, ConfigError>>()?;
        let sign_in = match self.sign_in {
            SignIn::Machine(MachineFlow::Workload(workload)) => {
                let allowed = workload.issuers.iter().map(|text| issuer(text));
                let workload = WorkloadIdentity {
                    allowed: allowed.collect::<Result<_, _>>()?,
                    ..(*workload).clone()
                };
                SignIn::Machine(MachineFlow::Workload(Arc::new(workload)))
            }
            SignIn::Machine(MachineFlow::Enterprise(enterprise)) => {
                let enterprise = Enterprise {
                    idp: Some(issuer(&enterprise.issuer)?),
                    ..(*enterprise).clone()
                };
                SignIn::Machine(MachineFlow::Enterprise(enterprise.shared()))
            }
            other @ (SignIn::User | SignIn::Machine(MachineFlow::ClientCredentials)) => other,
        };
        if let SignIn::Machine(MachineFlow::Enterprise(enterprise)) = &sign_in {
            let idp = enterprise.idp.as_ref();
            let at_idp = |of: &IssuerId| idp.is_some_and(|idp| idp.same_but_slash(of.as_str()));
            for (of, settings) in issuer_settings.iter().filter(|(of, _)| at_idp(of)) {
                if let Some(name) = settings.sets_one_of(crate::grant::RESERVED_IN_EXCHANGE) {
                    let issuer = of.as_str().to_owned();
                    return Err(ConfigError::ReservedParameter { issuer, name });
                }
            }
        }
        let mut dpop_keys = Vec::new();
        for (of, key) in &self.dpop.given {
            if key.public.is_none() {
                return Err(ConfigError::PublicKey(key.name().to_owned()));
            }
            dpop_keys.push((of.as_deref().map(issuer).transpose()?, key.clone()));
        }
        let dpop = Dpop {
            keys: dpop_keys,
            ..self.dpop
        };
        let discovery = match &self.supplied {
            Supplied::Nothing => Discovery::Standard,
            Supplied::ResourceMetadata(url) => Discovery::ResourceMetadata(
                policy
                    .check(url)
                    .map_err(ConfigError::ResourceMetadataUrl)?,
            ),
            Supplied::Issuer(text) => Discovery::Issuer(issuer(text)?),
            Supplied::ServerMetadata(text, json) => {
                Discovery::ServerMetadata(issuer(text)?, json.clone())
            }
        };
        let client_metadata_url = self
            .client_metadata_url
            .as_deref()
            .map(ClientMetadataUrl::new)
            .transpose()
            .map_err(ConfigError::ClientMetadataUrl)?;
        for (member, uri) in [
            ("logo_uri", &self.about.logo_uri),
            ("policy_uri", &self.about.policy_uri),
            ("tos_uri", &self.about.tos_uri),
        ] {
            let flaw = uri.as_deref().map(check_link).and_then(Result::err);
            if let Some(flaw) = flaw {
                return Err(ConfigError::ClientLink { member, flaw });
            }
        }
        Ok(Config {
            mcp_url_given: self.mcp_url.into_boxed_str(),
            redirect_uri,
            resource_slot: Slot::resource_metadata(mcp_url.as_str()),
            mcp_url,
            client_name: self.client_name,
            client_uri: self.client_uri,
            software_id: self.software_id,
            about: self.about,
            application_type: self.application_type,
            client_metadata_url,
            clients,
            unbound_client,
            dynamic_registration: self.dynamic_registration,
            registration_sharing: self.registration_sharing,
            discovery,
            pins,
            issuer_settings,
            preferred_issuers,
            scopes: scopes.filter(|scopes| !scopes.is_empty()),
            refresh_tokens: self.refresh_tokens,
            legacy: self.legacy,
            strictness: self.strictness,
            iss_policy: self.iss_policy,
            metadata_origin: self.metadata_origin,
            metadata_cache: self.metadata_cache,
            step_up: self.step_up,
            sign_in,
            dpop,
            pushed_requests: self.pushed_requests,
            client_metadata_key: self.client_metadata_key,
            step_ups_per_operation: self
                .step_ups_per_operation
                .min(AUTHORIZATIONS_PER_OPERATION.saturating_sub(1)),
            max_requests: self.max_requests.min(REQUESTS_PER_FLOW),
            user_time: self.user_time,
            reports: self.reports,
            protocol_version: HeaderValue::from_static("2025-03-26"),
            defaults: IssuerSettings::default(),
            policy,
        })
    }
}
