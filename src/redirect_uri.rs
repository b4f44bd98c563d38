//! Redirect URIs (AUTHZ-06, AUTHZ-07).

use std::fmt;
use std::sync::Arc;

use url::Url;

use crate::wire::form::FormText;
use crate::wire::url::{has_user_information, is_loopback};

/// A redirect URI, kept as the exact text that is registered and sent (AUTHZ-05).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RedirectUri {
    text: FormText,
    application_type: ApplicationType,
}

/// The `application_type` of a client (OpenID Connect Dynamic Client Registration, REG-20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApplicationType {
    /// A desktop, mobile or command line application, which receives callbacks on the user's device.
    Native,
    /// An application on a remote host.
    Web,
}

impl ApplicationType {
    /// Returns the registered value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Web => "web",
        }
    }
}

/// The flaw in a redirect URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RedirectUriFlaw {
    /// It is not an absolute URI.
    #[error("is not an absolute URI")]
    NotAbsolute,
    /// It has a fragment or user information.
    #[error("has a fragment or a user name")]
    Part,
    /// It is not `https`, nor `http` on a loopback host.
    #[error("must be https, or http on 127.0.0.1, [::1] or localhost")]
    Scheme,
    /// Its scheme is not one of an application, but for example `https`, `file` or `javascript`.
    #[error("must have a scheme that a program registered for itself")]
    CustomScheme,
    /// Its private-use scheme has no period, or it has an authority (RFC 8252 section 7.1).
    #[error("a private-use scheme must look like com.example.app:/path")]
    PrivateUse,
}

/// Schemes with a meaning to browsers or on the web.
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
    /// Creates an `https` URI, or an `http` URI on loopback.
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
            text: FormText::new(text.into()),
            application_type,
        })
    }

    /// Creates a URI with a private-use scheme, such as `com.example.app:/callback` (AUTHZ-07).
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
            text: FormText::new(text.into()),
            application_type: ApplicationType::Native,
        })
    }

    /// Creates a URI with the custom scheme that an installed program registered with the operating system,
    /// such as `cursor://anysphere.cursor-mcp/oauth/callback` or `vscode://publisher.extension/callback`
    /// (AUTHZ-07).
    ///
    /// **Any program on the same device can register the same scheme and receive the callback instead**
    /// (RFC 8252 sections 7.1 and 8.6). PKCE keeps that program from redeeming the code, but not from
    /// ending the sign-in. RFC 8252 requires a scheme in reverse domain form, see
    /// [`RedirectUri::private_use`], and prefers a loopback listener. Use this only for an authorization
    /// server that has exactly this URI registered.
    ///
    /// # Errors
    /// [`RedirectUriFlaw`], also for schemes that browsers or the web use.
    pub fn custom_scheme(text: impl Into<String>) -> Result<Self, RedirectUriFlaw> {
        let text = text.into();
        let url = parse(&text)?;
        if NOT_CUSTOM.contains(&url.scheme()) || text == format!("{}:", url.scheme()) {
            return Err(RedirectUriFlaw::CustomScheme);
        }
        Ok(Self {
            text: FormText::new(text.into()),
            application_type: ApplicationType::Native,
        })
    }

    pub(crate) fn shared(&self) -> Arc<str> {
        self.text.shared()
    }

    /// Returns the text for requests.
    pub(crate) fn sent(&self) -> &FormText {
        &self.text
    }

    /// Returns the exact text.
    pub fn as_str(&self) -> &str {
        self.text.as_str()
    }

    /// Returns the application type that follows from the scheme.
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
