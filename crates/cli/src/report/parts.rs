//! The parts of a step: members, headers, bodies and parameters, with the values of those that say nothing secret.

use serde_json::Value;

use super::shown::{HIDDEN, Shown, header_map};
use super::steps::{Lane, Part, Teller};
use crate::lines::record::documents::NOT_KEPT;
use crate::lines::record::text_of;

impl Teller<'_> {
    pub(super) fn text(&self, line: &Value, name: &str) -> Shown {
        self.redactor.show(text_of(line, name))
    }

    pub(super) fn number(&self, line: &Value, name: &str) -> Shown {
        Shown::number(line.get(name).and_then(Value::as_u64).unwrap_or_default())
    }

    pub(super) fn value(&self, value: &Value) -> Shown {
        match value {
            Value::String(text) => self.redactor.show(text),
            Value::Array(items) if items.iter().all(Value::is_string) => {
                let words: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
                self.redactor.show(&words.join(" "))
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => self.redactor.show(&value.to_string()),
        }
    }

    pub(super) fn members(&self, line: &Value, names: &[&str]) -> Vec<Part> {
        let found = names.iter().filter_map(|name| {
            let value = line.get(*name).filter(|value| !value.is_null())?;
            Some((self.redactor.show(name), self.value(value)))
        });
        let rows: Vec<_> = found.collect();
        if rows.is_empty() {
            Vec::new()
        } else {
            vec![Part::Rows("Details", rows)]
        }
    }

    pub(super) fn rows(&self, line: &Value, skipped: &[&str]) -> Vec<(Shown, Shown)> {
        let members = line.as_object().into_iter().flatten();
        members
            .filter(|(name, value)| !skipped.contains(&name.as_str()) && !value.is_null())
            .map(|(name, value)| (self.redactor.show(name), self.value(value)))
            .collect()
    }

    /// The request that a line answers: its purpose and its URL.
    pub(super) fn request(&self, line: &Value) -> (String, Shown) {
        let wanted = id(line);
        let found = self.requests.iter().rev().find(|(id, _, _)| *id == wanted);
        match found {
            Some((_, request, url)) => (request.clone(), url.clone()),
            None => (String::new(), Shown::fixed("")),
        }
    }

    pub(super) fn slot(&self, line: &Value) -> Shown {
        let wanted = id(line);
        let found = self.loads.iter().rev().find(|(id, _)| *id == wanted);
        found.map_or(Shown::fixed("?"), |(_, slot)| slot.clone())
    }

    /// Headers: the values of those that say nothing secret.
    pub(super) fn headers(&self, line: &Value) -> Part {
        const PLAIN: [&str; 12] = [
            "accept",
            "age",
            "cache-control",
            "content-type",
            "date",
            "dpop-nonce",
            "expires",
            "mcp-protocol-version",
            "retry-after",
            "server",
            "user-agent",
            "www-authenticate",
        ];
        let map = header_map(line);
        let rows = map.iter().map(|(name, value)| {
            let text = value.to_str().unwrap_or_default();
            let shown = match name.as_str() {
                "location" => self.redactor.url(text),
                "authorization" => {
                    let scheme = text.split(' ').next().unwrap_or_default();
                    let scheme = match scheme.len() {
                        0..=8 => self.redactor.show(scheme),
                        _ => Shown::fixed(""),
                    };
                    Shown::join([scheme, Shown::fixed(" "), Shown::fixed(HIDDEN)])
                }
                plain if PLAIN.contains(&plain) => self.redactor.show(text),
                _ => Shown::fixed(HIDDEN),
            };
            (self.redactor.show(name.as_str()), shown)
        });
        Part::Rows("Headers", rows.collect())
    }

    pub(super) fn body(&self, line: &Value, public: bool) -> Part {
        let body = text_of(line, "body");
        if body == NOT_KEPT {
            return Part::Text("Body", Shown::fixed("The recording leaves out this body."));
        }
        match serde_json::from_str::<Value>(body) {
            Ok(document) if public => {
                let text = serde_json::to_string_pretty(&document).unwrap_or_default();
                Part::Text("Document", self.redactor.show(&text))
            }
            Ok(Value::Object(members)) => {
                let rows = members.iter().map(|(name, value)| {
                    let shown = if is_plain(name) {
                        self.value(value)
                    } else {
                        Shown::fixed(HIDDEN)
                    };
                    (self.redactor.show(name), shown)
                });
                Part::Rows("Body", rows.collect())
            }
            Ok(_) | Err(_) if public => Part::Text("Body", self.redactor.show(body)),
            Ok(_) | Err(_) => self.query("Body", &format!("?{body}")),
        }
    }

    pub(super) fn callback(&self, line: &Value) -> Part {
        let found = ["url", "query", "form"]
            .iter()
            .map(|name| text_of(line, name))
            .find(|text| !text.is_empty())
            .unwrap_or_default();
        let found = found.rsplit('?').next().unwrap_or_default();
        self.query("Parameters", &format!("?{found}"))
    }

    /// The parameters after the question mark: the values of those that say nothing secret.
    pub(super) fn query(&self, title: &'static str, url: &str) -> Part {
        let (_, query) = url.split_once('?').unwrap_or_default();
        let rows = url::form_urlencoded::parse(query.as_bytes()).map(|(name, value)| {
            let shown = if is_plain(&name) {
                self.redactor.show(&value)
            } else {
                Shown::fixed(HIDDEN)
            };
            // A body of another format parses as one long name.
            let name = match value.is_empty() && name.len() > 40 {
                true => Shown::fixed(HIDDEN),
                false => self.redactor.show(&name),
            };
            (name, shown)
        });
        Part::Rows(title, rows.collect())
    }
}

/// Returns the value of a parameter.
pub(super) fn value_in(part: &Part, wanted: &'static str) -> Option<Shown> {
    let Part::Rows(_, rows) = part else {
        return None;
    };
    let found = rows.iter().find(|(name, _)| *name == Shown::fixed(wanted));
    found.map(|(_, value)| value.clone())
}

/// Members and parameters whose values are no secrets.
fn is_plain(name: &str) -> bool {
    const PLAIN: &str = "application_type audience client_assertion_type client_id \
        client_id_issued_at client_name client_secret_expires_at client_uri code_challenge_method \
        dpop_bound_access_tokens error error_description error_uri expires_in grant_type grant_types \
        interval iss issued_token_type jwks_uri logo_uri policy_uri prompt redirect_uri \
        redirect_uris requested_token_type resource response_mode response_type response_types \
        scope subject_token_type token_endpoint_auth_method token_type token_type_hint tos_uri \
        verification_uri";
    PLAIN.split(' ').any(|plain| plain == name)
}

pub(super) fn id(line: &Value) -> u64 {
    line.get("id").and_then(Value::as_u64).unwrap_or_default()
}

/// The lane of the server that a request goes to.
pub(super) fn server_of(purpose: &str) -> Lane {
    match purpose {
        "resource_metadata" => Lane::McpServer,
        _ => Lane::AuthorizationServer,
    }
}
