//! The secrets that were seen, what stands for each, and the search for them.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Shorter than this, a text cannot be looked for: it would be found by chance.
const SHORTEST: usize = 6;

#[derive(Default)]
pub(crate) struct Secrets {
    names: BTreeMap<String, String>,
    counts: BTreeMap<&'static str, u32>,
    /// Names that are no secrets, and say more than others need to know.
    renamed: BTreeMap<String, String>,
    /// Seen, and not kept in any form.
    others: BTreeSet<String>,
    too_short: bool,
}

impl Secrets {
    /// What stands for this secret: the same each time.
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

    /// What stands for the name of a key, which may be a path.
    pub(super) fn rename(&mut self, name: &str) -> String {
        let count = self.renamed.len().saturating_add(1);
        let new = || format!("key-{count}");
        self.renamed
            .entry(name.to_owned())
            .or_insert_with(new)
            .clone()
    }

    /// Something secret that is in no line in.
    pub(crate) fn saw(&mut self, secret: &str) {
        if secret.len() >= SHORTEST {
            self.others.insert(secret.to_owned());
        }
    }

    /// Something that may be secret: no word, no list of words, no address.
    pub(crate) fn saw_any(&mut self, text: &str) {
        if text.len() >= 16 && !text.contains([' ', '/']) {
            self.saw(text);
        }
    }

    /// Every form in which one of them could stand in a text.
    pub(crate) fn forms(&self) -> impl Iterator<Item = String> {
        let all = self.names.keys().chain(&self.others);
        all.flat_map(|secret| forms(secret))
    }

    /// Whether the text holds none of them, in any form in which it could travel.
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

/// A secret as it is, as JSON, percent-encoded, and in base64 wherever it may begin.
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
        // The first and the last characters depend on what stands beside the secret.
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
