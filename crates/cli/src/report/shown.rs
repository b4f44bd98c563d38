//! Text that is safe to show on the page.

use std::collections::BTreeSet;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use serde_json::Value;

use super::Entry;
use crate::lines::record::secrets::Secrets;
use crate::lines::record::{documents, text_of};

/// The placeholder for a secret.
pub(super) const HIDDEN: &str = "(hidden)";

/// The longest text that is shown, in characters.
const LONGEST: usize = 20_000;

/// Text without secrets and without characters that change how other text is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown(String);

impl Shown {
    pub(super) fn fixed(text: &'static str) -> Self {
        Self(text.to_owned())
    }

    pub(super) fn number(number: u64) -> Self {
        Self(number.to_string())
    }

    pub(super) fn join(parts: impl IntoIterator<Item = Self>) -> Self {
        Self(parts.into_iter().map(|part| part.0).collect())
    }
}

impl maud::Render for Shown {
    fn render_to(&self, buffer: &mut String) {
        self.0.render_to(buffer);
    }
}

/// The secrets of one transcript; the only way to convert its text for the page.
pub(super) struct Redactor(Vec<String>);

impl Redactor {
    pub(super) fn of(entries: &[Entry]) -> Self {
        let mut secrets = Secrets::default();
        for entry in entries {
            collect(&entry.line, &mut secrets);
        }
        let forms: BTreeSet<String> = secrets.forms().collect();
        let mut forms: Vec<String> = forms.into_iter().collect();
        // A secret may contain another one.
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        Self(forms)
    }

    /// Returns the text with each secret replaced, and with control and direction characters made visible.
    pub(super) fn show(&self, text: &str) -> Shown {
        let mut text = text.to_owned();
        for form in &self.0 {
            if text.contains(form.as_str()) {
                text = text.replace(form.as_str(), HIDDEN);
            }
        }
        let mut kept: String = text.chars().take(LONGEST).map(visible).collect();
        if text.chars().nth(LONGEST).is_some() {
            kept.push('…');
        }
        Shown(kept)
    }

    /// Returns a URL without its query, which may contain a key.
    pub(super) fn url(&self, url: &str) -> Shown {
        let shown = match url.split_once(['?', '#']) {
            Some((target, _)) => format!("{target}?…"),
            None => url.to_owned(),
        };
        self.show(&shown)
    }
}

fn visible(character: char) -> char {
    let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    match character {
        '\n' | '\t' => character,
        _ if turns || character.is_control() => '\u{fffd}',
        _ => character,
    }
}

/// Collects the secrets of one line.
fn collect(line: &Value, secrets: &mut Secrets) {
    if let Some(config) = line.get("config") {
        documents::cover(&mut config.clone(), secrets);
        // A key in the query of the MCP URL belongs to the user.
        let (_, own) = text_of(config, "mcp_url")
            .split_once('?')
            .unwrap_or_default();
        for (_, value) in url::form_urlencoded::parse(own.as_bytes()) {
            secrets.saw(&value);
        }
    }
    for name in [
        "seed",
        "token",
        "assertion",
        "signature",
        "authorization",
        "sent",
    ] {
        let word = text_of(line, name).rsplit(' ').next().unwrap_or_default();
        secrets.saw(word);
    }
    for name in ["url", "query", "form"] {
        let text = text_of(line, name);
        // Of a callback, of an authorization URL; requests of the machine carry none there.
        query(
            &format!("?{}", text.rsplit('?').next().unwrap_or_default()),
            secrets,
        );
    }
    documents::written(text_of(line, "contents"), secrets);
    let body = text_of(line, "body");
    if text_of(line, "action") == "send_request" {
        documents::sent(&header_map(line), body.as_bytes(), secrets);
    }
    documents::credentials(serde_json::from_str(body).unwrap_or_default(), secrets);
}

/// Collects the values of a query that may be secret.
fn query(url: &str, secrets: &mut Secrets) {
    const CARRIERS: [&str; 5] = [
        "code",
        "state",
        "access_token",
        "id_token",
        "code_challenge",
    ];
    let Some((_, query)) = url.split_once('?') else {
        return;
    };
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if CARRIERS.contains(&name.as_ref()) {
            secrets.saw(&value);
        } else if !matches!(
            name.as_ref(),
            "iss" | "redirect_uri" | "resource" | "client_id"
        ) {
            secrets.saw_any(&value);
        }
    }
}

/// Returns the headers of a line; invalid ones are skipped.
pub(super) fn header_map(line: &Value) -> HeaderMap {
    let pairs = line.get("headers").and_then(Value::as_array);
    let pairs = pairs.into_iter().flatten();
    pairs
        .filter_map(|pair| {
            let text = |at: usize| pair.get(at).and_then(Value::as_str);
            let name = HeaderName::try_from(text(0)?).ok()?;
            Some((name, HeaderValue::from_str(text(1)?).ok()?))
        })
        .collect()
}
