//! Standard output and standard error of the whole command: the one door for its text.
//!
//! The macros of the standard library panic when a pipe is closed. These replacements ignore a closed pipe,
//! and turn any other failure into the command's exit status. Each prints one line: what a terminal would
//! interpret, line breaks included, is escaped, whoever wrote it.

use std::fmt::Arguments;
use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::style::{END, Part, Style, shows_colours};

/// Erases the last line of the terminal.
const ERASE: &str = "\r\x1b[2K";

macro_rules! println {
    () => { $crate::output::line(format_args!("")) };
    ($($text:tt)*) => { $crate::output::line(format_args!($($text)*)) };
}

macro_rules! eprintln {
    () => { $crate::output::message(format_args!("")) };
    ($($text:tt)*) => { $crate::output::message(format_args!($($text)*)) };
}

/// Writes a message that `--quiet` drops.
macro_rules! note {
    ($($text:tt)*) => {
        if !$crate::style::is_quiet() {
            $crate::output::message(format_args!($($text)*));
        }
    };
}

macro_rules! eprint {
    ($($text:tt)*) => { $crate::output::part(format_args!($($text)*)) };
}

/// The first error on standard output.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// The terminal shows a wait in its last line.
static WAITING: AtomicBool = AtomicBool::new(false);

/// Returns true for a character that a terminal interprets, or that changes how the text around it is shown.
pub(crate) fn is_special(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{fdd0}'..='\u{fdef}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Returns a text with special characters escaped as in JSON, so that an object stays the same.
pub(crate) fn plain(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if is_special(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            line.push(c);
        }
    }
    line
}

/// Returns one line as a stream shows it: each part is escaped before its colour is added.
fn shown(parts: &[Part], colours: bool) -> String {
    let mut line = String::new();
    for (style, text) in parts {
        match style.code().filter(|_| colours) {
            Some(code) => line.push_str(&format!("{code}{}{END}", plain(text))),
            None => line.push_str(&plain(text)),
        }
    }
    line
}

fn for_stream(parts: &[Part], is_terminal: bool) -> String {
    let colours = shows_colours(|name| std::env::var_os(name), is_terminal);
    shown(parts, colours)
}

/// Shows a wait in the last line of the terminal.
pub(crate) fn waiting(text: &str) {
    let mut to = io::stderr().lock();
    WAITING.store(true, Ordering::Relaxed);
    let text = plain(text);
    let _unseen = write!(to, "{ERASE}{text}").and_then(|()| to.flush());
}

/// Erases the line that shows a wait.
pub(crate) fn end_of_waiting() {
    erase(&mut io::stderr().lock());
}

fn erase(to: &mut impl Write) {
    if WAITING.swap(false, Ordering::Relaxed) {
        let _unseen = write!(to, "{ERASE}").and_then(|()| to.flush());
    }
}

/// Writes a line to standard output.
pub(crate) fn line(text: Arguments<'_>) {
    document(&plain(&text.to_string()));
}

/// Writes a line of styled parts to standard output.
pub(crate) fn styled(parts: &[Part]) {
    document(&for_stream(parts, io::stdout().is_terminal()));
}

/// Writes a text of this program to standard output as it is, such as a script or a page.
pub(crate) fn document(text: &str) {
    end_of_waiting();
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush())
        && let Ok(mut failed) = FAILED.lock()
    {
        failed.get_or_insert(error);
    }
}

/// Writes a line to standard error. A message that cannot be written is dropped.
pub(crate) fn message(text: Arguments<'_>) {
    styled_message(&[(Style::Plain, text.to_string())]);
}

/// Writes a line of styled parts to standard error.
pub(crate) fn styled_message(parts: &[Part]) {
    let mut to = io::stderr().lock();
    let text = for_stream(parts, to.is_terminal());
    erase(&mut to);
    let _unheard = writeln!(to, "{text}");
}

/// Writes to standard error without an end of line.
pub(crate) fn part(text: Arguments<'_>) {
    let mut to = io::stderr().lock();
    let text = plain(&text.to_string());
    erase(&mut to);
    let _unheard = write!(to, "{text}");
}

/// Returns the error on standard output, except a closed pipe.
pub(crate) fn failure() -> Option<io::Error> {
    let failed = FAILED.lock().ok()?.take()?;
    (failed.kind() != io::ErrorKind::BrokenPipe).then_some(failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// SEC-28: nothing that a terminal interprets passes the door, and JSON stays the same value.
    #[test]
    fn sec_28_what_a_terminal_interprets_is_escaped() {
        let all: String = (0..=0x10_ffff).filter_map(char::from_u32).collect();
        assert_eq!(plain(&all).chars().find(|c| is_special(*c)), None);
        let styles = [Style::Heading, Style::Good, Style::Bad, Style::Plain];
        for style in styles {
            let line = shown(&[(style, all.clone())], true);
            let line = line.strip_prefix(style.code().unwrap_or_default());
            let line = line.unwrap().trim_end_matches(END);
            assert_eq!(line.chars().find(|c| is_special(*c)), None);
        }
        let value = serde_json::json!({ "\u{1b}[2J": "a\u{9b}b\n\u{202e}\u{e0041}\"\\\u{7f}" });
        let line = plain(&value.to_string());
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&line).unwrap(),
            value
        );
        assert_eq!(
            plain("a\n\tb\u{1b}]0;x\u{7}"),
            r"a\u000a\u0009b\u001b]0;x\u0007"
        );
        assert_eq!(plain("Grüße 日本語"), "Grüße 日本語");
    }

    #[test]
    fn a_style_is_a_colour_or_nothing() {
        let text = [
            (Style::Bad, "bad".to_owned()),
            (Style::Plain, " ok".to_owned()),
        ];
        assert_eq!(shown(&text, true), "\x1b[31mbad\x1b[0m ok");
        assert_eq!(shown(&text, false), "bad ok");
    }
}
