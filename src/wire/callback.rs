//! The authorization response, as the user's browser carried it (RFC 6749 section 4.1.2, RFC 9207, CB).

use std::borrow::Cow;
use std::fmt;

use super::form::{decode, decode_as, encoded_pairs, pairs};
use super::pkce::State;
use super::text::cut;
use crate::secret::Cleared;
use crate::slot::Slot;

/// Largest callback, in bytes (CB-15).
pub const MAX_CALLBACK_BYTES: usize = 16 * 1024;
/// Longest authorization code, in bytes (CB-15).
pub const MAX_CODE_BYTES: usize = 8 * 1024;

/// A complete callback. It has no accessors before validation, and cannot be built from a code alone, which
/// would drop `iss` (CB-01).
pub struct Callback {
    text: Cleared,
    form: Form,
    pub(crate) browser: Option<BrowserBinding>,
}

enum Form {
    Url,
    Parameters,
}

impl Callback {
    /// Creates a callback from the full URL that the browser was redirected to.
    pub fn from_url(url: impl Into<String>) -> Self {
        Self::new(url.into(), Form::Url)
    }

    /// Creates a callback from the query of that URL, without the question mark.
    pub fn from_query(query: impl Into<String>) -> Self {
        Self::new(query.into(), Form::Parameters)
    }

    /// Creates a callback from the body of a form post. A body that is not UTF-8 matches no authorization.
    pub fn from_form(body: &[u8]) -> Self {
        let text = std::str::from_utf8(body).unwrap_or("%");
        Self::new(text.to_owned(), Form::Parameters)
    }

    /// Sets the browser session that the callback arrived in (CB-14).
    #[must_use]
    pub fn in_browser(mut self, browser: BrowserBinding) -> Self {
        self.browser = Some(browser);
        self
    }

    fn new(text: String, form: Form) -> Self {
        Self {
            text: Cleared::new(text),
            form,
            browser: None,
        }
    }

    /// The slot in which a host with many principals may have kept whose sign-in this is
    /// ([`Redirect::route`](crate::action::Redirect::route)): whose machine is to judge the callback, which is not
    /// believed by that. `None`: the callback has no state of a sign-in.
    pub fn route(&self) -> Option<Slot> {
        self.state().map(|state| Slot::route(state.digest()))
    }

    /// Returns the unvalidated `state`, to find the authorization that the callback belongs to.
    pub(crate) fn state(&self) -> Option<State> {
        if self.text.as_str().len() > MAX_CALLBACK_BYTES {
            return None;
        }
        // Decoded, because a server may escape characters that need no escape (CB-02).
        let found = pairs(self.parts().1)
            .flatten()
            .find(|(name, _)| name == "state");
        State::from_text(&found?.1)
    }

    /// Returns the URL without query and fragment, if known, and the parameters.
    fn parts(&self) -> (Option<&str>, &str) {
        match self.form {
            Form::Url => {
                let without_fragment = cut(self.text.as_str(), b'#').0;
                let (target, query) = cut(without_fragment, b'?');
                (Some(target), query.unwrap_or_default())
            }
            Form::Parameters => (None, self.text.as_str()),
        }
    }

    /// Checks size and syntax and returns the parameters: the first step of validation (CB-02, CB-03).
    pub(crate) fn parameters(&self) -> Option<Parameters<'_>> {
        self.parameters_of("")
    }

    /// Same as [`parameters`](Self::parameters), most likely of this issuer, whose text is then borrowed.
    pub(crate) fn parameters_of<'a>(&'a self, issuer: &'a str) -> Option<Parameters<'a>> {
        if self.text.as_str().len() > MAX_CALLBACK_BYTES {
            return None;
        }
        let (target, query) = self.parts();
        let mut found = Parameters {
            target,
            ..Parameters::default()
        };
        for (name, value) in encoded_pairs(query) {
            let name = decode(name).ok()?;
            let value = match name.as_ref() {
                "iss" => decode_as(value, issuer),
                _other => decode(value),
            };
            let value = value.ok()?;
            let place = match name.as_ref() {
                "state" => &mut found.state,
                "iss" => &mut found.iss,
                "code" => &mut found.code,
                "error" => &mut found.error,
                "error_description" => &mut found.error_description,
                "error_uri" => &mut found.error_uri,
                "access_token" | "id_token" | "response" => {
                    found.front_channel_token = true;
                    continue;
                }
                _unknown => continue,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        Some(found)
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[callback]")
    }
}

/// The parameters of a callback, decoded once.
#[derive(Default)]
pub(crate) struct Parameters<'a> {
    /// The URL without its query, if known.
    pub(crate) target: Option<&'a str>,
    pub(crate) state: Option<Cow<'a, str>>,
    pub(crate) iss: Option<Cow<'a, str>>,
    pub(crate) code: Option<Cow<'a, str>>,
    pub(crate) error: Option<Cow<'a, str>>,
    pub(crate) error_description: Option<Cow<'a, str>>,
    pub(crate) error_uri: Option<Cow<'a, str>>,
    pub(crate) front_channel_token: bool,
}

impl Parameters<'_> {
    pub(crate) fn state(&self) -> Option<State> {
        self.state.as_deref().and_then(State::from_text)
    }
}

/// Binds an authorization to one browser session by an opaque value of that session, such as a cookie. Only
/// a digest is stored (CB-14).
#[derive(Clone, Copy)]
pub struct BrowserBinding(pub(crate) [u8; 16]);

impl BrowserBinding {
    /// Creates a binding from the session's value, which must be unguessable.
    pub fn new(session: &[u8]) -> Self {
        Self(crate::slot::short_digest(session))
    }

    /// Compares in constant time (SEC-33).
    pub(crate) fn same(&self, other: &Self) -> bool {
        crate::secret::same_bytes(&self.0, &other.0)
    }
}

impl fmt::Debug for BrowserBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[browser session]")
    }
}

/// How the issuer of an authorization response was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IssBinding {
    /// `iss` was present and equal.
    Verified,
    /// The server neither advertises nor sends `iss`. No client can detect a mix-up by a server that
    /// redirects the browser onwards.
    Unverifiable,
    /// The token was obtained without an authorization response.
    NoCallback,
}

impl IssBinding {
    /// Returns the name in records.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Unverifiable => "unverifiable",
            Self::NoCallback => "no_callback",
        }
    }
}

/// The flaw in `iss`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IssFlaw {
    /// Advertised, but missing (ISS-04).
    Missing,
    /// Advertised, but missing from an error response, which needs it too (RFC 9207 section 2, ISS-04).
    MissingFromError,
    /// Present, but not identical (ISS-03, ISS-05).
    Different,
}

impl IssFlaw {
    /// Tells a missing `iss` of an error response from that of a response with a code.
    pub(crate) fn in_answer(self, parameters: &Parameters<'_>) -> Self {
        match self {
            Self::Missing if parameters.error.is_some() && parameters.code.is_none() => {
                Self::MissingFromError
            }
            Self::Missing | Self::MissingFromError | Self::Different => self,
        }
    }
}

/// Checks `iss` against the recorded issuer, byte by byte, by the table of requirements 10 (RFC 9207,
/// ISS-03 to ISS-07, ISS-10).
///
/// # Errors
/// [`IssFlaw`] if `iss` is missing or different.
pub fn check_iss(
    advertised: bool,
    iss: Option<&str>,
    recorded: &str,
) -> Result<IssBinding, IssFlaw> {
    match (advertised, iss) {
        (_, Some(iss)) if iss == recorded => Ok(IssBinding::Verified),
        (_, Some(_)) => Err(IssFlaw::Different),
        (true, None) => Err(IssFlaw::Missing),
        (false, None) => Ok(IssBinding::Unverifiable),
    }
}
