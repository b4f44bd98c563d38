//! The refresh token grant (RFC 6749 section 6): never wider than the original grant (REFR-08).

use super::{Account, StillListed};
use crate::grant::{Client, TokenGrant};
use crate::issuer::{IssuerSettings, RefreshScopes};
use crate::key::KeyBinding;
use crate::secret::Secret;
use crate::wire::form::Form;
use crate::wire::scopes::Scopes;
use crate::wire::token::{Granted, OAuthError};

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
    /// Uses the setting stored with the account.
    #[default]
    AsKept,
    /// Sends them: the server refused the scopes of a request without them.
    AfterRefusal,
    /// Sends them: the server refused a request without them as malformed, which may have another reason.
    AfterBadRequest,
    /// Sends them: the server answered a request without them with other ones.
    AfterAnswer,
    /// Omits them: the server refused them as well, and its answer without them counts.
    Refused,
}

impl Naming {
    /// Returns true if the request names the scopes, for an account that says this of its requests.
    pub(crate) fn names(self, kept: bool) -> bool {
        match self {
            Self::AsKept => kept,
            Self::AfterRefusal | Self::AfterBadRequest | Self::AfterAnswer => true,
            Self::Refused => false,
        }
    }
}

impl RefreshGrant {
    /// Returns true if the request named no scopes, and the next one may.
    pub(crate) fn may_name_scopes(&self, naming: Naming, settings: &IssuerSettings) -> bool {
        let as_needed = settings.refresh_scopes == RefreshScopes::AsNeeded;
        let unnamed = self.scopes.is_empty() && !self.account.requested.is_empty();
        naming == Naming::AsKept && as_needed && unnamed
    }

    /// Returns true if the request named scopes, and the next one may omit them.
    fn may_omit_scopes(&self, settings: &IssuerSettings) -> bool {
        settings.refresh_scopes == RefreshScopes::AsNeeded && !self.scopes.is_empty()
    }

    /// Returns how a request that received this error is repeated with or without scopes, if it is: the error concerns the
    /// request, not the token (REFR-03).
    pub(crate) fn repeated(
        &self,
        naming: Naming,
        settings: &IssuerSettings,
        error: OAuthError,
    ) -> Option<Naming> {
        let of_scopes = error == OAuthError::InvalidScope;
        if !of_scopes && error != OAuthError::InvalidRequest {
            return None;
        }
        match naming {
            Naming::AsKept if self.may_name_scopes(naming, settings) => Some(if of_scopes {
                Naming::AfterRefusal
            } else {
                Naming::AfterBadRequest
            }),
            Naming::AsKept if of_scopes && self.may_omit_scopes(settings) => Some(Naming::Refused),
            Naming::AfterAnswer if of_scopes => Some(Naming::Refused),
            Naming::AsKept
            | Naming::AfterRefusal
            | Naming::AfterBadRequest
            | Naming::AfterAnswer
            | Naming::Refused => None,
        }
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
