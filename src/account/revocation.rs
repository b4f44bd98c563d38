//! Token revocation (RFC 7009), sent to the same server in the same way as a grant.

use super::{Account, TokenKind};
use crate::grant::{Client, TokenGrant};
use crate::issuer::{AtIssuer, Endpoint};
use crate::secret::Secret;
use crate::wire::form::Form;

/// The revocation of one token, by a client that authenticates as the revocation endpoint requires.
pub(crate) struct Revocation {
    pub(crate) account: Account,
    pub(crate) kind: TokenKind,
    token: Secret,
    client: Client,
}

impl AtIssuer<Account> {
    /// Returns the revocation of a token of this kind, if there is one.
    pub(crate) fn revocation(&self, kind: TokenKind) -> Option<AtIssuer<Revocation>> {
        let token = self.held().token(kind)?.clone();
        let listed = self.server().facts().revocation_auth_methods;
        Some(self.clone().then(|account| Revocation {
            client: account.client.fitting(listed),
            account,
            kind,
            token,
        }))
    }
}

impl AtIssuer<Revocation> {
    /// Returns true if the revocation endpoint does not list the client's authentication method. A refusal of the client is
    /// about the method then, and tells nothing of the client (REV-01).
    pub(crate) fn misses_a_method(&self) -> bool {
        let listed = self.server().facts().revocation_auth_methods;
        let method = self.held().client.method.word();
        method.is_some_and(|method| !listed.accepts(method))
    }
}

impl TokenGrant for Revocation {
    const ENDPOINT: Endpoint = Endpoint::Revocation;

    fn encode(&self, form: &mut Form) {
        form.parameter("token", self.token.expose());
        form.parameter("token_type_hint", self.kind.as_str());
    }

    fn client(&self) -> &Client {
        &self.client
    }
}
