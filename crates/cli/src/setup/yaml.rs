//! YAML, edited as lines: the entry is written below its section, and the document that results must
//! differ from the former one in this entry alone.

use serde_json::Value;
use yaml_rust2::yaml::Hash;
use yaml_rust2::{Yaml, YamlLoader};

use super::edit::Outcome;
use crate::problem::Problem;

pub(super) fn insert(
    text: &str,
    section: &str,
    name: &str,
    value: &Value,
) -> Result<Outcome, Problem> {
    let before = mapping(text)?;
    let (key, section_key) = (
        Yaml::String(name.to_owned()),
        Yaml::String(section.to_owned()),
    );
    let entries = match before.get(&section_key) {
        None | Some(Yaml::Null) => None,
        Some(Yaml::Hash(entries)) => Some(entries),
        Some(_) => return Err(format!("{section} is not a mapping").into()),
    };
    let wanted = converted(value);
    if entries.and_then(|entries| entries.get(&key)) == Some(&wanted) {
        return Ok(Outcome::Unchanged);
    }
    let after = edited(text, section, name, value);
    let mut expected = before.clone();
    let mut children = entries.cloned().unwrap_or_default();
    put(&mut children, key, wanted);
    put(&mut expected, section_key, Yaml::Hash(children));
    match mapping(&after) {
        Ok(found) if found == expected => Ok(Outcome::Changed(after)),
        Ok(_) | Err(_) => Err(format!(
            "this file is written in a way that cannot be edited safely: add the entry to {section} by hand"
        )
        .into()),
    }
}

/// Returns the text of the entry of this name.
pub(super) fn former(text: &str, section: &str, name: &str) -> Option<String> {
    let file = mapping(text).ok()?;
    let entries = file.get(&Yaml::String(section.to_owned()))?.as_hash()?;
    let found = entries.get(&Yaml::String(name.to_owned()))?;
    Some(format!("{found:?}"))
}

/// A member that is there keeps its place.
fn put(mapping: &mut Hash, key: Yaml, value: Yaml) {
    match mapping.get_mut(&key) {
        Some(found) => *found = value,
        None => {
            mapping.insert(key, value);
        }
    }
}

fn mapping(text: &str) -> Result<Hash, Problem> {
    let documents = YamlLoader::load_from_str(text)
        .map_err(|error| format!("the file is not YAML: {error}"))?;
    match documents.as_slice() {
        [] | [Yaml::Null] => Ok(Hash::new()),
        [Yaml::Hash(mapping)] => Ok(mapping.clone()),
        _ => Err("the file is not one YAML mapping".into()),
    }
}

/// The text with the entry below its section, in the place of one of that name.
fn edited(text: &str, section: &str, name: &str, value: &Value) -> String {
    // A line end of Windows stays with its line.
    let lines: Vec<&str> = text.split_terminator('\n').collect();
    let Some((head, body, tail)) = sectioned(&lines, section) else {
        let mut out = text.to_owned();
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        out.push_str(&format!("{section}:\n"));
        out.push_str(&written(name, value, 2));
        return out;
    };
    let filled = |line: &&&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let indent = depth(body);
    let (kept, entry) = without(body, name, indent);
    let mut out = String::new();
    for line in head {
        push(&mut out, line);
    }
    // In the place of the former entry, or behind the last one.
    let place = entry.unwrap_or_else(|| {
        let last = kept.iter().rposition(|line| filled(&line));
        last.map_or(0, |last| last.saturating_add(1))
    });
    let (above, below) = kept.split_at(place.min(kept.len()));
    for line in above {
        push(&mut out, line);
    }
    out.push_str(&written(name, value, indent));
    for line in below.iter().chain(tail) {
        push(&mut out, line);
    }
    out
}

/// The lines up to the section's key, those of its entries, and the rest.
type Sections<'a, 'b> = (&'b [&'a str], &'b [&'a str], &'b [&'a str]);

fn sectioned<'a, 'b>(lines: &'b [&'a str], section: &str) -> Option<Sections<'a, 'b>> {
    let starts = |line: &&str| {
        let rest = line.strip_prefix(section);
        let rest = rest.and_then(|rest| rest.trim_start().strip_prefix(':'));
        rest.is_some_and(|rest| rest.trim().is_empty() || rest.trim().starts_with('#'))
    };
    let start = lines.iter().position(starts)?;
    let (head, body) = lines.split_at(start.saturating_add(1));
    let length = body
        .iter()
        .position(|line| !line.trim().is_empty() && !line.starts_with([' ', '#', '\t']))
        .unwrap_or(body.len());
    let (body, tail) = body.split_at(length);
    Some((head, body, tail))
}

/// The indentation of the entries.
fn depth(body: &[&str]) -> usize {
    let filled = |line: &&&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    body.iter().find(filled).map_or(2, |line| indent(line))
}

/// Removes the entry. The document that results differs from the former one in this entry alone.
pub(super) fn remove(text: &str, section: &str, name: &str) -> Result<Outcome, Problem> {
    let mut expected = mapping(text)?;
    let section_key = Yaml::String(section.to_owned());
    let Some(Yaml::Hash(entries)) = expected.get_mut(&section_key) else {
        return Ok(Outcome::Unchanged);
    };
    if entries.remove(&Yaml::String(name.to_owned())).is_none() {
        return Ok(Outcome::Unchanged);
    }
    let is_last = entries.is_empty();
    let lines: Vec<&str> = text.split_terminator('\n').collect();
    let mut after = String::new();
    if let Some((head, body, tail)) = sectioned(&lines, section) {
        let (kept, _) = without(body, name, depth(body));
        for line in head.iter().chain(&kept).chain(tail) {
            push(&mut after, line);
        }
    }
    if let Some(section) = expected.get_mut(&section_key).filter(|_| is_last) {
        *section = Yaml::Null;
    }
    match mapping(&after) {
        Ok(found) if found == expected => Ok(Outcome::Changed(after)),
        Ok(_) | Err(_) => Err(format!(
            "this file is written in a way that cannot be edited safely: remove the entry from {section} by hand"
        )
        .into()),
    }
}

fn push(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

fn indent(line: &str) -> usize {
    line.len()
        .saturating_sub(line.trim_start_matches(' ').len())
}

/// The lines of a section without an entry, and where it was.
fn without<'a>(body: &[&'a str], name: &str, depth: usize) -> (Vec<&'a str>, Option<usize>) {
    let is_key = |line: &str| {
        let Some((key, _)) = line.trim().split_once(':') else {
            return false;
        };
        key.trim_matches(|c| matches!(c, '"' | '\'')) == name
    };
    let (mut kept, mut place, mut inside) = (Vec::new(), None, false);
    for line in body {
        let filled = !line.trim().is_empty();
        if filled && indent(line) <= depth {
            inside = indent(line) == depth && is_key(line);
            if inside {
                place = Some(kept.len());
            }
        }
        if !inside {
            kept.push(*line);
        }
    }
    (kept, place)
}

/// The entry as lines; a JSON string is a YAML string.
fn written(name: &str, value: &Value, indent: usize) -> String {
    let pad = " ".repeat(indent);
    let mut out = format!("{pad}{}:\n", Value::from(name));
    for (key, member) in value.as_object().into_iter().flatten() {
        out.push_str(&format!("{pad}  {key}: {member}\n"));
    }
    out
}

fn converted(value: &Value) -> Yaml {
    match value {
        Value::Null => Yaml::Null,
        Value::Bool(flag) => Yaml::Boolean(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Yaml::Integer(number),
            None => Yaml::Real(number.to_string()),
        },
        Value::String(text) => Yaml::String(text.clone()),
        Value::Array(items) => Yaml::Array(items.iter().map(converted).collect()),
        Value::Object(members) => Yaml::Hash(
            members
                .iter()
                .map(|(key, member)| (Yaml::String(key.clone()), converted(member)))
                .collect(),
        ),
    }
}
