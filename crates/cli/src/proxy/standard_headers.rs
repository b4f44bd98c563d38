//! The headers that repeat parts of a message (SEP-2243, revision 2026-07-28), so that servers in between
//! can route without reading bodies.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

/// The first revision that has these headers.
pub(super) const SINCE: &str = "2026-07-28";

/// The arguments of tools that are repeated as headers: for each tool the paths and header names, as the
/// server's list of tools says.
#[derive(Default)]
pub(super) struct Tools(HashMap<String, Vec<(Vec<String>, String)>>);

impl Tools {
    /// Takes note of the tools in a result of `tools/list`.
    pub(super) fn learn(&mut self, result: &Value) {
        let tools = result.get("tools").and_then(Value::as_array);
        for tool in tools.into_iter().flatten() {
            let Some(name) = tool.get("name").and_then(Value::as_str) else {
                continue;
            };
            let mut found = Vec::new();
            let schema = tool.get("inputSchema");
            annotations(schema, &mut Vec::new(), &mut found);
            self.0.insert(name.to_owned(), found);
        }
    }

    /// The headers of a request.
    pub(super) fn headers(&self, method: &str, params: &Value) -> HeaderMap {
        let mut headers = HeaderMap::new();
        add(&mut headers, "mcp-method", method);
        let key = match method {
            "tools/call" | "prompts/get" => Some("name"),
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => Some("uri"),
            "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
            _other => None,
        };
        let name = key.and_then(|key| params.get(key)).and_then(Value::as_str);
        if let Some(name) = name {
            add(&mut headers, "mcp-name", &encoded(name));
        }
        if method == "tools/call"
            && let (Some(paths), Some(arguments)) = (
                name.and_then(|name| self.0.get(name)),
                params.get("arguments"),
            )
        {
            for (path, header) in paths {
                let value = path.iter().try_fold(arguments, |at, key| at.get(key));
                let text = match value {
                    Some(Value::String(text)) => text.clone(),
                    Some(Value::Bool(flag)) => flag.to_string(),
                    Some(Value::Number(number)) => number.to_string(),
                    Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => continue,
                };
                add(
                    &mut headers,
                    &format!("mcp-param-{header}"),
                    &encoded(&text),
                );
            }
        }
        headers
    }
}

/// The properties with `x-mcp-header`, down the properties of objects.
fn annotations(
    schema: Option<&Value>,
    path: &mut Vec<String>,
    found: &mut Vec<(Vec<String>, String)>,
) {
    let properties = schema.and_then(|schema| schema.get("properties"));
    for (name, property) in properties.and_then(Value::as_object).into_iter().flatten() {
        path.push(name.clone());
        if let Some(header) = property.get("x-mcp-header").and_then(Value::as_str) {
            found.push((path.clone(), header.to_ascii_lowercase()));
        }
        annotations(Some(property), path, found);
        path.pop();
    }
}

/// A value that survives as a header: in base64 where it has other characters or space at its ends.
fn encoded(value: &str) -> String {
    let plain = value.chars().all(|c| matches!(c, ' '..='~'))
        && value.trim() == value
        && !value.starts_with("=?base64?");
    if plain {
        value.to_owned()
    } else {
        format!("=?base64?{}?=", STANDARD.encode(value))
    }
}

/// A header that cannot be one is left out: the server says so then.
fn add(headers: &mut HeaderMap, name: &str, value: &str) {
    let name = HeaderName::from_bytes(name.as_bytes());
    if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(headers: &HeaderMap, name: &str) -> Option<String> {
        Some(headers.get(name)?.to_str().ok()?.to_owned())
    }

    #[test]
    fn names_and_annotated_arguments_are_repeated() {
        let mut tools = Tools::default();
        tools.learn(
            &json!({ "tools": [{ "name": "deploy", "inputSchema": { "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
            "deep": { "properties": { "dry": { "type": "boolean", "x-mcp-header": "Dry" } } },
            "other": { "type": "string" },
        } } }] }),
        );
        let params = json!({ "name": "deploy", "arguments": {
            "region": "zürich ", "deep": { "dry": true }, "other": "x",
        } });
        let headers = tools.headers("tools/call", &params);
        assert_eq!(text(&headers, "mcp-method").as_deref(), Some("tools/call"));
        assert_eq!(text(&headers, "mcp-name").as_deref(), Some("deploy"));
        assert_eq!(
            text(&headers, "mcp-param-region").as_deref(),
            Some("=?base64?esO8cmljaCA=?=")
        );
        assert_eq!(text(&headers, "mcp-param-dry").as_deref(), Some("true"));
        assert_eq!(headers.len(), 4);
    }

    #[test]
    fn a_resource_is_named_by_its_uri() {
        let headers = Tools::default().headers("resources/read", &json!({ "uri": "file:///a" }));
        assert_eq!(text(&headers, "mcp-name").as_deref(), Some("file:///a"));
        assert_eq!(Tools::default().headers("ping", &Value::Null).len(), 1);
    }
}
