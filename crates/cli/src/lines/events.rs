//! Event lines: events, and results of actions.

mod shape;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use mcp_auth_machine::Event;
use mcp_auth_machine::action::SubjectTokenKind;
use mcp_auth_machine::config::RedirectUri;
use mcp_auth_machine::event::{Abandon, Authorization, Challenge, Observed, Operation};
use mcp_auth_machine::slot::{SlotContents, Stored};
use mcp_auth_machine::wire::callback::{BrowserBinding, Callback};
use mcp_auth_machine::wire::pkce::Seed;
use mcp_auth_machine::wire::scopes::Scopes;
use serde_json::Value;

pub(super) use self::shape::Undelivered;
use self::shape::{
    Abandoned, Asked, AssertionObtained, Authorize, CallbackParams, Challenged, How, HttpFailed,
    HttpResponse, Named, Nothing, Outcome, Pairs, Present, SeenElsewhere, Signed, SlotLoaded,
    SlotPersisted, TokenKind,
};
use super::{Members, Misunderstood, decoded, read};

/// The content of an event line.
pub(super) enum Happening {
    Event(Event),
    /// The result of the action with this number.
    Answer(u64, Answer),
    /// A request that needs the token's headers.
    Present(Method, String),
}

pub(super) enum Answer {
    Response(Response<Bytes>, Option<String>),
    Undelivered(Undelivered),
    Loaded(Option<Stored>),
    LoadFailed,
    Persisted(Persisted),
    Signed(Option<Vec<u8>>),
    Obtained(Option<(String, Option<SubjectTokenKind>)>),
}

pub(super) enum Persisted {
    Done,
    Failed,
    Conflict(Option<Stored>),
}

/// Parses an event line without its name and time.
pub(super) fn happening(event: &str, members: Members) -> Result<Happening, Misunderstood> {
    let event = match event {
        "authorize" => Event::Authorize(authorize(read(members)?)?),
        "challenged" => Event::Challenged(challenged(read(members)?)?),
        "accepted" => {
            let Named { operation } = read(members)?;
            Event::Accepted(Operation::new(&operation))
        }
        "wanted" => {
            let Named { operation } = read(members)?;
            Event::Wanted(Operation::new(&operation))
        }
        "observed" => {
            let SeenElsewhere { url, headers } = read(members)?;
            Event::Observed(Observed::new(&url, &header_map(headers)))
        }
        "callback_params" => Event::CallbackParams(callback(read(members)?)?),
        "timer" => {
            let Nothing {} = read(members)?;
            Event::Timer
        }
        "abandoned" => {
            let Abandoned { how } = read(members)?;
            Event::Abandoned(match how {
                None | Some(How::Cancelled) => Abandon::Cancelled,
                Some(How::ResetRegistration) => Abandon::ResetRegistration,
            })
        }
        "signed_out" => {
            let Nothing {} = read(members)?;
            Event::SignedOut
        }
        "present" => {
            let Present { method, url } = read(members)?;
            let method = method
                .parse()
                .map_err(|_| Misunderstood::new("`method` is not an HTTP method"))?;
            return Ok(Happening::Present(method, url));
        }
        answer => return self::answer(answer, members),
    };
    Ok(Happening::Event(event))
}

fn answer(event: &str, members: Members) -> Result<Happening, Misunderstood> {
    let (id, answer) = match event {
        "http_response" => response(read(members)?)?,
        "http_failed" => {
            let HttpFailed { id, failure } = read(members)?;
            (id, Answer::Undelivered(failure))
        }
        "slot_loaded" => {
            let given: SlotLoaded = read(members)?;
            (
                given.id,
                Answer::Loaded(stored(given.contents, given.revision)?),
            )
        }
        "slot_load_failed" => {
            let Asked { id } = read(members)?;
            (id, Answer::LoadFailed)
        }
        "slot_persisted" => {
            let given: SlotPersisted = read(members)?;
            let current = stored(given.contents, given.revision)?;
            let outcome = match (given.outcome, current) {
                (Outcome::Done, None) => Persisted::Done,
                (Outcome::Failed, None) => Persisted::Failed,
                (Outcome::Conflict, current) => Persisted::Conflict(current),
                (Outcome::Done | Outcome::Failed, Some(_)) => {
                    return Err(Misunderstood::new("`contents` come with a conflict alone"));
                }
            };
            (given.id, Answer::Persisted(outcome))
        }
        "signed" => {
            let Signed { id, signature } = read(members)?;
            let decode = |text: String| {
                URL_SAFE_NO_PAD.decode(text).map_err(|_| {
                    Misunderstood::new("`signature` must be base64url without padding")
                })
            };
            (id, Answer::Signed(signature.map(decode).transpose()?))
        }
        "assertion_obtained" => {
            let given: AssertionObtained = read(members)?;
            let kind = given.kind.map(|kind| match kind {
                TokenKind::IdToken => SubjectTokenKind::IdToken,
                TokenKind::Saml2 => SubjectTokenKind::Saml2,
                TokenKind::RefreshToken => SubjectTokenKind::RefreshToken,
            });
            (
                given.id,
                Answer::Obtained(given.assertion.map(|text| (text, kind))),
            )
        }
        unknown => {
            return Err(Misunderstood::new(format!("`{unknown}` is not an event")));
        }
    };
    Ok(Happening::Answer(id, answer))
}

fn authorize(given: Authorize) -> Result<Authorization, Misunderstood> {
    let seed = Seed::try_from(decoded(&given.seed).unwrap_or_default().as_slice());
    let seed = seed.map_err(|flaw| Misunderstood::new(format!("`seed`: {flaw}, in base64url")))?;
    let mut authorization = Authorization::new(seed);
    if let Some(uri) = given.redirect_uri {
        let uri = RedirectUri::new(uri)
            .map_err(|flaw| Misunderstood::new(format!("`redirect_uri`: {flaw}")))?;
        authorization = authorization.redirect_uri(uri);
    }
    if let Some(browser) = given.browser {
        authorization = authorization.browser(BrowserBinding::new(browser.as_bytes()));
    }
    if let Some(scopes) = given.scopes {
        let scopes = Scopes::new(&scopes.join(" "))
            .map_err(|flaw| Misunderstood::new(format!("`scopes`: {flaw}")))?;
        authorization = authorization.scopes(scopes);
    }
    if given.on_other_device {
        authorization = authorization.on_other_device();
    }
    Ok(authorization)
}

fn challenged(given: Challenged) -> Result<Challenge, Misunderstood> {
    let headers = header_map(given.headers);
    let mut challenge = Challenge::new(given.operation.as_str(), given.status, headers);
    if let Some(sent) = given.sent {
        challenge = challenge.sent(&sent);
    }
    Ok(challenge)
}

fn response(given: HttpResponse) -> Result<(u64, Answer), Misunderstood> {
    let body = match (given.body, given.body_base64) {
        (None, None) => Vec::new(),
        (Some(text), None) => text.into_bytes(),
        (None, Some(text)) => STANDARD
            .decode(text)
            .map_err(|_| Misunderstood::new("`body_base64` must be base64"))?,
        (Some(_), Some(_)) => {
            return Err(Misunderstood::new("`body` or `body_base64`, not both"));
        }
    };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = given
        .status
        .try_into()
        .map_err(|_| Misunderstood::new("`status` is not an HTTP status"))?;
    *response.headers_mut() = header_map(given.headers);
    Ok((given.id, Answer::Response(response, given.final_url)))
}

fn callback(given: CallbackParams) -> Result<Callback, Misunderstood> {
    let callback = match (given.url, given.query, given.form) {
        (Some(url), None, None) => Callback::from_url(url),
        (None, Some(query), None) => Callback::from_query(query),
        (None, None, Some(form)) => Callback::from_form(form.as_bytes()),
        (_, _, _) => {
            return Err(Misunderstood::new("one of `url`, `query`, `form`"));
        }
    };
    Ok(match given.browser {
        Some(browser) => callback.in_browser(BrowserBinding::new(browser.as_bytes())),
        None => callback,
    })
}

fn stored(
    contents: Option<String>,
    revision: Option<String>,
) -> Result<Option<Stored>, Misunderstood> {
    match (contents, revision) {
        (None, None) => Ok(None),
        (Some(contents), Some(revision)) => Ok(Some(Stored {
            contents: SlotContents::new(contents),
            revision: revision
                .parse()
                .map_err(|_| Misunderstood::new("`revision` is none that the machine wrote"))?,
        })),
        (_, _) => Err(Misunderstood::new(
            "`contents` and `revision` belong together",
        )),
    }
}

/// Returns the headers of a server's response. A name or a value that HTTP does not allow is ignored: the host passes on
/// the bytes of a server (SEC-17).
fn header_map(pairs: Pairs) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::try_from(name.as_str());
        let value = HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            // A map that is full ignores the rest.
            let _appended = headers.try_append(name, value);
        }
    }
    headers
}

/// Takes the time and the name of an event line from its members.
pub(super) fn head(members: &mut Members) -> Result<(Times, String), Misunderstood> {
    let times = times(members)?;
    if times.now.is_none() {
        return Err(Misunderstood::new("an event needs `now`"));
    }
    match members.remove("event") {
        Some(Value::String(event)) => Ok((times, event)),
        Some(_) | None => Err(Misunderstood::new("`event` must be a text")),
    }
}

/// The values of the clocks, in milliseconds.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) now: Option<u64>,
    pub(super) mono: Option<u64>,
}

pub(super) fn times(members: &mut Members) -> Result<Times, Misunderstood> {
    let mut millis = |name: &str| match members.remove(name) {
        None => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| {
            Misunderstood::new(format!("`{name}` must be a number of milliseconds"))
        }),
    };
    Ok(Times {
        now: millis("now")?,
        mono: millis("mono")?,
    })
}
