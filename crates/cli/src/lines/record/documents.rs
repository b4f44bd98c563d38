//! The members of responses, records and callbacks that a transcript keeps; all others are dropped.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use mcp_auth_machine::slot::SlotKind;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::secrets::Secrets;
use crate::slot_json;

/// The members of responses without secrets.
const PLAIN: [&str; 17] = [
    "token_type",
    "expires_in",
    "interval",
    "verification_uri",
    "scope",
    "error",
    "issued_token_type",
    "client_id",
    "client_id_issued_at",
    "client_secret_expires_at",
    "redirect_uris",
    "grant_types",
    "response_types",
    "token_endpoint_auth_method",
    "application_type",
    "client_name",
    "iss",
];

/// Returns the kind of substitute for a member that contains a credential.
fn credential(name: &str) -> Option<&'static str> {
    Some(match name {
        "access_token" | "access" => "token",
        "refresh_token" | "refresh" => "refresh",
        "client_secret" | "secret" | "initial_access" => "secret",
        "request_uri" => "urn:request",
        "assertion" => "assertion",
        "device_code" => "device",
        "user_code" => "code",
        _ => return None,
    })
}

/// The placeholder for a body that cannot be cleared of secrets.
pub(crate) const NOT_KEPT: &str = "not kept";

/// Returns the body of an endpoint that receives or issues credentials, with substitutes.
pub(super) fn answer(body: &[u8], secrets: &mut Secrets) -> String {
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
        let text = String::from_utf8_lossy(body);
        secrets.saw(text.trim());
        return if body.is_empty() {
            String::new()
        } else {
            NOT_KEPT.to_owned()
        };
    };
    let mut kept = Map::new();
    for (name, value) in members {
        match (credential(&name), &value) {
            (Some(kind), Value::String(secret)) => {
                let name_of_it = secrets.cover(kind, secret);
                kept.insert(name, name_of_it.into());
            }
            (None, _) if PLAIN.contains(&name.as_str()) => {
                kept.insert(name, value);
            }
            (_, _) => dropped(&value, secrets),
        }
    }
    Value::Object(kept).to_string()
}

/// Registers dropped texts that look like credentials, so that they must not occur elsewhere either.
fn dropped(value: &Value, secrets: &mut Secrets) {
    match value {
        Value::String(text) => secrets.saw_any(text),
        Value::Array(items) => items.iter().for_each(|item| dropped(item, secrets)),
        Value::Object(members) => members.values().for_each(|item| dropped(item, secrets)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The headers that the machine reads.
const HEADERS: [&str; 7] = [
    "age",
    "cache-control",
    "content-type",
    "date",
    "dpop-nonce",
    "retry-after",
    "www-authenticate",
];

/// `public`: the response of a public document, which may be a redirect.
pub(super) fn headers(headers: &HeaderMap, public: bool) -> Value {
    headers
        .iter()
        .filter_map(|(name, value)| {
            let text = value.to_str().ok()?;
            match name.as_str() {
                // The target without query and fragment.
                "location" if public => Some(json!([name.as_str(), text.split(['?', '#']).next()])),
                known if HEADERS.contains(&known) => Some(json!([known, text])),
                _ => None,
            }
        })
        .collect()
}

/// Returns an existing record with its credentials replaced, full names and a new checksum. `None`: not kept.
pub(super) fn record(
    kind: SlotKind,
    contents: &str,
    secrets: &mut Secrets,
) -> Option<(String, String)> {
    let (version, _) = contents.split_once('.')?;
    if !["v1", "v2", "v3"].contains(&version) {
        return None;
    }
    let mut record = slot_json::parse(contents)?;
    match kind {
        // Public, with all its values.
        SlotKind::Metadata => {}
        SlotKind::Account | SlotKind::Registration if is_known(&record) => {
            cover(&mut record, secrets);
        }
        SlotKind::Account | SlotKind::Registration => return None,
        SlotKind::Pending => return None,
    }
    let json = record.to_string();
    let digest = Sha256::digest(json.as_bytes());
    let revision = URL_SAFE_NO_PAD.encode(digest.first_chunk::<16>()?);
    Some((format!("v3.{revision}.{json}"), revision))
}

/// The members of records; a record with other members is not kept.
const RECORDED: &str = "access advertises_iss algorithm assertion assertion_algorithms auth_methods \
    authorization authorization_endpoint authorized basic challenge_methods client client_id dpop dpop_algorithms \
    encoding fresh_until grant_profiles grant_types granted id iss_binding issuer key kid \
    kind lease left_for lifetime mcp_url method obtained origin owner post principal private_key_jwt \
    pushed_endpoint received redirect_uri refresh registered registration_endpoint requested required \
    requires_par resource resource_sent response_types revocation_auth_methods \
    revocation_endpoint scopes scopes_asked scopes_left_out scopes_named secret secret_expires_at server source static_assertion \
    supports_cimd thumbprint token_endpoint tokens";

fn is_known(value: &Value) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .all(|(name, value)| RECORDED.split(' ').any(|known| known == name) && is_known(value)),
        Value::Array(items) => items.iter().all(is_known),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// The settings of an issuer whose values may be secrets, whatever their names.
const PARAMETERS: [&str; 2] = ["authorization_parameters", "token_parameters"];

/// Replaces the value of a pair of name and value.
fn parameter_value(pair: &mut Value, secrets: &mut Secrets) {
    if let Some(Value::String(value)) = pair.get_mut(1) {
        *value = secrets.parameter(value);
    }
}

/// Replaces the credentials of a configuration or a record, at any depth.
pub(crate) fn cover(value: &mut Value, secrets: &mut Secrets) {
    match value {
        Value::Object(members) => {
            let is_key = members.contains_key("algorithms");
            for (name, value) in members {
                match (credential(name), value) {
                    // The host's name for a key, in a record or a configuration.
                    (None, Value::String(text)) if name == "key" || name == "name" && is_key => {
                        *text = secrets.rename(text);
                    }
                    (Some(kind), Value::String(secret)) => *secret = secrets.cover(kind, secret),
                    // An API key that a server wants there, for example.
                    (None, Value::Array(pairs)) if PARAMETERS.contains(&name.as_str()) => {
                        pairs
                            .iter_mut()
                            .for_each(|pair| parameter_value(pair, secrets));
                    }
                    (_, other) => cover(other, secrets),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| cover(item, secrets)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Registers the credentials of a form, and of an `authorization` header.
pub(crate) fn sent(headers: &HeaderMap, body: &[u8], secrets: &mut Secrets) {
    const CARRIERS: [&str; 10] = [
        "code",
        "device_code",
        "code_verifier",
        "client_secret",
        "refresh_token",
        "token",
        "assertion",
        "client_assertion",
        "subject_token",
        "state",
    ];
    for (name, value) in url::form_urlencoded::parse(body) {
        if CARRIERS.contains(&name.as_ref()) {
            secrets.saw(&value);
        }
    }
    for name in ["authorization", "dpop"] {
        if let Some(text) = headers.get(name).and_then(|value| value.to_str().ok()) {
            secrets.saw(text.rsplit(' ').next().unwrap_or_default());
        }
    }
}

/// Returns a parameter of a URL.
pub(super) fn parameter(url: &str, wanted: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs
        .find(|(name, _)| name == wanted)
        .map(|(_, value)| value.into_owned())
}

/// Registers the credentials of a slot's contents.
pub(crate) fn written(contents: &str, secrets: &mut Secrets) {
    if let Some(record) = slot_json::parse(contents) {
        credentials(record, secrets);
    }
}

/// Registers the credentials of a document, by member name.
pub(crate) fn credentials(document: Value, secrets: &mut Secrets) {
    const MORE: [&str; 7] = [
        "state",
        "verifier",
        "code",
        "id_token",
        "registration_access_token",
        "software_statement",
        "lease",
    ];
    let mut rest = vec![document];
    while let Some(value) = rest.pop() {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let secret = credential(&name).is_some() || MORE.contains(&name.as_str());
                    match value.as_str() {
                        Some(text) if secret => secrets.saw(text),
                        Some(_) | None => rest.push(value),
                    }
                }
            }
            Value::Array(items) => rest.extend(items),
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// SEC-32: the values of parameters that a configuration adds are replaced, and one that looks like a secret must
    /// occur nowhere.
    #[test]
    fn values_of_parameters_are_covered() {
        let mut secrets = Secrets::default();
        let mut config = json!({ "issuer_settings": [{
            "issuer": "https://as.example",
            "authorization_parameters": [["audience", "https://mcp.example/mcp"], ["prompt", "none"]],
            "token_parameters": [["api_key", "an-api-key-of-a-server"]],
        }] });
        cover(&mut config, &mut secrets);
        let text = config.to_string();
        for hidden in ["an-api-key-of-a-server", "https://mcp.example/mcp", "none"] {
            assert!(!text.contains(hidden), "{text}");
        }
        assert!(text.contains("[\"api_key\",\"parameter-3\"]"), "{text}");
        assert!(secrets.are_absent("x an-api-key-of-a-server x").is_err());
        assert!(secrets.are_absent("https://mcp.example/mcp none").is_ok());
    }

    #[test]
    fn every_record_that_was_ever_written_can_be_covered() {
        for golden in [
            include_str!("../../../tests/golden/account.v1.txt"),
            include_str!("../../../tests/golden/registration.v1.txt"),
            include_str!("../../../tests/golden/registration_left_out.v1.txt"),
            include_str!("../../../tests/golden/account.v2.txt"),
            include_str!("../../../tests/golden/account_without_user.v2.txt"),
            include_str!("../../../tests/golden/registration.v2.txt"),
            include_str!("../../../tests/golden/registration_named.v2.txt"),
        ] {
            let mut secrets = Secrets::default();
            let kept = record(SlotKind::Account, golden.trim_end(), &mut secrets);
            assert!(kept.is_some(), "{golden}");
        }
    }
}
