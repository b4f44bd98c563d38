//! Cookies that no other site, and no other host of this one, can set or double.

use axum::http::HeaderMap;
use axum::http::header::COOKIE;

/// The cookies of this gateway. Over HTTPS their names begin with `__Host-`, so that browsers take them
/// from this very host alone.
#[derive(Clone, Copy)]
pub(crate) struct Cookies {
    pub(crate) secure: bool,
}

#[derive(Clone, Copy)]
pub(crate) enum Name {
    /// The session of the user who signed in.
    Session,
    /// The browser: a number of its own, so that a session that is carried over to another
    /// browser does not take an authorization along.
    Browser,
}

impl Cookies {
    fn name(self, name: Name) -> &'static str {
        match (name, self.secure) {
            (Name::Session, true) => "__Host-session",
            (Name::Session, false) => "session",
            (Name::Browser, true) => "__Host-browser",
            (Name::Browser, false) => "browser",
        }
    }

    /// The value, if the cookie came once. One that is doubled was set by somebody else as well.
    pub(crate) fn get(self, headers: &HeaderMap, name: Name) -> Option<&str> {
        let name = self.name(name);
        let fields = headers.get_all(COOKIE).iter();
        let mut found = fields
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .filter(|(known, _)| *known == name)
            .map(|(_, value)| value);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// The value of a `Set-Cookie` field.
    pub(crate) fn set(self, name: Name, value: &str) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        let name = self.name(name);
        format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}")
    }
}
