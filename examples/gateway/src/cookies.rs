//! Cookies that no other site or host can set.

use axum::http::HeaderMap;
use axum::http::header::COOKIE;

/// The cookies of this gateway. Over HTTPS their names have the prefix `__Host-`, so that browsers accept
/// them from this host only.
#[derive(Clone, Copy)]
pub(crate) struct Cookies {
    pub(crate) secure: bool,
}

#[derive(Clone, Copy)]
pub(crate) enum Name {
    /// The session of the signed-in user.
    Session,
    /// The number of the browser, so that a session that is copied to another browser cannot complete an
    /// authorization.
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

    /// Returns the value of a cookie that occurs once. A second one was set by another party.
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

    /// Returns the value of a `Set-Cookie` field.
    pub(crate) fn set(self, name: Name, value: &str) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        let name = self.name(name);
        format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}")
    }
}
