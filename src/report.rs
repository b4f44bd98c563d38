//! Why the machine did what it did: decisions with stable codes, without secrets.

use serde::{Serialize, Serializer};

use crate::account::TokenKind;
use crate::grant::ClientOrigin;
use crate::issuer::{IssuerId, ServerSource};
use crate::wire::scopes::Scopes;
use crate::wire::text::Untrusted;
use crate::wire::url::WebUrl;

/// What became of one place where a document was looked for (DISC-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A valid document.
    Found,
    /// No document there.
    Absent,
    /// The server may have one, later.
    Transient,
    /// Must not be contacted, or the answer is too large.
    Refused,
    /// A document that breaks a rule.
    Invalid,
    /// Another place on the same origin was named.
    Redirected,
}

/// Where the scopes of a request came from (SCOPE-01).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopeSource {
    /// The host.
    Host,
    /// The challenge.
    Challenge,
    /// `scopes_supported` of the resource.
    ResourceMetadata,
    /// Nobody named any.
    Nobody,
}

/// The party that ended a dynamic registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Forgotten {
    /// The token endpoint, or the one for pushed requests, refused the client.
    TokenEndpoint,
    /// The token endpoint did not know a code that the server had just sent.
    CodeRefused,
    /// The authorization endpoint refused the client, in a callback.
    AuthorizationEndpoint,
    /// The host asked for it.
    Host,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// Parameters of the challenge were repeated with different values and count as absent (CHAL-08).
    ChallengeParametersDropped {
        /// Their names.
        names: Vec<&'static str>,
    },
    /// A place was looked at.
    PlaceTried {
        /// The place.
        url: WebUrl,
        /// What became of it.
        verdict: Verdict,
    },
    /// A place that was announced must not be contacted (CHAL-13, SEC-05).
    PlaceRefused {
        /// The text.
        place: Untrusted,
        /// What is wrong with it.
        reason: String,
    },
    /// Members of a metadata document have another type than theirs and count as absent (DISC-17).
    MembersIgnored {
        /// Their names.
        names: Vec<&'static str>,
    },
    /// An entry of `authorization_servers` that is no usable issuer (DISC-15, QUIRK-21).
    EntryUnusable {
        /// The entry.
        entry: Untrusted,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry of `authorization_servers` that looks like the URL of a document; it is taken as an
    /// issuer all the same (QUIRK-21).
    EntryLooksLikeDocument {
        /// The entry.
        entry: Untrusted,
    },
    /// The authorization server that is used.
    ServerChosen {
        /// Its issuer.
        issuer: IssuerId,
        /// Where the facts about it came from.
        source: ServerSource,
    },
    /// A listed authorization server cannot be used, and the next one is tried (DISC-16).
    ServerPassedOver {
        /// Its issuer.
        issuer: IssuerId,
        /// Why, as a reason code.
        reason: &'static str,
    },
    /// One terminating slash differs between the listed issuer and its document (QUIRK-01).
    SlashTolerated {
        /// As listed.
        listed: IssuerId,
        /// As the document says; this one is used.
        named: IssuerId,
    },
    /// The host's setting stands in for what metadata does not say.
    SettingApplied {
        /// The issuer.
        issuer: IssuerId,
        /// The setting: `pkce`, `resource`, `iss`, `authorization_origin`, `client_assertion_audience`.
        setting: &'static str,
    },
    /// The same issuer now names this endpoint on another origin. What was issued before is not sent
    /// there: the endpoint recorded stays, or there is none (A22, REFR-11).
    EndpointNotFollowed {
        /// The issuer.
        issuer: IssuerId,
        /// The member of its metadata.
        member: &'static str,
    },
    /// The client that is used.
    ClientChosen {
        /// At this issuer.
        issuer: IssuerId,
        /// How the server knows it.
        origin: ClientOrigin,
        /// How it authenticates.
        method: &'static str,
    },
    /// A configured client without an issuer is now bound to this one (REG-04).
    ClientBound {
        /// The issuer.
        issuer: IssuerId,
    },
    /// A dynamic registration was erased: the next authorization registers again (TOK-19, QUIRK-14).
    RegistrationForgotten {
        /// At this issuer.
        issuer: IssuerId,
        /// The party that ended it.
        by: Forgotten,
    },
    /// The scopes that are requested.
    ScopesChosen {
        /// The scopes; empty when the parameter is left out.
        scopes: Scopes,
        /// Where the new ones came from.
        source: ScopeSource,
    },
    /// A callback that belongs to none of our authorizations changed nothing (CB-05).
    CallbackIgnored,
    /// An answer of the MCP server that is no authorization challenge changed nothing (USE-12).
    AnswerIgnored {
        /// Its status.
        status: u16,
    },
    /// A stored record cannot be used and counts as absent.
    RecordUnusable {
        /// The slot.
        slot: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Too much at once: an event was dropped.
    EventDropped,
    /// `token_type` was missing and taken for `Bearer` (TOK-12).
    TokenTypeAssumed,
    /// A token was renewed.
    TokenRefreshed {
        /// By this issuer.
        issuer: IssuerId,
        /// With these scopes.
        scopes: Scopes,
        /// Living this many seconds, when known.
        seconds: Option<u64>,
    },
    /// A refresh failed for now and is tried again after this many milliseconds (11.4).
    RefreshDelayed {
        /// How long.
        millis: u64,
    },
    /// A renewal ahead of time did not succeed; the present token is still good (REFR-07).
    RenewalPutOff {
        /// Why, as a reason code.
        reason: &'static str,
    },
    /// The server refused the refresh token; what was sent was erased (REFR-06).
    TokensDropped {
        /// The issuer.
        issuer: IssuerId,
    },
    /// What became of the revocation of one token (REV-04).
    Revoked {
        /// At this issuer.
        issuer: IssuerId,
        /// Which token.
        token: TokenKind,
        /// Why not, as a reason code.
        refused: Option<&'static str>,
    },
    /// A proof was sent, and the token that came is not bound to its key; it is used as a bearer token
    /// (DPOP-13).
    TokenNotBound,
    /// A proof was refused, and the server's clock shows so many seconds more than ours (DPOP-20).
    ClockDiffers {
        /// Seconds; negative when the server's clock is behind.
        seconds: i64,
    },
    /// A token was received.
    TokenReceived {
        /// From this issuer.
        issuer: IssuerId,
        /// With these scopes.
        scopes: Scopes,
        /// Living this many seconds, when known.
        seconds: Option<u64>,
    },
}

impl Serialize for IssuerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for WebUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for Untrusted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_plain())
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}
