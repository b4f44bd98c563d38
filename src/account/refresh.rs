//! The refresh token grant (RFC 6749 section 6): never wider than the original grant (REFR-08).

use super::{Account, StillListed};
use crate::grant::{Client, TokenGrant};
use crate::key::KeyBinding;
use crate::secret::Secret;
use crate::wire::form::Form;
use crate::wire::scopes::Scopes;

/// A refresh token with its account.
pub(crate) struct RefreshGrant {
    pub(crate) account: Account,
    pub(crate) refresh: Secret,
    /// The scopes of the request; empty when `scope` is omitted.
    pub(crate) scopes: Scopes,
    /// Proof that the resource lists the server that receives the refresh token (ISO-04).
    pub(crate) _listed: StillListed,
}

impl TokenGrant for RefreshGrant {
    /// Omits `scope` unless the host configured it: the granted scopes are unchanged (REFR-03).
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
