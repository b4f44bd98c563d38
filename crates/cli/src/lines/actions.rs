//! Action lines.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use mcp_auth_machine::Failure;
use mcp_auth_machine::action::{
    AssertionKind, Grant, LoadSlot, NeedUser, ObtainAssertion, PersistSlot, Redirect, SendRequest,
    ShowCode, UrlSource, Why,
};
use mcp_auth_machine::details::Details;
use mcp_auth_machine::error::{Next, Party};
use mcp_auth_machine::report::Decision;
use mcp_auth_machine::wire::address::AddressClass;
use mcp_auth_machine::wire::callback::IssBinding;
use mcp_auth_machine::wire::text::Untrusted;
use serde::Serialize;

use crate::remedy;

/// An output line. Its members are in the documented order.
#[derive(Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub(crate) enum Line {
    SendRequest(Box<Request>),
    Redirect(Box<Browse>),
    ShowCode(Box<Code>),
    LoadSlot {
        id: u64,
        slot: String,
    },
    PersistSlot(Box<Persist>),
    Sign {
        id: u64,
        algorithm: &'static str,
        key: String,
        input: String,
    },
    ObtainAssertion(Box<Obtain>),
    NeedUser(Box<Needed>),
    Ready(Box<Ready>),
    Present(Presented),
    Error(Box<Failed>),
    Report(Box<Decision>),
    Idle {
        deadline: Option<u64>,
    },
    ProtocolError {
        message: String,
    },
}

#[derive(Serialize)]
pub(crate) struct Request {
    id: u64,
    purpose: &'static str,
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    supplied_by: &'static str,
    addresses: Vec<&'static str>,
    body_limit: usize,
    time_limit: u64,
}

/// The classes that a connection may be allowed to; reserved ones never are.
const CLASSES: [(AddressClass, &str); 5] = [
    (AddressClass::Public, "public"),
    (AddressClass::Loopback, "loopback"),
    (AddressClass::Private, "private"),
    (AddressClass::LinkLocal, "link_local"),
    (AddressClass::CloudMetadata, "cloud_metadata"),
];

impl From<&SendRequest> for Request {
    fn from(send: &SendRequest) -> Self {
        let request = send.request();
        let (body, body_base64) = match std::str::from_utf8(request.body()) {
            Ok("") => (None, None),
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(STANDARD.encode(request.body()))),
        };
        let permitted = CLASSES
            .into_iter()
            .filter(|(class, _)| send.addresses().permits(*class));
        Self {
            id: send.id(),
            purpose: send.purpose().as_str(),
            method: request.method().to_string(),
            url: request.uri().to_string(),
            headers: pairs(request.headers()),
            body,
            body_base64,
            supplied_by: match send.supplied_by() {
                UrlSource::Host => "host",
                UrlSource::McpServer => "mcp_server",
                UrlSource::AuthorizationServer => "authorization_server",
            },
            addresses: permitted.map(|(_, name)| name).collect(),
            body_limit: send.body_limit(),
            time_limit: millis(send.time_limit()),
        }
    }
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
        .collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Serialize)]
pub(crate) struct Browse {
    url: String,
    issuer: String,
    scopes: Vec<String>,
    new_issuer: bool,
    mcp_host: String,
    client_id: String,
    expires: u64,
}

impl From<&Redirect> for Browse {
    fn from(redirect: &Redirect) -> Self {
        Self {
            url: redirect.url.as_str().to_owned(),
            issuer: redirect.issuer.to_string(),
            scopes: redirect.scopes.iter().map(str::to_owned).collect(),
            new_issuer: redirect.new_issuer,
            mcp_host: redirect.mcp_host.to_string(),
            client_id: redirect.client_id.to_string(),
            expires: redirect.expires.0,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Code {
    user_code: String,
    verification_uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    verification_uri_complete: Option<String>,
    issuer: String,
    scopes: Vec<String>,
    new_issuer: bool,
    mcp_host: String,
    client_id: String,
    expires: u64,
}

impl From<&ShowCode> for Code {
    fn from(shown: &ShowCode) -> Self {
        let complete = shown.verification_uri_complete.as_ref();
        Self {
            user_code: shown.user_code.as_str().to_owned(),
            verification_uri: shown.verification_uri.as_str().to_owned(),
            verification_uri_complete: complete.map(|url| url.as_str().to_owned()),
            issuer: shown.issuer.to_string(),
            scopes: shown.scopes.iter().map(str::to_owned).collect(),
            new_issuer: shown.new_issuer,
            mcp_host: shown.mcp_host.to_string(),
            client_id: shown.client_id.to_string(),
            expires: shown.expires.0,
        }
    }
}

impl From<&LoadSlot> for Line {
    fn from(load: &LoadSlot) -> Self {
        Self::LoadSlot {
            id: load.id(),
            slot: load.slot().to_string(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Persist {
    id: u64,
    slot: String,
    expected: Option<String>,
    revision: Option<String>,
    contents: Option<String>,
    expires: Option<u64>,
}

impl From<&PersistSlot> for Persist {
    fn from(persist: &PersistSlot) -> Self {
        let write = persist.write();
        Self {
            id: persist.id(),
            slot: persist.slot().to_string(),
            expected: persist.expected().map(|revision| revision.to_string()),
            revision: write.map(|stored| stored.revision.to_string()),
            contents: write.map(|stored| stored.contents.expose().to_owned()),
            expires: persist.expires().map(|time| time.0),
        }
    }
}

#[derive(Default, Serialize)]
pub(crate) struct Obtain {
    id: u64,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    audience: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    renew: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr_values: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<u64>,
}

impl From<&ObtainAssertion> for Obtain {
    fn from(obtain: &ObtainAssertion) -> Self {
        let id = obtain.id();
        match obtain.kind() {
            AssertionKind::Workload { audience } => Self {
                id,
                kind: "workload",
                audience: Some(audience.to_string()),
                ..Self::default()
            },
            AssertionKind::Subject {
                issuer,
                renew,
                wish,
            } => Self {
                id,
                kind: "subject",
                issuer: Some(issuer.to_string()),
                renew: Some(*renew),
                acr_values: wish.acr_values.as_ref().map(|v| v.as_plain().to_owned()),
                max_age: wish.max_age,
                ..Self::default()
            },
            _ => Self {
                id,
                kind: "unknown",
                ..Self::default()
            },
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Needed {
    why: &'static str,
    operation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl From<&NeedUser> for Needed {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most reasons have nothing but a name"
    )]
    fn from(need: &NeedUser) -> Self {
        let mut line = Self {
            why: need.why.as_str(),
            operation: need.operation.as_ref().map(|name| name.as_str().to_owned()),
            scopes: None,
            description: None,
            from: None,
            to: None,
            refused: None,
            next: None,
            cause: None,
            error: None,
        };
        match &need.why {
            Why::ScopeMissing {
                scopes,
                description,
            } => {
                line.scopes = Some(scopes.iter().map(str::to_owned).collect());
                line.description = description.as_ref().map(|text| text.as_plain().to_owned());
            }
            Why::ScopesRefused { scopes } => {
                line.scopes = Some(scopes.iter().map(str::to_owned).collect());
            }
            Why::MethodRefused { refused, next, .. } => {
                line.refused = Some(refused.as_str());
                line.next = Some(next.as_str());
            }
            Why::RenewalRefused { cause } => {
                let details = cause.details();
                let plain = |text: Untrusted| text.as_plain().to_owned();
                line.cause = Some(cause.code());
                line.error = details.error.map(plain);
                line.description = details.description.map(plain);
            }
            Why::ServerChanged { from, to } => {
                line.from = Some(from.to_string());
                line.to = Some(to.to_string());
            }
            _ => {}
        }
        line
    }
}

#[derive(Serialize)]
pub(crate) struct Ready {
    issuer: String,
    scopes: Vec<String>,
    expires: Option<u64>,
    iss_binding: IssBinding,
    scheme: &'static str,
    token: Option<String>,
}

impl Ready {
    /// `token`: `None` for a token that is bound to a key, which is only sent with a proof.
    pub(super) fn new(grant: &Grant, scheme: &'static str, token: Option<String>) -> Self {
        Self {
            issuer: grant.issuer.to_string(),
            scopes: grant.scopes.iter().map(str::to_owned).collect(),
            expires: grant.expires.map(|time| time.0),
            iss_binding: grant.iss_binding,
            scheme,
            token,
        }
    }
}

/// The headers of one request, or the reason why there are none.
#[derive(Default, Serialize)]
pub(crate) struct Presented {
    pub(super) authorization: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) proof: Option<Proof>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<&'static str>,
}

/// The `DPoP` header is the input, a period, and the signature in base64url without padding.
#[derive(Serialize)]
pub(crate) struct Proof {
    pub(super) algorithm: &'static str,
    pub(super) key: String,
    pub(super) input: String,
}

#[derive(Serialize)]
pub(crate) struct Failed {
    operation: Option<String>,
    stage: &'static str,
    issuer: Option<String>,
    cause: &'static str,
    next: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<u64>,
    message: String,
    #[serde(flatten)]
    details: Details,
    #[serde(skip)]
    party: Party,
    #[serde(skip)]
    option: Option<String>,
}

impl Failed {
    pub(crate) fn party(&self) -> Party {
        self.party
    }

    /// Returns the options of `login` that may help.
    pub(crate) fn option(&self) -> Option<&str> {
        self.option.as_deref()
    }
}

impl From<&Failure> for Failed {
    fn from(failure: &Failure) -> Self {
        let (next, retry_at) = match failure.next() {
            Next::AskUser => ("ask_user", None),
            Next::FixConfiguration => ("fix_configuration", None),
            Next::RetryLater(at) => ("retry_later", at.map(|at| at.0)),
            Next::DoNotTrust => ("do_not_trust", None),
        };
        Self {
            operation: failure
                .operation
                .as_ref()
                .map(|name| name.as_str().to_owned()),
            stage: failure.stage.as_str(),
            issuer: failure.issuer.as_ref().map(ToString::to_string),
            cause: failure.cause.code(),
            next,
            retry_at,
            message: failure.to_string(),
            details: failure.details(),
            party: failure.party(),
            option: remedy::option(failure),
        }
    }
}
