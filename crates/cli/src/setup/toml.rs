//! TOML, edited as text: order, comments and spacing stay.

use serde_json::Value;
use toml_edit::{Array, DocumentMut, Item, Table, value as item};

use super::edit::Outcome;
use crate::problem::Problem;

pub(super) fn insert(
    text: &str,
    section: &str,
    name: &str,
    value: &Value,
) -> Result<Outcome, Problem> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        format!("the file is not TOML: {}", error.message())
    })?;
    let servers = document.entry(section).or_insert_with(|| {
        let mut table = Table::new();
        // Only its children have a header.
        table.set_implicit(true);
        Item::Table(table)
    });
    let servers = servers
        .as_table_like_mut()
        .ok_or_else(|| format!("{section} is not a table"))?;
    let mut table = Table::new();
    for (key, member) in value.as_object().into_iter().flatten() {
        table.insert(key, plain(member)?);
    }
    let same = |found: &Item| {
        let found = found.as_table_like();
        found.is_some_and(|found| {
            found.len() == table.len()
                && table.iter().all(|(key, item)| {
                    found
                        .get(key)
                        .is_some_and(|other| bare(other) == bare(item))
                })
        })
    };
    if servers.get(name).is_some_and(same) {
        return Ok(Outcome::Unchanged);
    }
    // An entry that is there keeps its place and the comment above it.
    let replaced = match servers.get_mut(name).and_then(Item::as_table_mut) {
        Some(found) => {
            let old: Vec<String> = found.iter().map(|(key, _)| key.to_owned()).collect();
            for key in old.iter().filter(|key| !table.contains_key(key)) {
                found.remove(key);
            }
            for (key, item) in &table {
                found.insert(key, item.clone());
            }
            true
        }
        None => false,
    };
    if !replaced {
        servers.insert(name, Item::Table(table));
    }
    Ok(Outcome::Changed(document.to_string()))
}

/// Removes the entry, with the comment above it.
pub(super) fn remove(text: &str, section: &str, name: &str) -> Result<Outcome, Problem> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        format!("the file is not TOML: {}", error.message())
    })?;
    let servers = document.get_mut(section).and_then(Item::as_table_like_mut);
    match servers.and_then(|servers| servers.remove(name)) {
        Some(_) => Ok(Outcome::Changed(document.to_string())),
        None => Ok(Outcome::Unchanged),
    }
}

/// Returns the text of the entry of this name.
pub(super) fn former(text: &str, section: &str, name: &str) -> Option<String> {
    let document: DocumentMut = text.parse().ok()?;
    Some(document.get(section)?.get(name)?.to_string())
}

/// A value without the space around it.
fn bare(item: &Item) -> String {
    item.to_string().trim().to_owned()
}

fn plain(value: &Value) -> Result<Item, Problem> {
    Ok(match value {
        Value::String(text) => item(text.as_str()),
        Value::Bool(flag) => item(*flag),
        Value::Array(items) => {
            let texts = items.iter().map(Value::as_str).collect::<Option<Array>>();
            item(texts.ok_or("an array of something else than text")?)
        }
        Value::Null | Value::Number(_) | Value::Object(_) => {
            return Err("a value that this entry does not have".into());
        }
    })
}
