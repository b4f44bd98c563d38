//! A token request without a user, with its retries.

use std::num::NonZeroU64;

use crate::budget::Budget;
use crate::config::MachineFlow;
use crate::grant::Asked;
use crate::issuer::AtIssuer;
use crate::record::ResourceFacts;
use crate::secret::Secret;
use crate::time::MonoMillis;
use crate::wire::token::AuthenticationWish;

use super::Effort;

/// A token request without a user, with its retries.
pub(crate) struct Obtaining {
    pub(crate) effort: Effort,
    pub(crate) flow: MachineFlow,
    /// The token that the MCP server refused: another one is needed.
    pub(crate) refused: Option<Secret>,
    /// Token requests left.
    pub(crate) requests: Budget,
    pub(crate) delayed: bool,
    pub(crate) not_before: Option<MonoMillis>,
    /// Resource metadata, for a retry within this flow.
    pub(crate) facts: Option<ResourceFacts>,
    /// The event in which the resource's metadata was last read before the pause.
    pub(crate) read: Option<NonZeroU64>,
    /// A rejected grant of the identity provider has been replaced once (EMA-16).
    pub(crate) second_jag: bool,
    /// A rejected subject token has been replaced once (EMA-17), with the authentication that the server
    /// requires.
    pub(crate) second_subject: bool,
    pub(crate) wish: AuthenticationWish,
}

/// The reason why a caller needs a token, or the user.
pub(crate) enum Occasion {
    /// No token that suffices is stored.
    Wanted,
    /// The MCP server refused a request with this token, or one without a token.
    Refused(Option<Secret>),
}

/// The resource's server and the grant parameters, while the identity provider is discovered.
pub(crate) struct AtIdp {
    pub(crate) obtaining: Box<Obtaining>,
    pub(crate) at: AtIssuer<Asked>,
}
