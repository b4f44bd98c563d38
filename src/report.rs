//! Reports: the machine's decisions, with stable codes and without secrets.

use serde::{Serialize, Serializer};

pub use crate::account::TokenKind;
use crate::error::Failure;
use crate::grant::ClientOrigin;
use crate::issuer::{IssuerId, ServerSource};
use crate::wire::scopes::Scopes;
use crate::wire::text::Untrusted;
use crate::wire::url::WebUrl;

/// The result of fetching from one location (DISC-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A valid document.
    Found,
    /// No document.
    Absent,
    /// A temporary failure.
    Transient,
    /// A URL that must not be contacted, or a response that is too large.
    Refused,
    /// A document that violates the protocol.
    Invalid,
    /// A redirect on the same origin.
    Redirected,
}

/// The origin of the requested scopes (SCOPE-01).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopeSource {
    /// The host.
    Host,
    /// The challenge.
    Challenge,
    /// `scopes_supported` of the resource.
    ResourceMetadata,
    /// No party named scopes.
    Nobody,
}

/// The party that ended a dynamic registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Forgotten {
    /// The token endpoint, or the pushed authorization request endpoint, rejected the client.
    TokenEndpoint,
    /// The token endpoint did not know a code that the server had just issued.
    CodeRefused,
    /// The authorization endpoint rejected the client, in a callback.
    AuthorizationEndpoint,
    /// The host requested a new registration.
    Host,
}

/// A decision of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// Challenge parameters with conflicting values were ignored (CHAL-08).
    ChallengeParametersDropped {
        /// The names of the parameters.
        names: Vec<&'static str>,
    },
    /// A metadata location was fetched.
    PlaceTried {
        /// The URL.
        url: WebUrl,
        /// The result.
        verdict: Verdict,
    },
    /// An announced metadata location must not be contacted (CHAL-13, SEC-05).
    PlaceRefused {
        /// The location as announced.
        place: Untrusted,
        /// The flaw in it.
        reason: String,
    },
    /// Metadata members of a wrong type were ignored (DISC-17).
    MembersIgnored {
        /// The names of the members.
        names: Vec<&'static str>,
    },
    /// An entry of `authorization_servers` is not a usable issuer (DISC-15, QUIRK-21).
    EntryUnusable {
        /// The entry.
        entry: Untrusted,
        /// The flaw in it.
        reason: String,
    },
    /// An entry of `authorization_servers` looks like the URL of a document; it is used as an issuer
    /// nevertheless (QUIRK-21).
    EntryLooksLikeDocument {
        /// The entry.
        entry: Untrusted,
    },
    /// An authorization server was chosen.
    ServerChosen {
        /// Its issuer.
        issuer: IssuerId,
        /// The source of its metadata.
        source: ServerSource,
    },
    /// A listed authorization server is unusable, and the next one is tried (DISC-16).
    ServerPassedOver {
        /// Its issuer.
        issuer: IssuerId,
        /// The reason code.
        reason: &'static str,
    },
    /// The listed issuer and its metadata differ by one final slash (QUIRK-01).
    SlashTolerated {
        /// The issuer as listed.
        listed: IssuerId,
        /// The issuer in the metadata, which is used.
        named: IssuerId,
    },
    /// A setting of the host supplements the metadata.
    SettingApplied {
        /// The issuer.
        issuer: IssuerId,
        /// The setting: `pkce`, `resource`, `iss`, `authorization_origin` or `client_assertion_audience`.
        setting: &'static str,
    },
    /// The issuer moved an endpoint to another origin. Credentials issued before are not sent there; the
    /// previous endpoint is kept, if there was one (A22, REFR-11).
    EndpointNotFollowed {
        /// The issuer.
        issuer: IssuerId,
        /// The member of its metadata.
        member: &'static str,
    },
    /// A client was chosen.
    ClientChosen {
        /// The issuer.
        issuer: IssuerId,
        /// The origin of the client.
        origin: ClientOrigin,
        /// Its authentication method.
        method: &'static str,
    },
    /// A configured client without an issuer was bound to this one (REG-04).
    ClientBound {
        /// The issuer.
        issuer: IssuerId,
    },
    /// The binding of a configured client without an issuer was dropped by a reset of the host; no account with the client
    /// is stored (QUIRK-14).
    ClientUnbound {
        /// The issuer.
        issuer: IssuerId,
    },
    /// A dynamic registration was erased; the next authorization registers again (TOK-19, QUIRK-14).
    RegistrationForgotten {
        /// The issuer.
        issuer: IssuerId,
        /// The party that ended it.
        by: Forgotten,
    },
    /// The scopes of a request were chosen.
    ScopesChosen {
        /// The scopes; empty when the parameter is omitted.
        scopes: Scopes,
        /// The origin of the new ones.
        source: ScopeSource,
    },
    /// A callback belongs to no pending authorization, and was ignored (CB-05).
    CallbackIgnored,
    /// A response of the MCP server is not an authorization challenge, and was ignored (USE-12).
    AnswerIgnored {
        /// The status.
        status: u16,
    },
    /// A stored record is unusable and counts as absent.
    RecordUnusable {
        /// The slot.
        slot: String,
        /// The flaw in it.
        reason: String,
    },
    /// The queue was full, and an event was dropped.
    EventDropped,
    /// `token_type` was missing and assumed to be `Bearer` (TOK-12).
    TokenTypeAssumed,
    /// A token was refreshed.
    TokenRefreshed {
        /// The issuer.
        issuer: IssuerId,
        /// The scopes.
        scopes: Scopes,
        /// The lifetime in seconds, if known.
        seconds: Option<u64>,
    },
    /// A refresh failed temporarily and is retried (11.4).
    RefreshDelayed {
        /// The delay in milliseconds.
        millis: u64,
    },
    /// A refresh ahead of expiry failed; the current token stays in use (REFR-07).
    RenewalPutOff {
        /// The reason code.
        reason: &'static str,
    },
    /// The server refused a refresh request without scopes, or answered it with none of the account's: requests name
    /// the scopes from now on (REFR-03).
    RefreshNamesScopes {
        /// The issuer.
        issuer: IssuerId,
    },
    /// The server rejected the refresh token; the rejected tokens were erased (REFR-06).
    TokensDropped {
        /// The issuer.
        issuer: IssuerId,
    },
    /// One token was revoked, or could not be (REV-04).
    Revoked {
        /// The issuer.
        issuer: IssuerId,
        /// The kind of the token.
        token: TokenKind,
        /// Why not; `None`: revoked. A report names the code of the cause.
        #[serde(serialize_with = "code")]
        refused: Option<Box<Failure>>,
    },
    /// A proof was sent, but the issued token is not bound to its key; it is used as a bearer token
    /// (DPOP-13).
    TokenNotBound,
    /// A proof was rejected, and the server's clock differs from the local one (DPOP-20).
    ClockDiffers {
        /// The difference in seconds; negative when the server's clock is behind.
        seconds: i64,
    },
    /// A token was received.
    TokenReceived {
        /// The issuer.
        issuer: IssuerId,
        /// The scopes.
        scopes: Scopes,
        /// The lifetime in seconds, if known.
        seconds: Option<u64>,
    },
}

fn code<S: Serializer>(refused: &Option<Box<Failure>>, serializer: S) -> Result<S::Ok, S::Error> {
    let code = refused.as_ref().map(|failure| failure.cause.code());
    code.serialize(serializer)
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
