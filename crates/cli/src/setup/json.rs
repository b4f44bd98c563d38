//! JSON with comments, edited as text: order, comments and indentation stay.

use std::collections::BTreeSet;

use jsonc_parser::common::{Range, Ranged as _};
use jsonc_parser::cst::{CstInputValue, CstRootNode};
use jsonc_parser::{CollectOptions, ParseOptions, ast, parse_to_ast};
use serde_json::{Value, json};

use super::edit::Outcome;
use crate::problem::Problem;

pub(super) fn insert(
    text: &str,
    section: &str,
    name: &str,
    value: &Value,
) -> Result<Outcome, Problem> {
    let text = if text.trim().is_empty() { "{}\n" } else { text };
    only_once(text, section, name)?;
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
    if parsed(text).is_some_and(|was| was.get(section).and_then(|all| all.get(name)) == Some(value))
    {
        return Ok(Outcome::Unchanged);
    }
    if let Some(after) = on_one_line(text, section, name, value)? {
        return Ok(Outcome::Changed(after));
    }
    let servers = object.object_value_or_set(section);
    if let Some(found) = servers.get(name) {
        found.set_value(input(value));
    } else {
        servers.append(name, input(value));
    }
    Ok(Outcome::Changed(root.to_string()))
}

/// Inserts the entry into an object that stands on one line, or replaces it there: the line stays one, while the editor of the
/// tree would move its other members. `None` where the object has lines.
fn on_one_line(
    text: &str,
    section: &str,
    name: &str,
    value: &Value,
) -> Result<Option<String>, Problem> {
    let root = tree(text)?;
    let Some(root) = root.as_ref().and_then(ast::Value::as_object) else {
        return Ok(None);
    };
    let servers = root.get_object(section);
    let (object, key, value) = match servers {
        Some(servers) => (servers, name, value.clone()),
        None => (root, section, json!({ name: value })),
    };
    let own = object.range.text(text);
    let is_empty = object.properties.is_empty();
    // An object without members has the entry on lines of its own, if the file has lines or nothing else.
    let is_line = !root.range.text(text).contains('\n') && !root.properties.is_empty();
    if own.contains('\n') || is_empty && !is_line {
        return Ok(None);
    }
    let spaced = own.contains("\": ") || is_empty && text.contains("\": ");
    let value = compact(&value, spaced);
    let (comma, colon) = if spaced { (", ", ": ") } else { (",", ":") };
    let member = format!("{}{colon}{value}", Value::from(key));
    let (range, piece) = match (object.get(key), object.properties.last()) {
        (Some(found), _) => (found.value.range(), value),
        (None, Some(last)) => (
            Range::new(last.range.end, last.range.end),
            format!("{comma}{member}"),
        ),
        (None, None) => {
            let begin = object.range.start.saturating_add(1);
            (Range::new(begin, begin), member)
        }
    };
    let (before, after) = (text.get(..range.start), text.get(range.end..));
    let (before, after) = before
        .zip(after)
        .ok_or("the file is not JSON: it has no end")?;
    Ok(Some(format!("{before}{piece}{after}")))
}

/// Removes the entry, with its comma and the lines that it leaves empty.
pub(super) fn remove(text: &str, section: &str, name: &str) -> Result<Outcome, Problem> {
    only_once(text, section, name)?;
    let root = tree(text)?;
    let servers = root.as_ref().and_then(ast::Value::as_object);
    let Some(servers) = servers.and_then(|root| root.get_object(section)) else {
        return Ok(Outcome::Unchanged);
    };
    let place = servers
        .properties
        .iter()
        .position(|property| property.name.as_str() == name);
    let Some((place, entry)) = place.and_then(|at| Some((at, servers.properties.get(at)?))) else {
        return Ok(Outcome::Unchanged);
    };
    let (mut before, rest) = text.split_at_checked(entry.range.start).ok_or(UNSAFE)?;
    let mut after = rest
        .get(entry.range.end.saturating_sub(entry.range.start)..)
        .ok_or(UNSAFE)?;
    let former;
    if let Some(next) = after.trim_start().strip_prefix(',') {
        after = next;
    } else if let Some(last) = place
        .checked_sub(1)
        .and_then(|at| servers.properties.get(at))
    {
        // The comma that separated it from the member before, which is the last one now. A comment between both stays.
        let (head, between) = before.split_at_checked(last.range.end).ok_or(UNSAFE)?;
        let (blank, tail) = between.split_once(',').ok_or(UNSAFE)?;
        let is_space = tail.chars().all(|c| c == ' ');
        former = format!("{head}{blank}{}", if is_space { "" } else { tail });
        before = &former;
    }
    let is_line = |piece: Option<&str>| piece.is_some_and(|piece| piece.trim().is_empty());
    if is_line(before.rsplit('\n').next())
        && is_line(after.split('\n').next())
        && before.contains('\n')
    {
        before = before.trim_end_matches([' ', '\t']);
        after = after.split_once('\n').map_or("", |(_, after)| after);
    } else if before.ends_with([',', '{', ' ']) {
        after = after.trim_start_matches(' ');
    }
    let removed = format!("{before}{after}");
    let without = |mut value: Value| {
        value.get_mut(section)?.as_object_mut()?.remove(name)?;
        Some(value)
    };
    if parsed(&removed).is_none() || parsed(text).and_then(without) != parsed(&removed) {
        return Err(UNSAFE.into());
    }
    Ok(Outcome::Changed(removed))
}

const UNSAFE: &str =
    "this file is written in a way that cannot be edited safely: remove the entry by hand";

/// Returns a value on one line, with spaces after colons and commas or without.
fn compact(value: &Value, spaced: bool) -> String {
    let (comma, colon) = if spaced { (", ", ": ") } else { (",", ":") };
    match value {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| compact(item, spaced)).collect();
            format!("[{}]", items.join(comma))
        }
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| {
                let name = Value::from(name.as_str());
                format!("{name}{colon}{}", compact(value, spaced))
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(comma))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

fn tree(text: &str) -> Result<Option<ast::Value<'_>>, Problem> {
    let found = parse_to_ast(text, &CollectOptions::default(), &ParseOptions::default());
    Ok(found
        .map_err(|error| format!("the file is not JSON: {error}"))?
        .value)
}

/// Checks that the members around the entry occur once.
///
/// # Errors
/// When one is repeated: clients read one of them, and which one is not known.
fn only_once(text: &str, section: &str, name: &str) -> Result<(), Problem> {
    let root = tree(text)?;
    let Some(root) = root.as_ref().and_then(ast::Value::as_object) else {
        return Ok(());
    };
    let servers = root.get_object(section);
    for (object, member) in [(Some(root), section), (servers, name)] {
        let members = object.into_iter().flat_map(|object| &object.properties);
        let same = members.filter(|property| property.name.as_str() == member);
        let lines: Vec<String> = same
            .map(|property| {
                let before = text.get(..property.range.start).unwrap_or_default();
                before.matches('\n').count().saturating_add(1).to_string()
            })
            .collect();
        if lines.len() > 1 {
            return Err(format!(
                "the member {member:?} stands there {} times (lines {}), of which a client reads one: leave one of them",
                lines.len(),
                lines.join(", ")
            )
            .into());
        }
    }
    Ok(())
}

/// Returns the other members that occur twice in one object, as far as the entry is inside of it.
pub(super) fn repeated(text: &str, section: &str) -> Vec<String> {
    let root = tree(text).unwrap_or_default();
    let root = root.as_ref().and_then(ast::Value::as_object);
    let servers = root.and_then(|root| root.get_object(section));
    let mut repeated = Vec::new();
    for object in root.into_iter().chain(servers) {
        let mut seen = BTreeSet::new();
        for property in &object.properties {
            let name = property.name.as_str();
            if !seen.insert(name) && !repeated.iter().any(|found| found == name) {
                repeated.push(name.to_owned());
            }
        }
    }
    repeated
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
