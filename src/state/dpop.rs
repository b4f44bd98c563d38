//! Tokens bound to a key: whether to request one, and whether the response is one (DPOP-01, DPOP-02,
//! DPOP-13, DPOP-16).

use crate::config::{Config, DpopPolicy};
use crate::core::Core;
use crate::error::{Cause, Misconfiguration, Violation};
use crate::issuer::Server;
use crate::key::{KeyBinding, SigningKey};
use crate::record::ResourceFacts;
use crate::wire::token::{TokenType, UnexpectedToken};

/// Chooses the key for tokens of this server and resource; `None` for bearer tokens.
pub(crate) fn choose(
    core: &Core,
    server: &Server,
    facts: &ResourceFacts,
) -> Result<Option<KeyBinding>, Cause> {
    let config = core.config();
    let required = facts.requires_dpop || config.dpop.policy == DpopPolicy::Require;
    match config.dpop.policy {
        DpopPolicy::Never if facts.requires_dpop => {
            return Err(Cause::Misconfigured(Misconfiguration::DpopRequired));
        }
        DpopPolicy::Never => return Ok(None),
        DpopPolicy::IfSupported | DpopPolicy::Require => {}
    }
    let own = |(of, _): &&(Option<_>, _)| of.as_ref() == Some(server.issuer());
    let any = |(of, _): &&(Option<_>, _)| of.is_none();
    let keys = &config.dpop.keys;
    let found = keys
        .iter()
        .filter(own)
        .chain(keys.iter().filter(any))
        .find_map(|(_, key)| {
            let algorithm = key.algorithms.iter().copied().find(|algorithm| {
                server.facts().dpop_algorithms.has(*algorithm)
                    && facts.dpop_algorithms.allows(*algorithm)
                    && core.memory.dpop_algorithms.allows(*algorithm)
            })?;
            Some(KeyBinding {
                thumbprint: key.public.as_ref()?.thumbprint().into(),
                algorithm,
                required,
            })
        });
    match found {
        None if required => Err(Cause::Misconfigured(Misconfiguration::DpopUnavailable)),
        found => Ok(found),
    }
}

/// Checks the type of a received token against the request and returns the key that it is bound to.
/// `assumed`: the response named no type.
pub(crate) fn judge(
    core: &mut Core,
    asked: Option<&KeyBinding>,
    kind: TokenType,
    assumed: bool,
) -> Result<Option<KeyBinding>, Violation> {
    match (asked, kind) {
        // An assumed type must not downgrade a bound token (DPOP-13).
        (Some(_), TokenType::Bearer) if assumed => {
            Err(Violation::Token(UnexpectedToken::TokenType))
        }
        (None, TokenType::Bearer) => Ok(None),
        (Some(binding), TokenType::Dpop) => Ok(Some(binding.clone())),
        (Some(binding), TokenType::Bearer) if binding.required => Err(Violation::TokenNotBound),
        (Some(_), TokenType::Bearer) => {
            core.report(|| crate::report::Decision::TokenNotBound);
            Ok(None)
        }
        (None, TokenType::Dpop) => Err(Violation::Token(UnexpectedToken::TokenType)),
    }
}

impl Config {
    /// Returns the host's key with the thumbprint of a binding.
    pub(crate) fn key_of(&self, binding: &KeyBinding) -> Option<&SigningKey> {
        self.dpop.keys.iter().map(|(_, key)| key).find(|key| {
            let public = key.public.as_ref();
            public.is_some_and(|public| public.thumbprint() == *binding.thumbprint)
        })
    }
}

impl SigningKey {
    /// Returns the public key as the `jwk` of a proof.
    pub(crate) fn jwk(&self) -> Box<str> {
        let public = self.public.as_ref();
        public.map_or_else(Box::default, |public| public.as_jwk().into())
    }
}
