//! The configuration: validated once, shared by any number of machines.

mod builder;
mod clients;
mod error;
mod machine;

pub use crate::issuer::{
    AssertionAudience, BasicEncoding, IssParameter, IssuerSettings, JwtBearerSupport, PkceSupport,
    RefreshScopes, ReservedName, ResourceParameter, TokenAnswers,
};
pub use crate::redirect_uri::{ApplicationType, RedirectUri, RedirectUriFlaw};
pub use builder::ConfigBuilder;
pub use clients::PreRegistered;
pub use error::ConfigError;
pub use machine::{Dpop, DpopPolicy, Enterprise, PushedRequests, WorkloadIdentity};
pub(crate) use machine::{MachineFlow, SignIn};

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::client_metadata::ClientMetadataUrl;
use crate::grant::ClientOrigin;
use crate::issuer::{IssuerBound, IssuerId, RequestHeaders, SlashRule};
use crate::key::SigningKey;
use crate::slot::Slot;
use crate::wire::form::FormText;
use crate::wire::registration::AboutClient;
use crate::wire::scopes::Scopes;
use crate::wire::token::MissingType;
use crate::wire::url::{UrlPolicy, WebUrl};

/// Whether harmless deviations are tolerated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// Tolerates deviations that weaken no check: a parent path as `resource` (DISC-12), one slash of
    /// difference between a listed issuer and its metadata (QUIRK-01), a missing `token_type` (TOK-12).
    #[default]
    Tolerant,
    /// Tolerates no deviation (DISC-14).
    Strict,
}

/// When the machine registers a client dynamically (RFC 7591, REG-16, ISO-06).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DynamicRegistration {
    /// Only when no client is configured; configured clients are never silently replaced.
    #[default]
    UnlessPreRegistered,
    /// Also at issuers without a configured client.
    Always,
    /// Never.
    Never,
}

/// The support for servers of revision 2025-03-26, which publish no protected resource metadata (LEG-01).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Legacy {
    /// Disabled.
    #[default]
    Off,
    /// Enabled when no metadata location has a document (LEG-02), and the origin of the MCP server publishes
    /// metadata of an authorization server that names this origin as its issuer.
    Published {
        /// Whether `resource` is sent (LEG-09).
        resource: ResourceParameter,
    },
    /// Enabled when no metadata location has a document (LEG-02). Without metadata of an authorization
    /// server, the default endpoints are used (LEG-06).
    On {
        /// Whether `resource` is sent (LEG-09).
        resource: ResourceParameter,
    },
}

impl Legacy {
    /// Returns true if default endpoints are used without metadata.
    pub(crate) fn assumes_endpoints(&self) -> bool {
        match self {
            Self::Off | Self::Published { .. } => false,
            Self::On { .. } => true,
        }
    }

    /// Returns true if `resource` is omitted.
    pub(crate) fn omits_resource(&self) -> bool {
        match self {
            Self::Off => false,
            Self::Published { resource } | Self::On { resource } => {
                *resource == ResourceParameter::Omit
            }
        }
    }
}

/// Whether the host stores refresh tokens (REG-19, SCOPE-06).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RefreshTokens {
    /// Refresh tokens are requested.
    #[default]
    Wanted,
    /// Refresh tokens are not requested.
    NotWanted,
}

/// The reaction to a token that lacks scopes (STEP-01).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StepUp {
    /// The user is asked to authorize the additional scopes.
    #[default]
    Reauthorize,
    /// The challenge is reported as a typed error.
    Report,
}

/// Whether a callback without `iss` is accepted from a server that does not advertise `iss`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IssPolicy {
    /// Accepted, as RFC 9207 allows, and reported as `IssBinding::Unverifiable`.
    #[default]
    AcceptUnverifiable,
    /// Rejected.
    RequireVerified,
}

/// The origins that may serve the protected resource metadata (SEC-10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetadataOrigin {
    /// Any `https` origin that the challenge names; the document must still cover the MCP URL.
    #[default]
    Any,
    /// The origin of the MCP URL only.
    SameOrigin,
}

/// Which principals share a dynamic registration (ISO-12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RegistrationSharing {
    /// Each principal has its own.
    #[default]
    PerPrincipal,
    /// All principals of this host share one.
    AcrossPrincipals,
}

/// Whether public metadata is cached in slots (DISC-19, META-18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetadataCache {
    /// Cached for the lifetime that the HTTP headers allow; metadata from a configured URL is not cached.
    #[default]
    Slots,
    /// Always fetched.
    Off,
}

/// The addresses at which the origins that a configuration names may be: the MCP URL, issuers, documents (SEC-06).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NamedHosts {
    /// Public, private and loopback addresses, each origin at its own port. TLS proves the name, and other origins
    /// that a server announces are still judged.
    #[default]
    Anywhere,
    /// Public addresses, and the hosts of [`ConfigBuilder::allow_host`]: for a host on a server whose users enter MCP
    /// URLs, since they may know names of that server's network (SEC-07). A driver presents its client certificate
    /// to listed hosts alone then (`Trust::present_to`): a user could name a server that learns who the host is.
    Public,
}

/// The step of discovery that a configured value replaces (DISC-20).
#[derive(Clone, Debug, Default)]
pub(crate) enum Discovery {
    /// Discovery in full.
    #[default]
    Standard,
    /// The URL of the protected resource metadata.
    ResourceMetadata(WebUrl),
    /// The authorization server.
    Issuer(IssuerId),
    /// The authorization server and its metadata.
    ServerMetadata(IssuerId, Box<[u8]>),
}

/// The members of client metadata other than the name (RFC 7591 section 2).
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    pub(crate) logo_uri: Option<Box<str>>,
    pub(crate) contacts: Vec<String>,
    pub(crate) policy_uri: Option<Box<str>>,
    pub(crate) tos_uri: Option<Box<str>>,
    pub(crate) software_statement: Option<Box<str>>,
}

impl About {
    pub(crate) fn members(&self) -> AboutClient<'_> {
        AboutClient {
            logo_uri: self.logo_uri.as_deref(),
            contacts: &self.contacts,
            policy_uri: self.policy_uri.as_deref(),
            tos_uri: self.tos_uri.as_deref(),
            software_statement: self.software_statement.as_deref(),
        }
    }
}

/// An entry of `authorization_servers`, and the issuer that its metadata must name.
#[derive(Clone, Debug)]
pub(crate) struct Pin {
    pub(crate) entry: Box<str>,
    pub(crate) issuer: IssuerId,
}

/// The configuration for one MCP server, built by [`Config::builder`]. Share it among machines with an
/// `Arc`.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) mcp_url: WebUrl,
    /// The host and port of the MCP server, for display.
    pub(crate) mcp_host: Arc<str>,
    /// The resource of most requests.
    pub(crate) resource: FormText,
    /// The slot of its cached metadata, the same for every machine.
    pub(crate) resource_slot: Slot,
    pub(crate) mcp_url_given: Box<str>,
    pub(crate) policy: UrlPolicy,
    pub(crate) redirect_uri: Option<RedirectUri>,
    pub(crate) client_name: Box<str>,
    pub(crate) client_uri: Option<Box<str>>,
    pub(crate) software_id: Option<Box<str>>,
    pub(crate) about: About,
    pub(crate) application_type: Option<ApplicationType>,
    pub(crate) client_metadata_url: Option<ClientMetadataUrl>,
    pub(crate) clients: Vec<IssuerBound<PreRegistered>>,
    pub(crate) unbound_client: Option<PreRegistered>,
    pub(crate) dynamic_registration: DynamicRegistration,
    pub(crate) registration_sharing: RegistrationSharing,
    pub(crate) discovery: Discovery,
    pub(crate) pins: Vec<Pin>,
    pub(crate) issuer_settings: Vec<(IssuerId, IssuerSettings)>,
    pub(crate) preferred_issuers: Vec<IssuerId>,
    pub(crate) scopes: Option<Scopes>,
    pub(crate) refresh_tokens: RefreshTokens,
    pub(crate) legacy: Legacy,
    pub(crate) strictness: Strictness,
    pub(crate) iss_policy: IssPolicy,
    pub(crate) metadata_origin: MetadataOrigin,
    pub(crate) metadata_cache: MetadataCache,
    pub(crate) step_up: StepUp,
    pub(crate) sign_in: SignIn,
    pub(crate) dpop: Dpop,
    pub(crate) pushed_requests: PushedRequests,
    pub(crate) client_metadata_key: Option<SigningKey>,
    pub(crate) step_ups_per_operation: u8,
    pub(crate) max_requests: u8,
    pub(crate) user_time: Duration,
    pub(crate) other_devices: bool,
    pub(crate) reports: bool,
    pub(crate) protocol_version: HeaderValue,
    pub(crate) request_headers: RequestHeaders,
    defaults: IssuerSettings,
}

impl Config {
    /// Returns a builder for the MCP endpoint, with the redirect URI on which the host receives callbacks.
    pub fn builder(mcp_url: impl Into<String>, redirect_uri: impl Into<String>) -> ConfigBuilder {
        ConfigBuilder::new(mcp_url.into(), Some(redirect_uri.into()))
    }

    /// Returns a builder for a client without a user, which receives no callbacks. Requires
    /// [`ConfigBuilder::client_credentials`], [`ConfigBuilder::workload_identity`] or
    /// [`ConfigBuilder::enterprise`].
    pub fn without_user(mcp_url: impl Into<String>) -> ConfigBuilder {
        ConfigBuilder::new(mcp_url.into(), None)
    }

    /// Returns a builder for a client whose users authorize with a code in a browser of another device
    /// (RFC 8628), as on a server without a browser. Each authorization is a device authorization, and no
    /// callback arrives. With a redirect URI, [`Config::builder`] and
    /// [`Authorization::on_other_device`](crate::event::Authorization::on_other_device) leave the choice to
    /// each authorization.
    pub fn for_other_devices(mcp_url: impl Into<String>) -> ConfigBuilder {
        ConfigBuilder::new(mcp_url.into(), None).on_other_devices()
    }

    /// Returns the MCP URL in canonical form.
    pub fn mcp_url(&self) -> &WebUrl {
        &self.mcp_url
    }

    /// Returns the default redirect URI; an authorization may name another. `None` for a client without a
    /// user.
    pub fn redirect_uri(&self) -> Option<&RedirectUri> {
        self.redirect_uri.as_ref()
    }

    /// Returns the policy for URLs that servers supply.
    pub fn url_policy(&self) -> &UrlPolicy {
        &self.policy
    }

    /// Returns a resource identifier for requests, shared if it is the MCP URL.
    pub(crate) fn resource_as(&self, id: &str) -> FormText {
        self.resource.shared_as(id)
    }

    pub(crate) fn settings(&self, issuer: &IssuerId) -> &IssuerSettings {
        self.kept_for(issuer.as_str(), &self.issuer_settings, |(of, _)| of)
            .map_or(&self.defaults, |(_, settings)| settings)
    }

    /// Returns the client that is configured for an issuer.
    pub(crate) fn client_of(&self, issuer: &IssuerId) -> Option<&IssuerBound<PreRegistered>> {
        self.client_by_text(issuer.as_str())
    }

    fn client_by_text(&self, issuer: &str) -> Option<&IssuerBound<PreRegistered>> {
        self.kept_for(issuer, &self.clients, IssuerBound::issuer)
    }

    /// Returns true when credentials are configured for this issuer: a client, or an entry in the
    /// allow-list of workload assertions (WIF-12).
    pub(crate) fn has_credentials_for(&self, issuer: &IssuerId) -> bool {
        match &self.sign_in {
            SignIn::Machine(MachineFlow::Workload(workload)) => {
                let allowed = &workload.allowed;
                let kept = self.kept_for(issuer.as_str(), allowed, |allowed| allowed);
                kept.is_some()
            }
            SignIn::User
            | SignIn::Machine(MachineFlow::ClientCredentials | MachineFlow::Enterprise(_)) => {
                self.client_of(issuer).is_some()
            }
        }
    }

    /// Returns the value for an issuer, or for its other spelling with or without the final slash (ISO-01,
    /// QUIRK-01).
    fn kept_for<'a, T>(
        &self,
        issuer: &str,
        kept: &'a [T],
        of: impl Fn(&T) -> &IssuerId,
    ) -> Option<&'a T> {
        let exact = kept.iter().find(|one| of(one).as_str() == issuer);
        exact.or_else(|| {
            kept.iter()
                .find(|one| self.slash_tolerated(of(one), issuer))
        })
    }

    /// Returns true when both are one issuer, perhaps with and without the final slash (QUIRK-01).
    pub(crate) fn is_same_issuer(&self, a: &IssuerId, b: &IssuerId) -> bool {
        a == b || self.slash_tolerated(a, b.as_str())
    }

    fn slash_tolerated(&self, a: &IssuerId, b: &str) -> bool {
        self.slash_rule() == SlashRule::TolerateOne && a.same_but_slash(b)
    }

    pub(crate) fn slash_rule(&self) -> SlashRule {
        match self.strictness {
            Strictness::Tolerant => SlashRule::TolerateOne,
            Strictness::Strict => SlashRule::Exact,
        }
    }

    pub(crate) fn missing_token_type(&self) -> MissingType {
        match self.strictness {
            Strictness::Tolerant => MissingType::Assume,
            Strictness::Strict => MissingType::Refuse,
        }
    }

    /// Returns the issuer that the metadata of a listed entry must name (QUIRK-02).
    pub(crate) fn expected_issuer<'a>(&'a self, entry: &'a IssuerId) -> (&'a IssuerId, SlashRule) {
        let pin = self.pins.iter().find(|pin| *pin.entry == *entry.as_str());
        match pin {
            Some(pin) => (&pin.issuer, SlashRule::Exact),
            None => (entry, self.slash_rule()),
        }
    }

    /// Returns the entry whose metadata names this issuer: the one mapped to it, or the issuer itself.
    pub(crate) fn entry_for(&self, issuer: &IssuerId) -> IssuerId {
        let pinned = self.pins.iter().find(|pin| pin.issuer == *issuer);
        pinned
            .and_then(|pin| IssuerId::new(&pin.entry, &self.policy).ok())
            .unwrap_or_else(|| issuer.clone())
    }

    /// Returns true when another client is configured for this issuer: tokens of the previous client are
    /// not used (TOK-17).
    pub(crate) fn replaces(&self, issuer: &str, client_id: &str, origin: ClientOrigin) -> bool {
        if matches!(self.sign_in, SignIn::Machine(MachineFlow::Workload(_))) {
            return false;
        }
        let own = self.client_by_text(issuer);
        let document = self.client_metadata_url.as_ref();
        match (own, &self.unbound_client, document) {
            (Some(own), _, _) => !own.is(|own| *own.client_id == *client_id),
            (None, Some(own), _) => *own.client_id != *client_id,
            (None, None, Some(url)) => {
                origin == ClientOrigin::MetadataDocument && url.as_str() != client_id
            }
            (None, None, None) => false,
        }
    }

    /// Returns true when metadata fetched for an entry may name this issuer (META-08).
    pub(crate) fn is_expected(&self, entry: &IssuerId, named: &IssuerId) -> bool {
        let (expected, slash) = self.expected_issuer(entry);
        expected == named
            || slash == SlashRule::TolerateOne && expected.same_but_slash(named.as_str())
    }
}
