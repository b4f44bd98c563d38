//! Client ID Metadata Documents, as an authorization server reads them (AS-05, AS-06).

use std::net::IpAddr;
use std::time::Duration;

use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, StatusCode};
use mcp_auth_machine::client_metadata::{ClientMetadataUrl, ClientMetadataUrlFlaw};
use mcp_auth_machine::wire::address::{AddressClass, classify_ip};
use serde_json::{Map, Value};

use super::consent::readable;
use super::jose::VerifyingKey;
use super::redirect::{MAX_REDIRECT_URI_BYTES, RedirectRules, RedirectUri, RedirectUriError};
use super::registration::MAX_REDIRECT_URIS;

/// Largest document, in bytes.
pub const MAX_CIMD_BYTES: usize = 5 * 1024;
/// The lifetime of a document without caching headers.
const DEFAULT_AGE: Duration = Duration::from_secs(300);
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// The reason why a client is rejected. Do not cache errors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CimdError {
    /// The client identifier is not the URL of a client metadata document.
    #[error("the client_id is not the URL of a client metadata document")]
    Url(ClientMetadataUrlFlaw),
    /// The status is not 200; redirects are not followed.
    #[error("the document was answered with status {0}")]
    Status(u16),
    /// The document is larger than [`MAX_CIMD_BYTES`].
    #[error("the document is larger than {MAX_CIMD_BYTES} bytes")]
    TooLarge,
    /// The document is not a JSON object.
    #[error("the document is not a JSON object")]
    NotAnObject,
    /// The `client_id` in the document differs from its URL.
    #[error("the client_id in the document is not its URL")]
    ClientId,
    /// The document contains a secret or names a method that needs one, although it is public.
    #[error("the document names a secret, or a method that needs one")]
    Secret,
    /// The document has no redirect URI, too many, or an invalid one.
    #[error("the redirect URIs of the document cannot be registered")]
    RedirectUri(Option<RedirectUriError>),
    /// The document names `private_key_jwt` without a usable key.
    #[error("the document names private_key_jwt and no usable key")]
    Keys,
}

/// A client that its metadata document describes.
#[derive(Clone, Debug)]
pub struct CimdClient {
    url: ClientMetadataUrl,
    name: Option<Box<str>>,
    redirect_uris: Vec<RedirectUri>,
    keys: Vec<VerifyingKey>,
    jwks_uri: Option<Box<str>>,
    fresh: Duration,
}

/// Returns the request for a document. Connect only to addresses that [`may_connect`] allows, resolve the
/// name once, and do not follow redirects.
///
/// # Errors
/// [`CimdError::Url`] for an invalid client identifier.
pub fn cimd_request(client_id: &str) -> Result<Request<Vec<u8>>, CimdError> {
    let url = ClientMetadataUrl::new(client_id).map_err(CimdError::Url)?;
    let mut request = Request::new(Vec::new());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = url.as_str().parse().map_err(|_| CimdError::NotAnObject)?;
    request
        .headers_mut()
        .insert(ACCEPT, http::HeaderValue::from_static("application/json"));
    Ok(request)
}

/// Returns true for a public address, the only kind that documents may be fetched from.
pub fn may_connect(address: IpAddr) -> bool {
    classify_ip(address) == AddressClass::Public
}

impl CimdClient {
    /// Parses the response to [`cimd_request`].
    ///
    /// # Errors
    /// [`CimdError`] with the first flaw.
    pub fn read(
        client_id: &str,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        rules: &RedirectRules,
    ) -> Result<Self, CimdError> {
        let url = ClientMetadataUrl::new(client_id).map_err(CimdError::Url)?;
        if status != StatusCode::OK {
            return Err(CimdError::Status(status.as_u16()));
        }
        if body.len() > MAX_CIMD_BYTES {
            return Err(CimdError::TooLarge);
        }
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let kind = kind
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default()
            .trim();
        if kind != "application/json" && !kind.ends_with("+json") {
            return Err(CimdError::NotAnObject);
        }
        let document: Map<String, Value> =
            serde_json::from_slice(body).map_err(|_| CimdError::NotAnObject)?;
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        if text("client_id") != Some(client_id) {
            return Err(CimdError::ClientId);
        }
        let secrets = ["client_secret", "client_secret_expires_at"];
        if secrets.iter().any(|name| document.contains_key(*name)) {
            return Err(CimdError::Secret);
        }
        let keys: Vec<VerifyingKey> = document
            .get("jwks")
            .and_then(|keys| keys.get("keys")?.as_array())
            .into_iter()
            .flatten()
            .filter_map(VerifyingKey::from_jwk)
            .collect();
        let jwks_uri = text("jwks_uri").filter(|uri| uri.starts_with("https://"));
        match document
            .get("token_endpoint_auth_method")
            .map(Value::as_str)
        {
            None | Some(Some("none")) => {}
            Some(Some("private_key_jwt")) if keys.is_empty() && jwks_uri.is_none() => {
                return Err(CimdError::Keys);
            }
            Some(Some("private_key_jwt")) => {}
            Some(Some(_) | None) => return Err(CimdError::Secret),
        }
        Ok(Self {
            name: text("client_name").map(|name| readable(name).chars().take(100).collect()),
            redirect_uris: redirect_uris(&document, rules)?,
            jwks_uri: jwks_uri
                .filter(|uri| uri.len() <= MAX_REDIRECT_URI_BYTES)
                .map(Into::into),
            fresh: fresh(headers),
            url,
            keys,
        })
    }

    /// Returns the client identifier.
    pub fn client_id(&self) -> &str {
        self.url.as_str()
    }

    /// Returns the host that publishes the document. Show it at consent, before the client's self-chosen
    /// name (AS-06).
    pub fn host(&self) -> &str {
        let rest = self
            .url
            .as_str()
            .strip_prefix("https://")
            .unwrap_or_default();
        rest.split(['/', ':', '?']).next().unwrap_or_default()
    }

    /// Returns the client's self-chosen name, without invisible characters.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns the redirect URIs.
    pub fn redirect_uris(&self) -> &[RedirectUri] {
        &self.redirect_uris
    }

    /// Returns true if all redirect URIs are on the user's device, where other programs can receive the
    /// callback and any program can claim this identity. Warn at consent (AS-06).
    pub fn is_local_only(&self) -> bool {
        self.redirect_uris.iter().all(RedirectUri::is_loopback)
    }

    /// Returns the client's keys, if it authenticates with one.
    pub fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }

    /// Returns the URL of the client's keys, if they are not in the document.
    pub fn jwks_uri(&self) -> Option<&str> {
        self.jwks_uri.as_deref()
    }

    /// Returns how long the document may be used before it is fetched again.
    pub fn fresh(&self) -> Duration {
        self.fresh
    }
}

fn redirect_uris(
    document: &Map<String, Value>,
    rules: &RedirectRules,
) -> Result<Vec<RedirectUri>, CimdError> {
    let items = document.get("redirect_uris").and_then(Value::as_array);
    let items = items.ok_or(CimdError::RedirectUri(None))?;
    if items.is_empty() || items.len() > MAX_REDIRECT_URIS {
        return Err(CimdError::RedirectUri(None));
    }
    let read = |item: &Value| {
        let text = item.as_str().ok_or(CimdError::RedirectUri(None))?;
        let uri = rules.parse(text);
        uri.map_err(|error| CimdError::RedirectUri(Some(error)))
    };
    items.iter().map(read).collect()
}

fn fresh(headers: &HeaderMap) -> Duration {
    let fields = headers.get_all(CACHE_CONTROL).iter();
    let mut directives = fields
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.split(','))
        .map(|directive| directive.trim().to_ascii_lowercase());
    let mut age = DEFAULT_AGE;
    let stopped = directives.any(|directive| {
        let seconds = directive
            .strip_prefix("max-age=")
            .and_then(|text| text.parse().ok());
        if let Some(seconds) = seconds {
            age = Duration::from_secs(seconds);
        }
        directive == "no-store" || directive == "no-cache"
    });
    if stopped {
        Duration::ZERO
    } else {
        age.min(MAX_AGE)
    }
}
