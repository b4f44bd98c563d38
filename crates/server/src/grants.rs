//! The life cycle of codes and refresh tokens (AS-09, AS-11).
//!
//! Your server stores the records. Change them only through these functions, and save them by
//! compare-and-swap before the response is sent: of two requests with the same code, one must fail.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcp_auth_machine::wire::scopes::Scopes;
use ring::hmac;
use serde::{Deserialize, Serialize};

use super::answers::TokenEndpointError;
use super::pkce::CodeChallenge;

/// The default lifetime of a code; at most ten minutes.
pub const CODE_LIFETIME: Duration = Duration::from_secs(60);
const MAX_CODE_LIFETIME: Duration = Duration::from_secs(600);

/// A user's approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The user, as identified by your server.
    pub subject: String,
    /// The client identifier.
    pub client_id: String,
    /// The scopes, separated by spaces.
    pub scopes: String,
    /// The resource, which is the audience of tokens (AS-13).
    pub resource: Option<String>,
    /// The thumbprint of the key that tokens are bound to.
    pub key: Option<String>,
}

/// The record of a code. Store it under a hash of the code, never under the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeRecord {
    approval: Approval,
    redirect_uri: String,
    challenge: CodeChallenge,
    expires: Duration,
    family: Option<String>,
}

/// A token request with a code.
#[derive(Clone, Copy, Debug)]
pub struct Redemption<'a> {
    /// The authenticated client, or the identifier of a public client.
    pub client_id: &'a str,
    /// The `redirect_uri` of the request; OAuth 2.1 clients send none.
    pub redirect_uri: Option<&'a str>,
    /// `code_verifier`.
    pub verifier: &'a str,
    /// `resource`.
    pub resource: Option<&'a str>,
    /// The thumbprint of the key of the request's proof.
    pub key: Option<&'a str>,
}

/// The result of a token request with a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redeemed {
    /// Save the record, then issue tokens of the named family. The approval names the key to bind them to.
    Issue(Approval),
    /// Return an error; the record is unchanged.
    Refuse(TokenEndpointError),
    /// Return an error, and revoke all tokens of this family: the code was reused.
    Revoke(String),
}

impl CodeRecord {
    /// Creates the record of a new code. Times are since the Unix epoch.
    pub fn new(
        approval: Approval,
        redirect_uri: &str,
        challenge: CodeChallenge,
        lifetime: Duration,
        now: Duration,
    ) -> Self {
        Self {
            approval,
            redirect_uri: redirect_uri.to_owned(),
            challenge,
            expires: now.saturating_add(lifetime.min(MAX_CODE_LIFETIME)),
            family: None,
        }
    }

    /// Returns how long to keep the record, to detect reuse.
    pub fn keep_until(&self) -> Duration {
        self.expires.saturating_add(MAX_CODE_LIFETIME)
    }

    /// Redeems the code for the tokens of a new family. A request of another client, or with another
    /// verifier, changes nothing, because it must not end another user's sign-in.
    pub fn redeem(&mut self, asked: &Redemption<'_>, family: &str, now: Duration) -> Redeemed {
        let refuse = |error| Redeemed::Refuse(error);
        if self.approval.client_id != asked.client_id {
            return refuse(TokenEndpointError::InvalidGrant);
        }
        if self.challenge.check(asked.verifier).is_err() {
            return refuse(TokenEndpointError::InvalidGrant);
        }
        if let Some(family) = &self.family {
            return Redeemed::Revoke(family.clone());
        }
        let other_uri = asked
            .redirect_uri
            .is_some_and(|uri| uri != self.redirect_uri);
        if other_uri || now >= self.expires {
            return refuse(TokenEndpointError::InvalidGrant);
        }
        let known = self.approval.resource.as_deref();
        if asked
            .resource
            .is_some_and(|resource| Some(resource) != known)
        {
            return refuse(TokenEndpointError::InvalidTarget);
        }
        // A code that was requested with a key must be redeemed with that key (RFC 9449 section 10).
        let bound = self.approval.key.as_deref();
        if bound.is_some() && bound != asked.key {
            return refuse(TokenEndpointError::InvalidGrant);
        }
        self.family = Some(family.to_owned());
        Redeemed::Issue(Approval {
            key: asked.key.map(str::to_owned),
            ..self.approval.clone()
        })
    }
}

/// A family of refresh tokens: one approval, with each token the successor of the previous one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Family {
    id: String,
    approval: Approval,
    generation: u64,
    rotated: Duration,
    ended: bool,
}

impl Family {
    /// Creates a family. The identifier must be unguessable and contain no dot.
    pub fn new(id: &str, approval: Approval, now: Duration) -> Self {
        Self {
            id: id.to_owned(),
            approval,
            generation: 0,
            rotated: now,
            ended: false,
        }
    }

    /// Returns the user's approval.
    pub fn approval(&self) -> &Approval {
        &self.approval
    }

    /// Returns true if the family has ended; its access tokens are invalid as well.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Ends the family, for example when one of its tokens is revoked.
    pub fn end(&mut self) {
        self.ended = true;
    }
}

/// A token request with a refresh token.
#[derive(Clone, Copy, Debug)]
pub struct RefreshRequest<'a> {
    /// The authenticated client, or the identifier of a public client.
    pub client_id: &'a str,
    /// `scope`, parsed leniently: it can only reduce the scopes.
    pub scopes: Option<&'a str>,
    /// `resource`.
    pub resource: Option<&'a str>,
    /// The thumbprint of the key of the request's proof.
    pub key: Option<&'a str>,
}

/// The result of a token request with a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// Save the record, then send a new access token with these scopes, and this refresh token.
    Issue {
        /// The next refresh token.
        refresh_token: String,
        /// The scopes of the access token.
        scopes: Scopes,
    },
    /// Return an error; the record is unchanged.
    Refuse(TokenEndpointError),
    /// Save the record, return `invalid_grant`, and revoke the access tokens of the family: a token was
    /// reused after its successor was used.
    Revoke,
}

/// Issues and verifies refresh tokens. A token contains its family and generation with a MAC, so that an
/// older one is recognised without a list of all tokens.
#[derive(Clone)]
pub struct RefreshTokens {
    key: hmac::Key,
    grace: Duration,
    idle: Duration,
}

impl RefreshTokens {
    /// Creates a value from 32 random bytes, which all instances of a server share.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            grace: Duration::from_secs(10),
            idle: Duration::from_secs(30 * 24 * 3600),
        }
    }

    /// Sets how long a token returns the same successor again, for two racing processes of one client.
    /// Default: 10 seconds; zero disables it, at most one minute.
    #[must_use]
    pub fn grace(mut self, time: Duration) -> Self {
        self.grace = time.min(Duration::from_secs(60));
        self
    }

    /// Sets how long an unused family lasts. Default: thirty days.
    #[must_use]
    pub fn idle(mut self, time: Duration) -> Self {
        self.idle = time;
        self
    }

    /// Returns the current token of a family.
    pub fn token(&self, family: &Family) -> String {
        self.text(&family.id, family.generation)
    }

    fn text(&self, id: &str, generation: u64) -> String {
        let claims = format!("{id}.{generation}");
        let tag = hmac::sign(&self.key, claims.as_bytes());
        format!("{claims}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// Returns the family identifier of a token, to load its record; `None` for a text that this server did
    /// not issue: respond with `invalid_grant`.
    pub fn family_of<'a>(&self, token: &'a str) -> Option<&'a str> {
        self.read(token).map(|(id, _)| id)
    }

    fn read<'a>(&self, token: &'a str) -> Option<(&'a str, u64)> {
        let (claims, tag) = token.rsplit_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.key, claims.as_bytes(), &tag).ok()?;
        let (id, generation) = claims.rsplit_once('.')?;
        Some((id, generation.parse().ok()?))
    }

    /// Processes a token of the family. Times are since the Unix epoch.
    pub fn present(
        &self,
        family: &mut Family,
        token: &str,
        asked: &RefreshRequest<'_>,
        now: Duration,
    ) -> Refreshed {
        let refuse = |error| Refreshed::Refuse(error);
        let approval = &family.approval;
        let generation = match self.read(token) {
            Some((id, generation)) if id == family.id => generation,
            Some(_) | None => return refuse(TokenEndpointError::InvalidGrant),
        };
        let theirs = approval.client_id == asked.client_id && approval.key.as_deref() == asked.key;
        if !theirs || family.ended {
            return refuse(TokenEndpointError::InvalidGrant);
        }
        let age = now.saturating_sub(family.rotated);
        if age >= self.idle {
            return refuse(TokenEndpointError::InvalidGrant);
        }
        let raced = generation.checked_add(1) == Some(family.generation) && age < self.grace;
        if generation != family.generation && !raced {
            family.ended = true;
            return Refreshed::Revoke;
        }
        let known = approval.resource.as_deref();
        if asked
            .resource
            .is_some_and(|resource| Some(resource) != known)
        {
            return refuse(TokenEndpointError::InvalidTarget);
        }
        let held = Scopes::parse(&approval.scopes);
        let scopes = asked.scopes.map_or_else(|| held.clone(), Scopes::parse);
        if !held.covers(&scopes) || scopes.is_empty() != held.is_empty() {
            return refuse(TokenEndpointError::InvalidScope);
        }
        if !raced {
            let Some(next) = family.generation.checked_add(1) else {
                return refuse(TokenEndpointError::InvalidGrant);
            };
            family.generation = next;
            family.rotated = now;
        }
        Refreshed::Issue {
            refresh_token: self.token(family),
            scopes,
        }
    }
}

impl std::fmt::Debug for RefreshTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RefreshTokens")
    }
}
