//! Checked URLs without a text of their own: borrowed, and shared with a request.

use bytes::Bytes;
use http::Uri;

use super::text::cut;
use super::url::{WebUrl, cut_at_origin};

/// A [`WebUrl`] whose text is borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UrlText<'a>(pub(super) &'a str);

impl<'a> UrlText<'a> {
    /// Returns the URL of a text that is empty or passed a policy.
    pub(crate) fn of_checked(text: &'a str) -> Option<Self> {
        (!text.is_empty()).then_some(Self(text))
    }

    /// Returns the canonical text.
    pub(crate) fn as_str(self) -> &'a str {
        self.0
    }

    /// Returns scheme, host and port.
    pub(crate) fn origin(self) -> &'a str {
        cut_at_origin(self.0).0
    }

    /// Returns true if this is the URL's origin.
    pub(crate) fn is_on(self, origin: &str) -> bool {
        let rest = self.0.strip_prefix(origin).map(str::as_bytes);
        matches!(rest, Some([] | [b'/' | b'?', ..]))
    }

    /// Returns the query without the question mark.
    pub(crate) fn query(self) -> Option<&'a str> {
        cut(self.0, b'?').1
    }

    /// Returns the URL with a text of its own.
    pub(crate) fn to_web_url(self) -> WebUrl {
        WebUrl::of(self)
    }
}

/// A URL that passed a policy, without a copy where its text is the one that was checked.
pub(crate) enum CheckedUrl<'a> {
    AsSent(UrlText<'a>),
    Canonical(WebUrl),
}

impl CheckedUrl<'_> {
    pub(crate) fn borrowed(&self) -> UrlText<'_> {
        match self {
            Self::AsSent(text) => *text,
            Self::Canonical(url) => url.borrowed(),
        }
    }
}

/// The URL of a request, with the text that it shares.
#[derive(Clone, Debug)]
pub(crate) struct RequestUrl {
    pub(crate) uri: Uri,
    pub(crate) text: Bytes,
}

impl RequestUrl {
    /// The text is that of a URL that passed a policy.
    pub(crate) fn of(text: Bytes) -> Self {
        // A checked URL is a URI; a driver rejects the empty one.
        let uri = Uri::from_maybe_shared(text.clone()).unwrap_or_default();
        Self { uri, text }
    }
}
