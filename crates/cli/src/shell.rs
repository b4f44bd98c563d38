//! Words of a command line, as a shell reads them.

/// Returns a word for the shell of this system.
pub(crate) fn quoted(word: &str) -> String {
    if cfg!(windows) {
        for_windows(word)
    } else {
        for_posix(word)
    }
}

/// A word that a POSIX shell reads as it is.
fn for_posix(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A word that `cmd.exe` passes on, and that a program reads as one argument of its command line. Within double
/// quotes `cmd.exe` gives a meaning to `%` and to the quotation mark, which ends them also after a backslash. Both stand
/// outside of the quotes, behind a caret.
fn for_windows(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || r"-_./\:=@+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::from('"');
    let mut backslashes = 0_usize;
    for c in word.chars() {
        match c {
            '\\' => {
                backslashes = backslashes.saturating_add(1);
                quoted.push(c);
                continue;
            }
            // Backslashes count in front of a quotation mark only, where each is doubled.
            '"' | '%' => {
                quoted.push_str(&r"\".repeat(backslashes));
                quoted.push_str(if c == '%' { r#""^%""# } else { r#""\^"""# });
            }
            _ => quoted.push(c),
        }
        backslashes = 0;
    }
    quoted.push_str(&r"\".repeat(backslashes));
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_one_argument_in_the_shell_of_each_system() {
        for (word, windows, posix) in [
            (
                "https://a.example/b",
                "https://a.example/b",
                "https://a.example/b",
            ),
            (
                r"C:\Program Files\x.exe",
                r#""C:\Program Files\x.exe""#,
                r"'C:\Program Files\x.exe'",
            ),
            (r"C:\a\b.exe", r"C:\a\b.exe", r"'C:\a\b.exe'"),
            ("a&b|c", r#""a&b|c""#, "'a&b|c'"),
            ("", r#""""#, "''"),
            (r#"a "b""#, r#""a "\^""b"\^""""#, r#"'a "b"'"#),
            (r#"a\"b"#, r#""a\\"\^""b""#, r#"'a\"b'"#),
            (r"dir with\", r#""dir with\\""#, r"'dir with\'"),
            ("100%", r#""100"^%"""#, "100%"),
            (r"100\%", r#""100\\"^%"""#, r"'100\%'"),
            (r#"a"&b"#, r#""a"\^""&b""#, r#"'a"&b'"#),
            ("it's", r#""it's""#, r"'it'\''s'"),
        ] {
            assert_eq!(for_windows(word), windows, "{word}");
            assert_eq!(for_posix(word), posix, "{word}");
        }
    }
}
