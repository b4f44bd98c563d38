//! Events that come from outside, of any shape, and the choices that they and whole histories are made of.

use http::{HeaderMap, HeaderName, HeaderValue};
use mcp_auth_machine::Event;
use mcp_auth_machine::event::{Abandon, Challenge, Observed, Operation};
use mcp_auth_machine::wire::callback::Callback;

use crate::documents::{MCP, REDIRECT};

/// Bytes that are read as choices: those of a fuzzer, or of a strategy. At their end each choice is the first one.
pub(super) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn one<T: Copy>(&mut self, first: T, others: &[T]) -> T {
        let count = others.len().saturating_add(1);
        let at = usize::from(self.byte()).checked_rem(count).unwrap_or(0);
        let other = at.checked_sub(1).and_then(|at| others.get(at));
        other.copied().unwrap_or(first)
    }

    /// Some of these pieces in any order, and other characters between them.
    fn text(&mut self, pieces: &[&str]) -> String {
        let mut text = String::new();
        for _ in 0..self.byte() % 8 {
            match self.byte() {
                byte @ 0..=127 => {
                    let at = usize::from(byte).checked_rem(pieces.len()).unwrap_or(0);
                    text.push_str(pieces.get(at).unwrap_or(&""));
                }
                _ => text.push(char::from(self.byte())),
            }
        }
        text
    }
}

/// The pieces of challenges.
const CHALLENGE: [&str; 16] = [
    "Bearer ",
    "error=\"invalid_token\"",
    "error=\"insufficient_scope\"",
    "scope=\"read\"",
    "scope=\"read write\"",
    ", ",
    "resource_metadata=\"https://mcp.example/.well-known/oauth-protected-resource/mcp\"",
    "resource_metadata=\"https://elsewhere.example/metadata\"",
    "resource_metadata=/relative",
    "error_description=\"\\\"no\\\"\"",
    "Basic realm=\"x\"",
    "DPoP algs=\"ES256\"",
    "DPoP error=\"use_dpop_nonce\"",
    "\"",
    "=",
    "scope='read'",
];

/// The pieces of callbacks.
const CALLBACK: [&str; 14] = [
    "code=forged-code",
    "&",
    "state=unknown-state",
    "iss=https://a.example",
    "iss=https://evil.example",
    "error=access_denied",
    "error_description=%E2%80%AE",
    "%",
    "=",
    "+",
    "code=another-forged-code",
    "state=",
    "#",
    "response=x",
];

/// An event that needs no action before it: what users, browsers and servers can do to a host at any time.
///
/// `arbitrary` (feature `arbitrary`) and `any_outside` (feature `proptest`) make any of them, of the same choices.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outside {
    /// The MCP server answers a request with this status and these `WWW-Authenticate` fields.
    Challenged {
        /// The status.
        status: u16,
        /// The fields.
        www_authenticate: Vec<String>,
        /// The `Authorization` of the request: one that this host never had.
        sent: Option<String>,
    },
    /// The MCP server accepts a request of this operation.
    Accepted(String),
    /// The host is about to send a request of this operation.
    Wanted(String),
    /// The MCP server sends this `DPoP-Nonce`.
    Observed(String),
    /// A browser requests the redirect URI with this query, which belongs to no redirect.
    Callback(String),
    /// The host wakes the machine, at any time.
    Timer,
    /// The user cancels.
    Cancelled,
    /// The user resets the registration.
    ResetRegistration,
    /// The user signs out.
    SignedOut,
}

impl Outside {
    pub(super) fn choose(choices: &mut Choices<'_>) -> Self {
        const OPERATIONS: [&str; 3] = ["tools/call x", "tools/list", ""];
        match choices.byte() % 16 {
            0..=6 => {
                let status = choices.one(401, &[403, 400, 200, 404, 500, 407, 302]);
                let fields = choices.byte() % 3;
                Self::Challenged {
                    status,
                    www_authenticate: (0..fields).map(|_| choices.text(&CHALLENGE)).collect(),
                    sent: choices
                        .one(
                            None,
                            &[Some("Bearer never-issued"), Some("DPoP x"), Some("")],
                        )
                        .map(str::to_owned),
                }
            }
            7 => Self::Accepted(choices.one("x", &OPERATIONS).to_owned()),
            8 => Self::Wanted(choices.one("x", &OPERATIONS).to_owned()),
            9 => Self::Observed(choices.text(&["nonce-1", "nonce-2", " ", "\"", ","])),
            10 | 11 => Self::Callback(choices.text(&CALLBACK)),
            12 => Self::Timer,
            13 => Self::Cancelled,
            14 => Self::ResetRegistration,
            _ => Self::SignedOut,
        }
    }

    /// Returns the event.
    pub fn event(&self) -> Event {
        match self {
            Self::Challenged {
                status,
                www_authenticate,
                sent,
            } => {
                let mut headers = HeaderMap::new();
                for field in www_authenticate {
                    append(&mut headers, http::header::WWW_AUTHENTICATE, field);
                }
                let challenge = Challenge::new("x", *status, headers);
                Event::Challenged(match sent {
                    Some(sent) => challenge.sent(sent),
                    None => challenge,
                })
            }
            Self::Accepted(operation) => Event::Accepted(Operation::new(operation)),
            Self::Wanted(operation) => Event::Wanted(Operation::new(operation)),
            Self::Observed(nonce) => {
                let mut headers = HeaderMap::new();
                append(&mut headers, HeaderName::from_static("dpop-nonce"), nonce);
                Event::Observed(Observed::new(MCP, &headers))
            }
            Self::Callback(_) => Event::CallbackParams(Callback::from_url(self.url())),
            Self::Timer => Event::Timer,
            Self::Cancelled => Event::Abandoned(Abandon::Cancelled),
            Self::ResetRegistration => Event::Abandoned(Abandon::ResetRegistration),
            Self::SignedOut => Event::SignedOut,
        }
    }

    /// Returns the URL of a callback; empty for other events.
    pub fn url(&self) -> String {
        match self {
            Self::Callback(query) => format!("{REDIRECT}?{query}"),
            Self::Challenged { .. }
            | Self::Accepted(_)
            | Self::Wanted(_)
            | Self::Observed(_)
            | Self::Timer
            | Self::Cancelled
            | Self::ResetRegistration
            | Self::SignedOut => String::new(),
        }
    }
}

/// A text that is not a field value is left out, as an HTTP library would.
fn append(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
        headers.append(name, value);
    }
}
