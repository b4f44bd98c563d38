//! What is held at the authenticated-at issuer: one value, replaced whole.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{IssuerSettings, RefreshScopes};
use crate::grant::{Client, CodeGrant, RefreshGrant, Resource};
use crate::issuer::{AtIssuer, IssuerId};
use crate::key::KeyBinding;
use crate::secret::Secret;
use crate::time::{Moment, MonoMillis, UnixMillis, millis};
use crate::wire::callback::IssBinding;
use crate::wire::scopes::Scopes;
use crate::wire::token::{AccessToken, Granted, Lifetime};

/// How a token was obtained (TOK-17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Obtained {
    /// The user authorized it; a refresh goes on from there.
    AuthorizationCode,
    /// With the client's own credentials.
    ClientCredentials,
    /// With an assertion of the host's platform.
    JwtBearer,
    /// By way of the organisation's identity provider.
    Enterprise,
}

/// The two kinds of token that can be revoked (RFC 7009).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// An access token.
    AccessToken,
    /// A refresh token.
    RefreshToken,
}

impl TokenKind {
    /// The `token_type_hint`.
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
    /// Where the user came back to, if there was one; the client's registration is found by it.
    pub(crate) redirect_uri: Option<Arc<str>>,
    /// The key that the tokens are bound to.
    pub(crate) binding: Option<KeyBinding>,
    pub(crate) obtained: Obtained,
    pub(crate) resource: Resource,
    pub(crate) requested: Scopes,
    pub(crate) granted: Scopes,
    pub(crate) iss_binding: IssBinding,
    pub(crate) standing: Standing,
    pub(crate) tokens: Option<Tokens>,
}

/// Whether the resource lists the account's issuer, by its metadata that was validated last (ISO-04).
/// It is part of the account, so that it binds every process and every reason to renew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It does, as far as anything was heard.
    #[default]
    Listed,
    /// It lists others instead, this one first.
    LeftFor(IssuerId),
}

/// The proof that the resource still lists the issuer of an account: no refresh request without it.
pub(crate) struct StillListed(());

#[derive(Clone)]
pub(crate) struct Tokens {
    pub(crate) access: AccessToken,
    pub(crate) refresh: Option<Secret>,
    pub(crate) received: UnixMillis,
    pub(crate) lifetime: Lifetime,
}

impl Account {
    /// The one gate to a refresh: the issuer that came in place of the account's own is the refusal.
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

    /// The scopes that remain after a refresh answer, of those requested or granted before. A refresh cannot widen that
    /// (REFR-08), and some servers name scopes there that they refuse in a request.
    fn still_granted(&self, named: &Scopes) -> Scopes {
        let foreign = named.minus(&self.requested.union(&self.granted));
        let known = named.minus(&foreign);
        if known.is_empty() {
            self.granted.clone()
        } else {
            known
        }
    }

    /// Whether this is the access token held.
    pub(crate) fn has_access(&self, token: &Secret) -> bool {
        let held = self.token(TokenKind::AccessToken);
        held.is_some_and(|held| held.same(token.expose()))
    }

    /// Whether this is the refresh token held.
    pub(crate) fn has_refresh(&self, token: &Secret) -> bool {
        let held = self.token(TokenKind::RefreshToken);
        held.is_some_and(|held| held.same(token.expose()))
    }
}

impl AtIssuer<CodeGrant> {
    /// A token answer turns the grant into an account at the same server.
    pub(crate) fn redeemed(self, granted: Granted, now: Moment) -> AtIssuer<Account> {
        self.then(|grant| {
            let parts = grant.redirected.0;
            Account {
                client: parts.client,
                redirect_uri: Some(parts.redirect_uri),
                binding: parts.binding,
                obtained: Obtained::AuthorizationCode,
                resource: parts.resource,
                granted: granted.scope.unwrap_or_else(|| parts.requested.clone()),
                requested: parts.requested,
                iss_binding: grant.iss_binding,
                standing: Standing::Listed,
                tokens: Some(Tokens {
                    access: granted.access_token,
                    refresh: granted.refresh_token,
                    received: now.wall,
                    lifetime: granted.lifetime,
                }),
            }
        })
    }
}

impl AtIssuer<Account> {
    /// The grant of the refresh token, when there is one and its issuer is still listed.
    pub(crate) fn refresh_grant(self, settings: &IssuerSettings) -> Option<AtIssuer<RefreshGrant>> {
        let listed = self.held().still_listed().ok()?;
        let refresh = self.held().token(TokenKind::RefreshToken)?.clone();
        let scopes = match &settings.refresh_scopes {
            RefreshScopes::Omit => Scopes::default(),
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

    /// The same account, as the resource lists its issuer now.
    pub(crate) fn standing(self, standing: Standing) -> Self {
        self.then(|account| Account {
            standing,
            ..account
        })
    }
}

impl AtIssuer<RefreshGrant> {
    /// A token answer renews the account; what it leaves out stays as it was (REFR-04).
    pub(crate) fn redeemed(self, granted: Granted, now: Moment) -> AtIssuer<Account> {
        self.then(|grant| Account {
            granted: match &granted.scope {
                Some(named) => grant.account.still_granted(named),
                None => grant.account.granted.clone(),
            },
            tokens: Some(Tokens {
                access: granted.access_token,
                refresh: Some(granted.refresh_token.unwrap_or(grant.refresh)),
                received: now.wall,
                lifetime: granted.lifetime,
            }),
            ..grant.account
        })
    }
}

/// How long before its end a token is renewed: a minute, or a tenth of a short life (USE-10).
const RENEW_BEFORE: u64 = 60;

/// How many milliseconds clocks may be set back without consequence.
const CLOCK_TOLERANCE: u64 = 60_000;

impl Tokens {
    /// Whether these are the ones: a server may issue the same text again, so when they were received
    /// counts too.
    pub(crate) fn is(&self, access: &AccessToken, received: UnixMillis) -> bool {
        self.received == received && self.access.secret().same(access.secret().expose())
    }

    /// How long before its end it is renewed.
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

/// Until when the access token may be used, by both clocks (SEC-35).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Validity {
    /// Until refused.
    Unknown,
    /// Once: it expired on receipt, in this process (TOK-13).
    Once,
    /// Nothing usable any more.
    Over,
    /// While both clocks are before these.
    Until(UnixMillis, MonoMillis),
}

impl Validity {
    /// Of a token that has just come.
    pub(crate) fn on_receipt(tokens: &Tokens, now: Moment) -> Self {
        match tokens.lifetime {
            Lifetime::Seconds(0) => Self::Once,
            Lifetime::Unknown | Lifetime::Seconds(_) => Self::of(Some(tokens), now),
        }
    }

    /// From a token's own record, seen now. What remains never exceeds the lifetime, however the
    /// wall clock was moved meanwhile. One that expired on receipt was for the process that received it.
    pub(crate) fn of(tokens: Option<&Tokens>, now: Moment) -> Self {
        let Some(tokens) = tokens else {
            return Self::Over;
        };
        let seconds = match tokens.lifetime {
            Lifetime::Unknown => return Self::Unknown,
            Lifetime::Seconds(0) => return Self::Over,
            Lifetime::Seconds(seconds) => seconds,
        };
        // A receipt in the future was written by a clock that was ahead: the age is not known. It is renewed
        // where that can be, and otherwise used until it is refused.
        if tokens.received.0.saturating_sub(now.wall.0) > CLOCK_TOLERANCE {
            return match tokens.refresh {
                Some(_) => Self::Over,
                None => Self::Unknown,
            };
        }
        let lifetime = seconds.saturating_mul(1_000);
        let expires = tokens.received.plus_seconds(seconds);
        let remaining = expires.0.saturating_sub(now.wall.0).min(lifetime);
        Self::Until(expires, MonoMillis(now.mono.0.saturating_add(remaining)))
    }

    /// Whether it holds for at least this much longer.
    pub(crate) fn holds_for(self, now: Moment, margin: Duration) -> bool {
        self.holds(Moment {
            wall: UnixMillis(now.wall.0.saturating_add(millis(margin))),
            mono: now.mono.plus(margin),
        })
    }

    pub(crate) fn holds(self, now: Moment) -> bool {
        match self {
            Self::Unknown | Self::Once => true,
            Self::Over => false,
            Self::Until(wall, mono) => now.wall < wall && now.mono < mono,
        }
    }
}
