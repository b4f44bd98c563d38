//! JSON with comments, edited as text: order, comments and indentation stay.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstRootNode};
use serde_json::Value;

use super::edit::Outcome;
use crate::problem::Problem;

pub(super) fn insert(
    text: &str,
    section: &str,
    name: &str,
    value: &Value,
) -> Result<Outcome, Problem> {
    let text = if text.trim().is_empty() { "{}\n" } else { text };
    let root = CstRootNode::parse(text, &ParseOptions::default())
        .map_err(|error| format!("the file is not JSON: {error}"))?;
    let object = root
        .object_value_or_create()
        .ok_or("the file holds something else than a JSON object")?;
    if let Some(found) = object.get(section)
        && found.object_value().is_none()
    {
        return Err(format!("the member {section:?} is not an object").into());
    }
    let servers = object.object_value_or_set(section);
    if let Some(found) = servers.get(name) {
        let former = found.value().map(|former| former.to_string());
        if former.and_then(|former| parsed(&former)).as_ref() == Some(value) {
            return Ok(Outcome::Unchanged);
        }
        found.set_value(input(value));
    } else {
        servers.append(name, input(value));
    }
    Ok(Outcome::Changed(root.to_string()))
}

/// Returns the text of the entry of this name.
pub(super) fn former(text: &str, section: &str, name: &str) -> Option<String> {
    Some(parsed(text)?.get(section)?.get(name)?.to_string())
}

fn parsed(text: &str) -> Option<Value> {
    jsonc_parser::parse_to_serde_value(text, &ParseOptions::default()).ok()
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(flag) => CstInputValue::Bool(*flag),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Value::Object(members) => CstInputValue::Object(
            members
                .iter()
                .map(|(name, value)| (name.clone(), input(value)))
                .collect(),
        ),
    }
}
