//! The one scanner. Every secret in this world is a recognisable text, `kind~issuer~number`; whatever
//! leaves the machine is decoded every way a text can be encoded, and searched.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// Kinds of text that only their own server may see.
pub const SECRETS: &[&str] = &["code", "dc", "sec", "at", "rt", "wl", "jag", "sub", "mgt"];
/// Put into every text of a callback's error, of an error answer, and of a name.
pub const POISON: &str = "poison~0~0";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sentinel<'a> {
    pub kind: &'a str,
    pub issuer: usize,
    pub text: &'a str,
}

/// The sentinels in one text, as it is.
pub fn in_text(text: &str) -> impl Iterator<Item = Sentinel<'_>> {
    text.match_indices('~').filter_map(|(at, _)| {
        let digit = text.as_bytes().get(at + 1).filter(|b| b.is_ascii_digit())?;
        (text.as_bytes().get(at + 2) == Some(&b'~')).then_some(())?;
        let before = &text[..at];
        let start = before
            .rfind(|c: char| !c.is_ascii_lowercase())
            .map_or(0, |at| at + 1);
        let rest = &text[at + 3..];
        let length = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        Some(Sentinel {
            kind: &before[start..],
            issuer: usize::from(digit - b'0'),
            text: &text[start..at + 3 + length],
        })
    })
}

/// A text as it is, percent-decoded, form-decoded, and with every stretch of base64 decoded.
pub fn views(text: &str) -> Vec<Cow<'_, str>> {
    let mut views = vec![Cow::Borrowed(text)];
    let mut at = 0;
    while at < views.len() && views.len() < 64 {
        let more = decodings(&views[at]);
        views.extend(more.into_iter().map(Cow::Owned));
        at += 1;
    }
    views
}

fn decodings(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if text.contains('%') {
        let bytes = text.replace('+', " ");
        // A lone value decodes as the name of a pair.
        let pairs = url::form_urlencoded::parse(bytes.as_bytes());
        let decoded: String = pairs
            .map(|(name, value)| format!("{name} {value} "))
            .collect();
        if decoded.trim_end() != text {
            found.push(decoded);
        }
    }
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/-_=".contains(c);
    for stretch in text.split(|c: char| !is_base64(c)) {
        if stretch.len() < 8 {
            continue;
        }
        let decoded = STANDARD
            .decode(stretch)
            .or_else(|_| URL_SAFE_NO_PAD.decode(stretch.trim_end_matches('=')));
        if let Ok(Ok(decoded)) = decoded.map(String::from_utf8)
            && (decoded.contains('~') || decoded.contains('%'))
        {
            found.push(decoded);
        }
    }
    found
}

thread_local! {
    /// Texts that were found in order: most are written many times.
    static FINE: RefCell<HashSet<String>> = RefCell::default();
}

/// Text that people may read shows no secret (S27), no control character, and no change of the writing direction
/// (S28).
pub fn diagnostic(place: &str, text: &str) {
    if FINE.with_borrow(|fine| fine.contains(text)) {
        return;
    }
    for view in views(text) {
        for found in in_text(&view) {
            assert!(
                !SECRETS.contains(&found.kind),
                "S27: {} shows in {place}: {text}",
                found.text
            );
        }
    }
    assert!(
        !text.contains(|c| c != '\n' && alarming(c)),
        "S28: {place}: {text:?}"
    );
    FINE.with_borrow_mut(|fine| {
        if fine.len() >= 4_096 {
            fine.clear();
        }
        fine.insert(text.to_owned());
    });
}

/// Characters that could forge a line of a log, or change the writing direction.
pub fn alarming(c: char) -> bool {
    c.is_control()
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}
