//! The response of a device authorization endpoint (RFC 8628 section 3.2).

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{Text, object};
use super::text::Untrusted;
use super::token::{Lifetime, MAX_TOKEN_BYTES, lifetime};
use super::url::{UrlFlaw, UrlPolicy, WebUrl};
use crate::secret::Secret;

/// Longest code for a user, in characters.
pub const MAX_USER_CODE: usize = 64;

/// The time between two polls when the server names none (RFC 8628 section 3.5, DEV-08).
pub const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The code that the user enters at the verification page: printable ASCII of at most [`MAX_USER_CODE`]
/// characters.
#[derive(Clone, PartialEq, Eq)]
pub struct UserCode(Box<str>);

impl UserCode {
    fn new(text: &str) -> Option<Self> {
        let shown = !text.trim().is_empty() && text.len() <= MAX_USER_CODE;
        let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        (shown && plain).then(|| Self(text.into()))
    }

    /// Returns the code, as the server wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Shows no code: a reader of a log could enter it first.
impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserCode(…)")
    }
}

/// The flaw in a device authorization response (RFC 8628 section 3.2).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceFlaw {
    /// The status is neither success nor an OAuth error, or the body is not a JSON object.
    #[error("the status is {0}, and the body is neither a code nor an OAuth error")]
    Status(u16),
    /// A member is missing, of another type, or too long.
    #[error("{0} is missing, of another type, or too long")]
    Member(&'static str),
    /// A verification URL must not be opened.
    #[error("{member} {got:?} {flaw}")]
    Url {
        /// The member.
        member: &'static str,
        /// The value of the member.
        got: Untrusted,
        /// The flaw in the URL.
        flaw: UrlFlaw,
    },
}

/// A usable response.
#[derive(Debug)]
pub(crate) struct DeviceAnswer {
    pub(crate) device_code: Secret,
    pub(crate) user_code: UserCode,
    pub(crate) verification_uri: WebUrl,
    /// The page with the code in its URL; on the origin of `verification_uri`.
    pub(crate) complete: Option<WebUrl>,
    /// The lifetime of both codes.
    pub(crate) lifetime: Lifetime,
    /// The shortest time between two polls.
    pub(crate) interval: Duration,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DeviceDocument<'a> {
    #[serde(borrow)]
    device_code: Text<'a>,
    #[serde(borrow)]
    user_code: Text<'a>,
    #[serde(borrow)]
    verification_uri: Text<'a>,
    /// The spelling of drafts before RFC 8628, which some servers kept.
    #[serde(borrow)]
    verification_url: Text<'a>,
    #[serde(borrow)]
    verification_uri_complete: Text<'a>,
    #[serde(borrow)]
    expires_in: Option<&'a RawValue>,
    #[serde(borrow)]
    interval: Option<&'a RawValue>,
}

/// Parses a response without an OAuth error.
pub(crate) fn read(
    status: u16,
    body: &[u8],
    policy: &UrlPolicy,
) -> Result<DeviceAnswer, DeviceFlaw> {
    let document = object::<DeviceDocument<'_>>(body).map_err(|_| DeviceFlaw::Status(status))?;
    if !matches!(status, 200 | 201) {
        return Err(DeviceFlaw::Status(status));
    }
    let device_code = document
        .device_code
        .non_empty()
        .filter(|code| code.len() <= MAX_TOKEN_BYTES)
        .ok_or(DeviceFlaw::Member("device_code"))?;
    let user_code = document
        .user_code
        .non_empty()
        .and_then(UserCode::new)
        .ok_or(DeviceFlaw::Member("user_code"))?;
    let page = document.verification_uri.non_empty();
    let page = page
        .or(document.verification_url.non_empty())
        .ok_or(DeviceFlaw::Member("verification_uri"))?;
    let verification_uri = policy.check(page).map_err(|flaw| DeviceFlaw::Url {
        member: "verification_uri",
        got: Untrusted::new(page),
        flaw,
    })?;
    // Optional, so that one that is not usable is left out.
    let complete = document
        .verification_uri_complete
        .non_empty()
        .and_then(|url| policy.check(url).ok())
        .filter(|url| url.origin() == verification_uri.origin());
    let interval = match lifetime(document.interval) {
        Lifetime::Seconds(seconds) => Duration::from_secs(seconds),
        Lifetime::Unknown => POLL_INTERVAL,
    };
    Ok(DeviceAnswer {
        device_code: Secret::new(device_code),
        user_code,
        verification_uri,
        complete,
        lifetime: lifetime(document.expires_in),
        interval,
    })
}
