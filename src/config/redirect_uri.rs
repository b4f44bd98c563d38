//! Redirect URIs that a client may use (AUTHZ-06, AUTHZ-07).

use std::fmt;
use std::sync::Arc;

use url::Url;

use crate::wire::url::{has_user_information, is_loopback};

/// A redirect URI, kept as the exact text that is registered and sent (AUTHZ-05).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RedirectUri {
    text: Arc<str>,
    application_type: ApplicationType,
}

/// The `application_type` of a registration (REG-20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApplicationType {
    /// Desktop, mobile, command line, anything that receives callbacks on its own machine.
    Native,
    /// Served from a remote host.
    Web,
}

impl ApplicationType {
    /// The registered spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Web => "web",
        }
    }
}

/// Why a text is no redirect URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RedirectUriFlaw {
    /// Not an absolute URI.
    #[error("is not an absolute URI")]
    NotAbsolute,
    /// Holds a fragment or user information.
    #[error("has a fragment or a user name")]
    Part,
    /// Neither `https` nor `http` on a loopback host.
    #[error("must be https, or http on 127.0.0.1, [::1] or localhost")]
    Scheme,
    /// A scheme that is not a program's own, such as `https`, `file` or `javascript`.
    #[error("must have a scheme that a program registered for itself")]
    CustomScheme,
    /// A private-use scheme without a period, or with an authority (RFC 8252 section 7.1).
    #[error("a private-use scheme must look like com.example.app:/path")]
    PrivateUse,
}

/// Schemes that mean something to a browser or to the web.
const NOT_CUSTOM: &[&str] = &[
    "about",
    "blob",
    "chrome",
    "data",
    "file",
    "filesystem",
    "ftp",
    "http",
    "https",
    "intent",
    "javascript",
    "mailto",
    "sms",
    "tel",
    "urn",
    "vbscript",
    "view-source",
    "ws",
    "wss",
];

impl RedirectUri {
    /// An `https` URI, or an `http` URI on loopback.
    ///
    /// # Errors
    /// [`RedirectUriFlaw`].
    pub fn new(text: impl Into<String>) -> Result<Self, RedirectUriFlaw> {
        let text = text.into();
        let url = parse(&text)?;
        let application_type = match url.scheme() {
            "https" | "http" if is_loopback(&url) => ApplicationType::Native,
            "https" => ApplicationType::Web,
            _other => return Err(RedirectUriFlaw::Scheme),
        };
        Ok(Self {
            text: text.into(),
            application_type,
        })
    }

    /// A private-use scheme such as `com.example.app:/callback`, on the host's explicit wish (AUTHZ-07).
    ///
    /// # Errors
    /// [`RedirectUriFlaw`].
    pub fn private_use(text: impl Into<String>) -> Result<Self, RedirectUriFlaw> {
        let text = text.into();
        let url = parse(&text)?;
        if !url.scheme().contains('.') || url.has_authority() || !url.path().starts_with('/') {
            return Err(RedirectUriFlaw::PrivateUse);
        }
        Ok(Self {
            text: text.into(),
            application_type: ApplicationType::Native,
        })
    }

    /// A URI with the custom scheme that an installed program registered with the operating system, such
    /// as `cursor://anysphere.cursor-mcp/oauth/callback` or `vscode://publisher.extension/callback`, on the
    /// host's explicit wish (AUTHZ-07).
    ///
    /// **Any program on the same machine can register the same scheme and receive the callback in this
    /// one's place** (RFC 8252 sections 7.1 and 8.6). PKCE keeps it from redeeming the code, but not from
    /// ending the sign-in. RFC 8252 asks for a scheme of reverse-domain form, see
    /// [`RedirectUri::private_use`], and prefers a loopback listener. Use this only where an authorization
    /// server has exactly this URI registered.
    ///
    /// # Errors
    /// [`RedirectUriFlaw`]; also for schemes that browsers or the web themselves use.
    pub fn custom_scheme(text: impl Into<String>) -> Result<Self, RedirectUriFlaw> {
        let text = text.into();
        let url = parse(&text)?;
        if NOT_CUSTOM.contains(&url.scheme()) || text == format!("{}:", url.scheme()) {
            return Err(RedirectUriFlaw::CustomScheme);
        }
        Ok(Self {
            text: text.into(),
            application_type: ApplicationType::Native,
        })
    }

    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// The exact text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What kind of client uses it.
    pub fn application_type(&self) -> ApplicationType {
        self.application_type
    }
}

fn parse(text: &str) -> Result<Url, RedirectUriFlaw> {
    let clean = text.bytes().all(|b| b.is_ascii_graphic());
    let url = Url::parse(text).map_err(|_| RedirectUriFlaw::NotAbsolute)?;
    if !clean {
        return Err(RedirectUriFlaw::NotAbsolute);
    }
    if url.fragment().is_some() || has_user_information(&url) {
        return Err(RedirectUriFlaw::Part);
    }
    Ok(url)
}

impl fmt::Debug for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}
