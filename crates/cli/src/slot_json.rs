//! The JSON of the machine's records, which the command reads to clean up, to list accounts and to record transcripts.

use mcp_auth_machine::full_member_name;
use serde_json::Value;

/// Parses a record: `v3.<revision>~<key>.<json>`. A member without a value is missing, or `null` before version 2; the names
/// are full ones, in whatever version the record is.
pub(crate) fn parse(contents: &str) -> Option<Value> {
    let mut parts = contents.splitn(3, '.');
    let (_version, _digest, json) = (parts.next()?, parts.next()?, parts.next()?);
    serde_json::from_str(json).ok().map(with_full_names)
}

fn with_full_names(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let named = members
                .into_iter()
                .map(|(name, value)| (full_member_name(&name).to_owned(), with_full_names(value)));
            Value::Object(named.collect())
        }
        Value::Array(_) | Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {
            value
        }
    }
}
