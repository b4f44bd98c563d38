//! `WWW-Authenticate`, by the grammar of RFC 9110 section 11.6.1, in one pass (CHAL).

use std::borrow::Cow;
use std::collections::BTreeSet;

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

use super::scopes::Scopes;
use super::text::{ByteTable, Untrusted, byte_table, first_byte};
use crate::few::Few;

/// Largest header text that is parsed, in bytes (CHAL-11).
pub const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Largest number of challenges (CHAL-11).
pub const MAX_CHALLENGES: usize = 32;
/// Largest number of parameters per challenge (CHAL-11).
pub const MAX_PARAMETERS: usize = 64;
/// Longest parameter value, in bytes (CHAL-11).
pub const MAX_VALUE_BYTES: usize = 8 * 1024;

/// One challenge of the header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthChallenge<'h> {
    /// The scheme as sent; compare it without regard to case (CHAL-03).
    pub scheme: Cow<'h, str>,
    /// The `token68` value, as `Negotiate` sends it (CHAL-06).
    pub token68: Option<Cow<'h, str>>,
    /// The parameters in order: names as sent, values decoded.
    pub parameters: Vec<(Cow<'h, str>, Cow<'h, str>)>,
}

impl<'h> AuthChallenge<'h> {
    fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.texts(name).map(Cow::as_ref)
    }

    fn texts<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Cow<'h, str>> {
        self.parameters
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// All challenges of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed<'h> {
    challenges: Few<AuthChallenge<'h>>,
}

/// The supported authentication schemes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Bearer tokens (RFC 6750).
    Bearer,
    /// DPoP tokens (RFC 9449).
    DPoP,
}

/// The selected challenge, with its parameters (CHAL-07).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selected<'h> {
    /// The scheme; `None` when only a metadata location was found, under an unsupported scheme.
    pub scheme: Option<Scheme>,
    resource_metadata: Few<Cow<'h, str>>,
    /// The required scopes (CHAL-12).
    pub scope: Option<Scopes>,
    /// The error code.
    pub error: Option<Box<str>>,
    /// The error description, for developers (CHAL-14).
    pub error_description: Option<Untrusted>,
    /// The signature algorithms for DPoP proofs.
    pub algs: Option<Box<str>>,
    /// The parameters that were ignored because they were repeated with different values (CHAL-08).
    pub dropped: Vec<&'static str>,
}

impl<'h> Selected<'h> {
    /// Returns the resource metadata locations as sent, in order (RFC 9728 section 5.1, CHAL-08).
    pub fn resource_metadata(&self) -> &[Cow<'h, str>] {
        &self.resource_metadata
    }
}

/// Parses all `WWW-Authenticate` lines as one list (CHAL-01).
pub fn parse(headers: &HeaderMap) -> Parsed<'_> {
    let mut parsed = Parsed::default();
    let mut left = MAX_HEADER_BYTES;
    for line in headers.get_all(WWW_AUTHENTICATE) {
        let bytes = line.as_bytes();
        let whole = bytes.len() <= left;
        let bytes = bytes.get(..left).unwrap_or(bytes);
        left = left.saturating_sub(bytes.len());
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => String::from_utf8_lossy(bytes),
        };
        match text {
            Cow::Borrowed(text) => Reader::new(text).read(&mut parsed, whole),
            Cow::Owned(text) => {
                let mut own = Parsed {
                    challenges: std::mem::take(&mut parsed.challenges),
                };
                let mut line = Parsed::default();
                Reader::new(&text).read(&mut line, whole);
                let left = MAX_CHALLENGES.saturating_sub(own.challenges.len());
                let read = line.challenges.iter().take(left);
                own.challenges.extend(read.map(owned));
                parsed = own;
            }
        }
        if !whole {
            break;
        }
    }
    parsed
}

fn owned<'o>(challenge: &AuthChallenge<'_>) -> AuthChallenge<'o> {
    fn own<'o>(text: &str) -> Cow<'o, str> {
        Cow::Owned(text.to_owned())
    }
    AuthChallenge {
        scheme: own(&challenge.scheme),
        token68: challenge.token68.as_deref().map(own),
        parameters: challenge
            .parameters
            .iter()
            .map(|(name, value)| (own(name), own(value)))
            .collect(),
    }
}

/// The start of a list element.
enum Element<'h> {
    Parameter(Cow<'h, str>, Cow<'h, str>),
    Scheme(AuthChallenge<'h>),
    /// An unterminated quoted string: its challenge is dropped, and the rest cannot be parsed (CHAL-04).
    Malformed,
    End,
}

struct Reader<'h> {
    rest: &'h str,
}

impl<'h> Reader<'h> {
    fn new(text: &'h str) -> Self {
        Self { rest: text }
    }

    fn read(mut self, parsed: &mut Parsed<'h>, whole: bool) {
        let mut current: Option<AuthChallenge<'h>> = None;
        loop {
            match self.element(current.is_some()) {
                Element::Parameter(name, value) => {
                    if let Some(challenge) = &mut current
                        && challenge.parameters.len() < MAX_PARAMETERS
                    {
                        challenge.parameters.push((name, value));
                    }
                }
                Element::Scheme(next) => {
                    parsed.push(current.replace(next));
                    if parsed.challenges.len() >= MAX_CHALLENGES {
                        return;
                    }
                }
                Element::Malformed => return,
                Element::End => {
                    // A line that was cut at the limit ends in the middle of an element.
                    if whole {
                        parsed.push(current);
                    }
                    return;
                }
            }
        }
    }

    fn element(&mut self, in_challenge: bool) -> Element<'h> {
        loop {
            self.take_while(|byte| matches!(byte, b' ' | b'\t' | b','));
            if self.rest.is_empty() {
                return Element::End;
            }
            let word = self.take_while(|byte| TOKEN.has(byte));
            if word.is_empty() {
                self.skip_element();
                continue;
            }
            let after = without_space(self.rest);
            if let Some(value) = after.strip_prefix('=').filter(|_| in_challenge) {
                self.rest = without_space(value);
                return match self.value() {
                    Some(value) if value.len() <= MAX_VALUE_BYTES => {
                        Element::Parameter(Cow::Borrowed(word), value)
                    }
                    Some(_) | None => Element::Malformed,
                };
            }
            return Element::Scheme(self.scheme(word));
        }
    }

    fn scheme(&mut self, word: &'h str) -> AuthChallenge<'h> {
        let scheme = Cow::Borrowed(word);
        let spaced = self.rest.starts_with(' ');
        let token68 = if spaced { self.token68() } else { None };
        AuthChallenge {
            scheme,
            token68,
            parameters: Vec::new(),
        }
    }

    /// Parses a `token68`, which must be followed by a comma or the end of the field.
    fn token68(&mut self) -> Option<Cow<'h, str>> {
        let start = self.rest.trim_start_matches(' ');
        let length = start.bytes().position(|byte| !TOKEN68.has(byte));
        let (_, body) = start.split_at_checked(length.unwrap_or(start.len()))?;
        let end = body.trim_start_matches('=');
        let after = without_space(end);
        let length = start.len().saturating_sub(end.len());
        let value = start.get(..length).filter(|_| body.len() < start.len())?;
        if after.is_empty() || after.starts_with(',') {
            self.rest = after;
            return Some(Cow::Borrowed(value));
        }
        None
    }

    /// Takes the bytes before the first one that is not kept, which is ASCII or the start of a character.
    fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> &'h str {
        let end = self.rest.bytes().position(|byte| !keep(byte));
        let end = end.unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        word
    }

    /// Parses a token, a quoted string, or one of the two deviations of CHAL-09. `None`: unterminated.
    fn value(&mut self) -> Option<Cow<'h, str>> {
        if let Some(inner) = self.rest.strip_prefix('"') {
            return self.quoted(inner);
        }
        if let Some(inner) = self.rest.strip_prefix('\'')
            && let Some((value, rest)) = inner.split_once('\'')
        {
            self.rest = rest;
            return Some(Cow::Borrowed(value));
        }
        Some(Cow::Borrowed(
            self.take_while(|byte| !matches!(byte, b',' | b' ' | b'\t')),
        ))
    }

    fn quoted(&mut self, inner: &'h str) -> Option<Cow<'h, str>> {
        let stop = first_byte(inner.as_bytes(), |byte| (byte == b'"') | (byte == b'\\'))?;
        let (plain, tail) = inner.split_at_checked(stop)?;
        if let Some(rest) = tail.strip_prefix('"') {
            self.rest = rest;
            return Some(Cow::Borrowed(plain));
        }
        let mut value = plain.to_owned();
        let mut chars = tail.chars();
        loop {
            match chars.next()? {
                '"' => {
                    self.rest = chars.as_str();
                    return Some(Cow::Owned(value));
                }
                '\\' => value.push(chars.next()?),
                other => value.push(other),
            }
        }
    }

    /// Skips the text up to the next element.
    fn skip_element(&mut self) {
        if let Some(inner) = self.rest.strip_prefix('"') {
            if self.quoted(inner).is_none() {
                self.rest = "";
            }
        } else {
            self.rest = self.rest.split_once(',').map_or("", |(_, rest)| rest);
        }
    }
}

fn without_space(text: &str) -> &str {
    let space = text.bytes().position(|byte| !matches!(byte, b' ' | b'\t'));
    text.get(space.unwrap_or(text.len())..).unwrap_or_default()
}

static TOKEN: ByteTable = byte_table!(is_token_char);
static TOKEN68: ByteTable = byte_table!(is_token68_char);

const fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

const fn is_token68_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
}

impl<'h> Parsed<'h> {
    fn push(&mut self, challenge: Option<AuthChallenge<'h>>) {
        self.challenges.extend(challenge);
    }

    /// Returns the challenges in order.
    pub fn challenges(&self) -> &[AuthChallenge<'h>] {
        &self.challenges
    }

    /// Returns true when a DPoP challenge has this error, also beside one for bearer tokens (RFC 9449 section 7.1).
    pub(crate) fn is_of_proof(&self, error: &str) -> bool {
        let of_proof = |challenge: &AuthChallenge<'_>| {
            challenge.is("DPoP") && challenge.values("error").any(|found| found == error)
        };
        self.challenges.iter().any(of_proof)
    }

    /// Selects the challenge that applies. `usable` checks a metadata location (CHAL-07).
    pub fn select(&self, status: u16, usable: &dyn Fn(&str) -> bool) -> Option<Selected<'h>> {
        let understood = || {
            self.challenges.iter().filter_map(|challenge| {
                let scheme = if challenge.is("Bearer") {
                    Scheme::Bearer
                } else if challenge.is("DPoP") {
                    Scheme::DPoP
                } else {
                    return None;
                };
                Some((scheme, challenge))
            })
        };
        let places =
            |challenge: &AuthChallenge<'_>| challenge.values("resource_metadata").any(usable);
        let step_up = understood().find(|(_, challenge)| {
            status == 403 && challenge.values("error").any(|e| e == "insufficient_scope")
        });
        // Metadata locations decide only among several challenges.
        let chosen = step_up
            .or_else(|| {
                let several = understood().nth(1).is_some();
                understood().find(|(_, challenge)| several && places(challenge))
            })
            .or_else(|| understood().next());
        let mut selected = chosen.map(|(scheme, challenge)| Selected::of(scheme, challenge));
        let foreign = |challenge: &&AuthChallenge<'_>| {
            !challenge.is("Bearer") && !challenge.is("DPoP") && places(challenge)
        };
        let lacks = || {
            let own = selected.as_ref();
            own.is_none_or(|own| !own.resource_metadata.iter().any(|text| usable(text)))
        };
        if let Some(hint) = self.challenges.iter().find(foreign).filter(|_| lacks()) {
            let hints = distinct(hint, "resource_metadata");
            selected.get_or_insert_default().resource_metadata = hints;
        }
        selected
    }
}

/// Returns the values of a parameter in their order, each once.
fn distinct<'h>(challenge: &AuthChallenge<'h>, name: &str) -> Few<Cow<'h, str>> {
    let mut known = Few::new();
    // One value, the usual case, needs no set.
    let mut seen = BTreeSet::new();
    let mut values = challenge.texts(name);
    let first = values.next();
    known.extend(first.cloned());
    for value in values {
        if first != Some(value) && seen.insert(value) {
            known.push(value.clone());
        }
    }
    known
}

impl<'h> Selected<'h> {
    fn of(scheme: Scheme, challenge: &AuthChallenge<'h>) -> Self {
        let mut dropped = Vec::new();
        let mut single = |name: &'static str| {
            let mut values = challenge.values(name);
            let first = values.next()?;
            if values.any(|other| other != first) {
                dropped.push(name);
                return None;
            }
            Some(first)
        };
        let scope = single("scope").map(Scopes::parse);
        let error = single("error").map(Box::from);
        let error_description = single("error_description")
            .filter(|words| !words.is_empty())
            .map(Untrusted::new);
        let algs = single("algs").map(Box::from);
        Self {
            scheme: Some(scheme),
            resource_metadata: distinct(challenge, "resource_metadata"),
            scope,
            error,
            error_description,
            algs,
            dropped,
        }
    }
}
