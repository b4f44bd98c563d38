//! The builder of a [`Config`](super::Config).

mod build;

use std::sync::Arc;
use std::time::Duration;

use super::{
    About, ApplicationType, Dpop, DynamicRegistration, Enterprise, IssPolicy, IssuerSettings,
    Legacy, MachineFlow, MetadataCache, MetadataOrigin, NamedHosts, PreRegistered, PushedRequests,
    RedirectUri, RedirectUriFlaw, RefreshTokens, RegistrationSharing, ReservedName, SignIn, StepUp,
    Strictness, WorkloadIdentity,
};
use crate::budget::{AUTHORIZATIONS_PER_OPERATION, REQUESTS_PER_FLOW, USER_TIME};
use crate::key::SigningKey;
use crate::wire::scopes::{ScopeError, Scopes};

#[derive(Clone, Debug, Default)]
enum Supplied {
    #[default]
    Nothing,
    ResourceMetadata(String),
    Issuer(String),
    ServerMetadata(String, Box<[u8]>),
}

/// A builder for [`Config`](super::Config).
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
    /// The settings at issuers without their own.
    defaults: IssuerSettings,
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
    user_agent: Option<String>,
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
            defaults: IssuerSettings::new(),
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
            user_agent: None,
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

    /// Sets the `User-Agent` of every request that the machine makes, such as `my-client/1.4`. Default: the name and version of
    /// this crate. Firewalls in front of many servers refuse requests without one (SEC-41, RFC 9110 section 10.1.5).
    ///
    /// [`build`](Self::build) fails when it is empty, or has characters that cannot stand in a header.
    #[must_use]
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = Some(name.into());
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

    /// Adds a parameter to the authorization requests at every authorization server, such as `access_type`. For one server use
    /// [`IssuerSettings::authorization_parameter`], whose value is sent where both name the parameter (AUTHZ-15).
    ///
    /// # Errors
    /// [`ReservedName`] for a parameter that the machine sets itself.
    pub fn authorization_parameter(
        mut self,
        name: &str,
        value: &str,
    ) -> Result<Self, ReservedName> {
        self.defaults = self.defaults.authorization_parameter(name, value)?;
        Ok(self)
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
}
