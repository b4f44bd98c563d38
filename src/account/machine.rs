//! The grants of a client without a user, and the account that each brings (M2M-09, WIF-10, EMA-18).

use super::{Account, Obtained, Standing, Tokens};
use crate::grant::{Asked, Client, ClientCredentials, JwtBearer, TokenGrant};
use crate::issuer::AtIssuer;
use crate::key::KeyBinding;
use crate::time::Moment;
use crate::wire::callback::IssBinding;
use crate::wire::form::Form;
use crate::wire::token::Granted;

/// The grant of a client without a user.
pub(crate) enum MachineGrant {
    ClientCredentials(ClientCredentials),
    Workload(JwtBearer),
    Enterprise(JwtBearer),
}

impl MachineGrant {
    /// Returns what was asked for, and the name of the grant.
    pub(crate) fn into_parts(self) -> (Asked, Obtained) {
        match self {
            Self::ClientCredentials(grant) => (grant.0, Obtained::ClientCredentials),
            Self::Workload(grant) => (grant.asked, Obtained::JwtBearer),
            Self::Enterprise(grant) => (grant.asked, Obtained::Enterprise),
        }
    }
}

impl TokenGrant for MachineGrant {
    fn encode(&self, form: &mut Form) {
        match self {
            Self::ClientCredentials(grant) => grant.encode(form),
            Self::Workload(grant) | Self::Enterprise(grant) => grant.encode(form),
        }
    }

    fn client(&self) -> &Client {
        match self {
            Self::ClientCredentials(grant) => grant.client(),
            Self::Workload(grant) | Self::Enterprise(grant) => grant.client(),
        }
    }

    fn binding(&self) -> Option<&KeyBinding> {
        match self {
            Self::ClientCredentials(grant) => grant.binding(),
            Self::Workload(grant) | Self::Enterprise(grant) => grant.binding(),
        }
    }
}

impl AtIssuer<MachineGrant> {
    /// Returns the account of a token response; a refresh token in it is ignored (M2M-09, WIF-10, EMA-18).
    pub(crate) fn redeemed(
        self,
        granted: Granted,
        binding: Option<KeyBinding>,
        now: Moment,
    ) -> AtIssuer<Account> {
        self.then(|grant| {
            let (asked, obtained) = grant.into_parts();
            Account {
                client: asked.client,
                redirect_uri: None,
                binding,
                obtained,
                authorization: None,
                authorized: None,
                resource: asked.resource,
                granted: granted.scope_of(&asked.scopes),
                requested: asked.scopes,
                names_scopes: false,
                iss_binding: IssBinding::NoCallback,
                standing: Standing::Listed,
                dropped: None,
                tokens: Some(Tokens {
                    refresh: None,
                    ..Tokens::received(granted, now)
                }),
            }
        })
    }
}
