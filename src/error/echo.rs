//! Servers that repeat secrets of the request in error texts, which are displayed and logged.

use super::{Cause, Refusal};
use crate::grant::TokenGrant;
use crate::issuer::AtIssuer;
use crate::wire::form::{Form, pairs};
use crate::wire::text::Untrusted;
use crate::wire::token::OAuthError;

/// The parameters with secret values.
const SECRET: &[&str] = &[
    "code",
    "code_verifier",
    "refresh_token",
    "assertion",
    "subject_token",
    "token",
    "device_code",
];
/// Shorter values occur by chance.
const SHORTEST: usize = 8;
/// The length of a telling part of a secret: a text may be truncated within it.
const TELLING: usize = 12;

impl<G: TokenGrant> AtIssuer<G> {
    /// Returns the server's refusal, without texts that contain a secret of the request (I02, TOK-24).
    pub(crate) fn refused(
        &self,
        error: OAuthError,
        code: Option<Untrusted>,
        description: Option<Untrusted>,
    ) -> Cause {
        Cause::Refused(Refusal::OAuth {
            error,
            code: code.filter(|text| !self.is_echoed(text)),
            description: description.filter(|text| !self.is_echoed(text)),
            error_uri: None,
        })
    }

    fn is_echoed(&self, text: &Untrusted) -> bool {
        let tells = |secret: &str| {
            let start = secret.get(..TELLING).unwrap_or(secret);
            secret.len() >= SHORTEST && text.as_plain().contains(start)
        };
        let mut form = Form::with_capacity(512);
        self.held().encode(&mut form);
        let sent = pairs(form.as_str())
            .flatten()
            .any(|(name, value)| SECRET.contains(&name.as_ref()) && tells(&value));
        sent || self.held().client().secret().is_some_and(tells)
    }
}
