//! Pasted callbacks: the address in the browser, in any form that users paste.

/// The reason why a text is not a callback, for the user.
pub(crate) type Flaw = &'static str;

/// Collects pasted lines: an address may be split over several.
#[derive(Default)]
pub(crate) struct Pasted(String);

/// The result of one line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// The complete callback.
    Callback(String),
    /// The text is not a callback, perhaps not yet.
    No(Flaw),
    /// An empty line.
    Nothing,
}

impl Pasted {
    /// Adds a line. A callback is returned with the redirect URI, in whatever spelling it was pasted.
    pub(crate) fn line(&mut self, line: &str, redirect_uri: &str) -> Line {
        let bare: String = line
            .trim_matches(|c: char| c.is_whitespace() || "\"'`<>()[],;“”‘’«»".contains(c))
            .chars()
            .filter(|c| !c.is_whitespace())
            .collect();
        if bare.is_empty() {
            return Line::Nothing;
        }
        let starts = bare.starts_with("http") || bare.starts_with('?') || has(&bare, "code=");
        if starts {
            self.0.clear();
        }
        self.0.push_str(&bare);
        match callback(&self.0, redirect_uri) {
            Ok(callback) => Line::Callback(callback),
            Err(flaw) => Line::No(flaw),
        }
    }
}

fn has(query: &str, name: &str) -> bool {
    let query = query.trim_start_matches('?');
    query.split('&').any(|pair| pair.starts_with(name))
}

fn callback(text: &str, redirect_uri: &str) -> Result<String, Flaw> {
    let text = text.split('#').next().unwrap_or_default();
    let query = match text.split_once('?') {
        Some((base, query)) => {
            if has(query, "response_type=") {
                return Err(
                    "that is the address of the sign-in page; sign in there, and paste the address \
                     at which the browser ends",
                );
            }
            if !base.is_empty() && !is_ours(base, redirect_uri) {
                return Err(
                    "that is not the address at which this sign-in ends: it begins with the redirect \
                     address printed above",
                );
            }
            query
        }
        None if text.starts_with("http") => {
            return Err("that address has no code: copy all of it, with what follows the `?`");
        }
        None => text,
    };
    let answers = has(query, "code=") || has(query, "error=");
    match (answers, has(query, "state=")) {
        (true, true) => Ok(format!("{redirect_uri}?{query}")),
        (true, false) => Err("that address is cut off before `state`: copy all of it"),
        (false, true) => Err("that address has neither `code` nor `error`: copy all of it"),
        (false, false) => Err(
            "that is not the address at which the browser ended: paste all of it, not the code alone",
        ),
    }
}

/// Returns true if an address without its query is the redirect URI; all loopback names are equal.
fn is_ours(base: &str, redirect_uri: &str) -> bool {
    let own = |url: &str| {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let rest = rest.replacen("localhost", "127.0.0.1", 1);
        rest.replacen("[::1]", "127.0.0.1", 1).to_lowercase()
    };
    own(base) == own(redirect_uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "http://127.0.0.1:8123/callback";
    const WHOLE: &str = "http://127.0.0.1:8123/callback?code=a%2Fb&state=xyz&iss=https%3A%2F%2Fa";

    fn take(lines: &[&str]) -> Line {
        let mut pasted = Pasted::default();
        let taken = lines.iter().map(|line| pasted.line(line, OURS));
        taken.last().unwrap_or(Line::Nothing)
    }

    #[test]
    fn what_means_the_callback_is_taken_for_it() {
        let cases: [&[&str]; 10] = [
            &[WHOLE],
            &[&format!("  \"{WHOLE}\" ")],
            &[&format!("<{WHOLE}>")],
            &[&format!("'{WHOLE}#fragment'")],
            &[&WHOLE.replace("127.0.0.1", "localhost")],
            &["code=a%2Fb&state=xyz&iss=https%3A%2F%2Fa"],
            &["?code=a%2Fb&state=xyz&iss=https%3A%2F%2Fa"],
            &[
                "http://127.0.0.1:8123/callback?code=a%2Fb&sta",
                "te=xyz&iss=https%3A%2F%2Fa",
            ],
            &[
                "http://127.0.0.1:8123/call",
                "back?code=a%2Fb&state=xyz&iss=https%3A%2F%2Fa",
            ],
            &["nonsense", "", WHOLE],
        ];
        for lines in cases {
            assert_eq!(take(lines), Line::Callback(WHOLE.to_owned()), "{lines:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, words) in [
            ("http://127.0.0.1:8123/callback", "no code"),
            (
                "http://127.0.0.1:8123/callback?code=abc",
                "cut off before `state`",
            ),
            (
                "http://127.0.0.1:8123/callback?state=abc",
                "neither `code` nor `error`",
            ),
            (
                "https://as.example/authorize?response_type=code&state=x",
                "the sign-in page",
            ),
            (
                "https://other.example/cb?code=x&state=y",
                "begins with the redirect address",
            ),
            ("SplxlOBeZQQYbYS6WxSbIA", "not the code alone"),
        ] {
            let taken = take(&[line]);
            let said = matches!(taken, Line::No(flaw) if flaw.contains(words));
            assert!(said, "{line}: {taken:?}");
        }
        assert_eq!(take(&["   "]), Line::Nothing);
    }
}
