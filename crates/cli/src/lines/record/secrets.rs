//! The observed secrets, their substitutes, and the search for them.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Shorter texts occur by chance and cannot be searched for.
const SHORTEST: usize = 6;

#[derive(Default)]
pub(crate) struct Secrets {
    names: BTreeMap<String, String>,
    counts: BTreeMap<&'static str, u32>,
    /// Names that are not secret, but too informative for a transcript.
    renamed: BTreeMap<String, String>,
    /// Substitutes for the values of parameters.
    parameters: BTreeMap<String, String>,
    /// Secrets without a substitute.
    others: BTreeSet<String>,
    too_short: bool,
}

impl Secrets {
    /// Returns the substitute for a secret, the same each time.
    pub(crate) fn cover(&mut self, kind: &'static str, secret: &str) -> String {
        if let Some(name) = self.names.get(secret) {
            return name.clone();
        }
        self.too_short |= secret.len() < SHORTEST;
        let count = self.counts.entry(kind).or_default();
        *count = count.saturating_add(1);
        let name = format!("{kind}-{count}");
        self.names.insert(secret.to_owned(), name.clone());
        name
    }

    /// Returns the substitute for the name of a key, which may be a path.
    pub(super) fn rename(&mut self, name: &str) -> String {
        let count = self.renamed.len().saturating_add(1);
        let new = || format!("key-{count}");
        self.renamed
            .entry(name.to_owned())
            .or_insert_with(new)
            .clone()
    }

    /// Returns the substitute for a parameter's value, which is often a word or an address that occurs elsewhere, too: only
    /// a value that looks like a secret must occur nowhere.
    pub(super) fn parameter(&mut self, value: &str) -> String {
        self.saw_any(value);
        let count = self.parameters.len().saturating_add(1);
        let new = || format!("parameter-{count}");
        self.parameters
            .entry(value.to_owned())
            .or_insert_with(new)
            .clone()
    }

    /// Registers a secret that occurs in no input line.
    pub(crate) fn saw(&mut self, secret: &str) {
        if secret.len() >= SHORTEST {
            self.others.insert(secret.to_owned());
        }
    }

    /// Registers a text that may be a secret: not a word, list of words, or address.
    pub(crate) fn saw_any(&mut self, text: &str) {
        if text.len() >= 16 && !text.contains([' ', '/']) {
            self.saw(text);
        }
    }

    /// Returns every form in which a secret could occur in a text.
    pub(crate) fn forms(&self) -> impl Iterator<Item = String> {
        let all = self.names.keys().chain(&self.others);
        all.flat_map(|secret| forms(secret))
    }

    /// Checks that the text contains no secret in any encoding.
    pub(super) fn are_absent(&self, text: &str) -> Result<(), &'static str> {
        if self.too_short {
            return Err("a secret is so short that it cannot be looked for");
        }
        if self.forms().any(|form| text.contains(&form)) {
            return Err("a secret would be in it");
        }
        Ok(())
    }
}

/// Returns a secret as text, as JSON, percent-encoded, and in base64 at every alignment.
fn forms(secret: &str) -> Vec<String> {
    let quoted = serde_json::Value::from(secret).to_string();
    let quoted = quoted.trim_matches('"').to_owned();
    let form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let mut found = vec![
        secret.to_owned(),
        serde_json::Value::from(quoted.as_str())
            .to_string()
            .trim_matches('"')
            .to_owned(),
        quoted,
        form.replace('+', "%20"),
        form,
    ];
    for before in ["", "x", "xx"] {
        let bytes = [before.as_bytes(), secret.as_bytes()].concat();
        // The first and the last characters depend on the neighbouring bytes.
        let skip = match before.len() {
            0 => 0,
            1 => 2,
            _ => 3,
        };
        let whole = bytes.len() / 3;
        let end = whole.saturating_mul(4);
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = engine.encode(&bytes);
            found.extend(text.get(skip..end).map(str::to_owned));
        }
    }
    found.retain(|form| form.len() >= SHORTEST);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_form() {
        let mut secrets = Secrets::default();
        let secret = "a secret/with \"marks\" & more";
        assert_eq!(secrets.cover("secret", secret), "secret-1");
        assert_eq!(secrets.cover("secret", secret), "secret-1");
        assert_eq!(secrets.cover("secret", "another one"), "secret-2");
        let form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let mut texts = vec![secret.to_owned(), form, format!("{secret:?}")];
        for before in ["", "i", "id", "id:", "client:"] {
            let pair = format!("{before}{secret}!");
            texts.push(STANDARD_NO_PAD.encode(&pair));
            texts.push(URL_SAFE_NO_PAD.encode(&pair));
        }
        for text in texts {
            let text = format!("before {text} after");
            assert!(secrets.are_absent(&text).is_err(), "{text}");
        }
        assert!(secrets.are_absent("secret-1 and secret-2").is_ok());
        secrets.cover("token", "abc");
        assert!(secrets.are_absent("nothing").is_err());
    }
}
