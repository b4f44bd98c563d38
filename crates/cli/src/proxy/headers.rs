//! The headers of the command line, with values from the environment or from files.

use std::fs;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::problem::Problem;

/// The headers that the bridge sets.
const OWN: [&str; 7] = [
    "accept",
    "authorization",
    "content-type",
    "dpop",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
];

/// Reads headers. A message names a header, and never shows its value.
pub(super) fn read(given: &[String]) -> Result<HeaderMap, Problem> {
    let mut headers = HeaderMap::new();
    for text in given {
        let (name, value) = header(text).map_err(Problem::Usage)?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("--header: a header is written as `Name: value`")?;
    let name: HeaderName = name
        .trim()
        .parse()
        .map_err(|_| "--header: the name is not that of a header")?;
    if OWN.contains(&name.as_str()) {
        return Err(format!("--header: the bridge sets {name} by itself"));
    }
    let value = value.trim();
    let value = match value.strip_prefix('@') {
        Some(rest) if rest.starts_with('@') => rest.to_owned(),
        // The text may have been meant as a value, and be a secret.
        Some(file) => first_line(file).map_err(|flaw| {
            format!("--header {name}: the file after `@`: {flaw}; a value that begins with `@` is written `@@`")
        })?,
        None => expanded(value).map_err(|flaw| format!("--header {name}: {flaw}"))?,
    };
    let mut value: HeaderValue = value
        .parse()
        .map_err(|_| format!("--header {name}: the value cannot be sent"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

fn first_line(file: &str) -> Result<String, String> {
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() {
        return Err("the first line is empty".to_owned());
    }
    Ok(line.to_owned())
}

/// Replaces each `${VARIABLE}` by its value.
fn expanded(text: &str) -> Result<String, String> {
    let mut parts = text.split("${");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part
            .split_once('}')
            .ok_or("`${` has no `}` after the name of its variable")?;
        let value = std::env::var(name)
            .map_err(|_| "the environment has no variable of the name between `${` and `}`")?;
        whole.push_str(value.trim());
        whole.push_str(rest);
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn value(text: &str) -> Result<String, String> {
        let (name, value) = header(text)?;
        assert_eq!(name, "x-key");
        assert!(value.is_sensitive());
        Ok(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_value_comes_from_the_arguments_the_environment_or_a_file() {
        assert_eq!(value("X-Key: plain").unwrap(), "plain");
        // Cargo sets this one for tests.
        let name = env!("CARGO_PKG_NAME");
        let expanded = value("X-Key: Key ${CARGO_PKG_NAME}/${CARGO_PKG_NAME}").unwrap();
        assert_eq!(expanded, format!("Key {name}/{name}"));
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "  secret-of-a-file\nmore\n").unwrap();
        let from_file = format!("X-Key: @{}", file.path().display());
        assert_eq!(value(&from_file).unwrap(), "secret-of-a-file");
        fs::write(file.path(), "\n").unwrap();
        assert!(value(&from_file).unwrap_err().contains("is empty"));
        assert_eq!(value("X-Key: @@handle").unwrap(), "@handle");
    }

    /// SEC-32: a message about a header names it and shows no value.
    #[test]
    fn no_message_shows_a_value() {
        for text in [
            "hidden-value",
            "authorization: hidden-value",
            "x y: hidden-value",
            "x-key: hidden-value\u{7}",
            "x-key: hidden-value ${NO_SUCH_VARIABLE_HERE}",
            "x-key: hidden-value ${open",
            "x-key: hidden-value ${hidden}",
            "x-key: @hidden-value",
        ] {
            let flaw = header(text).unwrap_err();
            assert!(!flaw.contains("hidden"), "{flaw}");
            assert!(flaw.starts_with("--header"), "{flaw}");
        }
    }
}
