//! The change that the operator of a server makes: the document or response, its member, the value, and the standard.

use std::fmt;

use serde::Serialize;

/// The document or response that the operator changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    McpResponse,
    Challenge,
    ResourceMetadata,
    ServerMetadata,
    Registration,
    AuthorizationResponse,
    TokenResponse,
    DeviceResponse,
    Revocation,
    Network,
}

impl Place {
    const fn as_str(self) -> &'static str {
        match self {
            Self::McpResponse => "response of the MCP server",
            Self::Challenge => "WWW-Authenticate of the MCP server",
            Self::ResourceMetadata => "resource metadata",
            Self::ServerMetadata => "authorization server metadata",
            Self::Registration => "registration endpoint",
            Self::AuthorizationResponse => "authorization response",
            Self::TokenResponse => "token endpoint",
            Self::DeviceResponse => "device authorization response",
            Self::Revocation => "revocation endpoint",
            Self::Network => "network",
        }
    }
}

/// One change at a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Fix {
    #[serde(rename = "document")]
    pub(super) place: Place,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) member: Option<String>,
    pub(super) change: String,
    /// The section of the standard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<&'static str>,
}

impl Fix {
    /// Creates a fix for a document as a whole.
    pub(super) fn new(place: Place, change: impl Into<String>) -> Self {
        Self {
            place,
            member: None,
            change: change.into(),
            source: None,
        }
    }

    /// Creates a fix for one member of a document, or for one parameter of a response.
    pub(super) fn member(
        place: Place,
        member: impl Into<String>,
        change: impl Into<String>,
    ) -> Self {
        Self {
            member: Some(member.into()),
            ..Self::new(place, change)
        }
    }

    /// Adds the section of the standard.
    pub(super) const fn source(mut self, source: &'static str) -> Self {
        self.source = Some(source);
        self
    }
}

impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.place.as_str())?;
        if let Some(member) = &self.member {
            write!(f, ", `{member}`")?;
        }
        write!(f, ": {}", self.change)?;
        match self.source {
            Some(source) => write!(f, " ({source})"),
            None => Ok(()),
        }
    }
}
