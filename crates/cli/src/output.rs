//! Standard output and standard error of the whole command.
//!
//! The macros of the standard library panic when a pipe is closed. These replacements ignore a closed pipe,
//! and turn any other failure into the command's exit status.

use std::fmt::Arguments;
use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Erases the last line of the terminal.
const ERASE: &str = "\r\x1b[2K";

macro_rules! println {
    () => { $crate::output::line(format_args!("")) };
    ($($text:tt)*) => { $crate::output::line(format_args!($($text)*)) };
}

macro_rules! eprintln {
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

/// Shows a wait in the last line of the terminal.
pub(crate) fn waiting(text: &str) {
    let mut to = io::stderr().lock();
    WAITING.store(true, Ordering::Relaxed);
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
    let mut to = io::stderr().lock();
    erase(&mut to);
    let _unheard = writeln!(to, "{text}");
}

/// The same, without an end of line.
pub(crate) fn part(text: Arguments<'_>) {
    let mut to = io::stderr().lock();
    erase(&mut to);
    let _unheard = write!(to, "{text}");
}

/// Returns the error on standard output, except a closed pipe.
pub(crate) fn failure() -> Option<io::Error> {
    let failed = FAILED.lock().ok()?.take()?;
    (failed.kind() != io::ErrorKind::BrokenPipe).then_some(failed)
}
