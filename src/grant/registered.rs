//! A client as one server knows it, and how a registered client authenticates (REG-21, REG-24).

use crate::config::BasicEncoding;
use crate::issuer::Facts;
use crate::key::SigningKey;
use crate::time::UnixMillis;
use crate::wire::registration::Registered;
use crate::wire::scopes::Scopes;
use crate::wire::words::AuthMethod;

use super::client::{Client, ClientMethod, MethodFlaw, choose_method, key_method};

/// A client as one server knows it, with the scopes that were in question when it was registered.
#[derive(Clone)]
pub(crate) struct Registration {
    pub(crate) client: Client,
    /// Scopes that the registration asked for and its answer left out (REG-24).
    pub(crate) left_out: Scopes,
    /// When the server registered it; `None` for a client that was not registered here, or whose
    /// record is older than this member.
    pub(crate) registered: Option<UnixMillis>,
    /// The scopes that bound it; `None` where no list is known.
    pub(crate) scopes: Option<RegisteredScopes>,
}

/// The scopes of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RegisteredScopes {
    /// The answer named them: the client may ask for these (REG-24).
    Named(Scopes),
    /// The request named them and the answer says nothing.
    Asked(Scopes),
}

/// A client for which nothing was left out.
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
    /// The scopes among these for which a new registration is needed. An answer that names scopes is
    /// believed; where none did, only a refusal (`refused`) shows that the registration is too narrow.
    /// Scopes that the server left out on purpose are not registered for again.
    pub(crate) fn lacks(&self, scopes: &Scopes, refused: bool) -> Scopes {
        let known = match (&self.scopes, refused) {
            (Some(RegisteredScopes::Named(known)), _)
            | (Some(RegisteredScopes::Asked(known)), true) => known.clone(),
            (None, true) => Scopes::default(),
            (Some(RegisteredScopes::Asked(_)) | None, false) => return Scopes::default(),
        };
        scopes.minus(&known).minus(&self.left_out)
    }

    /// The scopes that it has or asked for.
    pub(crate) fn known_scopes(&self) -> Scopes {
        match &self.scopes {
            Some(RegisteredScopes::Named(known) | RegisteredScopes::Asked(known)) => known.clone(),
            None => Scopes::default(),
        }
    }
}

/// The methods that a registration can ask for at this server, the preferred one first (REG-21).
///
/// Most servers accept `none`, then the secret in the body: servers that read `client_id` from the
/// form first do not find it behind a Basic header. Without a list, Basic is the default.
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

/// The method of the client that was registered: the one that the answer names; where it names none,
/// the one that was asked for, as far as the answer has what it needs (REG-24).
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
        AuthMethod::None => listed.has(AuthMethod::None),
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
