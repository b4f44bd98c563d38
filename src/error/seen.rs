//! A request before a failure: URL, status and content type of the response.

use std::fmt;

use serde::Serialize;

use crate::wire::text::Untrusted;

/// One request of the failed step, with its response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Seen {
    /// The URL of the request.
    pub url: Box<str>,
    /// The status of the response; `None` without a response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The `Content-Type` of the response, sanitised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<Untrusted>,
    /// The `Content-Encoding` of the response, sanitised: the server compressed it, although the request asked for
    /// `identity`, and the host did not decompress it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<Untrusted>,
    /// The reason for a missing status.
    #[serde(skip)]
    pub(crate) missing: &'static str,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status, &self.content_type) {
            (Some(status), Some(kind)) => {
                write!(f, "{} answered {status}, {:?}", self.url, kind)
            }
            (Some(status), None) => write!(f, "{} answered {status}", self.url),
            (None, _) => write!(f, "{} {}", self.url, self.missing),
        }?;
        match &self.content_encoding {
            Some(coding) => write!(
                f,
                ", compressed ({coding:?}) although `identity` was asked for"
            ),
            None => Ok(()),
        }
    }
}
