//! The refresh token grant (RFC 6749 section 6): never wider than the original grant (REFR-08).

use super::{Account, StillListed};
use crate::grant::{Client, TokenGrant};
use crate::issuer::{IssuerSettings, RefreshScopes};
use crate::key::KeyBinding;
use crate::secret::Secret;
use crate::wire::form::Form;
use crate::wire::scopes::Scopes;
use crate::wire::token::Granted;

/// A refresh token with its account.
pub(crate) struct RefreshGrant {
    pub(crate) account: Account,
    pub(crate) refresh: Secret,
    /// The scopes of the request; empty when `scope` is omitted.
    pub(crate) scopes: Scopes,
    /// Proof that the resource lists the server that receives the refresh token (ISO-04).
    pub(crate) _listed: StillListed,
}

/// Whether the next refresh request names the requested scopes (REFR-03).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Naming {
    /// As the account says.
    #[default]
    AsKept,
    /// Yes: the server refused a request without them.
    AfterRefusal,
    /// Yes: the server answered a request without them with other ones.
    AfterAnswer,
    /// No: the server refused them as well, and its answer without them counts.
    Refused,
}

impl Naming {
    /// Returns true if the request names the scopes, for an account that says this of its requests.
    pub(crate) fn names(self, kept: bool) -> bool {
        match self {
            Self::AsKept => kept,
            Self::AfterRefusal | Self::AfterAnswer => true,
            Self::Refused => false,
        }
    }
}

impl RefreshGrant {
    /// Returns true if the request named no scopes, and the next one may.
    pub(crate) fn may_name_scopes(&self, settings: &IssuerSettings) -> bool {
        let as_needed = settings.refresh_scopes == RefreshScopes::AsNeeded;
        as_needed && self.scopes.is_empty() && !self.account.requested.is_empty()
    }

    /// Returns true if the answer names scopes, and none of the account's: its access token is for something else.
    pub(crate) fn is_for_others(&self, granted: &Granted) -> bool {
        let foreign = |named: &Scopes| !named.is_empty() && self.account.known(named).is_empty();
        granted.scope.as_ref().is_some_and(foreign)
    }
}

impl TokenGrant for RefreshGrant {
    /// Omits `scope` unless the server needs it or the host configured it: the granted scopes are unchanged (REFR-03).
    fn encode(&self, form: &mut Form) {
        form.parameter("grant_type", "refresh_token");
        form.parameter("refresh_token", self.refresh.expose());
        self.account.resource.push(form);
        if !self.scopes.is_empty() {
            form.parameter("scope", self.scopes.as_str());
        }
    }

    fn client(&self) -> &Client {
        &self.account.client
    }

    /// The key that the token was issued for (REFR-10, DPOP-15).
    fn binding(&self) -> Option<&KeyBinding> {
        self.account.binding.as_ref()
    }
}
