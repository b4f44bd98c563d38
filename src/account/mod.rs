//! The account at the authenticated-at issuer: client and tokens, replaced as one value.

mod machine;
mod refresh;
mod revocation;
mod validity;

pub(crate) use machine::MachineGrant;
pub(crate) use refresh::{Naming, RefreshGrant};
pub(crate) use revocation::Revocation;
pub(crate) use validity::Validity;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::grant::{Client, CodeGrant, DeviceGrant, Resource};
use crate::issuer::{AtIssuer, IssuerId, IssuerSettings, RefreshScopes};
use crate::key::KeyBinding;
use crate::secret::Secret;
use crate::slot::{AuthorizationId, short_digest};
use crate::time::{Moment, UnixMillis};
use crate::wire::callback::IssBinding;
use crate::wire::scopes::Scopes;
use crate::wire::token::{AccessToken, Granted, Lifetime};
use crate::wire::words::GrantType;

/// The grant that a token was obtained with (TOK-17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Obtained {
    /// The authorization code grant, and refreshes after it.
    AuthorizationCode,
    /// The device authorization grant, and refreshes after it.
    DeviceCode,
    /// The client credentials grant.
    ClientCredentials,
    /// An assertion of the host's platform.
    JwtBearer,
    /// Enterprise-managed authorization through the organisation's identity provider.
    Enterprise,
}

impl Obtained {
    /// Returns true for the grants by which a user authorizes.
    pub(crate) fn is_by_user(self) -> bool {
        match self {
            Self::AuthorizationCode | Self::DeviceCode => true,
            Self::ClientCredentials | Self::JwtBearer | Self::Enterprise => false,
        }
    }

    /// Returns the name in records.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::DeviceCode => "device_code",
            Self::ClientCredentials => "client_credentials",
            Self::JwtBearer => "jwt_bearer",
            Self::Enterprise => "enterprise",
        }
    }
}

/// The kind of a token that can be revoked (RFC 7009).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// An access token.
    AccessToken,
    /// A refresh token.
    RefreshToken,
}

impl TokenKind {
    /// Returns the `token_type_hint`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::RefreshToken => "refresh_token",
        }
    }
}

/// A client and its tokens at one authorization server, for one resource (TOK-17).
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) client: Client,
    /// The name of the registration's slot: the redirect URI of the sign-in, or the grant type of the device
    /// authorization grant.
    pub(crate) redirect_uri: Option<Arc<str>>,
    /// The key that the tokens are bound to.
    pub(crate) binding: Option<KeyBinding>,
    pub(crate) obtained: Obtained,
    /// The authorization whose code brought the tokens; refreshes keep it. `None` for tokens obtained without a user,
    /// and for those of a sign-in recorded in version 1 or 2.
    pub(crate) authorization: Option<AuthorizationId>,
    /// When the user authorized: the receipt of the first tokens, by the wall clock of that process. Refreshes keep it, so it
    /// tells an earlier sign-in from a later one. `None` where `authorization` is, and where a record does not say it.
    pub(crate) authorized: Option<UnixMillis>,
    pub(crate) resource: Resource,
    pub(crate) requested: Scopes,
    pub(crate) granted: Scopes,
    /// Whether refresh requests name the requested scopes (REFR-03).
    pub(crate) names_scopes: bool,
    pub(crate) iss_binding: IssBinding,
    pub(crate) standing: Standing,
    /// The last refresh token, if the account has lost it: the server has refused or replaced it.
    pub(crate) dropped: Option<RefreshTokenId>,
    pub(crate) tokens: Option<Tokens>,
}

/// Whether the resource's metadata, as last validated, lists the account's issuer. Stored in the account,
/// so that it binds every process and every later refresh (ISO-04).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The issuer is listed, or no metadata has been read.
    #[default]
    Listed,
    /// Other issuers are listed instead, this one first.
    LeftFor(IssuerId),
}

impl Standing {
    /// Returns the standing of an issuer where the host configured an authorization server in the place of the resource's list.
    pub(crate) fn by(config: &Config, own: &IssuerId, issuer: &IssuerId) -> Self {
        if config.is_expected(own, issuer) {
            Self::Listed
        } else {
            Self::LeftFor(config.expected_issuer(own).0.clone())
        }
    }
}

/// Proof that the resource still lists the account's issuer; required for a refresh.
pub(crate) struct StillListed(());

#[derive(Clone)]
pub(crate) struct Tokens {
    pub(crate) access: AccessToken,
    pub(crate) refresh: Option<Secret>,
    pub(crate) received: UnixMillis,
    pub(crate) lifetime: Lifetime,
}

/// A digest of a refresh token, by which an account names one without holding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefreshTokenId(pub(crate) NonZeroU64);

impl RefreshTokenId {
    pub(crate) fn of(token: &Secret) -> Self {
        let digest = short_digest(token.expose().as_bytes());
        let half = digest.first_chunk().copied().unwrap_or_default();
        Self(NonZeroU64::MIN | u64::from_le_bytes(half))
    }
}

/// Identifies one issuance of an access token within this process: a digest, so that no second copy of the token is in memory,
/// and the time of receipt, because a server may reissue an identical token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Issuance {
    pub(crate) digest: NonZeroU64,
    received: UnixMillis,
}

impl Account {
    /// Returns the proof that a refresh requires, or the issuer that replaced the account's own.
    pub(crate) fn still_listed(&self) -> Result<StillListed, &IssuerId> {
        match &self.standing {
            Standing::Listed => Ok(StillListed(())),
            Standing::LeftFor(to) => Err(to),
        }
    }

    pub(crate) fn token(&self, kind: TokenKind) -> Option<&Secret> {
        let tokens = self.tokens.as_ref()?;
        match kind {
            TokenKind::AccessToken => Some(tokens.access.secret()),
            TokenKind::RefreshToken => tokens.refresh.as_ref(),
        }
    }

    /// Returns the remaining scopes after a refresh response. A refresh cannot add scopes (REFR-08), and
    /// some servers name additional ones that they reject in a request.
    fn still_granted(&self, named: &Scopes) -> Scopes {
        let known = self.known(named);
        if known.is_empty() {
            self.granted.clone()
        } else {
            known
        }
    }

    /// Returns true if all these scopes were requested or granted.
    pub(crate) fn has_scopes(&self, scopes: &Scopes) -> bool {
        self.requested.covers(scopes) || self.requested.union(&self.granted).covers(scopes)
    }

    /// Returns those of the scopes that were requested or granted before.
    fn known(&self, named: &Scopes) -> Scopes {
        let foreign = named.minus(&self.requested.union(&self.granted));
        named.minus(&foreign)
    }

    /// Returns true if this is the stored access token.
    pub(crate) fn has_access(&self, token: &Secret) -> bool {
        let held = self.token(TokenKind::AccessToken);
        held.is_some_and(|held| held.same(token.expose()))
    }

    /// Returns true if the account holds no refresh token, and this one was the last that it held.
    pub(crate) fn has_dropped(&self, token: &Secret) -> bool {
        let holds = self.token(TokenKind::RefreshToken).is_some();
        !holds && self.dropped == Some(RefreshTokenId::of(token))
    }

    /// Returns the issuance of the access token.
    pub(crate) fn issuance(&self) -> Option<Issuance> {
        self.tokens.as_ref().map(Tokens::issuance)
    }

    /// Returns when the user authorized. For an account that does not say it, that is the receipt of its tokens, which each
    /// refresh changes.
    pub(crate) fn signed_in(&self) -> Option<UnixMillis> {
        let received = self.tokens.as_ref().map(|tokens| tokens.received);
        self.authorized.or(received)
    }

    /// Returns true if this is the stored refresh token.
    pub(crate) fn has_refresh(&self, token: &Secret) -> bool {
        let held = self.token(TokenKind::RefreshToken);
        held.is_some_and(|held| held.same(token.expose()))
    }
}

impl AtIssuer<CodeGrant> {
    /// Creates the account from a token response to the authorization code.
    pub(crate) fn redeemed(self, granted: Granted, now: Moment) -> AtIssuer<Account> {
        self.then(|grant| {
            let parts = grant.redirected.0;
            Account {
                client: parts.client,
                redirect_uri: Some(parts.redirect_uri.shared()),
                binding: parts.binding,
                obtained: Obtained::AuthorizationCode,
                authorization: Some(grant.authorization),
                authorized: Some(now.wall),
                resource: parts.resource,
                granted: granted.scope_of(&parts.requested),
                requested: parts.requested,
                names_scopes: false,
                iss_binding: grant.iss_binding,
                standing: Standing::Listed,
                dropped: None,
                tokens: Some(Tokens::received(granted, now)),
            }
        })
    }
}

impl AtIssuer<DeviceGrant> {
    /// Creates the account from a token response to the device code.
    pub(crate) fn redeemed(self, granted: Granted, now: Moment) -> AtIssuer<Account> {
        self.then(|grant| {
            let authorization = Some(grant.authorization());
            let request = grant.request;
            Account {
                client: request.client,
                redirect_uri: Some(GrantType::DeviceCode.as_str().into()),
                binding: request.binding,
                obtained: Obtained::DeviceCode,
                authorization,
                authorized: Some(now.wall),
                resource: request.resource,
                granted: granted.scope_of(&request.requested),
                requested: request.requested,
                names_scopes: false,
                iss_binding: IssBinding::NoCallback,
                standing: Standing::Listed,
                dropped: None,
                tokens: Some(Tokens::received(granted, now)),
            }
        })
    }
}

impl AtIssuer<Account> {
    /// Returns true if this is the account of a refresh with this token: it holds the token, or has dropped that very token,
    /// which was spent for this refresh. An account that has dropped another token belongs to a later refresh.
    pub(crate) fn is_before_refresh(&self, issuer: &IssuerId, sent: &Secret) -> bool {
        let account = self.held();
        self.issuer() == issuer && (account.has_refresh(sent) || account.has_dropped(sent))
    }

    /// Returns the refresh grant, if a refresh token exists and its issuer is still listed. `naming`: what this renewal
    /// has learnt about scopes.
    pub(crate) fn refresh_grant(
        self,
        settings: &IssuerSettings,
        naming: Naming,
    ) -> Option<AtIssuer<RefreshGrant>> {
        let listed = self.held().still_listed().ok()?;
        let refresh = self.held().token(TokenKind::RefreshToken)?.clone();
        let scopes = match &settings.refresh_scopes {
            RefreshScopes::AsNeeded if naming.names(self.held().names_scopes) => {
                self.held().requested.clone()
            }
            RefreshScopes::AsNeeded | RefreshScopes::Omit => Scopes::default(),
            RefreshScopes::Requested => self.held().requested.clone(),
            RefreshScopes::Exactly(scopes) => scopes.clone(),
        };
        Some(self.then(|account| RefreshGrant {
            account,
            refresh,
            scopes,
            _listed: listed,
        }))
    }

    /// Returns the account with this listing state.
    pub(crate) fn standing(self, standing: Standing) -> Self {
        self.then(|account| Account {
            standing,
            ..account
        })
    }
}

impl AtIssuer<RefreshGrant> {
    /// Returns the account updated by a refresh response; omitted members keep their values (REFR-04).
    pub(crate) fn redeemed(self, granted: Granted, now: Moment) -> AtIssuer<Account> {
        self.then(|grant| {
            let still_granted = match &granted.scope {
                Some(named) => grant.account.still_granted(named),
                None => grant.account.granted.clone(),
            };
            let received = Tokens::received(granted, now);
            Account {
                granted: still_granted,
                dropped: None,
                tokens: Some(Tokens {
                    refresh: received.refresh.or(Some(grant.refresh)),
                    ..received
                }),
                ..grant.account
            }
        })
    }
}

/// How many seconds before expiry a token is refreshed; a tenth of the lifetime for short-lived ones
/// (USE-10).
const RENEW_BEFORE: u64 = 60;

impl Tokens {
    /// Returns the tokens of a response that was just received.
    pub(crate) fn received(granted: Granted, now: Moment) -> Self {
        Self {
            access: granted.access_token,
            refresh: granted.refresh_token,
            received: now.wall,
            lifetime: granted.lifetime,
        }
    }

    /// Returns true if both are the same issuance. The time of receipt is compared too, because a server
    /// may reissue an identical token.
    pub(crate) fn is(&self, access: &AccessToken, received: UnixMillis) -> bool {
        self.received == received && self.access.secret().same(access.secret().expose())
    }

    pub(crate) fn issuance(&self) -> Issuance {
        let mut hasher = DefaultHasher::new();
        self.access.secret().expose().hash(&mut hasher);
        Issuance {
            digest: NonZeroU64::MIN | hasher.finish(),
            received: self.received,
        }
    }

    /// Returns how long before expiry the token is refreshed.
    pub(crate) fn margin(&self) -> Duration {
        match self.lifetime {
            Lifetime::Unknown => Duration::ZERO,
            Lifetime::Seconds(seconds) => {
                let tenth = Duration::from_millis(seconds.saturating_mul(100));
                tenth.min(Duration::from_secs(RENEW_BEFORE))
            }
        }
    }
}
