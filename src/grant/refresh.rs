//! The refresh grant (RFC 6749 section 6): the original grant goes on, never a wider one (REFR-08).

use super::{Client, TokenGrant};
use crate::account::{Account, StillListed};
use crate::key::KeyBinding;
use crate::secret::Secret;
use crate::wire::form::Form;
use crate::wire::scopes::Scopes;

/// A refresh token with the account that it belongs to.
pub(crate) struct RefreshGrant {
    pub(crate) account: Account,
    pub(crate) refresh: Secret,
    /// The scopes that the request names; empty for none.
    pub(crate) scopes: Scopes,
    /// A refresh token is sent only to a server that the resource lists (ISO-04).
    pub(crate) _listed: StillListed,
}

impl TokenGrant for RefreshGrant {
    /// No `scope`, unless the host's setting says otherwise: the granted scopes stay as they are (REFR-03).
    fn encode(&self, form: &mut Form) {
        form.push("grant_type", "refresh_token");
        form.push("refresh_token", self.refresh.expose());
        self.account.resource.push(form);
        if !self.scopes.is_empty() {
            form.push("scope", self.scopes.as_str());
        }
    }

    fn client(&self) -> &Client {
        &self.account.client
    }

    /// The key of its issuance (REFR-10, DPOP-15).
    fn binding(&self) -> Option<&KeyBinding> {
        self.account.binding.as_ref()
    }
}
