//! One entry in the text of a configuration file; everything else stays as it is.

use super::client::{Client, Entry, Format};
use super::{json, toml, yaml};
use crate::problem::Problem;

/// The result of an edit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The entry exists already, with this value.
    Unchanged,
    Changed(String),
}

/// Inserts the entry into the text of a configuration file, or replaces the one of that name.
///
/// # Errors
///
/// When the text is not of the client's format, or has another kind of value where entries belong.
pub(crate) fn insert(client: Client, text: &str, entry: &Entry) -> Result<Outcome, Problem> {
    let (mark, text) = match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) => (BYTE_ORDER_MARK, rest),
        None => ("", text),
    };
    // The parsers write line ends of Unix.
    let raw = text;
    let text = raw.replace("\r\n", "\n");
    let value = client.value(entry);
    let section = client.section();
    let outcome = match client.format() {
        Format::Json => json::insert(&text, section, &entry.name, &value),
        Format::Toml => toml::insert(&text, section, &entry.name, &value),
        Format::Yaml => yaml::insert(&text, section, &entry.name, &value),
    };
    let Outcome::Changed(mut after) = outcome? else {
        return Ok(Outcome::Unchanged);
    };
    // A last line without an end keeps none.
    if !text.ends_with('\n') && text.lines().last() == after.lines().last() {
        after.truncate(after.trim_end_matches('\n').len());
    }
    if raw.len() > text.len() {
        after = with_line_ends(raw, &after);
    }
    Ok(Outcome::Changed(format!("{mark}{after}")))
}

/// Returns true if the file has an entry of this name that does not name the URL of the MCP server.
pub(crate) fn is_for_another(client: Client, text: &str, entry: &Entry) -> bool {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let text = text.replace("\r\n", "\n");
    let former = match client.format() {
        Format::Json => json::former(&text, client.section(), &entry.name),
        Format::Toml => toml::former(&text, client.section(), &entry.name),
        Format::Yaml => yaml::former(&text, client.section(), &entry.name),
    };
    former.is_some_and(|former| !names(&former, &entry.url))
}

/// Returns true if a text holds this URL, and not a longer one.
fn names(text: &str, url: &str) -> bool {
    text.match_indices(url).any(|(at, _)| {
        let after = text.split_at(at).1.strip_prefix(url).unwrap_or_default();
        let goes_on = |c: char| c.is_alphanumeric() || "-._~:/?#[]@!$&()*+,;=%".contains(c);
        !after.starts_with(goes_on)
    })
}

/// Returns the edited text with the line ends of the file: each line keeps its own, and a new one has the end of
/// most lines.
fn with_line_ends(raw: &str, after: &str) -> String {
    let before: Vec<&str> = raw.split_inclusive('\n').collect();
    let after: Vec<&str> = after.split_inclusive('\n').collect();
    let is_same = |(raw, after): &(&&str, &&str)| raw.replace("\r\n", "\n") == ***after;
    let start = before.iter().zip(&after).take_while(is_same).count();
    let left = before.len().min(after.len()).saturating_sub(start);
    let backwards = before.iter().rev().zip(after.iter().rev());
    let end = backwards.take(left).take_while(is_same).count();
    let is_windows = raw.matches("\r\n").count().saturating_mul(2) > raw.matches('\n').count();
    let kept = before.len().saturating_sub(end);
    let new = after.len().saturating_sub(end);
    let mut text: String = before.iter().take(start).copied().collect();
    for line in after.iter().take(new).skip(start) {
        match line.strip_suffix('\n') {
            Some(line) if is_windows => text.extend([line, "\r\n"]),
            Some(_) | None => text.push_str(line),
        }
    }
    text.extend(before.iter().skip(kept).copied());
    text
}

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Returns a configuration with this entry only.
pub(crate) fn alone(client: Client, entry: &Entry) -> Result<String, Problem> {
    match insert(client, "", entry)? {
        Outcome::Changed(text) => Ok(text),
        Outcome::Unchanged => Ok(String::new()),
    }
}
