//! Issuer identifiers.

use std::fmt;
use std::sync::Arc;

use crate::wire::url::{UrlFlaw, UrlPolicy, split};
use crate::wire::url_text::UrlText;

/// An issuer identifier, kept as the exact text and compared byte by byte (META-09, META-11).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IssuerId(pub(super) Arc<str>);

impl IssuerId {
    /// Validates an issuer: an acceptable URL in canonical form, without a query. The text is kept
    /// unchanged (META-05, SEC-04).
    ///
    /// # Errors
    /// [`IssuerFlaw`].
    pub fn new(text: &str, policy: &UrlPolicy) -> Result<Self, IssuerFlaw> {
        if let Some(judged) = policy.check_plain(text) {
            return judged.map(|()| Self(text.into())).map_err(IssuerFlaw::Url);
        }
        let url = policy.check(text).map_err(IssuerFlaw::Url)?;
        if url.query().is_some() {
            return Err(IssuerFlaw::Query);
        }
        let canonical = url.as_str();
        if canonical == text || canonical.strip_suffix('/') == Some(text) {
            Ok(Self(text.into()))
        } else {
            Err(IssuerFlaw::NotCanonical)
        }
    }

    /// Returns true if [`new`](Self::new) accepts a text. Most issuers are judged without a copy.
    pub(crate) fn is_valid(text: &str, policy: &UrlPolicy) -> bool {
        match policy.check_plain(text) {
            Some(judged) => judged.is_ok(),
            None => Self::new(text, policy).is_ok(),
        }
    }

    /// Returns the exact text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if an endpoint is on the issuer's origin.
    pub(crate) fn is_at_origin_of(&self, endpoint: UrlText<'_>) -> bool {
        endpoint.is_on(self.origin())
    }

    /// Returns true if this is the issuer's origin.
    pub(crate) fn is_origin(&self, origin: &str) -> bool {
        self.origin() == origin
    }

    pub(crate) fn origin(&self) -> &str {
        split(&self.0).0
    }

    /// Compares after removing one final slash from each (QUIRK-01).
    pub(crate) fn same_but_slash(&self, other: &str) -> bool {
        let bare = |text: &str| -> usize { text.strip_suffix('/').unwrap_or(text).len() };
        self.0.get(..bare(&self.0)) == other.get(..bare(other))
    }
}

impl fmt::Debug for IssuerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for IssuerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The flaw in an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum IssuerFlaw {
    /// It is not an acceptable URL.
    #[error("{0}")]
    Url(UrlFlaw),
    /// It has a query.
    #[error("has a query")]
    Query,
    /// It is not in canonical form, for example with dot segments or an upper-case host.
    #[error("is not in canonical spelling")]
    NotCanonical,
}
