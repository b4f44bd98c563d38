//! The settings of single issuers.

use mcp_auth_machine::config as library;
use mcp_auth_machine::config::IssuerSettings;
use mcp_auth_machine::wire::scopes::Scopes;
use serde::Deserialize;

use super::words::{
    AssertionAudience, BasicEncoding, IssParameter, JwtBearerSupport, PkceSupport,
    ResourceParameter, TokenAnswers,
};
use crate::lines::Misunderstood;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pin {
    pub(super) entry: String,
    pub(super) issuer: String,
}

/// The scopes of refresh requests: a keyword, or exactly these.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RefreshScopes {
    AsNeeded,
    Omit,
    Requested,
    Exactly(Vec<String>),
}

impl From<RefreshScopes> for library::RefreshScopes {
    fn from(given: RefreshScopes) -> Self {
        match given {
            RefreshScopes::AsNeeded => Self::AsNeeded,
            RefreshScopes::Omit => Self::Omit,
            RefreshScopes::Requested => Self::Requested,
            RefreshScopes::Exactly(scopes) => Self::Exactly(Scopes::parse(&scopes.join(" "))),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    issuer: String,
    pkce: Option<PkceSupport>,
    resource_parameter: Option<ResourceParameter>,
    iss_parameter: Option<IssParameter>,
    token_answers: Option<TokenAnswers>,
    basic_encoding: Option<BasicEncoding>,
    authorization_origin: Option<String>,
    verification_origin: Option<String>,
    #[serde(default)]
    authorization_parameters: Vec<(String, String)>,
    #[serde(default)]
    token_parameters: Vec<(String, String)>,
    refresh_scopes: Option<RefreshScopes>,
    #[serde(default)]
    client_id_with_assertion: bool,
    jwt_bearer: Option<JwtBearerSupport>,
    assertion_audience: Option<AssertionAudience>,
    client_assertion_audience: Option<AssertionAudience>,
    initial_access: Option<String>,
}

impl Settings {
    pub(super) fn read(self) -> Result<(String, IssuerSettings), Misunderstood> {
        let mut to = IssuerSettings::new();
        if let Some(value) = self.pkce {
            to = to.pkce(value.into());
        }
        if let Some(value) = self.resource_parameter {
            to = to.resource_parameter(value.into());
        }
        if let Some(value) = self.iss_parameter {
            to = to.iss_parameter(value.into());
        }
        if let Some(value) = self.token_answers {
            to = to.token_answers(value.into());
        }
        if let Some(value) = self.basic_encoding {
            to = to.basic_encoding(value.into());
        }
        if let Some(origin) = self.authorization_origin {
            to = to.authorization_origin(origin);
        }
        if let Some(origin) = self.verification_origin {
            to = to.verification_origin(origin);
        }
        for (name, value) in &self.authorization_parameters {
            to = to
                .authorization_parameter(name, value)
                .map_err(|flaw| Misunderstood::new(flaw.to_string()))?;
        }
        for (name, value) in &self.token_parameters {
            to = to
                .token_parameter(name, value)
                .map_err(|flaw| Misunderstood::new(flaw.to_string()))?;
        }
        if let Some(value) = self.refresh_scopes {
            to = to.refresh_scopes(value.into());
        }
        if self.client_id_with_assertion {
            to = to.client_id_with_assertion();
        }
        if let Some(value) = self.jwt_bearer {
            to = to.jwt_bearer(value.into());
        }
        if let Some(value) = self.assertion_audience {
            to = to.assertion_audience(value.into());
        }
        if let Some(value) = self.client_assertion_audience {
            to = to.client_assertion_audience(value.into());
        }
        if let Some(token) = self.initial_access {
            to = to.initial_access(token);
        }
        Ok((self.issuer, to))
    }
}
