//! The builder of a [`Config`], which validates all settings together.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::{
    About, ApplicationType, Config, Discovery, Dpop, DpopPolicy, DynamicRegistration, Enterprise,
    IssPolicy, IssuerSettings, Legacy, MachineFlow, MetadataCache, MetadataOrigin, NamedHosts, Pin,
    PreRegistered, PushedRequests, RedirectUri, RedirectUriFlaw, RefreshTokens,
    RegistrationSharing, SignIn, StepUp, Strictness, WorkloadIdentity,
};
use crate::budget::{AUTHORIZATIONS_PER_OPERATION, REQUESTS_PER_FLOW, USER_TIME};
use crate::client_metadata::{ClientMetadataUrl, ClientMetadataUrlFlaw, check_link};
use crate::issuer::{IssuerBound, IssuerFlaw, IssuerId};
use crate::key::SigningKey;
use crate::slot::Slot;
use crate::wire::scopes::{ScopeError, Scopes};
use crate::wire::url::{UrlFlaw, UrlPolicy, WebUrl};

/// An invalid setting of a [`ConfigBuilder`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The MCP URL is not acceptable.
    #[error("the MCP URL {0}; it must be https, or http on loopback")]
    McpUrl(UrlFlaw),
    /// The redirect URI is not acceptable.
    #[error("the redirect URI {0}")]
    RedirectUri(RedirectUriFlaw),
    /// The client metadata URL is not acceptable.
    #[error("the client metadata URL: {0}")]
    ClientMetadataUrl(ClientMetadataUrlFlaw),
    /// The issuer in a client entry, a pin or issuer settings is not acceptable.
    #[error("the issuer `{issuer}` {flaw}")]
    Issuer {
        /// The issuer as given.
        issuer: String,
        /// The flaw in it.
        flaw: IssuerFlaw,
    },
    /// One issuer has two entries (META-17).
    #[error("the issuer `{0}` is configured twice")]
    Twice(String),
    /// The URL of the protected resource metadata is not acceptable.
    #[error("the resource metadata URL {0}")]
    ResourceMetadataUrl(UrlFlaw),
    /// An initial access token contains characters that a header field cannot carry (REG-29).
    #[error("the initial access token for `{0}` has characters that cannot stand in a header")]
    InitialAccess(String),
    /// A token parameter for the identity provider is set by the machine itself in the exchange (TOK-10).
    #[error("the token parameter `{name}` for `{issuer}` is set by the client itself")]
    ReservedParameter {
        /// The issuer that the settings are for.
        issuer: String,
        /// The name of the parameter.
        name: &'static str,
    },
    /// A client without an issuer is configured beside another client (REG-04).
    #[error("a client without an issuer can only stand alone")]
    UnboundClient,
    /// A DPoP key has no public part.
    #[error("the key `{0}` needs its public part for proofs of possession")]
    PublicKey(String),
    /// A URL that describes the client is not an `https` URL (SEC-24).
    #[error("`{member}`: {flaw}")]
    ClientLink {
        /// The setting.
        member: &'static str,
        /// The flaw in it.
        flaw: ClientMetadataUrlFlaw,
    },
    /// A configured scope is not a valid scope (SCOPE-04).
    #[error("the scope {0}")]
    Scope(ScopeError),
    /// The client credentials grant is configured without a client (M2M-01).
    #[error(
        "the client credentials grant needs a client: register one at the authorization server and \
         configure it"
    )]
    NoClient,
    /// The host receives callbacks, but configured no redirect URI.
    #[error("a user can only sign in with a redirect URI")]
    NoRedirectUri,
    /// A client without a user has no secret, key or assertion to authenticate with (M2M-08, EMA-09).
    #[error(
        "the client `{0}` acts for itself and has neither a secret nor a key: configure what the authorization server \
         issued for it"
    )]
    PublicClient(String),
    /// The DPoP policy requires a key, and no key is configured (DPOP-02).
    #[error("tokens must be bound to a key, and no key is configured")]
    DpopKey,
    /// A client identifier is empty.
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

/// A builder for [`Config`].
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
    named_hosts: NamedHosts,
    step_up: StepUp,
    sign_in: SignIn,
    dpop: Dpop,
    pushed_requests: PushedRequests,
    client_metadata_key: Option<SigningKey>,
    step_ups_per_operation: u8,
    max_requests: u8,
    user_time: Duration,
    other_devices: bool,
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
            named_hosts: NamedHosts::default(),
            step_up: StepUp::default(),
            sign_in: SignIn::default(),
            dpop: Dpop::default(),
            pushed_requests: PushedRequests::default(),
            client_metadata_key: None,
            step_ups_per_operation: AUTHORIZATIONS_PER_OPERATION.saturating_sub(1),
            max_requests: REQUESTS_PER_FLOW,
            user_time: USER_TIME,
            other_devices: false,
            reports: true,
        }
    }

    pub(super) fn on_other_devices(mut self) -> Self {
        self.other_devices = true;
        self
    }

    setters! {
        /// Sets when the machine registers a client dynamically. Default:
        /// [`DynamicRegistration::UnlessPreRegistered`].
        dynamic_registration: DynamicRegistration;
        /// Sets which principals share a dynamic registration. Default:
        /// [`RegistrationSharing::PerPrincipal`].
        registration_sharing: RegistrationSharing;
        /// Sets whether the host stores refresh tokens. Default: [`RefreshTokens::Wanted`].
        refresh_tokens: RefreshTokens;
        /// Sets the support for servers of revision 2025-03-26. Default: [`Legacy::Off`].
        legacy: Legacy;
        /// Sets whether harmless deviations are tolerated. Default: [`Strictness::Tolerant`].
        strictness: Strictness;
        /// Sets whether a callback without a verifiable issuer is accepted. Default:
        /// [`IssPolicy::AcceptUnverifiable`].
        iss_policy: IssPolicy;
        /// Sets which origins may serve the protected resource metadata. Default: [`MetadataOrigin::Any`].
        metadata_origin: MetadataOrigin;
        /// Sets whether public metadata is cached in slots. Default: [`MetadataCache::Slots`].
        metadata_cache: MetadataCache;
        /// Sets where the hosts may be that this configuration names. Default: [`NamedHosts::Anywhere`].
        named_hosts: NamedHosts;
        /// Sets the reaction to a token that lacks scopes. Default: [`StepUp::Reauthorize`].
        step_up: StepUp;
        /// Sets whether tokens are bound to a key, and to which. Default: bearer tokens (DPOP-01).
        dpop: Dpop;
        /// Sets when authorization requests are pushed (RFC 9126). Default:
        /// [`PushedRequests::WhenRequired`] (AUTHZ-20).
        pushed_requests: PushedRequests;
        /// Sets the number of step-ups for one operation after its first authorization. Default: 2. With 0,
        /// `insufficient_scope` is reported and no step-up is made (STEP-07).
        step_ups_per_operation: u8;
        /// Sets the number of HTTP requests for one flow. Default and maximum: 40 (SEC-16).
        max_requests: u8;
        /// Sets how long the user has to complete an authorization. Default: 10 minutes (AUTHZ-17).
        user_time: Duration;
        /// Sets whether the machine returns [`Action::Report`](crate::Action::Report). Default: true.
        reports: bool;
    }

    /// Uses the client credentials grant with the pre-registered client, without a user. A failure never
    /// falls back to a user (M2M).
    #[must_use]
    pub fn client_credentials(mut self) -> Self {
        self.sign_in = SignIn::Machine(MachineFlow::ClientCredentials);
        self
    }

    /// Uses workload identity federation: the platform's JWT is the grant (WIF).
    #[must_use]
    pub fn workload_identity(mut self, workload: WorkloadIdentity) -> Self {
        self.sign_in = SignIn::Machine(MachineFlow::Workload(Arc::new(workload)));
        self
    }

    /// Uses enterprise-managed authorization through the organisation's identity provider (EMA).
    #[must_use]
    pub fn enterprise(mut self, enterprise: Enterprise) -> Self {
        self.sign_in = SignIn::Machine(MachineFlow::Enterprise(enterprise.shared()));
        self
    }

    /// Sets the client's own key. Its metadata document must publish the public part; a dynamic
    /// registration carries it where the server lists `private_key_jwt`, which requires
    /// [`SigningKey::public`] (REG-11, REG-21, EMA-15, EMA-21).
    #[must_use]
    pub fn client_metadata_key(mut self, key: SigningKey) -> Self {
        self.client_metadata_key = Some(key);
        self
    }

    /// Sets the client name that users see at consent. Default: `MCP client`.
    #[must_use]
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.client_name = name.into().into_boxed_str();
        self
    }

    /// Sets the URL of a page about the client, sent at registration.
    #[must_use]
    pub fn client_uri(mut self, uri: impl Into<String>) -> Self {
        self.client_uri = Some(uri.into().into_boxed_str());
        self
    }

    /// Sets the identifier of the software, sent at registration.
    #[must_use]
    pub fn software_id(mut self, id: impl Into<String>) -> Self {
        self.software_id = Some(id.into().into_boxed_str());
        self
    }

    /// Sets the URL of a logo for the consent page, sent at registration.
    #[must_use]
    pub fn logo_uri(mut self, uri: impl Into<String>) -> Self {
        self.about.logo_uri = Some(uri.into().into_boxed_str());
        self
    }

    /// Adds a contact for the client, usually a mail address, sent at registration. May be called
    /// repeatedly.
    #[must_use]
    pub fn contact(mut self, contact: impl Into<String>) -> Self {
        self.about.contacts.push(contact.into());
        self
    }

    /// Sets the URL of the client's data use policy, sent at registration.
    #[must_use]
    pub fn policy_uri(mut self, uri: impl Into<String>) -> Self {
        self.about.policy_uri = Some(uri.into().into_boxed_str());
        self
    }

    /// Sets the URL of the client's terms of service, sent at registration.
    #[must_use]
    pub fn tos_uri(mut self, uri: impl Into<String>) -> Self {
        self.about.tos_uri = Some(uri.into().into_boxed_str());
        self
    }

    /// Sets a software statement, a signed JWT, sent at registration (RFC 7591 section 2.3).
    #[must_use]
    pub fn software_statement(mut self, jwt: impl Into<String>) -> Self {
        self.about.software_statement = Some(jwt.into().into_boxed_str());
        self
    }

    /// Overrides the `application_type`, which otherwise follows from the redirect URI (REG-20).
    #[must_use]
    pub fn application_type(mut self, kind: ApplicationType) -> Self {
        self.application_type = Some(kind);
        self
    }

    /// Replaces the redirect URI with one of a private-use scheme. See [`RedirectUri::private_use`]
    /// (AUTHZ-07).
    #[must_use]
    pub fn private_use_redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.redirect_uri = Some(RedirectUri::private_use(uri));
        self
    }

    /// Replaces the redirect URI with one of an installed program's custom scheme, such as
    /// `cursor://anysphere.cursor-mcp/oauth/callback`. Read the warning at [`RedirectUri::custom_scheme`].
    #[must_use]
    pub fn custom_scheme_redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.redirect_uri = Some(RedirectUri::custom_scheme(uri));
        self
    }

    /// Sets the URL of the client ID metadata document, which is the `client_id` at servers that support it
    /// (REG-05).
    #[must_use]
    pub fn client_metadata_url(mut self, url: impl Into<String>) -> Self {
        self.client_metadata_url = Some(url.into());
        self
    }

    /// Adds a client that is registered out of band at one issuer (REG-03).
    #[must_use]
    pub fn pre_registered(mut self, issuer: impl Into<String>, client: PreRegistered) -> Self {
        self.clients.push((Some(issuer.into()), client));
        self
    }

    /// Adds a client that is registered out of band at an unknown issuer. The machine binds it durably to
    /// the first issuer validated for this MCP URL, and uses it at no other (REG-04).
    #[must_use]
    pub fn pre_registered_unbound(mut self, client: PreRegistered) -> Self {
        self.clients.push((None, client));
        self
    }

    /// Sets the URL of the protected resource metadata, when the MCP server does not announce it (DISC-20).
    #[must_use]
    pub fn resource_metadata_url(mut self, url: impl Into<String>) -> Self {
        self.supplied = Supplied::ResourceMetadata(url.into());
        self
    }

    /// Sets the authorization server, instead of reading protected resource metadata (DISC-20).
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.supplied = Supplied::Issuer(issuer.into());
        self
    }

    /// Sets the authorization server and its metadata document, instead of discovery. The document must
    /// name that issuer (DISC-20).
    #[must_use]
    pub fn server_metadata(mut self, issuer: impl Into<String>, json: impl Into<Vec<u8>>) -> Self {
        self.supplied = Supplied::ServerMetadata(issuer.into(), json.into().into_boxed_slice());
        self
    }

    /// Maps one entry of `authorization_servers` to the issuer that its metadata must name, for servers
    /// that advertise one issuer and publish another (QUIRK-02).
    #[must_use]
    pub fn pin(mut self, entry: impl Into<String>, issuer: impl Into<String>) -> Self {
        self.pins.push((entry.into(), issuer.into()));
        self
    }

    /// Sets the settings of one issuer.
    #[must_use]
    pub fn issuer_settings(mut self, issuer: impl Into<String>, settings: IssuerSettings) -> Self {
        self.issuer_settings.push((issuer.into(), settings));
        self
    }

    /// Prefers this issuer when a resource lists several; call again for a second preference (DISC-16).
    #[must_use]
    pub fn prefer_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.preferred_issuers.push(issuer.into());
        self
    }

    /// Requests exactly these scopes first, regardless of those that the servers propose. Separated by
    /// spaces; [`build`](Self::build) fails when one is not a valid scope (SCOPE-04).
    #[must_use]
    pub fn scopes(mut self, scopes: &str) -> Self {
        self.scopes = Some(Scopes::new(scopes));
        self
    }

    /// Allows a host name or address literal that the address policy denies, such as one of an intranet
    /// (SEC-05).
    #[must_use]
    pub fn allow_host(mut self, host: impl Into<String>) -> Self {
        self.allowed_hosts.push(host.into());
        self
    }

    /// Allows `http` on loopback although the MCP URL does not use it, for development (SEC-02).
    #[must_use]
    pub fn allow_loopback_http(mut self) -> Self {
        self.loopback_http = true;
        self
    }

    /// Returns the URL policy, and the MCP URL that it was made for.
    fn policy(&self) -> Result<(UrlPolicy, WebUrl), ConfigError> {
        let (mut policy, mcp_url) =
            UrlPolicy::for_mcp_url(&self.mcp_url).map_err(ConfigError::McpUrl)?;
        for host in &self.allowed_hosts {
            policy.allow_host(host);
        }
        if self.loopback_http {
            policy.allow_loopback_http();
        }
        match self.named_hosts {
            NamedHosts::Anywhere => {
                for place in self.named_places() {
                    policy.name_origin(place);
                }
            }
            NamedHosts::Public => {
                policy.public_only();
                policy
                    .check(mcp_url.as_str())
                    .map_err(ConfigError::McpUrl)?;
            }
        }
        Ok((policy, mcp_url))
    }

    /// Returns the URLs that the host configured, in contrast to those that servers announce (SEC-06).
    fn named_places(&self) -> impl Iterator<Item = &str> {
        let supplied = match &self.supplied {
            Supplied::Nothing => None,
            Supplied::ResourceMetadata(url)
            | Supplied::Issuer(url)
            | Supplied::ServerMetadata(url, _) => Some(url.as_str()),
        };
        let (idp, workload) = match &self.sign_in {
            SignIn::Machine(MachineFlow::Enterprise(enterprise)) => {
                (Some(&*enterprise.issuer), None)
            }
            SignIn::Machine(MachineFlow::Workload(workload)) => (None, Some(&workload.issuers)),
            SignIn::User | SignIn::Machine(MachineFlow::ClientCredentials) => (None, None),
        };
        let text = String::as_str;
        let clients = self.clients.iter().filter_map(|(of, _)| of.as_deref());
        clients
            .chain(supplied)
            .chain(self.pins.iter().map(|(_, issuer)| issuer.as_str()))
            .chain(self.issuer_settings.iter().map(|(of, _)| of.as_str()))
            .chain(self.preferred_issuers.iter().map(text))
            .chain(idp)
            .chain(workload.into_iter().flatten().map(text))
    }

    /// Validates the settings and returns the configuration.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
    pub fn build(self) -> Result<Config, ConfigError> {
        let policy = self.policy()?;
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
            SignIn::Machine(MachineFlow::ClientCredentials) => {
                let public = self.clients.iter().find(|(_, client)| client.is_public());
                if let Some((_, client)) = public {
                    return Err(ConfigError::PublicClient(client.client_id.to_string()));
                }
            }
            SignIn::Machine(MachineFlow::Enterprise(enterprise))
                if enterprise.client.is_public() && !enterprise.public =>
            {
                let id = enterprise.client.client_id.to_string();
                return Err(ConfigError::PublicClient(id));
            }
            SignIn::User if self.redirect_uri.is_none() && !self.other_devices => {
                return Err(ConfigError::NoRedirectUri);
            }
            SignIn::User | SignIn::Machine(_) => {}
        }
        let redirect_uri = self
            .redirect_uri
            .transpose()
            .map_err(ConfigError::RedirectUri)?;
        let (policy, mcp_url) = policy;
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
                if let Some(name) =
                    settings.sets_one_of(crate::wire::reserved::RESERVED_IN_EXCHANGE)
                {
                    let issuer = of.as_str().to_owned();
                    return Err(ConfigError::ReservedParameter { issuer, name });
                }
            }
        }
        if self.dpop.policy == DpopPolicy::Require && self.dpop.given.is_empty() {
            return Err(ConfigError::DpopKey);
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
            other_devices: self.other_devices,
            reports: self.reports,
            protocol_version: HeaderValue::from_static("2025-03-26"),
            defaults: IssuerSettings::default(),
            policy,
        })
    }
}
