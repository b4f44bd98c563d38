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
    let value = client.value(entry);
    let section = client.section();
    match client.format() {
        Format::Json => json::insert(text, section, &entry.name, &value),
        Format::Toml => toml::insert(text, section, &entry.name, &value),
        Format::Yaml => yaml::insert(text, section, &entry.name, &value),
    }
}

/// Returns a configuration with this entry only.
pub(crate) fn alone(client: Client, entry: &Entry) -> Result<String, Problem> {
    match insert(client, "", entry)? {
        Outcome::Changed(text) => Ok(text),
        Outcome::Unchanged => Ok(String::new()),
    }
}
