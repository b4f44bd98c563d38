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

/// The text of a file as the parsers read it: without a byte order mark, with line ends of Unix.
struct Plain<'a> {
    mark: &'static str,
    /// The text with its own line ends.
    raw: &'a str,
    text: String,
}

impl<'a> Plain<'a> {
    fn of(file: &'a str) -> Self {
        let (mark, raw) = match file.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) => (BYTE_ORDER_MARK, rest),
            None => ("", file),
        };
        let text = raw.replace("\r\n", "\n");
        Self { mark, raw, text }
    }

    /// Returns an edited text as the file has it: with its mark and its line ends.
    fn restored(&self, mut after: String) -> String {
        // A last line without an end keeps none.
        if !self.text.ends_with('\n') && self.text.lines().last() == after.lines().last() {
            after.truncate(after.trim_end_matches('\n').len());
        }
        if self.raw.len() > self.text.len() {
            after = with_line_ends(self.raw, &after);
        }
        format!("{}{after}", self.mark)
    }
}

/// Inserts the entry into the text of a configuration file, or replaces the one of that name.
///
/// # Errors
///
/// When the text is not of the client's format, or has another kind of value where entries belong.
pub(crate) fn insert(client: Client, file: &str, entry: &Entry) -> Result<Outcome, Problem> {
    let plain = Plain::of(file);
    let insert = match client.format() {
        Format::Json => json::insert,
        Format::Toml => toml::insert,
        Format::Yaml => yaml::insert,
    };
    let value = client.value(entry);
    Ok(
        match insert(&plain.text, client.section(), &entry.name, &value)? {
            Outcome::Changed(after) => Outcome::Changed(plain.restored(after)),
            Outcome::Unchanged => Outcome::Unchanged,
        },
    )
}

/// Removes the entry of this name from the text of a configuration file.
///
/// # Errors
///
/// When the text is not of the client's format, or cannot be edited safely.
pub(crate) fn remove(client: Client, file: &str, name: &str) -> Result<Outcome, Problem> {
    let plain = Plain::of(file);
    let remove = match client.format() {
        Format::Json => json::remove,
        Format::Toml => toml::remove,
        Format::Yaml => yaml::remove,
    };
    if plain.text.trim().is_empty() {
        return Ok(Outcome::Unchanged);
    }
    Ok(match remove(&plain.text, client.section(), name)? {
        Outcome::Changed(after) => Outcome::Changed(plain.restored(after)),
        Outcome::Unchanged => Outcome::Unchanged,
    })
}

/// Returns true if the file has an entry of this name that does not name the URL of the MCP server.
pub(crate) fn is_for_another(client: Client, file: &str, entry: &Entry) -> bool {
    let former = match client.format() {
        Format::Json => json::former,
        Format::Toml => toml::former,
        Format::Yaml => yaml::former,
    };
    let former = former(&Plain::of(file).text, client.section(), &entry.name);
    former.is_some_and(|former| !names(&former, &entry.url))
}

/// Returns the names of other members that a JSON file has twice, of which the client reads one.
pub(crate) fn repeated(client: Client, file: &str) -> Vec<String> {
    match client.format() {
        Format::Json => json::repeated(&Plain::of(file).text, client.section()),
        // The parsers refuse them.
        Format::Toml | Format::Yaml => Vec::new(),
    }
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
