//! Responses, and changes of them.

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value, json};
use url::{Url, form_urlencoded};

pub(super) fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}

pub(super) fn page(status: StatusCode) -> Response {
    let page = plain(status, "<!doctype html><title>Welcome</title>");
    header(page, CONTENT_TYPE, "text/html")
}

pub(super) fn header(mut response: Response, name: HeaderName, text: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(text) {
        response.headers_mut().insert(name, value);
    }
    response
}

pub(super) fn challenge(status: u16, text: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or_default();
    header(plain(status, ""), WWW_AUTHENTICATE, text)
}

pub(super) fn away(url: &str) -> Response {
    header(plain(StatusCode::TEMPORARY_REDIRECT, ""), LOCATION, url)
}

pub(super) fn error(status: u16, code: &str) -> Response {
    refusal(status, &json!({ "error": code }))
}

/// An error with `error_description`.
pub(super) fn described(status: u16, code: &str, words: &str) -> Response {
    refusal(
        status,
        &json!({ "error": code, "error_description": words }),
    )
}

fn refusal(status: u16, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    header(response, CONTENT_TYPE, "application/json")
}

/// Returns the members of a JSON response, and what else it consists of.
pub(super) async fn members(
    response: Response,
) -> (axum::http::response::Parts, Map<String, Value>) {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    let body = axum::body::to_bytes(body, usize::MAX)
        .await
        .unwrap_or_default();
    (parts, serde_json::from_slice(&body).unwrap_or_default())
}

/// Replaces a member of a successful JSON response; `null` removes it.
pub(super) async fn member(response: Response, name: &str, value: Value) -> Response {
    if !response.status().is_success() {
        return response;
    }
    let (parts, mut members) = members(response).await;
    members.insert(name.to_owned(), value);
    members.retain(|_, value| !value.is_null());
    Response::from_parts(parts, Body::from(Value::Object(members).to_string()))
}

pub(super) async fn form(response: Response) -> Response {
    if !response.status().is_success() {
        return response;
    }
    let (parts, members) = members(response).await;
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in &members {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        form.append_pair(name, &text);
    }
    let response = Response::from_parts(parts, Body::from(form.finish()));
    header(response, CONTENT_TYPE, "application/x-www-form-urlencoded")
}

pub(super) async fn nested(response: Response) -> Response {
    if !response.status().is_success() {
        return response;
    }
    let (parts, members) = members(response).await;
    let whole = json!({ "ok": true, "authed_user": members });
    Response::from_parts(parts, Body::from(whole.to_string()))
}

/// Replaces or removes a parameter of the callback.
pub(super) fn callback(response: Response, name: &str, value: Option<&str>) -> Response {
    again(response, name, |_| {
        value.map(str::to_owned).into_iter().collect()
    })
}

/// Replaces a parameter of the callback by others of the same name.
pub(super) fn again(
    response: Response,
    name: &str,
    values: impl Fn(&str) -> Vec<String>,
) -> Response {
    let location = response.headers().get(LOCATION);
    let url = location.and_then(|value| value.to_str().ok());
    let Some(mut url) = url.and_then(|url| Url::parse(url).ok()) else {
        return response;
    };
    let mut before = String::new();
    let mut kept: Vec<(String, String)> = Vec::new();
    for (known, value) in url.query_pairs() {
        if known == name {
            before = value.into_owned();
        } else {
            kept.push((known.into_owned(), value.into_owned()));
        }
    }
    let mut pairs = url.query_pairs_mut();
    pairs.clear().extend_pairs(kept);
    for value in values(&before) {
        pairs.append_pair(name, &value);
    }
    drop(pairs);
    header(response, LOCATION, url.as_str())
}
