//! Colours and the waiting line, by the usual rules: for a terminal only, and never where the user does not
//! want them.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::output::plain;

/// No notes: only results, failures, and what the user has to act on.
static QUIET: AtomicBool = AtomicBool::new(false);

pub(crate) fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Results are JSON objects.
static JSON: AtomicBool = AtomicBool::new(false);

pub(crate) fn be_json() {
    JSON.store(true, Ordering::Relaxed);
}

pub(crate) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Returns true if a stream shows colours: `NO_COLOR` switches them off, `CLICOLOR_FORCE` on, `CLICOLOR=0`
/// and `TERM=dumb` off; otherwise a terminal shows them.
pub(crate) fn shows_colours(
    variable: impl Fn(&str) -> Option<OsString>,
    is_terminal: bool,
) -> bool {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    let is = |name, text: &str| variable(name).is_some_and(|value| value == *text);
    if set("NO_COLOR").is_some() {
        false
    } else if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        true
    } else {
        is_terminal && !is("CLICOLOR", "0") && !is("TERM", "dumb")
    }
}

/// A way to show text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Heading,
    Good,
    Bad,
    Plain,
}

impl Style {
    /// Returns the code that begins this style in a terminal.
    pub(crate) fn code(self) -> Option<&'static str> {
        match self {
            Self::Heading => Some("\x1b[1m"),
            Self::Good => Some("\x1b[32m"),
            Self::Bad => Some("\x1b[31m"),
            Self::Plain => None,
        }
    }
}

/// The code that ends a style in a terminal.
pub(crate) const END: &str = "\x1b[0m";

/// A part of a line, which the output shows in colours where the stream shows them.
pub(crate) type Part = (Style, String);

/// Returns rows as a table: columns are as wide as their widest cell.
pub(crate) fn table(heading: &[&str], rows: &[Vec<Part>]) -> Vec<Vec<Part>> {
    // An escaped character is wider than the character.
    let rows: Vec<Vec<_>> = rows
        .iter()
        .map(|row| {
            row.iter()
                .map(|(style, cell)| (*style, plain(cell)))
                .collect()
        })
        .collect();
    let mut widths: Vec<usize> = heading.iter().map(|cell| cell.chars().count()).collect();
    for row in &rows {
        for (width, (_, cell)) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[(Style, &str)]| {
        let mut line = Vec::new();
        let last = cells.len().saturating_sub(1);
        for (at, ((style, cell), width)) in cells.iter().zip(&widths).enumerate() {
            line.push((*style, (*cell).to_owned()));
            if at < last {
                let pad = width.saturating_sub(cell.chars().count()).saturating_add(2);
                line.push((Style::Plain, " ".repeat(pad)));
            }
        }
        line
    };
    let heading: Vec<_> = heading.iter().map(|cell| (Style::Heading, *cell)).collect();
    let mut lines = vec![line(&heading)];
    for row in &rows {
        let cells: Vec<_> = row
            .iter()
            .map(|(style, cell)| (*style, cell.as_str()))
            .collect();
        lines.push(line(&cells));
    }
    lines
}

/// How long a wait is silent.
const DELAY: Duration = Duration::from_millis(700);
const STEP: Duration = Duration::from_millis(120);

/// A line at the end of a terminal's standard error that shows a wait, until it is dropped.
pub(crate) struct Waiting(Option<(Sender<()>, thread::JoinHandle<()>)>);

impl Waiting {
    /// Shows these words after a moment. No line on anything but a terminal.
    pub(crate) fn for_(words: &str) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if is_quiet() || dumb || !io::stderr().is_terminal() {
            return Self(None);
        }
        let words = words.to_owned();
        let (stop, stopped) = channel();
        let thread = thread::spawn(move || {
            let begun = Instant::now();
            let mut wait = DELAY;
            let mut frames = ["|", "/", "-", "\\"].iter().cycle();
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                let frame = frames.next().copied().unwrap_or_default();
                let seconds = begun.elapsed().as_secs();
                crate::output::waiting(&format!("{frame} {words} ({seconds} s)"));
                wait = STEP;
            }
        });
        Self(Some((stop, thread)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.0.take() {
            drop(stop);
            let _ended = thread.join();
            crate::output::end_of_waiting();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_usual_rules() {
        let shows = |variables: &[(&str, &str)], is_terminal| {
            let find = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| OsString::from(value))
            };
            shows_colours(find, is_terminal)
        };
        assert!(shows(&[], true));
        assert!(!shows(&[], false));
        assert!(!shows(&[("NO_COLOR", "1")], true));
        assert!(shows(&[("NO_COLOR", "")], true), "empty is not set");
        assert!(shows(&[("CLICOLOR_FORCE", "1")], false));
        assert!(!shows(&[("CLICOLOR_FORCE", "0")], false));
        assert!(!shows(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false));
        assert!(!shows(&[("CLICOLOR", "0")], true));
        assert!(!shows(&[("TERM", "dumb")], true));
    }

    #[test]
    fn a_table_is_aligned() {
        let row =
            |a: &str, b: &str| vec![(Style::Plain, a.to_owned()), (Style::Plain, b.to_owned())];
        let lines = table(&["A", "BB"], &[row("long", "x"), row("ö", "y")]);
        let plain: Vec<_> = lines
            .iter()
            .map(|line| {
                line.iter()
                    .map(|(_, text)| text.as_str())
                    .collect::<String>()
            })
            .collect();
        assert_eq!(plain, ["A     BB", "long  x", "ö     y"]);
    }
}
