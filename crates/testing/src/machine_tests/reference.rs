//! Slow readers of the same texts, written from the grammar alone, to compare the fast ones with.

use std::borrow::Cow;

use mcp_auth_machine::wire::challenge::{AuthChallenge, MAX_CHALLENGES, MAX_PARAMETERS};

/// The pairs of a form body or query; none when something is not what a form may hold.
pub fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let mut found = Vec::new();
    for piece in text.split('&').filter(|piece| !piece.is_empty()) {
        let chars: Vec<char> = piece.chars().collect();
        let split = chars.iter().position(|c| *c == '=').unwrap_or(chars.len());
        let value = chars.get(split + 1..).unwrap_or_default();
        found.push((unescape(&chars[..split])?, unescape(value)?));
    }
    Some(found)
}

fn unescape(chars: &[char]) -> Option<String> {
    let mut bytes = Vec::new();
    let mut at = 0;
    while let Some(c) = chars.get(at) {
        match c {
            '+' => bytes.push(b' '),
            '%' => {
                let digits: String = chars.get(at + 1..at + 3)?.iter().collect();
                if !digits.chars().all(|c| c.is_ascii_hexdigit()) {
                    return None;
                }
                bytes.push(u8::from_str_radix(&digits, 16).ok()?);
                at += 2;
            }
            other => bytes.extend(other.to_string().bytes()),
        }
        at += 1;
    }
    String::from_utf8(bytes).ok()
}

/// The challenges of one line that keeps to the letter of RFC 9110 section 11.6.1; none for any other,
/// which the fast reader may take as it likes (CHAL-09).
pub fn challenges(line: &str) -> Option<Vec<AuthChallenge<'static>>> {
    let mut found: Vec<AuthChallenge<'static>> = Vec::new();
    for element in elements(line)? {
        let element = element.trim_matches([' ', '\t']);
        if element.is_empty() {
            continue;
        }
        if let Some(parameter) = parameter(element) {
            found
                .last_mut()
                .filter(|last| last.token68.is_none())?
                .parameters
                .push(parameter);
            continue;
        }
        let (scheme, rest) = element.split_once(' ').unwrap_or((element, ""));
        if !is_token(scheme) {
            return None;
        }
        let rest = rest.trim_start_matches(' ');
        let mut challenge = AuthChallenge {
            scheme: Cow::Owned(scheme.to_owned()),
            ..AuthChallenge::default()
        };
        if is_token68(rest) {
            challenge.token68 = Some(Cow::Owned(rest.to_owned()));
        } else if !rest.is_empty() {
            challenge.parameters.push(parameter(rest)?);
        }
        found.push(challenge);
    }
    let fits = found.len() < MAX_CHALLENGES
        && found
            .iter()
            .all(|one| one.parameters.len() <= MAX_PARAMETERS);
    fits.then_some(found)
}

/// Splits at commas outside quoted strings; none when a quoted string does not end.
fn elements(line: &str) -> Option<Vec<String>> {
    let mut elements = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in line.chars() {
        if c == ',' && !quoted {
            elements.push(String::new());
            continue;
        }
        if let Some(last) = elements.last_mut() {
            last.push(c);
        }
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
    }
    (!quoted).then_some(elements)
}

type Parameter = (Cow<'static, str>, Cow<'static, str>);

fn parameter(text: &str) -> Option<Parameter> {
    let (name, value) = text.split_once('=')?;
    let name = name.trim_end_matches([' ', '\t']);
    let value = value.trim_start_matches([' ', '\t']);
    if !is_token(name) {
        return None;
    }
    let value = match value.strip_prefix('"') {
        None if is_token(value) => value.to_owned(),
        None => return None,
        Some(rest) => {
            let inner = rest.strip_suffix('"')?;
            let mut out = String::new();
            let mut chars = inner.chars();
            while let Some(c) = chars.next() {
                match c {
                    '"' => return None,
                    '\\' => out.push(chars.next()?),
                    other => out.push(other),
                }
            }
            out
        }
    };
    Some((Cow::Owned(name.to_owned()), Cow::Owned(value)))
}

/// A token that is not one of the deviations: a single quote starts another kind of string.
fn is_token(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(allowed)
}

fn is_token68(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
    !body.is_empty() && body.chars().all(allowed)
}
