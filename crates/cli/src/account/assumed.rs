//! Statements of the user about one authorization server by plain options, because its metadata lacks them. They are kept with the
//! account and used for that server alone: another one that the MCP server names later is not believed for it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The options of one command.
#[derive(clap::Args, Clone, Default, PartialEq)]
pub(crate) struct Told {
    /// The authorization server checks PKCE, although its metadata does not say so (Cognito, Microsoft Entra). Kept with the
    /// account, for this authorization server alone
    #[arg(long)]
    assume_pkce: bool,
    /// Users sign in at this other host, which is known to belong to the authorization server. Kept with the account, for this
    /// authorization server alone; "" forgets this and what --assume-pkce and --no-resource said
    #[arg(long, value_name = "URL", value_parser = origin_or_none)]
    authorization_origin: Option<String>,
    /// Leave the `resource` parameter out, for an authorization server that refuses it (Microsoft Entra). Kept with the
    /// account, for this authorization server alone
    #[arg(long)]
    no_resource: bool,
}

/// Accepts the URL of a host, and returns its origin; or nothing, which resets the option.
fn origin_or_none(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
            Ok(url.origin().ascii_serialization())
        }
        Ok(_) | Err(_) => Err("expected a URL such as https://login.example".to_owned()),
    }
}

/// The same, for one authorization server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Assumed {
    issuer: String,
    pkce: bool,
    authorization_origin: Option<String>,
    no_resource: bool,
}

impl Told {
    /// Returns true if the options say nothing of a server.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The user agreed to sign in at this origin.
    pub(super) fn agreed(origin: &str) -> Self {
        Self {
            authorization_origin: Some(origin.to_owned()),
            ..Self::default()
        }
    }

    /// Returns true if the options forget what was assumed, and removes that.
    pub(super) fn forgets(&mut self) -> bool {
        let forgets = self.authorization_origin.as_deref() == Some("");
        self.authorization_origin
            .take_if(|origin| origin.is_empty());
        forgets
    }

    /// Returns what is assumed of an issuer, with what was assumed of it before.
    pub(super) fn of(self, issuer: &str, before: Option<Assumed>) -> Assumed {
        let before = before.filter(|before| before.issuer == issuer);
        let mut to = before.unwrap_or_default();
        to.issuer = issuer.to_owned();
        to.pkce |= self.assume_pkce;
        to.no_resource |= self.no_resource;
        to.authorization_origin = self.authorization_origin.or(to.authorization_origin);
        to
    }
}

impl Assumed {
    /// Adds the settings to those of a file.
    pub(super) fn add(&self, settings: &mut Vec<Value>) {
        let is_own = |found: &&mut Value| {
            found.get("issuer").and_then(Value::as_str) == Some(self.issuer.as_str())
        };
        let mut own = Map::new();
        own.insert("issuer".to_owned(), self.issuer.as_str().into());
        if self.pkce {
            own.insert("pkce".to_owned(), "s256_asserted".into());
        }
        if let Some(origin) = &self.authorization_origin {
            own.insert("authorization_origin".to_owned(), origin.as_str().into());
        }
        if self.no_resource {
            own.insert("resource_parameter".to_owned(), "omit".into());
        }
        match settings
            .iter_mut()
            .find(is_own)
            .and_then(Value::as_object_mut)
        {
            Some(members) => members.extend(own),
            None => settings.push(own.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    const X: &str = "https://as.example";

    fn told(pkce: bool, origin: Option<&str>) -> Told {
        Told {
            assume_pkce: pkce,
            authorization_origin: origin.map(str::to_owned),
            no_resource: false,
        }
    }

    #[test]
    fn what_is_assumed_of_one_server_is_not_assumed_of_another() {
        let one = told(true, None).of(X, None);
        let both = told(false, Some("https://login.example")).of(X, Some(one.clone()));
        assert!(both.pkce);
        let other =
            told(false, Some("https://login.example")).of("https://evil.example", Some(one));
        assert!(!other.pkce);
    }

    #[test]
    fn a_file_and_the_options_are_one_object() {
        let mut settings = vec![
            json!({ "issuer": "https://other.example" }),
            json!({ "issuer": X, "iss_parameter": "not_sent" }),
        ];
        let assumed = told(true, Some("https://login.example")).of(X, None);
        assumed.add(&mut settings);
        assert_eq!(settings.len(), 2);
        let expected = json!({
            "issuer": X, "iss_parameter": "not_sent", "pkce": "s256_asserted",
            "authorization_origin": "https://login.example",
        });
        assert_eq!(settings.last(), Some(&expected));
    }
}
