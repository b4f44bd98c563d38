//! The validation of all settings together.

use std::sync::Arc;

use http::HeaderValue;

use super::super::{
    About, Config, ConfigError, Discovery, Dpop, DpopPolicy, Enterprise, IssuerSettings,
    MachineFlow, NamedHosts, Pin, PreRegistered, SignIn, WorkloadIdentity,
};
use super::{ConfigBuilder, Supplied};
use crate::budget::{AUTHORIZATIONS_PER_OPERATION, REQUESTS_PER_FLOW};
use crate::client_metadata::{ClientMetadataUrl, check_link};
use crate::issuer::{IssuerBound, IssuerId, RequestHeaders};
use crate::slot::Slot;
use crate::wire::form::FormText;
use crate::wire::reserved::RESERVED_IN_EXCHANGE;
use crate::wire::url::{UrlPolicy, WebUrl};
use crate::wire::well_known::resource_locations;

/// The clients of issuers, and the one without an issuer.
type Clients = (Vec<IssuerBound<PreRegistered>>, Option<PreRegistered>);

/// The settings of issuers.
type Settings = Vec<(IssuerId, IssuerSettings)>;

impl ConfigBuilder {
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
        if let Some(place) = resource_locations(&mcp_url).next() {
            policy.remember(&place);
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

    /// Checks that the kind of sign-in has what it needs: a client that can authenticate, or a redirect URI.
    fn check_sign_in(&self) -> Result<(), ConfigError> {
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
        Ok(())
    }

    /// Validates the settings and returns the configuration.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
    pub fn build(self) -> Result<Config, ConfigError> {
        let policy = self.policy()?;
        self.check_sign_in()?;
        let scopes = self.scopes.transpose().map_err(ConfigError::Scope)?;
        let user_agent = user_agent(self.user_agent)?;
        let redirect_uri = self
            .redirect_uri
            .transpose()
            .map_err(ConfigError::RedirectUri)?;
        let (policy, mcp_url) = policy;
        let named = Named(&policy);
        let (clients, unbound_client) = named.clients(&self.clients)?;
        let mut issuer_settings = named.settings(&self.issuer_settings)?;
        for (_, settings) in &mut issuer_settings {
            settings.and_authorization_parameters(&self.defaults);
        }
        let sign_in = named.sign_in(self.sign_in)?;
        check_exchange(&sign_in, &issuer_settings)?;
        let discovery = named.discovery(&self.supplied)?;
        let pins = named.pins(&self.pins)?;
        let preferred_issuers = named.issuers(&self.preferred_issuers)?;
        let dpop = named.dpop(self.dpop)?;
        let client_metadata_url = self
            .client_metadata_url
            .as_deref()
            .map(ClientMetadataUrl::new)
            .transpose()
            .map_err(ConfigError::ClientMetadataUrl)?;
        check_links(&self.about)?;
        Ok(Config {
            mcp_url_given: self.mcp_url.into_boxed_str(),
            redirect_uri,
            resource_slot: Slot::resource_metadata(mcp_url.as_str()),
            mcp_host: mcp_url.authority().into(),
            resource: FormText::new(mcp_url.as_str().into()),
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
            request_headers: RequestHeaders::new(&user_agent),
            defaults: self.defaults,
            policy,
        })
    }
}

/// Returns the `User-Agent` of all requests.
fn user_agent(given: Option<String>) -> Result<HeaderValue, ConfigError> {
    let Some(given) = given else {
        return Ok(HeaderValue::from_static(concat!(
            env!("CARGO_PKG_NAME"),
            "/",
            env!("CARGO_PKG_VERSION")
        )));
    };
    match HeaderValue::from_str(given.trim()) {
        Ok(name) if !name.is_empty() && given.is_ascii() => Ok(name),
        Ok(_) | Err(_) => Err(ConfigError::UserAgent(given)),
    }
}

/// Reads the settings that name an issuer, which the URL policy judges.
struct Named<'a>(&'a UrlPolicy);

impl Named<'_> {
    fn issuer(&self, text: &str) -> Result<IssuerId, ConfigError> {
        IssuerId::new(text, self.0).map_err(|flaw| ConfigError::Issuer {
            issuer: text.to_owned(),
            flaw,
        })
    }

    fn issuers<C: FromIterator<IssuerId>>(&self, texts: &[String]) -> Result<C, ConfigError> {
        texts.iter().map(|text| self.issuer(text)).collect()
    }

    /// Returns the clients of issuers, and the one without an issuer, which stands alone (REG-04).
    fn clients(&self, given: &[(Option<String>, PreRegistered)]) -> Result<Clients, ConfigError> {
        let mut clients: Vec<IssuerBound<PreRegistered>> = Vec::new();
        let mut unbound = None;
        for (of, client) in given {
            if client.client_id.is_empty() {
                return Err(ConfigError::ClientId);
            }
            match of {
                None if given.len() == 1 => unbound = Some(client.clone()),
                None => return Err(ConfigError::UnboundClient),
                Some(of) if clients.iter().any(|c| c.issuer().as_str() == of) => {
                    return Err(ConfigError::Twice(of.clone()));
                }
                Some(of) => clients.push(IssuerBound::new(self.issuer(of)?, client.clone())),
            }
        }
        Ok((clients, unbound))
    }

    fn settings(&self, given: &[(String, IssuerSettings)]) -> Result<Settings, ConfigError> {
        let mut read = Settings::new();
        for (of, settings) in given {
            if read.iter().any(|(known, _)| known.as_str() == of) {
                return Err(ConfigError::Twice(of.clone()));
            }
            if settings.has_unusable_token() {
                return Err(ConfigError::InitialAccess(of.clone()));
            }
            read.push((self.issuer(of)?, settings.clone()));
        }
        Ok(read)
    }

    fn pins<C: FromIterator<Pin>>(&self, given: &[(String, String)]) -> Result<C, ConfigError> {
        let pin = |(entry, named): &(String, String)| {
            Ok(Pin {
                entry: entry.as_str().into(),
                issuer: self.issuer(named)?,
            })
        };
        given.iter().map(pin).collect()
    }

    fn sign_in(&self, given: SignIn) -> Result<SignIn, ConfigError> {
        Ok(match given {
            SignIn::Machine(MachineFlow::Workload(workload)) => {
                let workload = WorkloadIdentity {
                    allowed: self.issuers(&workload.issuers)?,
                    ..(*workload).clone()
                };
                SignIn::Machine(MachineFlow::Workload(Arc::new(workload)))
            }
            SignIn::Machine(MachineFlow::Enterprise(enterprise)) => {
                let enterprise = Enterprise {
                    idp: Some(self.issuer(&enterprise.issuer)?),
                    ..(*enterprise).clone()
                };
                SignIn::Machine(MachineFlow::Enterprise(enterprise.shared()))
            }
            other @ (SignIn::User | SignIn::Machine(MachineFlow::ClientCredentials)) => other,
        })
    }

    /// Reads the keys for DPoP, each with its public part (DPOP-02).
    fn dpop(&self, given: Dpop) -> Result<Dpop, ConfigError> {
        if given.policy == DpopPolicy::Require && given.given.is_empty() {
            return Err(ConfigError::DpopKey);
        }
        let mut keys = Vec::new();
        for (of, key) in &given.given {
            if key.public.is_none() {
                return Err(ConfigError::PublicKey(key.name().to_owned()));
            }
            let of = of.as_deref().map(|of| self.issuer(of)).transpose()?;
            keys.push((of, key.clone()));
        }
        Ok(Dpop { keys, ..given })
    }

    fn discovery(&self, given: &Supplied) -> Result<Discovery, ConfigError> {
        Ok(match given {
            Supplied::Nothing => Discovery::Standard,
            Supplied::ResourceMetadata(url) => Discovery::ResourceMetadata(
                self.0
                    .check(url)
                    .map_err(ConfigError::ResourceMetadataUrl)?,
            ),
            Supplied::Issuer(text) => Discovery::Issuer(self.issuer(text)?),
            Supplied::ServerMetadata(text, json) => {
                Discovery::ServerMetadata(self.issuer(text)?, json.clone())
            }
        })
    }
}

/// Refuses a token parameter for the identity provider that the machine sets itself in the exchange (TOK-10).
fn check_exchange(sign_in: &SignIn, settings: &Settings) -> Result<(), ConfigError> {
    let SignIn::Machine(MachineFlow::Enterprise(enterprise)) = sign_in else {
        return Ok(());
    };
    let idp = enterprise.idp.as_ref();
    let at_idp = |of: &IssuerId| idp.is_some_and(|idp| idp.same_but_slash(of.as_str()));
    for (of, settings) in settings.iter().filter(|(of, _)| at_idp(of)) {
        if let Some(name) = settings.sets_one_of(RESERVED_IN_EXCHANGE) {
            let issuer = of.as_str().to_owned();
            return Err(ConfigError::ReservedParameter { issuer, name });
        }
    }
    Ok(())
}

/// Checks the URLs that describe the client to users (SEC-24).
fn check_links(about: &About) -> Result<(), ConfigError> {
    for (member, uri) in [
        ("logo_uri", &about.logo_uri),
        ("policy_uri", &about.policy_uri),
        ("tos_uri", &about.tos_uri),
    ] {
        let flaw = uri.as_deref().map(check_link).and_then(Result::err);
        if let Some(flaw) = flaw {
            return Err(ConfigError::ClientLink { member, flaw });
        }
    }
    Ok(())
}
