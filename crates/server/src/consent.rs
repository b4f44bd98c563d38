//! The consent page of a proxy: its form is sealed, and bound to the browser by a cookie (AS-16).

use std::fmt::Write;

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response};
use mcp_auth_machine::wire::url::is_loopback;
use url::Url;

use super::client_request::ClientRequest;
use super::response::escaped;

const COOKIE_NAME: &str = "__Host-consent";
/// Without `form-action`: Chromium holds every redirect that follows the form to it, so that neither the
/// upstream server nor the client could be reached.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'";

/// Returns this browser's cookie. A repeated one was also set by another host.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let fields = headers.get_all(COOKIE).iter();
    let mut found = fields
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, value)| value);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// Returns the host of a web address, the scheme of another URL, or the text itself.
fn place(text: &str) -> String {
    match Url::parse(text) {
        Ok(url) => match (url.scheme(), url.host_str()) {
            ("http" | "https", Some(host)) => host.to_owned(),
            (scheme, _) => format!("{scheme}:"),
        },
        Err(_) => text.to_owned(),
    }
}

/// Removes invisible characters and those that change the direction of text: with them, one name can look like
/// another.
pub(super) fn readable(text: &str) -> String {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{FEFF}')
            || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}')
            || matches!(c, '\u{2060}'..='\u{206F}' | '\u{E0000}'..='\u{E007F}')
    };
    text.chars().filter(|c| !is_hidden(*c)).collect()
}

/// The page, with the cookie of this browser.
pub(super) fn consent_page(
    request: &ClientRequest,
    action: &str,
    browser: &str,
    sealed: &str,
) -> Response<String> {
    let mut response = Response::new(page(request, action, sealed));
    let cookie = format!("{COOKIE_NAME}={browser}; Path=/; Secure; HttpOnly; SameSite=Lax");
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (SET_COOKIE, &cookie),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    response
}

fn page(request: &ClientRequest, action: &str, sealed: &str) -> String {
    let mut page = String::from("<!doctype html><title>Permit access</title>");
    let name = request.client_name_shown().map(readable);
    let name = name.as_deref().unwrap_or("An application");
    let scopes = match request.scopes() {
        "" => "no scopes",
        scopes => scopes,
    };
    let local = Url::parse(request.redirect_uri()).is_ok_and(|url| is_loopback(&url));
    let warning = if local {
        "<p>It says that it is a program on this computer. Any program on it can say so: permit this only if \
         you have just started the sign-in yourself.</p>"
    } else {
        ""
    };
    // Writing to a string cannot fail.
    let _written = write!(
        page,
        "<h1>Permit access?</h1><p>{} wants access in your name.</p><dl>\
         <dt>Client</dt><dd>{}</dd><dt>Sends you back to</dt><dd>{}</dd><dt>Scopes</dt><dd>{}</dd></dl>\
         {warning}\
         <form method=\"post\" action=\"{}\"><input type=\"hidden\" name=\"request\" value=\"{}\">\
         <button name=\"decision\" value=\"approve\">Permit</button> \
         <button name=\"decision\" value=\"decline\">Decline</button></form>",
        escaped(name),
        escaped(&readable(&place(request.client_id()))),
        escaped(&readable(&place(request.redirect_uri()))),
        escaped(scopes),
        escaped(action),
        escaped(sealed),
    );
    page
}
