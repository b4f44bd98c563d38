//! The device authorization grant (RFC 8628): codes for a user in a browser of another device.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{RawQuery, State as Extract};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use serde_json::json;

use super::authorization::{FULL, Issued, Refusal, Shared, TokenInfo, random};
use super::client::client;
use super::endpoints::{form, refused_to, requested};
use super::lock;

/// The grant type.
pub(super) const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// The lifetime of both codes.
const LIFETIME: Duration = Duration::from_secs(600);
/// The time between two polls.
const INTERVAL: Duration = Duration::from_secs(1);
/// The largest number of codes.
const MAX_CODES: usize = 10_000;
/// The letters of user codes: consonants without look-alikes (RFC 8628 section 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Pending,
    Approved,
    Declined,
}

#[derive(Debug)]
struct Device {
    user_code: String,
    info: TokenInfo,
    issued: Instant,
    polled: Option<Instant>,
    answer: Answer,
}

/// The codes that are out.
#[derive(Debug, Default)]
pub(super) struct Devices(HashMap<String, Device>);

impl Devices {
    /// Issues a device code and a user code.
    fn issue(&mut self, info: TokenInfo) -> Result<(String, String), Refusal> {
        self.0
            .retain(|_, device| device.issued.elapsed() < LIFETIME);
        if self.0.len() >= MAX_CODES {
            return Err(FULL);
        }
        let (device_code, seed) = (random()?, random()?);
        let letters = LETTERS.iter().cycle();
        let letter = |byte: u8| {
            let letter = letters.clone().nth(usize::from(byte));
            char::from(*letter.unwrap_or(&b'B'))
        };
        let mut user_code: String = seed.bytes().take(8).map(letter).collect();
        user_code.insert(4, '-');
        let device = Device {
            user_code: user_code.clone(),
            info,
            issued: Instant::now(),
            polled: None,
            answer: Answer::Pending,
        };
        self.0.insert(device_code.clone(), device);
        Ok((device_code, user_code))
    }

    /// Records the user's answer.
    fn answer(&mut self, user_code: &str, answer: Answer) -> bool {
        let wanted = user_code.trim();
        let open = |device: &&mut Device| {
            device.user_code.eq_ignore_ascii_case(wanted)
                && device.answer == Answer::Pending
                && device.issued.elapsed() < LIFETIME
        };
        match self.0.values_mut().find(open) {
            Some(device) => {
                device.answer = answer;
                true
            }
            None => false,
        }
    }

    /// Returns the grant of an approved code, once (RFC 8628 section 3.5).
    pub(super) fn redeem(
        &mut self,
        code: &str,
        client_id: &str,
        resource: Option<&str>,
    ) -> Result<TokenInfo, Refusal> {
        let known = self.0.get_mut(code);
        let Some(device) = known.filter(|device| device.info.client_id == client_id) else {
            return Err(("invalid_grant", "unknown device code"));
        };
        if device.issued.elapsed() >= LIFETIME {
            self.0.remove(code);
            return Err(("expired_token", "the device code has expired"));
        }
        let hasty = device.polled.replace(Instant::now()).is_some_and(|last| {
            last.elapsed().saturating_add(Duration::from_millis(50)) < INTERVAL
        });
        if hasty {
            return Err(("slow_down", "polled before the interval had passed"));
        }
        match device.answer {
            Answer::Pending => Err(("authorization_pending", "the user has not decided")),
            Answer::Declined => {
                self.0.remove(code);
                Err(("access_denied", "the user said no"))
            }
            Answer::Approved if resource != Some(device.info.resource.as_str()) => {
                Err(("invalid_target", "resource differs or is missing"))
            }
            Answer::Approved => match self.0.remove(code) {
                Some(device) => Ok(device.info),
                None => Err(("invalid_grant", "unknown device code")),
            },
        }
    }
}

/// The device authorization endpoint (RFC 8628 section 3.1).
pub(super) async fn authorize(
    Extract(shared): Extract<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match codes(&shared, &headers, &body) {
        Ok((device_code, user_code)) => {
            let issuer = shared.server.issuer();
            let page = format!("{issuer}/device");
            let answer = json!({
                "device_code": device_code,
                "user_code": user_code,
                "verification_uri": page,
                "verification_uri_complete": format!("{page}?user_code={user_code}"),
                "expires_in": LIFETIME.as_secs(),
                "interval": INTERVAL.as_secs(),
            });
            ([(CACHE_CONTROL, "no-store")], Json(answer)).into_response()
        }
        Err(refusal) => refused_to(&headers, refusal),
    }
}

fn codes(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> Result<(String, String), Refusal> {
    let asked = form(headers, body)?;
    let client_id = client(shared, headers, body, &asked, shared.server.issuer())?;
    let (scopes, resource) = requested(&asked)?;
    let mut state = lock(&shared.state);
    if !state.allows(&client_id, DEVICE_CODE) {
        return Err((
            "unauthorized_client",
            "the client did not register the grant",
        ));
    }
    if !state.resources.contains(&resource) {
        return Err(("invalid_target", "the resource is unknown"));
    }
    let info = TokenInfo {
        client_id,
        scopes,
        resource,
        key: None,
    };
    state.devices.issue(info)
}

/// The page for the user's code, which the complete URL has already.
pub(super) async fn page(RawQuery(query): RawQuery) -> Html<String> {
    let is_of_a_code = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    let query = query.unwrap_or_default();
    let code = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("user_code="));
    let code: String = code
        .unwrap_or_default()
        .chars()
        .filter(is_of_a_code)
        .collect();
    Html(format!(
        "<!doctype html><html lang=\"en\"><title>Enter a code</title><form method=\"post\"><label>Code \
         <input name=\"user_code\" value=\"{code}\" required></label> <button name=\"answer\" value=\"approve\">Approve\
         </button> <button name=\"answer\" value=\"decline\">Decline</button></form></html>",
    ))
}

/// The user's answer, which the demo does not authenticate.
pub(super) async fn answer(
    Extract(shared): Extract<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let answered = form(&headers, &body).and_then(|asked| {
        let code = asked.need("user_code", "user_code is missing")?;
        let declines = asked.get("answer")? == Some("decline");
        let answer = match declines || std::mem::take(&mut lock(&shared.state).declines) {
            true => Answer::Declined,
            false => Answer::Approved,
        };
        Ok(lock(&shared.state).devices.answer(code, answer))
    });
    match answered {
        Ok(true) => Html("<!doctype html><title>Done</title><p>You may return to your device.")
            .into_response(),
        Ok(false) => (StatusCode::NOT_FOUND, "No such code waits.\n").into_response(),
        Err(refusal) => refused_to(&headers, refusal),
    }
}

/// Redeems a device code at the token endpoint.
pub(super) fn redeem(
    shared: &Shared,
    code: &str,
    client_id: &str,
    resource: Option<&str>,
    key: Option<&str>,
) -> Result<Issued, Refusal> {
    let mut state = lock(&shared.state);
    let info = state.devices.redeem(code, client_id, resource)?;
    let info = TokenInfo {
        key: key.map(str::to_owned),
        ..info
    };
    state.serve(&info)
}
