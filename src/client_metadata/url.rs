//! The URL of a client ID metadata document.

use std::fmt;

use url::Url;

use crate::wire::url::has_url_characters;

/// Longest URL, in bytes, that a server is expected to fetch (SEC-04).
const MAX_URL_BYTES: usize = 8 * 1024;

/// The URL of a client ID metadata document, kept as the exact text because it is the `client_id` (REG-06,
/// REG-08).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClientMetadataUrl(Box<str>);

/// The flaw in a client metadata URL (REG-06).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ClientMetadataUrlFlaw {
    /// It is longer than 8 KiB.
    #[error("longer than 8 KiB")]
    TooLong,
    /// It contains a character that RFC 3986 does not allow, or an invalid percent-encoding.
    #[error("holds a character that is not allowed in a URL")]
    Character,
    /// It is not an absolute URL with a host and a valid port.
    #[error("not an absolute URL")]
    NotAbsolute,
    /// Its scheme is not `https`.
    #[error("not https")]
    Scheme,
    /// It contains user information.
    #[error("holds user information")]
    UserInfo,
    /// It has a fragment.
    #[error("holds a fragment")]
    Fragment,
    /// Its path is missing or `/`.
    #[error("needs a path")]
    NoPath,
    /// Its path has a `.` or `..` segment, plain or percent-encoded.
    #[error("holds a dot segment in its path")]
    DotSegment,
}

impl ClientMetadataUrl {
    /// Validates a URL (REG-06).
    ///
    /// # Errors
    /// [`ClientMetadataUrlFlaw`].
    pub fn new(text: &str) -> Result<Self, ClientMetadataUrlFlaw> {
        let parts = https(text)?;
        if matches!(parts.path, "" | "/") {
            return Err(ClientMetadataUrlFlaw::NoPath);
        }
        if parts.path.split('/').any(is_dot_segment) {
            return Err(ClientMetadataUrlFlaw::DotSegment);
        }
        Ok(Self(text.into()))
    }

    /// Returns the exact text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if the URL has a query, which is allowed but rejected by some servers (REG-06).
    pub fn has_query(&self) -> bool {
        self.0.contains('?')
    }
}

impl fmt::Debug for ClientMetadataUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for ClientMetadataUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks a URL that may be published (SEC-24).
pub(crate) fn check_link(text: &str) -> Result<(), ClientMetadataUrlFlaw> {
    https(text).map(|_| ())
}

struct HttpsUrl<'a> {
    /// The path as written, before the parser removes dot segments.
    path: &'a str,
}

fn https(text: &str) -> Result<HttpsUrl<'_>, ClientMetadataUrlFlaw> {
    if text.len() > MAX_URL_BYTES {
        return Err(ClientMetadataUrlFlaw::TooLong);
    }
    // The parser accepts `https:host` and `https:///host`, but servers read the text itself.
    let (scheme, rest) = text
        .split_once("://")
        .ok_or(ClientMetadataUrlFlaw::NotAbsolute)?;
    if !scheme.eq_ignore_ascii_case("https") {
        return Err(ClientMetadataUrlFlaw::Scheme);
    }
    if !has_url_characters(text) {
        return Err(ClientMetadataUrlFlaw::Character);
    }
    if text.contains('#') {
        return Err(ClientMetadataUrlFlaw::Fragment);
    }
    let before_query = rest.split('?').next().unwrap_or_default();
    let authority = before_query.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err(ClientMetadataUrlFlaw::UserInfo);
    }
    let url = Url::parse(text).map_err(|_| ClientMetadataUrlFlaw::NotAbsolute)?;
    if authority.is_empty() || authority.contains('%') || url.port() == Some(0) {
        return Err(ClientMetadataUrlFlaw::NotAbsolute);
    }
    Ok(HttpsUrl {
        path: before_query.strip_prefix(authority).unwrap_or_default(),
    })
}

/// Returns true for `.` and `..`, also when percent-encoded.
fn is_dot_segment(segment: &str) -> bool {
    let plain = segment.replace("%2e", ".").replace("%2E", ".");
    matches!(plain.as_str(), "." | "..")
}
