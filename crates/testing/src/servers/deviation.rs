//! The changes that each deviation makes to a request and to its response.

// A deviation that a function does not know changes nothing, and then the test that each one is seen fails.
#![allow(clippy::wildcard_enum_match_arm)]

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use url::{Url, form_urlencoded};

use super::deviations::Deviation;
use super::program::Place;
use super::responses::{
    again, away, callback, challenge, described, error, form, header, member, members, nested,
    page, plain,
};

/// Where deviating servers point to: an origin that is neither of the servers.
const ELSEWHERE: &str = "https://elsewhere.example";

/// The request that a response belongs to.
pub(super) struct Seen {
    pub(super) place: Place,
    /// The query of a `GET`, and the body of a `POST`.
    pub(super) sent: String,
    path: String,
    /// The value of `Authorization`.
    pub(super) authorization: Option<String>,
}

impl Seen {
    /// Reads a request.
    pub(super) fn of(place: Place, parts: &Parts, body: &[u8]) -> Self {
        let sent = match parts.uri.query() {
            Some(query) => query.to_owned(),
            None => String::from_utf8_lossy(body).into_owned(),
        };
        let value = parts.headers.get(AUTHORIZATION);
        let value = value.and_then(|value| value.to_str().ok());
        Self {
            place,
            sent,
            path: parts.uri.path().to_owned(),
            authorization: value.map(str::to_owned),
        }
    }

    /// Returns a parameter of the query or form.
    fn get(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.sent.as_bytes());
        let found = pairs.find(|(known, _)| known == name);
        found.map(|(_, value)| value.into_owned())
    }

    fn has_token(&self) -> bool {
        self.authorization.is_some()
    }

    fn is_refresh(&self) -> bool {
        self.get("grant_type").as_deref() == Some("refresh_token")
    }

    /// Returns the decoded credentials of Basic.
    fn basic(&self) -> Option<String> {
        let encoded = self.authorization.as_ref()?.strip_prefix("Basic ")?;
        String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
    }
}

impl Deviation {
    /// Changes a request to what the well-behaved server behind it takes. `resource`: the MCP server's identifier.
    pub(super) fn before(self, (place, resource): (Place, &str), text: &str) -> Option<String> {
        let change: fn(&str, &str) -> Option<String> = match (self, place) {
            (Self::ResourceIsOrigin, Place::Authorization | Place::Token | Place::Device) => {
                |name, value| match Url::parse(value) {
                    Ok(url) if name == "resource" && url.path() == "/" => url
                        .join("/mcp")
                        .map_or_else(|_| Some(value.to_owned()), |url| Some(url.into())),
                    Ok(_) | Err(_) => Some(value.to_owned()),
                }
            }
            (Self::RegistrationWithSecret, Place::Token | Place::Revocation) => {
                |name, value| (name != "client_secret").then(|| value.to_owned())
            }
            (Self::RefusesResource, Place::Authorization | Place::Token | Place::Device) => {
                let sent = form_urlencoded::parse(text.as_bytes());
                let missing = !sent.into_iter().any(|(name, _)| name == "resource");
                return missing.then(|| {
                    let mut pairs = form_urlencoded::Serializer::new(text.to_owned());
                    pairs.append_pair("resource", resource).finish()
                });
            }
            (_, _) => return None,
        };
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if let Some(value) = change(&name, &value) {
                pairs.append_pair(&name, &value);
            }
        }
        Some(pairs.finish())
    }

    /// Changes the response to a request at the place of this deviation.
    pub(super) async fn after(self, seen: &Seen, response: Response) -> Response {
        if seen.place != self.place() {
            return response;
        }
        match self.place() {
            Place::Mcp => self.at_mcp(seen, response),
            Place::ResourceMetadata => self.in_resource_metadata(response).await,
            Place::ServerMetadata => self.in_metadata(seen, response).await,
            Place::Registration => self.at_registration(seen, response).await,
            Place::Authorization => self.at_authorization(seen, response),
            Place::Token => self.at_token(seen, response).await,
            Place::Revocation => error(400, "invalid_request"),
            Place::Device => {
                let page = json!(format!("{ELSEWHERE}/device"));
                let response = member(response, "verification_uri_complete", Value::Null).await;
                member(response, "verification_uri", page).await
            }
            Place::Elsewhere => response,
        }
    }

    fn at_mcp(self, seen: &Seen, mut response: Response) -> Response {
        let missing = r#"Bearer error="insufficient_scope", scope="mcp:tools more""#;
        match self {
            Self::NoChallenge => {
                response.headers_mut().remove(WWW_AUTHENTICATE);
                response
            }
            Self::RepeatedResourceMetadata
            | Self::UnquotedChallenge
            | Self::SingleQuotedChallenge
            | Self::RelativeResourceMetadata
            | Self::ForwardedHost => self.in_challenge(response),
            Self::RedirectsMcp => away(&format!("{ELSEWHERE}/mcp")),
            _ if !seen.has_token() => response,
            Self::RefusesEveryToken => challenge(401, r#"Bearer error="invalid_token""#),
            Self::WantsMoreScopes => challenge(403, missing),
            Self::MissingScopeIs401 => challenge(401, missing),
            Self::Forbids => plain(StatusCode::FORBIDDEN, ""),
            Self::FailsOnToken => plain(StatusCode::INTERNAL_SERVER_ERROR, ""),
            _ => response,
        }
    }

    /// Deviations in the text of the challenge.
    fn in_challenge(self, response: Response) -> Response {
        let sent = response.headers().get(WWW_AUTHENTICATE);
        let Some(sent) = sent.and_then(|value| value.to_str().ok()) else {
            return response;
        };
        let url = sent
            .split_once("resource_metadata=\"")
            .and_then(|(_, rest)| {
                let (url, _) = rest.split_once('"')?;
                Url::parse(url).ok()
            });
        let Some(url) = url else {
            return response;
        };
        let named = format!("resource_metadata=\"{url}\"");
        let changed = match self {
            Self::RepeatedResourceMetadata => {
                let missing = format!("resource_metadata=\"{url}/missing\"");
                sent.replace(&named, &format!("{missing}, {named}"))
            }
            Self::UnquotedChallenge => sent.replace('"', ""),
            Self::SingleQuotedChallenge => sent.replace('"', "'"),
            Self::RelativeResourceMetadata => {
                sent.replace(&named, &format!("resource_metadata=\"{}\"", url.path()))
            }
            Self::ForwardedHost => {
                let foreign = format!("resource_metadata=\"{ELSEWHERE}{}\"", url.path());
                sent.replace(&named, &foreign)
            }
            _ => return response,
        };
        header(response, WWW_AUTHENTICATE, &changed)
    }

    async fn in_resource_metadata(self, response: Response) -> Response {
        let (name, value) = match self {
            Self::NoResourceMetadata => return plain(StatusCode::NOT_FOUND, ""),
            Self::ResourceMetadataIsPage => return page(StatusCode::OK),
            Self::ForeignResource => ("resource", json!(format!("{ELSEWHERE}/mcp"))),
            Self::NoAuthorizationServers => ("authorization_servers", Value::Null),
            _ => return self.in_lists(response).await,
        };
        member(response, name, value).await
    }

    /// Deviations that depend on what the resource metadata says.
    async fn in_lists(self, response: Response) -> Response {
        let (parts, mut document) = members(response).await;
        let text = |document: &Map<String, Value>, pointer: &str| {
            let whole = Value::Object(document.clone());
            let found = whole.pointer(pointer).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        let issuer = text(&document, "/authorization_servers/0");
        let resource = text(&document, "/resource");
        let servers = match self {
            Self::AnotherServerFirst => json!([ELSEWHERE, issuer]),
            Self::IssuerSlash => json!([format!("{issuer}/")]),
            Self::IssuerIsMcpUrl => json!([resource]),
            _ => json!([issuer]),
        };
        document.insert("authorization_servers".to_owned(), servers);
        if let (Self::ResourceIsOrigin, Some(origin)) = (self, resource.strip_suffix("/mcp")) {
            document.insert("resource".to_owned(), json!(origin));
        }
        Response::from_parts(parts, Body::from(Value::Object(document).to_string()))
    }

    async fn in_metadata(self, seen: &Seen, response: Response) -> Response {
        let elsewhere = |path: &str| json!(format!("{ELSEWHERE}/{path}"));
        let (name, value) = match self {
            Self::NoMetadata => return plain(StatusCode::NOT_FOUND, ""),
            Self::OpenIdMetadataOnly if !seen.path.ends_with("openid-configuration") => {
                return plain(StatusCode::NOT_FOUND, "");
            }
            Self::MetadataIsPage => return page(StatusCode::OK),
            Self::MetadataRedirects => return away(&format!("{ELSEWHERE}/metadata")),
            Self::ForeignIssuer => ("issuer", json!(ELSEWHERE)),
            Self::NoPkce => ("code_challenge_methods_supported", Value::Null),
            Self::PlainPkce => ("code_challenge_methods_supported", json!(["plain"])),
            Self::NoRegistration => ("registration_endpoint", Value::Null),
            Self::NoDeviceEndpoint => ("device_authorization_endpoint", Value::Null),
            Self::InsecureEndpoint => ("token_endpoint", json!("http://token.internal/token")),
            Self::RelativeEndpoint => ("token_endpoint", json!("/token")),
            Self::TokenEndpointElsewhere => ("token_endpoint", elsewhere("token")),
            Self::AuthorizationEndpointElsewhere => {
                ("authorization_endpoint", elsewhere("authorize"))
            }
            Self::EndpointHasQuery => {
                let (parts, document) = members(response).await;
                let own = document.get("authorization_endpoint");
                let own = own.and_then(Value::as_str).unwrap_or_default();
                let endpoint = json!(format!("{own}?tenant=1"));
                let whole = Body::from(Value::Object(document).to_string());
                let response = Response::from_parts(parts, whole);
                return member(response, "authorization_endpoint", endpoint).await;
            }
            _ => return response,
        };
        member(response, name, value).await
    }

    async fn at_registration(self, seen: &Seen, response: Response) -> Response {
        match self {
            Self::RegistrationRefused => error(400, "invalid_redirect_uri"),
            Self::RegistrationClosed if !seen.has_token() => challenge(401, "Bearer"),
            Self::RegistrationRefusesScope if seen.sent.contains("\"scope\"") => {
                error(400, "invalid_client_metadata")
            }
            Self::RegistrationWithSecret => {
                let response = member(response, "client_secret", json!("a-secret")).await;
                let method = json!("client_secret_post");
                member(response, "token_endpoint_auth_method", method).await
            }
            Self::RegistrationWithoutId => member(response, "client_id", json!("")).await,
            _ => response,
        }
    }

    fn at_authorization(self, seen: &Seen, response: Response) -> Response {
        let is_offline = |scope: String| scope.split(' ').any(|word| word == "offline_access");
        let refuse = |response: Response, code| {
            let response = callback(response, "code", None);
            callback(response, "error", Some(code))
        };
        match self {
            Self::RefusesResource if seen.get("resource").is_some() => {
                refuse(response, "invalid_target")
            }
            Self::WantsAudience if seen.get("audience").is_none() => {
                refuse(response, "invalid_request")
            }
            Self::RefusesOfflineAccess if seen.get("scope").is_some_and(is_offline) => {
                refuse(response, "invalid_scope")
            }
            Self::ErrorPage => page(StatusCode::BAD_REQUEST),
            Self::NoIss => callback(response, "iss", None),
            Self::WrongIss => callback(response, "iss", Some(ELSEWHERE)),
            Self::SlashedIss => again(response, "iss", |iss| vec![format!("{iss}/")]),
            Self::TwoIss => again(response, "iss", |iss| {
                vec![iss.to_owned(), ELSEWHERE.to_owned()]
            }),
            Self::WrongState => callback(response, "state", Some("other")),
            Self::CodeAndError => callback(response, "error", Some("access_denied")),
            Self::Declines => refuse(response, "access_denied"),
            _ => response,
        }
    }

    async fn at_token(self, seen: &Seen, response: Response) -> Response {
        let (name, value) = match self {
            Self::ClientForgotten => return error(401, "invalid_client"),
            Self::UnauthorizedClient => return error(400, "unauthorized_client"),
            Self::ErrorsHaveStatus200 => return error(200, "invalid_client"),
            Self::TokenWantsAudience if seen.get("audience").is_none() => {
                return error(400, "invalid_request");
            }
            Self::BasicNeedsClientId
                if seen.basic().is_some() && seen.get("client_id").is_none() =>
            {
                return error(401, "invalid_client");
            }
            Self::AssertionNeedsClientId
                if seen.get("client_assertion").is_some() && seen.get("client_id").is_none() =>
            {
                return described(401, "invalid_client", "client_id is missing in the form");
            }
            Self::AssertionForTokenEndpoint
                if seen.get("client_assertion").is_some() && !response.status().is_success() =>
            {
                let words = "the audience of the client assertion is not the token endpoint";
                return described(401, "invalid_client", words);
            }
            Self::RawBasic if seen.basic().is_some_and(|sent| sent.contains(['+', '%'])) => {
                return error(401, "invalid_client");
            }
            Self::TokenIsForm => return form(response).await,
            Self::NestedToken => return nested(response).await,
            Self::NoTokenType => ("token_type", Value::Null),
            Self::ForeignTokenType => ("token_type", json!("mac")),
            Self::CommaScopes => ("scope", json!("mcp:tools,offline_access")),
            Self::LessScope => ("scope", json!("something:else")),
            Self::NoExpiry => ("expires_in", Value::Null),
            Self::ExpiresAtOnce => ("expires_in", json!(0)),
            Self::UnreadableExpiry => ("expires_in", json!("soon")),
            Self::NoRefreshToken => ("refresh_token", Value::Null),
            _ if seen.is_refresh() => return self.at_refresh(seen, response).await,
            _ => return response,
        };
        member(response, name, value).await
    }

    async fn at_refresh(self, seen: &Seen, response: Response) -> Response {
        match self {
            Self::RefreshRefused => error(400, "invalid_grant"),
            Self::RefreshNeedsUser => error(400, "interaction_required"),
            Self::RefreshErrorHasStatus200 => error(200, "bad_refresh_token"),
            Self::RefreshIsPage => page(StatusCode::BAD_REQUEST),
            Self::RefreshIsBusy => header(error(429, "slow_down"), RETRY_AFTER, "7"),
            Self::RefreshNeedsScope if seen.get("scope").is_none() => error(400, "invalid_scope"),
            Self::RefreshAddsScope => {
                member(response, "scope", json!("mcp:tools offline_access added")).await
            }
            _ => response,
        }
    }
}
