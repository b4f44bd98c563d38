//! A client as registered at one server, and its authentication (REG-21, REG-24).

use crate::issuer::{
    AtIssuer, BasicEncoding, Facts, IssuerBound, IssuerId, SecretOrigins, SlashRule,
};
use crate::key::SigningKey;
use crate::time::UnixMillis;
use crate::wire::registration::Registered;
use crate::wire::scopes::Scopes;
use crate::wire::words::AuthMethod;

use super::client::{Client, ClientMethod, MethodFlaw, choose_method, key_method};

/// A client as registered at one server, with the scopes of the registration.
#[derive(Clone)]
pub(crate) struct Registration {
    pub(crate) client: Client,
    /// The requested scopes that the response omitted (REG-24).
    pub(crate) left_out: Scopes,
    /// The time of registration; `None` for a client of another origin, or in records older than this
    /// member.
    pub(crate) registered: Option<UnixMillis>,
    /// The scopes that limit the client; `None` without a known list.
    pub(crate) scopes: Option<RegisteredScopes>,
}

/// The scopes of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RegisteredScopes {
    /// The scopes of the response, which the client may request (REG-24).
    Named(Scopes),
    /// The scopes of the request, after a response without scopes.
    Asked(Scopes),
}

/// A client without omitted scopes.
impl From<Client> for Registration {
    fn from(client: Client) -> Self {
        Self {
            client,
            left_out: Scopes::default(),
            registered: None,
            scopes: None,
        }
    }
}

impl Registration {
    /// Returns the scopes that require a new registration. The list of the response is authoritative;
    /// without one, only a refusal (`refused`) shows that the registration is too narrow. Scopes that the
    /// server omitted are not registered again.
    pub(crate) fn lacks(&self, scopes: &Scopes, refused: bool) -> Scopes {
        let known = match (&self.scopes, refused) {
            (Some(RegisteredScopes::Named(known)), _)
            | (Some(RegisteredScopes::Asked(known)), true) => known,
            (None, true) => return scopes.clone().less(&self.left_out),
            (Some(RegisteredScopes::Asked(_)) | None, false) => return Scopes::default(),
        };
        scopes.minus(known).less(&self.left_out)
    }

    /// Returns the registered or requested scopes.
    pub(crate) fn known_scopes(&self) -> Scopes {
        match &self.scopes {
            Some(RegisteredScopes::Named(known) | RegisteredScopes::Asked(known)) => known.clone(),
            None => Scopes::default(),
        }
    }
}

/// Returns the methods that a registration may request at this server, in order of preference.
///
/// Most servers accept `none`, then the secret in the body: servers that read `client_id` from the form do
/// not find it in a Basic header. Without a list, Basic is the default (REG-21).
pub(crate) fn registration_methods(
    facts: &Facts,
    key: Option<&SigningKey>,
) -> impl Iterator<Item = AuthMethod> {
    let listed = facts.auth_methods;
    let by_key = key
        .filter(|key| key.public.is_some())
        .is_some_and(|key| key_method(key, listed, facts.assertion_algorithms).is_ok());
    let order = if listed.is_listed() {
        [
            AuthMethod::PrivateKeyJwt,
            AuthMethod::None,
            AuthMethod::ClientSecretPost,
            AuthMethod::ClientSecretBasic,
        ]
    } else {
        [
            AuthMethod::PrivateKeyJwt,
            AuthMethod::None,
            AuthMethod::ClientSecretBasic,
            AuthMethod::ClientSecretPost,
        ]
    };
    order.into_iter().filter(move |method| match method {
        AuthMethod::PrivateKeyJwt => by_key,
        AuthMethod::None | AuthMethod::ClientSecretPost | AuthMethod::ClientSecretBasic => {
            listed.allows(*method)
        }
    })
}

/// Returns the method of the registered client: that of the response; without one, the requested method, if
/// the response has the necessary secret, and no secret that a client without a method would not need (REG-24).
pub(crate) fn registered_method(
    registered: &Registered<'_>,
    asked: AuthMethod,
    facts: &Facts,
    key: Option<&SigningKey>,
    encoding: BasicEncoding,
) -> Result<ClientMethod, MethodFlaw> {
    let named = match &registered.method {
        Ok(named) => *named,
        Err(_) => return Err(MethodFlaw::Unsupported),
    };
    let secret = registered.client_secret.clone();
    let listed = facts.auth_methods;
    let implied = match asked {
        AuthMethod::PrivateKeyJwt => true,
        AuthMethod::None => {
            listed.has(AuthMethod::None) && !(secret.is_some() && facts.takes_secrets())
        }
        AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost => secret.is_some(),
    };
    let fixed = named.or(implied.then_some(asked));
    match (fixed, key) {
        (Some(AuthMethod::PrivateKeyJwt), Some(key)) if asked == AuthMethod::PrivateKeyJwt => {
            key_method(key, listed, facts.assertion_algorithms)
        }
        (_, _) => choose_method(registered.client_id, secret, fixed, listed, encoding),
    }
}

/// A dynamic registration from a record. Its secret belongs to the origins at which clients authenticated when it was
/// made: where the server names other ones now, the client is registered again (TOK-07, A22).
pub(crate) struct StoredRegistration {
    bound: IssuerBound<Registration>,
    origins: SecretOrigins,
}

impl StoredRegistration {
    pub(crate) fn new(bound: IssuerBound<Registration>, origins: SecretOrigins) -> Self {
        Self { bound, origins }
    }

    pub(crate) fn issuer(&self) -> &IssuerId {
        self.bound.issuer()
    }

    /// Returns true if the registration passes a test.
    pub(crate) fn is(&self, test: impl FnOnce(&Registration) -> bool) -> bool {
        self.bound.is(test)
    }

    /// Returns the registration at a validated server of its issuer, as that describes itself now. A registration with
    /// a secret is not returned where a party would see the secret, or has seen it, that the server did not name then
    /// or does not name any more.
    pub(crate) fn open(&self, at: &AtIssuer<()>) -> Option<AtIssuer<Registration>> {
        let known = self.bound.open(at, SlashRule::Exact)?;
        let endpoints = &known.server().facts().endpoints;
        let shown =
            known.held().client.secret().is_none() || endpoints.secret_origins() == self.origins;
        shown.then_some(known)
    }
}
